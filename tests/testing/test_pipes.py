"""Pipes and standard input: read once, never waited for without end."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.audio import AudioError, read_audio
from testing import pipes
from testing.pipes import once_read

RATE = 22_050
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="no pipe is a file there")


def encoded(kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, RATE, format=kind)
    return file.getvalue()


@pytest.fixture
def fifo(tmp_path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def written(path: Path, content: bytes) -> threading.Thread:
    """A writer, who waits for a reader."""
    thread = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


def waveform(path) -> np.ndarray:
    with once_read(path) as file:
        first = read_audio(file)
        assert np.array_equal(first, read_audio(file))  # again
    return first


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_named_pipe_reads_as_the_file(fifo, tmp_path, kind):
    (tmp_path / "file").write_bytes(encoded(kind))
    writer = written(fifo, encoded(kind))
    assert np.array_equal(waveform(fifo), read_audio(tmp_path / "file"))
    writer.join()


def test_a_file_stays_where_it_is(tmp_path):
    for path in (tmp_path / "file", tmp_path / "gone.wav", tmp_path / "x.zip/a.wav", tmp_path / ("n" * 300)):
        with once_read(path) as file:
            assert file == path


def test_a_pipe_without_a_writer_or_with_a_silent_one_is_given_up(fifo, monkeypatch):
    monkeypatch.setattr(pipes, "NO_WRITER", 0.05)
    monkeypatch.setattr(pipes, "QUIET", 0.1)
    with pytest.raises(AudioError, match="pipe to which nobody writes"), once_read(fifo):
        pass
    descriptor = os.open(fifo, os.O_RDWR)  # a writer who is silent
    with pytest.raises(AudioError, match=r"pipe is a pipe that has sent nothing for 0\.1 s"), once_read(fifo):
        pass
    os.close(descriptor)


def test_a_slow_writer_is_waited_for(fifo, monkeypatch):
    monkeypatch.setattr(pipes, "NO_WRITER", 0.3)
    content, between = encoded(), threading.Event()

    def write():
        with fifo.open("wb", buffering=0) as file:
            between.wait(0.8)  # longer than NO_WRITER
            file.write(content[:100])
            between.wait(0.2)
            file.write(content[100:])

    threading.Thread(target=write, daemon=True).start()
    assert len(waveform(fifo)) == RATE


def test_devices_sockets_and_too_much_are_refused(fifo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.wav")
    for path, what in (("/dev/zero", "a device"), ("/dev/null", "a device"), ("socket.wav", "a socket")):
        with pytest.raises(AudioError, match=f"{path} is {what}, not a recording"), once_read(path):
            pass
    monkeypatch.setattr(pipes, "LARGEST", 2**20)
    thread = threading.Thread(target=_endless, args=(fifo,), daemon=True)
    thread.start()
    with pytest.raises(AudioError, match="sends more than"), once_read(fifo):
        pass
    thread.join(10)
    assert not thread.is_alive()


def _endless(fifo: Path) -> None:
    """Writes zeros until nobody reads them."""
    try:
        with fifo.open("wb") as file:
            while True:
                file.write(bytes(2**16))
    except BrokenPipeError:
        pass


@contextmanager
def standard_input(content: bytes | None) -> Iterator[None]:
    """Standard input is a pipe with this content; None: the null device."""
    kept, (reader, writer) = os.dup(0), os.pipe()
    if content is None:
        os.close(reader)
        reader = os.open(os.devnull, os.O_RDONLY)
    os.dup2(reader, 0)
    os.close(reader)

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(content or b"")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        os.dup2(kept, 0)
        os.close(kept)


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_standard_input_is_read(tmp_path, name):
    (tmp_path / "file").write_bytes(encoded("FLAC"))
    with standard_input(encoded("FLAC")):
        assert np.array_equal(waveform(name), read_audio(tmp_path / "file"))
    with standard_input(b""), pytest.raises(AudioError, match="nobody writes, or is empty"):
        waveform(name)
    with standard_input(None), pytest.raises(AudioError, match="is a device, not a recording"):
        waveform(name)


def test_errors_name_the_pipe_and_not_the_copy(fifo):
    written(fifo, b"Lorem ipsum " * 20)
    with pytest.raises(AudioError, match="not audio") as caught:
        waveform(fifo)
    assert str(caught.value).startswith(str(fifo))

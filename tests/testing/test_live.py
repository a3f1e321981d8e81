"""The live command: a file, a pipe, a microphone; a line in a terminal, JSON elsewhere, and a summary."""

import io
import json
import os
import struct
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from dataloader.decode import AudioError, decoded_live
from testing import live
from testing.predict import Recognizer

RATE = 16_000


@pytest.fixture(scope="module")
def run(repository) -> str:
    return str(repository / "training/results/CkTIM_TAB1_for_recognition")


@pytest.fixture
def at_once(monkeypatch):
    """Files are not played at their own speed; the list that comes has what was waited for."""
    waited: list[float] = []
    monkeypatch.setattr(live.time, "sleep", waited.append)
    return waited


def buzz(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * np.sign(np.sin(2 * np.pi * 150 * time)) * (1 + np.sin(2 * np.pi * 4 * time)) / 2


def wav_head(channels: int = 1) -> bytes:
    """As arecord writes it into a pipe: the length is not known."""
    content = struct.pack("<IHHIIHH", 16, 1, channels, RATE, 2 * channels * RATE, 2 * channels, 16)
    return b"RIFF\xff\xff\xff\x7fWAVEfmt " + content + b"data\xdb\xff\xff\x7f"


def as_bytes(sound: np.ndarray) -> bytes:
    return (32_767 * sound).astype("<i2").tobytes()


def lines(capsys) -> tuple[list[dict], str]:
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


def test_a_file_is_played_and_recognised_as_a_stream_of_it(run, tmp_path, capsys, at_once):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.column_stack([buzz(2), buzz(2)]), RATE)
    live.main([run, str(path), "train.device=cpu", "--window", "1", "--hop", "0.5", "--sure", "0"])
    found, err = lines(capsys)
    stream = Recognizer(run, ["train.device=cpu"], sure=0).stream(RATE, hop_seconds=0.5, window_seconds=1)
    expected = stream.feed(soundfile.read(path)[0]) + stream.finish()
    assert [one["time"] for one in found] == [0.5, 1.0, 1.5, 2.0]
    assert [one["speech"] for one in found] == [moment.speech for moment in expected]
    for one, moment in zip(found, expected, strict=True):
        assert one["label"] == moment.words[moment.label]
        assert list(one["probabilities"].values()) == pytest.approx(
            list(moment.probabilities.values()), abs=2e-6
        )
    assert set(found[-1]["probabilities"]) >= {"joy", "anger"}
    spoken = sum(moment.speech for moment in expected) / 2
    assert err.startswith(f"{spoken:.1f} s of speech in 2.0 s: ") and err.rstrip().endswith("%")
    assert len(at_once) == 20 and max(at_once) <= 2


def test_a_terminal_gets_one_line_that_is_written_anew(run, tmp_path, capsys, monkeypatch, at_once):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([np.zeros(RATE), buzz(1)]), RATE)
    monkeypatch.setattr(live.sys.stdout, "isatty", lambda: True, raising=False)
    live.main([run, str(path), "train.device=cpu"])
    shown, _, summary = capsys.readouterr().out.rstrip().rpartition("\n")
    assert "\n" not in shown and shown.count("\r\x1b[K") == 8 and "silence" in shown
    assert all(len(one) < 80 for one in shown.split("\r\x1b[K"))
    assert "s of speech in 2.0 s" in summary


def test_ctrl_c_ends_the_microphone_with_a_summary(run, capsys, monkeypatch):
    class Microphone:
        def __init__(self, samplerate, channels, dtype):
            self.left, self.rate = list(np.split(np.float32(buzz(2)), 20)), samplerate

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, size):
            assert size == self.rate / 10
            if not self.left:
                raise KeyboardInterrupt
            return self.left.pop(0)[:, None], len(self.left) == 3

    there = SimpleNamespace(
        InputStream=Microphone,
        query_devices=lambda kind: {"default_samplerate": float(RATE)},
        PortAudioError=OSError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", there)
    live.main([run, "train.device=cpu"])
    found, err = lines(capsys)
    assert len(found) == 7  # the last quarter of a second is not yet through the resampler
    assert "sound was lost" in err and "s of speech in 1.8 s" in err


def no_microphone(kind):
    raise ValueError("no device")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (None, "pip install sounddevice"),
        (
            SimpleNamespace(query_devices=no_microphone, PortAudioError=OSError),
            "no microphone that can be used",
        ),
    ],
)
def test_without_a_microphone_there_is_a_message(run, capsys, monkeypatch, there, message):
    monkeypatch.setitem(sys.modules, "sounddevice", there)
    with pytest.raises(SystemExit) as exit_:
        live.main([run, "train.device=cpu"])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_standard_input_is_recognised_while_it_comes(run):
    command = [sys.executable, "-m", "testing.live", run, "-", "train.device=cpu"]
    program = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        program.stdin.write(wav_head() + as_bytes(buzz(3)))
        program.stdin.flush()
        found = [json.loads(program.stdout.readline()) for _ in range(11)]  # the pipe is still open
        assert [one["time"] for one in found] == pytest.approx(0.25 * np.arange(1, 12))
        out, err = program.communicate(timeout=60)  # which closes it
    finally:
        program.kill()
    assert json.loads(out)["time"] == 3 and b"s of speech in 3.0 s" in err, err
    assert program.returncode == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_pipes_have_a_head_or_are_described(channels):
    sound = np.stack([buzz(1)] * channels, axis=1)
    for head, raw in ((wav_head(channels), None), (b"", (RATE, channels))):
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as pipe, open(writing, "wb") as other:
            writer = threading.Thread(
                target=lambda o=other, h=head: (o.write(h + as_bytes(sound)), o.close())
            )
            writer.start()
            with decoded_live(pipe, "the pipe", raw) as found:
                assert (found.rate, found.channels) == (RATE, channels)
                blocks = list(found.blocks)
            writer.join()
        assert len(blocks) > 3
        np.testing.assert_allclose(np.concatenate(blocks), sound, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"some text\n" * 100, wav_head()])
def test_what_is_no_sound_is_named(content):
    with pytest.raises(AudioError, match="the pipe"), decoded_live(io.BytesIO(content), "the pipe"):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.wav"], "missing.wav cannot be read"),
        (["-", "--rate", "5"], "sample rate of 5 Hz"),
        (["no_run", "a.wav"], "no_run"),
        (["a.wav", "b.wav", "c.wav"], "name one file"),
    ],
)
def test_mistakes_are_named(run, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(live, "SHIPPED_RUN", run)
    with pytest.raises(SystemExit) as exit_:
        live.main([*arguments, "train.device=cpu"])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_the_node_of_the_documentation_answers_what_it_gets(repository, monkeypatch):
    """docs/robots.md, with stubs of ROS: 16-bit samples in, words out."""
    code = (repository / "docs/robots.md").read_text(encoding="utf-8").split("## A ROS 2 node")[1]
    sent, subscribed = [], []

    class Node:
        def __init__(self, name):
            pass

        def create_publisher(self, kind, topic, depth):
            return SimpleNamespace(publish=sent.append)

        def create_subscription(self, kind, topic, callback, depth):
            subscribed.append(callback)

    stubs = {"rclpy": {}, "rclpy.node": {"Node": Node}, "std_msgs": {}, "audio_common_msgs": {}}
    stubs |= {"std_msgs.msg": {"String": SimpleNamespace}, "audio_common_msgs.msg": {"AudioData": object}}
    for name, content in stubs.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    there: dict = {"__name__": "node"}
    exec(code.split("```python\n")[1].split("```")[0], there)
    node = there["EmotionNode"]()
    sound = as_bytes(np.concatenate([np.zeros(RATE), buzz(1)]))
    for start in range(0, len(sound), 1_024):
        subscribed[0](SimpleNamespace(data=list(sound[start : start + 1_024])))
    words = [message.data for message in sent]
    known = {*node.stream.recognizer.words.values(), "unsure"}
    assert len(words) == 7 and words[0] == "silence" and words[-1] in known

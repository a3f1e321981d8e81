"""Damaged sound files: each gives a sound waveform or an error by name, soon, and in little memory.

The files are read in a process of their own, which a crash, a hang or a want of memory ends, and not the
tests. `PYTHONPATH=. python tests/dataloader/test_audio_fuzz.py FIRST LAST` prints what became of those cases.
"""

import faulthandler
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.audio import SAMPLE_RATE, AudioError, audio_seconds, read_audio, stream_audio

# format, subtype, channels, rate
FORMATS = """WAV PCM_16 1 22050; WAV PCM_16 2 48000; WAV PCM_24 1 16000; WAV FLOAT 1 22050; WAV FLOAT 2 44100;
WAVEX PCM_24 2 22050; WAV PCM_U8 1 8000; FLAC PCM_16 1 22050; FLAC PCM_24 1 48000; FLAC PCM_16 2 16000"""
FORMATS = [row.split() for row in FORMATS.split(";")]
EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
LIMIT = 5  # seconds of the processor that a file may take
HANG = 120  # seconds on the clock after which the process is ended; other work may slow it down
MEMORY = 512 * 2**20  # bytes that a process may need beyond what it has before it reads anything
HEADER = 80  # bytes at the start that are damaged more often
FAST, ALL = 200, 3_000  # cases


def original(number: int) -> bytes:
    """A sound file without fault: 0.25 s of a tone in noise."""
    kind, subtype, *numbers = FORMATS[number % len(FORMATS)]
    channels, rate = map(int, numbers)
    rng = np.random.default_rng(number % len(FORMATS))
    tone = np.sin(0.05 * np.arange(rate // 4))[:, None]
    file = io.BytesIO()
    waveform = 0.3 * tone + 0.1 * rng.standard_normal((rate // 4, channels))
    soundfile.write(file, waveform, rate, format=kind, subtype=subtype)
    return file.getvalue()


def damaged(number: int) -> bytes:
    """The file of this number with one to four faults, always the same ones."""
    data, rng = bytearray(original(number)), np.random.default_rng([number, 2026])
    for _ in range(rng.integers(1, 5)):
        end = len(data) if rng.random() < 0.5 else min(HEADER, len(data))
        place = int(rng.integers(end)) if end else 0
        some = int(rng.integers(1, 200))
        match rng.integers(8):
            case 0:  # bits
                for at in rng.integers(end, size=rng.integers(1, 20)) if end else ():
                    data[at] ^= 1 << rng.integers(8)
            case 1:  # bytes
                data[place : place + some] = rng.bytes(min(some, len(data) - place))
            case 2:
                del data[place:]  # cut short
            case 3:
                del data[place : place + some]
            case 4:
                data[place:place] = rng.bytes(some)
            case 5:  # a piece a second time, as a chunk repeated
                data[place:place] = data[place : place + 20 * some]
            case 6:  # a number in the header
                at = int(rng.integers(HEADER))
                width, order = rng.choice([1, 2, 4]), "little" if rng.random() < 0.7 else "big"
                value = int(rng.choice(EXTREMES)) % 256**width
                data[at : at + width] = int(value).to_bytes(width, order)
            case 7:  # how large a chunk, or the recording, is said to be
                lie(data, rng)
    return bytes(data)


def lie(data: bytearray, rng: np.random.Generator) -> None:
    """Put an extreme where a size stands: of the file or a chunk (WAV), of a block or all samples (FLAC)."""
    value = int(rng.choice(EXTREMES))
    if data[:4] == b"fLaC" and len(data) >= 26:
        if rng.random() < 0.3:
            data[5:8] = (value % 2**24).to_bytes(3, "big")
        else:  # 36 bits
            samples = value * 16 + int(rng.integers(16))
            data[21] = (data[21] & 0xF0) | samples >> 32
            data[22:26] = (samples % 2**32).to_bytes(4, "big")
        return
    at = data.find(rng.choice([b"RIFF", b"fmt ", b"data", b"fact"])) + 4
    data[at : at + 4] = struct.pack("<I", value)


def read_all(first: int, last: int) -> None:
    """Read the files of these numbers, and print a line of JSON for each.

    Every third is read in blocks too; that must come to the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dis-f1-b1.wav")
        for number in range(first, last):
            path.write_bytes(damaged(number))
            faulthandler.dump_traceback_later(HANG, exit=True)
            started = time.process_time()
            try:
                waveform = read_audio(path)
                outcome = "waveform"
                if not (waveform.dtype == np.float32 and waveform.ndim == 1 and np.isfinite(waveform).all()):
                    outcome = f"FAULT: {waveform.dtype} {waveform.shape}, of which some is not finite"
            except AudioError as error:
                outcome = f"AudioError: {error}"
                if str(path) not in str(error):
                    outcome = f"FAULT: does not name the file: {error}"
            except Exception as error:
                outcome = f"FAULT: {type(error).__name__}: {error}"
            if number % 3 == 0 and not outcome.startswith("FAULT"):
                outcome = in_blocks(path, waveform if outcome == "waveform" else None) or outcome
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps([number, outcome, time.process_time() - started]), flush=True)


def in_blocks(path: Path, whole: np.ndarray | None) -> str | None:
    """What is wrong with stream_audio and audio_seconds, given what read_audio made of the file."""
    try:
        seconds = audio_seconds(path)
        blocks = np.concatenate(list(stream_audio(path)))
    except AudioError as error:
        if whole is not None:
            return f"FAULT: refused in blocks only: {error}"
        return None if str(path) in str(error) else f"FAULT: does not name the file: {error}"
    except Exception as error:
        return f"FAULT: in blocks {type(error).__name__}: {error}"
    if not (seconds >= 0 and np.isfinite(blocks).all()):
        return f"FAULT: in blocks not finite, or of {seconds} s"
    if whole is not None and not (
        len(blocks) == len(whole) and abs(seconds - len(whole) / SAMPLE_RATE) < 1e-3
    ):
        return f"FAULT: {len(whole)} samples at once, {len(blocks)} in blocks, {seconds} s"
    return None


LIMITED = f"""
import runpy, sys, numpy, soundfile, soxr, dataloader.audio
try:
    import resource
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + {MEMORY}, -1))
except (ImportError, OSError):
    pass
runpy.run_path({__file__!r})["read_all"](int(sys.argv[1]), int(sys.argv[2]))
"""


def check(first: int, last: int) -> None:
    """Read the files of these numbers in a process that may take only so much memory."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(first), str(last)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
        env=os.environ | one_thread,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    read = [number for number, *_ in results]
    assert read == list(range(first, last)), f"case {first + len(read)} ended the process:\n{done.stderr}"
    assert not (faults := [result for result in results if result[1].startswith("FAULT")]), faults
    assert "Traceback" not in done.stderr, done.stderr
    slowest = max(results, key=lambda result: result[2])
    sound = sum(outcome == "waveform" for _, outcome, _ in results)
    print(f"{len(results)} files: {sound} read, {len(results) - sound} refused; slowest {slowest}")
    assert 0.02 * len(results) < sound < 0.98 * len(results), "the faults are too bad, or too harmless"
    assert slowest[2] < LIMIT


def test_damaged_files_are_read_or_named():
    check(0, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, ALL, 700))
def test_many_damaged_files_are_read_or_named(first):
    check(first, min(first + 700, ALL))


def test_the_files_are_sound_before_they_are_damaged(tmp_path):
    for number in range(len(FORMATS)):
        (tmp_path / "x").write_bytes(original(number))
        assert abs(len(read_audio(tmp_path / "x")) - SAMPLE_RATE // 4) <= 1


if __name__ == "__main__":
    read_all(*map(int, sys.argv[1:]))

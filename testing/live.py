"""Recognise emotion live: `python -m testing.live [RUN_DIR] [FILE | -]`; without either, from the microphone.

A terminal shows one line that is written anew; elsewhere each moment is a line of JSON. Ctrl-C ends it.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.live")

import json
import os
import shutil
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from dataloader import audio
from dataloader.decode import decoded_live
from testing.pipes import STANDARD_INPUT, name_of
from testing.predict import Recognizer, without_overrides
from testing.predictions import clock
from testing.stream import Moment, Stream
from utils.errors import UserError
from utils.progress import warn
from utils.runs import SHIPPED_RUN, is_run_dir

CHUNK = 0.1  # seconds

Chunks = Iterator[np.ndarray]  # (samples, channels)


@contextmanager
def microphone() -> Iterator[tuple[float, Chunks]]:
    """The rate in Hz of the system's default microphone, and its sound as it comes."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: its library is not there
        remedy = "pip install sounddevice; on Debian and Ubuntu also: apt install libportaudio2"
        raise UserError(f"the microphone cannot be used ({error}): {remedy}") from error
    try:
        rate = float(sounddevice.query_devices(kind="input")["default_samplerate"])
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as device:
            yield rate, _recorded(device, round(CHUNK * rate))
    except (sounddevice.PortAudioError, ValueError) as error:
        remedy = "connect one, or name a file, or - for standard input"
        raise UserError(f"there is no microphone that can be used ({error}): {remedy}.") from error


def _recorded(device: Any, size: int) -> Chunks:
    while True:
        chunk, lost = device.read(size)
        if lost:
            warn("sound was lost: this machine is too slow, or was busy")
        yield chunk


@contextmanager
def file(path: str) -> Iterator[tuple[float, Chunks]]:
    """The rate of a sound file in Hz, and its sound at the speed at which it was recorded."""
    with audio.opened(path) as sound:
        yield sound.rate, _in_time(sound.blocks, sound.rate)


def _in_time(blocks: Chunks, rate: int) -> Chunks:
    started, played, size = time.monotonic(), 0, max(round(CHUNK * rate), 1)
    for block in blocks:
        for start in range(0, len(block), size):
            chunk = block[start : start + size]
            played += len(chunk)
            time.sleep(max(started + played / rate - time.monotonic(), 0))
            yield chunk


@contextmanager
def standard_input(raw: tuple[int, int] | None) -> Iterator[tuple[float, Chunks]]:
    """The rate of the sound that a pipe sends, and that sound as it comes; `raw` as in decoded_live."""
    if sys.stdin is None or os.isatty(0):
        raise UserError("standard input is a terminal: send sound, for instance arecord -f cd | …")
    with decoded_live(_Input(), name_of(STANDARD_INPUT), raw) as sound:
        yield sound.rate, sound.blocks


class _Input:
    """What is there of standard input; nothing more after Ctrl-C, which FFmpeg would swallow."""

    ended = False

    def read(self, most: int) -> bytes:
        try:
            return b"" if self.ended else os.read(0, most)
        except KeyboardInterrupt:
            self.ended = True
            return b""


class Display:
    """One line that is written anew, or lines of JSON; and in the end a summary."""

    def __init__(self, words: Mapping[str, str], hop: float, terminal: bool):
        self._words, self._hop, self._terminal = words, hop, terminal
        self._labels: Counter[str] = Counter()
        self._time = 0.0

    def show(self, moment: Moment) -> None:
        """Print a moment."""
        self._time = moment.time
        self._labels[moment.label] += moment.speech
        label = self._words[moment.label]
        if self._terminal:
            line = f"{clock(moment.time)}  {label:<9} {moment if moment.speech else ''}"
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            return
        content = {"time": round(moment.time, 3), "speech": moment.speech, **moment.to_dict(self._words)}
        content["unlike"] = moment.unlike
        print(json.dumps(content, ensure_ascii=False), flush=True)

    def summary(self) -> str:
        """The seconds of speech, and each label's share of them."""
        count = self._labels.total()
        parts = [f"{self._words[one]} {100 * n / count:.0f} %" for one, n in self._labels.most_common() if n]
        spoken = f"{self._hop * count:.1f} s of speech in {self._time:.1f} s"
        return f"{spoken}: {', '.join(parts)}" if parts else spoken


def run(stream: Stream, chunks: Chunks, show: Callable[[Moment], None]) -> None:
    """Show all moments, up to the end or Ctrl-C."""
    with suppress(KeyboardInterrupt):
        for chunk in chunks:
            for moment in stream.feed(chunk):
                show(moment)
        for moment in stream.finish():
            show(moment)


@command
def main(options: Namespace) -> None:
    paths, overrides = without_overrides(options.paths)
    run_dir = paths.pop(0) if paths and (is_run_dir(paths[0]) or len(paths) > 1) else SHIPPED_RUN
    if len(paths) > 1:
        raise UserError("name one file")
    if options.rate is not None:
        audio.check_rate(options.rate, name_of(STANDARD_INPUT))
    recognizer = Recognizer(run_dir, overrides, options.sure)
    if options.same_speaker:
        recognizer = recognizer.enrol(options.same_speaker)
    recognizer.check_norm()
    raw_format = None if options.rate is None else (options.rate, options.channels)
    opened = file(paths[0]) if paths else microphone()
    if paths == [STANDARD_INPUT]:
        opened = standard_input(raw_format)
    terminal = sys.stdout.isatty()
    display = Display(recognizer.words, options.hop, terminal)
    with opened as (rate, chunks):
        settings = {"hop_seconds": options.hop, "window_seconds": options.window, "vad": options.vad}
        try:
            run(recognizer.stream(rate, **settings), chunks, display.show)
        finally:
            print(f"{chr(10) * terminal}{display.summary()}", file=sys.stdout if terminal else sys.stderr)

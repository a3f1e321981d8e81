"""Emotion in sound while it arrives, from a microphone or a robot: `recognizer.stream(sample_rate)`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from dataloader import audio
from dataloader.audio import AudioError, SilenceError
from dataloader.speech import DETECTORS
from testing.predictions import SILENCE, UNSURE, Answer
from utils.device import on_one_thread
from utils.errors import UserError
from utils.progress import warn

NAME = "the stream"  # in errors and remarks
WINDOW = 2.0  # seconds
SMOOTHING = 1.0  # seconds; chosen with the margin and the window (docs/robots.md)
MARGIN = 0.1
SPOKEN = 0.25  # of the frames since the last moment, from which somebody speaks
HANGOVER = 0.5  # seconds without speech that still belong to it
SHORTEST_HOP = audio.SHORTEST  # seconds
LONGEST_WINDOW = 60.0  # seconds
BLOCK = 0.02  # seconds of sound that are taken at once, however they came
MOST_CHANNELS = 64


@dataclass(frozen=True)
class Moment(Answer):
    """An Answer about the window that ends now: start and end are the window's, in seconds of the stream.

    Probabilities are smoothed; the label is held until another leads. Both, and novelty, which is the
    window's own, are of SILENCE where nobody speaks.
    """

    @property
    def time(self) -> float:
        """Seconds since the stream began."""
        return self.end

    @property
    def speech(self) -> bool:
        """Whether somebody speaks, or did just now."""
        return bool(self.probabilities)


class Stream:
    """Moments of sound that arrives in chunks; made by Recognizer.stream(sample_rate, …).

    Moment k = 1, 2, … is about the time up to k · hop_seconds. Its window is the last `window_seconds` of
    the sound, or all of it so far: samples max(0, n - W) to n with n = round(k · hop_seconds · rate) and
    W = round(window_seconds · rate) of the whole sound resampled. The window is recognised as a recording of
    its own (Recognizer.recognise), with its own offset, channels and level. How the sound was cut into chunks
    makes no difference. The resampler is at most 0.06 s late at 16 kHz and more, 0.3 s at 4 kHz.

    Args:
        recognizer: a testing.predict.Recognizer.
        sample_rate: of the chunks, in Hz.
        hop_seconds: from moment to moment, at least 0.05.
        window_seconds: by default 2, or what the network takes if that is less. Of a longer window than it
            takes it gets the middle.
        smoothing_seconds: the time constant of the mean of the probabilities so far; 0 is none.
        margin: of probability, by which another label must lead to be taken, within speech. UNSURE counts as
            a label of the probability `sure`.
        vad: how speech is told from noise: "energy"; "silero", by a network of its own (pip install
            silero-vad onnxruntime); None: all that is not silent is speech.
    """

    def __init__(
        self,
        recognizer: Any,
        sample_rate: float,
        hop_seconds: float = 0.25,
        window_seconds: float | None = None,
        smoothing_seconds: float = SMOOTHING,
        margin: float = MARGIN,
        vad: str | None = "energy",
    ):
        audio.check_rate(sample_rate, NAME)
        self.recognizer, self._rate = recognizer, recognizer.features.sample_rate
        if window_seconds is None:
            window_seconds = min(WINDOW, recognizer.window / self._rate)
        _check("hop_seconds", hop_seconds, SHORTEST_HOP, LONGEST_WINDOW)
        _check("window_seconds", window_seconds, SHORTEST_HOP, LONGEST_WINDOW)
        _check("smoothing_seconds", smoothing_seconds, 0, math.inf)
        _check("margin", margin, 0, 1)
        if vad is not None and vad not in DETECTORS:
            raise UserError(f"vad = {vad!r}: choose {', '.join(map(repr, DETECTORS))} or None.")
        self.sample_rate, self.hop_seconds, self.window_seconds = sample_rate, hop_seconds, window_seconds
        self._detect = DETECTORS[vad](self._rate) if vad else None
        self._smooth = _Smoother(smoothing_seconds, hop_seconds)
        self._hold = _Holder(recognizer.sure, margin)
        self._block = max(round(BLOCK * sample_rate), 1)
        self._waiting: list[np.ndarray] = []  # chunks that do not make a block, as they came
        self._like: tuple[np.dtype, int] | None = None  # type and channels of all chunks
        self._bits = 0  # of integers, so far
        self._resampler: Any = None  # until the number of channels is known
        self._kept: list[np.ndarray] = []  # the resampled sound that windows still need
        self._end = self._moment = 0  # samples of the resampled sound, and moments, so far
        self._quiet = math.inf  # seconds since somebody spoke
        self._said: set[str] = set()

    def feed(self, chunk: np.ndarray) -> list[Moment]:
        """The moments that this sound completes: (samples,) or (samples, channels), of any length.

        Floats have full scale 1, integers count by the width of the values so far. All chunks are as the
        first one in type and channels; an AudioError for anything else leaves the stream as it was.
        """
        self._waiting += self._checked(chunk)
        if sum(map(len, self._waiting)) < self._block:
            return []
        sound = np.concatenate(self._waiting)
        whole = len(sound) // self._block * self._block
        self._waiting = [sound[whole:].copy()]
        blocks = (sound[start : start + self._block] for start in range(0, whole, self._block))
        return [moment for block in blocks for moment in self._moments(self._resampled(block))]

    def finish(self) -> list[Moment]:
        """The moments that the resampler still has; the stream has ended then."""
        if self._resampler is None:
            return []
        rest = np.concatenate(self._waiting)
        moments = list(self._moments(self._resampled(rest, last=True)))
        self._resampler = None
        return moments

    def _checked(self, chunk: np.ndarray) -> list[np.ndarray]:
        """A copy, for callers use their buffers again: (samples, channels); none of an empty chunk."""
        chunk = audio.checked_channels(chunk, NAME)
        if not len(chunk):
            return []
        chunk = np.array(chunk, np.float32 if chunk.dtype.kind == "f" else None)
        if chunk.dtype.kind == "f":
            audio.check_values(chunk, NAME)
        kind, channels = like = chunk.dtype, chunk.shape[1]
        if self._like is None:
            if channels > MOST_CHANNELS:
                raise AudioError(f"{NAME} has {channels} channels: is it (channels, samples)?")
            quality = {"dtype": "float32", "quality": "HQ"}
            self._resampler = soxr.ResampleStream(self.sample_rate, self._rate, channels, **quality)
            self._like = like
        if like != self._like:
            began = "{}, channels: {}".format(*self._like)
            raise AudioError(f"{NAME} began with {began}, and cannot go on with {kind}, channels: {channels}")
        if self._resampler is None:
            raise UserError(f"{NAME} has ended: begin another one, recognizer.stream(sample_rate)")
        return [chunk]

    def _resampled(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """(samples, channels) as they came → float32 of full scale 1 and the network's rate."""
        kind = block.dtype.kind
        if kind == "u":
            block = block / 2.0 ** (8 * block.itemsize - 1) - 1
        elif kind == "i" and len(block):
            self._bits = max(self._bits, audio.signed_bits(block))
            block = block / 2.0 ** (self._bits - 1)
        found = self._resampler.resample_chunk(block.astype(np.float32), last=last)
        return found.clip(-audio.LOUDEST, audio.LOUDEST)  # beyond which it may go between samples

    def _moments(self, piece: np.ndarray) -> Iterator[Moment]:
        """Of further samples of the resampled sound (samples, channels)."""
        self._kept.append(piece)
        self._end += len(piece)
        while (end := self._place(self._moment + 1)) <= self._end:
            sound, length = np.concatenate(self._kept), round(self.window_seconds * self._rate)
            ahead = self._end - end  # samples that belong to later moments
            window = sound[max(len(sound) - ahead - length, 0) : len(sound) - ahead]
            self._kept = [sound[-(length + ahead) :]]
            new = end - self._place(self._moment)
            self._moment += 1
            yield self._of_window(window, new)

    def _place(self, moment: int) -> int:
        """The sample at which a moment is."""
        return round(moment * self.hop_seconds * self._rate)

    def _of_window(self, window: np.ndarray, new: int) -> Moment:
        """Of the sound (samples, channels) that ends now, of which so many samples are new."""
        end = self._moment * self.hop_seconds
        start = end - len(window) / self._rate
        try:
            waveform = audio.to_waveform(window, self._rate, self._rate, NAME, self._say)
        except SilenceError:
            waveform = np.zeros(len(window), np.float32)
        spoken = self._is_speech(waveform[-new:])
        now, novelty = on_one_thread(self.recognizer.look, [waveform])[0] if spoken else ({}, None)
        probabilities = self._smooth(now)
        words = self.recognizer.words
        return Moment(start, end, self._hold(probabilities), probabilities, novelty, words)

    def _is_speech(self, samples: np.ndarray) -> bool:
        """Whether the moment is one of speech, by its new samples."""
        if self._detect is None:
            return True
        frames = self._detect(samples)
        spoken = len(frames) > 0 and frames.mean() >= SPOKEN
        self._quiet = 0.0 if spoken else self._quiet + self.hop_seconds
        return self._quiet <= HANGOVER

    def _say(self, remark: str) -> None:
        """Warn once of what is so in each window."""
        if remark not in self._said:
            self._said.add(remark)
            warn(remark)


class _Smoother:
    """The mean of the probabilities so far, weighted exponentially with time."""

    def __init__(self, constant: float, hop: float):
        self._decay = math.exp(-hop / constant) if constant else 0.0
        self._sum, self._weight = dict[str, float](), 0.0

    def __call__(self, probabilities: dict[str, float]) -> dict[str, float]:
        """Of the next moment: smoothed; nothing where there are none."""
        self._weight = self._decay * self._weight + bool(probabilities)
        self._sum = {e: self._decay * self._sum.get(e, 0) + p for e, p in probabilities.items()} or {
            e: self._decay * total for e, total in self._sum.items()
        }
        return {e: self._sum[e] / self._weight for e in probabilities}


class _Holder:
    """A label that changes where another leads by the margin; probabilities → label."""

    def __init__(self, sure: float, margin: float):
        self._sure, self._margin, self._label = sure, margin, SILENCE

    def __call__(self, probabilities: dict[str, float]) -> str:
        scores = {**probabilities, UNSURE: self._sure} if probabilities else {SILENCE: 1.0}
        first = max(scores, key=scores.__getitem__)
        if scores[first] - scores.get(self._label, -math.inf) >= self._margin:
            self._label = first
        return self._label


def _check(name: str, value: float, least: float, most: float) -> None:
    if not isinstance(value, int | float | np.number) or not least <= value <= most:
        limits = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise UserError(f"{name} = {value}: {limits} is needed.")

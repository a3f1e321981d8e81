"""Recognise the emotion in anyone's recording: `python -m testing.predict [RUN_DIR] FILE_OR_FOLDER …`.

From Python:

    recognizer = Recognizer()                # the shipped network; Recognizer(RUN_DIR) for a run of yours
    recognizer(waveform, sample_rate)        # → {"dis": 0.02, "gio": 0.81, …}
    recognizer.recognise_file("hello.wav")   # → Recognition, with silence, doubts, novelty and timeline
    recognizer.stream(sample_rate)           # for sound that is still arriving: testing.stream
    recognizer.embed("hello.wav")            # → its embedding, a vector; (waveform, sample_rate) will do
    recognizer.enrol(["calls_of_anna"])      # → a Recognizer for one speaker, from unlabelled recordings

A recording is conditioned, padded or cut as in training. One that is longer than the network's window is
recognised window by window as well; one longer than any utterance, that way only.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.predict")

import copy
import math
import os
import statistics
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from numbers import Real
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np
import torch

from dataloader import audio
from dataloader.audio import AudioError, SilenceError
from dataloader.corpora.listing import list_files
from dataloader.decode import SOUND_SUFFIXES
from dataloader.features.extract import Extractor
from dataloader.features.normalise import PRIOR, SpeakerNorm, raw_functionals
from testing import predictions
from testing.calibration import at_temperature, load_calibration
from testing.load_run import NEEDS_A_SPEAKER, load_run, predict, predict_and_embed
from testing.parsers import SURE
from testing.pipes import STANDARD_INPUT, name_of, once_read
from testing.predictions import SILENCE, UNSURE, Answer, Failure, Outcome, Recognition
from testing.stream import Stream
from utils.emotions import CODES
from utils.errors import UserError, many
from utils.files import check_outputs, output_folder, problems_of, try_output, write_atomically
from utils.progress import progress_bar, warn
from utils.runs import ENROLLED_RUN, SHIPPED_RUN, files_of, is_run_dir
from utils.tables import unique

LONGEST_UTTERANCE = 3.5  # windows; EMOVO's longest, 14 s, is 3.2. What is longer holds several utterances
OVERLAP = 2  # windows that cover each moment
PAUSE = 0.01  # of the loudest window's level, 40 dB below it: near silence beside speech
LONGEST_NAME = 200  # bytes of a figure's name; file systems allow 255
STDOUT = ("-", "/dev/stdout")
BATCH = 32  # windows
PROCESSES = {os.getpid()}  # that may use several threads, or know that they may not

Result = TypeVar("Result")
Sound = np.ndarray | Iterable[np.ndarray]  # a waveform, or blocks of a long one
Looked = tuple[dict[str, float], float | None]  # probabilities and novelty; none in silence
Pair = tuple[np.ndarray, int]  # a waveform and its sample rate
Raw = tuple[torch.Tensor, torch.Tensor]  # frames and functionals, not normalised


class Recognizer:
    """The network of a run, ready for any recording; its `emotions` are in the order of the scores.

    Programs get the emotions' codes, and `words` says what people call each: {"gio": "joy", …}.
    `overrides` are `key=value` for testing.load_run.FREE_KEYS, such as "train.device=cpu". Below the
    probability `sure` the label is `unsure`. With a run whose features are normalised by speaker, recognition
    is a UserError until the speaker is enrolled.
    """

    norm: SpeakerNorm | None = None  # of the enrolled speaker
    enrolled = 0  # recordings of which it is

    def __init__(self, run_dir: str | Path = SHIPPED_RUN, overrides: Sequence[str] = (), sure: float = SURE):
        self.run, self.overrides = load_run(run_dir, overrides), overrides
        self.calibration = load_calibration(self.run.path)
        self.emotions, self.words, self.sure = self.run.emotions, self.run.words, sure
        if not 0 <= sure <= 1:
            raise UserError(f"sure = {sure}: a probability is between 0 and 1.")
        self.features = self.run.config.features
        self.window, self.hop = self.features.signal_length, max(self.features.signal_length // OVERLAP, 1)
        self._extract = Extractor(self.features)
        self.run.model.freeze_kernels()
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, self.window).astype(np.float32)
        enrolled = self._of_speaker([self._raw([noise])]) if self.features.normalise == "speaker" else self
        enrolled.look([noise])  # so that the first recording need not wait for what is made once

    def __setstate__(self, state: dict) -> None:  # a copy's network is not frozen
        vars(self).update(state)
        self.run.model.freeze_kernels()

    def _check_process(self) -> None:
        """After a fork use one thread, for the others are not there and PyTorch would wait for them."""
        if os.getpid() in PROCESSES:
            return
        if (device := self.run.model.fusion.weight.device.type) != "cpu":
            raise UserError(
                f"this process was forked, and cannot use the {device} of the one before. Start processes "
                'with "spawn", or take train.device=cpu.'
            )
        torch.set_num_threads(1)
        PROCESSES.add(os.getpid())

    def enrol(
        self,
        recordings: str | Path | Pair | Iterable[str | Path | Failure | Pair],
        prior: float | None = None,
        progress: bool = False,
    ) -> "Recognizer":
        """A Recognizer for one speaker, whose unlabelled recordings are the norm of the features.

        This one stays as it is; both share the network. The shipped run gives way to ENROLLED_RUN, which was
        trained for this; any other run that is not normalised by speaker is a UserError.

        The recordings are of the speaker alone: files, folders and zips as find_files takes them, or a
        waveform and its rate as `recognise` takes them. Each counts as it would be recognised, a long one
        window by window. A warning names those that are silent or cannot be read; none left is a UserError.
        `prior`: see SpeakerNorm.shrunk; more than 0 is for calibrated runs. None is PRIOR for these, and for
        others 0, with a warning.
        """
        if self.features.normalise != "speaker":
            return self._companion().enrol(recordings, prior, progress)
        if self.calibration.population is None and prior != 0:
            problem = f"{self.run.path} has not recorded its training speakers' norm"
            remedy = f"python -m testing.calibration {self.run.path}"
            if prior:
                raise UserError(f"prior = {prior}: {problem}. Calibrate it: {remedy}")
            warn(f"{problem}, so few recordings make an uncertain norm: {remedy}")
        self._check_process()
        every = dict(_named(recordings))
        found = []
        for name, one in progress_bar(every.items(), desc="enrolling", unit="file", disable=not progress):
            try:
                if isinstance(one, Failure):
                    raise AudioError(one.reason)
                with self._opened(one, name) as opened:
                    found.append(self._utterances(name, *opened, hop=self.window))
            except Exception as error:  # as in recognise_files
                warn(f"left out of the speaker's norm: {reason(name, error)}")
        if not found:
            raise UserError("no recording is left for the speaker's norm: name some that hold speech.")
        return self._of_speaker(found, PRIOR if prior is None else prior)

    def check_norm(self) -> None:
        """Raise a UserError where the speaker must be enrolled before anything is recognised."""
        if self.features.normalise == "speaker" and self.norm is None:
            remedy = "Enrol the speaker first: recognizer.enrol(recordings), or --same-speaker FOLDER."
            raise UserError(f"{self.run.path} {NEEDS_A_SPEAKER} {remedy}")

    def _companion(self) -> "Recognizer":
        """The network for enrolled speakers that belongs to this one."""
        remedy = "a run that was trained with features.normalise=speaker"
        if self.run.path.resolve() != SHIPPED_RUN.resolve():
            problem = f"{self.run.path} does not use a speaker's norm (features.normalise: none)"
            raise UserError(f"{problem}. Take the network that comes with the code, or {remedy}.")
        if not is_run_dir(ENROLLED_RUN):
            problem = f"the network for enrolled speakers, {ENROLLED_RUN}, is not there"
            raise UserError(f"{problem}. Restore it, or name {remedy}.")
        return Recognizer(ENROLLED_RUN, self.overrides, self.sure)

    def _of_speaker(self, found: Sequence[Raw], prior: float = 0.0) -> "Recognizer":
        """A copy for the speaker of these recordings, with the same network."""
        frames, functionals = map(torch.cat, zip(*found, strict=True))
        norm, population = SpeakerNorm.of(frames, functionals), self.calibration.population
        twin = copy.copy(self)
        twin.norm = norm.shrunk(population, prior) if population else norm
        twin.enrolled = len(found)
        return twin

    def _utterances(self, name: str, seconds: float, read: Callable[[], Sound], hop: int) -> Raw:
        """Of a recording as one utterance, or of the windows of a long one that are not silent."""
        sound = read()
        if isinstance(sound, np.ndarray) and not self._is_long(seconds):
            return self._raw([sound])
        blocks = [sound] if isinstance(sound, np.ndarray) else sound
        windows = (one for _, one in audio.windows(blocks, self.window, hop))
        found = [(audio.loudest_level(one), self._raw([one])) for one in windows if not audio.is_silent(one)]
        if not found:
            raise SilenceError(f"{name} is silent")
        silence = _silence([level for level, _ in found])
        frames, functionals = zip(*(raw for level, raw in found if level >= silence), strict=True)
        return torch.cat(frames), torch.cat(functionals)

    def __call__(self, waveform: np.ndarray, sample_rate: int) -> dict[str, float]:
        """Each emotion's probability; an empty dict in silence. Arguments as in `recognise`."""
        return dict(self.recognise(waveform, sample_rate).answer.probabilities)

    def recognise(self, waveform: np.ndarray, sample_rate: int, name: str = "the sound") -> Recognition:
        """Recognise a recording in memory: (samples,) or (samples, channels), integers or floats up to 1.

        An AudioError where it is shorter than 0.05 s, holds values that are not finite or far beyond 1, or is
        no waveform.
        """
        with self._opened((waveform, sample_rate), name) as opened:
            return self._recognise(name, *opened)

    def recognise_file(self, path: str | Path, progress: bool = False) -> Recognition:
        """Recognise a sound file of any format, sample rate and number of channels.

        It may lie in a zip (`x.zip/a.wav`). A pipe is read once, and so is standard input, whose name is `-`.
        """
        with self._opened(path, name_of(path)) as opened:
            return self._recognise(name_of(path), *opened, progress)

    def embed(self, recording: str | Path | Pair) -> np.ndarray:
        """The embedding of a file, or of a waveform and its rate as `recognise` takes them.

        float32 (channels,): the vector that the network's last layer gets, see CkTIMNet.embedding. Of a
        recording that is longer than any utterance, the mean over its windows that are not silent, those of
        which the answer is made. A SilenceError where all is silent; an AudioError as in `recognise`.
        """
        self.check_norm()
        self._check_process()
        name = "the sound" if isinstance(recording, tuple) else name_of(recording)
        with self._opened(recording, name) as opened:
            frames, functionals = self._utterances(name, *opened, hop=self.hop)
        x = self.norm.apply(frames, functionals) if self.norm else (frames, None)
        return predict_and_embed(self.run.model, *x, BATCH)[1].mean(0).numpy()

    def stream(self, sample_rate: float, **options: Any) -> Stream:
        """A Stream for chunks of this rate in Hz: `for moment in stream.feed(chunk)`.

        Options are Stream's: hop_seconds, window_seconds, smoothing_seconds, margin, vad.
        """
        self.check_norm()
        return Stream(self, sample_rate, **options)

    @contextmanager
    def _opened(self, recording: str | Path | Pair, name: str) -> Iterator[tuple[float, Callable[[], Sound]]]:
        """How many seconds a recording has, and a call that reads it."""
        rate = self.features.sample_rate
        if isinstance(recording, tuple):
            waveform, own_rate = recording
            sound = audio.as_channels(waveform, name)
            audio.check_rate(own_rate, name)
            yield len(sound) / own_rate, lambda: audio.to_waveform(sound, own_rate, rate, name)
            return
        if not isinstance(recording, str | Path):
            kind = type(recording).__name__
            raise UserError(f"a file or a pair (waveform, sample_rate) is needed, not a {kind}")
        with once_read(recording) as file:
            seconds = audio.audio_seconds(file)
            read = audio.stream_audio if self._is_long(seconds) else audio.read_audio
            yield seconds, lambda: read(file, rate)

    def _is_long(self, seconds: float) -> bool:
        return seconds * self.features.sample_rate > LONGEST_UTTERANCE * self.window

    def _recognise(
        self, name: str, seconds: float, read: Callable[[], Sound], progress: bool = False
    ) -> Recognition:
        """Of the waveform that `read` returns, which may be one utterance, or of the blocks of a long one."""
        self.check_norm()
        try:
            sound = read()
        except SilenceError:
            return Recognition(name, self._answer(0.0, seconds, ({}, None)))
        timeline: tuple[Answer, ...] = ()
        if seconds * self.features.sample_rate > self.window:
            blocks = [sound] if isinstance(sound, np.ndarray) else sound
            timeline = tuple(self._timeline(seconds, blocks, progress))
        if not isinstance(sound, np.ndarray) or self._is_long(seconds):
            return Recognition(name, self._together(timeline, seconds), timeline)
        return Recognition(name, self._answer(0.0, seconds, self.look([sound])[0]), timeline)

    def _timeline(self, seconds: float, blocks: Iterable[np.ndarray], progress: bool) -> list[Answer]:
        """An answer for each window; it stands for the time that is nearer to its middle than to others'."""
        rate = self.features.sample_rate
        middles: list[float] = []
        found: list[Looked] = []
        levels: list[float] = []
        total = 1 + math.ceil(max(seconds * rate - self.window, 0) / self.hop)
        looks = audio.windows(blocks, self.window, self.hop)
        with progress_bar(total=total, desc="recognising", unit="window", disable=not progress) as bar:
            while batch := list(islice(looks, BATCH)):
                middles += [(start + self.window / 2) / rate for start, _ in batch]
                levels += [audio.loudest_level(window) for _, window in batch]
                found += self.look([window for _, window in batch])
                bar.update(len(batch))
        silence = _silence(levels)
        found = [({}, None) if level < silence else one for level, one in zip(levels, found, strict=True)]
        edges = [0.0, *((one + other) / 2 for one, other in pairwise(middles)), seconds]
        return [self._answer(*edge, one) for edge, one in zip(pairwise(edges), found, strict=True)]

    def look(self, waveforms: Sequence[np.ndarray]) -> list[Looked]:
        """Probabilities and novelty of each waveform (samples,) at the network's rate, as one utterance."""
        self._check_process()
        loud = [index for index, one in enumerate(waveforms) if not audio.is_silent(one)]
        found: list[Looked] = [({}, None)] * len(waveforms)
        if not loud:
            return found
        x, functionals = self._raw([waveforms[index] for index in loud])
        x, normalised = self.norm.apply(x, functionals) if self.norm else (x, None)
        logits = predict(self.run.model, x, normalised, batch_size=BATCH)
        rows = at_temperature(logits.numpy(), self.calibration.temperature)
        novelty = self.calibration.novelty(x).tolist() if self.calibration.novelty else [None] * len(loud)
        for index, row, new in zip(loud, rows.tolist(), novelty, strict=True):
            found[index] = dict(zip(self.emotions, row, strict=True)), new
        return found

    def _raw(self, waveforms: Sequence[np.ndarray]) -> Raw:
        """Of each waveform as one utterance, conditioned as in training."""
        conditioned = [audio.condition(waveform, self.features) for waveform in waveforms]
        with torch.inference_mode():  # one at a time, as for the training, and faster than in batches
            x = torch.cat([self._extract.of_one(waveform) for waveform in conditioned])
        return x, raw_functionals(x, self.features)

    def _answer(self, start: float, end: float, looked: Looked) -> Answer:
        probabilities, novelty = looked
        if not probabilities:
            return Answer(start, end, SILENCE, {}, None, self.words)
        first = max(probabilities, key=probabilities.__getitem__)
        label = first if probabilities[first] >= self.sure else UNSURE
        return Answer(start, end, label, probabilities, novelty, self.words)

    def _together(self, timeline: Sequence[Answer], seconds: float) -> Answer:
        """Of a recording of several utterances: the mean of what is not silent, and its median novelty."""
        spoken = [part for part in timeline if part.probabilities]
        emotions = self.emotions if spoken else ()
        mean = {e: statistics.fmean(part.probabilities[e] for part in spoken) for e in emotions}
        known = [part.novelty for part in spoken if part.novelty is not None]
        return self._answer(0.0, seconds, (mean, statistics.median(known) if known else None))


def _silence(levels: Sequence[float]) -> float:
    """The level of windows of one recording below which they are silent."""
    return min(audio.NEAR_SILENCE, PAUSE * max(levels))


def _named(recordings: Any) -> Iterator[tuple[str, Path | Failure | Pair]]:
    """Recordings to be enrolled, or one, each with a name: waveforms, and the files in the folders named."""
    is_pair = isinstance(recordings, tuple) and len(recordings) == 2 and isinstance(recordings[1], Real)
    if is_pair or isinstance(recordings, str | Path):
        recordings = [recordings]
    for number, one in enumerate(recordings, start=1):
        if isinstance(one, tuple):
            yield f"waveform {number} (in memory)", one
        elif isinstance(one, str | Path | Failure):
            for file in find_files([one]):
                yield file.name if isinstance(file, Failure) else name_of(file), file
        else:
            wanted = "files, folders and pairs (waveform, sample_rate)"
            raise UserError(f"{wanted} can be enrolled, not a {type(one).__name__}.")


def reason(name: str, error: Exception) -> str:
    """Why a recording cannot be used."""
    if isinstance(error, AudioError):
        return str(error)
    if isinstance(error, OSError):
        return f"{name} cannot be read ({error.strerror or error})"
    return f"{name} cannot be recognised ({type(error).__name__}: {error})"


def find_files(paths: Iterable[str | Path | Failure]) -> Iterator[Path | Failure]:
    """The files named, and those in folders and zips named, at any depth, that are sound (see list_files).

    A Failure stands for what may be sound and cannot be read, and for a folder without any. What else is left
    out is said in a warning.
    """
    for path in (one if isinstance(one, Failure) else Path(one) for one in paths):
        zipped = isinstance(path, Path) and path.suffix.lower() == ".zip" and os.path.isfile(path)
        if isinstance(path, Failure) or not (os.path.isdir(path) or zipped):
            yield path
            continue
        try:
            listing = list_files(path)
        except (OSError, zipfile.BadZipFile) as error:
            yield Failure(str(path), f"{path} cannot be read ({getattr(error, 'strerror', None) or error})")
            continue
        for remark in listing.remarks():
            warn(f"{path}: {remark}")
        yield from listing.sounds
        yield from (Failure(str(one), f"{one} {why}") for one, why in listing.problems.items())
        if not listing.sounds and not listing.problems:
            yield Failure(str(path), f"{path} holds no sound file ({', '.join(SOUND_SUFFIXES)})")


def recognise_files(
    recognizer: Recognizer, paths: Iterable[str | Path | Failure], progress: bool = True
) -> list[Outcome]:
    """A Recognition of each file, also in folders, or a Failure that says why there is none."""
    recognizer.check_norm()
    files = list(find_files(paths))
    recognise = partial(recognizer.recognise_file, progress=progress and len(files) == 1)
    return of_each(files, recognise, "recognising", progress)


def of_each(
    files: Sequence[Path | Failure], call: Callable[[Path], Result], verb: str, progress: bool = True
) -> list[Result | Failure]:
    """What `call` makes of each file, or a Failure that says why there is nothing."""
    found: list[Result | Failure] = []
    for file in progress_bar(files, desc=verb, unit="file", disable=not progress or len(files) == 1):
        if isinstance(file, Failure):
            found.append(file)
            continue
        try:
            found.append(call(file))
        except Exception as error:  # no fault of one file, known or not, costs the others their answers
            found.append(Failure(name_of(file), reason(name_of(file), error)))
    return found


def without_overrides(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths, and `key=value`, which names no file."""
    overrides = [text for text in texts if "=" in text and not os.path.exists(text)]
    return [text for text in texts if text not in overrides], overrides


@dataclass(frozen=True)
class Asked:
    """The arguments of a command about recordings, folders looked through."""

    run_dir: str | Path
    overrides: list[str]
    recordings: list[Path | Failure]
    norm: list[Path | Failure]  # of the same speaker; empty where none were named

    @classmethod
    def by(cls, options: Namespace) -> "Asked":
        """What `options`, of testing.parsers, ask for."""
        paths, overrides = without_overrides(options.paths)
        mistyped = len(paths) > 1 and not os.path.exists(paths[0]) and not Path(paths[0]).suffix
        mistyped = mistyped and paths[0] != STANDARD_INPUT
        # the folder of a trial: load_run says that it is no run, rather than another network answers
        mistyped |= len(paths) > 1 and any(map(is_run_dir, Path(paths[0]).glob("*/")))
        run_dir = paths.pop(0) if paths and (is_run_dir(paths[0]) or mistyped) else SHIPPED_RUN
        if not paths:
            raise UserError("name a file or a folder")
        return cls(run_dir, overrides, list(find_files(paths)), list(find_files(options.same_speaker)))

    @property
    def inputs(self) -> list[Path]:
        """The files that no output may take the place of."""
        recordings = [one for one in self.recordings + self.norm if isinstance(one, Path)]
        return [*recordings, *files_of(self.run_dir), *files_of(ENROLLED_RUN)]

    def recognizer(self, sure: float, messages: TextIO) -> Recognizer:
        """The Recognizer of the run, for the speaker where a norm is named."""
        recognizer = Recognizer(self.run_dir, self.overrides, sure)
        if self.norm:
            recognizer = recognizer.enrol(self.norm, progress=len(self.norm) > 1)
            print(f"The speaker's norm: {many(recognizer.enrolled, 'recording')}.", file=messages)
        return recognizer


@command
def main(options: Namespace) -> None:
    asked = Asked.by(options)
    texts = {kind: path for kind in ("csv", "json") if (path := vars(options)[kind]) is not None}
    printed = [kind for kind, path in texts.items() if path in STDOUT]
    files = [path for kind, path in texts.items() if kind not in printed]
    check_outputs(files, asked.inputs)
    plot = [] if options.plots is None else [output_folder(options.plots) / "a.png"]
    try_outputs([*files, *plot], printed)
    recognizer = asked.recognizer(options.sure, sys.stderr if printed else sys.stdout)
    outcomes = recognise_files(recognizer, asked.recordings)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    for failure in failures:
        warn(failure.reason)
    if not printed:
        show(outcomes)
    writings: list[Callable[[], None]] = []
    for kind, path in texts.items():
        text = predictions.to_csv(outcomes, recognizer.emotions, CODES if options.codes else recognizer.words)
        if kind == "json":
            text = predictions.to_json(outcomes, options.codes)
        if kind in printed:
            print(text, end="")
        else:
            writings.append(partial(write_atomically, path, text))
    if options.plots is not None:
        writings += figures(outcomes, recognizer.emotions, output_folder(options.plots))
    problems = problems_of(writings)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if failures or problems:
        raise SystemExit(1)


def try_outputs(paths: Sequence[str | Path], printed: Sequence[str]) -> None:
    """Warn of outputs that cannot be written; a UserError where none of several, or the only one, can be."""
    problems = problems_of(partial(try_output, path) for path in paths)
    if problems and len(problems) == len(paths) and not printed:
        raise UserError("\n".join(problems))
    for problem in problems:
        warn(problem)


def show(outcomes: Sequence[Outcome]) -> None:
    """Print one file's answer and timeline, or the summary of several."""
    if len(outcomes) > 1:
        print(predictions.summary_table(outcomes))
    elif isinstance(outcomes[0], Recognition):
        print(f"{outcomes[0].name}: {outcomes[0].answer}")
        if outcomes[0].timeline:
            print("", predictions.timeline_table(outcomes[0]), sep="\n")


def figures(
    outcomes: Sequence[Outcome], emotions: Sequence[str], folder: Path
) -> Iterator[Callable[[], None]]:
    """Calls that write the figure of a recording's timeline as folder/NAME.png, separators of paths as _."""
    from utils.plots.style import save_figure

    def write(outcome: Recognition, name: str) -> None:
        save_figure(predictions.timeline_figure(outcome, emotions), folder / f"{name}.png")

    shown = [outcome for outcome in outcomes if isinstance(outcome, Recognition)]
    names = (Path(outcome.name) for outcome in shown)
    parts = ([part for part in name.relative_to(name.anchor).parts if part != ".."] for name in names)
    whole = ("_".join(some).encode(errors="replace") for some in parts)
    short = (name[-LONGEST_NAME:].decode(errors="ignore") for name in whole)
    for outcome, name in zip(shown, unique(short), strict=True):
        yield partial(write, outcome, name)

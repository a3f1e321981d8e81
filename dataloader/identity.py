"""Which recording is which, whatever its name: fingerprints of samples, and outlines that copies share.

A fingerprint is a hash of the samples at their own rate, so that a WAV and a FLAC of one recording have the
same. An outline is a small picture of the sound that survives codecs, gain, other rates and shifts in time:
how each band differs from the next (Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR
2002), as magnitudes of its Fourier transform over time, which a shift does not change. Where the angle of two
outlines is small, the waveforms are correlated. docs/reliability.md has misses and false alarms.
"""

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import soxr

from dataloader.audio import TRIM_DB, AudioError, Recording, read_mono, read_recording, silent
from dataloader.corpora.utterance import Corpus, Measures, Utterance
from utils.errors import UserError
from utils.files import archive_of, expanded, write_json
from utils.metrics import read_json
from utils.progress import progress_bar, warn

VERSION = 2  # raise it when other fingerprints, outlines or measures come from the same recordings
ALIKE = 0.94  # cosine of two outlines from which waveforms are compared; other recordings reach 0.971
CORRELATED = 0.5  # of two waveforms of one recording; copies have 0.6 and more, others up to 0.43
RATE, WINDOW, HOP = 8_000, 512, 160  # Hz; samples: 64 and 20 ms
LOWEST, HIGHEST = 250, 3_000  # Hz
BANDS = np.searchsorted(np.fft.rfftfreq(WINDOW, 1 / RATE), np.geomspace(LOWEST, HIGHEST, 17))  # bins
RHYTHMS = 0.35 * np.arange(16)  # Hz, of changes over time
QUIET = 1e-3  # of the loudest frame's power; what is below is no part of the outline
LEAST_CHANGE, LEAST_FRAMES = 2.0, 32  # dB; 0.6 s. Outlines of steadier or shorter sound look like others
BLOCK = 1_024  # outlines that are compared at a time
FRAMES = 40  # a second, in which silence at both ends is measured
Use = Callable[[Utterance, np.ndarray, int], None]  # samples (samples,) and their rate in Hz


def identified(
    utterances: Sequence[Utterance], index: Path, progress: bool = True, use: Use | None = None
) -> tuple[Utterance, ...]:
    """Utterances with their fingerprints, outlines and measures, or with the problem of reading them.

    `index` is a file that keeps them, as JSON. A recording is read again when its file is another one, or was
    changed, as size, times and place on disk tell (in a zip: size and CRC). `use` gets the sound of those
    that are read, in several threads.
    """
    known, states = _load(index), dict(zip(utterances, map(list, _states(utterances)), strict=True))
    entries = {str(one.path): entry for one in utterances if (entry := known.get(str(one.path)))}
    stale = [one for one in utterances if entries.get(str(one.path), [None])[0] != states[one]]
    for one in stale:
        entries.pop(str(one.path), None)
    bar = progress_bar(total=len(stale), desc="fingerprints", unit="file", disable=not (progress and stale))
    problems: dict[Utterance, str] = {}
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for one, found in zip(stale, pool.map(lambda one: _identity(one, use), stale), strict=True):
            if isinstance(found, AudioError):
                problems[one] = str(found)
            else:
                entries[str(one.path)] = [states[one], *found]
            bar.update()
    if entries != known:
        _save(index, entries)

    def known_as(one: Utterance) -> Utterance:
        if one in problems:
            return replace(one, problem=problems[one])
        _, name, picture, values = entries[str(one.path)]
        return replace(one, fingerprint=name, outline=base64.b64decode(picture), measures=Measures(*values))

    return tuple(map(known_as, utterances))


def identified_corpus(
    corpus: Corpus, cache_dir: str | Path, progress: bool = True, use: Use | None = None
) -> Corpus:
    """The same of a whole corpus, kept in `cache_dir`."""
    place = hashlib.sha256(f"{Path.cwd()} {corpus.root}".encode()).hexdigest()[:8]
    index = expanded(cache_dir) / f"{corpus.name[:40]}-{place}.fingerprints"
    return replace(corpus, utterances=identified(corpus.utterances, index, progress, use))


def fingerprint(samples: np.ndarray, rate: int) -> str:
    """The start of a hash of samples (samples,) at `rate` Hz, as they are in 24 bits."""
    whole = np.rint(samples * 2.0**23).astype("<i4")
    return hashlib.blake2b(whole.data, key=str(rate).encode(), digest_size=8).hexdigest()


def outline(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples (samples,) at `rate` Hz → uint8 (240,); all zeros where it is short or steady."""
    wave = np.pad(soxr.resample(samples, rate, RATE, quality="LQ"), WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1)) ** 2
    bands = np.add.reduceat(power, BANDS, axis=1)[:, :-1]  # (frames, 16)
    loud = bands.sum(1) > QUIET * bands.sum(1).max()
    steps = np.diff(10 * np.log10(np.maximum(bands, max(QUIET * bands.max(), 1e-20))), axis=1)[loud]
    steps = steps - steps.mean(0)
    seconds = np.flatnonzero(loud) * HOP / RATE
    magnitudes = np.abs(np.exp(-2j * np.pi * np.outer(RHYTHMS, seconds)) @ steps).ravel()
    if len(steps) < LEAST_FRAMES or np.sqrt((steps**2).mean()) < LEAST_CHANGE:
        magnitudes[:] = 0
    return np.rint(255 * magnitudes / max(magnitudes.max(), 1e-9)).astype(np.uint8)


def copies(utterances: Sequence[Utterance]) -> dict[str, str]:
    """Name → name of the first utterance that is the same recording, of each utterance that is not itself it.

    Recordings are the same with equal fingerprints, or with outlines that are nearly so and waveforms that
    correlate.
    """
    outlined = [row for row, one in enumerate(utterances) if any(one.outline)]
    outlines = np.array([np.frombuffer(utterances[row].outline, np.uint8) for row in outlined], np.float32)
    first = list(range(len(utterances)))  # of each row, a row before it that is the same, or itself

    def home(row: int) -> int:
        while first[row] != row:
            row = first[row]
        return row

    def join(one: int, other: int) -> None:
        one, other = sorted((home(one), home(other)))
        first[other] = one

    seen: dict[str, int] = {}
    for row, one in enumerate(utterances):
        if one.fingerprint:
            join(seen.setdefault(one.fingerprint, row), row)
    if outlined:
        outlines /= np.linalg.norm(outlines, axis=1, keepdims=True)
    for start in range(0, len(outlined), BLOCK):
        alike = np.triu(outlines[start : start + BLOCK] @ outlines[start:].T, 1) > ALIKE
        for one, other in np.argwhere(alike) + start:
            one, other = outlined[one], outlined[other]
            if home(one) != home(other) and correlation(utterances[one], utterances[other]) > CORRELATED:
                join(one, other)
    homes = ((one, utterances[home(row)]) for row, one in enumerate(utterances))
    return {one.name: other.name for one, other in homes if one is not other}


def correlation(one: Utterance, other: Utterance) -> float:
    """The highest correlation of two recordings at any shift, in the frequencies of outlines: 0 to 1."""
    import scipy.fft

    try:
        waves = [soxr.resample(*read_mono(of.path, say=silent), RATE, quality="LQ") for of in (one, other)]
    except AudioError:
        return 0.0  # gone since its outline was made
    size = scipy.fft.next_fast_len(sum(map(len, waves)), real=True)
    frequencies = scipy.fft.rfftfreq(size, 1 / RATE)
    heard = (frequencies > LOWEST) & (frequencies < HIGHEST)
    first, second = (scipy.fft.rfft(wave, size) * heard for wave in waves)
    energies = [np.square(scipy.fft.irfft(spectrum, size)).sum() for spectrum in (first, second)]
    return float(np.abs(scipy.fft.irfft(first * second.conj(), size)).max() / np.sqrt(np.prod(energies)))


def recorded(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Name → fingerprint and emotion, as a split keeps them: what a result depends on, of each recording."""
    return {one.name: f"{one.fingerprint} {one.emotion}" for one in utterances if one.fingerprint}


def _identity(utterance: Utterance, use: Use | None) -> tuple[str, str, Measures] | AudioError:
    remarks: list[str] = []
    try:
        recording = read_recording(utterance.path, say=remarks.append)
    except AudioError as error:
        return error
    samples, rate = recording[:2]
    if use:
        use(utterance, samples, rate)
    picture = base64.b64encode(outline(samples, rate).tobytes()).decode()
    return fingerprint(samples, rate), picture, measured(recording, remarks)


def measured(recording: Recording, remarks: Sequence[str] = ()) -> Measures:
    """The measures of a recording; levels are of frames of 25 ms."""
    samples, rate, channels, coding, clipped = recording
    size = max(rate // FRAMES, 1)
    levels = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size).std(axis=1)
    loud = np.flatnonzero(levels >= levels.max() * 10 ** (-TRIM_DB / 20))
    seconds, before, end = len(samples) / rate, loud[0] * size / rate, (loud[-1] + 1) * size / rate
    level = 10 * np.log10(np.mean(np.square(samples), dtype=np.float64))
    after = max(seconds - end, 0.0)
    return Measures(seconds, rate, channels, coding, round(level, 2), clipped, before, after, list(remarks))


def _states(utterances: Iterable[Utterance]) -> Iterable[Sequence[int | str]]:
    """Of each recording's file, values of which one changes when the file does."""
    archives: dict[Path, dict[str, tuple[int, int]]] = {}
    for path in (utterance.path for utterance in utterances):
        archive = archive_of(path)
        try:
            if archive is None:
                status = path.stat()
                yield status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                continue
            if archive not in archives:
                with zipfile.ZipFile(archive) as file:
                    archives[archive] = {i.filename: (i.file_size, i.CRC) for i in file.infolist()}
            yield archives[archive][path.relative_to(archive).as_posix()]
        except (OSError, zipfile.BadZipFile, KeyError):
            yield ("gone",)  # since the corpus was listed; reading it will say more


def _load(index: Path) -> dict[str, list]:
    """Path → [state, fingerprint, outline]; nothing where the file is missing, damaged or of other code."""
    if not index.exists():
        return {}
    try:
        content = read_json(index)
        return content["recordings"] if content["version"] == VERSION else {}
    except (UserError, KeyError, TypeError) as error:
        warn(f"the fingerprints in {index} are damaged ({error}); they are made anew.")
        return {}


def _save(index: Path, entries: dict[str, list]) -> None:
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        write_json(index, {"version": VERSION, "recordings": entries})
    except (OSError, UserError) as error:
        warn(f"the fingerprints are not kept for the next time: {error}")

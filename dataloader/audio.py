"""Sound files to waveforms of one channel, one sample rate and one length; errors name unusable files."""

import atexit
import importlib.util
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from dataloader.corpora.archives import read_member
from utils.config import FeaturesConfig
from utils.errors import UserError

SAMPLE_RATE = 22_050  # Hz
LOWEST_SAMPLE_RATE = 4_000  # Hz; below it no speech is recorded, so a header that says so is corrupt
HIGHEST_SAMPLE_RATE = 768_000  # Hz; the same above
LOUDEST = 2.0**32  # where 1 is full scale: floats may hold whole numbers of 32 bits, and nothing beyond
SHORTEST = 0.05  # seconds; nothing shorter is an utterance
SILENCE = 1e-4  # peak-to-peak amplitude, three steps of 16 bits; EMOVO's quietest recording has 0.03
TRIM_DB = 30.0  # dB below the loudest frame; the quietest frames of EMOVO's median recording lie at 46
LEVEL = 0.05  # root mean square of a normalised recording; EMOVO's median is 0.026
LEVEL_FRAME = 2_048  # samples
BLOCK = 10  # seconds that are read at a time
BLOCK_VALUES = 2**22  # samples × channels that are read at a time, at most: 16 MiB
UNKNOWN_SIZE = 0x7FFF_0000  # bytes; programs that write to a pipe claim this much or more
UNKNOWN_LENGTH = 2**63 - 1  # samples; libsndfile says so of a FLAC that was written to a pipe

# libsndfile reduces a header's claim to the samples there are, and reports that only in its log.
TRUNCATED = re.compile(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)")


class _Forwards(soundfile.SoundFile):
    """A sound file that is read from its start to its end: no seeking, which fails where a header lies."""

    def seekable(self) -> bool:
        return False


class AudioError(UserError):
    """A file that cannot be used as speech; the message names it and says why."""


class SilenceError(AudioError):
    """The same, where all is well but that there is no sound in it."""


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a sound file as a mono waveform.

    Args:
        path: a file of any format that libsndfile reads (WAV, FLAC, OGG, MP3, …), of any rate and number of
            channels. It may lie inside a zip (`EMOVO.zip/EMOVO/f1/dis-f1-b1.wav`), which is never unpacked.
        sample_rate: of the result, in Hz.

    Returns:
        float32 (samples,): the mean of the channels, resampled as librosa.resample(res_type="soxr_hq") does.
        A file that is missing, not audio, cut short, corrupt, too short or silent is an AudioError.
    """
    samples, rate = read_mono(path)
    return soxr.resample(samples, rate, sample_rate, quality="HQ")


def read_mono(path: str | Path) -> tuple[np.ndarray, int]:
    """The mean of a sound file's channels, float32 (samples,), and its own rate in Hz; as read_audio."""
    with _opened(path, io.BytesIO(_read_bytes(Path(path)))) as file:
        channels = np.concatenate([np.zeros((0, file.channels), np.float32), *_blocks(file, path)])
        rate = file.samplerate
    _check_length(len(channels), rate, path)
    return _mono(channels, rate, path), rate


def to_waveform(
    sound: np.ndarray, rate: int, sample_rate: int = SAMPLE_RATE, name: str | Path = "the sound"
) -> np.ndarray:
    """Sound as it was recorded → a mono waveform; result and errors as in read_audio.

    Args:
        sound: (samples,) or (samples, channels); floats with full scale 1, or integers.
        rate, sample_rate: of the sound and of the result, in Hz.
        name: for errors.
    """
    return soxr.resample(_mono(sound, rate, name), rate, sample_rate, quality="HQ")


def audio_seconds(path: str | Path) -> float:
    """How long a sound file is, by its header; where the header does not say, the file is read."""
    with _opened(path, _source(Path(path))) as file:
        _check_rate(file.samplerate, path)
        unknown = file.frames == UNKNOWN_LENGTH
        return (sum(map(len, _blocks(file, path))) if unknown else file.frames) / file.samplerate


def stream_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
    """As read_audio, block by block: for recordings of hours, of which only a block is in memory.

    Yields float32 (samples,) of any length, the same but for rounding; silence is no error.
    """
    with _opened(path, _source(Path(path))) as file:
        _check_rate(file.samplerate, path)
        resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
        for channels in _blocks(file, path):
            _check_values(channels, path)
            yield resampler.resample_chunk(channels.mean(axis=1))
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def condition(waveform: np.ndarray, features: FeaturesConfig) -> np.ndarray:
    """Trim and level a whole utterance (samples,), in training and recognition alike: (samples or fewer,).

    `features.trim_silence` cuts off both ends, as far as frames are more than TRIM_DB below the loudest
    (librosa.effects.trim); `normalise_level` then scales the rest to a root mean square of LEVEL.
    """
    if features.trim_silence:
        waveform = import_librosa().effects.trim(waveform, top_db=TRIM_DB)[0]
    if features.normalise_level:
        rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
        waveform = waveform * np.float32(LEVEL / rms) if rms > 0 else waveform
    return waveform


def import_librosa() -> ModuleType:
    """librosa, imported when it is first needed, for that takes a second.

    Numba caches compiled code beside librosa or in the user's home; where neither can be written, a folder
    must be named.
    """
    found = importlib.util.find_spec("librosa")
    places = [os.path.expanduser("~"), *((found and found.submodule_search_locations) or [])]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in places):
        folder = tempfile.mkdtemp(prefix="cktim-numba-")  # its own: the code that lies there is run
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import librosa

    return librosa


def fit_length(waveform: np.ndarray, signal_length: int) -> np.ndarray:
    """Pad a waveform (samples,) with zeros on both sides, or cut it on both, to (signal_length,)."""
    surplus = len(waveform) - signal_length
    if surplus >= 0:
        return waveform[surplus // 2 : surplus // 2 + signal_length]
    return np.pad(waveform, (-surplus // 2, -surplus - (-surplus // 2)))


def windows(blocks: Iterable[np.ndarray], length: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of a waveform → windows (length,) that overlap, each with its first sample's place.

    The last one ends with the waveform, so it may overlap more. A waveform that is shorter is one window.
    """
    start, end, kept = 0, 0, np.zeros(0, np.float32)  # end: of the last window
    for block in blocks:
        kept = np.concatenate([kept, block])
        while len(kept) >= length + hop:  # more than a hop is left for the last one
            yield start, kept[:length]
            end, start, kept = start + length, start + hop, kept[hop:]
    if len(kept) >= length:
        yield start, kept[:length]
        end = start + length
    if start + len(kept) > end:
        surplus = max(len(kept) - length, 0)
        yield start + surplus, kept[surplus:]


def loudest_level(waveform: np.ndarray) -> float:
    """The standard deviation of the loudest frame: a constant offset is no sound."""
    starts = range(0, len(waveform), LEVEL_FRAME)
    return max(float(waveform[start : start + LEVEL_FRAME].std()) for start in starts)


@contextmanager
def _opened(path: str | Path, source: BinaryIO) -> Iterator[_Forwards]:
    """A sound file to be read from `source`; whatever fails meanwhile is an AudioError that names `path`."""
    try:
        with source, _Forwards(source) as file:
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error))
        raise AudioError(f"{path} is not audio, or corrupt ({reason.strip()})") from error


def _blocks(file: _Forwards, path: str | Path) -> Iterator[np.ndarray]:
    """All sound of a file, float32 (samples, channels) each.

    A header may claim any length, so no more memory is taken than a block needs. An AudioError follows the
    last one where there were fewer samples than claimed.
    """
    size = max(1, min(BLOCK * file.samplerate, BLOCK_VALUES // file.channels))
    count = 0
    while len(channels := file.read(size, dtype="float32", always_2d=True)):
        count += len(channels)
        yield channels
    claims = ((int(claimed), int(present)) for claimed, present in TRUNCATED.findall(file.extra_info))
    cut = any(present < claimed < UNKNOWN_SIZE for claimed, present in claims)
    if cut or count != file.frames != UNKNOWN_LENGTH:
        raise AudioError(f"{path} is cut short: it holds less sound than its header says")


def _check_rate(rate: int, name: str | Path) -> None:
    if not LOWEST_SAMPLE_RATE <= rate <= HIGHEST_SAMPLE_RATE:
        limits = f"{LOWEST_SAMPLE_RATE} to {HIGHEST_SAMPLE_RATE}"
        raise AudioError(f"{name} has a sample rate of {rate} Hz; it must be {limits}")


def _check_length(samples: int, rate: int, name: str | Path) -> None:
    _check_rate(rate, name)
    if samples < int(SHORTEST * rate):  # half a sample does not count
        raise AudioError(f"{name} is too short: {samples} samples, less than {SHORTEST} s")


def _check_values(channels: np.ndarray, name: str | Path) -> None:
    peak = np.abs(channels).max(initial=0)
    if not np.isfinite(peak):
        raise AudioError(f"{name} holds samples that are not finite numbers")
    if peak > LOUDEST:
        raise AudioError(f"{name} is corrupt: it holds samples of {peak:.3g}, where 1 is full scale")


def _mono(sound: np.ndarray, rate: int, name: str | Path) -> np.ndarray:
    """The mean of the channels (samples,); an AudioError where it is no speech."""
    channels = _as_channels(sound, name)
    _check_length(len(channels), rate, name)
    _check_values(channels, name)
    samples = channels.mean(axis=1)
    if np.ptp(samples) < SILENCE:
        raise SilenceError(f"{name} is silent")
    return samples


def _as_channels(sound: np.ndarray, name: str | Path) -> np.ndarray:
    """A waveform as somebody has it → float32 (samples, channels)."""
    sound = np.asarray(sound)
    sound = sound[:, None] if sound.ndim == 1 else sound
    if sound.ndim != 2 or sound.dtype.kind not in "fiu" or sound.shape[1] == 0:
        problem = f"{name} has the shape {sound.shape} and the type {sound.dtype}"
        raise AudioError(f"{problem}; (samples,) or (samples, channels) are needed, of real numbers.")
    if sound.shape[1] > sound.shape[0] > 0:
        raise AudioError(f"{name} has more channels than samples, {sound.shape}: transpose it.")
    if sound.dtype.kind == "i":
        return sound.astype(np.float32) / -float(np.iinfo(sound.dtype).min)
    if sound.dtype.kind == "u":  # as 8 bits are in a WAV
        half = (float(np.iinfo(sound.dtype).max) + 1) / 2
        return ((sound - half) / half).astype(np.float32)
    return sound.astype(np.float32)


def _source(path: Path) -> BinaryIO:
    """A file to be read where it lies; a member of a zip is read whole."""
    if not path.is_file():
        return io.BytesIO(_read_bytes(path))
    try:
        return path.open("rb")
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror or error})") from error


def _read_bytes(path: Path) -> bytes:
    """The content of a file on disk or of a member of a zip."""
    try:
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None:
            return path.read_bytes()
        with zipfile.ZipFile(archive) as file:
            return read_member(file, path.relative_to(archive).as_posix())
    except KeyError:
        raise AudioError(f"{path} is not in {archive}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error

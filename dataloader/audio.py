"""Sound files to waveforms of one channel, one sample rate and one length; errors name unusable files."""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soxr

from dataloader.corpora.archives import read_member
from dataloader.decode import AudioError as AudioError
from dataloader.decode import Sound, block_size, decoded
from utils.config import FeaturesConfig
from utils.files import archive_of
from utils.progress import warn

SAMPLE_RATE = 22_050  # Hz
LOWEST_SAMPLE_RATE = 4_000  # Hz; below it no speech is recorded, so a header that says so is corrupt
HIGHEST_SAMPLE_RATE = 768_000  # Hz; the same above
FULL_SCALE = 0.999  # clipped samples reach it, but for what a codec makes of them
FAINT_PEAK = 0.1  # below it three equal peaks in a row are rounding
LOUDEST = 16.0  # where 1 is full scale; floats may exceed it a little, and integers in floats do by far
SHORTEST = 0.05  # seconds; nothing shorter is an utterance
NEAR_SILENCE = 1e-3  # level of the loudest frame, 60 dB below full scale; EMOVO's faintest recording: 47
STEADY = 2.0  # least ratio of loud to faint frames in speech; 4.6 in EMOVO, 1.05 in white noise
ROUNDING = 1e-4  # peak to peak, three steps of 16 bits: with no more than STEPS values it is no sound
STEPS = 8
NO_SOUND = 0.01  # of the loudest channel's level, 40 dB below it; within 10 dB in EMOVO
OPPOSITE = -0.9  # correlation with the loudest channel; above -0.7 in EMOVO
TRIM_DB = 30.0  # dB below the loudest frame; the quietest frames of EMOVO's median recording lie at 46
LEVEL = 0.05  # root mean square of a normalised recording; EMOVO's median is 0.026
LEVEL_FRAME = 2_048  # samples


class SilenceError(AudioError):
    """The same, where all is well but that there is no sound in it."""


Say = Callable[[str], None]  # gets remarks on what was done with a recording


def silent(remark: str) -> None:
    """Say nothing: of a corpus's recordings it is said when their features are extracted."""


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE, say: Say = warn) -> np.ndarray:
    """Read a sound file as a mono waveform.

    Args:
        path: a file of any format that libsndfile or FFmpeg reads (WAV, MP3, M4A, WebM, …), a video's sound
            track too, of any rate and number of channels. It may lie inside a zip
            (`EMOVO.zip/EMOVO/f1/dis-f1-b1.wav`), which is never unpacked.
        sample_rate: of the result, in Hz.
        say: gets a remark for each channel that is left out.

    Returns:
        float32 (samples,): the mean of the channels without a constant offset, resampled as
        librosa.resample(res_type="soxr_hq") does. Channels without sound, with nothing but noise beside
        another's speech, or of opposite polarity are left out. A file that is missing, not audio, cut short,
        corrupt, too short or silent is an AudioError.
    """
    samples, rate = read_mono(path, say)
    return resample(samples, rate, sample_rate)


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """A waveform (samples,) of `rate` Hz at `sample_rate` Hz, as librosa.resample(res_type="soxr_hq")."""
    return soxr.resample(samples, rate, sample_rate, quality="HQ")


class Recording(NamedTuple):
    """A recording as it was made, its channels as one."""

    samples: np.ndarray  # float32 (samples,)
    rate: int  # Hz
    channels: int
    coding: str  # `wav pcm_16`, `mp3`
    clipped: int  # samples that are cut off at the same peak as their neighbours


def read_recording(path: str | Path, say: Say = warn) -> Recording:
    """As read_audio, at the file's own rate."""
    clipped = 0

    def watched(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal clipped
        for block in blocks:
            clipped += clipped_samples(block)
            yield block

    with decoded(io.BytesIO(_read_bytes(Path(path))), str(path)) as sound:
        samples = _mono(watched(sound.blocks), sound.rate, sound.channels, path, say)
        return Recording(samples, sound.rate, sound.channels, sound.coding, clipped)


def read_mono(path: str | Path, say: Say = warn) -> tuple[np.ndarray, int]:
    """The samples and the rate of read_recording."""
    return read_recording(path, say)[:2]


def clipped_samples(channels: np.ndarray) -> int:
    """How many samples (samples, channels) lie between two that are at their channel's peak as they are."""
    counts = [0]
    for loud in np.abs(channels.T):
        peak = loud.max(initial=0)
        at = np.flatnonzero(loud >= min(peak, FULL_SCALE))
        counts.append(int((at[2:] - at[:-2] == 2).sum()) if peak > FAINT_PEAK else 0)
    return max(counts)


def to_waveform(
    sound: np.ndarray,
    rate: int,
    sample_rate: int = SAMPLE_RATE,
    name: str | Path = "the sound",
    say: Say = warn,
) -> np.ndarray:
    """Sound as it was recorded → a mono waveform; result and errors as in read_audio.

    Args:
        sound: (samples,) or (samples, channels), as as_channels takes it.
        rate, sample_rate: of the sound and of the result, in Hz.
        name: for errors and remarks.
    """
    channels = as_channels(sound, name, say)
    _check_length(len(channels), rate, name)
    size = block_size(int(rate), channels.shape[1])
    blocks = (channels[start : start + size] for start in range(0, len(channels), size))
    return resample(_mono(blocks, rate, channels.shape[1], name, say), rate, sample_rate)


@contextmanager
def opened(path: str | Path) -> Iterator[Sound]:
    """A sound file as it was recorded, block by block."""
    with _source(Path(path)) as file, decoded(file, str(path)) as sound:
        check_rate(sound.rate, path)
        yield sound


def audio_seconds(path: str | Path) -> float:
    """How long a sound file is; where its header cannot say so for certain, it is decoded."""
    with opened(path) as sound:
        frames = sum(map(len, sound.blocks)) if sound.frames is None else sound.frames
        return frames / sound.rate


def stream_audio(path: str | Path, sample_rate: int = SAMPLE_RATE, say: Say = warn) -> Iterator[np.ndarray]:
    """As read_audio, block by block: for recordings of hours, of which only a block is in memory.

    Yields float32 (samples,) of any length, the same but for rounding; silence is no error.
    """
    with opened(path) as sound:
        resampler = soxr.ResampleStream(sound.rate, sample_rate, 1, dtype="float32", quality="HQ")
        to_mono = _Mixer(sound.rate, sound.channels, path, say)
        for channels in sound.blocks:
            yield resampler.resample_chunk(to_mono(channels))
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def as_channels(sound: np.ndarray, name: str | Path = "the sound", say: Say = warn) -> np.ndarray:
    """A waveform as somebody has it → float32 (samples, channels) with full scale 1.

    Floats are taken as they are. Integers count by the width that their values have, not their type: 16-bit
    values in int64 are 16-bit sound. An AudioError for what is no sound.
    """
    channels = checked_channels(sound, name)
    if channels.shape[1] > channels.shape[0] > 0:
        raise AudioError(f"{name} has more channels than samples, {channels.shape}: transpose it.")
    if channels.dtype.kind == "f" or not channels.size:
        return channels.astype(np.float32)
    return _scaled(channels, name, say)


def checked_channels(sound: np.ndarray, name: str | Path) -> np.ndarray:
    """(samples,) or (samples, channels) → (samples, channels) as they are; an AudioError for all else."""
    try:
        sound = np.atleast_1d(np.asarray(sound))  # a masked array has other methods
    except (ValueError, TypeError, RuntimeError) as error:
        raise AudioError(f"{name} is not an array of samples ({error})") from error
    sound = sound[:, None] if sound.ndim == 1 else sound
    if sound.ndim != 2 or sound.dtype.kind not in "fiu" or sound.shape[1] == 0:
        kinds = {"c": "complex numbers", "b": "truth values", "O": "objects", "U": "text", "S": "text"}
        problem = f"{name} has the shape {sound.shape} and holds {kinds.get(sound.dtype.kind, sound.dtype)}"
        raise AudioError(f"{problem}; (samples,) or (samples, channels) are needed, of real numbers.")
    return sound


def condition(waveform: np.ndarray, features: FeaturesConfig) -> np.ndarray:
    """Trim and level a whole utterance (samples,), in training and recognition alike: (samples or fewer,).

    `features.trim_silence` cuts off both ends, as far as frames are more than TRIM_DB below the loudest, as
    librosa.effects.trim does; `normalise_level` then scales the rest to a root mean square of LEVEL.
    """
    if features.trim_silence:
        waveform = _trimmed(waveform)
    if features.normalise_level:
        rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
        waveform = waveform * np.float32(LEVEL / rms) if rms > 0 else waveform
    return waveform


def _trimmed(waveform: np.ndarray) -> np.ndarray:
    hop = LEVEL_FRAME // 4
    frames = 1 + len(waveform) // hop
    pieces = np.pad(waveform, LEVEL_FRAME // 2)[: hop * (frames + 3)].reshape(-1, hop)
    energy = np.square(pieces, dtype=np.float64).sum(axis=1)
    power = np.convolve(energy, np.ones(4), "valid") / LEVEL_FRAME
    power = np.maximum(power, 1e-10)
    loud = np.flatnonzero(power > power.max() * 10 ** (-TRIM_DB / 10))
    return waveform[hop * loud[0] : hop * (loud[-1] + 1)]


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
    whole = len(waveform) // LEVEL_FRAME * LEVEL_FRAME
    levels = waveform[:whole].reshape(-1, LEVEL_FRAME).std(axis=1).max(initial=0)
    return float(max(levels, waveform[whole:].std() if whole < len(waveform) else 0))


def is_silent(waveform: np.ndarray) -> bool:
    """Whether there is nothing but faint, steady noise: faint speech comes and goes."""
    if waveform @ waveform > len(waveform) * (10 * NEAR_SILENCE) ** 2:
        return False  # soon seen of most
    return loudest_level(waveform) < NEAR_SILENCE and _swing(waveform) < STEADY


class _Mixer:
    """Blocks of channels, float32 (samples, channels), to blocks of one (samples,), as read_audio says.

    A block's mean is its offset, and each block has its own choice of channels; a short last one shares those
    of the block before it. Each remark is made once.
    """

    def __init__(self, rate: float, channels: int, name: str | Path, say: Say):
        self.name, self.say, self.said = name, say, set[str]()
        self.shortest = block_size(int(rate), channels) // 2  # samples
        self.kept: list[int] = []
        self.offset = np.float32(0)

    def __call__(self, channels: np.ndarray) -> np.ndarray:
        check_values(channels, self.name)
        choose = not self.kept or len(channels) >= self.shortest
        if choose:
            self.kept = self._choose(channels)
        kept = channels if len(self.kept) == channels.shape[1] else channels[:, self.kept]
        mono = kept[:, 0] if kept.shape[1] == 1 else kept.mean(axis=1)
        if choose:
            self.offset = mono.mean(dtype=np.float64).astype(np.float32)
        mono = mono - self.offset
        if np.ptp(mono) < ROUNDING and len(np.unique(mono)) <= STEPS:
            mono[:] = 0  # what dither and rounding leave of silence
        return mono

    def _choose(self, channels: np.ndarray) -> list[int]:
        """The channels that are kept."""
        count = channels.shape[1]
        if count == 1:
            return [0]
        channels = channels - channels.mean(axis=0, dtype=np.float64).astype(np.float32)
        levels = channels.std(axis=0)
        swings = [_swing(channels[:, index]) for index in range(count)]
        noise = [max(swings) > STEADY**2 and swing < STEADY for swing in swings]
        loudest = max(range(count), key=lambda index: (not noise[index], levels[index]))
        products = channels.T @ channels[:, loudest] / len(channels)
        kept = []
        for index, level in enumerate(levels):
            if level < NO_SOUND * levels[loudest]:
                reason = "has no sound"
            elif noise[index]:
                reason = "has nothing but noise"
            elif products[index] < OPPOSITE * level * levels[loudest]:
                reason = f"has the opposite polarity of channel {loudest + 1}"
            else:
                kept.append(index)
                continue
            remark = f"{self.name}: channel {index + 1} of {count} {reason}, and is left out"
            if remark not in self.said:
                self.said.add(remark)
                self.say(remark)
        return kept


def _swing(waveform: np.ndarray) -> float:
    """The ratio of loud frames to faint ones (the 90th percentile of their levels to the 10th)."""
    frames = waveform[: len(waveform) // LEVEL_FRAME * LEVEL_FRAME].reshape(-1, LEVEL_FRAME)
    if len(frames) < 2:
        return 1.0
    faint, loud = np.quantile(frames.std(axis=1), [0.1, 0.9])
    return float(loud / max(faint, 1e-7))


def _mono(blocks: Iterable[np.ndarray], rate: float, channels: int, name: str | Path, say: Say) -> np.ndarray:
    """All blocks as one channel (samples,); an AudioError where it is no speech."""
    check_rate(rate, name)
    samples = np.concatenate([np.zeros(0, np.float32), *map(_Mixer(rate, channels, name, say), blocks)])
    _check_length(len(samples), rate, name)
    if is_silent(samples):
        raise SilenceError(f"{name} is silent")
    return samples


def _scaled(sound: np.ndarray, name: str | Path, say: Say) -> np.ndarray:
    """Integers → floats with full scale 1, by the width of the values."""
    low, high, middle = int(sound.min()), int(sound.max()), float(sound.mean())
    own = 8 * sound.dtype.itemsize
    for bits in (8, 16, 24, own):  # without a sign, silence is in the middle, as 8 bits are in a WAV
        full = 2.0**bits
        fits = bits <= own and low >= 0 and 0.6 * full < high < full and 0.4 * full < middle < 0.6 * full
        if fits or (bits == own and sound.dtype.kind == "u"):
            return (sound / (full / 2) - 1).astype(np.float32)
    bits = signed_bits(sound)
    if bits == 24 and not (sound & 0xFF).any():
        bits = 32  # 24 bits in the upper bytes of 32
    elif bits == 24:
        say(f"{name} is taken for 24-bit sound; if it is faint sound of {own} bits, give it as floats")
    return (sound / 2.0 ** (bits - 1)).astype(np.float32)


def signed_bits(sound: np.ndarray) -> int:
    """The width of signed integers by their values: 16 (8 of the type of 8 bits), 24, 32 or 64."""
    low, high = int(sound.min()), int(sound.max())
    widths = (min(8 * sound.dtype.itemsize, 16), 24, 32, 64)
    return next(bits for bits in widths if -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1))


def check_rate(rate: float, name: str | Path) -> None:
    """Raise an AudioError where this is no sample rate of speech, in Hz."""
    if not isinstance(rate, (int, float, np.number)):
        raise AudioError(f"{name} has the sample rate {rate!r}; a number of Hz is needed")
    if not LOWEST_SAMPLE_RATE <= rate <= HIGHEST_SAMPLE_RATE:
        limits = f"{LOWEST_SAMPLE_RATE} to {HIGHEST_SAMPLE_RATE}"
        raise AudioError(f"{name} has a sample rate of {rate} Hz; it must be {limits}")


def _check_length(samples: int, rate: float, name: str | Path) -> None:
    check_rate(rate, name)
    if samples < int(SHORTEST * rate):  # half a sample does not count
        raise AudioError(f"{name} is too short: {samples} samples, less than {SHORTEST} s")


def check_values(channels: np.ndarray, name: str | Path) -> None:
    """Raise an AudioError where floats with full scale 1 are not finite or far louder."""
    peak = max(channels.max(initial=0), -channels.min(initial=0))
    if not np.isfinite(peak):
        raise AudioError(f"{name} holds samples that are not finite numbers")
    if peak > LOUDEST:
        cure = "divide it by its full scale (32768 of 16-bit sound)"
        raise AudioError(f"{name} holds samples of {peak:.3g}, where 1 is full scale: {cure}.")


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
        if (archive := archive_of(path)) is None:
            return path.read_bytes()
        with zipfile.ZipFile(archive) as file:
            return read_member(file, path.relative_to(archive).as_posix())
    except KeyError:
        raise AudioError(f"{path} is not in {archive}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error

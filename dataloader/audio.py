"""Sound files to waveforms of one channel, one sample rate and one length; what is no speech is named."""

import io
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import soundfile
import soxr

from utils.config import FeaturesConfig
from utils.errors import UserError

SAMPLE_RATE = 22_050  # Hz
LOWEST_SAMPLE_RATE = 4_000  # Hz; below it no speech is recorded, so a header that says so is corrupt
SHORTEST = 0.05  # seconds; nothing shorter is an utterance
SILENCE = 1e-4  # peak-to-peak amplitude, three steps of 16 bits; EMOVO's quietest recording has 0.03
TRIM_DB = 30.0  # dB below the loudest frame; the quietest frames of EMOVO's median recording lie at 46
LEVEL = 0.05  # root mean square of a normalised recording; EMOVO's median is 0.026
UNKNOWN_SIZE = 0x7FFF_0000  # bytes; programs that write to a pipe claim this much or more

# libsndfile cuts a header's claim down to what is there, and says so only in its log.
TRUNCATED = re.compile(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)")


class AudioError(UserError):
    """A file that cannot be used as speech; the message names it and says why."""


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a sound file as a mono waveform.

    Args:
        path: a file of any format that libsndfile reads (WAV, FLAC, OGG, MP3, …), of any rate and number of
            channels. It may lie inside a zip (`EMOVO.zip/EMOVO/f1/dis-f1-b1.wav`), which is never unpacked.
        sample_rate: of the result, in Hz.

    Returns:
        float32 array (samples,): the mean of the channels, resampled as librosa.resample(res_type="soxr_hq")
        does. The top mel bands depend on the resampler, so there is one for everything.

    Raises:
        AudioError: when the file is missing, is not audio, is cut short or corrupt, is too short, is silent,
            or holds values that are not finite.
    """
    data = _read_bytes(Path(path))
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, frames, log = file.samplerate, file.frames, file.extra_info
            channels = file.read(dtype="float32", always_2d=True)  # (samples, channels)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error))
        raise AudioError(f"{path} is not audio, or corrupt ({reason.strip()})") from error

    claims = ((int(claimed), int(present)) for claimed, present in TRUNCATED.findall(log))
    if len(channels) != frames or any(present < claimed < UNKNOWN_SIZE for claimed, present in claims):
        raise AudioError(f"{path} is cut short: it holds less sound than its header says")
    if rate < LOWEST_SAMPLE_RATE:
        raise AudioError(f"{path} has a sample rate of {rate} Hz; at least {LOWEST_SAMPLE_RATE} are needed")
    if len(channels) < SHORTEST * rate:
        raise AudioError(f"{path} is too short: {len(channels)} samples, less than {SHORTEST} s")
    if not np.isfinite(channels).all():
        raise AudioError(f"{path} holds samples that are not finite numbers")
    waveform = channels.mean(axis=1)
    if np.ptp(waveform) < SILENCE:
        raise AudioError(f"{path} is silent")
    return soxr.resample(waveform, rate, sample_rate, quality="HQ")


def condition(waveform: np.ndarray, features: FeaturesConfig) -> np.ndarray:
    """Take from a recording what its maker's habits and microphone put there, as the configuration says.

    Training and prediction both read through this, so that they cannot differ.

    Args:
        waveform: (samples,), one whole utterance at `features.sample_rate`.
        features: `trim_silence` cuts off what comes before the first frame, and after the last one, that is
            less than TRIM_DB below the loudest (librosa.effects.trim); `normalise_level` then scales what is
            left to a root mean square of LEVEL.

    Returns:
        float32 (samples or fewer,).
    """
    if features.trim_silence:
        from librosa.effects import trim  # here, for librosa takes a second to import

        waveform = trim(waveform, top_db=TRIM_DB)[0]
    if features.normalise_level:
        rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
        waveform = waveform * np.float32(LEVEL / rms) if rms > 0 else waveform
    return waveform


def fit_length(waveform: np.ndarray, signal_length: int) -> np.ndarray:
    """Pad a waveform (samples,) with zeros on both sides, or cut it on both, to (signal_length,)."""
    surplus = len(waveform) - signal_length
    if surplus >= 0:
        return waveform[surplus // 2 : surplus // 2 + signal_length]
    return np.pad(waveform, (-surplus // 2, -surplus - (-surplus // 2)))


def _read_bytes(path: Path) -> bytes:
    """The content of a file on disk or of a member of a zip."""
    try:
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None:
            return path.read_bytes()
        with zipfile.ZipFile(archive) as file:
            return file.read(path.relative_to(archive).as_posix())
    except KeyError:
        raise AudioError(f"{path} is not in {archive}") from None
    # RuntimeError: a zip is encrypted, or packed in a way that Python does not know
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise AudioError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error

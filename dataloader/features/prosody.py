"""Pitch, voicing, level and brightness beside the MFCCs (`features.prosody`)."""

import numpy as np
import torch
from torch import Tensor

from dataloader.audio import import_librosa
from utils.config import PROSODY, FeaturesConfig
from utils.errors import UserError

PITCH_RANGE = 65.0, 600.0  # Hz: of adults' speaking voices, excited ones included
VOICED = 0.6  # correlation with the signal one period later, from which a frame is voiced
SPEECH_RANGE = 35.0  # dB below the loudest frame, down to which a frame is speech
STEEPEST = 0.3  # of log pitch from frame to frame; faster changes are errors of the pitch tracker


def check_prosody(features: FeaturesConfig) -> None:
    """Raise a UserError where the windows are too short for the lowest pitch, or the rate for the highest."""
    lowest, highest = PITCH_RANGE
    rate, least = features.sample_rate, int(features.sample_rate / lowest) + 2
    if features.n_fft < least:
        raise UserError(
            f"features.n_fft = {features.n_fft}: features.prosody needs at least {least}, a period of "
            f"{lowest:g} Hz at features.sample_rate = {rate}."
        )
    if rate < 2 * highest:
        problem = f"features.sample_rate = {rate}: features.prosody needs at least {2 * highest:g}"
        raise UserError(f"{problem}, twice the highest pitch.")


def prosody(waveform: np.ndarray, features: FeaturesConfig) -> Tensor:
    """The prosody of a waveform (samples,), frame by frame; frames are those of the MFCCs.

    Pitch is tracked by YIN (de Cheveigné and Kawahara, JASA 111, 2002; librosa.yin).

    Returns:
        float32 (8, frames), in the order of PROSODY: log of the pitch in Hz, correlation with the signal one
        period later, level in dB, log of the spectral centroid in Hz, zero crossings per sample, change of
        log pitch since the frame before; 1 where there is speech and 1 where that is voiced, else 0.
    """
    librosa = import_librosa()
    rate, n_fft, hop = features.sample_rate, features.n_fft, features.hop_length
    frame = {"frame_length": n_fft, "hop_length": hop}
    lowest, highest = PITCH_RANGE
    pitch = librosa.yin(waveform, fmin=lowest, fmax=highest, sr=rate, **frame)
    periodicity = _periodicity(waveform, np.rint(rate / pitch).astype(int), n_fft, hop)
    level = 20 * np.log10(librosa.feature.rms(y=waveform, **frame)[0] + 1e-5)
    centroid = librosa.feature.spectral_centroid(y=waveform, sr=rate, n_fft=n_fft, hop_length=hop)[0]
    crossings = librosa.feature.zero_crossing_rate(waveform, **frame)[0]
    log_pitch = np.log(pitch)
    change = np.diff(log_pitch, prepend=log_pitch[:1]).clip(-STEEPEST, STEEPEST)
    speech = level > level.max() - SPEECH_RANGE
    voiced = speech & (periodicity > VOICED)
    rows = [log_pitch, periodicity, level, np.log(centroid + 50), crossings, change, speech, voiced]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _periodicity(waveform: np.ndarray, period: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """The correlation (frames,) of each frame with itself `period` samples later, from -1 to 1."""
    padded = np.pad(waveform, n_fft // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    found = np.empty(len(windows))
    for index, (window, lag) in enumerate(zip(windows, period, strict=True)):
        early, late = window[:-lag], window[lag:]
        found[index] = (early @ late) / (np.sqrt((early @ early) * (late @ late)) + 1e-9)
    return found


def counted(x: Tensor) -> Tensor:
    """Which frames count for each feature: those of speech; for pitch and its change the voiced ones.

    x is (utterances, n_mfcc + 8, frames), the last eight from `prosody`; the result is bool, without the last
    two (speech and voiced): (utterances, n_mfcc + 6, frames).
    """
    speech, voiced = x[:, -2] > 0, x[:, -1] > 0
    n_mfcc = x.shape[1] - len(PROSODY)
    masks = speech[:, None].repeat(1, x.shape[1] - 2, 1)
    masks[:, n_mfcc + PROSODY.index("pitch")] = voiced
    masks[:, n_mfcc + PROSODY.index("pitch_change")] = voiced & voiced.roll(1, -1)
    return masks

"""Pitch, voicing, level and brightness beside the MFCCs (`features.prosody`)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from utils.config import PROSODY, FeaturesConfig
from utils.errors import UserError

PITCH_RANGE = 65.0, 600.0  # Hz: of adults' speaking voices, excited ones included
TROUGH = 0.1  # of YIN's difference function: its first minimum below is the period
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


def prosody(waveforms: Tensor, features: FeaturesConfig) -> Tensor:
    """The prosody of waveforms (batch, samples), frame by frame; frames are those of the MFCCs.

    Returns:
        float32 (batch, 8, frames), in the order of PROSODY: log of the pitch in Hz, correlation with the
        signal one period later, level in dB, log of the spectral centroid in Hz, zero crossings per sample,
        change of log pitch since the frame before; 1 where there is speech, 1 where that is voiced, else 0.
    """
    rate, n_fft, hop = features.sample_rate, features.n_fft, features.hop_length
    waveforms = waveforms.float()
    padded = F.pad(waveforms, (n_fft // 2, n_fft // 2))
    energy = F.pad(padded.double().square().cumsum(-1), (1, 0)).unfold(-1, n_fft + 1, hop)
    whole = energy[..., -1] - energy[..., 0]  # (batch, frames)
    correlation = autocorrelation(padded.unfold(-1, n_fft, hop), math.ceil(rate / PITCH_RANGE[0]))
    first = energy[..., : correlation.shape[-1]] - energy[..., :1]  # of the first 0, 1, … samples
    period = yin(correlation, first.float(), math.floor(rate / PITCH_RANGE[1]))
    lag = period.round().long().unsqueeze(-1)
    early = energy.gather(-1, n_fft - lag)[..., 0] - energy[..., 0]
    late = energy[..., -1] - energy.gather(-1, lag)[..., 0]
    periodicity = correlation.gather(-1, lag)[..., 0] / ((early * late).sqrt() + 1e-9)
    level = 20 * torch.log10((whole / n_fft).sqrt() + 1e-5)
    log_pitch = torch.log(rate / period)
    change = log_pitch.diff(prepend=log_pitch[:, :1]).clamp(-STEEPEST, STEEPEST)
    speech = level > level.amax(-1, keepdim=True) - SPEECH_RANGE
    rows = [
        log_pitch,
        periodicity,
        level,
        torch.log(spectral_centroid(waveforms, features) + 50),
        zero_crossing_rate(waveforms, n_fft, hop),
        change,
        speech,
        speech & (periodicity > VOICED),
    ]
    return torch.stack([row.float() for row in rows], dim=1)


def autocorrelation(frames: Tensor, longest: int) -> Tensor:
    """Sums of products with the frame itself 0 … `longest` samples later: (…, n_fft) → (…, longest + 1)."""
    points = next_fast_len(frames.shape[-1] + longest, real=True)
    return torch.fft.irfft(power(torch.fft.rfft(frames, points)), points)[..., : longest + 1]


def power(spectrum: Tensor) -> Tensor:
    """The squared magnitude, three times as fast as abs().square()."""
    return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)


def yin(correlation: Tensor, first: Tensor, shortest: int) -> Tensor:
    """The period (…,) in samples, from `shortest` to as long as `correlation` has lags.

    YIN (de Cheveigné and Kawahara, JASA 111, 2002, equations 7 and 8 and steps 4 and 5), as librosa.yin.

    Args:
        correlation: (…, lags from 0 on), see autocorrelation.
        first: (…, lags), the energy of a frame's first samples, as many as the lag.
    """
    difference = (2 * (correlation[..., :1] - correlation) - first)[..., 1:]
    lags = torch.arange(1, difference.shape[-1] + 1, device=difference.device)
    mean = difference.cumsum(-1) / lags
    d = (difference / (mean + torch.finfo(mean.dtype).tiny))[..., shortest - 1 :]
    before, here, after = d[..., :-2], d[..., 1:-1], d[..., 2:]
    trough = F.pad((here < before) & (here <= after), (1, 1))
    trough[..., 0] = d[..., 0] < d[..., 1]
    trough &= d < TROUGH
    found = torch.where(trough.any(-1), trough.int().argmax(-1), d.argmin(-1)).unsqueeze(-1)
    bend, slope = after + before - 2 * here, (after - before) / 2
    shift = torch.where(slope.abs() < bend.abs(), -slope / bend, 0)  # to the parabola's vertex
    return (shortest + found + F.pad(shift, (1, 1)).gather(-1, found))[..., 0]


def spectral_centroid(waveforms: Tensor, features: FeaturesConfig) -> Tensor:
    """The mean frequency in Hz, weighed by the magnitude spectrum: (batch, samples) → (batch, frames)."""
    n_fft, window = features.n_fft, torch.hann_window(features.n_fft, device=waveforms.device)
    options: dict[str, Any] = {"window": window, "pad_mode": "constant", "return_complex": True}
    magnitude = power(torch.stft(waveforms, n_fft, features.hop_length, **options)).sqrt()
    hertz = torch.fft.rfftfreq(n_fft, 1 / features.sample_rate, device=waveforms.device)
    return (hertz @ magnitude) / magnitude.sum(-2).clamp(min=torch.finfo(magnitude.dtype).tiny)


def zero_crossing_rate(waveforms: Tensor, n_fft: int, hop: int) -> Tensor:
    """Changes of sign per sample: (batch, samples) → (batch, frames)."""
    negative = waveforms < -1e-10
    crossings = F.pad((negative[:, 1:] != negative[:, :-1]).long(), (n_fft // 2 + 1, n_fft // 2))
    until = crossings.cumsum(-1).unfold(-1, n_fft, hop)
    return (until[..., -1] - until[..., 0]) / n_fft


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

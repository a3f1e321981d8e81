"""Figures of sound: waveform, MFCCs, and the variants of an utterance."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from utils.plots.style import TRAINING, VALIDATION, WIDTH, with_look

MOST = 3  # standard deviations; the colours of MFCCs end there


@with_look
def plot_waveform(wave: np.ndarray, sample_rate: int, title: str) -> Figure:
    """A waveform (samples,), between -1 and 1, over time; the sample rate is in Hz."""
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    draw_waveform(axes, wave, sample_rate, TRAINING)
    axes.set(title=title, xlabel="time (s)", ylabel="amplitude\n(full scale = 1)")
    return figure


def draw_waveform(axes: Axes, wave: np.ndarray, sample_rate: int, colour) -> None:
    """Draw a waveform (samples,), scaled to its largest amplitude."""
    axes.plot(np.arange(len(wave)) / sample_rate, wave, color=colour, linewidth=0.5)
    limit = 1.1 * max(float(np.abs(wave).max(initial=0)), 1e-3)
    axes.set(xlim=(0, len(wave) / sample_rate), ylim=(-limit, limit))


@with_look
def plot_variants(variants: Mapping[str, np.ndarray], sample_rate: int, title: str) -> Figure:
    """An utterance and its variants below each other: on the left the waveform, on the right its spectrum.

    Args:
        variants: name → waveform (samples,), all of the same length; the first is the utterance itself.
        sample_rate: in Hz.
        title: of the figure.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.85 * len(variants)), layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(len(variants), 2, sharex=True, squeeze=False)
    kilohertz = sample_rate / 2_000
    for (waves, spectra), (name, wave) in zip(rows, variants.items(), strict=True):
        draw_waveform(waves, wave, sample_rate, TRAINING if waves is rows[0, 0] else VALIDATION)
        waves.set_yticks([0])
        waves.set_title(name, loc="left", fontsize=9)
        window = min(512, len(wave))
        frames = np.lib.stride_tricks.sliding_window_view(wave, window)[:: window // 2]
        power = np.abs(np.fft.rfft(frames * np.hanning(window))).T ** 2
        decibels = 10 * np.log10(np.maximum(power, 1e-7 * power.max() + 1e-12))
        extent = (0, len(wave) / sample_rate, 0, kilohertz)
        spectra.imshow(decibels, aspect="auto", origin="lower", cmap="cividis", extent=extent)
        spectra.set(ylim=(0, min(8, kilohertz)), ylabel="kHz")
        spectra.grid(False)
    for axes in rows[-1]:
        axes.set_xlabel("time (s)")
    return figure


@with_look
def plot_mfcc(mfcc: np.ndarray, hop_length: int, sample_rate: int, title: str) -> Figure:
    """MFCCs (n_mfcc, frames) as draw_mfcc draws them; `hop_length` samples from one frame to the next."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    image = draw_mfcc(axes, np.asarray(mfcc), hop_length / sample_rate)
    figure.colorbar(
        image, ax=axes, label="deviation from the mean\n(standard deviations)", pad=0.01, extend="both"
    )
    axes.set(title=title, xlabel="time (s)", ylabel="coefficient (index)")
    return figure


def draw_mfcc(axes: Axes, mfcc: np.ndarray, frame_seconds: float) -> AxesImage:
    """Draw MFCCs (n_mfcc, frames), frames to the right and coefficients upwards, each standardised.

    (The first coefficient, the loudness, is in the hundreds of dB, the last ones are around 1.) Mean and
    standard deviation are those of the frames with sound: padding, where nothing changes, does not count.
    """
    n_mfcc, frames = mfcc.shape
    sound = np.append(False, (np.diff(mfcc) != 0).any(0))
    counted = mfcc[:, sound] if sound.any() else mfcc
    deviation = counted.std(1, keepdims=True)
    values = (mfcc - counted.mean(1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    # frame i is centred on i times frame_seconds
    extent = (-0.5 * frame_seconds, (frames - 0.5) * frame_seconds, -0.5, n_mfcc - 0.5)
    style = {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "cmap": "cividis"}
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return axes.imshow(values, vmin=-MOST, vmax=MOST, extent=extent, **style)

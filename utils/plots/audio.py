"""Figures of sound: waveform, MFCCs, and the variants of an utterance."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.plots.style import TRAINING, VALIDATION, WIDTH, with_look


@with_look
def plot_waveform(wave: np.ndarray, sample_rate: int, title: str) -> Figure:
    """A waveform over time.

    Args:
        wave: (samples,), between -1 and 1.
        sample_rate: in Hz.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(len(wave)) / sample_rate, wave, color=TRAINING, linewidth=0.5)
    limit = 1.1 * max(float(np.abs(wave).max(initial=0)), 1e-3)
    axes.set(title=title, xlabel="time (s)", ylabel="amplitude\n(full scale = 1)")
    axes.set(xlim=(0, len(wave) / sample_rate), ylim=(-limit, limit))
    return figure


@with_look
def plot_variants(variants: Mapping[str, np.ndarray], sample_rate: int, title: str) -> Figure:
    """An utterance and its variants below each other: on the left the waveform, on the right its spectrum.

    Args:
        variants: name → waveform (samples,), all of the same length; the first is the utterance itself.
        sample_rate: in Hz.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.85 * len(variants)), layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(len(variants), 2, sharex=True, squeeze=False)
    for number, ((waves, spectra), (name, wave)) in enumerate(zip(rows, variants.items(), strict=True)):
        seconds = len(wave) / sample_rate
        colour = TRAINING if number == 0 else VALIDATION
        waves.plot(np.arange(len(wave)) / sample_rate, wave, color=colour, linewidth=0.4)
        limit = 1.1 * max(float(np.abs(wave).max(initial=0)), 1e-3)
        waves.set(ylim=(-limit, limit), xlim=(0, seconds), yticks=[0])
        waves.set_title(name, loc="left", fontsize=9)
        window = min(512, len(wave))
        frames = np.lib.stride_tricks.sliding_window_view(wave, window)[:: window // 2]
        power = np.abs(np.fft.rfft(frames * np.hanning(window))).T ** 2
        decibels = 10 * np.log10(np.maximum(power, 1e-7 * power.max() + 1e-12))
        kilohertz = sample_rate / 2_000
        spectra.imshow(
            decibels, aspect="auto", origin="lower", cmap="cividis", extent=(0, seconds, 0, kilohertz)
        )
        spectra.set(ylim=(0, min(8, kilohertz)), ylabel="kHz")
        spectra.grid(False)
    for axes in rows[-1]:
        axes.set_xlabel("time (s)")
    return figure


@with_look
def plot_mfcc(mfcc: np.ndarray, hop_length: int, sample_rate: int, title: str) -> Figure:
    """MFCCs as an image, frames to the right and coefficients upwards.

    The colours are on a logarithmic scale to both sides of ±10: the first coefficient (the loudness) is in
    the hundreds, the last ones are around 1.

    Args:
        mfcc: (n_mfcc, frames).
        hop_length: samples from one frame to the next.
        sample_rate: in Hz.
    """
    mfcc = np.asarray(mfcc)
    n_mfcc, frames = mfcc.shape
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    limit = max(float(np.abs(mfcc).max()), 20.0)
    frame = hop_length / sample_rate  # seconds; frame i is centred on i times that
    image = axes.imshow(
        mfcc,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap="cividis",
        norm=SymLogNorm(linthresh=10, linscale=0.5, vmin=-limit, vmax=limit),
        extent=(-0.5 * frame, (frames - 0.5) * frame, -0.5, n_mfcc - 0.5),
    )
    ticks = [tick for tick in (-1000, -100, -10, 0, 10, 100, 1000) if abs(tick) <= limit]
    bar = figure.colorbar(image, ax=axes, label="value (dB, logarithmic beyond ±10)", pad=0.01)
    bar.set_ticks(ticks, labels=[f"{tick}" for tick in ticks])
    bar.minorticks_off()
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=title, xlabel="time (s)", ylabel="coefficient (index)")
    return figure

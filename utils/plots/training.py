"""Figures of a training: utterances of each emotion, waveforms, variants, MFCCs, and learning curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType
from scipy.signal import spectrogram

from utils.emotions import ENGLISH, in_order
from utils.metrics import History, kept_epoch
from utils.plots.style import TEST, TRAINING, VALIDATION, log_where_wide, new_figure, with_look, wrapped

DECIBELS = -70  # where the colours of power spectra begin
MOST = 3  # standard deviations; the colours of MFCCs end there


@with_look
def plot_split_counts(
    counts: Mapping[str, Mapping[str, int]], title: str, words: Mapping[str, str] = ENGLISH
) -> Figure:
    """One stacked bar an emotion: counts[subset][emotion code] utterances in each subset ("train", …)."""
    emotions = in_order(emotion for subset in counts.values() for emotion in subset)
    names = [wrapped(words[code], 2) for code in emotions]
    most = max(sum(subset.get(emotion, 0) for subset in counts.values()) for emotion in emotions)
    figure, axes = new_figure(title, 1.3 + 0.32 * len(emotions))
    left = np.zeros(len(emotions))
    colours = (TRAINING, "white"), (VALIDATION, "black"), (TEST, "white")
    for (subset, of_emotion), (colour, ink) in zip(counts.items(), colours, strict=False):
        numbers = np.array([of_emotion.get(emotion, 0) for emotion in emotions])
        style = {"height": 0.72, "color": colour, "edgecolor": "white"}
        bars = axes.barh(names, numbers, left=left, label=f"{subset} ({numbers.sum()})", **style)
        labels = [str(number) if number > 0.025 * most else "" for number in numbers]
        axes.bar_label(bars, labels, label_type="center", color=ink, fontsize=9)
        left += numbers
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlabel="utterances", ylabel="emotion")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="subset (utterances)")
    return figure


@with_look
def plot_waveform(wave: np.ndarray, sample_rate: int, title: str) -> Figure:
    """A waveform (samples,), between -1 and 1, over time; the sample rate is in Hz."""
    figure, axes = new_figure(title, 2.2)
    draw_waveform(axes, wave, sample_rate, TRAINING)
    axes.set(xlabel="time (s)", ylabel="amplitude\n(full scale = 1)")
    return figure


def draw_waveform(axes: Axes, wave: np.ndarray, sample_rate: int, colour: ColorType) -> None:
    """Draw a waveform (samples,), scaled to its largest amplitude."""
    axes.plot(np.arange(len(wave)) / sample_rate, wave, color=colour, linewidth=0.5)
    limit = 1.1 * max(float(np.abs(wave).max(initial=0)), 1e-3)
    axes.set(xlim=(0, len(wave) / sample_rate), ylim=(-limit, limit))


@with_look
def plot_variants(variants: Mapping[str, np.ndarray], sample_rate: int, title: str) -> Figure:
    """An utterance and its variants below each other: on the left the waveform, on the right its spectrum.

    Variants are name → waveform (samples,), all of the same length, the first the utterance itself.
    """
    shared: dict[str, Any] = {"sharex": True, "sharey": "col", "squeeze": False}
    figure, rows = new_figure(title, 1.2 + 0.9 * len(variants), len(variants), 2, **shared)
    kilohertz = sample_rate / 2_000
    size = min(512, len(next(iter(variants.values()))))
    how = {"nperseg": size, "noverlap": size // 2, "detrend": False}
    powers = [spectrogram(wave, **how)[2] for wave in variants.values()]  # each (frequencies, frames)
    loudest = max(power.max() for power in powers) + 1e-12
    limit = 1.1 * max(float(np.abs(wave).max(initial=1e-3)) for wave in variants.values())
    for (waves, spectra), (name, wave), power in zip(rows, variants.items(), powers, strict=True):
        draw_waveform(waves, wave, sample_rate, TRAINING if waves is rows[0, 0] else VALIDATION)
        waves.set_title(name, loc="left", fontsize=9)
        decibels = 10 * np.log10(np.maximum(power / loudest, 1e-12))
        extent = (0, len(wave) / sample_rate, 0, kilohertz)
        style = {"cmap": "cividis", "vmin": DECIBELS, "vmax": 0}
        image = spectra.imshow(decibels, aspect="auto", origin="lower", extent=extent, **style)
        spectra.grid(False)
    rows[0, 0].set(ylim=(-limit, limit))
    rows[0, 0].yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    rows[0, 1].set(ylim=(0, min(8, kilohertz)))
    middle = rows[len(rows) // 2]
    middle[0].set_ylabel("amplitude (full scale = 1)")
    middle[1].set_ylabel("frequency (kHz)")
    label = "power (dB below the loudest of all)"
    figure.colorbar(image, ax=rows, label=label, location="bottom", fraction=0.03, shrink=0.6, aspect=40)
    for axes in rows[-1]:
        axes.set_xlabel("time (s)")
    return figure


@with_look
def plot_mfcc(mfcc: np.ndarray, hop_length: int, sample_rate: int, title: str) -> Figure:
    """MFCCs (n_mfcc, frames) as draw_mfcc draws them; `hop_length` samples from one frame to the next."""
    figure, axes = new_figure(title, 3.2)
    image = draw_mfcc(axes, np.asarray(mfcc), hop_length / sample_rate)
    label = "deviation from the mean\n(standard deviations)"
    figure.colorbar(image, ax=axes, label=label, pad=0.01, extend="both")
    axes.set(xlabel="time (s)", ylabel="coefficient (index)")
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
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    image = axes.imshow(values, "cividis", aspect="auto", origin="lower", interpolation="nearest")
    # frame i is centred on i times frame_seconds
    extent = -0.5 * frame_seconds, (frames - 0.5) * frame_seconds, -0.5, n_mfcc - 0.5
    image.set(clim=(-MOST, MOST), extent=extent)
    return image


@with_look
def plot_history(training: History, validation: History, title: str, keep: str = "best") -> Figure:
    """Loss and UAR (of earlier runs the accuracy) over the epochs; the one whose weights were kept is marked.

    Epochs are counted from 1, as in the progress bar (in the files from 0). The loss axis is logarithmic
    where the largest loss is more than twenty times the smallest, as in the published runs. `keep` is the
    run's `train.keep`: "best" (the lowest validation loss) or "last".
    """
    figure, (loss_axes, score_axes) = new_figure(title, 3.6, 1, 2)
    kept = kept_epoch(validation, keep)
    for axes, column, scale in ((loss_axes, "loss", 1), (score_axes, validation.score, 100)):
        for history, colour, style in ((training, TRAINING, "-"), (validation, VALIDATION, (0, (4, 1.5)))):
            label = "training" if history is training else "validation"
            values = scale * np.array(history[column])
            axes.plot(np.arange(1, len(history) + 1), values, color=colour, linestyle=style, label=label)
        if kept is not None:  # `values` are those of the validation
            axes.axvline(kept + 1, color="0.5", linewidth=1, linestyle=":", zorder=0)
            value = f"{values[kept]:.4g}" if column == "loss" else f"{values[kept]:.1f} %"
            marker = {"color": "0.15", "marker": "D", "markersize": 5, "linestyle": "none", "zorder": 4}
            axes.plot(kept + 1, values[kept], label=f"{keep} epoch, {kept + 1}: {value}", **marker)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("epoch")
        axes.legend()
    loss_axes.set(title="Loss", ylabel="cross-entropy (nats)")
    log_where_wide(loss_axes)
    words = {"uar": "unweighted average recall", "accuracy": "accuracy"}[validation.score]
    score_axes.set(title=words.capitalize(), ylabel=f"{words} (%)", ylim=(0, 100))
    return figure

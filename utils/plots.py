"""Every figure of the project but the architecture's (utils/architecture.py), in one look.

Each function returns a matplotlib Figure that pyplot knows nothing of: a notebook shows it once, as the value
of a cell, and no figure stays open. Colours are told apart by the colour-blind, and in grey print.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from utils.emotions import ENGLISH
from utils.files import write_atomically
from utils.metrics import History, kept_epoch

WIDTH = 9.0  # inches: a notebook's column, or a page's width
COLOURS = seaborn.color_palette("colorblind")
TRAINING, VALIDATION, TEST = COLOURS[0], COLOURS[1], "0.25"  # middle, light and dark in grey print
FORMULA = "formula"  # the gid of a text in which matplotlib is to find formulas
LOOK = {
    **seaborn.axes_style("ticks"),
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "axes.edgecolor": "0.3",
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def with_look(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a plotting function: it draws in our look, and leaves matplotlib's settings as they were.

    Texts are shown letter by letter, dollar signs included, but for those whose gid is FORMULA.
    """

    @wraps(plot)
    def wrapper(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(LOOK):
            figure = plot(*args, **kwargs)
            _show_names_as_they_are(figure)
            return figure

    return wrapper


def _show_names_as_they_are(figure: Figure) -> None:
    """A text is no formula, for the name of a file may look like one; the powers of ten on log axes are."""
    powers = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = axis.get_ticklabels(which="both")  # makes the ticks, too
        powers.update(labels if axis.get_scale() == "log" else [])
    for text in figure.findobj(Text):
        if text not in powers and text.get_gid() != FORMULA:
            text.set_parse_math(False)


def save_figure(figure: Figure, path: str | Path, pdf: bool = False) -> None:
    """Write the figure as PNG (150 dots per inch), and with `pdf` as PDF beside it."""
    for kind in ("png", "pdf") if pdf else ("png",):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=150, bbox_inches="tight")
        write_atomically(Path(path).with_suffix(f".{kind}"), content.getvalue())


@with_look
def plot_history(training: History, validation: History, title: str, keep: str = "best") -> Figure:
    """Loss and accuracy over the epochs, side by side; the epoch whose weights were kept is marked.

    Epochs are counted from 1, as in the progress bar (in the files from 0). The loss axis is logarithmic
    where the largest loss is more than twenty times the smallest, as in the published runs.

    Args:
        training, validation: of one run.
        title: of the figure.
        keep: the run's `train.keep`: "best" (the lowest validation loss) or "last".
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    figure.suptitle(title)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    kept = kept_epoch(validation, keep)
    for axes, column, scale in ((loss_axes, "loss", 1), (accuracy_axes, "accuracy", 100)):
        axes.plot(_epochs(training), scale * np.array(training[column]), color=TRAINING, label="training")
        values = scale * np.array(validation[column])
        axes.plot(_epochs(validation), values, color=VALIDATION, linestyle=(0, (4, 1.5)), label="validation")
        if kept is not None:
            axes.axvline(kept + 1, color="0.5", linewidth=1, linestyle=":", zorder=0)
            value = f"{values[kept]:.4g}" if column == "loss" else f"{values[kept]:.1f} %"
            marker = {"color": "0.15", "marker": "D", "markersize": 5, "linestyle": "none", "zorder": 4}
            axes.plot(kept + 1, values[kept], label=f"{keep} epoch, {kept + 1}: {value}", **marker)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("epoch")
        axes.legend()
    losses = [loss for loss in (*training["loss"], *validation["loss"]) if np.isfinite(loss) and loss > 0]
    logarithmic = bool(losses) and max(losses) > 20 * min(losses)
    if logarithmic:
        loss_axes.set_yscale("log")
        loss_axes.yaxis.set_major_formatter("{x:g}")
    loss_axes.set(title="Loss", ylabel="cross-entropy (nats" + (", logarithmic)" if logarithmic else ")"))
    accuracy_axes.set(title="Accuracy", ylabel="utterances classified rightly (%)", ylim=(0, 100))
    return figure


@with_look
def plot_split_counts(counts: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Utterances of each emotion in each subset, as one stacked bar an emotion.

    Args:
        counts: subset ("train", …) → emotion code → number of utterances.
    """
    emotions = sorted({emotion for subset in counts.values() for emotion in subset})
    figure = Figure(figsize=(WIDTH, 1.3 + 0.32 * len(emotions)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    left = np.zeros(len(emotions))
    colours = (TRAINING, "white"), (VALIDATION, "black"), (TEST, "white")
    for (subset, of_emotion), (colour, ink) in zip(counts.items(), colours, strict=False):
        numbers = np.array([of_emotion.get(emotion, 0) for emotion in emotions])
        style = {"height": 0.72, "color": colour, "edgecolor": "white"}
        bars = axes.barh(emotions, numbers, left=left, label=f"{subset} ({numbers.sum()})", **style)
        labels = [str(number) if number else "" for number in numbers]
        axes.bar_label(bars, labels, label_type="center", color=ink, fontsize=9)
        left += numbers
    axes.set_yticks(range(len(emotions)), [_bilingual(emotion) for emotion in emotions])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlabel="utterances", ylabel="emotion")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="subset (utterances)")
    return figure


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


@with_look
def plot_confusion_matrix(
    matrix: np.ndarray, labels: Sequence[str], english: Mapping[str, str], title: str
) -> Figure:
    """Counts and rates of true against predicted emotions; colours show the rate within each row.

    Args:
        matrix: (classes, classes) counts; row: the true emotion, column: the predicted one.
        labels: the emotions' codes, in the order of the matrix.
        english: code → English name.
    """
    matrix = np.asarray(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    rates = np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    size = 0.86 * len(labels)
    figure = Figure(figsize=(min(size + 2.2, WIDTH), min(size + 1.1, WIDTH)), layout="constrained")
    axes: Axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(100 * rates), cmap="Blues", vmin=0, vmax=100)
    axes.set_facecolor("0.93")  # shows in the rows of emotions that never occur
    for (row, column), count in np.ndenumerate(matrix):
        rate = rates[row, column]
        text = f"{count}\n–" if np.isnan(rate) else f"{count}\n{100 * rate:.0f} %"
        colour = "white" if rate > 0.55 else "0.1" if count else "0.55"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour, linespacing=1.3)
    places = range(len(labels))
    axes.set_xticks(places, [f"{label}\n{english[label]}" for label in labels])
    rows = zip(labels, totals[:, 0], strict=True)
    axes.set_yticks(places, [f"{label} · {english[label]}\n({total})" for label, total in rows])
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(True, which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=title, xlabel="predicted emotion", ylabel="true emotion (utterances)")
    figure.colorbar(image, ax=axes, label="share of the true emotion's utterances (%)", shrink=0.8, pad=0.02)
    return figure


def _bilingual(emotion: str) -> str:
    return f"{emotion} · {ENGLISH[emotion]}" if emotion in ENGLISH else emotion


def _epochs(history: History) -> np.ndarray:
    return np.arange(1, len(history) + 1)

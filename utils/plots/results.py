"""Figures of many runs beside each other, in the look of utils.plots.style."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from utils.emotions import EMOTIONS, ENGLISH
from utils.plots.style import COLOURS, WIDTH, with_look
from utils.results import comparisons, grouped, paired
from utils.significance import Comparison, Summary, compare, p_in_words, summarise

# Beside the colour each curve has a line style, for print in grey.
STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


@with_look
def plot_curves(frame: DataFrame, title: str) -> Figure:
    """Loss and accuracy over the epochs of run directories, in training and in validation, by their settings.

    Where several runs have the same settings the line is their mean and the band reaches one standard
    deviation to both sides.
    """
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 2, sharex=True)
    for index, (label, group) in enumerate(grouped(frame).items()):
        for row, part in enumerate(("training", "validation")):
            histories = [history for run in group.directory if (history := getattr(run, part))]
            if histories:
                _draw_curve(axes[row, 0], [one["loss"] for one in histories], index, label)
                percent = [np.multiply(100, one["accuracy"]) for one in histories]
                _draw_curve(axes[row, 1], percent, index, label)
    for row, part in enumerate(("training", "validation")):
        axes[row, 0].set(title=f"{part}: loss", ylabel="cross-entropy (nats)")
        axes[row, 1].set(title=f"{part}: accuracy", ylabel="accuracy (%)")
        _logarithmic_where_wide(axes[row, 0])
    for below in axes[1]:
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _legend(figure, axes[0, 0])
    return figure


@with_look
def plot_trial(frame: DataFrame, title: str, reference: bool = False) -> Figure:
    """The accuracies of a trial's settings and the differences that it asks for, with 95 % intervals.

    With `reference` the differences are those of all settings from the first, over the same seeds and folds.
    """
    groups = grouped(frame)
    differences = {
        f"{first} − {second} (p {p_in_words(one.p)})": one
        for family in comparisons(frame).values()
        for first, second, one in family
    }
    if reference:
        first, *others = groups
        pairs = {label: paired(groups[label], groups[first]) for label in others}
        differences = {f"{label} − {first}": compare(*pair) for label, pair in pairs.items() if pair[0]}
    panels = 2 if differences else 1
    height = 1.1 + 0.3 * max(len(groups), len(differences))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_rows(axes[0], {label: summarise(group.accuracy) for label, group in groups.items()}, 80 // panels)
    for row, group in enumerate(groups.values()):
        axes[0].plot(100 * group.accuracy, np.full(len(group), row), "o", color="0.7", markersize=3, zorder=1)
    axes[0].set(xlabel="test accuracy (%); dots are runs", ylabel="settings")
    if differences:
        _draw_rows(axes[1], differences, 48)
        axes[1].axvline(0, color="0.4", linewidth=1, zorder=0)
        axes[1].set(xlabel="difference (points)")
    return figure


@with_look
def plot_confusion_matrices(frame: DataFrame, title: str) -> Figure:
    """Confusion matrices of run directories, in percent of each true emotion's utterances.

    Those of the same settings are added up; at least one run was evaluated, and all are of one corpus.
    """
    groups = grouped(frame[frame.confusion_matrix.notna()])
    matrices = {label: np.sum(group.confusion_matrix.tolist(), axis=0) for label, group in groups.items()}
    labels = next(iter(frame.emotions.dropna()), list(EMOTIONS))
    columns = min(3, len(matrices))
    rows = -(-len(matrices) // columns)
    size = (WIDTH - 1.4) / columns - 0.4  # inches; the colour bar takes 1.4
    titles = [textwrap.fill(name, width=round(11 * size)) for name in matrices]
    heading = 0.5 + 0.16 * max(name.count("\n") for name in titles)
    width = WIDTH if columns > 1 else WIDTH / 2 + 1.8
    figure = Figure(figsize=(width, 1.1 + rows * (min(size, WIDTH / 2) + heading)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, (axes, name) in enumerate(zip(grid.flat, titles, strict=False)):
        image = _draw_matrix(axes, list(matrices.values())[number], labels, "{rate:.0f}", 8)
        axes.set_title(name, fontsize=10)
        if number + columns >= len(matrices):
            axes.set_xlabel("predicted emotion")
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("true emotion")
    _colour_bar(figure, image, grid, 0.6)
    names = "   ".join(f"{label} {ENGLISH.get(label, '')}".strip() for label in labels)
    figure.supxlabel(names, fontsize=8.5, color="0.3")
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
    size = 0.86 * len(labels)
    figure = Figure(figsize=(min(size + 2.2, WIDTH), min(size + 1.1, WIDTH)), layout="constrained")
    axes: Axes = figure.subplots()
    image = _draw_matrix(axes, matrix, labels, "{count}\n{rate:.0f} %", 9)
    axes.set_xticks(range(len(labels)), [f"{label}\n{english[label]}" for label in labels])
    rows = zip(labels, np.sum(matrix, axis=1), strict=True)
    axes.set_yticks(range(len(labels)), [f"{label} · {english[label]}\n({total})" for label, total in rows])
    axes.set(title=title, xlabel="predicted emotion", ylabel="true emotion (utterances)")
    _colour_bar(figure, image, axes, 0.8)
    return figure


def bilingual(emotion: str) -> str:
    """`gio · joy`; a class of the user's own as it is."""
    return f"{emotion} · {ENGLISH[emotion]}" if emotion in ENGLISH else emotion


def _draw_curve(axes: Axes, columns: Sequence[Sequence[float]], index: int, label: str) -> None:
    """The mean over runs, some perhaps shorter, and one standard deviation to both sides."""
    values = np.full((len(columns), max(map(len, columns))), np.nan)
    for row, column in enumerate(columns):
        values[row, : len(column)] = column
    epochs, runs = np.arange(1, values.shape[1] + 1), np.isfinite(values).sum(axis=0)
    mean = np.divide(np.nansum(values, axis=0), runs, out=np.full(len(runs), np.nan), where=runs > 0)
    colour = COLOURS[index % len(COLOURS)]
    label = textwrap.fill(f"{label} (n = {len(values)})" if len(values) > 1 else label, 60)
    axes.plot(epochs, mean, color=colour, linestyle=STYLES[index % len(STYLES)], label=label)
    if len(values) > 1:
        squares = np.nansum((values - mean) ** 2, axis=0)
        spread = np.sqrt(np.divide(squares, runs - 1, out=np.zeros(len(runs)), where=runs > 1))
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def _draw_rows(axes: Axes, rows: Mapping[str, Summary | Comparison], width: int) -> None:
    """Means with their 95 % intervals, a row each, the first on top."""
    for row, one in enumerate(rows.values()):
        mean = one.mean if isinstance(one, Summary) else one.difference
        axes.plot([100 * one.low, 100 * one.high], [row, row], color=COLOURS[0], linewidth=2)
        axes.plot(100 * mean, row, "D", color="0.15", markersize=5, zorder=4)
        above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        text = f"{100 * mean:.1f}" if isinstance(one, Summary) else f"{100 * mean:+.1f}"
        axes.annotate(text, (100 * mean, row), **above)
    axes.set_yticks(range(len(rows)), [textwrap.fill(label, width) for label in rows], fontsize=7.5)
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.grid(False, axis="y")


def _draw_matrix(axes: Axes, matrix: np.ndarray, labels: Sequence[str], text: str, size: int) -> Any:
    """Rates within each row as colours, in percent; `text` says what stands in a cell."""
    matrix = np.asarray(matrix)
    totals = matrix.sum(axis=1, keepdims=True)
    rates = 100 * np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)
    image = axes.imshow(np.ma.masked_invalid(rates), cmap="Blues", vmin=0, vmax=100)
    axes.set_facecolor("0.93")  # shows in the rows of emotions that never occur
    for (row, column), rate in np.ndenumerate(rates):
        count = matrix[row, column]
        shown = text.format(count=count, rate=rate).replace("nan %", "–").replace("nan", "–")
        shown = "" if shown == "0" else shown
        colour = "white" if rate > 55 else "0.1" if count else "0.55"
        axes.text(column, row, shown, ha="center", va="center", fontsize=size, color=colour, linespacing=1.3)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(True, which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def _colour_bar(figure: Figure, image: Any, axes: Any, shrink: float) -> None:
    label = "share of the true emotion's utterances (%)"
    figure.colorbar(image, ax=axes, label=label, shrink=shrink, pad=0.02)


def _legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(max(len(labels), 1), columns))


def _logarithmic_where_wide(axes: Axes) -> None:
    """A logarithmic axis where the largest value is more than twenty times the smallest."""
    values = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.ones(1)])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel("cross-entropy\n(nats, logarithmic)")

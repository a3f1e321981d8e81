"""Figures of many runs beside each other, in the look of utils.plots.style."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.emotions import EMOTIONS, ENGLISH
from utils.metrics import History
from utils.plots.style import COLOURS, WIDTH, with_look

# Beside the colour each curve has a line style and a marker, for print in grey.
STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP"


@with_look
def plot_curves(
    curves: Mapping[str, Sequence[tuple[History, History]]],
    title: str,
    epochs: tuple[int, int] | None = None,
) -> Figure:
    """Loss and accuracy over the epochs, in training and in validation, one curve a group of runs.

    Where a group has several runs the line is their mean and the band reaches one standard deviation to both
    sides.

    Args:
        curves: label → (training, validation) of each run of the group.
        title: of the figure.
        epochs: first and last epoch to show, counted from 1; None for all.
    """
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 2, sharex=True)
    for row, part in enumerate(("training", "validation")):
        for column, (measure, factor) in enumerate((("loss", 1), ("accuracy", 100))):
            shown = {
                label: stacked([histories[row][measure] for histories in group], factor, epochs)
                for label, group in curves.items()
            }
            _draw_curves(axes[row, column], shown)
            axes[row, column].set_title(f"{part}: {measure}")
        axes[row, 0].set_ylabel("cross-entropy (nats)")
        axes[row, 1].set_ylabel("accuracy (%)")
        _logarithmic_where_wide(axes[row, 0])
    for below in axes[1]:
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def stacked(
    columns: Sequence[Sequence[float]], factor: float = 1, epochs: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Curves of several runs, some perhaps shorter, as one array.

    Returns:
        epochs (n,), counted from 1, and values (runs, n), NaN after a run's end.
    """
    values = np.full((len(columns), max(map(len, columns))), np.nan)
    for row, column in enumerate(columns):
        values[row, : len(column)] = column
    numbers = np.arange(1, values.shape[1] + 1)
    first, last = epochs or (1, values.shape[1])
    inside = (first <= numbers) & (numbers <= last)
    return numbers[inside], factor * values[:, inside]


@with_look
def plot_scores(
    values: Mapping[str, np.ndarray],
    intervals: Mapping[str, tuple[float, float]],
    title: str,
    label: str = "test accuracy (%)",
    classes: int | None = len(EMOTIONS),
) -> Figure:
    """A score of each group: its mean, every run as a small dot, and how sure it is.

    Args:
        values: group → score of each of its runs, 0 to 1.
        intervals: group → 95 % interval, for groups of one run (others get their standard deviation).
        title: of the figure.
        label: of the axis.
        classes: how many emotions there are, for a line at chance; None for no line.
    """
    names = [textwrap.fill(group, width=44) for group in values]
    height = max(0.4, 0.15 + 0.15 * max((name.count("\n") + 1 for name in names), default=1))
    figure = Figure(figsize=(WIDTH, 1.5 + height * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (group, scores) in enumerate(values.items()):
        mean = scores.mean()
        low, high = mean, mean
        if len(scores) > 1:
            low, high = mean - scores.std(ddof=1), mean + scores.std(ddof=1)
        elif group in intervals:
            low, high = intervals[group]
        axes.plot([100 * low, 100 * high], [row, row], color=COLOURS[0], linewidth=2, solid_capstyle="butt")
        if len(scores) > 1:
            axes.plot(100 * scores, np.full(len(scores), row), "o", color="0.6", markersize=4)
        axes.plot(100 * mean, row, "D", color="0.15", markersize=6, zorder=4)
        above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 9}
        axes.annotate(f"{100 * mean:.1f}", (100 * mean, row), **above)
    axes.set_yticks(range(len(values)), names)
    axes.set_ylim(len(values) - 0.4, -0.8)
    axes.grid(False, axis="y")
    if classes:
        chance = 100 / classes
        axes.axvline(chance, color="0.6", linestyle=":", linewidth=1)
        axes.text(chance + 0.5, len(values) - 0.45, "chance", fontsize=8, color="0.4")
    axes.set(title=title, ylabel="runs", xlim=(0, 100))
    axes.set_xlabel(f"{label}\nline: standard deviation over runs, or 95 % interval of a single one")
    return figure


@with_look
def plot_confusion_matrices(matrices: Mapping[str, np.ndarray], labels: Sequence[str], title: str) -> Figure:
    """Confusion matrices side by side: the share of each true emotion's utterances, in percent.

    Args:
        matrices: what each is of → (classes, classes) counts; row: the true emotion.
        labels: the emotions' codes, in the order of the matrices.
        title: of the figure.
    """
    columns = min(3, len(matrices)) if len(matrices) != 4 else 2
    rows = -(-len(matrices) // columns)
    size = (WIDTH - 1.4) / columns - 0.4  # inches; the colour bar takes 1.4
    titles = [textwrap.fill(name, width=round(11 * size)) for name in matrices]
    heading = 0.5 + 0.16 * max(title.count("\n") for title in titles)
    width = WIDTH if columns > 1 else WIDTH / 2 + 1.8
    figure = Figure(figsize=(width, 1.1 + rows * (min(size, WIDTH / 2) + heading)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name, matrix in zip(grid.flat, titles, matrices.values(), strict=False):
        totals = np.asarray(matrix).sum(axis=1, keepdims=True)
        rates = np.divide(matrix, totals, out=np.full(np.shape(matrix), np.nan), where=totals > 0)
        image = axes.imshow(100 * np.ma.masked_invalid(rates), cmap="Blues", vmin=0, vmax=100)
        axes.set_facecolor("0.93")  # shows in the rows of emotions that never occur
        for (row, column), rate in np.ndenumerate(rates):
            text = "–" if np.isnan(rate) else f"{100 * rate:.0f}" if rate else ""
            colour = "white" if rate > 0.55 else "0.1"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=10)
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("true emotion")
    for column in range(columns):
        lowest = grid[(len(matrices) - 1 - column) // columns, column]
        lowest.set_xlabel("predicted emotion")
    figure.colorbar(image, ax=grid, label="share of the true emotion's utterances (%)", shrink=0.6, pad=0.02)
    names = "   ".join(f"{label} {ENGLISH.get(label, '')}".strip() for label in labels)
    figure.supxlabel(names, fontsize=8.5, color="0.3")
    return figure


def _draw_curves(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for index, (label, (epochs, values)) in enumerate(curves.items()):
        if not len(epochs):
            continue
        colour = COLOURS[index % len(COLOURS)]
        runs = np.isfinite(values).sum(axis=0)
        mean = np.divide(np.nansum(values, axis=0), runs, out=np.full(len(runs), np.nan), where=runs > 0)
        axes.plot(epochs, mean, color=colour, linestyle=STYLES[index % len(STYLES)], label=label)
        if len(values) > 1:
            squares = np.nansum((values - mean) ** 2, axis=0)
            spread = np.sqrt(np.divide(squares, runs - 1, out=np.zeros(len(runs)), where=runs > 1))
            axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def _logarithmic_where_wide(axes: Axes) -> None:
    """A logarithmic axis where the largest value is more than twenty times the smallest."""
    values = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.ones(1)])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel(axes.get_ylabel().replace(" (nats)", "\n(nats, logarithmic)"))


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

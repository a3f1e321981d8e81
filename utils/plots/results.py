"""Figures of many runs beside each other, in the look of utils.plots.style."""

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from pandas import DataFrame

from utils.emotions import EMOTIONS
from utils.plots.style import COLOURS, WIDTH, log_where_wide, new_figure, shortened, with_look, wrapped
from utils.results import comparisons, grouped, paired
from utils.significance import SIGNIFICANT, Comparison, Summary, compare, p_in_words, summarise

MINUS = " \N{MINUS SIGN} "  # between two settings that are compared
SHARE = "share of the true emotion's utterances (%)"
Row = tuple[str, Summary | Comparison | None, Sequence[float], str]  # name, mean, values, remark

# Beside the colour each curve has a line style, for print in grey.
STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


@with_look
def plot_curves(frame: DataFrame, title: str) -> Figure:
    """Loss and UAR over the epochs of run directories, in training and in validation, by their settings.

    Of several runs of the same settings the line is the mean, and the band reaches one standard deviation to
    both sides. Where a run has no UAR, as earlier ones, accuracy takes its place for all.
    """
    figure, axes = new_figure(title, 4.8, 2, 2, sharex=True)
    every = [history for run in frame.directory for history in (run.training, run.validation) if history]
    score = "uar" if all(history.score == "uar" for history in every) else "accuracy"
    for (losses, recalls), part in zip(axes, ("training", "validation"), strict=True):
        for index, (label, group) in enumerate(grouped(frame).items()):
            if histories := [history for run in group.directory if (history := getattr(run, part))]:
                _draw_curve(losses, [one["loss"] for one in histories], index, label)
                percent = [np.multiply(100, one[score]) for one in histories]
                _draw_curve(recalls, percent, index, label)
        losses.set(title=f"{part}: loss", ylabel="cross-entropy (nats)")
        name = {"uar": "UAR"}.get(score, score)
        recalls.set(title=f"{part}: {name}", ylabel=f"{name} (%)")
        log_where_wide(losses)
    for below in axes[1]:
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(max(len(labels), 1), 2))
    return figure


@with_look
def plot_trial(frame: DataFrame, title: str, reference: bool = False) -> Figure:
    """The differences that a trial asks for, pair by pair; where it asks for none, its settings' UARs.

    A line is the 95 % interval of the mean (diamond), dots are pairs of runs, or runs. With `reference` the
    differences are those of all settings from the first, over the same seeds and folds.
    """
    groups, families = grouped(frame), comparisons(frame)
    rows: list[Row] = []
    if reference:
        first, *others = groups
        for other in others:
            name = ", ".join(part for part in other.split(", ") if part not in first.split(", "))
            if all(pair := paired(groups[other], groups[first])):
                rows.append((name, one := compare(*pair), one.differences, ""))
        label = f"UAR less that of {first} (points)"
    elif families:
        for family, compared in families.items():
            rows += [(family, None, (), "")] if len(families) > 1 else []
            for name, one in _differences(compared):
                few = ", too few pairs" if one.p >= SIGNIFICANT <= one.least_p else ""
                rows.append((name, one, one.differences, f" (p {p_in_words(one.p)}{few})"))
        label = "difference of the unweighted average recalls (points)"
    else:
        rows = [(name, summarise(group.uar), group.uar.tolist(), "") for name, group in groups.items()]
        label = "unweighted average recall of the test set (%)"
    figure, axes = _figure_of_rows(title, rows)
    if reference or families:
        axes.axvline(0, color="0.4", linewidth=1, zorder=0)
    axes.set(xlabel=label, ylabel="settings")
    return figure


@with_look
def plot_unheard(
    found: Mapping[str, Mapping[str, Sequence[float]]], others: Mapping[str, Mapping[str, float]], title: str
) -> Figure:
    """UAR on each corpus, of networks of ours (utils.results.uar_by_corpus) and of others (a single figure).

    A line is the 95 % interval of the mean (diamond), of three folds or more; dots are folds.
    """
    rows: list[Row] = []
    for corpus, networks in found.items():
        rows.append((corpus, None, (), ""))
        for name, values in networks.items():
            one = summarise(values)
            one = one if one.n > 2 else replace(one, low=one.mean, high=one.mean)
            rows.append((name, one, values, ""))
        rows += [(name, summarise([value]), (), "") for name, value in others.get(corpus, {}).items()]
    figure, axes = _figure_of_rows(title, rows)
    axes.set(xlabel="unweighted average recall (%)", ylabel="network")
    return figure


@with_look
def plot_sizes(found: Mapping[str, Mapping[str, Sequence[float]]], title: str, label: str) -> Figure:
    """UAR over sizes, whose axis has the label; a line each name. See uar_by_size and read_enrolment.

    Points are means over folds or speakers, bars their 95 % intervals, of three or more.
    """
    figure, axes = new_figure(title, 3.8)
    for index, name in enumerate(dict.fromkeys(name for named in found.values() for name in named)):
        values = [named.get(name, ()) for named in found.values()]
        means = {place: summarise(100 * np.asarray(some)) for place, some in enumerate(values) if len(some)}
        bars = [one.high - one.mean if one.n > 2 else 0.0 for one in means.values()]
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index % len(STYLES)]}
        heights = [one.mean for one in means.values()]
        line = axes.errorbar(np.array([*means]) + 0.03 * index, heights, bars, capsize=3, label=name, **style)
        line.lines[0].set_marker("o")
    axes.set_xticks(range(len(found)), [*found])
    axes.set(xlabel=label, ylabel="unweighted average recall (%)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@with_look
def plot_confusion_matrices(frame: DataFrame, title: str) -> Figure:
    """Confusion matrices of run directories, in percent of each true emotion's utterances.

    Those of the same settings are added up; at least one run was evaluated, and all are of one corpus.
    """
    tested = frame[frame.confusion_matrix.notna()]
    groups = grouped(tested)
    matrices = {label: np.sum(group.confusion_matrix.tolist(), axis=0) for label, group in groups.items()}
    labels, words = tested.emotions.iloc[0] or EMOTIONS, tested.directory.iloc[0].words
    names = [shortened(words[label]) for label in labels]
    room = 0.4 + 0.075 * max(map(len, names))  # inches, for names beside and below
    columns = min(3, len(matrices), max(1, int((WIDTH - room) / (0.24 * len(labels) + 0.1))))
    rows = -(-len(matrices) // columns)
    size = min((WIDTH - room) / columns - 0.2, 0.5 * len(labels))  # inches of a matrix
    titles = [wrapped(name, max(size, 1.5), 10) for name in matrices]
    heading = 0.4 + 0.18 * max(name.count("\n") for name in titles)
    ends = 1 if rows == 1 or len(matrices) % columns == 0 else 2  # of columns, which have the names below
    width = max(room + columns * (size + 0.2) + 0.3, 5.6)
    height = 1.5 + ends * room + rows * (size + heading)
    figure = Figure(figsize=(width, height), layout="compressed")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, name, matrix in zip(grid.flat, titles, matrices.values(), strict=False):
        image = _draw_matrix(axes, matrix, names, "{rate:.0f}", 8)
        axes.set_title(name, fontsize=10)
        _turn_long_names(axes, names, size / len(labels))
    for axes in grid.flat[max(len(matrices) - columns, 0) : len(matrices)]:
        axes.set_xlabel("predicted emotion")
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(matrices) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("true emotion")
    figure.colorbar(image, ax=figure.axes, label=SHARE, location="bottom", shrink=0.7, aspect=40)
    return figure


@with_look
def plot_confusion_matrix(
    matrix: np.ndarray, labels: Sequence[str], words: Mapping[str, str], title: str
) -> Figure:
    """Counts (classes, classes) of true (rows) against predicted emotions; colours show rates within rows.

    Labels are the emotions' codes, in the order of the matrix; `words` has the word of each.
    """
    beside = [wrapped(words[label], 1.9) for label in labels]
    room = 0.9 + 0.08 * max(len(line) for name in beside for line in name.splitlines())
    cell = min(0.8, (WIDTH - room - 1) / len(labels))  # inches
    size = cell * len(labels)
    figure, axes = new_figure(title, room + size + 0.3, width=max(room + size + 1, 6.6))
    image = _draw_matrix(axes, matrix, beside, "{count}\n{rate:.0f} %", 9 if cell > 0.5 else 7.5)
    rows = zip(beside, np.sum(matrix, axis=1), strict=True)
    axes.yaxis.set_ticklabels([f"{name} ({total})" for name, total in rows])
    axes.set(xlabel="predicted emotion", ylabel="true emotion (utterances)")
    _turn_long_names(axes, beside, cell)
    bar = axes.inset_axes((1 + 0.12 / size, 0, 0.16 / size, 1))
    figure.colorbar(image, cax=bar, label=SHARE if len(labels) > 3 else SHARE.replace(" utt", "\nutt"))
    return figure


def _draw_curve(axes: Axes, columns: Sequence[Sequence[float]], index: int, label: str) -> None:
    """The mean over runs, some perhaps shorter, and one standard deviation to both sides."""
    values = DataFrame(itertools.zip_longest(*columns, fillvalue=np.nan))  # (epochs, runs)
    epochs, mean, spread = values.index + 1, values.mean(axis=1), values.std(axis=1).fillna(0)
    colour = COLOURS[index % len(COLOURS)]
    label = textwrap.fill(f"{label} (n = {len(columns)})" if len(columns) > 1 else label, 60)
    axes.plot(epochs, mean, color=colour, linestyle=STYLES[index % len(STYLES)], label=label)
    if len(columns) > 1:
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def _figure_of_rows(title: str, rows: Sequence[Row]) -> tuple[Figure, Axes]:
    """Each row below the one before: its name, the interval of a mean, below it values, the mean in figures.

    A row without a mean is a heading, in bold.
    """
    names = [wrapped(row[0], 3.0) for row in rows]
    height = 0.03 + 0.15 * max(1.6, *(1 + name.count("\n") for name in names))
    figure, axes = new_figure(title, 1.1 + height * len(rows))
    axes.set_yticks(range(len(rows)), names)
    for place, (text, (_, one, values, remark)) in enumerate(zip(axes.get_yticklabels(), rows, strict=True)):
        if one is None:  # a heading
            text.set_fontweight("bold")
            continue
        mean, sign = (one.mean, "") if isinstance(one, Summary) else (one.difference, "+")
        dots: dict[str, Any] = {"color": "0.55", "markersize": 3.5, "markeredgewidth": 0}
        axes.plot(100 * np.asarray(values), np.full(len(values), place + 0.22), "o", **dots)
        axes.plot([100 * one.low, 100 * one.high], [place - 0.1] * 2, color=COLOURS[0], linewidth=2)
        axes.plot(100 * mean, place - 0.1, "D", color="0.15", markersize=5, zorder=4)
        shown = f"{100 * mean:{sign}.1f}{remark}".replace("-", "\N{MINUS SIGN}")
        axes.text(1.02, place, shown, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    return figure, axes


def _differences(compared: Iterable[tuple[str, str, Comparison]]) -> list[tuple[str, Comparison]]:
    """Comparisons by names such as `ω₀ = 25 − 24`: of what both sides share, only what others do not."""
    found, shared = [], []
    for first, second, one in compared:
        sides = [side.split(", ") for side in (first, second)]
        pairs = zip(sides, sides[::-1], strict=True)
        own = [[part for part in side if part not in other] for side, other in pairs]
        own = own if all(own) else sides
        keys = [part.partition(" = ")[0] for side in own for part in side]
        if len(keys) == 2 and keys[0] == keys[1]:
            own[1] = [own[1][0].partition(" = ")[2]]
        found.append((MINUS.join(", ".join(side) for side in own), one))
        shared.append([part for part in sides[0] if part not in own[0]])
    common = [part for part in shared[0] if all(part in others for others in shared)]
    rest = [[part for part in parts if part not in common] for parts in shared]
    more = [f" ({', '.join(parts)})" if parts else "" for parts in rest]
    return [(f"{name}{text}", one) for (name, one), text in zip(found, more, strict=True)]


def _draw_matrix(axes: Axes, matrix: ArrayLike, labels: Sequence[str], text: str, size: float) -> Any:
    """Rates within each row as colours, in percent; `text` says what stands in a cell that is not empty.

    Rows of emotions that never occur are grey.
    """
    counts = np.asarray(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    rates = 100 * np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    cells = zip(counts.flat, rates.flat, strict=True)
    texts = np.reshape([text.format(count=n, rate=rate) if n else "" for n, rate in cells], counts.shape)
    colours = {"cmap": "Blues", "vmin": 0, "vmax": 100, "linewidths": 1.5, "cbar": False}
    words = {"xticklabels": labels, "yticklabels": labels, "annot_kws": {"size": size, "linespacing": 1.3}}
    seaborn.heatmap(rates, annot=texts, fmt="", ax=axes, square=True, **colours, **words)
    axes.set_facecolor("0.93")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)
    return axes.collections[0]


def _turn_long_names(axes: Axes, names: Sequence[str], inches: float) -> None:
    """Names below columns of that width stand upright where they would run into one another."""
    longest = max(len(line) for name in names for line in name.splitlines())
    axes.tick_params(axis="x", rotation=90 if 0.085 * longest > inches else 0)

"""Figures of recognition: how far probabilities can be trusted, emotions over time, and embeddings."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import seaborn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from utils.emotions import ENGLISH
from utils.metrics import Reliability
from utils.plots.style import TRAINING, VALIDATION, WIDTH, new_figure, shortened, with_look, wrapped

# For emotions beside each other; told apart by the colour-blind (CIELAB distances of 16 or more).
PALETTE = ("#2f8f4e", "#f5c518", "#c9a27e", "#9b5fc0", "#c22727", "#56c5ea", "#173f8a", "#f48fb1", "#b8d96a")
HATCHES = ("", "///", "...", "xx")  # of the first emotions with these colours, of the next, and so on
BRIGHTNESS = 0.299, 0.587, 0.114  # of red, green and blue
LOOKS: list[dict[str, Any]] = [
    {"facecolor": one, "hatch": hatch, "edgecolor": "w" if np.dot(to_rgb(one), BRIGHTNESS) < 0.6 else "k"}
    for hatch, one in product(HATCHES, PALETTE)
]
UNSURE, SILENCE = "0.6", "0.95"
MOST_IN_LEGEND = 24
MARKERS = "o^sDvPX"  # seven beside nine colours: no two of MOST_IN_LEGEND labels look alike


@with_look
def plot_reliability(panels: Mapping[str, Reliability], title: str) -> Figure:
    """How often answers are right, by their probability: a panel each; on the diagonal both are equal."""
    rows = -(-len(panels) // 2)
    figure, grid = new_figure(title, 0.6 + 3.4 * rows, rows, 2, sharex=True, sharey=True, squeeze=False)
    grid = grid.ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (label, bins) in zip(grid, panels.items(), strict=False):
        width = 100 / len(bins.count)
        lefts, some = width * np.arange(len(bins.count)), bins.count > 0
        shares = 100 * bins.count / bins.count.sum()
        axes.bar(lefts, shares, width, align="edge", color="0.88", label="share of the answers", zorder=0)
        axes.plot([0, 100], [0, 100], color="0.5", linewidth=1, linestyle=":", label="as right as sure")
        points = 100 * bins.confidence[some], 100 * bins.accuracy[some]
        axes.vlines(points[0], *np.sort(points, axis=0), color=VALIDATION, label="gap")
        style = {"color": TRAINING, "marker": "o", "markersize": 5, "linewidth": 1.2}
        axes.plot(*points, label="answers that are right", **style)
        axes.set(title=f"{label}\nexpected calibration error {100 * bins.error:.1f} %", aspect="equal")
        axes.set(xlim=(0, 100), ylim=(0, 100))
    for axes in grid[max(len(panels) - 2, 0) : len(panels)]:
        axes.set_xlabel("probability of the answer (%)")
    for axes in grid[::2]:
        axes.set_ylabel("share (%)")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@with_look
def plot_timeline(
    parts: Sequence[Any], emotions: Sequence[str], name: str, words: Mapping[str, str] = ENGLISH
) -> Figure:
    """Probabilities over the time of a recording as stacked areas, and the answers as a band above them.

    Parts are testing.predictions.Answers, one after the other; `name` is the recording's path, `words` code →
    the word that is shown. Below stands the novelty, where it is known.
    """
    labels = [part.label for part in parts]
    probabilities = np.array([[part.probabilities.get(e, np.nan) for e in emotions] for part in parts])
    novelty = np.array([part.novelty for part in parts], float)  # None as NaN
    known = not np.isnan(novelty).all()
    heights = [0.25, 3.0, 1.0] if known else [0.25, 3.0]
    how: dict[str, Any] = {"sharex": True, "height_ratios": heights}
    figure, (band, areas, *below) = new_figure(Path(name).name, 1.6 + sum(heights), len(heights), **how)
    looks = dict(zip(emotions, LOOKS, strict=False))
    looks |= {"unsure": {"facecolor": UNSURE}, "silence": {"facecolor": SILENCE}}
    minutes = parts[-1].end > 180
    times = np.array([*(part.start for part in parts), parts[-1].end]) / (60 if minutes else 1)
    for left, right, label in zip(times[:-1], times[1:], labels, strict=True):
        band.axvspan(left, right, **looks.get(label, looks["silence"]), linewidth=0)
    band.set(yticks=[])
    band.set_ylabel("answer", rotation=0, ha="right", va="center")
    band.grid(False)
    lower = np.zeros(len(labels))
    for emotion, upper in zip(emotions, np.cumsum(100 * probabilities, axis=1).T, strict=True):
        areas.stairs(upper, times, baseline=lower, fill=True, **looks[emotion], linewidth=0)
        lower = upper
    areas.set(ylabel="probability (%)", ylim=(0, 100), xlim=(times[0], times[-1]))
    if known:
        below[0].stairs(novelty, times, color="0.2", baseline=None)
        below[0].axhline(1, color="0.5", linewidth=1, linestyle=":")
        below[0].set(ylabel="novelty", ylim=(0, max(2.0, 1.1 * np.nanmax([*novelty, 0]))))
    figure.axes[-1].set_xlabel("time (min)" if minutes else "time (s)")
    patches = [Patch(**look, linewidth=0, label=wrapped(words[name], 1.5)) for name, look in looks.items()]
    figure.legend(handles=patches, loc="outside right center")
    return figure


@with_look
def plot_embeddings(points: np.ndarray, panels: Mapping[str, Sequence[str]], title: str) -> Figure:
    """Points (utterances, 2), in a panel for each kind of label: the panel's title → the label of each.

    Each label has a colour; up to MOST_IN_LEGEND labels have a marker, too, and stand in a legend.
    """
    width = WIDTH if len(panels) > 1 else 0.6 * WIDTH
    inches = width / len(panels)
    shown = [one for labels in panels.values() if len(one := sorted(set(labels))) <= MOST_IN_LEGEND]
    longest = max((len(shortened(label)) for labels in shown for label in labels), default=1)
    columns = max(int(inches / (0.45 + 0.08 * longest)), 1)
    lines = max((-(-len(labels) // columns) for labels in shown), default=1)
    height = 1.2 + inches + 0.18 * lines
    figure, (row,) = new_figure(title, height, 1, len(panels), width=width, squeeze=False)
    for axes, (name, labels) in zip(row, panels.items(), strict=True):
        distinct = sorted(set(labels))
        few = len(distinct) <= MOST_IN_LEGEND
        colours = cycle(PALETTE) if few else seaborn.husl_palette(len(distinct))
        for label, colour, marker in zip(distinct, colours, cycle(MARKERS), strict=False):
            chosen = points[np.array(labels) == label]
            look = {"marker": marker if few else "o", "s": 22, "edgecolor": "0.25", "linewidth": 0.3}
            axes.scatter(*chosen.T, color=[colour], label=shortened(label), **look)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.set_title(wrapped(name, inches - 0.5, 10.5))
        if few:
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02), "ncols": columns}
            axes.legend(**below, columnspacing=1, handletextpad=0.2)
        else:
            axes.set_xlabel(f"{len(distinct)} labels, a colour each")
    return figure

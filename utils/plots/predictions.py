"""Figures of recognition: whether probabilities can be trusted, and emotions over the time of a recording."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from utils.emotions import ENGLISH
from utils.metrics import Reliability
from utils.plots.style import TRAINING, VALIDATION, new_figure, with_look, wrapped

# For emotions beside each other; told apart by the colour-blind (CIELAB distances of 16 or more).
PALETTE = ("#2f8f4e", "#f5c518", "#c9a27e", "#9b5fc0", "#c22727", "#56c5ea", "#173f8a", "#f48fb1", "#b8d96a")
HATCHES = ("", "///", "...", "xx")  # of the first emotions with these colours, of the next, and so on
BRIGHTNESS = 0.299, 0.587, 0.114  # of red, green and blue
LOOKS: list[dict[str, Any]] = [
    {"facecolor": one, "hatch": hatch, "edgecolor": "w" if np.dot(to_rgb(one), BRIGHTNESS) < 0.6 else "k"}
    for hatch, one in product(HATCHES, PALETTE)
]
UNSURE, SILENCE = "0.6", "0.95"


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
    edges: Sequence[float],
    probabilities: np.ndarray,
    labels: Sequence[str],
    emotions: Sequence[str],
    novelty: Sequence[float] | None,
    name: str,
    words: Mapping[str, str] = ENGLISH,
) -> Figure:
    """Probabilities over the time of a recording as stacked areas, and the answers as a band above them.

    Args:
        edges: (parts + 1,) seconds, where one part ends and the next begins.
        probabilities: (parts, classes); NaN where there is silence.
        labels: (parts,) the answers: an emotion's code, or anything else (drawn in grey).
        novelty: (parts,) NaN in silence; above 1 the speech is unlike that of the training. None: not known.
        name: path of the recording.
        words: code → the word that is shown.
    """
    heights = [0.25, 3.0] if novelty is None else [0.25, 3.0, 1.0]
    how: dict[str, Any] = {"sharex": True, "height_ratios": heights}
    figure, (band, areas, *below) = new_figure(Path(name).name, 1.6 + sum(heights), len(heights), **how)
    looks = dict(zip(emotions, LOOKS, strict=False))
    looks |= {"unsure": {"facecolor": UNSURE}, "silence": {"facecolor": SILENCE}}
    minutes = edges[-1] > 180
    times = np.asarray(edges) / (60 if minutes else 1)
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
    if novelty is not None:
        below[0].stairs(novelty, times, color="0.2", baseline=None)
        below[0].axhline(1, color="0.5", linewidth=1, linestyle=":")
        below[0].set(ylabel="novelty", ylim=(0, max(2.0, 1.1 * np.nanmax([*novelty, 0]))))
    figure.axes[-1].set_xlabel("time (min)" if minutes else "time (s)")
    patches = [Patch(**look, linewidth=0, label=wrapped(words[name], 1.5)) for name, look in looks.items()]
    figure.legend(handles=patches, loc="outside right center")
    return figure

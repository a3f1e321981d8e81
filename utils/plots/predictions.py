"""Figures of recognition: whether probabilities can be trusted, and emotions over the time of a recording."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from utils.emotions import ENGLISH
from utils.metrics import Reliability
from utils.plots.style import COLOURS, TRAINING, VALIDATION, WIDTH, with_look


@with_look
def plot_reliability(panels: Mapping[str, Reliability], title: str) -> Figure:
    """How often answers are right, by how sure they were; on the diagonal they are as right as they are sure.

    Args:
        panels: what it is about → its bins; two in a row.
    """
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, 0.6 + 3.4 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
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
    title: str,
) -> Figure:
    """Probabilities over the time of a recording as stacked areas; what was answered stands as a band above.

    Args:
        edges: (parts + 1,) seconds, where one part ends and the next begins.
        probabilities: (parts, classes); NaN where there is silence.
        labels: (parts,) the answers: an emotion's code, or anything else (drawn in grey).
        emotions: the classes.
        novelty: (parts,) NaN where there is silence; above 1 the speech is unlike that of the training. None
            where it is not known.
        title: of the figure.
    """
    heights = [0.25, 3.0, *([] if novelty is None else [1.0])]
    figure = Figure(figsize=(WIDTH, 1.6 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    band, areas, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    colours = dict(zip(emotions, COLOURS, strict=False))
    edges = np.asarray(edges)
    minutes = edges[-1] > 180
    times = edges / 60 if minutes else edges

    for left, right, label in zip(times[:-1], times[1:], labels, strict=True):
        band.axvspan(left, right, color=colours.get(label, "0.75" if label in ("unsure",) else "0.95"), lw=0)
    band.set(yticks=[], ylabel="answer")
    band.yaxis.label.set(rotation=0, ha="right", va="center")
    band.grid(False)

    tops = np.cumsum(100 * probabilities, axis=1)
    lower = np.zeros(len(labels))
    for emotion, upper in zip(emotions, tops.T, strict=True):
        areas.stairs(upper, times, baseline=lower, fill=True, color=colours[emotion], linewidth=0)
        lower = upper
    areas.set(ylabel="probability (%)", ylim=(0, 100), xlim=(times[0], times[-1]))
    for axes in below:
        axes.stairs(novelty, times, color="0.2", baseline=None)
        axes.axhline(1, color="0.5", linewidth=1, linestyle=":")
        axes.set(ylabel="novelty", ylim=(0, max(2.0, 1.1 * np.nanmax(np.append(novelty, 0)))))
    figure.axes[-1].set_xlabel("time (min)" if minutes else "time (s)")
    patches = [Patch(color=colours[emotion], label=ENGLISH[emotion]) for emotion in emotions]
    patches += [Patch(color="0.75", label="unsure"), Patch(color="0.95", label="silence")]
    figure.legend(handles=patches, loc="outside right upper")
    return figure

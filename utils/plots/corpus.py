"""The figure of a corpus before training."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from utils.plots.style import COLOURS, TEST, TRAINING, WIDTH, shortened, with_look

NAMED = 20  # speakers whose names and numbers have room
MOST_KINDS = 6  # of recordings with a bar of their own


@with_look
def plot_corpus(
    counts: DataFrame,
    seconds: Sequence[float],
    marks: Mapping[str, float],
    levels: Sequence[float],
    kinds: Mapping[str, int],
    title: str,
) -> Figure:
    """Utterances by emotion and speaker, durations and levels, and how the recordings were made.

    Args:
        counts: utterances (emotions, speakers).
        seconds, levels: of each recording; levels in dB below full scale.
        marks: label → seconds, lines in the durations.
        kinds: description → recordings.
    """
    bars = dict(sorted(kinds.items(), key=lambda pair: -pair[1])[:MOST_KINDS])
    if others := sum(kinds.values()) - sum(bars.values()):
        bars["others"] = others
    upright = _is_crowded(counts.columns)
    heights = 0.9 + 0.27 * len(counts) + 0.7 * upright, 2.3, 0.7 + 0.25 * len(bars)
    figure = Figure(figsize=(WIDTH, 0.4 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    parts: Any = figure.subfigures(3, 1, height_ratios=heights)
    top, middle, bottom = parts
    _draw_counts(top, counts)
    durations, loudness = middle.subplots(1, 2)
    _draw_histogram(durations, seconds, "duration (s)")
    for (label, place), colour, style in zip(marks.items(), (TEST, COLOURS[1]), ("--", ":"), strict=False):
        durations.axvline(place, color=colour, linestyle=style, label=label)
    durations.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    durations.set_ylabel("recordings")
    _draw_histogram(loudness, levels, "level (RMS, dB; 0 is full scale)")
    made = bottom.subplots()
    made.bar_label(made.barh([*bars], [*bars.values()], color=TRAINING), padding=3, fontsize=9)
    made.invert_yaxis()
    made.grid(False, axis="y")
    made.tick_params(axis="y", length=0)
    made.set_xlabel("recordings")
    made.margins(x=0.08)
    made.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_counts(figure: SubFigure, counts: DataFrame) -> None:
    """A heat map of utterances, emotions below each other and speakers side by side."""
    axes, speakers = figure.subplots(), counts.columns
    named = len(speakers) <= NAMED
    colours = {"cmap": "Blues", "vmin": 0, "cbar_kws": {"label": "utterances", "pad": 0.01}}
    numbers = {"annot": named, "fmt": "d", "annot_kws": {"fontsize": 9}}
    shown = counts.rename(index=shortened, columns=shortened)
    seaborn.heatmap(shown, ax=axes, xticklabels=named, **colours, **numbers)
    axes.set(xlabel=f"speaker ({len(speakers)})", ylabel="")
    axes.tick_params(axis="x", rotation=90 if _is_crowded(speakers) else 0, length=0)
    axes.tick_params(axis="y", rotation=0)


def _is_crowded(speakers: Collection[str]) -> bool:
    """Whether names have to stand upright."""
    return len(speakers) <= NAMED and len(speakers) * max(len(shortened(name)) for name in speakers) > 70


def _draw_histogram(axes: Axes, values: Sequence[float], label: str) -> None:
    axes.hist(values, bins=30, color=TRAINING)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(label)

"""How many utterances a split has of each emotion."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.plots.results import bilingual
from utils.plots.style import TEST, TRAINING, VALIDATION, WIDTH, with_look


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
    axes.set_yticks(range(len(emotions)), [bilingual(emotion) for emotion in emotions])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(xlabel="utterances", ylabel="emotion")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="subset (utterances)")
    return figure

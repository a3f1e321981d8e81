"""A training's utterances of each emotion, and its learning curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.emotions import ENGLISH
from utils.metrics import History, kept_epoch
from utils.plots.style import TEST, TRAINING, VALIDATION, WIDTH, with_look


@with_look
def plot_split_counts(counts: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Utterances of each emotion in each subset, as one stacked bar an emotion.

    Args:
        counts: subset ("train", …) → emotion code → number of utterances.
        title: of the figure.
    """
    emotions = sorted({emotion for subset in counts.values() for emotion in subset})
    figure = Figure(figsize=(WIDTH, 1.3 + 0.32 * len(emotions)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(emotions))
    colours = (TRAINING, "white"), (VALIDATION, "black"), (TEST, "white")
    for (subset, of_emotion), (colour, ink) in zip(counts.items(), colours, strict=False):
        numbers = np.array([of_emotion.get(emotion, 0) for emotion in emotions])
        style = {"height": 0.72, "color": colour, "edgecolor": "white"}
        bars = axes.barh(emotions, numbers, left=left, label=f"{subset} ({numbers.sum()})", **style)
        labels = [str(number) if number else "" for number in numbers]
        axes.bar_label(bars, labels, label_type="center", color=ink, fontsize=9)
        left += numbers
    names = [f"{code} · {ENGLISH[code]}" if code in ENGLISH else code for code in emotions]
    axes.set_yticks(range(len(emotions)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set(title=title, xlabel="utterances", ylabel="emotion")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="subset (utterances)")
    return figure


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
    losses = [loss for loss in (*training["loss"], *validation["loss"]) if np.isfinite(loss) and loss > 0]
    logarithmic = bool(losses) and max(losses) > 20 * min(losses)
    if logarithmic:
        loss_axes.set_yscale("log")
        loss_axes.yaxis.set_major_formatter("{x:g}")
    loss_axes.set(title="Loss", ylabel="cross-entropy (nats" + (", logarithmic)" if logarithmic else ")"))
    accuracy_axes.set(title="Accuracy", ylabel="utterances classified rightly (%)", ylim=(0, 100))
    return figure

"""The learning curves of one run."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.metrics import History, kept_epoch
from utils.plots.style import TRAINING, VALIDATION, WIDTH, with_look


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


def _epochs(history: History) -> np.ndarray:
    return np.arange(1, len(history) + 1)

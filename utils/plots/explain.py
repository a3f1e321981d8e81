"""One utterance and what a network made of it, in one figure."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.emotions import ENGLISH
from utils.plots.style import COLOURS, WIDTH, with_look

FORWARDS, BACKWARDS = COLOURS[0], COLOURS[1]
RIGHT, WRONG, ANSWER = COLOURS[2], COLOURS[3], COLOURS[0]
PADDING = "0.9"
MOST_MFCC = 100  # dB; colours end there


@dataclass(frozen=True)
class Explanation:
    """What a network saw of one utterance, where it looked, and what it answered.

    Attributes:
        name: of the utterance.
        network: whose answer it is.
        waveform: (samples,), padded or cut to the length of a training utterance.
        sample_rate: in Hz.
        recorded: seconds in the waveform from and to which it is the recording; the rest is padding.
        seconds: length of the recording, without silence at its ends where that is trimmed; what the waveform
            does not hold of it was cut off.
        mfcc: (n_mfcc, frames), not standardised.
        frame_seconds: seconds from one frame to the next; frame i is centred on i times that.
        attention: (n blocks, 2, frames), for each temporal-aware block what it multiplies its input by,
            averaged over channels: forwards, and backwards. Both run with the time of the recording.
        fusion: (n blocks,), the weight of each block's summary in the answer.
        probabilities: (emotions,).
        emotions: their codes.
        truth: the code of the emotion that it is; None where that is not known.
    """

    name: str
    network: str
    waveform: np.ndarray
    sample_rate: int
    recorded: tuple[float, float]
    seconds: float
    mfcc: np.ndarray
    frame_seconds: float
    attention: np.ndarray
    fusion: np.ndarray
    probabilities: np.ndarray
    emotions: tuple[str, ...]
    truth: str | None = None

    @property
    def answer(self) -> str:
        """The code of the most probable emotion."""
        return self.emotions[int(self.probabilities.argmax())]

    @property
    def in_words(self) -> str:
        """For instance `fear (72 %), in truth anger`."""
        words = f"{ENGLISH[self.answer]} ({100 * self.probabilities.max():.0f} %)"
        if self.truth is None:
            return words
        return f"{words}, {'rightly' if self.truth == self.answer else f'in truth {ENGLISH[self.truth]}'}"


@with_look
def plot_explanation(explanation: Explanation) -> Figure:
    """Waveform, MFCCs and every block's attention over the same time; beside them answer and fusion weights.

    All attentions have one scale, so that blocks can be compared. Grey is what was padded.
    """
    blocks = len(explanation.attention)
    heights = [0.9, 1.5, *([0.8] * blocks)]
    figure = Figure(figsize=(WIDTH, 1.6 + 1.05 * sum(heights)), layout="constrained")
    figure.suptitle(f"{explanation.name} · heard as {explanation.in_words}\n{explanation.network}")
    grid = figure.add_gridspec(len(heights), 3, width_ratios=(1, 0.02, 0.42), height_ratios=heights)
    waves = figure.add_subplot(grid[0, 0])
    rows = [figure.add_subplot(grid[row, 0], sharex=waves) for row in range(1, len(heights))]
    _draw_waveform(waves, explanation)
    _draw_mfcc(rows[0], figure.add_subplot(grid[1, 1]), explanation)
    _draw_attention(rows[1:], explanation)
    _draw_probabilities(figure.add_subplot(grid[:2, 2]), explanation)
    _draw_fusion([figure.add_subplot(grid[row, 2]) for row in range(2, len(heights))], explanation.fusion)
    for axes in (waves, *rows[:-1]):
        axes.tick_params(labelbottom=False)
    frame = explanation.frame_seconds
    rows[-1].set(xlabel="time (s)", xlim=(-0.5 * frame, (explanation.mfcc.shape[1] - 0.5) * frame))
    figure.align_ylabels([waves, *rows])
    return figure


def _draw_waveform(axes: Axes, explanation: Explanation) -> None:
    waveform, rate = explanation.waveform, explanation.sample_rate
    axes.plot(np.arange(len(waveform)) / rate, waveform, color="0.25", linewidth=0.5)
    limit = 1.1 * max(float(np.abs(waveform).max(initial=0)), 1e-3)
    axes.set(ylabel="amplitude", ylim=(-limit, limit))
    _shade_padding(axes, explanation)
    start, end = explanation.recorded
    title = f"Waveform: {explanation.seconds:.1f} s"
    if explanation.seconds - (end - start) > 0.05:
        title += f", of which the network hears the middle {end - start:.1f} s"
    elif start > 0:
        title += ", padded with zeros (grey)"
    axes.set_title(title, loc="left")


def _draw_mfcc(axes: Axes, bar_axes: Axes, explanation: Explanation) -> None:
    """As plot_mfcc, but for the first coefficient, whose hundreds would leave the others pale."""
    mfcc, frame = explanation.mfcc, explanation.frame_seconds
    image = axes.imshow(
        mfcc,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap="cividis",
        norm=SymLogNorm(linthresh=5, linscale=0.5, vmin=-MOST_MFCC, vmax=MOST_MFCC),
        extent=(-0.5 * frame, (mfcc.shape[1] - 0.5) * frame, -0.5, len(mfcc) - 0.5),
    )
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("coefficient")
    axes.set_title("MFCCs (dB)", loc="left")
    bar = axes.figure.colorbar(image, cax=bar_axes, extend="both")
    ticks = (-MOST_MFCC, -10, 0, 10, MOST_MFCC)
    bar.set_ticks(ticks, labels=[_signed(str(tick)) for tick in ticks])
    bar.minorticks_off()


def _draw_attention(rows: list[Axes], explanation: Explanation) -> None:
    attention = explanation.attention
    time = explanation.frame_seconds * np.arange(attention.shape[-1])
    low, high = float(attention.min()), float(attention.max())
    margin = max(0.08 * (high - low), 1e-3)
    for number, (axes, (forwards, backwards)) in enumerate(zip(rows, attention, strict=True), start=1):
        _shade_padding(axes, explanation)
        axes.plot(time, forwards, color=FORWARDS, label="forwards →")
        axes.plot(time, backwards, color=BACKWARDS, linestyle=(0, (4, 1.5)), label="← backwards")
        axes.set(ylabel=f"TAB {number}", ylim=(low - margin, high + margin))
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    rows[0].set_title("Attention, mean over channels", loc="left")
    place = {"loc": "lower right", "bbox_to_anchor": (1.01, 0.97)}
    rows[0].legend(**place, ncols=2, borderpad=0, columnspacing=1.2, handlelength=1.8)


def _draw_probabilities(axes: Axes, explanation: Explanation) -> None:
    emotions, answer, truth = explanation.emotions, explanation.answer, explanation.truth
    colours = ["0.75"] * len(emotions)
    colours[emotions.index(answer)] = ANSWER if truth is None else RIGHT if truth == answer else WRONG
    bars = axes.barh(range(len(emotions)), 100 * explanation.probabilities, height=0.72, color=colours)
    labels = [f"{100 * value:.0f} %" for value in explanation.probabilities]
    if truth is not None:
        labels[emotions.index(truth)] += " (true)"
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.set_yticks(range(len(emotions)), [ENGLISH[emotion] for emotion in emotions])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.set(xlabel="probability (%)", xlim=(0, 140), xticks=(0, 50, 100))
    axes.set_title("Answer", loc="left")


def _draw_fusion(rows: list[Axes], fusion: np.ndarray) -> None:
    """One bar a block, beside its attention."""
    low, high = min(0.0, float(fusion.min())), max(0.0, float(fusion.max()))
    room = 0.3 * max(high - low, 1e-3)  # for the figures
    for number, (axes, weight) in enumerate(zip(rows, fusion, strict=True), start=1):
        bars = axes.barh([0], [weight], height=0.8, color="0.45")
        axes.bar_label(bars, [_signed(f"{weight:.2f}")], padding=3, fontsize=9)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set(ylim=(-1, 1), xlim=(low - (1.3 * room if low < 0 else 0), high + room))
        axes.set_yticks([0], [f"TAB {number}"])
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=axes is rows[-1], bottom=axes is rows[-1])
        axes.spines[:].set_visible(False)
        axes.grid(False)
    rows[-1].spines["bottom"].set_visible(True)
    rows[0].set_title("Dynamic fusion", loc="left")
    rows[-1].set_xlabel("weight")


def _signed(number: str) -> str:
    """With the minus that matplotlib writes on its axes."""
    return number.replace("-", "\N{MINUS SIGN}")


def _shade_padding(axes: Axes, explanation: Explanation) -> None:
    start, end = explanation.recorded
    total = len(explanation.waveform) / explanation.sample_rate
    for left, right in ((-total, start), (end, 2 * total)):
        if start > 0 or end < total:
            axes.axvspan(left, right, color=PADDING, linewidth=0, zorder=0)

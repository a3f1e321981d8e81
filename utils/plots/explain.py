"""Figures of a trained network: an utterance and its answer, its kernels, and how far it looks back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.emotions import ENGLISH
from utils.plots.style import COLOURS, WIDTH, new_figure, shortened, with_look
from utils.plots.training import MOST, draw_mfcc, draw_waveform

FORWARDS, BACKWARDS = COLOURS[0], COLOURS[1]
RIGHT, WRONG, ANSWER = COLOURS[2], COLOURS[3], COLOURS[0]
PADDING = "0.9"
MARKERS = ("x", "o", "s")  # from the finest samples to the coarsest
LEAST = 0.01  # per cent of the influence: less is not worth an axis


@dataclass(frozen=True)
class Explanation:
    """An utterance as a network takes it, the attention of its blocks, and its answer."""

    name: str  # of the utterance
    network: str
    waveform: np.ndarray  # (samples,), padded or cut to the length of a training utterance
    sample_rate: int  # Hz
    recorded: tuple[float, float]  # seconds of the waveform that are the recording; the rest is padding
    seconds: float  # length of the recording, trimmed where the run says so; may exceed the waveform's
    mfcc: np.ndarray  # (n_mfcc, frames), not standardised
    frame_seconds: float  # from one frame to the next; frame i is centred on i times that
    attention: np.ndarray  # (n blocks, 2, frames), mean over channels: forwards, backwards turned round
    fusion: np.ndarray  # (n blocks,), the weight of each block's summary
    probabilities: np.ndarray  # (emotions,)
    emotions: tuple[str, ...]  # codes
    truth: str | None = None  # the code of the true emotion, where that is known
    words: Mapping[str, str] = field(default_factory=lambda: ENGLISH)  # code → the word that is shown

    @property
    def answer(self) -> str:
        """The code of the most probable emotion."""
        return self.emotions[int(self.probabilities.argmax())]

    @property
    def in_words(self) -> str:
        """For instance `fear (72 %), in truth anger`."""
        words = f"{self.words[self.answer]} ({100 * self.probabilities.max():.0f} %)"
        if self.truth is not None:
            words += ", rightly" if self.truth == self.answer else f", in truth {self.words[self.truth]}"
        return words


@with_look
def plot_explanation(explanation: Explanation, compared: Sequence[Explanation] = ()) -> Figure:
    """Waveform, MFCCs and every block's attention over the same time; beside them answer and fusion weights.

    All blocks have one axis of attention, and so have the figures of explanations that are `compared`. Grey
    is padding.
    """
    blocks = [f"TAB {number}" for number in range(1, len(explanation.attention) + 1)]
    heights = [0.9, 1.5, *([0.8] * len(blocks))]
    figure = Figure(figsize=(WIDTH, 1.9 + 1.05 * sum(heights)), layout="constrained")
    figure.suptitle(f"{explanation.name} · recognised as {explanation.in_words}\n{explanation.network}")
    places: list[Any] = [["waveform", ".", "answer"], ["mfcc", "colours", "answer"]]
    places += [[block, ".", f"weight of {block}"] for block in blocks]
    panels = figure.subplot_mosaic(places, width_ratios=(1, 0.02, 0.5), height_ratios=heights)
    rows = waveform, mfcc, *attention = [panels[row[0]] for row in places]
    draw_waveform(waveform, explanation.waveform, explanation.sample_rate, "0.25")
    start, end = explanation.recorded
    title = f"Waveform: {explanation.seconds:.1f} s"
    if explanation.seconds - (end - start) > 0.05:
        title += f", of which the network gets the middle {end - start:.1f} s"
    elif start > 0:
        title += ", padded with zeros (grey)"
    waveform.set_title(title, loc="left")
    waveform.set_ylabel("amplitude")
    image = draw_mfcc(mfcc, explanation.mfcc, explanation.frame_seconds)
    figure.colorbar(image, cax=panels["colours"], extend="both", ticks=(-MOST, 0, MOST))
    mfcc.set_ylabel("coefficient")
    mfcc.set_title("MFCCs, standard deviations from each mean", loc="left")
    _draw_attention(attention, blocks, explanation, [one.attention for one in (explanation, *compared)])
    total = len(explanation.waveform) / explanation.sample_rate
    if start > 0 or end < total:
        for axes in (waveform, *attention):
            axes.axvspan(-total, start, color=PADDING, linewidth=0, zorder=0)
            axes.axvspan(end, 2 * total, color=PADDING, linewidth=0, zorder=0)
    for axes in rows[:-1]:
        axes.sharex(rows[-1])
        axes.tick_params(labelbottom=False)
    rows[-1].set(xlabel="time (s)", xlim=image.get_extent()[:2])
    figure.align_ylabels(rows)
    figure.legend(*attention[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    _draw_probabilities(panels["answer"], explanation)
    _draw_fusion([panels[f"weight of {block}"] for block in blocks], blocks, explanation.fusion)
    return figure


def _draw_attention(
    rows: Sequence[Axes], blocks: Sequence[str], explanation: Explanation, compared: Sequence[np.ndarray]
) -> None:
    """Attentions (n blocks, 2, frames) of one utterance, on an axis that has room for all `compared`."""
    time = explanation.frame_seconds * np.arange(explanation.attention.shape[-1])
    low, high = min(one.min() for one in compared), max(one.max() for one in compared)
    room = max(0.05 * (high - low), 0.01)
    limits = low - room, high + room
    for axes, block, (forwards, backwards) in zip(rows, blocks, explanation.attention, strict=True):
        axes.plot(time, forwards, color=FORWARDS, label="forwards →")
        axes.plot(time, backwards, color=BACKWARDS, linestyle=(0, (4, 1.5)), label="← backwards")
        axes.set(ylabel=block, ylim=limits)
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    rows[0].set_title("Attention, mean over channels", loc="left")


def _draw_probabilities(axes: Axes, explanation: Explanation) -> None:
    emotions, answer, truth = explanation.emotions, explanation.answer, explanation.truth
    names = [shortened(explanation.words[emotion]) for emotion in emotions]
    bars = axes.barh(range(len(names)), 100 * explanation.probabilities, height=0.72, color="0.75")
    axes.set_yticks(range(len(names)), names)
    colour = ANSWER if truth is None else RIGHT if truth == answer else WRONG
    bars[emotions.index(answer)].set_facecolor(colour)
    labels = [f"{100 * value:.0f} %" for value in explanation.probabilities]
    if truth is not None:
        labels[emotions.index(truth)] += " (true)"
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.set(xlabel="probability (%)", xlim=(0, 175), xticks=(0, 50, 100))
    axes.set_title("Answer", loc="left")


def _draw_fusion(rows: Sequence[Axes], blocks: Sequence[str], fusion: np.ndarray) -> None:
    """One bar a block, beside its attention."""
    low, high = min(0.0, float(fusion.min())), max(0.0, float(fusion.max()))
    room = 0.45 * max(high - low, 1e-3)  # for the figures
    for axes, block, weight in zip(rows, blocks, fusion, strict=True):
        bars = axes.barh([block], [weight], height=0.8, color="0.45")
        axes.bar_label(bars, [f"{weight:.2f}".replace("-", "\N{MINUS SIGN}")], padding=3, fontsize=9)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set(ylim=(-1, 1), xlim=(low - (1.4 * room if low < 0 else 0), high + room))
        axes.tick_params(length=0, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(False)
    rows[0].set_title("Dynamic fusion", loc="left")
    rows[-1].set_xlabel("weight")
    rows[-1].tick_params(axis="x", length=3.5, labelbottom=True)
    rows[-1].spines["bottom"].set_visible(True)


@with_look
def plot_kernel(
    lags: np.ndarray,
    kernels: np.ndarray,
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str],
    title: str,
    close_up: float = 0.25,
) -> Figure:
    """Kernels as curves over the lag: their whole reach, and the last moments with samples at some rates.

    Lags (points,) are in seconds, kernels (kernels, points) are values there, samples label → lags (taps,)
    and values (kernels, taps), the finest first, at most three. The right side shows `close_up` seconds.
    """
    how: dict[str, Any] = {"sharex": "col", "sharey": "row", "squeeze": False, "width_ratios": (1, 1.6)}
    figure, rows = new_figure(title, 0.9 + 1.6 * len(kernels), len(kernels), 2, **how)
    for row, ((whole, detail), kernel, label) in enumerate(zip(rows, kernels, labels, strict=True)):
        whole.axvspan(0, close_up, color="0.93")
        whole.set_ylabel(f"{label}\nweight")
        for side in (whole, detail):
            side.plot(lags, kernel, color="0.4", linewidth=1.2, label="the function", zorder=1)
            side.margins(y=0.15)
        for index, (name, (at, values)) in enumerate(samples.items()):
            size = 4 + 3 * index  # where samples coincide, the coarser one encloses the finer one
            style = {"color": COLOURS[index], "markersize": size, "fillstyle": "none", "label": name}
            shown = at <= close_up
            detail.plot(at[shown], values[row][shown], MARKERS[index], **style)
    for column, (part, right) in enumerate((("whole reach", lags[-1]), ("close-up", close_up))):
        rows[0, column].set_title(part)
        rows[-1, column].set(xlabel="lag: time before the current frame (s)", xlim=(-0.02 * right, right))
    figure.legend(*rows[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(samples))
    return figure


@with_look
def plot_receptive_fields(fields: Mapping[str, tuple[np.ndarray, float]], title: str) -> Figure:
    """The share of the influence on an output that comes from a lag or from further back, on a log axis.

    A curve for each temporal-aware block, a panel for each network. `fields` has, by network, each frame's
    share in the influence on the last frame, (n blocks, frames), and seconds from frame to frame. (Single
    frames of a dilated network jump by orders of magnitude.)
    """
    figure, (panels,) = new_figure(title, 3.8, 1, len(fields), sharex=True, sharey=True, squeeze=False)
    colours = seaborn.color_palette("crest", max(len(blocks) for blocks, _ in fields.values()))
    for axes, (network, (blocks, frame_seconds)) in zip(panels, fields.items(), strict=True):
        for block, (influence, colour) in enumerate(zip(blocks, colours, strict=False), start=1):
            beyond = 100 * np.cumsum(influence)[::-1]  # of all frames at least as far back
            beyond = np.maximum(beyond, LEAST / 10)  # a line to below the axis, where it sees nothing more
            axes.plot(frame_seconds * np.arange(len(beyond)), beyond, color=colour, label=f"TAB {block}")
        axes.set(title=network, xlabel="lag: time before the last frame (s)")
        axes.legend(title="after")
    reach = max(frame_seconds * (blocks.shape[1] - 1) for blocks, frame_seconds in fields.values())
    panels[0].set(yscale="log", ylim=(LEAST, 150), xlim=(0, reach))
    panels[0].set_ylabel("influence of this lag and all before it (%)")
    panels[0].yaxis.set_major_formatter("{x:g}")
    return figure

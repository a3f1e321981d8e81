"""Figures of what reaches back in time: learned kernels, and receptive fields."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn
from matplotlib.figure import Figure

from utils.plots.style import COLOURS, WIDTH, with_look

MARKERS = ("x", "o", "s")  # from the finest samples to the coarsest
LEAST = 0.01  # per cent of the influence: less is not worth an axis


@with_look
def plot_kernel(
    lags: np.ndarray,
    kernels: np.ndarray,
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str],
    title: str,
    close_up: float = 0.25,
) -> Figure:
    """Kernels as curves over the lag, with what a network takes of them at several frame rates.

    To the left the whole reach, to the right the last moments, where single samples can be told apart.

    Args:
        lags: (points,) seconds, close enough for a curve.
        kernels: (kernels, points), the values there.
        samples: label → lags (taps,) and values (kernels, taps), the finest first; at most three.
        labels: what each kernel is.
        title: of the figure.
        close_up: seconds that the right side shows.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 1.6 * len(kernels)), layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(
        len(kernels), 2, sharex="col", sharey="row", squeeze=False, width_ratios=(1, 1.6)
    )
    for row, (axes, kernel, label) in enumerate(zip(rows, kernels, labels, strict=True)):
        axes[0].axvspan(0, close_up, color="0.93")
        for side in axes:
            side.plot(lags, kernel, color="0.4", linewidth=1.2, label="the function", zorder=1)
            side.margins(y=0.15)
        for index, (name, (at, values)) in enumerate(samples.items()):
            size = 4 + 3 * index  # where samples coincide, the coarser one encloses the finer one
            style = {"marker": MARKERS[index], "markersize": size, "linestyle": "none"}
            face = {} if index == 0 else {"markerfacecolor": "none"}
            shown = at <= close_up
            axes[1].plot(at[shown], values[row][shown], color=COLOURS[index], label=name, **style, **face)
        axes[0].set_ylabel(f"{label}\nweight")
    for column, (title, right) in enumerate((("whole reach", lags[-1]), ("close-up", close_up))):
        rows[0, column].set_title(title)
        rows[-1, column].set(xlabel="lag: time before the current frame (s)", xlim=(-0.02 * right, right))
    figure.legend(*rows[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(samples))
    return figure


@with_look
def plot_receptive_fields(fields: Mapping[str, tuple[np.ndarray, float]], title: str) -> Figure:
    """How far the past bears on the output, after each temporal-aware block: a panel for each network.

    A curve shows the share of the influence that comes from its lag or from further back, on a logarithmic
    axis (single frames of a dilated network jump up and down by orders of magnitude). It starts at 100 % and
    ends where the network sees nothing more.

    Args:
        fields: network → each frame's share in the influence on the last frame, (n blocks, frames), the last
            frame in the last column, as testing.receptive_field gives it; and seconds from frame to frame.
        title: of the figure.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(fields), sharex=True, sharey=True, squeeze=False)[0]
    colours = seaborn.color_palette("crest", max(len(field) for field, _ in fields.values()))
    for axes, (network, (field, frame_seconds)) in zip(panels, fields.items(), strict=True):
        for block, (influence, colour) in enumerate(zip(field, colours, strict=False), start=1):
            beyond = 100 * np.cumsum(influence)[::-1]  # of all frames at least as far back
            lags = frame_seconds * np.arange(len(beyond))
            beyond = np.maximum(beyond, LEAST / 10)  # a line to below the axis, where it sees nothing more
            axes.plot(lags, beyond, color=colour, label=f"TAB {block}")
        axes.set(title=network, xlabel="lag: time before the last frame (s)")
        axes.legend(title="after")
    reach = max(frame_seconds * (field.shape[1] - 1) for field, frame_seconds in fields.values())
    panels[0].set(yscale="log", ylim=(LEAST, 150), xlim=(0, reach))
    panels[0].set_ylabel("influence of this lag and all before it (%)")
    panels[0].yaxis.set_major_formatter("{x:g}")
    return figure

"""Embeddings of utterances in the plane."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import seaborn
from matplotlib.figure import Figure

from utils.plots.predictions import PALETTE
from utils.plots.style import WIDTH, new_figure, shortened, with_look, wrapped

MOST_IN_LEGEND = 24
MARKERS = "o^sDvPX"  # seven beside nine colours: no two of MOST_IN_LEGEND labels look alike


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

"""The look of every figure. Colours can be told apart by the colour-blind, and in grey print.

Figures are not registered with pyplot: a notebook shows one as the value of a cell, and none stays open.
"""

import base64
import html
import io
import textwrap
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from utils.files import write_atomically

WIDTH = 7.5  # inches: texts of 9 points and more can be read in a window of 600 pixels, too
COLOURS = seaborn.color_palette("colorblind")
TRAINING, VALIDATION, TEST = COLOURS[0], COLOURS[1], "0.25"  # middle, light and dark in grey print
LOOK = {**seaborn.axes_style("ticks"), "figure.dpi": 110, "font.size": 10, "axes.labelsize": 10}
LOOK |= {"axes.titlesize": 10.5, "figure.titlesize": 11.5, "figure.titleweight": "bold"}
LOOK |= {"xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False}
LOOK |= {"axes.edgecolor": "0.3", "axes.spines.top": False, "axes.spines.right": False}
LOOK |= {"axes.grid": True, "grid.color": "0.9", "lines.linewidth": 1.6, "text.parse_math": False}


def with_look(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a plotting function: it draws in our look, and leaves matplotlib's settings as they were.

    Texts are no formulas, for the name of a file may look like one, but for those with parse_math=True.
    """

    @wraps(plot)
    def wrapper(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(LOOK):
            figure = plot(*args, **kwargs)
            if title := figure.get_suptitle():
                lines = (wrapped(line, figure.get_figwidth(), 13.5) for line in title.splitlines())
                figure.suptitle("\n".join(lines))
            for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
                axis.get_ticklabels(which="both")  # makes the ticks while the look is set
            figure._repr_mimebundle_ = partial(_for_notebooks, figure)  # type: ignore[attr-defined]  # IPython's
            return figure

    return wrapper


def new_figure(
    title: str, height: float, *shape: int, width: float = WIDTH, **options: Any
) -> tuple[Figure, Any]:
    """A figure with its title, and its axes; sizes in inches, shape and options as of Figure.subplots."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(*shape, **options)


def wrapped(text: str, inches: float, points: float = 9) -> str:
    """A text in as many lines as it takes in that width; a word that is too long is broken."""
    characters = max(int(72 * inches / (0.57 * points)), 1)
    return textwrap.fill(text, characters, break_on_hyphens=False)


def shortened(name: str) -> str:
    """A name of at most 14 letters, whose end may be what tells it from others: `Überras…sitiv)`."""
    return name if len(name) < 15 else f"{name[:7]}…{name[-6:]}"


def log_where_wide(axes: Axes) -> None:
    """A logarithmic axis where the largest value is more than twenty times the smallest.

    Lines across the whole axes, as at the epoch that is kept, have no values.
    """
    curves = [line.get_ydata() for line in axes.get_lines() if line.get_transform() == axes.transData]
    values = np.concatenate(curves or [np.ones(1)])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylabel("cross-entropy\n(nats, logarithmic)")


def as_image(figure: Figure) -> bytes:
    """The figure as PNG, as large as in a notebook; in 256 colours, which nobody sees, it takes a third."""
    content, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(content, format="png", dpi=LOOK["figure.dpi"], bbox_inches="tight")
    Image.open(content).convert("RGB").quantize(256).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def _for_notebooks(figure: Figure, include: object = None, exclude: object = None) -> tuple[dict, dict]:
    """The figure as an image in HTML, for only there exporters of notebooks know an alternative text."""
    source = f"data:image/png;base64,{base64.b64encode(as_image(figure)).decode()}"
    alternative = html.escape(alternative_text(figure))
    return {"text/html": f'<img src="{source}" alt="{alternative}" style="max-width: 100%">'}, {}


def alternative_text(figure: Figure) -> str:
    """A figure in words: its label where it has one, its titles, axes, and names of rows and curves."""
    texts = [str(figure.get_label()), figure.get_suptitle()]
    for axes in figure.axes:
        texts += [axes.get_title("left"), axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
        names = [label.get_text() for label in axes.get_yticklabels()]
        texts += [name for name in names if any(letter.isalpha() for letter in name)]  # no numbers
    for legend in (one for one in (*figure.legends, *(axes.get_legend() for axes in figure.axes)) if one):
        texts += [text.get_text() for text in legend.get_texts()]
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in texts if text))


def save_figure(figure: Figure, path: str | Path, pdf: bool = False) -> None:
    """Write the figure as PNG (150 dots per inch), and with `pdf` as PDF beside it."""
    for kind in ("png", "pdf") if pdf else ("png",):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=150, bbox_inches="tight")
        same = Path(path).suffix.lower() == f".{kind}"
        write_atomically(path if same else Path(path).with_suffix(f".{kind}"), content.getvalue())

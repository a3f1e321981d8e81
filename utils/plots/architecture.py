"""The figure of the network: `python -m utils.plots.architecture docs/architecture.png [key=value …]`.

CkTIM-net or TIM-net, as a configuration describes it. Lengths are in inches; arrows lie under boxes.
"""

import sys
from collections.abc import Sequence
from itertools import cycle, pairwise, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from utils.config import ModelConfig, load_config
from utils.emotions import EMOTIONS, ENGLISH
from utils.errors import many
from utils.plots.style import TRAINING, VALIDATION, save_figure, with_look

CONVOLUTION, PLAIN, FUSION, OUTPUT, PANEL = "#cfe3f2", "#f1f1f1", "#fde3b8", "#d5ecdf", "#fafafa"  # fills
WIDTH = 9.0
INK, FAINT = "0.15", "0.45"
MOST_NAMES = 8  # of emotions, in the output
Rows = tuple[float, float, float]  # of the overview: forward, middle, backward


@with_look
def draw_architecture(
    model: ModelConfig,
    title: str,
    emotions: Sequence[str] = EMOTIONS,
    num_features: int = 39,
    num_functionals: int = 0,
) -> Figure:
    """Draw the whole network, the inside of a temporal-aware block, and the convolution in it.

    It has `num_features` a frame, and `num_functionals` an utterance (0: none).
    """
    backward = 3.42 + (0.6 if num_functionals else 0)  # above the panels, and the functionals
    rows = forward, middle, _ = backward + 1.94, backward + 0.97, backward
    height = forward + 0.95
    figure = Figure(figsize=(WIDTH, height))
    figure.set_label(f"{title}, a diagram: waveform, MFCCs, blocks in two directions, {len(emotions)} scores")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
    axes.axis("off")
    _text(axes, WIDTH / 2, height - 0.12, title, va="top", fontsize=13, weight="bold")
    _draw_input(axes, rows, f"{'MFCCs, prosody' if num_functionals else 'MFCCs'}:\n{num_features} × frames")
    _draw_directions(axes, rows, model)
    _draw_output(axes, middle, model, emotions)
    if num_functionals:
        sizes = f"{num_functionals} → {model.functionals_width} → {len(emotions)}"
        _draw_functionals(axes, backward, middle, sizes)
    convolution = "Its continuous kernel (CKConv)" if model.ck else "Its dilated causal convolution"
    panels = (0.12, 5.3, "Inside a temporal-aware block (TAB)"), (5.5, 3.38, convolution)
    for x, width, heading in panels:
        _box(axes, x + width / 2, 1.43, width, 2.62, PANEL, edgecolor="0.8", linewidth=0.8, zorder=0)
        _text(axes, x + 0.14, 2.57, heading, ha="left", weight="bold")
    _draw_block(axes, model)
    (_draw_continuous_kernel if model.ck else _draw_dilations)(axes, model)
    return figure


def _draw_input(axes: Axes, rows: Rows, features: str) -> None:
    """Waveform → features of each frame → the two directions."""
    forward, middle, backward = rows
    random, time = np.random.default_rng(4), np.linspace(0, 1, 400)
    envelope = np.exp(-(((time[:, None] - (0.2, 0.42, 0.55, 0.8)) / 0.06) ** 2)).sum(1)
    wave = envelope * np.sin(180 * time) * random.uniform(0.5, 1, time.shape)
    _text(axes, 0.62, forward + 0.4, "waveform")
    _icon(axes, 0.62, forward, 1.0, 0.48).plot(wave, color=TRAINING, linewidth=0.6)
    _arrow(axes, (0.62, forward - 0.26), (0.62, middle + 0.32))
    noise = random.normal(size=(13, 32))
    smooth = (noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1)) * np.hanning(32)
    image = _icon(axes, 0.62, middle, 1.0, 0.6)
    image.imshow(smooth, aspect="auto", cmap="cividis", interpolation="nearest")
    _text(axes, 0.62, middle - 0.4, features, va="top")
    for y in (forward, backward):
        _arrow(axes, (1.14, middle), (1.42, middle), (1.42, y), (1.68, y))


def _draw_directions(axes: Axes, rows: Rows, model: ModelConfig) -> None:
    """Input convolution and TABs of both directions, and between them the fusion of the TABs' summaries."""
    forward, middle, backward = rows
    pooled = "mean" if model.pooling == "mean" else "mean and standard deviation"
    summary = rf"$g_j$: {pooled} over time, both directions added"
    _text(axes, 7.6, forward + 0.4, summary, ha="right", parse_math=True)
    _text(axes, 1.68, forward + 0.4, "forward in time", ha="left")
    _text(axes, 1.68, backward - 0.4, "backward in time: the frames reversed", ha="left")
    _box(axes, 4.115, middle, 4.87, 0.66, FUSION, zorder=0)
    _text(axes, 1.78, middle, "dynamic\nfusion", ha="left", weight="bold")
    for y in (forward, backward):
        _box(axes, 2.14, y, 0.92, 0.52, CONVOLUTION, "input\nconvolution")
    n = model.n_temporal_aware_block
    shown = list(range(1, n + 1)) if n <= 4 else [1, 2, 0, n]  # 0: an ellipsis
    left, spacing = 2.6, 3.75 / len(shown)
    for place, block in enumerate(shown):
        x = 2.75 + (place + 0.5) * spacing
        reach = 0.35 if block else 0.16
        for y in (forward, backward):
            _arrow(axes, (left, y), (x - reach, y))
            if block:
                _box(axes, x, y, 2 * reach, 0.48, CONVOLUTION, f"TAB {block}")
                _arrow(axes, (x, y), (x, middle + (0.2 if y > middle else -0.2)))
        left = x + reach
        if block:
            _circle(axes, x, middle, 0.19, "white", rf"$g_{{{block}}}$", parse_math=True)
            _text(axes, x - 0.22, middle, rf"$w_{{{block}}}$", fontsize=11, ha="right", parse_math=True)
        else:
            for y in rows:
                _text(axes, x, y, "· · ·", fontsize=11)
        if block != n:
            _text(axes, x + spacing / 2 - 0.16, middle, "+", fontsize=11)


def _draw_output(axes: Axes, middle: float, model: ModelConfig, emotions: Sequence[str]) -> None:
    """Fused summaries → linear layer → one score an emotion; of many emotions the first few are named."""
    channels = model.n_filter * (1 if model.pooling == "mean" else 2)
    _arrow(axes, (6.55, middle), (6.74, middle))
    _arrow(axes, (7.1, middle), (7.88, middle))
    _box(axes, 7.1, middle, 0.72, 0.66, OUTPUT, f"linear\n{channels} → {len(emotions)}")
    _text(axes, 7.93, middle + 0.9, f"scores of {len(emotions)}\nemotions", ha="left", va="bottom")
    names = [ENGLISH[emotion] for emotion in emotions]
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], "…"]
    spacing = min(0.22, 1.54 / len(names))
    for row, (name, share) in enumerate(zip(names, cycle((0.1, 0.3, 0.06, 0.14, 1.0, 0.22, 0.08)))):
        y = middle + spacing * ((len(names) - 1) / 2 - row)
        _text(axes, 7.93, y, name if len(name) <= 8 else f"{name[:6]}…", ha="left")
        axes.add_patch(Rectangle((8.58, y - 0.05), 0.3 * share, 0.1, color=TRAINING))


def _draw_functionals(axes: Axes, backward: float, middle: float, sizes: str) -> None:
    """Features of all frames → functionals → perceptron, whose logits are added."""
    y = backward - 0.86
    _arrow(axes, (1.42, backward), (1.42, y), (1.68, y))
    _arrow(axes, (1.68, y), (3.75, y))
    _arrow(axes, (3.75, y), (7.67, y), (7.67, middle - 0.1))
    _box(axes, 2.43, y, 1.5, 0.48, CONVOLUTION, "functionals of\nthe utterance")
    _box(axes, 4.6, y, 1.7, 0.48, OUTPUT, f"perceptron\n{sizes}")
    _circle(axes, 7.67, middle, 0.1, OUTPUT, "+")


def _draw_block(axes: Axes, model: ModelConfig) -> None:
    """The inside of a TAB."""
    y = 1.2
    _arrow(axes, (0.45, y), (0.45, 2.14), (4.62, 2.14), (4.62, y + 0.14))
    _text(axes, 2.9, 2.2, "the block's own input", va="bottom", color=FAINT)
    for ends in pairwise((0.27, 0.72, 2.16, 3.6, 4.48, 5.25)):
        _arrow(axes, *((x, y) for x in ends))
    convolution = ("CKConv, 1×1" if model.separable else "CKConv") if model.ck else "causal conv."
    layers = convolution, "batch norm", "ReLU", f"dropout {model.dropout_rate:g}"
    for x in (1.315, 2.755):
        _box(axes, x, y, 1.19, 1.52, "white")
        for row, layer in enumerate(layers):
            _box(axes, x, y + 0.545 - 0.36 * row, 1.03, 0.29, PLAIN if row else CONVOLUTION, layer)
    _box(axes, 3.95, y, 0.7, 0.34, PLAIN, "sigmoid")
    _circle(axes, 4.62, y, 0.14, FUSION, "×")


def _draw_continuous_kernel(axes: Axes, model: ModelConfig) -> None:
    """Position → generator → kernel."""
    y = 1.75
    _icon(axes, 6.02, y, 0.72, 0.8).plot(np.linspace(-1, 1, 17), "o", color=TRAINING, markersize=2)
    _text(axes, 6.02, y - 0.52, "position\nin time,\n−1 … 1\n(now)", va="top")
    _arrow(axes, (6.42, y), (6.62, y))
    sizes = {6.72: 1, 7.04: 5, 7.36: 5, 7.68: 4}  # place of a layer: its units, as far as they are shown
    layers = [[(x, y + 0.19 * (unit - (n - 1) / 2)) for unit in range(n)] for x, n in sizes.items()]
    for ends in (ends for sides in pairwise(layers) for ends in product(*sides)):
        axes.plot(*zip(*ends, strict=True), color="0.75", linewidth=0.5, zorder=1)
    for layer, fill in zip(layers, ("white", VALIDATION, VALIDATION, "white"), strict=True):
        for place in layer:
            _circle(axes, *place, 0.062, fill)
    hidden = max(1, int(32 * model.hidden_scale))
    shape = f"1→{hidden}→{hidden}→{model.n_filter}²".replace("→", "\u2009→\u2009")  # thin spaces
    kind = f"a small {'network' if model.generator_type == 'conv' else 'KAN'}\n{shape}"
    _text(axes, 7.2, y - 0.52, f"generator,\n{kind}\n{model.af_type}, ω₀ = {model.omega_0:g}", va="top")
    _arrow(axes, (7.8, y), (8.0, y))
    position, icon = np.linspace(-1, 1, 200), _icon(axes, 8.4, y, 0.72, 0.8)
    for size, rate, phase, colour in ((1, 9, 0, TRAINING), (0.6, 15, 1, VALIDATION)):
        icon.plot(size * np.sin(rate * position + phase) * np.exp(1.6 * position), color=colour, linewidth=1)
    window = ",\neach in a\nwindow" if model.kernel_window else ""
    _text(axes, 8.4, y - 0.52, f"{model.n_filter} × {model.n_filter}\nkernels{window}", va="top")


def _draw_dilations(axes: Axes, model: ModelConfig) -> None:
    """The past frames on which the last output of a stack of dilated causal convolutions depends."""
    columns, rows = np.linspace(5.7, 7.8, 9), np.linspace(0.75, 2.1, 4)
    reached = {len(columns) - 1}  # columns of a row, from the top row down
    for block in (3, 2, 1, 0):
        for column, x in enumerate(columns):
            _circle(axes, x, rows[block], 0.062, TRAINING if column in reached else "white")
        if block == 0:
            break
        dilation = 2 ** (block - 1)
        pairs = product(range(len(columns)), dilation * np.arange(model.kernel_size))
        taps = [(end - lag, end) for end, lag in pairs if end >= lag]
        for tap in taps:
            colour, linewidth = (TRAINING, 1.2) if tap[1] in reached else ("0.85", 0.6)
            ends = columns[[*tap]], rows[block - 1 : block + 1]
            axes.plot(*ends, color=colour, linewidth=linewidth, zorder=1)
        reached = {start for start, end in taps if end in reached}
        _text(axes, 7.95, rows[block] - 0.225, f"TAB {block}:\ndilation {dilation}", ha="left")
    _arrow(axes, (columns[0], 0.5), (columns[-1], 0.5))
    _text(axes, columns.mean(), 0.44, "frames", va="top")


def _icon(axes: Axes, x: float, y: float, width: float, height: float) -> Axes:
    icon = axes.inset_axes((x - width / 2, y - height / 2, width, height), transform=axes.transData)
    icon.set(xticks=[], yticks=[])
    icon.grid(False)
    icon.spines[:].set(visible=True, color="0.6", linewidth=0.8)
    return icon


def _box(axes: Axes, x: float, y: float, width: float, height: float, fill: str, text="", **style) -> None:
    shape = "round,pad=0,rounding_size=0.06"
    style = {"facecolor": fill, "edgecolor": INK, "linewidth": 0.9, "zorder": 2, **style}
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, shape, **style))
    _text(axes, x, y, text)


def _circle(axes: Axes, x: float, y: float, radius: float, fill: Any, text: str = "", **style) -> None:
    axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=INK, linewidth=0.9, zorder=2))
    _text(axes, x, y, text, fontsize=11, **style)


def _arrow(axes: Axes, *points: tuple[float, float]) -> None:
    head = "-|>,head_length=4,head_width=2"
    axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle=head, color=INK, linewidth=1, zorder=1))


def _text(axes: Axes, x: float, y: float, text: str, **style) -> None:
    style = {"ha": "center", "va": "center", "fontsize": 9.5, "color": INK, "zorder": 3, **style}
    axes.text(x, y, text, **style)


if __name__ == "__main__":
    config = load_config("conf/config.yaml", sys.argv[2:])
    tabs, features = config.model.n_temporal_aware_block, config.features
    title = f"{config.model.name}-net with {many(tabs, 'temporal-aware block')}"
    sizes = features.num_features, features.num_functionals
    save_figure(draw_architecture(config.model, title, EMOTIONS, *sizes), sys.argv[1])

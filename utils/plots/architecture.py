"""The figure of the network: `python -m utils.plots.architecture docs/architecture.png [key=value …]`.

CkTIM-net or TIM-net, as a configuration describes it. Lengths are in inches.
"""

import sys
from collections.abc import Sequence
from itertools import cycle, pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from utils.config import ModelConfig, load_config
from utils.emotions import EMOTIONS, ENGLISH
from utils.plots.style import FORMULA, TRAINING, VALIDATION, WIDTH, save_figure, with_look

CONVOLUTION, PLAIN, FUSION, OUTPUT, PANEL = "#cfe3f2", "#f1f1f1", "#fde3b8", "#d5ecdf", "#fafafa"  # fills
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

    Args:
        model: the `model` section of the configuration.
        title: of the figure.
        emotions: the classes.
        num_features, num_functionals: features of a frame, and functionals of an utterance (0: none).
    """
    backward = 3.42 + (0.6 if num_functionals else 0)  # above the panels, and the functionals
    rows = forward, middle, _ = backward + 1.94, backward + 0.97, backward
    height = forward + 0.95
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal")
    axes.axis("off")
    axes.text(WIDTH / 2, height - 0.12, title, ha="center", va="top", fontsize=13, weight="bold", color=INK)
    _draw_input(axes, rows, num_features, num_functionals)
    _draw_directions(axes, rows, model)
    _draw_output(axes, middle, model, emotions)
    if num_functionals:
        sizes = f"{num_functionals} → {model.functionals_width} → {len(emotions)}"
        _draw_functionals(axes, backward, middle, sizes)
    _draw_block(axes, model)
    if model.ck:
        _draw_continuous_kernel(axes, model)
    else:
        _draw_dilations(axes, model)
    return figure


def _draw_input(axes: Axes, rows: Rows, num_features: int, num_functionals: int) -> None:
    """Waveform → features of each frame → the two directions."""
    forward, middle, backward = rows
    random = np.random.default_rng(4)
    time = np.linspace(0, 1, 400)
    envelope = sum(np.exp(-(((time - centre) / 0.06) ** 2)) for centre in (0.2, 0.42, 0.55, 0.8))
    wave = envelope * np.sin(180 * time) * random.uniform(0.5, 1, time.shape)
    _inset(axes, 0.12, forward - 0.24, 1.0, 0.48).plot(time, wave, color=TRAINING, linewidth=0.6)
    _text(axes, 0.62, forward + 0.4, "waveform")
    noise = random.normal(size=(13, 32))
    smooth = (noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1)) * np.hanning(32)
    image = _inset(axes, 0.12, middle - 0.3, 1.0, 0.6)
    image.imshow(smooth, aspect="auto", cmap="cividis", interpolation="nearest")
    _arrow(axes, (0.62, forward - 0.26), (0.62, middle + 0.32))
    kinds = "MFCCs, prosody" if num_functionals else "MFCCs"
    _text(axes, 0.62, middle - 0.4, f"{kinds}:\n{num_features} × frames", va="top")
    _line(axes, (1.14, middle), (1.42, middle))
    for y in (forward, backward):
        _line(axes, (1.42, middle), (1.42, y))
        _arrow(axes, (1.42, y), (1.68, y))


def _draw_directions(axes: Axes, rows: Rows, model: ModelConfig) -> None:
    """Input convolution and TABs of both directions, and between them the fusion of the TABs' summaries."""
    forward, middle, backward = rows
    n = model.n_temporal_aware_block
    shown = list(range(1, n + 1)) if n <= 4 else [1, 2, None, n]  # None: an ellipsis
    centres = 2.75 + (np.arange(len(shown)) + 0.5) * 3.75 / len(shown)
    _text(axes, 1.68, forward + 0.4, "forward in time", ha="left")
    _text(axes, 1.68, backward - 0.4, "backward in time: the frames reversed", ha="left")
    _box(axes, 1.68, middle - 0.33, 4.87, 0.66, FUSION)
    _text(axes, 1.78, middle, "dynamic\nfusion", ha="left", weight="bold")
    for y in (forward, backward):
        _box(axes, 1.68, y - 0.26, 0.92, 0.52, CONVOLUTION, "input\nconvolution")
        left = 2.6
        for block, x in zip(shown, centres, strict=True):
            reach = 0.35 if block else 0.16
            _arrow(axes, (left, y), (x - reach, y))
            if block:
                _box(axes, x - reach, y - 0.24, 2 * reach, 0.48, CONVOLUTION, f"TAB {block}")
            left = x + reach
    for place, (block, x) in enumerate(zip(shown, centres, strict=True)):
        if not block:
            for y in rows:
                _text(axes, x, y, "· · ·", fontsize=11)
        else:
            _arrow(axes, (x, forward - 0.24), (x, middle + 0.2))
            _arrow(axes, (x, backward + 0.24), (x, middle - 0.2))
            _circle(axes, x, middle, 0.19, "white")
            _text(axes, x, middle, rf"$g_{{{block}}}$", fontsize=11, gid=FORMULA)
            _text(axes, x - 0.22, middle, rf"$w_{{{block}}}$", fontsize=11, ha="right", gid=FORMULA)
        if place + 1 < len(shown):
            _text(axes, (x + centres[place + 1]) / 2 - 0.16, middle, "+", fontsize=11)
    pooled = "mean" if model.pooling == "mean" else "mean and standard deviation"
    summary = rf"$g_j$: {pooled} over time, both directions added"
    _text(axes, 7.6, forward + 0.4, summary, ha="right", gid=FORMULA)


def _draw_output(axes: Axes, middle: float, model: ModelConfig, emotions: Sequence[str]) -> None:
    """Fused summaries → linear layer → one score an emotion; of many emotions the first few are named."""
    channels = model.n_filter * (1 if model.pooling == "mean" else 2)
    _arrow(axes, (6.55, middle), (6.74, middle))
    _box(axes, 6.74, middle - 0.33, 0.72, 0.66, OUTPUT, f"linear\n{channels} → {len(emotions)}")
    _arrow(axes, (7.46, middle), (7.88, middle))
    _text(axes, 7.93, middle + 0.9, f"scores of {len(emotions)}\nemotions", ha="left", va="bottom")
    names = [ENGLISH[emotion] for emotion in emotions]
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], "…"]
    spacing = min(0.22, 1.54 / len(names))
    for row, (name, share) in enumerate(zip(names, cycle((0.1, 0.3, 0.06, 0.14, 1.0, 0.22, 0.08)))):
        y = middle + spacing * ((len(names) - 1) / 2 - row)
        _text(axes, 7.93, y, name if len(name) <= 8 else f"{name[:7]}…", ha="left")
        axes.add_patch(Rectangle((8.58, y - 0.05), 0.3 * share, 0.1, color=TRAINING))


def _draw_functionals(axes: Axes, backward: float, middle: float, sizes: str) -> None:
    """Features of all frames → functionals → perceptron, whose logits are added."""
    y = backward - 0.86
    _line(axes, (1.42, backward), (1.42, y))
    _arrow(axes, (1.42, y), (1.68, y))
    _box(axes, 1.68, y - 0.24, 1.5, 0.48, CONVOLUTION, "functionals of\nthe utterance")
    _arrow(axes, (3.18, y), (3.75, y))
    _box(axes, 3.75, y - 0.24, 1.7, 0.48, OUTPUT, f"perceptron\n{sizes}")
    _line(axes, (5.45, y), (7.67, y))
    _arrow(axes, (7.67, y), (7.67, middle - 0.1))
    _circle(axes, 7.67, middle, 0.1, OUTPUT)
    _text(axes, 7.67, middle, "+", fontsize=11)


def _draw_block(axes: Axes, model: ModelConfig) -> None:
    """The inside of a TAB."""
    y = 1.2
    _panel(axes, 0.12, 5.3, "Inside a temporal-aware block (TAB)")
    convolution = "CKConv" if model.ck else "causal conv."
    layers = (convolution, "batch norm", "ReLU", f"dropout {model.dropout_rate:g}")
    for start, end in pairwise(((0.27, y), (0.45, y), (0.45, 2.14), (4.62, 2.14))):
        _line(axes, start, end)
    _arrow(axes, (4.62, 2.14), (4.62, y + 0.14))
    _text(axes, 2.9, 2.2, "the block's own input", va="bottom", color=FAINT)
    left = 0.45
    for x in (0.72, 2.16):
        _arrow(axes, (left, y), (x, y))
        _box(axes, x, y - 0.76, 1.19, 1.52, "white")
        for row, layer in enumerate(layers):
            fill = PLAIN if row else CONVOLUTION
            _box(axes, x + 0.08, y + 0.4 - 0.36 * row, 1.03, 0.29, fill, layer)
        left = x + 1.19
    _arrow(axes, (left, y), (3.6, y))
    _box(axes, 3.6, y - 0.17, 0.7, 0.34, PLAIN, "sigmoid")
    _arrow(axes, (4.3, y), (4.48, y))
    _circle(axes, 4.62, y, 0.14, FUSION)
    _text(axes, 4.62, y, "×", fontsize=12)
    _arrow(axes, (4.76, y), (5.25, y))


def _draw_continuous_kernel(axes: Axes, model: ModelConfig) -> None:
    """Position → generator → kernel."""
    y = 1.75
    _panel(axes, 5.5, 3.38, "Its continuous kernel (CKConv)")
    icon = _inset(axes, 5.66, y - 0.4, 0.72, 0.8)
    icon.plot(np.linspace(-1, 1, 17), "o", color=TRAINING, markersize=2)
    _text(axes, 6.02, y - 0.52, "position\nin time,\n−1 … 1\n(now)", va="top")
    _arrow(axes, (6.42, y), (6.62, y))
    sizes = {6.72: 1, 7.04: 5, 7.36: 5, 7.68: 4}  # place of a layer: its units, as far as they are shown
    layers = [[(x, y + 0.19 * (unit - (n - 1) / 2)) for unit in range(n)] for x, n in sizes.items()]
    for source, target in (pair for sides in pairwise(layers) for pair in product(*sides)):
        _line(axes, source, target, color="0.75", linewidth=0.5)
    for layer, fill in zip(layers, ("white", VALIDATION, VALIDATION, "white"), strict=True):
        for unit in layer:
            _circle(axes, *unit, 0.062, fill)
    network = "network" if model.generator_type == "conv" else "KAN"
    hidden = max(1, int(32 * model.hidden_scale))
    shape = f"1→{hidden}→{hidden}→{model.n_filter}²".replace("→", "\u2009→\u2009")  # thin spaces
    generator = f"generator,\na small {network}\n{shape}\n{model.af_type}, ω₀ = {model.omega_0:g}"
    _text(axes, 7.2, y - 0.52, generator, va="top")
    _arrow(axes, (7.8, y), (8.0, y))
    position = np.linspace(-1, 1, 200)
    icon = _inset(axes, 8.04, y - 0.4, 0.72, 0.8)
    for size, rate, phase, colour in ((1, 9, 0, TRAINING), (0.6, 15, 1, VALIDATION)):
        kernel = size * np.sin(rate * position + phase) * np.exp(1.6 * position)
        icon.plot(position, kernel, color=colour, linewidth=1)
    window = ",\neach in a\nwindow" if model.kernel_window else ""
    _text(axes, 8.4, y - 0.52, f"{model.n_filter} × {model.n_filter}\nkernels{window}", va="top")


def _draw_dilations(axes: Axes, model: ModelConfig) -> None:
    """The past frames on which the last output of a stack of dilated causal convolutions depends."""
    _panel(axes, 5.5, 3.38, "Its dilated causal convolution")
    columns, rows = np.linspace(5.7, 7.8, 9), np.linspace(0.75, 2.1, 4)
    seen = [{len(columns) - 1}]  # columns, from the top row down
    for block in (3, 2, 1):
        dilation = 2 ** (block - 1)
        pairs = product(range(len(columns)), range(model.kernel_size))
        taps = [(end - dilation * tap, end) for end, tap in pairs if end >= dilation * tap]
        for start, end in taps:
            colour, linewidth = (TRAINING, 1.2) if end in seen[-1] else ("0.85", 0.6)
            ends = (columns[start], rows[block - 1]), (columns[end], rows[block])
            _line(axes, *ends, color=colour, linewidth=linewidth)
        _text(axes, 7.95, rows[block] - 0.225, f"TAB {block}:\ndilation {dilation}", ha="left")
        seen.append({start for start, end in taps if end in seen[-1]})
    for y, coloured in zip(rows[::-1], seen, strict=True):
        for column, x in enumerate(columns):
            _circle(axes, x, y, 0.062, TRAINING if column in coloured else "white")
    _arrow(axes, (columns[0], 0.5), (columns[-1], 0.5))
    _text(axes, columns.mean(), 0.44, "frames", va="top")


def _panel(axes: Axes, x: float, width: float, title: str) -> None:
    _box(axes, x, 0.12, width, 2.62, PANEL, edgecolor="0.8", linewidth=0.8, zorder=0)
    _text(axes, x + 0.14, 2.57, title, ha="left", weight="bold")


def _inset(axes: Axes, x: float, y: float, width: float, height: float) -> Axes:
    icon = axes.inset_axes((x, y, width, height), transform=axes.transData)
    icon.set(xticks=[], yticks=[])
    icon.grid(False)
    icon.spines[:].set(visible=True, color="0.6", linewidth=0.8)
    return icon


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, fill: str, text: str = "", **style
) -> None:
    box = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06")
    axes.add_patch(box)
    box.set(facecolor=fill, **{"edgecolor": INK, "linewidth": 0.9, "zorder": 2, **style})
    _text(axes, x + width / 2, y + height / 2, text)


def _circle(axes: Axes, x: float, y: float, radius: float, fill: str) -> None:
    axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=INK, linewidth=0.9, zorder=4))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>,head_length=4,head_width=2", "shrinkA": 0, "shrinkB": 0, "zorder": 3}
    axes.add_patch(FancyArrowPatch(start, end, color=INK, linewidth=1, **style))


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    axes.plot(*zip(start, end, strict=True), **{"color": INK, "linewidth": 1, "zorder": 1.5, **style})


def _text(axes: Axes, x: float, y: float, text: str, **style) -> None:
    defaults = {"ha": "center", "va": "center", "fontsize": 9.5, "color": INK, "zorder": 5}
    axes.text(x, y, text, **{**defaults, **style})


if __name__ == "__main__":
    config = load_config("conf/config.yaml", sys.argv[2:])
    tabs, features = config.model.n_temporal_aware_block, config.features
    title = f"{config.model.name}-net with {tabs} temporal-aware block{'s' if tabs > 1 else ''}"
    sizes = features.num_features, features.num_functionals
    save_figure(draw_architecture(config.model, title, EMOTIONS, *sizes), sys.argv[1])

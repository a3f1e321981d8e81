"""The figure of the network: CkTIM-net or TIM-net, as a configuration describes it. Lengths are in inches."""

from collections.abc import Sequence
from itertools import cycle, pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from utils.config import ModelConfig
from utils.emotions import EMOTIONS, ENGLISH
from utils.plots.style import FORMULA, TRAINING, VALIDATION, WIDTH, with_look

HEIGHT = 6.05
FORWARD, MIDDLE, BACKWARD = 5.15, 4.22, 3.29  # the rows of the overview
CONVOLUTION, PLAIN, FUSION, OUTPUT, PANEL = "#cfe3f2", "#f1f1f1", "#fde3b8", "#d5ecdf", "#fafafa"  # fills
INK, FAINT = "0.15", "0.45"
MOST_NAMES = 8  # of emotions, in the output


@with_look
def draw_architecture(model: ModelConfig, title: str, emotions: Sequence[str] = EMOTIONS) -> Figure:
    """Draw the whole network, the inside of a temporal-aware block, and the convolution in it.

    Args:
        model: the `model` section of the configuration.
        title: of the figure.
        emotions: the classes.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    axes.axis("off")
    axes.text(WIDTH / 2, HEIGHT - 0.12, title, ha="center", va="top", fontsize=12, weight="bold", color=INK)
    _draw_input(axes, model)
    _draw_directions(axes, model)
    _draw_output(axes, model, emotions)
    _draw_block(axes, model)
    if model.ck:
        _draw_continuous_kernel(axes, model)
    else:
        _draw_dilations(axes, model)
    return figure


def _draw_input(axes: Axes, model: ModelConfig) -> None:
    """Waveform → MFCCs → the two directions."""
    random = np.random.default_rng(4)
    time = np.linspace(0, 1, 400)
    envelope = sum(np.exp(-(((time - centre) / 0.06) ** 2)) for centre in (0.2, 0.42, 0.55, 0.8))
    icon = _inset(axes, 0.12, FORWARD - 0.24, 1.0, 0.48)
    wave = envelope * np.sin(180 * time) * random.uniform(0.5, 1, time.shape)
    icon.plot(time, wave, color=TRAINING, linewidth=0.6)
    _text(axes, 0.62, FORWARD + 0.4, "waveform")

    icon = _inset(axes, 0.12, MIDDLE - 0.3, 1.0, 0.6)
    noise = random.normal(size=(13, 32))
    smooth = (noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1)) * np.hanning(32)
    icon.imshow(smooth, aspect="auto", cmap="cividis", interpolation="nearest")
    _arrow(axes, (0.62, FORWARD - 0.26), (0.62, MIDDLE + 0.32))
    _text(axes, 0.62, MIDDLE - 0.47, f"{model.num_features} MFCCs\n× frames", va="top")

    _line(axes, (1.14, MIDDLE), (1.42, MIDDLE))
    for y in (FORWARD, BACKWARD):
        _line(axes, (1.42, MIDDLE), (1.42, y))
        _arrow(axes, (1.42, y), (1.68, y))


def _draw_directions(axes: Axes, model: ModelConfig) -> None:
    """Input convolution and TABs of both directions, and the fusion of what each TAB tells between them."""
    n = model.n_temporal_aware_block
    shown = list(range(1, n + 1)) if n <= 4 else [1, 2, None, n]  # None: an ellipsis
    centres = 2.72 + (np.arange(len(shown)) + 0.5) * 3.9 / len(shown)
    half = 0.33

    _text(axes, 1.68, FORWARD + 0.4, "forward in time", ha="left")
    _text(axes, 1.68, BACKWARD - 0.4, "backward in time (the frames reversed)", ha="left")
    _box(axes, 1.68, MIDDLE - 0.33, 4.97, 0.66, FUSION)
    _text(axes, 1.78, MIDDLE, "dynamic\nfusion", ha="left", weight="bold")

    for y in (FORWARD, BACKWARD):
        _box(axes, 1.68, y - 0.24, 0.82, 0.48, CONVOLUTION, "input\nconvolution")
        left = 2.5
        for block, x in zip(shown, centres, strict=True):
            if block is None:
                _arrow(axes, (left, y), (x - 0.16, y))
                _text(axes, x, y, "· · ·", fontsize=11)
                left = x + 0.16
            else:
                _arrow(axes, (left, y), (x - half, y))
                _box(axes, x - half, y - 0.24, 2 * half, 0.48, CONVOLUTION, f"TAB {block}")
                left = x + half

    for place, (block, x) in enumerate(zip(shown, centres, strict=True)):
        if block is None:
            _text(axes, x, MIDDLE, "· · ·", fontsize=11)
        else:
            _arrow(axes, (x, FORWARD - 0.24), (x, MIDDLE + 0.2))
            _arrow(axes, (x, BACKWARD + 0.24), (x, MIDDLE - 0.2))
            _circle(axes, x, MIDDLE, 0.19, "white")
            _text(axes, x, MIDDLE, rf"$g_{{{block}}}$", fontsize=10, gid=FORMULA)
            _text(axes, x - 0.22, MIDDLE, rf"$w_{{{block}}}$", fontsize=10, ha="right", gid=FORMULA)
        if place + 1 < len(shown):
            _text(axes, (x + centres[place + 1]) / 2 - 0.16, MIDDLE, "+", fontsize=11)
    summed = r"$g_j$: both directions summed, mean over time"
    _text(axes, 6.62, FORWARD + 0.4, summed, ha="right", gid=FORMULA)


def _draw_output(axes: Axes, model: ModelConfig, emotions: Sequence[str]) -> None:
    """Fused features → linear layer → one score an emotion; of many emotions the first few are named."""
    _arrow(axes, (6.65, MIDDLE), (6.95, MIDDLE))
    _box(axes, 6.95, MIDDLE - 0.33, 0.66, 0.66, OUTPUT, f"linear\n{model.n_filter} → {len(emotions)}")
    _arrow(axes, (7.61, MIDDLE), (7.85, MIDDLE))
    _text(axes, 7.93, MIDDLE + 0.93, f"scores of {len(emotions)}\nemotions", ha="left", va="bottom")
    names = [ENGLISH[emotion] for emotion in emotions]
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], "…"]
    spacing = min(0.22, 1.54 / len(names))
    for row, (name, share) in enumerate(zip(names, cycle((0.1, 0.3, 0.06, 0.14, 1.0, 0.22, 0.08)))):
        y = MIDDLE + spacing * ((len(names) - 1) / 2 - row)
        _text(axes, 7.93, y, name if len(name) <= 8 else f"{name[:7]}…", ha="left")
        axes.add_patch(Rectangle((8.5, y - 0.05), 0.36 * share, 0.1, color=TRAINING))


def _draw_block(axes: Axes, model: ModelConfig) -> None:
    """The inside of a TAB."""
    y = 1.2
    _panel(axes, 0.12, 5.3, "Inside a temporal-aware block (TAB)")
    convolution = "CKConv" if model.ck else "causal conv."
    layers = (convolution, "batch norm", "ReLU", f"dropout {model.dropout_rate:g}")
    _line(axes, (0.27, y), (0.45, y))
    _line(axes, (0.45, y), (0.45, 2.14))
    _line(axes, (0.45, 2.14), (4.62, 2.14))
    _arrow(axes, (4.62, 2.14), (4.62, y + 0.14))
    _text(axes, 2.9, 2.24, "the block's own input", va="bottom", color=FAINT)
    left = 0.45
    for x in (0.75, 2.2):
        _arrow(axes, (left, y), (x, y))
        _box(axes, x, y - 0.76, 1.15, 1.52, "white")
        for row, layer in enumerate(layers):
            fill = PLAIN if row else CONVOLUTION
            _box(axes, x + 0.08, y + 0.4 - 0.36 * row, 0.99, 0.28, fill, layer)
        left = x + 1.15
    _arrow(axes, (left, y), (3.62, y))
    _box(axes, 3.62, y - 0.17, 0.66, 0.34, PLAIN, "sigmoid")
    _arrow(axes, (4.28, y), (4.48, y))
    _circle(axes, 4.62, y, 0.14, FUSION)
    _text(axes, 4.62, y, "×", fontsize=11)
    _arrow(axes, (4.76, y), (5.2, y))


def _draw_continuous_kernel(axes: Axes, model: ModelConfig) -> None:
    """Position → generator → kernel."""
    y = 1.5
    _panel(axes, 5.5, 3.38, "Its continuous kernel (CKConv)")
    icon = _inset(axes, 5.66, y - 0.4, 0.72, 0.8)
    icon.plot(np.linspace(-1, 1, 17), "o", color=TRAINING, markersize=2)
    _text(axes, 6.02, y - 0.52, "position\nin time,\n−1 … 1\n(now)", va="top")

    _arrow(axes, (6.42, y), (6.62, y))
    sizes = {6.72: 1, 7.04: 5, 7.36: 5, 7.68: 4}  # place of a layer: its units, as far as they are shown
    layers = [[(x, y + 0.19 * (unit - (n - 1) / 2)) for unit in range(n)] for x, n in sizes.items()]
    for sources, targets in pairwise(layers):
        for source, target in product(sources, targets):
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
    """Which past frames the last output of a stack of dilated causal convolutions sees."""
    _panel(axes, 5.5, 3.38, "Its dilated causal convolution")
    columns = np.linspace(5.78, 7.9, 9)
    rows = np.linspace(0.75, 2.1, 4)
    seen = {len(columns) - 1}
    for block in (3, 2, 1):
        dilation = 2 ** (block - 1)
        pairs = product(range(len(columns)), range(model.kernel_size))
        taps = [(end - dilation * tap, end) for end, tap in pairs if end >= dilation * tap]
        for start, end in taps:
            colour, linewidth = (TRAINING, 1.2) if end in seen else ("0.85", 0.6)
            ends = (columns[start], rows[block - 1]), (columns[end], rows[block])
            _line(axes, *ends, color=colour, linewidth=linewidth)
        for column, x in enumerate(columns):
            _circle(axes, x, rows[block], 0.062, TRAINING if column in seen else "white")
        seen = {start for start, end in taps if end in seen}
        y = (rows[block] + rows[block - 1]) / 2
        _text(axes, 8.05, y, f"TAB {block}:\ndilation {dilation}", ha="left")
    for column, x in enumerate(columns):
        _circle(axes, x, rows[0], 0.062, TRAINING if column in seen else "white")
    _arrow(axes, (columns[0], 0.5), (columns[-1], 0.5))
    _text(axes, 6.84, 0.44, "frames", va="top")


def _panel(axes: Axes, x: float, width: float, title: str) -> None:
    box = FancyBboxPatch((x, 0.12), width, 2.62, boxstyle="round,pad=0,rounding_size=0.08", zorder=0)
    box.set(facecolor=PANEL, edgecolor="0.8", linewidth=0.8)
    axes.add_patch(box)
    _text(axes, x + 0.14, 2.59, title, ha="left", va="center", weight="bold")


def _inset(axes: Axes, x: float, y: float, width: float, height: float) -> Axes:
    icon = axes.inset_axes((x, y, width, height), transform=axes.transData)
    icon.set(xticks=[], yticks=[])
    icon.grid(False)
    icon.spines[:].set(visible=True, color="0.6", linewidth=0.8)
    return icon


def _box(axes: Axes, x: float, y: float, width: float, height: float, fill: str, text: str = "") -> None:
    box = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", zorder=2)
    box.set(facecolor=fill, edgecolor=INK, linewidth=0.9)
    axes.add_patch(box)
    _text(axes, x + width / 2, y + height / 2, text)


def _circle(axes: Axes, x: float, y: float, radius: float, fill: str) -> None:
    axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=INK, linewidth=0.9, zorder=4))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = "-|>,head_length=4,head_width=2"
    arrow = FancyArrowPatch(start, end, arrowstyle=style, shrinkA=0, shrinkB=0, color=INK, linewidth=1)
    axes.add_patch(arrow)
    arrow.set_zorder(3)


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    axes.plot(*zip(start, end, strict=True), **{"color": INK, "linewidth": 1, "zorder": 1.5, **style})


def _text(axes: Axes, x: float, y: float, text: str, **style) -> None:
    defaults = {"ha": "center", "va": "center", "fontsize": 8.5, "color": INK, "zorder": 5}
    axes.text(x, y, text, **{**defaults, **style})

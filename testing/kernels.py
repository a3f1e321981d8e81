"""Learned kernels as functions of the time that has passed, and how far back each block looks.

The effective receptive field (Luo et al., arXiv 1701.04128) is measured by an output's gradient to the input.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch import Tensor

from models.ckconv import CKConv, SeparableCKConv
from models.cktim import DIRECTIONS, CkTIMNet
from testing.load_run import LoadedRun, load_run
from testing.parsers import LAYER
from utils.errors import UserError
from utils.files import command_line
from utils.notebooks.display import keep
from utils.plots.explain import plot_kernel, plot_receptive_fields
from utils.results import corpus_overrides
from utils.runs import Run

CURVE_STEP = 1 / 16  # training frames between two points of a curve
HOPS = (256, 512, 1024)  # samples; figures of kernels show the taps at these frame rates
NOISES = 16  # utterances of noise, over which a receptive field is averaged


@torch.no_grad()
def forward_kernels(conv: CKConv, step: float = CURVE_STEP) -> tuple[Tensor, Tensor]:
    """Lags (points,) in training frames, forward kernels (out, in channels, points), on the CPU.

    Of separable kernels `in` is 1.
    """
    lags = step * torch.arange(conv.reach(step))
    kernels = conv.kernel_at(lags).unflatten(0, (DIRECTIONS, -1))  # separable ones have a group a channel
    return lags, kernels[0].flatten(0, 1).cpu()


def telling_kernels(conv: CKConv, count: int = 3) -> list[tuple[int, int]]:
    """(output, input channel) of `count` forward kernels, from the shortest reach to the longest.

    For each output channel the kernel with the most energy is considered; its reach is the energy's mean lag.
    """
    lags, kernels = forward_kernels(conv, step=1.0)
    energy = kernels.square()
    strongest = energy.sum(-1).argmax(1)
    energy = energy[torch.arange(len(energy)), strongest]
    order = ((energy * lags).sum(-1) / energy.sum(-1)).argsort()
    chosen = order[torch.linspace(0, len(order) - 1, count).round().long()].tolist()
    return [(channel, int(strongest[channel])) for channel in chosen]


def kernel_figure(run: LoadedRun, layer: str = LAYER) -> Figure:
    """Some kernels of a layer, such as `input_conv`, as functions of time, and their samples at HOPS.

    A UserError where the layer has none.
    """
    kinds = CKConv, SeparableCKConv
    layers = {name: one for name, one in run.model.named_modules() if isinstance(one, kinds)}
    if not layers:
        raise UserError(f"{run.path} has no continuous kernels: it is TIM-net (model.ck is false).")
    if layer not in layers:
        raise UserError(f"{run.path} has no continuous kernels in {layer}, but in {', '.join(layers)}.")
    conv = cast(CKConv, getattr(layers[layer], "depthwise", layers[layer]))
    pairs = telling_kernels(conv)
    frame_seconds, sample_rate = run.model.frame_seconds, run.config.features.sample_rate

    def sample(step: float) -> tuple[np.ndarray, np.ndarray]:
        lags, kernels = forward_kernels(conv, step)
        return frame_seconds * lags.numpy(), np.stack([kernels[o, i] for o, i in pairs])

    samples = {
        f"hop {hop} ({1000 * hop / sample_rate:.0f} ms)": sample(hop / sample_rate / frame_seconds)
        for hop in HOPS
    }
    labels = [f"channel {o + 1}" if conv.in_channels == 1 else f"channel {i + 1} → {o + 1}" for o, i in pairs]
    return plot_kernel(*sample(CURVE_STEP), samples, labels, f"{run.path.name} · kernels of {layer}")


def effective_receptive_field(net: CkTIMNet, x: Tensor | None = None) -> Tensor:
    """Influence of each input frame on every block's forward output at the last frame: (n blocks, frames).

    For block j: the mean over utterances and coefficients of |∂ p_j / ∂ x[:, :, t]|, where p_j is the block's
    output in forward direction at the last frame, summed over its channels; scaled to sum to 1. `x` holds
    standardised MFCCs (batch, coefficients, frames); by default it is white noise, the same each time.
    """
    mean = cast(Tensor, net.feature_mean)
    if x is None:
        x = torch.randn(NOISES, len(mean), net.frames, generator=torch.Generator().manual_seed(0))
    x = x.to(mean).requires_grad_()
    h = net.eval().input_conv(torch.cat([x, x.flip(-1)], dim=1))
    fields = []
    for block in net.blocks:
        h = block(h)
        (gradient,) = torch.autograd.grad(h[:, : h.shape[1] // 2, -1].sum(), x, retain_graph=True)
        influence = gradient.abs().mean((0, 1))
        fields.append(influence / influence.sum())
    return torch.stack(fields)


def deepest_run(runs: Iterable[Run], network: str) -> LoadedRun | None:
    """Of one network ("CkTIM", "TIM") the run with weights and the most TABs, loaded on the CPU."""
    runs = [run for run in runs if run.has_weights and run.config and run.network == network]
    deepest = max(runs, key=lambda run: run.settings["model.n_temporal_aware_block"], default=None)
    return load_run(deepest.path, ["train.device=cpu"]) if deepest else None


def show_kernels(runs: Iterable[Run], folder: str | Path | None = None) -> None:
    """Display kernel_figure of the deepest CkTIM run; where none has weights, say how to get one."""
    if run := deepest_run(runs, "CkTIM"):
        display(keep(kernel_figure(run), "kernels", folder))
    else:
        display(Markdown("**Missing: a run of CkTIM with weights** (`python -m training.train`)."))


def show_receptive_fields(runs: Iterable[Run], folder: str | Path | None = None) -> None:
    """Display the receptive fields of the deepest CkTIM and TIM runs, and name the one that is missing."""
    runs, fields = list(runs), {}
    for network, ck in (("CkTIM", "true"), ("TIM", "false")):
        if run := deepest_run(runs, network):
            fields[run.path.name] = effective_receptive_field(run.model).numpy(), run.model.frame_seconds
        else:
            command = command_line("training.train", f"model.ck={ck}", *corpus_overrides(runs))
            display(Markdown(f"**Missing: a run of {network} with weights** (`{command}`)."))
    if fields:
        display(keep(plot_receptive_fields(fields, "Effective receptive fields"), "receptive_fields", folder))

"""What notebook_results shows of single networks: their kernels over time, and how far they look back."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch import Tensor

from models.ckconv import CKConv
from models.cktim import CkTIMNet
from testing.frame_rates import HOPS
from testing.kernels import CURVE_STEP, forward_kernels, telling_kernels
from testing.load_run import LoadedRun, load_run
from testing.receptive_field import effective_receptive_field
from utils.comparison import Group
from utils.notebooks.display import keep
from utils.plots.kernels import plot_kernel, plot_receptive_fields

LAYER = "blocks.0.convolutions.0"  # whose kernels are shown unless another is named: the first in TAB 1
ON_CPU = ("train.device=cpu",)  # wherever a run was trained
NOISES = 16  # of which a receptive field is the mean


def kernel_figure(run: LoadedRun, layer: str = LAYER) -> Figure:
    """Some kernels of a CkTIM run's layer as functions of time, and the samples taken at HOPS."""
    conv: CKConv = run.model.get_submodule(layer)
    pairs = telling_kernels(conv)
    frame_seconds, sample_rate = run.model.frame_seconds, run.config.features.sample_rate

    def sample(step: float) -> tuple[np.ndarray, np.ndarray]:
        lags, kernels = forward_kernels(conv, step)
        return frame_seconds * lags.numpy(), np.stack([kernels[o, i] for o, i in pairs])

    samples = {
        f"hop {hop} ({1000 * hop / sample_rate:.0f} ms)": sample(hop / sample_rate / frame_seconds)
        for hop in HOPS
    }
    labels = [f"channel {i + 1} → {o + 1}" for o, i in pairs]
    return plot_kernel(*sample(CURVE_STEP), samples, labels, f"{run.path.name} · kernels of {layer}")


def receptive_field(net: CkTIMNet) -> Tensor:
    """The effective receptive field for noise with the mean and variance of the training's MFCCs.

    Returns:
        (n blocks, frames), see testing.receptive_field.
    """
    same_noise = torch.Generator().manual_seed(0)
    noise = torch.randn(NOISES, len(net.feature_mean), net.frames, generator=same_noise)
    x = net.feature_mean[:, None] + net.feature_std[:, None] * noise.to(net.feature_std)
    return effective_receptive_field(net, x).cpu()


def deepest_runs(groups: Iterable[Group]) -> dict[str, Path]:
    """Network → the run directory with the most TABs, of those with weights and configuration."""
    runs = [(group.network, run) for group in groups for run in group.runs if run.has_weights and run.config]
    runs.sort(key=lambda found: -found[1].config.model.n_temporal_aware_block)
    return {network: run.path for network, run in reversed(runs)}


def show_kernels(groups: Iterable[Group], folder: str | Path | None = None) -> None:
    """Display kernel_figure of the deepest CkTIM run; where there is none with weights, how to get one."""
    run_dir = deepest_runs(groups).get("CkTIM")
    if run_dir is None:
        display(Markdown("**Missing: a run of CkTIM with weights** (`python -m training.train`)."))
    else:
        display(keep(kernel_figure(load_run(run_dir, ON_CPU)), "kernels", folder))


def show_receptive_fields(groups: Iterable[Group], folder: str | Path | None = None) -> None:
    """Display the receptive fields of the deepest CkTIM and TIM runs, and name the one that is missing."""
    found, fields = deepest_runs(groups), {}
    for network, ck in (("CkTIM", "true"), ("TIM", "false")):
        if network in found:
            net = load_run(found[network], ON_CPU).model
            fields[found[network].name] = receptive_field(net).numpy(), net.frame_seconds
        else:
            command = f"python -m training.train model.ck={ck}"
            display(Markdown(f"**Missing: a run of {network} with weights** (`{command}`)."))
    if fields:
        display(keep(plot_receptive_fields(fields, "Effective receptive fields"), "receptive_fields", folder))

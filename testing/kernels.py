"""The kernels of a trained CkTIM-net as what they are: functions of the time that has passed."""

import torch
from torch import Tensor

from models.ckconv import CKConv

CURVE_STEP = 1 / 16  # training frames from point to point of what looks continuous


@torch.no_grad()
def kernel_at(conv: CKConv, lags: Tensor) -> Tensor:
    """The kernel as a function, without the weights that a sum over its samples gives to them.

    Args:
        conv: a continuous convolution.
        lags: (points,) in training frames before the current one, 0 to horizon - 1, whole or not.

    Returns:
        (groups, out_channels, in_channels, points).
    """
    share = lags.to(next(conv.parameters())) / max(conv.horizon - 1, 1)  # of the horizon
    kernel = conv.generator(1 - 2 * share).unflatten(1, (conv.out_channels, conv.in_channels))
    if conv.log_width is not None:
        kernel = kernel * torch.exp(-share * torch.exp(-conv.log_width))
    return kernel


def forward_kernels(conv: CKConv, step: float = CURVE_STEP) -> tuple[Tensor, Tensor]:
    """The forward direction's kernels, sampled over their whole reach.

    Args:
        conv: a continuous convolution.
        step: training frames from sample to sample: 1 gives the taps of the training, 0.5 those of a net that
            is run at twice the frame rate.

    Returns:
        lags (points,) in training frames, values (out_channels, in_channels, points), both on the CPU.
    """
    lags = step * torch.arange(conv.reach(step))
    return lags, kernel_at(conv, lags)[0].cpu()


def telling_kernels(conv: CKConv, count: int = 3) -> list[tuple[int, int]]:
    """A few kernels of different reach, the shortest and the longest among them.

    Of each output channel it is the kernel of the most energy; its reach is the energy's mean lag.

    Returns:
        (output channel, input channel) of each, in forward direction, the shortest first.
    """
    lags, kernels = forward_kernels(conv, step=1.0)
    energy = kernels.square()
    strongest = energy.sum(-1).argmax(1)
    energy = energy[torch.arange(len(energy)), strongest]
    order = ((energy * lags).sum(-1) / energy.sum(-1)).argsort()
    chosen = order[torch.linspace(0, len(order) - 1, count).round().long()].tolist()
    return [(channel, strongest[channel].item()) for channel in chosen]

"""How far back a network looks: its effective receptive field, block by block.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
arXiv 1701.04128: not what an output could see, but what it does, by the gradient to the input.
"""

import torch
from torch import Tensor

from models.cktim import CkTIMNet


def effective_receptive_field(net: CkTIMNet, x: Tensor) -> Tensor:
    """Influence of each input frame on every block's forward output at the last frame.

    For block j: the mean over utterances and coefficients of |∂ p_j / ∂ x[:, :, t]|, where p_j is the block's
    output in forward direction at the last frame, pooled (summed) over its channels; scaled to sum to 1.

    Args:
        net: a network; evaluated as in inference.
        x: raw MFCCs (batch, num_features, frames).

    Returns:
        (n blocks, frames); column frames - 1 - d is the influence of the frame d steps before the last.
    """
    net.eval()
    x = ((x - net.feature_mean[:, None]) / net.feature_std[:, None]).requires_grad_()
    h = net.input_conv(torch.cat([x, x.flip(-1)], dim=1))
    fields = []
    for block in net.blocks:
        h = block(h)
        pooled = h[:, : h.shape[1] // 2, -1].sum()
        (gradient,) = torch.autograd.grad(pooled, x, retain_graph=True)
        field = gradient.abs().mean((0, 1))
        fields.append(field / field.sum())
    return torch.stack(fields)

"""Dynamic fusion: a learned weighted sum of the blocks' summaries (TIM-Net, arXiv 2211.08233, equation 5)."""

import torch
from torch import Tensor, nn


class DynamicFusion(nn.Module):
    """One learned weight per temporal-aware block; at the start the blocks' average.

    Args:
        n_blocks: number of summaries to fuse.
    """

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((n_blocks,), 1 / n_blocks))

    def forward(self, summaries: Tensor) -> Tensor:
        """(batch, n_blocks, channels) → (batch, channels)."""
        return torch.einsum("bnc,n->bc", summaries, self.weight)

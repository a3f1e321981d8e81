"""The temporal-aware block (TAB) of TIM-Net (arXiv 2211.08233, section 2.2), for both directions at once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatedCausalConv(nn.Conv1d):
    """TIM-net's convolution: an output depends on `kernel_size` frames of the past, `dilation` apart."""

    def forward(self, x: Tensor, step: float = 1.0, norm: nn.BatchNorm1d | None = None) -> Tensor:
        """As CKConv; `step` is ignored, for taps that are whole frames apart have no notion of time."""
        past = (self.kernel_size[0] - 1) * self.dilation[0]
        y = super().forward(F.pad(x, (past, 0)))
        return y if norm is None else norm(y)


class TemporalAwareBlock(nn.Module):
    """Two sub-blocks (convolution → batch norm → ReLU → spatial dropout), whose sigmoid gates the input.

    Args:
        convolutions: the two sub-blocks' causal convolutions, CKConv or DilatedCausalConv, each keeping
            the number of channels.
        channels: channels of all groups together.
        dropout_rate: probability with which a whole channel of an utterance is dropped in training.
    """

    def __init__(self, convolutions: list[nn.Module], channels: int, dropout_rate: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(2))
        self.dropout = nn.Dropout1d(dropout_rate)

    def forward(self, x: Tensor, step: float = 1.0) -> Tensor:
        """(batch, channels, frames) → the same shape: x times its attention (TIM-Net, equation 3)."""
        return x * self.attention(x, step)

    def attention(self, x: Tensor, step: float = 1.0) -> Tensor:
        """The factor in (0, 1) of each channel and frame: (batch, channels, frames); `step` as in CKConv."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(F.relu(convolution(x, step, norm), inplace=True))
        return torch.sigmoid(x)

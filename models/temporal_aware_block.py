"""The temporal-aware block (TAB) of TIM-Net (arXiv 2211.08233, section 2.2), for both directions at once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.distributed import processes, total


class DilatedCausalConv(nn.Conv1d):
    """TIM-net's convolution: each output sees `kernel_size` frames of the past, `dilation` apart."""

    def forward(
        self,
        x: Tensor,
        step: float = 1.0,
        norm: nn.BatchNorm1d | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(batch, groups · in_channels, frames) → (batch, groups · out_channels, frames).

        Arguments as in CKConv; `step` is ignored: taps that are whole frames apart have no notion of time.
        """
        past = (self.kernel_size[0] - 1) * self.dilation[0]
        y = super().forward(F.pad(x, (past, 0)))
        return y if norm is None else norm(y, mask)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics leave out padded frames, and are of all processes that share the batch."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, frames) → the same shape.

        Args:
            mask: (batch, 1, frames), 1 for an utterance's own frames and 0 for padding; None for no padding.
                Outputs at padded frames mean nothing.
        """
        if self.training and processes() == 1 and x[:, 0].numel() == 1:
            # one frame of one utterance has no deviation: what was learned before stands in
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if not self.training or (mask is None and processes() == 1):
            return super().forward(x)
        if mask is None:
            mask = x.new_ones(len(x), 1, x.shape[-1])
        count = total(mask.sum())
        mean = total((x * mask).sum((0, 2))) / count
        centred = x - mean[:, None]
        variance = total((centred.square() * mask).sum((0, 2))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None] + self.bias[:, None]


class TemporalAwareBlock(nn.Module):
    """Two sub-blocks (convolution → batch norm → ReLU → spatial dropout) that gate the input or add to it.

    Args:
        convolutions: the two sub-blocks' causal convolutions, CKConv or DilatedCausalConv, each keeping
            the number of channels.
        channels: channels of all groups together.
        dropout_rate: probability with which a whole channel of an utterance is dropped in training.
        gate: "sigmoid", the input times the sub-blocks' sigmoid (TIM-Net, equation 3); or "residual", the
            input plus what the sub-blocks give.
    """

    def __init__(
        self,
        convolutions: tuple[nn.Module, nn.Module],
        channels: int,
        dropout_rate: float,
        gate: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.gate = gate
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(MaskedBatchNorm(channels) for _ in range(2))
        self.dropout = nn.Dropout1d(dropout_rate)

    def forward(self, x: Tensor, mask: Tensor | None = None, step: float = 1.0) -> Tensor:
        """(batch, channels, frames) → the same shape; arguments as in CKConv and MaskedBatchNorm."""
        h = self.sub_blocks(x, mask, step)
        return x + h if self.gate == "residual" else x * torch.sigmoid(h)

    def attention(self, x: Tensor, mask: Tensor | None = None, step: float = 1.0) -> Tensor:
        """The sub-blocks' sigmoid, in (0, 1): (batch, channels, frames), as the input.

        With the sigmoid gate it is what the input is multiplied by.
        """
        return torch.sigmoid(self.sub_blocks(x, mask, step))

    def sub_blocks(self, x: Tensor, mask: Tensor | None = None, step: float = 1.0) -> Tensor:
        """What the two sub-blocks give: (batch, channels, frames), as the input."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(F.relu(convolution(x, step, norm, mask), inplace=True))
        return x

"""The network as its formulas stand, against which results and speed of models/ are measured.

Two separate branches, one for each direction in time. Each continuous convolution runs its own generator at
every call, in evaluation too, and sums over all taps of the kernel as written. Nothing is grouped, kept or
transformed.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.cktim import CkTIMNet
from models.kernel_generators import HIDDEN_CHANNELS
from utils.config import ModelConfig

DIRECTIONS = 2


class TwoBranches(nn.Module):
    """The same function as a CkTIMNet, with copies of its weights.

    For generators of 1×1 convolutions and sines, which the published network has.

    Args:
        net: the network to be equal to; device, precision and mode (training or not) are taken from it too.
        model: the `model` section of the configuration that it was built from.
    """

    def __init__(self, net: CkTIMNet, model: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("feature_mean", net.feature_mean.clone())
        self.register_buffer("feature_std", net.feature_std.clone())
        coefficients = len(net.feature_mean)
        self.branches = nn.ModuleList(Branch(model, coefficients, net.frames) for _ in range(DIRECTIONS))
        self.input_dropout = nn.Dropout1d(model.input_dropout)
        self.fusion = copy.deepcopy(net.fusion)
        self.classifier = copy.deepcopy(net.classifier)
        for direction, branch in enumerate(self.branches):
            branch.load_state_dict(
                {
                    name: one_direction(value, direction)
                    for name, value in net.state_dict().items()
                    if name.startswith(("input_conv.", "blocks."))
                }
            )
        self.to(net.fusion.weight).train(net.training)

    def forward(self, x: Tensor) -> Tensor:
        """Raw MFCCs (batch, coefficients, frames) → logits (batch, num_classes)."""
        x = (x - self.feature_mean[:, None]) / self.feature_std[:, None]
        x = self.input_dropout(x)
        forwards, backwards = self.branches
        return self.classifier(self.fusion(forwards(x) + backwards(x.flip(-1))))


def one_direction(tensor: Tensor, direction: int) -> Tensor:
    """A direction's share of a tensor of the grouped network, where the directions follow each other."""
    return tensor.chunk(DIRECTIONS)[direction] if tensor.dim() else tensor  # a count of batches has no axis


class Branch(nn.Module):
    """One direction: input convolution and blocks. Parameters are named as in CkTIMNet."""

    def __init__(self, model: ModelConfig, coefficients: int, horizon: int) -> None:
        super().__init__()

        def block_convolution(index: int) -> nn.Module:
            if model.ck:
                return ContinuousConv(model, model.n_filter, model.omega_0, horizon, bias=False)
            return DilatedConv(model.n_filter, model.n_filter, model.kernel_size, dilation=2**index)

        if model.ck:
            omega_0, bias = model.input_omega_0, model.kernel_bias
            self.input_conv = ContinuousConv(model, coefficients, omega_0, horizon, bias)
        else:
            self.input_conv = nn.Conv1d(coefficients, model.n_filter, kernel_size=1)
        self.blocks = nn.ModuleList()
        for index in range(model.n_temporal_aware_block):
            block = nn.Module()
            block.convolutions = nn.ModuleList(block_convolution(index) for _ in range(2))
            block.norms = nn.ModuleList(nn.BatchNorm1d(model.n_filter) for _ in range(2))
            self.blocks.append(block)
        self.dropout = nn.Dropout1d(model.dropout_rate)
        self.with_std = model.pooling == "mean_std"

    def forward(self, x: Tensor) -> Tensor:
        """(batch, coefficients, frames) → each block's summary over time, (batch, n blocks, channels)."""
        x = self.input_conv(x)
        summaries = []
        for block in self.blocks:
            h = x
            for convolution, norm in zip(block.convolutions, block.norms, strict=True):
                h = self.dropout(F.relu(norm(convolution(h))))
            x = x * torch.sigmoid(h)
            summary = [x.mean(-1)]
            if self.with_std:
                summary.append((x.var(-1, correction=0) + 1e-5).sqrt())
            summaries.append(torch.cat(summary, dim=1))
        return torch.stack(summaries, dim=1)


class DilatedConv(nn.Conv1d):
    """TIM-net's causal convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, frames) → (batch, out_channels, frames)."""
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class ContinuousConv(nn.Module):
    """A CKConv by the direct sum, its kernel made afresh at every call."""

    def __init__(
        self, model: ModelConfig, in_channels: int, omega_0: float, horizon: int, bias: bool
    ) -> None:
        super().__init__()
        self.shape = model.n_filter, in_channels
        self.horizon, self.kernel_dropout = horizon, model.kernel_dropout
        self.generator = Generator(model, model.n_filter * in_channels, omega_0)
        self.bias = nn.Parameter(torch.empty(model.n_filter)) if bias else None
        self.log_width = nn.Parameter(torch.empty(1, model.n_filter, 1, 1)) if model.kernel_window else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, frames) → (batch, out_channels, frames)."""
        taps = min(x.shape[-1], self.horizon)
        lag = torch.arange(taps, device=x.device, dtype=x.dtype) / max(self.horizon - 1, 1)
        kernel = self.generator(1 - 2 * lag).unflatten(0, self.shape)
        if self.log_width is not None:
            kernel = kernel * torch.exp(-lag / self.log_width[0].exp())
        kernel = F.dropout(kernel, self.kernel_dropout, self.training)
        return F.conv1d(F.pad(x, (taps - 1, 0)), kernel.flip(-1), self.bias)


class Generator(nn.Module):
    """Weight-normalised 1×1 convolutions 1 → hidden → hidden → out; between them × omega_0, norm, sine."""

    def __init__(self, model: ModelConfig, out_channels: int, omega_0: float) -> None:
        super().__init__()
        self.omega_0 = omega_0
        hidden = max(1, math.floor(HIDDEN_CHANNELS * model.hidden_scale))
        widths = (1, hidden, hidden, out_channels)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(widths[index], widths[index + 1], kernel_size=1)) for index in range(3)
        )
        batch_norm = model.generator_norm == "batch"
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) if batch_norm else nn.Identity() for _ in range(2))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (taps,) → values (out_channels, taps)."""
        h = positions[None, None]
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            h = torch.sin(norm(self.omega_0 * layer(h)))
        return self.layers[-1](h)[0]

"""CKConv: a causal convolution whose kernel is a continuous function of relative position.

Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.causal_conv import (
    causal_conv,
    choose_algorithm,
    direct_conv,
    fft_length,
    filtered,
    in_blocks,
    kernel_spectrum,
    mix,
    signal_spectrum,
)
from models.frozen import Frozen

LOST = 1e-5  # of a window's first value: taps that weigh less change no logit by 1e-4, and are left out


class CKConv(nn.Module):
    """Positions → generator → (window, dropout) → causal convolution, in `groups` independent groups.

    The kernel is a function on [-1, 1]: position 1 belongs to the current frame and -1 to the frame
    `horizon - 1` training frames ago, whatever the length and frame rate of the input: another length or
    frame rate samples the same function.

    Args:
        in_channels, out_channels, groups: channels a group, and independent groups (one for each direction).
        generator: module mapping positions (taps,) to values (groups, out_channels · in_channels, taps), or
            as many in fewer groups.
        horizon: the kernel's reach in frames, that of a training utterance.
        bias: learn one bias per output channel.
        kernel_dropout: probability with which single kernel values are dropped in training.
        window: 0 for none; otherwise each output channel's kernel is multiplied by exp(-lag / width), with a
            learned width that starts at this share of the horizon (cf. FlexConv, arXiv 2110.08059); one for
            all, or (groups · out_channels,).
        variance_preserving: scale the generator at the start so that white input of variance 1 gives output
            of variance 1; otherwise nothing divides by the taps · in_channels products that are summed.
        algorithm: see models.causal_conv.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        generator: nn.Module,
        horizon: int,
        *,
        bias: bool = True,
        kernel_dropout: float = 0.0,
        window: float | Tensor = 0.0,
        variance_preserving: bool = True,
        algorithm: str = "auto",
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.horizon, self.kernel_dropout, self.algorithm = horizon, kernel_dropout, algorithm
        self.generator = generator
        self.bias = nn.Parameter(torch.zeros(groups * out_channels)) if bias else None
        self.log_width = None
        if isinstance(window, Tensor) or window:
            width = torch.as_tensor(window).expand(groups * out_channels)
            self.log_width = nn.Parameter(width.log().view(groups, out_channels, 1, 1))
        if variance_preserving:
            with torch.no_grad():
                energy = self.sample_kernel(horizon).square().sum((2, 3))
            generator.rescale_output(energy.flatten().rsqrt() if in_channels == 1 else energy.mean().rsqrt())
        self._frozen = Frozen()

    def reach(self, step: float = 1.0) -> int:
        """Taps of the whole kernel, for frames that are `step` training frames apart."""
        return math.floor((self.horizon - 1) / step + 1e-6) + 1

    def support(self, step: float = 1.0) -> int:
        """Taps after which every channel's window is below LOST (float64: lost in rounding); at most reach.

        At least two, where the reach is, for a batch norm in the generator needs several positions.

        In training on a GPU it stays reach(step), for asking the GPU about weights would make it wait; so it
        does where the weights have no values to ask for.
        """
        reach, log_width = self.reach(step), self.log_width
        if log_width is None or (self.training and log_width.device.type != "cpu"):
            return reach
        if log_width.is_meta or is_recorded():
            return reach
        width = log_width.detach().amax().exp().item() * (self.horizon - 1) / step  # frames
        lost = torch.finfo(log_width.dtype).eps if log_width.dtype == torch.float64 else LOST
        taps = -math.log(lost) * width
        return min(reach, max(math.floor(taps), 1) + 1) if math.isfinite(taps) else reach

    def kernel_at(self, lags: Tensor) -> Tensor:
        """The kernel as a function: at lags (points,) in training frames, at least in float32.

        Returns (groups, out_channels, in_channels, points).
        """
        weight = next(self.parameters())
        dtype = at_least_float32(weight)
        share = lags.to(weight.device, dtype) / max(self.horizon - 1, 1)  # of the horizon
        positions = 1 - 2 * share
        is_exact = weight.dtype == dtype
        values = self.generator(positions) if is_exact else in_precision(dtype, self.generator, positions)
        kernel = values.reshape(self.groups, self.out_channels, self.in_channels, -1)
        if self.log_width is not None:
            kernel = kernel * torch.exp(-share * torch.exp(-self.log_width.to(share)))
        return kernel

    def sample_kernel(self, taps: int, step: float = 1.0) -> Tensor:
        """The kernel at lags of 0 … taps - 1 frames: (groups, out_channels, in_channels, taps).

        Args:
            taps: at most reach(step).
            step: time from frame to frame as a share of that in training (0.5 at twice the frame rate). The
                sum over taps stands for an integral over the past: each tap weighs `step`, and both ends
                (1 + step) / 2, for a sum of unit steps is the trapezoidal rule plus half of both ends.
        """
        weight = next(self.parameters())
        lags = step * torch.arange(taps, device=weight.device, dtype=at_least_float32(weight))
        kernel = self.kernel_at(lags)
        if step != 1.0:
            tap_weight = torch.full_like(lags, step)
            tap_weight[0] = (1 + step) / 2
            if taps == self.reach(step) > 1:
                tap_weight[-1] = (1 + step) / 2
            kernel = kernel * tap_weight
        return kernel

    def forward(self, x: Tensor, step: float = 1.0, norm: nn.BatchNorm1d | None = None) -> Tensor:
        """(batch, groups · in_channels, frames) → (batch, groups · out_channels, frames).

        `step` as in sample_kernel; `norm` is a batch norm that follows, and part of a frozen kernel. Computed
        at least in float32, also within autocast: a CPU has no Fourier transform of less.
        """
        signal, frames = x.to(at_least_float32(x)), x.shape[-1]
        with without_autocast(x.device.type):
            if is_recorded():  # for any length: the whole kernel, as one plain operation
                y = direct_conv(signal, self.sample_kernel(self.reach(step), step), self._bias(signal))
            elif self._frozen.count and not self.training and not torch.is_grad_enabled():
                return self._frozen_conv(signal, step, norm).to(x.dtype)
            else:
                kernel = self.sample_kernel(min(frames, self.support(step)), step)
                kernel = drop_out(kernel, self.kernel_dropout if self.training else 0.0)
                y = causal_conv(signal, kernel, self._bias(signal), self.algorithm)
        y = y.to(x.dtype)
        return y if norm is None else norm(y)

    def _bias(self, like: Tensor) -> Tensor | None:
        return None if self.bias is None else self.bias.to(like.dtype)

    def _frozen_conv(self, x: Tensor, step: float, norm: nn.BatchNorm1d | None) -> Tensor:
        """The convolution and the batch norm after it, by kernels that are generated once."""
        keep = self._frozen.keep_for(self, norm)
        taps = min(x.shape[-1], keep(step, lambda: self.support(step)))
        algorithm = choose_algorithm(len(x), taps) if self.algorithm == "auto" else self.algorithm
        if algorithm == "direct":
            return direct_conv(x, *keep((step, taps), lambda: self._normed_kernel(norm, taps, step)))

        def transformed(points: int) -> tuple[Tensor, Tensor | None]:
            kernel, bias = self._normed_kernel(norm, taps, step)
            return kernel_spectrum(kernel, points), bias

        def convolve(block: Tensor) -> Tensor:
            points = fft_length(block.shape[-1], taps)
            spectrum, bias = keep((step, taps, points), lambda: transformed(points))
            frames = block.shape[-1]
            if spectrum.ndim == 2:
                return filtered(torch.fft.rfft(block, points), spectrum, bias, points, frames)
            block_spectrum = signal_spectrum(block, self.groups, points)
            return mix(block_spectrum, spectrum, bias, self.groups, points, frames).contiguous()

        return in_blocks(x, taps, convolve)

    def _normed_kernel(self, norm: nn.BatchNorm1d | None, taps: int, step: float) -> tuple:
        """Kernel and bias of the convolution and the batch norm after it, in evaluation one linear map."""
        kernel = self.sample_kernel(taps, step)
        bias = self._bias(kernel)
        if norm is None:
            return kernel, bias
        values = norm.weight, norm.bias, norm.running_mean, norm.running_var
        weight, offset, mean, variance = (value.to(kernel) for value in values)
        scale = weight * (variance + norm.eps).rsqrt()
        mean = mean if bias is None else mean - bias
        return kernel * scale.view(self.groups, -1, 1, 1), offset - mean * scale

    def train(self, mode: bool = True) -> "CKConv":
        if mode:
            self._frozen.freeze(0)  # for the weights will change
        return super().train(mode)

    def __getstate__(self) -> dict:  # a copy is not frozen
        return {**super().__getstate__(), "_frozen": Frozen()}


class SeparableCKConv(nn.Module):
    """A continuous kernel for each channel, then a 1×1 convolution that mixes the channels of each group.

    As in CCNN (Knigge et al., arXiv 2206.03398, section 3.2). The windows of the channels start on a
    logarithmic scale from a third of `window` to ten times it. Other arguments as for CKConv; the generator
    gives `channels` values for each group.
    """

    def __init__(
        self, channels: int, groups: int, generator: nn.Module, horizon: int, window: float, **options: Any
    ) -> None:
        super().__init__()
        if window:
            widths = torch.logspace(math.log10(window / 3), math.log10(min(10 * window, 1)), channels)
            options["window"] = widths.repeat(groups)
        self.depthwise = CKConv(1, 1, groups * channels, generator, horizon, bias=False, **options)
        self.pointwise = nn.Conv1d(groups * channels, groups * channels, 1, groups=groups, bias=False)

    def forward(self, x: Tensor, step: float = 1.0, norm: nn.BatchNorm1d | None = None) -> Tensor:
        """As CKConv."""
        y = self.pointwise(self.depthwise(x, step))
        return y if norm is None else norm(y)


def at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def in_precision(dtype: torch.dtype, generator: nn.Module, positions: Tensor) -> Tensor:
    """The generator's values, computed in a precision that its weights may not have."""
    tensors = chain(generator.named_parameters(), generator.named_buffers())
    weights = {name: tensor.to(dtype) for name, tensor in tensors if tensor.is_floating_point()}
    return functional_call(generator, weights, positions)


def without_autocast(device_type: str) -> AbstractContextManager:
    within = device_type != "meta" and torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if within else nullcontext()


def is_recorded() -> bool:
    """Whether PyTorch exports, compiles, traces, or transforms (torch.func) what is computed."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    return torch.jit.is_tracing()  # type: ignore[attr-defined]  # not in the stubs


def drop_out(x: Tensor, rate: float) -> Tensor:
    """As F.dropout, whose random numbers take twice as long on a CPU."""
    return x * (torch.rand_like(x) >= rate) / (1 - rate) if rate else x

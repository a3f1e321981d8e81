"""CKConv: a causal convolution whose kernel is a continuous function of relative position.

Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611.
"""

import math

import torch
from torch import Tensor, nn

from models.causal_conv import (
    causal_conv,
    choose_algorithm,
    direct_conv,
    fft_length,
    in_blocks,
    kernel_spectrum,
    mix,
    signal_spectrum,
)

MOST_KEPT = 4  # frozen kernels of one convolution: for so many lengths and frame rates at a time


class CKConv(nn.Module):
    """Positions → generator → (window, dropout) → causal convolution, in `groups` independent groups.

    The kernel is a function on [-1, 1]: position 1 belongs to the current frame and -1 to the frame
    `horizon - 1` training frames ago, whatever the length and frame rate of the input: another length or
    frame rate samples the same function.

    Args:
        in_channels, out_channels, groups: channels a group, and independent groups (one for each direction).
        generator: module mapping positions (taps,) to values (groups, out_channels · in_channels, taps).
        horizon: the kernel's reach in frames, that of a training utterance.
        bias: learn one bias per output channel.
        kernel_dropout: probability with which single kernel values are dropped in training.
        window: 0 for none; otherwise each output channel's kernel is multiplied by exp(-lag / width), with a
            learned width that starts at this share of the horizon (cf. FlexConv, arXiv 2110.08059).
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
        window: float = 0.0,
        variance_preserving: bool = True,
        algorithm: str = "auto",
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.horizon, self.kernel_dropout, self.algorithm = horizon, kernel_dropout, algorithm
        self.generator = generator
        self.bias = nn.Parameter(torch.zeros(groups * out_channels)) if bias else None
        self.log_width = None
        if window:
            self.log_width = nn.Parameter(torch.full((groups, out_channels, 1, 1), window).log())
        if variance_preserving:
            with torch.no_grad():
                energy = self.sample_kernel(horizon).square().sum((2, 3)).mean()
            generator.rescale_output(energy.rsqrt().item())
        self._kept: dict | None = None  # kernels while they are frozen (keep_kernels)

    def reach(self, step: float = 1.0) -> int:
        """Taps of the whole kernel, for frames that are `step` training frames apart."""
        return math.floor((self.horizon - 1) / step + 1e-6) + 1

    def support(self, step: float = 1.0) -> int:
        """Taps after which every channel's window is lost in rounding (2^-24 in float32); at most reach.

        In training on a GPU it stays reach(step), for asking the GPU about weights would make it wait.
        """
        reach, log_width = self.reach(step), self.log_width
        if log_width is None or (self.training and log_width.device.type != "cpu"):
            return reach
        width = log_width.detach().amax().exp().item() * (self.horizon - 1) / step  # frames
        taps = -math.log(torch.finfo(log_width.dtype).eps / 2) * width
        return min(reach, math.floor(taps) + 1) if math.isfinite(taps) else reach

    def sample_kernel(self, taps: int, step: float = 1.0) -> Tensor:
        """The kernel at lags of 0 … taps - 1 frames: (groups, out_channels, in_channels, taps).

        Args:
            taps: at most reach(step).
            step: time from frame to frame as a share of that in training (0.5 at twice the frame rate). The
                sum over taps stands for an integral over the past: each tap weighs `step`, and both ends
                (1 + step) / 2, for a sum of unit steps is the trapezoidal rule plus half of both ends.
        """
        weight = next(self.parameters())
        lag = step * torch.arange(taps, device=weight.device, dtype=weight.dtype)
        lag = lag / max(self.horizon - 1, 1)  # as a share of the horizon
        kernel = self.generator(1 - 2 * lag).unflatten(1, (self.out_channels, self.in_channels))
        if self.log_width is not None:
            kernel = kernel * torch.exp(-lag * torch.exp(-self.log_width))
        if step != 1.0:
            tap_weight = torch.full_like(lag, step)
            tap_weight[0] = (1 + step) / 2
            if taps == self.reach(step) > 1:
                tap_weight[-1] = (1 + step) / 2
            kernel = kernel * tap_weight
        return kernel

    def forward(self, x: Tensor, step: float = 1.0, norm: nn.BatchNorm1d | None = None) -> Tensor:
        """(batch, groups · in_channels, frames) → (batch, groups · out_channels, frames).

        `step` as in sample_kernel; `norm` is a batch norm that follows, and part of a kept kernel.
        """
        taps = min(x.shape[-1], self.support(step))
        kept = self._kept
        if kept is None or self.training or torch.is_grad_enabled():
            kernel = drop_out(self.sample_kernel(taps, step), self.kernel_dropout if self.training else 0.0)
            y = causal_conv(x, kernel, self.bias, self.algorithm)
            return y if norm is None else norm(y)
        algorithm = choose_algorithm(len(x), taps) if self.algorithm == "auto" else self.algorithm

        def get(points: int | None = None) -> tuple[Tensor, Tensor | None]:
            """Kernel (or with `points` its spectrum) and bias, batch norm included."""
            key = norm, taps, step, points
            found = kept.get(key)
            if found is None:
                kernel, bias = self._normed_kernel(norm, taps, step)
                found = (kernel if points is None else kernel_spectrum(kernel, points)), bias
                if len(kept) >= MOST_KEPT:
                    kept.clear()
                kept[key] = found
            return found

        def convolve(block: Tensor) -> Tensor:
            points = fft_length(block.shape[-1], taps)
            spectrum, frames = signal_spectrum(block, self.groups, points), block.shape[-1]
            return mix(spectrum, *get(points), self.groups, points, frames).contiguous()

        return direct_conv(x, *get()) if algorithm == "direct" else in_blocks(x, taps, convolve)

    def _normed_kernel(self, norm: nn.BatchNorm1d | None, taps: int, step: float) -> tuple:
        """Kernel and bias of the convolution and the batch norm after it, in evaluation one linear map."""
        kernel, bias = self.sample_kernel(taps, step), self.bias
        if norm is None:
            return kernel, bias
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if bias is None else norm.running_mean - bias
        return kernel * scale.view(self.groups, -1, 1, 1), norm.bias - mean * scale

    def keep_kernels(self, keep: bool = True) -> None:
        """Begin to keep the kernels that evaluation without gradients generates, or end it."""
        self._kept = {} if keep else None

    def train(self, mode: bool = True) -> "CKConv":  # the kept kernels are of the weights before
        if mode:
            self.keep_kernels(self._kept is not None)
        return super().train(mode)

    def __getstate__(self) -> dict:  # a copy is not frozen
        return {**super().__getstate__(), "_kept": None}

    def _apply(self, *args, **kwargs) -> "CKConv":  # called by .to(device) and .double()
        self.keep_kernels(self._kept is not None)
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self.keep_kernels(self._kept is not None)
        super()._load_from_state_dict(*args, **kwargs)


def drop_out(x: Tensor, rate: float) -> Tensor:
    """As F.dropout, whose random numbers take twice as long on a CPU."""
    return x * (torch.rand_like(x) >= rate) / (1 - rate) if rate else x

"""CKConv: a causal convolution whose kernel is a continuous function of relative position.

Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from models.causal_conv import (
    causal_conv,
    choose_algorithm,
    direct_conv,
    fft_length,
    in_blocks,
    kernel_spectrum,
    spectral_conv,
)


class CKConv(nn.Module):
    """Positions → generator → (window, dropout) → causal convolution, in `groups` independent groups.

    The kernel is a function on [-1, 1]: position 1 belongs to the current frame and -1 to the frame
    `horizon - 1` training frames ago, whatever the length and frame rate of the input. So a longer utterance
    meets the same kernel, a shorter one the part of it that it can reach, and another frame rate samples the
    same function finer or coarser.

    Args:
        in_channels, out_channels: channels a group.
        groups: independent groups (one for each direction in time).
        generator: module mapping positions (taps,) to values (groups, out_channels · in_channels, taps).
        horizon: the kernel's reach in frames, that of a training utterance.
        bias: learn one bias per output channel.
        kernel_dropout: probability with which single kernel values are dropped in training.
        window: 0 for none; otherwise each output channel's kernel is multiplied by exp(-lag / width), with a
            learned width that starts at this share of the horizon. The kernel begins local and may grow
            (in the spirit of FlexConv's learned kernel sizes, arXiv 2110.08059).
        variance_preserving: scale the generator at the start so that the squares of all taps that make
            one output sum to 1 on average: white input of variance 1 gives output of variance 1.
            Otherwise nothing divides by the taps · in_channels products that are summed.
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
        self._kept = KeptKernels()

    def reach(self, step: float = 1.0) -> int:
        """Taps of the whole kernel, for frames that are `step` training frames apart."""
        return math.floor((self.horizon - 1) / step + 1e-6) + 1

    def support(self, step: float = 1.0) -> int:
        """Taps after which the window leaves nothing that counts, at most reach(step).

        Beyond, even the widest channel's window is below half the resolution of the numbers (2^-24 in
        float32), and what it weighs is lost in rounding. So a kernel costs what it spans: half as many taps
        take a quarter less time. (In training on a GPU it stays reach(step), for asking the GPU about
        weights would make it wait.)
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
                sum over taps stands for an integral over the past: each tap weighs `step`, and the two ends
                as much more as keeps the sum the same (Euler-Maclaurin: a sum of unit steps is the
                trapezoidal rule plus half of both ends).
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

    def forward(
        self,
        x: Tensor,
        step: float = 1.0,
        norm: nn.BatchNorm1d | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(batch, groups · in_channels, frames) → (batch, groups · out_channels, frames).

        In evaluation without gradients the kernel is generated once and kept until the weights change.

        Args:
            x: the signal.
            step: see sample_kernel.
            norm: a batch norm that follows at once, called with (…, mask); in evaluation it is part of the
                kept kernel.
            mask: see MaskedBatchNorm.
        """
        taps = min(x.shape[-1], self.support(step))
        if self.training or torch.is_grad_enabled():
            kernel = drop_out(self.sample_kernel(taps, step), self.kernel_dropout if self.training else 0.0)
            y = causal_conv(x, kernel, self.bias, self.algorithm)
            return y if norm is None else norm(y, mask)
        algorithm = choose_algorithm(len(x), taps) if self.algorithm == "auto" else self.algorithm
        if algorithm == "direct":
            return direct_conv(x, *self._kept.get(self, norm, self._normed_kernel, taps, step))
        return in_blocks(x, taps, partial(self._convolve_kept, taps=taps, step=step, norm=norm))

    def _convolve_kept(self, x: Tensor, taps: int, step: float, norm: nn.BatchNorm1d | None) -> Tensor:
        points = fft_length(x.shape[-1], taps)
        spectrum, bias = self._kept.get(self, norm, self._normed_spectrum, taps, step, points)
        return spectral_conv(x, spectrum, bias, self.groups, points)

    def _normed_spectrum(
        self, norm: nn.BatchNorm1d | None, taps: int, step: float, points: int
    ) -> tuple[Tensor, Tensor | None]:
        kernel, bias = self._normed_kernel(norm, taps, step)
        return kernel_spectrum(kernel, points), bias

    def _normed_kernel(
        self, norm: nn.BatchNorm1d | None, taps: int, step: float
    ) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias of the convolution and the batch norm after it, in evaluation one linear map."""
        kernel, bias = self.sample_kernel(taps, step), self.bias
        if norm is None:
            return kernel, bias
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if bias is None else norm.running_mean - bias
        return kernel * scale.view(self.groups, -1, 1, 1), norm.bias - mean * scale

    def train(self, mode: bool = True) -> "CKConv":
        """As nn.Module.train; for training, the kept kernel's memory is freed."""
        if mode:
            self._kept.clear()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> "CKConv":  # what .to(device) and .double() call
        self._kept.clear()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._kept.clear()
        super()._load_from_state_dict(*args, **kwargs)


def drop_out(x: Tensor, rate: float) -> Tensor:
    """As F.dropout, whose random numbers take twice as long on a CPU."""
    return x * (torch.rand_like(x) >= rate) / (1 - rate) if rate else x


steps = 0  # of all optimisers: fused ones change weights without counting it in their `_version`


def _count_step(*_) -> None:
    global steps
    steps += 1


register_optimizer_step_post_hook(_count_step)


class KeptKernels:
    """The last kernel that a CKConv generated in evaluation, kept as long as the weights stay the same.

    PyTorch counts the in-place changes of every tensor (`_version`): load_state_dict or any other write makes
    the kept kernel stale, and so does a step of any optimiser. What replaces tensors (moving the module,
    loading by assignment) clears it. Writing through `weight.data` is seen by nobody: call train() after it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the kernel."""
        self._tensors, self._key, self._kernel = None, None, None

    def get(self, conv: CKConv, norm: nn.Module | None, generate: Callable, *arguments) -> tuple:
        """`generate(norm, *arguments)`, or what it gave the last time if nothing has changed since."""
        if self._tensors is None:  # walking through a module's parameters costs as much as small layers do
            modules = [conv] if norm is None else [conv, norm]
            self._tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
        if any(tensor.is_inference() for tensor in self._tensors):  # these do not count their changes
            return generate(norm, *arguments)
        versions = [(tensor.data_ptr(), tensor._version) for tensor in self._tensors]
        key = (generate.__name__, id(norm), arguments, versions, steps)
        if key != self._key:
            self._key, self._kernel = key, generate(norm, *arguments)
        return self._kernel

    def __deepcopy__(self, memo: dict) -> "KeptKernels":
        return KeptKernels()

    def __reduce__(self) -> tuple:
        return (KeptKernels, ())

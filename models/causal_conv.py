"""Causal convolution with kernels as long as the utterance: one function, two algorithms.

Both compute, for group g, output channel o and frame t (CKConv, arXiv 2102.02611, equation 1)

    y[g, o, t] = bias[g, o] + sum over i and d of  kernel[g, o, i, d] · x[g, i, t - d],   x[t < 0] = 0,

where d is the lag in frames: tap 0 weighs the current frame. `direct` sums as written, at a cost of
frames × taps; `fft` multiplies spectra, at a cost of frames · log(frames).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable

MIN_BLOCK = 512  # frames; shorter blocks are not worth their overhead


def choose_algorithm(batch: int, taps: int) -> str:
    """The meaning of "auto": "direct" for few taps, above them "fft".

    Measured on two CPU cores with 2 × 39 channels and 188 frames: at batch 64 the direct sum is faster up to
    about 8 taps, at batch 1, where transforming the kernel weighs more, up to about 48.
    """
    return "direct" if taps <= max(8, 48 // batch) else "fft"


def causal_conv(x: Tensor, kernel: Tensor, bias: Tensor | None = None, algorithm: str = "auto") -> Tensor:
    """Convolve each group's channels with long causal kernels.

    Args:
        x: (batch, groups · in_channels, frames).
        kernel: (groups, out_channels, in_channels, taps), tap d weighing the frame d steps ago.
        bias: (groups · out_channels,) or None.
        algorithm: "direct", "fft", or "auto" (see choose_algorithm).

    Returns (batch, groups · out_channels, frames).
    """
    kernel = kernel[..., : x.shape[-1]]  # further taps would weigh frames before the first
    taps = kernel.shape[-1]
    if algorithm == "auto":
        algorithm = choose_algorithm(x.shape[0], taps)
    if algorithm == "direct":
        return direct_conv(x, kernel, bias)
    if kernel.shape[1:3] == (1, 1):  # the channels are not mixed
        return in_blocks(x, taps, lambda block: DepthwiseFFTConv.apply(block, kernel, bias))
    return in_blocks(x, taps, lambda block: FFTConv.apply(block, kernel, bias))


def direct_conv(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """causal_conv by the sum as written (shapes as there)."""
    groups, out_channels, in_channels, taps = kernel.shape
    weight = kernel.flip(-1).reshape(groups * out_channels, in_channels, taps)  # conv1d wants the past first
    return F.conv1d(F.pad(x, (taps - 1, 0)), weight, bias, groups=groups)


def in_blocks(x: Tensor, taps: int, convolve: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `convolve` to overlapping blocks of a signal much longer than the kernel (overlap-save).

    The blocks of x (batch, channels, frames) overlap by taps - 1 frames, `taps` being those of the kernel.
    """
    batch, _, frames = x.shape
    step = max(3 * taps, MIN_BLOCK)  # new frames a block
    if frames <= 2 * step:
        return convolve(x)
    n_blocks = -(-frames // step)
    padded = F.pad(x, (taps - 1, n_blocks * step - frames))
    blocks = padded.unfold(-1, taps - 1 + step, step).transpose(1, 2).flatten(0, 1)
    y = convolve(blocks)[..., taps - 1 :].unflatten(0, (batch, n_blocks))
    return y.transpose(1, 2).flatten(2)[..., :frames]


def fft_length(frames: int, taps: int) -> int:
    """A fast transform length (points) that holds the linear convolution of `frames` with `taps`.

    Multiples of 16 with no prime factor above 5: MKL takes three times as long for 375 points as for 384.
    """
    return 16 * next_fast_len(-(-(frames + taps - 1) // 16), real=True)


class FFTConv(torch.autograd.Function):
    """Causal convolution through spectra: (x, kernel, bias) as in causal_conv.

    Written out, backward included, to change layouts once: signals have time innermost, while the channels
    are mixed by one small matrix product per frequency. Both spectra serve backward again.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        groups, _, _, taps = kernel.shape
        points = fft_length(x.shape[-1], taps)
        x_spectrum = signal_spectrum(x, groups, points)
        spectrum = kernel_spectrum(kernel, points)
        ctx.save_for_backward(x_spectrum, spectrum)
        ctx.groups, ctx.taps, ctx.points = groups, taps, points
        y = mix(x_spectrum, spectrum, bias, groups, points, x.shape[-1])
        return y.contiguous()  # batch norm takes twice as long on a slice

    @staticmethod
    @once_differentiable  # a second derivative would miss that the spectra depend on x and the kernel
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # Reversed in time, both gradients are convolutions with the gradient reversed in time.
        x_spectrum, spectrum = ctx.saved_tensors
        groups, points, frames = ctx.groups, ctx.points, grad.shape[-1]
        grad_spectrum = signal_spectrum(grad.flip(-1), groups, points)
        grad_x = grad_kernel = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = mix(grad_spectrum, spectrum.mT, None, groups, points, frames).flip(-1)
        if ctx.needs_input_grad[1]:
            product = (grad_spectrum.mT @ x_spectrum).unflatten(0, (-1, groups))
            reversed_kernel = torch.fft.irfft(product.permute(1, 2, 3, 0), points)
            grad_kernel = reversed_kernel[..., frames - ctx.taps : frames].flip(-1)
        if ctx.needs_input_grad[2]:  # the spectrum at frequency 0 is the sum over time
            grad_bias = grad_spectrum[:groups].real.sum(1).flatten()
        return grad_x, grad_kernel, grad_bias


class DepthwiseFFTConv(torch.autograd.Function):
    """FFTConv with one channel a group, kernel (channels, 1, 1, taps): spectra are multiplied, nothing mixed.

    Written out because PyTorch's backward of `rfft` is a complex transform of the full length.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        taps = kernel.shape[-1]
        points = fft_length(x.shape[-1], taps)
        x_spectrum, spectrum = torch.fft.rfft(x, points), kernel_spectrum(kernel, points)
        ctx.save_for_backward(x_spectrum, spectrum)
        ctx.taps, ctx.points, ctx.frames = taps, points, x.shape[-1]
        return filtered(x_spectrum, spectrum, bias, points, ctx.frames)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_spectrum, spectrum = ctx.saved_tensors
        grad_spectrum = torch.fft.rfft(grad.flip(-1), ctx.points)  # reversed in time, as in FFTConv
        grad_x = grad_kernel = None
        if ctx.needs_input_grad[0]:
            grad_x = filtered(grad_spectrum, spectrum, None, ctx.points, ctx.frames).flip(-1)
        if ctx.needs_input_grad[1]:
            product = (grad_spectrum * x_spectrum).sum(0)
            reversed_kernel = torch.fft.irfft(product, ctx.points)[:, ctx.frames - ctx.taps : ctx.frames]
            grad_kernel = reversed_kernel.flip(-1)[:, None, None]
        return grad_x, grad_kernel, grad.sum((0, 2)) if ctx.needs_input_grad[2] else None


def signal_spectrum(x: Tensor, groups: int, points: int) -> Tensor:
    """(batch, groups · channels, frames) → (frequencies · groups, batch, channels), complex."""
    spectrum = torch.fft.rfft(x, points)
    return spectrum.view(len(x), groups, -1, spectrum.shape[-1]).permute(3, 1, 0, 2).flatten(0, 1)


def kernel_spectrum(kernel: Tensor, points: int) -> Tensor:
    """(groups, out, in, taps) → (frequencies · groups, in, out), or (groups, frequencies) if in = out = 1."""
    if kernel.shape[1:3] == (1, 1):
        return torch.fft.rfft(kernel[:, 0, 0], points)
    return torch.fft.rfft(kernel, points).permute(3, 0, 2, 1).flatten(0, 1)


def mix(
    x_spectrum: Tensor, spectrum: Tensor, bias: Tensor | None, groups: int, points: int, frames: int
) -> Tensor:
    """Multiply signal and kernel spectra and return to time: (batch, groups · out_channels, frames)."""
    product = x_spectrum @ spectrum
    if bias is not None:  # a constant in time is a peak at frequency 0
        product[:groups].add_(bias.view(groups, 1, -1), alpha=points)
    product = product.view(-1, groups, *product.shape[1:]).permute(2, 1, 3, 0).flatten(1, 2)
    return torch.fft.irfft(product, points)[..., :frames]


def filtered(x_spectrum: Tensor, spectrum: Tensor, bias: Tensor | None, points: int, frames: int) -> Tensor:
    """The product of spectra (batch, channels, frequencies) and (channels, frequencies), back in time."""
    y = torch.fft.irfft(x_spectrum * spectrum, points)[..., :frames]
    return y if bias is None else y + bias[:, None]

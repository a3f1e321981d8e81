"""Both algorithms of causal_conv against the sum over past samples as written in its docstring."""

import pytest
import torch

from models.causal_conv import FFTConv, causal_conv, direct_conv, fft_length

SIZES = [  # groups, in and out channels, frames, taps, batch
    (2, 3, 4, 50, 50, 3),
    (1, 1, 1, 1, 1, 1),
    (2, 2, 3, 7, 20, 2),
    (3, 2, 2, 61, 17, 1),
    (2, 2, 2, 30, 1, 4),
    (2, 2, 2, 1100, 5, 2),
    (5, 1, 1, 30, 30, 3),
    (4, 1, 1, 1100, 20, 2),
]


def explicit_sum(x, kernel, bias):
    """y[g, o, t] = bias + Σ_i Σ_d kernel[g, o, i, d] · x[g, i, t - d], one product at a time over lags."""
    groups, out_channels, _, taps = kernel.shape
    batch, _, frames = x.shape
    grouped = x.unflatten(1, (groups, -1))
    y = torch.zeros(batch, groups, out_channels, frames, dtype=x.dtype)
    for t in range(frames):
        for d in range(min(t + 1, taps)):
            y[..., t] += torch.einsum("bgi,goi->bgo", grouped[..., t - d], kernel[..., d])
    y = y.flatten(1, 2)
    return y if bias is None else y + bias[:, None]


@pytest.mark.parametrize(("groups", "n_in", "n_out", "frames", "taps", "batch"), SIZES)
def test_equals_the_explicit_sum(groups, n_in, n_out, frames, taps, batch):
    torch.manual_seed(0)
    x = torch.randn(batch, groups * n_in, frames, dtype=torch.float64)
    kernel = torch.randn(groups, n_out, n_in, taps, dtype=torch.float64)
    for bias in (torch.randn(groups * n_out, dtype=torch.float64), None):
        expected = explicit_sum(x, kernel, bias)
        for algorithm in ("auto", "direct", "fft"):
            torch.testing.assert_close(causal_conv(x, kernel, bias, algorithm), expected)


@pytest.mark.parametrize("algorithm", ["direct", "fft"])
def test_gradients_are_those_of_finite_differences(algorithm):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 3, 2, 9, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: causal_conv(*inputs, algorithm), (x, kernel, bias))
    depthwise = (torch.randn(4, 1, 1, 9, dtype=torch.float64, requires_grad=True), bias[:4])
    assert torch.autograd.gradcheck(lambda *inputs: causal_conv(*inputs, algorithm), (x, *depthwise))


def test_fft_and_direct_agree_in_single_precision_at_full_size():
    torch.manual_seed(0)
    x = torch.randn(8, 78, 188, requires_grad=True)
    kernel = (torch.randn(2, 39, 39, 188) / (39 * 188) ** 0.5).requires_grad_()
    weights = torch.randn(8, 78, 188)
    results = []
    for convolution in (FFTConv.apply, direct_conv):
        y = convolution(x, kernel, None)
        results.append((y.detach(), *torch.autograd.grad((y * weights).sum(), (x, kernel))))
    for fft, direct in zip(*results, strict=True):
        torch.testing.assert_close(fft, direct, rtol=1e-4, atol=2e-5 * direct.abs().max().item())


@pytest.mark.parametrize(("frames", "taps"), [(1, 1), (188, 188), (188, 60), (1000, 188), (6000, 6000)])
def test_transform_length_holds_the_linear_convolution_and_is_smooth(frames, taps):
    points = fft_length(frames, taps)
    assert frames + taps - 1 <= points <= 1.3 * (frames + taps - 1) + 16
    for prime in (2, 3, 5):
        while points % prime == 0:
            points //= prime
    assert points == 1

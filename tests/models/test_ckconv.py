"""CKConv: positions, horizon, window, initial scale, causality, frame rates."""

import math

import pytest
import torch

from models.causal_conv import causal_conv
from models.ckconv import LOST, CKConv, SeparableCKConv, drop_out
from models.kernel_generators import ConvGenerator


def make_ckconv(horizon=30, n_in=3, n_out=2, hidden_channels=8, omega_0=10.0, norm="none", **options):
    torch.manual_seed(0)
    generator = ConvGenerator(2, n_in * n_out, hidden_channels, omega_0, norm)
    return CKConv(n_in, n_out, 2, generator, horizon, **options)


@pytest.mark.parametrize("algorithm", ["direct", "fft"])
@pytest.mark.parametrize("window", [0.0, 0.2])
def test_equals_an_explicit_sum_over_past_samples(algorithm, window):
    conv = make_ckconv(window=window, algorithm=algorithm).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 6, 30, dtype=torch.float64)
    # the generator's layers by hand: position 1 is the current frame, -1 the frame 29 steps ago
    kernel = torch.empty(30, 2, 2, 3, dtype=torch.float64)
    for lag in range(30):
        for g in range(2):
            h = torch.tensor([1 - 2 * lag / 29], dtype=torch.float64)
            for index, layer in enumerate(conv.generator.layers):
                h = layer.weight.squeeze(-1).chunk(2)[g] @ h + layer.bias.chunk(2)[g]
                if index < 2:
                    h = torch.sin(10.0 * h)
            kernel[lag, g] = h.view(2, 3) * (math.exp(-(lag / 29) / window) if window else 1)
    y = torch.zeros(2, 2, 2, 30, dtype=torch.float64)  # batch, groups, out channels, frames
    for t in range(30):
        for d in range(t + 1):
            y[..., t] += torch.einsum("goi,bgi->bgo", kernel[d], x.view(2, 2, 3, 30)[..., t - d])
    torch.testing.assert_close(conv(x), y.flatten(1, 2) + conv.bias[:, None], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 7, 30, 31, 200])
def test_any_length_runs_and_appended_frames_change_nothing_before(frames):
    conv = make_ckconv(window=0.3)
    x = torch.randn(2, 6, frames)
    y = conv(x)
    longer = conv(torch.cat([x, torch.randn(2, 6, 50)], dim=-1))
    assert y.shape == (2, 4, frames)
    torch.testing.assert_close(longer[..., :frames], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [0.0, 0.03])
@pytest.mark.parametrize("omega_0", [1.0, 25.0])
def test_the_start_preserves_the_variance_and_the_published_one_is_far_too_large(window, omega_0):
    sizes = {"horizon": 188, "n_in": 39, "n_out": 39, "hidden_channels": 32, "omega_0": omega_0}
    conv = make_ckconv(**sizes, window=window)
    x = torch.randn(8, 78, 376)
    assert 0.5 < conv(x)[..., 188:].var().item() < 2.0  # frames that see the whole kernel
    as_published = make_ckconv(**sizes, norm="batch", variance_preserving=False)
    assert as_published(x)[..., 188:].var().item() > 10.0  # nothing divides by the taps that are summed


def test_kernel_dropout_acts_in_training_only():
    conv, x = make_ckconv(kernel_dropout=0.5), torch.randn(1, 6, 30)
    assert not torch.equal(conv(x), conv(x))
    conv.eval()
    assert torch.equal(conv(x), conv(x))
    ones = torch.ones(100, 1000)
    assert drop_out(ones, 0.0) is ones
    y = drop_out(ones, 0.1)
    assert set(y.unique().tolist()) == {0.0, (ones[0, 0] / 0.9).item()}
    assert (y == 0).float().mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_taps_that_the_window_leaves_out_weigh_nothing(step):
    conv = make_ckconv(horizon=400, window=0.02)
    with torch.no_grad():
        conv.log_width[0, 0].add_(0.5)  # the widest of four channels decides
    taps = conv.support(step)
    width = 0.02 * torch.tensor(0.5).exp() * 399 / step
    assert torch.exp(-(taps - 1) / width) >= LOST > torch.exp(-taps / width)
    kernel = conv.sample_kernel(conv.reach(step), step)
    assert kernel[..., taps:].abs().amax() < 4 * LOST * kernel.abs().amax()
    x = torch.randn(1, 6, 400)
    torch.testing.assert_close(conv(x, step), causal_conv(x, kernel, conv.bias), rtol=1e-4, atol=1e-4)
    assert taps < 0.5 * conv.reach(step) < conv.double().support(step)


def test_without_a_window_or_with_one_too_wide_all_taps_count():
    assert make_ckconv().support() == 30
    wide = make_ckconv(window=0.9)
    assert wide.support() == 30
    with torch.no_grad():
        wide.log_width.fill_(torch.nan)  # a training that has failed is for the trainer to report
    assert wide.support() == 30


def smooth_signal(seconds, channels):
    """Sums of slow sines, started from silence: (1, channels, len(seconds))."""
    generator = torch.Generator().manual_seed(3)
    y = torch.zeros(1, channels, len(seconds), dtype=torch.float64)
    for _ in range(5):
        frequency = 0.2 + 0.8 * torch.rand(channels, 1, generator=generator, dtype=torch.float64)
        phase = 2 * math.pi * torch.rand(channels, 1, generator=generator, dtype=torch.float64)
        y += torch.sin(2 * math.pi * frequency * seconds + phase)
    return y * torch.sin(math.pi * seconds / seconds[-1]) ** 2


@pytest.mark.parametrize("window", [0.0, 0.1])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_finer_frame_rate_gives_the_same_response(window, factor):
    conv = make_ckconv(188, 3, 4, 32, omega_0=5.0, window=window).double()
    period = 512 / 22_050
    coarse = torch.arange(188, dtype=torch.float64) * period
    fine = torch.arange((188 - 1) * factor + 1, dtype=torch.float64) * period / factor
    response = conv(smooth_signal(coarse, 6))
    finer = conv(smooth_signal(fine, 6), step=1 / factor)[..., ::factor]
    assert (finer - response).norm() / response.norm() < 0.02
    unscaled = conv(smooth_signal(fine, 6))[..., ::factor]  # of a kernel that is tied to frames
    assert (unscaled - response).norm() / response.norm() > 0.2


@pytest.mark.parametrize("frames", [12, 30, 200])
def test_a_separable_convolution_filters_each_channel_and_then_mixes_those_of_a_direction(frames):
    torch.manual_seed(0)
    conv = SeparableCKConv(4, 2, ConvGenerator(2, 4, 8, 10.0), 30, window=0.06).double().eval()
    x = torch.randn(3, 8, frames, dtype=torch.float64)
    lags = torch.arange(30, dtype=torch.float64)
    values = conv.depthwise.generator(1 - 2 * lags / 29).flatten(0, 1)  # (8, taps)
    widths = torch.tensor([0.02 * 30 ** (channel / 3) for channel in range(4)] * 2, dtype=torch.float64)
    kernels = values * torch.exp(-lags / 29 / widths[:, None])
    filtered = torch.zeros_like(x)
    for t in range(frames):
        for lag in range(min(t + 1, 30)):
            filtered[..., t] += kernels[:, lag] * x[..., t - lag]
    mixing = conv.pointwise.weight.squeeze(-1).chunk(2)
    expected = torch.cat(
        [weight @ half for weight, half in zip(mixing, filtered.chunk(2, 1), strict=True)], 1
    )
    torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-6)
    conv.depthwise._frozen.freeze(1)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-6)
    assert kernels.square().sum(1).log().abs().max() < 1e-4  # each channel keeps the variance of white noise

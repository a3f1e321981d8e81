"""CKConv: positions, horizon, window, initial scale, causality."""

import pytest
import torch

from models.causal_conv import causal_conv
from models.ckconv import CKConv, drop_out
from models.kernel_generators import ConvGenerator


def make_ckconv(horizon=30, n_in=3, n_out=2, groups=2, **options):
    torch.manual_seed(0)
    generator = ConvGenerator(groups, n_in * n_out, hidden_channels=8, omega_0=10.0)
    return CKConv(n_in, n_out, groups, generator, horizon, **options)


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
                weight = layer.weight.squeeze(-1).chunk(2)[g]
                h = weight @ h + layer.bias.chunk(2)[g]
                if index < 2:
                    h = torch.sin(10.0 * h)
            kernel[lag, g] = h.view(2, 3)
            if window:
                kernel[lag, g] *= torch.exp(torch.tensor(-(lag / 29) / window, dtype=torch.float64))
    y = conv(x)
    for t in range(30):
        for g in range(2):
            past = sum(
                torch.einsum("oi,bi->bo", kernel[d, g], x[:, 3 * g : 3 * g + 3, t - d]) for d in range(t + 1)
            )
            torch.testing.assert_close(
                y[:, 2 * g : 2 * g + 2, t], past + conv.bias[2 * g : 2 * g + 2], rtol=1e-6, atol=1e-6
            )


def test_changing_a_frame_changes_no_output_before_it():
    conv = make_ckconv().double()
    x = torch.randn(1, 6, 30, dtype=torch.float64)
    changed = x.clone()
    changed[..., 12] += 100.0
    difference = (conv(changed) - conv(x)).abs()
    assert difference[..., :12].max() < 1e-9
    assert difference[..., 12:].max() > 1e-3


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
def test_variance_preserving_start_gives_unit_variance(window, omega_0):
    torch.manual_seed(0)
    generator = ConvGenerator(2, 39 * 39, hidden_channels=32, omega_0=omega_0)
    conv = CKConv(39, 39, 2, generator, 188, window=window)
    y = conv(torch.randn(8, 78, 376))[..., 188:]  # frames that see the whole kernel
    assert 0.5 < y.var().item() < 2.0


def test_published_start_is_far_too_large():
    """Nothing divides by the taps that are summed; the switch exists to run it as it was."""
    torch.manual_seed(0)
    generator = ConvGenerator(2, 39 * 39, hidden_channels=32, omega_0=25.0, norm="batch")
    conv = CKConv(39, 39, 2, generator, 188, variance_preserving=False)
    assert conv(torch.randn(8, 78, 376))[..., 188:].var().item() > 10.0


def test_kernel_dropout_acts_in_training_only():
    conv = make_ckconv(kernel_dropout=0.5)
    x = torch.randn(1, 6, 30)
    conv.train()
    assert not torch.equal(conv(x), conv(x))
    conv.eval()
    assert torch.equal(conv(x), conv(x))


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_taps_that_the_window_leaves_out_weigh_nothing(step):
    conv = make_ckconv(horizon=400, window=0.02)
    with torch.no_grad():
        conv.log_width[0, 0].add_(0.5)  # the widest of four channels decides
    taps = conv.support(step)
    width = 0.02 * torch.tensor(0.5).exp() * 399 / step
    assert torch.exp(-(taps - 1) / width) >= 2**-24 > torch.exp(-taps / width)
    kernel = conv.sample_kernel(conv.reach(step), step)
    assert kernel[..., taps:].abs().amax() < 2**-22 * kernel.abs().amax()
    x = torch.randn(1, 6, 400)
    whole = causal_conv(x, kernel, conv.bias)
    torch.testing.assert_close(conv(x, step), whole, rtol=1e-5, atol=1e-6)
    assert taps < 0.6 * conv.reach(step) < conv.double().support(step)


def test_without_a_window_or_with_one_too_wide_all_taps_count():
    assert make_ckconv().support() == 30
    wide = make_ckconv(window=0.9)
    assert wide.support() == 30
    with torch.no_grad():
        wide.log_width.fill_(torch.nan)  # a training that has failed is for the trainer to report
    assert wide.support() == 30


def test_dropout_of_kernel_values():
    torch.manual_seed(0)
    x = torch.ones(100, 1000)
    assert drop_out(x, 0.0) is x
    y = drop_out(x, 0.1)
    assert set(y.unique().tolist()) == {0.0, (x[0, 0] / 0.9).item()}
    assert (y == 0).float().mean() == pytest.approx(0.1, abs=0.01)

"""Kernels as functions: what a plot shows is what a CKConv convolves with."""

import pytest
import torch

from models.ckconv import CKConv
from models.kernel_generators import ConvGenerator
from testing.kernels import forward_kernels, kernel_at, telling_kernels


@pytest.fixture
def conv():
    torch.manual_seed(0)
    generator = ConvGenerator(2, 3 * 4, hidden_channels=8, omega_0=5.0)
    conv = CKConv(3, 4, 2, generator, horizon=21, window=0.2)
    with torch.no_grad():
        conv.log_width += torch.randn_like(conv.log_width)  # every channel its own
    return conv


def test_at_whole_lags_the_function_is_the_kernel_of_the_training(conv):
    torch.testing.assert_close(kernel_at(conv, torch.arange(21)), conv.sample_kernel(21).detach())


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_taps_at_another_frame_rate_are_the_function_times_the_step(conv, step):
    taps = conv.reach(step)
    expected = step * kernel_at(conv, step * torch.arange(taps))
    torch.testing.assert_close(conv.sample_kernel(taps, step).detach()[..., 1:-1], expected[..., 1:-1])


def test_forward_kernels_are_those_of_the_first_group_over_the_whole_reach(conv):
    lags, kernels = forward_kernels(conv, step=0.5)
    assert lags.tolist() == [lag / 2 for lag in range(41)]
    assert kernels.shape == (4, 3, 41)
    torch.testing.assert_close(kernels[..., ::2], conv.sample_kernel(21).detach()[0])


def test_telling_kernels_go_from_the_shortest_to_the_longest_reach(conv):
    with torch.no_grad():
        conv.log_width[0, :, 0, 0] = torch.tensor([0.3, 0.02, 2.0, 0.1]).log()
    pairs = telling_kernels(conv, count=4)
    assert [output for output, _ in pairs] == [1, 3, 0, 2]
    energy = forward_kernels(conv, 1.0)[1].square().sum(-1)
    assert all(energy[o, i] == energy[o].max() for o, i in pairs)
    assert telling_kernels(conv, count=2) == [pairs[0], pairs[-1]]

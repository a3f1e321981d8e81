"""KAF against its formula, KAFsin against the sine, and which factor each nonlinearity takes."""

import math

import pytest
import torch

from models.kan import KAF, argument_factor, make_activation

AF_TYPES = ("sin", "ReLu", "KAF", "KAFsin")


def test_kaf_is_the_mixture_of_gaussians_written_out():
    torch.manual_seed(0)
    kaf = KAF(3)
    x = 5 * torch.randn(2, 3, 7)
    y = kaf(x)
    assert y.shape == x.shape
    spacing = 8 / 19
    for index in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(7)).tolist():
        batch, channel, tap = index
        expected = sum(
            kaf.coefficients[channel, i].item()
            * math.exp(-((x[batch, channel, tap].item() - (-4 + i * spacing)) ** 2) / (6 * spacing**2))
            for i in range(20)
        )
        assert y[batch, channel, tap].item() == pytest.approx(expected, abs=1e-5)


def test_kafsin_starts_as_the_sine():
    x = torch.linspace(-3, 3, 601).expand(1, 4, -1)
    assert (make_activation("KAFsin", 4)(x) - x.sin()).abs().max() < 0.05
    assert (make_activation("KAF", 4)(x) - x.sin()).abs().max() > 0.2


def test_kaf_has_its_own_coefficients_for_each_channel_and_none_for_time():
    kaf = make_activation("KAF", 4)
    assert [tuple(parameter.shape) for parameter in kaf.parameters()] == [(4, 20)]
    for taps in (1, 11, 300):
        y = kaf(torch.linspace(-2, 2, taps).expand(1, 4, -1))
        assert y.shape == (1, 4, taps)
    assert y.std(1).min() > 0.01


def test_kaf_learns_nothing_far_outside_its_dictionary():
    """Why its argument cannot take omega_0 = 25."""
    kaf = make_activation("KAFsin", 1)
    kaf(torch.full((1, 1, 5), 12.5)).sum().backward()
    assert kaf.coefficients.grad.abs().max() < 1e-6


def test_argument_factor():
    factors = {
        af_type: (argument_factor(af_type, 1.0), argument_factor(af_type, 25.0)) for af_type in AF_TYPES
    }
    assert factors == {"sin": (1, 25), "ReLu": (1, 1), "KAF": (1, 4), "KAFsin": (1, 4)}

"""Parts of kernel generators: splines against scipy's, KAF against its formula, KAFsin against the sine."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from models.kan import KAF, KANLayer, argument_factor, make_activation, spline_basis

KNOTS = -1 + 0.4 * np.arange(-3, 9)  # of the cubic splines on 5 intervals of [-1, 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_spline_basis_equals_scipys(dtype, tolerance):
    """Everywhere: at the knots, at both ends, and outside, where the splines fade to 0."""
    edges = torch.linspace(-1, 1, 6, dtype=dtype)
    x = torch.cat([torch.linspace(-3, 3, 2_001, dtype=dtype), edges, edges - 1e-6, edges + 1e-6])
    basis = spline_basis(x.unsqueeze(0)).numpy()
    assert basis.shape == (8, len(x))
    for index, values in enumerate(basis):
        element = BSpline.basis_element(KNOTS[index : index + 5], extrapolate=False)
        np.testing.assert_allclose(values, np.nan_to_num(element(x.double().numpy())), rtol=0, atol=tolerance)
    inside = x.abs() <= 1
    np.testing.assert_allclose(basis[:, inside].sum(0), 1, rtol=0, atol=tolerance)
    assert (basis[:, x.abs() > 2.2] == 0).all()


def test_spline_basis_passes_the_gradient_check():
    x = (2 * torch.rand(1, 20, dtype=torch.float64) - 1).requires_grad_()
    assert torch.autograd.gradcheck(spline_basis, x)


def test_kan_layer_is_the_sum_of_its_edges():
    torch.manual_seed(0)
    layer = KANLayer(2, 3, groups=2).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.rand(1, 4, 9, dtype=torch.float64) * 2 - 1
    y = layer(x).detach()
    assert y.shape == (1, 6, 9)
    for group in range(2):
        for out in range(3):
            expected = 0
            for i in range(2):
                edge = x[0, 2 * group + i].numpy()
                spline = BSpline(KNOTS, layer.coefficients[group, out, i].detach().numpy(), 3)(edge)
                base, scale = layer.base_scale[group, out, i].item(), layer.spline_scale[group, out, i].item()
                expected = expected + base * edge / (1 + np.exp(-edge)) + scale * spline
            np.testing.assert_allclose(y[0, 3 * group + out].numpy(), expected, rtol=1e-10, atol=1e-10)


def test_kaf_is_the_mixture_of_gaussians_written_out():
    torch.manual_seed(0)
    kaf, x, spacing = KAF(3), 5 * torch.randn(2, 3, 7), 8 / 19
    expected = torch.zeros_like(x)
    for i in range(20):
        bell = torch.exp(-((x - (-4 + i * spacing)) ** 2) / (6 * spacing**2))
        expected += kaf.coefficients[:, i, None] * bell
    torch.testing.assert_close(kaf(x), expected)


def test_kafsin_starts_as_the_sine():
    x = torch.linspace(-3, 3, 601).expand(1, 4, -1)
    assert (make_activation("KAFsin", 4)(x) - x.sin()).abs().max() < 0.05
    assert (make_activation("KAF", 4)(x) - x.sin()).abs().max() > 0.2


def test_kaf_has_its_own_coefficients_for_each_channel_and_none_for_time():
    kaf = make_activation("KAF", 4)
    assert [tuple(parameter.shape) for parameter in kaf.parameters()] == [(4, 20)]
    y = kaf(torch.linspace(-2, 2, 300).expand(1, 4, -1))
    assert y.shape == (1, 4, 300) and y.std(1).min() > 0.01


def test_the_factor_on_the_argument_and_why_it_ends_at_kafs_dictionary():
    for af_type, factor in (("sin", 25), ("ReLu", 1), ("KAF", 4), ("KAFsin", 4)):
        assert (argument_factor(af_type, 1.0), argument_factor(af_type, 25.0)) == (1, factor)
    kaf = make_activation("KAFsin", 1)
    kaf(torch.full((1, 1, 5), 12.5)).sum().backward()
    assert kaf.coefficients.grad.abs().max() < 1e-6  # out there it learns nothing
    assert math.isclose(kaf.dictionary.abs().max(), 4)

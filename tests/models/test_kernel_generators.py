"""Kernel generators: initial ranges and kinks, independent groups, scale, continuity."""

import itertools
import math

import pytest
import torch

from models.kernel_generators import GENERATORS, ConvGenerator

POSITIONS = torch.linspace(-1, 1, 51)


@pytest.fixture(params=itertools.product(("conv", "convKan"), ("sin", "ReLu", "KAF", "KAFsin")), ids="-".join)
def generator(request):
    return make(*request.param)


def make(generator_type="conv", af_type="sin", hidden_channels=8, omega_0=5.0, groups=2, out_channels=6):
    torch.manual_seed(0)
    return GENERATORS[generator_type](groups, out_channels, hidden_channels, omega_0, af_type=af_type)


def test_siren_initialisation():
    torch.manual_seed(0)
    generator = ConvGenerator(2, 500, hidden_channels=32, omega_0=25.0)
    bound = math.sqrt(6 / 32) / 25
    for layer, limit in zip(generator.layers, (1.0, bound, bound), strict=True):
        assert 0.8 * limit < layer.weight.abs().max().item() <= limit * (1 + 1e-6)
        assert layer.bias.abs().max().item() <= 0.1


def test_groups_are_independent(generator):
    """The second group's weights do not matter to the first."""
    before = generator(POSITIONS)
    assert before.shape == (2, 6, 51)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter[parameter.shape[0] // 2 :] += 0.5
    after = generator(POSITIONS)
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_rescale_output_scales_the_values(generator):
    before = generator(POSITIONS)
    generator.rescale_output(0.25)
    torch.testing.assert_close(generator(POSITIONS), 0.25 * before)
    generator.rescale_output(-8.0)
    torch.testing.assert_close(generator(POSITIONS), -2.0 * before)


def test_a_kernel_is_a_function(generator):
    """Sampled at other positions, it has the same values where they coincide, and no jumps between."""
    fine = generator(torch.linspace(-1, 1, 10_001))
    torch.testing.assert_close(fine[..., ::200], generator(POSITIONS))
    jumps = fine.diff(dim=-1).abs().amax(-1)
    assert (jumps < 0.01 * (fine.amax(-1) - fine.amin(-1))).all()


def test_batch_norm_takes_omega_0_out_again():
    """Why omega_0 cannot matter in the published network: the norm after it divides by it."""
    kernels = []
    for omega_0 in (5.0, 50.0):
        torch.manual_seed(0)
        generator = ConvGenerator(1, 6, hidden_channels=8, omega_0=omega_0, norm="batch")
        with torch.no_grad():  # the same weights in both
            for layer in generator.layers:
                torch.nn.init.ones_(layer.bias)
                layer.parametrizations.weight.original0.fill_(1.0)
        kernels.append(generator(POSITIONS))
    torch.testing.assert_close(*kernels, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("omega_0", "reached"), [(3.0, 3.0), (25.0, 4.0)])
def test_kafsin_starts_as_the_sine_generator(omega_0, reached):
    """From the same seed, with omega_0 as far as the dictionary reaches."""
    sine, kaf = make("conv", "sin", omega_0=reached), make("conv", "KAFsin", omega_0=omega_0)
    for ours, theirs in zip(kaf.layers.parameters(), sine.layers.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (kaf(POSITIONS) - sine(POSITIONS)).abs().max() < 0.03 * sine(POSITIONS).abs().max()


@pytest.mark.parametrize("generator_type", ["conv", "convKan"])
@pytest.mark.parametrize("hidden_channels", [1, 3, 32])
@pytest.mark.parametrize("seed", range(5))
def test_relu_units_are_alive_and_have_kinks_spread_over_the_positions(generator_type, hidden_channels, seed):
    torch.manual_seed(seed)
    generator = GENERATORS[generator_type](2, 6, hidden_channels, omega_0=25.0, af_type="ReLu")
    own = torch.arange(hidden_channels)
    kinks = (own + 0.5) * 2 / hidden_channels - 1
    h = torch.cat([kinks, torch.linspace(-1, 1, 200)]).expand(1, 2, -1)
    for index, layer in enumerate(generator.layers[:-1]):
        arguments = layer(h).unflatten(1, (2, -1))
        at_kinks, elsewhere = arguments.split((hidden_channels, 200), dim=-1)
        on, off = (elsewhere > 1e-4).float().mean(-1), (elsewhere < -1e-4).float().mean(-1)
        assert (on - off).min() > -0.1  # the test's positions are not those that chose the signs
        assert on.min() > 0.2
        if generator_type == "conv" or index == 0:  # deeper in a KAN, inputs may be outside the grid
            assert at_kinks[0, :, own, own].abs().max() < 1e-5
        h = torch.relu(arguments.flatten(1, 2))


def test_kan_edges_start_as_steep_as_sirens():
    """So that omega_0 means the same frequency in both generators."""
    generator = make("convKan", hidden_channels=2_000, groups=1)
    values = generator.layers[0](torch.linspace(-1, 1, 401).view(1, 1, -1))
    steepness = (values.diff(dim=-1) * 200).square().mean().sqrt().item()
    assert steepness == pytest.approx(math.sqrt(1 / 3), rel=0.05)  # of U(-1, 1)


def test_sine_values_stay_where_a_kan_has_its_splines():
    generator = make("convKan", "sin", omega_0=25.0)
    seen = []
    for layer in generator.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].abs().max().item()))
    generator(torch.linspace(-1, 1, 188))
    assert len(seen) == 3 and max(seen) <= 1

"""Every generator × nonlinearity × width: one training step, gradients everywhere, a save and a load."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F

FRAMES = 33
KEYS = ("generator_type", "af_type", "hidden_scale")
CHOICES = ("conv", "convKan"), ("sin", "ReLu", "KAF", "KAFsin"), (1.0, 0.5, 0.2, 0.1)
COMBINATIONS = [dict(zip(KEYS, values, strict=True)) for values in itertools.product(*CHOICES)]
BATCH_NORM = [
    settings | {"generator_norm": "batch"} for settings in COMBINATIONS if settings["hidden_scale"] == 0.2
]


def each(combinations):
    """Run a test with each of these settings."""
    return pytest.mark.parametrize(
        "settings", combinations, ids=lambda each: " ".join(map(str, each.values()))
    )


# The published network has one kind of parameter that nothing depends on, so that its gradient is 0 up to
# rounding: weight norm's direction where there is one input (only its sign counts).
WITHOUT_EFFECT = re.compile(r"layers\.0\.parametrizations\.weight\.original1$")


def train_one_step(net):
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = torch.randn(6, 4, FRAMES), torch.randint(7, (6,))
    net.train()
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@each(COMBINATIONS + BATCH_NORM)
def test_trains_saves_loads_and_evaluates(small, tmp_path, settings):
    settings = settings | {"n_temporal_aware_block": 1, "n_filter": 3}
    torch.manual_seed(0)
    net = small(FRAMES, **settings)
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    assert train_one_step(net) < 10
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if "generator_norm" not in settings and not WITHOUT_EFFECT.search(name):
            assert parameter.grad.abs().max() > 1e-8, name
            assert not torch.equal(parameter, before[name]), name
    torch.save(net.eval().state_dict(), tmp_path / "model.pt")
    other = small(FRAMES, **settings).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    for frames in (1, 7, FRAMES, 100):
        x = torch.randn(3, 4, frames)
        assert net(x).isfinite().all() and torch.equal(other(x), net(x))


@each(COMBINATIONS)
def test_every_hidden_unit_learns(small, settings):
    """None is dead, or out of its nonlinearity's reach, whatever omega_0 is."""
    for seed, omega_0 in enumerate((1.0, 25.0)):
        torch.manual_seed(seed)
        net = small(FRAMES, **settings, omega_0=omega_0, kernel_window=0.0, dropout_rate=0.0)
        train_one_step(net)
        units = 2 * int(32 * settings["hidden_scale"])  # in both directions
        for conv in (net.input_conv, *net.blocks[0].convolutions):
            for name, parameter in conv.generator.named_parameters():
                if not name.startswith("layers.2") and not WITHOUT_EFFECT.search(name):
                    assert (parameter.grad.reshape(units, -1).abs().sum(-1) > 0).all(), name


@each(COMBINATIONS)
def test_first_outputs_are_as_large_as_the_input(small, settings):
    """The start of the kernels preserves the variance, whichever generator makes them."""
    torch.manual_seed(0)
    net = small(FRAMES, **settings, n_filter=20)
    for conv in (net.input_conv, net.blocks[0].convolutions[0]):
        energy = conv.sample_kernel(FRAMES).square().sum((2, 3)).mean().item()
        assert energy == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("generator_type", ["conv", "convKan"])
def test_hidden_scale_sets_the_width(small, generator_type):
    for hidden_scale, width in ((1.0, 32), (0.5, 16), (0.2, 6), (0.1, 3), (1 / 32, 1)):
        net = small(generator_type=generator_type, hidden_scale=hidden_scale, af_type="KAF")
        assert len(net.input_conv.generator.activations[0].coefficients) == 2 * width

"""Every generator × nonlinearity × width: one training step, gradients everywhere, a save and a load."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F

from models.cktim import build_model

FRAMES = 33
COMBINATIONS = list(
    itertools.product(("conv", "convKan"), ("sin", "ReLu", "KAF", "KAFsin"), (1.0, 0.5, 0.2, 0.1))
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


def load(small, state, settings):
    net = build_model(small(**settings), 7, FRAMES)
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize(
    ("generator_type", "af_type", "hidden_scale", "norm"),
    [(*combination, "none") for combination in COMBINATIONS]
    + [(*combination, "batch") for combination in COMBINATIONS if combination[-1] == 0.2],
)
def test_trains_saves_loads_and_evaluates(small, tmp_path, generator_type, af_type, hidden_scale, norm):
    settings = {
        "generator_type": generator_type,
        "af_type": af_type,
        "hidden_scale": hidden_scale,
        "generator_norm": norm,
        "n_temporal_aware_block": 1,
        "n_filter": 3,
    }
    torch.manual_seed(0)
    net = build_model(small(**settings), 7, FRAMES)
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    assert train_one_step(net) < 10
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if norm == "none" and not WITHOUT_EFFECT.search(name):
            assert parameter.grad.abs().max() > 1e-8, name
            assert not torch.equal(parameter, before[name]), name

    torch.save(net.state_dict(), tmp_path / "model.pt")
    other = load(small, torch.load(tmp_path / "model.pt", weights_only=True), settings)
    for frames in (1, 7, FRAMES, 100):
        x = torch.randn(3, 4, frames)
        with torch.no_grad():
            y = net.eval()(x)
            assert y.isfinite().all()
            assert torch.equal(other(x), y)


@pytest.mark.parametrize(("generator_type", "af_type", "hidden_scale"), COMBINATIONS)
def test_every_hidden_unit_learns(small, generator_type, af_type, hidden_scale):
    """None is dead, or out of its nonlinearity's reach, whatever omega_0 is."""
    for seed, omega_0 in enumerate((1.0, 25.0)):
        torch.manual_seed(seed)
        settings = {"generator_type": generator_type, "af_type": af_type, "hidden_scale": hidden_scale}
        net = build_model(small(**settings, omega_0=omega_0, kernel_window=0.0, dropout_rate=0.0), 7, FRAMES)
        train_one_step(net)
        units = 2 * int(32 * hidden_scale)  # in both directions
        for conv in (net.input_conv, *net.blocks[0].convolutions):
            for name, parameter in conv.generator.named_parameters():
                if not name.startswith("layers.2") and not WITHOUT_EFFECT.search(name):
                    assert (parameter.grad.reshape(units, -1).abs().sum(-1) > 0).all(), name


def test_hidden_scale_sets_the_width(small):
    for generator_type in ("conv", "convKan"):
        widths = []
        for hidden_scale in (1.0, 0.5, 0.2, 0.1, 1 / 32):
            net = build_model(
                small(generator_type=generator_type, hidden_scale=hidden_scale, af_type="KAF"), 7
            )
            widths.append(net.input_conv.generator.activations[0].coefficients.shape[0] // 2)
        assert widths == [32, 16, 6, 3, 1]


@pytest.mark.parametrize(("generator_type", "af_type", "hidden_scale"), COMBINATIONS)
def test_first_outputs_are_as_large_as_the_input(small, generator_type, af_type, hidden_scale):
    """The start of the kernels preserves the variance, whichever generator makes them."""
    torch.manual_seed(0)
    net = build_model(
        small(generator_type=generator_type, af_type=af_type, hidden_scale=hidden_scale, n_filter=20),
        7,
        FRAMES,
    )
    for conv in (net.input_conv, net.blocks[0].convolutions[0]):
        energy = conv.sample_kernel(FRAMES).square().sum((2, 3)).mean().item()
        assert energy == pytest.approx(1, rel=1e-3)


def test_runs_are_named_by_the_generator(small):
    assert small(generator_type="convKan").name == "CkkTIM"
    assert small(generator_type="conv").name == "CkTIM"
    assert small(generator_type="convKan", ck=False).name == "TIM"

"""The two-branch reference against the grouped network: outputs, losses, gradients, running statistics."""

import re

import pytest
import torch
import torch.nn.functional as F

from models.cktim import build_model, count_parameters
from tests.models.reference import Generator, TwoBranches
from utils.config import ModelConfig

SMALL = {"n_filter": 5, "n_temporal_aware_block": 2, "hidden_scale": 0.25}


def unlike_at_the_start(net):
    """Give every parameter and buffer that starts out the same for both directions values of its own."""
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if "norms" in name and tensor.dim():
                tensor.add_(0.5 * torch.rand_like(tensor))
            elif name.endswith(("_conv.bias", "log_width", "feature_mean")) or ".convolutions.0.bias" in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return net


@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("blocks", [1, 6])
def test_published_network_in_evaluation(published, ck, blocks):
    torch.manual_seed(0)
    model = published(ck=ck, n_temporal_aware_block=blocks)
    net = unlike_at_the_start(build_model(model, 7))
    x = 10 * torch.randn(4, 39, 188)
    with torch.no_grad():
        # Running statistics as after a training. With those of the start, the published kernels, which begin
        # far too large, blow the signal up to where float32 has few digits left.
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.momentum = None
        net(x)
        net.eval()
        reference = TwoBranches(net, model)
        assert count_parameters(reference) == count_parameters(net)
        expected = reference(x)
        assert expected.std() > 1e-3  # the comparison is about something
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("settings", ["published", "today's"])
@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("algorithm", ["direct", "fft"])
def test_training_step(published, settings, ck, algorithm):
    """Loss, every gradient and every running statistic, in double precision and without dropout."""
    torch.manual_seed(0)
    rates = ("dropout_rate", "kernel_dropout", "input_dropout", "pooling_dropout")
    changes = {**SMALL, **dict.fromkeys(rates, 0.0), "ck": ck, "conv_algorithm": algorithm}
    model = published(**changes) if settings == "published" else ModelConfig(**changes)
    net = unlike_at_the_start(build_model(model, 7, num_features=4, frames=33)).double()
    reference = TwoBranches(net, model)
    x, y = 3 * torch.randn(6, 4, 33, dtype=torch.float64), torch.randint(7, (6,))
    losses = []
    for network in (net, reference):
        losses.append(F.cross_entropy(network(x), y, label_smoothing=0.1))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=0)

    joined = {}
    for name, parameter in reference.named_parameters():
        joined.setdefault(re.sub(r"^branches\.\d\.", "", name), []).append(parameter.grad)
    for name, parameter in net.named_parameters():
        expected = torch.cat(joined.pop(name))
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=1e-9, msg=name)
    assert not joined
    states = [branch.state_dict() for branch in reference.branches]
    for name, buffer in net.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, torch.cat([state[name] for state in states]))


def test_kernels_are_made_anew_at_every_call(published):
    """What makes it the baseline: weights changed behind its back show at once, in evaluation too."""
    model = published(**SMALL)
    net = build_model(model, 7, num_features=4, frames=33).eval()
    reference = TwoBranches(net, model)
    calls = []
    for module in reference.modules():
        if isinstance(module, Generator):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for _ in range(2):
            reference(torch.randn(1, 4, 33))
    assert len(calls) == 2 * 2 * (1 + 2 * 2)  # calls × directions × convolutions

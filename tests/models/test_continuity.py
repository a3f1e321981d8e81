"""Continuous in practice: other frame rates, any length, padded batches, and kernels kept in evaluation."""

import copy
import math

import pytest
import torch

from models.ckconv import CKConv
from models.cktim import build_model
from models.kernel_generators import ConvGenerator
from models.temporal_aware_block import MaskedBatchNorm


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
    torch.manual_seed(0)
    generator = ConvGenerator(2, 3 * 4, hidden_channels=32, omega_0=5.0)
    conv = CKConv(3, 4, 2, generator, horizon=188, window=window).double()
    period = 512 / 22_050
    coarse = torch.arange(188, dtype=torch.float64) * period
    fine = torch.arange((188 - 1) * factor + 1, dtype=torch.float64) * period / factor
    torch.manual_seed(1)
    response = conv(smooth_signal(coarse, 6))
    finer = conv(smooth_signal(fine, 6), step=1 / factor)[..., ::factor]
    assert (finer - response).norm() / response.norm() < 0.02
    unscaled = conv(smooth_signal(fine, 6))[..., ::factor]  # what a kernel tied to frames would do
    assert (unscaled - response).norm() / response.norm() > 0.2


@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("frames", [1, 7, 188, 1000, 20_000])
def test_every_length_runs(small, ck, frames):
    net = build_model(small(ck=ck), 7).eval()
    with torch.no_grad():
        logits = net(torch.randn(1, 4, frames))
    assert logits.shape == (1, 7) and logits.isfinite().all()


@pytest.mark.parametrize("ck", [True, False])
def test_logits_do_not_depend_on_what_an_utterance_is_batched_with(small, ck):
    torch.manual_seed(0)
    net = build_model(small(ck=ck), 7).eval()
    net.standardise(torch.randn(4), torch.rand(4) + 0.5)
    lengths = torch.tensor([1, 7, 100, 188, 400])
    utterances = [torch.randn(4, n) for n in lengths]
    padded = torch.full((5, 4, 400), 55.0)  # padding of any value
    for row, utterance in zip(padded, utterances, strict=True):
        row[:, : utterance.shape[-1]] = utterance
    with torch.no_grad():
        together = net(padded, lengths)
        alone = torch.cat([net(utterance[None]) for utterance in utterances])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert alone.std(0).min() > 1e-4


def test_padding_changes_nothing_in_training(small):
    """Same loss gradients and same running statistics with more padding."""
    results = []
    for padding in (0, 60):
        torch.manual_seed(0)
        net = build_model(small(dropout_rate=0.0, input_dropout=0.0, pooling_dropout=0.0), 7)
        x = torch.randn(3, 4, 50)
        lengths = torch.tensor([20, 50, 33])
        padded = torch.cat([x, 9 * torch.ones(3, 4, padding)], dim=-1)
        net(padded, lengths).square().sum().backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
        results.append((gradients, net.blocks[1].norms[1].running_var))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-5)


def test_masked_batch_norm_without_padding_is_batch_norm():
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(3), torch.nn.BatchNorm1d(3)
    x = 2 + 3 * torch.randn(4, 3, 10)
    torch.testing.assert_close(ours(x, torch.ones(4, 1, 10)), theirs(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)


def evaluate(net, x):
    with torch.no_grad():
        return net.eval()(x)


def fresh(net, x):
    """The logits with kernels made for this call alone."""
    return net.eval()(x).detach()


def test_kernels_are_generated_once_in_evaluation(small, monkeypatch):
    net, x = build_model(small(), 7), torch.randn(2, 4, 188)
    first = evaluate(net, x)
    torch.testing.assert_close(first, fresh(net, x), rtol=1e-5, atol=1e-6)

    def fail(*_):
        raise AssertionError("generated again")

    monkeypatch.setattr(ConvGenerator, "forward", fail)
    with torch.no_grad():
        assert torch.equal(net(x), first)


def step_of_an_optimizer(net, x, fused=False):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=fused)
    net(x).sum().backward()  # still in evaluation mode
    optimizer.step()


def step_of_a_fused_optimizer(net, x):
    step_of_an_optimizer(net, x, fused=True)


def loading(net, x):
    torch.manual_seed(5)
    net.load_state_dict(build_model(net.settings, 7).state_dict())


def loading_by_assignment(net, x):
    torch.manual_seed(5)
    net.load_state_dict(build_model(net.settings, 7).state_dict(), assign=True)


def training_again(net, x):
    net.train()
    step_of_an_optimizer(net, x)
    net.eval()


def writing_into_a_weight(net, x):
    with torch.no_grad():
        net.input_conv.generator.layers[-1].parametrizations.weight.original0.mul_(3)


def new_running_statistics(net, x):
    """They are part of the kept kernel, for the batch norm is."""
    net.blocks[0].norms[1].running_mean.add_(2.0)
    net.blocks[0].norms[1].running_var.mul_(3.0)


def moving(net, x):
    net.double().float()
    writing_into_a_weight(net, x)


@pytest.mark.parametrize(
    "change",
    [
        step_of_an_optimizer,
        step_of_a_fused_optimizer,
        loading,
        loading_by_assignment,
        training_again,
        writing_into_a_weight,
        new_running_statistics,
        moving,
    ],
)
def test_no_stale_kernel(small, change):
    torch.manual_seed(0)
    net, x = build_model(small(), 7), torch.randn(2, 4, 188)
    net.settings = small()
    before = evaluate(net, x)
    change(net, x)
    with torch.no_grad():
        after = net(x)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, fresh(net, x), rtol=1e-5, atol=1e-6)


def test_another_length_or_frame_rate_is_another_kernel(small):
    net = build_model(small(), 7)
    for frames, frame_seconds in ((188, None), (100, None), (188, 256 / 22_050), (188, None), (600, None)):
        x = torch.randn(1, 4, frames)
        with torch.no_grad():
            kept = net.eval()(x, frame_seconds=frame_seconds)
        torch.testing.assert_close(kept, net(x, frame_seconds=frame_seconds).detach(), rtol=1e-5, atol=1e-6)


def test_a_copy_keeps_no_kernel_of_the_original(small):
    net, x = build_model(small(), 7), torch.randn(1, 4, 188)
    before = evaluate(net, x)
    other = copy.deepcopy(net)
    writing_into_a_weight(other, x)
    assert torch.equal(evaluate(net, x), before)
    assert not torch.allclose(evaluate(other, x), before)


def test_weights_loaded_in_inference_mode_work(small):
    x = torch.randn(1, 4, 188)
    with torch.inference_mode():
        net = build_model(small(), 7).eval()
        before = net(x)
        net.input_conv.bias.add_(1.0)
        assert not torch.equal(net(x), before)


def test_the_anchor_travels_with_the_weights(small):
    trained = build_model(small(), 7, frames=50, frame_seconds=0.01).eval()
    other = build_model(small(), 7, frames=188).eval()
    other.load_state_dict(trained.state_dict())
    assert (other.frames, other.frame_seconds) == (50, 0.01)
    x = torch.randn(1, 4, 90)
    torch.testing.assert_close(other(x), trained(x))

"""Kernels are generated anew for every call; within `frozen_kernels` once, with the same logits."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from models.ckconv import CKConv
from models.frozen import MOST_KEPT
from models.kernel_generators import ConvGenerator

# batch, frames, frame rate as a multiple of the training's
SIZES = [(1, 188, 1), (3, 188, 1), (64, 188, 1), (2, 1, 1), (2, 7, 1), (1, 2_000, 1)]
SIZES += [(2, 376, 2), (2, 90, 1), (2, 90, 0.5)]
X = torch.randn(2, 4, 188, generator=torch.Generator().manual_seed(0))


def answer(net, x=X, frame_seconds=None):
    with torch.no_grad():
        return net.eval()(x, frame_seconds=frame_seconds)


def anew(net, x=X, frame_seconds=None):
    """The logits with gradients, for which kernels are never kept."""
    return net.eval()(x, frame_seconds=frame_seconds).detach()


@pytest.fixture
def pair(small):
    """Two small networks with other weights."""
    torch.manual_seed(0)
    return small(), small()


@pytest.fixture
def generated(monkeypatch):
    """One entry for each kernel that is generated from now on."""
    calls, forward = [], ConvGenerator.forward
    monkeypatch.setattr(ConvGenerator, "forward", lambda *args: (calls.append(1), forward(*args))[1])
    return calls


# --- outside of the block ---


def assign_modules(net, other):
    for name, module in net.named_modules():
        if not list(module.children()) and module.state_dict():
            module.load_state_dict(other.get_submodule(name).state_dict(), assign=True)


def optimizer_step(net, fused):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=fused)
    net(X).sum().backward()  # still in evaluation mode
    optimizer.step()


def change_parts(change):
    """A change of the first block's first convolution: change(convolution, that of another network)."""
    return lambda net, other: change(net.blocks[0].convolutions[0], other.blocks[0].convolutions[0])


CHANGES = {
    "weights assigned to modules": assign_modules,
    "weights loaded": lambda net, other: net.load_state_dict(other.state_dict()),
    "pruning": change_parts(lambda conv, _: prune.l1_unstructured(conv.generator.layers[1], "bias", 0.5)),
    "another generator": change_parts(lambda conv, other: setattr(conv, "generator", other.generator)),
    "a new parameter": change_parts(
        lambda conv, _: setattr(conv.generator.layers[2], "bias", nn.Parameter(X[0, :1, :50].flatten()))
    ),
    "new running statistics": lambda net, _: net.blocks[0].norms[1].running_mean.add_(2.0),
    "a step of an optimiser": lambda net, _: optimizer_step(net, fused=False),
    "a step of a fused optimiser": lambda net, _: optimizer_step(net, fused=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_outside_of_the_block_no_kernel_is_stale(pair, change):
    net, other = pair
    with net.frozen_kernels():
        answer(net)
    before = answer(net)
    CHANGES[change](net, other)
    after = answer(net)
    assert torch.equal(after, anew(net)) and not torch.allclose(after, before)


def test_functional_call_answers_with_the_given_weights_and_leaves_the_own(pair):
    net, other = pair
    own = answer(net)
    with torch.no_grad():
        given = torch.func.functional_call(net, dict(other.named_parameters()), (X,))
    assert torch.equal(given, answer(other)) and torch.equal(answer(net), own)


# --- within it ---


@pytest.mark.parametrize("algorithm", ["auto", "direct", "fft"])
@pytest.mark.parametrize(
    "changes", [{}, {"kernel_window": 0.0, "pooling": "mean"}, {"separable": True}, {"ck": False}]
)
def test_logits_are_those_of_kernels_made_anew(small, algorithm, changes):
    net = small(conv_algorithm=algorithm, **changes)
    for norm in (norm for block in net.blocks for norm in block.norms):  # it is part of a kept kernel
        for values in (norm.running_mean, norm.weight, norm.bias):
            nn.init.normal_(values)
    with net.frozen_kernels():
        for batch, frames, rate in 2 * SIZES:
            x, frame_seconds = torch.randn(batch, 4, frames), 512 / 22_050 / rate
            frozen = answer(net, x, frame_seconds)
            torch.testing.assert_close(frozen, anew(net, x, frame_seconds), rtol=1e-5, atol=1e-5)


def test_kernels_are_generated_once_until_the_block_ends(pair, generated):
    net, _ = pair
    with pytest.raises(RuntimeError), net.frozen_kernels() as same:
        assert same is net
        answer(net)
        assert len(generated) == 5  # the input's, and two in each of two blocks
        answer(net)
        assert len(generated) == 5
        anew(net)
        net.train()(X)
        assert len(generated) == 15
        raise RuntimeError
    answer(net)
    assert len(generated) == 20
    net.freeze_kernels()
    answer(net)
    answer(net)
    net.freeze_kernels(False)
    assert len(generated) == 25


@pytest.mark.parametrize("assign", [True, False])
def test_loading_weights_and_moving_renew_the_kernels(small, generated, assign):
    net, other = small(kernel_window=0.0), small(kernel_window=0.0)  # as many taps in either precision
    expected = answer(other)
    with net.frozen_kernels():
        assert not torch.allclose(answer(net), expected)
        net.load_state_dict(other.state_dict(), assign=assign)
        torch.testing.assert_close(answer(net), expected, rtol=1e-5, atol=1e-5)
        net.double()
        generated.clear()
        moved = answer(net, X.double())
        torch.testing.assert_close(moved, expected.double(), rtol=1e-5, atol=1e-5)
        answer(net, X.double())
        assert len(generated) == 5  # they are still frozen


def test_no_more_kernels_are_kept_than_a_few(pair):
    net, _ = pair
    convolutions = [module for module in net.modules() if isinstance(module, CKConv)]
    with net.frozen_kernels():
        for frames in range(1, 20):
            x = X[..., :frames]
            torch.testing.assert_close(answer(net, x), anew(net, x), rtol=1e-5, atol=1e-5)
            assert all(len(conv._frozen._kept[1]) <= MOST_KEPT for conv in convolutions)


def test_eight_threads_get_equal_answers(pair):
    net, _ = pair
    sounds = [torch.randn(1, 4, frames) for frames in (1, 20, 40, 188, 376, 1_000)] * 8
    expected = [anew(net, x) for x in sounds]
    with net.frozen_kernels(), ThreadPoolExecutor(8) as threads:
        for found, wanted in zip(threads.map(lambda x: answer(net, x), sounds), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_weights_changed_in_inference_mode_count(small):
    with torch.inference_mode():
        net = small().eval()
        before = net(X)
        net.input_conv.bias.add_(1.0)
        assert not torch.equal(net(X), before)


def test_a_copy_is_not_frozen_and_training_renews(small):
    net = small(ck=True).eval()
    net.freeze_kernels()
    answer(net)
    copied = copy.deepcopy(net)
    assert all(not m._frozen.count for m in copied.modules() if isinstance(m, CKConv))
    net.train()
    with torch.no_grad():
        net.blocks[0].convolutions[0].generator.rescale_output(2.0)
    fresh = small(ck=True)
    fresh.load_state_dict(net.state_dict())
    torch.testing.assert_close(answer(net), answer(fresh), atol=1e-5, rtol=0)

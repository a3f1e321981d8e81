"""Ordinary operations of PyTorch on a network between two answers: the second one is right, frozen or not."""

import contextlib
import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize, prune, vector_to_parameters
from torch.optim import swa_utils

X = torch.randn(2, 4, 60, generator=torch.Generator().manual_seed(0))


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def first(net):
    """A layer of a generator in the middle."""
    return net.blocks[0].convolutions[0].generator.layers[1]


def original(net):
    return first(net).parametrizations.weight.original1


def conv(net):
    return net.blocks[0].convolutions[0]


def norm(net):
    return net.blocks[0].norms[0]


def step_of(optimizer, **options):
    def step(net, _):
        chosen = optimizer(net.parameters(), lr=0.1, **options)
        net(X).square().sum().backward()
        chosen.step()

    return step


@torch.no_grad()
def under_no_grad(net, _):
    for parameter in net.parameters():
        parameter.mul_(1.1)


def write_data(net, _):
    for parameter in net.parameters():
        parameter.data.mul_(1.1)


def assign_data(net, other):
    for mine, its in zip(net.parameters(), other.parameters(), strict=True):
        mine.data = its.data.clone()


def swap_tensors(net, other):
    torch.utils.swap_tensors(original(net), original(other))


def prune_globally(net, _):
    layers = [(layer, "bias") for layer in conv(net).generator.layers]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.5)


def prune_and_remove(net, _):
    prune.l1_unstructured(first(net), "bias", 0.5)
    prune.remove(first(net), "bias")


def register_and_remove(net, _):
    parametrize.register_parametrization(first(net), "bias", Doubled())
    parametrize.remove_parametrizations(first(net), "bias")


def change_without_weight_norm(net, _):
    parametrize.remove_parametrizations(first(net), "weight")
    with torch.no_grad():
        first(net).weight.mul_(1.5)


def tie(net, _):
    net.blocks[1].convolutions[1].generator = conv(net).generator
    under_no_grad(net, _)


def change_in_training(net, _):
    net.train()
    net(X)  # new running statistics


def average(net, other):
    averaged = swa_utils.AveragedModel(net)
    averaged.update_parameters(net)
    averaged.update_parameters(other)
    net.load_state_dict(averaged.module.state_dict())


def average_exponentially(net, other):
    averaged = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(net)
    averaged.update_parameters(other)
    net.load_state_dict(averaged.module.state_dict())


def to_empty(net, other):
    net.to("meta").to_empty(device="cpu")
    net.load_state_dict(other.state_dict())
    for name, buffer in other.named_buffers():  # those that a state dict leaves out
        net.get_buffer(name).copy_(buffer)


def to_half_and_back(kind):
    return lambda net, _: net.to(kind).float()


def interpolate(net, other):
    vector_to_parameters(nn.utils.parameters_to_vector(other.parameters()), net.parameters())


def initialise(net, _):
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            module.reset_parameters()
    nn.init.normal_(norm(net).weight)


CHANGES = {
    "load_state_dict": lambda net, other: net.load_state_dict(other.state_dict()),
    "load_state_dict, assigned": lambda net, other: net.load_state_dict(other.state_dict(), assign=True),
    "load_state_dict of a part": lambda net, other: first(net).load_state_dict(first(other).state_dict()),
    "in place under no_grad": under_no_grad,
    "in place in inference mode": torch.inference_mode()(under_no_grad.__wrapped__),
    "assigned data": assign_data,
    "swapped tensors": swap_tensors,
    "swapped networks' generators": lambda net, other: setattr(conv(net), "generator", conv(other).generator),
    "a new parameter": lambda net, _: setattr(norm(net), "weight", nn.Parameter(norm(net).weight + 1)),
    "another convolution": lambda net, other: net.blocks[0].convolutions.__setitem__(0, conv(other)),
    "another batch norm": lambda net, other: net.blocks[0].norms.__setitem__(0, norm(other)),
    "tied generators": tie,
    "pruned": lambda net, _: prune.l1_unstructured(first(net), "bias", 0.5),
    "pruned at random": lambda net, _: prune.random_unstructured(first(net), "bias", 0.5),
    "pruned globally": prune_globally,
    "pruned for good": prune_and_remove,
    "parametrised": lambda net, _: parametrize.register_parametrization(first(net), "bias", Doubled()),
    "parametrised twice": lambda net, _: parametrize.register_parametrization(
        first(net), "weight", Doubled(), unsafe=True
    ),
    "parametrised for good": register_and_remove,
    "without weight norm": change_without_weight_norm,
    "spectral norm": lambda net, _: parametrizations.spectral_norm(net.classifier),
    "orthogonal": lambda net, _: parametrizations.orthogonal(net.classifier),
    "a hook": lambda net, _: first(net).register_forward_hook(lambda *args: 2 * args[-1]),
    "a hook before": lambda net, _: first(net).register_forward_pre_hook(lambda _, args: 0.5 * args[0]),
    "another epsilon": lambda net, _: setattr(norm(net), "eps", 1.0),
    "another omega": lambda net, _: setattr(conv(net).generator, "omega_0", 3.0),
    "another horizon": lambda net, _: setattr(conv(net), "horizon", 100),
    "extra state": lambda net, _: net.set_extra_state(torch.tensor([100, 0.01])),
    "standardisation": lambda net, _: net.standardise(X.mean((0, 2)), X.std((0, 2))),
    "a vector of parameters": interpolate,
    "initialised": initialise,
    "trained statistics": change_in_training,
    "averaged": average,
    "averaged exponentially": average_exponentially,
    "SGD": step_of(torch.optim.SGD, momentum=0.9),
    "Adam": step_of(torch.optim.Adam, foreach=False),
    "Adam, foreach": step_of(torch.optim.Adam, foreach=True),
    "AdamW, fused": step_of(torch.optim.AdamW, fused=True),
    "SGD, fused": step_of(torch.optim.SGD, fused=True),
    "to the meta device and back": to_empty,
    "to half precision and back": to_half_and_back(torch.half),
    "to bfloat16 and back": to_half_and_back(torch.bfloat16),
    "written data": write_data,
    "through NumPy": lambda net, _: original(net).detach().numpy().__imul__(1.5),
    "copied data": lambda net, _: original(net).data.copy_(original(net).data.flip(0)),
    "in shared memory": lambda net, _: net.share_memory() and write_data(net, _),
}


def answer(net, x=X):
    with torch.no_grad():
        return net(x)


def anew(net, x=X):
    """With gradients, for which kernels are never kept."""
    return net(x).detach()


@pytest.fixture
def pair(small):
    torch.manual_seed(0)
    nets = small().eval(), small().eval()
    for net in nets:
        for values in (norm(net).running_mean, norm(net).weight):
            nn.init.normal_(values)
    return nets


@pytest.mark.parametrize("change", CHANGES)
def test_outside_of_a_block_the_answer_is_that_of_the_new_weights(pair, change):
    net, other = pair
    before = answer(net)
    CHANGES[change](net, other)
    after = answer(net.eval())
    torch.testing.assert_close(after, anew(net), rtol=1e-5, atol=1e-5)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("change", CHANGES)
def test_within_a_block_too(pair, change):
    net, other = pair
    with net.frozen_kernels():
        before = answer(net)
        CHANGES[change](net, other)
        after = answer(net.eval())
        torch.testing.assert_close(after, anew(copy.deepcopy(net)), rtol=1e-5, atol=1e-5)
        assert not torch.equal(after, before)


def test_writes_that_nothing_counts_are_seen_by_the_next_block(pair):
    net, _ = pair
    with net.frozen_kernels():
        before = answer(net)
        weights = original(net).data.flatten(1)
        weights[weights.abs().amax(1) < weights.abs().amax()] = 0.5  # PyTorch does not notice
        with net.frozen_kernels():
            after = answer(net)
            assert not torch.equal(after, before)
            torch.testing.assert_close(after, anew(net), rtol=1e-5, atol=1e-5)


# --- ways to call a network: (call, tolerance) ---


def through(save, load):
    def call(net):
        content = io.BytesIO()
        save(net, content)
        content.seek(0)
        return answer(load(content))

    return call


def exported(net, **options):
    return torch.export.export(net, (torch.randn(3, 4, 50),), **options).module()(X)


def exported_for_any_length(net):
    shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim("frames")},)
    return exported(net, dynamic_shapes=shapes)


def ensemble(net):
    parameters, buffers = stack_module_state([net, net])
    bare = copy.deepcopy(net)
    calls = vmap(lambda p, b: functional_call(bare, (p, b), (X,)), randomness="error")
    return calls(parameters, buffers)[1].detach()


def tangent(net):
    """The answer, from one to another that is linear in the last bias: jvp is exact."""
    bias = net.classifier.bias.detach()
    call = lambda value: functional_call(net, {"classifier.bias": value}, (X,))  # noqa: E731
    value, slope = jvp(call, (bias,), (torch.ones_like(bias),))
    return (value + slope - 1).detach()


def slope_as_autograd(net):
    """The answer, if torch.func and autograd agree on the input's gradient."""
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    torch.testing.assert_close(grad(lambda x: net(x).square().sum())(X), expected, rtol=1e-3, atol=1e-4)
    assert jacrev(net)(X[:1]).shape == (1, 7, 1, 4, 60)
    return answer(net)


def autocast(net):
    with torch.autocast("cpu", torch.bfloat16):
        inside = answer(net)
    assert (inside.float() - answer(net)).abs().max() < 0.05
    return answer(net)


def autocast_with_gradients(net):
    with torch.autocast("cpu", torch.bfloat16):
        return anew(net).float()


def on_meta(net):
    assert copy.deepcopy(net).to("meta")(X.to("meta")).shape == (2, 7)
    return answer(net)


def quantised(net):
    return answer(torch.ao.quantization.quantize_dynamic(net, {nn.Linear}))


def compiled(net):
    return answer(torch.compile(net, backend="eager"))


def traced(net):
    return torch.jit.trace(net, torch.randn(2, 4, 33), check_trace=False)(X).detach()


def replicated(net):
    """As torch.nn.DataParallel makes replicas: shallow copies of every module."""
    replica = copy.copy(net)
    replica._modules = {name: copy.copy(module) for name, module in net._modules.items()}
    return answer(replica)


CALLS = {
    "copied": (lambda net: answer(copy.deepcopy(net)), 1e-5),
    "pickled": (lambda net: answer(pickle.loads(pickle.dumps(net))), 1e-5),
    "saved whole": (through(torch.save, lambda file: torch.load(file, weights_only=False)), 1e-5),
    "functional_call": (lambda net: functional_call(net, dict(net.named_parameters()), (X,)).detach(), 1e-5),
    "vmap": (lambda net: vmap(lambda x: net(x[None])[0])(X).detach(), 1e-5),
    "vmap in chunks": (lambda net: vmap(lambda x: net(x[None])[0], chunk_size=1)(X).detach(), 1e-5),
    "an ensemble": (ensemble, 1e-5),
    "jvp": (tangent, 1e-5),
    "grad": (slope_as_autograd, 1e-5),
    "export": (lambda net: torch.export.export(net, (X,)).module()(X).detach(), 1e-5),
    "export for any length": (lambda net: exported_for_any_length(net).detach(), 1e-5),
    "compile": (compiled, 1e-5),
    "trace": (traced, 1e-5),
    "double": (lambda net: answer(copy.deepcopy(net).double(), X.double()).float(), 1e-4),
    "bfloat16": (lambda net: answer(copy.deepcopy(net).bfloat16(), X.bfloat16()).float(), 0.1),
    "half": (lambda net: answer(copy.deepcopy(net).half(), X.half()).float(), 0.02),
    "autocast": (autocast, 1e-5),
    "autocast, with gradients": (autocast_with_gradients, 0.05),
    "meta": (on_meta, 1e-5),
    "quantised": (quantised, 0.05),
    "replicated": (replicated, 1e-5),
    "inference mode": (torch.inference_mode()(lambda net: net(X)), 1e-5),
    "requires no gradient": (lambda net: copy.deepcopy(net).requires_grad_(False)(X), 1e-5),
    "another layout": (lambda net: answer(net, X.mT.contiguous().mT), 1e-5),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_called_in_any_way_it_answers_alike(pair, call, frozen):
    net = pair[0]
    expected = anew(net)
    function, tolerance = CALLS[call]
    with net.frozen_kernels() if frozen else contextlib.nullcontext():
        assert (answer(net) - expected).abs().max() < 1e-5
        assert (function(net) - expected).abs().max() < tolerance
        assert (answer(net) - expected).abs().max() < 1e-5


def test_a_second_derivative_is_refused_or_right(pair):
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(pair[0].double()(x.double()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()

"""The whole network: published parameter counts, and two directions as groups against two branches."""

import pytest
import torch
import torch.nn.functional as F

from models.cktim import all_but_a_stretch, count_parameters, pool
from models.temporal_aware_block import DilatedCausalConv, TemporalAwareBlock

NO_DROPOUT = {"dropout_rate": 0.0, "input_dropout": 0.0, "pooling_dropout": 0.0}
COUNTS = {
    True: {1: 318_749, 3: 743_583, 6: 1_380_834},  # CkTIM: TABs → trainable parameters
    False: {1: 16_037, 3: 41_311, 6: 79_222},  # TIM
}


def test_published_parameter_counts(published):
    for ck, counts in COUNTS.items():
        for blocks, count in counts.items():
            assert count_parameters(published(ck=ck, n_temporal_aware_block=blocks)) == count


def test_the_input_convolution_has_a_window_of_its_own_and_without_windows_none(small):
    net = small(kernel_window=0.1, input_kernel_window=0.02)
    torch.testing.assert_close(net.input_conv.log_width.exp().unique(), torch.tensor([0.02]))
    for conv in (conv for block in net.blocks for conv in block.convolutions):
        torch.testing.assert_close(conv.log_width.exp().unique(), torch.tensor([0.1]))
    assert small(kernel_window=0.0).input_conv.log_width is None


def one_direction_conv(layer, x, direction):
    """The convolution of one direction alone, from that direction's weights."""
    bias = None if layer.bias is None else layer.bias.chunk(2)[direction]
    if isinstance(layer, torch.nn.Conv1d):
        past = (layer.kernel_size[0] - 1) * layer.dilation[0]
        weight = layer.weight.chunk(2)[direction]
        return F.conv1d(F.pad(x, (past, 0)), weight, bias, dilation=layer.dilation)
    kernel = layer.sample_kernel(x.shape[-1])[direction]  # (out, in, taps)
    return F.conv1d(F.pad(x, (x.shape[-1] - 1, 0)), kernel.flip(-1), bias)


def two_branches(net, x, training):
    """The network as two separate single-direction branches with the same weights."""
    x = (x - net.feature_mean[:, None]) / net.feature_std[:, None]
    branches = [one_direction_conv(net.input_conv, signal, d) for d, signal in enumerate((x, x.flip(-1)))]
    fused = 0
    for weight, block in zip(net.fusion.weight, net.blocks, strict=True):
        for d in range(2):
            h = branches[d]
            for conv, norm in zip(block.convolutions, block.norms, strict=True):
                own = (norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias)
                own = (values.chunk(2)[d] for values in own)
                h = F.relu(F.batch_norm(one_direction_conv(conv, h, d), *own, training))
            branches[d] = branches[d] * torch.sigmoid(h)
        summary = sum(branch.mean(-1) for branch in branches)
        if net.classifier.in_features == 2 * summary.shape[-1]:
            deviations = [(branch.var(-1, correction=0) + 1e-5).sqrt() for branch in branches]
            summary = torch.cat([summary, sum(deviations)], dim=-1)
        fused = fused + weight * summary
    return net.classifier(fused)


@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_grouped_network_equals_two_single_direction_networks(small, ck, training, pooling):
    torch.manual_seed(0)
    net = small(33, ck=ck, **NO_DROPOUT, pooling=pooling)
    net.standardise(torch.randn(4), torch.rand(4) + 0.5)
    torch.nn.init.normal_(net.fusion.weight)
    for norm in (norm for block in net.blocks for norm in block.norms):  # different in both directions
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
        for values in (norm.running_mean, norm.weight, norm.bias):
            torch.nn.init.normal_(values)
    net.train(training)
    x = 3 * torch.randn(6, 4, 33)
    expected = two_branches(net, x, training)
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-2  # the comparison is about something


def test_published_network_at_full_size_equals_two_branches(published):
    torch.manual_seed(0)
    net = published(n_temporal_aware_block=1).eval().double()
    x = torch.randn(2, 39, 188, dtype=torch.float64)
    torch.testing.assert_close(net(x), two_branches(net, x, training=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ck", [True, False])
def test_gradients_reach_every_parameter(small, ck):
    net = small(33, num_functionals=9, ck=ck)
    net(torch.randn(6, 4, 33), torch.randn(6, 9)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("frames", [1, 7, 188, 1000, 20_000])
def test_every_length_runs(small, ck, frames):
    logits = small(ck=ck).eval()(torch.randn(1, 4, frames))
    assert logits.shape == (1, 7) and logits.isfinite().all()


def test_state_dict_loads_with_weights_only_and_carries_standardisation_and_anchor(small, tmp_path):
    net = small(50, frame_seconds=0.01).eval()
    net.standardise(torch.arange(4.0), torch.arange(1.0, 5.0))
    torch.save(net.state_dict(), tmp_path / "model.pt")
    other = small(188).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert (other.frames, other.frame_seconds) == (50, 0.01)
    x = torch.randn(3, 4, 90)
    assert torch.equal(other(x), net(x))


def test_dilated_convolution_is_causal_and_reaches_as_far_as_its_dilation():
    conv = DilatedCausalConv(2, 2, 2, dilation=8, groups=2)
    x = torch.randn(1, 2, 30)
    changed = x.clone()
    changed[..., 10] += 1
    assert (conv(changed) - conv(x)).abs().sum((0, 1)).nonzero().flatten().tolist() == [10, 18]


def test_block_multiplies_its_input_by_an_attention_between_0_and_1():
    convolutions = [DilatedCausalConv(4, 4, 2, groups=2) for _ in range(2)]
    block = TemporalAwareBlock(convolutions, 4, 0.1).eval()
    x = torch.randn(2, 4, 9)
    attention = block.attention(x)
    assert attention.min() > 0 and attention.max() < 1
    assert torch.equal(block(x), x * attention)


# --- pooling over time ---


def test_pooling_is_mean_and_deviation_over_the_frames_that_count():
    x, mask = torch.randn(3, 2, 5, 20), torch.ones(3, 2, 1, 20)
    mask[..., 4:9] = 0
    for values, given in ((x, None), (torch.cat([x[..., :4], x[..., 9:]], -1), mask)):
        std = (values.var(-1, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(pool(x, given, False), values.mean(-1))
        torch.testing.assert_close(pool(x, given, True), torch.cat([values.mean(-1), std], -1))
    constant = torch.ones(1, 2, 5, 20, requires_grad=True)  # where a root has no slope
    pool(constant, None, True).sum().backward()
    assert constant.grad.isfinite().all()


def test_pooling_dropout_leaves_out_one_stretch_in_training_only(small):
    torch.manual_seed(0)
    masks = all_but_a_stretch(torch.zeros(500, 3, 100), 0.5)
    assert masks.shape == (500, 1, 100) and set(masks.unique().tolist()) == {0.0, 1.0}
    edges = masks.diff(dim=-1)[:, 0]
    assert ((edges < 0).sum(1) <= 1).all() and ((edges > 0).sum(1) <= 1).all()
    missing = 1 - masks.mean((1, 2))
    assert missing.max() < 0.52 and 0.2 < missing.mean() < 0.3
    net, x = small(33, **NO_DROPOUT | {"pooling_dropout": 0.5}), torch.randn(3, 4, 33)
    assert not torch.allclose(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_both_directions_leave_out_the_same_frames(small, monkeypatch):
    """Changes within the stretch that is left out change no summary, in either direction."""
    net = small(40, ck=False, n_temporal_aware_block=1, **NO_DROPOUT | {"pooling_dropout": 0.5}).double()
    monkeypatch.setattr("models.cktim.all_but_a_stretch", lambda x, _: left_out.expand(len(x), 1, -1))
    left_out = torch.ones(1, 1, 40, dtype=torch.float64)
    left_out[..., 10:30] = 0
    x = torch.randn(2, 4, 40, dtype=torch.float64)
    changed = x.clone()
    changed[..., 19:21] += 1  # TIM's two sub-blocks reach two frames further, on either side
    for block in net.blocks:
        block.norms[0], block.norms[1] = torch.nn.Identity(), torch.nn.Identity()
    torch.testing.assert_close(net(changed), net(x))
    left_out[..., 10:30] = 1
    assert not torch.allclose(net(changed), net(x))


def test_functionals_add_to_the_logits_of_the_frames(small):
    net, alone = small(16, num_functionals=9).eval(), small(16).eval()
    assert alone.functionals is None
    alone.load_state_dict(net.state_dict(), strict=False)
    frames, functionals = torch.randn(3, 4, 16), torch.randn(3, 9)
    torch.testing.assert_close(net(frames, functionals), alone(frames) + net.functionals(functionals))

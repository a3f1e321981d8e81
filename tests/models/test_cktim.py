"""The whole network: published parameter counts, and two directions as groups against two branches."""

import pytest
import torch
import torch.nn.functional as F

from dataloader.features.functionals import below_frames
from models.cktim import all_but_a_stretch, build_model, count_parameters
from models.dynamic_fusion import DynamicFusion
from models.temporal_aware_block import DilatedCausalConv, TemporalAwareBlock


@pytest.mark.parametrize(
    ("ck", "blocks", "count"),
    [
        (True, 1, 318_749),
        (True, 3, 743_583),
        (True, 6, 1_380_834),
        (False, 1, 16_037),
        (False, 3, 41_311),
        (False, 6, 79_222),
    ],
)
def test_published_parameter_counts(published, ck, blocks, count):
    assert count_parameters(build_model(published(ck=ck, n_temporal_aware_block=blocks), 7)) == count


def test_the_input_convolution_has_a_window_of_its_own_and_without_windows_none(small):
    net = build_model(small(kernel_window=0.1, input_kernel_window=0.02), 7)
    torch.testing.assert_close(net.input_conv.log_width.exp().unique(), torch.tensor([0.02]))
    for block in net.blocks:
        for conv in block.convolutions:
            torch.testing.assert_close(conv.log_width.exp().unique(), torch.tensor([0.1]))
    assert build_model(small(kernel_window=0.0), 7).input_conv.log_width is None


def half(tensor, direction):
    """One direction's share of a grouped tensor."""
    return tensor.chunk(2)[direction]


def one_direction_conv(layer, x, direction):
    """The convolution of one direction alone, from that direction's weights."""
    bias = None if layer.bias is None else half(layer.bias, direction)
    if isinstance(layer, torch.nn.Conv1d):
        past = (layer.kernel_size[0] - 1) * layer.dilation[0]
        return F.conv1d(F.pad(x, (past, 0)), half(layer.weight, direction), bias, dilation=layer.dilation)
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
                h = one_direction_conv(conv, h, d)
                h = F.batch_norm(
                    h,
                    half(norm.running_mean, d).clone(),
                    half(norm.running_var, d).clone(),
                    half(norm.weight, d),
                    half(norm.bias, d),
                    training,
                )
                h = F.relu(h)
            residual = block.gate == "residual"
            branches[d] = branches[d] + h if residual else branches[d] * torch.sigmoid(h)
        summary = sum(branch.mean(-1) for branch in branches)
        if net.classifier.in_features == 2 * summary.shape[-1]:
            deviations = [(branch.var(-1, correction=0) + 1e-5).sqrt() for branch in branches]
            summary = torch.cat([summary, sum(deviations)], dim=-1)
        fused = fused + weight * summary
    return net.classifier(fused)


@pytest.mark.parametrize("ck", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("gate", "pooling"), [("sigmoid", "mean"), ("residual", "mean_std")])
def test_grouped_network_equals_two_single_direction_networks(small, ck, training, gate, pooling):
    torch.manual_seed(0)
    model = small(ck=ck, dropout_rate=0.0, input_dropout=0.0, pooling_dropout=0.0, gate=gate, pooling=pooling)
    net = build_model(model, 7, frames=33)
    net.standardise(torch.randn(4), torch.rand(4) + 0.5)
    for block in net.blocks:  # running statistics that differ between the directions
        for norm in block.norms:
            torch.nn.init.normal_(norm.running_mean)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    net.train(training)
    x = 3 * torch.randn(6, 4, 33)
    expected = two_branches(net, x, training)
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-2  # the comparison is about something


def test_published_network_at_full_size_equals_two_branches(published):
    torch.manual_seed(0)
    net = build_model(published(n_temporal_aware_block=1), 7).eval().double()
    x = torch.randn(2, 39, 188, dtype=torch.float64)
    torch.testing.assert_close(net(x), two_branches(net, x, training=False), rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_parameter(small):
    for ck in (True, False):
        net = build_model(small(ck=ck), 7, frames=33)
        net(torch.randn(6, 4, 33)).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_state_dict_loads_with_weights_only_and_carries_the_standardisation(small, tmp_path):
    net = build_model(small(), 7, frames=33).eval()
    net.standardise(torch.arange(4.0), torch.arange(1.0, 5.0))
    torch.save(net.state_dict(), tmp_path / "model.pt")
    other = build_model(small(), 7, frames=33).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    x = torch.randn(3, 4, 33)
    assert torch.equal(other(x), net(x))


def test_dilated_convolution_is_causal_and_reaches_as_far_as_its_dilation():
    conv = DilatedCausalConv(2, 2, 2, dilation=8, groups=2)
    x = torch.randn(1, 2, 30)
    changed = x.clone()
    changed[..., 10] += 1
    frames = (conv(changed) - conv(x)).abs().sum((0, 1)).nonzero().flatten().tolist()
    assert frames == [10, 18]


def test_block_multiplies_its_input_by_an_attention_between_0_and_1():
    convolutions = [DilatedCausalConv(4, 4, 2, groups=2) for _ in range(2)]
    block = TemporalAwareBlock(convolutions, 4, 0.1).eval()
    x = torch.randn(2, 4, 9)
    attention = block.attention(x)
    assert attention.min() > 0 and attention.max() < 1
    assert torch.equal(block(x), x * attention)


def test_residual_block_adds_what_its_sub_blocks_give():
    convolutions = [DilatedCausalConv(4, 4, 2, groups=2) for _ in range(2)]
    block = TemporalAwareBlock(convolutions, 4, 0.1, "residual").eval()
    x = torch.randn(2, 4, 9)
    added = block(x) - x
    assert added.min() > -1e-6 and added.max() > 0.1  # what a ReLU gives
    torch.testing.assert_close(torch.sigmoid(added), block.attention(x))


def test_pooling_dropout_leaves_out_one_stretch_in_training_only(small):
    torch.manual_seed(0)
    masks = all_but_a_stretch(torch.zeros(500, 3, 100), 0.5)
    assert masks.shape == (500, 1, 100) and set(masks.unique().tolist()) == {0.0, 1.0}
    edges = masks.diff(dim=-1)[:, 0]
    assert ((edges < 0).sum(1) <= 1).all() and ((edges > 0).sum(1) <= 1).all()
    missing = 1 - masks.mean((1, 2))
    assert missing.max() < 0.52 and 0.2 < missing.mean() < 0.3

    net = build_model(small(dropout_rate=0.0, input_dropout=0.0, pooling_dropout=0.5), 7, frames=33)
    x = torch.randn(3, 4, 33)
    assert not torch.allclose(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_both_directions_leave_out_the_same_frames(small, monkeypatch):
    """What happens only in the stretch that is left out changes no summary, in either direction."""
    rates = {"dropout_rate": 0.0, "input_dropout": 0.0, "pooling_dropout": 0.5}
    net = build_model(small(ck=False, n_temporal_aware_block=1, **rates), 7, frames=40).double()
    monkeypatch.setattr("models.cktim.all_but_a_stretch", lambda x, _: left_out.expand(len(x), 1, -1))
    left_out = torch.ones(1, 1, 40, dtype=torch.float64)
    left_out[..., 10:30] = 0
    x = torch.randn(2, 4, 40, dtype=torch.float64)
    changed = x.clone()
    changed[..., 19:21] += 1  # TIM's two sub-blocks reach two frames further, on either side
    for block in net.blocks:
        block.norms[0], block.norms[1] = torch.nn.Identity(), torch.nn.Identity()
        for norm in block.norms:
            norm.forward = lambda x, mask=None: x
    torch.testing.assert_close(net(changed), net(x))
    left_out[..., 10:30] = 1
    assert not torch.allclose(net(changed), net(x))


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_gates_and_summaries_learn(small, pooling):
    for gate in ("sigmoid", "residual"):
        net = build_model(small(gate=gate, pooling=pooling), 7, frames=33)
        net(torch.zeros(6, 4, 33)).square().sum().backward()  # constant in time, where a root has no slope
        assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_statistics_of_the_utterance_add_to_the_logits_and_the_blocks_do_not_see_them(small):
    net = build_model(small(statistics=True, num_features=11), 7, 16).eval()
    assert net.statistics[1].in_features == (11 - 2) * 10 + 5
    frames, statistics = torch.randn(3, 11, 16), torch.randn(3, 95)
    x = below_frames(frames, statistics)
    torch.testing.assert_close(net.summaries(x), net.summaries(frames))
    logits = net.classifier(net.fusion(net.summaries(frames)))
    torch.testing.assert_close(net(x), logits + net.statistics(statistics))
    net.train()(x).sum().backward()
    assert net.statistics[1].weight.grad.abs().sum() > 0


def test_late_fusion_multiplies_the_probabilities_of_frames_and_statistics(small):
    model = small(statistics=True, num_features=11, late_fusion=True)
    net = build_model(model, 7, 16).eval()
    frames, statistics = torch.randn(3, 11, 16), torch.randn(3, 95)
    x = below_frames(frames, statistics)
    of_frames = net.classifier(net.fusion(net.summaries(frames))).softmax(1)
    of_statistics = net.statistics(statistics).softmax(1)
    product = (of_frames * of_statistics).sqrt()
    torch.testing.assert_close(net(x).softmax(1), product / product.sum(1, keepdim=True))

    plain = build_model(small(late_fusion=True), 7, 16).eval()  # without statistics it changes nothing
    x = torch.randn(3, 4, 16)
    logits = plain.classifier(plain.fusion(plain.summaries(x)))
    torch.testing.assert_close(plain(x).softmax(1), logits.softmax(1))


def test_fusion_is_the_weighted_sum():
    fusion = DynamicFusion(3)
    torch.nn.init.normal_(fusion.weight)
    g = torch.randn(2, 3, 5)
    w = fusion.weight
    torch.testing.assert_close(fusion(g), w[0] * g[:, 0] + w[1] * g[:, 1] + w[2] * g[:, 2])

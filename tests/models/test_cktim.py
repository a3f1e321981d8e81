"""The whole network: parameter counts, lengths, pooling, functionals (as two branches: test_reference)."""

import pytest
import torch

from models.cktim import all_but_a_stretch, build_model, count_parameters, pool
from models.temporal_aware_block import DilatedCausalConv, TemporalAwareBlock

NO_DROPOUT = {"dropout_rate": 0.0, "input_dropout": 0.0, "pooling_dropout": 0.0}
COUNTS = {
    True: {1: 318_749, 3: 743_583, 6: 1_380_834},  # CkTIM: TABs → trainable parameters
    False: {1: 16_037, 3: 41_311, 6: 79_222},  # TIM
}


def test_published_parameter_counts(published):
    for ck, counts in COUNTS.items():
        for blocks, count in counts.items():
            model = published(ck=ck, n_temporal_aware_block=blocks)
            assert count_parameters(build_model(model, 7)) == count


def test_the_input_convolution_has_a_window_of_its_own_and_without_windows_none(small):
    net = small(kernel_window=0.1, input_kernel_window=0.02)
    torch.testing.assert_close(net.input_conv.log_width.exp().unique(), torch.tensor([0.02]))
    for conv in (conv for block in net.blocks for conv in block.convolutions):
        torch.testing.assert_close(conv.log_width.exp().unique(), torch.tensor([0.1]))
    assert small(kernel_window=0.0).input_conv.log_width is None


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

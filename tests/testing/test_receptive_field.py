"""The effective receptive field against what dilated convolutions can see at all."""

import torch

from models.cktim import build_model
from testing.receptive_field import effective_receptive_field
from utils.config import ModelConfig


def build(ck):
    torch.manual_seed(0)
    model = ModelConfig(ck=ck, n_temporal_aware_block=3, n_filter=6, num_features=4, hidden_scale=0.25)
    return build_model(model, 7, frames=40)


def test_a_dilated_network_sees_no_further_than_its_dilations_allow():
    field = effective_receptive_field(build(ck=False), torch.randn(5, 4, 40))
    assert field.shape == (3, 40)
    torch.testing.assert_close(field.sum(1), torch.ones(3))
    for block, reach in enumerate((2, 2 + 4, 2 + 4 + 8)):  # two convolutions of kernel size 2 a block
        lags = field[block].flip(0).nonzero().flatten()
        assert lags.max() == reach


def test_a_continuous_network_sees_the_whole_past_from_the_first_block_on():
    field = effective_receptive_field(build(ck=True), torch.randn(5, 4, 40))
    assert (field > 0).all()


def test_gradients_are_those_of_finite_differences():
    net = build(ck=True).double().eval()
    x = torch.randn(1, 4, 40, dtype=torch.float64)

    def pooled(signal):
        h = net.blocks[0](net.input_conv(torch.cat([signal, signal.flip(-1)], dim=1)))
        return h[:, :6, -1].sum()

    difference = torch.zeros(4, 40, dtype=torch.float64)
    with torch.no_grad():
        for row in range(4):
            for frame in range(40):
                nudge = torch.zeros_like(x)
                nudge[0, row, frame] = 1e-5
                difference[row, frame] = (pooled(x + nudge) - pooled(x - nudge)) / 2e-5
    expected = difference.abs().mean(0)
    field = effective_receptive_field(net, x)[0]
    torch.testing.assert_close(field, expected / expected.sum(), rtol=1e-4, atol=1e-8)

"""Kernels as functions, effective receptive fields, and their figures for notebook_results."""

import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from models.ckconv import CKConv
from models.cktim import build_model
from models.kernel_generators import ConvGenerator
from testing import kernels
from testing.kernels import (
    deepest_run,
    effective_receptive_field,
    forward_kernels,
    telling_kernels,
)
from utils.config import ModelConfig
from utils.runs import list_runs


@pytest.fixture
def conv():
    torch.manual_seed(0)
    generator = ConvGenerator(2, 3 * 4, hidden_channels=8, omega_0=5.0)
    conv = CKConv(3, 4, 2, generator, horizon=21, window=0.2)
    with torch.no_grad():
        conv.log_width += torch.randn_like(conv.log_width)  # every channel its own
    return conv


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_taps_at_any_frame_rate_are_the_function_times_the_step(conv, step):
    taps = conv.reach(step)
    expected = step * conv.kernel_at(step * torch.arange(taps)).detach()
    torch.testing.assert_close(conv.sample_kernel(taps, step).detach()[..., 1:-1], expected[..., 1:-1])


def test_forward_kernels_are_those_of_the_first_group_over_the_whole_reach(conv):
    lags, values = forward_kernels(conv, step=0.5)
    assert lags.tolist() == [lag / 2 for lag in range(41)]
    assert values.shape == (4, 3, 41)
    torch.testing.assert_close(values[..., ::2], conv.sample_kernel(21).detach()[0])


def test_telling_kernels_go_from_the_shortest_to_the_longest_reach(conv):
    with torch.no_grad():
        conv.log_width[0, :, 0, 0] = torch.tensor([0.3, 0.02, 2.0, 0.1]).log()
    pairs = telling_kernels(conv, count=4)
    assert [output for output, _ in pairs] == [1, 3, 0, 2]
    energy = forward_kernels(conv, 1.0)[1].square().sum(-1)
    assert all(energy[o, i] == energy[o].max() for o, i in pairs)
    assert telling_kernels(conv, count=2) == [pairs[0], pairs[-1]]


def build(ck):
    torch.manual_seed(0)
    model = ModelConfig(ck=ck, n_temporal_aware_block=3, n_filter=6, hidden_scale=0.25)
    return build_model(model, 7, frames=40)


def test_a_dilated_network_sees_no_further_than_its_dilations_allow():
    field = effective_receptive_field(build(ck=False))
    assert field.shape == (3, 40)
    torch.testing.assert_close(field.sum(1), torch.ones(3))
    for block, reach in enumerate((2, 2 + 4, 2 + 4 + 8)):  # two convolutions of kernel size 2 a block
        assert field[block].flip(0).nonzero().max() == reach


def test_a_continuous_network_sees_the_whole_past_from_the_first_block_on():
    assert (effective_receptive_field(build(ck=True)) > 0).all()


def test_gradients_are_those_of_finite_differences():
    net = build(ck=True).double().eval()
    x = torch.randn(1, 39, 40, dtype=torch.float64)

    def pooled(signal):
        h = net.blocks[0](net.input_conv(torch.cat([signal, signal.flip(-1)], dim=1)))
        return h[:, :6, -1].sum(1)

    field = effective_receptive_field(net, x)[0]
    with torch.no_grad():
        nudges = 1e-5 * torch.eye(39 * 40, dtype=torch.float64).unflatten(1, (39, 40))
        difference = (pooled(x + nudges) - pooled(x - nudges)) / 2e-5
    expected = difference.unflatten(0, (39, 40)).abs().mean(0)
    torch.testing.assert_close(field, expected / expected.sum(), rtol=1e-4, atol=1e-8)


def test_the_deepest_run_with_weights_and_a_configuration_is_chosen(run_dir):
    def copy(name, blocks):
        other = Path(shutil.copytree(run_dir, run_dir.with_name(name)))
        text = (other / "parameters.txt").read_text()
        changed = text.replace("n_temporal_aware_block: 2", f"n_temporal_aware_block: {blocks}")
        (other / "parameters.txt").write_text(changed)
        return other

    copy("CkTIM_TAB1", 1)
    (copy("CkTIM_TAB5", 5) / "model.pt").unlink()
    (copy("CkTIM_TAB6", 6) / "parameters.txt").unlink()
    runs = list_runs(run_dir.parent)
    assert deepest_run(runs, "CkTIM").path == run_dir
    assert deepest_run(runs, "TIM") is None


def test_figures_where_there_are_weights_and_notes_where_there_are_none(run_dir, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(kernels, "display", lambda thing: shown.append(getattr(thing, "data", thing)))
    runs = list_runs(run_dir.parent)
    kernels.show_kernels(runs, tmp_path)
    kernels.show_receptive_fields(runs, tmp_path)
    of_kernels, missing, fields = shown
    assert isinstance(of_kernels, Figure) and isinstance(fields, Figure)
    assert run_dir.name in of_kernels.get_suptitle()
    labels = [text.get_text() for text in of_kernels.legends[0].get_texts()]
    assert labels == ["the function", "hop 256 (12 ms)", "hop 512 (23 ms)", "hop 1024 (46 ms)"]
    assert "a run of TIM with weights" in missing and "model.ck=false" in missing
    assert (tmp_path / "kernels.png").exists() and (tmp_path / "receptive_fields.pdf").exists()

    shown.clear()
    kernels.show_kernels([])
    kernels.show_receptive_fields([])
    assert ["**Missing" in text for text in shown] == [True] * 3

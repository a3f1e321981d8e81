"""What notebook_results shows of single networks, with runs that have weights and without."""

import shutil
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from models.cktim import build_model
from testing import continuity
from testing.continuity import deepest_runs, receptive_field, show_kernels, show_receptive_fields
from utils.comparison import group_runs
from utils.config import ModelConfig
from utils.runs import list_runs


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed: figures, and texts."""
    found = []
    monkeypatch.setattr(continuity, "display", lambda thing: found.append(getattr(thing, "data", thing)))
    return found


def test_receptive_fields_stand_on_the_standardised_noise_of_the_training():
    torch.manual_seed(0)
    model = ModelConfig(n_temporal_aware_block=2, n_filter=4, num_features=3, hidden_scale=0.25)
    net = build_model(model, 7, frames=20)
    expected = receptive_field(net)
    net.standardise(torch.tensor([5.0, -300.0, 1.0]), torch.tensor([2.0, 90.0, 0.1]))
    torch.testing.assert_close(receptive_field(net), expected, rtol=1e-3, atol=1e-6)
    assert expected.shape == (2, 20)


def test_the_deepest_run_with_weights_is_shown(run_dir):
    def copy(name, blocks):
        other = Path(shutil.copytree(run_dir, run_dir.with_name(name)))
        text = (other / "parameters.txt").read_text()
        changed = text.replace("n_temporal_aware_block: 2", f"n_temporal_aware_block: {blocks}")
        (other / "parameters.txt").write_text(changed)
        return other

    copy("CkTIM_TAB1", 1)
    (copy("CkTIM_TAB5", 5) / "model.pt").unlink()
    (copy("CkTIM_TAB6", 6) / "parameters.txt").unlink()
    assert deepest_runs(group_runs(list_runs(run_dir.parent))) == {"CkTIM": run_dir}


def test_figures_where_there_are_weights_and_notes_where_there_are_none(run_dir, shown, tmp_path):
    groups = group_runs(list_runs(run_dir.parent))
    show_kernels(groups, tmp_path)
    show_receptive_fields(groups, tmp_path)
    kernels, missing, fields = shown
    assert isinstance(kernels, Figure) and isinstance(fields, Figure)
    assert run_dir.name in kernels.get_suptitle()
    labels = [text.get_text() for text in kernels.legends[0].get_texts()]
    assert labels == ["the function", "hop 256 (12 ms)", "hop 512 (23 ms)", "hop 1024 (46 ms)"]
    assert "a run of TIM with weights" in missing and "model.ck=false" in missing
    assert (tmp_path / "kernels.png").exists() and (tmp_path / "receptive_fields.pdf").exists()

    shown.clear()
    show_kernels([])
    show_receptive_fields([])
    assert ["**Missing" in text for text in shown] == [True] * 3

"""A trial in a notebook: its figure, its table, its sentences; or the command that makes it."""

import io

import numpy as np
import pytest
import soundfile

from utils.notebooks import display
from utils.results import read_trial, trial_tables


@pytest.fixture
def shown(monkeypatch) -> list:
    """What was displayed."""
    things = []
    monkeypatch.setattr(display, "display", lambda *more: things.extend(more))
    return things


def test_players_of_variants_keep_their_loudness(shown, monkeypatch):
    monkeypatch.delenv("CKTIM_AUDIO", raising=False)
    wave = np.sin(np.arange(1_000))
    display.show_variants({"itself": 0.5 * wave, "quiet": 0.125 * wave}, 8_000, "title")
    loud, quiet = (
        soundfile.read(io.BytesIO(one.data))[0]
        for one in shown
        if hasattr(one, "data") and isinstance(one.data, bytes)
    )
    assert abs(loud).max() == pytest.approx(1, abs=1e-3)
    assert abs(quiet).max() == pytest.approx(0.25, abs=1e-3)
    assert display.audio_player(np.zeros(10), 8_000).data  # silence


def test_a_trial_is_shown_as_one_figure_and_one_table(repository, shown, tmp_path):
    path = repository / "training/results/augmentation.json"
    display.show_trial(path, folder=tmp_path / "figures")
    figure, scores = shown
    expected = trial_tables(read_trial(path))[0]
    assert (figure.get_suptitle(), scores.rows, scores.caption) == (expected.caption, expected.rows, "")
    assert {one.name for one in (tmp_path / "figures").iterdir()} == {
        "trial_augmentation.png",
        "trial_augmentation.pdf",
    }
    shown.clear()
    display.show_trial(path, figure=False)
    assert [one.caption for one in shown] == [expected.caption]


def test_two_trials_are_shown_as_one_and_a_missing_one_is_named(repository, shown, tmp_path):
    folder = repository / "training/results"
    display.show_trial(folder / "temporal_aware_blocks.json", folder / "further_seeds.json", folder=tmp_path)
    assert "with ten further seeds" in shown[0].get_suptitle().replace("\n", " ")
    assert (tmp_path / "trial_temporal_aware_blocks_further_seeds.png").exists()
    shown.clear()
    display.show_trial(folder / "temporal_aware_blocks.json", tmp_path / "omega_0.json")
    (said,) = shown
    assert "python -m training.trials conf/trials/omega_0.yaml" in said.data

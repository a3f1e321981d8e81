"""A trial in a notebook: its figure, its table, its sentences; or the command that makes it."""

import pytest

from utils.notebooks import display
from utils.results import comparisons_in_words, read_trial, trial_tables


@pytest.fixture
def shown(monkeypatch) -> list:
    """What was displayed."""
    things = []
    monkeypatch.setattr(display, "display", lambda *more: things.extend(more))
    return things


def test_a_trial_is_shown_as_figure_table_and_sentences(repository, shown, tmp_path):
    path = repository / "training/results/augmentation.json"
    display.show_trial(path, folder=tmp_path / "figures", words=True)
    figure, scores, words = shown
    expected = trial_tables(read_trial(path))[0]
    assert (figure.get_suptitle(), scores.rows, scores.caption) == (expected.caption, expected.rows, "")
    ((family, sentences),) = comparisons_in_words(read_trial(path)).items()
    assert words.data.startswith(f"**{family}**\n\n- CkTIM with 6 TABs, augmented is 3.6 points behind")
    assert words.data.count("\n- ") == len(sentences) == 2
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
    assert "with ten further seeds" in shown[0].get_suptitle()
    assert (tmp_path / "trial_temporal_aware_blocks_further_seeds.png").exists()
    shown.clear()
    display.show_trial(folder / "temporal_aware_blocks.json", tmp_path / "omega_0.json")
    (table,) = shown
    assert "python -m training.trials conf/trials/omega_0.yaml" in str(table)

"""Other sample rates and other sounds, on a few utterances of the tiny corpus."""

import json

import pytest

import testing.robustness
from testing.calibration import calibrate
from testing.robustness import RATES, main


@pytest.fixture
def few(monkeypatch, tiny_emovo):
    """A test set of six; and its sounds in place of eSpeak's, which take seconds to make."""
    whole = testing.robustness.recorded_test_set

    def part(run, config):
        data = whole(run, config, progress=False)
        object.__setattr__(data.split, "test", data.split.test[:6])
        return data

    monkeypatch.setattr(testing.robustness, "recorded_test_set", part)
    monkeypatch.setattr(testing.robustness, "make_demo_corpus", lambda root, progress: tiny_emovo)


def test_the_command_measures_both(run_dir, few, tmp_path, capsys):
    calibrate(run_dir, progress=False)
    main([str(run_dir), "--json", str(tmp_path / "robustness.json")])
    measured = json.loads((tmp_path / "robustness.json").read_text())
    assert measured["utterances"] == 6 and measured["run"] == run_dir.name
    rates = measured["sample_rates"]
    assert rates["rates"] == list(RATES) and rates["same"][:2] == [
        1,
        1,
    ]  # its recordings are made at 22 050 Hz
    assert all(0 <= share <= 1 for key in ("same", "accuracy", "unlike") for share in rates[key])
    aurocs = measured["novelty"]["auroc"]
    assert len(aurocs) == 5 and aurocs["chords"] == 1 and measured["novelty"]["unlike"]["chords"] == 1
    printed = capsys.readouterr().out
    assert "16000 Hz" in printed and "speech over a telephone" in printed


def test_a_run_that_is_not_calibrated_has_no_novelty(run_dir, few, capsys):
    with pytest.raises(SystemExit):
        main([str(run_dir)])
    assert "python -m testing.calibration" in capsys.readouterr().err

"""Calibration of a run: fitted on the validation set, written into the run, read back, damage named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dataloader.splits import load_split
from testing.calibration import (
    Calibration,
    at_temperature,
    calibrate,
    calibration_table,
    fit_temperature,
    load_calibration,
    main,
    negative_log_likelihood,
    reliability_figure,
)
from testing.load_run import load_run, predict, recorded_test_set
from utils.errors import UserError
from utils.metrics import reliability


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """The calibration of a copy of the run."""
    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / trained.name))
    return calibrate(copy, progress=False)


def test_the_temperature_is_fitted_on_the_validation_set(calibrated, trained):
    run = load_run(trained)
    frames, _, target, _ = recorded_test_set(run, progress=False).arrays("validation")
    logits, targets = predict(run.model, frames).numpy(), target.numpy()
    temperature, (before, after, *_) = calibrated.calibration.temperature, calibration_table(calibrated).rows
    losses = [negative_log_likelihood(logits, targets, temperature * factor) for factor in (0.9, 1, 1.1)]
    assert losses[1] <= min(losses)
    assert len(targets) == len(load_split(trained / "split.json").validation)
    for row, t in ((before, 1.0), (after, temperature)):
        assert row["set"] == f"validation ({len(targets)} utterances)"
        assert float(row["loss (nats)"]) == pytest.approx(
            negative_log_likelihood(logits, targets, t), abs=1e-3
        )
        error = reliability(at_temperature(logits, t), targets).error
        assert float(row["expected calibration error"][:-2]) == pytest.approx(100 * error, abs=0.1)
    assert np.mean(calibrated.novelty["validation"] > 1) < 0.2
    assert len(calibrated.novelty["test"]) == len(calibrated.targets["test"]) == len(run.split.test)


def test_what_is_written_reads_back(calibrated):
    path = calibrated.run.path / "calibration.json"
    assert path.stat().st_size < 200_000
    written = load_calibration(calibrated.run.path)
    assert written.temperature == calibrated.calibration.temperature
    frames = recorded_test_set(calibrated.run, progress=False).arrays("test").frames
    assert written.novelty(frames) == pytest.approx(calibrated.novelty["test"], rel=1e-3)


def test_a_run_without_one_stays_as_it_is(run_dir):
    assert load_calibration(run_dir) == Calibration(1.0, None)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", '{"temperature": "warm"}'),
        '{"temperature": 0, "novelty": null}',
        '{"temperature": 1, "novelty": {"location": [1]}}',
    ],
)
def test_a_damaged_one_is_named(run_dir, text):
    (run_dir / "calibration.json").write_text(text)
    with pytest.raises(UserError, match=r"calibration\.json"):
        load_calibration(run_dir)


def test_the_table_and_the_figure_show_both_sets_before_and_after(calibrated):
    table = calibration_table(calibrated)
    assert [row["set"].split()[0] for row in table.rows] == ["validation"] * 2 + ["test"] * 2
    assert table.rows[0]["temperature"] == "1.00"
    assert table.rows[0]["accuracy"] == table.rows[1]["accuracy"]
    titles = [axes.get_title().partition("\n")[0] for axes in reliability_figure(calibrated).axes[::2]]
    assert titles == ["validation set, as trained", "test set, as trained"]


def test_the_command_writes_it(run_dir, capsys):
    main([str(run_dir)])
    assert json.loads((run_dir / "calibration.json").read_text())["temperature"] > 0
    assert "expected calibration error" in capsys.readouterr().out


def test_a_run_that_did_not_record_its_split_cannot_be_calibrated(run_dir, capsys):
    (run_dir / "split.json").unlink()
    with pytest.raises(SystemExit) as exit_:
        main([str(run_dir)])
    assert exit_.value.code == 2 and "split.json" in capsys.readouterr().err


def drawn(temperature: float, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count, 4), and targets that are drawn with the probabilities of logits / temperature."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((count, 4))
    cumulated = at_temperature(logits, temperature).cumsum(1)
    return logits, (rng.random((count, 1)) > cumulated).sum(1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_found(temperature):
    logits, targets = drawn(temperature)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(temperature, rel=0.05)
    around = [negative_log_likelihood(logits, targets, found * factor) for factor in (0.8, 1, 1.25)]
    assert around[1] < min(around[0], around[2])
    assert reliability(at_temperature(logits, found), targets).error < 0.01
    assert reliability(at_temperature(logits, 0.3 * found), targets).error > 0.05  # overconfident


def test_answers_that_are_all_right_do_not_make_the_temperature_vanish():
    logits = np.array([[5.0, 0.0], [0.0, 4.0]])
    assert 0.04 < fit_temperature(logits, np.array([0, 1])) < 0.1


def test_temperature_changes_no_order():
    logits, _ = drawn(1.0, count=100)
    assert (at_temperature(logits, 7.0).argsort(1) == logits.argsort(1)).all()
    assert at_temperature(logits, 1.0) == pytest.approx(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))

"""Results of finished runs in one file, and the table made of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from testing.collect import collect, load_collected_table, main
from testing.evaluate import evaluate
from utils.errors import UserError
from utils.metrics import History


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory) -> Path:
    """An evaluated run, not to be changed."""
    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("collected") / trained.name))
    evaluate(copy, progress=False)
    return copy


@pytest.fixture
def some_runs(evaluated, tmp_path) -> list[Path]:
    """Four runs: two activations × two seeds, with accuracies 0.5, 0.6 (sin) and 0.8, 0.8 (KAF)."""
    made = []
    settings = [("sin", 0, 0.5), ("sin", 1, 0.6), ("KAF", 0, 0.8), ("KAF", 1, 0.8)]
    for number, (activation, seed, accuracy) in enumerate(settings):
        run = Path(shutil.copytree(evaluated, tmp_path / f"CkTIM_TAB2_seed{seed}_{number}"))
        text = (run / "parameters.txt").read_text()
        text = text.replace("seed: 0", f"seed: {seed}").replace("af_type: sin", f"af_type: {activation}")
        (run / "parameters.txt").write_text(text)
        metrics = json.loads((run / "CkTIM_test_metrics.json").read_text())
        (run / "CkTIM_test_metrics.json").write_text(json.dumps({**metrics, "accuracy": [accuracy]}))
        made.append(run)
    return made


def test_a_row_holds_what_the_files_of_a_run_say(evaluated):
    collected = collect([evaluated])
    (row,) = collected["runs"]
    test = json.loads((evaluated / "CkTIM_test_metrics.json").read_text())
    validation = History.load(evaluated / "validation_metrics.json")
    best = int(np.argmin(validation["loss"]))
    assert row["run"] == evaluated.name and row["model"] == "CkTIM" and row["seed"] == 0
    assert row["corpus"] == "EMOVO" and row["protocol"] == "holdout"
    assert row["best_epoch"] == validation["epoch"][best] + 1
    for score in ("accuracy", "uar", "recall", "precision", "f1_score"):
        assert row["test"][score] == test[score][0]
        assert row["validation"][score] == validation[score][best]
    assert row["trainable_parameters"] == test["trainable_parameters"][0]
    assert collected["settings"]["model.n_filter"] == 8
    assert not any("root" in key or "dir" in key for key in collected["settings"])  # no path of a machine


def test_the_table_brings_seeds_together_and_names_what_differs(some_runs, tmp_path, capsys):
    file = tmp_path / "activations.json"
    main([*map(str, some_runs), "--json", str(file)])
    collected = json.loads(file.read_text(encoding="utf-8"))
    assert [row["settings"] for row in collected["runs"]] == 2 * [{"model.af_type": "sin"}] + 2 * [
        {"model.af_type": "KAF"}
    ]
    table = load_collected_table(file, "Activations")
    assert [(row["af_type"], row["runs"], row["test"]) for row in table.rows] == [
        ("sin", "2", "55.0 ± 7.1"),
        ("KAF", "2", "80.0 ± 0.0"),
    ]
    assert table.caption == "Activations (EMOVO corpus, holdout)"
    assert f"{collected['runs'][0]['trainable_parameters']:,}" == table.rows[0]["parameters"]
    assert "55.0 ± 7.1" in capsys.readouterr().out


def test_other_corpora_and_protocols_are_other_rows(some_runs, tmp_path):
    split = json.loads((some_runs[1] / "split.json").read_text())
    (some_runs[1] / "split.json").write_text(json.dumps({**split, "protocol": "kfold"}))
    main([*map(str, some_runs[:2]), "--json", str(tmp_path / "both.json")])
    rows = load_collected_table(tmp_path / "both.json", "Both").rows
    assert [(row["test set"], row["test"]) for row in rows] == [
        ("EMOVO corpus, holdout", "50.0"),
        ("EMOVO corpus, kfold", "60.0"),
    ]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("CkTIM_test_metrics.json", r"no test metrics: .*python -m testing.evaluate .*seed0"),
        ("validation_metrics.json", "no validation metrics"),
        ("parameters.txt", "no configuration"),
    ],
)
def test_what_is_not_finished_is_refused(some_runs, tmp_path, capsys, file, message):
    (some_runs[0] / file).unlink()
    with pytest.raises(UserError, match=message):
        collect(some_runs)
    with pytest.raises(SystemExit):
        main([*map(str, some_runs), "--json", str(tmp_path / "never.json")])
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "never.json").exists()


def test_a_missing_file_names_the_command_and_another_one_is_refused(tmp_path):
    table = load_collected_table(tmp_path / "none.json", "Results")
    assert not table.rows and "none.json" in str(table) and "python -m testing.collect" in str(table)
    (tmp_path / "other.json").write_text('{"hops": []}')
    with pytest.raises(UserError, match="not written by"):
        load_collected_table(tmp_path / "other.json", "Results")

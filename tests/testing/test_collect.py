"""Results of finished runs in one file, and the table made of it."""

import json
import shutil
from pathlib import Path

import pytest

from testing.collect import bring_together, collect, load_collected_tables, main, rows_of
from testing.evaluate import evaluate
from utils.errors import UserError
from utils.metrics import History, read_json


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
        metrics = read_json(run / "CkTIM_test_metrics.json")
        (run / "CkTIM_test_metrics.json").write_text(json.dumps({**metrics, "accuracy": [accuracy]}))
        made.append(run)
    return made


def test_a_row_holds_what_the_files_of_a_run_say(evaluated):
    collected = collect([evaluated])
    (row,) = collected["runs"]
    test = read_json(evaluated / "CkTIM_test_metrics.json")
    validation = History.load(evaluated / "validation_metrics.json")
    kept = len(validation) - 1  # train.keep is "last"
    assert row["run"] == evaluated.name and row["model"] == "CkTIM" and row["seed"] == 0
    assert row["corpus"] == "EMOVO" and row["protocol"] == "holdout"
    assert row["best_epoch"] == validation["epoch"][kept] + 1
    for score in ("accuracy", "uar", "recall", "precision", "f1_score"):
        assert row["test"][score] == test[score][0]
        assert row["validation"][score] == validation[score][kept]
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
    (table,) = load_collected_tables(file, "Activations")
    assert [(row["af_type"], row["seeds"], row["test"]) for row in table.rows] == [
        ("sin", "2", "55.0 ± 7.1"),
        ("KAF", "2", "80.0 ± 0.0"),
    ]
    assert table.caption == "Activations (EMOVO corpus, holdout)"
    assert f"{collected['runs'][0]['trainable_parameters']:,}" == table.rows[0]["parameters"]
    assert "55.0 ± 7.1" in capsys.readouterr().out


def test_other_corpora_and_protocols_are_other_tables(some_runs, tmp_path):
    split = read_json(some_runs[1] / "split.json")
    (some_runs[1] / "split.json").write_text(json.dumps({**split, "protocol": "kfold"}))
    main([*map(str, some_runs[:2]), "--json", str(tmp_path / "both.json")])
    tables = load_collected_tables(tmp_path / "both.json", "Both")
    assert [(table.caption, [row["test"] for row in table.rows]) for table in tables] == [
        ("Both (EMOVO corpus, holdout)", ["50.0"]),
        ("Both (EMOVO corpus, kfold)", ["60.0"]),
    ]


def test_folds_come_together_like_seeds_and_missing_ones_show(some_runs, tmp_path):
    """Two seeds × two of six folds are one row; those folds are of the recorded split, not of a setting."""
    for number, run in enumerate(some_runs):
        split = read_json(run / "split.json")
        folds = {"protocol": "leave_one_speaker_out", "fold": number // 2, "folds": 6}
        (run / "split.json").write_text(json.dumps({**split, **folds}))
        text = (run / "parameters.txt").read_text().replace("af_type: KAF", "af_type: sin")
        text = text.replace("fold: 0", f"fold: {number // 2}").replace("holdout", "leave_one_speaker_out")
        (run / "parameters.txt").write_text(text)
    main([*map(str, some_runs), "--json", str(tmp_path / "folds.json")])
    (table,) = load_collected_tables(tmp_path / "folds.json", "Folds")
    assert table.caption == "Folds (EMOVO corpus, leave_one_speaker_out, 6 folds)"
    (row,) = table.rows
    assert (row["seeds"], row["folds"], row["test"]) == ("2", "2 of 6", "67.5 ± 15.0")
    assert "over folds and seeds" in table.notes[0]


def test_rows_keep_all_they_say_when_they_are_taken_apart_and_brought_together(some_runs):
    collected = collect(some_runs)
    assert bring_together(rows_of(collected)) == collected
    assert bring_together(rows_of(collected)[:1])["runs"][0]["settings"] == {}


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
    (table,) = load_collected_tables(tmp_path / "none.json", "Results")
    assert not table.rows and "none.json" in str(table) and "python -m testing.collect" in str(table)
    (tmp_path / "other.json").write_text('{"hops": []}')
    with pytest.raises(UserError, match="not written by"):
        load_collected_tables(tmp_path / "other.json", "Results")

"""Runs brought together by their settings, and never across corpora or protocols."""

import json

import numpy as np
import pytest

from utils import comparison
from utils.comparison import find_trials, group_runs, mean_std, settings_in_words, titled
from utils.config import load_config
from utils.runs import PUBLISHED_CONFIG, flat, list_runs, read_run


@pytest.fixture
def groups(make_run):
    """Groups of all runs that make_run has written."""
    return lambda path: group_runs(list_runs(path.parent))


def test_seeds_of_the_same_settings_come_together(make_run, groups):
    for seed, accuracy in ((0, 0.6), (1, 0.7), (2, 0.8)):
        path = make_run(f"CkTIM_seed{seed}", accuracy=accuracy, train={"seed": seed, "device": "cpu"})
    make_run("CkTIM_other", train={"seed": 3, "learning_rate": 0.5})
    one, other = groups(path)
    assert sorted(len(group.runs) for group in (one, other)) == [1, 3]
    whole = max(one, other, key=lambda group: len(group.runs))
    assert whole.values("accuracy").tolist() == [0.6, 0.7, 0.8]
    assert mean_std(whole.values("accuracy")) == "70.0 ± 10.0"


def test_paths_and_devices_keep_no_runs_apart(make_run, groups):
    make_run("CkTIM_a", train={"seed": 0, "device": "cpu"}, data={"root": "here"})
    path = make_run("CkTIM_b", train={"seed": 1, "device": "cuda"}, data={"root": "there"})
    assert len(groups(path)) == 1


def test_of_one_seed_the_later_run_counts_and_rather_an_evaluated_one(make_run, groups):
    make_run("CkTIM_seed0_2026-01-01", accuracy=0.3)
    make_run("CkTIM_seed0_2026-01-02", accuracy=0.4)
    path = make_run("CkTIM_seed0_2026-01-03", tested=False)
    (group,) = groups(path)
    assert [run.name for run in group.runs] == ["CkTIM_seed0_2026-01-02"]


@pytest.mark.parametrize("other", [{"corpus": "demo"}, {"protocol": "leave_one_speaker_out"}])
def test_corpora_and_protocols_never_mix(make_run, groups, other):
    make_run("CkTIM_a", train={"seed": 0})
    path = make_run("CkTIM_b", train={"seed": 1}, **other)
    found = groups(path)
    assert [len(group.runs) for group in found] == [1, 1]
    tables = comparison.performance_tables(found) + comparison.runs_tables(list_runs(path.parent))
    assert [len(table.rows) for table in tables] == [1, 1, 1, 1]
    assert sum(next(iter(other.values())) in table.caption for table in tables) == 2
    trials = find_trials(found, "train.num_epochs", (100,))
    assert all(
        len({run.corpus for group in trial.groups.values() for run in group.runs}) == 1 for trial in trials
    )


def test_runs_of_one_corpus_are_the_real_ones_where_there_are_any(make_run):
    demo = read_run(make_run("CkTIM_demo", corpus="demo"))
    real = read_run(make_run("CkTIM_real"))
    assert comparison.of_one_corpus([demo, real]) == [real]
    assert comparison.of_one_corpus([demo]) == [demo]


def test_a_run_without_configuration_stands_alone(make_run, groups):
    for seed in (0, 1):
        path = make_run(f"CkTIM_TAB1_seed{seed}")
        (path / "parameters.txt").unlink()
    assert [group.label for group in groups(path)] == ["CkTIM, 1 TAB"] * 2


def test_trials_hold_everything_else_equal(make_run, groups):
    for omega_0 in (24, 25, 50):
        path = make_run(f"CkTIM_{omega_0}", model={"omega_0": omega_0})
    make_run("CkTIM_elsewhere", model={"omega_0": 26}, train={"batch_size": 8})
    make_run("TIM", model={"omega_0": 26, "ck": False})
    (trial,) = find_trials(groups(path), "model.omega_0", (24, 25, 26), {"model.ck": True})
    assert list(trial.groups) == [24, 25, 50]
    assert trial.missing == (26,)
    assert trial.settings == "default"
    assert trial.network == "CkTIM, 1 TAB"


def test_a_trial_of_which_there_is_little_or_nothing_says_what_is_missing(make_run, groups):
    path = make_run("TIM", model={"ck": False, "n_temporal_aware_block": 3}, train={"num_epochs": 20})
    key = "model.n_temporal_aware_block"
    (trial,) = find_trials(groups(path), key, (1, 3, 6), {"model.ck": False})
    assert (list(trial.groups), trial.missing) == ([3], (1, 6))
    assert trial.settings == "default, train.num_epochs 20"
    (nothing,) = find_trials(groups(path), key, (1, 3, 6), {"model.ck": True})
    assert (nothing.groups, nothing.missing, nothing.network) == ({}, (1, 3, 6), "")


def test_settings_in_words():
    published = flat(load_config(PUBLISHED_CONFIG))
    default = flat(load_config(comparison.DEFAULT_CONFIG))
    assert settings_in_words(default) == "default"
    assert settings_in_words({**default, "train.seed": 5, "data.root": "x"}) == "default"
    assert settings_in_words(published) == "published"
    assert settings_in_words({**published, "model.ck": False}) == "published, model.ck false"
    assert settings_in_words({**published, "model.ck": False}, {"model.ck"}) == "published"


def test_equal_labels_get_their_settings(make_run, groups):
    make_run("a")
    make_run("b", train={"num_epochs": 20})
    path = make_run("c", model={"ck": False, "n_temporal_aware_block": 3, "aug": True})
    expected = {
        "CkTIM, 1 TAB (default)",
        "CkTIM, 1 TAB (default, train.num_epochs 20)",
        "TIM, 3 TABs, augmented",
    }
    assert set(titled(groups(path))) == expected


def test_mean_std():
    assert mean_std(np.array([])) == "–"
    assert mean_std(np.array([0.8125])) == "81.2"
    assert mean_std(np.array([0.8, 0.9])) == "85.0 ± 7.1"


def test_confusion_matrices_of_seeds_add_up(make_run, groups):
    make_run("a", accuracy=0.5, train={"seed": 0})
    path = make_run("b", accuracy=1.0, train={"seed": 1})
    (matrix,) = comparison.confusion_matrices(groups(path)).values()
    assert matrix.sum() == 140 and np.trace(matrix) == 105
    values, intervals = comparison.accuracies(groups(path))
    assert next(iter(values.values())).tolist() == [0.5, 1.0] and intervals == {}


def test_augmentation_table_puts_both_side_by_side(make_run, groups):
    make_run("plain", accuracy=0.6)
    path = make_run("augmented", accuracy=0.7, model={"aug": True})
    (row,) = comparison.augmentation_table(find_trials(groups(path), "model.aug", (False, True))).rows
    assert (row["plain"], row["augmented"]) == ("60.0", "70.0")


def test_published_figures_stand_beside_ours_of_the_same_settings(make_run, groups):
    published = load_config(PUBLISHED_CONFIG)
    sections = {name: getattr(published, name).model_dump() for name in ("features", "train", "model")}
    for seed, accuracy in ((0, 0.7), (1, 0.8)):
        sections["train"]["seed"] = seed
        path = make_run(f"CkTIM_published{seed}", accuracy=accuracy, **sections)
    make_run("CkTIM_default", accuracy=0.9, model={"n_temporal_aware_block": 6})
    make_run("CkTIM_demo", corpus="demo", accuracy=0.1, model={"n_temporal_aware_block": 3})
    rows = {row["run"]: row for row in comparison.published_table(RESULTS, groups(path)).rows}
    row = rows["CkTIM_TAB6"]
    assert (row["published: test"], row["validation"], row["training"]) == ("86.6", "58.6", "72.4")
    assert row["ours, published settings"] == "75.0 ± 7.1 (n = 2)"
    assert row["ours, default settings"] == "90.0"
    for name in ("CkTIM_TAB3", "CkTIM_omega_0_26", "TIM_TAB6"):
        assert rows[name]["ours, default settings"] == rows[name]["ours, published settings"] == "–"


RESULTS = comparison.load_published_results()


def test_published_results_are_those_of_the_published_directories(repository):
    root = repository / "../shared/published"
    if not root.exists():
        pytest.skip("the published run directories are not on disk")
    assert {run["name"] for run in RESULTS["runs"]} == {path.name for path in root.iterdir() if path.is_dir()}
    for run in RESULTS["runs"]:
        directory = read_run(root / run["name"])
        test = {key: values[0] for key, values in directory.test.items() if values and key != "model"}
        assert run["test"] == pytest.approx(test, rel=1e-5)
        best = int(np.argmin(directory.validation["loss"]))
        assert run["validation_accuracy"] == pytest.approx(directory.validation["accuracy"][best], rel=1e-5)
        assert run["training_accuracy"] == pytest.approx(directory.training["accuracy"][-1], rel=1e-5)
        assert run["settings"].items() <= directory.settings.items()


def test_every_table_of_a_mixed_lot_renders(make_run, groups):
    make_run("CkTIM_a", train={"seed": 0})
    make_run("CkTIM_untested", tested=False, model={"n_temporal_aware_block": 3})
    path = make_run("TIM_earlier", model={"ck": False})
    metrics = json.loads((path / "TIM_test_metrics.json").read_text())
    earlier = {
        key: metrics[key] for key in metrics if "interval" not in key and key not in ("uar", "emotions")
    }
    (path / "TIM_test_metrics.json").write_text(json.dumps(earlier))
    found = groups(path)
    for table in (
        *comparison.performance_tables(found),
        *comparison.runs_tables(list_runs(path.parent)),
        comparison.cost_table(found),
        comparison.published_table(RESULTS, found),
        comparison.published_details_table(RESULTS),
    ):
        assert len(str(table).splitlines()) > len(table.rows)

"""Runs brought together by their settings, and never across corpora or protocols."""

import json

import numpy as np
import pytest

from utils import comparison
from utils.comparison import find_trials, group_runs, mean_std, settings_in_words, titled
from utils.config import load_config
from utils.emotions import EMOTIONS
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


def test_what_is_missing_comes_with_the_command_that_makes_it(make_run, groups):
    path = make_run("TIM", model={"ck": False, "n_temporal_aware_block": 3}, train={"num_epochs": 20})
    key = "model.n_temporal_aware_block"
    (trial,) = find_trials(groups(path), key, (1, 3), {"model.ck": False})
    (command,) = trial.commands
    assert command.startswith("python -m training.train ") and "--config" not in command
    overrides = command.split()[3:]
    made = comparison.with_effect(flat(load_config(comparison.DEFAULT_CONFIG, overrides)))
    assert made == comparison.with_effect({**trial.groups[3].settings, key: 1})
    assert sorted(overrides) == ["model.ck=false", "train.num_epochs=20"]  # 1 TAB is the default
    (nothing,) = find_trials(groups(path), key, (1, 6), {"model.ck": True})
    assert nothing.commands == ("python -m training.train", f"python -m training.train {key}=6")
    published = {**flat(load_config(PUBLISHED_CONFIG)), "model.aug": True, "augment.gain_range": [0, 1]}
    assert comparison.training_command(published) == (
        "python -m training.train --config conf/published.yaml 'augment.gain_range=[0, 1]' model.aug=true"
    )
    speakers = {**flat(load_config(comparison.DEFAULT_CONFIG)), "data.protocol": "leave_one_speaker_out"}
    assert comparison.training_command(speakers).endswith(" data.protocol=leave_one_speaker_out")


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


def test_no_title_stands_for_two_groups(make_run, groups):
    for name in ("CkTIM_TAB1_mine", "CkTIM_TAB1_yours"):
        path = make_run(name)
        (path / "parameters.txt").unlink()
    assert set(titled(groups(path))) == {
        "CkTIM, 1 TAB (default)",
        "CkTIM, 1 TAB (default): CkTIM_TAB1_yours",
    }


def test_titles_name_the_protocol_where_several_are_shown(make_run, groups):
    make_run("a")
    path = make_run("b", protocol="leave_one_sentence_out")
    assert set(titled(groups(path))) == {"CkTIM, 1 TAB, holdout", "CkTIM, 1 TAB, leave_one_sentence_out"}


def test_mean_std():
    assert mean_std(np.array([])) == "–"
    assert mean_std(np.array([0.8125])) == "81.2"
    assert mean_std(np.array([0.8, 0.9])) == "85.0 ± 7.1"


def test_confusion_matrices_of_seeds_add_up(make_run, groups):
    make_run("a", accuracy=0.5, train={"seed": 0})
    path = make_run("b", accuracy=1.0, train={"seed": 1})
    (matrix,) = comparison.confusion_matrices(groups(path)).values()
    assert matrix.sum() == 140 and np.trace(matrix) == 105
    assert comparison.emotions_of(groups(path)) == list(EMOTIONS) == comparison.emotions_of([])
    values, intervals = comparison.accuracies(groups(path))
    assert next(iter(values.values())).tolist() == [0.5, 1.0] and intervals == {}


def test_augmentation_table_puts_both_side_by_side(make_run, groups):
    make_run("plain", accuracy=0.6)
    path = make_run("augmented", accuracy=0.7, model={"aug": True})
    make_run("kfold_plain", accuracy=0.8, protocol="kfold")
    make_run("kfold_augmented", accuracy=0.9, protocol="kfold", model={"aug": True})
    first, second = comparison.augmentation_tables(find_trials(groups(path), "model.aug", (False, True)))
    assert [(row["plain"], row["augmented"]) for row in first.rows] == [("60.0", "70.0")]
    assert [(row["plain"], row["augmented"]) for row in second.rows] == [("80.0", "90.0")]
    assert "holdout" in first.caption and "kfold" in second.caption


def test_plain_runs_stand_beside_every_kind_of_augmentation_and_are_not_kept_apart_by_it(make_run, groups):
    make_run("plain0", accuracy=0.6, train={"seed": 0}, augment={"mode": "online"})
    make_run("plain1", accuracy=0.7, train={"seed": 1})
    make_run("online", accuracy=0.8, model={"aug": True}, augment={"mode": "online"})
    path = make_run("offline", accuracy=0.9, model={"aug": True}, augment={"mode": "offline"})
    assert len(groups(path)) == 3
    (table,) = comparison.augmentation_tables(find_trials(groups(path), "model.aug", (False, True)))
    pairs = {(row["plain"], row["augmented"]) for row in table.rows}
    assert pairs == {("65.0 ± 7.1", "80.0"), ("65.0 ± 7.1", "90.0")}


def test_folds_are_repetitions_like_seeds(make_run, groups):
    """Means and deviations are over all of them, and a table says how many of the folds there are."""
    protocol = {"protocol": "leave_one_speaker_out", "folds": 6}
    for seed, fold, accuracy in ((0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.3), (1, 3, 0.5)):
        data = {"protocol": "leave_one_speaker_out", "fold": fold}
        sections = {"train": {"seed": seed}, "data": data, "fold": fold, "accuracy": accuracy, **protocol}
        make_run(f"CkTIM_{seed}_{fold}_2026-01-01", **sections)
    again = {"data": {"protocol": "leave_one_speaker_out"}, "fold": 0, "accuracy": 0.1, **protocol}
    make_run("CkTIM_0_0_2026-01-02", **again)
    path = make_run("CkTIM_holdout", accuracy=0.9)
    whole, single = sorted(groups(path), key=lambda group: -len(group.runs))
    assert [(run.settings["train.seed"], run.fold) for run in whole.runs] == [(0, 0), (0, 1), (1, 0), (1, 3)]
    assert whole.values("accuracy").tolist() == [0.1, 0.4, 0.3, 0.5]  # the later run of the first counts
    tables = {table.caption: table for table in comparison.performance_tables([whole, single])}
    table = tables["Test scores in % (EMOVO corpus, leave_one_speaker_out, 6 folds)"]
    (row,) = table.rows
    assert (row["seeds"], row["folds"], row["settings"]) == ("2", "3 of 6", "default")
    assert row["accuracy"] == mean_std(np.array([0.1, 0.4, 0.3, 0.5]))
    assert table.notes == ["± is the standard deviation over folds and seeds."]
    assert np.sum(next(iter(comparison.confusion_matrices([whole]).values()))) == 4 * 70
    assert len(comparison.cost_table([whole, single]).rows) == 1
    assert len(titled([whole, single])) == 2


def test_published_figures_stand_beside_holdouts_alone(make_run, groups):
    path = make_run("TIM", protocol="leave_one_speaker_out", folds=6, fold=0, model={"ck": False})
    rows = comparison.published_table(RESULTS, groups(path)).rows
    assert {row["ours, default settings"] for row in rows} == {"–"}


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
    as_published = [row[f"published {part}"] for part in ("test", "validation", "training")]
    assert as_published == ["86.6", "58.6", "72.4"]
    assert row["ours, published settings"] == "75.0 ± 7.1 (n = 2)"
    assert row["ours, default settings"] == "90.0"
    for name in ("CkTIM_TAB3", "CkTIM_omega_0_26", "TIM_TAB6"):
        assert rows[name]["ours, default settings"] == rows[name]["ours, published settings"] == "–"


def test_published_figures_stand_beside_trials_too_each_seed_once(make_run, groups):
    """A run counts once, whether it is a directory, a trial's row or both, where the trial's counts."""
    for seed, accuracy in ((0, 0.7), (1, 0.1)):
        path = make_run(f"CkTIM_{seed}", accuracy=accuracy, train={"seed": seed})
    settings = dict(groups(path)[0].settings)

    def row(seed, accuracy, **values):
        return {
            "corpus": "EMOVO",
            "protocol": "holdout",
            "seed": seed,
            "settings": settings,
            "test": {"accuracy": accuracy},
            **values,
        }

    trials = [
        row(1, 0.8),
        row(2, 0.9),
        row(2, 0.9),
        row(3, 0.2, protocol="kfold"),
        row(4, 0.2, corpus="demo"),
        row(5, 0.2, settings={**settings, "train.num_epochs": 7}),
        row(6, 0.6, settings={**settings, "model.omega_0": 26, "model.n_temporal_aware_block": 6}),
    ]
    rows = {row["run"]: row for row in comparison.published_table(RESULTS, groups(path), trials).rows}
    assert rows["CkTIM_TAB1"]["ours, default settings"] == "80.0 ± 10.0 (n = 3)"
    assert rows["CkTIM_omega_0_26"]["ours, default settings"] == "60.0"
    assert rows["TIM_TAB1"]["ours, default settings"] == "–"


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

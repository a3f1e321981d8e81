"""The DataFrame of runs and its tables: means, intervals and labels, never across corpora or protocols."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest

from utils.config import load_config
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.results import (
    COLUMNS,
    comparisons,
    comparisons_in_words,
    distinct,
    grouped,
    load_published_results,
    mean_std,
    of_one_corpus,
    own_trials,
    performance_tables,
    published_table,
    read_trial,
    runs_frame,
    settings_in_words,
    trial_command,
    trial_content,
    trial_tables,
    uar_by_corpus,
    uar_by_size,
    uar_table,
    with_effect,
)
from utils.runs import DEFAULT_CONFIG, PUBLISHED_CONFIG, flat, read_run
from utils.tables import NOTHING

CK1 = {"model.ck": True, "model.n_temporal_aware_block": 1}
TIM1 = {"model.ck": False, "model.n_temporal_aware_block": 1}
TIM3 = {"model.ck": False, "model.n_temporal_aware_block": 3}
RESULTS = load_published_results()


def frame_of(path) -> pd.DataFrame:
    """All runs that make_run has written; `path` is one of them."""
    return runs_frame(path.parent)


def test_a_run_directory_is_a_row(make_run):
    path = make_run("TIM_seed3", accuracy=0.8, train={"seed": 3}, model={"ck": False}, protocol="kfold")
    frame = frame_of(path)
    assert tuple(frame.columns) == COLUMNS
    (row,) = frame.itertuples()
    assert (row.run, row.trial, row.directory.path) == ("TIM_seed3", "", path)
    assert (row.network, row.tabs, row.seed, row.parameters) == ("TIM", 1, 3, 12345)
    assert (row.accuracy, row.intervals["accuracy"]) == (0.8, pytest.approx((0.7, 0.9)))
    assert row.validation_accuracy == 0.75 and row.best_epoch == 4  # the last of four epochs
    assert row.emotions == list(EMOTIONS)
    assert np.trace(row.confusion_matrix) == 56 and row.test_set == "EMOVO corpus, kfold"
    assert row.settings["model.ck"] is False and "train.seed" not in row.settings


def test_seeds_of_the_same_settings_come_together(make_run):
    for seed, accuracy in ((0, 0.6), (1, 0.7), (2, 0.8)):
        train = {"seed": seed, "device": "cpu"}
        make_run(f"CkTIM_seed{seed}", accuracy=accuracy, train=train, data={"root": f"place {seed}"})
    path = make_run("CkTIM_other", train={"seed": 3, "learning_rate": 0.5})
    whole, other = sorted(grouped(frame_of(path)).values(), key=len, reverse=True)
    assert whole.accuracy.tolist() == [0.6, 0.7, 0.8] and len(other) == 1
    (table,) = performance_tables(frame_of(path))
    assert {one["seeds"]: one["UAR"] for one in table.rows} == {"3": "70.0 ± 10.0", "1": "50.0 (40–60)"}
    assert "± is the standard deviation over seeds; each seed draws its own test set." in table.notes
    (each,) = performance_tables(frame_of(path), each_run=True)
    assert [row["run"] for row in each.rows] == ["CkTIM_other", "CkTIM_seed0", "CkTIM_seed1", "CkTIM_seed2"]


def test_of_one_seed_the_later_run_counts_and_rather_an_evaluated_one(make_run):
    make_run("CkTIM_seed0_2026-01-01", accuracy=0.3)
    make_run("CkTIM_seed0_2026-01-02", accuracy=0.4)
    path = make_run("CkTIM_seed0_2026-01-03", tested=False)
    assert distinct(frame_of(path)).run.tolist() == ["CkTIM_seed0_2026-01-02"]
    assert len(frame_of(path)) == 3


OTHERS = [{"corpus": "demo"}, {"protocol": "leave_one_speaker_out"}, {"partition": "emobox.csv"}]


@pytest.mark.parametrize("other", OTHERS)
def test_corpora_and_protocols_never_mix(make_run, other):
    make_run("CkTIM_a", train={"seed": 0})
    frame = frame_of(make_run("CkTIM_b", train={"seed": 1}, **other))
    assert [len(group) for group in grouped(frame).values()] == [1, 1]
    tables = performance_tables(frame)
    assert [len(table.rows) for table in tables] == [1, 1]
    assert sum(next(iter(other.values())) in table.caption for table in tables) == 1


def test_runs_of_one_corpus_are_the_real_ones_where_there_are_any(make_run):
    frame = frame_of(make_run("CkTIM_demo", corpus="demo"))
    assert of_one_corpus(frame).run.tolist() == ["CkTIM_demo"]
    frame = frame_of(make_run("CkTIM_real"))
    assert of_one_corpus(frame).run.tolist() == ["CkTIM_real"]
    assert of_one_corpus(frame, "demo").run.tolist() == ["CkTIM_demo"]
    with pytest.raises(UserError, match="no run on folder-mine, but on EMOVO, demo"):
        of_one_corpus(frame, "folder-mine")


def test_commands_take_the_corpus_of_the_runs_that_are_shown(make_run):
    data = {"corpus": "folder", "root": "my recordings", "emotions": ["Freude", "müde"]}
    path = make_run("CkTIM_mine", corpus="folder-mine", data=data, features={"signal_length": 44_100})
    runs = [read_run(path)]
    command = shlex.split(trial_command(path.parent / "omega_0.json", runs))
    assert command[:4] == ["python", "-m", "training.trials", "conf/trials/omega_0.yaml"]
    config = load_config(DEFAULT_CONFIG, command[4:])
    assert (config.data.corpus, str(config.data.root)) == ("folder", "my recordings")
    assert config.data.emotions == ["Freude", "müde"] and config.features.signal_length == 44_100
    assert config.train.results_dir == path.parent
    assert trial_command("omega_0.json") == "python -m training.trials conf/trials/omega_0.yaml"


def test_own_trials_are_those_with_other_names(make_run, collected):
    path = make_run("CkTIM_mine")
    for name in ("my_grid", "omega_0"):
        (path.parent / f"{name}.json").write_text(json.dumps(collected))
    assert own_trials(frame_of(path)) == ["my_grid"]


def test_runs_without_configuration_stand_alone(make_run):
    for name in ("CkTIM_TAB1_mine", "CkTIM_TAB1_yours"):
        path = make_run(name)
        (path / "parameters.txt").unlink()
    assert set(grouped(frame_of(path))) == {"CkTIM with 1 TAB", "CkTIM with 1 TAB: CkTIM_TAB1_yours"}


def test_labels_name_the_settings_that_vary_and_the_protocol_where_there_are_several(make_run):
    make_run("a")
    make_run("b", train={"num_epochs": 20})
    path = make_run("c", model={"ck": False, "n_temporal_aware_block": 3, "aug": True})
    labels = set(grouped(frame_of(path)[lambda frame: frame.run != "c"]))
    assert labels == {"CkTIM with 1 TAB, train.num_epochs = 100", "CkTIM with 1 TAB, train.num_epochs = 20"}
    assert any(one.startswith("TIM with 3 TABs, ") for one in grouped(frame_of(path)))
    frame = frame_of(make_run("d", protocol="leave_one_sentence_out"))
    some = frame[frame.run.isin(["a", "d"])]
    assert set(grouped(some)) == {"CkTIM with 1 TAB (holdout)", "CkTIM with 1 TAB (leave_one_sentence_out)"}


def test_a_change_of_augmentation_keeps_no_plain_runs_apart(make_run):
    make_run("plain0", train={"seed": 0}, augment={"mode": "online"})
    make_run("plain1", train={"seed": 1})
    make_run("online", model={"aug": True}, augment={"mode": "online"})
    frame = frame_of(make_run("offline", model={"aug": True}, augment={"mode": "offline"}))
    assert sorted(len(group) for group in grouped(frame).values()) == [1, 1, 2]


def test_folds_are_repetitions_like_seeds(make_run):
    protocol = {"protocol": "leave_one_speaker_out", "folds": 6}
    for seed, fold, accuracy in ((0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.3), (1, 3, 0.5)):
        data = {"protocol": "leave_one_speaker_out", "fold": fold}
        sections = {"train": {"seed": seed}, "data": data, "fold": fold, "accuracy": accuracy, **protocol}
        make_run(f"CkTIM_{seed}_{fold}_2026-01-01", **sections)
    again = {"data": {"protocol": "leave_one_speaker_out"}, "fold": 0, "accuracy": 0.1, **protocol}
    path = make_run("CkTIM_0_0_2026-01-02", **again)
    whole = distinct(frame_of(path))
    assert list(zip(whole.seed, whole.fold, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 3)]
    assert whole.accuracy.tolist() == [0.1, 0.4, 0.3, 0.5]  # the later run of the first counts
    (table,) = performance_tables(frame_of(path))
    assert table.caption == "Test scores in % (EMOVO corpus, leave_one_speaker_out, 6 folds)"
    (row,) = table.rows
    assert (row["seeds"], row["folds"], row["settings"]) == ("2", "3 of 6", "default")
    assert row["UAR"] == mean_std([0.1, 0.4, 0.3, 0.5])
    assert "± is the standard deviation over folds and seeds." in table.notes


def test_metrics_of_earlier_runs_have_fewer_columns(make_run):
    path = make_run("TIM_earlier", model={"ck": False})
    make_run("CkTIM_untested", tested=False)
    metrics = json.loads((path / "TIM_test_metrics.json").read_text())
    kept = {key: metrics[key] for key in metrics if "interval" not in key and key not in ("uar", "emotions")}
    (path / "TIM_test_metrics.json").write_text(json.dumps(kept))
    (table,) = performance_tables(frame_of(path))
    (row,) = table.rows
    assert (row["accuracy"], row["UAR"], row["parameters"]) == ("50.0", "–", "12,345")
    nothing = of_one_corpus(runs_frame(path / "nothing"))
    assert performance_tables(nothing) == [] and len(distinct(nothing)) == 0
    assert {row["ours, default settings"] for row in published_table(RESULTS, nothing).rows} == {"–"}


def test_settings_in_words():
    published, default = flat(load_config(PUBLISHED_CONFIG)), flat(load_config(DEFAULT_CONFIG))
    assert settings_in_words(default) == "default"
    assert settings_in_words({**default, "train.seed": 5, "data.root": "x"}) == "default"
    assert settings_in_words(published) == "published"
    assert settings_in_words({**published, "model.ck": False}) == "published, model.ck false"
    assert settings_in_words({**published, "model.ck": False}, {"model.ck"}) == "published"


def test_mean_std():
    assert mean_std([]) == mean_std([float("nan")]) == "–"
    assert mean_std([0.8125]) == "81.2"
    assert mean_std(np.array([0.8, 0.9])) == "85.0 ± 7.1"


def test_published_figures_stand_beside_ours_of_the_same_settings(make_run):
    published = load_config(PUBLISHED_CONFIG)
    sections = {name: getattr(published, name).model_dump() for name in ("features", "train", "model")}
    for seed, accuracy in ((0, 0.7), (1, 0.8)):
        sections["train"]["seed"] = seed
        make_run(f"CkTIM_published{seed}", accuracy=accuracy, **sections)
    make_run("CkTIM_default", accuracy=0.9, model={"n_temporal_aware_block": 6})
    make_run("CkTIM_demo", corpus="demo", accuracy=0.1, model={"n_temporal_aware_block": 3})
    path = make_run("TIM", protocol="leave_one_speaker_out", folds=6, fold=0, model={"ck": False})
    rows = {row["run"]: row for row in published_table(RESULTS, frame_of(path)).rows}
    row = rows["CkTIM_TAB6"]
    assert [row[part] for part in ("published test", "validation", "training")] == ["86.6", "58.6", "72.4"]
    assert row["ours, published settings"] == "75.0 ± 7.1 (n = 2)"
    assert row["ours, default settings"] == "90.0"
    for name in ("CkTIM_TAB3", "CkTIM_omega_0_26", "TIM_TAB6", "TIM_TAB1"):
        assert rows[name]["ours, default settings"] == rows[name]["ours, published settings"] == "–"


def test_of_a_seed_the_trials_run_counts_and_each_only_once(make_run, collected):
    for seed, accuracy in ((0, 0.7), (1, 0.1)):
        path = make_run(f"CkTIM_{seed}", accuracy=accuracy, train={"seed": seed})
    settings = with_effect(flat(load_config(DEFAULT_CONFIG)))
    rows = [row({}, 1, 0.8), row({}, 2, 0.9), row({}, 3, 0.2, protocol="kfold")]
    rows += [row({}, 4, 0.2, corpus="demo"), row({"train.num_epochs": 7}, 5, 0.2)]
    content = {**collected, "settings": settings, "runs": rows}
    for name in ("one", "two"):
        (path.parent / f"{name}.json").write_text(json.dumps(content))
    frame = frame_of(path)
    assert set(frame.trial) == {"", "one", "two"} and len(frame) == 2 + 2 * 5
    found = {row["run"]: row for row in published_table(RESULTS, frame).rows}
    assert found["CkTIM_TAB1"]["ours, default settings"] == "80.0 ± 10.0 (n = 3)"
    assert found["TIM_TAB1"]["ours, default settings"] == "–"


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


def row(settings: dict, seed: int, accuracy: float, **values) -> dict:
    name = "CkTIM" if settings.get("model.ck", True) else "TIM"
    scores = {"accuracy": accuracy, "uar": accuracy - 0.01}
    common = {"corpus": "EMOVO", "protocol": "holdout", "fold": None, "folds": None}
    row = {"run": f"{name}_{seed}", "model": name, **common, "seed": seed, "settings": settings}
    return row | {"validation": scores, "test": scores, "trainable_parameters": 1234} | values


@pytest.fixture
def collected() -> dict:
    """CkTIM with 1 TAB 1 to 6 points ahead of TIM with 3; TIM with 1 has five runs, level with it."""
    rows = [row(CK1, seed, 0.7 + 0.01 * (seed + 1)) for seed in range(6)]
    rows += [row(TIM3, seed, 0.7) for seed in range(6)]
    rows += [row(TIM1, seed, 0.7 + 0.01 * (seed + 1)) for seed in range(5)]
    about = {"name": "tabs", "title": "TABs", "planned": 18, "failed": {"TIM_5": "loss"}}
    compare = {"fewer": [[CK1, TIM3]], "equal": [[CK1, TIM1], [{"model.omega_0": 3}, TIM1]]}
    return {"trial": {**about, "compare": compare}, "settings": {"model.omega_0": 25.0}, "runs": rows}


@pytest.fixture
def trial(tmp_path, collected):
    """Write the trial's file with other content, and read it: trial(runs=[…], settings={…})."""

    def read(**changes) -> pd.DataFrame:
        (tmp_path / "tabs.json").write_text(json.dumps({**collected, **changes}))
        return read_trial(tmp_path / "tabs.json")

    return read


def test_runs_make_a_file_that_reads_back_as_the_same_rows(make_run, tmp_path):
    for seed, fold in ((0, 1), (1, 2)):
        data = {"protocol": "kfold", "fold": fold}
        split = {"fold": fold, "folds": 10, "protocol": "kfold"}
        path = make_run(f"CkTIM_{seed}", train={"seed": seed}, data=data, **split)
    make_run("TIM", model={"ck": False})
    about = {"name": "some", "title": "some", "planned": 3, "failed": {}, "compare": {}}
    content = trial_content(about, [read_run(one) for one in sorted(path.parent.iterdir())])
    assert [row["settings"] for row in content["runs"]] == [{"model.ck": True}] * 2 + [{"model.ck": False}]
    (tmp_path / "some.json").write_text(json.dumps(content))
    found, expected = read_trial(tmp_path / "some.json"), frame_of(path)
    for name in ("run", "key", "seed", "fold", "folds", "settings", "accuracy", "validation_accuracy"):
        pd.testing.assert_series_equal(found[name], expected[name])
    untested = read_run(make_run("CkTIM_untested", tested=False))
    with pytest.raises(UserError, match="CkTIM_untested is not whole: it lacks its test"):
        trial_content(about, [untested])


def test_a_trial_s_file_has_the_scores_of_each_corpus(make_run, collected):
    path = make_run("CkTIM_a", corpus="EMOVO+RAVDESS")
    (file,) = path.glob("*_test_metrics.json")
    several = {"corpora": ["EMOVO", "RAVDESS"], "utterances_per_corpus": [30, 40]}
    several |= {"accuracy_per_corpus": [0.5, 0.25], "uar_per_corpus": [0.4, 0.2]}
    file.write_text(json.dumps(json.loads(file.read_text()) | several))
    (row,) = trial_content(collected["trial"], [read_run(path)])["runs"]
    assert row["corpora"] == {
        "EMOVO": {"utterances": 30, "accuracy": 0.5, "uar": 0.4},
        "RAVDESS": {"utterances": 40, "accuracy": 0.25, "uar": 0.2},
    }
    assert "corpora" not in trial_content(collected["trial"], [read_run(make_run("CkTIM_b"))])["runs"][0]


def test_uar_by_corpus_takes_the_parts_of_a_test_on_several(trial):
    parts = [{"A": {"uar": 0.3, "utterances": 5}, "B": {"uar": 0.5, "utterances": 7}}] * 2
    parts[1] = {**parts[1], "A": {"uar": 0.4, "utterances": 5}}
    speaker = {**CK1, "features.normalise": "speaker"}
    rows = [row(CK1, seed, 0.7, corpora=parts[seed]) for seed in range(2)]
    rows += [row(speaker, 0, 0.7, corpora=parts[1]), row(TIM3, 0, 0.8, corpus="B"), row(CK1, 0, 0.9)]
    rows += [row(TIM3, 0, 0.6, corpus="B", protocol="partition emobox.csv")]
    rows += [row({**TIM3, "data.labels": "heard"}, 0, 0.4, corpus="B")]
    found = uar_by_corpus(trial(runs=rows))
    assert found == {
        "A": {"CkTIM with 1 TAB, all corpora": [0.3, 0.4], "CkTIM with 1 TAB, all corpora, enrolled": [0.4]},
        "B": {
            "CkTIM with 1 TAB, all corpora": [0.5, 0.5],
            "CkTIM with 1 TAB, all corpora, enrolled": [0.5],
            "TIM with 3 TABs": [pytest.approx(0.79)],
            "TIM with 3 TABs, partition": [pytest.approx(0.59)],
            "TIM with 3 TABs, listeners' labels": [pytest.approx(0.39)],
        },
        "EMOVO": {"CkTIM with 1 TAB": [pytest.approx(0.89)]},
    }
    table = uar_table(found, "Unknown speakers")
    assert table.rows[0] == {
        "network": "CkTIM with 1 TAB, all corpora",
        "A": "35.0 ± 7.1",
        "B": "50.0 ± 0.0",
        "EMOVO": NOTHING,
    }
    assert [one["network"] for one in table.rows][-1] == "CkTIM with 1 TAB"


def test_uar_by_size_takes_the_folds_that_every_network_and_size_has(trial):
    small = {"data.training_utterances": 500}
    rows = [row(CK1, 0, 0.5, fold=fold) for fold in range(3)] + [
        row(TIM3, 0, 0.6, fold=fold) for fold in range(3)
    ]
    fewer = [row({**CK1, **small}, 0, 0.3, fold=fold) for fold in range(2)]
    fewer += [row({**TIM3, **small}, 0, 0.4, fold=fold) for fold in (1, 0)]
    found = uar_by_size(trial(runs=rows), trial(runs=fewer))
    assert [*found] == ["500", "all"]
    for size, ck, tim in (("500", 0.3, 0.4), ("all", 0.5, 0.6)):
        assert [*found[size]] == ["CkTIM with 1 TAB", "TIM with 3 TABs"]
        assert [len(values) for values in found[size].values()] == [2, 2]
        assert [values[0] for values in found[size].values()] == pytest.approx([ck - 0.01, tim - 0.01])


def test_old_keys_read_as_todays(trial, collected):
    about = {**collected["trial"], "compare": {"x": [[{"features.by_speaker": True}, {"model.ck": False}]]}}
    old = {"features.by_speaker": True, "features.by_sentence": False}
    frame = trial(trial=about, runs=[row(old, 0, 0.5)])
    assert frame.settings[0] == {"model.omega_0": 25.0, "features.normalise": "speaker"}
    assert frame.attrs["trial"]["compare"]["x"][0][0] == {"features.normalise": "speaker"}


def test_the_tables_hold_means_intervals_and_comparisons(trial):
    scores, fewer, equal = trial_tables(trial())
    first, second, _ = scores.rows
    assert scores.caption == "TABs (EMOVO corpus, holdout)"
    # mean 73.5, std 1.8708, t(0.975, 5) = 2.5706: ± 1.9633
    assert (first["accuracy"], first["accuracy: 95 % interval"]) == ("73.5 ± 1.9", "71.5 – 75.5")
    assert (second["setting"], second["accuracy"], second["runs"]) == ("TIM with 3 TABs", "70.0 ± 0.0", "6")
    assert (second["UAR"], second["parameters"]) == ("69.0 ± 0.0", "1,234")
    assert "1 of the 18 planned runs missing, 1 of them failed." in scores.notes
    assert list(fewer.rows[0].values()) == [
        *("CkTIM with 1 TAB", "TIM with 3 TABs", "6", "+3.5", "+1.5 to +5.5", "0.031", "+1.00"),
    ]
    assert fewer.caption == "fewer (EMOVO corpus, holdout)"
    assert len(equal.rows) == 1  # of the other pair there is no run


def test_accuracy_has_no_columns_where_it_is_the_uar(trial):
    (table,) = trial_tables(trial(runs=[row(CK1, 0, 0.7, test={"accuracy": 0.7, "uar": 0.7})]))
    assert "accuracy" not in table.rows[0] and table.notes[0].startswith("UAR, which is also the accuracy")


def test_pairs_are_of_the_same_seed_and_fold_whatever_the_order(trial, collected):
    expected = comparisons(trial())["fewer"]
    mixed = [collected["runs"][index] for index in np.random.default_rng(0).permutation(17)]
    assert comparisons(trial(runs=mixed))["fewer"] == expected
    runs = [row(CK1, seed, 0.9) for seed in (0, 1, 2)] + [row(TIM3, seed, 0.8) for seed in (2, 3)]
    ((*_, one),) = comparisons(trial(runs=runs))["fewer"]
    assert one.n == 1 and one.difference == pytest.approx(0.1)
    where = {"protocol": "kfold", "folds": 6}
    runs = [row(CK1, 0, 0.71 + 0.01 * fold, fold=fold, **where) for fold in range(6)]
    runs += [row(TIM3, 0, 0.7, fold=fold, **where) for fold in range(6)]
    ((*_, one),) = comparisons(trial(runs=runs))["fewer"]
    assert one.n == 6 and one.p == pytest.approx(2 / 64)


def test_omega_0_is_named_and_in_order_where_nothing_else_varies(trial, collected):
    omega = [{"model.omega_0": value} for value in (25.0, 100.0, 24.0)]
    runs = [row(one, seed, 0.8) for one in omega for seed in range(3)]
    about = {**collected["trial"], "compare": {"omega": [[omega[2], omega[0]]]}}
    frame = trial(trial=about, settings={"model.ck": True, "model.n_temporal_aware_block": 6}, runs=runs)
    assert list(grouped(frame)) == [f"CkTIM with 6 TABs, ω₀ = {value}" for value in (24, 25, 100)]
    ((sentence,),) = comparisons_in_words(frame).values()
    assert sentence.startswith("CkTIM with 6 TABs, ω₀ = 24 and CkTIM with 6 TABs, ω₀ = 25 are level (")
    assert "too few pairs" in sentence


def test_where_much_varies_labels_say_what_differs_from_the_first(trial):
    first = {**CK1, "train.keep": "last", "model.pooling": "mean", "model.omega_0": 1, "train.patience": 5}
    changes = ({}, {"train.keep": "best"}, {"model.omega_0": 2, "train.patience": 6}, {"model.pooling": "x"})
    changes += ({"model.pooling": "x", "model.omega_0": 2, "train.keep": "best", "train.patience": 6},)
    frame = trial(settings={}, runs=[row({**first, **change}, 0, 0.7) for change in changes])
    assert list(grouped(frame)) == [
        "CkTIM with 1 TAB",
        "CkTIM with 1 TAB, train.keep = best",
        "CkTIM with 1 TAB, ω₀ = 2, train.patience = 6",
        "CkTIM with 1 TAB, model.pooling = x",
        "CkTIM with 1 TAB, train.keep = best, model.pooling = x, ω₀ = 2, and 1 more",
    ]


def test_a_side_that_fits_several_settings_is_refused(trial, collected):
    frame = trial(trial={**collected["trial"], "compare": {"some": [[{"model.ck": False}, CK1]]}})
    with pytest.raises(UserError, match=r"fits several settings .*TIM with 3 TABs, TIM with 1 TAB"):
        comparisons(frame)


def test_a_missing_file_names_the_command_and_another_one_is_refused(tmp_path, make_run, capsys):
    with pytest.raises(UserError, match=r"training\.trials conf/trials/omega_0\.yaml"):
        read_trial(tmp_path / "omega_0_demo.json")
    path = make_run("CkTIM_a")
    for content in ('{"runs": []}', "[]", '{"trial": 3, "runs": [3], "settings": {}}'):
        (path.parent / "other.json").write_text(content)
        with pytest.raises(UserError, match="not written by"):
            read_trial(path.parent / "other.json")
        assert len(frame_of(path)) == 1 and "left out: " in capsys.readouterr().err


def test_a_trial_and_one_of_further_seeds_are_one(tmp_path, trial, collected):
    rows = [row(CK1, seed, 0.8) for seed in range(6, 12)] + [row(TIM3, seed, 0.7) for seed in range(6, 12)]
    about = {"name": "more", "title": "more seeds", "planned": 12, "failed": {}}
    about["compare"] = {"again": [[CK1, TIM3]]}
    trial()
    (tmp_path / "more.json").write_text(json.dumps({**collected, "trial": about, "runs": rows}))
    both = read_trial(tmp_path / "tabs.json", tmp_path / "more.json")
    sizes = {label: len(group) for label, group in grouped(both).items()}
    assert sizes == {"CkTIM with 1 TAB": 12, "TIM with 3 TABs": 12, "TIM with 1 TAB": 5}
    ((_, _, one),) = comparisons(both)["again"]
    assert one.n == 12 and one.p == pytest.approx(2 / 2**12)  # all of twelve pairs on one side
    assert one.difference == pytest.approx((sum(range(1, 7)) + 6 * 10) / 1200)
    twice = read_trial(tmp_path / "tabs.json", tmp_path / "tabs.json")
    assert len(twice) == len(read_trial(tmp_path / "tabs.json"))
    scores, again = trial_tables(both)
    assert scores.caption == "TABs, with more seeds (EMOVO corpus, holdout)"
    assert "1 of the 30 planned runs missing, 1 of them failed." in scores.notes
    assert again.rows[0]["p"] == "< 0.001"


def test_the_committed_trials_are_whole(repository):
    """And none is about settings that today's configuration does not know."""
    known = flat(load_config(DEFAULT_CONFIG))
    for path in (repository / "training/results").glob("*.json"):
        frame = read_trial(path)
        assert len(frame) == frame.attrs["trial"]["planned"], path
        assert all(settings.keys() <= known.keys() for settings in frame.settings), path
        assert (repository / f"conf/trials/{path.stem}.yaml").exists()

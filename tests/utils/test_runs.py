"""Run directories: their names, what they hold, and what is wrong with them."""

import json
import os
from datetime import datetime

import pytest

from utils.config import Config, ConfigError
from utils.errors import UserError
from utils.metrics import MetricsError
from utils.runs import (
    check_agreement,
    create_run_dir,
    flat,
    list_runs,
    name_tells,
    newest_run,
    read_parameters,
    read_run,
    read_test_metrics,
    run_name,
)

NOW = datetime(2026, 1, 31, 14, 5, 59)


@pytest.mark.parametrize(
    ("model", "protocol", "corpus", "name"),
    [
        ({"n_temporal_aware_block": 6}, "holdout", "EMOVO", "CkTIM_TAB6_seed3"),
        ({"ck": False}, "holdout", "demo", "TIM_demo_TAB1_seed3"),
        ({"generator_type": "convKan"}, "kfold", "a_fold3", "CkkTIM_a-fold3_TAB1_kfold_fold4_seed3"),
        ({"ck": False}, "speaker_kfold", "EMOVO", "TIM_TAB1_speaker_kfold_fold4_seed3"),
        ({"aug": True}, "leave_one_speaker_out", "EMOVO", "CkTIM_aug_TAB1_leave_one_speaker_out_fold4_seed3"),
    ],
)
def test_a_name_holds_settings_that_are_read_from_it(model, protocol, corpus, name):
    data = {} if protocol == "holdout" else {"protocol": protocol, "fold": 4}
    config = Config(model=model, train={"seed": 3}, data=data)
    assert run_name(config, corpus, NOW) == f"{name}_2026-01-31_14-05-59"
    told = name_tells(name)
    assert told.items() <= flat(config).items() and data.keys() <= {key[5:] for key in told}


def test_two_runs_of_the_same_second_get_two_directories(tmp_path):
    config = Config(train={"results_dir": tmp_path / "results"})
    made = [create_run_dir(config, "EMOVO") for _ in range(5)]
    assert len(set(made)) == 5
    assert all(path.is_dir() and path.parent == tmp_path / "results" for path in made)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("TIM", {"ck": False}),
        ("CkTIM_TAB3", {"ck": True, "generator_type": "conv", "n_temporal_aware_block": 3}),
        ("CkkTIM_aug", {"ck": True, "generator_type": "convKan", "aug": True}),
        ("CkTIM_omega_0_24", {"ck": True, "generator_type": "conv", "omega_0": 24}),
        ("TIM_demo_TAB6_seed12_2026-01-31_14-05-59", {"ck": False, "n_temporal_aware_block": 6, "seed": 12}),
        ("my_TIM_run", {"ck": False}),
        ("OPTIMUM_TAB3", {}),
        ("August", {}),
    ],
)
def test_what_a_name_tells(name, told):
    keys = {key: f"{'train' if key == 'seed' else 'model'}.{key}" for key in told}
    assert name_tells(name) == {keys[key]: value for key, value in told.items()}


def test_a_run_reads_back(make_run):
    run = read_run(make_run("CkTIM_TAB2_seed1", accuracy=0.8, model={"n_temporal_aware_block": 2}))
    assert (run.corpus, run.protocol, run.network) == ("EMOVO", "holdout", "CkTIM")
    assert run.config.model.n_temporal_aware_block == run.settings["model.n_temporal_aware_block"] == 2
    assert len(run.training) == len(run.validation) == 4
    assert run.test["accuracy"] == [0.8]
    assert not run.has_weights


def test_a_run_tells_its_fold_and_one_without_reads_too(make_run):
    run = read_run(make_run("CkTIM_a", protocol="kfold", fold=3, folds=10))
    assert (run.protocol, run.fold, run.folds) == ("kfold", 3, 10)
    path = make_run("CkTIM_earlier")
    (path / "split.json").write_text(json.dumps({"corpus": "EMOVO", "protocol": "holdout"}))
    run = read_run(path)
    assert (run.protocol, run.fold, run.folds) == ("holdout", None, None)


def test_a_run_whose_configuration_is_lost_tells_what_its_name_tells(make_run):
    run_dir = make_run("CkTIM_demo_TAB2")
    (run_dir / "parameters.txt").unlink()
    (run_dir / "split.json").unlink()
    run = read_run(run_dir)
    assert (run.config, run.corpus, run.protocol, run.network) == (None, "demo", None, "CkTIM")
    assert run.settings["model.n_temporal_aware_block"] == 2


@pytest.mark.parametrize("name", ["training_metrics.json", "CkTIM_test_metrics.json", "split.json"])
def test_a_file_that_is_cut_off_is_named_and_the_run_left_out(make_run, capsys, name):
    whole, damaged = make_run("CkTIM_seed0"), make_run("CkTIM_seed1")
    (damaged / name).write_text((damaged / name).read_text()[:30])
    with pytest.raises(UserError, match=rf"CkTIM_seed1.{name} is not a whole JSON file"):
        read_run(damaged)
    assert [run.path for run in list_runs(whole.parent)] == [whole]
    assert f"left out: {damaged}" in capsys.readouterr().err


def test_what_is_no_run_is_said(make_run, tmp_path):
    results = make_run("CkTIM_TAB1").parent
    (results / "notes").mkdir()
    assert [run.name for run in list_runs(results)] == ["CkTIM_TAB1"]
    with pytest.raises(UserError, match="notes is not a run directory"):
        read_run(results / "notes")
    with pytest.raises(UserError, match=r"no run directory .*TIM_TAB1; .* holds CkTIM_TAB1"):
        read_run(results / "TIM_TAB1")
    assert list_runs(tmp_path / "nowhere") == []


def test_the_newest_run_has_weights(make_run):
    dirs = [make_run(f"CkTIM_seed{seed}") for seed in range(3)]
    with pytest.raises(UserError, match="no run with weights"):
        newest_run(dirs[0].parent)
    for run_dir, age in zip(dirs[:2], (10, 20), strict=True):
        (run_dir / "model.pt").touch()
        os.utime(run_dir / "model.pt", (1e9 - age, 1e9 - age))
    assert newest_run(dirs[0].parent) == dirs[0]
    (dirs[0] / "split.json").unlink()  # it recorded no test set
    assert newest_run(dirs[0].parent) == dirs[1]


PRINTED = """Hydra Configuration Parameters:
----------------------------------------
train: {'num_epochs': 7, 'optimizer': 'adam', 'early_stopping': True}
model: {'n_temporal_aware_block': 3, 'ck': False, 'omega_0': 24, 'af_type': 'sin'}
"""


def test_printed_dictionaries_are_read_with_the_published_settings_for_the_rest(tmp_path):
    (tmp_path / "parameters.txt").write_text(PRINTED)
    config = read_parameters(tmp_path / "parameters.txt", ["train.device=cpu"])
    assert (config.train.num_epochs, config.train.early_stopping, config.train.device) == (7, True, "cpu")
    assert (config.model.n_temporal_aware_block, config.model.ck, config.model.omega_0) == (3, False, 24.0)
    assert (config.model.generator_norm, config.model.kernel_window) == ("batch", 0)
    assert not config.model.kernel_bias and not config.features.standardise


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'ck': False", "'ck': 3"),
        ("'omega_0'", "'omega_zero'"),
        ("24", "(1).real"),
        ("'sin'}", "'sin'"),
        ("24", "[" * 5000 + "]" * 5000),
    ],
)
def test_printed_dictionaries_that_are_wrong_are_an_error(tmp_path, old, new):
    assert old in PRINTED
    (tmp_path / "parameters.txt").write_text(PRINTED.replace(old, new))
    with pytest.raises(ConfigError, match=r"parameters\.txt: "):
        read_parameters(tmp_path / "parameters.txt")


@pytest.mark.parametrize("content", [[], {}, {"model": ["TIM"]}, {"accuracy": 0.5}])
def test_a_file_without_test_metrics_is_an_error(tmp_path, content):
    (tmp_path / "TIM_test_metrics.json").write_text(json.dumps(content))
    with pytest.raises(MetricsError, match="does not hold test metrics"):
        read_test_metrics(tmp_path / "TIM_test_metrics.json")


def test_disagreement_names_every_source(tmp_path):
    name, file = {"model.ck": True, "train.seed": 1}, {"model.ck": False, "train.seed": 1, "model.aug": True}
    with pytest.raises(UserError, match=r"model.ck is true by the name, false by the file; model.aug is"):
        check_agreement(tmp_path, {"the name": name, "the file": file, "the call": {"model.aug": False}})
    check_agreement(tmp_path, {"the name": {"model.omega_0": 25}, "the file": {"model.omega_0": 25.0}})

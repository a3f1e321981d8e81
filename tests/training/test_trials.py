"""Trials: what a grid expands to, runs that fail or are killed, and results that do not depend on that."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from filelock import FileLock

from dataloader.corpora.utterance import Corpus, Utterance
from testing.baseline import main as baseline_main
from training import trials
from training.together import train_together
from training.trials import (
    Outcome,
    finished,
    folder_of,
    groups_of,
    keep,
    load_trial,
    main,
    make_runs,
    plan,
    run_trial,
)
from utils.config import load_config
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.metrics import read_json
from utils.results import grouped, read_trial, runs_frame
from utils.runs import DEFAULT_CONFIG, PUBLISHED_CONFIG, flat

TRIALS = sorted(path.stem for path in (DEFAULT_CONFIG.parent / "trials").iterdir())


@pytest.fixture
def write(tmp_path):
    """Write a trial's file: write(grid={"model.omega_0": [1, 25]}, settings={…}) → its path."""

    def written(settings=(), name: str = "some", **content) -> Path:
        settings = {"train.results_dir": str(tmp_path / "results"), **dict(settings)}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"settings": settings, **content}))
        return path

    return written


@pytest.fixture
def emovo(monkeypatch):
    """No corpus needs to be on disk to plan runs."""
    corpus = Corpus("EMOVO", Path("nowhere"), (), EMOTIONS, ())
    monkeypatch.setattr(trials, "find_corpus", lambda data: corpus)


NAMES_THAT_LEAD_ELSEWHERE = ("a/b", "..", "/a", "a\\b", '"a\\n"', '"a\\0"')


def varied(runs, *keys):
    return [tuple(run.varied.get(key) for key in keys) for run in runs]


def test_a_grid_meets_seeds_and_folds(write, emovo):
    variants = [{"model.ck": True, "train.learning_rate": 0.001}, {"model.ck": False}]
    grid = {"model.omega_0": [1, 25], "variants": variants}
    runs = plan(load_trial(write({"data.protocol": "kfold"}, grid=grid, seeds=[3, 4], folds=[0, 5])))
    assert len(runs) == len({run.name for run in runs}) == 2 * 2 * 2 * 2
    which = [(run.config.train.seed, run.config.data.fold) for run in runs]
    assert which[::4] == [(3, 0), (3, 5), (4, 0), (4, 5)] and which == sorted(which)
    continuous = [run.config for run in runs if run.config.model.ck]
    assert {(one.model.omega_0, one.train.learning_rate) for one in continuous} == {(1, 0.001), (25, 0.001)}
    assert {run.config.train.learning_rate for run in runs if not run.config.model.ck} == {0.003}
    assert all(run.name.startswith(f"{run.config.model.name}_TAB1_kfold_fold") for run in runs)


def test_several_grids_are_one_union_and_may_have_seeds_of_their_own(write, emovo):
    grid = [{"model.omega_0": [24, 25]}, {"model.omega_0": [25, 100], "train.seed": [0]}]
    runs = plan(load_trial(write(grid=grid, seeds=[0, 1])))
    assert varied(runs, "train.seed", "model.omega_0") == [(0, 24), (0, 25), (0, 100), (1, 24), (1, 25)]


def test_a_name_is_of_all_that_matters_and_of_nothing_else(write, emovo):
    def name(**overrides):
        as_text = [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()]
        return plan(load_trial(write(seeds=[0]), as_text))[0].name

    assert name() == name(data__root="/elsewhere", train__device="cpu", workers=3, model__omega_0=25)
    others = [name(), name(model__omega_0=24), name(train__num_epochs=5), name(seeds="[1]")]
    others += [name(model__aug="true"), name(config=PUBLISHED_CONFIG)]
    others += [name(data__protocol="kfold"), name(data__protocol="kfold", data__folds=5)]
    assert len(set(others)) == 8


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        ({"sedes": [0]}, [], "unknown key sedes; did you mean seeds"),
        ({"seeds": []}, [], "seeds: List should have at least 1"),
        ({"grid": {"model.ck": True}}, [], "grid.0.model.ck: Input should be a valid list"),
        ({"grid": {"model.ck": [True]}}, ["model.ck=true"], "model.ck is set for all runs and varied"),
        ({"grid": {"variants": [{"model.ck": True}]}}, ["model.ck=true"], "set for all runs and varied"),
        ({}, ["train.seed=3"], r"say seeds=\[3\]"),
        ({"grid": {"variants": [1]}}, [], "variants: must be a list of sets of settings"),
        ({"compare": {"x": [[{"model.omega": 1}, {}]]}}, [], r"compare: .*; did you mean model\.omega_0"),
        ({}, ["workers"], "workers: must be key=value"),
        ({}, ["worker=3"], "unknown key worker; did you mean workers"),
        ({}, ["workers=0"], "workers: Input should be greater"),
        ({}, ["backend=slurm"], "backend: Input should be 'processes' or 'ray'"),
        *(({}, [f"name={name}"], "name: String should match") for name in NAMES_THAT_LEAD_ELSEWHERE),
    ],
)
def test_a_trial_that_is_not_valid_is_refused(write, content, overrides, message):
    with pytest.raises(UserError, match=message):
        load_trial(write(**content), overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {model.omega: [1]}", r"did you mean model\.omega_0"),
        ("settings: [train.num_epochs]", "settings: must be configuration keys"),
        ("[seeds]", "must hold the keys of a trial"),
        ("settings: !!python/object/apply:os.mkdir ['it ran']", r"some\.yaml: not valid YAML"),
    ],
)
def test_a_file_that_is_no_trial_is_refused(tmp_path, emovo, text, message):
    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        plan(load_trial(tmp_path / "some.yaml"))
    with pytest.raises(UserError, match="cannot be read"):
        load_trial("nowhere.yaml")


@pytest.mark.parametrize("name", TRIALS)
def test_the_trials_of_the_repository_can_be_planned(name, emovo):
    """They plan the committed runs, and both sides of each comparison with the same seeds and folds."""
    path = DEFAULT_CONFIG.parent / f"trials/{name}.yaml"
    by_partition = "data.protocol: partition" in path.read_text()
    trial = load_trial(path, ["data.partition=emobox.csv"] if by_partition else [])
    planned = [flat(run.config) for run in plan(trial)]
    committed = read_trial(DEFAULT_CONFIG.parents[1] / f"training/results/{name}.json")
    for run in committed.itertuples():
        wanted = {**run.settings, "train.seed": run.seed, "data.protocol": run.protocol.split()[0]}
        wanted |= {"data.fold": run.fold} if run.folds is not pd.NA else {}
        assert sum(wanted.items() <= one.items() for one in planned) == 1
    assert len(planned) == committed.attrs["trial"]["planned"] >= len(committed)  # not all are made yet
    for first, second in (pair for pairs in trial.compare.values() for pair in pairs):
        both = [[one for one in planned if side.items() <= one.items()] for side in (first, second)]
        seeds, others = ({(one["train.seed"], one["data.fold"]) for one in side} for side in both)
        assert len(seeds & others) >= 3


def test_a_process_that_dies_fails_its_run_only(write, emovo, tmp_path, monkeypatch):
    """Also where it trains several at once: here three groups of two seeds."""
    trial = load_trial(write(grid={"model.omega_0": [1, 5, 25]}, seeds=[0, 1], together=True, workers=2))
    runs = plan(trial)
    folder = folder_of(trial, runs)
    culprit = runs[1].name

    def some_work(group, home, number, threads):
        if culprit in {run.name for run in group}:
            os._exit(1)
        return [Outcome(run.name, {"result.txt": run.name.encode()}) for run in group]

    monkeypatch.setattr(trials, "make_runs", some_work)
    monkeypatch.setattr(trials, "_extract_features", lambda runs, progress: None)
    monkeypatch.setattr(trials, "_is_whole", Path.is_dir)
    failures = run_trial(trial, runs, folder, progress=False)
    assert failures.keys() == {culprit} and "without a word" in failures[culprit]
    for run in runs:
        assert (finished(folder, run) is None) == (run.name == culprit)
    assert "memory" in (folder / "failed" / culprit / "error.txt").read_text()


def test_a_run_that_fails_is_reported_stops_no_other_and_is_made_again(write, demo, capsys):
    grid = {"data.protocol": ["holdout", "kfold"]}
    path = write(demo, grid=grid, seeds=[0], folds=[1])  # a holdout has no fold 1
    for _ in range(2):
        with pytest.raises(SystemExit) as exit_status:
            main([str(path), "workers=1"])
        assert exit_status.value.code == 2
        shown = capsys.readouterr()
        assert "1 of 2 runs failed" in shown.err and "holdout has no folds" in shown.err
        assert "1 of the 2 planned runs missing, 1 of them failed" in shown.out
    (failed,) = (path.parent / "results/some_demo/failed").iterdir()
    assert "Traceback" in (failed / "error.txt").read_text()
    collected = read_json(path.parent / "results/some_demo.json")
    assert [row["protocol"] for row in collected["runs"]] == ["kfold"]
    assert list(collected["trial"]["failed"]) == [failed.name]


def test_groups_differ_in_the_seed_alone_and_are_shared_out(write, emovo):
    variants = [{"model.omega_0": 5}, {"train.schedule": "plateau"}]
    path = write(grid={"variants": variants}, seeds=[0, 1, 2, 3, 4])
    runs = plan(load_trial(path))

    def sizes(together: str, workers: int, on_gpu: bool) -> list[int]:
        groups = groups_of(load_trial(path, [f"together={together}"]), runs, workers, on_gpu)
        assert sorted(run.name for group in groups for run in group) == sorted(run.name for run in runs)
        for group in groups:
            assert len({run.config.model_dump_json(exclude={"train": {"seed"}}) for run in group}) == 1
        return sorted(map(len, groups))

    assert sizes("auto", 1, True) == sizes("true", 1, False) == [1, 1, 1, 1, 1, 5]
    assert sizes("auto", 1, False) == sizes("false", 1, True) == [1] * 10
    assert sizes("auto", 3, True) == [1, 1, 1, 1, 1, 1, 4]


def test_seeds_at_once_have_the_scores_of_seeds_one_by_one(write, demo, monkeypatch, capsys):
    """A group that cannot be trained at once is made one by one; of one that is there in part the rest is."""
    monkeypatch.setattr(trials.joblib, "Parallel", lambda **_: lambda calls: (f(*a) for f, a, _ in calls))
    groups: list[int] = []

    def with_luck(configs, *others):
        groups.append(len(configs))
        if len(groups) == 1:
            raise ValueError("no luck")
        return train_together(configs, *others)

    monkeypatch.setattr(trials, "train_together", with_luck)

    def scores(results: str, seeds: list[int]) -> list[dict]:
        trial = load_trial(path, [f"train.results_dir={path.parent / results}", f"seeds={seeds}"])
        runs = plan(trial)
        folder = folder_of(trial, runs)
        assert run_trial(trial, runs, folder, progress=False) == {}
        trials.write_results(folder, trial, runs, {})
        return [row["test"] for row in read_json(folder.with_suffix(".json"))["runs"]]

    path = write(demo, together=True, workers=1)
    one_by_one = scores("alone", [0, 1, 2])
    assert groups == [3] and "could not be trained at once (ValueError: no luck)" in capsys.readouterr().err
    assert scores("at_once", [1]) == one_by_one[1:2] and groups == [3]
    at_once = scores("at_once", [0, 1, 2])
    assert groups == [3, 2]
    assert [one["uar"] for one in at_once] == pytest.approx([one["uar"] for one in one_by_one])


def test_a_run_brings_home_what_training_and_evaluation_write(write, demo):
    (run,) = plan(load_trial(write(demo, seeds=[7])))
    (outcome,) = make_runs((run,), os.getcwd(), 0, 1)
    assert outcome.failure is None
    assert {"model.pt", "split.json", "predictions.csv", "CkTIM_test_metrics.json"} <= outcome.files.keys()
    (write().parent / "parameters.txt").write_bytes(outcome.files["parameters.txt"])
    assert load_config(write().parent / "parameters.txt") == run.config


def test_a_directory_is_finished_by_what_it_holds(write, demo):
    trial = load_trial(write(demo | {"train.log": "tensorboard"}, seeds=[7]))
    (run,) = plan(trial)
    assert run.name == plan(load_trial(write(demo, seeds=[7])))[0].name
    folder = folder_of(trial, [run])
    (outcome,) = make_runs((run,), os.getcwd(), 0, 1)
    keep(folder, outcome)
    assert list((folder / run.name / "tensorboard/validation").iterdir())
    assert finished(folder, run) == folder / run.name
    for name in ("model.pt", "validation_metrics.json", "CkTIM_test_metrics.json", "parameters.txt"):
        path = folder / run.name / name
        for content in (None, outcome.files[name][: len(outcome.files[name]) // 2]):
            path.unlink() if content is None else path.write_bytes(content)
            if name != "parameters.txt" or content is None:  # a shorter one is a valid one
                assert finished(folder, run) is None
            path.write_bytes(outcome.files[name])
    (folder / run.name / "model.pt").unlink()
    keep(folder, outcome)  # made anew, it takes the place of the damaged one
    assert finished(folder, run)


def test_a_second_process_waits_for_the_first_and_makes_what_is_missing_then(
    write, emovo, monkeypatch, capsys
):
    trial = load_trial(write(seeds=[0]))
    runs = plan(trial)
    folder = folder_of(trial, runs)
    made: list[str] = []
    monkeypatch.setattr(trials, "_make_missing", lambda *_: made.append("second") or {})
    folder.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        with FileLock(folder / trials.LOCK_FILE, thread_local=False):
            second = pool.submit(run_trial, trial, runs, folder, False)
            with pytest.raises(TimeoutError):
                second.result(0.5)
            made.append("first")
        second.result(30)
    assert made == ["first", "second"] and "another process makes the trial" in capsys.readouterr().err


def test_a_comparison_that_no_run_fits_is_named(write, emovo, capsys):
    compare = {"depth": [[{"model.omega_0": 25}, {"model.omega_0": 99}]]}
    plan(load_trial(write(grid={"model.omega_0": [1, 25]}, seeds=[0], compare=compare)))
    assert (
        "depth: no run of this trial has model.omega_0 = 99; it will be left out" in capsys.readouterr().err
    )


@pytest.mark.skipif(os.name != "posix", reason="elsewhere SIGTERM ends a process at once")
def test_a_trial_that_is_asked_to_end_ends_as_by_ctrl_c(write, demo, monkeypatch, capsys):
    """So that its processes end, too."""
    usual = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(trials, "run_trial", lambda *args: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        trials.main([str(write(demo, "asked"))])
    assert end.value.code == 130 and "The same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is usual


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="groups of processes are killed as POSIX has it")
def test_a_killed_trial_goes_on_and_ends_as_an_undisturbed_one(write, demo):
    """Twelve runs on two processes; the trial and its workers are killed when some of them are done."""
    grid = {"model.omega_0": [1, 25], "variants": [{"model.ck": True}, {"model.ck": False}]}
    content = {"grid": grid, "seeds": [0, 1, 2], "workers": 2}
    path = write(demo, "killed", **content)
    folder = path.parent / "results/killed_demo"

    command = [sys.executable, "-m", "training.trials", str(path)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    try:
        deadline = time.monotonic() + 120
        while len(weights_written(folder)) < 4:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = weights_written(folder)
    assert 4 <= len(before) < 12 and not (folder.with_suffix(".json")).exists()

    main([str(path)])
    after = weights_written(folder)
    assert len(after) == 12 and before.items() <= after.items()  # none was written a second time

    main([str(path), f"train.results_dir={path.parent}/undisturbed"])
    results = read_json(folder.with_suffix(".json"))
    expected = read_json(path.parent / "undisturbed/killed_demo.json")
    assert results["runs"] == expected["runs"] and results["settings"] == expected["settings"]
    assert len(results["runs"]) == 12 and len({json.dumps(row["test"]) for row in results["runs"]}) > 1

    main([str(path)])
    assert weights_written(folder) == after  # nothing is left to do


def weights_written(folder: Path) -> dict[str, int]:
    """Name → when its weights were written, of every finished run."""
    runs = [path for path in folder.glob("*") if not path.name.startswith(".")]
    return {path.name: (path / "model.pt").stat().st_mtime_ns for path in runs}


def test_runs_on_other_recordings_come_into_no_mean(write, demo, tiny_emovo, tmp_path, monkeypatch, capsys):
    """A corpus that grows, and changes under its names, between two calls of one trial."""
    here = lambda trial, runs, on_cuda: ((1, *make_runs((run,), os.getcwd(), 0, 1)) for run in runs)  # noqa: E731
    monkeypatch.setattr(trials, "_on_this_machine", here)
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "corpus"))
    spare = next(root.rglob("*.wav"))
    away = Path(shutil.move(spare, tmp_path / spare.name))
    path = write(demo | {"data.root": str(root), "data.cache_dir": str(tmp_path)}, seeds=[0], workers=1)

    def made() -> list[str]:
        trial = load_trial(path)
        runs = plan(trial)
        folder = folder_of(trial, runs)
        assert run_trial(trial, runs, folder, progress=False) == {}
        trials.write_results(folder, trial, runs, {})
        return [row["recordings"] for row in read_json(folder.with_suffix(".json"))["runs"]]

    first = made()
    shutil.move(away, spare)
    second = made()
    assert re.search("1 run in .*, of other recordings than EMOVO has now", capsys.readouterr().err)
    samples, rate = soundfile.read(spare)
    soundfile.write(spare, samples[::-1], rate)
    third = made()
    assert len({*first, *second, *third}) == 3 == len(first + second + third)
    frame = runs_frame(folder_of(load_trial(path), plan(load_trial(path))))
    assert len(frame) == 3 and len(grouped(frame)) == 3 and frame.test_set.nunique() == 3
    counts = [int(one.split()[0]) for one in (*first, *second, *third)]
    assert counts == [counts[1] - 1, counts[1], counts[1]]


def test_a_corpus_that_changes_while_a_trial_runs_is_named(write, demo, tiny_emovo, tmp_path):
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "corpus"))
    (run,) = plan(
        load_trial(write(demo | {"data.root": str(root), "data.cache_dir": str(tmp_path)}, seeds=[0]))
    )
    next(root.rglob("*.wav")).unlink()
    failure = make_runs((run,), os.getcwd(), 0, 1)[0].failure
    assert failure and re.search(r"has changed since the trial began: it has \d+ recordings, ", failure)


def test_all_folds_are_those_of_the_protocol(write, monkeypatch):
    speakers = "abcd"
    utterances = [
        Utterance(Path(f"{e}{s}{n}.wav"), e, s, str(n), fingerprint=f"{e}{s}{n}")
        for e in ("dis", "gio") for s in speakers for n in range(5)
    ]  # fmt: skip
    corpus = Corpus("EMOVO", Path("nowhere"), tuple(utterances), ("dis", "gio"), ())
    monkeypatch.setattr(trials, "find_corpus", lambda data: corpus)
    monkeypatch.setattr(trials, "identified_corpus", lambda corpus, cache_dir: corpus)

    def folds(protocol: str, **more) -> list[int]:
        path = write({"data.protocol": protocol, **more}, seeds=[0], folds="all")
        return [run.config.data.fold for run in plan(load_trial(path))]

    assert folds("leave_one_speaker_out") == [0, 1, 2, 3]
    assert folds("leave_one_sentence_out") == [0, 1, 2, 3, 4]
    assert folds("kfold", **{"data.folds": 5}) == [0, 1, 2, 3, 4] and folds("holdout") == [0]
    assert folds("speaker_kfold", **{"data.folds": 3}) == [0, 1, 2]
    partition = write().parent / "folds.csv"
    partition.write_text("name,fold\n" + "".join(f"{u.name},{ord(u.speaker) - 96}\n" for u in utterances))
    assert folds("partition", **{"data.partition": str(partition)}) == [1, 2, 3, 4]
    with pytest.raises(UserError, match="speakers, 4"):  # before any fold is trained
        folds("speaker_kfold", **{"data.folds": 9})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "leave_one_speaker_out", "--folds", "5"], "has as many folds as the corpus gives it"),
        (["--protocol", "holdout"], "invalid choice"),
        (["--protocol", "kfold", "some.yaml"], "name one trial"),
        (["train.num_epochs=1"], "name one trial"),
        (["--protocol", "kfold", "--folds", "3x"], "3x: must be a whole number, at least 2, or all"),
        (["--protocol", "kfold", "--folds", "3", "data.folds=5"], "data.folds is given twice: --folds 3"),
        (["--protocol", "kfold", "data.protocol=holdout"], "data.protocol is given twice: --protocol kfold"),
    ],
)
def test_a_cross_validation_that_is_none_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2 and message in capsys.readouterr().err


def test_a_cross_validation_says_what_its_runs_would_warn_of(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for speaker in "abc":
        for emotion, number in (("joy", 12), ("anger", 2)):
            for n in range(number):
                path = tmp_path / speaker / emotion / f"{emotion}{n}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, rng.uniform(-0.1, 0.1, 6 * 22050), 22050)
    shutil.copy(tmp_path / "a/joy/joy0.wav", tmp_path / "a/joy/again.wav")
    shutil.copy(tmp_path / "b/joy/joy0.wav", tmp_path / "b/anger/joy.wav")
    settings = ["data.corpus=folder", f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}"]
    (tmp_path / "c/fear").mkdir()
    soundfile.write(tmp_path / "c/fear/fear.wav", rng.uniform(-0.1, 0.1, 6 * 22050), 22050)
    plan(trials.crossval_trial("speaker_kfold", 3, overrides=settings))
    warned = capsys.readouterr().err
    for what in (
        "copied under another emotion, both left out: b/joy/joy0 = b/anger/joy",
        "copied, in one subset with the original: a/joy/joy0 = a/joy/again",
        "fear has 1 utterance, joy 36",
        "emotions that one speaker alone speaks (fear: c)",
        "features.signal_length=133000 would hold 95%",
    ):
        assert warned.count(what) == 1, warned


def test_one_command_cross_validates_and_pools_what_each_fold_answered(demo, tmp_path, capsys):
    settings = {**demo, "train.results_dir": str(tmp_path / "results"), "data.emotions": "[joy, anger]"}
    command = ["--protocol", "kfold", "--folds", "3", *(f"{key}={value}" for key, value in settings.items())]
    main(command)
    out = capsys.readouterr().out
    folder = tmp_path / "results/demo_kfold_3_demo"
    assert out.splitlines()[-1].endswith(f"python -m testing.baseline {folder}")
    runs = [path.parent for path in sorted(folder.glob("*/predictions.csv"))]
    folds = [pd.read_csv(run / "predictions.csv") for run in runs]
    pooled = pd.read_csv(folder / "pooled_predictions.csv")
    pd.testing.assert_frame_equal(pooled, pd.concat(folds, ignore_index=True))
    assert len(folds) == 3 and pooled.utterance.is_unique
    metrics = read_json(folder / "pooled_metrics.json")
    recalls = (pooled.true == pooled.predicted).groupby(pooled.true).mean()
    assert metrics["uar"] == [pytest.approx(recalls.mean())] and metrics["utterances"] == [len(pooled)]
    assert metrics["speakers_trained_on"] == sorted(set(pooled.speaker))
    uars = [(one.true == one.predicted).groupby(one.true).mean().mean() for one in folds]
    assert metrics["uar_per_fold"] == pytest.approx(uars)
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert f"{100 * np.mean(uars):.1f} ± {100 * np.std(uars, ddof=1):.1f}" in lines["mean ± std"]
    assert f" {100 * recalls.mean():.1f} " in lines["pooled"] and "UAR" in out.splitlines()[1]
    assert (folder / "pooled_confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    baseline_main([str(folder)])
    beside = read_json(folder / "baseline_functionals.json")
    network, machine = beside["CkTIM with 1 TAB"], beside["linear SVM"]
    assert network["uar"] == metrics["uar"] and network["uar_per_fold"] == metrics["uar_per_fold"]
    assert machine["utterances"] == [len(pooled)] and len(machine["uar_per_fold"]) == len(machine["C"]) == 3
    assert machine["utterances_per_emotion"] == metrics["utterances_per_emotion"]
    assert beside["chance"]["uar_per_fold"] == [0.5] * 3
    before = [(run / "model.pt").stat().st_mtime_ns for run in runs]
    main(command)
    assert before == [(run / "model.pt").stat().st_mtime_ns for run in runs]  # a repeat trains nothing anew
    others = (f"{key}={value}" for key, value in (settings | {"data.emotions": "[joy, fear]"}).items())
    other = trials.crossval_trial("kfold", 3, overrides=[*others])
    assert re.fullmatch(r"demo_kfold_3_[0-9a-f]{8}", trials.named_after(other, plan(other)).name)


def test_tables_of_several_settings_say_which_and_share_no_baseline(write, demo, tmp_path, capsys):
    settings = {**demo, "data.protocol": "kfold", "data.folds": 3, "data.emotions": ["joy", "anger"]}
    path = write(settings, grid={"data.training_utterances": [0, 8]}, seeds=[0], folds="all")
    main([str(path)])
    out = capsys.readouterr().out
    for number in (0, 8):
        assert f"data.training_utterances = {number}: CkTIM with 1 TAB, seed 0: 3 of 3 folds" in out
    (folder,) = {split.parents[1] for split in tmp_path.glob("results/*/*/split.json")}
    for number, utterances in ((1, 0), (2, 8)):
        metrics = read_json(folder / f"pooled_{number}_metrics.json")
        about = [metrics[key] for key in ("network", "seed", "settings")]
        assert about == [["CkTIM with 1 TAB"], [0], [{"data.training_utterances": utterances}]]
    with pytest.raises(SystemExit):
        baseline_main([str(folder)])
    assert "not all trained on the same utterances" in capsys.readouterr().err
    main([str(path), 'grid=[{"data.training_utterances": [8]}]'])
    now = {f"pooled_{file}" for file in ("confusion_matrix.png", "metrics.json", "predictions.csv")}
    assert {one.name for one in folder.glob("pooled*")} == now  # none of the two before

"""Two processes at once: the same results folder in the same second, and the same empty cache."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import torch

import utils.runs
from training.train import train
from utils.metrics import read_json
from utils.runs import create_run_dir


class Clock(datetime):
    """It is always the same moment."""

    @classmethod
    def now(cls):
        return cls(2026, 1, 31, 14, 5, 59)


def train_at_that_moment(config, start) -> None:
    """In a process of its own."""
    utils.runs.datetime = Clock
    start.wait(60)
    train(config, progress=False)


@pytest.fixture(scope="module")
def two_trainings(configured, processes, tmp_path_factory) -> Path:
    """A folder where two processes have trained with the same seed, `results`, from one cache, `cache`."""
    folder = tmp_path_factory.mktemp("two")
    places = {"data.cache_dir": folder / "cache", "train.results_dir": folder / "results"}
    arguments = configured(places), processes.Barrier(2)
    both = [processes.Process(target=train_at_that_moment, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
        assert process.exitcode == 0
    return folder


@pytest.mark.slow
def test_two_trainings_of_the_same_second_both_finish(two_trainings):
    name = "CkTIM_TAB1_seed0_2026-01-31_14-05-59"
    runs = sorted((two_trainings / "results").iterdir())
    assert [run.name for run in runs] == [name, f"{name}_2"]
    for subset in ("training", "validation"):
        one, other = (read_json(run / f"{subset}_metrics.json") for run in runs)
        assert one["epoch"] == [0, 1]
        assert one["loss"] == other["loss"] and one["accuracy"] == other["accuracy"]
    one, other = (torch.load(run / "model.pt", weights_only=True) for run in runs)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_two_processes_that_fill_a_cache_leave_a_whole_one(two_trainings, load, data, capsys):
    inodes = {path: path.stat().st_ino for path in (two_trainings / "cache").iterdir()}
    assert sorted(path.suffix for path in inodes) == [".fingerprints", ".json", ".npy"]
    found = load(two_trainings / "cache")
    assert torch.equal(found.frames, data.features.frames) and found.utterances == data.features.utterances
    assert all(path.stat().st_ino == inode for path, inode in inodes.items())  # read, not made anew
    assert capsys.readouterr().err == ""


def at_once(call, count: int) -> list:
    """The results of `count` calls that start at the same time, in threads."""
    start = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: (start.wait(), call())[1], range(count)))


def test_many_that_fill_a_cache_at_once_get_the_right_features(load, data, tmp_path, storage):
    for number in range(3):
        folder = tmp_path / str(number)
        for found in at_once(lambda folder=folder: load(folder), 4):
            assert torch.equal(found.frames, data.features.frames)
            assert found.utterances == data.features.utterances
        assert sorted(path.suffix for path in folder.iterdir()) == [".fingerprints", ".json", ".npy"]


def test_many_directories_of_one_second(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(utils.runs, "datetime", Clock)
    config = configured({"train.results_dir": tmp_path.as_posix()})
    made = at_once(lambda: create_run_dir(config, "EMOVO"), 16)
    assert len(set(made)) == 16 == len(list(tmp_path.iterdir()))

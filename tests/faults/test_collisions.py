"""Two processes at once: the same results folder in the same second, and the same empty cache."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import torch

import utils.runs
from utils.metrics import read_json
from utils.runs import create_run_dir

# In both processes it is the same moment, and both start when the file `go` is there.
TRAIN = """
import datetime, pathlib, sys, time
import utils.runs
from training.train import main

class Clock(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(2026, 1, 31, 14, 5, 59)

utils.runs.datetime = Clock
folder = pathlib.Path(sys.argv[1])
(folder / f"ready{sys.argv[2]}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def two_trainings(settings, repository, tmp_path_factory) -> Path:
    """A folder where two processes have trained with the same seed, `results`, from one cache, `cache`."""
    folder = tmp_path_factory.mktemp("two")
    places = {"data.cache_dir": folder / "cache", "train.results_dir": folder / "results"}
    overrides = [f"{key}={value}" for key, value in (settings | places).items()]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, folder, str(number), *overrides],
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    try:
        while not all((folder / f"ready{number}").exists() for number in range(2)):
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        (folder / "go").touch()
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
            assert "damaged" not in output and "not kept" not in output
    finally:
        for process in processes:
            process.kill()
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
    assert sorted(path.suffix for path in inodes) == [".json", ".npy"]
    found = load(two_trainings / "cache")
    assert torch.equal(found.frames, data.features.frames) and found.utterances == data.features.utterances
    assert all(path.stat().st_ino == inode for path, inode in inodes.items())  # read, not made anew
    assert capsys.readouterr().err == ""


def at_once(call: Callable[[], object], count: int) -> list:
    """What `count` calls give that start at the same time, in threads."""
    start = threading.Barrier(count)

    def wait_and_call(_: int) -> object:
        start.wait()
        return call()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_call, range(count)))


def test_many_that_fill_a_cache_at_once_get_the_right_features(load, data, tmp_path, storage):
    for number in range(3):
        folder = tmp_path / str(number)
        for found in at_once(lambda folder=folder: load(folder), 4):
            assert torch.equal(found.frames, data.features.frames)
            assert found.utterances == data.features.utterances
        assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".npy"]


def test_many_directories_of_one_second(configured, tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 31, 14, 5, 59)

    monkeypatch.setattr(utils.runs, "datetime", Clock)
    config = configured({"train.results_dir": tmp_path.as_posix()})
    made = at_once(lambda: create_run_dir(config, is_demo=False), 16)
    assert len(set(made)) == 16 == len(list(tmp_path.iterdir()))

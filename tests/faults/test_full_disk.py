"""A disk that is full, and a limit on the size of files: what was there stays, and the file is named."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dataloader.features import cache
from testing.calibration import calibrate
from testing.evaluate import evaluate
from testing.load_run import load_run
from training.train import train
from utils.errors import UserError
from utils.files import write_atomically
from utils.runs import read_run

SIZE = 1024  # KiB


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of SIZE."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, free: int) -> None:
    """Leave `free` KiB."""
    (disk / "filler").write_bytes(bytes(max(shutil.disk_usage(disk).free - 1024 * free, 0)))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files that this process writes, in bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_a_file_of_any_size_leaves_the_old_one(disk):
    write_atomically(disk / "file", "old")
    fill(disk, 64)
    for size in (65, 100, 5_000):
        with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
            write_atomically(disk / "file", bytes(1024 * size))
        assert contents(disk) == {} and (disk / "file").read_text() == "old"
    write_atomically(disk / "file", "new")
    assert (disk / "file").read_text() == "new"


@pytest.mark.parametrize("free", [0, 4, 16, 36])
def test_a_cache_that_finds_no_room_only_costs_a_warning(load, data, disk, monkeypatch, capsys, free):
    fill(disk, free)
    assert torch.equal(load(disk).frames, data.features.frames)
    assert "not kept for the next time: cannot write" in capsys.readouterr().err
    assert not list(disk.glob("*.npy")) and not list(disk.rglob("*.tmp"))
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 0)
    with pytest.raises(UserError, match=r"cannot be written \(cannot write .*npy: No space left.*cache_dir"):
        load(disk)
    assert not list(disk.glob("*.npy")) and not list(disk.rglob("*.tmp"))


@pytest.mark.parametrize("free", [0, 4, 8, 12, 16, 40, 56, 60, 64, 70, 80, 100, 300])
def test_a_training_names_the_file_and_the_older_run_stays(configured, data, finished, disk, free):
    """Whenever the disk becomes full; with enough room the training ends as usual."""
    older = Path(shutil.copytree(finished, disk / "older"))
    fill(disk, free)
    before = contents(older)
    try:
        train(configured({"train.results_dir": (disk / "new").as_posix()}), data, progress=False)
    except UserError as error:
        assert f"cannot write {disk / 'new'}" in str(error) or "results folder" in str(error)
        assert "No space left" in str(error)
    else:
        assert free == 300
    assert contents(older) == before
    assert not list(disk.rglob("*.tmp"))
    for run_dir in (disk / "new").glob("*/"):
        if (run_dir / "model.pt").exists():
            load_run(run_dir)
            read_run(run_dir)


@pytest.mark.parametrize("free", [0, 4, 8, 16, 40, 80, 300])
@pytest.mark.parametrize("act", [evaluate, calibrate])
def test_an_evaluation_names_the_file_and_the_run_stays(finished, disk, act, free):
    run_dir = Path(shutil.copytree(finished, disk / finished.name))
    before = contents(run_dir)
    fill(disk, free)
    try:
        act(run_dir, progress=False)
    except UserError as error:
        assert f"cannot write {run_dir}" in str(error) and "No space left" in str(error)
    else:
        assert free == 300 or (act is calibrate and free >= 40)
    assert contents(run_dir).keys() == before.keys()  # and no *.tmp
    for name in ("model.pt", "split.json", "training_metrics.json", "validation_metrics.json"):
        assert (run_dir / name).read_bytes() == before[name]
    assert read_run(run_dir).test["accuracy"] == read_run(finished).test["accuracy"]


def test_a_limit_on_the_size_of_files(configured, load, data, finished, tmp_path, capsys):
    """The same without the right to mount: the limit lets all through but the cache, and then the weights."""
    config = configured({"train.results_dir": tmp_path.as_posix()})
    weights = os.path.getsize(finished / "model.pt")
    with largest_file(weights // 2):
        features = load(tmp_path / "cache")
        with pytest.raises(UserError, match=r"cannot write .*model\.pt: File too large"):
            train(config, data, progress=False)
    assert torch.equal(features.frames, data.features.frames)
    assert "not kept for the next time: cannot write" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.npy"))
    (run_dir,) = tmp_path.glob("CkTIM*")
    assert not (run_dir / "model.pt").exists()

    copy = Path(shutil.copytree(finished, tmp_path / finished.name))
    before = contents(copy)
    with largest_file(2_000), pytest.raises(UserError, match=r"cannot write .*test_metrics\.json: File too"):
        evaluate(copy, progress=False)
    assert contents(copy) == before

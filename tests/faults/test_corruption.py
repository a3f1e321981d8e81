"""Files that were damaged at random: each is as good as before, made anew, or named. Nothing else is lost."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.splits import load_split
from testing.calibration import load_calibration
from testing.load_run import load_run, read_state
from training.resume import Progress, save_state
from utils.errors import UserError
from utils.files import read_tensors
from utils.metrics import History, read_json
from utils.runs import list_runs, read_emotions, read_run, read_test_metrics

FEW, MANY = 30, 400  # cases of each kind of file, in `make test` and in `make test-slow`


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, bytes overwritten, a piece lost or doubled, the end cut off or filled with zeros."""
    whole, place = bytearray(content), int(rng.integers(len(content)))
    match rng.integers(6):
        case 0:
            whole[place] ^= 1 << int(rng.integers(8))
        case 1:
            for place in rng.integers(len(whole), size=rng.integers(1, 17)):
                whole[place] = rng.integers(256)
        case 2:
            whole = whole[:place]
        case 3:
            whole[place:] = bytes(len(whole) - place)
        case 4:
            del whole[place : place + int(rng.integers(1, 4097))]
        case 5:
            whole[place:place] = whole[place : place + int(rng.integers(1, 4097))]
    return bytes(whole)


def cases(content: bytes, count: int, seed: int) -> list[bytes]:
    """Nothing, zeros, and `count` more, all of which differ from the content."""
    rng = np.random.default_rng(seed)
    drawn = (damaged(content, rng) for _ in range(10 * count))
    different = [case for case in drawn if case != content][:count]
    assert len(different) == count
    return [b"", bytes(len(content)), *different]


def history(path: Path) -> list:
    read = History.load(path)
    return [read.model, read.columns]


def tensors(path: Path) -> object:
    """A file of tensors as lists, which repr shows whole."""

    def as_lists(value):
        if isinstance(value, dict):
            return {key: as_lists(one) for key, one in value.items()}
        return value.tolist() if isinstance(value, torch.Tensor) else value

    return as_lists(read_state(path) if path.name == "model.pt" else read_tensors(path))


READERS: dict[str, Callable[[Path], object]] = {
    "model.pt": tensors,
    "training_metrics.json": history,
    "validation_metrics.json": history,
    "CkTIM_test_metrics.json": read_test_metrics,
    "split.json": load_split,
    "emotions.json": lambda path: read_emotions(path.parent),
    "calibration.json": lambda path: asdict(load_calibration(path.parent)),
    "standardisation.json": read_json,
    "resume.pt": tensors,
}


@pytest.fixture
def run_dir(finished, tmp_path) -> Path:
    """A copy of the finished run, with what it would have kept had it been stopped before its end."""
    run_dir = Path(shutil.copytree(finished, tmp_path / "results" / finished.name))
    histories = (History.load(run_dir / f"{part}_metrics.json") for part in ("training", "validation"))
    save_state(run_dir, Progress(*histories), model=load_run(run_dir).model)
    return run_dir


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_damaged_file_of_a_run_is_named_unless_nothing_is_lost(run_dir, name, count):
    path, read, named = run_dir / name, READERS[name], 0
    whole = repr(read(path))
    for number, case in enumerate(cases(path.read_bytes(), count, seed=len(name))):
        path.write_bytes(case)
        try:
            assert repr(read(path)) == whole, number
        except UserError as error:
            named += 1
            assert str(path) in str(error), number
    assert named > 0.8 * count


@pytest.mark.parametrize("name", ["training_metrics.json", "CkTIM_test_metrics.json", "split.json"])
def test_every_digit_counts(run_dir, name):
    path, read = run_dir / name, READERS[name]
    content, whole = path.read_bytes(), repr(read(path))
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    for place in np.random.default_rng(0).choice(places, 30, replace=False):
        changed = bytearray(content)
        changed[place] = ord("1") if content[place] != ord("1") else ord("7")
        path.write_bytes(changed)
        if json.loads(changed) == json.loads(content):  # the last of 17 digits may stand for the same number
            assert repr(read(path)) == whole
            continue
        with pytest.raises(UserError, match=r"is not (a whole JSON file|JSON, or damaged).*checksum"):
            read(path)


def test_every_byte_of_the_weights_counts(run_dir):
    """torch.load alone takes most of these for weights."""
    path = run_dir / "model.pt"
    content = path.read_bytes()
    tensor = read_state(path)["classifier.weight"].numpy().tobytes()
    start, silent = content.index(tensor), 0
    for place in range(start, start + len(tensor), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        silent += torch.load(path, weights_only=True)["classifier.weight"].numpy().tobytes() != tensor
        with pytest.raises(UserError, match=r"model\.pt .*Bad CRC|model\.pt .*has changed"):
            read_state(path)
    assert silent > 10  # else PyTorch has come to compare checksums, and we need not


@pytest.mark.parametrize("suffix", [".npy", ".json", ".fingerprints"])
@pytest.mark.parametrize("count", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_a_damaged_cache_gives_the_right_features(load, data, tmp_path, capsys, storage, suffix, count):
    load(tmp_path)
    files = set(tmp_path.iterdir())
    (path,) = tmp_path.glob(f"*{suffix}")
    content, rebuilt = path.read_bytes(), 0
    for number, case in enumerate(cases(content, count, seed=count)):
        path.write_bytes(case)
        capsys.readouterr()
        found = load(tmp_path)
        assert torch.equal(found.frames, data.features.frames), number
        assert found.utterances == data.features.utterances and found.skipped == {}, number
        if path.read_bytes() != case:
            rebuilt += 1
            named = path if suffix == ".fingerprints" else path.with_suffix(".npy")
            assert re.search(f"{re.escape(str(named))} (is|are) damaged", capsys.readouterr().err), number
        assert set(tmp_path.iterdir()) == files
    assert rebuilt > 0.8 * count


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_damaged_run_costs_no_other_run(run_dir, capsys, count):
    other = Path(shutil.copytree(run_dir, run_dir.with_name("TIM_older")))
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    kept = repr(read_run(other).test)
    for name in ("training_metrics.json", "CkTIM_test_metrics.json", "split.json", "parameters.txt"):
        path = run_dir / name
        content = path.read_bytes()
        for case in cases(content, count, seed=count):
            path.write_bytes(case)
            found = {run.path: run for run in list_runs(run_dir.parent)}
            assert repr(found[other].test) == kept
            assert run_dir in found or f"left out: {path}" in capsys.readouterr().err
        path.write_bytes(content)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before

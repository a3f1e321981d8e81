"""A tiny corpus on disk, and a run that was trained on it."""

import shutil
from pathlib import Path

import pytest

from testing.predict import main
from training.train import train
from utils.config import Config


def tiny_config(folder: Path, data: dict, features=(), train=(), model=()) -> Config:
    """A training of seconds on a corpus of short sounds, in a folder."""
    where = {"num_epochs": 1, "batch_size": 16, "results_dir": folder / "results", "device": "cpu"}
    return Config(
        data={"cache_dir": folder / "cache", **data},
        features={"signal_length": 4_096, "n_mfcc": 13, **dict(features)},
        train=where | dict(train),
        model={"n_filter": 4, "hidden_scale": 0.25, **dict(model)},
    )


@pytest.fixture
def train_tiny(tmp_path):
    """Train a run on a corpus of short sounds: train_tiny({"root": …}, features={…})."""
    return lambda *args, **parts: train(tiny_config(tmp_path, *args, **parts), progress=False)


@pytest.fixture(scope="session")
def trained(tiny_emovo, tmp_path_factory) -> Path:
    """The directory of a short training of CkTIM-net, not to be changed (take `run_dir`)."""
    model = {"n_filter": 8, "n_temporal_aware_block": 2}
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(folder, {"root": tiny_emovo}, train={"num_epochs": 8}, model=model)
    return train(config, progress=False)


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    """A copy of the trained run, under its own name."""
    return Path(shutil.copytree(trained, tmp_path / "results" / trained.name))


@pytest.fixture(scope="session")
def published_root(repository) -> Path:
    """The published run directories, where they are on disk."""
    root = repository / "../shared/published"
    if not root.exists():
        pytest.skip("the published run directories are not on disk")
    return root.resolve()


@pytest.fixture
def status():
    """The exit status of testing.predict's command: status(*arguments)."""

    def status(*arguments) -> int:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            return exit_.code
        return 0

    return status

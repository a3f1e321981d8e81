"""A tiny corpus on disk, and a run that was trained on it."""

import shutil
from pathlib import Path

import pytest

from dataloader.loaders import prepare_data
from utils.config import Config


@pytest.fixture(scope="session")
def trained(tiny_emovo, tmp_path_factory) -> Path:
    """The directory of a short training of CkTIM-net, not to be changed (take `run_dir`)."""
    folder = tmp_path_factory.mktemp("trained")
    config = Config(
        data={"root": tiny_emovo, "cache_dir": folder / "cache"},
        features={"signal_length": 4_096},
        train={"num_epochs": 8, "batch_size": 16, "results_dir": folder / "results", "device": "cpu"},
        model={"num_features": 13, "n_filter": 8, "n_temporal_aware_block": 2, "hidden_scale": 0.25},
    )
    return fit(config, prepare_data(config, progress=False), progress=False)


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

"""A tiny corpus on disk, settings for a training of a second on it, and a run that was made so."""

from pathlib import Path

import pytest

from dataloader.features import cache
from dataloader.features.extract import load_features
from dataloader.loaders import Data, prepare_data
from testing.calibration import calibrate
from testing.evaluate import evaluate
from training.train import train
from utils.config import Config, load_config


@pytest.fixture(scope="session")
def settings(tiny_emovo, tmp_path_factory) -> dict[str, object]:
    """Configuration keys and their values."""
    return {
        "data.root": tiny_emovo.as_posix(),
        "data.cache_dir": tmp_path_factory.mktemp("faults_cache").as_posix(),
        "features.signal_length": 4_096,
        "train.num_epochs": 2,
        "train.batch_size": 32,
        "train.device": "cpu",
        "features.n_mfcc": 13,
        "model.n_filter": 8,
        "model.hidden_scale": 0.25,
    }


@pytest.fixture(scope="session")
def configured(settings):
    """Those settings and others on top as a configuration: configured({"train.seed": 1})."""

    def build(more: dict | None = None) -> Config:
        return load_config(overrides=[f"{key}={value}" for key, value in (settings | (more or {})).items()])

    return build


@pytest.fixture(scope="session")
def load(data, configured):
    """Load the corpus's features, with the cache in another folder: load(folder)."""
    settings = configured().features
    return lambda folder: load_features(data.corpus, settings, folder, progress=False)


@pytest.fixture(params=["in memory", "on disk"])
def storage(request, monkeypatch) -> str:
    """Frames as a small corpus has them, and as one that is larger than the memory."""
    if request.param == "on disk":
        monkeypatch.setattr(cache, "MOST_IN_MEMORY", 0)
    return request.param


@pytest.fixture(scope="session")
def data(configured) -> Data:
    """The corpus, its features and a split."""
    return prepare_data(configured(), progress=False)


@pytest.fixture(scope="session")
def finished(configured, data, tmp_path_factory) -> Path:
    """A run that was trained, evaluated and calibrated, not to be changed."""
    results = tmp_path_factory.mktemp("finished")
    run_dir = train(configured({"train.results_dir": results.as_posix()}), data, progress=False)
    evaluate(run_dir, progress=False)
    calibrate(run_dir, progress=False)
    return run_dir

"""A small corpus, and configurations and data of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.corpora.readers import EMOVO_NAMES
from dataloader.loaders import Data, prepare_data
from utils.config import Config


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    """A folder in EMOVO's layout, not to be changed: of one speaker, 10 short recordings of each emotion."""
    root = tmp_path_factory.mktemp("tiny") / "EMOVO"
    (root / "f1").mkdir(parents=True)
    for number, name in enumerate(name for name in EMOVO_NAMES if "-f1-" in name):
        if name.endswith(("b2", "b3", "l3", "l4")):
            continue
        rng = np.random.default_rng(number)
        samples = int(rng.integers(4_000, 12_000))
        waveform = np.sin(np.arange(samples) * rng.uniform(0.02, 0.1)) + 0.1 * rng.standard_normal(samples)
        soundfile.write(root / "f1" / f"{name}.wav", 0.3 * waveform, 22_050)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Where features are kept for all tests that do not damage them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def build(tiny_corpus, cache):
    """Build a configuration of the small corpus, 13 MFCCs and 16 frames: build(features={"n_mfcc": 20})."""

    def build(data=(), features=(), train=(), augment=None) -> Config:
        return Config(
            data={"root": tiny_corpus, "cache_dir": cache, **dict(data)},
            features={"signal_length": 8_000, "n_mfcc": 13, **dict(features)},
            train={"batch_size": 16, **dict(train)},
            model={"aug": augment is not None},
            augment=augment or {},
        )

    return build


@pytest.fixture(scope="session")
def data(build) -> Data:
    """The small corpus with its features, split by seed 0."""
    return prepare_data(build(), progress=False)


@pytest.fixture
def on_disk(monkeypatch):
    """Keep frames of any size on disk from now on: on_disk()."""

    def on_disk(most: int = 0) -> None:
        for module in ("dataloader.features.cache", "dataloader.loaders"):
            monkeypatch.setattr(sys.modules[module], "MOST_IN_MEMORY", most)

    return on_disk

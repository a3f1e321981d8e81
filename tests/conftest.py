"""Fixtures that several test packages share."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.corpora.readers import EMOVO_NAMES
from utils.emotions import EMOTIONS

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def bars_as_in_a_terminal(monkeypatch):
    """Executing a notebook sets this for its process; no other test is to see it."""
    monkeypatch.delenv("CKTIM_PROGRESS", raising=False)


@pytest.fixture(scope="session")
def processes():
    """For `.Process` and `.Event`: processes that begin with all imported, and none of our threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.train"])
    return context


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def emovo_root() -> Path:
    """The real corpus, where it is on disk; tests that need it are skipped elsewhere."""
    places = (os.environ.get("EMOVO_ROOT"), REPOSITORY / "../shared/data/EMOVO", REPOSITORY / "dataset/EMOVO")
    for root in places:
        if root and Path(root).exists():
            return Path(root).resolve()
    pytest.skip("EMOVO is not on disk")


@pytest.fixture(scope="session")
def emovo_original_root() -> Path:
    """A few of EMOVO's files as distributed (48 kHz stereo WAV), where they are on disk."""
    root = REPOSITORY / "../shared/data/EMOVO_original"
    if not root.exists():
        pytest.skip("EMOVO's original files are not on disk")
    return root.resolve()


@pytest.fixture(scope="session")
def tiny_emovo(tmp_path_factory) -> Path:
    """A folder in EMOVO's layout, not to be changed: one speaker's 98 short sounds, a pitch an emotion."""
    root = tmp_path_factory.mktemp("tiny") / "EMOVO"
    (root / "f1").mkdir(parents=True)
    for number, name in enumerate(name for name in EMOVO_NAMES if "-f1-" in name):
        rng = np.random.default_rng(number)
        frequency = 300 * 1.3 ** EMOTIONS.index(name[:3]) * rng.uniform(0.9, 1.1)  # Hz
        wave = np.sin(2 * np.pi * frequency * np.arange(4_000) / 22_050) + 0.5 * rng.standard_normal(4_000)
        soundfile.write(root / "f1" / f"{name}.wav", 0.3 * wave, 22_050)
    return root

"""Fixtures for corpora and features."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.corpora.readers import EMOVO_NAMES


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

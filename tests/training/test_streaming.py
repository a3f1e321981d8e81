"""Training from features on disk takes little memory (the same batches: dataloader/features/test_cache)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.emotions import EMOTIONS

# Extraction, variants and an epoch in a process of its own; it prints its peak of resident memory in GiB.
PEAK = """
import resource, sys
from training.train import main
main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def make_recordings(root: Path, count: int, samples: int) -> list[str]:
    """Twenty different noises under many names (hard links), and the overrides to read them by."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / EMOTIONS[number % 7]
        folder.mkdir(exist_ok=True)
        path, original = folder / f"{number}.wav", root / EMOTIONS[number % 20 % 7] / f"{number % 20}.wav"
        if number < 20:
            soundfile.write(path, rng.uniform(-0.3, 0.3, samples), 22_050, subtype="PCM_16")
        else:
            os.link(original, path)
    return ["data.corpus=folder", f"data.root={root}"]


@pytest.mark.slow
@pytest.mark.parametrize("augment", [[], ["model.aug=true", "augment.mode=online", "augment.variants=1"]])
def test_twenty_thousand_utterances_train_in_two_gibibytes(repository, tmp_path, augment):
    recordings = make_recordings(tmp_path / "recordings", 20_000, 68_000)
    places = [f"data.cache_dir={tmp_path}/cache", f"train.results_dir={tmp_path}/results"]
    overrides = [*recordings, *augment, *places, "train.num_epochs=1", "train.device=cpu"]
    command = [sys.executable, "-c", PEAK, *overrides]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    peak = float(result.stdout.split()[-1])
    print(f"peak of resident memory: {peak:.2f} GiB")
    assert peak < 2

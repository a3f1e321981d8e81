"""Training from features on disk takes little memory (the same batches: dataloader/features/test_cache)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.emotions import EMOTIONS

# Extraction, variants and an epoch in a process of its own; it prints the peak of its own memory in GiB,
# without pages of the mapped cache: the system takes them back when it needs them.
PEAK = """
import sys, threading, time
from training.train import main

peak = 0

def watch():
    global peak
    while True:
        with open("/proc/self/status") as status:
            peak = max(peak, int(status.read().split("RssAnon:")[1].split()[0]) / 2**20)
        time.sleep(0.05)

threading.Thread(target=watch, daemon=True).start()
main(sys.argv[1:])
print(peak)
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
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("augment", [[], ["model.aug=true", "augment.mode=online", "augment.variants=1"]])
def test_twenty_thousand_utterances_train_in_little_memory(repository, tmp_path, augment):
    recordings = make_recordings(tmp_path / "recordings", 20_000, 68_000)
    places = [f"data.cache_dir={tmp_path}/cache", f"train.results_dir={tmp_path}/results"]
    overrides = [*recordings, *augment, *places, "train.num_epochs=1", "train.device=cpu"]
    command = [sys.executable, "-c", PEAK, *overrides]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    peak = float(result.stdout.split()[-1])
    print(f"peak of memory: {peak:.2f} GiB")
    assert 0 < peak < 1.5

"""Processes that are killed while they fill a feature cache leave none that is wrong."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dataloader.corpora.find import find_corpus
from dataloader.features.extract import load_features
from utils.config import Config
from utils.emotions import EMOTIONS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")


def fill(config: Config, begun) -> None:
    """What the processes do that are killed."""
    torch.set_num_threads(1)
    begun.set()
    load_features(find_corpus(config.data), config, progress=False)


@pytest.mark.parametrize("kills", [4, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_process_that_is_killed_leaves_no_wrong_cache(processes, tmp_path, kills, storage):
    rng = np.random.default_rng(0)
    for number in range(140):
        folder = tmp_path / "recordings" / EMOTIONS[number % 7]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, 22_050), 22_050, subtype="PCM_16")

    def settings(cache: Path) -> Config:
        place = {"corpus": "folder", "root": tmp_path / "recordings", "cache_dir": cache, "storage": storage}
        return Config(data=place, features={"signal_length": 22_050}, model={"num_features": 13})

    undisturbed = settings(tmp_path / "undisturbed")
    corpus = find_corpus(undisturbed.data)
    wanted = load_features(corpus, undisturbed.features, undisturbed.data.cache_dir, progress=False)

    def begin(config: Config) -> multiprocessing.Process:
        begun = processes.Event()
        process = processes.Process(target=fill, args=(config, begun))
        process.start()
        assert begun.wait(60)
        return process

    process, started = begin(settings(tmp_path / "whole")), time.monotonic()
    process.join()
    seconds = time.monotonic() - started
    moments, killed = random.Random(5), 0
    for number in range(kills):
        config = settings(tmp_path / f"cache {number}")
        process = begin(config)
        process.join(moments.uniform(0, seconds))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        features = load_features(corpus, config.features, config.data.cache_dir, progress=False)
        assert torch.equal(features.frames[:], wanted.x[:])
        assert features.utterances == wanted.utterances and features.skipped == wanted.skipped
        again = load_features(corpus, config.features, config.data.cache_dir, progress=False)  # from the cache
        assert torch.equal(again.x[:], wanted.x[:])
    print(f"{kills} caches, {killed} processes killed")
    assert killed >= kills / 4

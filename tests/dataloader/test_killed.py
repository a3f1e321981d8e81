"""Processes that are killed while they fill a feature cache leave none that is wrong."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import soundfile
import torch

import dataloader.features.cache
from dataloader.corpora.find import find_corpus
from dataloader.features.extract import Features, load_features
from utils.config import Config
from utils.emotions import EMOTIONS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")


def fill(config: Config, most_in_memory: int, begun) -> None:
    """The work of the processes that are killed."""
    torch.set_num_threads(1)
    dataloader.features.cache.MOST_IN_MEMORY = most_in_memory
    begun.set()
    load_features(find_corpus(config.data), config.features, config.data.cache_dir, progress=False)


@pytest.mark.parametrize("kills", [4, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("most_in_memory", [2**30, 0])
def test_a_process_that_is_killed_leaves_no_wrong_cache(processes, tmp_path, on_disk, kills, most_in_memory):
    rng = np.random.default_rng(0)
    for number in range(140):
        folder = tmp_path / "recordings" / EMOTIONS[number % 7]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, 22_050), 22_050, subtype="PCM_16")
    on_disk(most_in_memory)

    def settings(cache: str) -> Config:
        place = {"corpus": "folder", "root": tmp_path / "recordings", "cache_dir": tmp_path / cache}
        return Config(data=place, features={"signal_length": 22_050, "n_mfcc": 13})

    def load(config: Config) -> Features:
        return load_features(corpus, config.features, config.data.cache_dir, progress=False)

    def begin(config: Config) -> multiprocessing.Process:
        begun = processes.Event()
        process = processes.Process(target=fill, args=(config, most_in_memory, begun))
        process.start()
        assert begun.wait(60)
        return process

    corpus = find_corpus(settings("undisturbed").data)
    wanted = load(settings("undisturbed"))
    process, started = begin(settings("whole")), time.monotonic()
    process.join()
    seconds = time.monotonic() - started
    moments, killed = random.Random(5), 0
    for number in range(kills):
        config = settings(f"cache {number}")
        process = begin(config)
        process.join(moments.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
        else:  # it was faster than the first one
            seconds *= 0.5
        for _ in range(2):  # then from the cache
            features = load(config)
            assert torch.equal(features.frames, wanted.frames)
            assert features.utterances == wanted.utterances and features.skipped == wanted.skipped
    print(f"{kills} caches, {killed} processes killed")
    assert killed >= kills / 4

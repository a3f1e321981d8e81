"""A corpus in memory whose emotions can be told apart, and a small configuration to train on it."""

from pathlib import Path

import pytest
import torch

from dataloader.corpora.demo import make_demo_corpus
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.extract import Features
from dataloader.loaders import Data
from dataloader.splits import draw_split
from training import train
from training.train import run_epoch
from utils.config import Config, DataConfig, FeaturesConfig
from utils.emotions import EMOTIONS

FRAMES, N_MFCC = 25, 6
FEATURES = {"signal_length": (FRAMES - 1) * 512, "n_mfcc": N_MFCC}
TRAIN = {"num_epochs": 3, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"}
MODEL = {"n_filter": 8, "n_temporal_aware_block": 2, "hidden_scale": 0.25}
# The corpus in memory has no recordings, so that only features are varied.
AUGMENT = {"mode": "online", "noise": 0.0, "stretch": 0.0, "pitch": 0.0, "reverb": 0.0}


@pytest.fixture
def data() -> Data:
    """7 emotions × 2 speakers × 10 sentences: noise around a mean of each emotion's own."""
    generator = torch.Generator().manual_seed(1234)
    means = 2 * torch.randn(len(EMOTIONS), N_MFCC, 1, generator=generator)
    utterances, frames = [], []
    for index, emotion in enumerate(EMOTIONS):
        for speaker in ("f1", "m1"):
            for sentence in range(10):
                path = Path(f"nowhere/{speaker}/{emotion}-{speaker}-s{sentence}.wav")
                utterances.append(Utterance(path, emotion, speaker, f"s{sentence}"))
                frames.append(10 + 3 * (means[index] + torch.randn(N_MFCC, FRAMES, generator=generator)))
    corpus = Corpus("EMOVO", Path("nowhere"), tuple(utterances), EMOTIONS, ())
    features = Features(torch.stack(frames), None, tuple(utterances), {})
    split = draw_split(utterances, DataConfig(), 0, "EMOVO")
    return Data(corpus, features, split, FeaturesConfig(**FEATURES))


@pytest.fixture
def config(tmp_path):
    """Build a small configuration: config(train={"num_epochs": 2}, model={"ck": False})."""

    def build(train=(), model=(), features=(), augment=()) -> Config:
        return Config(
            features={**FEATURES, **dict(features)},
            augment={**AUGMENT, **dict(augment)},
            train={"results_dir": tmp_path / "results", **TRAIN, **dict(train)},
            model={**MODEL, **dict(model)},
        )

    return build


@pytest.fixture
def interrupt_at(monkeypatch):
    """Press Ctrl-C at some calls of run_epoch, counted from 1; returns the list that counts them."""

    def patch(*calls: int) -> list:
        made: list = []

        def interrupted(*arguments):
            made.append(1)
            if len(made) in calls:
                raise KeyboardInterrupt
            return run_epoch(*arguments)

        monkeypatch.setattr(train, "run_epoch", interrupted)
        return made

    return patch


TINY = {
    **{"features.signal_length": 8_192, "features.n_mels": 40, "features.n_mfcc": 13},
    **{"model.n_filter": 8, "model.hidden_scale": 0.25, "train.num_epochs": 1, "train.device": "cpu"},
}


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> dict:
    """Tiny settings of runs on the demo corpus, which is made once."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_corpus(folder / "corpus", progress=False)
    return TINY | {"data.root": str(folder / "corpus"), "data.cache_dir": str(folder / "cache")}

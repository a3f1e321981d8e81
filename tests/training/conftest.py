"""A corpus in memory whose emotions can be told apart, and a small configuration to train on it."""

from pathlib import Path

import pytest
import torch

from dataloader.corpora.demo import make_demo_corpus
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.cache import Features
from dataloader.loaders import Data
from dataloader.splits import holdout
from utils.config import Config
from utils.emotions import EMOTIONS

FRAMES, N_MFCC = 25, 6


def make_data(seed: int = 0) -> Data:
    """7 emotions × 2 speakers × 10 sentences: noise around a mean of each emotion's own."""
    generator = torch.Generator().manual_seed(1234)
    means = 2 * torch.randn(len(EMOTIONS), N_MFCC, 1, generator=generator)
    utterances, x = [], []
    for index, emotion in enumerate(EMOTIONS):
        for speaker in ("f1", "m1"):
            for sentence in range(10):
                path = Path(f"nowhere/{speaker}/{emotion}-{speaker}-s{sentence}.wav")
                utterances.append(Utterance(path, emotion, speaker, f"s{sentence}"))
                x.append(10 + 3 * (means[index] + torch.randn(N_MFCC, FRAMES, generator=generator)))
    corpus = Corpus("EMOVO", Path("nowhere"), tuple(utterances), EMOTIONS, ())
    features = Features(torch.stack(x), tuple(utterances), {})
    return Data(corpus, features, holdout(utterances, seed, 0.1, 0.2, "EMOVO"))


@pytest.fixture
def data() -> Data:
    return make_data()


@pytest.fixture
def config(tmp_path):
    """Build a small configuration: config(train={"num_epochs": 2}, model={"ck": False})."""

    def build(train=(), model=(), features=()):
        return Config(
            features={
                "signal_length": (FRAMES - 1) * 512,
                **dict(features),
            },
            train={
                "num_epochs": 3,
                "batch_size": 16,
                "learning_rate": 0.01,
                "device": "cpu",
                "results_dir": tmp_path / "results",
                **dict(train),
            },
            model={
                "num_features": N_MFCC,
                "n_filter": 8,
                "n_temporal_aware_block": 2,
                "hidden_scale": 0.25,
                **dict(model),
            },
        )

    return build


TINY = {
    "features.signal_length": 8_192,
    "features.n_mels": 40,
    "features.n_mfcc": 13,
    "model.n_filter": 8,
    "model.hidden_scale": 0.25,
    "train.num_epochs": 1,
    "train.device": "cpu",
}


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> dict:
    """Tiny settings of runs on the demo corpus, which is made once."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_corpus(folder / "corpus", progress=False)
    return TINY | {"data.root": str(folder / "corpus"), "data.cache_dir": str(folder / "cache")}

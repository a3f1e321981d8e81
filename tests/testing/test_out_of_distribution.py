"""Novelty: what is like the training set, what is not, and that it survives being written down."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dataloader.audio import fit_length, read_audio
from dataloader.corpora.find import read_corpus
from dataloader.features.extract import MFCC
from testing.out_of_distribution import QUANTILE, Novelty, fit_novelty, utterance_statistics
from utils.config import FeaturesConfig


def features(count: int, seed: int, frames: int = 60) -> torch.Tensor:
    """MFCCs (count, 25, frames) of syllables that rise fast and fall slowly, each at a level of its own."""
    rng = np.random.default_rng(seed)
    place = (np.arange(frames) + rng.uniform(0, 12, (count, 1))) % 12
    syllables = np.where(place < 2, place / 2, 1 - (place - 2) / 10)[:, None]
    sizes = rng.uniform(15, 25, (count, 25, 1)) * np.exp(-np.arange(25) / 8)[:, None]
    x = sizes * syllables + rng.normal(0, 8, (count, 25, 1)) + 3 * rng.standard_normal((count, 25, frames))
    return torch.from_numpy(x.astype(np.float32))


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return fitted(features(300, seed=0), features(100, seed=1))


def fitted(training: torch.Tensor, validation: torch.Tensor) -> Novelty:
    rows = range(len(training) + len(validation))
    return fit_novelty(torch.cat([training, validation]), rows[: len(training)], rows[len(training) :])


def test_the_threshold_lets_through_what_it_says(novelty):
    assert np.mean(novelty(features(100, seed=1)) <= 1) == pytest.approx(QUANTILE, abs=0.011)
    assert np.mean(novelty(features(500, seed=2)) <= 1) > 0.85


def test_other_sounds_are_novel(novelty):
    own = features(100, seed=3)
    noise = 20 * torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    others = {"backwards": own.flip(-1), "noise": noise, "flat": torch.zeros_like(own), "louder": own + 40}
    for name, x in others.items():
        scores = novelty(x)
        assert scores.dtype == np.float64 and np.isfinite(scores).all(), name
        assert np.mean(scores > 1) > 0.9, name


def test_it_is_the_mahalanobis_distance_of_standardised_statistics(novelty):
    x = features(5, seed=4)
    away = (utterance_statistics(x) - novelty.location) / novelty.scale
    expected = [np.sqrt(row @ novelty.precision @ row) / novelty.threshold for row in away]
    assert novelty(x) == pytest.approx(expected)
    trained = utterance_statistics(features(300, seed=0))
    assert novelty.location == pytest.approx(trained.mean(0))
    assert novelty.scale == pytest.approx(trained.std(0))


def test_it_can_be_written_and_read(novelty):
    text = json.dumps(novelty.to_dict())
    assert len(text) < 100_000
    x = features(20, seed=5)
    assert Novelty.from_dict(json.loads(text))(x) == pytest.approx(novelty(x), rel=1e-3)


@pytest.mark.parametrize(("n_mfcc", "frames"), [(13, 9), (1, 1), (39, 188), (3, 2)])
def test_any_number_of_coefficients_and_frames(n_mfcc, frames):
    x = torch.randn(30, n_mfcc, frames, generator=torch.Generator().manual_seed(0))
    assert np.isfinite(fit_novelty(x, range(20), range(20, 30))(x)).all()


def test_emovos_speech_is_told_from_other_sounds(emovo_root):
    """On a third of EMOVO."""
    mfcc, rng = MFCC(FeaturesConfig()), np.random.default_rng(0)
    utterances = read_corpus("emovo", emovo_root).utterances
    waves = [read_audio(utterance.path) for utterance in rng.permutation(utterances)[:180]]

    def of(sounds: list[np.ndarray]) -> torch.Tensor:
        return torch.cat([mfcc(torch.from_numpy(fit_length(sound, 96_000))[None]) for sound in sounds])

    novelty, test = fitted(of(waves[:100]), of(waves[100:140])), waves[140:]
    own = novelty(of(test))
    assert np.mean(own > 1) < 0.3
    time = [np.arange(len(wave)) / 22_050 for wave in test]
    others = {
        "noise": [wave.std() * rng.standard_normal(len(wave), dtype=np.float32) for wave in test],
        "a tone": [0.1 * np.sin(2 * np.pi * 440 * t).astype(np.float32) for t in time],
    }
    for name, sounds in others.items():
        scores = novelty(of(sounds))
        assert roc_auc_score([0] * len(own) + [1] * len(own), [*own, *scores]) > 0.95, name

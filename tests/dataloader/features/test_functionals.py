"""Statistics of utterances whose features are known, and their deviations by speaker."""

import math

import numpy as np
import pytest
import torch

from dataloader.augment.features import Draws, FeatureAugmentation
from dataloader.features.functionals import below_frames, utterance_statistics
from dataloader.features.normalise import deviations
from dataloader.loaders import prepare_data
from utils.config import (
    PROSODY,
    STATISTICS,
    TIMING,
    AugmentConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    ModelConfig,
)

FEATURES = 3 + len(PROSODY)


def utterances(values: np.ndarray, speech: np.ndarray, voiced: np.ndarray) -> torch.Tensor:
    """(1, FEATURES, frames): all features have these values."""
    x = np.stack([values] * (FEATURES - 2) + [speech, voiced]).astype(np.float32)
    return torch.from_numpy(x)[None]


def test_the_statistics_of_a_ramp():
    speech, voiced = np.zeros(20), np.zeros(20)
    speech[4:15], voiced[5:12] = 1, 1
    x = utterances(np.arange(20) / 10, speech, voiced)
    found = utterance_statistics(x)[0, : -len(TIMING)].view(FEATURES - 2, len(STATISTICS)).numpy()

    def expected(low: int, high: int) -> list[float]:  # frames, both included
        ramp = np.arange(low, high + 1) / 10
        quantiles = [ramp[0] + share * (ramp[-1] - ramp[0]) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
        std = np.sqrt(((ramp - ramp.mean()) ** 2).mean())
        trend = sum(value * (2 * i / (len(ramp) - 1) - 1) for i, value in enumerate(ramp)) / len(ramp)
        return [ramp.mean(), std, *quantiles, 0.9 * (ramp[-1] - ramp[0]), 0.1, trend]

    for row, values in enumerate(found):
        name = PROSODY[row - 3] if row >= 3 else "mfcc"
        frames = {"pitch": (5, 11), "pitch_change": (6, 11)}.get(name, (4, 14))
        np.testing.assert_allclose(values, expected(*frames), atol=1e-6, err_msg=name)


def test_timing_is_that_between_the_first_and_the_last_frame_of_speech():
    speech = np.array([0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0])
    voiced = np.array([0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0])
    found = utterance_statistics(utterances(np.zeros(12), speech, voiced))[0, -len(TIMING) :]
    np.testing.assert_allclose(found, [10, 8 / 10, 5 / 10, 3 / 9, 1 / 9], rtol=1e-6)


@pytest.mark.parametrize("spoken", [0, 1, 2])
def test_hardly_any_speech_gives_numbers_all_the_same(spoken):
    speech = (np.arange(9) < spoken).astype(float)
    found = utterance_statistics(utterances(np.ones(9), speech, speech))
    assert found.isfinite().all() and (found[0, : -len(TIMING)] == 0).all()


def test_deviations_are_from_each_speakers_own():
    values = torch.randn(40, 7, generator=torch.manual_seed(0)) * 3 + 5
    values[:20] += 10
    values[:, 6] = 2.0  # says nothing
    speakers = ["a"] * 20 + ["b"] * 20
    found = deviations(values, speakers)
    for rows in (slice(20), slice(20, 40)):
        torch.testing.assert_close(found[rows].mean(0), torch.zeros(7), atol=1e-5, rtol=0)
        torch.testing.assert_close(found[rows, :6].std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert (found[:, 6] == 0).all()
    values[3, 0] = 1e6
    assert deviations(values, speakers)[3, 0] == 4.0


def test_deviations_within_a_sentence_are_from_the_speakers_own_of_that_sentence():
    values = torch.randn(41, 7, generator=torch.manual_seed(0)) * 3 + 5
    speakers, sentences = ["a"] * 20 + ["b"] * 21, ["x", "y"] * 20 + ["z"]
    values[::2] += 10  # of the sentence, not of the speaker
    before = values.clone()
    found = deviations(values, speakers, sentences)
    assert torch.equal(values, before)
    for first, last in ((0, 20), (20, 40)):
        for sentence in (0, 1):
            rows = slice(first + sentence, last, 2)
            torch.testing.assert_close(found[rows].mean(0), torch.zeros(7), atol=1e-5, rtol=0)
            ratio = (values[rows] - values[rows].mean(0)) / found[rows]  # one scale for all of a speaker's
            torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[:20].std(0, correction=0), torch.ones(7), atol=1e-4, rtol=0)
    assert found[40].abs().max() < 1e-5  # said once, it tells nothing of how it differs
    torch.testing.assert_close(deviations(values, speakers, ["x"] * 41), deviations(values, speakers))


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_a_corpus_has_them_below_its_frames(tiny_corpus, tmp_path):
    def x(statistics: bool) -> tuple[torch.Tensor, ModelConfig]:
        data = DataConfig(root=tiny_corpus, cache_dir=tmp_path, test_fraction=0.2)
        features = FeaturesConfig(signal_length=8192, prosody=True, by_speaker=True)
        config = Config(
            data=data, features=features, model=ModelConfig(num_features=12, statistics=statistics)
        )
        return prepare_data(config, progress=False).features.frames, config.model

    (plain, _), (found, model) = x(False), x(True)
    count, frames = model.num_statistics, plain.shape[-1]
    assert found.shape[1] == 12 + math.ceil(count / frames) and torch.equal(found[:, :12], plain)
    below = found[:, 12:].flatten(1)
    assert (below[:, count:] == 0).all() and len(below[:, :count].unique()) > 100


def test_masks_and_shifts_leave_them_as_they_are():
    always = {"mode": "online", "variants": 0, "gain": 1.0, "masks": 4, "time_mask": 1.0}
    settings = AugmentConfig(**always, coefficient_mask=1.0, time_mask_range=(0.5, 0.9))
    augmentation = FeatureAugmentation(settings, 0, torch.zeros(5), 30, 128)
    draws: Draws = augmentation.draw([f"utterance {i}" for i in range(6)], 0)
    frames, statistics = torch.randn(6, 5, 30), torch.randn(6, 9)
    x = below_frames(frames, statistics)
    varied = augmentation.apply(x.clone(), draws)
    assert torch.equal(varied[:, 5:], x[:, 5:])
    assert torch.equal(varied[:, :5], augmentation.apply(frames.clone(), draws))
    assert not torch.equal(varied[:, :5], frames)

"""Functionals of utterances whose features are known."""

import numpy as np
import pytest
import torch

from dataloader.features.functionals import functionals_of
from utils.config import FUNCTIONALS, PROSODY, TIMING, FeaturesConfig

FEATURES = 3 + len(PROSODY)


def utterance(values: np.ndarray, speech: np.ndarray, voiced: np.ndarray) -> torch.Tensor:
    """(1, FEATURES, frames): all features have these values."""
    x = np.stack([values] * (FEATURES - 2) + [speech, voiced]).astype(np.float32)
    return torch.from_numpy(x)[None]


def test_the_functionals_of_a_ramp():
    speech, voiced = np.zeros(20), np.zeros(20)
    speech[4:15], voiced[5:12] = 1, 1
    found = functionals_of(utterance(np.arange(20) / 10, speech, voiced))
    settings = {"n_mfcc": 3, "prosody": True, "normalise": "speaker", "functionals": True}
    assert found.shape == (1, FeaturesConfig(**settings).num_functionals) and found.dtype == torch.float32
    found = found[0, : -len(TIMING)].view(FEATURES - 2, len(FUNCTIONALS)).numpy()

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
    found = functionals_of(utterance(np.zeros(12), speech, voiced))[0, -len(TIMING) :]
    np.testing.assert_allclose(found, [10, 8 / 10, 5 / 10, 3 / 9, 1 / 9], rtol=1e-6)


@pytest.mark.parametrize("spoken", [0, 1, 2])
def test_hardly_any_speech_gives_finite_numbers(spoken):
    speech = (np.arange(9) < spoken).astype(float)
    found = functionals_of(utterance(np.ones(9), speech, speech))
    assert found.isfinite().all() and (found[0, : -len(TIMING)] == 0).all()

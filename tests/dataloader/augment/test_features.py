"""Changes to features: each as the change of the waveform that it stands for, and draws that repeat."""

import numpy as np
import pytest
import torch

from dataloader.audio import fit_length
from dataloader.augment.features import FeatureAugmentation
from dataloader.features.extract import MFCC
from utils.config import AugmentConfig, FeaturesConfig

RATE = 22_050
NAMES = [f"utterance {number}" for number in range(40)]


@pytest.fixture
def augmentation(nothing):
    """Build an augmentation of 13 features with only what is asked for: augmentation(gain=1.0)."""

    def build(frames: int = 50, **settings) -> FeatureAugmentation:
        settings = AugmentConfig(**{**nothing, "mode": "online", **settings})
        return FeatureAugmentation(settings, 0, torch.arange(13) + 1000.0, frames, n_mels=128)

    return build


def mfccs(waveforms: np.ndarray, settings: FeaturesConfig) -> torch.Tensor:
    return MFCC(settings)(torch.from_numpy(waveforms))


def test_nothing_asked_for_changes_nothing(augmentation):
    varied, x = augmentation(), torch.randn(40, 13, 50)
    assert torch.equal(varied.apply(x.clone(), varied.draw(NAMES, 0)), x)


def test_gain_is_that_of_the_waveform(augmentation, wave):
    settings = FeaturesConfig(signal_length=2 * RATE, n_mfcc=13)
    padded = fit_length(wave, 2 * RATE)
    varied = augmentation(settings.frames, gain=1.0, gain_range=(-20.0, 20.0))
    draws = varied.draw(NAMES, 0)
    assert draws.gain.min() < -10 and draws.gain.max() > 10
    louder = np.stack([padded * 10 ** (gain / 20) for gain in draws.gain]).astype(np.float32)
    found = varied.apply(mfccs(padded[None], settings).repeat(40, 1, 1), draws)
    torch.testing.assert_close(found, mfccs(louder, settings), rtol=0, atol=1e-2)


def test_a_frame_shift_is_that_of_the_waveform_where_it_is_padded(augmentation, wave):
    settings = FeaturesConfig(signal_length=3 * RATE, n_mfcc=13)
    padded = fit_length(wave, 3 * RATE)
    varied = augmentation(settings.frames, frame_shift=1.0, frame_shift_range=(0.05, 0.2))
    draws = varied.draw(NAMES, 0)
    assert set(abs(draws.shift)) <= set(range(6, 27)) and draws.shift.min() < 0 < draws.shift.max()
    moved = np.stack([np.roll(padded, frames * 512) for frames in draws.shift])
    found = varied.apply(mfccs(padded[None], settings).repeat(40, 1, 1), draws)
    torch.testing.assert_close(found, mfccs(moved, settings), rtol=0, atol=1e-2)


def test_masks_cover_what_is_drawn_with_the_mean_and_nothing_else(augmentation):
    ranges = {"time_mask_range": (0.1, 0.2), "coefficient_mask_range": (0.0, 0.3)}
    varied = augmentation(masks=2, time_mask=1.0, coefficient_mask=1.0, **ranges)
    draws, x = varied.draw(NAMES, 0), torch.randn(40, 13, 50)
    y = varied.apply(x.clone(), draws)
    for row in range(40):
        hidden = torch.zeros(13, 50, dtype=torch.bool)
        for begin, end in draws.time_masks[row]:
            assert 0 <= begin < end <= 50 and 5 <= end - begin <= 10
            hidden[:, begin:end] = True
        for begin, end in draws.coefficient_masks[row]:
            assert 0 <= begin <= end <= 13 and end - begin <= 4
            hidden[begin:end] = True
        assert torch.equal(y[row], torch.where(hidden, varied.mean[:, None], x[row]))
    assert len({tuple(mask) for masks in draws.time_masks for mask in masks}) > 40


def test_utterances_that_are_to_stay_as_they_are_do(augmentation):
    varied = augmentation(gain=1.0, frame_shift=1.0, time_mask=1.0, coefficient_mask=1.0, mixup=1.0)
    untouched = np.arange(40) % 4 == 0
    draws, x = varied.draw(NAMES, 0), torch.randn(40, 13, 50)
    some = draws.without(untouched)
    found, all_varied = varied.apply(x.clone(), some), varied.apply(x.clone(), draws)
    assert torch.equal(found[untouched], x[untouched]) and (some.share[untouched] == 1).all()
    assert torch.equal(found[~untouched], all_varied[~untouched])


def test_probabilities_hold_over_many_draws(augmentation):
    varied = augmentation(gain=0.3, mixup=0.6, mixup_alpha=1.0, noise=0.5, variants=3)
    draws = varied.draw([str(number) for number in range(2_000)], 0)
    assert np.mean(draws.gain != 0) == pytest.approx(0.3, abs=0.05)
    assert np.mean(draws.share < 1) == pytest.approx(0.6, abs=0.05)
    assert np.bincount(draws.variant) == pytest.approx([500] * 4, rel=0.2)


def test_each_epoch_and_seed_draws_anew(augmentation):
    varied = augmentation(gain=1.0)
    first = varied.draw(NAMES, 0).gain
    assert len(set(first)) == len(NAMES) and np.array_equal(varied.draw(NAMES, 0).gain, first)
    assert not np.isin(varied.draw(NAMES, 1).gain, first).any()
    varied.seed = 1
    assert not np.isin(varied.draw(NAMES, 0).gain, first).any()


def test_no_utterances_draws_depend_on_the_others(augmentation):
    varied = augmentation(gain=1.0, frame_shift=1.0, time_mask=1.0, mixup=1.0)
    together, alone = varied.draw(NAMES, 3), varied.draw(NAMES[7:8], 3)
    assert together.gain[7] == alone.gain[0]
    assert np.array_equal(together.time_masks[7], alone.time_masks[0])
    assert (together.partner[7], together.share[7]) == (alone.partner[0], alone.share[0])

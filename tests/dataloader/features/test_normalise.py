"""Features and functionals as deviations from their speaker's own."""

import torch

from dataloader.features.functionals import functionals_of
from dataloader.features.normalise import by_speaker, deviations, normalise
from dataloader.loaders import prepare_data
from utils.config import PROSODY, FeaturesConfig

SPEAKERS = ["a", "b", "a", "b", "a"]


def raw_frames() -> torch.Tensor:
    """(5, 10, 40): two MFCCs and prosody, with another voice for speaker b."""
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(5, 2 + len(PROSODY), 40)
    x[1::2] = 10 * x[1::2] - 5
    x[:, -2] = (torch.rand(5, 40) > 0.3).float()
    x[:, -1] = x[:, -2] * (torch.rand(5, 40) > 0.3)
    return x


def test_frames_are_deviations_over_the_speakers_speech_and_pitch_over_voiced_frames():
    x = raw_frames()
    result = by_speaker(x, SPEAKERS)
    for rows in ([0, 2, 4], [1, 3]):
        for row, mask in ((0, x[rows, -2] > 0), (2, x[rows, -1] > 0)):
            counted = result[rows, row][mask]
            assert counted.mean().abs() < 1e-5 and (counted.std(correction=0) - 1).abs() < 1e-4
            assert (result[rows, row][~mask] == 0).all()
    assert torch.equal(result[::2], by_speaker(x[::2], ["a"] * 3))  # nothing depends on other speakers
    assert set(result[:, -2:].unique().tolist()) == {-0.5, 0.5}
    x[::2, -2:] = 0
    silent = by_speaker(x, SPEAKERS)
    assert (silent[::2, :-2] == 0).all() and silent.isfinite().all()


def test_functionals_are_deviations_from_each_speakers_own_of_at_most_4():
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


def test_the_configuration_says_which_are_made():
    x = raw_frames()
    before = x.clone()
    frames, functionals = normalise(x, SPEAKERS, FeaturesConfig(prosody=True))
    assert torch.equal(frames, before) and functionals is None
    settings = {"prosody": True, "normalise": "speaker"}
    frames, functionals = normalise(x, SPEAKERS, FeaturesConfig(**settings))
    assert torch.equal(frames, by_speaker(x, SPEAKERS)) and functionals is None
    again, functionals = normalise(x, SPEAKERS, FeaturesConfig(**settings, functionals=True))
    assert torch.equal(again, frames)
    assert torch.equal(functionals, deviations(functionals_of(x), SPEAKERS))  # of raw frames
    assert torch.equal(x, before)


def test_a_corpus_by_speaker(build):
    settings = {"signal_length": 8_192, "n_mfcc": 4, "prosody": True}
    raw = prepare_data(build(features=settings), progress=False).features
    settings |= {"normalise": "speaker", "functionals": True}
    data = prepare_data(build(features=settings), progress=False)
    speakers = [utterance.speaker for utterance in data.features.utterances]
    assert torch.equal(data.features.frames, by_speaker(raw.frames, speakers)) and raw.functionals is None
    expected = deviations(functionals_of(raw.frames), speakers)
    assert torch.equal(data.features.functionals, expected)
    assert torch.equal(data.arrays("test").functionals, expected[data.rows("test")])

"""Features and functionals as deviations from their speaker's own."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dataloader.features.functionals import functionals_of
from dataloader.features.normalise import SpeakerNorm, normalise, raw_functionals
from dataloader.features.prosody import counted
from dataloader.loaders import prepare_data
from utils.config import PROSODY, FeaturesConfig
from utils.errors import UserError

SPEAKERS = ["a", "b", "a", "b", "a"]
FEATURES = FeaturesConfig(n_mfcc=2, prosody=True, normalise="speaker")
WITH_FUNCTIONALS = FEATURES.model_copy(update={"functionals": True})


def by_speaker(x: Tensor, speakers: list[str]) -> Tensor:
    """Frames as the runs so far were trained on: the formula row by row."""
    names, masks, result = np.array(speakers), counted(x), torch.zeros_like(x)
    for speaker in np.unique(names):
        rows = torch.from_numpy(np.flatnonzero(names == speaker))
        for row in range(x.shape[1] - 2):
            values, mask = x[rows, row], masks[rows, row]
            if mask.any():
                scaled = (values - values[mask].mean()) / (values[mask].std(correction=0) + 1e-6)
                result[rows, row] = torch.where(mask, scaled, 0.0)
    result[:, -2:] = x[:, -2:] - 0.5
    return result


def deviations(functionals: Tensor, speakers: list[str]) -> Tensor:
    """Functionals likewise."""
    names, result = np.array(speakers), torch.empty_like(functionals)
    for speaker in np.unique(names):
        rows = torch.from_numpy(names == speaker)
        own = functionals[rows]
        result[rows] = ((own - own.mean(0)) / (own.std(0, correction=0) + 1e-6)).clamp(-4, 4)
    return result


def raw_frames() -> torch.Tensor:
    """(5, 10, 40): two MFCCs and prosody, with another voice for speaker b."""
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(5, 2 + len(PROSODY), 40)
    x[1::2] = 10 * x[1::2] - 5
    x[:, -2] = (torch.rand(5, 40) > 0.3).float()
    x[:, -1] = x[:, -2] * (torch.rand(5, 40) > 0.3)
    return x


@pytest.mark.parametrize("utterances", [1, 5, 60])
def test_norms_change_no_bit_of_what_runs_were_trained_on(utterances):
    torch.manual_seed(0)
    x = 30 * torch.randn(utterances, 39 + len(PROSODY), 188) - 12
    x[:, -2] = (torch.rand(utterances, 188) > 0.3).float()
    x[:, -1] = x[:, -2] * (torch.rand(utterances, 188) > 0.3)
    x[::3, -1] = 0  # a speaker without a voiced frame
    speakers = [f"s{number % 3}" for number in range(utterances)]
    frames, functionals, norms = normalise(x, speakers, WITH_FUNCTIONALS)
    assert torch.equal(frames, by_speaker(x, speakers))
    assert torch.equal(functionals, deviations(functionals_of(x), speakers))
    assert norms.keys() == set(speakers)


def test_frames_are_deviations_over_the_speakers_speech_and_pitch_over_voiced_frames():
    x = raw_frames()
    result = normalise(x, SPEAKERS, FEATURES)[0]
    for rows in ([0, 2, 4], [1, 3]):
        for row, mask in ((0, x[rows, -2] > 0), (2, x[rows, -1] > 0)):
            counted = result[rows, row][mask]
            assert counted.mean().abs() < 1e-5 and (counted.std(correction=0) - 1).abs() < 1e-4
            assert (result[rows, row][~mask] == 0).all()
    assert torch.equal(
        result[::2], normalise(x[::2], ["a"] * 3, FEATURES)[0]
    )  # nothing depends on other speakers
    assert set(result[:, -2:].unique().tolist()) == {-0.5, 0.5}
    x[::2, -2:] = 0
    silent = normalise(x, SPEAKERS, FEATURES)[0]
    assert (silent[::2, :-2] == 0).all() and silent.isfinite().all()


def test_functionals_are_deviations_from_the_speakers_own_of_at_most_4():
    x = raw_frames()[:1].expand(40, -1, -1)
    values = torch.randn(40, 7, generator=torch.manual_seed(0)) * 3 + 5
    values[:, 6] = 2.0  # says nothing

    def found():
        norm = SpeakerNorm.of(x, values)
        return norm.apply(x, values)[1]

    torch.testing.assert_close(found().mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(found()[:, :6].std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert (found()[:, 6] == 0).all()
    values[3, 0] = 1e6
    assert found()[3, 0] == 4.0


def test_another_recording_is_measured_by_the_norm_of_the_others():
    x = raw_frames()
    functionals = raw_functionals(x, WITH_FUNCTIONALS)
    norm = SpeakerNorm.of(x[[0, 2]], functionals[[0, 2]])
    frames, further = norm.apply(x[4:], functionals[4:])
    for row, mask in ((1, x[:, -2] > 0), (2, x[:, -1] > 0)):
        own = x[[0, 2], row][mask[[0, 2]]].double()
        expected = (x[4, row].double() - own.mean()) / own.std(correction=0)
        torch.testing.assert_close(frames[0, row], torch.where(mask[4], expected, 0).float())
    own = functionals[[0, 2]]
    expected = (functionals[4] - own.mean(0)) / (own.std(0, correction=0) + 1e-6)
    torch.testing.assert_close(further[0], torch.where(own[0] == own[1], 0, expected.clamp(-4, 4)))
    assert SpeakerNorm.of(x[:1], functionals[:1]).apply(x, functionals)[1].eq(0).all()  # one has no spread
    swapped = SpeakerNorm.of(x[[2, 0]], functionals[[2, 0]])
    torch.testing.assert_close(swapped.mean, norm.mean)
    torch.testing.assert_close(swapped.std, norm.std)


def test_a_norm_of_few_recordings_is_drawn_to_the_populations():
    x = raw_frames()
    x[0, -1] = 0
    functionals = raw_functionals(x, WITH_FUNCTIONALS)
    norms = [SpeakerNorm.of(x[rows], functionals[rows]) for rows in ([1, 3], [2, 4])]
    population = SpeakerNorm.mean_of(norms)
    torch.testing.assert_close(population.std, (norms[0].std + norms[1].std) / 2)
    own = SpeakerNorm.of(x[[0, 2]], functionals[[0, 2]])
    assert own.count[:2].tolist() == [2, 2] and own.count[2] == 1  # pitch: voiced in one of the two
    shrunk = own.shrunk(population, 3)
    share = torch.tensor([2 / 5, 2 / 5, 1 / 4])
    for key in ("mean", "std"):
        values, usual = getattr(own, key)[:3], getattr(population, key)[:3]
        torch.testing.assert_close(getattr(shrunk, key)[:3], share * values + (1 - share) * usual)
        torch.testing.assert_close(getattr(own.shrunk(population, 0), key), getattr(own, key))
    silent = x[:1].clone()
    silent[0, -2:] = 0
    unvoiced = SpeakerNorm.of(silent, raw_functionals(silent, FEATURES)).shrunk(
        SpeakerNorm.of(x, torch.empty(5, 0)), 0
    )
    torch.testing.assert_close(unvoiced.mean, SpeakerNorm.of(x, torch.empty(5, 0)).mean)  # nothing is known
    for prior in (-1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="prior"):
            own.shrunk(population, prior)


def test_the_configuration_says_which_are_made():
    x = raw_frames()
    before = x.clone()
    frames, functionals, norms = normalise(x, SPEAKERS, FeaturesConfig(prosody=True))
    assert torch.equal(frames, before) and functionals is None and not norms
    frames, functionals, _ = normalise(x, SPEAKERS, FEATURES)
    assert torch.equal(frames, by_speaker(x, SPEAKERS)) and functionals is None
    again, functionals, _ = normalise(x, SPEAKERS, WITH_FUNCTIONALS)
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


def test_speakers_without_a_name_have_no_norm(build, monkeypatch):
    """Else all of them would be taken for one speaker."""
    monkeypatch.setattr("dataloader.splits.is_unknown", lambda speaker: speaker == "f1")
    settings = {"signal_length": 8_192, "n_mfcc": 4, "prosody": True}
    assert prepare_data(build(features=settings), progress=False)
    with pytest.raises(UserError, match=r"does not name the speaker of .*normalise=none"):
        prepare_data(build(features={**settings, "normalise": "speaker"}), progress=False)

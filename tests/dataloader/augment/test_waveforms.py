"""Changes to waveforms: what each does, and that the variants of the training set repeat."""

import warnings
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch

import dataloader.augment.waveforms as waveforms
from dataloader.audio import condition, fit_length, read_audio
from dataloader.features.extract import MFCC, Extractor
from dataloader.features.normalise import normalise
from dataloader.loaders import prepare_data
from utils.config import AugmentConfig, FeaturesConfig

RATE = 22_050


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(frequency: float) -> np.ndarray:
    """A second of a sine of so many Hz."""
    return np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE).astype(np.float32)


def pitch_of(wave: np.ndarray) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return np.fft.rfftfreq(len(wave), 1 / RATE)[spectrum.argmax()]


@pytest.mark.parametrize("snr", [-5.0, 10.0, 40.0])
def test_noise_has_the_ratio_asked_for_and_is_white(wave, snr):
    noise = waveforms.add_noise(wave, snr, rng()).astype(np.float64) - wave
    ratio = np.square(wave, dtype=np.float64).sum() / np.square(noise).sum()
    assert 10 * np.log10(ratio) == pytest.approx(snr, abs=0.05)
    low, high = (part.mean() for part in np.array_split(np.abs(np.fft.rfft(noise)) ** 2, 2))
    assert low == pytest.approx(high, rel=0.1)


@pytest.mark.parametrize("share", [0.05, -0.05, 0.3, -0.3, 0.0])
def test_a_shift_leaves_zeros_behind_and_keeps_the_length(wave, share):
    wave = wave + 1  # no zeros of its own
    shifted, samples = waveforms.shift(wave, share), round(abs(share) * len(wave))
    zeros, rest = np.zeros(samples), slice(0, len(wave) - samples) if share >= 0 else slice(samples, None)
    parts = (zeros, wave[rest]) if share >= 0 else (wave[rest], zeros)
    assert np.array_equal(shifted, np.concatenate(parts))


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.9, 1.1, 1.5, 2.0])
def test_a_stretch_changes_the_duration_and_not_the_pitch(speed):
    stretched = waveforms.stretch(tone(440), speed)
    assert len(stretched) == pytest.approx(RATE / speed, abs=1)
    assert pitch_of(stretched) == pytest.approx(440, rel=0.01)
    assert np.array_equal(stretched, librosa.effects.time_stretch(tone(440), rate=speed))


@pytest.mark.parametrize("semitones", [-4.0, 3.0, 12.0])
def test_another_pitch_keeps_the_duration(semitones):
    changed = waveforms.change_pitch(tone(440), semitones, RATE)
    assert len(changed) == RATE
    assert pitch_of(changed) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


def test_librosas_warnings_about_itself_are_not_shown(wave):
    with warnings.catch_warnings(record=True) as shown:
        waveforms.stretch(wave, 1.1)
        waveforms.change_pitch(wave, 1.0, RATE)
    assert not shown


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_another_speed_changes_pitch_and_duration(speed):
    varied = waveforms.perturb_speed(tone(400), speed)
    assert varied.dtype == np.float32 and len(varied) == pytest.approx(RATE / speed, abs=1)
    assert pitch_of(varied) == pytest.approx(400 * speed, abs=2)


def test_reversed_twice_is_the_same(wave):
    assert np.array_equal(waveforms.reverse(waveforms.reverse(wave)), wave)
    assert not np.array_equal(waveforms.reverse(wave), wave)


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_a_room_answers_a_click_with_a_decay_of_its_reverberation_time(seconds):
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    wet = waveforms.reverberate(click, seconds, RATE, rng())
    assert (wet[:100] ** 2).sum() < 1e-6
    assert np.linalg.norm(wet) == pytest.approx(1.0, rel=1e-4)
    tail = wet[101 : 101 + round(0.8 * seconds * RATE)]
    assert wet[100] ** 2 == pytest.approx(np.square(tail).sum(), rel=0.05)
    level = 10 * np.log10([np.square(part).mean() for part in np.array_split(tail, 8)])
    slope = np.polyfit(np.arange(8) * len(tail) / 8 / RATE, level, 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def test_all_variants_are_finite_float32_and_differ(wave, nothing):
    always = AugmentConfig(**dict.fromkeys(nothing, 1.0))
    variants = {
        **waveforms.published_variants(wave, rng()),
        **waveforms.further_variants(wave, AugmentConfig(), RATE, rng()),
        "drawn": waveforms.drawn_variant(wave, always, RATE, rng()),
    }
    assert len(variants) == 8
    for name, variant in variants.items():
        assert variant.dtype == np.float32 and len(variant) > 0 and np.isfinite(variant).all(), name
        assert variant.shape != wave.shape or not np.array_equal(variant, wave), name
    assert np.array_equal(waveforms.drawn_variant(wave, AugmentConfig(**nothing), RATE, rng()), wave)
    shown = waveforms.examples(wave, "a", FeaturesConfig(signal_length=9_000), AugmentConfig())
    assert len(shown) == 8 and {len(variant) for variant in shown.values()} == {9_000}


def test_the_published_variants_are_within_the_published_ranges(wave):
    speeds, shifts = set(), []
    for seed in range(40):
        names = list(waveforms.published_variants(wave[:2048], rng(seed)))
        assert names[0] == "white noise, 10 dB below" and names[3] == "backwards"
        shifts.append(int(names[1].split()[2]))
        speeds.add(float(names[2].removeprefix("speed × ")))
    assert speeds == {0.25, 0.5, 1.5, 2.0}
    assert all(5 <= abs(share) <= 30 for share in shifts) and min(shifts) < 0 < max(shifts)


def test_draws_depend_on_seed_name_and_number():
    given = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    draws = [waveforms.random_generator(*each).random() for each in given]
    assert len(set(draws)) == 4 and waveforms.random_generator(0, "a", 0).random() == draws[0]


# --- the variants of the training set ---


def pool_of(config, data, seed=0):
    own = None if config.features.normalise == "none" else data.arrays("train")[:2]
    settings = config.features, config.augment, seed, config.data.cache_dir
    variants = waveforms.corpus_variants(data.features.utterances, *settings, progress=False)
    pool = waveforms.training_pool(data.split.train, variants, own, config.features)
    return pool if pool.rows is None else replace(pool, frames=pool.frames[pool.rows], rows=None)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("mode", ["published", "offline"])
def test_a_pool_is_each_training_utterance_and_its_variants(build, mode, conditioned):
    switches = {"trim_silence": True, "normalise_level": True} if conditioned else {}
    config = build(features=switches, augment={"mode": mode, "speed_perturbation": (0.9,)})
    data = prepare_data(config, progress=False)
    pool = pool_of(config, data)
    assert pool.each == (5 if mode == "published" else 6) and pool.functionals is None
    assert torch.equal(pool.frames[:: pool.each], data.arrays("train").frames)
    assert pool.sources == tuple(name for name in data.split.train for _ in range(pool.each))
    for place in (0, 20):
        utterance = data.features.utterances[data.rows("train")[place]]
        wave = condition(read_audio(utterance.path), config.features)
        variants = list(
            waveforms.published_variants(wave, waveforms.random_generator(0, utterance.name, 0)).values()
        )
        if mode == "offline":
            generators = [waveforms.random_generator(0, utterance.name, 0, number) for number in range(4)]
            drawn = [
                waveforms.drawn_variant(wave, config.augment, RATE, generator) for generator in generators
            ]
            variants = [waveforms.perturb_speed(wave, 0.9), *drawn]
        for row, variant in enumerate(variants, start=place * pool.each + 1):
            expected = MFCC(config.features)(torch.from_numpy(fit_length(variant, 8_000))[None])[0]
            assert torch.equal(pool.frames[row], expected)


def test_variants_come_from_the_cache_and_are_made_anew_for_other_settings_and_seeds(
    build, data, tmp_path, monkeypatch
):
    def pool(data=data, seed=0, **settings) -> torch.Tensor:
        augment = {"mode": "offline", "variants": 1, "noise": 1.0, **settings}
        return pool_of(build(data={"cache_dir": tmp_path}, augment=augment), data, seed).frames

    first = pool()
    for other in (pool(noise_snr=[0, 0]), pool(seed=1)):
        assert torch.equal(other[::2], first[::2]) and not torch.equal(other[1::2], first[1::2])
    monkeypatch.setattr(waveforms, "read_audio", None)
    other = prepare_data(build(train={"seed": 1}), progress=False)  # another split of the same utterances
    assert not torch.equal(pool(other), first)
    place = other.split.train.index(shared := next(n for n in other.split.train if n in data.split.train))
    row = 2 * data.split.train.index(shared)
    assert torch.equal(pool(other)[2 * place : 2 * place + 2], first[row : row + 2])
    assert torch.equal(pool(), first) and torch.equal(pool(gain=0.0, mixup=1.0), first)  # these are for later


def test_other_speeds_are_speakers_of_their_own(build):
    augment = {"mode": "online", "variants": 0, "speed_perturbation": (0.9, 1.2)}
    features = {"prosody": True, "normalise": "speaker", "functionals": True, "signal_length": 8_192}
    config = build(features=features, augment=augment)
    data = prepare_data(config, progress=False)
    pool, own = pool_of(config, data), data.arrays("train")
    assert pool.each == 3
    assert torch.equal(pool.frames[::3], own.frames) and torch.equal(pool.functionals[::3], own.functionals)
    extract = Extractor(config.features)
    paths = [data.features.utterances[row].path for row in data.rows("train")]
    for place, speed in enumerate((0.9, 1.2), start=1):
        waves = [fit_length(waveforms.perturb_speed(read_audio(path), speed), 8_192) for path in paths]
        raw = extract(torch.from_numpy(np.stack(waves)))
        speakers = ["somebody"] * len(paths)
        expected = normalise(raw, speakers, config.features)
        torch.testing.assert_close(pool.frames[place::3], expected[0], rtol=0, atol=1e-3)
        torch.testing.assert_close(pool.functionals[place::3], expected[1], rtol=0, atol=1e-2)

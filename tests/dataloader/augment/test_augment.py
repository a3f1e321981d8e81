"""Variations of waveforms and features: what each does, that draws repeat, that only training is varied."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

import dataloader.augment.waveforms
import dataloader.loaders
from dataloader.audio import condition, fit_length, read_audio
from dataloader.augment.features import FeatureAugmentation
from dataloader.augment.waveforms import (
    add_noise,
    change_pitch,
    drawn_variant,
    further_variants,
    perturb_speed,
    published_variants,
    random_generator,
    reverberate,
    reverse,
    shift,
    stretch,
    training_pool,
)
from dataloader.features.extract import MFCC
from dataloader.loaders import AugmentedLoader, BatchLoader, Data, make_training_loader, prepare_data
from utils.config import AugmentConfig, Config, FeaturesConfig
from utils.errors import UserError

RATE = 22_050
WAVEFORM_KEYS = ("noise", "shift", "stretch", "reverse", "pitch", "reverb")
FEATURE_KEYS = ("gain", "frame_shift", "time_mask", "coefficient_mask", "mixup")
NOTHING = dict.fromkeys((*WAVEFORM_KEYS, *FEATURE_KEYS), 0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def wave() -> np.ndarray:
    """A second of a gliding tone with a beginning and an end."""
    time = np.arange(RATE) / RATE
    glide = np.sin(2 * np.pi * (300 * time + 200 * time**2)) * np.sin(np.pi * time)
    return (0.3 * glide).astype(np.float32)


def pitch_of(wave: np.ndarray) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return np.fft.rfftfreq(len(wave), 1 / RATE)[spectrum.argmax()]


# --- waveforms ---


@pytest.mark.parametrize("snr", [-5.0, 10.0, 40.0])
def test_noise_has_the_ratio_asked_for_and_is_white(wave, snr):
    noise = add_noise(wave, snr, rng()).astype(np.float64) - wave
    assert 10 * np.log10(np.square(wave, dtype=np.float64).sum() / np.square(noise).sum()) == pytest.approx(
        snr, abs=0.05
    )
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = (part.mean() for part in np.array_split(power, 2))
    assert low == pytest.approx(high, rel=0.1)


@pytest.mark.parametrize("share", [0.05, -0.05, 0.3, -0.3, 0.0])
def test_a_shift_leaves_zeros_behind_and_keeps_the_length(wave, share):
    wave = wave + 1  # no zeros of its own
    shifted, samples = shift(wave, share), round(abs(share) * len(wave))
    assert len(shifted) == len(wave)
    assert np.count_nonzero(shifted == 0) == samples
    if share >= 0:
        assert (shifted[:samples] == 0).all()
        assert np.array_equal(shifted[samples:], wave[: len(wave) - samples])
    else:
        assert (shifted[len(wave) - samples :] == 0).all()
        assert np.array_equal(shifted[: len(wave) - samples], wave[samples:])


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.9, 1.1, 1.5, 2.0])
def test_a_stretch_changes_the_duration_and_not_the_pitch(speed):
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    stretched = stretch(tone, speed)
    assert len(stretched) == pytest.approx(RATE / speed, abs=1)
    assert pitch_of(stretched) == pytest.approx(440, rel=0.01)
    assert np.array_equal(stretched, librosa.effects.time_stretch(tone, rate=speed))


@pytest.mark.parametrize("semitones", [-4.0, 3.0, 12.0])
def test_another_pitch_keeps_the_duration(semitones):
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    changed = change_pitch(tone, semitones, RATE)
    assert len(changed) == len(tone)
    assert pitch_of(changed) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


def test_reversed_twice_is_the_same(wave):
    assert np.array_equal(reverse(reverse(wave)), wave)
    assert not np.array_equal(reverse(wave), wave)


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_a_room_answers_a_click_with_a_decay_of_its_reverberation_time(seconds):
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    wet = reverberate(click, seconds, RATE, rng())
    assert (wet[:100] ** 2).sum() < 1e-6
    assert np.linalg.norm(wet) == pytest.approx(1.0, rel=1e-4)
    tail = wet[101 : 101 + round(0.8 * seconds * RATE)]
    assert wet[100] ** 2 == pytest.approx(np.square(tail).sum(), rel=0.05)
    level = 10 * np.log10([np.square(part).mean() for part in np.array_split(tail, 8)])
    slope = np.polyfit(np.arange(8) * len(tail) / 8 / RATE, level, 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def test_all_variants_are_finite_float32_and_differ(wave):
    variants = {
        **published_variants(wave, rng()),
        **further_variants(wave, AugmentConfig(), RATE, rng()),
        "drawn": drawn_variant(wave, AugmentConfig(**dict.fromkeys(WAVEFORM_KEYS, 1.0)), RATE, rng()),
    }
    assert len(variants) == 8
    for name, variant in variants.items():
        assert variant.dtype == np.float32, name
        assert np.isfinite(variant).all() and len(variant) > 0, name
        assert variant.shape != wave.shape or not np.array_equal(variant, wave), name


def test_nothing_is_drawn_at_probability_zero(wave):
    assert np.array_equal(drawn_variant(wave, AugmentConfig(**NOTHING), RATE, rng()), wave)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_another_voice_is_higher_or_lower_and_as_much_shorter_or_longer(speed):
    varied = perturb_speed(np.sin(2 * np.pi * 400 * np.arange(RATE) / RATE).astype(np.float32), speed)
    assert varied.dtype == np.float32 and len(varied) == pytest.approx(RATE / speed, abs=1)
    assert pitch_of(varied) == pytest.approx(400 * speed, abs=2)


def test_the_published_variants_are_within_the_published_ranges(wave):
    speeds, shifts = set(), []
    for seed in range(40):
        names = list(published_variants(wave[:2048], rng(seed)))
        assert names[0] == "white noise, 10 dB below" and names[3] == "backwards"
        shifts.append(int(names[1].split()[2]))
        speeds.add(float(names[2].removeprefix("speed × ")))
    assert speeds == {0.25, 0.5, 1.5, 2.0}
    assert all(5 <= abs(share) <= 30 for share in shifts)
    assert min(shifts) < 0 < max(shifts)


def test_draws_depend_on_seed_name_and_number():
    draws = [
        random_generator(seed, name, *numbers).random()
        for seed, name, numbers in [(0, "a", (0,)), (1, "a", (0,)), (0, "b", (0,)), (0, "a", (1,))]
    ]
    assert len(set(draws)) == 4
    assert random_generator(0, "a", 0).random() == draws[0]


# --- features ---


def augmentation(frames: int = 50, n_mfcc: int = 13, n_mels: int = 128, **settings) -> FeatureAugmentation:
    """Only what is asked for."""
    settings = AugmentConfig(**{**NOTHING, "mode": "online", **settings})
    return FeatureAugmentation(settings, 0, torch.arange(n_mfcc) + 1000.0, frames, n_mels)


NAMES = [f"utterance {number}" for number in range(40)]


def test_nothing_asked_for_changes_nothing():
    varied = augmentation()
    x = torch.randn(40, 13, 50)
    assert torch.equal(varied.apply(x.clone(), varied.draw(NAMES, 0)), x)


def test_gain_is_that_of_the_waveform(wave):
    settings = FeaturesConfig(signal_length=2 * RATE)
    padded = fit_length(wave, 2 * RATE)
    mfcc = MFCC(settings, 13)
    varied = augmentation(frames=settings.frames, gain=1.0, gain_range=(-20.0, 20.0))
    draws = varied.draw(NAMES, 0)
    assert draws.gain.min() < -10 and draws.gain.max() > 10
    x = mfcc(torch.from_numpy(padded)[None]).repeat(len(NAMES), 1, 1)
    louder = np.stack([padded * 10 ** (gain / 20) for gain in draws.gain]).astype(np.float32)
    expected = mfcc(torch.from_numpy(louder))
    torch.testing.assert_close(varied.apply(x, draws), expected, rtol=0, atol=1e-2)


def test_a_frame_shift_is_that_of_the_waveform_where_it_is_padded(wave):
    settings = FeaturesConfig(signal_length=3 * RATE)
    padded = fit_length(wave, 3 * RATE)
    mfcc = MFCC(settings, 13)
    varied = augmentation(frames=settings.frames, frame_shift=1.0, frame_shift_range=(0.05, 0.2))
    draws = varied.draw(NAMES, 0)
    assert set(abs(draws.shift)) <= set(range(6, 27)) and draws.shift.min() < 0 < draws.shift.max()
    x = mfcc(torch.from_numpy(padded)[None]).repeat(len(NAMES), 1, 1)
    moved = torch.from_numpy(np.stack([np.roll(padded, frames * 512) for frames in draws.shift]))
    torch.testing.assert_close(varied.apply(x, draws), mfcc(moved), rtol=0, atol=1e-2)


def test_masks_cover_what_is_drawn_with_the_mean_and_nothing_else():
    varied = augmentation(
        masks=2,
        time_mask=1.0,
        time_mask_range=(0.1, 0.2),
        coefficient_mask=1.0,
        coefficient_mask_range=(0.0, 0.3),
    )
    draws = varied.draw(NAMES, 0)
    x = torch.randn(40, 13, 50)
    y = varied.apply(x.clone(), draws)
    for row in range(40):
        hidden = torch.zeros(13, 50, dtype=torch.bool)
        for begin, end in draws.time_masks[row]:
            assert 0 <= begin < end <= 50 and 5 <= end - begin <= 10
            hidden[:, begin:end] = True
        for begin, end in draws.coefficient_masks[row]:
            assert 0 <= begin <= end <= 13 and end - begin <= 4
            hidden[begin:end] = True
        expected = torch.where(hidden, varied.mean[:, None], x[row])
        assert torch.equal(y[row], expected)
    assert len({tuple(mask) for masks in draws.time_masks for mask in masks}) > 40


def test_probabilities_hold_over_many_draws():
    varied = augmentation(gain=0.3, mixup=0.6, mixup_alpha=1.0, noise=0.5, variants=3)
    draws = varied.draw([str(number) for number in range(2_000)], 0)
    assert np.mean(draws.gain != 0) == pytest.approx(0.3, abs=0.05)
    assert np.mean(draws.share < 1) == pytest.approx(0.6, abs=0.05)
    assert np.bincount(draws.variant) == pytest.approx([500] * 4, rel=0.2)


def test_each_epoch_and_seed_draws_anew():
    varied = augmentation(gain=1.0)
    first = varied.draw(NAMES, 0).gain
    assert len(set(first)) == len(NAMES)
    assert np.array_equal(varied.draw(NAMES, 0).gain, first)
    assert not np.isin(varied.draw(NAMES, 1).gain, first).any()
    varied.seed = 1
    assert not np.isin(varied.draw(NAMES, 0).gain, first).any()


def test_no_utterances_draws_depend_on_the_others():
    varied = augmentation(gain=1.0, frame_shift=1.0, time_mask=1.0, mixup=1.0)
    together, alone = varied.draw(NAMES, 3), varied.draw(NAMES[7:8], 3)
    assert together.gain[7] == alone.gain[0]
    assert np.array_equal(together.time_masks[7], alone.time_masks[0])
    assert (together.partner[7], together.share[7]) == (alone.partner[0], alone.share[0])


# --- the training set ---


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def build(tiny_corpus, cache):
    """A configuration with augmentation: build(mode="online", noise=1.0)."""

    def build(data=(), features=(), train=(), aug=True, **augment) -> Config:
        return Config(
            data={"root": tiny_corpus, "cache_dir": cache, **dict(data)},
            features={"signal_length": 8_000, **dict(features)},
            train={"batch_size": 16, **dict(train)},
            model={"num_features": 13, "aug": aug},
            augment=augment,
        )

    return build


@pytest.fixture
def data(build) -> Data:
    return prepare_data(build(), progress=False)


def loader(config: Config, data: Data) -> BatchLoader:
    return make_training_loader(config, data, torch.zeros(13), progress=False)


def by_content(batches: Iterable) -> dict:
    return {x.numpy().tobytes(): y.tolist() for batch in batches for x, y in zip(*batch, strict=True)}


def test_the_published_scheme_is_each_training_utterance_and_four_variants(build, data):
    config = build()
    pool = training_pool(data.corpus, data.split, config, progress=False)
    x, y = data.arrays("train")
    assert pool.x.shape == (5 * len(y), 13, 16)
    assert pool.sources == tuple(name for name in data.split.train for _ in range(5))
    assert torch.equal(pool.x[::5], x)  # themselves, as they are without augmentation
    mfcc = MFCC(config.features, 13)
    paths = {utterance.name: utterance.path for utterance in data.corpus.utterances}
    for place in (0, 20):
        name = data.split.train[place]
        wave = read_audio(paths[name])
        variants = published_variants(wave, random_generator(0, name, 0)).values()
        for row, variant in enumerate(variants, start=5 * place + 1):
            expected = mfcc(torch.from_numpy(fit_length(variant, 8_000))[None])[0]
            assert torch.equal(pool.x[row], expected)

    batches = loader(config, data)
    assert type(batches) is BatchLoader
    seen = by_content(batches)
    expected = by_content([(pool.x, y.repeat_interleave(5))])
    assert len(expected) == 5 * len(y)
    assert len(expected) - len(seen) <= 1  # a last batch of one is left out
    assert seen.items() <= expected.items()
    assert by_content(batches).items() <= expected.items()


@pytest.mark.parametrize("mode", ["published", "offline"])
def test_what_is_varied_is_conditioned_first(build, mode, tmp_path):
    switches = {"trim_silence": True, "normalise_level": True}
    config = build(data={"cache_dir": tmp_path}, features=switches, mode=mode)
    data = prepare_data(config, progress=False)
    pool = training_pool(data.corpus, data.split, config, progress=False)
    assert torch.equal(pool.x[:: pool.each], data.arrays("train")[0])
    name = data.split.train[0]
    path = next(utterance.path for utterance in data.corpus.utterances if utterance.name == name)
    wave = condition(read_audio(path), config.features)
    rng = random_generator(0, name, 0, *(() if mode == "published" else (0,)))
    variant = (
        next(iter(published_variants(wave, rng).values()))
        if mode == "published"
        else drawn_variant(wave, config.augment, RATE, rng)
    )
    expected = MFCC(config.features, 13)(torch.from_numpy(fit_length(variant, 8_000))[None])[0]
    assert torch.equal(pool.x[1], expected)


def test_without_augmentation_the_training_set_is_as_it_is(build, data):
    x, y = data.arrays("train")
    seen = by_content(loader(build(aug=False, mode="online"), data))
    assert seen.items() <= by_content([(x, y)]).items()
    assert len(y) - len(seen) <= 1


def test_offline_is_the_same_in_every_epoch_and_leaves_the_utterances_themselves_alone(build, data):
    batches = loader(build(mode="offline", variants=2, noise=1.0), data)
    x, y = data.arrays("train")
    assert len(batches.y) == 3 * len(y)
    batches.batch_size = 7  # 147 items: none is left out
    first, second = by_content(batches), by_content(batches)
    assert first == second and len(first) == 3 * len(y)
    assert {row.numpy().tobytes() for row in x} <= first.keys()


def test_online_every_utterance_comes_once_an_epoch_and_differently(build, data):
    batches = loader(build(mode="online", time_mask=1.0, time_mask_range=[0.1, 0.3]), data)
    assert isinstance(batches, AugmentedLoader)
    batches.batch_size = 7
    y = data.arrays("train")[1]
    epochs = [by_content(batches) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch.values()) == sorted(y.tolist())
    assert epochs[0].keys().isdisjoint(epochs[1]) and epochs[1].keys().isdisjoint(epochs[2])


def test_online_on_features_alone_makes_no_variants(build, data, monkeypatch):
    monkeypatch.setattr(dataloader.loaders, "training_pool", None)
    config = build(mode="online", noise=0.0, stretch=0.0, pitch=0.0, reverb=0.0)
    assert len(list(loader(config, data))) == 3  # 49 utterances in batches of 16, without a last one of 1


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_batches_do_not_depend_on_their_size_threads_order_or_the_global_seed(
    build, data, mode, tmp_path, monkeypatch
):
    """Made by one thread or by eight, in batches of 5 or 16: every utterance is varied in the same way."""
    seen = []
    for threads, batch_size in ((1, 16), (8, 5)):
        monkeypatch.setattr(dataloader.features.extract.os, "cpu_count", lambda threads=threads: threads)
        torch.manual_seed(threads)
        np.random.seed(threads)
        folder = {"cache_dir": tmp_path / str(threads)}
        config = build(data=folder, mode=mode, mixup=1.0, mixup_alpha=1.0, gain=1.0)
        batches = loader(config, data)
        assert (tmp_path / str(threads)).exists()
        for _ in range(2):
            items = np.arange(len(batches.y))
            np.random.shuffle(items)
            found = {}
            for part in np.array_split(items, -(-len(items) // batch_size)):
                found.update(zip(part, zip(*batches.batch(part, 1), strict=True), strict=True))
            seen.append(found)
    for found in seen[1:]:
        for item, (x, y) in seen[0].items():
            torch.testing.assert_close(found[item][0], x, rtol=0, atol=1e-4)
            assert torch.equal(found[item][1], y)


def test_variants_come_from_the_cache_the_second_time(build, data, monkeypatch):
    config = build(mode="offline", variants=1)
    first = training_pool(data.corpus, data.split, config, progress=False)
    monkeypatch.setattr(dataloader.augment.waveforms, "read_audio", None)
    again = training_pool(data.corpus, data.split, config, progress=False)
    assert torch.equal(first.x, again.x) and first.sources == again.sources


def test_variants_are_made_anew_for_other_settings_seeds_and_splits(build, data):
    def pool(data=data, **settings) -> torch.Tensor:
        return training_pool(data.corpus, data.split, build(**settings), progress=False).x

    config = {"mode": "offline", "variants": 1, "noise": 1.0}
    first = pool(**config)
    assert torch.equal(pool(**config, gain=0.0, mixup=1.0), first)  # these are for later
    for other in (pool(**config, noise_snr=[0, 0]), pool(**config, train={"seed": 1})):
        assert torch.equal(other[::2], first[::2]) and not torch.equal(other[1::2], first[1::2])
    held_out = prepare_data(build(train={"seed": 1}), progress=False)
    assert not torch.equal(pool(held_out, **config), first)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_mixup_averages_features_and_labels_alike(build, data, mode):
    """Every utterance's features are its class in all places, so that the mean tells the shares."""
    labels = torch.tensor([data.corpus.emotions.index(u.emotion) for u in data.features.utterances])
    x = labels.float()[:, None, None].expand(-1, 13, 16).clone()
    marked = replace(data, features=replace(data.features, x=x))
    config = build(**{**NOTHING, "mode": mode, "mixup": 1.0, "mixup_alpha": 1.0})
    if mode == "offline":
        pool = dataloader.augment.waveforms.TrainingPool(
            marked.arrays("train")[0].repeat_interleave(2, dim=0),
            tuple(name for name in data.split.train for _ in range(2)),
            2,
        )
        varied = FeatureAugmentation(config.augment, 0, torch.zeros(13), 16, 128)
        batches = AugmentedLoader(pool, data.arrays("train")[1], 7, varied, 16, 0)
    else:
        batches = loader(config, marked)
    shares = []
    for x, y in batches:
        assert y.shape == (len(x), 7)
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))
        torch.testing.assert_close((y * torch.arange(7)).sum(1), x.mean((1, 2)))
        shares += y.amax(1).tolist()
    assert len(set(shares)) > 10
    if mode == "offline":
        assert np.mean(np.array(shares) == 1) >= 0.5  # the utterances themselves


def test_offline_without_variants_is_refused(build, data):
    with pytest.raises(UserError, match=r"raise augment\.variants"):
        loader(build(mode="offline", variants=0), data)


# --- leakage ---


@pytest.mark.parametrize("mode", ["published", "offline", "online"])
def test_only_recordings_of_the_training_set_are_varied(build, data, mode, tmp_path, monkeypatch):
    """The others need not even be there, and whatever is in their features changes no batch."""
    config = build(data={"cache_dir": tmp_path}, mode=mode, mixup=0.5)
    read = []

    def spy(path, sample_rate):
        read.append(path.stem)
        return read_audio(path, sample_rate)

    monkeypatch.setattr(dataloader.augment.waveforms, "read_audio", spy)
    clean = loader(config, data)
    assert sorted(read) == sorted(data.split.train)

    x = data.features.frames.clone()
    for row, utterance in enumerate(data.features.utterances):
        if utterance.name not in data.split.train:
            x[row] = torch.nan
    poisoned = loader(config, replace(data, features=replace(data.features, x=x)))
    for one, other in zip(clean, poisoned, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("subset", ["validation", "test"])
@pytest.mark.parametrize("mode", ["published", "offline", "online"])
def test_a_variant_of_anything_else_stops_the_training(build, data, mode, subset, monkeypatch):
    """As if the program varied before it split: a variant of a held-out utterance is among the others."""
    stranger = getattr(data.split, subset)[0]

    def careless(corpus, split, config, progress):
        rest = tuple(name for name in getattr(split, subset) if name != stranger)
        wrong = replace(split, train=(*split.train, stranger), **{subset: rest})
        return training_pool(corpus, wrong, config, progress)

    monkeypatch.setattr(dataloader.loaders, "training_pool", careless)
    with pytest.raises(UserError, match=stranger):
        loader(build(mode=mode), data)


def test_a_training_recording_that_has_gone_is_named(build, tiny_corpus, tmp_path):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    config = build(data={"root": root})
    data = prepare_data(config, progress=False)
    name = data.split.train[3]
    next(root.rglob(f"{name}.wav")).unlink()
    with pytest.raises(UserError, match=f"{name} can no longer be used"):
        loader(config, data)

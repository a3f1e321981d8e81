"""Batches of varied training utterances: that draws repeat, and that only the training set is varied."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dataloader.augment.waveforms
import dataloader.loaders
from dataloader.audio import AudioError, read_audio
from dataloader.augment.features import FeatureAugmentation
from dataloader.augment.waveforms import TrainingPool, corpus_variants, training_pool
from dataloader.loaders import AugmentedLoader, Batch, BatchLoader, Data, make_training_loader, prepare_data
from utils.config import Config
from utils.errors import UserError

FEATURES_ALONE = {"mode": "online", "noise": 0.0, "stretch": 0.0, "pitch": 0.0, "reverb": 0.0}


def loader(config: Config, data: Data) -> BatchLoader:
    data = replace(data, settings=config.features, cache_dir=config.data.cache_dir)
    augment = config.augment if config.model.aug else None
    mean = torch.zeros(config.features.num_features)
    return make_training_loader(data, augment, config.train.batch_size, 0, mean, progress=False)


def by_content(batches: Iterable[Batch]) -> dict:
    return {
        x.numpy().tobytes(): y.tolist() for batch in batches for x, y in zip(batch[0], batch[2], strict=True)
    }


def test_the_published_scheme_trains_on_each_utterance_and_four_variants(build, data):
    config = build(augment={"mode": "published"})
    names = data.split.train
    settings = config.features, config.augment, 0, config.data.cache_dir, False
    pool = training_pool(names, corpus_variants(data.features.utterances, *settings), None, config.features)
    expected = by_content([Batch(pool.frames[pool.rows], None, data.targets("train").repeat_interleave(5))])
    assert len(expected) == 5 * len(names)
    batches = loader(config, data)
    assert type(batches) is BatchLoader
    for _ in range(2):
        seen = by_content(batches)
        assert (
            seen.items() <= expected.items() and len(expected) - len(seen) <= 1
        )  # a lone last one is left out


def test_without_augmentation_the_training_set_is_as_it_is(build, data):
    expected, seen = by_content([data.arrays("train")]), by_content(loader(build(), data))
    assert seen.items() <= expected.items() and len(expected) - len(seen) <= 1


def test_offline_is_the_same_in_every_epoch_and_leaves_the_utterances_themselves_alone(build, data):
    augment = {"mode": "offline", "variants": 2, "noise": 1.0}
    batches = loader(build(train={"batch_size": 7}, augment=augment), data)  # of 147 items none is left out
    first, second = by_content(batches), by_content(batches)
    assert first == second and len(first) == len(batches.target) == 147
    assert {row.numpy().tobytes() for row in data.arrays("train").frames} <= first.keys()


def test_online_every_utterance_comes_once_an_epoch_and_differently(build, data):
    augment = {"mode": "online", "time_mask": 1.0, "time_mask_range": [0.1, 0.3]}
    batches = loader(build(train={"batch_size": 7}, augment=augment), data)
    assert isinstance(batches, AugmentedLoader)
    epochs = [by_content(batches) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch.values()) == sorted(data.targets("train").tolist())
    assert epochs[0].keys().isdisjoint(epochs[1]) and epochs[1].keys().isdisjoint(epochs[2])


def test_online_on_features_alone_makes_no_variants_and_copies_no_corpus(build, data, monkeypatch, on_disk):
    monkeypatch.setattr(dataloader.loaders, "training_pool", None)
    config = build(augment=FEATURES_ALONE)
    in_memory = list(loader(config, data))
    assert len(in_memory) == 3  # 49 utterances in batches of 16, without a last one of 1
    on_disk()
    mapped = loader(config, data)
    assert mapped.frames is data.features.frames
    for one, other in zip(in_memory, mapped, strict=True):
        assert torch.equal(one.frames, other.frames) and torch.equal(one.target, other.target)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_batches_do_not_depend_on_their_size_threads_order_or_the_global_seed(
    build, data, mode, tmp_path, monkeypatch
):
    """Made by one thread or by eight, in batches of 5 or 16: every utterance is varied in the same way."""
    seen = []
    for threads, batch_size in ((1, 16), (8, 5)):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        torch.manual_seed(threads)
        np.random.seed(threads)
        folder, augment = (
            tmp_path / str(threads),
            {"mode": mode, "mixup": 1.0, "mixup_alpha": 1.0, "gain": 1.0},
        )
        batches = loader(build(data={"cache_dir": folder}, augment=augment), data)
        assert folder.exists()
        for _ in range(2):
            items, found = np.random.permutation(len(batches.target)), {}
            for part in np.array_split(items, -(-len(items) // batch_size)):
                frames, _, target, _ = batches.batch(part, 1)
                found.update(zip(part, zip(frames, target, strict=True), strict=True))
            seen.append(found)
    for found in seen[1:]:
        for item, (x, y) in seen[0].items():
            torch.testing.assert_close(found[item][0], x, rtol=0, atol=1e-4)
            assert torch.equal(found[item][1], y)


@pytest.mark.parametrize("offline", [False, True])
def test_mixup_averages_frames_functionals_and_target_alike(build, data, offline):
    """Every utterance's features are its class in all places, so that their mean gives the shares."""
    target, each = data.targets("train"), 1 + offline
    labels = target.repeat_interleave(each).float()
    frames, functionals = labels[:, None, None].expand(-1, 13, 16), labels[:, None].expand(-1, 9)
    sources = tuple(name for name in data.split.train for _ in range(each))
    pool = TrainingPool(frames.clone(), functionals.clone(), sources, each)
    mixed = FEATURES_ALONE | {"mode": "offline" if offline else "online", "mixup": 1.0, "mixup_alpha": 1.0}
    nothing = {"gain": 0.0, "frame_shift": 0.0, "time_mask": 0.0, "coefficient_mask": 0.0}
    settings = build(augment=mixed | nothing | {"variants": each - 1}).augment
    varied = FeatureAugmentation(settings, 0, torch.zeros(13), 16, 128)
    shares = []
    for x, beside, y, _ in AugmentedLoader(pool, target, 7, varied, 16, 0):
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))
        for values in (x.mean((1, 2)), beside.mean(1)):
            torch.testing.assert_close((y * torch.arange(7)).sum(1), values)
        shares += y.amax(1).tolist()
    assert len(set(shares)) > 10
    assert not offline or np.mean(np.array(shares) == 1) >= 0.5  # the utterances themselves


BY_SPEAKER = {"prosody": True, "normalise": "speaker"}


@pytest.mark.parametrize(
    ("features", "augment", "complaint"),
    [
        ({}, {"mode": "offline", "variants": 0}, r"raise augment\.variants"),
        (BY_SPEAKER, {"mode": "published"}, "augment.variants to 0"),
        (BY_SPEAKER, {"mode": "online"}, "augment.gain and augment.frame_shift"),
        (BY_SPEAKER, {"mode": "online", "gain": 0.0, "frame_shift": 0.0}, "augment.variants to 0"),
    ],
)
def test_augmentation_that_would_falsify_features_is_refused(build, data, features, augment, complaint):
    with pytest.raises(UserError, match=complaint):
        loader(build(features=features, augment=augment), data)


# --- leakage ---


@pytest.mark.parametrize("mode", ["published", "offline", "online"])
def test_only_recordings_of_the_training_set_are_trained_on(build, data, mode, tmp_path, monkeypatch):
    """Whatever is in the others, and in their features, changes no batch, nor that they cannot be read."""
    augment, poisons = {"mode": mode, "mixup": 0.5}, []

    def poison(path, sample_rate):
        if path.stem in data.split.train:
            return read_audio(path, sample_rate)
        if poisons.append(path) or len(poisons) % 2:
            raise AudioError(f"{path} is gone.")
        return np.random.default_rng(0).uniform(-0.1, 0.1, 9_000).astype(np.float32)

    clean = loader(build(data={"cache_dir": tmp_path / "clean"}, augment=augment), data)
    monkeypatch.setattr(dataloader.augment.waveforms, "read_audio", poison)
    config = build(data={"cache_dir": tmp_path / "poisoned"}, augment=augment)
    loader(config, data)
    assert len(poisons) == len(data.split.validation) + len(data.split.test)
    x = torch.full_like(data.features.frames, torch.nan)
    x[data.rows("train")] = data.arrays("train").frames
    poisoned = loader(config, replace(data, features=replace(data.features, frames=x)))
    for one, other in zip(clean, poisoned, strict=True):
        assert torch.equal(one.frames, other.frames) and torch.equal(one.target, other.target)


@pytest.mark.parametrize("subset", ["validation", "test"])
@pytest.mark.parametrize("mode", ["published", "offline", "online"])
def test_a_variant_of_anything_else_stops_the_training(build, data, mode, subset, monkeypatch):
    """As if the program varied before it split: a variant of a held-out utterance is among the others."""
    stranger = getattr(data.split, subset)[0]

    def careless(names, *rest):
        return training_pool([*names, stranger], *rest)

    monkeypatch.setattr(dataloader.loaders, "training_pool", careless)
    with pytest.raises(UserError, match=stranger):
        loader(build(augment={"mode": mode}), data)


def test_a_training_recording_that_has_gone_is_named(build, tiny_corpus, tmp_path):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    place = {"root": root, "cache_dir": tmp_path / "cache"}
    config = build(data=place, augment={"mode": "published"})
    data = prepare_data(config, progress=False)
    name = data.split.train[3]
    next(root.rglob(f"{name}.wav")).unlink()
    with pytest.raises(UserError, match=f"{name} can no longer be used"):
        loader(config, data)

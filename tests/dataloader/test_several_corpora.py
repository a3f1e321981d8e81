"""Several corpora in one training: what each lacks is masked, and rare emotions come more often."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.extract import Features
from dataloader.loaders import (
    Data,
    balancing_weights,
    make_loader,
    make_training_loader,
    repeated,
    systematic_sample,
)
from dataloader.splits import SUBSETS, draw_split
from utils.config import AugmentConfig, DataConfig, FeaturesConfig
from utils.emotions import in_order

# Emotions of each corpus, and how many utterances each of its six speakers has of them.
CORPORA = {
    "one": {"dis": 1, "gio": 4, "tri": 2},
    "two": {"gio": 2, "sor": 3},
    "folder-three": {"dis": 2, "tri": 1, "sor": 1},
}


def prepared(corpora=CORPORA) -> Data:
    """Features say their utterance's row in all places."""
    utterances = sorted(
        (
            Utterance(
                Path("x"), emotion, f"{corpus}/{speaker}", "b", f"{corpus}/{speaker}{emotion}{n}", corpus
            )
            for corpus, counts in corpora.items()
            for speaker in "abcdef"
            for emotion, count in counts.items()
            for n in range(count)
        ),
        key=lambda one: one.name,
    )
    emotions = in_order(one.emotion for one in utterances)
    corpus = Corpus("+".join(corpora), "nowhere", tuple(utterances), emotions)
    settings = FeaturesConfig(n_mfcc=2, signal_length=2_048)
    rows = torch.arange(len(utterances), dtype=torch.float32)
    frames = rows[:, None, None].expand(-1, 2, settings.frames).clone()
    split = draw_split(utterances, DataConfig(protocol="speaker_kfold", folds=3), 0, corpus.name)
    return Data(corpus, Features(frames, None, corpus.utterances, {}), split, settings)


def expected_mask(data: Data, rows) -> list[list[bool]]:
    of = (data.features.utterances[int(row)].corpus for row in rows)
    return [[emotion in CORPORA[corpus] for emotion in data.corpus.emotions] for corpus in of]


def test_the_mask_of_an_utterance_are_the_emotions_of_its_corpus():
    data = prepared()
    for subset in SUBSETS:
        batch = data.arrays(subset)
        assert (batch.allowed > 0).tolist() == expected_mask(data, batch.frames[:, 0, 0])
        assert batch.allowed.gather(1, batch.target[:, None]).all()
        for one in make_loader(data, subset, 4, subset == "train", 0):
            assert (one.allowed > 0).tolist() == expected_mask(data, one.frames[:, 0, 0])


def test_nothing_is_masked_in_one_corpus_or_where_all_have_the_same():
    assert prepared({"one": CORPORA["one"], "two": CORPORA["one"]}).allowed("train") is None
    data = prepared({"one": CORPORA["one"]})
    alone = replace(data, corpus=replace(data.corpus, emotions=("dis", "gio", "sor", "tri")))
    utterances = tuple(replace(one, corpus="") for one in data.corpus.utterances)
    assert replace(alone, corpus=replace(alone.corpus, utterances=utterances)).allowed("train") is None


def test_with_mixup_the_emotions_of_both_corpora_are_allowed():
    data = prepared()
    still = {"variants": 0, "gain": 0.0, "frame_shift": 0.0, "time_mask": 0.0, "coefficient_mask": 0.0}
    augment = AugmentConfig(mode="online", mixup=1.0, mixup_alpha=1.0, **still)
    alone = {tuple(row) for row in expected_mask(data, data.rows("train"))}
    pairs = {tuple(map(any, zip(one, other, strict=True))) for one in alone for other in alone}
    seen = set()
    for batch in make_training_loader(data, augment, 16, 0, torch.zeros(2), progress=False):
        assert ((batch.target > 0) <= (batch.allowed > 0)).all()
        seen |= {tuple(row) for row in (batch.allowed > 0).tolist()}
    assert seen <= pairs and seen - alone  # `one` and `two` together have what neither has alone


def test_variants_have_the_mask_and_the_weight_of_their_utterance():
    allowed, weights = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 2.0])
    target, masks, each = repeated(3, torch.tensor([0, 1]), allowed, weights)
    assert target.tolist() == [0, 0, 0, 1, 1, 1] and each.tolist() == [1, 1, 1, 2, 2, 2]
    assert masks.tolist() == [[1, 0]] * 3 + [[1, 1]] * 3


# --- rare emotions more often ---


@settings(deadline=None)
@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=60), seed=st.integers(0, 2**32 - 1))
def test_a_systematic_sample_has_each_item_as_often_as_its_weight_says_but_for_rounding(weights, seed):
    items = systematic_sample(np.array(weights), np.random.default_rng(seed))
    assert len(items) == len(weights)
    counts = np.bincount(items, minlength=len(weights))
    expected = np.array(weights) / np.mean(weights)
    assert (np.abs(counts - expected) < 1 + 1e-6).all()
    same = systematic_sample(np.full(len(weights), weights[0]), np.random.default_rng(seed))
    assert sorted(same.tolist()) == list(range(len(weights)))


def test_over_many_epochs_each_item_comes_in_proportion_to_its_weight():
    weights, random = np.array([1.0, 2.0, 3.0, 0.5, 7.3]), np.random.default_rng(0)
    counts = np.zeros(5)
    for _ in range(4_000):
        counts += np.bincount(systematic_sample(weights, random), minlength=5)
    np.testing.assert_allclose(counts / 4_000, weights / weights.mean(), atol=0.04)


@pytest.mark.parametrize("balance", ["class", "corpus_and_class"])
def test_an_epoch_has_each_emotion_in_proportion_to_the_root_of_its_count(balance):
    data = prepared({name: {e: 8 * n for e, n in counts.items()} for name, counts in CORPORA.items()})
    loader = make_training_loader(data, None, 32, 0, torch.zeros(2), progress=False, balance=balance)

    def cells(rows) -> Counter:
        chosen = (data.features.utterances[int(row)] for row in rows)
        return Counter((u.emotion, u.corpus if balance == "corpus_and_class" else "") for u in chosen)

    there = cells(data.rows("train"))
    rows = [row for _ in range(30) for batch in loader for row in batch.frames[:, 0, 0]]
    assert len(rows) >= 30 * (len(data.split.train) - 1)
    roots = sum(count**0.5 for count in there.values())
    for cell, count in cells(rows).items():
        assert count / len(rows) == pytest.approx(there[cell] ** 0.5 / roots, rel=0.06)
    assert balancing_weights(data, "none") is None


def test_a_balanced_epoch_depends_on_seed_and_number_alone():
    data = prepared()
    make = partial(make_training_loader, data, None, 8)
    one, other, third = (make(seed, torch.zeros(2), progress=False, balance="class") for seed in (3, 3, 4))
    epochs = [[batch.frames[:, 0, 0].tolist() for batch in one] for _ in range(3)]
    other.epoch = 2
    assert [batch.frames[:, 0, 0].tolist() for batch in other] == epochs[2] != epochs[1]
    assert [batch.frames[:, 0, 0].tolist() for batch in third] != epochs[0]

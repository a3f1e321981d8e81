"""Splits: disjoint, stratified, determined by seed and names alone; and their JSON."""

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.corpora.utterance import Utterance
from dataloader.splits import (
    SUBSETS,
    Split,
    check_left_out,
    check_sources,
    draw_split,
    holdout,
    load_split,
    save_split,
)
from utils.config import DataConfig
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.metrics import read_json


def utterances(emotions=EMOTIONS, speakers=6, sentences=14) -> list[Utterance]:
    """As many utterances as EMOVO's, without files."""
    codes = itertools.product(emotions, range(speakers), range(sentences))
    return [Utterance(Path("x.wav"), emotion, f"f{one}", f"b{other}") for emotion, one, other in codes]


def of_counts(counts: list[int]) -> list[Utterance]:
    """So many utterances of one emotion after the other."""
    pairs = zip(EMOTIONS, counts, strict=False)
    return [utterance for emotion, count in pairs for utterance in utterances([emotion], 1, count)]


def drawn(corpus, protocol: str, fold: int = 0, seed: int = 0, **data) -> Split:
    return draw_split(corpus, DataConfig(protocol=protocol, fold=fold, **data), seed, "EMOVO")


def names_of(split: Split) -> list[str]:
    return sorted(name for subset in SUBSETS for name in getattr(split, subset))


def emotion_of(name: str) -> str:
    return name.partition("-")[0]


def test_emovo_is_split_into_58_10_16_of_each_emotion():
    split = drawn(utterances(), "holdout")
    assert split == holdout(utterances(), 0, 0.1, 0.2, "EMOVO")
    for subset, count in zip(SUBSETS, (58, 10, 16), strict=True):
        assert Counter(map(emotion_of, getattr(split, subset))) == dict.fromkeys(EMOTIONS, count)
    found = (split.seed, split.corpus, split.protocol, split.fold, split.folds)
    assert found == (0, "EMOVO", "holdout", None, None)


@given(
    counts=st.lists(st.integers(12, 40), min_size=1, max_size=7),
    seed=st.integers(0, 2**32 - 1),
    fractions=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)),
    shuffler=st.randoms(use_true_random=False),
)
def test_a_holdout_is_a_partition_whatever_the_order(counts, seed, fractions, shuffler):
    corpus = of_counts(counts)
    split = holdout(corpus, seed, *fractions)
    parts = [set(getattr(split, subset)) for subset in SUBSETS]
    assert names_of(split) == sorted(utterance.name for utterance in corpus)
    for part, fraction in zip(parts, (1 - sum(fractions), fractions[0], fractions[1]), strict=True):
        in_part = Counter(map(emotion_of, part))
        for emotion, count in zip(EMOTIONS, counts, strict=False):
            assert abs(in_part[emotion] - count * fraction) < 2  # one is lost by each of two floors
    shuffler.shuffle(corpus)
    assert holdout(corpus, seed, *fractions) == split


def test_the_draw_of_an_emotion_does_not_depend_on_the_others():
    alone, together = (holdout(utterances(emotions), 3, 0.1, 0.2) for emotions in (["gio"], EMOTIONS))
    for subset in SUBSETS:
        assert getattr(alone, subset) == tuple(n for n in getattr(together, subset) if emotion_of(n) == "gio")


def test_another_seed_draws_other_utterances_and_validates_on_other_speakers():
    for protocol in ("holdout", "kfold"):
        assert len({drawn(utterances(), protocol, seed=seed).test for seed in range(20)}) == 20
    by_speaker = [drawn(utterances(), "leave_one_speaker_out", 2, seed) for seed in range(10)]
    assert len({split.test for split in by_speaker}) == 1
    assert len({split.validation for split in by_speaker}) > 2


def test_every_utterance_is_equally_likely_to_be_tested_on():
    counts = Counter(n for seed in range(400) for n in holdout(utterances(["tri"]), seed, 0.1, 0.2).test)
    assert len(counts) == 84
    expected = 400 * 16 / 84  # binomial: 76 ± 7.9
    assert all(abs(count - expected) < 5 * 7.9 for count in counts.values())


def test_the_draw_never_changes():
    """Runs made in other versions and on other machines must keep their test sets."""
    split = holdout(utterances(["dis"], 1, 10), 0, 0.1, 0.2)
    assert split.test == ("dis-f0-b3", "dis-f0-b7")
    assert split.validation == ("dis-f0-b5",)
    split = drawn(utterances(["dis"], 1, 10), "kfold", 1, folds=5)
    assert (split.test, split.validation) == (("dis-f0-b2", "dis-f0-b9"), ("dis-f0-b6",))
    split = drawn(utterances(["dis"], 6, 2), "leave_one_speaker_out", 1)
    assert (split.test, split.validation) == (("dis-f1-b0", "dis-f1-b1"), ("dis-f0-b0", "dis-f0-b1"))


def test_too_few_utterances_of_an_emotion_are_an_error_that_names_it():
    for sentences in (1, 2, 4):
        with pytest.raises(UserError, match=f"{sentences} usable utterances of the emotion 'rab'"):
            holdout(utterances(["dis"]) + utterances(["rab"], 1, sentences), 0, 0.1, 0.2)


@pytest.mark.parametrize("fractions", [(0, 0.2), (0.1, 0), (0.5, 0.5), (0.8, 0.3), (-0.1, 0.2)])
def test_impossible_fractions_are_an_error(fractions):
    with pytest.raises(UserError, match="validation_fraction"):
        holdout(utterances(), 0, *fractions)


def test_a_rounding_error_costs_no_utterance():
    split = holdout(utterances(["dis"], 1, 100), 0, 0.42, 0.29)
    assert (len(split.train), len(split.validation), len(split.test)) == (29, 42, 29)


# --- the other protocols ---


FOLDS = {"kfold": 10, "leave_one_speaker_out": 6, "leave_one_sentence_out": 14}
WHOLE = {"leave_one_speaker_out": "speaker", "leave_one_sentence_out": "sentence"}


@pytest.mark.parametrize("protocol", FOLDS)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), shuffler=st.randoms(use_true_random=False))
def test_every_fold_is_a_partition_and_the_test_sets_are_one_too(protocol, seed, shuffler):
    corpus = utterances()
    everything = sorted(utterance.name for utterance in corpus)
    splits = [drawn(corpus, protocol, fold, seed) for fold in range(FOLDS[protocol])]
    for fold, split in enumerate(splits):
        assert names_of(split) == everything and split.seed == seed
        assert (split.protocol, split.fold, split.folds) == (protocol, fold, FOLDS[protocol])
    assert sorted(name for split in splits for name in split.test) == everything
    shuffler.shuffle(corpus)
    assert drawn(corpus, protocol, 1, seed) == splits[1]


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(8, 40), min_size=1, max_size=7),
    folds=st.integers(2, 8),
    fraction=st.floats(0.05, 0.3),
)
def test_k_folds_are_stratified(counts, folds, fraction):
    corpus = of_counts(counts)
    for fold in range(folds):
        split = drawn(corpus, "kfold", fold, folds=folds, validation_fraction=fraction)
        tested, validated = Counter(map(emotion_of, split.test)), Counter(map(emotion_of, split.validation))
        assert abs(len(split.test) - len(corpus) / folds) < 1
        for emotion, count in zip(EMOTIONS, counts, strict=False):
            assert abs(tested[emotion] - count / folds) < 1
            assert validated[emotion] == max(1, round(count * fraction))


@pytest.mark.parametrize("protocol", WHOLE)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.01, 0.7))
def test_what_is_left_out_is_in_one_subset_and_each_validates_equally_often(protocol, seed, fraction):
    corpus, folds = utterances(), FOLDS[protocol]
    value_of = {utterance.name: getattr(utterance, WHOLE[protocol]) for utterance in corpus}
    validated = Counter()
    for fold, value in enumerate(sorted(set(value_of.values()))):
        split = drawn(corpus, protocol, fold, seed, validation_fraction=fraction, test_fraction=0.1)
        train, validation, test = ({value_of[name] for name in getattr(split, subset)} for subset in SUBSETS)
        assert test == {value}
        assert not train & validation and not (train | validation) & test
        assert len(validation) == max(1, round(folds * fraction))
        validated.update(validation)
    assert set(validated.values()) == {max(1, round(folds * fraction))} and len(validated) == folds


NO_SPEAKER = [replace(u, speaker="unknown") if u.speaker == "f1" else u for u in utterances()]
MUCH = {"validation_fraction": 0.9, "test_fraction": 0.05}
NO_SPLIT = [  # utterances, protocol and settings of `data`, and the complaint
    (utterances(), "holdout", {"fold": 1}, "holdout has no folds"),
    (utterances(), "kfold", {"fold": 10}, "data.fold = 10: must be 0 to 9 with kfold, for data.folds is 10"),
    (utterances(), "leave_one_speaker_out", {"fold": 6}, "fold = 6: must be 0 to 5 .* has 6 speakers"),
    (utterances(), "leave_one_sentence_out", {"fold": 14}, "fold = 14: must be 0 to 13 .* has 14 sentences"),
    (utterances(["dis"], 1, 9), "kfold", {}, "9 usable utterances of the emotion 'dis' are too few for 10 f"),
    (utterances(["dis"], 1, 10), "kfold", MUCH, r"10 usable utterances .* with 0\.9 of them to validate"),
    (utterances(speakers=2), "leave_one_speaker_out", {}, "2 speakers are too few"),
    (NO_SPEAKER, "leave_one_speaker_out", {}, "not name the speaker of dis-unknown-b0, .* and 93 more"),
    (utterances(), "leave_one_speaker_out", MUCH, "6 speakers are too few to test on 1, validate on 5"),
]


@pytest.mark.parametrize(("corpus", "protocol", "data", "message"), NO_SPLIT)
def test_a_split_that_cannot_be_drawn_is_an_error_that_says_why(corpus, protocol, data, message):
    with pytest.raises(UserError, match=message):
        drawn(corpus, protocol, **data)


# --- leak guards ---


@pytest.mark.parametrize("protocol", WHOLE)
def test_a_speaker_or_sentence_in_two_subsets_is_an_error_that_names_it(protocol):
    corpus = utterances()
    split = drawn(corpus, protocol, 3)
    check_left_out(split, corpus)
    for subset in ("train", "validation"):
        *kept, moved = getattr(split, subset)
        leaked = replace(split, **{subset: tuple(kept), "test": (*split.test, moved)})
        message = rf"the {WHOLE[protocol]} [fb]\d+ in {subset} and in test \({moved}"
        with pytest.raises(UserError, match=message):
            check_left_out(leaked, corpus)
    check_left_out(replace(leaked, protocol="kfold"), corpus)


def test_what_is_learned_from_must_be_the_training_set():
    split = Split(("a", "b"), ("c",), ("d",), 0, "EMOVO", 0.1, 0.2)
    check_sources(["a", "b", "a", "a", "b"], split)
    with pytest.raises(UserError, match=r"c \(validation\), d \(test\), e \(in no subset\)"):
        check_sources(["a", "b", "e", "c", "d"], split)
    with pytest.raises(UserError, match="leave out utterances of the training set: b"):
        check_sources(["a", "a"], split)


def test_an_utterance_in_two_subsets_is_an_error():
    with pytest.raises(UserError, match=r"lists b more than once \(b in: train, test\)"):
        Split(("a", "b"), ("c",), ("b", "d"), 0, "EMOVO", 0.1, 0.2)
    with pytest.raises(UserError, match="lists c more than once"):
        Split(("a",), ("c", "c"), ("d",), 0, "EMOVO", 0.1, 0.2)


def test_saved_splits_load_as_they_were_and_those_without_folds_too(tmp_path):
    path = tmp_path / "split.json"
    for split in (drawn(utterances(), "holdout", seed=7), drawn(utterances(), "leave_one_speaker_out", 4)):
        save_split(split, path)
        assert load_split(path) == split
    content = read_json(path)
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in ("fold", "folds")}))
    assert load_split(path) == replace(split, fold=None, folds=None)


@pytest.fixture
def saved(tmp_path) -> Path:
    save_split(holdout(utterances(["dis", "tri"]), 7, 0.1, 0.2, "EMOVO"), tmp_path / "split.json")
    return tmp_path / "split.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["a", "b"], "test": ["b"]}, "in: train, test"),
        ({"seed": ...}, "lacks 'seed'"),
        ({"test": "dis-f0-b1"}, "lists of names"),
        ({"test": [1, 2]}, "lists of names"),
        ({"test": []}, "no utterances for test"),
        ({"seed": "seven"}, "seven"),
        ({"fold": "two"}, "two"),
        (["dis-f0-b1"], "not a split"),
        (None, "not a split"),
    ],
)
def test_a_wrong_split_file_is_an_error_that_names_it(saved, change, message):
    if isinstance(change, dict):
        change = {key: value for key, value in (read_json(saved) | change).items() if value is not ...}
    saved.write_text(json.dumps(change))
    with pytest.raises(UserError, match=message) as error:
        load_split(saved)
    assert str(saved) in str(error.value)


def test_a_split_file_that_is_cut_off_anywhere_binary_or_missing_is_an_error_that_names_it(saved):
    content = saved.read_bytes().rstrip()
    cuts = [content[:length] for length in (*range(0, len(content), 97), len(content) - 1)]
    for damaged in (*cuts, bytes(range(256)), None):
        saved.unlink() if damaged is None else saved.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            load_split(saved)
        assert str(saved) in str(error.value)


def test_heard_speakers_validate_where_nothing_is_chosen_by_them(tmp_path):
    corpus, protocol = utterances(), "leave_one_speaker_out"
    unheard, heard = (drawn(corpus, protocol, 2, 3, validate_on=which) for which in ("unheard", "heard"))
    assert heard.test == unheard.test and {name.split("-")[1] for name in heard.test} == {"f2"}
    for subset, number in (("train", 441), ("validation", 49)):
        names = getattr(heard, subset)
        assert len(names) == number and {n.split("-")[1] for n in names} == {"f0", "f1", "f3", "f4", "f5"}
        assert set(Counter(map(emotion_of, names)).values()) == {number // 7}
    check_left_out(heard, corpus)
    save_split(heard, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == heard
    leaking = replace(heard, train=(*heard.train, heard.test[0]), test=heard.test[1:])
    for split in (replace(heard, validate_on="unheard"), leaking):
        with pytest.raises(UserError, match=r"the speaker f\d in .* and in"):
            check_left_out(split, corpus)

"""Splits: disjoint, stratified, determined by seed and names alone; and their JSON."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataloader.corpora import Utterance
from dataloader.splits import SUBSETS, Split, holdout, load_split, save_split
from utils.emotions import EMOTIONS
from utils.errors import UserError


def utterances(emotions=EMOTIONS, speakers=6, sentences=14) -> list[Utterance]:
    """As many utterances as EMOVO's, without files."""
    return [
        Utterance(
            Path(f"f{speaker}/{emotion}-f{speaker}-b{sentence}.wav"), emotion, f"f{speaker}", f"b{sentence}"
        )
        for emotion in emotions
        for speaker in range(speakers)
        for sentence in range(sentences)
    ]


def emotion_of(name: str) -> str:
    return name.partition("-")[0]


def test_emovo_is_split_into_58_10_16_of_each_emotion():
    split = holdout(utterances(), seed=0, validation_fraction=0.1, test_fraction=0.2, corpus="EMOVO")
    for subset, count in zip(SUBSETS, (58, 10, 16), strict=True):
        assert Counter(map(emotion_of, getattr(split, subset))) == dict.fromkeys(EMOTIONS, count)
    assert (split.seed, split.corpus, split.protocol) == (0, "EMOVO", "holdout")


@given(
    counts=st.lists(st.integers(12, 40), min_size=1, max_size=7),
    seed=st.integers(0, 2**32 - 1),
    fractions=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)),
    shuffler=st.randoms(use_true_random=False),
)
def test_a_holdout_is_a_partition_whatever_the_order(counts, seed, fractions, shuffler):
    corpus = [
        utterance
        for emotion, count in zip(EMOTIONS, counts, strict=False)
        for utterance in utterances([emotion], 1, count)
    ]
    split = holdout(corpus, seed, *fractions)

    parts = [set(getattr(split, subset)) for subset in SUBSETS]
    assert set.union(*parts) == {utterance.name for utterance in corpus}
    assert sum(map(len, parts)) == len(corpus)
    for part, fraction in zip(parts, (1 - sum(fractions), fractions[0], fractions[1]), strict=True):
        in_part = Counter(map(emotion_of, part))
        for emotion, count in zip(EMOTIONS, counts, strict=False):
            assert abs(in_part[emotion] - count * fraction) < 2  # one is lost by each of two floors

    shuffled = list(corpus)
    shuffler.shuffle(shuffled)
    assert holdout(shuffled, seed, *fractions) == split


def test_the_draw_of_an_emotion_does_not_depend_on_the_others():
    alone, together = (holdout(utterances(emotions), 3, 0.1, 0.2) for emotions in (["gio"], EMOTIONS))
    for subset in SUBSETS:
        assert getattr(alone, subset) == tuple(n for n in getattr(together, subset) if emotion_of(n) == "gio")


def test_another_seed_draws_other_utterances():
    tests = {holdout(utterances(), seed, 0.1, 0.2).test for seed in range(20)}
    assert len(tests) == 20


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


@pytest.mark.parametrize("sentences", [1, 2, 4])
def test_too_few_utterances_of_an_emotion_are_an_error_that_names_it(sentences):
    with pytest.raises(UserError, match=f"{sentences} usable utterances of the emotion 'rab'"):
        holdout(utterances(["dis"]) + utterances(["rab"], 1, sentences), 0, 0.1, 0.2)


@pytest.mark.parametrize("fractions", [(0, 0.2), (0.1, 0), (0.5, 0.5), (0.8, 0.3), (-0.1, 0.2)])
def test_impossible_fractions_are_an_error(fractions):
    with pytest.raises(UserError, match="validation_fraction"):
        holdout(utterances(), 0, *fractions)


def test_a_rounding_error_costs_no_utterance():
    split = holdout(utterances(["dis"], 1, 100), 0, 0.42, 0.29)
    assert (len(split.train), len(split.validation), len(split.test)) == (29, 42, 29)


def test_an_utterance_in_two_subsets_is_an_error():
    with pytest.raises(UserError, match=r"lists b more than once \(b in: train, test\)"):
        Split(("a", "b"), ("c",), ("b", "d"), 0, "EMOVO", 0.1, 0.2)
    with pytest.raises(UserError, match="lists c more than once"):
        Split(("a",), ("c", "c"), ("d",), 0, "EMOVO", 0.1, 0.2)


def test_a_saved_split_loads_as_it_was(tmp_path):
    split = holdout(utterances(), 7, 0.1, 0.2, "EMOVO")
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split


@pytest.fixture
def saved(tmp_path) -> Path:
    save_split(holdout(utterances(["dis", "tri"]), 7, 0.1, 0.2, "EMOVO"), tmp_path / "split.json")
    return tmp_path / "split.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content | {"train": [*content["train"], content["test"][0]]}, "in: train, test"),
        (lambda content: {k: v for k, v in content.items() if k != "test"}, "lacks 'test'"),
        (lambda content: {k: v for k, v in content.items() if k != "seed"}, "lacks 'seed'"),
        (lambda content: content | {"test": "dis-f0-b1"}, "lists of names"),
        (lambda content: content | {"test": [1, 2]}, "lists of names"),
        (lambda content: content | {"test": []}, "no utterances for test"),
        (lambda content: content | {"seed": "seven"}, "seven"),
        (lambda content: content["train"], "not a split"),
        (lambda content: None, "not a split"),
    ],
)
def test_a_wrong_split_file_is_an_error_that_names_it(saved, damage, message):
    saved.write_text(json.dumps(damage(json.loads(saved.read_text()))))
    with pytest.raises(UserError, match=message) as error:
        load_split(saved)
    assert str(saved) in str(error.value)


def test_a_split_file_cut_off_anywhere_is_an_error_that_names_it(saved):
    content = saved.read_bytes().rstrip()
    for length in (*range(0, len(content), 97), len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(UserError) as error:
            load_split(saved)
        assert str(saved) in str(error.value)


def test_a_split_file_that_is_missing_or_binary_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"none\.json"):
        load_split(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"binary\.json"):
        load_split(tmp_path / "binary.json")

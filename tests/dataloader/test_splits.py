"""Splits: disjoint, stratified, determined by seed and names alone; and their JSON."""

import hashlib
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import Utterance
from dataloader.splits import (
    SUBSETS,
    Split,
    _drawn,
    check_left_out,
    check_sources,
    draw_split,
    fewer,
    load_split,
    save_split,
    speaker_groups,
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


def holdout(corpus, seed: int, validation_fraction: float, test_fraction: float) -> Split:
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    return drawn(corpus, "holdout", seed=seed, **fractions)


def names_of(split: Split) -> list[str]:
    return sorted(name for subset in SUBSETS for name in getattr(split, subset))


def emotion_of(name: str) -> str:
    return name.partition("-")[0]


def test_emovo_is_split_into_58_10_16_of_each_emotion():
    split = drawn(utterances(), "holdout")
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
        with pytest.raises(UserError, match=f"{sentences} usable utterances of the emotion 'anger'"):
            holdout(utterances(["dis"]) + utterances(["rab"], 1, sentences), 0, 0.1, 0.2)


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
    (
        utterances(["dis"], 1, 9),
        "kfold",
        {},
        "9 usable utterances of the emotion 'disgust' are too few for 10 f",
    ),
    (utterances(["dis"], 1, 10), "kfold", MUCH, r"10 usable utterances .* with 0\.9 of them to validate"),
    (utterances(speakers=2), "leave_one_speaker_out", {}, "2 speakers are too few"),
    (NO_SPEAKER, "speaker_kfold", {"folds": 3}, "not name the speaker of dis-unknown-b0, .* and 93 more"),
    (utterances(), "speaker_kfold", {"fold": 5, "folds": 5}, "must be 0 to 4 with speaker_kfold"),
    (utterances(), "speaker_kfold", {"folds": 7}, "must be at least 3 .* at most the number of speakers, 6"),
    (NO_SPEAKER, "leave_one_speaker_out", {}, "not name the speaker of dis-unknown-b0, .* and 93 more"),
    (utterances(), "leave_one_speaker_out", MUCH, "6 speakers are too few to test on 1, validate on 5"),
]


@pytest.mark.parametrize(("corpus", "protocol", "data", "message"), NO_SPLIT)
def test_a_split_that_cannot_be_drawn_is_an_error_that_says_why(corpus, protocol, data, message):
    with pytest.raises(UserError, match=message):
        drawn(corpus, protocol, **data)


# --- groups of whole speakers ---


def of_speakers(sizes: list[dict[str, int]], corpus: str = "") -> list[Utterance]:
    """A corpus with so many utterances of each emotion for each speaker."""
    return [
        Utterance(
            Path("x.wav"),
            emotion,
            f"{corpus}/s{speaker}",
            f"b{one}",
            f"{corpus}{speaker}{emotion}{one}",
            corpus,
        )
        for speaker, counts in enumerate(sizes)
        for emotion, count in counts.items()
        for one in range(count)
    ]


SIZES = st.lists(
    st.dictionaries(st.sampled_from(EMOTIONS), st.integers(1, 9), min_size=1), min_size=3, max_size=12
)


@settings(deadline=None, max_examples=60)
@given(
    corpora=st.lists(SIZES, min_size=1, max_size=3),
    folds=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
    validate_on=st.sampled_from(["unheard", "heard"]),
    shuffler=st.randoms(use_true_random=False),
)
def test_groups_of_speakers_are_whole_and_every_utterance_is_tested_on_once(
    corpora, folds, seed, validate_on, shuffler
):
    corpus = [one for number, sizes in enumerate(corpora) for one in of_speakers(sizes, f"c{number}")]
    speaker_of = {one.name: one.speaker for one in corpus}
    speakers = len(set(speaker_of.values()))
    how = {"seed": seed, "folds": folds, "validate_on": validate_on}
    if speakers < folds or (folds == 2 and validate_on == "unheard"):
        with pytest.raises(UserError, match=f"data.folds = {folds}: must be at least"):
            drawn(corpus, "speaker_kfold", **how)
        return
    splits = [drawn(corpus, "speaker_kfold", fold, **how) for fold in range(folds)]
    for split in splits:
        assert names_of(split) == sorted(speaker_of)
        train, validation, test = ({speaker_of[n] for n in getattr(split, subset)} for subset in SUBSETS)
        assert test and not test & (train | validation)
        assert validate_on == "heard" or not train & validation
        check_left_out(split, corpus)
    assert sorted(name for split in splits for name in split.test) == sorted(speaker_of)
    assert validate_on == "heard" or sorted(n for s in splits for n in s.validation) == sorted(speaker_of)
    shuffler.shuffle(corpus)
    assert drawn(corpus, "speaker_kfold", 1, **how) == splits[1]


@given(
    speakers=st.lists(st.integers(3, 30), min_size=1, max_size=3),
    folds=st.integers(3, 6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=30)
def test_groups_of_equal_speakers_differ_by_one_at_most_in_each_corpus(speakers, folds, seed):
    alike = dict.fromkeys(EMOTIONS, 2)
    parts = [of_speakers([alike] * count, f"c{number}") for number, count in enumerate(speakers)]
    group = speaker_groups([one for part in parts for one in part], folds, seed)
    for part in parts:
        sizes = Counter(group[speaker] for speaker in {one.speaker for one in part})
        counts = [sizes[number] for number in range(folds)]
        assert max(counts) - min(counts) <= 1


def test_groups_of_unequal_speakers_have_about_as_much_of_each_emotion():
    """Beside groups that are dealt out by chance, whatever the seed."""
    corpus = of_speakers([{"dis": 1 + speaker % 7, "tri": 1 + speaker % 5} for speaker in range(40)])

    def spread(group: dict[str, int]) -> int:
        counts = Counter((one.emotion, group[one.speaker]) for one in corpus)
        each = ([counts[emotion, number] for number in range(5)] for emotion in ("dis", "tri"))
        return max(max(counts) - min(counts) for counts in each)

    speakers = sorted({one.speaker for one in corpus})
    by_chance = [
        spread({s: place % 5 for place, s in enumerate(_drawn(speakers, seed))}) for seed in range(50)
    ]
    ours = [spread(speaker_groups(corpus, 5, seed)) for seed in range(50)]
    assert max(ours) <= 3 < min(by_chance)


def test_groups_depend_on_the_seed_but_not_on_recordings_without_features():
    corpus = utterances(speakers=12)
    groups = {tuple(sorted(speaker_groups(corpus, 4, seed).items())) for seed in range(10)}
    assert len(groups) == 10
    usable = [one for one in corpus if one.speaker != "f3" or one.emotion == "dis"]
    data = DataConfig(protocol="speaker_kfold", folds=4, fold=2)
    whole, part = draw_split(corpus, data, 0), draw_split(usable, data, 0, listed=corpus)
    left = {one.name for one in usable}
    for subset in SUBSETS:
        assert getattr(part, subset) == tuple(name for name in getattr(whole, subset) if name in left)


# --- published partitions ---


def by_file(tmp_path: Path, corpus, text: str, fold: int = 0, **more) -> Split:
    path = tmp_path / "some.csv"
    path.write_text(text)
    return drawn(corpus, "partition", fold, partition=path, **more)


@given(
    folds=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    whole=st.booleans(),
    mark=st.sampled_from(",;\t"),
)
@settings(deadline=None, max_examples=40)
def test_a_partition_s_folds_are_the_test_sets(tmp_path_factory, folds, whole, mark):
    """Whole speakers in a fold, or sentences, whose speakers are in several."""
    corpus = utterances(["dis", "tri"], 6, 6)
    fold_of = {one.name: folds[int((one.speaker if whole else one.sentence)[1])] for one in corpus}
    text = "\n".join([f"name{mark}test_fold", *(f"{name}{mark}{fold}" for name, fold in fold_of.items())])
    folder = tmp_path_factory.mktemp("partition")
    for fold in set(folds):
        few = folds.count(fold) == 6 or (whole and folds.count(fold) == 5)
        if few:
            with pytest.raises(
                UserError, match=r"none is left to train on|1 speakers beside the tested ones are too few"
            ):
                by_file(folder, corpus, text, fold)
            continue
        split = by_file(folder, corpus, text, fold)
        assert set(split.test) == {name for name, of in fold_of.items() if of == fold}
        assert names_of(split) == sorted(fold_of)
        assert (split.fold, split.folds) == (fold, len(set(folds)))
        assert (split.left_out, split.validate_on) == (("speaker", "unheard") if whole else ("", "heard"))
        parts = [{name.split("-")[1] for name in getattr(split, subset)} for subset in SUBSETS]
        assert not whole or not (parts[0] & parts[1] or (parts[0] | parts[1]) & parts[2])
        check_left_out(split, corpus)


def test_a_partition_is_recorded_and_its_speakers_are_held_apart_from_then_on(tmp_path):
    corpus = utterances(["dis", "tri"], 4, 5)
    text = "name,fold\n" + "".join(f"{one.name},{one.speaker[1]}\n" for one in corpus)
    split = by_file(tmp_path, corpus, text, 2)
    assert split.partition == "some.csv"
    assert split.partition_sha256 == hashlib.sha256((tmp_path / "some.csv").read_bytes()).hexdigest()
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    leaking = replace(split, train=(*split.train, split.test[0]), test=split.test[1:])
    with pytest.raises(UserError, match=r"the speaker f2 in train and in test \("):
        check_left_out(leaking, corpus)
    heard = by_file(tmp_path, corpus, text, 2, validate_on="heard")
    assert heard.test == split.test and {n.split("-")[1] for n in heard.validation} == {"f0", "f1", "f3"}


def test_names_in_a_partition_need_neither_suffix_nor_case_nor_folder(tmp_path, capsys):
    corpus = [replace(one, own_name=f"RAVDESS/{one.name}") for one in utterances(["dis"], 2, 6)]
    text = "Name;Test_Fold\nDIS-F0-B0.WAV;0\nAudio\\dis-f0-b1.flac;0\nRAVDESS/dis-f0-b2;1\ndis-f9-b9;1\n"
    split = by_file(tmp_path, corpus, text)
    assert split.test == ("RAVDESS/dis-f0-b0", "RAVDESS/dis-f0-b1")
    warnings = capsys.readouterr().err
    assert "1 of the 4 utterances that some.csv lists, not in the corpus: dis-f9-b9" in warnings
    assert "9 of the 12 utterances, in no fold of some.csv" in warnings


def test_what_is_in_no_fold_is_not_trained_on_where_its_speaker_is_tested(tmp_path, capsys):
    corpus = utterances(["dis"], 4, 6)
    listed = [one for one in corpus if one.name != "dis-f1-b5"]
    text = "name,fold\n" + "".join(f"{one.name},{one.speaker[1]}\n" for one in listed)
    assert "dis-f1-b5" not in names_of(by_file(tmp_path, corpus, text, 1))
    assert (
        "1 utterances are in no fold of some.csv, and of speakers whom fold 1 tests"
        in capsys.readouterr().err
    )
    assert "dis-f1-b5" in names_of(by_file(tmp_path, corpus, text, 2))


TWINS = [
    Utterance(Path("x"), "dis", "f", "b", name) for name in ("anna/angry/one", "bert/angry/one", "a/one")
]
BAD_PARTITIONS = [  # the file's text, and the complaint
    (None, "some.csv cannot be read: No such file.* data.partition needs a CSV file"),
    ("", "is empty.* data.partition needs a CSV file with the columns name and fold"),
    ("anna,0\nbert,1\n", "has the columns anna, 0: data.partition needs"),
    ("name,fold\n", "no row below them"),
    ("name,fold\nanna/angry/one,first\n", "line 2: must be a name and a whole number"),
    ("name,fold\nanna/angry/one\n", "line 2: 1 value, and the first line names 2 columns"),
    ("name,fold\nanna/angry/one,0\nanna/angry/one,1\n", "has anna/angry/one in the folds 0 and 1"),
    ("name,fold\nanna/angry/one,0\nAnna/angry/one.wav,1\n", "has anna/angry/one in the folds 0 and 1"),
    ("name,fold\none,0\n", "one may be any of a/one, anna/angry/one, bert/angry/one"),
    ("name,fold\ntwo,0\n", "some.csv is of another corpus: it lists two; the corpus has anna/angry/one, "),
    ("name,fold\nanna/angry/one,3\n", "data.fold = 0: some.csv has for this corpus the folds 3"),
]


@pytest.mark.parametrize(("text", "message"), BAD_PARTITIONS)
def test_a_partition_that_cannot_be_used_is_an_error_that_says_why(tmp_path, text, message):
    if text is None:
        with pytest.raises(UserError, match=message):
            drawn(TWINS, "partition", partition=tmp_path / "some.csv")
        return
    with pytest.raises(UserError, match=message):
        by_file(tmp_path, TWINS, text)


EMOBOX = {"emovo": ("EMOVO", 6), "ravdess": ("RAVDESS", 6), "cremad": ("CREMA-D", 1)}
SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.mark.parametrize("name", EMOBOX)
def test_emobox_s_partitions_are_applied_as_they_are(name):
    path, (folder, folds) = SHARED / f"partitions/emobox_{name}.csv", EMOBOX[name]
    if not path.exists() or not (SHARED / "data" / folder).exists():
        pytest.skip("the corpora and partitions are not on this machine")
    corpus = read_corpus(name, SHARED / "data" / folder).utterances
    listed = [line.split(",") for line in path.read_text().split()[1:]]
    for fold in range(folds):
        split = drawn(corpus, "partition", fold, partition=path)
        assert set(split.test) == {utterance for utterance, of in listed if of == str(fold)}
        assert split.left_out == ("speaker" if folds > 1 else "")


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
    save_split(holdout(utterances(["dis", "tri"]), 7, 0.1, 0.2), tmp_path / "split.json")
    return tmp_path / "split.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ["a", "b"], "test": ["b"]}, "in: train, test"),
        ({"seed": ...}, "lacks seed"),
        ({"test": "dis-f0-b1"}, "test: .* tuple"),
        ({"test": [1, 2]}, r"test\.0: .* string"),
        ({"test": []}, "no utterances for test"),
        ({"seed": "seven"}, "seed: .* integer"),
        ({"fold": "two"}, "fold: .* integer"),
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


def test_fewer_training_utterances_are_a_nested_share_of_each_emotion():
    split, emotions = (
        drawn(utterances(), "holdout"),
        Counter(map(emotion_of, names_of(drawn(utterances(), "holdout")))),
    )
    emotion = {name: emotion_of(name) for name in names_of(split)}
    larger, smaller = fewer(split, emotion, 200), fewer(split, emotion, 51)
    assert set(smaller.train) < set(larger.train) < set(split.train)
    assert (len(smaller.train), len(larger.train)) == (51, 200)
    for cut in (smaller, larger):
        counts = Counter(map(emotion_of, cut.train))
        assert len(counts) == len(emotions)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert (cut.validation, cut.test) == (split.validation, split.test)
    assert fewer(replace(split, seed=1), emotion, 51).train != smaller.train
    for number, problem in ((len(split.train) + 1, "the training set has 406"), (6, "without any")):
        with pytest.raises(UserError, match=problem):
            fewer(split, emotion, number)

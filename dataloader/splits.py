"""Which utterances train, validate and test: drawn once, written down, never drawn again."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dataloader.corpora.utterance import UNKNOWN, Utterance, words_of
from dataloader.partition import read_partition
from utils.config import DataConfig
from utils.errors import UserError, some
from utils.files import without_checksum, write_json
from utils.progress import warn

SUBSETS = ("train", "validation", "test")
Utterances = Iterable[Utterance]
# Protocols that leave something out whole → an attribute of Utterance; no value of it is in two subsets.
LEFT_OUT = {"leave_one_speaker_out": "speaker", "leave_one_sentence_out": "sentence"}
LEFT_OUT |= {"speaker_kfold": "speaker"}


@dataclass(frozen=True)
class Split:
    """The utterances of each subset, by name, each at most once, and how they were drawn."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    corpus: str
    validation_fraction: float
    test_fraction: float  # one part in `folds`, where there are any
    protocol: str = "holdout"
    fold: int | None = None  # the one that tests, counted from 0; None for holdout, which has no folds
    folds: int | None = None
    validate_on: str = "unheard"  # speakers (sentences), or utterances of the "heard", who also train
    partition: str = ""  # the name of the file that says it: a partition, or a table with a column split
    partition_sha256: str = ""  # of the file's content
    left_out: str = ""  # "speaker" where that file holds speakers apart
    # Fingerprint and emotion of each recording of the corpus (dataloader.identity); earlier splits have none
    recordings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = Counter(self.train + self.validation + self.test)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            places = ", ".join(subset for subset in SUBSETS if repeated[0] in getattr(self, subset))
            raise UserError(
                f"the split lists {some(repeated)} more than once ({repeated[0]} in: {places}): "
                "no utterance may be both learned from and tested on. Draw the split anew."
            )
        empty = [subset for subset in SUBSETS if not getattr(self, subset)]
        if empty:
            raise UserError(f"the split has no utterances for {' and '.join(empty)}. Draw it anew.")

    @property
    def subset_of(self) -> dict[str, str]:
        """Name → the subset that it is in."""
        return {name: subset for subset in SUBSETS for name in getattr(self, subset)}


def draw_split(
    utterances: Utterances, data: DataConfig, seed: int, corpus: str = "", listed: Utterances = ()
) -> Split:
    """The split that a configuration asks for, the same on every machine and with every library.

    Names are ordered by the SHA-256 of seed and name; the order of `utterances` does not matter. Over the
    folds of one protocol and seed, every utterance is in exactly one test set.

    Args:
        utterances: those that have features.
        data: `protocol`, `fold`, `folds`, `partition`, `validate_on` and the two fractions are used.
        corpus: the corpus's name, to be recorded.
        listed: all utterances of the corpus, where some have no features: groups of speakers are drawn from
            these, so that they are the same whatever the features.

    Raises:
        UserError: when the protocol has no such fold, or there are too few utterances for it.
    """
    utterances = list(utterances)
    everyone = list(listed) or utterances
    in_table = any(utterance.subset for utterance in utterances)
    if in_table and data.protocol != "holdout":
        warn(f"the table's column split is not used with data.protocol={data.protocol}")
    if data.protocol == "kfold":
        split = _kfold(utterances, data, seed)
    elif data.protocol == "speaker_kfold":
        split = _speaker_kfold(utterances, data, seed, everyone)
    elif data.partition is not None:
        split = _by_partition(utterances, data, seed, everyone)
    elif data.protocol != "holdout":
        split = _leave_one_out(utterances, data, seed)
    elif data.fold:
        remedy = "Set data.fold=0, or choose another data.protocol (for other holdouts: another train.seed)."
        raise UserError(f"data.fold = {data.fold}: the protocol holdout has no folds. {remedy}")
    else:
        split = (_as_listed if in_table else _holdout)(utterances, data, seed)
    return replace(split, corpus=corpus)


def all_folds(utterances: Utterances, data: DataConfig) -> list[int]:
    """Every `data.fold` that the protocol has for a corpus; of a holdout, which has no folds, 0."""
    if data.protocol == "holdout":
        return [0]
    if data.protocol in ("kfold", "speaker_kfold"):
        return list(range(data.folds))
    if data.partition is not None:
        return sorted(set(read_partition(data.partition).of(one.name for one in utterances).values()))
    return list(range(len({getattr(one, LEFT_OUT[data.protocol]) for one in utterances})))


def _holdout(utterances: Utterances, data: DataConfig, seed: int) -> Split:
    """A random split, stratified by emotion.

    Of an emotion's n utterances, floor(n · (1 - validation_fraction - test_fraction)) train,
    floor(n · test_fraction) test and the rest validates: 58, 16 and 10 of EMOVO's 84 at the fractions 0.1
    and 0.2.
    """
    train_fraction = 1 - data.validation_fraction - data.test_fraction
    train, validation, test = [], [], []
    for emotion, names in _names_by("emotion", utterances).items():
        names = _drawn(names, seed)
        num_train, num_test = _floor(len(names) * train_fraction), _floor(len(names) * data.test_fraction)
        if min(num_train, num_test, len(names) - num_train - num_test) < 1:
            raise UserError(
                f"{_count(utterances, emotion)} are too few to train ({train_fraction:g}), validate "
                f"({data.validation_fraction:g}) and test ({data.test_fraction:g}) on. "
                f"Add recordings, leave such emotions out (data.min_utterances={len(names) + 1}), or change "
                "data.validation_fraction and data.test_fraction."
            )
        train += names[:num_train]
        test += names[num_train : num_train + num_test]
        validation += names[num_train + num_test :]
    return _split(data, seed, train, validation, test)


def _kfold(utterances: Utterances, data: DataConfig, seed: int) -> Split:
    """One fold of a cross-validation, stratified by emotion.

    Each emotion's utterances are dealt out to the folds in turn, one emotion going on where the one before
    ended: no two folds differ by more than one utterance, in all or of an emotion. One fold tests;
    `validation_fraction` of each emotion (rounded, at least one) is drawn from the others and validates.
    """
    fold, folds = data.fold, data.folds
    _check_fold(data, folds, f"data.folds is {folds}")
    train, validation, test = [], [], []
    dealt = 0
    for emotion, names in _names_by("emotion", utterances).items():
        tested = [name for place, name in enumerate(_drawn(names, seed), dealt) if place % folds == fold]
        dealt += len(names)
        rest = _drawn(set(names).difference(tested), f"{seed}/kfold/{fold}")
        num_validation = _share(len(names), data.validation_fraction)
        if len(names) < folds or len(rest) <= num_validation:
            raise UserError(
                f"{_count(utterances, emotion)} are too few for {folds} folds "
                f"with {data.validation_fraction:g} of them to validate on. Add recordings, leave such "
                f"emotions out (data.min_utterances={len(names) + 1}), or lower "
                "data.folds or data.validation_fraction."
            )
        test += tested
        validation += rest[:num_validation]
        train += rest[num_validation:]
    return _split(data, seed, train, validation, test, folds)


def _leave_one_out(utterances: Sequence[Utterance], data: DataConfig, seed: int) -> Split:
    """All utterances of one speaker (or sentence) test, all of others validate, those of the rest train.

    Fold i tests the i-th speaker in alphabetical order. The seed puts the speakers in a circle (by SHA-256),
    in which those after the tested one validate, so that over the folds each validates equally often:
    `validation_fraction` of all (rounded, at least one).

    Utterances of speakers who are trained on go on improving where those of others no longer do. Where
    validation chooses nothing (`train.keep: last`), `validate_on` "heard" spares a speaker: that fraction of
    each emotion's utterances of all speakers but the tested one validates.
    """
    protocol, attribute = data.protocol, LEFT_OUT[data.protocol]
    by_value = _names_by(attribute, utterances)
    values = list(by_value)
    check_known(utterances, attribute, protocol, "Choose data.protocol=kfold.")
    num_validation = _share(len(values), data.validation_fraction)
    if len(values) < num_validation + 2:
        few = f"{len(values)} {attribute}s are too few to test on 1, validate on {num_validation}"
        remedy = "Choose data.protocol=kfold, or lower data.validation_fraction."
        raise UserError(f"{protocol}: {few} and train on the rest. {remedy}")
    _check_fold(data, len(values), f"the corpus has {len(values)} {attribute}s")
    circle = _drawn(values, f"{seed}/{protocol}")
    place = circle.index(values[data.fold])
    tested, *others = circle[place:] + circle[:place]
    if data.validate_on == "heard":
        rest = [utterance for utterance in utterances if getattr(utterance, attribute) != tested]
        train, validation = _heard(rest, f"{seed}/{protocol}/{data.fold}", data.validation_fraction)
    else:
        validation = [name for value in others[:num_validation] for name in by_value[value]]
        train = [name for value in others[num_validation:] for name in by_value[value]]
    test = by_value[tested]
    return _split(data, seed, train, validation, test, len(values), validate_on=data.validate_on)


def _speaker_kfold(
    utterances: Sequence[Utterance], data: DataConfig, seed: int, everyone: Sequence[Utterance]
) -> Split:
    """One fold of a cross-validation over groups of whole speakers (see speaker_groups).

    One group tests and the next validates; with `validate_on` "heard", `validation_fraction` of each
    emotion's utterances of all other groups does.
    """
    fold, folds = data.fold, data.folds
    by_speaker = _names_by("speaker", everyone)
    check_known(everyone, "speaker", data.protocol, "Choose data.protocol=kfold.")
    _check_fold(data, folds, f"data.folds is {folds}")
    least = 3 if data.validate_on == "unheard" else 2
    if not least <= folds <= len(by_speaker):
        limits = f"must be at least {least} (with data.validate_on={data.validate_on})"
        speakers = f"at most the number of speakers, {len(by_speaker)}"
        raise UserError(f"{data.protocol}: data.folds = {folds}: {limits} and {speakers}.")
    group = speaker_groups(everyone, folds, seed)
    parts = [[u for u in utterances if group[u.speaker] == number] for number in range(folds)]
    test = [utterance.name for utterance in parts.pop(fold)]
    if data.validate_on == "heard":
        rest = [utterance for part in parts for utterance in part]
        train, validation = _heard(rest, f"{seed}/{data.protocol}/{fold}", data.validation_fraction)
    else:
        validation = [utterance.name for utterance in parts.pop(fold % len(parts))]
        train = [utterance.name for part in parts for utterance in part]
    return _split(data, seed, train, validation, test, folds, validate_on=data.validate_on)


def speaker_groups(utterances: Utterances, folds: int, seed: int) -> dict[str, int]:
    """Speaker → one of `folds` groups, as equal as whole speakers allow, in each corpus and emotion.

    Speakers with much of a corpus come first, in the seed's order where they are level, each into the group
    that keeps the sum over groups of the squared shares of all utterances, of each corpus and of each emotion
    in a corpus lowest. So no group is empty.
    """
    counts: dict[str, Counter] = {}
    for one in utterances:
        cells = "", one.corpus, f"{one.corpus}/{one.emotion}"
        counts.setdefault(one.speaker, Counter()).update(enumerate(cells))
    total = sum(counts.values(), Counter())
    shares = {
        speaker: {cell: count / total[cell] for cell, count in sorted(cells.items())}
        for speaker, cells in counts.items()
    }
    held: list[Counter] = [Counter() for _ in range(folds)]
    group = {}
    order = _drawn(shares, f"{seed}/speaker_kfold")
    for speaker in sorted(order, key=lambda one: -sum(share**2 for share in shares[one].values())):
        # (held + share)² - held² grows with held · share
        costs = [sum(share * one[cell] for cell, share in shares[speaker].items()) for one in held]
        group[speaker] = costs.index(min(costs))
        held[group[speaker]].update(shares[speaker])
    return group


def _by_partition(
    utterances: Sequence[Utterance], data: DataConfig, seed: int, everyone: Sequence[Utterance]
) -> Split:
    """A fold of a published partition tests, and what is in no fold or in another trains and validates.

    Where the partition holds speakers apart (no speaker is in two folds), `validation_fraction` of the
    speakers (rounded, at least one) validates, drawn from those of other folds, or as `validate_on` says; and
    utterances in no fold are left out, with a warning, whose speaker is tested on. Elsewhere that fraction of
    each emotion's other utterances validates.
    """
    assert data.partition is not None
    partition, fold = read_partition(data.partition), data.fold
    fold_of = partition.of(utterance.name for utterance in everyone)
    if fold not in (choices := sorted(set(fold_of.values()))):
        there = some([str(choice) for choice in choices], 20)
        raise UserError(f"data.fold = {fold}: {partition.name} has for this corpus the folds {there}.")
    folds_of_speaker: dict[str, set[int]] = {}
    for one in everyone:
        if one.name in fold_of:
            folds_of_speaker.setdefault(one.speaker, set()).add(fold_of[one.name])
    apart = len(choices) > 1 and all(len(folds) == 1 for folds in folds_of_speaker.values())
    apart = apart and not any(map(is_unknown, folds_of_speaker))
    test = [utterance.name for utterance in utterances if fold_of.get(utterance.name) == fold]
    rest = [utterance for utterance in utterances if fold_of.get(utterance.name) != fold]
    if apart:
        strays = [one.name for one in rest if fold in folds_of_speaker.get(one.speaker, ())]
        if strays:
            where = f"are in no fold of {partition.name}, and of speakers whom fold {fold} tests"
            warn(f"{len(strays)} utterances {where}; they are left out: {some(strays)}")
        rest = [utterance for utterance in rest if utterance.name not in strays]
    if not rest:
        raise UserError(f"fold {fold} of {partition.name} has all utterances: none is left to train on.")
    origin: dict[str, Any] = {
        "validate_on": data.validate_on if apart else "heard",
        "partition": partition.name,
        "partition_sha256": partition.sha256,
        "left_out": "speaker" if apart else "",
    }
    learned = _validated(rest, f"{seed}/partition/{fold}", data.validation_fraction, origin["validate_on"])
    return _split(data, seed, *learned, test, len(choices), **origin)


def _as_listed(utterances: Sequence[Utterance], data: DataConfig, seed: int) -> Split:
    """The split that the column of a table says (Utterance.subset); of other corpora beside it a holdout.

    Where the table has no rows for validation, they are drawn from those for training: of speakers, where
    none of these is tested on, or as `validate_on` says, else of each emotion's utterances. What has no value
    there is left out, with a warning.
    """
    tables = {one.corpus for one in utterances if one.subset}
    listed = [one for one in utterances if one.corpus in tables]
    subset_of = _subsets({one.subset for one in listed if one.subset})
    parts = {subset: [one for one in listed if subset_of.get(one.subset) == subset] for subset in SUBSETS}
    if blank := [one.name for one in listed if not one.subset]:
        empty = f"{len(blank)} utterances have no value in the table's column split"
        warn(f"{empty}, and are left out: {some(blank)}")
    speakers = {subset: {one.speaker for one in part} for subset, part in parts.items()}
    learned, tested = speakers["train"] | speakers["validation"], speakers["test"]
    apart = learned.isdisjoint(tested) and not any(map(is_unknown, learned | tested))
    if shared := sorted(one for one in learned & tested if not is_unknown(one)):
        there = f"{len(shared)} of its {len(tested)} test speakers train or validate, too"
        warn(f"the table's column split does not hold speakers apart: {there}: {some(shared)}")
    train, validation, test = ([one.name for one in parts[subset]] for subset in SUBSETS)
    validate_on = data.validate_on
    if not validation:
        validate_on = validate_on if apart else "heard"
        how = f"{seed}/listed", data.validation_fraction, validate_on
        train, validation = _validated(parts["train"], *how)
    elif speakers["train"] & speakers["validation"]:
        validate_on = "heard"
    if others := [one for one in utterances if one.corpus not in tables]:
        apart, drawn = False, _holdout(others, data, seed)
        for names, more in ((train, drawn.train), (validation, drawn.validation), (test, drawn.test)):
            names += more
    split, left_out = _split(data, seed, train, validation, test), "speaker" if apart else ""
    return replace(split, partition="as its table says", validate_on=validate_on, left_out=left_out)


def _subsets(values: set[str]) -> dict[str, str]:
    """A value of a table's column split → one of SUBSETS; a UserError names what is unknown or missing."""
    words = {
        "train": {"train", "training", "trn", "tr"},
        "validation": {"validation", "valid", "val", "dev", "devel", "development"},
        "test": {"test", "testing", "tst"},
    }
    words["validation" if values & words["test"] else "test"] |= {"eval", "evaluation"}
    found = {value: subset for subset in SUBSETS for value in values & words[subset]}
    cure = 'Correct it, or do without that column: "data.columns={split: null}"'
    if strange := sorted(values - found.keys()):
        usual = "train, validation (dev, val) and test (eval)"
        raise UserError(f"the table's column split has {some(strange)}, and {usual} are known. {cure}.")
    if missing := [subset for subset in ("train", "test") if subset not in found.values()]:
        there = f"no recording is for {' or '.join(missing)}; it has {some(sorted(values))}"
        raise UserError(f"the table's column split: {there}. {cure}.")
    return found


def keep_together(split: Split, copies: Mapping[str, str]) -> tuple[Split, list[str]]:
    """A split with all copies of a recording in the same subset, and the names that it loses.

    A copy goes where its original is. Where speakers or sentences are held apart, or others chose the test
    set, it cannot: then those stay that are tested, or else validated, on, and the others are lost.

    `copies` has for each copy the name of its original (see dataloader.identity.copies).
    """
    subset_of = split.subset_of
    groups: dict[str, list[str]] = {}
    for name in (*copies.values(), *copies):
        if name in subset_of and name not in (group := groups.setdefault(copies.get(name, name), [])):
            group.append(name)
    apart, lost = bool(split.partition) or split.protocol in LEFT_OUT, []
    for names in groups.values():
        home = max((subset_of[name] for name in names), key=SUBSETS.index) if apart else subset_of[names[0]]
        for name in (name for name in names if subset_of[name] != home):
            if apart:
                lost.append(name)
                del subset_of[name]
            else:
                subset_of[name] = home
    train, validation, test = (tuple(sorted(n for n in subset_of if subset_of[n] == s)) for s in SUBSETS)
    return replace(split, train=train, validation=validation, test=test), lost


def fewer(split: Split, emotion_of: Mapping[str, str], number: int) -> Split:
    """A split with `number` of its training utterances, as near the same share of each emotion as can be.

    The seed draws them; of one seed, a smaller number's are among a larger number's. A UserError where there
    are fewer, or where an emotion would be left without any.
    """
    if number > len(split.train):
        there = f"the training set has {len(split.train)}"
        raise UserError(f"data.training_utterances = {number}: {there}. Lower it, or set 0 for all.")
    by_emotion: dict[str, list[str]] = {}
    for name in _drawn(split.train, f"{split.seed}/fewer"):
        by_emotion.setdefault(emotion_of[name], []).append(name)
    place = {name: (i + 0.5) / len(names) for names in by_emotion.values() for i, name in enumerate(names)}
    kept = sorted(place, key=place.__getitem__)[:number]
    if len({emotion_of[name] for name in kept}) < len(by_emotion):
        problem = f"data.training_utterances = {number} leaves an emotion without any"
        raise UserError(f"{problem}: raise it, or set 0 for all.")
    return replace(split, train=tuple(sorted(kept)))


def check_left_out(split: Split, utterances: Utterances) -> None:
    """Raise a UserError where a split that leaves speakers (sentences) out has one of them in two subsets.

    Names that `utterances`, the corpus, lacks are passed over.
    """
    attribute = LEFT_OUT.get(split.protocol) or split.left_out
    value_of = {one.name: getattr(one, attribute) for one in utterances} if attribute else {}
    home: dict[str, str] = {}
    for name, subset in split.subset_of.items():
        # speakers who are trained on may validate where they need not be strangers
        role = "train" if subset == "validation" and split.validate_on == "heard" else subset
        if name in value_of and home.setdefault(value_of[name], role) != role:
            raise UserError(
                f"the split ({split.protocol}) has the {attribute} {value_of[name]} in "
                f"{home[value_of[name]]} and in {subset} ({name}): no test {attribute} may be known from "
                "training. Draw the split anew."
            )


def check_sources(names: Iterable[str], split: Split) -> None:
    """Raise a UserError unless `names` are exactly the training set, each any number of times.

    They are of the utterances to train on; a variant (an augmented copy) has the name of its original.
    """
    names = set(names)
    strangers, missing = sorted(names.difference(split.train)), sorted(set(split.train) - names)
    if strangers:
        named = [f"{name} ({split.subset_of.get(name, 'in no subset')})" for name in strangers]
        raise UserError(
            f"training would learn from utterances, or variants of them, that are not in the training set: "
            f"{some(named)}. The training was stopped, for its results would be worthless."
        )
    if missing:
        raise UserError(f"training would leave out utterances of the training set: {some(missing)}.")


def save_split(split: Split, path: str | Path) -> None:
    """Write a split as JSON, whole or not at all."""
    write_json(path, asdict(split), indent=1)


def load_split(path: str | Path) -> Split:
    """Read the JSON of save_split, ignoring unknown keys; a UserError names a file that is no valid split."""
    path = Path(path)
    try:
        content = without_checksum(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read the split {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # JSON, UTF-8, or the checksum
        raise UserError(f"{path} is not JSON, or damaged ({error}). Restore it, or train anew.") from error
    try:
        return TypeAdapter(Split).validate_python(content)
    except ValidationError as error:
        (first, *_), key = error.errors(), ".".join(map(str, error.errors()[0]["loc"]))
        reason = f"it lacks {key}" if first["type"] == "missing" else f"{key}: {first['msg']}"
        problem = first.get("ctx", {}).get("error", f"it is not a split ({reason.removeprefix(': ')})")
        raise UserError(f"{path}: {problem} Restore it, or train anew.") from error


def _count(utterances: Utterances, emotion: str) -> str:
    number = sum(one.emotion == emotion for one in utterances)
    return f"{number} usable utterances of the emotion '{words_of(utterances)[emotion]}'"


def _names_by(attribute: str, utterances: Utterances) -> dict[str, list[str]]:
    """Emotion (speaker, sentence) → names of its utterances, in alphabetical order of the keys."""
    found: dict[str, list[str]] = {}
    for utterance in utterances:
        found.setdefault(getattr(utterance, attribute), []).append(utterance.name)
    return dict(sorted(found.items()))


def _validated(
    utterances: Utterances, salt: str, fraction: float, validate_on: str
) -> tuple[list[str], list[str]]:
    """To train and to validate on: a share of the speakers, or (validate_on "heard") of each emotion."""
    if validate_on == "heard":
        return _heard(utterances, salt, fraction)
    by_speaker = _names_by("speaker", utterances)
    num_validation = _share(len(by_speaker), fraction)
    if len(by_speaker) <= num_validation:
        few = f"{len(by_speaker)} speakers beside the tested ones are too few to validate on {num_validation}"
        remedy = "Lower data.validation_fraction, or set data.validate_on=heard."
        raise UserError(f"{few} and train on the rest. {remedy}")
    order = _drawn(by_speaker, salt)
    validation = [name for speaker in order[:num_validation] for name in by_speaker[speaker]]
    return [name for speaker in order[num_validation:] for name in by_speaker[speaker]], validation


def _heard(utterances: Utterances, salt: str, fraction: float) -> tuple[list[str], list[str]]:
    """Names to train and to validate on: a share of each emotion's utterances validates."""
    train, validation = [], []
    for names in _names_by("emotion", utterances).values():
        names = _drawn(names, salt)
        num_validation = _share(len(names), fraction)
        validation += names[:num_validation]
        train += names[num_validation:]
    return train, validation


def is_unknown(value: str) -> bool:
    """Whether a speaker or sentence is none that a corpus names."""
    return value.rpartition("/")[2] == UNKNOWN  # or CORPUS/unknown


def check_known(utterances: Utterances, attribute: str, asked_by: str, remedy: str) -> None:
    """Raise a UserError where a corpus does not name the speaker (sentence) of some utterances."""
    if unknown := sorted(one.name for one in utterances if is_unknown(getattr(one, attribute))):
        problem = f"{asked_by}: the corpus does not name the {attribute} of {some(unknown)}"
        raise UserError(f"{problem}. {remedy}")


def _drawn(names: Iterable[str], salt: int | str) -> list[str]:
    """Names in an order that depends on them and the salt alone, on every machine and with every library."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())


def _split(
    data: DataConfig,
    seed: int,
    train: Iterable[str],
    validation: Iterable[str],
    test: Iterable[str],
    folds: int | None = None,
    **how: Any,
) -> Split:
    """A split with the names of each subset sorted; `folds` is None where the protocol has none."""
    fractions = data.validation_fraction, 1 / folds if folds else data.test_fraction
    numbers = (data.fold, folds) if folds else (None, None)
    drawn = tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test))
    return Split(*drawn, seed, "", *fractions, data.protocol, *numbers, **how)


def _check_fold(data: DataConfig, folds: int, reason: str) -> None:
    if not 0 <= data.fold < folds:
        limits = f"must be 0 to {folds - 1} with {data.protocol}"
        raise UserError(f"data.fold = {data.fold}: {limits}, for {reason}.")


def _share(count: int, fraction: float) -> int:
    """A share of a count, rounded, but at least one."""
    return max(1, round(count * fraction))


def _floor(value: float) -> int:
    """The floor of a count that may be a rounding error too small (0.29 × 100 = 28.999999999999996)."""
    return math.floor(value + 1e-9)

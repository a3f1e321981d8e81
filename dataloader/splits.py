"""Which utterances train, validate and test: drawn once, written down, never drawn again."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from dataloader.corpora import Utterance
from utils.errors import UserError
from utils.files import write_atomically

SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """The utterances of each subset, by name, and how they were drawn.

    Raises:
        UserError: when an utterance is listed twice, be it in two subsets or in one, or a subset is empty.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    corpus: str
    validation_fraction: float
    test_fraction: float
    protocol: str = "holdout"

    def __post_init__(self):
        counts = Counter(self.train + self.validation + self.test)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            places = ", ".join(subset for subset in SUBSETS if repeated[0] in getattr(self, subset))
            raise UserError(
                f"the split lists {_some(repeated)} more than once ({repeated[0]} in: {places}): "
                "no utterance may be both learned from and tested on. Draw the split anew."
            )
        empty = [subset for subset in SUBSETS if not getattr(self, subset)]
        if empty:
            raise UserError(f"the split has no utterances for {' and '.join(empty)}. Draw it anew.")


def holdout(
    utterances: Iterable[Utterance],
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    corpus: str = "",
) -> Split:
    """A random split, stratified by emotion.

    Of an emotion's n utterances, floor(n · (1 - validation_fraction - test_fraction)) train,
    floor(n · test_fraction) test and the rest validates: 58, 16 and 10 of EMOVO's 84 at the fractions 0.1
    and 0.2. Who goes where depends on the seed and on the names of that emotion's utterances, and on nothing
    else: they are ordered by the SHA-256 of seed and name, the same on every machine and with every library.

    Args:
        utterances: those that have features; their order does not matter.
        seed: another seed, another split.
        validation_fraction, test_fraction: shares of each emotion's utterances.
        corpus: the corpus's name, to be recorded.

    Raises:
        UserError: when the fractions leave nothing for a subset, or an emotion has too few utterances for all
            three.
    """
    train_fraction = 1 - validation_fraction - test_fraction
    if min(train_fraction, validation_fraction, test_fraction) <= 0:
        raise UserError(
            f"data.validation_fraction ({validation_fraction}) and data.test_fraction ({test_fraction}) must "
            "be above 0 and together below 1."
        )
    by_emotion: dict[str, list[str]] = {}
    for utterance in utterances:
        by_emotion.setdefault(utterance.emotion, []).append(utterance.name)

    train, validation, test = [], [], []
    for emotion, names in sorted(by_emotion.items()):
        names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        num_train = _floor(len(names) * train_fraction)
        num_test = _floor(len(names) * test_fraction)
        if min(num_train, num_test, len(names) - num_train - num_test) < 1:
            raise UserError(
                f"{len(names)} usable utterances of the emotion '{emotion}' are too few to train "
                f"({train_fraction:g}), validate ({validation_fraction:g}) and test ({test_fraction:g}) on. "
                "Add recordings or change data.validation_fraction and data.test_fraction."
            )
        train += names[:num_train]
        test += names[num_train : num_train + num_test]
        validation += names[num_train + num_test :]
    parts = (tuple(sorted(names)) for names in (train, validation, test))
    return Split(*parts, seed, corpus, validation_fraction, test_fraction)


def save_split(split: Split, path: str | Path) -> None:
    """Write a split as JSON, whole or not at all.

    Raises:
        UserError: when the file cannot be written.
    """
    write_atomically(path, json.dumps(asdict(split), indent=1) + "\n")


def load_split(path: str | Path) -> Split:
    """Read the JSON of save_split; keys it does not know are ignored.

    Raises:
        UserError: when the file cannot be read, is no such JSON, or is no valid Split; it names the file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the split {path}: {error.strerror or error}.") from error
    except ValueError as error:  # JSON or UTF-8
        raise UserError(f"{path} is not JSON, or cut off ({error}). Restore it, or train anew.") from error
    try:
        subsets = {subset: _names(content[subset]) for subset in SUBSETS}
        return Split(
            **subsets,
            seed=int(content["seed"]),
            corpus=str(content["corpus"]),
            validation_fraction=float(content["validation_fraction"]),
            test_fraction=float(content["test_fraction"]),
            protocol=str(content["protocol"]),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise UserError(f"{path} is not a split: it lacks {error}. Restore it, or train anew.") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not a split ({error}). Restore it, or train anew.") from error


def _names(value: object) -> tuple[str, ...]:
    if not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise TypeError("its subsets must be lists of names")
    return tuple(value)


def _floor(value: float) -> int:
    """The floor of a count that may be a rounding error too small (0.29 × 100 = 28.999999999999996)."""
    return math.floor(value + 1e-9)


def _some(names: list[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

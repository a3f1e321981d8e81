"""Corpora on disk: which utterances there are, who says them and how, and what is missing."""

import os
import zipfile
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from utils.emotions import EMOTIONS
from utils.errors import UserError

if TYPE_CHECKING:
    from utils.config import DataConfig

SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
# b: short, l: long, n: nonsense, d: questions
SENTENCES = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
EMOVO_NAMES = tuple(sorted("-".join(codes) for codes in product(EMOTIONS, SPEAKERS, SENTENCES)))
DEMO_MARKER = "demo_corpus.json"  # lies in every demo corpus, so that none is taken for EMOVO
HOW_TO_GET_EMOVO = "The README's section on EMOVO says how to get it and where to put it."


class CorpusError(UserError):
    """A corpus that cannot be used; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class Utterance:
    """One recording: where it lies (perhaps inside a zip, see read_audio), and its codes."""

    path: Path
    emotion: str
    speaker: str
    sentence: str

    @property
    def name(self) -> str:
        """EMOVO's name for it, such as dis-f1-b1."""
        return f"{self.emotion}-{self.speaker}-{self.sentence}"


@dataclass(frozen=True)
class Corpus:
    """The utterances of a corpus in the order of their names, and in words what is wrong with it."""

    name: str  # "EMOVO" or "demo"
    root: Path
    utterances: tuple[Utterance, ...]
    emotions: tuple[str, ...]  # a class index is a position in it
    warnings: tuple[str, ...] = ()

    @property
    def is_demo(self) -> bool:
        """Whether this is synthetic speech, from which no result may be drawn."""
        return self.name == "demo"


def find_corpus(data: "DataConfig") -> Corpus:
    """Find the corpus to use: the first of

    1. `data.root`, a folder or a zip,
    2. the environment variable EMOVO_ROOT, the same,
    3. dataset/EMOVO or dataset/EMOVO.zip under the working directory,
    4. the demo corpus in `data.demo_dir`, which is made where it is not there yet.

    What 1 or 2 names must be there: the demo corpus never stands in for a mistyped path.

    Raises:
        CorpusError: when the place that is named holds no EMOVO, or the demo corpus cannot be made.
    """
    if data.root is not None:
        return read_emovo(data.root)
    if root := os.environ.get("EMOVO_ROOT"):
        return read_emovo(root)
    for root in (Path("dataset/EMOVO"), Path("dataset/EMOVO.zip")):
        if root.exists():
            return read_emovo(root)

    from dataloader.demo_corpus import make_demo_corpus  # here, as it imports this module

    corpus = read_emovo(make_demo_corpus(data.demo_dir))
    notice = "no EMOVO on disk: this is the demo corpus, synthetic speech and no basis for results. "
    return replace(corpus, warnings=(notice + HOW_TO_GET_EMOVO, *corpus.warnings))


def read_emovo(root: str | Path) -> Corpus:
    """List the utterances of EMOVO, or of a corpus of its layout.

    EMOVO: G. Costantini, I. Iadarola, A. Paoloni, M. Todisco, "EMOVO Corpus: an Italian Emotional Speech
    Database", LREC 2014. 588 recordings: 7 emotions × 6 speakers × 14 sentences.

    Args:
        root: a folder or a zip with files EMOTION-SPEAKER-SENTENCE.wav or .flac at any depth, in any case.

    Returns:
        A Corpus named "EMOVO", or "demo" where make_demo_corpus made it. Its warnings name what is missing,
        what is double, and sound files whose names are not EMOVO's. No sound is read here: corrupt files are
        for read_audio to find.

    Raises:
        CorpusError: when there is nothing at `root`, or no EMOVO in it.
    """
    root = Path(root).expanduser()
    files = _list_files(root)
    recordings = [file for file in files if file.suffix.lower() in (".wav", ".flac")]
    demos = {file.parent for file in files if file.name == DEMO_MARKER}
    real = [file for file in recordings if demos.isdisjoint(file.parents)]
    is_demo = (root.parent / DEMO_MARKER).is_file() or not real
    expected = set(EMOVO_NAMES)
    found: dict[str, Utterance] = {}
    doubles, strangers = [], []
    for file in real or recordings:
        name = file.stem.lower()
        if name not in expected:
            strangers.append(file.name)
        elif name in found:
            doubles.append(file.name)
        else:
            found[name] = Utterance(file, *name.split("-"))

    if not found:
        raise CorpusError(
            f"{root} holds no recording of EMOVO (EMOTION-SPEAKER-SENTENCE.wav or .flac, such as "
            f"dis-f1-b1.wav). {HOW_TO_GET_EMOVO}"
        )
    missing = sorted(expected - found.keys())
    warnings = []
    if missing:
        warnings.append(f"{len(missing)} of EMOVO's {len(expected)} utterances are missing: {_some(missing)}")
    if strangers:
        warnings.append(f"{len(strangers)} sound files not named as EMOVO's, left out: {_some(strangers)}")
    if doubles:
        warnings.append(f"{len(doubles)} sound files doubling others, left out: {_some(doubles)}")
    return Corpus(
        name="demo" if is_demo else "EMOVO",
        root=root,
        utterances=tuple(found[name] for name in sorted(found)),
        emotions=EMOTIONS,
        warnings=tuple(warnings),
    )


def _list_files(root: Path) -> list[Path]:
    """All files in a folder or a zip, sorted, without what macOS strews about (__MACOSX/, ._*, .DS_Store)."""
    try:
        if root.is_dir():
            files = [path for path in root.rglob("*") if path.is_file()]
        elif root.exists():
            with zipfile.ZipFile(root) as archive:
                files = [root / member.filename for member in archive.infolist() if not member.is_dir()]
        else:
            raise CorpusError(
                f"there is no corpus at {root}: no such folder or zip. Correct data.root or EMOVO_ROOT. "
                f"{HOW_TO_GET_EMOVO}"
            )
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"{root} is neither a folder nor a zip that can be opened ({reason}). "
            "Name EMOVO's folder, or an intact zip of it, in data.root or EMOVO_ROOT."
        ) from error
    return sorted(f for f in files if not f.name.startswith(".") and "__MACOSX" not in f.parts)


def _some(names: list[str], shown: int = 5) -> str:
    """The first few of many names, for a message."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")

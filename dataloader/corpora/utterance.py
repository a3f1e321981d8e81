"""An utterance, a corpus of utterances, and the error where there is none."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from utils.emotions import in_own_words
from utils.errors import UserError

DEMO_MARKER = "demo_corpus.json"  # a file in every demo corpus, so that none is taken for EMOVO
UNKNOWN = "unknown"  # speaker or sentence, where nothing says which


class Measures(NamedTuple):
    """How a recording was made and how it sounds (dataloader.identity.measured)."""

    seconds: float
    rate: int  # Hz
    channels: int
    coding: str  # `wav pcm_16`, `mp3`
    level: float  # root mean square, dB above full scale
    clipped: int  # samples
    before: float  # seconds until a frame is less than TRIM_DB below the loudest
    after: float  # seconds from the last such frame to the end
    remarks: Sequence[str]  # on channels that are left out


@dataclass(frozen=True)
class Utterance:
    """One recording: where it lies (perhaps inside a zip, see read_audio), and its codes."""

    path: Path
    emotion: str  # a code of utils.emotions, or the user's own word
    speaker: str
    sentence: str
    own_name: str = ""  # the corpus's own name for it
    corpus: str = ""  # the name of its corpus, where several are combined
    subset: str = field(default="", kw_only=True)  # in which a user's own table puts it, in small letters
    fingerprint: str = field(default="", compare=False, kw_only=True)  # of its samples (dataloader.identity)
    outline: bytes = field(default=b"", compare=False, kw_only=True, repr=False)
    word: str = field(default="", compare=False, kw_only=True)  # the user's own for the emotion, as written
    measures: Measures | None = field(default=None, compare=False, kw_only=True, repr=False)
    problem: str = field(default="", compare=False, kw_only=True)  # why it cannot be used

    @property
    def name(self) -> str:
        """The corpus's own name for it, such as EMO-DB's 03a01Fa; else EMOTION-SPEAKER-SENTENCE, EMOVO's."""
        return self.own_name or f"{self.emotion}-{self.speaker}-{self.sentence}"


class CorpusError(UserError):
    """A corpus that cannot be used; the message names the place and the remedy."""


@dataclass(frozen=True)
class Corpus:
    """The utterances of a corpus in the order of their names, and warnings about it."""

    name: str  # such as "EMOVO", "demo", "EMO-DB", "folder-mine", or "EMOVO+EMO-DB"
    root: Path | str  # text where there are several
    utterances: tuple[Utterance, ...]
    emotions: tuple[str, ...]  # a class index is a position in it
    warnings: tuple[str, ...] = ()
    signal_length: int = 0  # samples at 22 050 Hz that suit it; 0 for no advice

    @cached_property
    def words(self) -> Mapping[str, str]:
        """Emotion → the word that people see (words_of)."""
        return words_of(self.utterances)

    @property
    def is_demo(self) -> bool:
        """Whether this is synthetic speech, from which no result may be drawn."""
        return self.name == "demo"


def words_of(utterances: Iterable[Utterance]) -> Mapping[str, str]:
    """Emotion → the word that people see: the user's own, most often written so; else the English one."""
    written: dict[str, Counter[str]] = {}
    for one in utterances:
        written.setdefault(one.emotion, Counter())[one.word] += 1
    own = ((code, found.most_common(1)[0][0]) for code, found in written.items() if found[""] == 0)
    return in_own_words(dict(own))


def how_to_get(name: str) -> str:
    """How a user gets this corpus, for messages."""
    if name == "folder":
        return "Name a folder with a folder of recordings for each emotion in data.root."
    if name == "table":
        return "Name a CSV or TSV file with a row for each recording in data.root."
    place = f"data.root or {name.upper()}_ROOT says where it is"
    return f"`python -m dataloader.download {name}` gets it or says how to; {place}."

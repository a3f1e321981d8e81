"""Corpora on disk: which utterances there are, who says them and how, and what is missing."""

import os
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataloader.corpora.archives import lies_outside
from dataloader.corpora.readers import OUTSIDE, READERS, Reader
from dataloader.corpora.utterance import DEMO_MARKER, HOW_TO_GET_EMOVO, Corpus, CorpusError, Utterance
from utils.emotions import in_order
from utils.files import expanded

if TYPE_CHECKING:
    from utils.config import DataConfig, FeaturesConfig

USUAL_SIGNAL_LENGTH = READERS["emovo"].signal_length  # the configuration's default


def find_corpus(data: "DataConfig") -> Corpus:
    """Find the corpus that `data.corpus` names, or several and bring them together: each is the first of

    1. `data.root`, a folder or a zip, or what it says for this corpus,
    2. the environment variable EMOVO_ROOT, EMODB_ROOT and so on, the same,
    3. dataset/EMOVO or dataset/EMOVO.zip under the working directory, dataset/EMO-DB and so on,
    4. for EMOVO alone, the demo corpus in `data.demo_dir`, which is made where it is not there yet.

    What 1 or 2 names must be there: the demo corpus never stands in for a mistyped path.

    Raises:
        CorpusError: when a corpus is not found, the place that is named holds none, or the demo corpus cannot
            be made.
    """
    names = [data.corpus] if isinstance(data.corpus, str) else data.corpus
    roots = data.root if isinstance(data.root, dict) else dict.fromkeys(names[:1], data.root)
    if len(names) > 1 and data.root is not None and not isinstance(data.root, dict):
        example = ", ".join(f"{name}: …" for name in names)
        raise CorpusError(
            f"data.root = {data.root} is one place for the corpora {', '.join(names)}. Name one for each, as "
            f"data.root={{{example}}}, or none."
        )
    places = {name: _place(name, roots.get(name)) for name in names}
    if places == {"emovo": None}:
        return _demo(data.demo_dir)
    for name, place in places.items():
        if place is None:
            raise CorpusError(f"no place is known where {READERS[name].title} lies. {_how_to_get(name)}")
    return combine([read_corpus(name, place) for name, place in places.items()])


def read_emovo(root: str | Path) -> Corpus:
    """List the utterances of EMOVO, or of a corpus of its layout; see read_corpus.

    EMOVO: G. Costantini, I. Iadarola, A. Paoloni, M. Todisco, "EMOVO Corpus: an Italian Emotional Speech
    Database", LREC 2014. 588 recordings: 7 emotions × 6 speakers × 14 sentences.
    """
    return read_corpus("emovo", root)


def read_corpus(name: str, root: str | Path) -> Corpus:
    """List the utterances of a corpus in the layout in which it is distributed.

    Args:
        name: a key of dataloader.corpora.readers.READERS, such as "emodb".
        root: a folder or a zip with the corpus at any depth; the folders around the recordings count only
            where its reader says so.

    Returns:
        A Corpus with the reader's title as its name; "demo" where make_demo_corpus made it, "folder-NAME" for
        a user's own. Its warnings say what is missing, what is double, and which sound files have names that
        are not the corpus's. No sound is read here: corrupt files are for read_audio to find.

    Raises:
        CorpusError: when there is nothing at `root`, or no recording of this corpus in it.
    """
    reader, root = READERS[name], expanded(root)
    files = _list_files(root, name)
    recordings = [file for file in files if file.suffix.lower() in reader.suffixes]
    demos = {file.parent for file in files if file.name == DEMO_MARKER}
    real = [file for file in recordings if demos.isdisjoint(file.parents)]
    is_demo = name == "emovo" and ((root.parent / DEMO_MARKER).is_file() or not real)
    try:
        parse = reader.parser(root, files)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{root}: its labels cannot be read ({error}). {_how_to_get(name)}") from error
    found: dict[str, Utterance] = {}
    doubles, strangers, garbled = [], [], []
    for file in recordings if is_demo else real:
        if not _is_text(file):
            garbled.append(ascii(file.name))
            continue
        utterance = parse(file)
        if utterance is None:
            strangers.append(file.name)
        elif utterance == OUTSIDE:
            continue
        elif (key := utterance.name.casefold()) in found:
            doubles.append(file.name)
        else:
            found[key] = utterance

    if not found:
        hint = f" {len(strangers)} sound files are not named as {reader.title}'s." if strangers else ""
        hint += f" {len(garbled)} have names that are not {sys.getfilesystemencoding()}." if garbled else ""
        raise CorpusError(
            f"{root} holds no recording of {reader.title} ({reader.layout}).{hint} {_how_to_get(name)}"
        )
    utterances = sorted(found.values(), key=lambda utterance: utterance.name)
    warnings = _completeness(reader, utterances)
    if strangers:
        warnings.append(
            f"{len(strangers)} sound files not named as {reader.title}'s, left out: {_some(strangers)}"
        )
    if doubles:
        warnings.append(
            f"{len(doubles)} sound files of {reader.title} doubling others, left out: {_some(doubles)}"
        )
    if garbled:
        encoding = sys.getfilesystemencoding()
        count = f"{len(garbled)} sound files whose names are not {encoding}"
        warnings.append(f"{count}, left out: {_some(garbled)}")
    title = f"folder-{root.resolve().stem}" if name == "folder" else reader.title
    return Corpus(
        name="demo" if is_demo else title,
        root=root,
        utterances=tuple(utterances),
        emotions=reader.emotions or in_order(utterance.emotion for utterance in utterances),
        warnings=tuple(warnings),
        signal_length=reader.signal_length,
    )


def combine(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one, with every emotion that one of them has; one alone is returned as it is.

    Names, speakers and sentences get their corpus's name in front (`EMO-DB/03a01Fa`), for speaker 03 of one
    is not speaker 03 of another.
    """
    if len(corpora) == 1:
        return corpora[0]
    utterances = [
        replace(
            utterance,
            own_name=f"{corpus.name}/{utterance.name}",
            speaker=f"{corpus.name}/{utterance.speaker}",
            sentence=f"{corpus.name}/{utterance.sentence}",
        )
        for corpus in corpora
        for utterance in corpus.utterances
    ]
    return Corpus(
        name="+".join(corpus.name for corpus in corpora),
        root=" + ".join(str(corpus.root) for corpus in corpora),
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.name)),
        emotions=in_order(emotion for corpus in corpora for emotion in corpus.emotions),
        warnings=tuple(warning for corpus in corpora for warning in corpus.warnings),
        signal_length=max(corpus.signal_length for corpus in corpora),
    )


def length_advice(corpus: Corpus, features: "FeaturesConfig") -> list[str]:
    """A warning where the length that suits EMOVO was left as it is for a corpus that another one suits."""
    advised = corpus.signal_length
    if features.signal_length != USUAL_SIGNAL_LENGTH or advised in (0, USUAL_SIGNAL_LENGTH):
        return []
    return [
        f"features.signal_length is {USUAL_SIGNAL_LENGTH} samples, as for EMOVO; {advised} suit "
        f"{corpus.name} (features.signal_length={advised})."
    ]


def _completeness(reader: Reader, utterances: Sequence[Utterance]) -> list[str]:
    """What is missing, in words."""
    if reader.names:
        missing = sorted(set(reader.names) - {utterance.name for utterance in utterances})
        return [_missing(reader, len(missing)) + ": " + _some(missing)] if missing else []
    if len(utterances) > reader.count > 0:
        return [f"{reader.title} has {reader.count} utterances, and {len(utterances)} are here"]
    if len(utterances) == reader.count or not reader.count:
        return []
    text = _missing(reader, reader.count - len(utterances))
    speakers = Counter(utterance.speaker for utterance in utterances)
    if len(speakers) < reader.speakers:
        text += f", and {reader.speakers - len(speakers)} of its {reader.speakers} speakers"
    absent = [emotion for emotion in reader.emotions if emotion not in {u.emotion for u in utterances}]
    return [text + (f"; none is of the emotion {', '.join(absent)}" if absent else "")]


def _missing(reader: Reader, number: int) -> str:
    return f"{number} of {reader.title}'s {reader.count} utterances are missing"


def _place(name: str, root: Path | str | None) -> Path | str | None:
    """Where a corpus lies: what is named, or one of the usual places; None where there is nothing."""
    if root is not None:
        return root
    if name == "folder":
        return None
    title = READERS[name].title
    usual = (Path("dataset") / title, Path("dataset") / f"{title}.zip")
    return os.environ.get(f"{name.upper()}_ROOT") or next((place for place in usual if place.exists()), None)


def _demo(demo_dir: str | Path) -> Corpus:
    """The demo corpus, made where it is not there yet."""
    from dataloader.corpora.demo import make_demo_corpus

    corpus = read_emovo(make_demo_corpus(demo_dir))
    notice = "no EMOVO on disk: this is the demo corpus, synthetic speech and no basis for results. "
    return replace(corpus, warnings=(notice + HOW_TO_GET_EMOVO, *corpus.warnings))


def _how_to_get(name: str) -> str:
    if name == "emovo":
        return HOW_TO_GET_EMOVO
    if name == "folder":
        return "Name a folder with a folder of recordings for each emotion in data.root."
    return (
        f"`python -m dataloader.download {name}` gets it or says how to; data.root or {name.upper()}_ROOT "
        "says where it is."
    )


def _list_files(root: Path, name: str) -> list[Path]:
    """All files in a folder or a zip, sorted, without what macOS strews about (__MACOSX/, ._*)."""
    variable = "data.root" if name == "folder" else f"data.root or {name.upper()}_ROOT"
    title = READERS[name].title
    try:
        if root.is_dir():
            files = [path for path in root.rglob("*") if path.is_file()]
        elif root.exists():
            with zipfile.ZipFile(root) as archive:
                members = [member.filename for member in archive.infolist() if not member.is_dir()]
            if outside := [member for member in members if lies_outside(member)]:
                raise CorpusError(f"{root} is refused: {outside[0]!r} would lie outside of it.")
            files = [root / member for member in members]
        else:
            raise CorpusError(
                f"there is no corpus at {root}: no such folder or zip. Correct {variable}. "
                f"{_how_to_get(name)}"
            )
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"{root} is neither a folder nor a zip that can be opened ({reason}). "
            f"Name {title}'s folder, or an intact zip of it, in {variable}."
        ) from error
    return sorted(f for f in files if not f.name.startswith("._") and "__MACOSX" not in f.parts)


def _is_text(file: Path) -> bool:
    """Whether its name can be printed and written; on Linux it may be any bytes."""
    try:
        return bool(str(file).encode())
    except UnicodeEncodeError:
        return False


def _some(names: list[str], shown: int = 5) -> str:
    """The first few of many names, for a message."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")

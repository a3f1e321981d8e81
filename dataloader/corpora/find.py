"""Corpora on disk: their utterances with speakers and emotions, and the missing ones."""

import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataloader.corpora.demo import make_demo_corpus
from dataloader.corpora.labels import keep_emotions, leave_out_rare, relabel
from dataloader.corpora.listing import Listing, list_files, readable
from dataloader.corpora.readers import READERS, Reader
from dataloader.corpora.table import read_table
from dataloader.corpora.utterance import DEMO_MARKER, Corpus, CorpusError, Utterance, how_to_get
from dataloader.decode import SOUND_SUFFIXES
from utils.config import DataConfig
from utils.emotions import ENGLISH, in_order
from utils.errors import remarks, some
from utils.files import expanded

# Keys of `data` that say, with demo_dir, what find_corpus finds.
ABOUT_CORPUS = ("corpus", "root", "columns", "emotions", "labels", "min_utterances")
HEARD = "-heard"  # ends the name of a corpus with the emotions that listeners heard
OWN = ("table-", "folder-")  # begin the names of a user's own


def find_corpus(data: DataConfig, demo: bool = True, recorded_name: str = "") -> Corpus:
    """Find the corpus that `data.corpus` names, or several and combine them: each is the first of

    1. `data.root`, a folder or a zip, or its entry for this corpus,
    2. the environment variable EMOVO_ROOT, EMODB_ROOT and so on, the same,
    3. dataset/EMOVO or dataset/EMOVO.zip under the working directory, dataset/EMO-DB and so on,
    4. for EMOVO alone, the demo corpus in `data.demo_dir`, which is made where it is not there yet; with
       `demo` false never.

    A place that 1 or 2 names must exist (CorpusError): the demo corpus never replaces a mistyped path. A
    user's own table or folder gets the name that a run recorded for it (`recorded_name`), if there is one.
    """
    names = [data.corpus] if isinstance(data.corpus, str) else data.corpus
    if len(names) > 1 and not isinstance(data.root, dict | None):
        example = ", ".join(f"{name}: …" for name in names)
        problem = f"data.root = {data.root} is one place for the corpora {', '.join(names)}"
        raise CorpusError(f'{problem}. Name one for each, as "data.root={{{example}}}", or none.')
    if data.labels == "heard" and not any(READERS[name].heard for name in names):
        voted = ", ".join(name for name, reader in READERS.items() if reader.heard)
        problem = f"data.labels = heard: no votes of listeners are known for {', '.join(names)}"
        raise CorpusError(f"{problem}, but for {voted}. Leave it at intended.")
    roots = data.root if isinstance(data.root, dict) else {names[0]: data.root}
    places = {name: _place(name, roots.get(name)) for name in names}
    if demo and places == {"emovo": None}:
        corpus = read_corpus("emovo", make_demo_corpus(data.demo_dir))
        notice = "no EMOVO on disk: this is the demo corpus, synthetic speech and no basis for results. "
        corpus = replace(corpus, warnings=(notice + how_to_get("emovo"), *corpus.warnings))
        return leave_out_rare(keep_emotions(corpus, data.emotions), data.min_utterances)
    if data.columns and "table" not in places:
        raise CorpusError(f"data.columns is for data.corpus = table, not for {', '.join(names)}.")
    corpora = []
    for name, place in places.items():
        if place is None:
            raise CorpusError(f"no place is known where {READERS[name].title} lies. {how_to_get(name)}")
        labels = data.labels if isinstance(data.labels, str) else "intended"
        corpora.append(read_corpus(name, place, labels, data.columns))
    if not isinstance(data.labels, str):
        corpora = relabel(corpora, data.labels)
    corpora = _as_recorded(corpora, recorded_name)
    return leave_out_rare(keep_emotions(combine(corpora), data.emotions), data.min_utterances)


def _as_recorded(corpora: Sequence[Corpus], recorded_name: str) -> Sequence[Corpus]:
    """The corpora under their recorded names, where these differ only in how the user's own are called."""
    names = recorded_name.split("+") if len(corpora) > 1 else [recorded_name]
    sides = [one.name for one in corpora], names
    now, then = ([next(filter(name.startswith, OWN), name) for name in side] for side in sides)
    if now != then or any(mark in recorded_name for mark in "/\\"):  # a name may become a file's
        return corpora
    return [replace(one, name=name) for one, name in zip(corpora, names, strict=True)]


def read_corpus(
    name: str, root: str | Path, labels: str = "intended", columns: Mapping[Any, str | None] | None = None
) -> Corpus:
    """List the utterances of a corpus in the layout in which it is distributed; no sound is read.

    Args:
        name: a key of dataloader.corpora.readers.READERS, such as "emodb".
        root: a folder or a zip with the corpus at any depth; a CorpusError where it holds no recording.
        labels: "intended" or "heard", which for a corpus without votes is the same, with a warning.
        columns: `data.columns`, for a table alone (see read_table).

    Returns:
        A Corpus with the reader's title as its name; "demo" where make_demo_corpus made it, "folder-NAME" or
        "table-NAME" for a user's own, and "-heard" behind it where listeners heard the emotions. Its warnings
        list missing and double recordings, and names that are not the corpus's.
    """
    reader, root = READERS[name], expanded(root)
    no_votes = f"{reader.title} has no votes of listeners: its labels are the intended emotions"
    if name == "table":
        corpus = read_table(root, columns or {})
        return replace(corpus, warnings=(*corpus.warnings, no_votes)) if labels == "heard" else corpus
    listing = _list(root, name)
    demos = {file.parent for file in listing.others + listing.sounds if file.name == DEMO_MARKER}
    real = [file for file in listing.sounds if demos.isdisjoint(file.parents)]
    is_demo = name == "emovo" and ((root.parent / DEMO_MARKER).is_file() or not real)
    try:
        parse = reader.parser(listing)
        heard = reader.heard(listing) if reader.heard and labels == "heard" else None
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{root}: its labels cannot be read ({error}). {how_to_get(name)}") from error
    found: dict[str, Utterance] = {}
    strangers, doubles, garbled = [], [], []
    for file in sorted(listing.sounds if is_demo else real, key=_lossless_first):
        if readable(file) != str(file):
            garbled.append(ascii(file.name))
        elif (utterance := parse(file)) is None:
            strangers.append(file.name)
        elif isinstance(utterance, str):  # OUTSIDE
            continue
        elif found.setdefault(utterance.name.casefold(), utterance) is not utterance:
            doubles.append(file.name)
    otherwise = f"not laid out as {reader.layout}" if name == "folder" else f"not named as {reader.title}'s"
    warnings = remarks(
        (strangers, "sound file", f"{otherwise}, left out"),
        (doubles, "sound file", f"of {reader.title} doubling another, left out"),
        (garbled, "sound file", f"with a name that is not {sys.getfilesystemencoding()}, left out"),
        (listing.failures(), "path", "that cannot be read, left out"),
    )
    warnings += listing.remarks()
    if not found:
        hints = ". ".join([f"{root} holds no recording of {reader.title} ({reader.layout})", *warnings])
        raise CorpusError(f"{hints}. {how_to_get(name)}")
    utterances = sorted(found.values(), key=lambda utterance: utterance.name)
    missing = _missing(reader, utterances)
    title = f"folder-{root.resolve().stem}" if name == "folder" else reader.title
    if heard is not None:
        title += HEARD
        utterances, more = _as_heard(utterances, heard)
        warnings += more
    elif labels == "heard":
        warnings.append(no_votes)
    return Corpus(
        name="demo" if is_demo else title,
        root=root,
        utterances=tuple(utterances),
        emotions=reader.emotions or in_order(utterance.emotion for utterance in utterances),
        warnings=(*missing, *warnings),
        signal_length=reader.signal_length,
    )


def combine(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one, with every emotion that one of them has; one alone is returned as it is.

    Names, speakers and sentences get their corpus's name in front, such as `EMO-DB/03a01Fa`.
    """
    if len(corpora) == 1:
        return corpora[0]
    utterances = [
        replace(
            u,
            speaker=f"{c.name}/{u.speaker}",
            sentence=f"{c.name}/{u.sentence}",
            own_name=f"{c.name}/{u.name}",
            corpus=c.name,
        )
        for c in corpora
        for u in c.utterances
    ]
    return Corpus(
        name="+".join(corpus.name for corpus in corpora),
        root=" + ".join(str(corpus.root) for corpus in corpora),
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.name)),
        emotions=in_order(emotion for corpus in corpora for emotion in corpus.emotions),
        warnings=tuple(warning for corpus in corpora for warning in corpus.warnings),
        signal_length=max(corpus.signal_length for corpus in corpora),
    )


def _as_heard(
    utterances: Sequence[Utterance], heard: Mapping[str, str | None]
) -> tuple[list[Utterance], list[str]]:
    """Utterances with the emotions that listeners heard, without those at a tie or not voted on; warnings."""
    votes = {name.casefold(): emotion for name, emotion in heard.items()}
    kept: list[Utterance] = []
    ties: list[str] = []
    unheard: list[str] = []
    for utterance in utterances:
        name = utterance.name.casefold()
        if emotion := votes.get(name):
            kept.append(replace(utterance, emotion=emotion))
        else:
            (ties if name in votes else unheard).append(utterance.name)
    return kept, remarks(
        (ties, "utterance", "with listeners at a tie, left out"),
        (unheard, "utterance", "without votes of listeners, left out"),
    )


def _lossless_first(file: Path) -> int:
    """Of two copies of a recording, which one to take."""
    return (*SOUND_SUFFIXES, suffix := file.suffix.lower()).index(suffix)


def _missing(reader: Reader, utterances: Sequence[Utterance]) -> list[str]:
    """How many of the corpus's utterances are missing, and which, as far as that is known."""
    number = reader.count - len(utterances)
    if not reader.count or not number:
        return []
    if number < 0:
        return [f"{reader.title} has {reader.count} utterances, and {len(utterances)} are here"]
    text = f"{number} of {reader.title}'s {reader.count} utterances missing"
    if reader.names:
        return [f"{text}: {some(sorted(set(reader.names) - {u.name for u in utterances}))}"]
    if speakers := reader.speakers - len({u.speaker for u in utterances}):
        text += f", and {speakers} of its {reader.speakers} speakers"
    if absent := set(reader.emotions) - {u.emotion for u in utterances}:
        text += f"; none is of the emotion {', '.join(ENGLISH[one] for one in in_order(absent))}"
    return [text]


def _place(name: str, root: Path | str | None) -> Path | str | None:
    """Where a corpus lies: the named place, or one of the usual ones; None where there is nothing."""
    title = READERS[name].title
    if root is not None or name in ("folder", "table"):
        return root
    usual = (Path("dataset") / title, Path("dataset") / f"{title}.zip")
    given = os.environ.get(variable := f"{name.upper()}_ROOT")
    if given is not None and not given.strip():
        raise CorpusError(f"the environment variable {variable} is empty: let it name {title}, or unset it.")
    return given or next((place for place in usual if place.exists()), None)


def _list(root: Path, name: str) -> Listing:
    place = "data.root" if name == "folder" else f"data.root or {name.upper()}_ROOT"
    try:
        return list_files(root)
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        if root.is_file() and root.suffix.lower() in (".csv", ".tsv"):
            raise CorpusError(f"{root} is a table: say data.corpus=table, too.") from error
        raise CorpusError(
            f"{root} is neither a folder nor a zip that can be used ({reason}). Name the corpus's folder, or "
            f"an intact zip of it, in {place}. {how_to_get(name)}"
        ) from error

"""A user's own recordings: which of the folders around one names its emotion, and which its speaker."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from dataloader.corpora.listing import Listing
from dataloader.corpora.utterance import UNKNOWN, CorpusError, Utterance
from utils.emotions import ENGLISH, common_code, emotion_code, is_emotion
from utils.errors import some
from utils.files import command_line

FOLDER_LAYOUT = "EMOTION/*.wav, SPEAKER/EMOTION/*.wav or EMOTION/SPEAKER/*.wav"
SPLIT = re.compile(
    r"(train|training|test|testing|eval|val|valid|validation|dev|devel)([-_ ]?(set|data|split))?"
    r"|fold[-_ ]?\d+",
    re.IGNORECASE,
)
SPEAKER = re.compile(  # actor_01, f1, 0012, speaker_anna: nobody names an emotion so
    r"(speaker|spk|actor|actress|subject|participant|session|ses|id|[a-z])?[-_ ]?\d+"
    r"|(speaker|spk|actor|actress|subject|participant)[-_ ].+",
    re.IGNORECASE | re.DOTALL,
)
Folders = tuple[str, ...]  # around a recording, from the top


def folder_parser(listing: Listing) -> Callable[[Path], Utterance | None]:
    """Read EMOTION/x.wav, SPEAKER/EMOTION/x.wav and EMOTION/SPEAKER/x.wav, also mixed, under common folders.

    Known words (utils.emotions) tell emotions from speakers; other words are emotions, too. A CorpusError
    follows where both readings are possible, for a split by folders, and for emotions in the files' names.
    """
    top = _top(listing)
    folders = {sound: sound.relative_to(top).parts[:-1] for sound in listing.sounds}
    _refuse_splits(top, folders.values())
    _refuse_named_files(top, folders)
    emotion_first = _emotion_first(top, {parts: sound for sound, parts in folders.items() if len(parts) == 2})

    def parse(path: Path) -> Utterance | None:
        parts = path.relative_to(top).parts[:-1]
        if not 1 <= len(parts) <= 2:
            return None
        emotion, speaker = parts if emotion_first and len(parts) == 2 else (parts[-1], (UNKNOWN, *parts)[-2])
        name = "/".join((*parts, path.stem))
        return Utterance(path, emotion_code(emotion), speaker, UNKNOWN, name, word=emotion.strip())

    return parse


def _top(listing: Listing) -> Path:
    """The folder below which the layout begins; folders that are around all recordings say nothing."""
    top = listing.root
    while folders := [sound.relative_to(top).parts[:-1] for sound in listing.sounds]:
        first = next(iter(folders[0]), "")
        if not first or is_emotion(first) or any(parts[:1] != (first,) for parts in folders):
            break
        depths = [len(parts) for parts in folders]
        packed = max(depths) > 1 and not listing.root.is_dir()  # a zip of a folder
        if not packed and min(depths) < (2 if SPLIT.fullmatch(first) else 3):
            break  # the only speaker's
        top /= first
    return top


def _refuse_splits(top: Path, folders: Iterable[Folders]) -> None:
    levels: dict[int, set[str]] = {}
    for parts in folders:
        for level, word in enumerate(parts):
            if SPLIT.fullmatch(word):
                levels.setdefault(level, set()).add(word)
    for level, words in levels.items():
        if len(words) > 1:
            names = sorted(words, key=lambda word: (word.casefold()[:5] != "train", word))
            cure = f"Lay them out as {'/…, '.join(names)}/…, and name one of them in data.root."
            if level == 0:
                first, *_, last = names
                cure = f"Train with data.root={top / first}, and then test on another: "
                there = "--corpus", "folder", f"data.root={top / last}"
                cure += f"`{command_line('testing.evaluate', 'RUN_DIR', *there)}`."
            problem = f"{top} has a split of its own, the folders {', '.join(names)}, which would be mixed"
            raise CorpusError(f"{problem} and split anew. {cure}")


def _refuse_named_files(top: Path, folders: dict[Path, Folders]) -> None:
    """A CorpusError where no folder names an emotion, and all files do, or there are no two folders."""
    words = {word for parts in folders.values() for word in parts}
    if not folders or any(map(is_emotion, words)):
        return
    example = next(iter(folders))
    codes = [set(map(common_code, re.split(r"[\W\d_]+", sound.stem))) - {None} for sound in folders]
    if all(codes) and len(set.union(*codes)) > 1:
        problem = f"the names of its files hold emotions ({example.name}), its folders do not"
    elif len(words) < 2:
        problem = f"its recordings do not lie in folders of emotions ({example.name})"
    else:
        return
    cure = f"lay them out as {FOLDER_LAYOUT}. Published corpora have readers of their own: see data.corpus."
    raise CorpusError(f"{top}: {problem}: {cure}")


def _emotion_first(top: Path, pairs: dict[Folders, Path]) -> bool:
    """Whether two folders around a recording are EMOTION/SPEAKER; a CorpusError where nothing tells."""
    levels = [{parts[level] for parts in pairs} for level in (0, 1)]
    speakers = [all(map(SPEAKER.fullmatch, words)) for words in levels]
    known = [sum(map(is_emotion, words)) for words in levels]
    all_known = [number == len(words) for number, words in zip(known, levels, strict=True)]
    several = [len(words) > 1 for words in levels]
    strongest_first = speakers[::-1], map(bool, known), all_known, several
    for first, second in strongest_first:
        if first != second:
            return first
    if not all(several):
        return False
    (one, other), path = max(pairs.items(), key=lambda pair: pair[0][0] != pair[0][1])
    shown = path.relative_to(top).as_posix()
    readings = " or ".join(
        f"the emotion {ENGLISH[emotion_code(emotion)]} of the speaker {speaker} ({layout})"
        for emotion, speaker, layout in ((other, one, "SPEAKER/EMOTION"), (one, other, "EMOTION/SPEAKER"))
    )
    raise CorpusError(
        f"{top}: its folders do not tell emotions from speakers ({some(sorted(levels[0]))}; "
        f"{some(sorted(levels[1]))}): {shown} may be {readings}. Begin the names of speakers' folders with "
        f"speaker_ (speaker_{one} or speaker_{other}), or name an emotion by a usual word, such as joy."
    )

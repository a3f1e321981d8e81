"""One reader for each corpus: what the name and the place of a recording say of it.

To add a corpus: write a function that turns a path into an Utterance, put a row into READERS, and its name
into CorpusName in utils/config.py. Where the corpus can be had stands in dataloader/download.py.
"""

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dataloader.corpora.archives import read_member
from dataloader.corpora.utterance import UNKNOWN, Utterance
from utils.emotions import EMOTIONS, common_code

SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")  # EMOVO's
# EMOVO's; b: short, l: long, n: nonsense, d: questions
SENTENCES = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
EMOVO_NAMES = tuple(sorted("-".join(codes) for codes in product(EMOTIONS, SPEAKERS, SENTENCES)))


OUTSIDE = "outside"  # a recording of the corpus, and none that is asked for: a song, a fifth emotion
# To an Utterance, OUTSIDE, or None for a name that is not the corpus's.
Parse = Callable[[Path], Utterance | str | None]


@dataclass(frozen=True)
class Reader:
    """How to read a corpus, and what there is in it when it is whole.

    Attributes:
        title: its name in outputs, and that of its folder in `dataset`.
        emotions: in the order of utils.emotions; none where the files say.
        speakers: how many; 0 where not known.
        count: utterances in the whole corpus; 0 where not known.
        signal_length: samples at 22 050 Hz, for `features.signal_length`; 0 for no advice.
        layout: what its recordings are called, for messages.
        parser: the corpus's folder or zip, all files in it → the function that reads one path.
        names: of all utterances, where they are known.
        suffixes: of its recordings.
    """

    title: str
    emotions: tuple[str, ...]
    speakers: int
    count: int
    signal_length: int
    layout: str
    parser: Callable[[Path, Sequence[Path]], Parse]
    names: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = (".wav", ".flac")


def _emovo(path: Path) -> Utterance | None:
    """f1/dis-f1-b1.wav: emotion, speaker, sentence."""
    name = path.stem.lower()
    match = re.fullmatch(rf"({'|'.join(EMOTIONS)})-({'|'.join(SPEAKERS)})-({'|'.join(SENTENCES)})", name)
    return Utterance(path, *match.groups()) if match else None


def _emodb(path: Path) -> Utterance | None:
    """wav/03a01Fa.wav: speaker, sentence, the German emotion's initial, take."""
    match = re.fullmatch(r"(03|08|09|1[0-6])(a0[12457]|b0[1239]|b10)([WLEAFTN])[a-z]", path.stem)
    if not match:
        return None
    speaker, sentence, initial = match.groups()
    # Wut, Langeweile, Ekel, Angst, Freude, Trauer
    codes = {"W": "rab", "L": "noi", "E": "dis", "A": "pau", "F": "gio", "T": "tri", "N": "neu"}
    return Utterance(path, codes[initial], speaker, sentence, path.stem)


def _ravdess(path: Path) -> Utterance | str | None:
    """Actor_12/03-01-06-01-02-01-12.wav: sound, speech (02: song), emotion, intensity, text, take, actor."""
    match = re.fullmatch(r"03-(0[12])-0([1-8])-0[12]-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])", path.stem)
    if not match:
        return None
    channel, emotion, sentence, speaker = match.groups()
    if channel != "01":
        return OUTSIDE
    codes = ("neu", "cal", "gio", "tri", "rab", "pau", "dis", "sor")
    return Utterance(path, codes[int(emotion) - 1], speaker, sentence, path.stem)


def _savee(path: Path) -> Utterance | None:
    """AudioData/DC/a01.wav, or all in one folder as DC_a01.wav: speaker, emotion's initials, sentence.

    Sentences are told apart by number; beyond the first few, a number is another text for another emotion.
    """
    match = re.fullmatch(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])([0-3]\d)", path.stem)
    speaker = (match and match[1]) or path.parent.name.upper()
    if not match or speaker not in ("DC", "JE", "JK", "KL"):
        return None
    _, initials, sentence = match.groups()
    codes = {"a": "rab", "d": "dis", "f": "pau", "h": "gio", "n": "neu", "sa": "tri", "su": "sor"}
    if not 1 <= int(sentence) <= (30 if initials == "n" else 15):
        return None
    return Utterance(path, codes[initials], speaker, sentence, f"{speaker}_{initials}{sentence}")


def _casia(path: Path) -> Utterance | None:
    """liuchanhg/angry/201.wav: speaker, emotion, sentence."""
    emotion = common_code(path.parent.name)
    if emotion not in READERS["casia"].emotions or not re.fullmatch(r"\d{3}", path.stem):
        return None
    return Utterance(path, emotion, path.parent.parent.name.lower(), path.stem)


def _tess(path: Path) -> Utterance | None:
    """OAF_angry/OAF_back_angry.wav: speaker (old or young), the word after "say the word", emotion.

    One file of the distributed ones is named OA_bite_neutral.wav.
    """
    pattern = r"(oaf?|yaf)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)"
    match = re.fullmatch(pattern, path.stem.lower())
    if not match:
        return None
    speaker, word, emotion = match.groups()
    speaker = "YAF" if speaker == "yaf" else "OAF"
    return Utterance(path, common_code(emotion), speaker, word, f"{speaker}_{word}_{emotion}")


def _cremad(path: Path) -> Utterance | None:
    """AudioWAV/1001_DFA_ANG_XX.wav: speaker, sentence, emotion, level (one distributed file has X for XX)."""
    sentences = "IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI"
    pattern = rf"(10\d\d)_({sentences})_(ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)"
    match = re.fullmatch(pattern, path.stem)
    if not match or not 1001 <= int(match[1]) <= 1091:
        return None
    speaker, sentence, emotion = match.groups()
    return Utterance(path, common_code(emotion), speaker, sentence, path.stem)


def _iemocap(root: Path, files: Sequence[Path]) -> Parse:
    """Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav: session, dialogue, whose turn.

    The dialogue stands for the sentence. The emotion is that of the line
    `[6.2901 - 8.2357]  Ses01F_impro01_F000  neu  …` in Session1/dialog/EmoEvaluation/Ses01F_impro01.txt.
    """
    codes = {"ang": "rab", "hap": "gio", "exc": "gio", "neu": "neu", "sad": "tri"}
    tables = [file for file in files if file.parent.name == "EmoEvaluation" and file.suffix == ".txt"]
    text = "\n".join(_texts(root, tables))
    labels = dict(re.findall(r"^\[.+?\]\s+(Ses\w+)\s+(\w+)", text, flags=re.MULTILINE))

    def parse(path: Path) -> Utterance | str | None:
        match = re.fullmatch(r"(Ses0[1-5])[FM]_((?:impro|script)\d\d\w*?)(?:_([FM])\d+\w*)?", path.stem)
        if not match:
            return None
        session, dialogue, gender = match.groups()
        if gender is None:
            return OUTSIDE  # a whole dialogue
        if path.stem not in labels:
            return None
        emotion = codes.get(labels[path.stem])
        return Utterance(path, emotion, session + gender, dialogue, path.stem) if emotion else OUTSIDE

    return parse


def _texts(root: Path, files: Sequence[Path]) -> list[str]:
    """The texts of files in a folder or a zip, which is opened once."""
    if root.is_dir():
        return [file.read_text(encoding="latin-1") for file in files]
    with zipfile.ZipFile(root) as archive:
        return [read_member(archive, file.relative_to(root).as_posix()).decode("latin-1") for file in files]


def _folder(root: Path, files: Sequence[Path]) -> Parse:
    """angry/*.wav or anna/angry/*.wav: emotion, or speaker and emotion. A zip may hold all in one folder."""
    first = {file.relative_to(root).parts[0] for file in files}
    top = root / first.pop() if root.is_file() and len(first) == 1 else root

    def parse(path: Path) -> Utterance | None:
        parts = (*path.relative_to(top).parts[:-1], path.stem)
        if not 2 <= len(parts) <= 3:
            return None
        emotion = common_code(parts[-2]) or parts[-2].lower()
        return Utterance(path, emotion, parts[0] if len(parts) == 3 else UNKNOWN, UNKNOWN, "/".join(parts))

    return parse


def _each(parse: Parse) -> Callable[[Path, Sequence[Path]], Parse]:
    """The parser of a corpus in which a path says everything."""
    return lambda root, files: parse


# Signal lengths are TIM-Net's, but for two, which are ours: TESS's recordings are about 2 s long and get
# 3.0 s, CREMA-D's are about 2.5 s and get 4.0 s. IEMOCAP's 5531 are the usual four classes.
READERS = {
    "emovo": Reader(
        title="EMOVO",
        emotions=EMOTIONS,
        speakers=6,
        count=588,
        signal_length=96_000,
        layout="EMOTION-SPEAKER-SENTENCE.wav or .flac, such as dis-f1-b1.wav",
        parser=_each(_emovo),
        names=EMOVO_NAMES,
    ),
    "emodb": Reader(
        title="EMO-DB",
        emotions=("dis", "gio", "neu", "pau", "rab", "tri", "noi"),
        speakers=10,
        count=535,
        signal_length=96_000,
        layout="such as wav/03a01Fa.wav",
        parser=_each(_emodb),
    ),
    "ravdess": Reader(
        title="RAVDESS",
        emotions=(*EMOTIONS, "cal"),
        speakers=24,
        count=1440,
        signal_length=110_000,
        layout="speech, such as Actor_01/03-01-06-01-02-01-01.wav",
        parser=_each(_ravdess),
    ),
    "savee": Reader(
        title="SAVEE",
        emotions=EMOTIONS,
        speakers=4,
        count=480,
        signal_length=130_000,
        layout="such as AudioData/DC/a01.wav, or DC_a01.wav",
        parser=_each(_savee),
    ),
    "casia": Reader(
        title="CASIA",
        emotions=("gio", "neu", "pau", "rab", "sor", "tri"),
        speakers=4,
        count=1200,
        signal_length=88_000,
        layout="such as liuchanhg/angry/201.wav",
        parser=_each(_casia),
    ),
    "tess": Reader(
        title="TESS",
        emotions=EMOTIONS,
        speakers=2,
        count=2800,
        signal_length=66_000,
        layout="such as OAF_angry/OAF_back_angry.wav",
        parser=_each(_tess),
    ),
    "cremad": Reader(
        title="CREMA-D",
        emotions=("dis", "gio", "neu", "pau", "rab", "tri"),
        speakers=91,
        count=7442,
        signal_length=88_000,
        layout="such as AudioWAV/1001_DFA_ANG_XX.wav",
        parser=_each(_cremad),
    ),
    "iemocap": Reader(
        title="IEMOCAP",
        emotions=("gio", "neu", "rab", "tri"),
        speakers=10,
        count=5531,
        signal_length=310_000,
        layout="such as Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, with its label in "
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
        parser=_iemocap,
    ),
    "folder": Reader(
        title="folder",
        emotions=(),
        speakers=0,
        count=0,
        signal_length=0,
        layout="EMOTION/*.wav or SPEAKER/EMOTION/*.wav",
        parser=_folder,
        suffixes=(".wav", ".flac", ".mp3", ".ogg"),
    ),
}

"""One reader for each corpus: how to read the names and places of its recordings, and where to get it.

To add a corpus, put one entry into READERS; where a pattern for the names of its files is not enough, write a
function beside it that turns a path into an Utterance.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dataloader.corpora.archives import read_texts
from dataloader.corpora.folders import FOLDER_LAYOUT, folder_parser
from dataloader.corpora.listing import Listing
from dataloader.corpora.utterance import CorpusError, Utterance
from utils.emotions import EMOTIONS, emotion_code

# EMOVO's; sentences are short (b), long, nonsense, and questions (d)
SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
SENTENCES = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
EMOVO_NAMES = tuple(sorted("-".join(codes) for codes in product(EMOTIONS, SPEAKERS, SENTENCES)))

OUTSIDE = "outside"  # a recording of the corpus that is not asked for: a song, a fifth emotion
Parse = Callable[[Path], Utterance | str | None]  # OUTSIDE, or None for a name that is not the corpus's
Parser = Callable[[Listing], Parse]  # of the corpus's folder or zip


@dataclass(frozen=True)
class Reader:
    """How to read a corpus, how much there is in it when it is whole, and where to get it."""

    title: str  # its name in outputs, and that of its folder in `dataset`
    parser: Parser
    layout: str  # of its recordings, for messages
    emotions: tuple[str, ...] = ()  # in the order of utils.emotions; none where the files say
    speakers: int = 0  # how many; 0 where not known
    count: int = 0  # utterances in the whole corpus; 0 where not known
    signal_length: int = 0  # samples at 22 050 Hz, for `features.signal_length`; 0 for no advice
    home: str = ""  # its page; none where there is nothing to download
    licence: str = ""  # in short; the home page has the terms
    size: str = "unknown"  # about, for people
    citation: str = ""  # the paper to cite
    url: str = ""  # a zip that anybody may fetch
    kaggle: str = ""  # a copy on Kaggle that anybody may fetch
    by_hand: str = ""  # how to get it otherwise
    names: tuple[str, ...] = ()  # of all utterances, where they are known
    heard: Callable[[Listing], dict[str, str | None]] | None = None  # where listeners have voted


def _by_name(pattern: str, codes: dict[str, str] | None = None, outside: str = "") -> Parser:
    """The parser of a corpus whose files' names (without suffix) say everything.

    The pattern has the groups emotion, speaker and sentence; `codes` turns the corpus's emotions into ours,
    where utils.emotions does not; `outside` is the pattern of names that are not asked for.
    """

    def parse(path: Path) -> Utterance | str | None:
        if not (match := re.fullmatch(pattern, path.stem)):
            return OUTSIDE if re.fullmatch(outside, path.stem) else None
        emotion = codes[match["emotion"]] if codes else emotion_code(match["emotion"])
        return Utterance(path, emotion, match["speaker"], match["sentence"], path.stem)

    return lambda listing: parse


def _emovo(path: Path) -> Utterance | None:
    """f1/dis-f1-b1.wav, in any case: emotion, speaker, sentence."""
    name = path.stem.lower()
    return Utterance(path, *name.split("-")) if name in EMOVO_NAMES else None


def _savee(path: Path) -> Utterance | None:
    """AudioData/DC/a01.wav, or all in one folder as DC_a01.wav: speaker, emotion's initials, sentence."""
    match = re.fullmatch(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])([0-3]\d)", path.stem)
    speaker = (match and match[1]) or path.parent.name.upper()
    if not match or speaker not in ("DC", "JE", "JK", "KL"):
        return None
    initials, sentence = match.groups()[1:]
    codes = {"a": "rab", "d": "dis", "f": "pau", "h": "gio", "n": "neu", "sa": "tri", "su": "sor"}
    if not 1 <= int(sentence) <= (30 if initials == "n" else 15):
        return None
    return Utterance(path, codes[initials], speaker, sentence, f"{speaker}_{initials}{sentence}")


def _casia(path: Path) -> Utterance | None:
    """liuchanhg/angry/201.wav: speaker, emotion, sentence."""
    emotion = emotion_code(path.parent.name)
    if emotion not in READERS["casia"].emotions or not re.fullmatch(r"\d{3}", path.stem):
        return None
    return Utterance(path, emotion, path.parent.parent.name.lower(), path.stem)


def _tess(path: Path) -> Utterance | None:
    """OAF_angry/OAF_back_angry.wav: speaker (one distributed file has OA), the word that is said, emotion."""
    words = r"(oaf?|yaf)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)"
    if not (match := re.fullmatch(words, path.stem.lower())):
        return None
    speaker, word, emotion = "YAF" if match[1] == "yaf" else "OAF", match[2], match[3]
    return Utterance(path, emotion_code(emotion), speaker, word, f"{speaker}_{word}_{emotion}")


def _cremad_heard(listing: Listing) -> dict[str, str | None]:
    """Name → the emotion that most listeners heard in the sound alone; None at a tie, `A:N`.

    The votes are in the column VoiceVote of processedResults/summaryTable.csv.
    """
    tables = [file for file in listing.others if file.name == "summaryTable.csv"]
    if not tables:
        raise KeyError("processedResults/summaryTable.csv is missing")
    codes = {"A": "rab", "D": "dis", "F": "pau", "H": "gio", "N": "neu", "S": "tri"}
    rows = csv.DictReader(read_texts(listing.root, tables[:1])[0].splitlines())
    return {row["FileName"]: codes.get(row["VoiceVote"]) for row in rows}


def _iemocap(listing: Listing) -> Parse:
    """Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav: session, dialogue, whose turn.

    The dialogue stands for the sentence. The emotion is that of the line
    `[6.2901 - 8.2357]  Ses01F_impro01_F000  neu  …` in Session1/dialog/EmoEvaluation/Ses01F_impro01.txt.
    """
    codes = {"ang": "rab", "hap": "gio", "exc": "gio", "neu": "neu", "sad": "tri"}
    tables = [one for one in listing.others if one.parent.name == "EmoEvaluation" and one.suffix == ".txt"]
    text = "\n".join(read_texts(listing.root, tables))
    labels = dict(re.findall(r"^\[.+?\]\s+(Ses\w+)\s+(\w+)", text, flags=re.MULTILINE))

    def parse(path: Path) -> Utterance | str | None:
        match = re.fullmatch(r"(Ses0[1-5])[FM]_((?:impro|script)\d\d\w*?)(?:_([FM])\d+\w*)?", path.stem)
        if match and match[3] is None:
            return OUTSIDE  # a whole dialogue
        if not match or path.stem not in labels:
            return None
        emotion = codes.get(labels[path.stem])
        return Utterance(path, emotion, match[1] + match[3], match[2], path.stem) if emotion else OUTSIDE

    return parse


class _Readers(dict):
    """The readers by the names that `data.corpus` takes; for another name, an error that lists them."""

    def __missing__(self, name: str) -> Reader:
        raise CorpusError(f"{name} is none of the corpora {', '.join(self)}.")


# fmt: off
# Signal lengths are TIM-Net's, but for two, which are ours: TESS's recordings are about 2 s long and get
# 3.0 s, CREMA-D's are about 2.5 s and get 4.0 s. IEMOCAP's 5531 are the usual four classes.
READERS = _Readers(
    emovo=Reader(
        "EMOVO", lambda listing: _emovo, "EMOTION-SPEAKER-SENTENCE.wav or .flac, such as dis-f1-b1.wav",
        emotions=EMOTIONS, speakers=6, count=588, signal_length=96_000, names=EMOVO_NAMES,
        home="http://voice.fub.it/activities/corpora/emovo/index.html", size="350 MB",
        licence="free for research, non-commercial, with acknowledgement",
        citation="G. Costantini et al., EMOVO Corpus: an Italian Emotional Speech Database, LREC 2014",
        kaggle="sourabhy/emovo-italian-ser-dataset", by_hand="Its home page has it as a zip."),
    emodb=Reader(
        "EMO-DB", _by_name(
            r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>a0[12457]|b0[1239]|b10)(?P<emotion>[WLEAFTN])[a-z]",
            # Wut, Langeweile, Ekel, Angst, Freude, Trauer
            {"W": "rab", "L": "noi", "E": "dis", "A": "pau", "F": "gio", "T": "tri", "N": "neu"},
        ), "such as wav/03a01Fa.wav",
        emotions=("dis", "gio", "neu", "pau", "rab", "tri", "noi"), speakers=10, count=535,
        signal_length=96_000, home="http://emodb.bilderbar.info/", size="40 MB", licence="see its home page",
        citation="F. Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005",
        url="http://emodb.bilderbar.info/download/download.zip",
        kaggle="piyushagni5/berlin-database-of-emotional-speech-emodb"),
    ravdess=Reader(
        "RAVDESS", _by_name(  # sound, speech (02: song), emotion, intensity, text, take, actor
            r"03-01-0(?P<emotion>[1-8])-0[12]-(?P<sentence>0[12])-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4])",
            dict(zip("12345678", ("neu", "cal", "gio", "tri", "rab", "pau", "dis", "sor"), strict=True)),
            outside=r"03-02-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])",
        ), "speech, such as Actor_01/03-01-06-01-02-01-01.wav",
        emotions=(*EMOTIONS, "cal"), speakers=24, count=1440, signal_length=110_000,
        home="https://zenodo.org/records/1188976", size="210 MB", licence="CC BY-NC-SA 4.0",
        citation="S. R. Livingstone, F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and "
        "Song (RAVDESS), PLoS ONE 13(5), 2018",
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        kaggle="uwrfkaggler/ravdess-emotional-speech-audio"),
    savee=Reader(
        "SAVEE", lambda listing: _savee, "such as AudioData/DC/a01.wav, or DC_a01.wav",
        emotions=EMOTIONS, speakers=4, count=480, signal_length=130_000,
        home="http://kahlan.eps.surrey.ac.uk/savee/", licence="for research, after registration",
        citation="S. Haq, P. J. B. Jackson, Speaker-Dependent Audio-Visual Emotion Recognition, AVSP 2009",
        by_hand="Register on its home page, and unpack AudioData."),
    casia=Reader(
        "CASIA", lambda listing: _casia, "such as liuchanhg/angry/201.wav",
        emotions=("gio", "neu", "pau", "rab", "sor", "tri"), speakers=4, count=1200, signal_length=88_000,
        home="http://www.chineseldc.org/", licence="of the Chinese Linguistic Data Consortium",
        citation="J. Tao et al., Design of Speech Corpus for Mandarin Text to Speech, Blizzard 2008",
        by_hand="Ask the Chinese Linguistic Data Consortium for it."),
    tess=Reader(
        "TESS", lambda listing: _tess, "such as OAF_angry/OAF_back_angry.wav",
        emotions=EMOTIONS, speakers=2, count=2800, signal_length=66_000,
        home="https://doi.org/10.5683/SP2/E8H2MF", size="300 MB", licence="CC BY-NC-ND 4.0",
        citation="M. K. Pichora-Fuller, K. Dupuis, Toronto Emotional Speech Set (TESS), Borealis, 2020",
        url="https://borealisdata.ca/api/access/dataset/:persistentId/?persistentId=doi:10.5683/SP2/E8H2MF",
        kaggle="ejlok1/toronto-emotional-speech-set-tess"),
    cremad=Reader(
        "CREMA-D", _by_name(  # speaker, sentence, emotion, level (one distributed file has X for XX)
            r"(?P<speaker>10(?!00)[0-8]\d|109[01])_(?P<sentence>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|"
            r"WSI)_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)"
        ), "such as AudioWAV/1001_DFA_ANG_XX.wav",
        emotions=("dis", "gio", "neu", "pau", "rab", "tri"), speakers=91, count=7442, signal_length=88_000,
        home="https://github.com/CheyneyComputerScience/CREMA-D", licence="Open Database License",
        citation="H. Cao et al., CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE "
        "Transactions on Affective Computing 5(4), 2014", size="600 MB (AudioWAV)", kaggle="ejlok1/cremad",
        by_hand="Clone its repository with Git LFS (git lfs install), and take the folder AudioWAV; for "
        "data.labels=heard also processedResults.", heard=_cremad_heard),
    nemo=Reader(
        "nEMO", _by_name(  # speaker, emotion, sentence; data.tsv beside them says the same of each
            r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>anger|fear|happiness|neutral|sadness|surprised)_"
            r"(?P<sentence>[1-9]|[1-8]\d|90)"
        ), "such as samples/WR0_surprised_64.wav",
        emotions=("gio", "neu", "pau", "rab", "sor", "tri"), speakers=9, count=4481, signal_length=96_000,
        home="https://huggingface.co/datasets/amu-cai/nEMO", licence="CC BY-NC-SA 4.0", size="500 MB",
        citation="I. Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024",
        url="https://github.com/amu-cai/nEMO/archive/HEAD.zip",
        by_hand="Its authors' repository, https://github.com/amu-cai/nEMO, has the folder samples; the copy "
        "on Hugging Face has the same recordings in Parquet files."),
    iemocap=Reader(
        "IEMOCAP", _iemocap, "such as Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav, with "
        "its label in Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
        emotions=("gio", "neu", "rab", "tri"), speakers=10, count=5531, signal_length=310_000,
        home="https://sail.usc.edu/iemocap/", size="12 GB",
        licence="for research, after a release form is accepted",
        citation="C. Busso et al., IEMOCAP: Interactive Emotional Dyadic Motion Capture Database, Language "
        "Resources and Evaluation 42(4), 2008",
        by_hand="Fill in the release form that its home page names, and unpack Session1 to Session5."),
    folder=Reader(
        "folder", folder_parser, FOLDER_LAYOUT),
    table=Reader(  # by dataloader.corpora.table
        "table", lambda listing: lambda path: None, "a row for each recording"),
)

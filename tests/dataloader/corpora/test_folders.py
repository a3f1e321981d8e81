"""Layouts of a user's own recordings, as docs/reliability.md lists them."""

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from dataloader.corpora.find import combine, keep_emotions, read_corpus
from dataloader.corpora.utterance import CorpusError
from utils.emotions import ENGLISH, NAMES, common_code, is_emotion

PAGE = Path(__file__).resolve().parents[3] / "docs/reliability.md"
ROWS = re.findall(
    r"^\| `([^|]+/[^|]*|[^|]+\.wav)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)


def make(root: Path, names: str) -> Path:
    """Empty files; {a,b} stands for each."""
    for name in names.split():
        paths = [name]
        while "{" in paths[0]:
            found = [re.fullmatch(r"(.*?)\{(.*?)\}(.*)", path) for path in paths]
            paths = [f"{m[1]}{word}{m[3]}" for m in found for word in m[2].split(",")]
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    return root


def zipped(folder: Path) -> Path:
    """The same as a zip, in a folder of its own name, as people pack them."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in filter(Path.is_file, folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return folder.with_suffix(".zip")


def reading(root: Path) -> str:
    """`emotions: …; speakers: …`, or the message."""
    try:
        corpus = read_corpus("folder", root)
    except CorpusError as error:
        return str(error)
    emotions = ", ".join(ENGLISH[emotion] for emotion in corpus.emotions)
    speakers = ", ".join(sorted({utterance.speaker for utterance in corpus.utterances}))
    return f"emotions: {emotions}; speakers: {speakers}"


def test_the_page_has_rows():
    assert len(ROWS) >= 20


@pytest.mark.parametrize(("names", "read_as"), ROWS, ids=[row[0] for row in ROWS])
def test_a_layout_is_read_as_the_page_says(tmp_path, names, read_as):
    root = make(tmp_path / "it", names)
    for place in (root, zipped(root)):
        shown = reading(place)
        if quoted := re.fullmatch("“(.+)”", read_as):
            parts = quoted[1].split(" … ")
            assert str(place) in shown and re.search(".*".join(map(re.escape, parts)), shown), shown
        else:
            assert shown == read_as


def test_names_keep_the_order_of_the_folders_and_every_recording_is_used(tmp_path):
    corpus = read_corpus("folder", make(tmp_path / "it", "{angry,sad}/{anna,bert}/{1,2}.wav"))
    assert len(corpus.utterances) == 8 and corpus.warnings == ()
    assert {(u.name, u.emotion, u.speaker) for u in corpus.utterances} >= {("sad/bert/2", "tri", "bert")}


def test_an_error_of_a_split_names_a_way_that_exists(tmp_path):
    with pytest.raises(CorpusError) as caught:
        read_corpus("folder", make(tmp_path / "it", "{train,test}/{angry,sad}/1.wav"))
    for place in re.findall(r"data\.root=([^`.]+?)(?:`|,)", str(caught.value)):
        assert read_corpus("folder", place).emotions == ("rab", "tri")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Ekel dégoût wstręt asco nojo disgusto yànwù", "dis"),
        ("Freude Glücklich radość joie Alegría felicidade gioia gāoxìng 快乐 HAP", "gio"),
        ("Angst strach peur miedo medo paura hàipà FEA", "pau"),
        ("Wut Ärger Aerger złość colère enojo raiva rabbia shēngqì ANG", "rab"),
        ("Überraschung ueberraschung zaskoczenie surpresa sorpresa jīngyà PS", "sor"),
        ("Trauer smutek tristesse tristeza tristezza bēishāng SAD", "tri"),
        ("Langeweile nuda ennui aburrimiento tédio noia wúliáo", "noi"),
        ("neutre neutro NEUTRALNY zhōngxìng NEU", "neu"),
    ],
)
def test_words_of_many_languages(words, code):
    assert [common_code(word) for word in words.split()] == [code] * len(words.split())


def test_no_word_stands_for_two_emotions():
    words = [word for names in NAMES.values() for word in names.split()]
    assert len(words) == len(set(words))
    assert all(common_code(word) == code for code, names in NAMES.items() for word in names.split())
    assert is_emotion("Frustrated") and common_code("Frustrated") is None and not is_emotion("anna")


def test_own_words_are_shown_as_they_are_written_and_spellings_are_one_emotion(tmp_path):
    folders = "a/{FREUDE,müde,Gelangweilt}/{1,2}.wav b/{Freude,Müde,gelangweilt}/{1,2}.wav"
    folders += " c/{Freude,müde,Mu\u0308de,rab}/{3,4}.wav"
    corpus = read_corpus("folder", make(tmp_path / "it", folders))
    assert corpus.emotions == ("gio", "rab", "noi", "müde")
    assert [corpus.words[one] for one in corpus.emotions] == ["Freude", "anger", "Gelangweilt", "müde"]
    kept = keep_emotions(corpus, ["JOY", "MÜDE"])
    assert kept.warnings[-1].endswith("by data.emotions: anger (2), Gelangweilt (4)")
    with pytest.raises(CorpusError, match=r"has no Neid; it has Freude, anger, Gelangweilt, müde\."):
        keep_emotions(corpus, ["Neid"])
    others = replace(
        corpus, name="other", utterances=tuple(replace(one, word="") for one in corpus.utterances)
    )
    assert combine([corpus, others]).words["gio"] == "joy"  # not all of the corpora are the user's own

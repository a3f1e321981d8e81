"""Tiny corpora in the layouts in which the real ones are distributed, read back."""

import shutil
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from dataloader.audio import read_audio
from dataloader.corpora.find import combine, find_corpus, read_corpus
from dataloader.corpora.readers import READERS
from dataloader.corpora.utterance import CorpusError
from utils.config import DataConfig
from utils.emotions import ENGLISH, common_code, in_order

# Corpus → its files: path, emotion, speaker, sentence, and name where that is not the file's.
ROWS = {
    "emovo": "EMOVO/f1/dis-f1-b1.wav dis f1 b1; EMOVO/m3/tri-m3-d2.wav tri m3 d2",
    "emodb": "wav/03a01Fa.wav gio 03 a01; wav/03a01Wa.wav rab 03 a01; wav/08a02La.wav noi 08 a02; "
    "wav/11b10Eb.wav dis 11 b10; wav/11b10Ec.wav dis 11 b10; wav/16a05Ad.wav pau 16 a05; "
    "wav/12b09Td.wav tri 12 b09; wav/13a07Nb.wav neu 13 a07",
    "ravdess": "Actor_01/03-01-01-01-01-01-01.wav neu 01 01; Actor_02/03-01-02-02-02-02-02.wav cal 02 02; "
    "Actor_03/03-01-03-01-01-01-03.wav gio 03 01; Actor_03/03-01-04-01-01-01-03.wav tri 03 01; "
    "Actor_03/03-01-05-01-01-01-03.wav rab 03 01; Actor_12/03-01-06-01-02-01-12.wav pau 12 02; "
    "Actor_12/03-01-07-01-02-01-12.wav dis 12 02; Actor_24/03-01-08-02-02-01-24.wav sor 24 02; "
    "Actor_24/03-01-08-02-02-02-24.wav sor 24 02",
    "savee": "AudioData/DC/a01.wav rab DC 01 DC_a01; AudioData/JE/sa15.wav tri JE 15 JE_sa15; "
    "AudioData/JE/su02.wav sor JE 02 JE_su02; AudioData/KL/n30.wav neu KL 30 KL_n30; "
    "ALL/JK_d03.wav dis JK 03; ALL/JK_f03.wav pau JK 03; ALL/JK_h04.wav gio JK 04",
    "casia": "CASIA/liuchanhg/angry/201.wav rab liuchanhg 201 rab-liuchanhg-201; "
    "CASIA/wangzhe/angry/201.wav rab wangzhe 201 rab-wangzhe-201; "
    "CASIA/wangzhe/fear/202.wav pau wangzhe 202 pau-wangzhe-202; "
    "CASIA/zhaoquanyin/happy/250.wav gio zhaoquanyin 250 gio-zhaoquanyin-250; "
    "CASIA/zhaoquanyin/sad/250.wav tri zhaoquanyin 250 tri-zhaoquanyin-250; "
    "CASIA/ZhaoZuoxiang/neutral/201.wav neu zhaozuoxiang 201 neu-zhaozuoxiang-201; "
    "CASIA/ZhaoZuoxiang/surprise/203.wav sor zhaozuoxiang 203 sor-zhaozuoxiang-203",
    "tess": "OAF_angry/OAF_back_angry.wav rab OAF back; OAF_disgust/OAF_back_disgust.wav dis OAF back; "
    "OAF_neutral/OA_bite_neutral.wav neu OAF bite OAF_bite_neutral; "
    "OAF_Pleasant_surprise/OAF_back_ps.wav sor OAF back; YAF_fear/YAF_youth_fear.wav pau YAF youth; "
    "YAF_happy/YAF_youth_happy.wav gio YAF youth; YAF_sad/YAF_youth_sad.wav tri YAF youth",
    "cremad": "AudioWAV/1001_DFA_ANG_XX.wav rab 1001 DFA; AudioWAV/1001_IEO_ANG_HI.wav rab 1001 IEO; "
    "AudioWAV/1001_IEO_ANG_LO.wav rab 1001 IEO; AudioWAV/1002_TIE_DIS_XX.wav dis 1002 TIE; "
    "AudioWAV/1002_TIE_FEA_XX.wav pau 1002 TIE; AudioWAV/1002_TIE_HAP_XX.wav gio 1002 TIE; "
    "AudioWAV/1091_WSI_NEU_XX.wav neu 1091 WSI; AudioWAV/1040_ITH_SAD_X.wav tri 1040 ITH",
    "nemo": "samples/EB0_anger_1.wav rab EB0 1; samples/EB0_neutral_13.wav neu EB0 13; "
    "samples/IC0_fear_90.flac pau IC0 90; samples/KS0_happiness_10.wav gio KS0 10; "
    "samples/WR0_sadness_64.wav tri WR0 64; samples/WR0_surprised_64.wav sor WR0 64",
    "iemocap": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav neu Ses01F impro01; "
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav gio Ses01M impro01; "
    "Session1/sentences/wav/Ses01M_impro01/Ses01M_impro01_F000.wav gio Ses01F impro01; "
    "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_F017.wav rab Ses05F script01_1b; "
    "Session5/sentences/wav/Ses05M_script01_1b/Ses05M_script01_1b_M000.wav tri Ses05M script01_1b",
    "folder": "angry/one.wav rab unknown unknown angry/one; "
    "Sadness/one.flac tri unknown unknown Sadness/one; "
    "Frustrated/two.wav frustrated unknown unknown Frustrated/two; "
    "anna/angry/one.wav rab anna unknown anna/angry/one; "
    "bert/angry/one.wav rab bert unknown bert/angry/one; bert/Happy/one.ogg gio bert unknown bert/Happy/one",
}
# Names that are to be reported: no such speaker, sentence or emotion, no label, a folder too deep.
STRANGERS = {
    "emovo": "EMOVO/m3/tri-m4-d2.wav EMOVO/m3/tri-m3.wav",
    "emodb": "wav/07a01Fa.wav wav/03a03Fa.wav wav/03a01Xa.wav wav/03a01F.wav",
    "ravdess": "Actor_25/03-01-08-02-02-02-25.wav Actor_24/03-01-09-02-02-02-24.wav "
    "Actor_24/03-01-08-02-02-24.wav",
    "savee": "AudioData/KL/a30.wav AudioData/KL/x01.wav AudioData/KL/a00.wav a02.wav",
    "casia": "CASIA/ZhaoZuoxiang/disgust/203.wav CASIA/ZhaoZuoxiang/sad/one.wav CASIA/ZhaoZuoxiang/203.wav",
    "tess": "YAF_sad/YAF_sad.wav YAF_sad/MAF_youth_sad.wav YAF_sad/YAF_youth_glum.wav",
    "cremad": "AudioWAV/1092_WSI_NEU_XX.wav AudioWAV/1091_ABC_NEU_XX.wav AudioWAV/1091_WSI_SUR_XX.wav "
    "AudioWAV/1091_WSI_NEU.wav",
    "nemo": "samples/EB0_disgust_1.wav samples/EB0_anger_91.wav samples/EB0_anger_0.wav "
    "samples/EB_anger_1.wav",
    "iemocap": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F099.wav "
    "Session1/sentences/wav/Ses01F_impro01/F000.wav",
    "folder": "top.wav a/b/angry/one.wav",
}
# Files that are not asked for and not worth a word: songs, whole dialogues, other emotions, texts.
OUTSIDE = {
    "emodb": "lablaut/03a01Fa.lablaut erkennung.txt",
    "ravdess": "Actor_24/03-02-03-02-02-02-24.wav",
    "savee": "AudioData/Info.txt",
    "nemo": "data.tsv README.md",
    "iemocap": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav "
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F002.wav Session1/dialog/wav/Ses01F_impro01.wav",
    "folder": "anna/angry/notes.txt",
}
LABELS = {
    "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": """% [START_TIME - END_TIME] TURN_NAME EMOTION

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_F001\tfru\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_F002\txxx\t[2.5000, 2.5000, 2.5000]
[19.0000 - 20.0000]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
""",
    "Session1/dialog/EmoEvaluation/Ses01M_impro01.txt": "[7.0 - 8.1]\tSes01M_impro01_F000\thap\t[4, 3, 3]\n",
    "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt": "[7.0 - 8.1]\tSes05M_script01_1b_F017\tang\t[1]\n"
    "[9.0 - 9.5]\tSes05M_script01_1b_M000\tsad\t[1, 2, 2]\n",
    # one annotator's own opinion, not the label
    "Session1/dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt": "Ses01F_impro01_F000 :Anger; ()\n",
}


def expected(name: str) -> list[tuple[str, ...]]:
    """(emotion, speaker, sentence, name) of all utterances."""
    rows = [row.split() for row in ROWS[name].split("; ")]
    return sorted(((*row[1:4], (row[4:] or [Path(row[0]).stem])[0]) for row in rows), key=lambda row: row[-1])


def make(root: Path, name: str) -> Path:
    """The layout's files: short tones, and IEMOCAP's labels."""
    texts = LABELS if name == "iemocap" else {}
    files = [row.split()[0] for row in ROWS[name].split("; ")]
    others = f"{STRANGERS[name]} {OUTSIDE.get(name, '')}".split()
    for number, member in enumerate([*files, *others, *texts]):
        path = root / member
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".wav", ".flac", ".ogg"):
            soundfile.write(path, 0.3 * np.sin(np.arange(2_000) * (0.05 + 0.01 * number)), 16_000)
        else:
            path.write_text(texts.get(member, "nothing"), encoding="utf-8")
    return root


@pytest.mark.parametrize("name", ROWS)
def test_a_corpus_is_read_as_it_is_distributed(tmp_path, name):
    corpus = read_corpus(name, make(tmp_path / "it", name))
    assert [(u.emotion, u.speaker, u.sentence, u.name) for u in corpus.utterances] == expected(name)
    assert {u.emotion for u in corpus.utterances} <= set(corpus.emotions)
    assert all(len(read_audio(u.path)) > 2_000 for u in corpus.utterances)
    assert corpus.name == ("folder-it" if name == "folder" else READERS[name].title)

    *missing, warning = corpus.warnings
    strangers = [Path(member).name for member in STRANGERS[name].split()]
    shown = warning.partition(": ")[2].split(" and ")[0].split(", ")
    otherwise = "not laid out as" if name == "folder" else "not named as"
    assert warning.startswith(f"{len(strangers)} sound files {otherwise}")
    assert set(shown) <= set(strangers) and len(shown) == min(5, len(strangers))
    number = f"{READERS[name].count - len(corpus.utterances)} of {corpus.name}"
    assert [text.split("'s")[0] for text in missing] == [number] * (name != "folder")


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("prefix", ["", "some folder/"])
def test_a_zip_is_read_as_the_folder(tmp_path, name, prefix):
    folder = make(tmp_path / "it", name)
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for file in filter(Path.is_file, folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
        first = Path(ROWS[name].split()[0])
        for junk in (f"__MACOSX/{first}", f"{prefix}{first.parent}/._{first.name}", f"{prefix}.DS_Store"):
            archive.writestr(junk, b"")
    corpus, other = read_corpus(name, folder), read_corpus(name, tmp_path / "it.zip")
    utterances, others = ([replace(u, path=folder) for u in c.utterances] for c in (corpus, other))
    assert utterances == others
    assert (other.name, other.emotions, other.warnings) == (corpus.name, corpus.emotions, corpus.warnings)
    assert len(read_audio(other.utterances[0].path)) > 2_000


@pytest.mark.parametrize("name", [name for name in ROWS if name != "folder"])
def test_no_corpus_is_taken_for_another(tmp_path, name):
    root = make(tmp_path / "it", name)
    for other in READERS.keys() - {name, "folder", "table"}:
        with pytest.raises(CorpusError, match=f"no recording of {READERS[other].title} .*download {other}"):
            read_corpus(other, root)


def test_every_corpus_has_a_name_in_the_configuration_and_a_test():
    assert set(READERS) == {*ROWS, "table"}  # tests/dataloader/corpora/test_table.py
    for name, reader in READERS.items():
        assert DataConfig(corpus=name).corpus == name
        assert reader.emotions == in_order(reader.emotions) and set(reader.emotions) <= set(ENGLISH)
    with pytest.raises(CorpusError, match="imodb is none of the corpora emovo, emodb,"):
        find_corpus(data("imodb"))


def test_recordings_that_are_there_twice_count_once(tmp_path):
    make(tmp_path, "tess")  # as in its mirror on Kaggle
    make(tmp_path / "TESS again", "tess")
    (tmp_path / "OAF_angry/OAF_back_angry.flac").touch()
    corpus = read_corpus("tess", tmp_path)
    assert len(corpus.utterances) == len(expected("tess")) and corpus == read_corpus("tess", tmp_path)
    assert any("8 sound files of TESS doubling another" in warning for warning in corpus.warnings)


def test_a_whole_corpus_has_no_warning_and_what_is_missing_is_said(tmp_path):
    root = tmp_path / "TESS"
    root.mkdir()
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    for codes in product(("OAF", "YAF"), "abcdefghij", "abcdefghijklmnopqrst", emotions):
        (root / "{}_{}{}_{}.wav".format(*codes)).touch()
    assert read_corpus("tess", root).warnings == ()
    (root / "OAF_zz_sad.wav").touch()
    assert read_corpus("tess", root).warnings == ("TESS has 2800 utterances, and 2801 are here",)
    for path in {*root.rglob("OAF*.wav"), *root.rglob("*_ps.wav")}:
        path.unlink()
    missing = "1600 of TESS's 2800 utterances missing, and 1 of its 2 speakers; none is of the emotion"
    assert read_corpus("tess", root).warnings == (f"{missing} surprise",)


def test_a_folder_needs_no_codes(tmp_path):
    corpus = read_corpus("folder", make(tmp_path / "voices", "folder"))
    assert corpus.emotions == ("gio", "rab", "tri", "frustrated")
    assert ENGLISH["frustrated"] == "frustrated" and ENGLISH["rab"] == "anger"


def test_words_for_emotions():
    words = "Angry HAPPINESS neutral Pleasant_surprise pleasant-surprised fea Disgust boredom calm sad exc ''"
    codes = ["rab", "gio", "neu", "sor", "sor", "pau", "dis", "noi", "cal", "tri", None, None]
    assert [common_code(word) for word in words.split()] == codes
    assert in_order(["zeal", "tri", "cal", "dis", "awe", "tri"]) == ("dis", "tri", "cal", "awe", "zeal")


# --- which emotions, and whose ---

VOTES = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"
"1","1001_DFA_ANG_XX","N","69.1","A","92.22","A","64.78"
"2","1001_IEO_ANG_HI","A:N","69.1","A","92.22","A","64.78"
"3","1001_IEO_ANG_LO","A","69.1","A","92.22","A","64.78"
"4","1002_TIE_DIS_XX","D","69.1","D","92.22","D","64.78"
"5","1002_TIE_FEA_XX","F","69.1","F","92.22","F","64.78"
"6","1002_TIE_HAP_XX","S","69.1","H","92.22","H","64.78"
"7","1040_ITH_SAD_X","H","69.1","H","92.22","H","64.78"
"""


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_emotions_may_be_those_that_listeners_heard(tmp_path, kind):
    root = make(tmp_path / "it", "cremad")
    with pytest.raises(CorpusError, match=r"labels cannot be read .*summaryTable.csv is missing"):
        read_corpus("cremad", root, "heard")
    (root / "processedResults").mkdir()
    (root / "processedResults/summaryTable.csv").write_text(VOTES)
    if kind == "zip":
        root = Path(shutil.make_archive(str(root), "zip", root))
    intended, heard = (read_corpus("cremad", root, labels) for labels in ("intended", "heard"))
    assert intended == read_corpus("cremad", root)
    assert (heard.name, heard.emotions) == ("CREMA-D-heard", intended.emotions)
    found = {one.name: one.emotion for one in heard.utterances}
    assert found == {
        **{"1001_DFA_ANG_XX": "neu", "1001_IEO_ANG_LO": "rab", "1002_TIE_DIS_XX": "dis"},
        **{"1002_TIE_FEA_XX": "pau", "1002_TIE_HAP_XX": "tri", "1040_ITH_SAD_X": "gio"},
    }
    ties, unheard = heard.warnings[-2:]
    assert ties == "1 utterance with listeners at a tie, left out: 1001_IEO_ANG_HI"
    assert unheard == "1 utterance without votes of listeners, left out: 1091_WSI_NEU_XX"
    named = data("cremad", root)
    named.labels = "heard"
    assert find_corpus(named) == heard


def test_votes_are_asked_for_where_there_are_some(tmp_path):
    roots = {name: make(tmp_path / name, name) for name in ("cremad", "ravdess")}
    (roots["cremad"] / "summaryTable.csv").write_text(VOTES)
    several = data(["cremad", "ravdess"], roots)
    several.labels = "heard"
    corpus = find_corpus(several)
    assert corpus.name == "CREMA-D-heard+RAVDESS"
    assert "RAVDESS has no votes of listeners: its labels are the intended emotions" in corpus.warnings
    (tmp_path / "own.csv").write_text("file,emotion\na.wav,joy\n")
    (tmp_path / "a.wav").touch()
    beside = data(["cremad", "table"], {"cremad": roots["cremad"], "table": tmp_path / "own.csv"})
    beside.labels = "heard"
    assert any("table has no votes of listeners" in one for one in find_corpus(beside).warnings)
    alone = data("ravdess", roots["ravdess"])
    alone.labels = "heard"
    with pytest.raises(CorpusError, match="no votes of listeners are known for ravdess, but for cremad"):
        find_corpus(alone)


def test_emotions_that_are_not_asked_for_are_left_out_and_counted(tmp_path):
    roots = {name: make(tmp_path / name, name) for name in ("emodb", "ravdess", "folder")}
    some = data(list(roots), roots)
    whole = find_corpus(some)
    some.emotions = ["Angry", "gio", "Frustrated"]
    corpus = find_corpus(some)
    assert corpus.emotions == ("gio", "rab", "frustrated")
    assert corpus.utterances == tuple(u for u in whole.utterances if u.emotion in corpus.emotions)
    *others, warning = corpus.warnings
    assert tuple(others) == whole.warnings
    assert warning.startswith(
        f"{len(whole.utterances) - len(corpus.utterances)} of {whole.name}'s utterances"
    )
    calm = sum(one.emotion == "cal" for one in whole.utterances)
    assert f"calm ({calm})" in warning and "boredom (" in warning and "anger" not in warning
    some.emotions = list(whole.emotions)
    assert find_corpus(some) == whole
    some.emotions = ["anger", "rage"]
    with pytest.raises(CorpusError, match=r"data.emotions: .* has no rage; it has disgust, joy, neutral"):
        find_corpus(some)
    some.emotions = ["anger", "Angry"]
    with pytest.raises(CorpusError, match="anger and Angry is one emotion"):
        find_corpus(some)


# --- several corpora, and where they lie ---


def data(corpus, root=None):
    more = {"demo_dir": "nowhere", "labels": "intended", "emotions": None, "columns": {}, "min_utterances": 0}
    return SimpleNamespace(corpus=corpus, root=root, **more)


def test_corpora_together(tmp_path):
    one, two = make(tmp_path / "one", "emodb"), make(tmp_path / "two", "ravdess")
    corpus = find_corpus(data(["emodb", "ravdess"], {"ravdess": two, "emodb": one, "savee": "gone"}))
    assert corpus.name == "EMO-DB+RAVDESS" and not corpus.is_demo
    assert corpus.emotions == ("dis", "gio", "neu", "pau", "rab", "sor", "tri", "cal", "noi")
    assert corpus.signal_length == 110_000
    names = [u.name for u in corpus.utterances]
    assert names == sorted(set(names)) and len(names) == len(expected("emodb")) + len(expected("ravdess"))
    assert "EMO-DB/03a01Fa" in names and "RAVDESS/03-01-06-01-02-01-12" in names
    # EMO-DB's and RAVDESS's speakers 03 are two
    assert {"EMO-DB/03", "RAVDESS/03"} <= {u.speaker for u in corpus.utterances}
    assert ["EMO-DB's" in warning for warning in corpus.warnings] == [True] * 2 + [False] * 2
    assert combine([read_corpus("emodb", one)]) == read_corpus("emodb", one)


def test_usual_places_of_other_corpora(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMODB_ROOT", raising=False)
    with pytest.raises(CorpusError, match=r"EMO-DB.*dataloader\.download emodb.*EMODB_ROOT"):
        find_corpus(data("emodb"))
    shutil.make_archive("dataset/EMO-DB", "zip", make(tmp_path / "it", "emodb"))
    assert find_corpus(data("emodb")).root == Path("dataset/EMO-DB.zip")
    make(tmp_path / "dataset/EMO-DB", "emodb")
    assert find_corpus(data("emodb")).root == Path("dataset/EMO-DB")
    monkeypatch.setenv("EMODB_ROOT", str(make(tmp_path / "environment", "emodb")))
    assert find_corpus(data(["emodb"])).root == tmp_path / "environment"
    named = make(tmp_path / "named", "emodb")
    for root in (named, {"emodb": named}):
        assert find_corpus(data("emodb", root)).root == named
    with pytest.raises(CorpusError, match="Name a folder"):
        find_corpus(data("folder"))


def test_several_corpora_need_a_place_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    with pytest.raises(CorpusError, match=r"data\.root=\{emovo: …, emodb: …\}"):
        find_corpus(data(["emovo", "emodb"], "here"))
    root = make(tmp_path / "it", "emodb")
    with pytest.raises(CorpusError, match="EMOVO lies"):  # the demo corpus is not mixed with a real one
        find_corpus(data(["emovo", "emodb"], {"emodb": root}))

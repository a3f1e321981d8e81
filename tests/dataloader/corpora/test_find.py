"""Finding and listing corpora."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.corpora.find import find_corpus, read_corpus
from dataloader.corpora.readers import EMOVO_NAMES
from dataloader.corpora.utterance import DEMO_MARKER, CorpusError, Utterance
from utils.config import DataConfig
from utils.emotions import EMOTIONS

WAV = io.BytesIO()
soundfile.write(WAV, np.random.default_rng(0).uniform(-0.5, 0.5, 3_000), 22_050, format="WAV")


def make_folder(root: Path, names=EMOVO_NAMES, suffix=".wav") -> Path:
    """A folder in EMOVO's layout; the files' content is of no interest."""
    for name in names:
        path = root / name.split("-")[1] / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def make_zip(path: Path, members: list[str]) -> Path:
    """A zip whose members are all the same sound."""
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, WAV.getvalue())
    return path


def test_a_whole_folder(tmp_path):
    corpus = read_corpus("emovo", make_folder(tmp_path / "EMOVO"))
    assert corpus.name == "EMOVO" and not corpus.is_demo and corpus.warnings == ()
    assert corpus.emotions == EMOTIONS
    assert [u.name for u in corpus.utterances] == sorted(EMOVO_NAMES) and len(set(EMOVO_NAMES)) == 7 * 6 * 14
    assert corpus.utterances[0] == Utterance(tmp_path / "EMOVO/f1/dis-f1-b1.wav", "dis", "f1", "b1")


def test_files_may_lie_anywhere_and_be_written_in_any_case(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "DIS-F1-B1.WAV").touch()
    (tmp_path / "deep/er/Gio-m3-D2.Flac").touch()
    assert [u.name for u in read_corpus("emovo", tmp_path).utterances] == ["dis-f1-b1", "gio-m3-d2"]


def test_missing_utterances_are_counted_and_some_are_named(tmp_path):
    corpus = read_corpus("emovo", make_folder(tmp_path, [n for n in EMOVO_NAMES if not n.endswith("-m2-b1")]))
    assert len(corpus.utterances) == 581
    some = "dis-m2-b1, gio-m2-b1, neu-m2-b1, pau-m2-b1, rab-m2-b1 and 2 more"
    assert corpus.warnings == (f"7 of EMOVO's 588 utterances missing: {some}",)


def test_places_without_emovo_are_errors_that_help(tmp_path):
    for folder in ("empty", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other/song.wav").touch()
    (tmp_path / "text.zip").write_text("this is no zip")
    (tmp_path / "x.wav").write_bytes(WAV.getvalue())
    make_zip(tmp_path / "whole.zip", ["f1/dis-f1-b1.wav"])
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    make_zip(tmp_path / "none.zip", [])
    for place in ("gone", "gone.zip", "empty", "other", "none.zip", "text.zip", "cut.zip", "x.wav"):
        known = place in ("empty", "other", "none.zip")
        reason = "no recording of EMOVO" if known else "neither a folder nor a zip that can be used"
        with pytest.raises(CorpusError, match=reason) as caught:
            read_corpus("emovo", tmp_path / place)
        assert str(tmp_path / place) in str(caught.value) and "data.root" in str(caught.value)
    (tmp_path / "labels.csv").touch()
    with pytest.raises(CorpusError, match=r"labels\.csv is a table: say data\.corpus=table, too"):
        read_corpus("emovo", tmp_path / "labels.csv")


def test_a_demo_corpus_is_never_taken_for_emovo(tmp_path):
    demo = make_folder(tmp_path / "dataset/demo")
    (demo / DEMO_MARKER).touch()
    for root in (demo, demo / "f1", tmp_path / "dataset", tmp_path):
        assert read_corpus("emovo", root).is_demo, root
    for folder in ("", "demo/"):
        members = [f"{folder}{DEMO_MARKER}", f"{folder}f1/dis-f1-b1.wav"]
        assert read_corpus("emovo", make_zip(tmp_path / "a.zip", members)).is_demo

    real = make_folder(tmp_path / "dataset/EMOVO", EMOVO_NAMES[:9])
    corpus = read_corpus("emovo", tmp_path / "dataset")  # both: the demo's files are no part of EMOVO
    assert not corpus.is_demo and len(corpus.utterances) == 9
    assert all(real in u.path.parents for u in corpus.utterances)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data configuration that names nothing, in an empty working directory; no demo corpus can be made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    monkeypatch.setattr("dataloader.corpora.find.make_demo_corpus", None)
    return DataConfig(demo_dir=tmp_path / "dataset/demo")


def test_the_demo_corpus_does_not_stand_in_for_a_place_that_was_named(data, monkeypatch):
    monkeypatch.setenv("EMOVO_ROOT", "gone")
    for root, place in ((None, "gone"), (Path("missing"), "missing")):
        with pytest.raises(CorpusError, match=place):
            find_corpus(data.model_copy(update={"root": root}))


def test_the_real_corpus_is_whole(emovo_root):
    corpus = read_corpus("emovo", emovo_root)
    assert corpus.name == "EMOVO" and len(corpus.utterances) == 588 and corpus.warnings == ()


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_no_wish_for_the_demo_corpus(monkeypatch, value):
    monkeypatch.setenv("EMOVO_ROOT", value)
    with pytest.raises(CorpusError, match="EMOVO_ROOT is empty: let it name EMOVO, or unset it"):
        find_corpus(DataConfig())

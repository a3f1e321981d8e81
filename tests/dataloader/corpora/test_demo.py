"""The synthetic corpus: whole, deterministic, different from emotion to emotion, and never half made."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dataloader.audio import read_audio
from dataloader.corpora import demo as module
from dataloader.corpora.demo import TEXTS, VOICES, make_demo_corpus, plan_utterances
from dataloader.corpora.find import find_corpus, read_corpus
from dataloader.corpora.readers import EMOVO_NAMES, SPEAKERS
from dataloader.corpora.utterance import DEMO_MARKER, CorpusError
from utils.config import DataConfig
from utils.emotions import EMOTIONS

espeakng_loader = pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return make_demo_corpus(tmp_path_factory.mktemp("dataset") / "demo", progress=False)


@pytest.fixture(scope="module")
def waveforms(demo) -> dict[str, np.ndarray]:
    return {u.name: read_audio(u.path) for u in read_corpus("emovo", demo).utterances}


@pytest.fixture
def short_plan(monkeypatch):
    """Speak three utterances instead of 588, so that it takes no time; the other files are empty."""

    def write(folder, plan, progress):
        write_corpus(folder, {name: plan[name] for name in EMOVO_NAMES[::250]}, progress)
        for name in EMOVO_NAMES:
            path = folder / name.split("-")[1] / f"{name}.flac"
            path.parent.mkdir(exist_ok=True)
            path.touch()

    write_corpus = module._write_corpus
    monkeypatch.setattr(module, "_write_corpus", write)


def test_it_has_emovos_layout_and_says_what_it_is(demo):
    corpus = read_corpus("emovo", demo)
    assert corpus.name == "demo" and corpus.is_demo and corpus.warnings == ()
    assert [u.name for u in corpus.utterances] == list(EMOVO_NAMES)
    assert "synthetic" in (demo / "README.txt").read_text(encoding="utf-8")
    assert json.loads((demo / DEMO_MARKER).read_text(encoding="utf-8"))["seed"] == 0
    assert {path.name for path in demo.iterdir()} == {*SPEAKERS, "README.txt", DEMO_MARKER}
    assert [path.name for path in demo.parent.iterdir()] == ["demo"]  # nothing is left beside it
    info = soundfile.info(demo / "m3/tri-m3-d2.flac")
    assert (info.samplerate, info.channels, info.subtype, info.format) == (22_050, 1, "PCM_16", "FLAC")


def test_emotions_differ_in_rate_and_loudness_as_planned(waveforms):
    def mean(emotion, measure):
        return np.mean([measure(w) for name, w in waveforms.items() if name.startswith(emotion)])

    seconds = {emotion: mean(emotion, len) / 22_050 for emotion in EMOTIONS}
    level = {emotion: mean(emotion, lambda w: 20 * np.log10(w.std())) for emotion in EMOTIONS}
    assert sorted(EMOTIONS, key=seconds.get)[:2] == ["pau", "rab"]
    assert sorted(EMOTIONS, key=seconds.get)[-2:] == ["tri", "dis"]
    assert min(level, key=level.get) == "tri" and max(level, key=level.get) == "rab"
    assert level["rab"] - level["tri"] > 6 and 2 < np.mean(list(seconds.values())) < 3.5
    peaks = [np.abs(w).max() for w in waveforms.values()]
    assert min(peaks) > 0.02 and max(peaks) < 0.95  # neither lost in 16 bits nor clipped


def test_emotions_differ_in_pitch_as_planned(waveforms):
    librosa = pytest.importorskip("librosa")
    pitch = {}
    for emotion in ("dis", "neu", "sor", "tri"):
        f0, voiced, _ = librosa.pyin(waveforms[f"{emotion}-f1-b1"], fmin=80, fmax=600, sr=22_050)
        pitch[emotion] = 12 * np.log2(np.median(f0[voiced]))  # semitones
    assert pitch["dis"] < pitch["neu"] and pitch["tri"] < pitch["neu"]
    assert 3 < pitch["sor"] - pitch["neu"] < 9


def test_the_six_voices_are_in_the_wheel():
    # eSpeak NG takes an unknown variant of a voice for the voice itself, without a word
    variants = Path(espeakng_loader.get_data_path()) / "voices/!v"
    assert len(set(VOICES.values())) == 6
    assert all((variants / voice.removeprefix("it+")).is_file() for voice in VOICES.values())


def test_a_second_making_gives_the_same_bytes(demo, tmp_path):
    again = make_demo_corpus(tmp_path / "again", progress=False)
    files = [{f.relative_to(r): f.read_bytes() for f in r.rglob("*.*")} for r in (demo, again)]
    assert files[0] == files[1]


def test_a_plan_depends_on_the_seed_and_keeps_to_what_espeak_takes(monkeypatch):
    plans = [plan_utterances(seed) for seed in range(5)]
    made_from = hashlib.sha256(json.dumps(plans[0]).encode()).hexdigest()
    assert made_from.startswith("39d914114a66726d")  # as ever: whoever has a demo corpus keeps it
    assert all(plan != plans[0] for plan in plans[1:])
    first, second = plans[3]["neu-f1-b1"], plans[3]["neu-f1-b2"]
    assert first["gain"] != second["gain"] and first["pitch"] != second["pitch"]
    lines = [line for plan in plans for line in plan.values()]
    assert {line["text"] for line in lines} == set(TEXTS.values()) and len(set(TEXTS.values())) == 14
    assert all(80 <= line["rate"] <= 450 for line in lines)
    assert all(0 <= line["pitch"] <= 99 and 0 <= line["range"] <= 99 for line in lines)
    monkeypatch.setattr(module, "EMOVO_NAMES", EMOVO_NAMES[::-7])  # the others do not matter
    assert {name: plans[3][name] for name in EMOVO_NAMES[::-7]} == plan_utterances(3)


def test_a_whole_corpus_is_reused_and_any_other_replaced(tmp_path, short_plan):
    root = make_demo_corpus(tmp_path / "deep/demo", progress=False)
    first, marker = root.stat().st_ino, (root / DEMO_MARKER).read_text(encoding="utf-8")
    assert make_demo_corpus(root, progress=False).stat().st_ino == first
    (root / "f2/neu-f2-l1.flac").unlink()
    assert (make_demo_corpus(root, progress=False) / "f2/neu-f2-l1.flac").exists()
    make_demo_corpus(root, seed=1, progress=False)
    assert (root / DEMO_MARKER).read_text(encoding="utf-8") != marker
    assert [path.name for path in root.parent.iterdir()] == ["demo"]


def test_an_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(folder, plan, progress):
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_corpus", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_demo_corpus(tmp_path / "dataset/demo")
    assert list((tmp_path / "dataset").iterdir()) == []


def test_an_empty_folder_is_used_and_anything_else_left_alone(tmp_path, short_plan):
    (tmp_path / "demo").mkdir()
    make_demo_corpus(tmp_path / "demo", progress=False)
    for other in (tmp_path / "file", tmp_path / "folder/thesis.txt"):
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
        root = other if other.name == "file" else other.parent
        with pytest.raises(CorpusError, match=r"is no demo corpus.*data\.demo_dir"):
            make_demo_corpus(root, progress=False)
        assert other.read_text() == "mine"
    with pytest.raises(CorpusError, match=r"cannot be written to .*file/demo.*data\.demo_dir"):
        make_demo_corpus(tmp_path / "file/demo", progress=False)


@pytest.mark.parametrize("wheel", ["raise ImportError('gone.so')", "get_library_path = lambda: 'gone.so'"])
def test_a_wheel_that_does_not_load_is_an_error_that_helps(tmp_path, monkeypatch, wheel):
    (tmp_path / "espeakng_loader.py").write_text(wheel)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CorpusError, match=r"(?s)gone\.so.*pip install.*download emovo"):
        make_demo_corpus(tmp_path / "demo", progress=False)
    assert not (tmp_path / "demo").exists()


def test_espeak_runs_from_an_environment_with_a_long_path(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 200)
    shutil.copytree(Path(espeakng_loader.__file__).parent, deep / "espeakng_loader")
    monkeypatch.setenv("PYTHONPATH", str(deep))
    lines = [plan_utterances(0)["neu-f1-b1"]]
    (elsewhere,) = module._speak(lines)
    monkeypatch.delenv("PYTHONPATH")
    (here,) = module._speak(lines)
    np.testing.assert_array_equal(elsewhere, here)


def test_find_corpus_makes_it_where_there_is_no_emovo(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    corpus = find_corpus(DataConfig(demo_dir=demo))
    assert corpus.is_demo and corpus.root == demo and len(corpus.utterances) == 588
    (warning,) = corpus.warnings
    assert "synthetic" in warning and "dataloader.download emovo" in warning

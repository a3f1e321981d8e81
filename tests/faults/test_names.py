"""Names that are HTML, Markdown, formulas or paths: they are shown as they are, and lead nowhere."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.text import Text

from testing.calibration import calibrate, calibration_table, reliability_figure
from testing.evaluate import (
    confusion_figure,
    emotions_table,
    evaluate,
    evaluate_across,
    misjudged_table,
    scores_table,
)
from testing.predict import main
from training.train import train
from utils.config import Config
from utils.errors import UserError
from utils.files import write_json
from utils.metrics import read_json
from utils.notebooks.display import corpus_banner, runs_banner
from utils.plots.style import save_figure
from utils.results import performance_tables, runs_frame
from utils.runs import read_run
from utils.tables import markdown_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids such names")

HTML = "<img src=x onerror=alert(1)>"
FORMULA = r"$\nothing{$"
LINK = "[a](javascript:alert(1)) `b` *c*"


@pytest.fixture(scope="module")
def strange(tmp_path_factory) -> Path:
    """A user's own corpus: two emotions, 20 sounds each, of two speakers."""
    root = tmp_path_factory.mktemp("strange") / HTML
    for number, emotion in enumerate((HTML, FORMULA)):
        for speaker in (f"speaker_{LINK}", f"speaker_{FORMULA}"):  # no word tells them from emotions
            folder = root / speaker / emotion
            folder.mkdir(parents=True)
            for take in range(10):
                rng = np.random.default_rng([number, take])
                wave = np.sin((0.05 + 0.1 * number) * np.arange(4_000)) + 0.8 * rng.standard_normal(4_000)
                soundfile.write(folder / f"{HTML}{take}.wav", 0.2 * wave, 22_050)
    return root


@pytest.fixture(scope="module")
def config(strange, configured, tmp_path_factory) -> Config:
    """A training of that corpus, in a results folder with a name of that kind."""
    places = {"results_dir": tmp_path_factory.mktemp("results") / HTML}
    base = configured({"data.cache_dir": tmp_path_factory.mktemp("cache").as_posix()})
    data = base.data.model_copy(update={"corpus": "folder", "root": strange})
    return base.model_copy(update={"data": data, "train": base.train.model_copy(update=places)})


@pytest.fixture(scope="module")
def evaluation(config):
    return evaluate(train(config, progress=False), progress=False)


def assert_harmless(text: str) -> None:
    assert "alert(1)" in text and "<img" not in text


def test_html_shows_names_as_they_are(evaluation, config):
    run_dir = evaluation.run.path
    calibrated = calibrate(run_dir, progress=False)
    for table in (scores_table(evaluation), emotions_table(evaluation), misjudged_table(evaluation, 9)):
        html = table._repr_html_()
        assert "<img" not in html
    assert_harmless(emotions_table(evaluation)._repr_html_())
    assert "<img" not in calibration_table(calibrated)._repr_html_()
    assert_harmless(corpus_banner(evaluation.corpus.name, 40, False).data)
    assert_harmless(runs_banner(frame := runs_frame(run_dir.parent)).data)
    (table,) = performance_tables(frame)
    assert_harmless(table._repr_html_())


def test_markdown_shows_names_as_they_are(evaluation):
    for row in range(len(evaluation.targets)):
        text = evaluation.in_words(row)
        assert r"\<img src=x" in text
        assert_harmless(text.replace(r"\<", ""))
        assert "](" not in text.replace(r"\]", "") and "$" not in text.replace(r"\$", "")
    assert markdown_text("tri-m2-b1: 71 %") == "tri-m2-b1: 71 %"


def test_figures_show_names_as_they_are(evaluation, tmp_path):
    """And are written, though a title looks like a formula that is none."""
    figure = confusion_figure(evaluation)
    assert any(FORMULA in text.get_text() for text in figure.findobj(Text))
    save_figure(figure, tmp_path / "a.png")
    save_figure(reliability_figure(calibrate(evaluation.run.path, progress=False)), tmp_path / "b.png")
    assert {path.name for path in evaluation.run.path.iterdir()} >= {"confusion_matrix.png", "loss_acc.png"}


def test_all_that_is_written_lies_where_it_belongs(evaluation, config):
    """No name of an emotion, a speaker or a corpus is a path."""
    run_dir = evaluation.run.path
    assert run_dir.parent == config.train.results_dir
    assert all(path.is_file() for path in run_dir.iterdir())
    caches = list(config.data.cache_dir.iterdir())
    assert caches and all(cache.name.startswith(f"folder-{HTML}-") for cache in caches)
    assert evaluation.folder == run_dir


def test_names_inside_a_run_directory_lead_nowhere(finished, tiny_emovo, tmp_path):
    """split.json and metrics of a run that somebody else made, and a corpus's folder as one may write it."""
    run_dir = Path(shutil.copytree(finished, tmp_path / "results" / finished.name))
    for name, key, value in (
        ("split.json", "corpus", "../../outside"),
        ("split.json", "protocol", "../../outside"),
        ("CkTIM_test_metrics.json", "model", ["../../outside"]),
    ):
        write_json(run_dir / name, read_json(run_dir / name) | {key: value})
    for sound in tiny_emovo.glob("f1/*.wav"):
        folder = tmp_path / "mine" / sound.name[:3]
        folder.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(sound)
        soundfile.write(folder / sound.name, samples[::-1], rate)  # none that was trained on
    before = set(tmp_path.rglob("*"))
    assert read_run(run_dir).corpus == "../../outside"  # a text, and no more
    with pytest.raises(UserError, match=r"from the corpus \.\./\.\./outside, but"):
        evaluate(run_dir, progress=False)
    assert set(tmp_path.rglob("*")) == before
    root = f"{tmp_path.as_posix()}/mine/../mine/dis/.."
    across = evaluate_across(run_dir, "folder", [f"data.root={root}"], progress=False)
    assert across.folder == run_dir / "cross-corpus_folder-mine"
    assert {path.parent for path in set(tmp_path.rglob("*")) - before} == {run_dir, across.folder}


@pytest.mark.parametrize("start", ["", "//", "../"])
def test_plots_of_recordings_lie_in_their_folder(finished, tiny_emovo, tmp_path, monkeypatch, start):
    """Whatever path a recording is named by."""
    monkeypatch.chdir(tmp_path)
    sound = next(tiny_emovo.rglob("*.wav"))
    path = {"": "a b.wav", "//": f"/{sound}", "../": os.path.relpath(sound)}[start]
    shutil.copy(sound, "a b.wav")
    assert path.startswith(start)
    main([str(finished), path, "--plots", "plots"])
    (plot,) = (tmp_path / "plots").iterdir()
    assert plot.name.endswith(f"{Path(path).name}.png")

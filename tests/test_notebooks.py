"""notebook_test.ipynb and notebook_results.ipynb as they are committed, and run on demo runs and on none."""

import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from dataloader.corpora.readers import EMOVO_NAMES
from dataloader.corpora.utterance import DEMO_MARKER
from testing.evaluate import evaluate_others
from training import train
from utils.notebooks import run as notebook

TINY = ["features.signal_length=4096", "features.n_mfcc=8", "model.n_filter=4"]
TINY += ["train.num_epochs=12", "train.batch_size=16", "train.device=cpu"]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NAMES = ("notebook_test.ipynb", "notebook_results.ipynb")


@pytest.fixture(scope="module")
def demo_runs(repository, tmp_path_factory) -> Path:
    """A results folder with runs on a demo corpus of short noises: CkTIM-net with two seeds, and TIM-net."""
    folder = tmp_path_factory.mktemp("demo_runs")
    corpus = folder / "demo"
    corpus.mkdir()
    (corpus / DEMO_MARKER).write_text("{}")
    for number, name in enumerate(name for name in EMOVO_NAMES if "-f1-" in name):
        noise = np.random.default_rng(number).uniform(-0.1, 0.1, 4_000)
        soundfile.write(corpus / f"{name}.wav", noise, 22_050)
    places = [f"data.root={corpus}", f"data.cache_dir={folder}/cache", f"train.results_dir={folder}/results"]
    config = ["--config", str(repository / "conf/config.yaml")]
    for settings in ([], ["train.seed=1"], ["model.ck=false"]):
        train.main([*config, *places, *TINY, *settings])
    return folder / "results"


@pytest.fixture
def run(repository, monkeypatch, tmp_path):
    """Execute a committed notebook with other parameters."""
    monkeypatch.chdir(repository)
    monkeypatch.setenv("CKTIM_AUDIO", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def execute(name, **parameters):
        nb = nbformat.read(repository / name, as_version=4)
        (cell,) = (cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", []))
        for key, value in parameters.items():
            assert re.search(rf"^{key} = ", cell.source, flags=re.MULTILINE)
            cell.source += f"\n{key} = {str(value) if isinstance(value, Path) else value!r}"
        notebook.execute(nb)
        return nb

    return execute


def outputs(nb, id=None) -> list:
    return [out for cell in nb.cells if id in (None, cell.id) for out in cell.get("outputs", [])]


def pictures(nb, id=None) -> int:
    return sum("<img " in output.get("data", {}).get("text/html", "") for output in outputs(nb, id))


@pytest.mark.parametrize("name", NAMES)
def test_committed_notebooks_are_valid_and_portable(repository, name):
    text = (repository / name).read_text(encoding="utf-8")
    nb = nbformat.reads(text, as_version=4)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor, nb.metadata.kernelspec.name) == (4, 5, "python3")
    assert not re.search(r'/(home|root|work|Users|tmp)/|data:audio|"audio/', text)
    assert len(text.encode()) < 2_000_000
    set_up = nbformat.read(repository / "notebook_train.ipynb", as_version=4).cells[1]
    assert nb.cells[1].source == set_up.source  # the path to Colab is tested there


def test_notebook_test_evaluates_the_newest_run_and_compares_all(demo_runs, run, tmp_path):
    results = Path(shutil.copytree(demo_runs, tmp_path / "results"))
    nb = run("notebook_test.ipynb", RESULTS_DIR=str(results))
    (newest,) = results.glob("TIM_*")  # trained last
    assert (newest / "TIM_test_metrics.json").exists()
    assert (newest / "calibration.json").exists()
    explained = pictures(nb, "explained")  # one right, one wrong
    assert 1 <= explained <= 2 and pictures(nb, "embeddings") == 1 and pictures(nb) == 4 + explained
    assert "choose a recording of your own" in str(outputs(nb, "recording"))
    written = nbformat.writes(nb)
    assert "Demo corpus, not EMOVO." in written and "<audio" not in written
    assert written.count("licence keeps sound out of this copy") > 0
    (table,) = (output for output in outputs(nb, "compare") if output.output_type == "display_data")
    assert "demo corpus, holdout" in table.data["text/html"]
    for run_dir in results.iterdir():
        assert run_dir.name in table.data["text/html"]
        assert len(list(run_dir.glob("*_test_metrics.json"))) == 1
    assert not any(output.output_type == "error" for output in outputs(nb))


def test_notebook_test_takes_the_run_that_is_named(demo_runs, run, tmp_path):
    results = Path(shutil.copytree(demo_runs, tmp_path / "results"))
    named = next(results.glob("CkTIM*seed1*"))
    (named / "split.json").unlink()  # as in directories of the earlier implementation
    parameters = {"RESULTS_DIR": str(tmp_path / "none"), "actual_dir": str(named), "EVERYTHING": True}
    nb = run("notebook_test.ipynb", **parameters)
    assert f"{named.name} · demo corpus, all 98 utterances (no test result)" in str(outputs(nb, "evaluate"))
    assert pictures(nb, "kernels") == 1 and 1 <= pictures(nb, "explained") <= 2
    assert pictures(nb) == 4 + pictures(nb, "explained")
    assert not (named / "confusion_matrix.png").exists()


def test_notebook_test_without_the_corpus_shows_what_a_shipped_run_recorded(
    run, repository, tmp_path, monkeypatch
):
    if list(repository.glob("dataset/EMOVO*")):
        pytest.skip("EMOVO is in its usual place")
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    name = "CkTIM_TAB1_for_recognition"
    shutil.copytree(repository / "training/results" / name, tmp_path / name)
    nb = run("notebook_test.ipynb", RESULTS_DIR=str(tmp_path))
    said = str(outputs(nb, "evaluate"))
    assert f"{name} · EMOVO corpus, test set (as it was recorded)" in said
    assert "`python -m dataloader.download emovo` gets it" in said and "Demo corpus" not in nbformat.writes(
        nb
    )
    assert pictures(nb) == 3  # learning curves, confusion matrix, kernels
    assert not any(output.output_type == "error" for output in outputs(nb))


def test_notebook_results_shows_what_there_is_and_says_what_is_missing(demo_runs, run, tmp_path, repository):
    results = Path(shutil.copytree(demo_runs, tmp_path / "results"))
    evaluate_others(results)
    nb = run("notebook_results.ipynb", RESULTS_DIR=str(results), FIGURES_DIR=str(tmp_path / "figures"))
    assert "There are only runs on synthetic speech" in str(outputs(nb, "runs"))
    performance = str(outputs(nb, "performance"))
    assert "demo corpus, holdout" in performance and "±" in performance
    trials = {name: [name] for name in ("omega_0", "augmentation", "protocols", "generators")}
    trials |= {"tabs": ["temporal_aware_blocks"], "trial_published": ["published"]}
    trials |= {
        "accuracy": ["temporal_aware_blocks", "half_as_long"],
        "speakers": ["speaker_independent", "unheard_voices"],
    }
    trials |= {"ablation": ["ablation", "input_window"]}
    for id, names in trials.items():
        for name in names:
            assert f"python -m training.trials conf/trials/{name}.yaml" in str(outputs(nb, id))
            assert (repository / f"conf/trials/{name}.yaml").exists()
    for id in ("kernels", "curves"):  # kernels, receptive fields; learning curves, confusion matrices
        assert pictures(nb, id) == 2
    assert pictures(nb) == 4
    published = str(outputs(nb, "beside"))
    assert "CkTIM_TAB6_aug" in published and "90.2" in published and "very probably not unseen" in published
    assert "(n = " not in published  # figures of the demo corpus do not stand beside those of EMOVO
    saved = {path.name for path in (tmp_path / "figures").iterdir()}
    figures = ("curves_holdout", "confusion_holdout", "kernels", "receptive_fields")
    assert saved == {f"{figure}.{kind}" for figure in figures for kind in ("pdf", "png")}


@pytest.mark.parametrize("name", [*NAMES, "notebook_train.ipynb"])
def test_every_image_of_a_committed_notebook_has_an_alternative_text_as_a_page(repository, name):
    page, _ = HTMLExporter().from_filename(str(repository / name))
    images = BeautifulSoup(page, "html.parser").find_all("img")
    assert len(images) > 6
    for image in images:
        assert len(image["alt"]) > 10 and "No description" not in image["alt"]


def test_committed_results_are_whole(repository):
    nb = nbformat.read(repository / "notebook_results.ipynb", as_version=4)
    assert len(nb.cells) <= 30 and pictures(nb) == 14
    assert not any("is missing" in str(output) or "Missing" in str(output) for output in outputs(nb))


def test_notebook_results_runs_without_any_run(run, tmp_path):
    nb = run("notebook_results.ipynb", RESULTS_DIR=str(tmp_path))
    assert "No run yet" in str(outputs(nb, "runs"))
    assert pictures(nb) == 0
    assert "CkTIM_TAB1" in str(outputs(nb, "beside"))


def test_notebook_test_without_any_run_says_what_to_do(run, tmp_path):
    with pytest.raises(notebook.NotebookFailed, match=r"^error: .*holds no run with weights"):
        run("notebook_test.ipynb", RESULTS_DIR=str(tmp_path))


def tiny_notebook(path: Path, source: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source, outputs=[], id="cell")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


def test_refreshed_notebooks_keep_their_outputs_and_nothing_of_the_machine(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    path = tiny_notebook(tmp_path / "notebook.ipynb", "print(1 + 1)")
    notebook.main(["--in-place", str(path)])
    nb = nbformat.read(path, as_version=4)
    assert outputs(nb)[0].text == "2\n"
    assert nb.metadata == {"kernelspec": KERNEL} and nb.cells[0].metadata == {}
    assert capfd.readouterr().out.endswith("2\n")  # it is seen while it runs


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os; print(os.getcwd() + '/results')", "would hold the path"),
        ("import os; print(os.environ['EMOVO_ROOT'])", "would hold the path"),
        ("import os; os._exit(1)", "process ended without a word"),
        ("from IPython.display import Audio; Audio([0.0] * 100, rate=8000)", "would hold sound"),
        ("print('x' * 10_000)", "bytes"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_notebooks_that_cannot_be_passed_on_stay_as_they_were(tmp_path, monkeypatch, capfd, source, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebook, "MOST_BYTES", 9_000)
    monkeypatch.setenv("EMOVO_ROOT", "/some/where/EMOVO")
    path = tiny_notebook(tmp_path / "notebook.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(SystemExit) as exit_:
        notebook.main(["--in-place", str(path)])
    assert exit_.value.code == 1
    assert message in capfd.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, "{", "\xff"])
def test_a_notebook_that_cannot_be_read_is_named(tmp_path, capsys, content):
    path = tmp_path / "notebook.ipynb"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(SystemExit):
        notebook.main(["--in-place", str(path)])
    assert capsys.readouterr().err.strip().startswith(f"cannot read {path}: ")

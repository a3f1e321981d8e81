"""notebook_test.ipynb and notebook_results.ipynb as they are committed, and run on demo runs and on none."""

import base64
import io
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from PIL import Image

from dataloader.corpora.readers import EMOVO_NAMES
from dataloader.corpora.utterance import DEMO_MARKER
from testing.evaluate import evaluate_others
from training import train
from utils.notebooks import run as notebook

TINY = [
    "features.signal_length=4096",
    "model.n_filter=4",
    "model.num_features=8",
    "train.num_epochs=12",
    "train.batch_size=16",
    "train.device=cpu",
]
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


def count(nb, kind) -> int:
    return sum(kind in output.get("data", {}) for output in outputs(nb))


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
    explained = sum("image/png" in out.data for out in outputs(nb, "explained"))  # one right, one wrong
    assert 1 <= explained <= 2 and count(nb, "image/png") == 3 + explained
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
    explained = sum("image/png" in out.data for out in outputs(nb, "explained"))
    assert str(outputs(nb, "kernels")).count("image/png") == 1
    assert 1 <= explained <= 2 and count(nb, "image/png") == 3 + explained
    assert not (named / "confusion_matrix.png").exists()


def test_notebook_results_shows_what_there_is_and_says_what_is_missing(demo_runs, run, tmp_path, repository):
    results = Path(shutil.copytree(demo_runs, tmp_path / "results"))
    evaluate_others(results)
    nb = run("notebook_results.ipynb", RESULTS_DIR=str(results), FIGURES_DIR=str(tmp_path / "figures"))
    assert "There are only runs on synthetic speech" in str(outputs(nb, "runs"))
    performance = str(outputs(nb, "performance"))
    assert "demo corpus, holdout" in performance and "±" in performance
    trials = {
        "omega_0": ["omega_0"],
        "tabs": ["temporal_aware_blocks"],
        "augmentation": ["augmentation"],
        "trial_published": ["published"],
        "accuracy": ["temporal_aware_blocks", "half_as_long"],
        "ablation": ["ablation", "input_window"],
        **{name: [name] for name in ("protocols", "generators")},
        "speakers": ["speaker_independent"],
    }
    for id, names in trials.items():
        for name in names:
            assert f"python -m training.trials conf/trials/{name}.yaml" in str(outputs(nb, id))
            assert (repository / f"conf/trials/{name}.yaml").exists()
    for id in ("kernels", "curves"):  # kernels, receptive fields; learning curves, confusion matrices
        assert str(outputs(nb, id)).count("image/png") == 2 * 2  # with the alternative text of each
    assert count(nb, "image/png") == 4
    published = str(outputs(nb, "beside"))
    assert "CkTIM_TAB6_aug" in published and "90.2" in published and "very probably not unseen" in published
    assert "(n = " not in published  # figures of the demo corpus do not stand beside those of EMOVO
    saved = {path.name for path in (tmp_path / "figures").iterdir()}
    figures = ("curves_holdout", "confusion_holdout", "kernels", "receptive_fields")
    assert saved == {f"{figure}.{kind}" for figure in figures for kind in ("pdf", "png")}


def test_committed_results_have_a_figure_each_with_alternative_text(repository):
    nb = nbformat.read(repository / "notebook_results.ipynb", as_version=4)
    figures = [output for output in outputs(nb) if "image/png" in output.get("data", {})]
    assert len(nb.cells) <= 30 and len(figures) == 11
    assert all(figure.metadata["image/png"]["alt"] for figure in figures)
    assert not any("is missing" in str(output) or "Missing" in str(output) for output in outputs(nb))


def test_notebook_results_runs_without_any_run(run, tmp_path):
    nb = run("notebook_results.ipynb", RESULTS_DIR=str(tmp_path))
    assert "No run yet" in str(outputs(nb, "runs"))
    assert count(nb, "image/png") == 0
    assert "CkTIM_TAB1" in str(outputs(nb, "beside"))


def test_notebook_test_without_any_run_says_what_to_do(run, tmp_path):
    with pytest.raises(notebook.NotebookFailed, match=r"^error: .*holds no run with weights"):
        run("notebook_test.ipynb", RESULTS_DIR=str(tmp_path))


# --- make notebooks ---


def tiny_notebook(path: Path, source: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source, outputs=[], id="cell")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_refreshed_notebooks_keep_their_outputs_and_nothing_of_the_machine(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    path = tiny_notebook(tmp_path / "notebook.ipynb", "print(1 + 1)")
    notebook.main(["--in-place", str(path)])
    nb = nbformat.read(path, as_version=4)
    assert outputs(nb)[0].text == "2\n"
    assert nb.metadata == {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    assert nb.cells[0].metadata == {}
    assert capfd.readouterr().out.endswith("2\n")  # it is seen while it runs


def test_refreshed_figures_are_small_and_look_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = (
        "%matplotlib inline",
        "from matplotlib.figure import Figure",
        "figure = Figure()",
        "figure.subplots().plot([1, 3, 2])",
        "figure",
    )
    path = tiny_notebook(tmp_path / "notebook.ipynb", "\n".join(lines))
    nb = nbformat.read(path, as_version=4)
    notebook.execute(nb)
    notebook.refresh(path)
    files = [base64.b64decode(outputs(one)[-1].data["image/png"]) for one in (nb, nbformat.read(path, 4))]
    before, after = (np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), float) for file in files)
    assert len(files[1]) < len(files[0]) / 1.5
    assert np.abs(before - after).mean() < 0.5  # of 255


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

"""notebook_train.ipynb as it is committed, run in a terminal, and run in Colab."""

import os
import re
import shutil
import signal
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from dataloader.corpora.utterance import DEMO_MARKER
from utils.errors import UserError
from utils.notebooks import colab
from utils.notebooks import run as notebook

TINY = ["features.signal_length=4096", "model.n_filter=4", "train.batch_size=16", "train.device=cpu"]


@pytest.fixture(scope="module")
def tiny_demo(tiny_emovo, tmp_path_factory) -> Path:
    """A demo corpus of short sounds: one speaker, all sentences."""
    root = shutil.copytree(tiny_emovo / "f1", tmp_path_factory.mktemp("tiny") / "demo")
    (root / DEMO_MARKER).write_text("{}")
    return root


def places(corpus: Path, folder: Path) -> list[str]:
    return [f"data.root={corpus}", f"data.cache_dir={folder}/cache", f"train.results_dir={folder}/results"]


@pytest.fixture
def committed(repository):
    return nbformat.read(repository / "notebook_train.ipynb", as_version=4)


def test_committed_notebook_is_valid_and_portable(committed, repository):
    nbformat.validate(committed)
    assert (committed.nbformat, committed.nbformat_minor) == (4, 5)
    assert committed.metadata.kernelspec.name == "python3"
    text = (repository / "notebook_train.ipynb").read_text(encoding="utf-8")
    assert not re.search(r'/(home|root|work|Users|tmp)/|data:audio|"audio/', text)
    assert len(text) < 2_000_000
    (parameters,) = (cell for cell in committed.cells if "parameters" in cell.metadata.get("tags", []))
    assert parameters.source == "OVERRIDES = []"


def test_notebook_trains_and_its_copy_lies_in_the_run_directory(
    repository, tiny_demo, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(repository)
    monkeypatch.setenv("CKTIM_AUDIO", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("CKTIM_PROGRESS", raising=False)
    notebook.main([*TINY, "train.num_epochs=2", *places(tiny_demo, tmp_path)])

    (run_dir,) = (tmp_path / "results").iterdir()
    assert "_demo_" in run_dir.name
    files = {file.name for file in run_dir.iterdir()}
    assert {"model.pt", "training_metrics.json", "notebook_train.ipynb"} <= files
    terminal = capfd.readouterr()
    assert "2/2" in terminal.out + terminal.err  # the progress bar
    assert f"Executed notebook: {run_dir / 'notebook_train.ipynb'}" in terminal.out

    executed = nbformat.read(run_dir / "notebook_train.ipynb", as_version=4)
    nbformat.validate(executed)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pages = [[output.get("data", {}).get("text/html", "") for output in cell.outputs] for cell in code]
    images = [sum("<img " in page for page in shown) for shown in pages]
    assert max(images) == 1  # no figure is shown twice
    assert sum(images) == 7  # corpus, split, waveform, MFCCs, variants, architecture, curves
    written = nbformat.writes(executed)
    assert "Demo corpus, not EMOVO." in written
    assert "licence keeps sound out of this copy" in written
    assert "<audio" not in written
    outputs = (output for cell in code for output in cell.outputs)
    shown = str([output for output in outputs if "run_dir" not in output.get("metadata", {})])
    assert str(repository) not in shown and str(tmp_path) not in shown


def test_failing_notebook_says_why_in_one_line(repository, monkeypatch, capfd):
    monkeypatch.chdir(repository)
    with pytest.raises(SystemExit) as exit_:
        notebook.main(["train.num_epochs=0"])
    assert exit_.value.code == 1
    error = capfd.readouterr().err
    assert "error: override train.num_epochs=0: must be a whole number, at least 1" in error
    assert "Traceback" not in error


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_ends_the_training_and_the_notebook_goes_on(repository, tiny_demo, tmp_path):
    overrides = [*TINY, "train.num_epochs=100000", *places(tiny_demo, tmp_path)]
    command = [sys.executable, "-m", "utils.notebooks.run", *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CKTIM_PROGRESS": "text"}
    with subprocess.Popen(
        command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        seen = ""
        while not re.search(r"[1-9]\d*/100000", seen):  # the first epoch is over
            character = process.stdout.read(1)
            assert character, seen
            seen += character
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, seen + rest
    assert re.search(r"Interrupted: \d+ whole epochs are saved", rest)
    assert len(list(tmp_path.glob("results/*/notebook_train.ipynb"))) == 1


@pytest.fixture
def clonable(repository, tmp_path) -> str:
    """The URL of a local git repository that holds the files of this one as they are now."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    files = subprocess.run(listing, cwd=repository, check=True, capture_output=True, text=True).stdout
    origin = tmp_path / "origin"
    for name in files.split("\0"):
        if (repository / name).is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            (origin / name).write_bytes((repository / name).read_bytes())
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message=test"]):
        subprocess.run(["git", *arguments], cwd=origin, check=True)
    return origin.as_uri()


def test_in_colab_the_notebook_fetches_its_repository(committed, clonable, tmp_path, monkeypatch):
    content, package = tmp_path / "content", tmp_path / "packages/google/colab"
    for folder in (content, package):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")  # stands in for Colab's own package
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("CKTIM_REPOSITORY_URL", clonable)
    set_up, parameters, configure = [cell for cell in committed.cells if cell.cell_type == "code"][:3]
    new_cell = nbformat.v4.new_code_cell
    probe = new_cell("import utils.config\nprint(os.getcwd(), utils.config.__file__, config.train)")
    # the set-up cell runs twice, as it does when somebody runs all cells again
    cells = [set_up, new_cell(set_up.source), parameters, configure, probe]
    nb = nbformat.v4.new_notebook(cells=cells, metadata=committed.metadata)
    NotebookClient(nb, timeout=120, resources={"metadata": {"path": str(content)}}).execute()

    assert nb.cells[0].outputs == []  # everything that it needs is installed here
    (printed,) = (output.text for output in nb.cells[-1].outputs)
    clone = content.resolve() / "CkTIM-net"
    assert printed.startswith(f"{clone} {clone / 'utils/config.py'} ")


def test_the_notebook_offers_to_download_the_corpus(committed, monkeypatch):
    (offer,) = (cell.source for cell in committed.cells if cell.id == "download")
    asked = []
    monkeypatch.setattr("dataloader.corpora.download.download", asked.append)
    exec(offer, {})
    assert asked == []
    exec(offer.replace("DOWNLOAD = False", "DOWNLOAD = True"), {})
    assert asked == ["emovo"]


def test_colab_lacks_packages_and_has_old_ones(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(colab.subprocess, "run", None)
    colab.install_missing(repository / "requirements.txt")  # in this environment nothing is missing
    requirements = tmp_path / "requirements.txt"
    lines = "# torch", "torch>=99  # of any version", "", "no-such-thing>=1,<2", "jupyter>=99", "papermill"
    requirements.write_text("\n".join(lines))
    missing, (old,) = colab.lacking(requirements)
    assert missing == ["no-such-thing<2,>=1"]
    assert old == f"torch {version('torch')} (torch>=99)"
    requirements.write_text("torch>=99")
    colab.install_missing(requirements)
    assert f"older than what is tested: {old}" in capsys.readouterr().out


def test_colab_keeps_results_in_drive_and_finds_those_of_other_machines(tmp_path, monkeypatch):
    package = types.ModuleType("google.colab")
    package.drive = types.SimpleNamespace(
        mount=lambda place: (Path(place) / "MyDrive").mkdir(parents=True, exist_ok=True)
    )
    monkeypatch.setitem(sys.modules, "google.colab", package)
    for machine in ("one", "other"):
        (tmp_path / machine / "training/results/shipped").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / machine)
        for _ in range(2):  # as when all cells run again
            colab.keep_results_in_drive(tmp_path / "drive")
        (colab.RESULTS / f"run_of_{machine}").mkdir()
    assert {path.name for path in colab.RESULTS.iterdir()} == {"shipped", "run_of_one", "run_of_other"}
    assert (tmp_path / "drive/MyDrive/CkTIM-net/run_of_one").is_dir()


def set_up_without(committed, url: str, folder: Path, monkeypatch) -> str:
    """What the set-up cell says in Colab where the repository is at a useless address."""
    package = folder / "packages/google/colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setenv("CKTIM_REPOSITORY_URL", url)
    cell = next(cell for cell in committed.cells if cell.cell_type == "code")
    environment = {**os.environ, "PYTHONPATH": str(folder / "packages")}
    command = [sys.executable, "-c", cell.source]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode and "Traceback" not in done.stderr
    return done.stderr


def test_in_colab_a_missing_network_and_an_empty_clone_are_named(committed, tmp_path, monkeypatch):
    (tmp_path / "CkTIM-net").mkdir()
    (tmp_path / "CkTIM-net/.git").write_text("half a clone")
    said = set_up_without(committed, (tmp_path / "nowhere").as_uri(), tmp_path, monkeypatch)
    assert "could not be fetched" in said and "network" in said and "rm -rf CkTIM-net" in said


def test_colab_installs_without_touching_what_is_there(tmp_path, monkeypatch):
    commands = []

    def stand_in_for_pip(command):
        constraints = Path(command[command.index("--constraint") + 1]).read_text("utf-8").splitlines()
        commands.append((command, constraints))
        return subprocess.CompletedProcess(command, returncode=len(commands) - 1)

    monkeypatch.setattr(colab.subprocess, "run", stand_in_for_pip)
    (tmp_path / "requirements.txt").write_text("torch>=2.11\nno-such-thing>=1\n")
    colab.install_missing(tmp_path / "requirements.txt")
    command, constraints = commands[0]
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-1] == "no-such-thing>=1"  # and torch stays as it is
    assert not any(argument.startswith(("torch", "--upgrade")) for argument in command)
    assert any(line.startswith("torch==") for line in constraints)

    with pytest.raises(UserError, match="no-such-thing"):  # the second time, pip fails
        colab.install_missing(tmp_path / "requirements.txt")

"""The command `cktim`, and what an installed package holds."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from training import cli
from utils.runs import ENROLLED_RUN, SHIPPED_RUN


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_subcommand_hands_its_arguments_on(command, monkeypatch):
    found = []
    monkeypatch.setattr(f"{cli.COMMANDS[command][0]}.main", found.append)
    cli.main([command, "a=1", "--csv", "-", "--", "--help"])
    assert found == [["a=1", "--csv", "-", "--", "--help"]]


@pytest.mark.parametrize("arguments", [[], ["unknown"]])
def test_another_command_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2 and "COMMAND" in capsys.readouterr().err


def test_help_names_the_subcommands_and_needs_no_library(repository):
    code = "import sys; from training.cli import main; sys.modules['torch'] = None; main(['--help'])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert all(command in shown.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_a_subcommand_needs_no_library(command, repository):
    code = "import sys; from training.cli import main; sys.modules['torch'] = None; main(sys.argv[1:])"
    program = [sys.executable, "-c", code, command, "--help"]
    shown = subprocess.run(program, cwd=repository, capture_output=True, text=True)
    assert shown.returncode == 0 and f"python -m {cli.COMMANDS[command][0]}" in shown.stdout, shown.stderr


@pytest.mark.slow
def test_an_installed_package_has_its_code_configurations_and_network(repository, tmp_path):
    source = shutil.copytree(repository, tmp_path / "source", ignore=shutil.ignore_patterns(".*", "dataset"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*pip, tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("cktim_net-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    folders = ["conf", *project["tool"]["coverage"]["run"]["source"]]
    files = [path for folder in folders for path in (repository / folder).rglob("*.*")]
    wanted = {path.relative_to(repository).as_posix() for path in files if path.suffix in (".py", ".yaml")}
    assert wanted <= held
    shipped = {
        path.relative_to(repository).as_posix()
        for run in (SHIPPED_RUN, ENROLLED_RUN)
        for path in run.glob("*")
    }
    assert {name for name in held if name.startswith("training/results/")} == shipped
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "there"], check=True)
    command = [sys.executable, "-m", "training.cli", "predict", "--help"]
    shown = subprocess.run(command, cwd=tmp_path / "there", capture_output=True, text=True, check=True)
    assert "recordings" in shown.stdout


def test_a_command_that_is_gone_says_where_it_went(repository):
    command = [sys.executable, "-m", "testing.protocols", "--json", "x.json"]
    gone = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert gone.returncode == 1
    assert gone.stderr.startswith("error: testing.protocols is gone: it is `python -m training.trials conf/")


def test_a_redirected_console_of_windows_stops_no_command(tiny_emovo, repository, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        command = (sys.executable, "-m", *command)
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode("cp1252")
        return done.stdout.decode("cp1252")

    places = [f"data.root={tiny_emovo}", f"data.cache_dir={tmp_path}/cache"]
    places += [f"train.results_dir={tmp_path}/ω₀ → █"]
    tiny = ["features.signal_length=4096", "model.n_filter=4", "train.num_epochs=1", "train.device=cpu"]
    first, second, *_ = run("training.train", *places, *tiny).splitlines()
    assert max(len(first), len(second)) <= 100 and "trainable parameters" in first and "corpus: " in second
    (run_dir,) = tmp_path.glob("ω*/*")
    assert "accuracy" in run("testing.evaluate", str(run_dir))

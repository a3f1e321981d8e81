"""Commands answer --help and wrong arguments before they import anything that takes seconds."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

LARGE = {"librosa", "matplotlib", "pandas", "scipy", "seaborn", "sklearn", "torch", "torchaudio"}
FLOORS = ("dataloader", "models", "testing", "training", "utils")
FILES = [path.relative_to(REPOSITORY) for floor in FLOORS for path in (REPOSITORY / floor).rglob("*.py")]
PROGRAMS = {
    ".".join(file.with_suffix("").parts)
    for file in FILES
    if 'if __name__ == "__main__":' in (REPOSITORY / file).read_text(encoding="utf-8")
}
# Programs of ours alone, which read no options.
INTERNAL = {"dataloader.corpora.espeak", "utils.config", "utils.plots.architecture"}
COMMANDS = sorted(PROGRAMS - INTERNAL)


def test_programs_without_options_are_still_there():
    assert PROGRAMS >= INTERNAL


@pytest.mark.parametrize("argument, status", [("--help", 0), ("--no-such-option", 2)])
@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_are_answered_before_large_libraries_are_imported(command, argument, status, repository):
    program = [sys.executable, "-X", "importtime", "-m", command, argument]
    shown = subprocess.run(program, cwd=repository, capture_output=True, encoding="utf-8")
    assert shown.returncode == status, shown.stderr
    assert "usage: " in shown.stdout + shown.stderr
    imported = set(re.findall(r"^import time:.*\| +(\w+)", shown.stderr, flags=re.MULTILINE))
    assert "argparse" in imported and imported.isdisjoint(LARGE), imported & LARGE

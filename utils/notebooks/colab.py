"""Google Colab: install what it lacks, and change nothing that it has. Imports only what Colab has itself."""

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from utils.errors import UserError

# They run notebooks outside a browser or serve them: Colab does that itself, with versions of its own.
NOT_FOR_COLAB = {"jupyter", "nbclient", "papermill"}


def missing_requirements(path: str | Path = "requirements.txt") -> list[str]:
    """The lines of a requirements file whose distribution is not installed in any version."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    there = NOT_FOR_COLAB | {_canonical(one.name) for one in distributions() if one.name}
    return [line for line in lines if line and _canonical(re.split(r"[^\w.-]", line)[0]) not in there]


def install_missing(path: str | Path = "requirements.txt") -> None:
    """Install the missing requirements with pip, which may neither upgrade nor replace any other package."""
    if not (missing := missing_requirements(path)):
        return
    print("Installing", ", ".join(missing), flush=True)
    with TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        installed = "".join(f"{one.name}=={one.version}\n" for one in distributions() if one.name)
        constraints.write_text(installed, encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        if subprocess.run([*pip, *missing]).returncode:
            raise UserError(
                f"pip could not install {', '.join(missing)} beside what is there; its message stands above. "
                "Choose Runtime → Disconnect and delete runtime, and run the cell again."
            )


def _canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()

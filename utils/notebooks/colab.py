"""Google Colab: install what it lacks, change nothing that it has, and keep results in Google Drive.

Imports only what Colab has itself.
"""

import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from utils.errors import UserError

# They run notebooks outside a browser or serve them: Colab does that itself, with versions of its own.
NOT_FOR_COLAB = {"jupyter", "nbclient", "papermill"}
RESULTS, DRIVE = Path("training/results"), Path("/content/drive")


def lacking(path: str | Path = "requirements.txt") -> tuple[list[str], list[str]]:
    """Lines of a requirements file whose distribution is not installed, and those that are too old.

    The latter with what is installed, `torch 2.6.0 (torch>=2.11)`. What Colab meets by itself does not count.
    """
    there = {canonicalize_name(one.name): one.version for one in distributions() if one.name}
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    missing, old = [], []
    for needed in map(Requirement, filter(None, lines)):
        name = canonicalize_name(needed.name)
        least = [Version(one.version) for one in needed.specifier if one.operator == ">="]
        if name in NOT_FOR_COLAB:
            continue
        if name not in there:
            missing.append(str(needed))
        elif least and Version(there[name]) < max(least):
            old.append(f"{needed.name} {there[name]} ({needed})")
    return missing, old


def keep_results_in_drive(drive: Path = DRIVE) -> None:
    """Make training/results a link to the folder CkTIM-net of the user's Google Drive, with what lies in it.

    Each notebook has a machine of its own in Colab, and loses it: so all find the runs of one another.
    """
    if RESULTS.is_symlink():
        return
    from google.colab import drive as mounting

    mounting.mount(str(drive))
    folder = drive / "MyDrive/CkTIM-net"
    shutil.copytree(RESULTS, folder, dirs_exist_ok=True)
    shutil.rmtree(RESULTS)
    RESULTS.symlink_to(folder, target_is_directory=True)
    print(f"Results are kept in Google Drive, in {folder.name}.")


def install_missing(path: str | Path = "requirements.txt") -> None:
    """Install the missing requirements with pip, which may neither upgrade nor replace any other package.

    A warning names packages that are too old.
    """
    missing, old = lacking(path)
    if old:
        print(
            f"warning: older than what is tested: {', '.join(old)}. Should something fail, that may be why;"
        )
        print("%pip install --upgrade NAME, and Runtime → Restart session, bring newer ones.", flush=True)
    if not missing:
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
                "Is there a network? If so, choose Runtime → Disconnect and delete runtime, and run the cell "
                "again."
            )

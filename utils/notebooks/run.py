"""Run notebooks in a terminal.

python -m utils.notebooks.run [key=value …]                  # notebook_train.ipynb (`make train`)
python -m utils.notebooks.run --in-place notebook_*.ipynb    # keep their outputs in them (`make notebooks`)
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("utils.notebooks.run")

import asyncio
import copy
import os
import signal
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from utils.errors import can_print
from utils.files import write_atomically

NOTEBOOK = Path("notebook_train.ipynb")
MOST_BYTES = 2_000_000  # of a notebook that is passed on


class NotebookFailed(Exception):
    """A cell failed (the message is a UserError's line, else a traceback), or its outputs stay private."""


class TerminalClient(NotebookClient):
    """Executes a notebook; the output of a cell shows here at once, and Ctrl-C interrupts the cell alone."""

    def process_message(self, msg: dict, *cell: Any) -> Any:
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", file=getattr(sys, msg["content"]["name"]), flush=True)
        return super().process_message(msg, *cell)

    async def async_start_new_kernel_client(self) -> Any:
        client = await super().async_start_new_kernel_client()
        kernel: Any = self.km
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C ends the notebook
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, lambda: loop.create_task(kernel.interrupt_kernel()))
        return client


def run_notebook(overrides: list[str]) -> Path:
    """Execute NOTEBOOK with OVERRIDES set; returns its executed copy, which lies in the run directory."""
    notebook = _read(NOTEBOOK)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    if overrides:
        parameters.source = f"OVERRIDES = {overrides!r}"
    execute(notebook)
    metadata = [output.get("metadata", {}) for output in _outputs(notebook)]
    (run_dir,) = (entry["run_dir"] for entry in metadata if "run_dir" in entry)
    write_atomically(executed := Path(run_dir) / NOTEBOOK.name, nbformat.writes(notebook))
    return executed


def refresh(path: Path) -> None:
    """Execute a notebook and keep its outputs in it, to be passed on.

    The file stays as it was where that fails, or where the outputs hold sound (the corpus's licence forbids
    it), paths of this machine, or too much.
    """
    notebook = _read(path)
    metadata = copy.deepcopy(notebook.metadata)
    execute(notebook)
    notebook.metadata = metadata  # without the versions of this machine
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    for data in (output.get("data", {}) for output in _outputs(notebook)):
        if "<img " in data.get("text/html", ""):
            data.pop("image/png", None)  # the same again, without an alternative text
    text = nbformat.writes(notebook) + "\n"
    places = [f"{place}{os.sep}" for place in (Path.cwd(), Path.home(), sys.prefix)]
    places += [value for key, value in os.environ.items() if key.endswith("_ROOT") and os.path.isabs(value)]
    if "data:audio" in text or '"audio/' in text:
        raise NotebookFailed(f"{path} would hold sound: set CKTIM_AUDIO=0.")
    if place := next((place for place in places if place in text), None):
        raise NotebookFailed(f"{path} would hold the path {place}: name places relative to the repository.")
    if (size := len(text.encode())) > MOST_BYTES:
        raise NotebookFailed(f"{path} would have {size:,} bytes; at most {MOST_BYTES:,} will do.")
    write_atomically(path, text)


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run all cells; their outputs are then in the notebook."""
    os.environ.setdefault("CKTIM_PROGRESS", "text")  # nobody would see the bars that are widgets
    if not can_print("█"):
        os.environ.setdefault("TQDM_ASCII", " #")  # what bars in the notebook consist of
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not the user's own
    client = TerminalClient(notebook, timeout=None, kernel_name="python3", coalesce_streams=True)
    client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    try:  # coalesced streams hold the last state of a bar, not every one
        client.execute()
    except CellExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise NotebookFailed("interrupted") from None
        (failure,) = (output for output in _outputs(notebook) if output.output_type == "error")
        raise NotebookFailed("\n".join(failure.traceback)) from None
    except DeadKernelError:
        cause = "the machine's memory may be too small for it"
        raise NotebookFailed(f"the notebook's process ended without a word; {cause}") from None


def _read(path: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not JSON
        raise NotebookFailed(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@command
def main(options: Namespace) -> None:
    """The command line; exit status 1 when the notebook failed."""
    try:
        for path in options.in_place:
            print(f"{path} …")
            refresh(path)
        if not options.in_place:
            print(f"Executed notebook: {run_notebook(options.overrides)}")
    except NotebookFailed as error:
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(1) from None

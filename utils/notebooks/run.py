"""Run notebooks in a terminal.

python -m utils.notebooks.run [key=value …]                  # notebook_train.ipynb (`make train`)
python -m utils.notebooks.run --in-place notebook_*.ipynb    # keep their outputs in them (`make notebooks`)
"""

import argparse
import asyncio
import base64
import copy
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

from dataloader.corpora.readers import READERS
from utils.files import write_atomically

NOTEBOOK = Path("notebook_train.ipynb")
MOST_BYTES = 2_000_000  # of a notebook that is passed on


class NotebookFailed(Exception):
    """A cell failed, and the message is what it showed (one line for a UserError, else a traceback); or what
    came out cannot be passed on."""


class TerminalClient(NotebookClient):
    """Executes a notebook; what a cell prints shows here at once, and Ctrl-C interrupts the cell alone."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream":
            stream = getattr(sys, msg["content"]["name"])
            stream.write(msg["content"]["text"])
            stream.flush()
        return super().process_message(msg, cell, cell_index)

    async def async_start_new_kernel_client(self):
        client = await super().async_start_new_kernel_client()
        try:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, lambda: asyncio.ensure_future(self.km.interrupt_kernel()))
        except NotImplementedError:  # Windows, where Ctrl-C ends the notebook
            pass
        return client


def run_notebook(overrides: list[str]) -> Path:
    """Execute the notebook with OVERRIDES set, and leave the executed copy in the run directory.

    Returns:
        The executed copy.

    Raises:
        NotebookFailed: when the notebook cannot be read, or a cell fails or is interrupted.
    """
    notebook = _read(NOTEBOOK)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    if overrides:
        parameters.source = f"OVERRIDES = {overrides!r}"
    execute(notebook)
    metadata = [output.get("metadata", {}) for output in _outputs(notebook)]
    (run_dir,) = (entry["run_dir"] for entry in metadata if "run_dir" in entry)
    executed = Path(run_dir) / NOTEBOOK.name
    write_atomically(executed, nbformat.writes(notebook))
    return executed


def refresh(path: Path) -> None:
    """Execute a notebook and keep its outputs in it, to be passed on.

    Raises:
        NotebookFailed: when it cannot be read, when a cell fails or is interrupted, or when the outputs hold
            sound (the corpus's licence forbids it), paths of this machine, or too much. The file then stays
            as it was.
    """
    notebook = _read(path)
    metadata = copy.deepcopy(notebook.metadata)
    execute(notebook)
    notebook.metadata = metadata  # without the versions of this machine
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    for output in _outputs(notebook):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = _with_palette(output.data["image/png"])
    text = nbformat.writes(notebook) + "\n"
    if "data:audio" in text or '"audio/' in text:
        raise NotebookFailed(f"{path} would hold sound: set CKTIM_AUDIO=0.")
    if place := next((place for place in _own_places() if place in text), None):
        raise NotebookFailed(f"{path} would hold the path {place}: name places relative to the repository.")
    if len(text.encode()) > MOST_BYTES:
        raise NotebookFailed(
            f"{path} would have {len(text.encode()):,} bytes; at most {MOST_BYTES:,} will do."
        )
    write_atomically(path, text)


def execute(notebook: NotebookNode) -> None:
    """Run all cells; their outputs are then in the notebook.

    Raises:
        NotebookFailed: when a cell fails or is interrupted, or its process ends.
    """
    os.environ.setdefault("CKTIM_PROGRESS", "text")  # nobody would see the bars that are widgets
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not the user's own
    client = TerminalClient(notebook, timeout=None, kernel_name="python3")
    client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    client.coalesce_streams = True  # keep the last state of a bar, not every one
    try:
        client.execute()
    except CellExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise NotebookFailed("interrupted") from None
        (failure,) = (output for output in _outputs(notebook) if output.output_type == "error")
        raise NotebookFailed("\n".join(failure.traceback)) from None
    except DeadKernelError:
        reason = "the notebook's process ended without a word; the machine's memory may be too small for it"
        raise NotebookFailed(reason) from None


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not JSON
        raise NotebookFailed(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _own_places() -> Iterator[str]:
    """Paths that say something of this machine: where the repository, the environment and corpora lie."""
    yield from (f"{place}{os.sep}" for place in (Path.cwd(), Path.home(), sys.prefix))
    corpora = (os.environ.get(f"{name.upper()}_ROOT", "") for name in READERS)
    yield from (place for place in corpora if Path(place).is_absolute())


def _with_palette(png: str) -> str:
    """A figure, base64, in 256 colours: nobody sees the difference, and it takes a third of the place."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def main(arguments: list[str] | None = None) -> None:
    """The command line; exit status 1 when the notebook failed."""
    parser = argparse.ArgumentParser(prog="python -m utils.notebooks.run", description=f"Run {NOTEBOOK}.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance train.num_epochs=20")
    parser.add_argument(
        "--in-place",
        nargs="+",
        type=Path,
        metavar="NOTEBOOK",
        help="run these notebooks instead, as they are, and keep their outputs in them",
    )
    options = parser.parse_args(arguments)
    try:
        if options.in_place:
            for path in options.in_place:
                print(f"{path} …")
                refresh(path)
            return
        print(f"Executed notebook: {run_notebook(options.overrides)}")
    except NotebookFailed as error:
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

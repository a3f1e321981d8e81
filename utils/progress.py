"""Progress bars, and warnings that are printed between them."""

import os
import sys
from typing import Any


def progress_bar(iterable: Any = None, **options: Any) -> Any:
    """A tqdm bar: a widget in a notebook, text in a terminal, and text everywhere with CKTIM_PROGRESS=text.

    The environment variable is for notebooks that run without a browser, whose widgets nobody would see.

    Args:
        iterable: to iterate over; None for a bar that `bar.update(n)` moves.
        **options: of tqdm (desc, total, unit, disable, …).
    """
    if os.environ.get("CKTIM_PROGRESS") == "text":
        from tqdm import tqdm

        options["file"] = sys.stdout  # in an executed notebook, stderr looks like an error
    else:
        from tqdm.auto import tqdm
    return tqdm(iterable, **{"dynamic_ncols": True, **options})


def warn(message: str) -> None:
    """Print a warning to stderr each time (Python's own warnings hide repeated ones)."""
    print(f"warning: {message}", file=sys.stderr, flush=True)

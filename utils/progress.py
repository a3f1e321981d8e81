"""What one sees while waiting: progress bars, and warnings between them."""

import os
import sys


def progress_bar(iterable=None, **kwargs):
    """A tqdm bar: a widget in a notebook and text in a terminal, or text in both with CKTIM_PROGRESS=text.

    The environment variable is for notebooks that run without a browser, whose widgets nobody would see.

    Args:
        iterable: what to iterate over; None for a bar that is moved by hand (`bar.update(n)`).
        **kwargs: whatever tqdm takes (desc, total, unit, disable, …).
    """
    options = {"dynamic_ncols": True, **kwargs}
    if os.environ.get("CKTIM_PROGRESS") == "text":
        from tqdm import tqdm

        options["file"] = sys.stdout  # in an executed notebook, stderr looks like an error
    else:
        from tqdm.auto import tqdm
    return tqdm(iterable, **options)


def warn(message: str) -> None:
    """Print a warning to stderr, every time it comes up (Python's own warnings hide repeated ones)."""
    print(f"warning: {message}", file=sys.stderr, flush=True)

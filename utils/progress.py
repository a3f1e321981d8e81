"""Progress bars, warnings between them, and measured times."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

IN_LOGS = 10  # seconds from line to line where nobody watches, as in a log file


def progress_bar(iterable=None, **kwargs):
    """A tqdm bar: a widget in a notebook, and text in a terminal, a log file or with CKTIM_PROGRESS=text.

    The environment variable is for notebooks that run without a browser, whose widgets nobody would see.
    Without an iterable, the bar is moved by hand (`bar.update(n)`).
    """
    options = {"dynamic_ncols": True, **kwargs}
    if os.environ.get("CKTIM_PROGRESS") == "text":
        from tqdm import tqdm

        options["file"] = sys.stdout  # in an executed notebook, stderr looks like an error
    else:
        from tqdm.auto import tqdm

        if not (sys.stderr.isatty() or type(sys.stderr).__module__ == "ipykernel.iostream"):
            options["mininterval"] = IN_LOGS
    return tqdm(iterable, **options)


def warn(message: str) -> None:
    """Print a warning to stderr, every time it comes up (Python's own warnings hide repeated ones)."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def measure_in_turns(calls: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each of several calls in turns, A B A B …, after a round that does not count."""
    import torch  # not at the head: warnings must not wait for it

    wait_for_device = torch.accelerator.synchronize if torch.accelerator.is_available() else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(-1, repetitions):
        for name, call in calls.items():
            wait_for_device()
            started = time.perf_counter()
            call()
            wait_for_device()
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def milliseconds(times: Sequence[float]) -> str:
    """Median of three digits, and half the range as a share of it: `11.2 ±9 %`."""
    middle = median(times)
    digits = f"{1000 * middle:.0f}" if middle >= 0.1 else f"{1000 * middle:.3g}"
    return f"{digits} ±{50 * (max(times) - min(times)) / middle:.0f} %"

"""Where to compute, with which memory, and with equal numbers from equal seeds."""

import ctypes
import os
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from utils.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h

Result = TypeVar("Result")
_single: dict[int, ThreadPoolExecutor] = {}  # of each process: after a fork there are no threads
_starting = threading.Lock()


def on_one_thread(call: Callable[..., Result], *arguments: object) -> Result:
    """call(*arguments), within which PyTorch uses one core; in other threads it uses as many as before.

    A small network on cores that are busy waits for the slowest of several threads, up to 0.3 s. PyTorch
    keeps the number for each thread, so that the call runs in a thread of its own.
    """
    with _starting:
        if (pool := _single.get(os.getpid())) is None:
            pool = _single[os.getpid()] = ThreadPoolExecutor(1, "one-core")
            before = torch.get_num_threads()
            pool.submit(_take_one).result()
            torch.set_num_threads(before)  # of threads that begin later
    return pool.submit(call, *arguments).result()


def _take_one() -> None:
    torch.get_num_threads()  # a thread's first such call would undo the next one
    torch.set_num_threads(1)


def pick_device(name: str = "auto") -> torch.device:
    """The device called cuda, mps or cpu; `auto` is the first of these three that the machine has."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [device for device in there if there[device]]
    name = available[0] if name == "auto" else name
    if name not in available:
        raise UserError(f"train.device = {name}: not available here; choose auto or {' or '.join(available)}")
    return torch.device(name)


def use_huge_pages() -> None:
    """Let PyTorch ask Linux for pages of 2 MiB for large tensors; a user's own setting stands.

    It saves 6 % of a training step, and must come before the first tensor of the process.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, instead of handing it back to the system.

    By default glibc returns large blocks at once, and the kernel must fill the pages of every new tensor with
    zeros: a tenth of the time of a training step. Other C libraries are left as they are.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest value allowed
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global random generators (0 to 2**32 - 1), on every device.

    On the CPU, with the same versions of the libraries and the same number of threads, the same program then
    gives the same numbers. On a GPU, operations that are not deterministic warn, and last digits may differ.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # cuBLAS reads this when CUDA starts, and is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Otherwise every torch.empty is filled with NaN, which costs time on the CPU too and finds bugs only.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in the stubs
    torch.backends.cudnn.benchmark = False


def memory() -> int | None:
    """Bytes of this machine's memory, swap aside; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return None

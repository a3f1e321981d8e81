"""Memory of large tensors on the CPU: in huge pages, and kept for the next ones."""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h


def use_huge_pages() -> None:
    """Let PyTorch ask Linux for pages of 2 MiB for large tensors; a user's own setting stands.

    Time steps and utterances are transposed all the time, and with pages of 4 KiB every other element needs
    another entry of the processor's page table: 6 % of a training step. PyTorch reads the setting when it
    makes its first tensor; later calls change nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, instead of handing it back to the system.

    By default glibc returns large blocks at once, and every new tensor of a training step is made of fresh
    pages that the kernel must first fill with zeros: a tenth of the time of a step. Other C libraries are
    left as they are.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest value allowed
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

"""Equal seeds, equal numbers."""

import os
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global random generators, PyTorch's on every device.

    On the CPU, with the same versions of the libraries and the same number of threads, the same program
    then gives the same numbers to the last digit. On a GPU PyTorch is asked for its deterministic
    algorithms; an operation that has none warns and runs all the same, so runs there may differ in the
    last digits.

    Args:
        seed: 0 to 2**32 - 1, the range that NumPy takes.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # cuBLAS reads this when CUDA starts, and is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Otherwise every torch.empty is filled with NaN, which costs time on the CPU too and finds bugs only.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False

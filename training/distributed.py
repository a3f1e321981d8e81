"""One training on several processes (`torchrun --nproc-per-node N -m training.train …`), or on one, as usual.

Each process takes its part of every batch, gradients and statistics are those of the whole batch, and the
first process writes the run. With dropout off the losses are those of a single process up to rounding.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.cktim import CkTIMNet
from utils.device import pick_device
from utils.errors import UserError


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that torchrun has started, if any, within the block; on cuda each gets a GPU."""
    if "LOCAL_RANK" not in os.environ:  # torchrun sets it
        yield
        return
    on_cuda = pick_device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield
        dist.barrier()  # they leave together: the first one still writes when the others are done
    finally:
        dist.destroy_process_group()


def processes() -> int:
    """How many processes share the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process go through the block alone; the others then find its files on disk."""
    if rank() > 0:
        dist.barrier()
    yield
    if processes() > 1 and rank() == 0:
        dist.barrier()


def part(items: np.ndarray) -> np.ndarray:
    """This process's part of a batch's items; a UserError where there are fewer items than processes."""
    if len(items) < processes():
        raise UserError(
            f"a batch of {len(items)} utterances cannot be shared by {processes()} processes: choose another "
            "train.batch_size, or fewer processes."
        )
    return items[rank() :: processes()]


def from_first(make: Callable[[], Any]) -> Any:
    """The result of `make` in the first process, for all of them."""
    made = [make() if rank() == 0 else None]
    if processes() > 1:
        dist.broadcast_object_list(made)
    return made[0]


def in_parallel(model: CkTIMNet) -> nn.Module:
    """The model, to be trained on: gradients and batch norms are those of the whole batch."""
    if processes() == 1:
        return model
    for block in model.blocks:
        for norm in block.get_submodule("norms").children():
            norm.__class__ = SharedBatchNorm
    return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm over all processes that share a batch (PyTorch's SyncBatchNorm does not run on a CPU)."""

    running_mean: Tensor  # never None here
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) → the same shape."""
        if not self.training:
            return super().forward(x)
        count = total(x.new_tensor(x[:, 0].numel()))
        mean = total(x.sum((0, 2))) / count
        centred = x - mean[:, None]
        variance = total(centred.square().sum((0, 2))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None] + self.bias[:, None]


def total(x: Tensor) -> Tensor:
    """The sum over processes, through which gradients flow."""
    if processes() == 1:
        return x
    from torch.distributed.nn.functional import all_reduce  # slow to import

    return all_reduce(x)


def share(count: int, like: Tensor) -> Tensor | float:
    """The weight of this process's mean over `count` utterances in the mean of all processes' means."""
    if processes() == 1:
        return 1.0
    return count * processes() / total(like.detach().new_tensor(float(count)))


def gather(*parts: Tensor) -> list[Tensor]:
    """Tensors on the CPU, each with those of all processes behind one another along the first axis."""
    if processes() == 1:
        return list(parts)
    everywhere: list[Any] = [None] * processes()
    dist.all_gather_object(everywhere, parts)
    return [torch.cat(same) for same in zip(*everywhere, strict=True)]

"""Frozen kernels: what a convolution keeps of its weights, until it notices that they changed."""

from collections.abc import Callable, Hashable
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST_KEPT = 12  # results of one convolution: for some four lengths or frame rates


class Frozen:
    """Whether a convolution is frozen, and what it keeps meanwhile."""

    def __init__(self) -> None:
        self.count = 0  # of the blocks and calls that freeze it
        self._kept: tuple[Ingredients, dict] | None = None

    def freeze(self, count: int) -> None:
        """Count one block or call more that freezes it (1), or one fewer (-1), and keep nothing so far."""
        self.count, self._kept = max(0, self.count + count), None

    def keep_for(self, *modules: nn.Module | None) -> Callable[[Hashable, Callable[[], Any]], Any]:
        """keep(key, make): what make() gives, or gave for that key if the modules are as they were then."""
        kept = self._kept
        if kept is None or kept[0].modules != modules or kept[0].changed():
            self._kept = kept = Ingredients(*modules), {}
        ingredients, results = kept

        def keep(key: Hashable, make: Callable[[], Any]) -> Any:
            found = results.get(key)
            if found is None:
                found = make()
                if len(results) >= MOST_KEPT:
                    results.clear()
                if not ingredients.changed():  # by another thread, while it was made
                    results[key] = found
            return found

        return keep


class Ingredients:
    """What modules compute with: their tensors, submodules, hooks and attributes, by identity.

    A tensor has changed if its address has, or PyTorch's count of writes, or its largest number: writes
    through `.data`, NumPy and fused optimisers are not counted.
    """

    def __init__(self, *modules: nn.Module | None) -> None:
        self.modules = modules
        tops = [module for module in modules if module is not None]
        places: list[dict] = [vars(part) for top in tops for part in (top, *top.children())]
        for part in chain.from_iterable(top.modules() for top in tops):
            places += [part._parameters, part._buffers, part._modules]
            places += [vars(part)[hooks] for hooks in ("_forward_hooks", "_forward_pre_hooks")]
        self._empty = [place for place in places if not place]
        self._places = [place for place in places if place]
        self._things = [thing for place in self._places for thing in place.values()]  # their ids stay theirs
        self._tensors = [thing for thing in self._things if isinstance(thing, Tensor)]
        self._counted = [tensor for tensor in self._tensors if not tensor.is_inference()]
        arrays = [as_array(tensor) for tensor in self._tensors if tensor.is_cpu and tensor.numel()]
        self._largest = [(array, int(np.abs(array).argmax())) for array in arrays]
        self._state = self._look()

    def changed(self) -> bool:
        return any(self._empty) or self._look() != self._state

    def _look(self) -> tuple[list, ...]:
        return (
            list(map(id, chain.from_iterable(map(dict.values, self._places)))),
            list(map(Tensor.data_ptr, self._tensors)),
            [tensor._version for tensor in self._counted],
            [array.item(index) for array, index in self._largest],
        )


def as_array(tensor: Tensor) -> np.ndarray:
    """A view of the tensor's memory; bfloat16, which NumPy lacks, as integers."""
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()

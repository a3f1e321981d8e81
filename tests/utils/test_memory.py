"""Keeping freed memory changes no result, on any system."""

import torch

from utils.memory import keep_freed_memory


def test_it_can_be_called_again_and_tensors_are_what_they_were():
    keep_freed_memory()
    keep_freed_memory()
    blocks = [torch.full((2_000_000,), float(n)) for n in range(5)]
    del blocks[::2]
    assert torch.zeros(2_000_000).abs().sum() == 0
    assert [block[-1].item() for block in blocks] == [1.0, 3.0]

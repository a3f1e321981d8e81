"""Settings of memory change no result, on any system, and leave the user's own alone."""

import os

import torch

from utils.device import keep_freed_memory, use_huge_pages


def test_it_can_be_called_again_and_tensors_are_what_they_were():
    keep_freed_memory()
    keep_freed_memory()
    blocks = [torch.full((2_000_000,), float(n)) for n in range(5)]
    del blocks[::2]
    assert torch.zeros(2_000_000).abs().sum() == 0
    assert [block[-1].item() for block in blocks] == [1.0, 3.0]


def test_huge_pages_are_asked_for_unless_the_user_has_decided(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    use_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    use_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"

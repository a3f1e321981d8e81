"""Devices, memory and seeds: settings that change no result, and leave the user's own alone."""

import os
import random

import numpy as np
import pytest
import torch

from utils.device import keep_freed_memory, pick_device, seed_everything, use_huge_pages
from utils.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with these devices beside the CPU."""

    def machine(*devices: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in devices)

    return machine


@pytest.mark.parametrize("devices", [("cpu",), ("mps", "cpu"), ("cuda", "cpu"), ("cuda", "mps", "cpu")])
def test_auto_takes_the_best(machine, devices):
    machine(*devices)
    assert pick_device() == pick_device("auto") == torch.device(devices[0])
    assert all(pick_device(name).type == name for name in devices)


@pytest.mark.parametrize(
    ("devices", "name", "choice"),
    [((), "cuda", "auto or cpu"), (("cuda",), "mps", "auto or cuda or cpu"), ((), "gpu", "auto or cpu")],
)
def test_a_device_that_is_not_there(machine, devices, name, choice):
    machine(*devices)
    with pytest.raises(UserError) as error:
        pick_device(name)
    assert str(error.value) == f"train.device = {name}: not available here; choose {choice}"


def test_memory_that_is_kept_changes_no_tensor():
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


@pytest.fixture
def settings_as_before(monkeypatch):
    """Leave PyTorch's global settings as they were."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # noted, so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("settings_as_before")
class TestSeeds:
    @pytest.mark.parametrize("seed", [0, 3, 2**32 - 1])
    def test_equal_seeds_give_equal_numbers_and_other_seeds_give_others(self, seed):
        def draws(seed: int) -> list[float]:
            seed_everything(seed)
            return [random.random(), np.random.rand(), torch.rand(()).item()]

        first = draws(seed)
        assert all(a != b for a, b in zip(draws(4), first, strict=True))
        assert draws(seed) == first

    def test_deterministic_algorithms_are_asked_for_and_not_insisted_on(self, monkeypatch):
        seed_everything(0)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # the user's own is kept
        seed_everything(0)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"

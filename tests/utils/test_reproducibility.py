"""Equal seeds, equal numbers."""

import os
import random

import numpy as np
import pytest
import torch

from utils.device import seed_everything


@pytest.fixture(autouse=True)
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


def draws() -> list[float]:
    return [random.random(), np.random.rand(), torch.rand(()).item()]


def test_equal_seeds_give_equal_numbers():
    seed_everything(3)
    first = draws()
    draws()
    seed_everything(3)
    assert draws() == first


def test_other_seeds_give_other_numbers():
    seed_everything(3)
    first = draws()
    seed_everything(4)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_whole_range_of_seeds_is_taken(seed):
    seed_everything(seed)


def test_a_training_step_repeats_to_the_last_digit():
    def step() -> torch.Tensor:
        seed_everything(0)
        layers = torch.nn.Conv1d(39, 39, 5), torch.nn.BatchNorm1d(39), torch.nn.Dropout1d(0.5)
        network = torch.nn.Sequential(*layers)
        optimizer = torch.optim.Adam(network.parameters())
        network(torch.randn(8, 39, 50)).square().mean().backward()
        optimizer.step()
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    assert torch.equal(step(), step())


def test_deterministic_algorithms_are_asked_for_and_not_insisted_on():
    seed_everything(0)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_cublas_setting_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    seed_everything(0)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"

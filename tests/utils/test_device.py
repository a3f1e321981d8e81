"""Picking a device."""

import pytest
import torch

from utils.device import pick_device
from utils.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with these devices beside the CPU."""

    def machine(*devices: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in devices)

    return machine


@pytest.mark.parametrize(
    ("devices", "expected"), [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")]
)
def test_auto_takes_the_best(machine, devices, expected):
    machine(*devices)
    assert pick_device() == pick_device("auto") == torch.device(expected)


def test_by_name(machine):
    machine("cuda", "mps")
    assert [pick_device(name).type for name in ("cuda", "mps", "cpu")] == ["cuda", "mps", "cpu"]


@pytest.mark.parametrize(
    ("devices", "name", "choice"),
    [((), "cuda", "auto or cpu"), (("cuda",), "mps", "auto or cuda or cpu"), ((), "gpu", "auto or cpu")],
)
def test_a_device_that_is_not_there(machine, devices, name, choice):
    machine(*devices)
    with pytest.raises(UserError) as error:
        pick_device(name)
    assert str(error.value) == f"train.device = {name}: not available here; choose {choice}"

"""Where to compute."""

import torch

from utils.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device called cuda, mps or cpu; `auto` is the first of these three that the machine has.

    Raises:
        UserError: when the machine, or the installed PyTorch, does not have that device.
    """
    available = [
        device
        for device, there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        )
        if there
    ]
    if name == "auto":
        name = available[0]
    if name not in available:
        raise UserError(f"train.device = {name}: not available here; choose auto or {' or '.join(available)}")
    return torch.device(name)

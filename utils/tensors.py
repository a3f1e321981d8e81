"""Files of tensors, as torch.save writes them, read without running anything that they hold."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError


class TensorsError(UserError):
    """A file of tensors that cannot be used."""


def read_tensors(path: Path) -> Any:
    """The content of a file of torch.save, on the CPU: tensors, and plain Python values around them.

    Its checksums are verified, which torch.load does not do: one flipped bit would be another number.
    Nor does it mind how much memory a packed file would fill.

    Raises:
        TensorsError: when the file is damaged, or holds anything else, for a pickle may hold code that runs
            on loading.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                if packed := [one.filename for one in file.infolist() if one.file_size != one.compress_size]:
                    raise zipfile.BadZipFile(f"{packed[0]} is packed, which torch.save never does")
                if damaged := file.testzip():
                    raise zipfile.BadZipFile(f"{damaged} has changed since it was written")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; what matters is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TensorsError(
            f"{path} holds objects or code, not only tensors. Loading it could run that code, so it is "
            "refused."
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        reason = error if isinstance(error, zipfile.BadZipFile) else type(error).__name__
        problem = f"{path} is not a file of PyTorch, or is damaged or cut off ({reason})."
        raise TensorsError(problem) from error

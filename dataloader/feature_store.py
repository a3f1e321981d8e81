"""Features on disk: written as they come, checked before use, and read whole or row by row."""

import json
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from utils.files import open_atomically

MOST_IN_MEMORY = 512 * 2**20  # bytes of features that data.storage = auto keeps in memory


class DiskRows:
    """Rows of a float32 array in a file, read whenever they are asked for: `rows[indices]` is a tensor.

    Each time the file is mapped anew, so that what was read is the system's to keep or to forget and does not
    add up in this process.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], rows: np.ndarray | None = None):
        self.path, self.offset, self.stored_shape = path, offset, shape
        self.rows = np.arange(shape[0]) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a tensor."""
        return len(self.rows), *self.stored_shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Sequence[int] | np.ndarray) -> "DiskRows":
        """Some of the rows; nothing is read."""
        return DiskRows(self.path, self.offset, self.stored_shape, self.rows[indices])

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor) -> torch.Tensor:
        if isinstance(index, torch.Tensor):
            index = index.cpu().numpy()
        stored = np.memmap(self.path, np.float32, "r", self.offset, self.stored_shape)
        return torch.from_numpy(np.array(stored[self.rows[index]]))


Rows = torch.Tensor | DiskRows


def on_disk(storage: str, rows: int, shape: Sequence[int]) -> bool:
    """Whether float32 features of so many rows of that shape stay on disk, by `data.storage`."""
    size = 4 * rows * int(np.prod(shape))
    return storage == "disk" or (storage == "auto" and size > MOST_IN_MEMORY)


def save_rows(
    path: Path, blocks: Iterable[torch.Tensor], shape: tuple[int, ...], names: list, skipped: dict
) -> None:
    """Write a .npz, a zip of arrays that holds a checksum of each: whole, or not at all.

    Args:
        path: the file; its folder is made where it is missing.
        blocks: float32 (any number, *shape[1:]) each; no more than one of them is held.
        shape: of all rows together. Where `blocks` end early, zeros follow.
        names, skipped: stored beside the rows, as they are once `blocks` has come to its end.

    Raises:
        UserError: when the file cannot be written.
        OSError: when its folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            missing = shape[0]
            for block in blocks:
                member.write(np.ascontiguousarray(block, "<f4").reshape(-1).view(np.uint8))
                missing -= len(block)
            for _ in range(missing):
                member.write(np.zeros(shape[1:], "<f4").tobytes())
        for name, value in {"utterances": names, "skipped": json.dumps(skipped)}.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(value), allow_pickle=False)


def open_rows(path: Path, disk: bool) -> tuple[Rows, list[str], dict[str, str]]:
    """The rows, names and skipped of save_rows, read whole or with `disk` left there.

    Raises:
        Exception: nearly any, where the file is damaged; its checksums are verified either way.
    """
    with np.load(path, allow_pickle=False) as arrays:
        names, skipped = arrays["utterances"].tolist(), json.loads(str(arrays["skipped"]))
        x = None if disk else arrays["x"]
    if not disk:
        if x.dtype != np.float32:
            raise ValueError(f"it holds {x.dtype} values")
        return torch.from_numpy(x), names, skipped
    with zipfile.ZipFile(path) as archive, archive.open("x.npy") as member, path.open("rb") as file:
        np.lib.format.read_magic(member)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        header = member.tell()
        entry = archive.getinfo("x.npy")
        if fortran or dtype != np.float32 or entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its rows are not stored as they are")
        while member.read(2**20):  # compares the checksum at the end
            pass
        # A zip's entry: 30 bytes, of which the last four give the lengths of its name and its extra field.
        file.seek(entry.header_offset)
        before = 30 + sum(struct.unpack("<26xHH", file.read(30)))
    return DiskRows(path, entry.header_offset + before + header, shape), names, skipped

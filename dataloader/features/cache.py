"""Features on disk: written as they come, checked before use, and read whole or row by row."""

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from dataloader.corpora.utterance import Utterance
from utils.config import Config
from utils.files import open_atomically
from utils.progress import warn

CACHE_VERSION = 2  # raise it when this code starts to compute other features from the same recordings

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


@dataclass(frozen=True)
class Features:
    """The MFCCs of a corpus, and below them the prosody where `features.prosody` asks for it.

    Attributes:
        x: float32 (utterances, num_features, frames), not standardised, on the CPU; or DiskRows of that
            shape, for a corpus too large to be held in memory (`data.storage`). With statistics of the
            whole utterance there are rows below that hold them (utterance_statistics.below_frames).
        utterances: row i of x is utterances[i].
        skipped: name → reason, for each recording that could not be used.
    """

    x: Rows
    utterances: tuple[Utterance, ...]
    skipped: dict[str, str]


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


def cache_key(utterances: Sequence[Utterance], config: Config, *more: object) -> str:
    """The start of a hash of all that features depend on: recordings, settings, libraries, and `more`.

    A recording stands there with its size and time of change (inside a zip, its CRC), not with its contents:
    reading those takes as long as extracting the features.
    """
    later = {"standardise", "by_speaker", "by_sentence"}  # done to what the cache holds
    settings = config.features.model_dump(exclude=later) | {"n_mfcc": config.n_mfcc}
    by_librosa = config.features.trim_silence or config.features.prosody
    used = ("torchaudio", "soxr", "soundfile", *(["librosa"] if by_librosa else []))
    libraries = {name: version(name) for name in used}
    recordings = list(zip((u.name for u in utterances), _fingerprints(utterances), strict=True))
    everything = [CACHE_VERSION, settings, libraries, recordings, *more]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]


def _fingerprints(utterances: Sequence[Utterance]) -> Iterator[list]:
    """What tells for each recording whether it is still the same one."""
    archives: dict[Path, dict] = {}
    for path in (utterance.path for utterance in utterances):
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        try:
            if archive is None:
                status = path.stat()
                yield [status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]
            else:
                if archive not in archives:
                    with zipfile.ZipFile(archive) as file:
                        archives[archive] = {i.filename: [i.file_size, i.CRC] for i in file.infolist()}
                yield archives[archive][path.relative_to(archive).as_posix()]
        except (OSError, zipfile.BadZipFile, KeyError):
            yield ["gone"]  # since the corpus was listed; reading it will say more


def _load_cache(
    path: Path, utterances: Sequence[Utterance], each: int, shape: tuple[int, ...], disk: bool
) -> Features | None:
    """The features that save_rows stored; None where there are none, or none that can be trusted."""
    if not path.exists():
        return None
    try:
        x, names, skipped = open_rows(path, disk)
        by_name = {utterance.name: utterance for utterance in utterances}
        if sorted([*names, *skipped]) != sorted(by_name):
            raise ValueError("it is about other recordings")
        if tuple(x.shape) != shape:
            raise ValueError(f"it holds values of shape {tuple(x.shape)}")
    except Exception as error:  # a damaged zip raises nearly anything, and extracting anew cures all of it
        warn(f"the feature cache {path} is damaged ({error}); it is made anew.")
        return None
    rows = each * len(names)
    x = x.select(slice(rows)) if disk else x[:rows]
    return Features(x, tuple(by_name[name] for name in names), skipped)

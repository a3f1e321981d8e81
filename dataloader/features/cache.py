"""Features on disk: an array (.npy) and its description (.json), written whole and checked before use."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from dataloader.corpora.utterance import Utterance
from utils.config import FeaturesConfig
from utils.files import open_atomically, write_atomically

CACHE_VERSION = 4  # raise it when this code starts to compute other features from the same recordings


def save_rows(path: Path, blocks: Iterable[torch.Tensor], shape: tuple[int, ...]) -> int:
    """Write a float32 array as .npy, block by block, whole or not at all; returns its checksum.

    Args:
        path: the file; its folder is made where it is missing (OSError where that fails).
        blocks: float32 (any number, *shape[1:]) each; no more than one of them is held.
        shape: of all rows together. Where `blocks` end early, zeros follow.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum, missing = 0, shape[0]
    with open_atomically(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in blocks:
            content = np.ascontiguousarray(block, "<f4").tobytes()
            checksum, missing = zlib.crc32(content, checksum), missing - len(block)
            file.write(content)
        row = bytes(4 * int(np.prod(shape[1:])))
        for _ in range(missing):
            checksum = zlib.crc32(row, checksum)
            file.write(row)
    return checksum


def open_rows(path: Path, shape: tuple[int, ...], checksum: int) -> torch.Tensor:
    """The array that save_rows wrote, mapped into memory; OSError or ValueError where missing or damaged."""
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)  # c: changes stay out of the file
    except TokenError as error:  # NumPy reads the header as Python
        raise ValueError("its header cannot be read") from error
    if rows.shape != shape or rows.dtype != np.float32:
        raise ValueError(f"it holds {rows.dtype} values of shape {rows.shape}")
    found = 0
    for start in range(0, len(rows), 256):
        found = zlib.crc32(np.ascontiguousarray(rows[start : start + 256]).data, found)
    if found != checksum:
        raise ValueError("it has changed since it was written")
    return torch.from_numpy(rows)


def save_description(path: Path, description: dict) -> None:
    """Write the description beside an array, which counts from then on."""
    write_atomically(path.with_suffix(".json"), json.dumps(description))


def load_description(path: Path) -> dict | None:
    """The description of an array; None where nothing was written yet."""
    try:
        return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def cache_key(utterances: Sequence[Utterance], features: FeaturesConfig, *more: object) -> str:
    """The start of a hash of all that frames depend on: recordings, settings, libraries, and `more`."""
    settings = features.model_dump(exclude={"standardise", "normalise", "functionals"})  # done to the cached
    versions = {name: version(name) for name in ("torchaudio", "soxr", "soundfile")}
    if features.prosody:
        versions["prosody"] = "torch"  # once it was librosa's
    recordings = [(one.name, one.fingerprint) for one in utterances]
    everything = [CACHE_VERSION, settings, versions, recordings, *more]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]

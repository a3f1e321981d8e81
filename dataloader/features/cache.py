"""Features on disk: an array (.npy) and its description (.json), written whole and checked before use."""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from dataloader.audio import AudioError
from dataloader.corpora.utterance import Utterance
from utils.config import FeaturesConfig
from utils.errors import UserError
from utils.files import open_atomically, write_atomically
from utils.progress import progress_bar, warn

CACHE_VERSION = 5  # raise it when this code starts to compute other features from the same recordings
READ_AHEAD = 128  # utterances that are extracted ahead of the one that is written
MOST_IN_MEMORY = 512 * 2**20  # bytes of frames; more than that stay on disk, and are read as they are used

Cached = tuple[torch.Tensor, tuple[Utterance, ...], dict[str, str]]  # see cached_rows


def cached_rows(
    cache: Path,
    utterances: Sequence[Utterance],
    make: Callable[[Utterance], torch.Tensor],
    title: str,
    progress: bool,
    each: int = 1,
) -> Cached:
    """Rows of utterances, `each` rows of one: read from `cache`, or made and kept there.

    Args:
        cache: a file (.npy) that is of exactly these utterances and settings (see cache_key).
        make: an utterance → float32 (each, …), of the same shape for all. It runs in several threads, and may
            raise an AudioError: then the utterance is skipped.
        title: of the progress bar.

    Returns:
        float32 (utterances · each, …), in memory or mapped from disk, the utterances that are in it, and
        name → reason for those that are skipped.
    """
    if (cached := _kept(cache, utterances)) is not None:
        return cached
    kept: list[Utterance] = []
    skipped: dict[str, str] = {}

    def made(utterance: Utterance) -> torch.Tensor | AudioError:
        try:
            return make(utterance)
        except AudioError as error:
            return error

    def blocks() -> Iterator[torch.Tensor]:
        ahead = max(READ_AHEAD // each, 1)
        bar = progress_bar(total=len(utterances), desc=title, unit="file", disable=not progress)
        # Threads, not processes: the libraries let go of the interpreter's lock; threads start at once.
        with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(utterances), ahead):
                chunk = utterances[start : start + ahead]
                for utterance, found in zip(chunk, pool.map(made, chunk), strict=True):
                    if isinstance(found, AudioError):
                        skipped[utterance.name] = str(found)
                    else:
                        kept.append(utterance)
                        yield found
                    bar.update()

    found = blocks()
    if (first := next(found, None)) is None:
        return torch.empty(0), (), skipped
    shape = each * len(utterances), *first.shape[1:]
    found = chain([first], found)
    on_disk = 4 * math.prod(shape) > MOST_IN_MEMORY
    if not on_disk:
        rows = torch.empty(shape)
        for place, block in enumerate(found):
            rows[place * each : (place + 1) * each] = block
        rows = rows[: each * len(kept)]
        found = iter([rows])
    try:
        checksum = save_rows(cache, found, shape)
        about = {"utterances": [one.name for one in kept], "skipped": skipped, "checksum": checksum}
        write_atomically(cache.with_suffix(".json"), json.dumps(about | {"shape": shape}))
    except (OSError, UserError) as error:
        if on_disk:
            problem = f"the features are too large for the memory, and cannot be written ({error})"
            raise UserError(f"{problem}: change data.cache_dir.") from error
        warn(f"the features are not kept for the next time: {error}")
    if not on_disk:
        return rows, tuple(kept), skipped
    if (cached := _kept(cache, utterances)) is None:
        raise UserError(f"the features in {cache} changed while they were written: start again.")
    return cached


def _kept(cache: Path, utterances: Sequence[Utterance]) -> Cached | None:
    """The rows that are kept; None where there are none, or damaged ones."""
    by_name = {utterance.name: utterance for utterance in utterances}
    try:
        about = json.loads(cache.with_suffix(".json").read_text(encoding="utf-8"))
        names, skipped, shape = about["utterances"], about["skipped"], tuple(about["shape"])
        if sorted([*names, *skipped]) != sorted(by_name):
            raise ValueError("it is about other recordings")
        rows = open_rows(cache, shape, about["checksum"])
        count = len(rows) // len(by_name) * len(names)
        return rows[:count], tuple(by_name[name] for name in names), skipped
    except FileNotFoundError:
        return None  # nothing was written yet
    except Exception as error:  # a damaged file raises nearly anything; making it anew cures all of it
        warn(f"the feature cache {cache} is damaged ({error}); it is made anew.")
        return None


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


def cache_key(utterances: Sequence[Utterance], features: FeaturesConfig, *more: object) -> str:
    """The start of a hash of all that frames depend on: recordings, settings, libraries, and `more`."""
    settings = features.model_dump(exclude={"standardise", "normalise", "functionals"})  # done to the cached
    versions = {name: version(name) for name in ("torchaudio", "soxr", "soundfile")}
    if features.prosody:
        versions["prosody"] = "torch"  # once it was librosa's
    recordings = [(one.name, one.fingerprint) for one in utterances]
    everything = [CACHE_VERSION, settings, versions, recordings, *more]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]

"""Recordings from standard input and from pipes, which can be read only once."""

import os
import select
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataloader.audio import AudioError
from dataloader.corpora.listing import special

STANDARD_INPUT = "-"
LARGEST = 2**30  # bytes; an hour and a half of 48 kHz, 16 bits, stereo
NO_WRITER = 5  # seconds that a pipe may be without anybody who writes to it
QUIET = 60  # seconds for which a writer may send nothing
BLOCK = 2**20  # bytes


def name_of(path: str | Path) -> str:
    """Of a recording, for people."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


@contextmanager
def once_read(path: str | Path) -> Iterator[Path]:
    """A file that can be read again: `path` itself, or all that a pipe sends, in a temporary file.

    An AudioError where `path` is a socket or a device (a terminal), or a pipe to which nobody writes, or that
    sends more than LARGEST bytes. What cannot be looked at is left to the reader of files.
    """
    own, name = str(path) == STANDARD_INPUT, name_of(path)
    try:
        mode = os.fstat(0).st_mode if own else os.stat(path).st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG
    if not own and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        yield Path(path)
        return
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or (stat.S_ISSOCK(mode) and not own):
        raise AudioError(f"{name} is {special(mode)}, not a recording")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "recording"
        descriptor = 0 if own else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            with copy.open("wb") as file:
                for block in _blocks(descriptor, name, own):
                    file.write(block)
                    if file.tell() > LARGEST:
                        limit = f"{LARGEST / 2**30:g} GiB"
                        raise AudioError(f"{name} sends more than {limit}: record it to a file")
                if not file.tell():
                    raise AudioError(f"{name} is a pipe to which nobody writes, or is empty")
            yield copy
        except AudioError as error:
            raise AudioError(str(error).replace(str(copy), name)) from error
        finally:
            if not own:
                os.close(descriptor)


def _blocks(descriptor: int, name: str, written: bool) -> Iterator[bytes]:
    """All that comes; `written`: whether somebody is known to have the other end."""
    while True:
        ready = os.name == "nt"  # which can wait for sockets alone
        if not ready:
            ready = bool(select.select([descriptor], [], [], QUIET if written else NO_WRITER)[0])
        if not ready and written:
            raise AudioError(f"{name} is a pipe that has sent nothing for {QUIET} s")
        try:
            block = os.read(descriptor, BLOCK)
        except BlockingIOError:  # there is a writer, who has not written
            written = True
            continue
        if not block:
            return
        yield block

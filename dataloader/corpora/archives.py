"""Zips from anywhere, damaged or malicious ones too: read where they lie, or unpacked."""

import errno
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from utils.progress import progress_bar

LARGEST_MEMBER = 2**30  # bytes; an hour and a half of 48 kHz, 16 bits, stereo
LARGEST = 20 * 2**30  # bytes, packed or unpacked; the largest corpus has about 12 GB
MOST_FILES = 200_000
HIGHEST_RATIO = 100  # of unpacked to packed bytes; sound is below 10
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack a whole block of input at once
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # RuntimeError: it is encrypted


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member, its checksum compared; no more is ever unpacked than its entry says.

    A KeyError says that it is missing, a BadZipFile that it is too large, damaged, encrypted or not deflated.
    """
    entry = archive.getinfo(name)
    _refuse_bomb(entry.compress_size, entry.file_size, LARGEST_MEMBER)
    if entry.compress_type not in METHODS:
        raise zipfile.BadZipFile("it is packed otherwise than with deflate: pack the zip anew")
    try:
        with archive.open(entry) as member:
            return member.read(entry.file_size)  # read() would unpack all that is there, and then cut it
    except BAD_ZIP as error:
        raise zipfile.BadZipFile(str(error)) from error


def read_texts(root: Path, files: Sequence[Path]) -> list[str]:
    """The texts of files in a folder or a zip, which is opened once."""
    if root.is_dir():
        return [file.read_text(encoding="latin-1") for file in files]
    with zipfile.ZipFile(root) as archive:
        return [read_member(archive, file.relative_to(root).as_posix()).decode("latin-1") for file in files]


def members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members of a zip; BadZipFile where one would lie outside of its folder, on any system."""
    for name in archive.namelist():
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
            raise zipfile.BadZipFile(f"it is refused: {name!r} would lie outside of it")
    return archive.infolist()


def unpack(path: Path, folder: Path, progress: bool = True) -> None:
    """Unpack a zip into a new folder; each file's checksum is compared.

    Raises:
        BAD_ZIP: when it is no zip, is damaged or encrypted; or before anything is written, for members that
            would lie outside, links and special files, or too many files or bytes.
    """
    with zipfile.ZipFile(path) as archive:
        for member in (content := members(archive)):
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the zip was not made on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise zipfile.BadZipFile(f"it is refused: {member.filename!r} is a link or a special file")
        if len(content) > MOST_FILES:
            raise zipfile.BadZipFile(f"it is refused: it holds {len(content)} files")
        unpacked = sum(member.file_size for member in content)
        _refuse_bomb(path.stat().st_size, unpacked, LARGEST)
        check_space(folder.parent, unpacked)
        folder.mkdir()
        for member in progress_bar(content, desc="unpacking", unit="file", disable=not progress):
            archive.extract(member, folder)


def check_space(folder: Path, needed: int) -> None:
    """Raise the error of a full disk before it is one."""
    if needed > (free := shutil.disk_usage(folder).free):
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed and {free:,} are free in {folder}")


def _refuse_bomb(packed: int, unpacked: int, largest: int) -> None:
    """BadZipFile above `largest` bytes, or HIGHEST_RATIO times the packed ones (100 MiB always pass)."""
    if unpacked > largest or unpacked > HIGHEST_RATIO * max(packed, 2**20):
        raise zipfile.BadZipFile(f"it is refused: {packed:,} bytes that would become {unpacked:,}")

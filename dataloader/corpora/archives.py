"""Zips that nobody vouches for, read where they lie."""

import re
import zipfile
import zlib

LARGEST_MEMBER = 2**30  # bytes; an hour and a half of 48 kHz, 16 bits, stereo
HIGHEST_RATIO = 100  # of unpacked to packed bytes; sound is below 10
# The others unpack a whole block of input at once, however much it becomes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member, its checksum compared; no more is ever unpacked than its entry says.

    Raises:
        KeyError: when there is no such member.
        zipfile.BadZipFile: when it would be larger than LARGEST_MEMBER or than HIGHEST_RATIO times its packed
            size (up to 100 MiB always pass), or is damaged, encrypted, or packed otherwise than with deflate.
        OSError: when the file cannot be read.
    """
    entry = archive.getinfo(name)
    size, packed = entry.file_size, entry.compress_size
    if size > LARGEST_MEMBER or size > HIGHEST_RATIO * max(packed, 2**20):
        raise zipfile.BadZipFile(f"it is refused: {packed:,} bytes that would become {size:,}")
    if entry.compress_type not in METHODS:
        raise zipfile.BadZipFile("it is packed otherwise than with deflate: pack the zip anew")
    try:
        with archive.open(entry) as member:
            return member.read(size)  # read() would unpack all that is there, and cut it afterwards
    except (EOFError, RuntimeError, zlib.error) as error:  # RuntimeError: it is encrypted
        raise zipfile.BadZipFile(str(error)) from error


def lies_outside(name: str) -> bool:
    """Whether the name of a member leads out of the folder that the zip stands for, on any system."""
    parts = re.split(r"[/\\]", name)
    return name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) is not None

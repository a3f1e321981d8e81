"""The files in a folder or a zip: recordings, what cannot be read, and the rest."""

import errno
import os
import re
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dataloader.corpora.archives import members
from dataloader.decode import SOUND_SUFFIXES
from utils.errors import remarks

HEADERLESS = (".raw", ".pcm", ".gsm", ".g722", ".sln", ".ulaw", ".alaw", ".vox")  # samples alone, in general
SKIPPED = frozenset({".git", ".dvc", ".hg", ".svn", "__MACOSX", ".DS_Store", "Thumbs.db"})
HEAD = 64  # bytes by which a file of another suffix is known
# How WAV, AIFF, FLAC, Ogg, MP3 (tag or frame), MP4, Matroska, AU, CAF, NIST, WavPack, AMR, ASF, VOC, AAC,
# FLV, TTA, Monkey's Audio, RealMedia, Musepack, PVF and MPEG begin.
SOUND = re.compile(
    rb"(RIFF|RF64|RIFX)....(WAVE|AVI )|riff|FORM....AIF|fLaC|OggS|ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"
    rb"|....ftyp(?!hei|avif|mif1)|\x1aE\xdf\xa3|\.snd|caff|NIST_1A|wvpk|#!AMR|\x30\x26\xb2\x75\x8e\x66\xcf\x11"
    rb"|Creative Voice File|\xff[\xf0\xf1\xf8\xf9]|FLV\x01|TTA1|MAC |\.RMF|MP\+|MPCK|PVF1|\x00\x00\x01\xba",
    re.DOTALL,
)
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text holds


@dataclass
class Listing:
    """What lies in a folder or a zip, each in the order of paths."""

    root: Path
    sounds: list[Path] = field(default_factory=list)  # by suffix, or by how they begin
    problems: dict[Path, str] = field(default_factory=dict)  # what might be sound, and why it cannot be read
    others: list[Path] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)  # those of them that are no text
    twice: list[Path] = field(default_factory=list)  # what is listed under another path, through a link

    def remarks(self) -> list[str]:
        """What is left out beside `problems`, a line each."""
        unknown, twice = (list(map(self._short, paths)) for paths in (self.unknown, self.twice))
        return remarks(
            (unknown, "other file", "with neither sound nor text, left out"),
            (twice, "path", "reached by another one too, through links, counted once"),
        )

    def failures(self) -> list[str]:
        """A sentence for each of `problems`."""
        return [f"{path} {why}" for path, why in self.problems.items()]

    def _short(self, path: Path) -> str:
        return readable(path.relative_to(self.root))

    def add(self, path: Path, head: Callable[[], bytes]) -> None:
        """Sort a file in; `head` returns its first bytes, or raises an OSError or a BadZipFile."""
        if path.suffix.lower() in SOUND_SUFFIXES:
            self.sounds.append(path)
            return
        try:
            begin = head()
        except (OSError, zipfile.BadZipFile) as error:
            self.problems[path] = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            return
        if SOUND.match(begin):
            self.sounds.append(path)
            return
        if _is_named_as_sound(path):
            self.problems[path] = "has no header, so that nothing says its sample rate: make a WAV of it"
            return
        self.others.append(path)
        if BINARY.search(begin):
            self.unknown.append(path)


def readable(path: Path | str) -> str:
    """A path as text that can be shown and written: on Linux a name may be any bytes."""
    return str(path).encode(errors="backslashreplace").decode()


def list_files(root: Path) -> Listing:
    """List a folder, links followed, or a zip; an OSError or a BadZipFile where it is neither."""
    listing = Listing(root)
    if root.is_dir():
        _walk(listing)
    else:
        with zipfile.ZipFile(root) as archive:
            _list_zip(listing, archive)
    for paths in (listing.sounds, listing.others, listing.unknown, listing.twice):
        paths.sort()
    return listing


def _list_zip(listing: Listing, archive: zipfile.ZipFile) -> None:
    for member in {one.filename: one for one in members(archive)}.values():
        path = listing.root / member.filename
        if member.is_dir() or any(map(_is_skipped, path.relative_to(listing.root).parts)):
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            listing.problems[path] = "is a link in a zip, which is not followed: pack the file itself"
        else:
            listing.add(path, partial(_head_in_zip, archive, member))


def _head_in_zip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            return file.read(HEAD)
    except (RuntimeError, NotImplementedError, EOFError) as error:  # it is encrypted, or packed otherwise
        raise zipfile.BadZipFile(str(error)) from error


def _walk(listing: Listing) -> None:
    """Enter every folder once, by its first path, links before others: circles end."""
    found: dict[Path, Path] = {}  # path → the file that it leads to, links resolved
    top = Path(os.path.realpath(listing.root))
    seen, folders, like_sound = {top}, [(listing.root, top)], []
    while folders:
        folder, real = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: (not entry.is_symlink(), entry.name))
        except OSError as error:
            listing.problems[folder] = f"is a folder that cannot be read ({error.strerror})"
            continue
        below = []
        for entry in (one for one in entries if not _is_skipped(one.name)):
            path = folder / entry.name
            target = Path(os.path.realpath(path)) if entry.is_symlink() else real / entry.name
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                _add_unreachable(listing, path, error)
                continue
            if stat.S_ISREG(mode):
                found[path] = target
            elif not stat.S_ISDIR(mode):
                listing.problems[path] = f"is {special(mode)}, not a file"
            elif target in seen:
                listing.twice.append(path)
            else:
                seen.add(target)
                below.append((path, target))
                like_sound += [path] if _is_named_as_sound(path) else []
        folders += reversed(below)
    _add_once(listing, found, top)
    for path in like_sound:
        if not any(path in one.parents for one in listing.sounds):
            listing.problems[path] = "is a folder, and holds no recording"


def _add_once(listing: Listing, found: dict[Path, Path], top: Path) -> None:
    """Sort files in, each once under each name; where a link leads to one, the link is its name."""
    own = {path for path, target in found.items() if top / path.relative_to(listing.root) == target}
    linked = {target for path, target in found.items() if path not in own}
    names: set[tuple[Path, str]] = set()
    for path, target in found.items():
        if (target, path.name) in names or (path in own and target in linked):
            listing.twice.append(path)
            continue
        names.add((target, path.name))
        listing.add(path, partial(_head, path))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _add_unreachable(listing: Listing, path: Path, error: OSError) -> None:
    """Sort in a link that leads to nothing; without a suffix it may have been a folder of recordings."""
    if path.suffix and not _is_named_as_sound(path):
        listing.others.append(path)
        return
    target = os.readlink(path) if path.is_symlink() else ""
    if error.errno == errno.ENOENT:
        elsewhere = ".git/annex" in target or ".dvc" in target
        cure = " (git annex get, or dvc pull, brings it)" if elsewhere else ""
        listing.problems[path] = f"is a link to {target}, which is not there{cure}"
    else:
        circle = error.errno == errno.ELOOP
        listing.problems[path] = f"cannot be read ({'a link in a circle' if circle else error.strerror})"


def special(mode: int) -> str:
    """What a path is that is neither a file nor a folder, by its mode (os.stat)."""
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _is_skipped(name: str) -> bool:
    """Whether an entry is a tool's own, whatever lies in it."""
    return name in SKIPPED or name.startswith("._")


def _is_named_as_sound(path: Path) -> bool:
    return path.suffix.lower() in (*SOUND_SUFFIXES, *HEADERLESS)

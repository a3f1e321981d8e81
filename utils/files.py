"""Files that are written whole or not at all, JSON with a checksum, strict YAML, tensors, and paths."""

import errno
import glob
import json
import os
import pickle
import re
import secrets
import shlex
import shutil
import stat
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import yaml

from utils.errors import UserError

ABANDONED = 3600  # seconds after which nobody writes to a temporary file any more
CHECKSUM = "checksum"  # a key of our JSON files
KIND = "crc32:"  # with which its value begins


def expanded(path: str | Path) -> Path:
    """A path with its `~` or `~name` replaced by that home; left as it is where there is none.

    A configuration keeps paths as they were written; they go through this where they are used. A path on
    Windows is a UserError on other systems, where `C:\\…` would be a file.
    """
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", str(path)):
        cure = "Say where that is on this machine, such as data.root=… or data.cache_dir=… behind the command"
        raise UserError(f"{path} is a path on Windows. {cure}.")
    return Path(os.path.expanduser(path))


def as_typed(path: str | Path) -> str:
    """A path as one types it here: relative where it lies in the working directory."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def command_line(module: str, *arguments: str) -> str:
    """A command for the shell: `python -m testing.evaluate 'my runs/CkTIM_TAB1_seed0'`."""
    words = ["python", "-m", module, *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write bytes, or text as UTF-8, so that a reader sees the old file or the new one, never a part.

    Characters that are none, as in the name of a file that is not UTF-8, are written as `\\udce9`.
    """
    with open_atomically(path) as file:
        file.write(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` once the `with` block is done; until then nobody sees it.

    It takes the place of an existing file, with that one's permissions; a further hard link keeps the old
    content. A link stays one: its target is written. Devices, pipes and standard output are written to.

    The temporary file of a process that is killed meanwhile is removed by a later writing of `path`. A
    UserError says that the folder or file cannot be written, or the disk is full.
    """
    temporary = None
    try:
        path, existing, through = _destination(path)
        if through:
            with _open_through(path, existing) as file:
                yield file
            return
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if existing:
            shutil.copymode(path, temporary)
            with suppress(OSError, AttributeError):  # only root may; Windows has no owners
                os.chown(temporary, existing.st_uid, existing.st_gid)
        os.replace(temporary, path)
        for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            with suppress(OSError):  # another process may be faster
                if time.time() - other.stat().st_mtime > ABANDONED:
                    other.unlink()
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary:
            with suppress(OSError):
                temporary.unlink()


def output_folder(path: str | Path) -> Path:
    """The folder, made where it is missing and can be; writing into it says more."""
    with suppress(OSError):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def try_output(path: str | Path) -> None:
    """Raise the UserError that writing the file would end in, as far as that can be known; write nothing."""
    try:
        path, _, through = _destination(path)
        if not through:
            temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
            temporary.touch(exist_ok=False)
            temporary.unlink()
    except OSError as error:
        raise _not_written(path, error) from error


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise a UserError where an output is an input, or two outputs are one file, in whatever spelling."""
    read = {_identity(file): path for path in inputs for file in (path, archive_of(path)) if file is not None}
    written: dict[object, str | Path] = {}
    for path in outputs:
        if (existing := _status(path)) and not stat.S_ISREG(existing.st_mode):
            continue
        if (file := _identity(path)) in read:
            raise UserError(f"{path} is read ({read[file]}), and would be overwritten: name another output.")
        if file in written:
            raise UserError(f"{path} and {written[file]} are one file: name another output.")
        written[file] = path


def archive_of(path: str | Path) -> Path | None:
    """The zip in which a recording lies (`x.zip/a.wav`), if it does."""
    return next((parent for parent in Path(path).parents if os.path.isfile(parent)), None)


def problems_of(calls: Iterable[Callable[[], object]]) -> list[str]:
    """Call each, also after one that fails; returns the messages of their UserErrors."""
    problems = []
    for call in calls:
        try:
            call()
        except UserError as error:
            problems.append(str(error))
    return problems


def _destination(path: str | Path) -> tuple[Path, os.stat_result | None, bool]:
    """Where to write, links followed; what is there, and whether that is written to rather than replaced."""
    path, existing = Path(path), None
    with suppress(FileNotFoundError):
        existing = path.stat()
    if existing and stat.S_ISDIR(existing.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if existing and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if existing and (not stat.S_ISREG(existing.st_mode) or _stream(existing)):
        return path, existing, True
    return Path(os.path.realpath(path)) if path.is_symlink() else path, existing, False


def _stream(existing: os.stat_result) -> TextIO | None:
    """Standard output or error, where it goes to that file: another file in its place would cut it off."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            if os.path.samestat(existing, os.fstat(stream.fileno())):
                return stream
    return None


def _open_through(path: Path, existing: os.stat_result | None) -> BinaryIO:
    """A device, a pipe or a stream of this process."""
    if (stream := existing and _stream(existing)) is None:
        return path.open("wb")
    stream.flush()
    return os.fdopen(os.dup(stream.fileno()), "wb")


def _status(path: str | Path) -> os.stat_result | None:
    with suppress(OSError, ValueError):
        return os.stat(path)
    return None


def _identity(path: str | Path) -> object:
    """Equal for all names of a file; of one that is not there yet, its path."""
    existing = _status(path)
    return (existing.st_dev, existing.st_ino) if existing else os.path.normcase(os.path.realpath(path))


def _not_written(path: str | Path, error: OSError) -> UserError:
    problem = f"cannot write {path}: {error.strerror or error}"
    return UserError(f"{problem}. Free some space or choose a folder you may write to.")


def write_json(path: str | Path, content: dict[str, Any], indent: int | None = None) -> None:
    """Write an object as JSON, with a checksum of its content as its last key; ValueError for NaN and inf."""
    content = {**content, CHECKSUM: _checksum(content)}
    write_atomically(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def without_checksum(content: Any) -> Any:
    """The content of a JSON file without the checksum of write_json; a ValueError where that does not fit.

    A flipped digit leaves valid JSON, so that only the checksum shows it. A key with the checksum's name, or
    with a value like a checksum's, is taken for it, for either may be damaged itself. Other files have none.
    """
    if not isinstance(content, dict):
        return content
    sums = {key for key, value in content.items() if isinstance(value, str) and value.startswith(KIND)}
    rest = {key: value for key, value in content.items() if key not in {CHECKSUM, *sums}}
    if len(rest) < len(content) and content != {**rest, CHECKSUM: _checksum(rest)}:
        cure = f"where it was changed on purpose, take out its key {CHECKSUM}"
        raise ValueError(f"its checksum does not fit; {cure}")
    return rest


def _checksum(content: dict[str, Any]) -> str:
    """Of the content, however it is laid out."""
    return f"{KIND}{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def parse_yaml(text: str) -> Any:
    """The value of a YAML text without anchors, aliases and tags; a UserError says where it is not valid."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        problem = f"line {mark.line + 1}, column {mark.column + 1}: {reason}" if mark else reason
    except RecursionError:
        problem = "nested too deeply"
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that is none, say
        problem = " ".join(str(error).split())
    raise UserError(f"not valid YAML: {problem}")


def to_yaml(value: Any) -> str:
    """A value as YAML text, which `parse_yaml` reads back as it was."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """A repeated key is an error, and so are aliases: a few lines of those stand for more than the memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor or getattr(event, "tag", None):
            problem = "anchors (&), aliases (*) and tags (!) are not supported"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"the key {key.value} stands here a second time"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around text that _Loader would take for a number."""


# YAML 1.1 wants a dot and a signed exponent in a float; people, and YAML 1.2, write 1e-3.
_number = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _number, list("-+.0123456789"))


class TensorsError(UserError):
    """A file of tensors that is damaged, or holds objects: a pickle may hold code that runs on loading."""


def read_tensors(path: Path) -> Any:
    """The content of a file of torch.save, on the CPU: tensors, and plain Python values around them.

    Checksums are verified and packed files refused. torch.load does neither: a flipped bit would be another
    number, and a small file could fill the memory.
    """
    import torch  # here, for it takes a second to import

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                if packed := [one.filename for one in file.infolist() if one.file_size != one.compress_size]:
                    raise zipfile.BadZipFile(f"{packed[0]} is packed, which torch.save never does")
                if damaged := file.testzip():
                    raise zipfile.BadZipFile(f"{damaged} has changed since it was written")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = f"{path} holds objects or code, not only tensors"
        raise TensorsError(f"{problem}. Loading it could run that code, so it is refused.") from error
    except Exception as error:  # a damaged file raises nearly anything
        reason = error if isinstance(error, zipfile.BadZipFile) else type(error).__name__
        problem = f"{path} is not a file of PyTorch, or is damaged or cut off ({reason})."
        raise TensorsError(problem) from error

"""Get a corpus: `python -m dataloader.download emovo`; `… --list` says where to get each."""

import argparse
import hashlib
import re
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from dataloader.corpora.archives import BAD_ZIP, LARGEST, check_space, unpack
from dataloader.corpora.find import read_corpus
from dataloader.corpora.readers import READERS, Reader
from dataloader.corpora.utterance import Corpus, CorpusError
from utils.errors import UserError, exit_on_user_error, many
from utils.files import expanded
from utils.progress import progress_bar, warn

ATTEMPTS = 4  # in a row that bring nothing new, before a download is given up
PAUSE = 1.0  # seconds after the first of them; twice as long after each
TIMEOUT = 30  # seconds without an answer
BLOCK = 2**18  # bytes
KAGGLE = "https://www.kaggle.com/datasets/"
NAMES = [name for name, reader in READERS.items() if reader.home]


class DownloadError(UserError):
    """A corpus that could not be had; the message says why and how else to get it."""


def download(
    name: str, target: str | Path | None = None, url: str = "", kaggle: bool = False, progress: bool = True
) -> Corpus:
    """Download and unpack a corpus, and warn of missing recordings.

    An existing one is left as it is. A download that broke off is continued by the next call.

    Args:
        name: one of NAMES.
        target: the folder to make; by default where find_corpus looks, such as dataset/EMO-DB.
        url: of a zip elsewhere.
        kaggle: take the copy on Kaggle, by the package kagglehub, as for corpora with no other address.

    A DownloadError says that there is no such corpus, only a person can get it, or the download failed; a
    CorpusError, that the download, or the folder at `target`, is not this corpus.
    """
    if name not in NAMES:
        raise DownloadError(f"{name} is none of the corpora {', '.join(NAMES)}.")
    reader = READERS[name]
    target = expanded(target or Path("dataset") / reader.title)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        corpus = read_corpus(name, target)
        print(f"{target} is there already. To get {reader.title} anew, remove it.")
    else:
        url = url or ("" if kaggle else reader.url)
        # a file for each address: half a download of one is not continued from another
        archive = target.with_name(f".{target.name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
                folder = Path(temporary) / target.name
                _get(reader, url, folder, archive, progress)
                read_corpus(name, folder)
                if target.exists():
                    target.rmdir()  # empty
                folder.rename(target)
        except (DownloadError, CorpusError) as error:
            raise type(error)(f"{error} {_other_ways(reader)}") from error
        except OSError as error:
            problem = f"cannot write {target}: {error.strerror or error}"
            raise DownloadError(f"{problem}. Free some space, or name another folder (--to).") from error
        corpus = read_corpus(name, target)
    for warning in corpus.warnings:
        warn(warning)
    print(f"{corpus.name}: {many(len(corpus.utterances), 'utterance')} in {corpus.root}.")
    return corpus


def fetch(url: str, path: Path, progress: bool = True) -> None:
    """Download a file over HTTP, going on where the connection broke, now or in an earlier call.

    It lies in `path.part` until it is whole. A server that does not continue is asked from the start; one
    that claims more bytes than it has is not believed where a whole zip has come. A DownloadError follows
    where it has no such file, or ATTEMPTS attempts bring nothing more.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError(f"{url} is no address that begins with http:// or https://.")
    part = path.with_name(f"{path.name}.part")
    furthest, failures = _size(part), 0
    while problem := _receive(url, part, progress):
        failures = failures + 1 if _size(part) <= furthest else 0
        furthest = max(furthest, _size(part))
        if failures < ATTEMPTS:
            time.sleep(PAUSE * 2**failures)
        elif zipfile.is_zipfile(part):
            break
        else:
            raise DownloadError(
                f"{url}: {problem}, {failures} times in a row. The {_size(part):,} bytes that have come are "
                "kept: the same command goes on from there."
            )
    part.replace(path)


def describe(name: str) -> str:
    """Where to get a corpus and on which terms, as lines of text."""
    reader = READERS[name]
    command = f"python -m dataloader.download {name}" if reader.url or reader.kaggle else reader.by_hand
    return f"""{name} ({reader.title}, {reader.count} utterances)
  home      {reader.home}
  download  {reader.url or "none"}
  mirror    {KAGGLE + reader.kaggle if reader.kaggle else "none"}
  licence   {reader.licence}
  size      {reader.size}
  citation  {reader.citation}
  get it    {command}"""


def _get(reader: Reader, url: str, folder: Path, archive: Path, progress: bool) -> None:
    """Put a corpus into a new folder: from the zip at `url`, or else from Kaggle's copy."""
    try:
        if url:
            fetch(url, archive, progress)
            return unpack(archive, folder, progress)
    except BAD_ZIP as error:
        raise DownloadError(f"the download is no intact zip ({error}). Try again later.") from error
    finally:
        archive.unlink(missing_ok=True)  # not the .part, with which the next call goes on
    if not reader.kaggle:
        raise DownloadError(f"{reader.title} has no address from which anybody may fetch it.")
    try:
        import kagglehub

        copy = kagglehub.dataset_download(reader.kaggle)
    except ImportError as error:
        raise DownloadError("Kaggle's copy needs the package kagglehub: pip install kagglehub.") from error
    except Exception as error:  # of its own kinds, and of whatever it uses
        raise DownloadError(f"Kaggle's copy: {str(error).strip() or type(error).__name__}.") from error
    shutil.copytree(copy, folder)


def _receive(url: str, part: Path, progress: bool) -> str:
    """Ask once for the rest of `part`; returns a problem that another request may solve, or ""."""
    import requests  # here, for the look at a corpus needs none

    have, total = _size(part), None
    headers = {"User-Agent": "CkTIM-net", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            code, extent = response.status_code, response.headers.get("Content-Range", "").strip()
            answer = f"the server answers {code} {response.reason}"
            if code == 416 and extent == f"bytes */{have}":
                return ""  # there is no more
            continued = re.fullmatch(rf"bytes {have}-\d+/(\d+|\*)", extent) if code == 206 else None
            if code == 416 or (code == 206 and not continued):
                part.unlink(missing_ok=True)
                return "the server sends another part than it was asked for"
            if code == 429 or code >= 500:
                return answer
            if code >= 400:
                raise DownloadError(f"{url}: {answer}.")
            start = have if continued else 0
            length = continued[1] if continued else response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            check_space(part.parent, total - start if total else 0)
            response.raw.enforce_content_length = False  # the last bytes of a cut answer would be lost
            size = {"total": total, "initial": start, "unit": "B", "unit_scale": True}
            with part.open("ab") as file, progress_bar(desc="download", disable=not progress, **size) as bar:
                file.truncate(start)
                for block in response.iter_content(BLOCK):
                    file.write(block)
                    bar.update(len(block))
                    if max(file.tell(), total or 0) > LARGEST:
                        raise DownloadError(f"{url} is refused: it has more than {LARGEST:,} bytes.")
    except requests.RequestException as error:
        if total is None:
            return f"the connection failed ({getattr(error.args[0], 'reason', error)})"
    if total is None or _size(part) == total:
        return ""
    return f"the connection ended after {_size(part):,} of {total:,} bytes"


def _other_ways(reader: Reader) -> str:
    """How a person can get a corpus, for messages."""
    copy = f"There is a copy at {KAGGLE}{reader.kaggle} (--kaggle)." if reader.kaggle else ""
    put = f"Put the folder, or a zip of it, at dataset/{reader.title}."
    return " ".join(filter(None, [f"{reader.title}'s home is {reader.home}.", reader.by_hand, copy, put]))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    about = "Download a speech corpus. After an interruption, the same command goes on where it ended."
    parser = argparse.ArgumentParser("python -m dataloader.download", description=about)
    parser.add_argument("name", nargs="?", help=", ".join(NAMES))
    parser.add_argument("--list", action="store_true", help="say of each corpus where it can be had, and end")
    parser.add_argument("--to", metavar="FOLDER", help="default: where it is found, such as dataset/EMOVO")
    parser.add_argument("--kaggle", action="store_true", help="the copy on Kaggle (pip install kagglehub)")
    parser.add_argument("--url", help="a zip elsewhere")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n\n".join(map(describe, NAMES)))
    elif options.name is None:
        parser.error(f"name a corpus: {', '.join(NAMES)}")
    else:
        download(options.name, options.to, options.url, options.kaggle)

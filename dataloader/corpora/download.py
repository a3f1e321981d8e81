"""Get a corpus: `python -m dataloader.download emovo`, and where each is at home: `… --list`."""

import argparse
import hashlib
import http.client
import re
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataloader.corpora.archives import HIGHEST_RATIO, lies_outside
from dataloader.corpora.find import read_corpus
from dataloader.corpora.readers import READERS
from dataloader.corpora.utterance import Corpus, CorpusError
from utils.errors import UserError, exit_on_user_error
from utils.files import expanded
from utils.progress import progress_bar, warn

ATTEMPTS = 4  # in a row that bring nothing new, before a download is given up
PAUSE = 1.0  # seconds after the first of them; twice as long after each
TIMEOUT = 30  # seconds without an answer
BLOCK = 2**18  # bytes
LARGEST = 20 * 2**30  # bytes, packed or unpacked; the largest corpus has about 12 GB
MOST_FILES = 200_000


class DownloadError(UserError):
    """A corpus that could not be had; the message says why and how else to get it."""


@dataclass(frozen=True)
class Source:
    """Where a corpus can be had, as far as we know for sure.

    Attributes:
        home: its page.
        licence: in short; what holds is what the home page says.
        size: about, for people.
        citation: the paper to cite.
        url: a zip that anybody may fetch; none where there is no such thing.
        kaggle: a copy on Kaggle that anybody may fetch.
        by_hand: how to get it otherwise.
    """

    home: str
    licence: str
    size: str
    citation: str
    url: str = ""
    kaggle: str = ""
    by_hand: str = ""


SOURCES = {
    "emovo": Source(
        home="http://voice.fub.it/activities/corpora/emovo/index.html",
        licence="free for research, non-commercial, with acknowledgement",
        size="350 MB",
        citation="G. Costantini, I. Iadarola, A. Paoloni, M. Todisco, EMOVO Corpus: an Italian Emotional "
        "Speech Database, LREC 2014",
        kaggle="sourabhy/emovo-italian-ser-dataset",
        by_hand="Its home page has it as a zip.",
    ),
    "emodb": Source(
        home="http://emodb.bilderbar.info/",
        licence="see its home page",
        size="40 MB",
        citation="F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier, B. Weiss, A Database of German "
        "Emotional Speech, Interspeech 2005",
        url="http://emodb.bilderbar.info/download/download.zip",
        kaggle="piyushagni5/berlin-database-of-emotional-speech-emodb",
    ),
    "ravdess": Source(
        home="https://zenodo.org/records/1188976",
        licence="CC BY-NC-SA 4.0",
        size="210 MB",
        citation="S. R. Livingstone, F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and "
        "Song (RAVDESS), PLoS ONE 13(5), 2018",
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        kaggle="uwrfkaggler/ravdess-emotional-speech-audio",
    ),
    "savee": Source(
        home="http://kahlan.eps.surrey.ac.uk/savee/",
        licence="for research, after registration",
        size="unknown",
        citation="S. Haq, P. J. B. Jackson, Speaker-Dependent Audio-Visual Emotion Recognition, AVSP 2009",
        by_hand="Register on its home page, and unpack AudioData.",
    ),
    "casia": Source(
        home="http://www.chineseldc.org/",
        licence="of the Chinese Linguistic Data Consortium",
        size="unknown",
        citation="J. Tao, F. Liu, M. Zhang, H. Jia, Design of Speech Corpus for Mandarin Text to Speech, "
        "Blizzard Challenge 2008",
        by_hand="Ask the Chinese Linguistic Data Consortium for it.",
    ),
    "tess": Source(
        home="https://doi.org/10.5683/SP2/E8H2MF",
        licence="CC BY-NC-ND 4.0",
        size="300 MB",
        citation="M. K. Pichora-Fuller, K. Dupuis, Toronto Emotional Speech Set (TESS), Borealis, 2020",
        url="https://borealisdata.ca/api/access/dataset/:persistentId/?persistentId=doi:10.5683/SP2/E8H2MF",
        kaggle="ejlok1/toronto-emotional-speech-set-tess",
    ),
    "cremad": Source(
        home="https://github.com/CheyneyComputerScience/CREMA-D",
        licence="Open Database License",
        size="600 MB (AudioWAV)",
        citation="H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma, CREMA-D: "
        "Crowd-sourced Emotional Multimodal Actors Dataset, IEEE Transactions on Affective Computing 5(4), "
        "2014",
        kaggle="ejlok1/cremad",
        by_hand="Clone its repository with Git LFS (git lfs install), and take the folder AudioWAV.",
    ),
    "iemocap": Source(
        home="https://sail.usc.edu/iemocap/",
        licence="for research, after a release form is accepted",
        size="12 GB",
        citation="C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee, S. S. "
        "Narayanan, IEMOCAP: Interactive Emotional Dyadic Motion Capture Database, Language Resources and "
        "Evaluation 42(4), 2008",
        by_hand="Fill in the release form that its home page names, and unpack Session1 to Session5.",
    ),
}


def download(
    name: str,
    target: str | Path | None = None,
    url: str | None = None,
    kaggle: bool = False,
    progress: bool = True,
) -> Corpus:
    """Download and unpack a corpus, and say what is missing in it.

    One that is there already is left as it is. A download that broke off is continued by the next call; what
    has come of it lies beside `target`.

    Args:
        name: a key of SOURCES.
        target: the folder to make; by default where find_corpus looks, such as dataset/EMO-DB.
        url: of a zip elsewhere.
        kaggle: take the copy on Kaggle, by the package kagglehub. So do corpora with no other address.
        progress: show progress bars.

    Raises:
        DownloadError: when there is no such corpus, nobody but a person can get it, or the download fails.
        CorpusError: when what came, or what is at `target`, is not this corpus.
    """
    if name not in SOURCES:
        raise DownloadError(f"{name} is none of the corpora {', '.join(SOURCES)}.")
    source, title = SOURCES[name], READERS[name].title
    target = Path("dataset") / title if target is None else expanded(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        corpus = read_corpus(name, target)
        print(f"{target} is there already. To get {title} anew, remove it.")
        return _report(corpus)
    url = url or ("" if kaggle else source.url)
    if not url and not source.kaggle:
        raise DownloadError(f"{title} is given to those who ask for it. {_other_ways(name)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            folder = Path(temporary) / target.name
            if url:
                # another address, another file: what is half there of one is not continued with the other
                archive = target.with_name(
                    f".{target.name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip"
                )
                try:
                    fetch(url, archive, progress)
                    unpack(archive, folder, progress)
                    read_corpus(name, folder)
                except (DownloadError, CorpusError) as error:
                    raise type(error)(f"{error} {_other_ways(name)}") from error
                finally:
                    archive.unlink(missing_ok=True)  # not the .part, with which the next call goes on
            else:
                shutil.copytree(_fetch_from_kaggle(name), folder)
                read_corpus(name, folder)
            if target.exists():
                target.rmdir()  # empty
            folder.rename(target)
    except OSError as error:
        raise DownloadError(
            f"cannot write {target}: {error.strerror or error}. Free some space, or name another "
            "folder (--to)."
        ) from error
    return _report(read_corpus(name, target))


def fetch(url: str, path: Path, progress: bool = True) -> None:
    """Download a file over HTTP, going on where the connection broke, now or in an earlier call.

    What has come lies in `path.part` until it is whole. A server that does not continue is asked from the
    start; one that claims more bytes than it has is not believed where a whole zip has come.

    Raises:
        DownloadError: when the server has no such file, or nothing more comes in ATTEMPTS attempts.
        OSError: when the file cannot be written.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is no address that begins with http:// or https://.")
    part = path.with_name(f"{path.name}.part")
    furthest, failures = _size(part), 0
    while True:
        try:
            _receive(url, part, progress)
            break
        except _Broken as error:
            failures = failures + 1 if _size(part) <= furthest else 0
            furthest = max(furthest, _size(part))
            if failures < ATTEMPTS:
                time.sleep(PAUSE * 2**failures)
            elif zipfile.is_zipfile(part):
                break
            else:
                raise DownloadError(
                    f"{url}: {error}, {failures} times in a row. The {_size(part):,} bytes that have come "
                    "are kept: the same command goes on from there."
                ) from error
    part.replace(path)


def unpack(archive: Path, folder: Path, progress: bool = True) -> None:
    """Unpack a zip that nobody vouches for into a new folder.

    Refused, before anything is written: members that would lie outside the folder, links and other special
    files, more than MOST_FILES files, LARGEST bytes, or HIGHEST_RATIO times the size of the zip.

    Raises:
        DownloadError: when it is refused, is no zip, is damaged (each file has a checksum) or encrypted.
        OSError: when the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            unpacked = sum(member.file_size for member in members)
            if len(members) > MOST_FILES or unpacked > LARGEST:
                raise DownloadError(f"the zip is refused: it holds {len(members)} files, {unpacked:,} bytes.")
            if unpacked > HIGHEST_RATIO * max(_size(archive), 2**20):
                raise DownloadError(
                    f"the zip is refused: its {_size(archive):,} bytes would become {unpacked:,}."
                )
            for member in members:
                _check_member(member)
            _check_space(folder.parent, unpacked)
            folder.mkdir()
            for member in progress_bar(members, desc="unpacking", unit="file", disable=not progress):
                file.extract(member, folder)
    # RuntimeError: encrypted; NotImplementedError: packed in a way that Python does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DownloadError(f"what came is no intact zip ({error}). Try again later.") from error


def describe(name: str) -> str:
    """What SOURCES says of a corpus, as lines of text."""
    source = SOURCES[name]
    free = source.url or source.kaggle
    lines = {
        "home": source.home,
        "download": source.url or "none",
        "mirror": f"https://www.kaggle.com/datasets/{source.kaggle}" if source.kaggle else "none",
        "licence": source.licence,
        "size": source.size,
        "citation": source.citation,
        "get it": f"python -m dataloader.download {name}" if free else source.by_hand,
    }
    title = f"{name} ({READERS[name].title}, {READERS[name].count} utterances)"
    return "\n".join([title, *(f"  {key:<9} {value}" for key, value in lines.items())])


class _Broken(Exception):
    """A download that ended early and may be continued."""


def _receive(url: str, part: Path, progress: bool) -> None:
    """One request: what follows the bytes that `part` has is added to it."""
    have = _size(part)
    headers = {"User-Agent": "CkTIM-net", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # there is no more
        if error.code == 416:
            part.unlink(missing_ok=True)
        if error.code in (416, 429) or error.code >= 500:
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Broken(f"the server cannot be reached ({reason})") from error

    with response:
        start, total = _extent(response)
        if start not in (0, have):
            part.unlink(missing_ok=True)
            raise _Broken("the server sends another part than it was asked for")
        if total is not None:
            if total > LARGEST:
                raise DownloadError(f"{url} is refused: it has {total:,} bytes.")
            _check_space(part.parent, total - start)
        with part.open("ab") as file:
            file.truncate(start)
            bar = progress_bar(
                desc="download", total=total, initial=start, unit="B", unit_scale=True, disable=not progress
            )
            with bar:
                for block in _blocks(response):
                    file.write(block)
                    bar.update(len(block))
                    if file.tell() > LARGEST:
                        raise DownloadError(f"{url} is refused: it has more than {LARGEST:,} bytes.")
    if total is not None and _size(part) != total:
        raise _Broken(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the answer begins in the whole file, and how long that is; (-1, None) for nonsense."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"the connection broke ({type(error).__name__})") from error
        if not block:
            return
        yield block


def _check_member(member: zipfile.ZipInfo) -> None:
    """Raise a DownloadError for a member of a zip that is no file or folder inside of it."""
    if lies_outside(member.filename):
        raise DownloadError(f"the zip is refused: {member.filename!r} would lie outside its folder.")
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the zip was not made on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DownloadError(f"the zip is refused: {member.filename!r} is a link or another special file.")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{needed:,} bytes are needed and {free:,} are free in {folder}. Free some space, or name "
            "another folder (--to)."
        )


def _fetch_from_kaggle(name: str) -> Path:
    """A folder with Kaggle's copy of a corpus, in kagglehub's own cache."""
    try:
        import kagglehub
    except ImportError as error:
        raise DownloadError(
            f"Kaggle's copy of {READERS[name].title} needs the package kagglehub: pip install kagglehub. "
            f"{_other_ways(name)}"
        ) from error
    try:
        return Path(kagglehub.dataset_download(SOURCES[name].kaggle))
    except Exception as error:  # of its own kinds, and of whatever it uses
        reason = str(error).strip() or type(error).__name__
        raise DownloadError(
            f"Kaggle's copy of {READERS[name].title}: {reason}. {_other_ways(name)}"
        ) from error


def _other_ways(name: str) -> str:
    """What a person can do, for messages."""
    source, title = SOURCES[name], READERS[name].title
    ways = [f"{title}'s home is {source.home}."]
    if source.by_hand:
        ways.append(source.by_hand)
    if source.kaggle:
        ways.append(f"There is a copy at https://www.kaggle.com/datasets/{source.kaggle} (--kaggle).")
    return " ".join([*ways, f"Put the folder, or a zip of it, at dataset/{title}."])


def _report(corpus: Corpus) -> Corpus:
    for warning in corpus.warnings:
        warn(warning)
    print(f"{corpus.name}: {len(corpus.utterances)} utterances in {corpus.root}.")
    return corpus


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m dataloader.download", description="Download a speech corpus.")
    parser.add_argument("name", nargs="?", help=", ".join(SOURCES))
    parser.add_argument("--list", action="store_true", help="say of each corpus where it can be had, and end")
    parser.add_argument("--to", metavar="FOLDER", help="default: where it is found, such as dataset/EMOVO")
    parser.add_argument(
        "--kaggle", action="store_true", help="the copy on Kaggle (needs pip install kagglehub)"
    )
    parser.add_argument("--url", help="a zip elsewhere")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n\n".join(describe(name) for name in SOURCES))
    elif options.name is None:
        parser.error(f"name a corpus: {', '.join(SOURCES)}")
    else:
        try:
            download(options.name, options.to, options.url, options.kaggle)
        except KeyboardInterrupt:
            raise UserError("interrupted; the same command goes on where it ended.") from None


if __name__ == "__main__":
    main()

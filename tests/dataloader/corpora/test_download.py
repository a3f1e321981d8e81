"""Getting a corpus from a local server, which cuts connections and lies."""

import io
import re
import stat
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dataloader.corpora import archives
from dataloader.corpora import download as module
from dataloader.corpora.download import NAMES, DownloadError, describe, download, fetch, main, unpack
from dataloader.corpora.find import find_corpus
from dataloader.corpora.readers import EMOVO_NAMES, READERS
from dataloader.corpora.utterance import CorpusError
from utils.config import DataConfig


def a_zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SOUND = np.random.default_rng(0).bytes(4_000)  # nobody listens
EMOVO = a_zip({f"EMOVO/{name.split('-')[1]}/{name}.wav": SOUND for name in EMOVO_NAMES})  # 2.4 MB


class Server:
    """Serves `content`, as badly as its attributes say.

    Attributes:
        cut: bytes after which each answer breaks off.
        claim: Content-Length's difference from the truth; None for no such header.
        ranges: whether it goes on in the middle: "yes", "no" (it begins again), or "wrong" (elsewhere).
        failures: how many requests it answers with `status` before it works.
        requests: the Range of each request.
    """

    def __init__(self, content: bytes):
        self.content, self.cut, self.claim, self.ranges = content, None, 0, "yes"
        self.failures, self.status, self.redirect = 0, 503, False
        self.requests: list[str | None] = []
        members = {"do_GET": lambda handler: self.answer(handler), "log_message": lambda *arguments: None}
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), members))
        self.url = f"http://127.0.0.1:{self.http.server_port}/corpus.zip"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        def begin(status: int, **headers: object) -> None:
            handler.send_response(status)
            for key, value in headers.items():
                handler.send_header(key.replace("_", "-"), str(value))
            handler.end_headers()

        if self.redirect and handler.path != "/elsewhere":
            return begin(302, Location="/elsewhere")
        asked, start, size = handler.headers.get("Range"), 0, len(self.content)
        self.requests.append(asked)
        if self.failures:
            self.failures -= 1
            return begin(self.status)
        headers = {}
        if asked and self.ranges != "no":
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= size:
                return begin(416, Content_Range=f"bytes */{size}")
            start += self.ranges == "wrong"
            headers["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
        if self.claim is not None:
            headers["Content_Length"] = size - start + self.claim
        begin(206 if "Content_Range" in headers else 200, **headers)
        handler.wfile.write(self.content[start : size if self.cut is None else start + self.cut])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(EMOVO)
    with server.http:
        threading.Thread(target=server.http.serve_forever, args=(0.01,)).start()
        yield server
        server.http.shutdown()


@pytest.fixture
def get(server, tmp_path):
    """Download EMOVO from the server into a folder."""
    return lambda: download("emovo", tmp_path / "dataset/EMOVO", server.url, progress=False)


def left_over(tmp_path: Path) -> list[str]:
    """What lies in the folder beside the corpus, hidden files too."""
    return sorted(re.sub("-[0-9a-f]{8}", "", path.name) for path in (tmp_path / "dataset").iterdir())


def test_a_corpus_is_downloaded_unpacked_and_found(get, server, tmp_path, capsys, monkeypatch):
    corpus = get()
    assert corpus.name == "EMOVO" and len(corpus.utterances) == 588 and corpus.warnings == ()
    assert corpus.utterances[0].path.read_bytes() == SOUND
    assert left_over(tmp_path) == ["EMOVO"] and server.requests == [None]
    assert "EMOVO: 588 utterances" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    assert find_corpus(DataConfig()).root == Path("dataset/EMOVO")

    assert get().utterances == corpus.utterances  # not again
    assert len(server.requests) == 1 and "already" in capsys.readouterr().out


def test_what_is_missing_is_said(get, server, capsys):
    server.content = a_zip({f"{name}.wav": SOUND for name in EMOVO_NAMES[:-7]})
    assert len(get().utterances) == 581
    assert "7 of EMOVO's 588 utterances missing" in capsys.readouterr().err


def test_a_progress_bar_counts_the_bytes(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CKTIM_PROGRESS", "text")
    fetch(server.url, tmp_path / "a.zip")
    assert re.search(r"download: 100%.* \d\.\d+M/\d\.\d+M", capsys.readouterr().out)


@pytest.mark.parametrize("claim", [0, None])
def test_a_connection_that_breaks_is_continued(get, server, claim):
    server.cut, server.claim = 700_000, claim
    if claim is None:  # an end is an end then, and a zip without its end is none
        with pytest.raises(DownloadError, match="no intact zip"):
            get()
        return
    assert len(get().utterances) == 588
    assert server.requests == [None, *(f"bytes={n}-" for n in range(700_000, len(EMOVO), 700_000))]


@pytest.mark.parametrize("ranges", ["yes", "no", "wrong"])
def test_a_download_is_continued_by_the_next_call(get, server, tmp_path, ranges):
    server.cut, server.ranges = 1_000_000, "no"  # it begins anew each time, and never comes further
    reason = r"1,000,000 of .* 4 times in a row\. The 1,000,000 bytes .* kept"
    with pytest.raises(DownloadError, match=reason):
        get()
    assert left_over(tmp_path) == [".EMOVO.zip.part"] and len(server.requests) == 5
    server.cut, server.ranges = None, ranges
    server.requests.clear()
    assert len(get().utterances) == 588 and left_over(tmp_path) == ["EMOVO"]
    assert server.requests == ["bytes=1000000-"] + [None] * (ranges == "wrong")


@pytest.mark.parametrize("ranges", ["yes", "no"])
def test_a_server_that_promises_too_much_is_not_believed_and_too_little_cuts(get, server, tmp_path, ranges):
    server.claim, server.ranges = -5_000, ranges
    with pytest.raises(DownloadError, match=r"no intact zip.*home is http"):
        get()
    assert left_over(tmp_path) == []  # the next time it begins anew
    server.claim = 5_000
    assert len(get().utterances) == 588


def test_a_server_in_trouble_is_asked_again_and_one_without_the_file_is_not(get, server, tmp_path):
    server.failures, server.status = 9, 404
    with pytest.raises(DownloadError, match=r"404.*EMOVO's home is http.*Put the folder"):
        get()
    assert len(server.requests) == 1 and left_over(tmp_path) == []
    server.failures, server.status, server.redirect = 2, 503, True
    assert len(get().utterances) == 588 and len(server.requests) == 4


def test_addresses_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0)
    (tmp_path / "corpus.zip").write_bytes(EMOVO)
    for url in ((tmp_path / "corpus.zip").as_uri(), "ftp://localhost/x.zip", "corpus.zip"):
        with pytest.raises(DownloadError, match="begins with http"):
            fetch(url, tmp_path / "a.zip")
    with pytest.raises(DownloadError, match=r"connection failed.*refused"):
        fetch("http://127.0.0.1:9/x.zip", tmp_path / "a.zip")


# --- what comes may be anything ---


LINK = zipfile.ZipInfo("f1/dis-f1-b1.wav")
LINK.create_system, LINK.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
CORRUPT = bytearray(a_zip({"f1/dis-f1-b1.wav": b"x" * 5_000, "f1/dis-f1-b2.wav": b"y" * 5_000}))
CORRUPT[2_000] ^= 1
ENCRYPTED = bytearray(a_zip({"f1/dis-f1-b1.wav": b"x"}))
for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
    ENCRYPTED[ENCRYPTED.index(signature) + offset] |= 1
BAD = {
    "a page": (b"<!DOCTYPE html><p>Please log in", "no intact zip"),
    "nothing": (b"", "no intact zip"),
    "corrupt": (bytes(CORRUPT), r"no intact zip \(Bad CRC-32"),
    "encrypted": (bytes(ENCRYPTED), "no intact zip.*encrypted"),
    "above": (a_zip({"f1/dis-f1-b1.wav": SOUND, "../evil.wav": b"x"}), "outside"),
    "a link": (a_zip({LINK: b"/etc/passwd"}), "link"),
    "a bomb": (a_zip({"x": bytes(110 * 2**20)}, zipfile.ZIP_DEFLATED), "would become 115,343,360"),
    "another corpus": (a_zip({"wav/03a01Fa.wav": SOUND}), "holds no recording of EMOVO"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_must_not_be_unpacked_is_refused_and_leaves_nothing(get, server, tmp_path, kind):
    server.content, reason = BAD[kind]
    before = {path for path in tmp_path.parent.rglob("*") if tmp_path not in path.parents}
    with pytest.raises((DownloadError, CorpusError), match=reason) as caught:
        get()
    assert "EMOVO's home is http" in str(caught.value)
    assert left_over(tmp_path) == []
    assert {path for path in tmp_path.parent.rglob("*") if tmp_path not in path.parents} == before


def test_what_is_too_large_is_refused(get, server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1_000_000)
    for server.claim in (0, None):
        with pytest.raises(DownloadError, match="refused"):
            get()
    (tmp_path / "a.zip").write_bytes(EMOVO)
    for limit, reason in (("LARGEST", "would become 2,"), ("MOST_FILES", "it holds 588 files")):
        with monkeypatch.context() as patch, pytest.raises(zipfile.BadZipFile, match=reason):
            patch.setattr(archives, limit, 587)
            unpack(tmp_path / "a.zip", tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


def test_a_place_without_space_or_that_cannot_be_written(get, server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot write"):
        download("emovo", tmp_path / "file/EMOVO", server.url, progress=False)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000))
    with pytest.raises(DownloadError, match=r"1,000 are free.*--to"):
        get()


def test_a_folder_with_something_else_stays(get, server, tmp_path):
    (tmp_path / "dataset/EMOVO").mkdir(parents=True)
    assert len(get().utterances) == 588  # an empty one does not count
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("1")
    with pytest.raises(CorpusError, match="holds no recording of EMOVO"):
        download("emovo", other, server.url, progress=False)
    assert (other / "chapter.txt").exists()


# --- who has what ---


def test_every_corpus_says_where_it_is_at_home():
    assert set(NAMES) == set(READERS) - {"folder", "table"}
    for name in NAMES:
        source = READERS[name]
        assert source.home.startswith("http") and source.licence and source.size and source.citation, name
        assert source.url or source.kaggle or source.by_hand, name
        assert all(text in describe(name) for text in (source.home, source.licence, source.size, source.url))


def test_the_table_of_the_docs_is_that_of_the_readers(repository):
    text = (repository / "docs/corpora.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.* \|)$", text, re.MULTILINE))
    assert set(READERS) <= set(rows)
    for name in NAMES:
        title, _, emotions, *numbers, end = (cell.strip() for cell in rows[name].split("|"))
        reader = READERS[name]
        assert title.startswith(reader.title) and int(emotions[0]) == len(reader.emotions) and end == ""
        assert [int(number) for number in numbers] == [reader.speakers, reader.count, reader.signal_length]


def test_corpora_that_need_a_form_or_a_package_say_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    for name in ("savee", "casia", "iemocap"):
        with pytest.raises(DownloadError) as caught:
            download(name, tmp_path / "it")
        assert READERS[name].home in str(caught.value) and READERS[name].by_hand in str(caught.value)
    for name in ("emovo", "cremad", "ravdess"):
        with pytest.raises(DownloadError, match="pip install kagglehub"):
            download(name, tmp_path / "it", kaggle=name == "ravdess")  # of the others, no address is known
    assert list(tmp_path.iterdir()) == []


def test_kaggle_s_copy(tmp_path, monkeypatch):
    unpack_to, asked = tmp_path / "cache", []
    zipfile.ZipFile(io.BytesIO(EMOVO)).extractall(unpack_to)
    stand_in = SimpleNamespace(dataset_download=lambda handle: asked.append(handle) or str(unpack_to))
    monkeypatch.setitem(sys.modules, "kagglehub", stand_in)
    corpus = download("emovo", tmp_path / "EMOVO", progress=False)
    assert len(corpus.utterances) == 588 and asked == [READERS["emovo"].kaggle]
    assert (unpack_to / "EMOVO").is_dir()  # Kaggle's own cache stays

    def fail(handle):
        raise RuntimeError("403 Client Error")

    monkeypatch.setattr(stand_in, "dataset_download", fail)
    with pytest.raises(DownloadError, match=r"403 Client Error.*home is"):
        download("emovo", tmp_path / "again", progress=False)


def test_the_command_line(server, tmp_path, capsys, monkeypatch):
    main(["--list"])
    listing = capsys.readouterr().out
    assert all(source.citation in listing for source in map(READERS.get, NAMES))
    main(["emovo", "--to", str(tmp_path / "EMOVO"), "--url", server.url])
    assert "588 utterances" in capsys.readouterr().out
    for arguments, message in ((["emo"], "none of the corpora emovo,"), (["iemocap"], "release form")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])

"""Zips read in place: nothing fills the memory, and nothing lies outside."""

import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from dataloader.audio import AudioError, audio_seconds, read_audio, stream_audio
from dataloader.corpora import archives
from dataloader.corpora.archives import members, read_member
from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import CorpusError


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@contextmanager
def little_memory() -> Iterator[None]:
    """The block may hold 10 MiB at a time."""
    tracemalloc.start()
    yield
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


@pytest.fixture(scope="module")
def bomb(tmp_path_factory) -> Path:
    content = bytes(200 * 2**20)  # 200 kB when they are packed
    path = tmp_path_factory.mktemp("bomb") / "a.zip"
    return pack(path, {"f1/dis-f1-b1.wav": content, "S/dialog/EmoEvaluation/Ses01F_impro01.txt": content})


def test_a_member_reads_as_it_was_packed(tmp_path):
    content = bytes(range(256)) * 300
    for method in archives.METHODS:
        with zipfile.ZipFile(pack(tmp_path / "a.zip", {"x": content, "empty": b""}, method)) as archive:
            assert read_member(archive, "x") == content
            assert read_member(archive, "empty") == b""
            with pytest.raises(KeyError):
                read_member(archive, "y")


def test_what_would_fill_the_memory_is_refused(bomb):
    path = bomb / "f1/dis-f1-b1.wav"
    for read in (read_audio, audio_seconds, lambda path: list(stream_audio(path))):
        with little_memory(), pytest.raises(AudioError, match=r"b1\.wav .*refused.*would become 209,715,200"):
            read(path)
    with little_memory(), pytest.raises(CorpusError, match=r"a\.zip: its labels .*refused"):
        read_corpus("iemocap", bomb)


def test_what_is_too_large_is_refused_however_little_it_is_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1_000)
    path = pack(tmp_path / "a.zip", {"x": bytes(1_000), "y": bytes(1_001)}, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        assert read_member(archive, "x") == bytes(1_000)
        with pytest.raises(zipfile.BadZipFile, match="refused: 1,001 bytes"):
            read_member(archive, "y")


@pytest.mark.parametrize("with_its_checksum", [False, True])
def test_an_entry_that_claims_too_little_gets_no_more(bomb, tmp_path, with_its_checksum):
    content = bytearray(bomb.read_bytes())  # Python's own ZipFile.read unpacks all of it first
    for signature, crc in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        place = content.index(signature)
        struct.pack_into("<I", content, place + crc + 8, 1_000)
        if with_its_checksum:
            struct.pack_into("<I", content, place + crc, zlib.crc32(bytes(1_000)))
    (tmp_path / "a.zip").write_bytes(content)
    refused = pytest.raises(zipfile.BadZipFile, match="Bad CRC-32")
    outcome = nullcontext() if with_its_checksum else refused
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, little_memory(), outcome:
        assert read_member(archive, "f1/dis-f1-b1.wav") == bytes(1_000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(tmp_path, method):
    path = pack(tmp_path / "a.zip", {"x.wav": bytes(1_000)}, method)
    with pytest.raises(AudioError, match=r"x\.wav .*otherwise than with deflate"):
        read_audio(path / "x.wav")


@pytest.mark.parametrize("folder", ["/", "../", "f1/../../", "..\\", "C:\\", "c:"])
def test_a_zip_with_members_outside_is_refused(tmp_path, folder):
    path = pack(tmp_path / "a.zip", {"f1/dis-f1-b2.wav": b"", f"{folder}dis-f1-b1.wav": b""})
    with pytest.raises(CorpusError, match=r"a\.zip .*refused: .*outside"):
        read_corpus("emovo", path)


def test_ordinary_names_are_not(tmp_path):
    names = ["f1/dis..wav", "a..b/x.wav", "..a/x", ".hidden", "f1/"]
    with zipfile.ZipFile(pack(tmp_path / "a.zip", dict.fromkeys(names, b""))) as archive:
        assert [member.filename for member in members(archive)] == names

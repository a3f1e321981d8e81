"""Files in folders and zips: every one that may be sound is listed once, or named with the reason."""

import os
import re
import socket
import stat
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dataloader.corpora.find import read_corpus
from dataloader.corpora.listing import list_files
from dataloader.corpora.utterance import CorpusError
from dataloader.decode import SOUND_SUFFIXES

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 3_000)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def write(path: Path, **kind) -> Path:
    """A short recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        soundfile.write(file, NOISE, 22_050, **({"format": "WAV"} | kind))
    return path


def listed(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_files(root).sounds]


def only_problem(root: Path) -> str:
    """The one of a listing, which names its path."""
    ((path, why),) = list_files(root).problems.items()
    assert root in path.parents
    return why


# --- what counts as sound ---


def test_every_suffix_of_sound_is_listed_in_any_case(tmp_path):
    suffixes = [*SOUND_SUFFIXES, ".WAV", ".Mp3"]
    for number, suffix in enumerate(suffixes):
        (tmp_path / f"{number:02d}{suffix}").touch()
    assert [Path(name).suffix for name in listed(tmp_path)] == suffixes


@pytest.mark.parametrize(
    "codec, container", [("aac", "adts"), ("aac", "flv"), ("tta", "tta"), ("mp2", "mpeg")]
)
def test_sound_of_ffmpeg_is_known_by_how_it_begins(codec, container, tmp_path):
    with av.open(tmp_path / "a.dat", "w", format=container) as file:
        track = file.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(NOISE[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, size = 48_000, track.codec_context.frame_size or 1_024
        for piece in av.AudioResampler(track.codec_context.format, "mono", 48_000, size).resample(frame):
            file.mux(track.encode(piece))
        file.mux(track.encode(None))
    assert listed(tmp_path) == ["a.dat"]


def test_samples_without_a_header_are_named(tmp_path):
    for name in ("a.raw", "b.PCM", "c.gsm", "d.ulaw"):
        (tmp_path / name).write_bytes(NOISE.astype("<i2").tobytes())
    assert listed(tmp_path) == [] and len(list_files(tmp_path).failures()) == 4
    assert "has no header, so that nothing says its sample rate" in list_files(tmp_path).failures()[1]
    write(tmp_path / "wav.raw")
    assert listed(tmp_path) == ["wav.raw"]


@pytest.mark.parametrize(
    "kind", ["WAV", "RF64", "W64", "AIFF", "FLAC", "OGG", "MP3", "AU", "CAF", "NIST", "VOC", "others"]
)
def test_sound_of_another_suffix_or_none_is_known_by_how_it_begins(tmp_path, kind):
    if kind == "others":
        (tmp_path / "it").write_bytes(b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00")  # MP4
        (tmp_path / "it.dat").write_bytes(b"\x1aE\xdf\xa3\x01\x00\x00\x00")  # Matroska, WebM
    else:
        subtype = "PCM_U8" if kind == "VOC" else None
        write(tmp_path / "it", format=kind, subtype=subtype)
        write(tmp_path / "it.dat", format=kind, subtype=subtype)
    assert listed(tmp_path) == ["it", "it.dat"]


def test_texts_need_no_word_and_pictures_one_for_all(tmp_path):
    write(tmp_path / "a.wav")
    (tmp_path / "notes.txt").write_text("Lärm, Stille\n", encoding="utf-8")
    (tmp_path / "latin.lab").write_bytes("é 0.1 0.2\n".encode("latin-1"))
    (tmp_path / "empty.csv").touch()
    assert listed(tmp_path) == ["a.wav"] and list_files(tmp_path).remarks() == []
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "b.webp").write_bytes(b"RIFF\x24\x00\x00\x00WEBPVP8 ")
    (tmp_path / "c.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00")
    (remark,) = list_files(tmp_path).remarks()
    assert remark == "3 other files with neither sound nor text, left out: a.jpg, b.webp, c.heic"
    assert listed(tmp_path) == ["a.wav"]


def test_what_systems_and_tools_leave_in_folders_is_passed_over(tmp_path):
    for name in ("._a.wav", ".DS_Store", "__MACOSX/a.wav", ".git/annex/objects/a.wav", ".dvc/cache/ab.wav"):
        write(tmp_path / name)
    write(tmp_path / ".hidden/.dot.wav")
    assert listed(tmp_path) == [".hidden/.dot.wav"] and not list_files(tmp_path).remarks()


# --- links ---


def test_linked_folders_and_files_are_followed_and_emotions_are_whole(tmp_path):
    for emotion in ("happy", "sad"):
        write(tmp_path / f"store/{emotion}/1.wav")
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / f"c/{emotion}").symlink_to(tmp_path / f"store/{emotion}")
    write(tmp_path / "annex/MD5-s6044--a9f.wav")  # as git-annex names the content
    (tmp_path / "c/angry").mkdir()
    (tmp_path / "c/angry/1.wav").symlink_to("../../annex/MD5-s6044--a9f.wav")
    corpus = read_corpus("folder", tmp_path / "c")
    assert corpus.emotions == ("gio", "rab", "tri") and corpus.warnings == ()
    (tmp_path / "linked").symlink_to(tmp_path / "c")
    assert listed(tmp_path / "linked") == ["angry/1.wav", "happy/1.wav", "sad/1.wav"]


def test_circles_end(tmp_path):
    write(tmp_path / "a/1.wav")
    write(tmp_path / "b/2.wav")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/across").symlink_to("../b")
    (tmp_path / "b/across").symlink_to("../a")
    (tmp_path / "a/itself").symlink_to("itself")
    files = {Path(name).name for name in listed(tmp_path)}
    assert files == {"1.wav", "2.wav"} and len(listed(tmp_path)) == 2
    assert "cannot be read (a link in a circle)" in list_files(tmp_path).problems[tmp_path / "a/itself"]


def test_a_file_with_two_paths_counts_once_by_the_link_and_is_named(tmp_path):
    write(tmp_path / "x/a.wav")
    (tmp_path / "b.wav").symlink_to("x/a.wav")
    assert listed(tmp_path) == ["b.wav"]
    (remark,) = list_files(tmp_path).remarks()
    assert remark.startswith("1 path reached by another one") and remark.endswith(": x/a.wav")
    # two names for one content, outside, are two recordings: so git-annex keeps equal ones
    store = write(tmp_path / "store/KEY")
    (tmp_path / "c").mkdir()
    for name in ("c/one.wav", "c/two.wav", "c/again"):
        (tmp_path / name).symlink_to(store)
    assert listed(tmp_path / "c") == ["again", "one.wav", "two.wav"]


def test_labels_that_link_into_a_store_within_the_corpus_win(tmp_path):
    for number, emotion in enumerate(("zorn", "angst")):
        write(tmp_path / f"a-store/{number}f.wav")
        (tmp_path / emotion).mkdir()
        (tmp_path / emotion / "1.wav").symlink_to(f"../a-store/{number}f.wav")
    corpus = read_corpus("folder", tmp_path)
    assert corpus.emotions == ("pau", "rab") and "a-store/0f.wav" in corpus.warnings[0]


def test_broken_links_are_named_with_what_brings_them(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.wav").symlink_to("../.git/annex/objects/Xw/2q/MD5-a9f/MD5-a9f")
    assert re.fullmatch(
        r"is a link to \S+MD5-a9f, which is not there \(git annex get.*", only_problem(tmp_path)
    )
    (tmp_path / "a/1.wav").unlink()
    (tmp_path / "sad").symlink_to("/nowhere/sad")
    assert only_problem(tmp_path) == "is a link to /nowhere/sad, which is not there"
    (tmp_path / "notes.txt").symlink_to("gone.txt")  # no sound, so no word
    assert len(list_files(tmp_path).problems) == 1
    write(tmp_path / "angry/1.wav")
    (warning,) = read_corpus("folder", tmp_path).warnings
    assert warning.startswith("1 path that cannot be read, left out: ") and "/sad is a link" in warning
    with pytest.raises(CorpusError, match="/sad is a link to /nowhere/sad"):
        read_corpus("emovo", tmp_path)


# --- neither files nor folders ---


def test_pipes_sockets_and_folders_named_as_sound_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "angry/1.wav")
    os.mkfifo(tmp_path / "angry/2.wav")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("angry/3.wav")
    (tmp_path / "angry/4.wav").mkdir()
    write(tmp_path / "sad/5.wav/6.wav")  # a folder named so is one all the same
    listing = list_files(tmp_path)
    assert {path.name: why for path, why in listing.problems.items()} == {
        "2.wav": "is a named pipe, not a file",
        "3.wav": "is a socket, not a file",
        "4.wav": "is a folder, and holds no recording",
    }
    assert listed(tmp_path) == ["angry/1.wav", "sad/5.wav/6.wav"]


def test_folders_and_files_that_may_not_be_read_are_named(tmp_path, monkeypatch):
    write(tmp_path / "angry/1.wav")
    write(tmp_path / "sad/1.wav")
    write(tmp_path / "odd")
    scan, read = os.scandir, Path.open

    def scandir(path):
        if Path(path).name == "sad":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    def refuse(path, *arguments, **options):
        if path.name == "odd":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "open", refuse)
    problems = list_files(tmp_path).problems
    assert problems[tmp_path / "sad"] == "is a folder that cannot be read (Permission denied)"
    assert problems[tmp_path / "odd"] == "cannot be read (Permission denied)"
    assert listed(tmp_path) == ["angry/1.wav"]


# --- zips ---


def test_a_zip_is_listed_as_a_folder(tmp_path):
    sound = write(tmp_path / "sound").read_bytes()
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        for name in ("a.sph", "b", "c.WMA", "__MACOSX/a.sph", "._b"):
            archive.writestr(name, sound)
        archive.writestr("notes.txt", "notes")
        archive.writestr("p.jpg", JPEG)
        archive.writestr("folder.wav/", b"")
        link = zipfile.ZipInfo("link.wav")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "b")
    assert listed(tmp_path / "it.zip") == ["a.sph", "b", "c.WMA"]
    assert (
        only_problem(tmp_path / "it.zip") == "is a link in a zip, which is not followed: pack the file itself"
    )
    assert list_files(tmp_path / "it.zip").remarks() == [
        "1 other file with neither sound nor text, left out: p.jpg"
    ]


def test_a_member_that_cannot_be_looked_at_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr("odd", "text")
    data = bytearray((tmp_path / "it.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # says that it is encrypted
    (tmp_path / "it.zip").write_bytes(data)
    assert "encrypted" in only_problem(tmp_path / "it.zip")


# --- corpora of several formats ---


def test_of_two_formats_the_lossless_one_is_taken_and_one_line_says_so(tmp_path):
    names = [f"10{number:02d}_DFA_ANG_XX" for number in range(1, 9)]
    for name in names:  # as CREMA-D is distributed
        write(tmp_path / f"AudioMP3/{name}.mp3", format="MP3")
        write(tmp_path / f"AudioWAV/{name}.wav")
    (tmp_path / "VideoFlash").mkdir()
    (tmp_path / f"VideoFlash/{names[0]}.flv").touch()
    corpus = read_corpus("cremad", tmp_path)
    assert [utterance.path.parent.name for utterance in corpus.utterances] == ["AudioWAV"] * 8
    assert [text.split(",")[0] for text in corpus.warnings[1:]] == [
        "9 sound files of CREMA-D doubling another"
    ]


def test_corpora_take_every_format(tmp_path):
    for number, kind in enumerate(("aiff", "opus", "sph", "m4a", "wma", "webm")):
        (tmp_path / "angry").mkdir(exist_ok=True)
        (tmp_path / f"angry/{number}.{kind}").touch()
    assert len(read_corpus("folder", tmp_path).utterances) == 6

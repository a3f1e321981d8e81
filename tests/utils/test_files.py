"""Files are written whole or not at all, and JSON tells whether it was changed."""

import json
import os
import re
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files import CHECKSUM, check_outputs, try_output, without_checksum, write_atomically, write_json


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text_replace_an_existing_file_whole(tmp_path):
    for content, expected in ((b"\xff\x00 long", b"\xff\x00 long"), ("è\n", "è\n".encode())):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == expected
        assert names(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(tmp_path):
    left, written, other = (tmp_path / name for name in (".file.a.tmp", ".file.b.tmp", ".file2.a.tmp"))
    for path in (left, written, other):
        path.write_text("half")
    for path in (left, other):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "file", "whole")
    assert names(tmp_path) == [".file.b.tmp", ".file2.a.tmp", "file"]


@pytest.mark.parametrize(
    ("call", "error", "raised", "message"),
    [
        ("fsync", RuntimeError("broken"), RuntimeError, "broken"),
        ("fsync", KeyboardInterrupt(), KeyboardInterrupt, None),
        ("fsync", OSError(28, "No space left"), UserError, "cannot write .*file: No space left. Free some"),
        ("replace", PermissionError(13, "Denied"), UserError, "cannot write .*file: Denied"),
    ],
)
def test_a_failing_writing_leaves_the_old_file(tmp_path, monkeypatch, call, error, raised, message):
    def fail(*_):
        raise error

    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(raised, match=message):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "no folder" / "a", tmp_path / "file" / "a", tmp_path, tmp_path / ("long" * 100)):
        with pytest.raises(UserError, match="cannot write"):
            write_atomically(place, "text")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", "text")
        assert os.umask(umask) == umask  # and is left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


needs_pipes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@needs_pipes
def test_devices_and_pipes_are_written_to(tmp_path):
    for _ in range(2):
        write_atomically("/dev/null", "gone")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        try_output(tmp_path / name)
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            write_atomically(tmp_path / name, "through")
            assert reader.communicate()[0] == b"through"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and names(tmp_path) == ["link", "pipe"]


@needs_pipes
@pytest.mark.parametrize("output", ["/dev/stdout", "/proc/self/fd/1", "out"])
def test_standard_output_keeps_what_comes_before_and_after(tmp_path, repository, output):
    if not Path("/proc/self/fd").exists() and output.startswith("/proc"):
        pytest.skip("this system has no /proc")
    script = "import sys; from utils.files import write_atomically\n"
    script += f"print('before'); write_atomically({output!r}, 'written\\n'); print('after')"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out").read_text() == "before\nwritten\nafter\n"


@needs_pipes
def test_links_stay_links_and_permissions_stay(tmp_path):
    (tmp_path / "real").mkdir()
    target, link, dangling = tmp_path / "real/a", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "hard").hardlink_to(target)
    (tmp_path / "second").symlink_to("real/a")
    link.symlink_to("second")
    dangling.symlink_to("real/new")
    for path in (link, dangling):
        write_atomically(path, "content")
        assert path.is_symlink() and path.read_text() == "content"
    assert target.read_text() == "content" and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert (tmp_path / "hard").read_text() == "old"  # as its description says
    assert names(tmp_path / "real") == ["a", "new"]
    (tmp_path / "circle").symlink_to("circle")
    for call in (try_output, partial(write_atomically, data="")):
        with pytest.raises(UserError, match=r"cannot write .*circle"):
            call(tmp_path / "circle")


def test_a_protected_file_stays(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    for call in (try_output, partial(write_atomically, data="new")):
        with pytest.raises(UserError, match=r"cannot write .*file: Permission denied"):
            call(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


def test_outputs_are_tried_without_a_trace(tmp_path):
    (tmp_path / "file").write_text("old")
    for name in ("file", "new"):
        try_output(tmp_path / name)
    for place in ("no folder/a", "file/a", "", "long" * 100):
        with pytest.raises(UserError, match="cannot write"):
            try_output(tmp_path / place)
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_an_input_is_no_output_in_any_spelling(tmp_path, monkeypatch):
    sound, archive = tmp_path / "a.wav", tmp_path / "corpus.zip"
    for path in (sound, archive):
        path.write_text("")
    (tmp_path / "link").symlink_to(sound)
    (tmp_path / "hard").hardlink_to(sound)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    for spelling in (sound, "a.wav", "folder/../a.wav", "link", "hard", archive):
        with pytest.raises(UserError, match="would be overwritten"):
            check_outputs([spelling], [sound, archive / "b.wav"])
    for pair in (["new", "folder/../new"], [sound, "link"]):
        with pytest.raises(UserError, match="are one file"):
            check_outputs(pair, [])
    check_outputs(["new", "/dev/null", "/dev/null"], [sound])


def test_names_that_are_not_unicode_can_be_written_down(tmp_path):
    write_atomically(tmp_path / "file", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "file").read_text() == r"caf\udce9"


CONTENT = {"model": ["CkTIM"], "loss": [0.1, 1e-30, 3], "è": None, "deep": [{"b": (1, 2), "a": "x"}]}


def test_json_is_plain_but_for_its_last_key_and_reads_as_it_was(tmp_path):
    write_json(tmp_path / "a.json", CONTENT, indent=2)
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found)[-1] == CHECKSUM and re.fullmatch("crc32:[0-9a-f]{8}", found[CHECKSUM])
    assert without_checksum(found) == json.loads(json.dumps(CONTENT))
    again = json.loads(json.dumps(found, indent=7, sort_keys=True))  # as a person or an editor lays it out
    assert without_checksum(again) == without_checksum(found)


@pytest.mark.parametrize("content", [CONTENT, {}, [1, 2], 7, "text", None])
def test_json_without_a_checksum_is_as_it_is(content):
    assert without_checksum(content) is content or without_checksum(content) == content


CHANGES = {"loss": [0.1, 1e-30, 4]}, {"loss": [0.1, 1e-30]}, {"è": 0}, {"more": 1}
WRONG = "crc32:00000000", "crc33", None


@pytest.mark.parametrize("change", [*CHANGES, *({CHECKSUM: wrong} for wrong in WRONG)])
def test_json_that_was_changed_is_refused(tmp_path, change):
    write_json(tmp_path / "a.json", CONTENT)
    found = json.loads((tmp_path / "a.json").read_text())
    with pytest.raises(ValueError, match="take out its key checksum"):
        without_checksum(found | change)
    renamed = {key.replace("check", "chekc"): value for key, value in found.items()}
    with pytest.raises(ValueError, match="checksum does not fit"):
        without_checksum(renamed)


def test_json_is_not_written_with_numbers_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []

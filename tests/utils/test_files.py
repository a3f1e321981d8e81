"""Files are written whole or not at all, and JSON tells whether it was changed."""

import json
import os
import re
import stat
import sys

import pytest

from utils.errors import UserError
from utils.files import CHECKSUM, without_checksum, write_atomically, write_json


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

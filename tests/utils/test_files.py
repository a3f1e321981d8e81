"""Files are written whole or not at all."""

import os
import stat
import sys

import pytest

from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text(tmp_path):
    write_atomically(tmp_path / "bytes", b"\xff\x00")
    write_atomically(tmp_path / "text", "è\n")
    assert (tmp_path / "bytes").read_bytes() == b"\xff\x00"
    assert (tmp_path / "text").read_bytes() == "è\n".encode()
    assert names(tmp_path) == ["bytes", "text"]


def test_an_existing_file_is_replaced_whole(tmp_path):
    write_atomically(tmp_path / "file", "something long")
    write_atomically(tmp_path / "file", "short")
    assert (tmp_path / "file").read_text() == "short"


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch, error):
    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", failing(error))
    with pytest.raises(type(error)):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", failing(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def failing(error):
    def call(*_):
        raise error

    return call


def test_a_failing_replacement_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "replace", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"cannot write .*file: Permission denied"):
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


def test_commands_end_with_a_message_and_no_traceback(capsys):
    @exit_on_user_error
    def main():
        raise UserError("the reason")

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: the reason\n"


def test_an_interrupted_command_says_so_and_no_more(capsys):
    @exit_on_user_error
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_commands_let_other_errors_through():
    @exit_on_user_error
    def main():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        main()

"""How commands end: with a message, and without a traceback where nothing is wrong with them."""

import io
import subprocess
import sys

import pytest

from utils.errors import UserError, can_print, exit_on_user_error

LONG = """
from utils.errors import exit_on_user_error

@exit_on_user_error
def main():
    for line in range(100_000):
        print(line)

main()
"""


@exit_on_user_error
def fail(error):
    raise error


def test_commands_end_with_a_message_and_no_traceback(capsys):
    with pytest.raises(SystemExit) as end:
        fail(UserError("the reason"))
    assert (end.value.code, capsys.readouterr().err) == (2, "error: the reason\n")
    with pytest.raises(SystemExit) as end:
        fail(KeyboardInterrupt())
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")


@pytest.mark.parametrize("error", [KeyError("a bug"), BrokenPipeError("to a worker")])
def test_commands_let_other_errors_through(error):
    with pytest.raises(type(error), match=str(error)):
        fail(error)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(repository):
    command = [sys.executable, "-c", LONG]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"0"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(timeout=60) == 141


def test_a_command_without_any_output_ends_as_usual(monkeypatch):
    """Standard output is None where it is closed (`>&-`), and in pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    exit_on_user_error(lambda: print("unheard"))()


def test_a_console_of_windows_lacks_some_characters(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    assert can_print("validation · 84 %") and not can_print("█")

"""How commands end: with a message, and without a traceback where nothing is wrong with them."""

import subprocess
import sys

import pytest

from utils.errors import UserError, exit_on_user_error

LONG = """
from utils.errors import exit_on_user_error

@exit_on_user_error
def main():
    for line in range(100_000):
        print(line)

main()
"""


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


def test_another_broken_pipe_is_an_error_like_others():
    @exit_on_user_error
    def main():
        raise BrokenPipeError("to a worker")

    with pytest.raises(BrokenPipeError, match="to a worker"):
        main()

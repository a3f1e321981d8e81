"""The one base class of every error that a user can cause and cure, and the end of commands on one."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any


class UserError(ValueError):
    """Bad input. The message says what is wrong, where, and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """A notebook shows the message alone when this ends a cell (IPython's hook)."""
        return [f"error: {self}"]


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few of many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def many(number: int, noun: str) -> str:
    """`1 recording`, `2 recordings`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def remarks(*kinds: tuple[Sequence[str], str, str]) -> list[str]:
    """`2 files left out: a, b` of each kind (names, noun, and what they are) that has names."""
    return [f"{many(len(names), noun)} {what}: {some(names)}" for names, noun, what in kinds if names]


def exit_on_user_error(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command's main(): a UserError ends it with one `error: …` line and exit status 2.

    Ctrl-C that the command does not catch ends it with a line and status 130; a closed pipe (`| head`) with
    status 141 alone. Characters that the terminal's encoding lacks are printed as `\\u2026`.
    """

    @wraps(main)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            main(*args, **kwargs)
            print(end="", flush=True)  # flushes nothing where there is no output, as in `>&-`
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            if not _output_is_closed():
                raise
            raise SystemExit(141) from None

    return wrapper


def can_print(text: str) -> bool:
    """Whether the encoding of standard output has these characters; a Windows console's may lack them."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        return True
    except UnicodeEncodeError:
        return False


def _output_is_closed() -> bool:
    """Whether standard output is a pipe whose reader has gone; later output is dropped then."""
    try:
        print(flush=True)
        return False
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return True

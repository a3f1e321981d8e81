"""The one base class of every error that a user can cause and cure."""

import io
import os
import sys
from collections.abc import Callable
from functools import wraps


class UserError(ValueError):
    """Bad input. The message says what is wrong, where, and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows when this ends a cell (IPython's hook): the message alone."""
        return [f"error: {self}"]


def exit_on_user_error(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command's main(): a UserError ends it with one `error: …` line and exit status 2.

    Ctrl-C, where the command has nothing of its own to do then, ends it with a line and the usual status 130.
    So does, without a word and with status 141, a reader of its output that has seen enough (`| head`).
    What the terminal, or the file that the output goes to, has no letters for is printed as `\\u2026`.
    """

    @wraps(main)
    def wrapper(*args, **kwargs) -> None:
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
            if not _nobody_reads():
                raise
            raise SystemExit(141) from None

    return wrapper


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has gone; then what is printed later is dropped."""
    try:
        print(flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return True
    return False

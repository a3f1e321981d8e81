"""How a command starts: its arguments are parsed before anything is imported that takes seconds.

For each command, the module `parsers` of its package has a function of the same name that adds the arguments
to a parser, and whose docstring describes the command. These modules import no large libraries.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path

from utils.errors import exit_on_user_error


def parser_of(command: str) -> ArgumentParser:
    """The parser of a module that is a command, such as `testing.predict`."""
    package, *_, name = command.split(".")
    add_arguments = getattr(import_module(f"{package}.parsers"), name)
    parser = ArgumentParser(f"python -m {command}", description=add_arguments.__doc__)
    add_arguments(parser)
    return parser


@exit_on_user_error
def run_command(command: str) -> None:
    """Answer --help and wrong arguments at once, else import the module and run its main(); then exit."""
    parser_of(command).parse_intermixed_args()
    import_module(command).main()
    raise SystemExit


def command(main: Callable[[Namespace], None]) -> Callable[..., None]:
    """Decorate a module's main(options): it takes arguments (list[str]), by default those of the process.

    It ends as exit_on_user_error says.
    """

    @wraps(main)
    def parsed(arguments: list[str] | None = None) -> None:
        main(parser_of(main.__module__).parse_intermixed_args(arguments))

    return exit_on_user_error(parsed)


def run(parser: ArgumentParser) -> None:
    """Run notebook_train.ipynb."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance train.num_epochs=20")
    text = "run these notebooks instead, as they are, and keep their outputs in them"
    parser.add_argument("--in-place", nargs="+", type=Path, metavar="NOTEBOOK", default=[], help=text)

"""The command `cktim`, which `pip install .` brings: each subcommand is the module's own command line.

cktim inspect [key=value …]    # as python -m dataloader.inspect
cktim train [key=value …]      # as python -m training.train
cktim evaluate RUN_DIR         # as python -m testing.evaluate
cktim crossval --protocol …    # as python -m training.trials
cktim baseline RUN_DIR         # as python -m testing.baseline
cktim predict FILE_OR_FOLDER   # as python -m testing.predict
"""

import argparse
import importlib
import sys

from utils.errors import exit_on_user_error
from utils.parsers import parser_of

COMMANDS = {  # name → (module, help); imported only when called, for PyTorch takes seconds
    "inspect": ("dataloader.inspect", "look at a corpus before training"),
    "train": ("training.train", "train a network"),
    "evaluate": ("testing.evaluate", "evaluate a run on its test set"),
    "crossval": ("training.trials", "cross-validate: --protocol speaker_kfold --folds 5"),
    "baseline": ("testing.baseline", "machines on functionals beside a run"),
    "predict": ("testing.predict", "recognise the emotion in recordings"),
}


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("cktim", description="Speech emotion recognition with CkTIM-net.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    arguments = sys.argv[1:] if arguments is None else arguments
    command = parser.parse_args(arguments[:1]).command  # the others are the module's, --help too
    module, rest = COMMANDS[command][0], arguments[1:]
    parser_of(module).parse_known_intermixed_args(rest)  # --help needs no PyTorch
    importlib.import_module(module).main(rest)


if __name__ == "__main__":
    main()

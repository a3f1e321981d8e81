"""The arguments of this package's commands, see utils.parsers."""

from argparse import ArgumentParser

from utils.files import expanded
from utils.runs import DEFAULT_CONFIG

SURVEY = "corpus.png", "corpus.json"  # what dataloader.inspect writes


def inspect(parser: ArgumentParser) -> None:
    parser.description = "Look at a corpus before training: what it holds, and what is unusual in it."
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="default: conf/config.yaml")
    files = f"write {' and '.join(SURVEY)} there"
    parser.add_argument("--output", metavar="FOLDER", type=expanded, help=files)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance data.root=FOLDER")

"""The arguments of this package's commands, see utils.parsers."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import get_args

from utils.config import Protocol
from utils.runs import DEFAULT_CONFIG

SECTIONS = "steps", "inference", "frames", "epoch"  # of the benchmark


def train(parser: ArgumentParser) -> None:
    parser.description = "Train CkTIM-net or TIM-net."
    parser.add_argument("--config", help="default: conf/config.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance train.num_epochs=20")


def trials(parser: ArgumentParser) -> None:
    parser.description = "Train and evaluate a grid of settings × seeds × folds. What is done is not done "
    parser.description += "again."
    protocols = [one for one in get_args(Protocol) if one != "holdout"]
    made = "cross-validate one setting, without a trial's file: all folds of a protocol, and one table of "
    parser.add_argument("--protocol", choices=protocols, help=f"{made}them")
    many = "with --protocol: how many parts or groups of speakers; all: as data.folds or the protocol says"
    parser.add_argument("--folds", type=_number_or_all, default=None, metavar="N", help=many)
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="with --protocol: default conf/config.yaml")
    parser.add_argument("--list", action="store_true", help="list the runs, and make none")
    more = "of the trial (workers=4, backend=ray, seeds=[0,1], name=quick), or of all its runs "
    more += "(train.num_epochs=5; give it another name then: name.json holds the last call's results)"
    parser.add_argument("overrides", nargs="*", metavar="TRIAL key=value", help=f"conf/trials/X.yaml; {more}")


def benchmark(parser: ArgumentParser) -> None:
    parser.description = "Measure speed and memory."
    parser.add_argument("--quick", action="store_true", help="small and rough, in under a minute")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTIONS", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a checkout of the official TIM-Net")


def _number_or_all(text: str) -> int | None:
    if text != "all" and not text.isdecimal():
        raise ArgumentTypeError(f"{text}: must be a whole number, at least 2, or all")
    return None if text == "all" else int(text)

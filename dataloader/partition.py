"""Partitions that others publish: a CSV file with a line `name,fold` for each utterance that is tested on."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataloader.corpora.table import csv_table, plain_name
from dataloader.corpora.utterance import CorpusError
from utils.errors import UserError, some
from utils.files import expanded
from utils.progress import warn


@dataclass(frozen=True)
class Partition:
    """The fold in which each utterance tests, as a file says it."""

    name: str  # of the file
    sha256: str  # of its content
    folds: Mapping[str, int]  # the file's name for an utterance → its fold

    def of(self, names: Iterable[str]) -> dict[str, int]:
        """A corpus's name for an utterance → its fold, for those that the file lists.

        Suffix, case and folders of a name do not matter where only one utterance fits. Warns of names that no
        utterance has, and of utterances that are in no fold; a UserError follows where a name fits several
        utterances, two lines contradict each other, or no name fits.
        """
        names = list(names)
        known: dict[str, set[str]] = {}
        for name in names:
            for key in _keys(name):
                known.setdefault(key, set()).add(name)
        found: dict[str, int] = {}
        missing = []
        for listed, fold in self.folds.items():
            fitting = next((known[key] for key in (listed, *_keys(listed)) if key in known), set())
            fitting = {listed} if listed in fitting else fitting
            if len(fitting) > 1:
                several = some(sorted(fitting))
                raise UserError(f"{self.name}: {listed} may be any of {several}. Write the whole name there.")
            missing += [] if fitting else [listed]
            for name in fitting:
                if found.setdefault(name, fold) != fold:
                    raise UserError(f"{self.name} has {name} in the folds {found[name]} and {fold}.")
        if not found:
            example = f"it lists {some(list(self.folds), 2)}; the corpus has {some(names, 2)}"
            raise UserError(f"{self.name} is of another corpus: {example}.")
        if missing:
            count = f"{len(missing)} of the {len(self.folds)} utterances that {self.name} lists"
            warn(f"{count}, not in the corpus: {some(missing)}")
        if rest := len(names) - len(found):
            count = f"{rest} of the {len(names)} utterances, in no fold of {self.name}"
            warn(f"{count}: to train or validate, whichever fold tests")
        return found


def read_partition(path: str | Path) -> Partition:
    """Read a file with the columns `name` and `fold` or `test_fold` (whole numbers); a UserError names it."""
    path = expanded(path)
    cure = "data.partition needs a CSV file with the columns name and fold"
    try:
        table, content = csv_table(path), path.read_bytes()
    except CorpusError as error:
        raise UserError(f"{error} {cure}.") from error
    columns = [name.lower() for name in table.columns]
    fold_column = next((name for name in ("fold", "test_fold") if name in columns), None)
    if "name" not in columns or fold_column is None:
        raise UserError(f"{path} has the columns {', '.join(table.columns)}: {cure}.")
    folds: dict[str, int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        values = dict(zip(columns, row, strict=True))
        name, fold = values["name"], values[fold_column]
        if not name or not fold.isdecimal():
            raise UserError(f"{path}, line {line}: must be a name and a whole number, the fold.")
        if folds.setdefault(name, int(fold)) != int(fold):
            raise UserError(f"{path} has {name} in the folds {folds[name]} and {fold}.")
    return Partition(path.name, hashlib.sha256(content).hexdigest(), folds)


def _keys(name: str) -> list[str]:
    """A plain name, then its last part alone."""
    name = plain_name(name)
    return [name, name.rpartition("/")[2]]

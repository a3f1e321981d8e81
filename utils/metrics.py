"""Scores of a classifier, and their history over the epochs of a training."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, recall_score

from utils.errors import UserError
from utils.files import without_checksum, write_json


class MetricsError(UserError):
    """A metrics file that is missing or damaged."""


def scores(targets: Sequence[int], predictions: Sequence[int], num_classes: int) -> dict[str, float]:
    """Score predicted classes against the true ones, all in 0 … 1, as scikit-learn computes them.

    - `accuracy`: the share of utterances that are right, the field's weighted accuracy (WAR).
    - `uar`: unweighted average recall, the mean recall of the classes *that occur in `targets`*.
    - `recall`, `precision`, `f1_score`: macro means over *all* `num_classes` classes. A class with nothing to
      divide by counts as 0, so `recall` falls below `uar` as soon as a class has no utterance in `targets`.

    Args:
        targets: (utterances,) class indices; a list, an array or a tensor on the CPU.
        predictions: (utterances,) class indices.
        num_classes: indices run from 0 to num_classes - 1.

    Raises:
        ValueError: for no utterances, unequal lengths, or an index out of range.
    """
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if targets.ndim != 1 or targets.shape != predictions.shape or targets.size == 0:
        raise ValueError(
            f"not two equally long lists: targets {targets.shape}, predictions {predictions.shape}"
        )
    lowest, highest = min(targets.min(), predictions.min()), max(targets.max(), predictions.max())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"class indices run from {lowest} to {highest}, not 0 to {num_classes - 1}")

    precision, recall, f1_score, _ = precision_recall_fscore_support(
        targets, predictions, labels=range(num_classes), average="macro", zero_division=0
    )
    uar = recall_score(targets, predictions, labels=np.unique(targets), average="macro")
    return {
        "accuracy": float(accuracy_score(targets, predictions)),
        "uar": float(uar),
        "recall": float(recall),
        "precision": float(precision),
        "f1_score": float(f1_score),
    }


class History:
    """Metrics per epoch, kept as a JSON file of equally long lists.

    The schema is the earlier implementation's: `model` (a list of one name), `epoch` (from 0), `loss`,
    `accuracy`, `recall`, `precision`, `f1_score`. Further columns stand beside these: `append` makes them.

        history = History("CkTIM")
        history.append(epoch=0, loss=1.9, **scores(targets, predictions, 7))
        history["loss"]  # [1.9]
    """

    def __init__(self, model: str, columns: dict[str, list] | None = None):
        self.model = model
        self.columns = columns if columns is not None else {}

    def append(self, **row: float) -> None:
        """Add one epoch; every epoch names the same columns."""
        if self.columns and row.keys() != self.columns.keys():
            raise ValueError(f"this history has the columns {sorted(self.columns)}, the row {sorted(row)}")
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)

    def __getitem__(self, column: str) -> list:
        return self.columns[column]

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __len__(self) -> int:
        """The number of rows: epochs of a training, 1 in a file of test metrics."""
        return len(self.columns.get("loss", []))

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all. A value that is not finite is stored as null."""
        content: dict[str, list] = {"model": [self.model]}
        for name, values in self.columns.items():
            content[name] = [value if math.isfinite(value) else None for value in values]
        write_json(path, content, indent=4)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read a file written by `save` or by the earlier implementation; null is read as NaN.

        Raises:
            MetricsError: when the file is missing, damaged, or not of this schema.
        """
        content = read_json(Path(path))
        if not _has_schema(content):
            raise MetricsError(
                f"{path} does not hold metrics: expected an object with `model` (one name) and lists of "
                "numbers such as `loss` and `accuracy`, equally long. Is it another file with this name?"
            )
        (model,) = content.pop("model")
        nan = float("nan")
        return cls(model, {key: [nan if v is None else v for v in values] for key, values in content.items()})


def kept_epoch(validation: History, keep: str) -> int | None:
    """Which epoch's weights a run kept, from 0: that of the lowest validation loss ("best"), or the last.

    None where no loss is a finite number: then none were kept.
    """
    losses = np.array(validation["loss"], dtype=float)
    finite = np.isfinite(losses)
    if not finite.any():
        return None
    return int(np.where(finite, losses, np.inf).argmin()) if keep == "best" else len(losses) - 1


def keep_whole_epochs(*histories: History) -> None:
    """Cut histories of one training to the epochs that all of their columns have, after an interrupt."""
    columns = [history.columns for history in histories]
    rows = min(min(map(len, of_one.values()), default=0) for of_one in columns)
    for of_one in columns:
        for name in of_one:
            of_one[name] = of_one[name][:rows]


def read_json(path: Path) -> Any:
    """The content of a JSON file, without its checksum (see utils.files.write_json) where it has one.

    Raises:
        MetricsError: when the file is missing, not whole, or its checksum does not fit.
    """
    try:
        return without_checksum(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise MetricsError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or changed since it was written
        raise MetricsError(
            f"{path} is not a whole JSON file ({error}). It was probably damaged while it was copied or "
            "written: copy it again, or make the run again."
        ) from error


def _has_schema(content: object) -> bool:
    if not isinstance(content, dict) or not {"model", "loss", "accuracy"} <= content.keys():
        return False
    model = content["model"]
    if not (isinstance(model, list) and len(model) == 1 and isinstance(model[0], str)):
        return False
    columns = [values for key, values in content.items() if key != "model"]
    if not all(isinstance(values, list) for values in columns):
        return False
    if not all(value is None or isinstance(value, int | float) for values in columns for value in values):
        return False
    # A file of test metrics of the earlier implementation has one value a column, and no epochs.
    return all(len(values) in (len(content["loss"]), 0) for values in columns)

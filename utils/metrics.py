"""Scores of a classifier, their intervals, its calibration, and the history of a training's epochs."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from utils.errors import UserError
from utils.files import without_checksum, write_atomically, write_json
from utils.tables import csv_text

LEVEL = 0.95  # of the intervals


class MetricsError(UserError):
    """A metrics file that is missing or damaged."""


def scores(targets: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict[str, float]:
    """Score predicted classes against the true ones, all in 0 … 1, to the values that scikit-learn gives.

    - `accuracy`: the share of utterances that are right, the field's weighted accuracy (WAR).
    - `uar`: unweighted average recall, the mean recall of the classes *that occur in `targets`*.
    - `recall`, `precision`, `f1_score`: macro means over *all* `num_classes` classes. A class with nothing to
      divide by counts as 0, so `recall` falls below `uar` as soon as a class has no utterance in `targets`.

    Both are (utterances,) class indices, from 0 to num_classes - 1; else a ValueError.
    """
    return scores_of(confusion_matrix(targets, predictions, num_classes))


def scores_of(matrix: np.ndarray) -> dict[str, float]:
    """The same, of a confusion matrix (classes, classes)."""
    return {score: float(value) for score, value in _scores(matrix).items()}


def score_columns(targets: ArrayLike, predictions: ArrayLike, emotions: Sequence[str]) -> dict[str, list]:
    """Keys of a file of test metrics: the scores and their intervals, the confusion matrix and its sizes."""
    matrix = confusion_matrix(targets, predictions, len(emotions))
    found: dict[str, list] = {score: [value] for score, value in scores_of(matrix).items()}
    found |= {f"{score}_interval": [list(bounds)] for score, bounds in intervals(matrix).items()}
    found |= {"utterances": [int(matrix.sum())], "utterances_per_emotion": matrix.sum(1).tolist()}
    return found | {"emotions": list(emotions), "confusion_matrix": matrix.tolist()}


def confusion_matrix(targets: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts (num_classes, num_classes); row: the true class, column: the predicted one."""
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    if targets.ndim != 1 or targets.shape != predictions.shape or targets.size == 0:
        shapes = f"targets {targets.shape}, predictions {predictions.shape}"
        raise ValueError(f"not two equally long lists: {shapes}")
    lowest, highest = min(targets.min(), predictions.min()), max(targets.max(), predictions.max())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"class indices run from {lowest} to {highest}, not 0 to {num_classes - 1}")
    cells = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def _scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """The scores that `scores` defines, of confusion matrices (…, classes, classes)."""
    matrices = np.asarray(matrices, dtype=float)
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    recall = _ratio(right, true)
    return {
        "accuracy": right.sum(-1) / matrices.sum((-2, -1)),
        "uar": recall.sum(-1) / (true > 0).sum(-1),
        "recall": recall.mean(-1),
        "precision": _ratio(right, predicted).mean(-1),
        "f1_score": _ratio(2 * right, true + predicted).mean(-1),
    }


def intervals(matrix: np.ndarray, resamples: int = 10_000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (low, high) of the scores, over samples of utterances drawn with replacement.

    Scores depend on an utterance only through its cell in the confusion `matrix` (classes, classes), so that
    drawing utterances is drawing cells, with the counts as their chances: one multinomial draw a sample. A
    class that a sample happens to lack is left out of its recall, so that this stays `uar` times the share of
    the classes that occur.
    """
    counts = np.asarray(matrix)
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, size=resamples)
    bounds = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    found = _scores(drawn.reshape(resamples, *counts.shape))
    found["recall"] = found["uar"] * (counts.sum(1) > 0).mean()
    return {score: tuple(np.quantile(values, bounds).tolist()) for score, values in found.items()}


def _ratio(numerator: np.ndarray, denominator: np.ndarray, nothing: float = 0.0) -> np.ndarray:
    """`nothing` where there is nothing to divide by."""
    out = np.full(denominator.shape, nothing)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


@dataclass(frozen=True)
class Reliability:
    """Answers in bins of equal width by their confidence, the probability of the answer given."""

    count: np.ndarray  # (bins,) answers in each
    confidence: np.ndarray  # (bins,) their mean confidence; NaN in an empty bin
    accuracy: np.ndarray  # (bins,) share of them that is right; NaN in an empty bin

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy over all answers.

        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
        """
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = 10) -> Reliability:
    """Of probabilities (utterances, classes) and targets (utterances,), in bins between 0 and 1."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights, minlength=bins) for weights in (confidence, right))
    return Reliability(count, *(_ratio(one, count, np.nan) for one in sums))


def nearest_agreement(vectors: np.ndarray, labels: Sequence[str]) -> tuple[float, float]:
    """How often the nearest of the vectors (items, channels) has the same label, and any other one."""
    from sklearn.neighbors import NearestNeighbors

    _, places, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    nearest = NearestNeighbors(n_neighbors=1).fit(vectors).kneighbors(return_distance=False)[:, 0]
    chance = (counts * (counts - 1)).sum() / (len(places) * (len(places) - 1))
    return float((places[nearest] == places).mean()), float(chance)


class History:
    """Metrics per epoch, kept as a JSON file of equally long lists: `history["loss"]` is that of each epoch.

    The schema is the earlier implementation's: `model` (a list of one name), `epoch` (from 0), `loss`,
    `accuracy`, `recall`, `precision`, `f1_score`. Further columns stand beside these: `append` makes them.
    """

    def __init__(self, model: str, columns: dict[str, list] | None = None):
        self.model = model
        self.columns: dict[str, list] = {} if columns is None else columns

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

    @property
    def score(self) -> str:
        """The column that says how good it is: `uar`, or of the earlier implementation `accuracy`."""
        return "uar" if "uar" in self else "accuracy"

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all. A value that is not finite is stored as null."""
        content: dict[str, list] = {"model": [self.model]}
        for name, values in self.columns.items():
            content[name] = [value if math.isfinite(value) else None for value in values]
        write_json(path, content, indent=4)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read a file written by `save` or by the earlier implementation; null is read as NaN."""
        content = read_json(Path(path))
        if not _has_schema(content):
            expected = "an object with `model` (one name) and equally long lists of numbers such as `loss`"
            problem = f"{path} does not hold metrics: expected {expected} and `accuracy`"
            raise MetricsError(f"{problem}. Is it another file with this name?")
        (model,) = content.pop("model")
        nan = float("nan")
        return cls(model, {key: [nan if v is None else v for v in values] for key, values in content.items()})


def save_csv(training: History, validation: History, path: str | Path) -> None:
    """Write one row an epoch: the training's columns by their names, and those of the validation behind.

    The latter are called `validation_loss` and so on, and `epoch` is there once.
    """
    others = {f"validation_{name}": column for name, column in validation.columns.items() if name != "epoch"}
    columns = training.columns | others
    write_atomically(path, csv_text([list(columns), *zip(*columns.values(), strict=True)]))


def kept_epoch(validation: History, keep: str) -> int | None:
    """The epoch of the kept weights, from 0: of lowest loss ("best") or the last; None: no loss is finite."""
    losses = np.array(validation["loss"], dtype=float)
    finite = np.isfinite(losses)
    if not finite.any():
        return None
    return int(np.where(finite, losses, np.inf).argmin()) if keep == "best" else len(losses) - 1


def keep_whole_epochs(*histories: History) -> None:
    """Cut histories of one training to the epochs that all of their columns have, after an interrupt."""
    rows = min(min(map(len, one.columns.values()), default=0) for one in histories)
    for one in histories:
        for values in one.columns.values():
            del values[rows:]


def read_json(path: Path) -> Any:
    """The content of a JSON file, without the checksum that utils.files.write_json gives it."""
    try:
        return without_checksum(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise MetricsError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or changed since it was written
        cause = "It was probably damaged while it was copied or written"
        cure = "copy it again, or make the run again"
        raise MetricsError(f"{path} is not a whole JSON file ({error}). {cause}: {cure}.") from error


def _has_schema(content: Any) -> bool:
    if not isinstance(content, dict) or not {"model", "loss", "accuracy"} <= content.keys():
        return False
    if not all(isinstance(values, list) for values in content.values()):
        return False
    columns = [values for name, values in content.items() if name != "model"]
    return (
        [type(name) for name in content["model"]] == [str]
        and all(value is None or isinstance(value, int | float) for values in columns for value in values)
        # A file of test metrics of the earlier implementation has one value a column, and no epochs.
        and all(len(values) in (len(content["loss"]), 0) for values in columns)
    )

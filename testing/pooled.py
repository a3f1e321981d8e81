"""The folds of a cross-validation together: each utterance is tested once."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pandas import concat

from testing.evaluate import read_predictions, trust_in_words
from utils.errors import UserError, some
from utils.files import problems_of, write_atomically, write_json
from utils.metrics import score_columns
from utils.plots.results import plot_confusion_matrix
from utils.plots.style import save_figure
from utils.results import mean_std, network_in_words, side_in_words
from utils.runs import Run, read_emotions
from utils.tables import NOTHING, Table, percent_range

FILES = ("metrics.json", "predictions.csv", "confusion_matrix.png")
SHOWN = {"uar": "UAR", "accuracy": "accuracy", "f1_score": "F1"}


def remove_pooled(folder: Path) -> None:
    """Remove the pooled files of former settings and seeds, of which there may have been more."""
    for path in (path for file in FILES for path in folder.glob(f"pooled*_{file}")):
        try:
            path.unlink()
        except OSError as error:
            raise UserError(f"cannot remove {path}: {error.strerror or error}.") from error


def pool(
    runs: Sequence[Run], folder: Path, name: str = "pooled", varied: Mapping[str, Any] | None = None
) -> Table:
    """The table of evaluated folds of one setting and seed; with it pooled files are written into `folder`.

    They are NAME_predictions.csv, NAME_metrics.json and NAME_confusion_matrix.png. `varied` are settings
    that tell these folds from others beside them.
    """
    runs = sorted(runs, key=lambda run: run.fold or 0)
    first, emotions = runs[0], read_emotions(runs[0].path)
    tables, classes, _ = zip(*(read_predictions(run.path, emotions) for run in runs), strict=True)
    tests = [run.test or {} for run in runs]
    true, predicted = np.concatenate(classes, axis=1)
    metrics = score_columns(true, predicted, emotions)
    for key in ("speakers", "speakers_trained_on"):
        if all(key in test for test in tests):
            metrics[key] = sorted(set().union(*(test[key] for test in tests)))
    metrics |= {f"{score}_per_fold": [test[score][0] for test in tests] for score in SHOWN}
    seed, network = first.settings["train.seed"], network_in_words(first)
    metrics |= {"network": [network], "seed": [seed], "settings": [dict(varied or {})]}
    about = f"{side_in_words(varied)}: " if varied else ""
    about += f"{network}, seed {seed}"
    where = f"{first.corpus} corpus, {first.protocol}"
    title = f"{about}: {where}, {len(runs)} of {first.folds} folds together"
    matrix = np.array(metrics["confusion_matrix"])
    figure = plot_confusion_matrix(matrix, emotions, first.words, title)
    metrics_file, predictions_file, figure_file = (folder / f"{name}_{file}" for file in FILES)
    writings = [
        partial(write_json, metrics_file, metrics, indent=1),
        partial(write_atomically, predictions_file, concat(tables).to_csv(index=False)),
        partial(save_figure, figure, figure_file),
    ]
    if problems := problems_of(writings):
        raise UserError("\n".join(problems))
    return _table(runs, metrics, f"{about}: {len(runs)} of {first.folds} folds ({where}), scores in %")


def _table(runs: Sequence[Run], metrics: dict[str, list], caption: str) -> Table:
    rows = []
    for run in runs:
        test = run.test or {}
        about = {"fold": str(run.fold), "test speakers": some(test.get("speakers", [NOTHING]), 3)}
        about |= {"utterances": str(round(sum(test["utterances_per_emotion"])))}
        rows.append(about | {word: mean_std([test[score][0]]) for score, word in SHOWN.items()})
    total = {"test speakers": "", "utterances": str(metrics["utterances"][0])}
    means = {word: mean_std(metrics[f"{score}_per_fold"]) for score, word in SHOWN.items()}
    rows.append({"fold": "mean ± std", **total, **means})
    together = {word: mean_std(metrics[score]) for score, word in SHOWN.items()}
    rows.append({"fold": "pooled", **total, **together})
    bounds = {word: percent_range(*metrics[f"{score}_interval"][0])[:-2] for score, word in SHOWN.items()}
    rows.append({"fold": "95 % interval", **dict.fromkeys(total, ""), **bounds})
    notes = ["Pooled: each utterance once, as the network answered that was not trained on it."]
    return Table(rows, caption, [*notes, *trust_in_words(metrics)])

"""The folds of a cross-validation together: each utterance is tested once."""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from testing.evaluate import trust_in_words
from utils.errors import UserError, some
from utils.files import problems_of, write_atomically, write_json
from utils.metrics import confusion_matrix, intervals, scores
from utils.plots.results import plot_confusion_matrix
from utils.plots.style import save_figure
from utils.results import mean_std, network_in_words
from utils.runs import PREDICTIONS_FILE, Run, read_emotions, read_words
from utils.tables import NOTHING, Table, csv_text, percent_range

SHOWN = {"uar": "UAR", "accuracy": "accuracy", "f1_score": "F1"}


def read_answers(run_dir: Path, emotions: Sequence[str]) -> tuple[list[list[str]], np.ndarray]:
    """A run's predictions.csv: rows, headings first, and (2, utterances) classes, true and predicted."""
    path = run_dir / PREDICTIONS_FILE
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        places = [rows[0].index(name) for name in ("true", "predicted")]
        return rows, np.array([[emotions.index(row[place]) for row in rows[1:]] for place in places])
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} does not hold predictions ({error!r}). Evaluate the run anew.") from error


def pooled_metrics(
    answers: np.ndarray, emotions: Sequence[str], speakers: Sequence[set[str]] = ()
) -> dict[str, list]:
    """Scores as in a run's file of test metrics, of all folds' classes (2, utterances) together.

    `speakers` are those who were tested, and those of them who were trained on in the same fold.
    """
    matrix = confusion_matrix(answers[0], answers[1], len(emotions))
    scored = scores(answers[0], answers[1], len(emotions))
    found: dict[str, list] = {score: [value] for score, value in scored.items()}
    found |= {f"{score}_interval": [list(bounds)] for score, bounds in intervals(matrix).items()}
    found |= {"utterances": [int(matrix.sum())], "emotions": list(emotions)}
    found |= {"utterances_per_emotion": matrix.sum(1).tolist(), "confusion_matrix": matrix.tolist()}
    keys = ("speakers", "speakers_trained_on") if speakers else ()
    return found | {key: sorted(names) for key, names in zip(keys, speakers, strict=True)}


def pool(runs: Sequence[Run], folder: Path, name: str = "pooled") -> Table:
    """The table of evaluated folds of one setting and seed; with it pooled files are written into `folder`.

    They are NAME_predictions.csv, NAME_metrics.json and NAME_confusion_matrix.png.
    """
    runs = sorted(runs, key=lambda run: run.fold or 0)
    first, emotions = runs[0], read_emotions(runs[0].path)
    read = [read_answers(run.path, emotions) for run in runs]
    tests = [run.test or {} for run in runs]
    known = all("speakers" in test for test in tests)
    keys = ("speakers", "speakers_trained_on") if known else ()
    speakers = [set().union(*(test[key] for test in tests)) for key in keys]
    metrics = pooled_metrics(np.concatenate([answers for _, answers in read], axis=1), emotions, speakers)
    metrics |= {f"{score}_per_fold": [test[score][0] for test in tests] for score in SHOWN}
    title = f"{first.corpus} corpus, {first.protocol}, {len(runs)} of {first.folds} folds together"
    matrix = np.array(metrics["confusion_matrix"])
    figure = plot_confusion_matrix(matrix, emotions, read_words(first.path), title)
    lines = [read[0][0][0], *(row for rows, _ in read for row in rows[1:])]
    writings = [
        partial(write_json, folder / f"{name}_metrics.json", metrics, indent=1),
        partial(write_atomically, folder / f"{name}_predictions.csv", csv_text(lines)),
        partial(save_figure, figure, folder / f"{name}_confusion_matrix.png"),
    ]
    if problems := problems_of(writings):
        raise UserError("\n".join(problems))
    return _table(runs, metrics)


def _table(runs: Sequence[Run], metrics: dict[str, list]) -> Table:
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
    first = runs[0]
    caption = f"{network_in_words(first)}, seed {first.settings['train.seed']}: "
    caption += f"{len(runs)} of {first.folds} folds ({first.corpus} corpus, {first.protocol}), scores in %"
    notes = ["Pooled: each utterance once, as the network answered that was not trained on it."]
    return Table(rows, caption, [*notes, *trust_in_words(metrics)])

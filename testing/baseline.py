"""What simple classifiers reach under the very split of a run: `python -m testing.baseline RUN_DIR`.

A linear support vector machine and logistic regression take one vector an utterance
(dataloader.features.summaries). They learn from the run's training set, scaled by its mean and standard
deviation, with each emotion weighted alike; the C with the highest UAR on its validation set counts. The
folder of a trial, such as a cross-validation, has all its folds tested.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.baseline")

from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dataloader.features.summaries import by_speaker, summaries
from dataloader.loaders import Data, prepare_data
from dataloader.splits import SUBSETS, Split, load_split
from testing.evaluate import evaluate, read_predictions
from testing.load_run import check_free, corpus_settings
from utils import runs
from utils.config import Config
from utils.errors import UserError
from utils.files import expanded, write_json
from utils.metrics import score_columns, scores
from utils.results import grouped, mean_std, named, read_trial
from utils.tables import NOTHING, Table, percent_range

CHOICES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of C; of equally good ones the smallest counts
CLASSIFIERS: dict[str, Callable[[float], Any]] = {
    "linear SVM": lambda c: SVC(C=c, kernel="linear", class_weight="balanced"),
    "logistic regression": lambda c: LogisticRegression(C=c, class_weight="balanced", max_iter=5_000),
}
PER_FOLD = ("uar_per_fold", "accuracy_per_fold")
Answers = list[np.ndarray]  # of each fold (2, utterances), classes, true and predicted


def splits_of(folder: Path) -> dict[str, list[Path]]:
    """Network → run directories, of a run or of a trial's folder, whose file of results names them."""
    if (folder / runs.SPLIT_FILE).exists():
        model = runs.read_parameters(folder / runs.PARAMETERS_FILE).model
        return {named(model.name, model.n_temporal_aware_block): [folder]}
    results = folder.with_name(f"{folder.name}.json")
    if not folder.is_dir() or not results.exists():
        raise UserError(f"{folder} is neither a run with its {runs.SPLIT_FILE} nor the folder of a trial.")
    found = {}
    for label, group in grouped(read_trial(results)).items():
        homes = [[folder / name, *sorted(folder.parent.glob(f"*/{name}"))] for name in group.run]
        found[label] = [next(filter(runs.is_run_dir, one), one[0]) for one in homes]
    return found


def common_splits(folder: Path, networks: Mapping[str, Sequence[Path]]) -> list[Split]:
    """Of the first network's runs; a UserError where others tested on the same are trained on other ones."""
    every = [[load_split(one / runs.SPLIT_FILE) for one in run_dirs] for run_dirs in networks.values()]
    trained: dict[tuple[str, ...], tuple[str, ...]] = {}
    for split in chain.from_iterable(every):
        if trained.setdefault(split.test, split.train) != split.train:
            problem = f"{folder}: its networks are not all trained on the same utterances"
            raise UserError(f"{problem}, so no baseline stands beside all of them. Name one of its runs.")
    return every[0]


def network_answers(run_dirs: Sequence[Path], overrides: Sequence[str]) -> Answers:
    """As recorded in the evaluation of each run, which is made where it is missing; [] without weights."""
    if not all((run_dir / runs.MODEL_FILE).exists() for run_dir in run_dirs):
        return []
    for run_dir in run_dirs:
        if not (run_dir / runs.PREDICTIONS_FILE).exists():
            evaluate(run_dir, overrides)
    return [read_predictions(run_dir, runs.read_emotions(run_dir))[1] for run_dir in run_dirs]


def prepared(
    run_dir: Path, kind: str, overrides: Sequence[str], progress: bool = True
) -> tuple[Config, Data]:
    """A run's configuration, and its data with raw frames; for functionals with prosody."""
    config = runs.read_parameters(run_dir / runs.PARAMETERS_FILE, overrides)
    split = load_split(run_dir / runs.SPLIT_FILE)
    raw: dict[str, Any] = {"normalise": "none", "functionals": False}
    raw |= {"prosody": True} if kind == "functionals" else {}
    place = corpus_settings(config.data, split)
    for_data = config.model_copy(update={"features": config.features.model_copy(update=raw), "data": place})
    return config, prepare_data(for_data, progress, split, emotions=runs.read_emotions(run_dir))


def answer(
    make: Callable[[float], Any], data: Data, vectors: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, float]:
    """Classes (2, test utterances), true and predicted, and the C that validation chose."""
    x = {one: np.stack([vectors[name] for name in getattr(data.split, one)]) for one in SUBSETS}
    y = {one: data.targets(one).numpy() for one in SUBSETS}
    best, chosen, c_chosen = -1.0, None, 0.0
    for c in CHOICES:
        machine = make_pipeline(StandardScaler(), make(c)).fit(x["train"], y["train"])
        found = _predict(machine, x["validation"], data.allowed("validation"))
        uar = scores(y["validation"], found, len(data.corpus.emotions))["uar"]
        if uar > best:
            best, chosen, c_chosen = uar, machine, c
    return np.stack([y["test"], _predict(chosen, x["test"], data.allowed("test"))]), c_chosen


def _predict(machine: Any, x: np.ndarray, allowed: Any) -> np.ndarray:
    """Classes (utterances,), of several corpora among the emotions of each utterance's own."""
    if allowed is None:
        return machine.predict(x)
    decisions = machine.decision_function(x)
    return machine.classes_[np.where(allowed.numpy()[:, machine.classes_] > 0, decisions, -np.inf).argmax(1)]


def chance(data: Data) -> tuple[float, float]:
    """The expected UAR and accuracy of answers at random."""
    target, allowed = data.targets("test").numpy(), data.allowed("test")
    number = len(data.corpus.emotions)
    right = np.full(len(target), 1 / number) if allowed is None else 1 / allowed.sum(1).numpy()
    return float(np.mean([right[target == one].mean() for one in np.unique(target)])), float(right.mean())


def baseline(
    folder: str | Path, kind: str = "functionals", overrides: Sequence[str] = (), progress: bool = True
) -> tuple[Table, dict[str, Any]]:
    """The table of a run or a trial, and what baseline_KIND.json has: name → scores, as of score_columns.

    Features are deviations from the speaker's mean where the run's are.
    """
    check_free(overrides)
    folder = expanded(folder)
    networks = splits_of(folder)
    splits, run_dirs = common_splits(folder, networks), next(iter(networks.values()))
    rows: dict[str, Answers] = {name: network_answers(dirs, overrides) for name, dirs in networks.items()}
    rows |= {name: [] for name in (*CLASSIFIERS, "majority class")}
    chosen: dict[str, list[float]] = {name: [] for name in CLASSIFIERS}
    config, data = prepared(run_dirs[0], kind, overrides, progress)
    found, used = summaries(data.features, kind, data.cache_dir, progress), data.features.utterances
    if config.features.normalise == "speaker":
        found = by_speaker(found, [one.speaker for one in used])
    vectors, guesses = {one.name: row for one, row in zip(used, found, strict=True)}, []
    for split in splits:  # the runs differ in nothing else
        data = replace(data, split=split)
        for name, make in CLASSIFIERS.items():
            answers, c = answer(make, data, vectors)
            rows[name].append(answers)
            chosen[name].append(c)
        target = data.targets("test").numpy()
        ((most, _),) = Counter(data.targets("train").tolist()).most_common(1)
        rows["majority class"].append(np.stack([target, np.full_like(target, most)]))
        guesses.append(chance(data))
    content: dict[str, Any] = {"features": kind, "number of features": found.shape[1]}
    emotions = data.corpus.emotions
    for name, answers in rows.items():
        if answers:
            true, predicted = np.concatenate(answers, axis=1)
            content[name] = score_columns(true, predicted, emotions)
            each = [scores(one[0], one[1], len(emotions)) for one in answers]
            content[name] |= {key: [one[key.partition("_")[0]] for one in each] for key in PER_FOLD}
            content[name] |= {"C": chosen[name]} if name in chosen else {}
    content["chance"] = dict(zip(PER_FOLD, map(list, zip(*guesses, strict=True)), strict=True))
    write_json(folder / f"baseline_{kind}.json", content, indent=1)
    many = f"{len(run_dirs)} test sets" if len(run_dirs) > 1 else "one test set"
    title = f"{data.corpus.name} corpus, {data.split.protocol}, {many}"
    return _table(content, title, len(run_dirs)), content


def _table(content: Mapping[str, Any], title: str, folds: int) -> Table:
    rows = []
    for name, one in content.items():
        if not isinstance(one, dict):
            continue
        row = {"": name, "UAR": mean_std(one["uar_per_fold"])}
        if folds > 1:
            row["pooled UAR"] = mean_std(one["uar"]) if "uar" in one else NOTHING
        for score, heading in (("uar", "95 % interval"), ("accuracy", "of the accuracy")):
            row |= {} if score == "uar" else {score: mean_std(one["accuracy_per_fold"])}
            bounds = one.get(f"{score}_interval")
            row[heading] = percent_range(*bounds[0])[:-2] if bounds else NOTHING
        rows.append(row | {"C": ", ".join(f"{c:g}" for c in sorted(set(one["C"]))) if "C" in one else ""})
    notes = [f"Scores in %{', mean ± standard deviation over the test sets' if folds > 1 else ''}. "]
    notes[0] += f"Intervals: bootstrap over the {'pooled ' if folds > 1 else ''}utterances."
    what = f"{content['number of features']} features an utterance ({content['features']})"
    notes += [f"SVM and regression: {what}; trained on the network's training set; C by validation's UAR."]
    return Table(rows, title, notes)


@command
def main(options: Namespace) -> None:
    """The command line."""
    table, _ = baseline(options.folder, options.features, options.overrides)
    print(table)
    print(f"\nWritten: {expanded(options.folder) / f'baseline_{options.features}.json'}")

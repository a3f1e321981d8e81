"""Evaluate a run on the test set that it recorded: `python -m testing.evaluate RUN_DIR [key=value …]`."""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.evaluate")

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from pandas import DataFrame, read_csv
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from dataloader.advice import speakers_of
from dataloader.corpora.find import ABOUT_CORPUS, HEARD, OWN, find_corpus
from dataloader.corpora.utterance import Corpus, CorpusError, Utterance
from dataloader.features.extract import load_features
from dataloader.identity import copies, identified_corpus, recorded
from dataloader.loaders import Batch, Data, allowed_emotions
from dataloader.splits import is_unknown
from models.cktim import count_parameters
from models.losses import among, cross_entropy
from testing.calibration import at_temperature, load_calibration
from testing.load_run import LoadedRun, corpus_settings, load_run, predict_and_embed, recorded_test_set
from testing.predictions import Answer
from utils import runs
from utils.config import Config, load_config
from utils.emotions import EMOTIONS, without_codes
from utils.errors import UserError, many, some
from utils.files import as_typed, command_line, problems_of, try_output, write_atomically, write_json
from utils.metrics import History, reliability, score_columns
from utils.plots.results import plot_confusion_matrix
from utils.plots.style import save_figure
from utils.plots.training import plot_history
from utils.progress import measure_in_turns, warn
from utils.results import distinct_scores
from utils.tables import NOTHING, Table, csv_text, markdown_text, percent, percent_range, unique

TIMING_PASSES = 3
CHANGED = "changed recordings"
WIDE = 0.1  # an interval of the UAR, from which the test set is called small


@dataclass(frozen=True)
class Evaluation:
    """A run's answers on some utterances, and its scores."""

    run: LoadedRun
    corpus: Corpus  # on which it was evaluated
    is_test: bool  # on a test set; otherwise on the whole corpus, training set included
    utterances: tuple[Utterance, ...]
    targets: np.ndarray  # (utterances,) class indices, positions in corpus.emotions
    probabilities: np.ndarray  # (utterances, classes)
    metrics: dict[str, list]  # as in the file of test metrics (see `measure`)
    recalled: bool = False  # as the run recorded it earlier, without the corpus's sound
    embeddings: np.ndarray | None = None  # (utterances, channels), see CkTIMNet.embedding; None if recalled

    @cached_property
    def predictions(self) -> np.ndarray:
        """(utterances,) class indices."""
        return self.probabilities.argmax(1)

    @property
    def title(self) -> str:
        """The run and the utterances, in words."""
        part = f"all {len(self.targets)} utterances (no test result)"
        if self.is_test:
            part = self.metrics.get("protocol", ["test set"])[0]
        part += " (as it was recorded)" if self.recalled else ""
        return f"{self.run.path.name} · {self.corpus.name} corpus, {part}"

    @property
    def folder(self) -> Path:
        """Where its files lie: the run directory, or a folder of it for other recordings.

        Where that one has results on still others, a key of the recordings and their emotions is in its name.
        """
        if "protocol" not in self.metrics:
            return self.run.path
        changed = self.metrics["protocol"] == [CHANGED]
        name = runs.CHANGED_RECORDINGS if changed else f"{runs.CROSS_CORPUS}{self.corpus.name}"
        folder = self.run.path / name
        (key,) = self.metrics["recordings"]
        with suppress(UserError):  # no results there, or damaged ones
            file = folder / f"{self.run.config.model.name}{runs.TEST_METRICS_SUFFIX}"
            if runs.read_test_metrics(file).get("recordings") != [key]:
                return folder.with_name(f"{folder.name}_{key[-8:]}")
        return folder

    def calibrated(self) -> "Evaluation":
        """The same answers, as sure as testing.predict's: by the temperature of the run's calibration."""
        temperature = load_calibration(self.run.path).temperature
        with np.errstate(divide="ignore"):
            return replace(self, probabilities=at_temperature(np.log(self.probabilities), temperature))

    def misjudged(self) -> list[int]:
        """Rows whose prediction is wrong, those first of which the network was surest."""
        wrong = np.flatnonzero(self.predictions != self.targets)
        return sorted(wrong.tolist(), key=lambda row: -self.probabilities[row].max())

    def in_words(self, row: int) -> str:
        """Markdown: `**tri-m2-b1**: sadness, recognised as neutral 71 % (then sadness 20 %, …)`."""
        shares = dict(zip(self.corpus.emotions, self.probabilities[row], strict=True))
        answer = Answer(0, 0, max(shares, key=shares.__getitem__), shares, None, self.run.words)
        utterance = self.utterances[row]
        said = f"{self.run.words[utterance.emotion]}, recognised as {answer}"
        return f"**{markdown_text(utterance.name)}**: {markdown_text(said)}"


class UnsavedError(UserError):
    """Results of which a file could not be written; `evaluation` holds them."""

    def __init__(self, message: str, evaluation: Evaluation):
        super().__init__(message)
        self.evaluation = evaluation


def evaluate(
    run_dir: str | Path,
    overrides: Sequence[str] = (),
    fallback: Sequence[str] = (),
    everything: bool = False,
    progress: bool = True,
    changed: bool = False,
) -> Evaluation:
    """Evaluate a run on the test set that it recorded, and write the results into its directory (`save`).

    With `everything` on the whole corpus instead, training set included, and nothing is written: that is no
    test; it shows whether weights and labels belong together. `changed` takes recordings that have other
    sound or labels than those of the recorded test set, such as copies through a codec; the results then lie
    in the run's folder `changed-recordings`. `overrides`, `fallback`: see load_run.
    """
    run = load_run(run_dir, overrides, fallback)
    if everything:
        corpus = find_corpus(run.config.data, demo=runs.read_run(run.path).corpus == "demo")
        if strange := sorted(set(corpus.emotions) - set(run.emotions)):
            known, others = (", ".join(corpus.words[e] for e in some) for some in (run.emotions, strange))
            problem = f"{run.path} knows {known}, and {corpus.root} has {others} too"
            raise UserError(f"{problem}: it is not the corpus of that run, or was changed since.")
        corpus = replace(corpus, emotions=run.emotions)
        return _answer(run, corpus, *_everything(run, corpus, progress), is_test=False)
    training, validation = (  # read before the work begins, so that a damaged file is known early
        History.load(path) if (path := run.path / file).exists() else None
        for file in (runs.TRAINING_METRICS_FILE, runs.VALIDATION_METRICS_FILE)
    )
    try_output(run.path / runs.PREDICTIONS_FILE)
    data = recorded_test_set(run, progress, changed=changed)
    utterances = tuple(data.features.utterances[row] for row in data.rows("test"))
    evaluation = _answer(run, data.corpus, utterances, data.arrays("test"))
    evaluation.metrics.update(voices_of(data))
    if missing := data.missing_emotions():
        evaluation.metrics["missing_emotions"] = missing
    if changed:
        evaluation.metrics["protocol"] = [CHANGED]
        evaluation.metrics["recordings"] = [runs.recordings_key(recorded(utterances))]
    save(evaluation, training, validation)
    return evaluation


def evaluate_or_recall(
    run_dir: str | Path,
    overrides: Sequence[str] = (),
    fallback: Sequence[str] = (),
    everything: bool = False,
    changed: bool = False,
) -> Evaluation:
    """`evaluate`, or where the corpus is not here, what the run recorded when it was evaluated.

    A warning says what is missing. A CorpusError where the run recorded nothing, and with `everything`.
    """
    try:
        return evaluate(run_dir, overrides, fallback, everything, changed=changed)
    except CorpusError as error:
        run = load_run(run_dir, overrides, fallback)
        earlier = runs.read_run(run.path)
        if everything or earlier.test is None or not (run.path / runs.PREDICTIONS_FILE).exists():
            raise
        warn(f"{error} Without it only what {run.path.name} recorded when it was evaluated can be shown.")
    table, (targets, _), probabilities = read_predictions(run.path, run.emotions)
    names = table[["true", "speaker", "sentence", "utterance"]].itertuples(index=False, name=None)
    utterances = tuple(Utterance(Path(name[-1]), *name) for name in names)
    corpus = Corpus(earlier.corpus, "", utterances, run.emotions)
    answers = utterances, targets, probabilities
    return Evaluation(run, corpus, True, *answers, dict(earlier.test), recalled=True)


def read_predictions(run_dir: Path, emotions: Sequence[str]) -> tuple[DataFrame, np.ndarray, np.ndarray]:
    """A run's predictions.csv, all as text; true and predicted classes (2, utterances); probabilities."""
    path = run_dir / runs.PREDICTIONS_FILE
    try:
        table = read_csv(path, dtype=str, keep_default_na=False)
        classes = [[emotions.index(one) for one in table[name]] for name in ("true", "predicted")]
        probabilities = table.iloc[:, -len(emotions) :].to_numpy(float)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} does not hold predictions ({error!r}). Evaluate the run anew.") from error
    return table, np.array(classes), probabilities


def _answer(
    run: LoadedRun, corpus: Corpus, utterances: tuple[Utterance, ...], batch: Batch, is_test: bool = True
) -> Evaluation:
    """The answers among the emotions of `corpus` (of several: of each utterance's own), and their scores."""
    with run.model.frozen_kernels():
        size = run.config.train.batch_size
        logits, embeddings = predict_and_embed(run.model, batch.frames, batch.functionals, size)
        logits = logits[:, [run.emotions.index(emotion) for emotion in corpus.emotions]]
        logits = among(logits, batch.allowed)
        metrics = measure(run.config, run.model, batch, logits, corpus.emotions)
    targets, probabilities = batch.target.numpy(), logits.softmax(1).numpy()
    metrics |= scores_per_corpus(utterances, targets, probabilities.argmax(1), corpus.emotions)
    answers = utterances, targets, probabilities
    return Evaluation(run, corpus, is_test, *answers, metrics, embeddings=embeddings.numpy())


def _everything(run: LoadedRun, corpus: Corpus, progress: bool) -> tuple[tuple[Utterance, ...], Batch]:
    """All usable utterances of a corpus, with their features and classes."""
    features = load_features(corpus, run.config.features, run.config.data.cache_dir, progress)
    target = torch.tensor([corpus.emotions.index(utterance.emotion) for utterance in features.utterances])
    allowed = allowed_emotions(corpus, features.utterances)
    return features.utterances, Batch(features.frames, features.functionals, target, allowed)


def evaluate_across(
    run_dir: str | Path, name: str, overrides: Sequence[str] = (), progress: bool = True
) -> Evaluation:
    """Test a run on another corpus than that of its training, over the emotions that both have.

    All recordings of these count, and the network chooses among these alone. Of the overrides, `data.root`,
    `data.columns` and `data.labels` are about the other corpus. The results lie in the run's folder
    `cross-corpus_NAME` (see Evaluation.folder), the metrics with `protocol`, `corpus`, `trained_on` and
    `recordings`. A UserError where the run was trained on that corpus (one of the user's own is known by its
    recordings, not its name) or on recordings of it, or both share fewer than two emotions.
    """
    about_it = "data.root", "data.labels", "data.columns"
    places = [override for override in overrides if override.partition("=")[0].strip() in about_it]
    run = load_run(run_dir, [override for override in overrides if override not in places])
    try_output(run.path / runs.PREDICTIONS_FILE)
    place = load_config(runs.DEFAULT_CONFIG, [f"data.corpus={name}", *places]).data
    other = {key: getattr(place, key) for key in ABOUT_CORPUS}
    data = run.config.data.model_copy(update=other)
    trained_on, corpus = runs.read_run(run.path).corpus, find_corpus(data)
    for warning in corpus.warnings:
        warn(warning)
    same_name = corpus.name.removesuffix(HEARD) in (one.removesuffix(HEARD) for one in trained_on.split("+"))
    known_by_sound = corpus.name.startswith(OWN) and run.split and run.split.recordings
    if same_name and not known_by_sound:
        raise UserError(f"{run.path} was trained on {trained_on}: a test across corpora needs another one.")
    shared = tuple(emotion for emotion in run.emotions if emotion in corpus.emotions)
    if len(shared) < 2:
        raise UserError(
            f"{trained_on} and {corpus.name} share {len(shared)} emotions "
            f"({', '.join(run.words[one] for one in shared) or 'none'}); a "
            "test needs at least two."
        )
    unknown = Counter(corpus.words[one.emotion] for one in corpus.utterances if one.emotion not in shared)
    if unknown:
        left_out = f"{many(unknown.total(), 'utterance')} of {corpus.name} left out"
        emotions = (f"{word} ({count})" for word, count in unknown.items())
        warn(f"{left_out}, for the run does not know the emotion: {', '.join(emotions)}")
    chosen = tuple(utterance for utterance in corpus.utterances if utterance.emotion in shared)
    corpus = identified_corpus(replace(corpus, emotions=shared, utterances=chosen), data.cache_dir, progress)
    _check_strangers(run, corpus, progress)
    evaluation = _answer(run, corpus, *_everything(run, corpus, progress))
    evaluation.metrics.update(protocol=["cross-corpus"], corpus=[corpus.name], trained_on=[trained_on])
    evaluation.metrics["recordings"] = [runs.recordings_key(recorded(evaluation.utterances))]
    save(evaluation, None, None)
    return evaluation


def _check_strangers(run: LoadedRun, corpus: Corpus, progress: bool) -> None:
    """Raise a UserError where the run was trained or validated on recordings of another corpus, or on copies.

    Copies through a codec are noticed where the corpus of the training is here.
    """
    if run.split is None:
        return
    own: tuple[Utterance, ...] = ()
    try:
        place, name = corpus_settings(run.config.data, run.split), run.split.corpus
        trained_on = find_corpus(place, name == "demo", name)
        own = identified_corpus(trained_on, run.config.data.cache_dir, progress).utterances
    except CorpusError as error:
        noticed = "only exact" if run.split.recordings else "no"
        warn(f"{error} Without it {noticed} copies of recordings that the run learned from are noticed.")
    names = {*run.split.train, *run.split.validation}
    own = tuple(replace(one, own_name=f"learned: {one.name}") for one in own if one.name in names)
    same = copies((*own, *corpus.utterances))
    learned = {run.split.recordings.get(name, " ").partition(" ")[0] for name in names}
    known = [
        one.name
        for one in corpus.utterances
        if (one.fingerprint and one.fingerprint in learned) or same.get(one.name, "").startswith("learned: ")
    ]
    if known:
        count = f"{len(known)} of {len(corpus.utterances)} recordings of {corpus.root}"
        remedy = "A test needs others: take these out, or evaluate the run on its own test set."
        raise UserError(f"{run.path} was trained or validated on {count}: {some(known)}. {remedy}")


def evaluate_others(results_dir: str | Path, overrides: Sequence[str] = ()) -> None:
    """Evaluate all runs that have weights and no test metrics yet; a warning says why where one cannot be."""
    for run in runs.list_runs(results_dir):
        if run.has_weights and run.test is None:
            try:
                evaluate(run.path, overrides)
            except UserError as error:
                warn(f"not evaluated: {error}")


def measure(
    config: Config, model: nn.Module, batch: Batch, logits: Tensor, emotions: Sequence[str] = EMOTIONS
) -> dict[str, list]:
    """The content of the file of test metrics, each key a list.

    Keys of the earlier implementation: `model`, `epoch` (empty), `loss` (with the training's label
    smoothing), four scores, inference times (seconds), `trainable_parameters`. Added: `uar`,
    `loss_without_smoothing`; `…_interval` of each score ([low, high], 95 %); `emotions` and, in their order,
    `…_per_emotion` and `confusion_matrix` (rows: the true emotion); `expected_calibration_error` without a
    temperature; `utterances`; `device`.
    """
    targets, predictions = batch.target.numpy(), logits.argmax(1).numpy()
    how = {"labels": range(logits.shape[1]), "zero_division": 0}
    *each, _ = precision_recall_fscore_support(targets, predictions, **how)
    per_emotion = zip(("precision", "recall", "f1_score"), each, strict=True)
    one, total = time_inference(model, batch)
    return {
        "model": [config.model.name],
        "epoch": [],
        "loss": [cross_entropy(logits, batch.target, config.train.label_smoothing, batch.allowed).item()],
        "loss_without_smoothing": [cross_entropy(logits, batch.target, 0.0, batch.allowed).item()],
        "expected_calibration_error": [reliability(logits.softmax(1).numpy(), targets).error],
        "inference_time_one_sample": [one],
        "inference_time_tot": [total],
        "trainable_parameters": [count_parameters(model)],
        "device": [describe_device(model)],
        **score_columns(targets, predictions, emotions),
        **{f"{score}_per_emotion": values.tolist() for score, values in per_emotion},
    }


def scores_per_corpus(
    utterances: Sequence[Utterance], targets: np.ndarray, predictions: np.ndarray, emotions: Sequence[str]
) -> dict[str, list]:
    """More keys of the file of test metrics, for several corpora; nothing for one alone.

    `corpora` and, in their order, `utterances_per_corpus`, `accuracy_per_corpus` and `uar_per_corpus` with
    `…_interval_per_corpus` ([low, high], 95 %).
    """
    of = np.array([utterance.corpus for utterance in utterances])
    corpora = sorted(set(of.tolist()))
    if corpora == [""]:
        return {}
    found: dict[str, list] = {"corpora": corpora}
    each = [score_columns(targets[of == one], predictions[of == one], emotions) for one in corpora]
    for key in ("utterances", "accuracy", "accuracy_interval", "uar", "uar_interval"):
        found[f"{key}_per_corpus"] = [columns[key][0] for columns in each]
    return found


@torch.inference_mode()
def time_inference(model: nn.Module, batch: Batch) -> tuple[float, float]:
    """Seconds from features to logits: the median of one utterance, and of all, one after the other."""
    device = next(model.parameters()).device
    arrays = [array.to(device).split(1) for array in batch[:2] if array is not None]
    calls = {str(row): partial(model, *sample) for row, sample in enumerate(zip(*arrays, strict=True))}
    times = np.array(list(measure_in_turns(calls, TIMING_PASSES).values()))
    return float(np.median(times)), float(np.median(times.sum(0)))


def voices_of(data: Data) -> dict[str, list]:
    """More keys of the file of test metrics: `speakers` and, of these, `speakers_trained_on`.

    Nothing where the corpus does not name the speaker of an utterance, or has lost one of the training set.
    """
    subsets = data.split.test, data.split.train
    tested, trained = (speakers_of(names, data.corpus.utterances) for names in subsets)
    if any(map(is_unknown, tested | trained)):
        return {}
    return {"speakers": sorted(tested), "speakers_trained_on": sorted(tested & trained)}


def trust_in_words(metrics: Mapping[str, Any]) -> list[str]:
    """How far to trust test metrics: whose voices, how many utterances, and how wide the UAR's interval."""
    tested, trained = (metrics.get(key) for key in ("speakers", "speakers_trained_on"))
    voices = "Whether the test speakers were trained on is not known."
    if metrics.get("protocol") == ["cross-corpus"]:
        own = [any(kind in metrics[key][0] for kind in OWN) for key in ("corpus", "trained_on")]
        if not all(own):  # else they may have speakers in common
            voices = f"The test speakers are those of another corpus than {metrics['trained_on'][0]}."
    elif tested:
        known = f"{len(trained or ())} of the {len(tested)} test speakers were trained on: this"
        voices = f"{known} {'does not measure' if trained else 'measures'} unknown voices."
    low, high = metrics["uar_interval"][0]
    counts = [count for count in metrics["utterances_per_emotion"] if count]
    size = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    size = f"{size} test utterances of each emotion; UAR {percent_range(low, high)} (95 % interval)"
    if high - low > WIDE:
        size += ": the test set is small, and a difference of a few points is within its chance"
    size += "."
    return [voices, size]


def describe_device(model: nn.Module) -> str:
    """Where the network computes, in words."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {many(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else device.type


def save(evaluation: Evaluation, training: History | None, validation: History | None) -> None:
    """Write metrics, predictions and both plots into evaluation.folder, each also where another fails."""
    run_dir, metrics = evaluation.folder, evaluation.metrics
    metrics_file = run_dir / f"{evaluation.run.config.model.name}{runs.TEST_METRICS_SUFFIX}"
    try:
        run_dir.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {run_dir}: {error.strerror or error}.") from error
    writings = [
        partial(write_json, metrics_file, metrics, indent=4),
        partial(write_atomically, run_dir / runs.PREDICTIONS_FILE, predictions_csv(evaluation)),
        partial(save_figure, confusion_figure(evaluation), run_dir / runs.CONFUSION_PLOT_FILE),
    ]
    if training is not None and validation is not None:
        title = f"{run_dir.name} · {evaluation.corpus.name} corpus"
        figure = plot_history(training, validation, title, evaluation.run.config.train.keep)
        writings.append(partial(save_figure, figure, run_dir / runs.HISTORY_PLOT_FILE))
    if problems := problems_of(writings):
        raise UnsavedError("\n".join(problems), evaluation)


def predictions_csv(evaluation: Evaluation) -> str:
    """One line an utterance: its codes, the true and the predicted emotion, each emotion's probability."""
    emotions = evaluation.corpus.emotions
    rows = [unique(["utterance", "speaker", "sentence", "true", "predicted", *emotions])]
    answers = zip(evaluation.utterances, evaluation.predictions, evaluation.probabilities, strict=True)
    for utterance, predicted, probabilities in answers:
        codes = utterance.name, utterance.speaker, utterance.sentence, utterance.emotion, emotions[predicted]
        rows.append([*codes, *(f"{probability:.6f}" for probability in probabilities)])
    return csv_text(rows)


def confusion_figure(evaluation: Evaluation) -> Figure:
    """The confusion matrix as a figure."""
    matrix, emotions = np.array(evaluation.metrics["confusion_matrix"]), evaluation.corpus.emotions
    return plot_confusion_matrix(matrix, emotions, evaluation.run.words, evaluation.title)


def scores_table(evaluation: Evaluation) -> Table:
    """The scores with their intervals, and the parameters."""
    metrics = {key: values[0] for key, values in evaluation.metrics.items() if values}
    shown = distinct_scores(metrics)
    labels = {score: f"{name}, macro" for score, name in shown.items()}
    also = "" if "accuracy" in shown else ", also the accuracy"
    words = {"uar": f"unweighted average recall (UAR){also}", "accuracy": "accuracy (WAR)"}
    labels |= {score: name for score, name in words.items() if score in shown}
    bounds = {score: percent_range(*metrics[f"{score}_interval"]) for score in labels}
    rows = [(label, percent(metrics[score]), bounds[score]) for score, label in labels.items()]
    loss = metrics.get("loss_without_smoothing")  # which earlier evaluations did not record
    rows += [
        ("loss (cross-entropy, nats)", NOTHING if loss is None else f"{loss:.3f}", ""),
        ("expected calibration error", percent(metrics["expected_calibration_error"]), ""),
        ("trainable parameters", f"{metrics['trainable_parameters']:,}", ""),
    ]
    note = f"Intervals: bootstrap over the {metrics['utterances']} utterances."
    if missing := evaluation.metrics.get("missing_emotions"):
        note += f" Emotions without any utterance: {', '.join(without_codes(missing, evaluation.run.words))}."
    notes = [*(trust_in_words(evaluation.metrics) if evaluation.is_test else ()), note]
    if "trained_on" in metrics:
        shared = ", ".join(evaluation.run.words[one] for one in evaluation.corpus.emotions)
        notes.append(f"An answer is one of the emotions that the run knows and the corpus has: {shared}.")
    return Table.of(("measure", "value", "95 % interval"), rows, evaluation.title, notes)


def emotions_table(evaluation: Evaluation) -> Table:
    """Precision, recall and F1 of each emotion."""
    metrics = evaluation.metrics
    scores = {"precision": "precision", "recall": "recall", "F1": "f1_score"}
    rows = [
        {
            "emotion": evaluation.run.words[emotion],
            "utterances": str(metrics["utterances_per_emotion"][row]),
            **{label: percent(metrics[f"{score}_per_emotion"][row]) for label, score in scores.items()},
        }
        for row, emotion in enumerate(metrics["emotions"])
    ]
    return Table(rows, "Each emotion")


def corpora_table(evaluation: Evaluation) -> Table:
    """Utterances, accuracy and UAR of each of several corpora."""
    metrics, rows = evaluation.metrics, []
    for place, corpus in enumerate(metrics["corpora"]):
        row = {"corpus": corpus, "utterances": str(metrics["utterances_per_corpus"][place])}
        for key, name in (("uar", "UAR"), ("accuracy", "accuracy")):
            row[name] = percent(metrics[f"{key}_per_corpus"][place])
            row[f"{name}: 95 % interval"] = percent_range(*metrics[f"{key}_interval_per_corpus"][place])
        rows.append(row)
    return Table(rows, "Each corpus", ["An answer is one of the emotions that the corpus has."])


def misjudged_table(evaluation: Evaluation, most: int) -> Table:
    """The misjudged utterances of which the network was surest, `most` of them at most."""
    words, rows = [evaluation.run.words[one] for one in evaluation.corpus.emotions], evaluation.misjudged()
    shown = [
        {
            "utterance": evaluation.utterances[row].name,
            "true": words[evaluation.targets[row]],
            "predicted": words[evaluation.predictions[row]],
            "probability": percent(evaluation.probabilities[row].max()),
            "probability of the true one": percent(evaluation.probabilities[row, evaluation.targets[row]]),
        }
        for row in rows[:most]
    ]
    notes = [f"and {len(rows) - most} more"] if len(rows) > most else []
    return Table(shown, f"{len(rows)} of {len(evaluation.targets)} utterances are misjudged", notes)


@command
def main(options: Namespace) -> None:
    if options.corpus and options.everything:
        raise UserError("--corpus takes the whole of another corpus; --all is about the run's own")
    unsaved = None
    try:
        if options.corpus:
            evaluation = evaluate_across(options.run_dir, options.corpus, options.overrides)
        else:
            how = {"everything": options.everything, "changed": options.changed}
            evaluation = evaluate_or_recall(options.run_dir, options.overrides, **how)
    except UnsavedError as error:
        evaluation, unsaved = error.evaluation, error
    print(scores_table(evaluation), emotions_table(evaluation), sep="\n\n")
    if "corpora" in evaluation.metrics:
        print(f"\n{corpora_table(evaluation)}")
    if evaluation.recalled:
        raise SystemExit(1)
    if unsaved:
        raise unsaved
    if evaluation.is_test:
        print(f"\nWritten into {evaluation.folder}: metrics, predictions and plots.")
        by_speaker = evaluation.run.config.features.normalise == "speaker"
        norm = ["--same-speaker", "FOLDER"] if by_speaker else []
        words = as_typed(evaluation.run.path), *norm, "hello.wav"
        print(f"Next, with a recording of yours: {command_line('testing.predict', *words)}")

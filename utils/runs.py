"""Run directories: one training's configuration, split, weights, metrics and plots."""

import ast
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from utils.config import Config, ConfigError, load_config
from utils.emotions import EMOTIONS, ENGLISH, in_own_words
from utils.errors import UserError, some
from utils.files import expanded
from utils.metrics import History, MetricsError, read_json
from utils.progress import warn

MODEL_FILE = "model.pt"
PARAMETERS_FILE = "parameters.txt"
SPLIT_FILE = "split.json"
EMOTIONS_FILE = "emotions.json"  # the classes, in the order of the network's scores
STANDARDISATION_FILE = "standardisation.json"
TRAINING_METRICS_FILE = "training_metrics.json"
VALIDATION_METRICS_FILE = "validation_metrics.json"
EPOCHS_FILE = "epochs.csv"  # both, for spreadsheets; nothing reads it back
TEST_METRICS_SUFFIX = "_test_metrics.json"  # after the network's name
PREDICTIONS_FILE = "predictions.csv"
# Begin the names of folders with the same files, of tests on another corpus and on changed recordings.
CROSS_CORPUS, CHANGED_RECORDINGS = "cross-corpus_", "changed-recordings"
RESUME_FILE = "resume.pt"  # what an unfinished training needs to go on
CALIBRATION_FILE = "calibration.json"  # by testing.calibration
ENROLMENT_FILE = "enrolment.json"  # by testing.enrolment
# What a run is; no output of a command may take its place.
OF_A_RUN = (MODEL_FILE, PARAMETERS_FILE, SPLIT_FILE, EMOTIONS_FILE, STANDARDISATION_FILE, RESUME_FILE)
OF_A_RUN += (TRAINING_METRICS_FILE, VALIDATION_METRICS_FILE, EPOCHS_FILE, CALIBRATION_FILE)
HISTORY_PLOT_FILE = "loss_acc.png"
CONFUSION_PLOT_FILE = "confusion_matrix.png"

TEST_METRICS = {"model", "accuracy", "recall", "precision", "f1_score", "inference_time_one_sample"}
TEST_METRICS |= {"inference_time_tot", "trainable_parameters"}  # of one value each
DEFAULT_CONFIG = Path(__file__).parents[1] / "conf/config.yaml"
# The network for recordings of any kind; its features end at 7 kHz, so that 16 kHz are as good as 48.
SHIPPED_RUN = DEFAULT_CONFIG.parents[1] / "training/results/TIM_TAB6_for_everyone"
ENROLLED_RUN = SHIPPED_RUN.with_name("TIM_for_enrolled_speakers")  # in its place for a known speaker
PUBLISHED_CONFIG = DEFAULT_CONFIG.with_name("published.yaml")
# The user must say these of a run whose configuration is lost, where its name does not.
FALLBACK_KEYS = ("model.af_type", "model.hidden_scale", "model.n_temporal_aware_block", "model.omega_0")
IN_NAMES = {  # of run directories, between underscores
    "data.protocol": r"((?:speaker_)?kfold|leave_one_(?:speaker|sentence)_out)",
    "model.n_temporal_aware_block": r"TAB(\d+)",
    "model.omega_0": r"omega_0_(\d+)",
    "data.fold": r"fold(\d+)",
    "train.seed": r"seed(\d+)",
}


def run_name(config: Config, corpus: str, now: datetime | None = None) -> str:
    """For instance `CkTIM_aug_RAVDESS_TAB6_seed0_2026-01-31_14-05-59`; of EMOVO the corpus is left out.

    Protocols other than holdout stand there with the fold: `CkTIM_TAB6_kfold_fold3_seed0_2026-…`.
    """
    data, model = config.data, config.model
    parts = [model.name, "aug" if model.aug else ""]
    parts += [re.sub(r"[\W_]+", "-", corpus)[:40] if corpus != "EMOVO" else ""]
    parts += [f"TAB{model.n_temporal_aware_block}"]
    parts += [f"{data.protocol}_fold{data.fold}" if data.protocol != "holdout" else ""]
    parts += [f"seed{config.train.seed}", now.strftime("%Y-%m-%d_%H-%M-%S") if now else ""]
    return "_".join(filter(None, parts))


def create_run_dir(config: Config, corpus: str) -> Path:
    """Make a new, empty run directory; two runs of the same second get different ones."""
    results, name = expanded(config.train.results_dir), run_name(config, corpus, datetime.now())
    for attempt in count(1):
        run_dir = results / (name if attempt == 1 else f"{name}_{attempt}")
        try:
            run_dir.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot write the results folder {results} (train.results_dir): {error.strerror}. "
                "Choose a folder that you may write to."
            ) from error
    return run_dir


@dataclass(frozen=True)
class Run:
    """A run directory's content without its weights (for those: testing.load_run.load_run)."""

    path: Path
    config: Config | None  # None where it holds no configuration that can be read
    corpus: str  # such as "EMOVO"; "demo" is synthetic speech, from which no result may be drawn
    training: History | None  # metrics of each epoch
    validation: History | None
    test: Mapping[str, list] | None  # metrics of the test set, each a list; None before testing.evaluate ran
    protocol: str | None = None  # how the test set was drawn: "holdout", "partition FILE"; None: not recorded
    fold: int | None = None  # which of the folds the test set is, counted from 0; None: it has none
    folds: int | None = None  # how many there are
    recordings: str | None = None  # how many, and a hash of them (recordings_key); None: not recorded
    words: Mapping[str, str] = field(default_factory=lambda: ENGLISH)  # emotion → the word that people see

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Key → value, such as `model.ck`; without a configuration the few in the directory's name."""
        return flat(self.config) if self.config else name_tells(self.name)

    @property
    def network(self) -> str:
        """CkTIM, CkkTIM or TIM; the directory's name where neither that nor a configuration says it."""
        return self.config.model.name if self.config else network_of(self.name) or self.name

    @property
    def has_weights(self) -> bool:
        """Whether it can be evaluated."""
        return (self.path / MODEL_FILE).is_file()


def read_run(run_dir: str | Path) -> Run:
    """Read a run directory, ours or one of the earlier implementation.

    A configuration that cannot be read is no error here; load_run says what to do about it.
    """
    run_dir = existing_run_dir(run_dir)
    try:
        config = read_parameters(run_dir / PARAMETERS_FILE)
    except ConfigError:
        config = None
    split: dict[str, Any] = {"corpus": "demo" if "demo" in run_dir.name.split("_") else "EMOVO"}
    if (path := run_dir / SPLIT_FILE).exists():  # dataloader.splits reads the whole file
        content = read_json(path)
        try:
            split = {key: str(content[key]) for key in ("corpus", "protocol")}
            split["protocol"] += f" {content['partition']}" if content.get("partition") else ""
            split |= {key: content.get(key) for key in ("fold", "folds")}
            split["recordings"] = recordings_key(content.get("recordings", {}))
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is not a split: it lacks {error}. Restore it, or train anew.") from error
    metrics = (run_dir / file for file in (TRAINING_METRICS_FILE, VALIDATION_METRICS_FILE))
    training, validation = (History.load(path) if path.exists() else None for path in metrics)
    tests = sorted(run_dir.glob(f"*{TEST_METRICS_SUFFIX}"))
    test = read_test_metrics(tests[0]) if tests else None
    measured: dict[str, Any] = {"training": training, "validation": validation, "test": test}
    return Run(run_dir, config, **split, **measured, words=read_words(run_dir))


def recordings_key(recordings: Mapping[str, str]) -> str | None:
    """Recordings as a split has them, in short: `588 recordings, 1f2e3d4c`, equal for the same ones alone."""
    text = json.dumps(sorted(recordings.items()))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{len(recordings)} recordings, {digest}" if recordings else None


def existing_run_dir(run_dir: str | Path) -> Path:
    """The directory; a UserError where it is not there, or holds neither weights nor metrics."""
    run_dir = expanded(run_dir)
    if not run_dir.is_dir():
        siblings = sorted(path.name for path in run_dir.parent.glob("*") if is_run_dir(path))
        there = f"; {run_dir.parent} holds {some(siblings)}" if siblings else ""
        raise UserError(f"there is no run directory {run_dir}{there}.")
    if not is_run_dir(run_dir):
        raise UserError(
            f"{run_dir} is not a run directory: it holds neither {MODEL_FILE} nor {TRAINING_METRICS_FILE}. "
            "Name a directory that a training made."
        )
    return run_dir


def list_runs(results_dir: str | Path) -> list[Run]:
    """All runs in a results folder, in the order of their names; damaged ones are left out with a warning."""
    found = []
    for path in filter(is_run_dir, sorted(expanded(results_dir).glob("*"))):
        try:
            found.append(read_run(path))
        except UserError as error:
            warn(f"left out: {error}")
    return found


def newest_run(results_dir: str | Path) -> Path:
    """The run directory whose weights were written last, rather one that recorded its test set."""
    weights = list(expanded(results_dir).glob(f"*/{MODEL_FILE}"))
    if not weights:
        raise UserError(
            f"{results_dir} holds no run with weights ({MODEL_FILE}) yet: train one, with "
            "notebook_train.ipynb or `python -m training.train`."
        )
    return max(weights, key=lambda path: (path.with_name(SPLIT_FILE).exists(), path.stat().st_mtime)).parent


def files_of(run_dir: str | Path) -> list[Path]:
    """The files that make a run."""
    return [expanded(run_dir) / name for name in OF_A_RUN]


def read_test_metrics(path: str | Path) -> dict[str, list]:
    """A file of test metrics: each key a list, most of one value (see testing.evaluate)."""
    try:
        content = read_json(Path(path))
    except MetricsError as error:
        raise MetricsError(f"{error} Or evaluate the run: that writes it anew.") from error
    lists = isinstance(content, dict) and all(isinstance(values, list) for values in content.values())
    if not lists or any(len(content.get(key, ())) != 1 for key in TEST_METRICS):
        raise MetricsError(
            f"{path} does not hold test metrics: expected lists of one value for "
            f"{', '.join(sorted(TEST_METRICS))}. Evaluate the run: that writes it anew."
        )
    return content


def read_emotions(run_dir: Path) -> tuple[str, ...]:
    """The run's classes; EMOVO's seven where it did not record them, as in earlier runs."""
    if not (path := run_dir / EMOTIONS_FILE).exists():
        return EMOTIONS
    content = read_json(path)
    emotions = content.get("emotions") if isinstance(content, dict) else content  # in earlier runs a list
    if not (isinstance(emotions, list) and emotions and all(isinstance(one, str) for one in emotions)):
        raise UserError(f"{path} holds no list of emotions. Restore it, or train anew.")
    return tuple(emotions)


def read_words(run_dir: Path) -> Mapping[str, str]:
    """Emotion → the word that people see: the user's own; the English one where none is recorded."""
    content = read_json(path) if (path := run_dir / EMOTIONS_FILE).exists() else {}
    own = content.get("words", {}) if isinstance(content, dict) else {}
    if not (isinstance(own, dict) and all(isinstance(word, str) for word in own.values())):
        raise UserError(f"{path} holds no words for emotions. Restore it, or train anew.")
    return in_own_words(own)


def read_parameters(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a run's parameters.txt, with overrides (`key=value`) on top.

    The earlier implementation printed dictionaries there, `train: {…}` and `model: {…}`; all else was as in
    conf/published.yaml. Only literals are read from these lines, nothing is run.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        lines = re.findall(r"^(\w+): (\{.*\})\s*$", text, flags=re.MULTILINE)
        printed = {name: ast.literal_eval(line) for name, line in lines}
    except (OSError, ValueError, SyntaxError, MemoryError, RecursionError):
        printed = {}  # load_config explains it
    if printed.keys() != {"train", "model"}:
        return load_config(path, overrides)
    recorded = [
        f"{section}.{key}={json.dumps(value, default=str, ensure_ascii=False)}"
        for section, values in printed.items()
        for key, value in values.items()
    ]
    try:
        return load_config(PUBLISHED_CONFIG, [*recorded, *overrides])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def flat(config: Config) -> dict[str, Any]:
    """A configuration as one mapping, `section.key` → value."""
    sections = config.model_dump(mode="json").items()
    return {f"{section}.{key}": value for section, values in sections for key, value in values.items()}


def name_tells(name: str) -> dict[str, Any]:
    """Settings in a directory's name; without a network's name in it, it is the user's own and has none."""
    network = network_of(name)
    if not network:
        return {}
    told: dict[str, Any] = {"model.ck": network != "TIM"}
    if network != "TIM":
        told["model.generator_type"] = "convKan" if network == "CkkTIM" else "conv"
    if "aug" in name.split("_"):
        told["model.aug"] = True
    for key, pattern in IN_NAMES.items():
        if found := re.search(rf"(?<![^_]){pattern}(?![^_])", name):
            told[key] = int(found[1]) if found[1].isdecimal() else found[1]
    return told


def network_of(name: str) -> str | None:
    """CkTIM, CkkTIM or TIM, where a directory's name holds it."""
    return next((word for word in name.split("_") if word in ("CkTIM", "CkkTIM", "TIM")), None)


def config_from_name(run_dir: Path, overrides: Sequence[str], published: bool) -> Config:
    """A configuration for a run that has lost its own, from its name and overrides (`key=value`).

    Together they must hold FALLBACK_KEYS. All else is as in conf/published.yaml, or as in conf/config.yaml.
    """
    told = name_tells(run_dir.name)
    given = {override.partition("=")[0].strip() for override in overrides}
    missing = [key for key in ("model.ck", *FALLBACK_KEYS) if key not in told.keys() | given]
    if missing:
        raise UserError(
            f"{run_dir} has no configuration that can be read ({PARAMETERS_FILE}), and neither its name nor "
            f"the call tells {', '.join(missing)}. Give the directory the name that it had (CkTIM, CkkTIM or "
            f"TIM, then _aug where it was trained so), and {', '.join(FALLBACK_KEYS)} as key=value."
        )
    by_name = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in told.items()]
    config = load_config(PUBLISHED_CONFIG if published else DEFAULT_CONFIG, [*by_name, *overrides])
    check_agreement(run_dir, {"its name": told, "the call": flat(config)})
    return config


def check_agreement(run_dir: Path, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise a UserError where sources (in words → key → value) disagree about a setting of a run."""
    conflicts = []
    for key in dict.fromkeys(key for settings in sources.values() for key in settings):
        values = [(settings[key], source) for source, settings in sources.items() if key in settings]
        if any(value != values[0][0] for value, _ in values):
            said = (f"{json.dumps(value)} by {source}" for value, source in values)
            conflicts.append(f"{key} is {', '.join(said)}")
    if conflicts:
        raise UserError(f"{run_dir} contradicts itself: {'; '.join(conflicts)}. Correct what is wrong.")


def is_run_dir(path: str | Path) -> bool:
    """Whether a directory looks like a run."""
    return any(os.path.isfile(Path(path) / file) for file in (MODEL_FILE, TRAINING_METRICS_FILE))

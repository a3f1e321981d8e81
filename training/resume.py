"""A training that was stopped goes on from its last whole epoch: `python -m training.train resume=RUN_DIR`.

After each epoch one file holds all that the next one depends on. On the CPU, with the same versions and
number of threads, the run ends with the metrics of an undisturbed one, to the last digit.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from dataloader.loaders import Data, prepare_data
from dataloader.splits import load_split
from utils import runs
from utils.config import Config, migrate, save_config
from utils.errors import UserError
from utils.files import TensorsError, expanded, read_tensors, write_atomically
from utils.metrics import History, save_csv
from utils.progress import warn

LOCK_FILE = ".training.lock"
# Settings that may differ from those at the beginning: places of files, the device, and the log.
FREE_KEYS = ("data.root", "data.cache_dir", "data.demo_dir", "train.device", "train.log")
END = "train.num_epochs"  # may be raised
ANEW = "to train anew, leave `resume` out (in the notebook: RESUME = False)."
UNTOUCHED = f"The other files of the run are untouched; {ANEW}"


class ResumeError(UserError):
    """A training that cannot go on from where it stopped."""


@dataclass
class Progress:
    """The metrics of a training's whole epochs."""

    training: History
    validation: History
    best_loss: float = float("inf")  # the lowest on the validation set
    best_epoch: int = -1  # counted from 0
    settings: Mapping[str, Any] = field(default_factory=dict)  # section.key → value, with which it goes on

    @property
    def epochs(self) -> int:
        """How many epochs are whole."""
        return len(self.training)

    def append(self, epoch: int, rate: float, seconds: float, training: Mapping, validation: Mapping) -> bool:
        """Add an epoch; returns whether its validation loss is the lowest so far."""
        self.training.append(epoch=epoch, learning_rate=rate, seconds=seconds, **training)
        self.validation.append(epoch=epoch, **validation)
        is_best = validation["loss"] < self.best_loss
        if is_best:
            self.best_loss, self.best_epoch = validation["loss"], epoch
        return is_best

    def save(self, run_dir: Path) -> None:
        """Write the metrics files."""
        self.training.save(run_dir / runs.TRAINING_METRICS_FILE)
        self.validation.save(run_dir / runs.VALIDATION_METRICS_FILE)
        save_csv(self.training, self.validation, run_dir / runs.EPOCHS_FILE)


def save_state(run_dir: Path, progress: Progress, **parts: Any) -> None:
    """Write all that the next epoch depends on; `parts` (model, optimizer, scheduler) have a `state_dict`.

    Shuffling and augmentation draw from seed and epoch; only dropout draws from PyTorch's generators.
    """
    state = {
        **{name: part.state_dict() for name, part in parts.items()},
        "random": {name: module.get_rng_state() for name, module in _generators().items()},
        "training": progress.training.columns,
        "validation": progress.validation.columns,
        "best_loss": progress.best_loss,
        "best_epoch": progress.best_epoch,
        "settings": dict(progress.settings),
    }
    save_tensors(run_dir / runs.RESUME_FILE, state)


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors, in any plain Python values, for torch.load; whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_state(run_dir: Path, progress: Progress, **parts: Any) -> None:
    """Restore progress, parts and random states; a ResumeError where the file is damaged or does not fit."""
    path, state = run_dir / runs.RESUME_FILE, _read_state(run_dir)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        progress.training.columns, progress.validation.columns = state["training"], state["validation"]
        progress.best_loss, progress.best_epoch = state["best_loss"], state["best_epoch"]
        for name, module in _generators().items():
            if name == "cpu" or name in state["random"]:  # the other devices may be new
                module.set_rng_state(state["random"][name])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ResumeError(f"{path} is not of this training ({reason}). {UNTOUCHED}") from error


def _read_state(run_dir: Path) -> Any:
    try:
        return read_tensors(run_dir / runs.RESUME_FILE)
    except TensorsError as error:
        raise ResumeError(f"{error} {UNTOUCHED}") from error


def check_settings(run_dir: Path, config: Config) -> None:
    """Raise a ResumeError that names the settings on which the weights depend, and which were others so far.

    `train.num_epochs` may be raised. A run that an earlier version has stopped recorded no settings.
    """
    state, given = _read_state(run_dir), _bound(config)
    recorded = migrate(state.get("settings", {})) if isinstance(state, dict) else {}
    changed = {key: given[key] for key in given if key in recorded and recorded[key] != given[key]}
    if changed.get(END, 0) > recorded.get(END, 0):
        del changed[END]
    if not config.model.aug:
        changed = {key: value for key, value in changed.items() if not key.startswith("augment.")}
    if changed:
        said = "; ".join(f"{key} was {recorded[key]}, and is {value} now" for key, value in changed.items())
        raise ResumeError(
            f"{run_dir} was trained with other settings: {said}. Put them back, in its "
            f"{runs.PARAMETERS_FILE}; {END} alone may be raised. {UNTOUCHED}"
        )


def go_on(run_dir: Path, config: Config) -> None:
    """Record the new end of a run, and remove what testing has found out about its weights so far."""
    recorded = runs.read_parameters(run_dir / runs.PARAMETERS_FILE)
    if config.train.num_epochs != recorded.train.num_epochs:
        longer = recorded.train.model_copy(update={"num_epochs": config.train.num_epochs})
        save_config(recorded.model_copy(update={"train": longer}), run_dir / runs.PARAMETERS_FILE)
    tested = runs.CALIBRATION_FILE, runs.ENROLMENT_FILE, runs.PREDICTIONS_FILE, runs.CONFUSION_PLOT_FILE
    places = [run_dir, *run_dir.glob(f"{runs.CROSS_CORPUS}*"), *run_dir.glob(f"{runs.CHANGED_RECORDINGS}*")]
    patterns = *tested, f"*{runs.TEST_METRICS_SUFFIX}"
    found = [path for place in places for pattern in patterns for path in place.glob(pattern)]
    for path in found:
        path.unlink()
    if found:
        names = ", ".join(path.relative_to(run_dir).as_posix() for path in found)
        warn(f"{names}: removed, for they are about the weights as they were before the training went on")


def configuration_of(run_dir: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a run that is to go on; overrides `key=value` are of FREE_KEYS, or raise END."""
    run_dir = Path(run_dir)
    if not (run_dir / runs.RESUME_FILE).is_file():
        if not (run_dir / runs.PARAMETERS_FILE).is_file():
            runs.existing_run_dir(run_dir)  # says what is wrong with it
        raise ResumeError(
            f"{run_dir} has no {runs.RESUME_FILE}, so its training cannot go on: it is finished, or was "
            f"stopped before the end of its first epoch; {ANEW}"
        )
    bound = [one for one in overrides if one.partition("=")[0].strip() not in (*FREE_KEYS, END)]
    if bound:
        problem = f"{', '.join(bound)}: a training goes on with the settings that it began with"
        raise ResumeError(f"{problem}. Only {', '.join(FREE_KEYS)} can be chosen, and {END} raised.")
    config = runs.read_parameters(run_dir / runs.PARAMETERS_FILE, overrides)
    check_settings(run_dir, config)
    return config


def moved(run_dir: Path, config: Config) -> list[str]:
    """The places of the data as `key=value`, where they are others than those that the run recorded."""
    now, then = runs.flat(config), runs.flat(runs.read_parameters(run_dir / runs.PARAMETERS_FILE))
    places = (key for key in FREE_KEYS if key.startswith("data.") and now[key] != then[key])
    return [f"{key}={one if isinstance(one := now[key], str) else json.dumps(one)}" for key in places]


def prepare_resumed(config: Config, run_dir: Path, progress: bool = True) -> Data:
    """The data of a run that is to go on (config: `configuration_of`), with the split that it recorded."""
    split, emotions = load_split(run_dir / runs.SPLIT_FILE), runs.read_emotions(run_dir)
    return prepare_data(config, progress, split, ("train", "validation"), emotions)


def check_same_data(run_dir: Path, data: Data) -> None:
    """Raise a ResumeError unless these are the emotions and the split that the run began with."""
    emotions = runs.read_emotions(run_dir)
    if emotions != tuple(data.corpus.emotions) or load_split(run_dir / runs.SPLIT_FILE) != data.split:
        raise ResumeError(
            f"{data.corpus.root} is no longer what the run in {run_dir} began with: its emotions or its "
            f"split have changed. Restore the corpus, or let data.root name it; {ANEW}"
        )


def unfinished_run(config: Config) -> Path | None:
    """The newest run in `train.results_dir` that has these settings, was stopped, and can go on; or None.

    One that another process is training at the moment does not count.
    """
    places = list(expanded(config.train.results_dir).glob(f"*/{runs.RESUME_FILE}"))
    for path in sorted(places, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            recorded = runs.read_parameters(path.with_name(runs.PARAMETERS_FILE))
            with being_trained(path.parent):
                if _bound(recorded) == _bound(config):
                    return path.parent
        except UserError:
            continue
    return None


@contextmanager
def being_trained(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training the same run within the block; a ResumeError where one does.

    The system lets go of the lock when a process dies. A file system without locks gives no protection.
    """
    lock = FileLock(run_dir / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        problem = f"{run_dir} is being trained by another process"
        raise ResumeError(f"{problem}: wait for its end, or stop it.") from None
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no open file; there the lock itself does, in the end
            (run_dir / LOCK_FILE).unlink()
        lock.release()


def _bound(config: Config) -> dict[str, Any]:
    """The settings that a run cannot change on its way."""
    free = (*FREE_KEYS, "train.results_dir")
    return {key: value for key, value in runs.flat(config).items() if key not in free}


def _generators() -> dict[str, Any]:
    """The modules with PyTorch's random generators on this machine."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    modules = {"cpu": torch.random, "cuda": torch.cuda, "mps": torch.mps}
    return {name: module for name, module in modules.items() if there[name]}

"""A training as it goes, for TensorBoard: `train.log: tensorboard`, then `tensorboard --logdir RUN_DIR`."""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataloader.audio import read_audio
from dataloader.loaders import Data
from models.losses import among
from testing.evaluate import Evaluation
from testing.load_run import load_run, predict
from training.resume import Progress
from utils.config import TrainConfig
from utils.errors import UserError
from utils.plots.results import plot_confusion_matrix
from utils.plots.style import as_image
from utils.progress import warn

FOLDER = "tensorboard"  # in the run directory
MATRICES = 4  # confusion matrices of a training
MISTAKES = 5  # utterances
WITHOUT_CURVE = ("epoch", "seconds")


def check_log(settings: TrainConfig) -> None:
    """Raise a UserError where `train.log` needs a package that is missing."""
    if settings.log == "tensorboard":
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            problem = f"train.log = tensorboard: a package is missing ({error})"
            raise UserError(f"{problem}. Install it with `python -m pip install tensorboard`.") from error


def tolerant(write: Callable[..., None]) -> Callable[..., None]:
    """Decorate what writes events: where that fails, a warning says so once, and no more are written."""

    @wraps(write)
    def wrapper(watch: "Watch", *args) -> None:
        try:
            if not watch.failed:
                write(watch, *args)
        except (OSError, ValueError) as error:  # UserError and AudioError too
            watch.failed = True
            warn(f"no more events for TensorBoard are written ({error}); the training goes on without them")

    return wrapper


class Watch:
    """Writes the events of a training, of its training and its validation set; never of the test set."""

    def __init__(self, run_dir: Path, data: Data, settings: TrainConfig) -> None:
        self.run_dir, self.data, self.settings, self.failed = run_dir, data, settings, False
        self.writers: dict = {}

    @tolerant
    def epoch(self, done: Progress, matrix: np.ndarray) -> None:
        """After an epoch's validation: loss, scores and learning rate; sometimes the confusion matrix."""
        for step in range(self._open(done.epochs), done.epochs + 1):
            for part, history in (("training", done.training), ("validation", done.validation)):
                for name in (name for name in history.columns if name not in WITHOUT_CURVE):
                    self.writers[part].add_scalar(name, history[name][step - 1], step)
        if done.epochs % -(-self.settings.num_epochs // MATRICES) == 0:
            self._draw_matrix(done.epochs, matrix)
        for writer in self.writers.values():
            writer.flush()

    @tolerant
    def finish(self, done: Progress) -> None:
        """After the training: sound and answers of utterances that the kept network gets wrong."""
        self._open(done.epochs + 1)
        run = load_run(self.run_dir, [f"train.device={self.settings.device}"])
        utterances = tuple(self.data.features.utterances[row] for row in self.data.rows("validation"))
        batch = self.data.arrays("validation")
        with run.model.frozen_kernels():
            logits = predict(run.model, batch.frames, batch.functionals, self.settings.batch_size)
        answers = batch.target.numpy(), among(logits, batch.allowed).softmax(1).numpy()
        judged = Evaluation(run, self.data.corpus, False, utterances, *answers, metrics={})
        rate, words = run.config.features.sample_rate, [run.words[emotion] for emotion in run.emotions]
        for place, row in enumerate(judged.misjudged()[:MISTAKES], start=1):
            truth, answer = words[judged.targets[row]], words[judged.predictions[row]]
            tag = f"mistakes/{place} {truth} recognised as {answer}".replace(" ", "_")
            wave = torch.from_numpy(read_audio(utterances[row].path, rate).clip(-1, 1))
            self.writers["validation"].add_audio(tag, wave[None], done.epochs, rate)
            self.writers["validation"].add_text(tag, judged.in_words(row), done.epochs)
        for writer in self.writers.values():
            writer.close()

    def _open(self, step: int) -> int:
        """Make the writers where there are none; returns the first step to write.

        Steps from there on that an earlier process has written do not count any more.
        """
        if not self.writers:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.run_dir / FOLDER
            step = step if folder.exists() else 1
            for part in ("training", "validation"):
                self.writers[part] = SummaryWriter(str(folder / part), purge_step=step)
        return step

    def _draw_matrix(self, step: int, matrix: np.ndarray) -> None:
        corpus = self.data.corpus
        title = f"{self.run_dir.name} · {corpus.name} corpus, validation set after epoch {step}"
        figure = plot_confusion_matrix(matrix, corpus.emotions, corpus.words, title)
        with Image.open(io.BytesIO(as_image(figure))) as image:
            pixels = np.asarray(image.convert("RGB"))
        self.writers["validation"].add_image("confusion_matrix", pixels, step, dataformats="HWC")

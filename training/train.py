"""Train one network: `python -m training.train [--config FILE] [key=value …]`, or train() from a notebook.

A training that was stopped goes on with `python -m training.train resume=RUN_DIR` (training.resume).
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("training.train")

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from dataloader.features.cache import READ_AHEAD
from dataloader.loaders import (
    Batch,
    BatchLoader,
    Data,
    feature_statistics,
    make_loader,
    make_training_loader,
    prepare_data,
)
from dataloader.splits import save_split
from models.cktim import DIRECTIONS, CkTIMNet, build_model, count_parameters
from models.losses import among, cross_entropy
from training import distributed
from training.resume import (
    Progress,
    being_trained,
    check_same_data,
    check_settings,
    configuration_of,
    go_on,
    load_state,
    moved,
    prepare_resumed,
    save_state,
    save_tensors,
)
from training.watch import Watch, check_log
from utils import runs
from utils.config import Config, TrainConfig, load_config, save_config
from utils.device import keep_freed_memory, memory, pick_device, seed_everything
from utils.errors import UserError, many
from utils.files import as_typed, command_line, expanded, write_json
from utils.metrics import History, confusion_matrix, keep_whole_epochs, scores_of
from utils.plots.style import save_figure
from utils.plots.training import plot_history
from utils.progress import progress_bar

WARM_UP = 0.1  # share of a one_cycle schedule in which the learning rate rises
BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"


class TrainingError(UserError):
    """A training that cannot go on; its whole epochs are saved."""


class LossError(ArithmeticError):
    """A loss that is not a finite number; the message says of which batch."""


def train(
    config: Config,
    data: Data | None = None,
    run_dir: Path | None = None,
    *,
    progress: bool = True,
    resume: bool = False,
) -> Path:
    """Train a run: corpus, features, split, loaders and network of a configuration, then `fit`.

    The test set is not touched: neither for training nor for choosing an epoch.

    Args:
        config: the whole configuration.
        data: corpus, features and split, where they are prepared already.
        run_dir: where to write; by default a new directory in config.train.results_dir.
        resume: go on with the training that was stopped in run_dir (config: training.resume).

    Returns:
        The run directory: model.pt, parameters.txt, split.json, emotions.json, standardisation.json,
        training_metrics.json, validation_metrics.json, epochs.csv, loss_acc.png;
        unless it is finished also resume.pt.
    """
    keep_freed_memory()
    check_memory(config)
    check_log(config.train)
    if resume and run_dir is not None:
        check_settings(run_dir, config)
    settings, first = config.train, distributed.rank() == 0  # of the processes that share this training
    seed_everything(settings.seed)
    device, progress = pick_device(settings.device), progress and first
    with distributed.first_before_others():
        if data is None and resume and run_dir is not None:
            data = prepare_resumed(config, run_dir, progress)
        elif data is None:
            data = prepare_data(config, progress)
        model, training, validation = prepared(config, data, device, progress)
    corpus = data.corpus.name
    run_dir = Path(distributed.from_first(lambda: run_dir or runs.create_run_dir(config, corpus)))
    if progress:
        tabs, parameters = config.model.n_temporal_aware_block, count_parameters(model)
        print(f"{model.name}, {many(tabs, 'TAB')}, {parameters:,} trainable parameters; device {device}")
        counts = f"{len(data.split.train)} utterances to train on, {len(data.split.validation)} to validate"
        print(f"{corpus} corpus: {counts}")
    if not first:
        torch.manual_seed(settings.seed + distributed.rank())  # for dropout of its own
    with being_trained(run_dir) if first else nullcontext():
        if resume:
            check_same_data(run_dir, data)
            if first:
                go_on(run_dir, config)
        elif first:
            describe_run(config, data, model, run_dir)
        watch = Watch(run_dir, data, settings) if first and settings.log == "tensorboard" else None
        options: dict[str, Any] = {"resume": resume, "recorded": runs.flat(config), "progress": progress}
        done, finished = fit(model, training, validation, settings, run_dir, watch=watch, **options)
        if finished and watch:
            watch.finish(done)
        if done.epochs and first:
            draw_history(done, data, run_dir, settings)
        if finished and first:
            (run_dir / runs.RESUME_FILE).unlink(missing_ok=True)
        elif first and (run_dir / runs.RESUME_FILE).exists():
            again = f"resume={as_typed(run_dir)}", *moved(run_dir, config)
            print(f"To go on: {command_line('training.train', *again)}")
    return run_dir


def check_memory(config: Config) -> None:
    """Raise a UserError where the features, or one step on a CPU, need more memory than the machine has.

    Both are lower bounds: the waveforms that are read ahead with one spectrogram, and what a step keeps of
    every TAB for its gradients, the results of two convolutions and of two batch norms.
    """
    features, model, available = config.features, config.model, memory()
    reading = 4 * READ_AHEAD * features.signal_length + 8 * (features.n_fft // 2 + 1) * features.frames
    maps = 4 * model.n_temporal_aware_block * DIRECTIONS * model.n_filter
    step = 4 * config.train.batch_size * features.frames * maps
    needs = {"extracting the features": (reading, "features.signal_length")}
    if pick_device(config.train.device).type == "cpu":
        needs["one step of the training"] = step, "train.batch_size, model.n_filter or features.signal_length"
    for work, (size, keys) in needs.items():
        if available is not None and size > available:
            problem = f"{work} takes at least {size / 1e9:,.0f} GB of memory, and this machine has"
            raise UserError(f"{problem} {available / 1e9:,.0f} GB: lower {keys}.")


def build_for(config: Config, data: Data) -> CkTIMNet:
    """The network of the configuration, for the data's emotions and features."""
    return build_model(config.model, len(data.corpus.emotions), *config.features.sizes)


def prepared(
    config: Config, data: Data, device: torch.device, progress: bool
) -> tuple[CkTIMNet, BatchLoader, BatchLoader]:
    """The network of a run at its beginning, and the batches of its training and its validation set."""
    settings, augment = config.train, config.augment if config.model.aug else None
    mean, std = feature_statistics(data.features.frames, data.rows("train"))
    batch, seed = settings.batch_size, settings.seed
    training = make_training_loader(data, augment, batch, seed, mean, device, progress, settings.balance)
    validation = make_loader(data, "validation", batch, False, seed, device)
    model = build_for(config, data)
    if config.features.standardise:
        model.standardise(mean, std)
    return model.to(device), training, validation


def describe_run(config: Config, data: Data, model: CkTIMNet, run_dir: Path) -> None:
    """Write the settings, split, emotions and standardisation of a run, before it begins."""
    save_config(config, run_dir / runs.PARAMETERS_FILE)
    save_split(data.split, run_dir / runs.SPLIT_FILE)
    emotions = data.corpus.emotions
    words = {emotion: data.corpus.words[emotion] for emotion in emotions}
    write_json(run_dir / runs.EMOTIONS_FILE, {"emotions": emotions, "words": words})
    statistics = {"mean": model.feature_mean.tolist(), "std": model.feature_std.tolist()}
    write_json(run_dir / runs.STANDARDISATION_FILE, statistics, indent=2)


def draw_history(done: Progress, data: Data, run_dir: Path, settings: TrainConfig) -> None:
    """Write the figure of losses and accuracies."""
    title = f"{run_dir.name} · {data.corpus.name} corpus"
    figure = plot_history(done.training, done.validation, title, settings.keep)
    save_figure(figure, run_dir / runs.HISTORY_PLOT_FILE)


def fit(
    model: CkTIMNet,
    train_loader: BatchLoader,
    validation_loader: BatchLoader,
    settings: TrainConfig,
    run_dir: Path,
    *,
    progress: bool = True,
    resume: bool = False,
    recorded: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> tuple[Progress, bool]:
    """The loop over epochs: train, validate, keep the last or the best (`keep`), write metrics and model.

    An interrupt (Ctrl-C, or the notebook's stop button) ends it after the last whole epoch, with all files in
    place. After each epoch resume.pt holds all that the next one depends on.

    Args:
        model, train_loader, validation_loader: on one device; batches as dataloader.loaders.Batch.
        settings: the section `train` of the configuration.
        run_dir: where files are written; it exists.
        resume: go on from the run directory's resume.pt.
        recorded: section.key → value, kept there, with which a training that goes on is compared.
        watch: gets the metrics and the validation's confusion matrix after each epoch.

    Returns:
        The metrics, and whether the training is finished (an interrupted one is not).
    """
    first = distributed.rank() == 0
    done = Progress(History(model.name), History(model.name), settings=recorded or {})
    train_loader.part = validation_loader.part = distributed.part
    optimizer, trained = make_optimizer(settings, model), distributed.in_parallel(model)
    scheduler = make_scheduler(settings, optimizer, len(train_loader))
    parts = {"model": model, "optimizer": optimizer}
    if isinstance(scheduler, ReduceLROnPlateau):
        parts["scheduler"] = scheduler
    if resume:
        load_state(run_dir, done, **parts)
        train_loader.epoch = done.epochs
        if "scheduler" not in parts:  # its state is the number of steps; the end may be a later one now
            scheduler = make_scheduler(settings, optimizer, len(train_loader), done.epochs)
    each_step = None if isinstance(scheduler, ReduceLROnPlateau) else scheduler
    begin, end = done.epochs, settings.num_epochs
    smoothing, clipping = settings.label_smoothing, settings.gradient_clipping
    options = {"initial": begin, "total": end, "bar_format": BAR, "disable": not progress}
    bar = progress_bar(range(begin, end), desc="epoch", **options)
    try:
        for epoch in bar:
            if settings.early_stopping and epoch - 1 - done.best_epoch >= settings.early_stopping_patience:
                bar.close()
                since = f"since epoch {done.best_epoch + 1}"
                print(f"Stopped early: the validation loss has not improved {since}.")
                break
            started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
            try:
                train_row, _ = run_epoch(trained, train_loader, smoothing, optimizer, clipping, each_step)
                with model.frozen_kernels():
                    validation_row, matrix = run_epoch(model, validation_loader, smoothing)
            except LossError as error:
                kept = f"The model so far is kept in {run_dir}; try" if done.epochs else "Try"
                raise TrainingError(
                    f"the loss is no longer a finite number in epoch {epoch + 1}, {error}. {kept} a smaller "
                    "train.learning_rate, or set train.gradient_clipping=1."
                ) from None
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(validation_row["loss"])
            seconds = time.perf_counter() - started
            is_best = done.append(epoch, rate, seconds, train_row, validation_row)
            if first and (is_best or settings.keep == "last"):
                save_model(model, run_dir / runs.MODEL_FILE)
            if first:
                done.save(run_dir)
                if watch:
                    watch.epoch(done, matrix)
                save_state(run_dir, done, **parts)  # last, for all that it claims has to be on disk
            bar.set_postfix_str(
                f"loss {train_row['loss']:.2f}, UAR {train_row['uar']:.0%} · "
                f"validation {validation_row['loss']:.2f}, {validation_row['uar']:.0%}"
            )
        return done, True
    except KeyboardInterrupt:
        keep_whole_epochs(done.training, done.validation)
        if first and done.epochs:
            done.save(run_dir)
        print(f"Interrupted: {done.epochs} whole epochs are saved in {run_dir}.")
        return done, False


def run_epoch(
    model: nn.Module,
    loader: BatchLoader,
    label_smoothing: float,
    optimizer: torch.optim.Optimizer | None = None,
    gradient_clipping: float = 0.0,
    scheduler: LRScheduler | None = None,
) -> tuple[dict[str, float], np.ndarray]:
    """Go through a loader once, training where an optimizer is given; a scheduler steps after each batch.

    Returns:
        loss (mean over utterances) and the scores of utils.metrics.scores (with mixup, of the class with the
        largest share), among the emotions of each utterance's corpus, and the confusion matrix; in training
        they are those of the weights as they were at each batch. A loss that is not finite is a LossError at
        the end of the pass, for a GPU would wait for earlier checks.
    """
    model.train(optimizer is not None)

    def clip() -> None:
        if gradient_clipping:
            nn.utils.clip_grad_norm_(model.parameters(), gradient_clipping)

    def answer(batches: Sequence[Batch]) -> list[Tensor]:
        return [model(*batches[0][:2])]

    return run_epochs(answer, [loader], label_smoothing, optimizer, clip, scheduler)[0]


def run_epochs(
    answer: Callable[[Sequence[Batch]], Sequence[Tensor]],
    loaders: Sequence[BatchLoader],
    label_smoothing: float,
    optimizer: torch.optim.Optimizer | None = None,
    clip: Callable[[], None] = lambda: None,
    scheduler: LRScheduler | None = None,
) -> list[tuple[dict[str, float], np.ndarray]]:
    """run_epoch of networks that are trained at once, each on its own loader: `answer` gives their logits."""
    answers, rates = [Answers() for _ in loaders], list[float]()
    with torch.set_grad_enabled(optimizer is not None):
        for batches in zip(*loaders, strict=True):
            losses = list[Tensor]()
            for output, (_, _, y, allowed), one in zip(answer(batches), batches, answers, strict=True):
                losses.append(cross_entropy(output, y, label_smoothing, allowed))
                one.add(losses[-1], output, y, allowed)
            if optimizer is not None:
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.zero_grad()
                (torch.stack(losses).sum() * distributed.share(len(y), losses[0])).backward()
                clip()
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
    return [one.scores(rates) for one in answers]


class Answers:
    """Losses and logits of a pass, batch by batch; a GPU is asked for them at its end."""

    def __init__(self) -> None:
        self.losses, self.logits, self.targets = list[Tensor](), list[Tensor](), list[Tensor]()

    def add(self, loss: Tensor, output: Tensor, y: Tensor, allowed: Tensor | None) -> None:
        """Those of a batch."""
        self.losses.append(loss.detach() * len(y))
        self.logits.append(among(output.detach(), allowed))
        self.targets.append(y if y.ndim == 1 else y.argmax(1))

    def scores(self, rates: Sequence[float] = ()) -> tuple[dict[str, float], np.ndarray]:
        """As run_epoch returns them; `rates` are the learning rates of the batches, in training."""
        batches, logits = len(self.losses), torch.cat(self.logits)
        all_losses, target, predicted = distributed.gather(
            torch.stack(self.losses).cpu(), torch.cat(self.targets).cpu(), logits.argmax(1).cpu()
        )
        if not all_losses.isfinite().all():
            batch = int((~all_losses.isfinite()).nonzero()[0]) % batches  # every process has as many
            at = f" (learning rate {rates[batch]:g})" if rates else " of the validation after it"
            raise LossError(f"batch {batch + 1} of {batches}{at}")
        loss = all_losses.sum().item() / len(target)
        matrix = confusion_matrix(target.numpy(), predicted.numpy(), logits.shape[1])
        return {"loss": loss, **scores_of(matrix)}, matrix


def make_optimizer(settings: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW, as `train.optimizer` says."""
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    rate, decay = settings.learning_rate, settings.weight_decay
    return kind(model.parameters(), lr=rate, weight_decay=decay, fused=True)


def make_scheduler(
    settings: TrainConfig, optimizer: torch.optim.Optimizer, batches: int, epochs: int = 0
) -> LRScheduler:
    """`train.schedule`: it steps after each of `batches` batches (one_cycle), or each epoch (plateau).

    A one_cycle schedule is a function of the steps taken and of all steps: after so many `epochs` it goes on
    as if the end had been `num_epochs` from the beginning.
    """
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=settings.lr_scheduler, patience=settings.patience)
    steps = settings.num_epochs * batches
    if steps < 3:  # OneCycleLR wants a step to rise and one to fall
        return LambdaLR(optimizer, lambda step: 1.0)
    rise = WARM_UP if WARM_UP * steps > 1 else 2 / steps
    make = partial(OneCycleLR, optimizer, settings.learning_rate, total_steps=steps, pct_start=rise)
    scheduler = make()  # gives the optimizer what it needs to begin further on
    return make(last_epoch=epochs * batches - 1) if epochs else scheduler


def save_model(model: nn.Module, path: Path) -> None:
    """Write the state dict, its tensors on the CPU, for torch.load(path, weights_only=True)."""
    tensors = model.state_dict().items()  # views would be written with all that they are views of
    save_tensors(path, {name: tensor.cpu().clone() for name, tensor in tensors})


@command
def main(options: Namespace) -> None:
    """The command line."""
    config_file = runs.DEFAULT_CONFIG if options.config is None else options.config
    resumed = [value for value in options.overrides if value.startswith("resume=")]
    overrides = [value for value in options.overrides if value not in resumed]
    if len(resumed) > 1 or "resume=" in resumed:
        raise UserError(f"{' '.join(resumed)}: name one run directory, as resume=RUN_DIR.")
    if resumed and options.config is not None:
        raise UserError(
            f"--config {options.config} {resumed[0]}: a training goes on with the settings in its own "
            f"{runs.PARAMETERS_FILE}. Leave --config out; train.num_epochs may be raised."
        )
    run_dir = expanded(resumed[0].removeprefix("resume=")) if resumed else None
    config = configuration_of(run_dir, overrides) if run_dir else load_config(config_file, overrides)
    with distributed.joined(config.train.device):
        run_dir = train(config, run_dir=run_dir, resume=run_dir is not None)
        if distributed.rank() > 0:
            return
        print(f"Run directory: {run_dir}")
        if not (run_dir / runs.RESUME_FILE).exists():
            print(f"Next: {command_line('testing.evaluate', as_typed(run_dir), *moved(run_dir, config))}")

"""A run directory's network, rebuilt from nothing but the directory, and the test set that it recorded."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataloader.loaders import Data, prepare_data
from dataloader.splits import Split, load_split
from models.cktim import DIRECTIONS, CkTIMNet, build_model
from testing import earlier_weights
from utils import runs
from utils.config import Config, ConfigError, DataConfig
from utils.device import pick_device, use_huge_pages
from utils.emotions import EMOTIONS, ENGLISH
from utils.errors import UserError
from utils.files import TensorsError, expanded, read_tensors
from utils.progress import warn

# What may differ from machine to machine; all else belongs to the weights.
FREE_KEYS = ("data.root", "data.cache_dir", "data.demo_dir")
FREE_KEYS += ("train.device", "train.batch_size", "model.conv_algorithm")

NEEDS_A_SPEAKER = (
    "takes features as deviations from the mean of the same speaker's recordings (features.normalise: "
    "speaker): it cannot judge a single recording."
)


class CheckpointError(UserError):
    """Weights that cannot be used: not there, damaged, refused, or not of this network."""


@dataclass(frozen=True)
class LoadedRun:
    """A run with its network."""

    path: Path
    config: Config  # with the overrides of the call
    split: Split | None  # None where the run did not record it
    model: CkTIMNet  # in evaluation mode, on the device that the configuration names
    emotions: tuple[str, ...] = EMOTIONS  # its classes, in the order of its scores
    words: Mapping[str, str] = field(default_factory=lambda: ENGLISH)  # emotion → the word that people see


def load_run(run_dir: str | Path, overrides: Sequence[str] = (), fallback: Sequence[str] = ()) -> LoadedRun:
    """Load a run of ours, or one of the earlier implementation.

    `overrides` are `key=value` for FREE_KEYS, such as "data.root=EMOVO.zip"; `fallback` is for a directory
    whose configuration cannot be read (see runs.config_from_name). A UserError where there is no such run,
    something in it is missing or damaged, an override is not free, or its parts contradict each other.
    """
    use_huge_pages()
    run_dir = runs.existing_run_dir(run_dir)
    state = read_state(run_dir / runs.MODEL_FILE)
    is_earlier = earlier_weights.is_earlier(state)
    if is_earlier:
        state = earlier_weights.convert(state)
    config = _config(run_dir, overrides, fallback, is_earlier)
    features = config.features
    split = load_split(run_dir / runs.SPLIT_FILE) if (run_dir / runs.SPLIT_FILE).exists() else None

    by_name = {"corpus": "demo"} if "demo" in run_dir.name.split("_") else {}
    sources = {
        "its name": runs.name_tells(run_dir.name) | by_name,
        runs.PARAMETERS_FILE: {**runs.flat(config), "features of a frame": features.num_features},
        runs.MODEL_FILE: weights_tell(state),
        runs.SPLIT_FILE: {"train.seed": split.seed, "corpus": split.corpus} if split else {},
    }
    runs.check_agreement(run_dir, sources)

    emotions = runs.read_emotions(run_dir)
    model = build_model(config.model, len(emotions), *features.sizes)
    check_fit(run_dir, state, model.state_dict())
    model.load_state_dict(state)
    model = model.to(pick_device(config.train.device)).eval()
    return LoadedRun(run_dir, config, split, model, emotions, runs.read_words(run_dir))


def recorded_test_set(
    run: LoadedRun, progress: bool = True, subsets: Sequence[str] = ("test",), changed: bool = False
) -> Data:
    """The corpus and its features, of which `arrays("test")` is the test set that the run recorded.

    `subsets` are those that will be used. A UserError where the run recorded no test set, an utterance of it
    is gone or (unless `changed`) has other sound or another emotion, or the corpus is another.
    """
    if run.split is None:
        raise UserError(
            f"{run.path} has no {runs.SPLIT_FILE}: which utterances it was not trained on is not known, so "
            "it cannot be tested. How far it agrees with the labels of the whole corpus, training set "
            "included, tells --all (in notebook_test.ipynb: EVERYTHING = True)."
        )
    config = run.config.model_copy(update={"data": corpus_settings(run.config.data, run.split)})
    return prepare_data(config, progress, run.split, subsets, run.emotions, changed)


def corpus_settings(data: DataConfig, split: Split | None) -> DataConfig:
    """Where the run's corpus is: a demo run's is the demo corpus, though EMOVO may be in its usual place."""
    if split and split.corpus == "demo" and data.root is None and expanded(data.demo_dir).exists():
        return data.model_copy(update={"root": data.demo_dir})
    return data


@torch.inference_mode()
def predict(
    model: CkTIMNet, frames: Tensor, functionals: Tensor | None = None, batch_size: int = 64
) -> Tensor:
    """Raw frames (batch, num_features, frames), functionals (batch, F) → logits (batch, classes) on the CPU.

    Not all of the batch at a time. A logit that is no number, as damaged weights give it, is a UserError.
    """
    return predict_and_embed(model, frames, functionals, batch_size)[0]


@torch.inference_mode()
def predict_and_embed(
    model: CkTIMNet, frames: Tensor, functionals: Tensor | None = None, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """As predict, and with the logits CkTIMNet.embedding (batch, channels)."""
    device, answers, embeddings = model.fusion.weight.device, [], []
    for start in range(0, len(frames), batch_size):
        rows = slice(start, start + batch_size)
        beside = None if functionals is None else functionals[rows].to(device)
        embeddings.append(model.embedding(frames[rows].to(device)))
        answers.append(model.logits(embeddings[-1], beside).cpu())
    logits = torch.cat(answers)
    if not logits.isfinite().all():
        raise UserError("the network's answers are not finite numbers: its weights are damaged. Train anew.")
    return logits, torch.cat(embeddings).cpu()


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict: tensors by name and nothing else, for a pickle may hold code."""
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} has no {path.name}, the network's weights. Copy it there, or train the run again."
        )
    try:
        state = read_tensors(path)
    except TensorsError as error:
        cure = "Copy the network's weights there again (its state_dict()), or train the run again."
        raise CheckpointError(f"{error} {cure}") from error
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        kind = f"a {type(state).__name__}"
        if isinstance(state, dict):
            others = (f"{key}: {type(value).__name__}" for key, value in state.items())
            kind = f"a dictionary with {next(others, 'nothing')}"
        raise CheckpointError(
            f"{path} holds {kind}, not a state dict (tensors by name). Save the network's state_dict() there."
        )
    # as earlier versions called what functionals go through
    return {re.sub(r"^statistics\.", "functionals.", name): tensor for name, tensor in state.items()}


def weights_tell(state: dict[str, Tensor]) -> dict[str, Any]:
    """Settings that the weights show: key → value, as far as they have the expected names."""
    layers = [name for name in state if name.startswith(("input_conv.", "blocks."))]
    settings: dict[str, Any] = {"model.ck": any(".generator." in name for name in layers)} if layers else {}
    for name, key, share in (
        ("fusion.weight", "model.n_temporal_aware_block", 1),
        ("feature_mean", "features of a frame", 1),
        ("blocks.0.norms.0.weight", "model.n_filter", DIRECTIONS),
    ):
        if name in state:
            settings[key] = state[name].numel() // share
    return settings


def check_fit(run_dir: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise a CheckpointError unless both have the same names and shapes."""
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not known" for name in state if name not in expected]
    problems += [
        f"{name} has the shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        rest = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{run_dir / runs.MODEL_FILE} does not fit the network that its configuration describes: "
            f"{'; '.join(problems[:3])}{rest}. The two are from different runs, or one was changed."
        )


def _config(run_dir: Path, overrides: Sequence[str], fallback: Sequence[str], is_earlier: bool) -> Config:
    path = run_dir / runs.PARAMETERS_FILE
    try:
        runs.read_parameters(path)
    except ConfigError as error:
        config = runs.config_from_name(run_dir, [*fallback, *overrides], is_earlier)
        warn(f"{error}. The directory's name and the settings given with the call take its place.")
        return config
    check_free(overrides)
    return runs.read_parameters(path, overrides)


def check_free(overrides: Sequence[str]) -> None:
    """A UserError where a finished run cannot be used with other values of these keys."""
    bound = [override for override in overrides if override.partition("=")[0].strip() not in FREE_KEYS]
    if bound:
        raise UserError(
            f"{', '.join(bound)}: the run was trained with what its {runs.PARAMETERS_FILE} says, and is "
            f"evaluated with that. Only {', '.join(FREE_KEYS)} can be chosen."
        )

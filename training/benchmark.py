"""Speed and memory on this machine: `python -m training.benchmark [--quick] [--only steps,frames]`.

Compared calls take turns (A B A B …), after one call each that does not count, so that a machine that slows
down does so for all. Times are medians; `±` is half the range from fastest to slowest.

Columns: `formula` is the direct, ungrouped formula (tests/models/reference.py) in the settings of
conf/published.yaml, `published` our network in the same settings, `config.yaml` that of conf/config.yaml.
With `--peer DIR`, a checkout of github.com/Jiaxin-Ye/TIM-Net_SER, `peer` is its TIM-net in PyTorch, and
where TensorFlow and tf_keras are installed `keras` the one in Keras, in the same settings.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("training.benchmark")

import importlib
import importlib.util
import json
import os
import platform
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataloader.augment.features import FeatureAugmentation
from dataloader.augment.waveforms import TrainingPool, variants_each
from dataloader.loaders import AugmentedLoader, BatchLoader
from models.cktim import CkTIMNet, build_model
from training.parsers import SECTIONS
from training.train import make_optimizer, run_epoch
from utils.config import Config, load_config
from utils.device import keep_freed_memory, pick_device, seed_everything
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.progress import measure_in_turns, milliseconds, warn
from utils.tables import NOTHING, Table

FORMULA = Path(__file__).resolve().parents[1] / "tests/models/reference.py"
PEER = "Code/torch_TIMNET.py"  # in a checkout of the official TIM-Net
CLASSES = len(EMOTIONS)
BUSY = 0.5  # load of other programs, in cores, above which times are not to be trusted
FIT_FROM = 750  # frames; shorter signals say more of the fixed costs of a call than of how it grows


@dataclass(frozen=True)
class Setup:
    """The networks to measure, and how thoroughly."""

    published: Config
    default: Config
    device: torch.device
    formula: Callable[[CkTIMNet, Config], nn.Module]  # for our network and its configuration
    peer: Path | None = None  # a checkout of the official TIM-Net
    depths: tuple[int, ...] = (1, 3, 6)  # temporal-aware blocks
    batch: int = 64
    repetitions: int = 5
    repetitions_at_batch_1: int = 25
    frames: tuple[int, ...] = (188, 375, 750, 1500, 3000, 6000)
    slow_call: float = 12.0  # seconds; an algorithm that takes longer is given no longer signals
    train_utterances: int = 406  # as in EMOVO
    validation_utterances: int = 70


QUICK: dict[str, Any] = {"depths": (1,), "repetitions": 2, "repetitions_at_batch_1": 5}
QUICK |= {"frames": (188, 375, 750, 1500), "slow_call": 1.0}
Calls = dict[str, Callable[[], object]]  # to be measured in turns


def with_model(config: Config, **changes: Any) -> Config:
    """The configuration with other values in its `model` section."""
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def build(setup: Setup, config: Config, frames: int | None = None) -> CkTIMNet:
    """Our network in that configuration, for utterances of so many frames (None: the configuration's)."""
    features = config.features
    net = build_model(config.model, CLASSES, features.num_features, frames=frames or features.frames)
    return net.to(setup.device)


def random_batch(setup: Setup, utterances: int, frames: int | None = None) -> tuple[Tensor, Tensor]:
    """Random features (utterances, coefficients, frames) and targets (utterances,)."""
    features = setup.default.features
    x = torch.randn(utterances, features.num_features, frames or features.frames)
    return x.to(setup.device), torch.randint(CLASSES, (utterances,)).to(setup.device)


def training_step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Forward, backward, and one step of the optimiser."""
    loss = F.cross_entropy(network(x), y, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def number(value: float) -> str:
    """Three significant digits, or all before the point: 0.123, 12.3, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times faster, by the medians."""
    return f"×{number(median(slow) / median(fast))}"


def make_networks(setup: Setup, ck: bool, blocks: int) -> dict[str, tuple[nn.Module, Config]]:
    """Column → network and configuration, for CkTIM (`ck`) or TIM with that many TABs."""
    published = with_model(setup.published, ck=ck, n_temporal_aware_block=blocks)
    default = with_model(setup.default, ck=ck, n_temporal_aware_block=blocks)
    net = build(setup, published)
    return {
        "formula": (setup.formula(net, published).to(setup.device), published),
        "published": (net, published),
        "config.yaml": (build(setup, default), default),
    }


def measure_networks(setup: Setup, batch: int, training: bool) -> Table:
    """Training steps or inference of every network and depth, all columns in turns."""
    x, y = random_batch(setup, batch)
    repetitions = setup.repetitions if training or batch > 1 else setup.repetitions_at_batch_1
    rows = []
    for ck, blocks in product((True, False), setup.depths):
        calls: Calls = {}
        networks = make_networks(setup, ck, blocks)
        for name, (network, config) in networks.items():
            network.train(training)
            if not training and isinstance(network, CkTIMNet):
                network.freeze_kernels()  # as an evaluation does
            calls[name] = partial(network, x)
            if training:
                calls[name] = partial(training_step, network, make_optimizer(config.train, network), x, y)
        if setup.peer and not ck:
            calls |= peer_calls(setup.peer, networks["published"][1], x, y, training)
        with torch.set_grad_enabled(training):
            seconds = measure_in_turns(calls, repetitions)
        theirs = [name for name in ("formula", "peer", "keras") if name in seconds]
        ours = [name for name in networks if name not in theirs]
        gains = {f"{a} / {b}": ratio(seconds[a], seconds[b]) for a in theirs for b in ours}
        rows.append(network_row(config, seconds) | gains)
    headings = dict.fromkeys((heading for row in reversed(rows) for heading in row), NOTHING)
    rows = [headings | row for row in rows]
    return Table(rows, f"{'Training step' if training else 'Inference'}, batch {batch}")


def peer_calls(folder: Path, config: Config, x: Tensor, y: Tensor, training: bool) -> Calls:
    """The official TIM-Net, with as many TABs: a training step or logits of (batch, features, frames)."""
    model = config.model
    sizes = model.n_filter, model.kernel_size, model.n_temporal_aware_block
    network = load_module(folder / PEER).TorchTIMNET(model.dropout_rate, *sizes, CLASSES)
    network.to(x.device).train(training)
    frames = x.mT.contiguous()  # (batch, frames, features), as it wants them
    calls: Calls = {"peer": partial(network, frames)}
    if training:
        calls["peer"] = partial(training_step, network, make_optimizer(config.train, network), frames, y)
    if importlib.util.find_spec("tf_keras"):
        calls["keras"] = keras_call(folder, sizes, model.dropout_rate, frames, y, training)
    return calls


def keras_call(
    folder: Path, sizes: tuple[int, ...], dropout: float, frames: Tensor, y: Tensor, training: bool
) -> Callable[[], object]:
    """As in peer_calls, of the one in Keras; its weighted sum of the summaries is a Dense layer."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # it is written for Keras 2, the package tf_keras
    tf = importlib.import_module("tensorflow")
    keras = tf.keras
    tf.config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
    timnet = load_module(folder / "Code/TIMNET.py").TIMNET(*sizes[:2], 1, sizes[2], dropout_rate=dropout)
    inputs = keras.Input(frames.shape[1:])
    g = keras.layers.Dense(1, use_bias=False)(keras.layers.Permute((2, 1))(timnet(inputs)))
    network = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(g)))
    x, target = tf.constant(frames.cpu().numpy()), tf.one_hot(y.cpu().numpy(), CLASSES)
    if not training:
        return partial(tf.function(network), x, training=False)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    network.compile(optimizer="adam", loss=loss)
    return partial(network.train_on_batch, x, target)


def network_row(config: Config, seconds: dict[str, list[float]]) -> dict[str, str]:
    """A table's row: the network, and its times by column."""
    times = {f"{name} (ms)": milliseconds(some) for name, some in seconds.items()}
    return {"network": config.model.name, "TABs": str(config.model.n_temporal_aware_block)} | times


def forward_and_backward(network: nn.Module, x: Tensor) -> None:
    """One pass in both directions; no gradient is kept."""
    network(x).sum().backward()
    network.zero_grad()


def measure_frames(setup: Setup) -> list[Table]:
    """Time and memory of CkTIM with 1 TAB at batch 1, with kernels as long as the signal, which grows."""
    points: dict[str, list[tuple[int, float, float]]] = {"direct": [], "fft": []}
    going, rows = list(points), []
    for frames in setup.frames:
        calls, row = Calls(), {"frames": str(frames)}
        x, _ = random_batch(setup, 1, frames)
        for algorithm in going:
            changes = {"n_temporal_aware_block": 1, "conv_algorithm": algorithm, "kernel_window": 0.0}
            network = build(setup, with_model(setup.default, ck=True, **changes), frames)
            calls[algorithm] = partial(forward_and_backward, network, x)
        seconds = measure_in_turns(calls, setup.repetitions)
        peaks = {algorithm: peak_memory(call, setup.device) for algorithm, call in calls.items()}
        for algorithm in points:
            times, peak = seconds.get(algorithm), peaks.get(algorithm)
            row[f"{algorithm} (ms)"] = milliseconds(times) if times else NOTHING
            row[f"{algorithm} (peak MB)"] = number(peak / 1e6) if peak else NOTHING
            if times and frames >= FIT_FROM:
                points[algorithm].append((frames, median(times), peak or 1))
        rows.append(row)
        going = [algorithm for algorithm in going if median(seconds[algorithm]) <= setup.slow_call]
    notes = [growth(algorithm, some) for algorithm, some in points.items() if len(some) > 1]
    return [Table(rows, "CkTIM with 1 TAB at batch 1, forward and backward", notes)]


def growth(algorithm: str, points: Sequence[tuple[int, float, float]]) -> str:
    """The exponents of power laws fitted to points (frames, seconds, bytes), as a sentence."""
    frames, seconds, peaks = np.log(points).T
    quantities = {"time": seconds} | ({"memory": peaks} if peaks.any() else {})
    fits = (f"{name} ∝ frames^{np.polyfit(frames, y, deg=1)[0]:.2f}" for name, y in quantities.items())
    return f"{algorithm}: {', '.join(fits)} ({points[0][0]} to {points[-1][0]} frames)"


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes of tensors that a call holds at its peak, beyond those held before; None where not measurable."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # else a CUDA build of PyTorch misses its GPU, aloud
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        call()
    with tempfile.TemporaryDirectory() as folder:
        profile.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    totals = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    return max(totals, default=0)  # they count from 0 at the start of the profile


def measure_epoch(setup: Setup) -> list[Table]:
    """Whole epochs with validation, plain and augmented online, on random features in EMOVO's number."""
    x, y = random_batch(setup, setup.train_utterances)
    plain = BatchLoader(x, None, y, setup.batch, True, seed=0)
    loaders: dict[str, BatchLoader] = {"plain": plain, "online": online_loader(setup, x, y)}
    unseen, target = random_batch(setup, setup.validation_utterances)
    validation = BatchLoader(unseen, None, target, setup.batch, False, seed=0)
    loading = measure_in_turns({name: partial(list, one) for name, one in loaders.items()}, setup.repetitions)
    rows = []
    for ck, blocks in product((True, False), sorted({min(setup.depths), max(setup.depths)})):
        config = with_model(setup.default, ck=ck, n_temporal_aware_block=blocks)
        network, train = build(setup, config), config.train
        optimizer = make_optimizer(train, network)

        def epoch(loader: BatchLoader, net=network, train=train, optimizer=optimizer) -> None:
            run_epoch(net, loader, train.label_smoothing, optimizer, train.gradient_clipping)
            run_epoch(net, validation, train.label_smoothing)

        calls = {name: partial(epoch, loader) for name, loader in loaders.items()}
        seconds = measure_in_turns(calls, setup.repetitions)
        slower = {"online / plain": ratio(seconds["online"], seconds["plain"])}
        rows.append(network_row(config, seconds) | slower)
    times = {name: milliseconds(some) for name, some in loading.items()}
    note = f"Of that, loading takes {times['plain']} ms, online {times['online']} ms; files are not written."
    return [Table(rows, "An epoch with conf/config.yaml", [note])]


def online_loader(setup: Setup, x: Tensor, y: Tensor) -> AugmentedLoader:
    """The training set x (utterances, n_mfcc, frames) with variants, drawn anew in each epoch."""
    settings = setup.default.augment.model_copy(update={"mode": "online"})
    each = 1 + variants_each(settings)
    sources = tuple(f"u{index}" for index in range(len(x)) for _ in range(each))
    pool = TrainingPool(x.repeat_interleave(each, 0), None, sources, each)
    n_mels = setup.default.features.n_mels
    augmentation = FeatureAugmentation(settings, 0, x.mean((0, 2)), x.shape[-1], n_mels)
    return AugmentedLoader(pool, y, CLASSES, augmentation, setup.batch, seed=0)


MEASURE: dict[str, Callable[[Setup], list[Table]]] = {  # of SECTIONS
    "steps": lambda setup: [measure_networks(setup, setup.batch, training=True)],
    "inference": lambda setup: [measure_networks(setup, batch, training=False) for batch in (1, setup.batch)],
    "frames": measure_frames,
    "epoch": measure_epoch,
}


def describe_machine(device: torch.device) -> str:
    """Whatever the figures depend on: processor, threads, versions."""
    cpu, information = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, device {where}"
    return f"{cpu}, {threads}\n{versions}, {platform.platform(terse=True)}"


def load_formula() -> Callable[[CkTIMNet, Config], nn.Module]:
    """The formula with our network's weights."""
    module = load_module(FORMULA)
    return lambda net, config: module.TwoBranches(net, config.model)


def load_module(path: Path) -> Any:
    """The module in a file; a UserError where there is none."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or spec is None or spec.loader is None:
        raise UserError(f"{path}, a network to compare with, is not there: run this in a clone, --peer too.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@command
def main(options: Namespace) -> None:
    """The command line."""
    names = {name.strip() for name in options.only.split(",")}
    if not names.issubset(SECTIONS):
        raise UserError(f"--only {options.only}: must be some of {','.join(SECTIONS)}, with commas between")
    device, formula = pick_device(options.device), load_formula()
    if options.peer:
        load_module(options.peer / PEER)
    published, default = load_config("conf/published.yaml"), load_config("conf/config.yaml")
    setup = Setup(published, default, device, formula, options.peer, **(QUICK if options.quick else {}))
    seed_everything(default.train.seed)  # which also asks for deterministic algorithms, as a training does
    keep_freed_memory()  # as a training does
    print(describe_machine(device), flush=True)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > BUSY:
        warn(f"other programs are running (load {load:.1f}): trust the ratios at most.")
    for section in (name for name in SECTIONS if name in names):
        for table in MEASURE[section](setup):
            print(f"\n{table}", flush=True)

"""Speed and memory on this machine: `python -m training.benchmark [--quick] [--only steps,frames]`.

All that is compared is measured in turns (A B A B …), after one call each that does not count, so that a
machine that slows down does so for all. Times are medians; `±` is half the range from fastest to slowest.

Columns: `formula` is the direct, ungrouped formula (tests/models/reference.py) in the settings of
conf/published.yaml, `published` our network in the same settings, `config.yaml` that of conf/config.yaml.
With `--peer DIR`, another implementation takes the formula's place: DIR/peer.py holds
`build(ck, blocks)`, which returns a torch module from MFCCs (batch, 39, 188) to logits (batch, 7).
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from types import ModuleType

import librosa
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataloader.audio import fit_length
from dataloader.augment.features import FeatureAugmentation
from dataloader.augment.waveforms import TrainingPool, variants_each
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.extract import load_features
from dataloader.loaders import AugmentedLoader, BatchLoader
from models.cktim import CkTIMNet, build_model
from training.train import make_optimizer, run_epoch
from utils.config import Config, load_config
from utils.device import keep_freed_memory, pick_device, seed_everything
from utils.emotions import EMOTIONS
from utils.errors import UserError, exit_on_user_error
from utils.progress import measure_in_turns, milliseconds, warn
from utils.tables import NOTHING, Table

ROOT = Path(__file__).resolve().parents[1]
FORMULA = ROOT / "tests/models/reference.py"
CLASSES = len(EMOTIONS)
BUSY = 0.5  # load of other programs, in cores, above which times are not to be trusted
FIT_FROM = 750  # frames; shorter signals say more of the fixed costs of a call than of how it grows


@dataclass(frozen=True)
class Setup:
    """The networks to measure, and how thoroughly."""

    published: Config
    default: Config
    device: torch.device
    baseline: Callable[[CkTIMNet, Config], nn.Module]  # for our network and its configuration
    baseline_name: str = "formula"
    depths: tuple[int, ...] = (1, 3, 6)  # temporal-aware blocks
    batch: int = 64
    repetitions: int = 5
    repetitions_at_batch_1: int = 25
    frames: tuple[int, ...] = (188, 375, 750, 1500, 3000, 6000)
    slow_call: float = 12.0  # seconds; an algorithm that takes longer is given no longer signals
    recordings: int = 64
    train_utterances: int = 406  # as in EMOVO
    validation_utterances: int = 70


QUICK = {"depths": (1,), "repetitions": 2, "repetitions_at_batch_1": 5, "recordings": 16}
QUICK |= {"frames": (188, 375, 750, 1500), "slow_call": 1.0}


def with_model(config: Config, **changes) -> Config:
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
        setup.baseline_name: (setup.baseline(net, published).to(setup.device), published),
        "published": (net, published),
        "config.yaml": (build(setup, default), default),
    }


def measure_networks(setup: Setup, batch: int, training: bool) -> Table:
    """Training steps or inference of every network and depth, all columns in turns."""
    x, y = random_batch(setup, batch)
    repetitions = setup.repetitions if training or batch > 1 else setup.repetitions_at_batch_1
    rows = []
    for ck, blocks in product((True, False), setup.depths):
        calls = {}
        for name, (network, config) in make_networks(setup, ck, blocks).items():
            network.train(training)
            if not training and isinstance(network, CkTIMNet):
                network.freeze_kernels()  # as an evaluation does
            calls[name] = partial(network, x)
            if training:
                calls[name] = partial(training_step, network, make_optimizer(config.train, network), x, y)
        with torch.set_grad_enabled(training):
            seconds = measure_in_turns(calls, repetitions)
        row = {"network": config.model.name, "TABs": str(blocks)}
        row |= {f"{name} (ms)": milliseconds(times) for name, times in seconds.items()}
        for name in ("published", "config.yaml"):
            row[f"{setup.baseline_name} / {name}"] = ratio(seconds[setup.baseline_name], seconds[name])
        rows.append(row)
    return Table(rows, f"{'Training step' if training else 'Inference'}, batch {batch}")


def forward_and_backward(network: nn.Module, x: Tensor) -> None:
    """One pass in both directions; no gradient is kept."""
    network(x).sum().backward()
    network.zero_grad()


def measure_frames(setup: Setup) -> list[Table]:
    """Time and memory of CkTIM with 1 TAB at batch 1, with kernels as long as the signal, which grows."""
    points: dict[str, list[tuple[int, float, float]]] = {"direct": [], "fft": []}
    going, rows = list(points), []
    for frames in setup.frames:
        calls, row = {}, {"frames": str(frames)}
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
    """The exponents of power laws fitted to points (frames, seconds, bytes), in words."""
    frames, seconds, peaks = np.log(points).T
    quantities = {"time": seconds} | ({"memory": peaks} if peaks.any() else {})
    fits = (f"{name} ∝ frames^{np.polyfit(frames, y, deg=1)[0]:.2f}" for name, y in quantities.items())
    return f"{algorithm}: {', '.join(fits)} ({points[0][0]} to {points[-1][0]} frames)"


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call holds at its peak, beyond those held before; None where that cannot be measured.

    On the CPU they are added up from the profiler's record of every tensor that is made and let go; the
    workspaces of FFT and matrix libraries, which are small, are not in it.
    """
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
        trace = Path(folder, "trace.json")
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    totals = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    return max(totals, default=0)  # they count from 0 at the start of the profile


def measure_features(setup: Setup) -> list[Table]:
    """Features of recordings on disk, decoding and resampling included, beside librosa's MFCCs."""
    settings = setup.default.features
    with tempfile.TemporaryDirectory() as folder:
        corpus = synthetic_recordings(Path(folder), setup.recordings)
        cache = Path(folder, "cache")
        cached = partial(load_features, corpus, settings, cache, progress=False)

        def extract() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            cached()

        def by_librosa() -> None:
            for utterance in corpus.utterances:
                waveform, rate = librosa.load(utterance.path, sr=settings.sample_rate)
                waveform = fit_length(waveform, settings.signal_length)
                options = {name: getattr(settings, name) for name in ("n_fft", "hop_length", "n_mels")}
                librosa.feature.mfcc(y=waveform, sr=rate, n_mfcc=settings.n_mfcc, **options)

        calls = {"ours, the first time": extract, "ours, from the cache": cached, "librosa": by_librosa}
        seconds = measure_in_turns(calls, setup.repetitions)
    rows = []
    for way, times in seconds.items():
        row = {"features": way, "recordings / s": number(setup.recordings / median(times))}
        rows.append(row | {"librosa / this": ratio(seconds["librosa"], times)})
    return [Table(rows, f"MFCCs of {setup.recordings} recordings (48 kHz, stereo, 3.1 s)")]


def synthetic_recordings(root: Path, count: int) -> Corpus:
    """Noise in the format of EMOVO's recordings, at their mean length: 48 kHz, stereo, 16 bit, 3.1 s."""
    paths = [root / f"neu-f1-s{index:03}.wav" for index in range(count)]
    for path in paths:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (int(3.1 * 48_000), 2))
        soundfile.write(path, noise, 48_000, subtype="PCM_16")
    utterances = tuple(Utterance(path, "neu", "f1", path.stem[-4:]) for path in paths)
    return Corpus("benchmark", root, utterances, ("neu",), ())


def measure_epoch(setup: Setup) -> list[Table]:
    """Whole epochs with validation, plain and augmented online, on random features in EMOVO's number."""
    x, y = random_batch(setup, setup.train_utterances)
    plain, online = BatchLoader(x, None, y, setup.batch, True, seed=0), online_loader(setup, x, y)
    loaders = {"plain": plain, "online": online}
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
        row = {"network": config.model.name, "TABs": str(blocks)}
        row |= {f"{name} (ms)": milliseconds(times) for name, times in seconds.items()}
        rows.append(row | {"online / plain": ratio(seconds["online"], seconds["plain"])})
    plain, online = map(milliseconds, loading.values())
    note = f"Of that, loading takes {plain} ms, online {online} ms; files are not written."
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


SECTIONS: dict[str, Callable[[Setup], list[Table]]] = {
    "steps": lambda setup: [measure_networks(setup, setup.batch, training=True)],
    "inference": lambda setup: [measure_networks(setup, batch, training=False) for batch in (1, setup.batch)],
    "frames": measure_frames,
    "features": measure_features,
    "epoch": measure_epoch,
}


def describe_machine(device: torch.device) -> str:
    """All that the figures depend on: processor, threads, versions."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = f"torch {torch.__version__}, numpy {np.__version__}, librosa {librosa.__version__}"
    return (
        f"{cpu}, {cores} cores, {torch.get_num_threads()} threads, device {where}\n"
        f"Python {platform.python_version()}, {versions}, {platform.platform(terse=True)}"
    )


def choose_baseline(peer: Path | None) -> Callable[[CkTIMNet, Config], nn.Module]:
    """The formula with our network's weights, or a peer; a UserError where its file is not there."""
    if peer is None:
        if not FORMULA.exists():
            raise UserError(
                f"{FORMULA}, the formula to compare with, is not there: run this in a clone of the "
                "repository, or name another implementation (--peer DIR)."
            )
        formula = import_file(FORMULA)
        return lambda net, config: formula.TwoBranches(net, config.model)
    if not (peer / "peer.py").exists():
        raise UserError(f"--peer {peer}: there is no {peer / 'peer.py'} with build(ck, blocks).")
    mine, search = {path.name for path in ROOT.iterdir()}, list(sys.path)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in mine}
    sys.path[:] = [str(peer), *(place for place in search if Path(place).resolve() != ROOT)]
    try:  # while packages of the same names, such as models, are the peer's
        module = import_file(peer / "peer.py")
    finally:
        sys.path[:] = search
        sys.modules.update(hidden)
    return lambda net, config: module.build(config.model.ck, config.model.n_temporal_aware_block)


def import_file(path: Path) -> ModuleType:
    """A module by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m training.benchmark", description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="small and rough, in under a minute")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTIONS", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="another implementation, DIR/peer.py")
    options = parser.parse_args(arguments)
    names = {name.strip() for name in options.only.split(",")}
    if not names <= SECTIONS.keys():
        raise UserError(f"--only {options.only}: must be some of {','.join(SECTIONS)}, with commas between")
    device, baseline = pick_device(options.device), choose_baseline(options.peer)
    published, default = load_config("conf/published.yaml"), load_config("conf/config.yaml")
    extent = QUICK if options.quick else {}
    setup = Setup(published, default, device, baseline, "peer" if options.peer else "formula", **extent)
    seed_everything(default.train.seed)  # which also asks for deterministic algorithms, as a training does
    keep_freed_memory()  # as a training does
    print(describe_machine(device), flush=True)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > BUSY:
        warn(f"other programs are running (load {load:.1f}): trust the ratios at most.")
    for section in (name for name in SECTIONS if name in names):
        for table in SECTIONS[section](setup):
            print(f"\n{table}", flush=True)


if __name__ == "__main__":
    main()

"""Speed and memory on the machine at hand: `python -m training.benchmark [--quick] [--only steps,frames] …`.

What is compared is measured in turns (A B A B …), so that a machine that slows down does so for all sides,
after one call each that does not count. Times are medians; `±` is half the range from fastest to slowest.

Columns: `baseline` is the direct, ungrouped formula (testing.reference) in the settings of
conf/published.yaml; `direct` and `published` are our network in the same settings, by conv_algorithm direct
and as configured; `config.yaml` is our network in the settings of conf/config.yaml.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

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
from dataloader.features.extract import MFCC, load_features
from dataloader.loaders import AugmentedLoader, BatchLoader
from models.cktim import build_model
from testing.reference import TwoBranches
from training.benchmark_report import (
    plot,
    show_epoch,
    show_features,
    show_frames,
    show_machine,
    show_networks,
)
from training.train import make_criterion, make_optimizer, run_epoch
from utils.config import Config, load_config
from utils.device import keep_freed_memory, pick_device, seed_everything
from utils.emotions import EMOTIONS
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.plots.style import save_figure
from utils.progress import warn

CLASSES = len(EMOTIONS)
BUSY = 0.5  # load of other programs, in cores, above which times are not to be trusted


@dataclass(frozen=True)
class Setup:
    """What to measure, and how thoroughly."""

    published: Config
    default: Config
    device: torch.device
    depths: tuple[int, ...] = (1, 3, 6)  # temporal-aware blocks
    batch: int = 64
    repetitions: int = 5
    repetitions_at_batch_1: int = 25
    frames: tuple[int, ...] = (188, 375, 750, 1500, 3000, 6000)
    slow_call: float = 12.0  # seconds; a series over frames ends with the first call that takes longer
    utterances: int = 64  # for MFCC extraction
    train_utterances: int = 406  # as in EMOVO
    validation_utterances: int = 70


QUICK = {
    "depths": (1,),
    "repetitions": 2,
    "repetitions_at_batch_1": 5,
    "frames": (188, 375, 750, 1500),
    "slow_call": 1.0,
    "utterances": 16,
}


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def measure_in_turns(
    calls: dict[str, Callable[[], object]], repetitions: int, device: torch.device, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time several calls in turns, A B A B …

    Args:
        calls: name → what to call.
        repetitions: rounds that count.
        device: where they compute.
        warm_up: begin with a round that does not count.

    Returns:
        Name → seconds of each repetition.
    """
    seconds = {name: [] for name in calls}
    for repetition in range(-1 if warm_up else 0, repetitions):
        for name, call in calls.items():
            synchronise(device)
            started = time.perf_counter()
            call()
            synchronise(device)
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call holds at its peak, beyond what was held before; None where that cannot be measured.

    On the CPU they are added up from the profiler's record of every tensor that is made and let go. That is
    the same on every run, unlike the size of the process, which keeps what it once had; the workspaces of
    FFT and matrix libraries, which are small, are not in it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        call()
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


class Stopwatch:
    """Books the time since the last mark under the name of the part that has ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        synchronise(device)
        self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """The time since the last mark belongs to `part`."""
        synchronise(self.device)
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now


class InBfloat16(nn.Module):
    """A network under automatic mixed precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """As the network's, in float32."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network(x).float()


def with_model(config: Config, **changes) -> Config:
    """The configuration with other values in its `model` section."""
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def make_networks(setup: Setup, ck: bool, blocks: int) -> dict[str, tuple[nn.Module, Config]]:
    """Column → network and configuration, for CkTIM (`ck`) or TIM with that many TABs."""
    published = with_model(setup.published, ck=ck, n_temporal_aware_block=blocks)
    default = with_model(setup.default, ck=ck, n_temporal_aware_block=blocks)
    direct = with_model(published, conv_algorithm="direct")

    def build(config: Config) -> nn.Module:
        return build_model(config.model, CLASSES, config.features.frames)

    net = build(published)
    networks = {"baseline": (TwoBranches(net, published.model), published)}
    if ck:
        networks["direct"] = (build(direct), direct)
    networks["published"] = (net, published)
    networks["config.yaml"] = (build(default), default)
    if setup.device.type == "cuda":
        networks["config.yaml, bf16"] = (InBfloat16(build(default)), default)
    return {name: (network.to(setup.device), config) for name, (network, config) in networks.items()}


def training_step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Forward, backward, and one step of the optimiser."""
    loss = F.cross_entropy(network(x), y, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure_networks(setup: Setup, batch: int, training: bool) -> list[dict]:
    """Training steps or inference of every network and depth, all columns in turns.

    Returns:
        One record a row: network, blocks, batch, seconds (column → list).
    """
    x = torch.randn(batch, setup.default.model.num_features, setup.default.features.frames).to(setup.device)
    y = torch.randint(CLASSES, (batch,)).to(setup.device)
    repetitions = setup.repetitions if training or batch > 1 else setup.repetitions_at_batch_1
    records = []
    for ck in (True, False):
        for blocks in setup.depths:
            networks = make_networks(setup, ck, blocks)
            calls = {}
            for name, (network, config) in networks.items():
                network.train(training)
                calls[name] = partial(network, x)
                if training:
                    calls[name] = partial(training_step, network, make_optimizer(config, network), x, y)
            with torch.set_grad_enabled(training):
                seconds = measure_in_turns(calls, repetitions, setup.device)
            name = networks["published"][1].model.name
            records.append({"network": name, "blocks": blocks, "batch": batch, "seconds": seconds})
    return records


def measure_steps(setup: Setup) -> list[dict]:
    """Training steps; records of measure_networks."""
    return measure_networks(setup, setup.batch, training=True)


def measure_inference(setup: Setup) -> list[dict]:
    """Inference at batch 1 and at the training's batch size; records of measure_networks."""
    return [record for batch in (1, setup.batch) for record in measure_networks(setup, batch, training=False)]


def measure_frames(setup: Setup) -> list[dict]:
    """Forward and backward of CkTIM with 1 TAB at batch 1, with kernels as long as the utterance.

    Returns:
        One record a point: algorithm, frames, seconds (list), peak_bytes (or None). A series ends with the
        first call that takes longer than setup.slow_call.
    """
    records, algorithms = [], ["direct", "fft"]
    for frames in setup.frames:
        calls, peaks = {}, {}
        for algorithm in algorithms:
            changes = {"n_temporal_aware_block": 1, "conv_algorithm": algorithm, "kernel_window": 0.0}
            config = with_model(setup.default, ck=True, **changes)
            network = build_model(config.model, CLASSES, frames).to(setup.device)
            x = torch.randn(1, config.model.num_features, frames).to(setup.device)
            calls[algorithm] = partial(forward_and_backward, network, x)
            peaks[algorithm] = peak_memory(calls[algorithm], setup.device)
        seconds = {algorithm: [] for algorithm in calls}
        for _ in range(setup.repetitions):
            for algorithm, times in measure_in_turns(calls, 1, setup.device, warm_up=False).items():
                seconds[algorithm] += times
                if times[0] > setup.slow_call:
                    del calls[algorithm]
                    algorithms.remove(algorithm)
        for algorithm, times in seconds.items():
            point = {"algorithm": algorithm, "frames": frames, "seconds": times}
            records.append({**point, "peak_bytes": peaks[algorithm]})
    return records


def forward_and_backward(network: nn.Module, x: Tensor) -> None:
    """One pass in both directions; no gradient is kept."""
    network(x).sum().backward()
    network.zero_grad()


def measure_features(setup: Setup) -> list[dict]:
    """MFCC extraction against librosa's: from waveforms in memory, and from recordings on disk.

    Returns:
        One record a way: source ("memory" or "files"), way, utterances, seconds (list).
    """
    settings, n_mfcc, count = setup.default.features, setup.default.model.num_features, setup.utterances
    waveforms = 0.1 * torch.randn(count, settings.signal_length)
    mfcc = MFCC(settings, n_mfcc)
    on_device = MFCC(settings, n_mfcc).to(setup.device)

    def librosa_mfcc(waveform: np.ndarray) -> np.ndarray:
        return librosa.feature.mfcc(
            y=waveform,
            sr=settings.sample_rate,
            n_mfcc=n_mfcc,
            n_fft=settings.n_fft,
            hop_length=settings.hop_length,
            n_mels=settings.n_mels,
        )

    memory_calls = {
        "ours, one by one": lambda: [mfcc(waveform) for waveform in waveforms.split(1)],
        f"ours, in batches of 16 ({setup.device.type})": lambda: [
            on_device(some.to(setup.device)).cpu() for some in waveforms.split(16)
        ],
        "librosa": lambda: [librosa_mfcc(waveform.numpy()) for waveform in waveforms],
    }
    seconds = {"memory": measure_in_turns(memory_calls, setup.repetitions, setup.device)}

    with tempfile.TemporaryDirectory() as folder:
        corpus = synthetic_recordings(Path(folder), count)
        data = setup.default.data.model_copy(update={"cache_dir": Path(folder, "cache")})
        config = setup.default.model_copy(update={"data": data})

        def extract() -> None:
            shutil.rmtree(data.cache_dir, ignore_errors=True)
            load_features(corpus, config, progress=False)

        def librosa_all() -> None:
            for utterance in corpus.utterances:
                waveform, _ = librosa.load(utterance.path, sr=settings.sample_rate)
                librosa_mfcc(fit_length(waveform, settings.signal_length))

        file_calls = {
            "ours, the first time": extract,
            "ours, from the cache": partial(load_features, corpus, config, progress=False),
            "librosa": librosa_all,
        }
        seconds["files"] = measure_in_turns(file_calls, setup.repetitions, setup.device)
    return [
        {"source": source, "way": way, "utterances": count, "seconds": times}
        for source, ways in seconds.items()
        for way, times in ways.items()
    ]


def synthetic_recordings(root: Path, count: int) -> Corpus:
    """Noise in the format of EMOVO's recordings, at their mean length: 48 kHz, stereo, 16 bit, 3.1 s."""
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(count):
        path = root / f"neu-f1-s{index}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, (int(3.1 * 48_000), 2)), 48_000, subtype="PCM_16")
        utterances.append(Utterance(path, "neu", "f1", f"s{index}"))
    return Corpus("benchmark", root, tuple(sorted(utterances, key=lambda u: u.name)), ("neu",), ())


def measure_epoch(setup: Setup) -> list[dict]:
    """A whole epoch of training.train.run_epoch, on random features, by parts: plain, and augmented online.

    Returns:
        One record a network and training: network, blocks, training, parts (name → list of seconds).
    """
    depths = sorted({min(setup.depths), max(setup.depths)})
    configs = [
        with_model(setup.default, ck=ck, n_temporal_aware_block=blocks, aug=aug)
        for ck, blocks, aug in product((True, False), depths, (False, True))
    ]
    shape = setup.default.model.num_features, setup.default.features.frames

    def random_set(utterances: int) -> tuple[Tensor, Tensor]:
        x, y = torch.randn(utterances, *shape), torch.randint(CLASSES, (utterances,))
        return x.to(setup.device), y.to(setup.device)

    x, y = random_set(setup.train_utterances)
    loaders = BatchLoader(x, y, setup.batch, True, seed=0), online_loader(setup, x, y)
    validation = BatchLoader(*random_set(setup.validation_utterances), setup.batch, False, seed=0)
    networks = [build_model(config.model, CLASSES, shape[1]).to(setup.device) for config in configs]
    optimizers = [make_optimizer(config, network) for config, network in zip(configs, networks, strict=True)]
    records = [
        {
            "network": config.model.name,
            "blocks": config.model.n_temporal_aware_block,
            "training": "online" if config.model.aug else "plain",
            "parts": {},
        }
        for config in configs
    ]
    for repetition in range(-1, setup.repetitions):
        for record, config, network, optimizer in zip(records, configs, networks, optimizers, strict=True):
            train = loaders[config.model.aug]
            parts = time_epoch(network, optimizer, train, validation, config, setup.device)
            if repetition >= 0:
                for part, seconds in parts.items():
                    record["parts"].setdefault(part, []).append(seconds)
    return records


def online_loader(setup: Setup, x: Tensor, y: Tensor) -> AugmentedLoader:
    """The training set x (utterances, n_mfcc, frames) with variants, drawn anew in each epoch."""
    settings = setup.default.augment.model_copy(update={"mode": "online"})
    each = 1 + variants_each(settings)
    sources = tuple(f"u{index}" for index in range(len(x)) for _ in range(each))
    pool = TrainingPool(x.repeat_interleave(each, 0), sources, each)
    mean, n_mels = x.mean((0, 2)), setup.default.features.n_mels
    augmentation = FeatureAugmentation(settings, 0, mean, x.shape[-1], n_mels)
    return AugmentedLoader(pool, y, CLASSES, augmentation, setup.batch, seed=0)


def time_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: BatchLoader,
    validation: BatchLoader,
    config: Config,
    device: torch.device,
) -> dict[str, float]:
    """Seconds of each part of one epoch. The loss belongs to `backward`, the scores to `other`."""
    settings = make_criterion(config), optimizer, config.train.gradient_clipping
    watch = Stopwatch(device)

    def watched() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in train:
            watch.mark("loading")
            yield batch
            watch.mark("other")

    hooks = (
        network.register_forward_pre_hook(lambda *_: watch.mark("other")),
        network.register_forward_hook(lambda *_: watch.mark("forward")),
        optimizer.register_step_pre_hook(lambda *_: watch.mark("backward")),
        optimizer.register_step_post_hook(lambda *_: watch.mark("optimiser")),
    )
    run_epoch(network, watched(), *settings)
    watch.mark("other")
    for hook in hooks:
        hook.remove()
    run_epoch(network, validation, make_criterion(config))
    watch.mark("validation")
    order = ("loading", "forward", "backward", "optimiser", "other", "validation")
    return {part: watch.seconds[part] for part in order}


SECTIONS = {  # name → heading, how to measure it, how to show it
    "steps": ("Training step", measure_steps, show_networks),
    "inference": ("Inference", measure_inference, show_networks),
    "frames": ("Cost against the number of frames", measure_frames, show_frames),
    "features": ("MFCC extraction", measure_features, show_features),
    "epoch": ("A whole epoch", measure_epoch, show_epoch),
}


def describe_machine(device: torch.device) -> dict:
    """What the numbers depend on: processor, memory, load of other programs, threads, versions."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line.partition(":")[2].strip()
            for line in information.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("model name")
        ]
        cpu = models[0] if models else cpu
    affinity = getattr(os, "sched_getaffinity", None)
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_bytes": memory,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "librosa": librosa.__version__,
    }


def choose_sections(text: str) -> list[str]:
    """The sections that `--only` names, in the order of SECTIONS.

    Raises:
        UserError: when it names none, or one that does not exist.
    """
    names = {name.strip() for name in text.split(",")}
    if not names <= SECTIONS.keys():
        raise UserError(f"--only {text}: must be some of {','.join(SECTIONS)}, with commas between them")
    return [name for name in SECTIONS if name in names]


def check_output(option: str, path: Path | None, suffix: str) -> None:
    """Raise a UserError, before minutes are spent, where a result could not be written in the end."""
    if path is None:
        return
    if path.suffix != suffix or path.is_dir():
        raise UserError(f"{option} {path}: must be the name of a {suffix} file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: {path.parent} is no folder that can be written to; make it first")


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    description = "Measure speed and memory, side by side."
    parser = argparse.ArgumentParser("python -m training.benchmark", description=description)
    parser.add_argument("--quick", action="store_true", help="small and rough, in under a minute")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTIONS", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda, mps or cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single time to FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all results to FILE.png")
    options = parser.parse_args(arguments)
    sections = choose_sections(options.only)
    check_output("--json", options.json, ".json")
    check_output("--plot", options.plot, ".png")
    device = pick_device(options.device)
    published, default = load_config("conf/published.yaml"), load_config("conf/config.yaml")
    setup = Setup(published, default, device, **(QUICK if options.quick else {}))
    seed_everything(default.train.seed)  # which also asks for deterministic algorithms, as a training does
    keep_freed_memory()  # as a training does

    machine = describe_machine(device)
    print(show_machine(machine) + ("\nquick: small and rough" if options.quick else ""), flush=True)
    if machine["load"] is not None and machine["load"] > BUSY:
        warn(f"other programs are running (load {machine['load']:.1f}): trust the ratios at most.")
    results = {"machine": machine, "quick": options.quick}
    for section in sections:
        heading, measure, show = SECTIONS[section]
        print(f"measuring: {section} …", file=sys.stderr, flush=True)
        started = time.perf_counter()
        results[section] = measure(setup)
        print(f"\n## {heading}\n\n{show(results[section])}", flush=True)
        print(f"({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    if options.json:
        write_atomically(options.json, json.dumps(results, indent=1))
    if options.plot:
        save_figure(plot(results), options.plot)


if __name__ == "__main__":
    main()

"""A trial, many runs of a grid of settings × seeds × folds: `python -m training.trials conf/trials/X.yaml`.

Cross-validation needs no file: `python -m training.trials --protocol speaker_kfold --folds 5 data.corpus=…`

Runs go on in parallel, on this machine or on a Ray cluster, each in a temporary folder. Its files come home
into the trial's folder, as a directory that is there whole or not at all: a run that has its directory is
finished. A trial that was stopped, however hard, goes on with the runs that are missing.
"""

if __name__ == "__main__":  # first, for the imports below take seconds
    from utils.parsers import run_command

    run_command("training.trials")


import difflib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self

import joblib
import torch
from filelock import FileLock, Timeout
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from sklearn.model_selection import ParameterGrid

from dataloader.advice import length_advice, rehearse
from dataloader.augment.waveforms import corpus_variants, variants_each
from dataloader.corpora.find import ABOUT_CORPUS, find_corpus
from dataloader.corpora.utterance import Corpus
from dataloader.features.extract import load_features
from dataloader.identity import identified_corpus, recorded
from dataloader.loaders import Data, prepare_data
from dataloader.splits import all_folds
from testing.evaluate import evaluate
from testing.pooled import pool, remove_pooled
from training.together import can_join, train_together
from training.train import train
from utils.config import KEYS, Config, PathText, Section, load_config
from utils.errors import UserError, exit_on_user_error, many, some
from utils.files import (
    as_typed,
    command_line,
    expanded,
    parse_yaml,
    read_tensors,
    try_output,
    write_atomically,
)
from utils.parsers import parser_of
from utils.progress import progress_bar, warn
from utils.results import (
    comparisons_in_words,
    read_trial,
    side_in_words,
    trial_content,
    trial_tables,
    with_effect,
)
from utils.runs import DEFAULT_CONFIG, MODEL_FILE, Run, flat, is_run_dir, read_run, recordings_key, run_name
from utils.tables import Table

LOCK_FILE = ".trial.lock"
CROSSVAL = "crossval"  # the name of a trial that is named after its corpus and protocol
IN_CAPTIONS = {"train.seed", "data.fold", "data.protocol", "model.ck", "model.n_temporal_aware_block"}
FAILED = "failed"  # the folder of what failed runs have left
MOST_TOGETHER = 16  # runs that are trained at once
BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"

Settings = dict[str, Any]  # configuration key → value
Values = Annotated[list[Any], Field(min_length=1)]
Folds = Annotated[list[int], Field(min_length=1)]
Selected = Annotated[list[Settings], Field(min_length=2, max_length=2)]


class Trial(Section):
    """A file of conf/trials; conf/trials/omega_0.yaml explains the keys."""

    name: str = Field(pattern=r"^[\w-]+$", description="of the trial's folder and of its file of results")
    title: str = Field("", description="of its table")
    config: PathText = Field(DEFAULT_CONFIG, description="the configuration on which all runs are based")
    settings: Settings = Field({}, description="what differs from it in all runs")
    grid: Annotated[
        list[dict[str, Values]], BeforeValidator(lambda grid: [grid] if isinstance(grid, dict) else grid)
    ] = Field([{}], min_length=1, description="key → values, all of which meet; of several grids the union")
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1, description="train.seed")
    folds: Folds | Literal["all"] | None = Field(None, description="data.fold, where the protocol has folds")
    compare: dict[str, list[Selected]] = Field({}, description="families of pairs to be compared")
    backend: Literal["processes", "ray"] = Field("processes", description="this machine, or a Ray cluster")
    workers: int | None = Field(None, ge=1, description="runs at a time; null: as many as have room")
    threads: int = Field(1, ge=1, description="CPU threads of a run")
    gpu_share: float = Field(1.0, gt=0, le=1, description="share of a GPU for each run, where there are GPUs")
    together: Literal["auto", True, False] = Field("auto", description="train the seeds of a setting at once")

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        variants = [variant for grid in self.grid for variant in grid.get("variants", ())]
        if not all(isinstance(variant, dict) for variant in variants):
            raise ValueError("grid: variants: must be a list of sets of settings, each key: value.")
        sides = (side for pairs in self.compare.values() for pair in pairs for side in pair)
        for key in (key for side in sides for key in side if key not in KEYS):
            # else the pair would describe no run, and be left out without a word
            raise ValueError(f"compare: {_unknown(key, KEYS)}")
        in_grid = {key for keys in (*self.grid, *variants) for key in keys}
        if twice := [key for key in self.settings if key in in_grid]:
            raise ValueError(f"{', '.join(twice)} is set for all runs and varied by the grid: choose one.")
        for key, instead in (("train.seed", "seeds"), ("data.fold", "folds")):
            if key in self.settings:
                raise ValueError(f"{key} is set for all runs: say {instead}=[{self.settings[key]}] instead.")
        return self


@dataclass(frozen=True)
class Planned:
    """One run of a trial."""

    name: str  # of its directory; the same settings, seed and fold always have the same
    config: Config
    corpus: str  # the name of the corpus that it must find
    recordings: str | None  # utils.runs.recordings_key of it
    varied: Mapping[str, Any]  # key → value, as far as the trial's runs differ


@dataclass(frozen=True)
class Outcome:
    """The files that a run wrote, and where it failed the reason."""

    name: str
    files: Mapping[str, bytes]
    failure: str | None = None


Group = tuple[Planned, ...]  # runs that are trained at once
Made = Iterator[tuple[int, Outcome | None]]  # runs at a time, and an outcome; at first none


def load_trial(path: str | Path, overrides: Sequence[str] = ()) -> Trial:
    """Read a trial, such as conf/trials/omega_0.yaml; a UserError has one line for each problem.

    Overrides are `key=value`, the value as in YAML, for the trial's own keys ("seeds=[0, 1]", "workers=4")
    and for configuration keys ("train.num_epochs=5"), which join its settings.
    """
    path = Path(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # among the latter: not UTF-8, not YAML
        reason = f"cannot be read: {error.strerror or error}." if isinstance(error, OSError) else error
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold the keys of a trial: {', '.join(Trial.model_fields)}.")
    return _trial({"name": path.stem, **content}, path, overrides)


def crossval_trial(
    protocol: str,
    folds: int | None = None,
    config: str | Path = DEFAULT_CONFIG,
    overrides: Sequence[str] = (),
) -> Trial:
    """A trial of one seed and all folds of a protocol; `folds`: of how many, for kfold and speaker_kfold."""
    settings: Settings = {"data.protocol": protocol}
    said = {"data.protocol": protocol} if folds is None else {"data.protocol": protocol, "data.folds": folds}
    for key, value in said.items():
        if any(override.partition("=")[0].strip() == key for override in overrides):
            raise UserError(f"{key} is given twice: --{key.removeprefix('data.')} {value} says it already.")
    if folds is not None:
        if not protocol.endswith("kfold"):
            remedy = "say --folds all" if protocol == "partition" else "say --folds all, or --protocol kfold"
            problem = f"{protocol} has as many folds as the corpus gives it"
            raise UserError(f"--folds {folds}: {problem}: {remedy}.")
        settings["data.folds"] = folds
    content = {"name": CROSSVAL, "config": str(config), "settings": settings, "seeds": [0], "folds": "all"}
    return _trial(content, "--protocol", overrides)


def _trial(content: dict[str, Any], path: str | Path, overrides: Sequence[str]) -> Trial:
    settings = content.get("settings") or {}
    if not isinstance(settings, dict):
        raise UserError(f"{path}: settings: must be configuration keys, each with its value.")
    content = {**content, "settings": settings}
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals:
            raise UserError(f"override {override}: must be key=value, such as workers=4.")
        (settings if "." in key else content)[key] = parse_yaml(text)
    try:
        return Trial.model_validate(content)
    except ValidationError as error:
        problems = []
        for one in error.errors(include_url=False):
            key, problem = ".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")
            if one["type"] == "extra_forbidden":
                problem = _unknown(key, Trial.model_fields)
            elif key:
                problem = f"{key}: {problem}"
            problems.append(f"{path}: {problem}")
        raise UserError("\n".join(dict.fromkeys(problems))) from None


def plan(trial: Trial) -> list[Planned]:
    """All runs of a trial, those of the first seed and fold first, and each only once.

    Their names, such as `CkTIM_TAB6_seed0_1f2e3d4c`, end in a hash of all that the results depend on.
    """
    corpora: dict[str, Corpus] = {}
    planned: dict[str, Planned] = {}
    looked_at = set()
    everywhere = {"train.seed": trial.seeds}
    everywhere |= {"data.fold": trial.folds} if isinstance(trial.folds, list) else {}
    for grid in trial.grid:
        for varied in ParameterGrid({**everywhere, **grid}):
            varied |= varied.pop("variants", {})
            config = load_config(trial.config, _overrides({**trial.settings, **varied}))
            place = config.data.model_dump_json(include={*ABOUT_CORPUS, "demo_dir"})
            if place not in corpora:
                corpora[place] = found = identified_corpus(find_corpus(config.data), config.data.cache_dir)
                advice = length_advice(found, found.utterances, config.features)
                for warning in (*found.warnings, *advice):
                    warn(warning)
            corpus, folds = corpora[place], [config.data.fold]
            every_fold = trial.folds == "all" and "data.fold" not in varied
            if every_fold:
                folds = all_folds(corpus.utterances, config.data)
            if (drawn := config.data.model_dump_json(exclude={"fold"})) not in looked_at:
                looked_at.add(drawn)
                first = config.model_copy(update={"data": config.data.model_copy(update={"fold": folds[0]})})
                with suppress(*([] if every_fold else [UserError])):  # else the run says it
                    rehearse(first, corpus, warn)  # for nobody sees the runs' warnings
            for fold in folds:
                one = _planned(corpus, config, fold, varied)
                planned.setdefault(one.name, one)
    every = [with_effect(flat(run.config)) for run in planned.values()]
    for family, pairs in trial.compare.items():
        for side in (side for pair in pairs for side in pair):
            if not any(side.items() <= one.items() for one in every):
                absent = f"no run of this trial has {side_in_words(side)}"
                warn(f"compare: {family}: {absent}; it will be left out.")
    return sorted(planned.values(), key=lambda run: (run.config.train.seed, run.config.data.fold))


def _planned(corpus: Corpus, config: Config, fold: int, varied: Settings) -> Planned:
    data = config.data.model_copy(update={"fold": fold})
    varied = {**varied, "data.fold": fold} if fold != config.data.fold else varied
    config = config.model_copy(update={"data": data})
    partition = (data.partition.name,) if data.partition else ()
    which = data.protocol, *partition, data.fold, config.train.seed
    recordings = recordings_key(recorded(corpus.utterances))
    settings = json.dumps([corpus.name, recordings, *which, with_effect(flat(config))], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    name = f"{run_name(config, corpus.name)}_{digest}"
    return Planned(name, config, corpus.name, recordings, varied)


def named_after(trial: Trial, runs: Sequence[Planned]) -> Trial:
    """A trial of crossval_trial, named after corpus and protocol where no name was given.

    Where that name's file of results is on other recordings, a key of the recordings is behind it.
    """
    data, corpus = runs[0].config.data, runs[0].corpus
    if trial.name != CROSSVAL:
        return trial
    parts = [corpus, data.protocol, *([str(data.folds)] if data.protocol.endswith("kfold") else [])]
    name, key = re.sub(r"[^\w-]+", "-", "_".join(parts)), runs[0].recordings
    trial = trial.model_copy(update={"name": name, "title": f"{corpus}, cross-validated"})
    with suppress(UserError):  # no results there, or damaged ones
        if key and key not in set(read_trial(folder_of(trial, runs).with_suffix(".json")).recordings):
            return trial.model_copy(update={"name": f"{name}_{key[-8:]}"})
    return trial


def folder_of(trial: Trial, runs: Sequence[Planned]) -> Path:
    """Where the runs come home: a directory for each finished one, and `failed/` with the others.

    `demo` is part of its name where a run is about the demo corpus. The version of the code is no part of a
    run's name: after a change of it, start with an empty `train.results_dir`.
    """
    name = f"{trial.name}_demo" if any(run.corpus == "demo" for run in runs) else trial.name
    return expanded(runs[0].config.train.results_dir) / name


def finished(folder: Path, run: Planned) -> Path | None:
    """The directory of a run that need not be made, in the trial's folder or in another trial's beside it.

    It counts by what it holds: settings, metrics and weights that can be read.
    """
    homes = [folder / run.name, *sorted(folder.parent.glob(f"*/{run.name}"))]
    return next((home for home in homes if _is_whole(home)), None)


def _is_whole(home: Path) -> bool:
    try:
        run = read_run(home)
        read_tensors(home / MODEL_FILE)
    except UserError:
        return False
    return None not in (run.config, run.training, run.validation, run.test)


def _of_other_recordings(folder: Path, runs: Sequence[Planned]) -> list[str]:
    """Names of directories in the trial's folder with runs that are of none of the planned recordings."""
    planned, known = {run.name for run in runs}, {run.recordings for run in runs}
    others = (path for path in sorted(folder.glob("*")) if path.name not in planned and is_run_dir(path))
    return [path.name for path in others if read_run(path).recordings not in known]


def keep(folder: Path, outcome: Outcome) -> None:
    """Write the files of a run: whole, then in one step under its name."""
    failed = folder / FAILED / outcome.name
    home = folder / outcome.name if outcome.failure is None else failed
    unfinished = home.with_name(f".{outcome.name}")
    try:
        for old in (unfinished, failed):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, content in outcome.files.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(unfinished / name, content)
        shutil.rmtree(home, ignore_errors=True)  # a damaged one, or of another process without locks
        unfinished.rename(home)
    except OSError as error:
        raise UserError(f"cannot write {home}: {error.strerror or error}.") from error


def write_results(
    folder: Path, trial: Trial, runs: Sequence[Planned], failures: Mapping[str, str]
) -> Path | None:
    """Write the file of results (utils.results.trial_content), if any run is finished; returns its path."""
    homes = [home for run in runs if (home := finished(folder, run))]
    if not homes:
        return None
    about = {"name": folder.name, "title": trial.title or trial.name, "planned": len(runs)}
    about |= {"failed": dict(failures), "compare": trial.compare}
    content = trial_content(about, [read_run(home) for home in homes])
    path = folder.with_suffix(".json")
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def cross_validated(trial: Trial, runs: Sequence[Planned], folder: Path) -> list[Table]:
    """A table for each setting and seed of a trial with `folds: all`; pooled predictions come with it."""
    groups: dict[str, list[Run]] = {}
    varied: dict[str, Settings] = {}  # the settings that the tables' captions do not have
    for run in runs:
        several = trial.folds == "all" and run.config.data.protocol != "holdout"
        home = finished(folder, run) if several else None
        if home:
            key = json.dumps([run.config.train.seed, run.config.data.protocol, with_effect(flat(run.config))])
            groups.setdefault(key, []).append(read_run(home))
            varied[key] = {one: value for one, value in run.varied.items() if one not in IN_CAPTIONS}
    if groups:
        remove_pooled(folder)
    numbers = [f"_{number}" if len(groups) > 1 else "" for number in range(1, len(groups) + 1)]
    every = zip(numbers, groups, strict=True)
    return [pool(groups[key], folder, f"pooled{number}", varied[key]) for number, key in every]


def run_trial(trial: Trial, runs: Sequence[Planned], folder: Path, progress: bool = True) -> dict[str, str]:
    """Make the runs that are missing in the folder; returns name → reason of those that failed.

    One process at a time makes a trial; another one waits, and makes what is missing then.
    """
    if others := _of_other_recordings(folder, runs):
        problem = f"in {folder}, of other recordings than {runs[0].corpus} has now"
        warn(f"{many(len(others), 'run')} {problem}, left out: {some(others)}")
    if all(finished(folder, run) for run in runs):
        return {}
    with suppress(OSError):  # the trial says it
        folder.mkdir(parents=True, exist_ok=True)
    try_output(folder / LOCK_FILE)
    lock = FileLock(folder / LOCK_FILE)  # the system lets go of it when the process dies
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warn(f"another process makes the trial in {folder}: this one waits for its end.")
        lock.acquire()
    except (OSError, NotImplementedError):
        warn(f"{folder} allows no locks: do not make this trial twice at the same time.")
    try:
        return _make_missing(trial, runs, folder, progress)
    finally:
        lock.release()


def _make_missing(trial: Trial, runs: Sequence[Planned], folder: Path, progress: bool) -> dict[str, str]:
    missing = [run for run in runs if not finished(folder, run)]
    _extract_features(missing, progress)
    on_cuda = all(run.config.train.device in ("auto", "cuda") for run in missing)
    make = _on_ray if trial.backend == "ray" else _on_this_machine
    done, failures = len(runs) - len(missing), dict[str, str]()
    look = {"desc": trial.name, "bar_format": BAR, "smoothing": 0, "disable": not progress}
    with progress_bar(total=len(runs), initial=done, **look) as bar:
        for workers, outcome in make(trial, missing, on_cuda):
            if outcome is not None:
                keep(folder, outcome)
                bar.update()
                done += outcome.failure is None
                if outcome.failure is not None:
                    failures[outcome.name] = outcome.failure
                    bar.write(f"failed: {outcome.name}: {outcome.failure}", file=sys.stderr)
            running = min(workers, len(runs) - done - len(failures))
            bar.set_postfix_str(f"{done} done, {running} running, {len(failures)} failed")
    return failures


def groups_of(trial: Trial, runs: Sequence[Planned], workers: int, on_gpu: bool) -> list[Group]:
    """The runs, in groups to be trained at once and shared out to all workers; some groups have one."""
    joining = on_gpu if trial.together == "auto" else trial.together
    kinds: dict[str, list[Planned]] = {}
    for run in runs:
        kind = run.config.model_dump_json(exclude={"train": {"seed"}})
        kinds.setdefault(kind if joining and can_join(run.config) else run.name, []).append(run)
    most = min(MOST_TOGETHER, -(-len(runs) // workers))
    starts = ((group, start) for group in kinds.values() for start in range(0, len(group), most))
    return [tuple(group[start : start + most]) for group, start in starts]


def make_runs(runs: Group, home: str, number: int, threads: int) -> list[Outcome]:
    """Train and evaluate a run, or several at once, in any process on any machine, with so many threads.

    Relative paths of the configuration refer to `home`; the machine's GPUs are dealt out by the number.
    Where anything is raised, all outcomes have the files written so far, the reason and error.txt.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trial's; train would take it for its end
    output = io.StringIO()
    with TemporaryDirectory() as folder, redirect_stdout(output), redirect_stderr(output):
        run_dirs = [Path(folder, run.name) for run in runs]
        for run_dir in run_dirs:
            run_dir.mkdir()
        failure, more = None, {}
        try:
            try:
                os.chdir(home)
            except OSError as error:
                reason = "every machine needs the repository and the corpus at the same place"
                raise UserError(f"{home}: {error.strerror}; {reason}.") from error
            torch.set_num_threads(threads)
            if runs[0].config.train.device in ("auto", "cuda") and torch.cuda.is_available():
                torch.cuda.set_device(number % torch.cuda.device_count())
            data = [_data_of(run) for run in runs]
            if len(runs) > 1:
                train_together([run.config for run in runs], data, run_dirs)
            else:
                train(runs[0].config, data[0], run_dirs[0], progress=False)
            for run_dir in run_dirs:
                evaluate(run_dir, progress=False)
        except Exception as error:  # whatever it is, it must not stop the other runs
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            failure = reason.replace(f"{folder}{os.sep}", "")
            more = {"error.txt": f"{output.getvalue()}{traceback.format_exc()}".encode()}
        outcomes = []
        for run_dir in run_dirs:
            written = (path for path in run_dir.rglob("*") if path.is_file())
            files = {str(path.relative_to(run_dir)): path.read_bytes() for path in written}
            outcomes.append(Outcome(run_dir.name, {**files, **more}, failure))
        return outcomes


def _data_of(run: Planned) -> Data:
    """The data of a run; a UserError where they are others than when it was planned."""
    data = prepare_data(run.config, progress=False)
    if data.corpus.name != run.corpus:
        raise UserError(f"{data.corpus.root} holds {data.corpus.name}, not {run.corpus}.")
    if (now := recordings_key(data.split.recordings)) != run.recordings:
        problem = f"{data.corpus.root} has changed since the trial began"
        raise UserError(f"{problem}: it has {now}, and had {run.recordings}. Start the trial again.")
    return data


def _to_be_made_alone(group: Group, outcomes: Sequence[Outcome]) -> Group:
    """The runs of a group that failed, if several; a warning says why."""
    if len(group) == 1 or outcomes[0].failure is None:
        return ()
    warn(f"{many(len(group), 'run')} could not be trained at once ({outcomes[0].failure}): one by one, then")
    return group


def _on_this_machine(trial: Trial, runs: Sequence[Planned], on_cuda: bool) -> Made:
    """Runs in processes of this machine.

    A process that dies ends the others too, and its run is not known. Those that were under way are then made
    again at the end, one by one: one that dies alone has failed.
    """
    gpus = torch.cuda.device_count() if on_cuda else 0
    workers = trial.workers or int(gpus / trial.gpu_share) or max(joblib.cpu_count() // trial.threads, 1)
    groups = groups_of(trial, runs, workers, gpus > 0)
    at_a_time = workers * max(map(len, groups), default=1)

    def make(some: Sequence[Group], jobs: int) -> Iterator[list[Outcome]]:
        # With one job joblib would work in this process; with two, one of them sent at a time, it does not.
        how = {"pre_dispatch": jobs, "batch_size": 1, "return_as": "generator_unordered"}
        with joblib.parallel_config("loky", inner_max_num_threads=trial.threads):
            yield from joblib.Parallel(n_jobs=max(jobs, 2), **how)(
                joblib.delayed(make_runs)(group, os.getcwd(), number, trial.threads)
                for number, group in enumerate(some)
            )

    yield at_a_time, None
    left, alone, suspects = {group[0].name: group for group in groups}, list[Planned](), list[Planned]()
    while left:
        try:
            for outcomes in make(list(left.values()), workers):
                group = left.pop(outcomes[0].name)
                if failed := _to_be_made_alone(group, outcomes):
                    alone += failed
                else:
                    yield from ((at_a_time, outcome) for outcome in outcomes)
        except BrokenProcessPool:
            suspects += [run for name in list(left)[:workers] for run in left.pop(name)]
        if not left:
            left, alone = {run.name: (run,) for run in alone}, []
    for run in suspects:
        try:
            for (outcome,) in make([(run,)], 1):
                yield 1, outcome
        except BrokenProcessPool:
            reason = "its process ended without a word, twice; the machine's memory may be too small for it."
            yield 1, Outcome(run.name, {"error.txt": reason.encode()}, reason)


def _on_ray(trial: Trial, runs: Sequence[Planned], on_cuda: bool) -> Made:
    """The same on an existing Ray cluster; Ray makes a run again whose worker or machine is lost.

    Its backend for joblib hands out results only when all are there, and gives up when a worker dies.
    """
    try:
        import ray
    except ImportError:
        raise UserError("backend: ray needs `pip install -r requirements-cluster.txt`.") from None
    environment = {key: value for key, value in os.environ.items() if key.endswith("_ROOT")}  # of corpora
    # Our modules, beside those of a worker's own
    environment["PYTHONPATH"] = os.pathsep.join([str(DEFAULT_CONFIG.parents[1]), "${PYTHONPATH}"])
    how = {"runtime_env": {"env_vars": environment}, "log_to_driver": False, "logging_level": "WARNING"}
    try:
        ray.init(os.environ.get("RAY_ADDRESS", "auto"), **how)
    except ConnectionError as error:
        raise UserError(
            "no Ray cluster is found. Start one (`ray start --head`, on other machines `ray start "
            "--address=HEAD:6379`), or name it in the environment variable RAY_ADDRESS."
        ) from error
    try:
        cluster = ray.cluster_resources()
        gpu_share = trial.gpu_share if on_cuda and cluster.get("GPU") else 0
        workers = int(cluster["GPU"] / gpu_share) if gpu_share else int(cluster["CPU"] // trial.threads)
        workers = trial.workers or max(workers, 1)
        task = ray.remote(num_cpus=trial.threads, num_gpus=gpu_share, max_retries=3)(make_runs)
        queue = list(enumerate(groups_of(trial, runs, workers, gpu_share > 0)))
        at_a_time = workers * max((len(group) for _, group in queue), default=1)
        yield at_a_time, None
        groups: dict[Any, Group] = {}  # under way
        while queue or groups:
            while queue and len(groups) < workers:
                number, group = queue.pop(0)
                groups[task.remote(group, os.getcwd(), number, trial.threads)] = group
            for done in ray.wait(list(groups))[0]:
                group = groups.pop(done)
                try:
                    outcomes = ray.get(done)
                except ray.exceptions.RayError as error:
                    reason = f"Ray gave it up: {error}"
                    outcomes = [Outcome(run.name, {"error.txt": reason.encode()}, reason) for run in group]
                if failed := _to_be_made_alone(group, outcomes):
                    queue += [(number, (run,)) for number, run in enumerate(failed)]
                else:
                    yield from ((at_a_time, outcome) for outcome in outcomes)
    finally:
        ray.shutdown()


def _extract_features(runs: Sequence[Planned], progress: bool) -> None:
    """Extract features of each kind once, here, so that no two runs do it at the same time."""
    which: dict[str, Any] = {"include": {"data": True, "features": True, "augment": True, "model": {"aug"}}}
    which["exclude"] = {"data": {"fold", "protocol"}, "features": {"standardise"}}
    configs = (run.config for run in runs)
    kinds = {one.model_dump_json(**which): one for one in configs}
    for config in kinds.values():
        cache = config.data.cache_dir
        features = load_features(find_corpus(config.data), config.features, cache, progress)
        if config.model.aug and variants_each(config.augment):
            how = config.features, config.augment, config.train.seed, cache, progress
            corpus_variants(features.utterances, *how)


def _unknown(key: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key}" + (f"; did you mean {nearest[0]}?" if nearest else ".")


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = parser_of("training.trials")
    options = parser.parse_intermixed_args(arguments)
    files = [one for one in options.overrides if "=" not in one]
    if len(files) != (options.protocol is None):
        parser.error("name one trial, such as conf/trials/omega_0.yaml, or say --protocol to cross-validate")
    if options.protocol is None:
        trial = load_trial(files[0], [one for one in options.overrides if one not in files])
    else:
        trial = crossval_trial(options.protocol, options.folds, options.config, options.overrides)
    runs = plan(trial)
    trial = named_after(trial, runs)
    folder = folder_of(trial, runs)
    if options.list:
        states = ["done " if finished(folder, run) else "to do" for run in runs]
        print(f"{many(len(runs), 'run')}, {states.count('done ')} done, in {folder}")
        for state, run in zip(states, runs, strict=True):
            print(state, "", run.name, "", *_overrides(run.varied))
        return
    interrupted, failures = False, {}
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # else its workers would outlive it
    try:
        failures = run_trial(trial, runs, folder)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, usual)
    if results := write_results(folder, trial, runs, failures):
        frame = read_trial(results)
        folds = cross_validated(trial, runs, folder)
        print(*([] if len(folds) == 1 else trial_tables(frame)), *folds, sep="\n\n")
        for family, sentences in comparisons_in_words(frame).items():
            print(f"\n{family}:", *(f"- {sentence}" for sentence in sentences), sep="\n")
        print(f"\nWritten: {results}" + (f", and pooled predictions into {folder}" if folds else ""))
        if folds and not (interrupted or failures):
            print(f"Next, beside a baseline: {command_line('testing.baseline', as_typed(folder))}")
    if interrupted:
        print("Interrupted. The same command goes on with the runs that are missing.", file=sys.stderr)
        raise SystemExit(130)
    if failures:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in failures.items())
        raise UserError(
            f"{len(failures)} of {len(runs)} runs failed; the same command makes them again. What they left "
            f"is in {folder / FAILED}.{reasons}"
        )

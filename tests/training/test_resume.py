"""Trainings that were stopped, by whatever means, end as if nothing had been."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from dataloader.loaders import Data
from dataloader.splits import load_split
from training.resume import ResumeError, being_trained, configuration_of, prepare_resumed, unfinished_run
from training.train import main, train
from utils import files
from utils.config import Config, load_config, save_config
from utils.errors import UserError
from utils.metrics import History
from utils.runs import flat, read_parameters

EPOCHS = 3
MANY_EPOCHS = 30  # so that most of the time goes into them

# Settings under which an epoch depends on what came before in different ways.
KINDS = {
    "one cycle, last epoch": {"train": {"schedule": "one_cycle", "keep": "last"}},
    "plateau, best epoch": {"train": {"schedule": "plateau", "keep": "best", "patience": 0}},
    "TIM, Adam": {"model": {"ck": False}, "train": {"optimizer": "adam"}},
    "batch norm in the generator": {"model": {"generator_norm": "batch", "kernel_dropout": 0.1}},
    "early stopping": {
        "train": {"learning_rate": 1.0, "early_stopping": True, "early_stopping_patience": 2, "num_epochs": 9}
    },
    "online augmentation": {"model": {"aug": True}, "augment": {"mixup": 0.5}},
    "balanced classes": {"train": {"balance": "class"}},
}


class PowerCut(BaseException):
    """Nothing in the code catches it, as nothing catches a power cut."""


@pytest.fixture
def settings(config):
    """Build a configuration of one of KINDS."""
    return lambda kind, epochs=EPOCHS: config(
        **KINDS[kind] | {"train": {"num_epochs": epochs, **KINDS[kind].get("train", {})}}
    )


def outcome(run_dir: Path) -> dict:
    """Everything in a run but the time that it took: metrics, weights, and the names of its files."""
    found: dict = {"files": sorted(path.name for path in run_dir.iterdir())}
    for part in ("training", "validation"):
        found[part] = History.load(run_dir / f"{part}_metrics.json").columns
        found[part].pop("seconds", None)
    state = torch.load(run_dir / "model.pt", weights_only=True)
    found["weights"] = {name: tensor.numpy().tobytes() for name, tensor in state.items()}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_ends_as_an_undisturbed_one(settings, data, interrupt_at, kind):
    undisturbed = outcome(train(settings(kind), data, progress=False))
    calls = interrupt_at(4, 6)  # in the second epoch's validation, and when that is done, in the third's
    run_dir = train(settings(kind), data, progress=False)
    assert len(History.load(run_dir / "training_metrics.json")) == 1
    for _ in range(2):
        torch.manual_seed(99)
        train(settings(kind), data, run_dir, progress=False, resume=True)
    assert len(calls) > 2 * len(undisturbed["training"]["loss"])
    assert outcome(run_dir) == undisturbed


@pytest.mark.parametrize("kind", ["one cycle, last epoch", "plateau, best epoch", "early stopping"])
def test_a_power_cut_between_any_two_files_costs_nothing(settings, data, monkeypatch, kind):
    undisturbed = outcome(train(settings(kind), data, progress=False))
    replace, writes = os.replace, []

    def counting(*paths):
        writes.append(Path(paths[1]).name)
        replace(*paths)

    monkeypatch.setattr(files.os, "replace", counting)
    train(settings(kind), data, progress=False)
    assert writes.count("resume.pt") == len(undisturbed["training"]["epoch"])
    assert {"model.pt", "loss_acc.png"} <= set(writes)
    for cut in range(len(writes)):
        run_dir = settings(kind).train.results_dir / f"cut {cut}"
        run_dir.mkdir(parents=True)
        left = iter(writes[:cut])

        def cutting(*paths, left=left):
            if next(left, None) is None:
                raise PowerCut
            replace(*paths)

        monkeypatch.setattr(files.os, "replace", cutting)
        with pytest.raises(PowerCut):
            train(settings(kind), data, run_dir, progress=False)
        monkeypatch.setattr(files.os, "replace", replace)
        assert (run_dir / "resume.pt").exists() == ("resume.pt" in writes[:cut])
        if "resume.pt" in writes[:cut]:
            train(configuration_of(run_dir), data, run_dir, progress=False, resume=True)
            assert outcome(run_dir) == undisturbed


# ------------------------------------------------------------------------------------------------- SIGKILL


needs_sigkill = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")


def train_in_process(config: Config, data: Data, run_dir: Path, begun) -> None:
    """In a process that will be killed."""
    torch.set_num_threads(1)
    begun.set()
    train(config, data, run_dir, progress=False, resume=(run_dir / "resume.pt").exists())


@needs_sigkill
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_trainings_that_are_killed_end_as_undisturbed_ones(processes, settings, data, kind):
    """Four trainings, each of at most six processes, of which all but the sixth die at a random moment."""
    config, moments = settings(kind, MANY_EPOCHS), random.Random(kind)

    def begin(run_dir: Path):
        run_dir.mkdir(parents=True, exist_ok=True)
        begun = processes.Event()
        process = processes.Process(target=train_in_process, args=(config, data, run_dir, begun))
        process.start()
        assert begun.wait(60)
        return process

    run_dir = config.train.results_dir / "undisturbed"
    process, started = begin(run_dir), time.monotonic()
    process.join()
    expected, seconds = outcome(run_dir), time.monotonic() - started
    killed = resumed = 0
    for number in range(4):
        run_dir = config.train.results_dir / f"killed {number}"
        for attempt in range(6):
            resumed += (run_dir / "resume.pt").exists()
            process = begin(run_dir)
            if number % 2 and attempt == 0:  # these two trainings first die after a whole epoch
                while process.is_alive() and not (run_dir / "resume.pt").exists():
                    time.sleep(0.001)
            else:
                process.join(None if attempt == 5 else moments.uniform(0, seconds))
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:
                assert process.exitcode == 0
                break
            killed += 1
        found = outcome(run_dir)
        found["files"] = [name for name in found["files"] if not name.endswith((".tmp", ".lock"))]
        assert found == expected, number
    assert killed and resumed


@needs_sigkill
def test_the_command_line_goes_on_after_sigkill(demo, repository, tmp_path, capsys):
    results = tmp_path / "results"
    keys = {**demo, "train.num_epochs": 40, "train.results_dir": results}
    overrides = [f"{key}={value}" for key, value in keys.items()]
    assert main([*overrides]) is None  # undisturbed; fills the cache, too
    (undisturbed,) = results.iterdir()
    command = [sys.executable, "-m", "training.train", *overrides]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (stopped := [path.parent for path in results.glob("*/resume.pt")]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    capsys.readouterr()
    main([f"resume={stopped[0]}"])
    assert f"Run directory: {stopped[0]}" in capsys.readouterr().out
    assert outcome(stopped[0])["validation"]["epoch"] == list(range(40))
    if torch.get_num_threads() == len(os.sched_getaffinity(0)):  # as the other process had
        ours, theirs = outcome(stopped[0]), outcome(undisturbed)
        assert ours["validation"] == theirs["validation"] and ours["weights"] == theirs["weights"]


# -------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def stopped(config, data, interrupt_at) -> tuple[Path, Config]:
    """A training that was stopped in its second epoch: the run and its configuration."""
    interrupt_at(3)
    run_dir = train(config(), data, progress=False)
    interrupt_at()  # no more
    return run_dir, config()


def test_settings_cannot_change_on_the_way(stopped):
    run_dir = stopped[0]
    with pytest.raises(ResumeError, match=r"train\.learning_rate=1: a training goes on with the settings"):
        configuration_of(run_dir, ["train.learning_rate=1"])
    assert configuration_of(run_dir, ["data.root=elsewhere"]).data.root == Path("elsewhere")


EDITED = {"train.learning_rate": 0.02, "train.batch_size": 8, "train.num_epochs": 2, "train.seed": 1}
EDITED |= {"features.n_mfcc": 5, "model.omega_0": 9.0, "model.aug": True, "data.test_fraction": 0.3}


def test_a_setting_that_was_edited_is_refused_by_name(stopped, data):
    run_dir, settings = stopped
    path = run_dir / "parameters.txt"
    for key, value in EDITED.items():
        save_config(settings, path)
        save_config(load_config(path, [f"{key}={json.dumps(value)}"]), path)
        named = f"trained with other settings: {key} was {flat(settings)[key]}, and is {value} now"
        with pytest.raises(ResumeError, match=named):
            configuration_of(run_dir)
        with pytest.raises(ResumeError, match=named):
            train(read_parameters(path), data, run_dir, progress=False, resume=True)


def test_settings_without_effect_may_change(stopped):
    path = stopped[0] / "parameters.txt"
    save_config(load_config(path, ["augment.noise=0.9", "train.results_dir=x", "data.cache_dir=y"]), path)
    assert configuration_of(stopped[0]).augment.noise == 0.9  # of a run without augmentation


# With batches of 200 two epochs have two steps, too few for a cycle.
@pytest.mark.parametrize(("schedule", "batch_size"), [("one_cycle", 16), ("one_cycle", 200), ("plateau", 16)])
def test_a_stopped_run_trains_on_to_a_later_end(config, data, interrupt_at, schedule, batch_size):
    kind = {"schedule": schedule, "batch_size": batch_size, "num_epochs": 2}
    interrupt_at(3)
    run_dir = train(config(train=kind), data, progress=False)
    interrupt_at()
    if schedule == "plateau":
        longer = configuration_of(run_dir, ["train.num_epochs=5"])
    else:
        path = run_dir / "parameters.txt"
        path.write_text(path.read_text().replace("num_epochs: 2", "num_epochs: 5"))
        longer = configuration_of(run_dir)
    train(longer, data, run_dir, progress=False, resume=True)
    rates = History.load(run_dir / "training_metrics.json")["learning_rate"]
    assert len(rates) == 5 and read_parameters(run_dir / "parameters.txt").train.num_epochs == 5
    assert not (run_dir / "resume.pt").exists()
    if schedule == "one_cycle":  # from there on as a training of five epochs has it
        undisturbed = train(config(train=kind | {"num_epochs": 5}), data, progress=False)
        assert rates[1:] == History.load(undisturbed / "training_metrics.json")["learning_rate"][1:]


def test_what_was_measured_of_weights_goes_with_them(stopped, data, capsys):
    run_dir, settings = stopped
    for name in ("calibration.json", "predictions.csv", "CkTIM_test_metrics.json", "mine.txt"):
        (run_dir / name).write_text("{}")
    folders = "cross-corpus_CREMA-D", "changed-recordings_1a"
    others = [run_dir / name / "predictions.csv" for name in folders]
    for path in others:
        path.parent.mkdir()
        path.touch()
    train(settings, data, run_dir, progress=False, resume=True)
    assert not any(path.exists() for path in others)
    assert (
        "CkTIM_test_metrics.json" in (said := capsys.readouterr().err) and "predictions.csv: removed" in said
    )
    left = {path.name for path in run_dir.iterdir()}
    assert "mine.txt" in left and not left & {
        "calibration.json",
        "predictions.csv",
        "CkTIM_test_metrics.json",
    }


def test_a_configuration_beside_resume_is_refused(stopped, tmp_path, capsys):
    resumed = f"resume={stopped[0]}"
    for arguments in (["--config", "conf/config.yaml", resumed], ["resume="], [resumed, resumed]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    refused = capsys.readouterr().err.splitlines()
    assert len(refused) == 3 and "its own parameters.txt. Leave --config out" in refused[0]
    assert all("name one run directory" in line for line in refused[1:])


def test_a_finished_run_has_nothing_to_go_on_with(config, data, tmp_path):
    run_dir = train(config(), data, progress=False)
    with pytest.raises(ResumeError, match="it is finished, or was stopped before the end of its first epoch"):
        configuration_of(run_dir)
    with pytest.raises(UserError, match="there is no run directory"):
        configuration_of(tmp_path / "nothing")
    with pytest.raises(SystemExit):
        main([f"resume={run_dir}"])


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another network"])
def test_a_damaged_state_is_named_and_costs_nothing_else(stopped, config, data, damage):
    run_dir, settings = stopped
    path = run_dir / "resume.pt"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # a bit between its members would be no damage
        longest = archive.read(max(archive.infolist(), key=lambda member: member.file_size))
    half = content.index(longest) + len(longest) // 2
    if damage == "of another network":
        settings = config(model={"n_filter": 9})
    else:
        rest = b"" if damage == "cut" else bytes([content[half] ^ 1]) + content[half + 1 :]
        path.write_bytes(content[:half] + rest)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    named = r"n_filter was 8, and is 9" if damage == "of another network" else r"resume\.pt"
    with pytest.raises(ResumeError, match=f"{named}.*other files of the run are untouched"):
        train(settings, data, run_dir, progress=False, resume=True)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before


def test_other_data_are_refused(stopped, data):
    run_dir, settings = stopped
    fewer = replace(data, split=replace(data.split, train=data.split.train[1:]))
    renamed = replace(data, corpus=replace(data.corpus, emotions=data.corpus.emotions[::-1]))
    for changed in (fewer, renamed):
        with pytest.raises(ResumeError, match="its emotions or its split have changed"):
            train(settings, changed, run_dir, progress=False, resume=True)
    train(settings, data, run_dir, progress=False, resume=True)


def hold(run_dir, ready, done) -> None:
    with being_trained(run_dir):
        ready.set()
        done.wait(60)


def test_a_training_goes_on_with_the_recordings_it_began_with(
    demo, tiny_emovo, tmp_path, interrupt_at, capsys
):
    """Other sound in training is refused; in the test set, which is not used, it is named."""
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "corpus"))
    keys = {
        **demo,
        "data.root": root,
        "data.cache_dir": tmp_path / "cache",
        "train.num_epochs": 3,
        "train.results_dir": tmp_path / "r",
    }
    interrupt_at(4)
    main([f"{key}={value}" for key, value in keys.items()])
    (run_dir,) = (tmp_path / "r").iterdir()
    split = load_split(run_dir / "split.json")

    def change(name: str) -> None:
        (path,) = root.rglob(f"{name}.wav")
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples[::-1], rate)

    change(split.test[0])
    change(split.train[0])
    with pytest.raises(UserError, match=rf"1 utterance of .* changed: {split.train[0]} .train: its sound"):
        prepare_resumed(configuration_of(run_dir), run_dir, progress=False)
    change(split.train[0])
    main([f"resume={run_dir}"])
    assert f"{split.test[0]} (test: its sound is another)" in capsys.readouterr().err
    assert not (run_dir / "resume.pt").exists()


def test_a_run_is_trained_by_one_process_at_a_time(processes, stopped, data):
    run_dir, settings = stopped
    ready, done = processes.Event(), processes.Event()
    process = processes.Process(target=hold, args=(run_dir, ready, done))
    process.start()
    assert ready.wait(60)
    try:
        with pytest.raises(ResumeError, match="being trained by another process"):
            train(settings, data, run_dir, progress=False, resume=True)
        assert unfinished_run(settings) is None
    finally:
        done.set()
        process.join()
    assert unfinished_run(settings) == run_dir


def test_unfinished_runs_are_found_by_their_settings(stopped, config, data):
    run_dir, settings = stopped
    assert unfinished_run(settings) == run_dir
    elsewhere = settings.model_copy(update={"data": settings.data.model_copy(update={"root": Path("moved")})})
    assert unfinished_run(elsewhere) == run_dir
    assert unfinished_run(config(train={"seed": 1})) is None
    train(settings, data, run_dir, progress=False, resume=True)
    assert unfinished_run(settings) is None

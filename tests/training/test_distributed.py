"""One training on two processes, started by torchrun as a user does it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import distributed
from utils.errors import UserError
from utils.metrics import History

NO_DROPOUT = dict.fromkeys(("model.dropout_rate", "model.input_dropout", "model.pooling_dropout"), 0)
SETTINGS = {"train.num_epochs": 2, "model.n_temporal_aware_block": 2, **NO_DROPOUT}
# Drawn for each utterance by name, so that it does not matter which process has it.
AUGMENTED = {"model.aug": True, "augment.mode": "online", "augment.variants": 0}
IN_DOUBLE_PRECISION = """
import torch
torch.set_default_dtype(torch.float64)
from training.train import main
main()
"""


def trained(demo: dict, results: Path, processes: int, program: list[str], **settings) -> Path:
    """Train with torchrun, or without it on a single process; returns the one run directory."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    everything = {**demo, **SETTINGS, **settings, "train.results_dir": str(results)}
    arguments = [f"{key}={json.dumps(value)}" for key, value in everything.items()]
    command = [sys.executable, *(launcher if processes > 1 else []), *program, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Run directory:") == 1
    (run_dir,) = results.iterdir()
    return run_dir


def losses(run_dir: Path) -> list[float]:
    parts = (History.load(run_dir / f"{part}_metrics.json") for part in ("training", "validation"))
    return [loss for part in parts for loss in part["loss"]]


def test_two_processes_with_half_the_batch_each_have_the_losses_of_one(demo, tmp_path):
    program = ["-m", "training.train"]
    slow = {"train.learning_rate": 0.001}
    one, two = (trained(demo, tmp_path / str(count), count, program, **slow) for count in (1, 2))
    assert losses(two) == pytest.approx(losses(one), abs=1e-3) and len(set(losses(one))) == 4
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [AUGMENTED, {"model.ck": False}], ids=["CkTIM, augmented", "TIM"])
def test_that_is_so_to_the_last_digits_in_double_precision(demo, tmp_path, settings, repository):
    """Batches of 63 are shared as 32 and 31, the last one of 28 as 14 and 14.

    In single precision any other order of summation, within one process too, grows from 1e-7 to 1e-3 in a few
    epochs, and could hide an error.
    """
    script = tmp_path / "train_in_double_precision.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(repository)!r})\n{IN_DOUBLE_PRECISION}")
    settings = {"train.batch_size": 63, **settings}
    one, two = (
        losses(trained(demo, tmp_path / str(processes), processes, [str(script)], **settings))
        for processes in (1, 2)
    )
    assert two == pytest.approx(one, abs=1e-8) and len(set(one)) == 4


def test_a_single_process_is_left_alone():
    with distributed.joined("cpu"), distributed.first_before_others():
        assert (distributed.processes(), distributed.rank()) == (1, 0)
        assert distributed.from_first(lambda: "made") == "made"


def test_a_batch_too_small_to_share_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    with pytest.raises(UserError, match="a batch of 2 utterances cannot be shared by 3 processes"):
        distributed.part([1, 2])

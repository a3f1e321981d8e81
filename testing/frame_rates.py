"""Accuracy at other frame rates than that of the training: `python -m testing.frame_rates RUN_DIR …`.

The features of a run's own test set are extracted anew at each hop; the weights stay as they are. Continuous
kernels are sampled at the new rate. TIM-net's kernels are tied to frames, and take the new ones for the old.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from testing.evaluate import recorded_test_set
from testing.load_run import load_run, predict
from utils.comparison import by_protocol, group_runs, mean_std, titled
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.metrics import read_json, scores
from utils.runs import read_run
from utils.tables import Table

HOPS = (256, 512, 1024)  # samples
CAPTION = "Scores in % at other frame rates than that of the training"


def accuracy_at_hops(
    run_dir: str | Path, hops: Sequence[int] = HOPS, overrides: Sequence[str] = (), progress: bool = True
) -> dict[str, list[float]]:
    """Test a run at several frame rates, without training it again.

    Args:
        run_dir: the run directory.
        hops: samples from one frame to the next.
        overrides: see testing.load_run.load_run.
        progress: show a progress bar where features are extracted.

    Returns:
        Lists in the order of the hops: `accuracy`, `uar`, and `agreement`, the share of utterances that get
        the same answer as at the hop of the training.

    Raises:
        UserError: as testing.evaluate.evaluate does.
    """
    run = load_run(run_dir, overrides)
    own = run.config.features.hop_length
    answers = {}
    for hop in {*hops, own}:
        features = run.config.features.model_copy(update={"hop_length": hop})
        data = recorded_test_set(run, run.config.model_copy(update={"features": features}), progress)
        x, y = data.arrays("test")
        logits = predict(run.model, x, run.config.train.batch_size, features.frame_seconds)
        answers[hop] = logits.argmax(1)
    at_hops = [scores(y, answers[hop], logits.shape[1]) for hop in hops]
    return {
        "accuracy": [at_hop["accuracy"] for at_hop in at_hops],
        "uar": [at_hop["uar"] for at_hop in at_hops],
        "agreement": [(answers[hop] == answers[own]).float().mean().item() for hop in hops],
    }


def measure_runs(
    run_dirs: Sequence[str | Path],
    hops: Sequence[int] = HOPS,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> dict:
    """Test runs at several frame rates; seeds of the same settings stand together.

    Returns:
        `test_set` (in words), `hops`, and `networks`: label → for each run `run` (its name), `seed`,
        `trained_at` (the hop of its training) and the lists of accuracy_at_hops.

    Raises:
        UserError: from accuracy_at_hops, and for runs of different corpora or protocols.
    """
    groups = group_runs(read_run(run_dir) for run_dir in run_dirs)
    if len(apart := by_protocol(groups)) > 1:
        raise UserError(f"these runs are of different test sets ({'; '.join(apart)}): take those of one.")
    return {
        "test_set": next(iter(apart)),
        "hops": list(hops),
        "networks": {
            label: [
                {
                    "run": run.name,
                    "seed": run.settings.get("train.seed"),
                    "trained_at": run.settings.get("features.hop_length"),
                    **accuracy_at_hops(run.path, hops, overrides, progress),
                }
                for run in group.runs
            ]
            for label, group in titled(groups).items()
        },
    }


def hops_table(measured: dict) -> Table:
    """What measure_runs returns, as mean ± standard deviation over the seeds."""
    rows = []
    for label, runs in measured["networks"].items():
        values = {key: np.array([run[key] for run in runs]) for key in ("accuracy", "uar", "agreement")}
        for column, hop in enumerate(measured["hops"]):
            rows.append(
                {
                    "network": label,
                    "runs": str(len(runs)),
                    "hop (samples)": f"{hop}{' (training)' if hop == runs[0]['trained_at'] else ''}",
                    "accuracy": mean_std(values["accuracy"][:, column]),
                    "UAR": mean_std(values["uar"][:, column]),
                    "same answer": mean_std(values["agreement"][:, column]),
                }
            )
    notes = ["Same answer: share of the utterances that are classified as at the hop of the training."]
    return Table(rows, f"{CAPTION} ({measured['test_set']})", notes)


def load_hops_table(path: str | Path) -> Table:
    """The table of a file that the command wrote; where it is missing, how to make it."""
    path = Path(path)
    if not path.exists():
        command = f"python -m testing.frame_rates RUN_DIR … --json {path.as_posix()}"
        return Table([], CAPTION, [f"Missing: {path.as_posix()}. It is made by: {command}"])
    try:
        return hops_table(read_json(path))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} was not written by testing.frame_rates: {error!r}. Make it anew.") from error


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m testing.frame_rates",
        description="Test runs on features at other frame rates than that of their training.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="the run directories")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="where the corpus is on this machine, or what device to use: data.root=EMOVO.zip",
    )
    parser.add_argument("--json", metavar="FILE", help="where to write the figures of each run")
    options = parser.parse_args(arguments)
    overrides = [text for text in options.runs if "=" in text and not Path(text).exists()]
    measured = measure_runs([text for text in options.runs if text not in overrides], overrides=overrides)
    print(hops_table(measured))
    if options.json:
        write_atomically(options.json, json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()

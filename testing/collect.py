"""Finished runs as rows of one small file: `python -m testing.collect RUN_DIR … --json FILE`.

Such a file can be kept and shown where the run directories themselves would be too many or too large.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.comparison import NOTHING, SCORES, WITHOUT_EFFECT, mean_std
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.metrics import read_json
from utils.runs import Run, read_run
from utils.tables import Table


def collect(run_dirs: Sequence[str | Path]) -> dict:
    """Read runs that were trained and evaluated.

    Returns:
        `settings`: what all runs share, key → value; `runs`: a row for each, with `run` (its name), `model`,
        `corpus`, `protocol`, `seed`, `settings` (those that differ from run to run), `best_epoch` (of the
        saved weights, counted from 1), `validation` and `test` (scores, 0 to 1) and `trainable_parameters`.

    Raises:
        UserError: when a directory is no run, is damaged, or lacks its configuration, its validation metrics
            or its test metrics.
    """
    runs = [read_run(run_dir) for run_dir in run_dirs]
    rows = [_row(run) for run in runs]
    settings = [
        {key: value for key, value in run.settings.items() if key not in WITHOUT_EFFECT} for run in runs
    ]
    shared = {
        key: value for key, value in settings[0].items() if all(other[key] == value for other in settings)
    }
    for row, own in zip(rows, settings, strict=True):
        row["settings"] = {key: value for key, value in own.items() if key not in shared}
    return {"settings": shared, "runs": rows}


def _row(run: Run) -> dict:
    for file, content, cure in (
        ("configuration that can be read", run.config, "restore its parameters.txt"),
        ("validation metrics", run.validation, "train it"),
        ("test metrics", run.test, f"evaluate it: python -m testing.evaluate {run.path.as_posix()}"),
    ):
        if content is None:
            raise UserError(f"{run.path} has no {file}: {cure}.")
    best = int(np.nanargmin(run.validation["loss"]))
    return {
        "run": run.name,
        "model": run.config.model.name,
        "corpus": run.corpus,
        "protocol": run.protocol,
        "seed": run.config.train.seed,
        "settings": {},
        "best_epoch": best + 1,
        "validation": {score: run.validation[score][best] for score in SCORES if score in run.validation},
        "test": {score: run.test[score][0] for score in SCORES if score in run.test},
        "trainable_parameters": run.test["trainable_parameters"][0],
    }


def collected_table(collected: dict, caption: str) -> Table:
    """What `collect` returns, runs that differ only in their seed as mean ± standard deviation.

    A column for each setting that differs; the test set stands in the caption, or in a column where there are
    several.
    """
    groups: dict[str, list[dict]] = {}
    for row in collected["runs"]:
        key = json.dumps([row["model"], _test_set(row), row["settings"]])
        groups.setdefault(key, []).append(row)
    test_sets = {_test_set(row) for row in collected["runs"]}
    one = len(test_sets) == 1
    rows = []
    for group in groups.values():
        first = group[0]
        rows.append(
            {
                "network": first["model"],
                **({} if one else {"test set": _test_set(first)}),
                **{key.partition(".")[2]: _text(value) for key, value in first["settings"].items()},
                "runs": str(len(group)),
                "validation": _scores(group, "validation", "accuracy"),
                "test": _scores(group, "test", "accuracy"),
                "test UAR": _scores(group, "test", "uar"),
                "parameters": f"{first['trainable_parameters']:,}",
            }
        )
    caption = f"{caption} ({test_sets.pop()})" if one else caption
    note = "Accuracy (validation, test) and UAR in %; of several runs mean ± standard deviation."
    return Table(rows, caption, [note])


def load_collected_table(path: str | Path, caption: str) -> Table:
    """The table of a file that the command wrote; where it is missing, how to make it."""
    path = Path(path)
    if not path.exists():
        command = f"python -m testing.collect RUN_DIR … --json {path.as_posix()}"
        return Table([], caption, [f"Missing: {path.as_posix()}. It is made by: {command}"])
    try:
        return collected_table(read_json(path), caption)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} was not written by testing.collect: {error!r}. Make it anew.") from error


def _test_set(row: dict) -> str:
    return f"{row['corpus']} corpus, {row['protocol'] or 'unrecorded test set'}"


def _scores(group: list[dict], part: str, score: str) -> str:
    return mean_std(np.array([row[part][score] for row in group if score in row[part]]))


def _text(value: object) -> str:
    return NOTHING if value is None else value if isinstance(value, str) else json.dumps(value)


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m testing.collect", description="Put the results of finished runs into one small file."
    )
    parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="trained and evaluated runs")
    parser.add_argument("--json", metavar="FILE", required=True, help="the file to write")
    options = parser.parse_args(arguments)
    collected = collect(options.run_dirs)
    write_atomically(options.json, json.dumps(collected, indent=1, ensure_ascii=False) + "\n")
    print(collected_table(collected, f"{len(collected['runs'])} runs"))


if __name__ == "__main__":
    main()

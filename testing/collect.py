"""Finished runs as rows of one small file: `python -m testing.collect RUN_DIR … --json FILE`.

Such a file can be kept and shown where the run directories themselves would be too many or too large.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.comparison import SCORES, mean_std, settings_in_words, test_set_in_words, with_effect
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.metrics import kept_epoch, read_json
from utils.runs import Run, read_run
from utils.tables import NOTHING, Table

TOLD_BY_THE_NAME = ("model.ck", "model.generator_type")  # CkTIM, CkkTIM or TIM


def collect(run_dirs: Sequence[str | Path]) -> dict:
    """Read runs that were trained and evaluated.

    Returns:
        `settings`: what all runs share, key → value; `runs`: a row for each, with `run` (its name), `model`,
        `corpus`, `protocol`, `fold` (counted from 0) and `folds` (null where the protocol has none), `seed`,
        `settings` (those that differ from run to run), `best_epoch` (of the saved weights, counted from 1),
        `validation` and `test` (scores, 0 to 1) and `trainable_parameters`.

    Raises:
        UserError: when a directory is no run, is damaged, or lacks its configuration, its validation metrics
            or its test metrics.
    """
    return bring_together([row_of(read_run(run_dir)) for run_dir in run_dirs])


def bring_together(rows: Sequence[dict]) -> dict:
    """Rows with all of their settings → what `collect` returns."""
    shared = {
        key: value
        for key, value in rows[0]["settings"].items()
        if all(key in row["settings"] and row["settings"][key] == value for row in rows)
    }
    own = [{key: value for key, value in row["settings"].items() if key not in shared} for row in rows]
    return {
        "settings": shared,
        "runs": [{**row, "settings": settings} for row, settings in zip(rows, own, strict=True)],
    }


def rows_of(collected: dict) -> list[dict]:
    """What `collect` returns → rows with all of their settings."""
    return [{**row, "settings": {**collected["settings"], **row["settings"]}} for row in collected["runs"]]


def row_of(run: Run) -> dict:
    """A row of `collect` with all settings of the run.

    Raises:
        UserError: when it lacks its configuration, its validation metrics or its test metrics.
    """
    for file, content, cure in (
        ("configuration that can be read", run.config, "restore its parameters.txt"),
        ("validation metrics", run.validation, "train it"),
        ("test metrics", run.test, f"evaluate it: python -m testing.evaluate {run.path.as_posix()}"),
    ):
        if content is None:
            raise UserError(f"{run.path} has no {file}: {cure}.")
    kept = kept_epoch(run.validation, run.config.train.keep)
    return {
        "run": run.name,
        "model": run.config.model.name,
        "corpus": run.corpus,
        "protocol": run.protocol,
        "fold": run.fold,
        "folds": run.folds,
        "seed": run.config.train.seed,
        "settings": with_effect(run.settings),
        "best_epoch": kept + 1,
        "validation": {score: run.validation[score][kept] for score in SCORES if score in run.validation},
        "test": {score: run.test[score][0] for score in SCORES if score in run.test},
        "trainable_parameters": run.test["trainable_parameters"][0],
    }


def collected_tables(collected: dict, caption: str) -> list[Table]:
    """What `collect` returns; one table a test set, that is a corpus and a protocol.

    Runs that differ only in seed and fold are brought together, as mean ± standard deviation. A column for
    each setting that differs within the table, but for those that the network's name tells.
    """
    apart: dict[str, list[dict]] = {}
    for row in rows_of(collected):
        test_set = test_set_in_words(row["corpus"], row["protocol"], row.get("folds"))
        apart.setdefault(test_set, []).append(row)
    return [_table(rows, f"{caption} ({where})") for where, rows in apart.items()]


def _table(runs: Sequence[dict], caption: str) -> Table:
    """The table of one test set, from rows with all of their settings."""
    values: dict[str, list] = {}
    for run in runs:
        for key, value in run["settings"].items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    columns = [key for key in values if len(values[key]) > 1 and key not in TOLD_BY_THE_NAME]
    shared = {key: found[0] for key, found in values.items() if len(found) == 1}
    groups: dict[str, list[dict]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run["model"], run["settings"]], sort_keys=True), []).append(run)
    folds = runs[0].get("folds")
    rows = []
    for group in groups.values():
        first = group[0]
        several = {"folds": f"{len({run['fold'] for run in group})} of {folds}"} if folds else {}
        rows.append(
            {
                "network": first["model"],
                **{key.partition(".")[2]: _text(first["settings"].get(key)) for key in columns},
                "seeds": str(len({run["seed"] for run in group})),
                **several,
                "validation": _scores(group, "validation", "accuracy"),
                "test": _scores(group, "test", "accuracy"),
                "test UAR": _scores(group, "test", "uar"),
                "parameters": f"{first['trainable_parameters']:,}",
            }
        )
    note = "Accuracy (validation, test) and UAR in %; of several runs mean ± standard deviation"
    seeds = {run["seed"] for run in runs}
    over = f" over folds{' and seeds' if len(seeds) > 1 else ''}" if folds else ""
    return Table(rows, caption, [f"{note}{over}. Settings: {settings_in_words(shared)}."])


def load_collected_tables(path: str | Path, caption: str, command: str | None = None) -> list[Table]:
    """The tables of a file that the command wrote; where it is missing, how to make it.

    Args:
        path: the file.
        caption: of the tables.
        command: that makes the file; by default this module's.

    Raises:
        UserError: when the file is damaged or something else.
    """
    path = Path(path)
    if not path.exists():
        command = command or f"python -m testing.collect RUN_DIR … --json {path.as_posix()}"
        return [Table([], caption, [f"Missing: {path.as_posix()}. It is made by: {command}"])]
    return collected_tables(read_collected(path), caption)


def read_collected(path: str | Path) -> dict:
    """What `collect` returned, from a file.

    Raises:
        UserError: when the file is missing, damaged or something else.
    """
    content = read_json(Path(path))
    try:
        for row in rows_of(content):
            _ = [row[key] for key in ("run", "model", "corpus", "protocol", "seed", "trainable_parameters")]
            _ = [row[part].keys() for part in ("validation", "test")]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} was not written by testing.collect: {error!r}. Make it anew.") from error
    return content


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
    print(*collected_tables(collected, f"{len(collected['runs'])} runs"), sep="\n\n")


if __name__ == "__main__":
    main()

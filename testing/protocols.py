"""Two networks under several protocols, plain and augmented: `python -m testing.protocols --json FILE`.

Every run is trained and evaluated as training.train and testing.evaluate do it. FILE (as testing.collect
writes it) grows with each; started anew, the command goes on with what is neither in FILE nor finished in its
folder.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from joblib import Parallel, delayed

from dataloader.corpora.find import find_corpus
from dataloader.corpora.utterance import Corpus
from dataloader.loaders import prepare_data
from testing.collect import (
    bring_together,
    collected_tables,
    load_collected_tables,
    read_collected,
    row_of,
    rows_of,
)
from testing.evaluate import evaluate
from training.train import fit
from utils.comparison import with_effect
from utils.config import Config, load_config
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.progress import progress_bar, warn
from utils.runs import DEFAULT_CONFIG, flat, list_runs, read_run
from utils.tables import Table

# What differs from conf/config.yaml: in all runs, in a network, in augmented runs.
COMMON = ("model.n_temporal_aware_block=3",)
NETWORKS = {"TIM": ("model.ck=false",), "CkTIM": ("model.ck=true",)}
AUGMENTED = ("model.aug=true", "augment.mode=online")
SEEDS = {"holdout": 3, "leave_one_speaker_out": 1, "kfold": 1}

RESULTS = "training/results/protocols.json"
COMMAND = f"python -m testing.protocols --json {RESULTS}"


def plan(
    corpus: Corpus,
    work: str | Path,
    overrides: Sequence[str] = (),
    augmented: Sequence[str] = AUGMENTED,
    protocols: Sequence[str] = tuple(SEEDS),
    config_path: str | Path = DEFAULT_CONFIG,
) -> list[Config]:
    """The configuration of every run: TIM and CkTIM, plain and augmented, in each protocol's seeds and folds.

    Args:
        corpus: whose speakers are the folds of leave_one_speaker_out.
        work: the folder for run directories.
        overrides: `key=value` for all of them.
        augmented: `key=value` for the augmented ones.
        protocols: keys of SEEDS.
        config_path: the file with all other settings.
    """
    configs = []
    for protocol in protocols:
        for seed, fold in _seeds_and_folds(protocol, corpus, load_config(config_path, overrides)):
            for network in NETWORKS.values():
                for training in (("model.aug=false",), ("model.aug=true", *augmented)):
                    which = f"data.protocol={protocol}", f"data.fold={fold}", f"train.seed={seed}"
                    where = json.dumps(Path(work).as_posix(), ensure_ascii=False)
                    place = f"train.results_dir={where}"
                    settings = [*COMMON, *overrides, *network, *training, *which, place]
                    configs.append(load_config(config_path, settings))
    return configs


def _seeds_and_folds(protocol: str, corpus: Corpus, config: Config) -> Iterator[tuple[int, int]]:
    speakers = len({utterance.speaker for utterance in corpus.utterances})
    folds = {"holdout": 1, "kfold": config.data.folds, "leave_one_speaker_out": speakers}[protocol]
    return ((seed, fold) for seed in range(SEEDS[protocol]) for fold in range(folds))


def is_of(row: dict, config: Config, corpus: str) -> bool:
    """Whether a row of testing.collect is the result of this configuration.

    A setting that one of the two does not know counts as equal: results stay valid when keys are added.
    """
    has_folds = config.data.protocol != "holdout"
    which = corpus, config.data.protocol, config.data.fold if has_folds else None, config.train.seed
    wanted = with_effect(flat(config))
    known = row["settings"].keys() & wanted.keys()
    return which == (row["corpus"], row["protocol"], row["fold"], row["seed"]) and all(
        row["settings"][key] == wanted[key] for key in known
    )


def run_all(
    configs: Sequence[Config],
    json_path: str | Path,
    corpus: str,
    processes: int = 2,
    progress: bool = True,
) -> list[str]:
    """Train and evaluate what is not done yet, and write every result into the file as it comes.

    Args:
        configs: of the runs.
        json_path: the file; what is in it stays there.
        corpus: the corpus's name.
        processes: runs at a time; each gets its share of the threads.
        progress: show a progress bar over runs.

    Returns:
        What failed, one message a run; the others are done all the same.
    """
    rows = finished(configs, json_path)
    _save(rows, json_path)
    todo = [config for config in configs if not any(is_of(row, config, corpus) for row in rows)]
    jobs = max(1, min(processes, len(todo)))
    threads = max(1, torch.get_num_threads() // jobs)
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    failed = []
    done = len(configs) - len(todo)
    bar = progress_bar(total=len(configs), initial=done, desc="runs", disable=not progress)
    for result in parallel(delayed(run_one)(config, threads) for config in todo):
        if isinstance(result, str):
            failed.append(result)
        else:
            rows.append(result)
            _save(rows, json_path)
        bar.update()
    bar.close()
    return failed


def run_one(config: Config, threads: int) -> dict | str:
    """Train and evaluate on so many threads; returns the row for testing.collect, or what went wrong."""
    torch.set_num_threads(threads)
    which = f"{config.model.name}, {config.data.protocol}, fold {config.data.fold}, seed {config.train.seed}"
    try:
        run_dir = fit(config, prepare_data(config, progress=False), progress=False)
        epochs = len(read_run(run_dir).training)
        if not config.train.early_stopping and epochs < config.train.num_epochs:  # fit returns after Ctrl-C
            return f"{which}: interrupted after {epochs} epochs."
        evaluate(run_dir, progress=False)
        return row_of(read_run(run_dir))
    except UserError as error:
        return f"{which}: {error}"


def finished(configs: Sequence[Config], json_path: str | Path) -> list[dict]:
    """Rows of runs that are done: all that are in the file, then those in the folders of the runs."""
    rows = rows_of(read_collected(json_path)) if Path(json_path).exists() else []
    known = {row["run"] for row in rows}
    for folder in sorted({config.train.results_dir for config in configs}):
        for run in list_runs(folder):
            if run.test is not None and run.config is not None and run.name not in known:
                rows.append(row_of(run))
    return rows


def listing(configs: Sequence[Config], rows: Sequence[dict], corpus: str) -> Table:
    """What there is to do, and what is done."""
    lines = [
        {
            "protocol": config.data.protocol,
            "fold": str(config.data.fold) if config.data.protocol != "holdout" else "",
            "seed": str(config.train.seed),
            "network": config.model.name,
            "training": "augmented" if config.model.aug else "plain",
            "state": "done" if any(is_of(row, config, corpus) for row in rows) else "to do",
        }
        for config in configs
    ]
    done = sum(line["state"] == "done" for line in lines)
    caption = f"{len(lines)} runs of {configs[0].train.num_epochs} epochs on the {corpus} corpus, {done} done"
    return Table(lines, caption)


def protocols_tables(path: str | Path = RESULTS) -> list[Table]:
    """The tables of the file, one a protocol; where it is missing, the command that makes it."""
    return load_collected_tables(path, "TIM-net and CkTIM-net, 3 TABs", COMMAND)


def _save(rows: Sequence[dict], path: str | Path) -> None:
    if rows:
        write_atomically(path, json.dumps(bring_together(rows), indent=1, ensure_ascii=False) + "\n")


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m testing.protocols",
        description="Train and evaluate TIM and CkTIM (3 TABs) under holdout, leave-one-speaker-out and "
        "10-fold cross-validation, plain and augmented. What is done is not done again.",
    )
    add = parser.add_argument
    add("--json", metavar="FILE", required=True, help="the file of results, made or completed")
    add("--work", metavar="DIR", help="folder for run directories; default: FILE without .json")
    add("--config", default=DEFAULT_CONFIG, help="default: conf/config.yaml")
    add("--epochs", type=int, help="of every run; default: train.num_epochs")
    add("--processes", type=int, default=2, help="runs at a time; default: %(default)s")
    add("--protocol", action="append", choices=list(SEEDS), help="may be given several times; default: all")
    add(
        "--augmented",
        action="append",
        metavar="key=value",
        help=f"of augmented runs, may be given several times; default: {' '.join(AUGMENTED)}",
    )
    add("--dry-run", action="store_true", help="list the runs, and train none")
    add("overrides", nargs="*", metavar="key=value", help="of all runs")
    options = parser.parse_intermixed_args(arguments)
    if options.processes < 1:
        raise UserError(f"--processes {options.processes}: must be at least 1.")

    epochs = [] if options.epochs is None else [f"train.num_epochs={options.epochs}"]
    overrides = [*options.overrides, *epochs]
    corpus = find_corpus(load_config(options.config, overrides).data)
    for warning in corpus.warnings:
        warn(warning)
    work = options.work or Path(options.json).with_suffix("")
    augmented = options.augmented or AUGMENTED
    configs = plan(corpus, work, overrides, augmented, options.protocol or tuple(SEEDS), options.config)
    if options.dry_run:
        print(listing(configs, finished(configs, options.json), corpus.name))
        return
    failed = run_all(configs, options.json, corpus.name, options.processes)
    if Path(options.json).exists():
        print(*collected_tables(read_collected(options.json), "TIM-net and CkTIM-net"), sep="\n\n")
    if failed:
        raise UserError("\n".join([f"{len(failed)} runs failed; start again to repeat them:", *failed]))


if __name__ == "__main__":
    main()

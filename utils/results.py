"""Runs in one DataFrame, a row a run, from run directories and trials' files alike, and tables of it.

The columns are COLUMNS. Runs of different corpora or protocols never come together in one mean or comparison.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import ArrayLike

from utils.config import load_config, migrate
from utils.errors import UserError, many
from utils.files import command_line, expanded
from utils.metrics import kept_epoch, read_json
from utils.progress import warn
from utils.runs import DEFAULT_CONFIG, PUBLISHED_CONFIG, Run, flat, list_runs
from utils.significance import Comparison, Summary, compare, holm, in_words, p_figure, summarise
from utils.tables import NOTHING, Table

PUBLISHED_RESULTS = DEFAULT_CONFIG.with_name("published_results.yaml")
SCORES = {"uar": "UAR", "accuracy": "accuracy", "precision": "precision", "recall": "recall"}
SCORES["f1_score"] = "F1"
OF_A_RUN = ("run", "corpus", "protocol", "fold", "folds", "seed", "settings")
COLUMNS = (
    *OF_A_RUN,  # settings: section.key → value, of all that a result depends on
    *("trial", "directory"),  # the trial of whose file it is and None, or an empty text and a utils.runs.Run
    *("network", "tabs", "test_set"),  # CkTIM, CkkTIM or TIM; TABs; corpus, protocol and folds in words
    "key",  # equal for runs that differ in seed and fold alone
    "recordings",  # how many, and a hash of them; None where it is not known
    *SCORES,  # of the test set, 0 to 1; NaN before the evaluation
    *(f"validation_{score}" for score in SCORES),  # of the epoch whose weights were kept
    "intervals",  # score → (low, high), 95 %
    *("best_epoch", "parameters"),  # the kept epoch, counted from 1
    *("emotions", "confusion_matrix"),
    "corpora",  # of a test on several: corpus → its utterances, accuracy and uar; else None
)
# Settings that change no result beyond rounding; seed, fold and protocol, which have columns of their own.
WITHOUT_EFFECT = {"train.seed", "train.device", "train.results_dir", "train.log", "model.conv_algorithm"}
WITHOUT_EFFECT |= {
    f"data.{key}" for key in ("fold", "protocol", "partition", "root", "columns", "cache_dir", "demo_dir")
}
OF_A_CORPUS = ("data.corpus", "data.root", "data.columns", "data.labels", "data.emotions")
OF_A_CORPUS += ("data.min_utterances", "features.signal_length")
IN_LABEL = {"model.ck", "model.generator_type", "model.n_temporal_aware_block"}  # `CkTIM with 6 TABs`
MOST_IN_LABEL = 3  # settings


def with_effect(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a result depends on, but for seed, protocol and fold; of plain runs nothing of `augment`."""
    unused = () if settings.get("model.aug", True) else ("augment.",)
    known = (key for key in settings if key not in WITHOUT_EFFECT and not key.startswith(unused))
    return {key: settings[key] for key in known}


def runs_frame(results_dir: str | Path) -> pd.DataFrame:
    """All runs of a results folder, in run directories and trials' files; a warning names damaged ones."""
    rows = [_columns(_row(run), run=run) for run in list_runs(results_dir)]
    for path in sorted(expanded(results_dir).glob("*.json")):
        try:
            rows += _trial_rows(path)[1]
        except UserError as error:
            warn(f"left out: {error}")
    return _frame(rows)


def read_trial(path: str | Path, *further: str | Path) -> pd.DataFrame:
    """The runs of a trial's file, such as training/results/omega_0.json; `attrs["trial"]` is about the trial.

    Further files, of the same settings on other seeds, join it; the last one's comparisons count.
    """
    about, rows = _trial_rows(Path(path))
    for more, more_rows in map(_trial_rows, map(Path, further)):
        own = {(row["key"], row["seed"], row["fold"]) for row in rows}  # a run of two files counts once
        rows += [row for row in more_rows if (row["key"], row["seed"], row["fold"]) not in own]
        about |= {
            "title": f"{about['title']}, with {more['title']}",
            "planned": about["planned"] + more["planned"],
            "failed": about["failed"] | more["failed"],
            "compare": more["compare"],
        }
    frame = _frame(rows)
    frame.attrs["trial"] = about
    return frame


def read_enrolment(*paths: str | Path) -> dict[str, dict[str, list[float]]]:
    """Files of testing.enrolment, of one network's folds say: recordings → corpus → UAR of each speaker."""
    rows = []
    for path in paths:
        content = read_json(Path(path))
        try:
            for row in content["rows"]:
                count = math.inf if row["all_others"] else row["recordings"]
                rows += [(count, row["corpus"], name, uar) for name, uar in row["speakers"].items()]
        except (KeyError, TypeError, AttributeError) as error:
            problem = f"{path} was not written by testing.enrolment: {error!r}"
            raise UserError(f"{problem}. Make it anew: python -m testing.enrolment RUN_DIR") from error
    frame = pd.DataFrame(rows, columns=["size", "corpus", "speaker", "uar"])
    frame = frame.groupby(["size", "corpus", "speaker"]).uar.mean().reset_index()  # over the files
    speakers = frame.groupby("corpus").speaker.transform("nunique")
    frame["name"] = [f"{one} ({many(n, 'speaker')})" for one, n in zip(frame.corpus, speakers, strict=True)]
    return _by_size(frame, "all others")


def trial_content(about: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """The content of a trial's file: about it, `settings` that all runs share, `runs` with their others."""
    for run in runs:
        for file in ("config", "validation", "test"):
            if getattr(run, file) is None:
                raise UserError(f"{run.path} is not whole: it lacks its {file}. Make the run again.")
    rows = [_row(run) for run in runs]
    every = [row["settings"] for row in rows]
    shared = {key: v for key, v in every[0].items() if all(key in one and one[key] == v for one in every)}
    for row in rows:
        row["settings"] = {key: value for key, value in row["settings"].items() if key not in shared}
    return {"trial": dict(about), "settings": shared, "runs": rows}


def trial_command(path: str | Path, runs: Sequence[Run] = ()) -> str:
    """The command that makes a trial's file, on the corpus of the last of the runs."""
    path = Path(path)
    arguments = [f"conf/trials/{path.stem.removesuffix('_demo')}.yaml", *corpus_overrides(runs)]
    if runs and path.parent != Path(_standard(DEFAULT_CONFIG)["train.results_dir"]):
        arguments.append(f"train.results_dir={path.parent.as_posix()}")
    return command_line("training.trials", *arguments)


def corpus_overrides(runs: Sequence[Run]) -> list[str]:
    """`key=value` by which a command takes the corpus of the last of the runs."""
    usual, found = _standard(DEFAULT_CONFIG), {}
    for run in runs[-1:]:
        found = {key: run.settings[key] for key in OF_A_CORPUS if run.settings.get(key) is not None}
    return [f"{key}={_short(value)}" for key, value in found.items() if usual[key] != value]


def own_trials(frame: pd.DataFrame) -> list[str]:
    """The names of the trials in a frame that are none of conf/trials."""
    ours = {"", *(path.stem for path in DEFAULT_CONFIG.with_name("trials").glob("*.yaml"))}
    return [name for name in dict.fromkeys(frame.trial) if name not in ours]


def _trial_rows(path: Path) -> tuple[dict[str, Any], list[dict]]:
    if not path.exists():
        raise UserError(f"{path} is missing. It is made by: {trial_command(path)}")
    content = read_json(path)
    try:
        about = {key: content["trial"][key] for key in ("title", "planned", "failed", "compare")}
        for family, pairs in about["compare"].items():
            about["compare"][family] = [[migrate(side) for side in pair] for pair in pairs]
        for row in content["runs"]:
            row["settings"] = migrate({**content["settings"], **row["settings"]})
        rows = [_columns(row, path.stem) for row in content["runs"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} was not written by training.trials: {error!r}. Make it anew.") from error
    return about, rows


def _row(run: Run) -> dict[str, Any]:
    """A run as in a trial's file, with all of its settings."""
    test, validation = run.test or {}, run.validation
    kept = kept_epoch(validation, run.config.train.keep) if validation and run.config else None
    keys = "utterances", "accuracy", "uar"
    columns = zip(*(test.get(f"{key}_per_corpus", ()) for key in keys), strict=True)
    several = [dict(zip(keys, one, strict=True)) for one in columns]
    scored = {}
    if validation and kept is not None:
        scored = {score: validation[score][kept] for score in SCORES if score in validation}
    return {
        "run": run.name,
        "model": run.network,
        **{name: getattr(run, name) for name in ("corpus", "protocol", "fold", "folds", "recordings")},
        "seed": run.settings.get("train.seed"),
        "settings": with_effect(run.settings),
        "best_epoch": None if kept is None else kept + 1,
        "validation": scored,
        "test": {score: test[score][0] for score in SCORES if score in test},
        "trainable_parameters": test["trainable_parameters"][0] if test else None,
        **({"corpora": dict(zip(test["corpora"], several, strict=True))} if "corpora" in test else {}),
    }


def _columns(row: Mapping[str, Any], trial: str = "", run: Run | None = None) -> dict[str, Any]:
    """A row as in a trial's file, with all of its settings → COLUMNS, as far as it has them."""
    settings, test = row["settings"], (run.test if run else None) or {}
    folds = f", {row['folds']} folds" if row["folds"] else ""
    test_set = f"{row['corpus']} corpus, {row['protocol'] or 'unrecorded test set'}{folds}"
    unknown = row["run"] if run and run.config is None else ""  # its other settings are not known
    return {
        **{name: row[name] for name in OF_A_RUN},
        **{"trial": trial, "directory": run, "network": row["model"], "test_set": test_set},
        "tabs": settings.get("model.n_temporal_aware_block"),
        "key": json.dumps([test_set, row.get("recordings"), unknown, settings], sort_keys=True),
        "recordings": row.get("recordings"),
        **{score: row["test"].get(score) for score in SCORES},
        **{f"validation_{score}": row["validation"].get(score) for score in SCORES},
        "intervals": {s: tuple(test[f"{s}_interval"][0]) for s in SCORES if f"{s}_interval" in test},
        **{"best_epoch": row.get("best_epoch"), "parameters": row["trainable_parameters"]},
        **{name: test.get(name) for name in ("emotions", "confusion_matrix")},
        "corpora": row.get("corpora"),
    }


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for _, runs in frame.groupby("test_set"):  # of other recordings it is another test set
        if runs.recordings.nunique() > 1:
            known = runs.recordings.dropna()
            frame.loc[known.index, "test_set"] = [f"{runs.test_set.iloc[0]}, {one}" for one in known]
    whole = ("tabs", "fold", "folds", "seed", "best_epoch", "parameters")
    numbers = [name for name in COLUMNS if name.removeprefix("validation_") in SCORES]
    return frame.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(numbers, float)})


def of_one_corpus(frame: pd.DataFrame, corpus: str | None = None) -> pd.DataFrame:
    """The runs on a corpus; by default on EMOVO, else on another, and on the demo corpus if on no other."""
    corpora = sorted(set(frame.corpus), key=lambda name: (name == "demo", name != "EMOVO", name))
    if corpus is not None and corpus not in corpora:
        raise UserError(f"there is no run on {corpus}, but on {', '.join(corpora) or 'no corpus yet'}.")
    return frame[frame.corpus == (corpus or corpora[0])] if corpora else frame


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Each settings, test set, seed and fold once, in the order of network, TABs and settings.

    Of several such runs an evaluated one counts, then one of a trial, then the later one, by its name.
    """
    whole = frame.assign(tested=frame.accuracy.notna()).sort_values(["tested", "trial", "run"])
    whole = whole.drop_duplicates(["key", "seed", "fold"], keep="last")
    for name in ("aug", "omega_0"):
        whole[name] = [settings.get(f"model.{name}") for settings in whole.settings]
    order = ["network", "tabs", "aug", "omega_0", "key", "seed", "fold"]
    return whole.sort_values(order, na_position="first")[list(frame.columns)]


def grouped(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs of the same settings and test set by label, such as `CkTIM with 6 TABs, ω₀ = 25`.

    They are in the order of the frame, or of ω₀ where nothing else varies.
    """
    groups = [group for _, group in frame.groupby("key", sort=False)]
    if _varied(group.settings.iloc[0] for group in groups) == ["model.omega_0"]:
        groups.sort(key=lambda group: group.settings.iloc[0]["model.omega_0"])
    found: dict[str, pd.DataFrame] = {}
    for label, group in zip(_labels([group.iloc[0] for group in groups]), groups, strict=True):
        found[f"{label}: {group.run.iloc[0]}" if label in found else label] = group
    return found


def paired(*groups: pd.DataFrame) -> list[list[float]]:
    """UARs of two groups over the seeds and folds that both have, pair by pair."""
    one, other = (dict(zip(zip(g.seed, g.fold, strict=True), g.uar, strict=True)) for g in groups)
    common = sorted(one.keys() & other.keys(), key=str)
    return [[uars[which] for which in common] for uars in (one, other)]


def uar_by_corpus(*frames: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Corpus → network → UAR in each fold and seed, of trials on one corpus or on several at once."""
    found: dict[str, dict[str, list[float]]] = {}
    for _, run in (row for frame in frames for row in frame.iterrows()):
        by_speaker = run.settings.get("features.normalise") == "speaker"
        name = network_in_words(run) + (", all corpora" if run.corpora else "")
        name += ", enrolled" if by_speaker else ""
        name += ", listeners' labels" if run.settings.get("data.labels") == "heard" else ""
        name += ", partition" if str(run.protocol).startswith("partition") else ""
        several = {corpus: one["uar"] for corpus, one in run.corpora.items()} if run.corpora else None
        for corpus, uar in (several or {run.corpus: run.uar}).items():
            found.setdefault(corpus, {}).setdefault(name, []).append(uar)
    return found


def uar_by_size(*frames: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Number of training utterances ("all" last) → network → UAR in each fold, of folds that all have."""
    every = pd.concat(frames)
    every["size"] = [one.get("data.training_utterances") or math.inf for one in every.settings]
    every["name"] = every.apply(network_in_words, axis=1)
    common = set.intersection(*(set(of_it.fold) for _, of_it in every.groupby(["size", "name"])))
    return _by_size(every[every.fold.isin(common)], "all")


def _by_size(frame: pd.DataFrame, whole: str) -> dict[str, dict[str, list[float]]]:
    """Size, the smallest first → name → UARs; `whole` is the heading of those of infinite size."""
    found: dict[str, dict[str, list[float]]] = {}
    for (size, name), of_it in frame.groupby(["size", "name"]):
        found.setdefault(whole if size == math.inf else f"{size:.0f}", {})[str(name)] = of_it.uar.tolist()
    return found


def uar_table(
    found: Mapping[str, Mapping[str, Sequence[float]]], caption: str, notes: Sequence[str] = ()
) -> Table:
    """Heading (a corpus, a size) → network → UARs as a table: a row a network, a column a heading."""
    rows = [
        {"network": name} | {head: mean_std(networks.get(name, [])) for head, networks in found.items()}
        for name in dict.fromkeys(name for networks in found.values() for name in networks)
    ]
    return Table(rows, caption, ["UAR in %, mean ± standard deviation over folds.", *notes])


def settings_in_words(settings: Mapping[str, Any], ignore: Iterable[str] = ()) -> str:
    """`default`, `published`, or the nearer of the two and the difference: `default, train.num_epochs 20`."""
    ignored, found = set(ignore), {}
    for name, path in (("default", DEFAULT_CONFIG), ("published", PUBLISHED_CONFIG)):
        usual = {key: value for key, value in _standard(path).items() if key not in ignored}
        differing = [key for key, value in with_effect(settings).items() if usual.get(key, value) != value]
        found[name] = [f"{key} {_short(settings[key])}" for key in differing]
    nearest = min(found, key=lambda name: len(found[name]))
    more = [f"and {len(found[nearest]) - 4} more"] if len(found[nearest]) > 4 else []
    return ", ".join([nearest, *found[nearest][:4], *more])


def value_label(key: str, value: Any) -> str:
    """A value of a setting in words: `ω₀ = 25`, `3 TABs`, `augmented`."""
    if key == "model.omega_0":
        return f"ω₀ = {value:g}"
    if key == "model.n_temporal_aware_block":
        return many(value, "TAB")
    if key == "model.aug":
        return "augmented" if value else "plain"
    return f"{key} = {value}"


def mean_std(values: ArrayLike) -> str:
    """Shares in percent: `81.2`, or `81.2 ± 2.6` for several (their standard deviation as a sample)."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}" if len(values) else NOTHING


def performance_tables(frame: pd.DataFrame, each_run: bool = False) -> list[Table]:
    """Test scores and sizes of run directories; one table a test set.

    A row is of all `distinct` runs of the same settings, or with `each_run` of one run. Times are left out,
    for those of other machines, or of busier moments, cannot be compared: docs/speed.md.
    """
    tables, frame = [], frame[(frame.trial == "") & frame.accuracy.notna()]
    for where, some in (frame if each_run else distinct(frame)).groupby("test_set", sort=False):
        rows, several, shown = [], False, distinct_scores(some)
        for _, group in some.groupby("run" if each_run else "key", sort=False):
            first, several = group.iloc[0], several or len(group) > 1
            row = {"run": first.run}
            if not each_run:
                augmented = ", augmented" if first.settings.get("model.aug") else ""
                row = {"network": f"{network_in_words(first)}{augmented}"}
                row["settings"] = settings_in_words(first.settings, {*IN_LABEL, "model.aug"})
                row["seeds"] = str(group.seed.nunique(dropna=False))
                row |= {"folds": f"{group.fold.nunique()} of {first.folds}"} if pd.notna(first.folds) else {}
            for score, name in shown.items():
                row[name] = mean_std(group[score])
                if len(group) == 1 and score in first.intervals:
                    row[name] += " ({:.0f}–{:.0f})".format(*(100 * bound for bound in first.intervals[score]))
            row["parameters"] = f"{first.parameters:,}"
            rows.append(row)
        notes = ["In brackets: the 95 % interval of a single run."]
        if "accuracy" not in shown:
            notes[0] += " UAR is also the accuracy."
        if several:
            over = "seeds; each seed draws its own test set"
            if pd.notna(some.folds.iloc[0]):
                over = "folds and seeds" if some.seed.nunique() > 1 else "folds"
            notes.append(f"± is the standard deviation over {over}.")
        tables.append(Table(rows, f"Test scores in % ({where})", notes))
    return tables


def load_published_results() -> dict[str, Any]:
    """conf/published_results.yaml: `source`, `caveats` (sentences), `runs`, and `unheard`, of other networks.

    `unheard` is corpus → network → UAR.
    """
    return yaml.safe_load(PUBLISHED_RESULTS.read_text(encoding="utf-8"))


def published_table(published: Mapping[str, Any], frame: pd.DataFrame) -> Table:
    """The published figures beside ours, of runs that were tested on a holdout of EMOVO."""
    ours = frame[(frame.corpus == "EMOVO") & (frame.protocol == "holdout") & frame.accuracy.notna()]
    ours = ours.sort_values("trial", kind="stable")  # of a seed a trial's run counts, rather than a directory
    rows = []
    for run in published["runs"]:
        row = {
            "run": run["name"],
            "published test": f"{100 * run['test']['accuracy']:.1f}",
            "F1": f"{100 * run['test']['f1_score']:.1f}",
            **{part: f"{100 * run[f'{part}_accuracy']:.1f}" for part in ("validation", "training")},
            "parameters": f"{run['test']['trainable_parameters']:,}",
            "one utterance": f"{1000 * run['test']['inference_time_one_sample']:.0f} ms",
        }
        same = ours.loc[[run["settings"].items() <= settings.items() for settings in ours.settings]]
        words = [settings_in_words(settings, run["settings"]) for settings in same.settings]
        for name in ("published", "default"):
            values = same.loc[[one == name for one in words]].drop_duplicates("seed", keep="last").accuracy
            count = f" (n = {len(values)})" if len(values) > 1 else ""
            row[f"ours, {name} settings"] = f"{mean_std(values)}{count}"
        rows.append(row)
    notes = [
        f"{NOTHING}: no run yet. python -m training.train makes it, with key=value for the settings in its "
        "name, and for the published settings with --config conf/published.yaml."
    ]
    if any("±" in cell for row in rows for cell in row.values()):
        notes.append("n: seeds; ± is their standard deviation.")
    return Table(rows, "Accuracy in %: as published, and ours on test sets that training never saw", notes)


def distinct_scores(values: Mapping[str, ArrayLike] | pd.DataFrame) -> dict[str, str]:
    """SCORES that are there, but for accuracy and recall where they are the UAR everywhere."""
    shown = {score: name for score, name in SCORES.items() if score in values}
    for score in ("recall", "accuracy"):
        both = {score, "uar"} <= shown.keys()
        if both and np.allclose(values[score], values["uar"], atol=5e-4, equal_nan=True):
            del shown[score]
    return shown


def trial_tables(frame: pd.DataFrame) -> list[Table]:
    """Of a trial (`read_trial`): the scores of its settings, and each family of comparisons."""
    about, test_sets = frame.attrs["trial"], "; ".join(dict.fromkeys(frame.test_set))
    shown = distinct_scores(frame[["accuracy", "uar"]])
    rows = []
    for label, group in grouped(frame).items():
        row = {"setting": label, "runs": str(len(group))}
        for score, name in shown.items():
            one = summarise(group[score])
            row[name] = mean_std(group[score])
            row[f"{name}: 95 % interval"] = _interval(one, "{:.1f} – {:.1f}")
        rows.append(row | {"parameters": f"{group.parameters.iloc[0]:,}"})
    which = "Scores" if "accuracy" in shown else "UAR, which is also the accuracy,"
    notes = [f"{which} in %: mean ± standard deviation over seeds and folds, and the mean's interval (t)."]
    if missing := about["planned"] - len(frame):
        failed = f", {len(about['failed'])} of them failed" if about["failed"] else ""
        notes.append(f"{missing} of the {about['planned']} planned runs missing{failed}.")
    notes += [f"Not compared: {sentence}." for sentence in uncompared(frame)]
    tables = [Table(rows, f"{about['title']} ({test_sets})", notes)]
    for family, compared in comparisons(frame).items():
        note = "UAR in points. p: Wilcoxon signed-rank over the same seeds and folds; effect: rank-biserial."
        lines = [
            {
                **{"first": first, "second": second, "pairs": str(one.n)},
                "difference": f"{100 * one.difference:+.1f}",
                "95 % interval": _interval(one, "{:+.1f} to {:+.1f}"),
                "p": p_figure(one.p, 3, "f") + (f" (of {one.family})" if one.family > 1 else ""),
                "effect": f"{one.effect:+.2f}",
            }
            for first, second, one in compared
        ]
        tables.append(Table(lines, f"{family} ({test_sets})", [note]))
    return tables


def comparisons(frame: pd.DataFrame) -> dict[str, list[tuple[str, str, Comparison]]]:
    """Family → (first, second, their comparison, corrected within the family), as a trial asks for it.

    Pairs of which a side has no run, or no seed and fold in common with the other, are left out (uncompared).
    """
    firsts: dict[str, list[pd.Series]] = {}
    plain: dict[str, list[Comparison]] = {}
    for family, _, (first, second) in _sides(frame):
        if (values := paired(first, second))[0]:
            firsts.setdefault(family, []).extend([first.iloc[0], second.iloc[0]])
            plain.setdefault(family, []).append(compare(*values))
    labels = {family: _labels(rows, frame.settings.iloc[0]) for family, rows in firsts.items()}
    return {
        family: list(zip(labels[family][::2], labels[family][1::2], holm(compared), strict=True))
        for family, compared in plain.items()
    }


def uncompared(frame: pd.DataFrame) -> list[str]:
    """Why a pair of settings is left out of the trial's comparisons, for each such pair."""
    found = []
    for family, pair, sides in _sides(frame):
        words = [side_in_words(wanted) for wanted in pair]
        if absent := [one for one, side in zip(words, sides, strict=True) if side.empty]:
            found.append(f"{family}: no run has {', nor '.join(absent)}")
        elif not paired(*sides)[0]:
            found.append(f"{family}: {' and '.join(words)} have no seed and fold in common")
    return found


def _sides(frame: pd.DataFrame) -> Iterator[tuple[str, list[Mapping[str, Any]], list[pd.DataFrame]]]:
    """Family, the settings of both sides, and their runs, of each comparison that a trial asks for."""
    groups = grouped(frame)
    for family, pairs in frame.attrs["trial"]["compare"].items():
        for pair in pairs:
            yield family, pair, [_select(groups, wanted) for wanted in pair]


def side_in_words(wanted: Mapping[str, Any]) -> str:
    """One side of a comparison: `model.ck = false, model.n_temporal_aware_block = 6`."""
    return ", ".join(f"{key} = {_short(value)}" for key, value in wanted.items())


def comparisons_in_words(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Family → a sentence for each of its comparisons, that says no more than the figures allow."""
    found = comparisons(frame).items()
    return {family: [in_words(one, *labels) for *labels, one in compared] for family, compared in found}


def _select(groups: Mapping[str, pd.DataFrame], wanted: Mapping[str, Any]) -> pd.DataFrame:
    """The group that has all the wanted values; an empty one where none has."""
    items = wanted.items()
    chosen = {label: group for label, group in groups.items() if items <= group.settings.iloc[0].items()}
    if len(chosen) > 1:
        labels = ", ".join(chosen)
        raise UserError(f"compare: {dict(wanted)} fits several settings of the trial ({labels}): say more.")
    return next(iter(chosen.values()), _frame([]))


def _interval(one: Summary | Comparison, form: str) -> str:
    return form.format(100 * one.low, 100 * one.high) if one.n > 1 else NOTHING


def _varied(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys with more than one value, as far as each has them."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for key, value in one.items():
            values.setdefault(key, set()).add(json.dumps(value))
    return [key for key in values if len(values[key]) > 1]


def _labels(firsts: Sequence[pd.Series], reference: Mapping[str, Any] | None = None) -> list[str]:
    """Network, TABs and what else varies; of many settings those that differ from the reference's."""
    varied = [key for key in _varied(first.settings for first in firsts) if key not in IN_LABEL]
    several = len({first.test_set for first in firsts}) > 1
    corpora = {first.corpus for first in firsts}
    labels = []
    for first in firsts:
        own = [key for key in varied if key in first.settings]
        if len(own) > MOST_IN_LABEL:
            usual = reference or firsts[0].settings
            own = [key for key in own if first.settings[key] != usual.get(key)]
        others = [value_label(key, first.settings[key]) for key in own[:MOST_IN_LABEL]]
        if more := len(own) - len(others):
            others.append(f"and {more} more")
        where = first.test_set.removeprefix(f"{first.corpus} corpus, " if len(corpora) == 1 else "")
        labels.append(", ".join([network_in_words(first), *others]) + (f" ({where})" if several else ""))
    return labels


def _short(value: Any) -> str:
    """A value as in YAML: `24`, `false`, `sin`."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def network_in_words(run: Any) -> str:
    """Of a Run or a row of a frame: `CkTIM with 3 TABs`."""
    return named(run.network, run.settings.get("model.n_temporal_aware_block"))


def named(network: str, tabs: int | None) -> str:
    """A network with its depth, where that is known."""
    return f"{network} with {value_label('model.n_temporal_aware_block', tabs)}" if tabs else network


@cache
def _standard(path: Path) -> dict[str, Any]:
    return flat(load_config(path))

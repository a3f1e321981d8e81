"""Runs beside each other: seeds and folds of the same settings together, trials of one setting, and tables.

Never together in one mean, curve or table: runs of different corpora, and of different protocols.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from utils.config import load_config
from utils.emotions import EMOTIONS
from utils.runs import DEFAULT_CONFIG, PUBLISHED_CONFIG, Run, flat
from utils.tables import NOTHING, Table

PUBLISHED_RESULTS = DEFAULT_CONFIG.with_name("published_results.yaml")

# Settings that change no result beyond rounding; seed and fold, of which a group has several; and the
# protocol, which is recorded with the test set.
WITHOUT_EFFECT = {
    "train.seed",
    "data.fold",
    "data.protocol",
    "train.device",
    "train.results_dir",
    "data.root",
    "data.cache_dir",
    "data.demo_dir",
    "data.storage",
    "model.conv_algorithm",
}
# Settings that every label shows, as `CkTIM, 6 TABs, augmented`.
IN_LABEL = {"model.ck", "model.generator_type", "model.n_temporal_aware_block", "model.aug"}
SCORES = {
    "accuracy": "accuracy",
    "uar": "UAR",
    "precision": "precision",
    "recall": "recall",
    "f1_score": "F1",
}


@dataclass(frozen=True)
class Group:
    """Runs of the same settings, corpus and protocol, with different seeds or folds."""

    runs: tuple[Run, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Their settings; seed and paths are those of the first."""
        return self.runs[0].settings

    @property
    def tested(self) -> tuple[Run, ...]:
        """Those that were evaluated."""
        return tuple(run for run in self.runs if run.test is not None)

    @property
    def network(self) -> str:
        """CkTIM, CkkTIM or TIM; the directory's name where nothing tells."""
        run = self.runs[0]
        if run.config is not None:
            return run.config.model.name
        if "model.ck" not in run.settings:
            return run.name
        kan = run.settings.get("model.generator_type") == "convKan"
        return "TIM" if not run.settings["model.ck"] else "CkkTIM" if kan else "CkTIM"

    @property
    def test_set(self) -> str:
        """For instance `EMOVO corpus, leave_one_speaker_out, 6 folds`."""
        run = self.runs[0]
        return test_set_in_words(run.corpus, run.protocol, run.folds)

    @property
    def label(self) -> str:
        """For instance `CkTIM, 6 TABs, augmented`."""
        tabs = self.settings.get("model.n_temporal_aware_block")
        parts = [
            self.network,
            *([f"{tabs} TAB{'s'[: tabs > 1]}"] if tabs else []),
            *(["augmented"] if self.settings.get("model.aug") else []),
        ]
        return ", ".join(parts)

    def values(self, measure: str) -> np.ndarray:
        """A measure of the test set, one value for each run that has it."""
        return np.array([run.test[measure][0] for run in self.tested if measure in run.test])


@dataclass(frozen=True)
class Trial:
    """Groups that differ in one setting only.

    Attributes:
        key: that setting, such as `model.omega_0`.
        groups: its value → the group.
        missing: values that were asked for and that no run has.
        settings: all other settings, in words.
        commands: for each missing value the command that trains such a run.
    """

    key: str
    groups: Mapping[Any, Group]
    missing: tuple[Any, ...]
    settings: str
    commands: tuple[str, ...]

    @property
    def test_set(self) -> str:
        """On what all of them were tested; empty where there is no group."""
        return next((group.test_set for group in self.groups.values()), "")

    @property
    def network(self) -> str:
        """What all of them have in common, such as `CkTIM, 6 TABs`."""
        labels = [group.label.split(", ") for group in self.groups.values()] or [[]]
        return ", ".join(part for part in labels[0] if all(part in label for label in labels))


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Bring runs of the same settings together, in the order of network, TABs and settings.

    Of two runs with the same seed and fold too the later one counts (by its name, which ends with the time),
    or the one that was evaluated.
    """
    found: dict[str, dict[Any, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.test is not None, run.name)):
        found.setdefault(_key(run), {})[run.settings.get("train.seed"), run.fold] = run
    groups = [Group(tuple(same[which] for which in sorted(same, key=_in_turn))) for same in found.values()]
    return sorted(groups, key=_order)


def find_trials(
    groups: Sequence[Group], key: str, wanted: Sequence[Any], fixed: Mapping[str, Any] | None = None
) -> list[Trial]:
    """Find groups that differ only in one setting.

    Args:
        groups: of any corpora and protocols; those of a trial are of one.
        key: the setting.
        wanted: the values that a whole trial has; others are shown too where they are there.
        fixed: key → value, for groups to be considered.

    Returns:
        The trials with at least two values, those with the most wanted ones first; where there is none, the
        one that comes closest; where no run fits at all, a trial without groups.
    """
    families: dict[str, dict[Any, Group]] = {}
    for group in groups:
        settings = group.settings
        if key in settings and all(settings.get(name) == value for name, value in (fixed or {}).items()):
            families.setdefault(_key(group.runs[0], without={key}), {})[settings[key]] = group
    if key == "model.aug":  # plain runs stand beside every kind of augmentation
        pairs = [family for family in families.values() if False in family]
        plain = {_key(family[False].runs[0], {key}): family[False] for family in pairs}
        for family in families.values():
            if False not in family:
                augment = {name for name in family[True].settings if name.startswith("augment.")}
                match = plain.get(_key(family[True].runs[0], {key, *augment}))
                family.update({False: match} if match else {})
    trials = []
    for family in families.values():
        settings = next(iter(family.values())).settings
        missing = tuple(value for value in wanted if value not in family)
        trials.append(
            Trial(
                key=key,
                groups={value: family[value] for value in sorted(family)},
                missing=missing,
                settings=settings_in_words(settings, {key, *(fixed or {})}),
                commands=tuple(training_command({**settings, key: value}) for value in missing),
            )
        )
    trials.sort(key=lambda t: (len(t.missing), -len(t.groups), t.settings, t.test_set))
    default = {**_standard(DEFAULT_CONFIG), **(fixed or {})}
    commands = tuple(training_command({**default, key: value}) for value in wanted)
    nothing = Trial(key, {}, tuple(wanted), "", commands)
    return [trial for trial in trials if len(trial.groups) > 1] or trials[:1] or [nothing]


def settings_in_words(settings: Mapping[str, Any], ignore: Iterable[str] = ()) -> str:
    """`default`, `published`, or the nearer of the two with what differs: `default, train.num_epochs 20`."""
    nearest, differing = _nearest(settings, ignore)
    shown = [f"{key} {_short(value)}" for key, value in list(differing.items())[:4]]
    more = [f"and {len(differing) - 4} more"] if len(differing) > 4 else []
    return ", ".join([nearest, *shown, *more])


def training_command(settings: Mapping[str, Any]) -> str:
    """The command that trains a run of such settings, with the first seed and fold."""
    nearest, differing = _nearest(settings)
    if settings.get("data.protocol", "holdout") != "holdout":
        differing["data.protocol"] = settings["data.protocol"]
    config = ["--config", "conf/published.yaml"] if nearest == "published" else []
    overrides = [f"{key}={_short(value)}" for key, value in differing.items()]
    return shlex.join(["python", "-m", "training.train", *config, *overrides])


def with_effect(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a result depends on, but for seed, protocol and fold; of plain runs nothing of `augment`."""
    plain = not settings.get("model.aug", True)
    return {
        key: value
        for key, value in settings.items()
        if key not in WITHOUT_EFFECT and not (plain and key.startswith("augment."))
    }


def by_protocol(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Groups apart by corpus and protocol; the keys say in words which."""
    apart: dict[str, list[Group]] = {}
    for group in groups:
        apart.setdefault(group.test_set, []).append(group)
    return apart


def test_set_in_words(corpus: str, protocol: str | None, folds: int | None) -> str:
    """What may stand in one table: `EMOVO corpus, holdout`, `EMOVO corpus, kfold, 10 folds`."""
    return f"{corpus} corpus, {protocol or 'unrecorded test set'}" + (f", {folds} folds" if folds else "")


def value_label(key: str, value: Any) -> str:
    """A value of a setting as a curve's label: `ω₀ = 25`, `3 TABs`, `augmented`."""
    if key == "model.omega_0":
        return f"ω₀ = {value:g}"
    if key == "model.n_temporal_aware_block":
        return f"{value} TAB{'s'[: value > 1]}"
    if key == "model.aug":
        return "augmented" if value else "plain"
    return f"{key} = {value}"


def titled(groups: Iterable[Group]) -> dict[str, Group]:
    """Groups by label; where two have the same, settings are added, and where protocols differ, these."""
    groups = list(groups)
    corpora = {group.runs[0].corpus for group in groups}
    common = f"{corpora.pop()} corpus, " if len(corpora) == 1 else ""
    labels = [group.label for group in groups]
    if len(by_protocol(groups)) > 1:
        labels = [f"{group.label}, {group.test_set.removeprefix(common)}" for group in groups]
    found = {}
    for label, group in zip(labels, groups, strict=True):
        if labels.count(label) > 1:
            label += f" ({settings_in_words(group.settings, IN_LABEL)})"
        found[f"{label}: {group.runs[0].name}" if label in found else label] = group
    return found


def of_one_corpus(runs: Sequence[Run]) -> list[Run]:
    """The runs on EMOVO, or else on some other corpus; those on the demo corpus where there are no others."""
    corpora = sorted({run.corpus for run in runs}, key=lambda name: (name == "demo", name != "EMOVO", name))
    return [run for run in runs if run.corpus == corpora[0]]


def mean_std(values: np.ndarray) -> str:
    """Shares in percent: `81.2`, or `81.2 ± 2.6` for several (their standard deviation as a sample)."""
    if len(values) == 0:
        return NOTHING
    mean = f"{100 * values.mean():.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * values.std(ddof=1):.1f}"


def accuracies(groups: Sequence[Group]) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Test accuracies by title, (runs,) each, and the 95 % interval of groups of one run."""
    tested = {title: group for title, group in titled(groups).items() if group.tested}
    values = {title: group.values("accuracy") for title, group in tested.items()}
    intervals = {
        title: tuple(group.values("accuracy_interval")[0])
        for title, group in tested.items()
        if len(group.values("accuracy_interval")) == 1
    }
    return values, intervals


def emotions_of(groups: Iterable[Group]) -> list[str]:
    """The classes of evaluated runs on one corpus; EMOVO's where they did not record them."""
    tested = (run.test for group in groups for run in group.tested)
    return next((test["emotions"] for test in tested if "emotions" in test), list(EMOTIONS))


def confusion_matrices(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """Confusion matrices by title, (classes, classes) counts, those of several seeds or folds added up."""
    found = {}
    for title, group in titled(groups).items():
        matrices = [run.test["confusion_matrix"] for run in group.tested if "confusion_matrix" in run.test]
        if matrices:
            found[title] = np.sum(matrices, axis=0)
    return found


# --- tables ---


def runs_tables(runs: Sequence[Run]) -> list[Table]:
    """The test scores of each evaluated run with their 95 % intervals; one table a corpus and protocol."""
    tested = [run for run in runs if run.test is not None]
    return [
        Table(
            [_run_row(group.runs[0]) for group in some],
            f"Test scores in % ({where}), with 95 % intervals",
        )
        for where, some in by_protocol(Group((run,)) for run in tested).items()
    ]


def performance_tables(groups: Sequence[Group]) -> list[Table]:
    """The test scores of each group; one table a corpus and protocol."""
    return [
        Table(
            [
                {
                    **_row_head(group),
                    **_seeds_and_folds(group),
                    **{name: mean_std(group.values(score)) for score, name in SCORES.items()},
                }
                for group in some
            ],
            f"Test scores in % ({where})",
            _spread_note(some),
        )
        for where, some in by_protocol(groups).items()
    ]


def cost_table(groups: Sequence[Group]) -> Table:
    """Trainable parameters and inference times of each group, whatever it was tested on."""
    same: dict[str, list[Run]] = {}
    for group in groups:
        same.setdefault(_key(group.runs[0], test_set=False), []).extend(group.runs)
    rows = []
    for group in (Group(tuple(runs)) for runs in same.values()):
        devices = {run.test["device"][0] for run in group.tested if "device" in run.test}
        one, whole = group.values("inference_time_one_sample"), group.values("inference_time_tot")
        parameters = group.values("trainable_parameters")
        rows.append(
            {
                **_row_head(group),
                "runs": str(len(group.tested)),
                "parameters": f"{int(parameters[0]):,}" if len(parameters) else NOTHING,
                "one utterance": f"{1000 * np.median(one):.1f} ms" if len(one) else NOTHING,
                "whole test set": f"{np.median(whole):.2f} s" if len(whole) else NOTHING,
                "measured on": "; ".join(sorted(devices)) or NOTHING,
            }
        )
    note = (
        "From MFCCs to scores, one utterance at a time; of several runs the median. Times taken on different "
        "machines cannot be compared."
    )
    return Table(rows, "Trainable parameters and inference time", [note])


def augmentation_tables(trials: Sequence[Trial]) -> list[Table]:
    """Test accuracy without and with augmentation, for pairs of groups; one table a corpus and protocol."""
    apart: dict[str, list[dict[str, str]]] = {}
    for trial in trials:
        plain, augmented = trial.groups.get(False), trial.groups.get(True)
        group = plain or augmented
        if group is None:
            continue
        apart.setdefault(trial.test_set, []).append(
            {
                "network": group.network,
                "TABs": str(group.settings["model.n_temporal_aware_block"]),
                "settings": trial.settings,
                "plain": mean_std(plain.values("accuracy")) if plain else NOTHING,
                "augmented": mean_std(augmented.values("accuracy")) if augmented else NOTHING,
            }
        )
    return [
        Table(rows, f"Test accuracy in % ({where}), without and with augmentation")
        for where, rows in apart.items()
    ]


def published_table(
    published: Mapping[str, Any], groups: Sequence[Group], rows: Iterable[Mapping[str, Any]] = ()
) -> Table:
    """The published figures beside ours.

    Args:
        published: what load_published_results returns.
        groups: ours, of which those are shown that were tested on a holdout of the real corpus.
        rows: runs of trials, as in testing.collect.rows_of. Of a seed that is there on both sides the
            trial's run counts, so that its figures here are those of its own table.
    """
    ours = [
        (group.settings, run.settings.get("train.seed"), run.test["accuracy"][0])
        for group in groups
        if not group.runs[0].is_demo and group.runs[0].protocol == "holdout"
        for run in group.tested
    ] + [
        (row["settings"], row["seed"], row["test"]["accuracy"])
        for row in rows
        if row["corpus"] != "demo" and row["protocol"] == "holdout"
    ]
    shown = []
    for run in published["runs"]:
        row = {
            "run": run["name"],
            "published test": f"{100 * run['test']['accuracy']:.1f}",
            "published validation": f"{100 * run['validation_accuracy']:.1f}",
            "published training": f"{100 * run['training_accuracy']:.1f}",
        }
        for name in ("published", "default"):
            accuracies = {
                seed: accuracy
                for settings, seed, accuracy in ours
                if all(settings.get(key) == value for key, value in run["settings"].items())
                and settings_in_words(settings, run["settings"]) == name
            }
            seeds = f" (n = {len(accuracies)})" if len(accuracies) > 1 else ""
            row[f"ours, {name} settings"] = f"{mean_std(np.array(list(accuracies.values())))}{seeds}"
        shown.append(row)
    notes = [
        f"{NOTHING}: no run yet. python -m training.train makes it, with key=value for what the run's name "
        "says, and for the published settings with --config conf/published.yaml."
    ]
    if any("±" in cell for row in shown for cell in row.values()):
        notes.append("n: seeds; ± is their standard deviation.")
    return Table(shown, "Accuracy in %: as published, and ours on test sets that training never saw", notes)


def load_published_results() -> dict[str, Any]:
    """conf/published_results.yaml: `source`, `caveats` (sentences) and `runs`."""
    return yaml.safe_load(PUBLISHED_RESULTS.read_text(encoding="utf-8"))


def published_details_table(published: Mapping[str, Any]) -> Table:
    """All of the published test figures."""
    rows = [
        {
            "run": run["name"],
            **{
                name: f"{100 * run['test'][score]:.1f}"
                for score, name in SCORES.items()
                if score in run["test"]
            },
            "loss": f"{run['test']['loss']:.2f}",
            "parameters": f"{run['test']['trainable_parameters']:,}",
            "one utterance": f"{1000 * run['test']['inference_time_one_sample']:.0f} ms",
        }
        for run in published["runs"]
    ]
    return Table(rows, "Test figures as published, scores in % (read the reasons above)")


def _run_row(run: Run) -> dict[str, str]:
    row = {"run": run.name}
    for score, name in SCORES.items():
        if score not in run.test:
            row[name] = NOTHING
            continue
        row[name] = f"{100 * run.test[score][0]:.1f}"
        if f"{score}_interval" in run.test:
            low, high = run.test[f"{score}_interval"][0]
            row[name] += f" ({100 * low:.0f}–{100 * high:.0f})"
    row["parameters"] = f"{run.test['trainable_parameters'][0]:,}"
    row["one utterance"] = f"{1000 * run.test['inference_time_one_sample'][0]:.1f} ms"
    return row


def _row_head(group: Group) -> dict[str, str]:
    return {
        "network": group.network + (", augmented" if group.settings.get("model.aug") else ""),
        "TABs": str(group.settings.get("model.n_temporal_aware_block", NOTHING)),
        "settings": settings_in_words(group.settings, IN_LABEL),
    }


def _seeds_and_folds(group: Group) -> dict[str, str]:
    """How many there are, and of a protocol with folds, of how many."""
    counted = {"seeds": str(len({run.settings.get("train.seed") for run in group.tested}))}
    if group.runs[0].folds:
        counted["folds"] = f"{len({run.fold for run in group.tested})} of {group.runs[0].folds}"
    return counted


def _spread_note(groups: Sequence[Group]) -> list[str]:
    """What ± is; the groups are of one protocol."""
    if not any(len(group.tested) > 1 for group in groups):
        return []
    if not groups[0].runs[0].folds:
        return ["± is the standard deviation over seeds; each seed draws its own test set."]
    seeds = {run.settings.get("train.seed") for group in groups for run in group.tested}
    return [f"± is the standard deviation over folds{' and seeds' if len(seeds) > 1 else ''}."]


def _short(value: Any) -> str:
    """A value as in YAML: `24`, `false`, `sin`."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _in_turn(seed_and_fold: tuple[int | None, int | None]) -> tuple[int, ...]:
    """By seed, then fold; unknown ones first."""
    return tuple(-1 if number is None else number for number in seed_and_fold)


def _key(run: Run, without: Iterable[str] = (), test_set: bool = True) -> str:
    """Equal for runs that may stand in one group: the same corpus, protocol, and settings but `without`.

    With `test_set` false, equal for runs of the same settings whatever they were tested on.
    """
    settings = {key: value for key, value in with_effect(run.settings).items() if key not in without}
    unknown = "" if run.config else run.name  # nobody knows its other settings
    where = [run.corpus, run.protocol, run.folds] if test_set else []
    return json.dumps([*where, unknown, settings], sort_keys=True)


def _order(group: Group) -> tuple:
    settings = group.settings
    return (
        group.runs[0].is_demo,
        group.network,
        settings.get("model.n_temporal_aware_block", 0),
        bool(settings.get("model.aug")),
        settings.get("model.omega_0", 0),
        _key(group.runs[0]),
    )


def _nearest(settings: Mapping[str, Any], ignore: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """`default` or `published`, whichever is nearer, and the settings that differ from it."""
    ignored = set(ignore)
    differing = {}
    for name, path in (("default", DEFAULT_CONFIG), ("published", PUBLISHED_CONFIG)):
        standard = _standard(path)
        differing[name] = {
            key: value
            for key, value in with_effect(settings).items()
            if key in standard and key not in ignored and value != standard[key]
        }
    nearest = min(differing, key=lambda name: len(differing[name]))
    return nearest, differing[nearest]


@cache
def _standard(path: Path) -> dict[str, Any]:
    return flat(load_config(path))

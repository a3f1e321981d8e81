"""What a trial's file of results (training/results/NAME.json, of training.trials) says: tables and words."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown, display

from dataloader.corpora.readers import READERS
from testing.collect import rows_of
from utils.comparison import IN_LABEL, test_set_in_words, value_label
from utils.errors import UserError
from utils.metrics import read_json
from utils.notebooks.display import keep
from utils.plots.results import plot_scores
from utils.significance import Comparison, compare, holm, in_words, summarise
from utils.tables import NOTHING, Table, markdown_text

MOST_IN_LABEL = 3  # settings


@dataclass(frozen=True)
class Setting:
    """Runs of a trial that differ only in seed and fold.

    Attributes:
        label: what tells them from the trial's others, such as `CkTIM with 6 TABs, ω₀ = 25`.
        settings: all of their settings, key → value.
        test_set: corpus and protocol in words.
        rows: the runs, as in testing.collect.
    """

    label: str
    settings: Mapping[str, Any]
    test_set: str
    rows: tuple[dict, ...]

    def scores(self, score: str) -> dict[tuple, float]:
        """(seed, fold) → the score on the test set, 0 to 1."""
        return {(row["seed"], row["fold"]): row["test"][score] for row in self.rows}


def load_results(path: str | Path) -> dict:
    """Read a file of results.

    Raises:
        UserError: when it is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing. It is made by: {_command(path)}")
    collected = read_json(path)
    if not (isinstance(collected, dict) and {"trial", "settings", "runs"} <= collected.keys()):
        raise UserError(f"{path} was not written by training.trials. Make it anew.")
    return collected


def rows_of_trials(paths: Iterable[str | Path]) -> list[dict]:
    """The runs of several trials, with all of their settings; files that are missing are left out.

    Raises:
        UserError: when a file is damaged or something else.
    """
    return [row for path in map(Path, paths) if path.exists() for row in rows_of(load_results(path))]


def settings_of(collected: dict) -> list[Setting]:
    """The trial's settings, in the order in which they were planned."""
    rows = rows_of(collected)
    families: dict[str, list[dict]] = {}
    for row in rows:
        key = [row["model"], _test_set(row), row["settings"]]
        families.setdefault(json.dumps(key, sort_keys=True), []).append(row)
    varied = _varied(rows)
    several = len({_test_set(row) for row in rows}) > 1
    found = []
    for family in families.values():
        first = family[0]
        label = _label(first, varied, rows[0]) + (f" ({_test_set(first)})" if several else "")
        found.append(Setting(label, first["settings"], _test_set(first), tuple(family)))
    return found


def trial_values(collected: dict, score: str = "accuracy") -> dict[str, np.ndarray]:
    """Label → the score of each run, 0 to 1, for utils.plots.results.plot_scores."""
    return {one.label: np.array(list(one.scores(score).values())) for one in settings_of(collected)}


def trial_tables(collected: dict) -> list[Table]:
    """Accuracy and UAR of each setting with their 95 % intervals, and the comparisons; one table each."""
    about, settings = collected["trial"], settings_of(collected)
    test_sets = ", ".join(dict.fromkeys(one.test_set for one in settings))
    rows = []
    for one in settings:
        row = {"setting": one.label, "runs": str(len(one.rows))}
        for score, name in (("accuracy", "accuracy"), ("uar", "UAR")):
            summary = summarise(list(one.scores(score).values()))
            several = summary.n > 1
            row[name] = f"{100 * summary.mean:.1f}" + (f" ± {100 * summary.std:.1f}" if several else "")
            row[f"{name}: 95 % interval"] = (
                f"{100 * summary.low:.1f} – {100 * summary.high:.1f}" if several else NOTHING
            )
        rows.append(row | {"parameters": f"{one.rows[0]['trainable_parameters']:,}"})
    notes = ["Test set, in %: mean ± standard deviation over seeds and folds, and the mean's interval (t)."]
    missing = about["planned"] - len(collected["runs"])
    if missing:
        failed = f", {len(about['failed'])} of them failed" if about["failed"] else ""
        notes.append(f"{missing} of the {about['planned']} planned runs are missing{failed}.")
    tables = [Table(rows, f"{about['title']} ({test_sets})", notes)]
    for family, compared in comparisons(collected).items():
        lines = [_comparison_row(first, second, one) for first, second, one in compared]
        note = "Points in %. p: Wilcoxon signed-rank over the same seeds and folds; effect: rank-biserial."
        tables.append(Table(lines, f"{family} ({test_sets})", [note]))
    return tables


def trial_in_words(collected: dict, score: str = "accuracy") -> dict[str, list[str]]:
    """Family → a sentence for each of its comparisons, that says what the figures allow and no more."""
    return {
        family: [in_words(one, first, second) for first, second, one in compared]
        for family, compared in comparisons(collected, score).items()
    }


def comparisons(collected: dict, score: str = "accuracy") -> dict[str, list[tuple[str, str, Comparison]]]:
    """The comparisons that the trial asks for, over the seeds and folds that both sides have.

    Args:
        collected: a file of results.
        score: of the test set.

    Returns:
        Family → (first, second, their comparison, corrected within the family by Holm's method). Pairs of
        which a side has no run, or no seed in common with the other, are left out.

    Raises:
        UserError: when one side of a pair describes several settings.
    """
    settings, found = settings_of(collected), {}
    for family, pairs in collected["trial"]["compare"].items():
        sides, plain = [], []
        for pair in pairs:
            both = [_select(settings, wanted) for wanted in pair]
            if None in both:
                continue
            first, second = (side.scores(score) for side in both)
            common = sorted(first.keys() & second.keys(), key=str)
            if common:
                sides.append([side.rows[0] for side in both])
                plain.append(compare([first[key] for key in common], [second[key] for key in common]))
        varied = _varied([row for both in sides for row in both])
        names = [[_label(row, varied, rows_of(collected)[0]) for row in both] for both in sides]
        if plain:
            found[family] = [(*both, one) for both, one in zip(names, holm(plain), strict=True)]
    return found


def together(first: dict, further: dict) -> dict:
    """A trial and one of the same settings on further seeds as one, with the comparisons of the second."""
    one, other = first["trial"], further["trial"]
    about = {
        "title": f"{one['title']}, with {other['title']}",
        "planned": one["planned"] + other["planned"],
        "failed": {**one["failed"], **other["failed"]},
        "compare": other["compare"],
    }
    return {"trial": about, "settings": {}, "runs": rows_of(first) + rows_of(further)}


def show_results(
    path: str | Path, folder: str | Path | None = None, further: str | Path | None = None
) -> None:
    """Display a trial's accuracies as a figure, its tables, and what they allow one to say.

    Args:
        path: its file of results; where it is missing, the command that makes it is shown.
        folder: where to save the figure; None for nowhere.
        further: of a trial of the same settings on other seeds: both are shown as one (`together`).

    Raises:
        UserError: when a file is damaged or something else.
    """
    paths = [Path(one) for one in (path, further) if one is not None]
    for one in paths:
        if not one.exists():
            note = f"Missing: {one.as_posix()}. It is made by: {_command(one)}"
            display(Table([], f"Trial {one.stem}", [note]))
            return
    collected = load_results(path)
    if further is not None:
        collected = together(collected, load_results(further))
    tables = trial_tables(collected)
    corpora = {row["corpus"] for row in collected["runs"]}
    classes = {len(reader.emotions) for reader in READERS.values() if {reader.title} == corpora}
    figure = plot_scores(trial_values(collected), {}, tables[0].caption, classes=max(classes, default=None))
    display(keep(figure, "_".join(["trial", *(one.stem for one in paths)]), folder))
    display(*tables)
    for family, sentences in trial_in_words(collected).items():
        items = "".join(f"\n- {markdown_text(sentence)}" for sentence in sentences)
        display(Markdown(f"**{markdown_text(family)}**\n{items}"))


def _command(path: Path) -> str:
    return f"python -m training.trials conf/trials/{path.stem.removesuffix('_demo')}.yaml"


def _select(settings: list[Setting], wanted: Mapping[str, Any]) -> Setting | None:
    """The setting that has all the wanted values."""
    chosen = [one for one in settings if all(one.settings.get(key) == wanted[key] for key in wanted)]
    if len(chosen) > 1:
        labels = ", ".join(one.label for one in chosen)
        raise UserError(f"compare: {dict(wanted)} fits several settings of the trial ({labels}): say more.")
    return chosen[0] if chosen else None


def _varied(rows: list[dict]) -> list[str]:
    """Keys with more than one value, as far as each row has them."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row["settings"].items():
            values.setdefault(key, set()).add(json.dumps(value))
    return [key for key in values if len(values[key]) > 1]


def _label(row: dict, varied: list[str], reference: dict) -> str:
    """Network and TABs, and the other settings that vary; of many, those that differ from the first run's."""
    tabs = value_label("model.n_temporal_aware_block", row["settings"]["model.n_temporal_aware_block"])
    others = [key for key in varied if key not in IN_LABEL - {"model.aug"} and key in row["settings"]]
    if len(others) > MOST_IN_LABEL:
        others = [key for key in others if row["settings"][key] != reference["settings"].get(key)]
    return ", ".join([f"{row['model']} with {tabs}", *(value_label(k, row["settings"][k]) for k in others)])


def _test_set(row: dict) -> str:
    return test_set_in_words(row["corpus"], row["protocol"], row["folds"])


def _comparison_row(first: str, second: str, one: Comparison) -> dict[str, str]:
    several = one.n > 1
    return {
        "first": first,
        "second": second,
        "pairs": str(one.n),
        "difference": f"{100 * one.difference:+.1f}",
        "95 % interval": f"{100 * one.low:+.1f} to {100 * one.high:+.1f}" if several else NOTHING,
        "p": ("< 0.001" if one.p < 0.001 else f"{one.p:.3f}")
        + (f" (of {one.family})" if one.family > 1 else ""),
        "effect": f"{one.effect:+.2f}",
    }

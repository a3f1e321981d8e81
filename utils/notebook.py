"""What the notebooks show beside single figures: players, banners, and whole trials."""

import html
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from IPython.display import HTML, Audio, Markdown, display
from matplotlib.figure import Figure

from utils.comparison import Trial, value_label
from utils.plots import save_figure
from utils.plots_results import plot_curves
from utils.runs import Run


def audio_player(wave: np.ndarray, sample_rate: int) -> HTML | Audio:
    """A player for a waveform (samples,), or a note in its place where CKTIM_AUDIO=0.

    A player holds the sound itself. Set CKTIM_AUDIO=0 for notebooks that are passed on: EMOVO's licence does
    not allow that for its recordings.
    """
    if os.environ.get("CKTIM_AUDIO") == "0":
        return HTML("<em>Run this cell to listen; the corpus's licence keeps sound out of this copy.</em>")
    return Audio(wave, rate=sample_rate)


def corpus_banner(name: str, utterances: int, is_demo: bool) -> HTML:
    """A line that says what the corpus is; for the demo corpus a box that nobody overlooks."""
    if not is_demo:
        return HTML(f"<strong>{html.escape(name)}</strong>: {utterances} utterances.")
    return _demo_box(
        f"EMOVO was not found, so these {utterances} utterances are synthetic speech, made to show that "
        "everything runs."
    )


def runs_banner(runs: Sequence[Run]) -> HTML:
    """What the runs are about; for runs on the demo corpus a box that nobody overlooks.

    Args:
        runs: all on the same corpus.
    """
    if not runs:
        return HTML("<strong>No run yet.</strong> Train one with <code>notebook_train.ipynb</code>.")
    tested = sum(run.test is not None for run in runs)
    count = f"{len(runs)} run{'s'[: len(runs) > 1]}, {tested} of them evaluated"
    if not runs[0].is_demo:
        return HTML(f"<strong>{html.escape(runs[0].corpus)}</strong>: {count}.")
    return _demo_box(f"There are only runs on synthetic speech, made to show that everything runs: {count}.")


def _demo_box(text: str) -> HTML:
    return HTML(
        '<div style="border: 3px solid #d55e00; border-radius: 6px; padding: 0.6em 1em; max-width: 60em">'
        f'<strong style="color: #d55e00">Demo corpus, not EMOVO.</strong> {text} Whatever is measured on it '
        "says nothing about emotions in real voices. The README tells how to get EMOVO and where to put it."
        "</div>"
    )


def keep(figure: Figure, name: str, folder: str | Path | None) -> Figure:
    """Save a figure as folder/name.png and .pdf, unless there is no folder; returns it, to be shown."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_figure(figure, Path(folder) / name, pdf=True)
    return figure


def show_trials(
    trials: Sequence[Trial], name: str, corpus: str, folder: str | Path | None = None, at_least: int = 1
) -> None:
    """Display the learning curves of each trial, whole and their second half, and say what is missing.

    Args:
        trials: what utils.comparison.find_trials returns.
        name: what the files of the figures begin with.
        corpus: for the titles.
        folder: where to save the figures; None for nowhere.
        at_least: values that a trial must have for its curves to be shown.
    """
    for number, trial in enumerate(trials, start=1):
        several = any(len(group.runs) > 1 for group in trial.groups.values())
        display(Markdown(_trial_in_words(trial, several)))
        curves = {}
        for value, group in trial.groups.items():
            label = value_label(trial.key, value) + (f" (n = {len(group.runs)})" if several else "")
            histories = [(run.training, run.validation) for run in group.runs]
            curves[label] = [(one, other) for one, other in histories if one and other]
        curves = {label: histories for label, histories in curves.items() if histories}
        if len(curves) < at_least:
            continue
        epochs = max(len(training) for histories in curves.values() for training, _ in histories)
        title = f"{corpus} corpus · {trial.network}"
        display(keep(plot_curves(curves, title), f"{name}_{number}", folder))
        if epochs >= 10:
            half = epochs // 2, epochs
            figure = plot_curves(curves, f"{title} · epochs {half[0]} to {half[1]}", half)
            display(keep(figure, f"{name}_{number}_zoomed", folder))


def _trial_in_words(trial: Trial, several: bool) -> str:
    missing = ", ".join(value_label(trial.key, value) for value in trial.missing)
    parts = [
        f"**{trial.network}**; settings: {trial.settings}." if trial.groups else "",
        "Lines are means over seeds, bands one standard deviation." if several else "",
        f"**Missing: no run yet with {missing}.**" if missing else "",
    ]
    return " ".join(part for part in parts if part)

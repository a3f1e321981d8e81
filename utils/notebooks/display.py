"""What the notebooks show beside single figures: players, banners, and whole trials."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from IPython.display import HTML, Audio, Markdown, display
from matplotlib.figure import Figure

from utils.comparison import Trial, value_label
from utils.plots.audio import plot_variants
from utils.plots.results import plot_curves
from utils.plots.style import save_figure
from utils.runs import Run
from utils.tables import markdown_text


def audio_player(wave: np.ndarray, sample_rate: int) -> HTML | Audio:
    """A player for a waveform (samples,), or a note in its place where CKTIM_AUDIO=0.

    A player holds the sound itself. Set CKTIM_AUDIO=0 for notebooks that are passed on: EMOVO's licence does
    not allow that for its recordings.
    """
    if os.environ.get("CKTIM_AUDIO") == "0":
        return HTML("<em>Run this cell to listen; the corpus's licence keeps sound out of this copy.</em>")
    return Audio(wave, rate=sample_rate)


def show_variants(variants: Mapping[str, np.ndarray], sample_rate: int, title: str) -> Figure:
    """Display a player for an utterance and each of its variants, and return a figure of all of them.

    Args:
        variants: name → waveform (samples,), all of the same length.
        sample_rate: in Hz.
        title: of the figure.
    """
    for name, wave in variants.items():
        player = audio_player(wave, sample_rate)
        if isinstance(player, HTML):  # the same note in place of each
            display(player)
            break
        display(Markdown(name), player)
    return plot_variants(variants, sample_rate, title)


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
    if tested < len(runs):
        count += " (<code>notebook_test.ipynb</code> evaluates the others)"
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
    trials: Sequence[Trial], name: str, folder: str | Path | None = None, at_least: int = 1
) -> None:
    """Display the learning curves of each trial, whole and their second half, and say what is missing.

    Args:
        trials: what utils.comparison.find_trials returns.
        name: what the files of the figures begin with.
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
        title = f"{trial.test_set} · {trial.network}"
        display(keep(plot_curves(curves, title), f"{name}_{number}", folder))
        if epochs >= 10:
            half = epochs // 2, epochs
            figure = plot_curves(curves, f"{title} · epochs {half[0]} to {half[1]}", half)
            display(keep(figure, f"{name}_{number}_zoomed", folder))


def _trial_in_words(trial: Trial, several: bool) -> str:
    missing = ", ".join(markdown_text(value_label(trial.key, value)) for value in trial.missing)
    over = "seeds and folds" if any(group.runs[0].folds for group in trial.groups.values()) else "seeds"
    commands = "\n".join(trial.commands)
    parts = [
        f"**{markdown_text(trial.network)}** ({markdown_text(trial.test_set)}); settings: "
        f"{markdown_text(trial.settings)}."
        if trial.groups
        else "",
        f"Lines are means over {over}, bands one standard deviation." if several else "",
        f"**Missing runs: {missing}.** `notebook_test.ipynb` evaluates them once they are trained:\n\n"
        f"```\n{commands}\n```"
        if missing
        else "",
    ]
    return " ".join(part for part in parts if part)

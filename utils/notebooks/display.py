"""Players, banners and whole trials, as the notebooks show them."""

import html
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import HTML, Audio, Markdown, display
from matplotlib.figure import Figure
from pandas import DataFrame

from utils.errors import many
from utils.plots.results import plot_sizes, plot_trial, plot_unheard
from utils.plots.style import save_figure
from utils.plots.training import plot_variants
from utils.results import (
    load_published_results,
    read_enrolment,
    read_trial,
    trial_command,
    trial_tables,
    uar_by_corpus,
    uar_by_size,
    uar_table,
)
from utils.runs import ENROLMENT_FILE, Run


def audio_player(wave: np.ndarray, sample_rate: int, peak: float | None = None) -> HTML | Audio:
    """A player for a waveform (samples,), or a note in its place where CKTIM_AUDIO=0.

    Its full level is the amplitude `peak`, by default the waveform's own, so that sounds with one peak can be
    compared in loudness. A player holds the sound itself. Set CKTIM_AUDIO=0 for notebooks that are passed on:
    EMOVO's licence does not allow that for its recordings.
    """
    if os.environ.get("CKTIM_AUDIO") == "0":
        return HTML("<em>Run this cell to listen; the corpus's licence keeps sound out of this copy.</em>")
    peak = float(np.abs(wave).max(initial=0)) if peak is None else peak
    return Audio(wave / (peak or 1), rate=sample_rate, normalize=False)


def show_variants(variants: Mapping[str, np.ndarray], sample_rate: int, title: str) -> Figure:
    """Display a player for an utterance and each of its variants; returns a figure of all, to be shown.

    Variants are name → waveform (samples,), all of the same length, at `sample_rate` in Hz.
    """
    peak = max(float(np.abs(wave).max(initial=0)) for wave in variants.values())
    for name, wave in variants.items():
        player = audio_player(wave, sample_rate, peak)
        if isinstance(player, HTML):  # the same note in place of each
            display(player)
            break
        display(Markdown(name), player)
    return plot_variants(variants, sample_rate, title)


def corpus_banner(name: str, utterances: int, is_demo: bool, emotions: Sequence[str] = ()) -> HTML:
    """A line about a corpus and its emotions; for the demo corpus a box that nobody overlooks."""
    if is_demo:
        text = "utterances are synthetic speech, made to show that everything runs."
        return _demo_box(f"EMOVO was not found, so these {utterances} {text}")
    among = f" of {len(emotions)} emotions: {html.escape(', '.join(emotions))}" if emotions else ""
    return HTML(f"<strong>{html.escape(name)}</strong>: {utterances} utterances{among}.")


def runs_banner(frame: DataFrame, others: Collection[str] = ()) -> HTML:
    """A line about the run directories of a corpus, and `others`; for the demo corpus a conspicuous box."""
    runs = frame[frame.trial == ""]
    if not len(runs):
        there = "No run but those of trials" if len(frame) else "No run yet"
        return HTML(f"<strong>{there}.</strong> Train one with <code>notebook_train.ipynb</code>.")
    tested = runs.accuracy.notna().sum()
    count = f"{many(len(runs), 'run')}, {tested} of them evaluated"
    if tested < len(runs):
        count += " (<code>notebook_test.ipynb</code> evaluates the others)"
    corpus = runs.corpus.iloc[0]
    if corpus != "demo":
        more = html.escape(", ".join(sorted({*others} - {corpus, "demo"})))
        more = f" For the runs on others, set <code>CORPUS</code>: {more}." if more else ""
        return HTML(f"<strong>{html.escape(corpus)}</strong>: {count}.{more}")
    return _demo_box(f"There are only runs on synthetic speech, made to show that everything runs: {count}.")


def _demo_box(text: str) -> HTML:
    look = "border: 3px solid #d55e00; border-radius: 6px; padding: 0.6em 1em; max-width: 60em"
    return HTML(
        f'<div style="{look}"><strong style="color: #d55e00">Demo corpus, not EMOVO.</strong> {text} '
        "Whatever is measured on it says nothing about emotions in real voices. The README tells how to get "
        "EMOVO and where to put it.</div>"
    )


def keep(figure: Figure, name: str, folder: str | Path | None) -> Figure:
    """Save a figure as folder/name.png and .pdf, unless there is no folder; returns it, to be shown."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_figure(figure, Path(folder) / name, pdf=True)
    return figure


def show_trial(
    path: str | Path,
    *further: str,
    folder: str | Path | None = None,
    figure: bool = True,
    runs: Sequence[Run] = (),
    **options: Any,
) -> None:
    """Display a trial's differences (a figure) and scores (a table), or the command that makes its file.

    Further files, of the same settings on other seeds, are shown as one with it. `folder` is where to save
    the figure, `options` are those of plot_trial; the command takes the corpus of the last of the `runs`.
    """
    files = [path, *further]
    if _there(files, runs) != [*map(Path, files)]:
        return
    frame = read_trial(path, *further)
    scores = trial_tables(frame)[0]
    if figure:
        name = "_".join(["trial", *(Path(one).stem for one in files)])
        display(keep(plot_trial(frame, scores.caption, **options), name, folder))
        scores = replace(scores, caption="")  # the figure's title
    display(scores)


def show_unheard(
    paths: Sequence[str | Path], folder: str | Path | None = None, runs: Sequence[Run] = ()
) -> None:
    """Display the UAR of trials on unknown speakers by corpus: a figure with those of others, and a table.

    Trials that have no file yet are named with the command that makes them.
    """
    if there := _there(paths, runs):
        found = uar_by_corpus(*map(read_trial, there))
        others = load_published_results()["unheard"]
        figure = plot_unheard(found, others, "Voices that no training had, and others' figures")
        notes = (
            "All corpora: trained on all of them. Enrolled: features are deviations from the mean over the "
            "test speaker's own recordings, without their labels. Partition: EmoBox's folds; that of CREMA-D "
            "shares its speakers with the training.",
        )
        display(keep(figure, "unheard_voices", folder), uar_table(found, "Unknown speakers", notes))


def show_data_size(
    paths: Sequence[str | Path], folder: str | Path | None = None, runs: Sequence[Run] = ()
) -> None:
    """Display the UAR over the number of training utterances, of trials on the same test sets."""
    if there := _there(paths, runs):
        found = uar_by_size(*map(read_trial, there))
        title = "How much does each network gain from more utterances?"
        figure = plot_sizes(found, title, "training utterances")
        display(keep(figure, "data_size", folder), uar_table(found, "Training utterances"))


def _there(paths: Sequence[str | Path], runs: Sequence[Run]) -> list[Path]:
    """The trials' files that are there; the others are named with the command that makes them."""
    every = list(map(Path, paths))
    for path in (one for one in every if not one.exists()):
        display(Markdown(f"**Missing: {path.as_posix()}.** {trial_command(path, runs)}"))
    return [one for one in every if one.exists()]


def show_enrolment(results_dir: str | Path, folder: str | Path | None = None) -> None:
    """Display the UAR over the number of enrolled recordings, of the runs that have enrolment.json.

    Those of the trial unheard_voices count where it has some, for they have every speaker once.
    """
    folders = f"unheard_voices/*/{ENROLMENT_FILE}", f"*/{ENROLMENT_FILE}"
    if files := next((found for one in folders if (found := sorted(Path(results_dir).glob(one)))), None):
        title = "How many recordings of a speaker make a norm?"
        figure = plot_sizes(read_enrolment(*files), title, "recordings of the speaker that are the norm")
        display(keep(figure, "enrolment", folder))
    else:
        display(Markdown("**Missing: enrolment.json** (`python -m testing.enrolment RUN_DIR`)."))

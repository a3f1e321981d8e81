"""Figures of many runs: they render, with titles and labels, and show the right numbers."""

import base64
import html
import json
import re
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from pandas import DataFrame
from PIL import Image

from utils.emotions import EMOTIONS, ENGLISH, NAMES, in_own_words
from utils.metrics import History
from utils.plots.results import (
    plot_confusion_matrices,
    plot_confusion_matrix,
    plot_curves,
    plot_sizes,
    plot_trial,
    plot_unheard,
)
from utils.plots.style import save_figure
from utils.results import read_trial, runs_frame

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit

RESULTS = Path(__file__).resolve().parents[3] / "training/results"


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of titles, names and labels of a figure that run into one another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer).padded(-1)) for text in texts]
    if title := figure.get_suptitle():
        panels = [one for axes in figure.axes for one in (axes, *axes.child_axes)]  # colour bars, too
        boxes += [(f"panel {place}", one.get_window_extent()) for place, one in enumerate(panels)]
    return [
        (a, b)
        for (a, one), (b, other) in combinations(boxes, 2)
        if one.overlaps(other) and (not b.startswith("panel ") or a == title)
    ]


@pytest.fixture
def frame(make_run):
    """Runs of so many settings, two seeds of the first: frame(3)."""

    def make(settings: int):
        path = make_run("first_seed1", train={"seed": 1}, epochs=3)
        for number in range(settings):
            make_run(f"run{number}", model={"n_temporal_aware_block": number + 1}, accuracy=0.5 + number / 20)
        return runs_frame(path.parent)

    return make


@pytest.fixture
def trial(tmp_path):
    """Two settings of three seeds each, 1 to 3 points apart, and a third of one run."""
    rows = []
    runs = [(ck, seed, 0.7 + ck * 0.01 * (seed + 1)) for ck in (1, 0) for seed in range(3)]
    for ck, seed, accuracy in [*runs, (2, 0, 0.8)]:
        common = {"corpus": "EMOVO", "protocol": "holdout", "fold": None, "folds": None, "seed": seed}
        settings = {"model.ck": bool(ck), "model.omega_0": 25.0 + (ck == 2)}
        scores = {"accuracy": accuracy, "uar": accuracy}
        row = {"run": f"{ck}_{seed}", "model": "CkTIM" if ck else "TIM", **common, "settings": settings}
        rows.append(row | {"validation": scores, "test": scores, "trainable_parameters": 1})
    pair = [{"model.ck": True, "model.omega_0": 25.0}, {"model.ck": False}]
    about = {"title": "some", "planned": 7, "failed": {}, "compare": {"x": [pair]}}
    (tmp_path / "some.json").write_text(json.dumps({"trial": about, "settings": {}, "runs": rows}))
    return read_trial(tmp_path / "some.json")


PLOTS = {
    "curves": lambda frame, trial: plot_curves(frame(2), "title"),
    "trial": lambda frame, trial: plot_trial(trial, "title"),
    "differences from the first": lambda frame, trial: plot_trial(trial, "title", reference=True),
    "matrices 1": lambda frame, trial: plot_confusion_matrices(frame(1), "title"),
    "matrices 4": lambda frame, trial: plot_confusion_matrices(frame(4), "title"),
    "matrix": lambda frame, trial: plot_confusion_matrix(np.eye(7, dtype=int), EMOTIONS, ENGLISH, "title"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_renders_with_title_and_labels(name, frame, trial, tmp_path):
    figure = PLOTS[name](frame, trial)
    save_figure(figure, tmp_path / "plot", pdf=True)
    assert isinstance(figure, Figure) and figure.get_figwidth() <= 9
    assert "title" in (figure.get_suptitle(), *(axes.get_title() for axes in figure.axes))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert any(axes.get_xlabel() for axes in visible) and any(axes.get_ylabel() for axes in visible)
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")


def test_a_notebook_gets_a_picture_and_words_for_those_who_cannot_see_it(trial):
    data, _ = plot_trial(trial, 'a "title"\nof two lines')._repr_mimebundle_()
    found = re.fullmatch(
        r'<img src="data:image/png;base64,([^"]*)" alt="([^"]*)" style="[^"]*">', data["text/html"]
    )
    assert base64.b64decode(found[1]).startswith(b"\x89PNG")
    assert html.unescape(found[2]) == (
        'a "title" of two lines; settings; difference of the unweighted average recalls (points); CkTIM − TIM'
    )


HALF = 4.3027 / 3**0.5  # of a 95 % interval of three values, 1 apart: t(0.975, 2)


def shown(axes) -> tuple[list[str], list[str]]:
    """The names of a figure's rows, and the texts at their right."""
    return [name.get_text() for name in axes.get_yticklabels()], [text.get_text() for text in axes.texts]


def test_a_trial_shows_paired_differences_with_intervals(trial):
    (axes,) = plot_trial(trial, "title").axes
    pairs, line, mean = axes.lines[:3]  # UARs of 71, 72 and 73, and of 70
    assert pairs.get_xdata() == pytest.approx([1, 2, 3])
    assert line.get_xdata() == pytest.approx([2 - HALF, 2 + HALF], abs=1e-3)
    assert mean.get_xdata() == pytest.approx([2])
    assert len({float(one.get_ydata()[0]) for one in (pairs, line)}) == 2  # they do not cover one another
    low, high = axes.get_xlim()
    assert low < 0 and high < 6  # the axis is about the data
    assert shown(axes) == (["CkTIM − TIM"], ["+2.0 (p = 0.25, too few pairs)"])
    (axes,) = plot_trial(trial, "title", reference=True).axes
    assert shown(axes)[1] == ["−2.0", "+9.0"]
    assert axes.get_xlabel().startswith("UAR less that of CkTIM")


def test_a_trial_that_compares_nothing_shows_uars(trial):
    trial.attrs["trial"]["compare"] = {}
    (axes,) = plot_trial(trial, "title").axes
    runs, line, _ = axes.lines[:3]
    assert runs.get_xdata() == pytest.approx([71, 72, 73])
    assert line.get_xdata() == pytest.approx([72 - HALF, 72 + HALF], abs=1e-3)
    low, high = axes.get_xlim()
    assert low > 60 and high < 90 and axes.get_ylabel() == "settings"
    assert shown(axes)[1] == ["72.0", "70.0", "80.0"]


def test_values_of_omega_0_stand_in_numerical_order_and_only_what_differs_is_named(repository):
    (axes,) = plot_trial(read_trial(repository / "training/results/omega_0.json"), "title").axes
    names, _ = shown(axes)
    sweep = names[names.index("the wide sweep") + 1 :]
    assert sweep == [f"ω₀ = 25 − {value}" for value in (1, 5, 10, 50, 100)]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_axes_of_committed_trials_fit_their_data_and_no_texts_overlap(path):
    figure = plot_trial(read_trial(path), "title")
    (axes,) = figure.axes
    x = np.concatenate([line.get_xdata() for line in axes.lines if line.get_transform() == axes.transData])
    low, high = axes.get_xlim()
    x = x[np.isfinite(x)]  # a single run has no interval
    assert low <= x.min() and x.max() <= high and x.max() - x.min() > 0.7 * (high - low)
    assert not overlaps(figure)


LONG = ("disappointment", "Überraschung (positiv)", "Freude", "schadenfroh-verlegen", "Angst", "sad", "Ärger")


@pytest.mark.parametrize("classes", [2, 3, 4, 7, 12])
@pytest.mark.parametrize("words", [ENGLISH, dict(zip(NAMES, LONG * 2, strict=False))], ids=["short", "long"])
def test_titles_names_and_colour_bars_of_matrices_do_not_overlap(classes, words):
    names = [*NAMES, "contempt", "excited", "other"][:classes]
    words = in_own_words(words)
    title = "CkTIM_TAB1_seed0_2026-01-31_14-05-59 · EMOVO corpus, test set"
    matrix = np.full((classes, classes), 111)
    run = {
        "emotions": names,
        "corpus": "EMOVO",
        "test_set": "EMOVO corpus, holdout",
        "confusion_matrix": matrix,
    }
    run |= {"network": "CkTIM", "directory": SimpleNamespace(words=words)}
    runs = [{**run, "key": tabs, "tabs": tabs, "run": tabs, "settings": {}} for tabs in range(1, 6)]
    for some in (runs[:2], runs):
        assert not overlaps(plot_confusion_matrices(DataFrame(some), "EMOVO corpus, holdout: test set"))
    figure = plot_confusion_matrix(matrix, names, words, title)
    assert not overlaps(figure)
    (axes,) = figure.axes
    axes, bar = axes.get_window_extent(), axes.child_axes[0].get_window_extent()
    assert bar.height == pytest.approx(axes.height, rel=0.01) and bar.x0 > axes.x1


def test_curves_of_several_runs_are_their_mean_with_a_band(make_run):
    for seed, losses in enumerate(([3.0, 2.0, 1.0], [1.0, 1.0, 2.0], [2.0])):
        path = make_run(f"CkTIM_seed{seed}", train={"seed": seed})
        for part in ("training", "validation"):
            History("CkTIM", {"loss": losses, "accuracy": losses}).save(path / f"{part}_metrics.json")
    axes = plot_curves(runs_frame(path.parent), "title").axes[0]
    assert axes.get_title() == "training: loss"
    (line,) = axes.get_lines()
    assert line.get_label() == "CkTIM with 1 TAB (n = 3)" and line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([2, 1.5, 1.5])  # runs count as long as they last
    (band,) = axes.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == pytest.approx((1.5 - 0.5**0.5, 3))


@pytest.mark.parametrize(("earlier", "name"), [(False, "UAR"), (True, "accuracy")])
def test_curves_are_of_one_score_and_their_labels_fit(make_run, earlier, name):
    for run, scores in (("a", {"uar": [0.25, 0.5]}), ("b", {} if earlier else {"uar": [0.25, 0.5]})):
        path = make_run(run)
        columns = {"loss": [1.5, 1.25], "accuracy": [0.5, 0.75], **scores}
        for part in ("training", "validation"):
            History("CkTIM", columns).save(path / f"{part}_metrics.json")
    figure = plot_curves(runs_frame(path.parent), "title")
    assert figure.axes[1].get_title() == f"training: {name}"
    (line, *_) = figure.axes[1].get_lines()
    assert line.get_ydata().tolist() == pytest.approx([50, 75] if earlier else [25, 50])
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        assert axes.yaxis.label.get_window_extent().height <= axes.get_window_extent().height


def test_losses_of_many_magnitudes_get_a_logarithmic_axis(make_run):
    path = make_run("CkTIM")
    for part in ("training", "validation"):
        History("CkTIM", {"loss": [9000, 10, 2], "accuracy": [0, 0, 0]}).save(path / f"{part}_metrics.json")
    axes = plot_curves(runs_frame(path.parent), "title").axes
    assert [one.get_yscale() for one in axes] == ["log", "linear", "log", "linear"]
    assert axes[0].get_ylabel() == "cross-entropy\n(nats, logarithmic)"


def test_confusion_matrices_show_shares_of_rows_and_seeds_add_up(make_run):
    make_run("a", accuracy=0.5, train={"seed": 0})
    path = make_run("b", accuracy=1.0, train={"seed": 1})
    figure = plot_confusion_matrices(runs_frame(path.parent), "title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text][:2] == ["75", "25"]
    texts = plot_confusion_matrix([[3, 1], [0, 0]], ("dis", "gio"), ENGLISH, "title").axes[0].texts
    assert [text.get_text() for text in texts] == ["3\n75 %", "1\n25 %"]


def test_a_data_size_curve_has_a_line_for_each_network():
    found = {"500": {"CkTIM with 1 TAB": [0.3, 0.32, 0.34], "TIM with 1 TAB": [0.25]}}
    found["all"] = {"CkTIM with 1 TAB": [0.5, 0.52, 0.54], "TIM with 1 TAB": [0.55]}
    figure = plot_sizes(found, "title", "training utterances")
    (axes,) = figure.axes
    assert not overlaps(figure)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["500", "all"]
    several, alone = axes.containers
    np.testing.assert_allclose(several.lines[0].get_ydata().astype(float), [32, 52])
    np.testing.assert_allclose(alone.lines[0].get_ydata().astype(float), [25, 55])
    low, high = several.lines[2][0].get_segments()[0][:, 1]  # t(0.975, 2) · 2 / √3
    assert high - low == pytest.approx(2 * 4.303 * 2 / 3**0.5, abs=0.01)


def test_the_figure_of_unheard_voices_shows_every_network_and_the_others():
    found = {"EMOVO": {"CkTIM with 1 TAB": [0.3, 0.5], "TIM with 6 TABs, all corpora, enrolled": [0.35]}}
    found["RAVDESS"] = {"CkTIM with 1 TAB": [0.6]}
    figure = plot_unheard(found, {"EMOVO": {"WavLM base": 0.424}, "TESS": {"WavLM base": 0.9}}, "Voices")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["EMOVO", *found["EMOVO"], "WavLM base", "RAVDESS", "CkTIM with 1 TAB"]
    means = [text.get_text() for text in axes.texts]
    assert means == ["40.0", "35.0", "42.4", "60.0"]
    assert not overlaps(figure)

"""Figures of many runs: they render, with titles and labels, and show the right numbers."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from utils.emotions import EMOTIONS, ENGLISH
from utils.metrics import History
from utils.plots.results import plot_confusion_matrices, plot_confusion_matrix, plot_curves, plot_trial
from utils.plots.style import save_figure
from utils.results import read_trial, runs_frame

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


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
    for ck, seed, accuracy in [(c, s, 0.7 + c * 0.01 * (s + 1)) for c in (1, 0) for s in range(3)] + [
        (2, 0, 0.8)
    ]:
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
    **{
        f"matrices {n}": lambda frame, trial, n=n: plot_confusion_matrices(frame(n), "title")
        for n in (1, 2, 4, 5)
    },
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
    data, metadata = plot_trial(trial, "a title\nof two lines")._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    alternative = metadata["image/png"]["alt"]
    assert alternative.startswith("a title of two lines; settings; test accuracy (%)")


def test_a_trial_shows_means_intervals_runs_and_differences(trial):
    scores, differences = plot_trial(trial, "title").axes
    assert scores.get_ylabel() == "settings"
    line, mean = scores.lines[:2]  # of runs at 71, 72 and 73: t(0.975, 2) = 4.3027
    assert line.get_xdata() == pytest.approx([72 - 4.3027 / 3**0.5, 72 + 4.3027 / 3**0.5], abs=1e-3)
    assert mean.get_xdata() == pytest.approx([72])
    assert any(list(one.get_xdata()) == pytest.approx([71, 72, 73]) for one in scores.lines)
    low, high = scores.get_xlim()
    assert low > 60 and high < 90  # the axis is about the data
    assert differences.lines[1].get_xdata() == pytest.approx([2])
    assert [text.get_text() for text in differences.texts] == ["+2.0"]
    (label,) = differences.get_yticklabels()
    assert label.get_text() == "CkTIM − TIM (p = 0.25)"
    texts = [text.get_text() for text in plot_trial(trial, "title", reference=True).axes[1].texts]
    assert texts == ["-2.0", "+9.0"]


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
    assert texts[:3] == ["75", "25", ""] and len(texts) == 49
    texts = plot_confusion_matrix([[3, 1], [0, 0]], ("dis", "gio"), ENGLISH, "title").axes[0].texts
    assert [text.get_text() for text in texts] == ["3\n75 %", "1\n25 %", "0\n–", "0\n–"]

"""Figures of many runs: they render, with titles and labels, and show the right numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from utils.emotions import EMOTIONS
from utils.metrics import History
from utils.plots.results import plot_confusion_matrices, plot_curves, plot_scores, stacked
from utils.plots.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def history(losses) -> History:
    return History("CkTIM", {"loss": list(losses), "accuracy": list(np.linspace(0.2, 0.8, len(losses)))})


def runs(*lengths):
    return [(history(np.geomspace(2, 1, n)), history(np.geomspace(2.5, 1.5, n))) for n in lengths]


def matrices(n):
    rng = np.random.default_rng(0)
    found = {f"CkTIM, {index} TABs": rng.integers(0, 9, (7, 7)) for index in range(n)}
    next(iter(found.values()))[3] = 0  # an emotion that never occurs
    return found


PLOTS = {
    "curves": lambda: plot_curves({"ω₀ = 24": runs(20), "ω₀ = 25": runs(20, 14, 20)}, "title"),
    "zoomed": lambda: plot_curves({"1 TAB": runs(20), "3 TABs": runs(9)}, "title", (10, 20)),
    "scores": lambda: plot_scores(
        {"CkTIM, 1 TAB": np.array([0.8, 0.85]), "TIM, 6 TABs": np.array([0.7])},
        {"TIM, 6 TABs": (0.6, 0.8)},
        "title",
    ),
    **{
        f"matrices {n}": lambda n=n: plot_confusion_matrices(matrices(n), EMOTIONS, "title")
        for n in (1, 2, 4, 5, 9)
    },
}


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_renders_with_title_and_labels(name, tmp_path):
    figure = PLOTS[name]()
    save_figure(figure, tmp_path / "plot", pdf=True)
    assert isinstance(figure, Figure) and figure.get_figwidth() <= 9
    assert "title" in (figure.get_suptitle(), *(axes.get_title() for axes in figure.axes))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert any(axes.get_xlabel() for axes in visible) and any(axes.get_ylabel() for axes in visible)
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")


def test_chance_is_that_of_the_emotions():
    def chance(**more):
        figure = plot_scores({"CkTIM": np.array([0.8])}, {}, "title", **more)
        return [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]

    assert chance() == [100 / 7] and chance(classes=4) == [25] and chance(classes=None) == []


def test_curves_of_several_runs_are_their_mean_with_a_band():
    losses = [3.0, 2.0, 1.0], [1.0, 1.0, 2.0]
    figure = plot_curves({"two": [(history(column), history(column)) for column in losses]}, "title")
    axes = figure.axes[0]
    assert axes.get_title() == "training: loss"
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([2, 1.5, 1.5])
    (band,) = axes.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == pytest.approx((2 - np.sqrt(2), 2 + np.sqrt(2)))


def test_runs_of_unequal_length_count_as_long_as_they_last():
    epochs, values = stacked([[1, 2, 3, 4], [5, 6]], factor=10, epochs=(2, 3))
    assert epochs.tolist() == [2, 3]
    np.testing.assert_equal(values, [[20, 30], [60, np.nan]])


def test_losses_of_many_magnitudes_get_a_logarithmic_axis():
    wide = [(history([9000, 10, 2]), history([9000, 10, 2]))]
    axes = plot_curves({"published": wide}, "title").axes
    assert [one.get_yscale() for one in axes] == ["log", "linear", "log", "linear"]
    assert axes[0].get_ylabel() == "cross-entropy\n(nats, logarithmic)"


def test_confusion_matrices_show_shares_of_rows():
    figure = plot_confusion_matrices({"one": np.array([[3, 1], [0, 0]])}, ("dis", "gio"), "title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["75", "25", "–", "–"]

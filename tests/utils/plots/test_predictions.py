import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from testing.predictions import Answer
from utils.emotions import EMOTIONS
from utils.metrics import reliability
from utils.plots.predictions import (
    MOST_IN_LEGEND,
    PALETTE,
    SILENCE,
    UNSURE,
    plot_embeddings,
    plot_reliability,
    plot_timeline,
)
from utils.plots.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def test_reliability_shows_each_bin_and_the_error(tmp_path):
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65]])
    bins = reliability(probabilities, np.array([0, 1, 1]))
    figure = plot_reliability({"before": bins, "after": bins, "third": bins}, "title")
    save_figure(figure, tmp_path / "reliability.png")
    assert figure.get_suptitle() == "title" and figure.get_figwidth() <= 9
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, False]
    axes = figure.axes[0]
    assert axes.get_title() == f"before\nexpected calibration error {100 * bins.error:.1f} %"
    points = next(line for line in axes.lines if line.get_label() == "answers that are right")
    np.testing.assert_allclose(points.get_xydata(), [[65, 100], [95, 50]])
    assert [round(bar.get_height(), 1) for bar in axes.patches if bar.get_height()] == [33.3, 66.7]
    assert not pyplot.get_fignums()


def answers(edges, labels, emotions, probabilities, novelty=None):
    """One after the other; without probabilities for those that are silent."""
    novelty = novelty or [None] * len(labels)
    rows = [{} if np.isnan(row[0]) else dict(zip(emotions, row, strict=True)) for row in probabilities]
    return [Answer(*one) for one in zip(edges[:-1], edges[1:], labels, rows, novelty, strict=True)]


def test_a_timeline_shows_answers_probabilities_and_novelty(tmp_path):
    probabilities = np.array([[0.7, *[0.05] * 6], [np.nan] * 7, [1 / 7] * 7])
    parts = answers([0, 2, 3, 5], ["dis", "silence", "unsure"], EMOTIONS, probabilities, [0.8, None, 2.5])
    figure = plot_timeline(parts, EMOTIONS, str(tmp_path / "a.wav"))
    save_figure(figure, tmp_path / "timeline.png")
    band, areas, below = figure.axes
    faces = [patch.get_facecolor()[:3] for patch in band.patches]
    assert faces == [to_rgb(PALETTE[0]), to_rgb(SILENCE), to_rgb(UNSURE)]
    assert figure.get_suptitle() == "a.wav"
    assert [(patch.get_x(), patch.get_width()) for patch in band.patches] == [(0, 2), (2, 1), (3, 2)]
    assert len(areas.patches) == 7 and areas.get_xlim() == (0, 5)
    values = areas.patches[0].get_data().values
    assert values[[0, 2]] == pytest.approx([70, 100 / 7]) and np.isnan(values[1])
    assert below.get_ylim()[1] > 2.5 and below.get_xlabel() == "time (s)"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "disgust" and texts[-2:] == ["unsure", "silence"]
    assert not pyplot.get_fignums()


def test_a_long_timeline_is_in_minutes_and_may_lack_novelty(tmp_path):
    parts = answers([0, 300, 600], ["dis", "gio"], EMOTIONS, np.full((2, 7), 1 / 7))
    figure = plot_timeline(parts, EMOTIONS, "title")
    save_figure(figure, tmp_path / "timeline.png")
    assert len(figure.axes) == 2
    assert figure.axes[-1].get_xlabel() == "time (min)" and figure.axes[-1].get_xlim() == (0, 10)


def test_more_emotions_than_colours_are_told_apart_by_hatches(tmp_path):
    emotions = [f"own-word-{number}" for number in range(12)]
    figure = plot_timeline(answers([0, 1], ["unsure"], emotions, np.full((1, 12), 1 / 12)), emotions, "title")
    save_figure(figure, tmp_path / "timeline.png")
    looks = {(patch.get_facecolor(), patch.get_hatch()) for patch in figure.legends[0].get_patches()}
    assert len(looks) == 14  # and those of unsure and silence


@pytest.mark.parametrize("count", [1, 2, 12, MOST_IN_LEGEND, MOST_IN_LEGEND + 1, 91])
def test_labels_look_different_and_stand_in_a_legend_where_it_can_be_read(count, tmp_path):
    labels = [f"{number:02d} indignation-and-more" for number in range(count)]
    points = np.random.default_rng(0).normal(size=(2 * count, 2))
    figure = plot_embeddings(points, {"by emotion": labels * 2, "by speaker": ["a"] * 2 * count}, "title")
    save_figure(figure, tmp_path / "x.png")
    axes, other = figure.axes
    assert axes.get_window_extent().width > 0.4 * figure.bbox.width
    looks = {
        (tuple(one.get_facecolor().ravel().round(4)), one.get_paths()[0].vertices.tobytes())
        for one in axes.collections
    }
    assert len(looks) == count and len(other.collections) == 1
    assert bool(axes.get_legend()) == (count <= MOST_IN_LEGEND)
    assert axes.get_xlabel() == ("" if count <= MOST_IN_LEGEND else f"{count} labels, a colour each")

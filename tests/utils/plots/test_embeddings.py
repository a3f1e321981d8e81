"""Embeddings in the plane: every label can be told from the others, and many have a colour each."""

import numpy as np
import pytest

from utils.plots.embeddings import MOST_IN_LEGEND, plot_embeddings
from utils.plots.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")


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

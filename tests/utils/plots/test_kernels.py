import numpy as np
import pytest
from matplotlib import pyplot

from utils.plots.kernels import plot_kernel, plot_receptive_fields
from utils.plots.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def test_kernels_show_the_function_and_samples_on_it(tmp_path):
    def kernels(step):
        lags = np.arange(0, 4 + step / 2, step)
        return lags, np.stack([np.exp(-lags), np.cos(lags)])

    samples = {"fine": kernels(0.05), "coarse": kernels(0.1)}
    figure = plot_kernel(*kernels(0.01), samples, ["one", "two"], "title", close_up=0.5)
    save_figure(figure, tmp_path / "kernel.png")
    assert figure.get_suptitle() == "title" and figure.get_figwidth() <= 9
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["one\nweight", "two\nweight"]
    assert all("(s)" in axes.get_xlabel() for axes in figure.axes[2:])
    for axes, function in zip(figure.axes[1::2], (np.exp, np.cos), strict=True):
        curve, fine, coarse = axes.lines
        assert len(curve.get_xdata()) == 401
        assert len(fine.get_xdata()) == 11 and len(coarse.get_xdata()) == 6  # those of the close-up
        for line in (curve, fine, coarse):
            x, y = line.get_data()
            np.testing.assert_allclose(y, function(-x))
    assert figure.axes[0].get_xlim()[1] == pytest.approx(4)
    assert figure.axes[1].get_xlim()[1] == pytest.approx(0.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the function", "fine", "coarse"]
    assert not pyplot.get_fignums()


def test_receptive_fields_show_what_lies_at_a_lag_or_beyond(tmp_path):
    field = np.array([[0, 0, 0.25, 0.75], [0.1, 0.2, 0.3, 0.4]])  # the last frame in the last column
    figure = plot_receptive_fields({"TIM": (field, 0.5), "CkTIM": (field[1:], 0.25)}, "title")
    save_figure(figure, tmp_path / "fields.png")
    tim, cktim = figure.axes
    first, second = tim.lines
    assert first.get_xdata().tolist() == [0, 0.5, 1, 1.5]
    assert first.get_ydata()[:2] == pytest.approx([100, 25])
    assert (first.get_ydata()[2:] < tim.get_ylim()[0]).all()  # out of sight
    assert second.get_ydata() == pytest.approx([100, 60, 30, 10])
    assert cktim.lines[0].get_xdata().tolist() == [0, 0.25, 0.5, 0.75]
    assert cktim.lines[0].get_color() == first.get_color()  # the same block, the same colour
    assert tim.get_xlim() == cktim.get_xlim() == (0, 1.5)
    assert tim.get_title() == "TIM" and tim.get_ylabel().endswith("(%)")
    assert not pyplot.get_fignums()

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from utils.emotions import EMOTIONS, ENGLISH
from utils.plots.explain import (
    ANSWER,
    PADDING,
    RIGHT,
    WRONG,
    Explanation,
    plot_explanation,
    plot_kernel,
    plot_receptive_fields,
)
from utils.plots.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit

RATE, HOP, FRAMES = 8_000, 500, 33  # two seconds


def explanation(blocks: int = 3, **changes) -> Explanation:
    rng = np.random.default_rng(0)
    waveform = np.zeros(16_000, np.float32)
    waveform[4_000:12_000] = rng.normal(0, 0.1, 8_000)
    made = Explanation(
        name="some.wav",
        network="CkTIM_TAB3",
        waveform=waveform,
        sample_rate=RATE,
        recorded=(0.5, 1.5),
        seconds=1.0,
        mfcc=rng.normal(0, 50, (13, FRAMES)),
        frame_seconds=HOP / RATE,
        attention=rng.uniform(0.5, 0.8, (blocks, 2, FRAMES)),
        fusion=np.linspace(-0.2, 0.6, blocks),
        probabilities=np.array([0.05, 0.6, 0.1, 0.05, 0.1, 0.05, 0.05]),
        emotions=EMOTIONS,
    )
    return replace(made, **changes)


def panel(figure: Figure, title: str):
    (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))
    return axes


def ticks(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def labelled(figure: Figure, label: str):
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel() == label)
    return axes


@pytest.mark.parametrize("blocks", [1, 3, 6])
def test_every_block_has_its_attention_in_both_directions_over_time(blocks, tmp_path):
    made = explanation(blocks)
    figure = plot_explanation(made)
    save_figure(figure, tmp_path / "explained.png", pdf=True)
    assert figure.get_figwidth() <= 9 and not pyplot.get_fignums()
    for block in range(blocks):
        axes = labelled(figure, f"TAB {block + 1}")
        low, high = axes.get_ylim()  # one scale for all blocks, with room for all of them
        assert low < made.attention.min() and high > made.attention.max() and high - low < 0.4
        for line, attention in zip(axes.lines, made.attention[block], strict=True):
            np.testing.assert_allclose(line.get_xdata(), np.arange(FRAMES) * HOP / RATE)
            np.testing.assert_array_equal(line.get_ydata(), attention)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["forwards →", "← backwards"]


def test_explanations_that_are_compared_have_one_axis_of_attention():
    quiet, lively = explanation(1), explanation(1, attention=np.full((1, 2, FRAMES), 0.97))
    figures = [plot_explanation(one, [quiet, lively]) for one in (quiet, lively)]
    first, second = (labelled(figure, "TAB 1").get_ylim() for figure in figures)
    assert first == second and first[0] < quiet.attention.min() and first[1] > 0.97


def test_waveform_features_and_attention_share_their_time():
    figure = plot_explanation(explanation())
    waves, mfcc, attention = (panel(figure, title) for title in ("Waveform", "MFCCs", "Attention"))
    assert waves.get_xlim() == mfcc.get_xlim() == attention.get_xlim()
    (image,) = mfcc.images
    assert image.get_extent()[:2] == pytest.approx((-0.5 * HOP / RATE, (FRAMES - 0.5) * HOP / RATE))
    assert waves.lines[0].get_xdata()[-1] == pytest.approx(2, abs=1e-3)


def test_padding_is_grey_and_what_was_cut_off_is_said():
    def shaded(figure):
        grey = [p for p in panel(figure, "Waveform").patches if p.get_facecolor()[:3] == to_rgb(PADDING)]
        return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in grey]

    figure = plot_explanation(explanation())
    assert shaded(figure) == [(-2, 0.5), (1.5, 4)]
    assert panel(figure, "Waveform: 1.0 s, padded with zeros")
    figure = plot_explanation(explanation(recorded=(0.0, 2.0), seconds=5.0))
    assert shaded(figure) == []
    assert panel(figure, "Waveform: 5.0 s, of which the network gets the middle 2.0 s")


JUDGED = (None, ANSWER, ""), ("gio", RIGHT, ", rightly"), ("rab", WRONG, ", in truth anger")


@pytest.mark.parametrize(("truth", "colour", "words"), JUDGED)
def test_the_answer_stands_out_and_the_truth_is_marked(truth, colour, words):
    made = explanation(truth=truth)
    figure = plot_explanation(made)
    axes = panel(figure, "Answer")
    assert ticks(axes) == [ENGLISH[emotion] for emotion in EMOTIONS]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], 100 * made.probabilities)
    assert [i for i, bar in enumerate(axes.patches) if bar.get_facecolor()[:3] == to_rgb(colour)] == [1]
    marked = [index for index, text in enumerate(axes.texts) if "(true)" in text.get_text()]
    assert marked == ([] if truth is None else [EMOTIONS.index(truth)])
    assert made.in_words == f"joy (60 %){words}" and made.in_words in figure.get_suptitle()


def test_long_words_that_differ_at_the_end_or_in_the_middle_have_their_own_bars():
    long = {
        "gio": "Überraschung (positiv)",
        "rab": "Überraschung (negativ)",
        "sor": "Überraschung sehr (positiv)",
    }
    axes = panel(plot_explanation(explanation(words={**ENGLISH, **long})), "Answer")
    assert len(axes.patches) == len(set(axes.get_yticks())) == len(EMOTIONS)
    assert ticks(axes)[1] != ticks(axes)[EMOTIONS.index("rab")]


def test_fusion_weights_stand_beside_their_blocks():
    figure = plot_explanation(explanation(3))
    figure.draw_without_rendering()
    assert ticks(panel(figure, "Dynamic fusion")) == ["TAB 1"]
    for number, weight in enumerate([-0.2, 0.2, 0.6], start=1):
        (axes,) = (axes for axes in figure.axes if ticks(axes) == [f"TAB {number}"])
        assert axes.patches[0].get_width() == pytest.approx(weight)
        left = labelled(figure, f"TAB {number}").get_position()
        assert axes.get_position().y0 == pytest.approx(left.y0, abs=0.01)


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

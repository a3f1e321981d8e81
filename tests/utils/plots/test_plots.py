"""Figures of one corpus and one run: they render, with titles and labels, and show the right numbers."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from pandas import DataFrame
from PIL import Image

from utils.emotions import EMOTIONS
from utils.metrics import History
from utils.plots.corpus import plot_corpus
from utils.plots.style import as_image, save_figure
from utils.plots.training import plot_history, plot_mfcc, plot_split_counts, plot_variants, plot_waveform

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def history(losses, accuracies=None) -> History:
    accuracies = np.linspace(0.2, 0.8, len(losses)) if accuracies is None else accuracies
    return History("CkTIM", {"loss": list(losses), "accuracy": list(accuracies)})


def corpus_of(emotions: int, speakers: int) -> Figure:
    words = [*EMOTIONS, "indignation-and-resentment", "$joy$", "Überraschung", "x", "y"][:emotions]
    counts = DataFrame(7, index=words, columns=[f"speaker_{number:03}" for number in range(speakers)])
    seconds, kinds = np.linspace(1, 9, 40), {f"wav pcm_16, {number} kHz, stereo": 9 for number in range(9)}
    return plot_corpus(counts, seconds, {"signal_length": 4.4, "95 %": 7.0}, -seconds, kinds, "title")


WAVE = np.sin(np.arange(22_050))
PLOTS = {
    "history": lambda: plot_history(history([2.0, 1.5, 1.0]), history([2.1, 1.4, 1.6]), "title"),
    "counts": lambda: plot_split_counts(
        {name: dict.fromkeys(EMOTIONS, n) for name, n in (("train", 58), ("validation", 10), ("test", 16))},
        "title",
    ),
    **{f"corpus {n}": lambda n=n: corpus_of(*n) for n in ((2, 1), (4, 20), (7, 100), (12, 5))},
    "waveform": lambda: plot_waveform(WAVE, 22_050, "title"),
    "variants": lambda: plot_variants({"itself": WAVE, "reversed": WAVE[::-1]}, 22_050, "title"),
    "mfcc": lambda: plot_mfcc(np.random.default_rng(0).normal(0, 100, (39, 188)), 512, 22_050, "title"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_renders_with_title_and_labels(name, tmp_path):
    settings = dict(matplotlib.rcParams)
    figure = PLOTS[name]()
    save_figure(figure, tmp_path / "plot.png", pdf=True)
    assert isinstance(figure, Figure) and figure.get_figwidth() <= 9
    assert "title" in (figure.get_suptitle(), *(axes.get_title() for axes in figure.axes))
    assert any(axes.get_xlabel() for axes in figure.axes) and any(axes.get_ylabel() for axes in figure.axes)
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")
    assert not pyplot.get_fignums()
    assert dict(matplotlib.rcParams) == settings


def test_dollar_signs_in_names_are_no_formulas(tmp_path):
    name = "a$x_{$ [b]"
    curves = plot_history(history([2.0, 1.5]), history([2.1, 1.4]), name)
    for figure in (curves, plot_split_counts({"train": {name: 3, "b": 2}}, name)):
        save_figure(figure, tmp_path / "plot.png")  # an error, were it a formula
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]  # no PDF unless asked


@pytest.mark.parametrize(("keep", "epoch", "loss", "accuracy"), [("best", 2, 1.4, 55), ("last", 3, 1.6, 60)])
def test_history_marks_the_kept_epoch(keep, epoch, loss, accuracy):
    training, validation = history([2, 1.5, 1]), history([2.1, 1.4, 1.6], [0.3, 0.55, 0.6])
    loss_axes, accuracy_axes = plot_history(training, validation, "title", keep).axes
    for axes, value, text in (
        (loss_axes, loss, f"{keep} epoch, {epoch}: {loss}"),
        (accuracy_axes, accuracy, f"{keep} epoch, {epoch}: {accuracy:.1f} %"),
    ):
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["training"].get_xdata().tolist() == [1, 2, 3]
        assert lines[text].get_xydata() == pytest.approx(np.array([[epoch, value]]))


def test_loss_axis_is_logarithmic_where_losses_span_much():
    narrow = plot_history(history([10, 2, 1]), history([10, 2, 1]), "title")
    wide = plot_history(history([12_000, 50, 4]), history([8_000, 40, 3]), "title")
    assert narrow.axes[0].get_yscale() == "linear"
    assert wide.axes[0].get_yscale() == "log"
    assert "logarithmic" in wide.axes[0].get_ylabel()
    large = history([9000, 8000, 7000])  # beside which the line of the epoch that is kept is no small value
    assert plot_history(large, large, "title", "best").axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("losses", [[1.0], [2.0, np.nan, 1.0], [np.nan, np.nan], []])
def test_history_of_few_or_failed_epochs_renders(losses, tmp_path):
    save_figure(plot_history(history(losses), history(losses), "title"), tmp_path / "plot.png")


def test_counts_stand_in_the_bars_and_the_totals_in_the_legend():
    axes = plot_split_counts({"train": {"dis": 3, "gio": 2}, "test": {"dis": 1}}, "title").axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["train (5)", "test (1)"]
    assert [text.get_text() for text in axes.texts] == ["3", "2", "1", ""]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["disgust", "joy"]


def test_sound_is_over_time():
    assert plot_waveform(np.zeros(44_100), 22_050, "title").axes[0].get_xlim() == (0, 2)
    limits = plot_mfcc(np.ones((39, 188)), 512, 22_050, "title").axes[0].get_xlim()
    assert limits == pytest.approx((-0.5 * 512 / 22_050, 187.5 * 512 / 22_050))


def test_mfccs_are_standardised_over_the_frames_with_sound():
    sound = np.random.default_rng(0).normal(0, 1, (3, 50)) * [[300], [10], [1]] + [[-400], [5], [0]]
    padding = np.tile([[-1100.0], [0.0], [0.0]], 20)
    image = plot_mfcc(np.hstack([padding, sound, padding]), 512, 22_050, "title").axes[0].images[0]
    shown = image.get_array()[:, 20:70]
    np.testing.assert_allclose(shown.mean(1), 0, atol=0.1)
    np.testing.assert_allclose(shown.std(1), 1, atol=0.1)
    assert image.get_clim() == (-3, 3)


def test_variants_have_common_axes_of_amplitude_and_one_colour_bar():
    figure = plot_variants({"itself": WAVE, "quiet": WAVE / 8}, 22_050, "title")
    loud, spectrum, quiet, fainter, *bars = figure.axes
    assert loud.get_ylim() == quiet.get_ylim() and loud.get_ylim()[1] >= 1
    assert len(bars) == 1 and spectrum.images[0].get_clim() == fainter.images[0].get_clim() == (-70, 0)
    peaks = [axes.images[0].get_array().max() for axes in (spectrum, fainter)]
    assert peaks == pytest.approx([0, -20 * np.log10(8)], abs=1e-3)


def test_long_titles_take_several_lines():
    title = f"{'a-long-name-of-a-run-' * 6} · EMOVO corpus, test set"
    figure = plot_waveform(WAVE, 22_050, title)
    lines = figure.get_suptitle().splitlines()
    assert len(lines) > 1 and "".join(lines).replace(" ", "") == title.replace(" ", "")


def test_images_for_notebooks_are_small_and_look_the_same():
    figure, large = plot_variants({"itself": WAVE, "quiet": WAVE / 8}, 22_050, "title"), io.BytesIO()
    figure.savefig(large, format="png", dpi=110, bbox_inches="tight")
    small = as_image(figure)
    assert len(small) < len(large.getvalue()) / 1.5
    before, after = (np.asarray(Image.open(one).convert("RGB"), float) for one in (large, io.BytesIO(small)))
    assert np.abs(before - after).mean() < 1  # of 255

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from utils.config import ModelConfig
from utils.emotions import EMOTIONS, ENGLISH
from utils.metrics import History
from utils.plots import style as plots
from utils.plots.architecture import draw_architecture

pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def history(losses, accuracies=None) -> History:
    accuracies = np.linspace(0.2, 0.8, len(losses)) if accuracies is None else accuracies
    return History("CkTIM", {"loss": list(losses), "accuracy": list(accuracies)})


def confusion() -> np.ndarray:
    matrix = np.random.default_rng(0).integers(0, 4, (7, 7)) + 12 * np.eye(7, dtype=int)
    matrix[3] = 0  # "pau" never occurs
    return matrix


DATA_PLOTS = {
    "history": lambda: plots.plot_history(history([2.0, 1.5, 1.0]), history([2.1, 1.4, 1.6]), "title"),
    "counts": lambda: plots.plot_split_counts(
        {name: dict.fromkeys(EMOTIONS, n) for name, n in (("train", 58), ("validation", 10), ("test", 16))},
        "title",
    ),
    "waveform": lambda: plots.plot_waveform(np.sin(np.arange(22_050)), 22_050, "title"),
    "mfcc": lambda: plots.plot_mfcc(np.random.default_rng(0).normal(0, 100, (39, 188)), 512, 22_050, "title"),
    "confusion": lambda: plots.plot_confusion_matrix(confusion(), EMOTIONS, ENGLISH, "title"),
}


def test_dollar_signs_in_names_are_no_formulas(tmp_path):
    name = "a$x_{$ [b]"
    figures = (
        plots.plot_history(history([2.0, 1.5]), history([2.1, 1.4]), name),
        plots.plot_split_counts({"train": {name: 3, "b": 2}}, name),
        plots.plot_confusion_matrix(np.eye(2, dtype=int), [name, "b"], {name: name, "b": "b"}, name),
    )
    for figure in figures:
        plots.save_figure(figure, tmp_path / "plot.png")  # an error, were it a formula


@pytest.mark.parametrize("name", DATA_PLOTS)
def test_every_plot_renders_with_title_and_labels(name, tmp_path):
    settings = dict(matplotlib.rcParams)
    figure = DATA_PLOTS[name]()
    plots.save_figure(figure, tmp_path / "plot.png", pdf=True)

    assert isinstance(figure, Figure)
    assert figure.get_figwidth() <= 9
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    assert "title" in titles
    for axes in figure.axes:
        is_colour_bar = axes.get_label() == "<colorbar>"
        assert axes.get_ylabel()
        assert is_colour_bar or (axes.get_xlabel() and (axes.get_title() or figure.get_suptitle()))
    with Image.open(tmp_path / "plot.png") as image:
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    assert (tmp_path / "plot.pdf").read_bytes().startswith(b"%PDF")
    assert not pyplot.get_fignums()
    assert dict(matplotlib.rcParams) == settings


def test_png_has_150_dots_per_inch_and_no_pdf_unless_asked(tmp_path):
    plots.save_figure(DATA_PLOTS["waveform"](), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize(("keep", "epoch", "loss", "accuracy"), [("best", 2, 1.4, 55), ("last", 3, 1.6, 60)])
def test_history_marks_the_kept_epoch(keep, epoch, loss, accuracy):
    training, validation = history([2, 1.5, 1]), history([2.1, 1.4, 1.6], [0.3, 0.55, 0.6])
    loss_axes, accuracy_axes = plots.plot_history(training, validation, "title", keep).axes
    for axes, value, text in (
        (loss_axes, loss, f"{keep} epoch, {epoch}: {loss}"),
        (accuracy_axes, accuracy, f"{keep} epoch, {epoch}: {accuracy:.1f} %"),
    ):
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["training"].get_xdata().tolist() == [1, 2, 3]
        assert lines[text].get_xydata() == pytest.approx(np.array([[epoch, value]]))


def test_loss_axis_is_logarithmic_where_losses_span_much():
    narrow = plots.plot_history(history([10, 2, 1]), history([10, 2, 1]), "title")
    wide = plots.plot_history(history([12_000, 50, 4]), history([8_000, 40, 3]), "title")
    assert narrow.axes[0].get_yscale() == "linear"
    assert wide.axes[0].get_yscale() == "log"
    assert "logarithmic" in wide.axes[0].get_ylabel()


@pytest.mark.parametrize("losses", [[1.0], [2.0, np.nan, 1.0], [np.nan, np.nan], []])
def test_history_of_few_or_failed_epochs_renders(losses, tmp_path):
    plots.save_figure(plots.plot_history(history(losses), history(losses), "title"), tmp_path / "plot.png")


def test_counts_add_up_to_bars():
    counts = {"train": {"dis": 3, "tri": 1}, "validation": {"dis": 2}, "test": {"tri": 4}}
    (axes,) = plots.plot_split_counts(counts, "title").axes
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    lefts = [[bar.get_x() for bar in bars] for bars in axes.containers]
    assert widths == [[3, 1], [2, 0], [0, 4]]
    assert lefts == [[0, 0], [3, 1], [5, 1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dis · disgust", "tri · sadness"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "train (4)",
        "validation (2)",
        "test (4)",
    ]


def test_time_axes_are_in_seconds():
    (axes,) = plots.plot_waveform(np.zeros(44_100), 22_050, "silence").axes
    assert axes.get_xlim() == (0, 2)
    mfcc_axes = plots.plot_mfcc(np.ones((39, 188)), 512, 22_050, "title").axes[0]
    assert mfcc_axes.get_xlim() == pytest.approx((-0.5 * 512 / 22_050, 187.5 * 512 / 22_050))


def test_confusion_matrix_shows_counts_and_rates_of_each_row():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [1, 1, 6]])
    axes = plots.plot_confusion_matrix(matrix, ("dis", "gio", "neu"), ENGLISH, "title").axes[0]
    cells = [text.get_text() for text in axes.texts]
    assert cells == [
        *("3\n75 %", "1\n25 %", "0\n0 %"),
        *("0\n–", "0\n–", "0\n–"),
        *("1\n12 %", "1\n12 %", "6\n75 %"),
    ]
    colours = axes.images[0].get_array()
    assert colours[0].tolist() == [75, 25, 0]
    assert colours.mask[1].all()
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "dis · disgust\n(4)",
        "gio · joy\n(0)",
        "neu · neutral\n(8)",
    ]
    assert axes.get_xlabel().startswith("predicted")
    assert axes.get_ylabel().startswith("true")


@pytest.mark.parametrize(
    "settings",
    [
        {"n_temporal_aware_block": 1},
        {"n_temporal_aware_block": 4, "omega_0": 12.5, "hidden_scale": 4, "kernel_window": 0.0},
        {"n_temporal_aware_block": 16, "generator_type": "convKan", "af_type": "KAFsin", "n_filter": 128},
        {"n_temporal_aware_block": 6, "ck": False},
        {"n_temporal_aware_block": 3, "ck": False, "kernel_size": 5},
    ],
)
@pytest.mark.parametrize("emotions", [EMOTIONS, ("angry", "bored to death"), tuple("abcdefghijkl")])
def test_architecture_has_no_overlapping_text(settings, emotions, tmp_path):
    figure = draw_architecture(ModelConfig(**settings), "title", emotions)
    plots.save_figure(figure, tmp_path / "architecture.png")
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = {text: text.get_window_extent() for text in texts}
    page = figure.bbox
    for text, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for one, other in combinations(texts, 2):
        assert not boxes[one].overlaps(boxes[other]), (one, other)
    assert not pyplot.get_fignums()


def test_architecture_shows_the_emotions():
    texts = {
        text.get_text() for text in draw_architecture(ModelConfig(), "T", ("neu", "calmness")).axes[0].texts
    }
    assert {"neutral", "calmness", "scores of 2\nemotions", "linear\n39 → 2"} <= texts
    assert "joy" not in texts


def test_architecture_shows_the_configuration():
    def words(**settings):
        return " ".join(
            text.get_text() for text in draw_architecture(ModelConfig(**settings), "T").axes[0].texts
        )

    continuous = words(n_temporal_aware_block=3, omega_0=12.5, hidden_scale=2, dropout_rate=0.25)
    assert "1→64→64→39²" in continuous.replace("\u2009", "")
    assert "ω₀ = 12.5" in continuous
    assert "dropout 0.25" in continuous
    assert "TAB 3" in continuous and "TAB 4" not in continuous
    assert "dilation 4" in words(ck=False) and "CKConv" not in words(ck=False)

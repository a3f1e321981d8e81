"""The figure of the network says what the configuration says, and no text lies on another."""

import runpy
import sys
from itertools import combinations

import pytest
from matplotlib import pyplot

from utils.config import ModelConfig
from utils.emotions import EMOTIONS
from utils.plots.architecture import draw_architecture

LONG, MANY = ("angry", "bored to death"), tuple("abcdefghijkl")
pytestmark = pytest.mark.filterwarnings("error")  # a glyph that is missing, a layout that does not fit


def words(*arguments, **settings):
    figure = draw_architecture(ModelConfig(**settings), "T", *arguments)
    return [text.get_text().replace("\u2009", "") for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("blocks", "settings", "emotions", "sizes"),
    [
        (1, {}, EMOTIONS, (39, 0)),
        (4, {"omega_0": 12.5, "hidden_scale": 4, "kernel_window": 0.0}, LONG, (47, 455)),
        (16, {"generator_type": "convKan", "n_filter": 128}, MANY, (47, 455)),
        (6, {"ck": False, "pooling": "mean"}, MANY, (39, 0)),
        (3, {"ck": False, "kernel_size": 5}, EMOTIONS, (39, 0)),
    ],
)
def test_no_text_lies_on_another_or_beyond_the_page(blocks, settings, emotions, sizes):
    model = ModelConfig(n_temporal_aware_block=blocks, **settings)
    figure = draw_architecture(model, "title", emotions, *sizes)
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in figure.axes[0].texts if text.get_text()}
    page = figure.bbox
    for text, box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for one, other in combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[other]), (one, other)
    assert not pyplot.get_fignums()


def test_it_shows_the_default_as_it_is():
    texts = words()
    assert {"linear\n78 → 7", "MFCCs:\n39 × frames", "joy", "scores of 7\nemotions"} <= set(texts)
    assert any("mean and standard deviation over time" in text for text in texts)
    assert not any("perceptron" in text for text in texts)


def test_it_shows_pooling_emotions_and_functionals():
    texts = words(("neu", "calmness"), 47, 455, pooling="mean", functionals_width=32)
    assert {"linear\n39 → 2", "neutral", "calmness", "perceptron\n455 → 32 → 2"} <= set(texts)
    assert any(": mean over time" in text for text in texts)
    assert "joy" not in texts


def test_it_shows_the_kernels():
    continuous = " ".join(words(n_temporal_aware_block=3, omega_0=12.5, hidden_scale=2, dropout_rate=0.25))
    for text in ("1→64→64→39²", "ω₀ = 12.5", "dropout 0.25", "TAB 3"):
        assert text in continuous
    assert "TAB 4" not in continuous
    dilated = " ".join(words(ck=False))
    assert "dilation 4" in dilated and "CKConv" not in dilated


def test_the_command_draws_the_configured_network(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["architecture", str(tmp_path / "a.png"), "model.ck=false"])
    runpy.run_path("utils/plots/architecture.py", run_name="__main__")
    assert (tmp_path / "a.png").exists()

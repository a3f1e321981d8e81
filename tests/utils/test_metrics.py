import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from utils.errors import UserError
from utils.metrics import History, MetricsError, keep_whole_epochs, kept_epoch, scores


@pytest.mark.parametrize("seed", range(5))
def test_scores_follow_their_definitions(seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 6, 80)  # class 6 never occurs
    predictions = np.where(rng.random(80) < 0.5, targets, rng.integers(1, 7, 80))  # class 0 seldom predicted
    matrix = np.zeros((7, 7))
    np.add.at(matrix, (targets, predictions), 1)
    hits = np.diag(matrix)

    def share(divisor):
        return np.divide(hits, divisor, out=np.zeros(7), where=divisor > 0)

    recall, precision = share(matrix.sum(1)), share(matrix.sum(0))
    expected = {
        "accuracy": hits.sum() / 80,
        "uar": recall[:6].mean(),
        "recall": recall.mean(),
        "precision": precision.mean(),
        "f1_score": share((matrix.sum(0) + matrix.sum(1)) / 2).mean(),
    }
    assert scores(targets, predictions, 7) == pytest.approx(expected, abs=1e-12)


def test_scores_agree_with_scikit_learn_where_every_class_occurs():
    rng = np.random.default_rng(0)
    targets, predictions = np.repeat(np.arange(7), 20), rng.integers(0, 7, 140)
    result = scores(targets, predictions, 7)
    assert result["uar"] == result["recall"]
    assert result["uar"] == pytest.approx(metrics.balanced_accuracy_score(targets, predictions))
    assert result["f1_score"] == pytest.approx(metrics.f1_score(targets, predictions, average="macro"))
    assert result["precision"] == pytest.approx(
        metrics.precision_score(targets, predictions, average="macro", zero_division=0)
    )


def test_scores_by_hand():
    # class 0: 1 of 2 found; class 1: 2 of 2; class 2 does not occur, but is predicted once; class 3: never
    result = scores(torch.tensor([0, 0, 1, 1]), [0, 2, 1, 1], 4)
    assert result["accuracy"] == 0.75
    assert result["uar"] == 0.75
    assert result["recall"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert result["precision"] == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert result["f1_score"] == pytest.approx((2 / 3 + 1 + 0 + 0) / 4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([], [], "equally long"),
        ([0, 1], [0], "equally long"),
        ([[0]], [[0]], "equally long"),
        ([0, 7], [0, 1], "0 to 7"),
        ([0, 1], [0, -1], "-1 to 1"),
    ],
)
def test_scores_refuse_what_cannot_be_scored(targets, predictions, message):
    with pytest.raises(ValueError, match=message):
        scores(targets, predictions, 7)


def make_history(epochs: int) -> History:
    history = History("CkTIM")
    for epoch in range(epochs):
        row = {"accuracy": 0.1 * epoch, "recall": 0.1, "precision": 0.2, "f1_score": 0.3, "uar": 1 / 3}
        history.append(epoch=epoch, loss=2.0 / (epoch + 1), **row)
    return history


def test_history_round_trip(tmp_path):
    history = make_history(3)
    history.save(tmp_path / "metrics.json")
    loaded = History.load(tmp_path / "metrics.json")
    assert loaded.model == "CkTIM"
    assert loaded.columns == history.columns  # to the last digit
    assert len(loaded) == 3
    assert "uar" in loaded
    assert "seconds" not in loaded


def test_history_has_the_earlier_schema(tmp_path):
    make_history(2).save(tmp_path / "metrics.json")
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["model"] == ["CkTIM"]
    assert content["epoch"] == [0, 1]
    assert content["loss"] == [2.0, 1.0]
    assert {"accuracy", "recall", "precision", "f1_score"} <= content.keys()


def test_history_keeps_losses_that_are_not_numbers_in_strict_json(tmp_path):
    history = History("TIM")
    for loss in (1.0, math.nan, math.inf):
        history.append(loss=loss, accuracy=0.5)
    history.save(tmp_path / "metrics.json")

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert np.isnan(History.load(tmp_path / "metrics.json")["loss"]).tolist() == [False, True, True]


def test_history_rows_name_the_same_columns():
    history = make_history(1)
    with pytest.raises(ValueError, match="seconds"):
        history.append(loss=1.0, accuracy=0.5, seconds=1.0)
    assert len(history) == len(history["accuracy"]) == 1


def test_cut_off_history_is_named(tmp_path):
    whole, cut = tmp_path / "metrics.json", tmp_path / "cut.json"
    make_history(3).save(whole)
    text = whole.read_bytes().rstrip()
    for length in range(0, len(text), 7):
        cut.write_bytes(text[:length])
        with pytest.raises(MetricsError, match=r"cut\.json is not a whole JSON file"):
            History.load(cut)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        '{"loss": [1], "accuracy": [1]}',
        '{"model": "TIM", "loss": [1], "accuracy": [1]}',
        '{"model": ["TIM"], "loss": 1, "accuracy": [1]}',
        '{"model": ["TIM"], "loss": ["1"], "accuracy": [1]}',
        '{"model": ["TIM"], "loss": [1, 2], "accuracy": [1]}',
    ],
)
def test_other_json_is_refused(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(MetricsError, match=r"metrics\.json does not hold metrics"):
        History.load(path)


def test_missing_history_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json"):
        History.load(tmp_path / "nothing.json")


def test_published_files_load(repository):
    published = repository / "../shared/published"
    files = sorted(published.glob("*/*_metrics.json"))
    if not files:
        pytest.skip("the published results are not on disk")
    for path in files:
        history = History.load(path)
        is_test = "_test_" in path.name
        assert len(history) == (1 if is_test else 100), path
        assert history.model == path.parent.name.split("_")[0]
        assert 0 < history["accuracy"][-1] <= 1
        assert ("trainable_parameters" in history) == is_test


def test_the_kept_epoch():
    validation = History("TIM")
    for loss in (2.0, float("nan"), 1.0, 1.0, 3.0):
        validation.append(loss=loss)
    assert kept_epoch(validation, "best") == 2 and kept_epoch(validation, "last") == 4
    assert kept_epoch(History("TIM", {"loss": [float("nan")] * 2}), "best") is None


def test_whole_epochs_are_kept():
    training, validation = History("TIM"), History("TIM")
    for epoch in range(3):
        training.append(epoch=epoch, loss=1.0 + epoch)
        if epoch < 2:
            validation.append(epoch=epoch, loss=2.0)
    training.columns["epoch"].append(3)  # an interrupt in the middle of `append`
    keep_whole_epochs(training, validation)
    assert training.columns == {"epoch": [0, 1], "loss": [1.0, 2.0]} and len(validation) == 2
    empty = History("TIM")
    keep_whole_epochs(training, empty)
    assert len(training) == len(empty) == 0

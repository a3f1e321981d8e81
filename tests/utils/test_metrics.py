"""Scores and intervals against scikit-learn and by drawing; calibration; histories and their files."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from utils.errors import UserError
from utils.metrics import (
    History,
    MetricsError,
    confusion_matrix,
    intervals,
    keep_whole_epochs,
    kept_epoch,
    nearest_agreement,
    reliability,
    scores,
)

answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@settings(deadline=None)
@given(answers)
def test_scores_are_those_of_scikit_learn(pairs):
    targets, predictions = np.array(pairs).T
    macro = {"labels": range(5), "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(targets, predictions),
        "uar": metrics.recall_score(targets, predictions, labels=np.unique(targets), average="macro"),
        "recall": metrics.recall_score(targets, predictions, **macro),
        "precision": metrics.precision_score(targets, predictions, **macro),
        "f1_score": metrics.f1_score(targets, predictions, **macro),
    }
    assert scores(torch.tensor(targets), predictions.tolist(), 5) == pytest.approx(expected, abs=1e-12)
    matrix = metrics.confusion_matrix(targets, predictions, labels=range(5))
    assert confusion_matrix(targets, predictions, 5).tolist() == matrix.tolist()


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


def test_intervals_are_those_of_utterances_drawn_with_replacement():
    rng = np.random.default_rng(1)
    targets = np.repeat(np.arange(4), 12)
    predictions = np.where(rng.random(48) < 0.6, targets, rng.integers(0, 4, 48))
    drawn = []
    for _ in range(800):
        rows = rng.integers(0, 48, 48)
        drawn.append(list(scores(targets[rows], predictions[rows], 4).values()))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    found = intervals(confusion_matrix(targets, predictions, 4))
    assert list(found) == list(scores(targets, predictions, 4))
    for score, one, other in zip(found, low, high, strict=True):
        assert found[score] == pytest.approx((one, other), abs=0.025), score


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        right = rng.binomial(112, 0.8)
        low, high = intervals(np.array([[right, 112 - right], [0, 0]]), resamples=400, seed=trial)["accuracy"]
        covered += low <= 0.8 <= high
    assert 0.90 < covered / 300 < 0.98


def test_uar_and_macro_recall_have_one_interval_where_they_are_the_same_quantity():
    """With classes so small that many samples lack one, and with a class that no utterance is of."""
    found = intervals(np.array([[1, 1, 0], [0, 2, 0], [1, 0, 20]]))
    assert found["recall"] == found["uar"] and found["uar"][1] <= 1
    found = intervals(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]]))
    assert found["recall"] == pytest.approx([2 / 3 * bound for bound in found["uar"]])


def test_intervals_are_the_same_for_the_same_seed():
    matrix = np.array([[8, 2], [3, 7]])
    assert intervals(matrix) == intervals(matrix)
    assert intervals(matrix, resamples=200) != intervals(matrix, resamples=200, seed=1)
    assert intervals(np.diag([5, 5, 5]))["accuracy"] == (1, 1)


def test_the_calibration_error_of_a_few_answers_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.35, 0.65], [1.0, 0.0]])
    targets = np.array([0, 1, 1, 0])
    bins = reliability(probabilities, targets, bins=10)
    assert bins.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]  # 1.0 is in the last bin
    assert bins.accuracy[[6, 9]] == pytest.approx([1, 2 / 3])
    assert bins.confidence[[6, 9]] == pytest.approx([0.65, 2.82 / 3])
    assert np.isnan(bins.confidence[0]) and np.isnan(bins.accuracy[0])
    assert bins.error == pytest.approx((0.35 * 1 + (2.82 / 3 - 2 / 3) * 3) / 4)


def make_history(epochs: int) -> History:
    history = History("CkTIM")
    for epoch in range(epochs):
        row = {"accuracy": 0.1 * epoch, "recall": 0.1, "precision": 0.2, "f1_score": 0.3, "uar": 1 / 3}
        history.append(epoch=epoch, loss=2.0 / (epoch + 1), **row)
    return history


def test_history_round_trip_in_the_earlier_schema(tmp_path):
    history = make_history(3)
    history.save(tmp_path / "metrics.json")
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["model"] == ["CkTIM"] and content["epoch"] == [0, 1, 2] and content["loss"][1] == 1.0
    assert {"accuracy", "recall", "precision", "f1_score"} <= content.keys()
    loaded = History.load(tmp_path / "metrics.json")
    assert loaded.model == "CkTIM" and len(loaded) == 3
    assert loaded.columns == history.columns  # to the last digit
    assert "uar" in loaded and "seconds" not in loaded


def test_history_keeps_losses_that_are_not_numbers_in_strict_json(tmp_path):
    History("TIM", {"loss": [1.0, math.nan, math.inf], "accuracy": [0.5] * 3}).save(tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["loss"] == [1.0, None, None]
    assert np.isnan(History.load(tmp_path / "metrics.json")["loss"]).tolist() == [False, True, True]


def test_history_rows_name_the_same_columns():
    history = make_history(1)
    with pytest.raises(ValueError, match="seconds"):
        history.append(loss=1.0, accuracy=0.5, seconds=1.0)
    assert len(history) == len(history["accuracy"]) == 1


def test_a_history_that_is_cut_off_or_missing_is_named(tmp_path):
    whole, cut = tmp_path / "metrics.json", tmp_path / "cut.json"
    make_history(3).save(whole)
    text = whole.read_bytes().rstrip()
    for length in range(0, len(text), 7):
        cut.write_bytes(text[:length])
        with pytest.raises(MetricsError, match=r"cut\.json is not a whole JSON file"):
            History.load(cut)
    with pytest.raises(UserError, match=r"nothing\.json"):
        History.load(tmp_path / "nothing.json")


VALID = {"model": ["TIM"], "loss": [1], "accuracy": [1]}
CHANGES = {"model": "TIM"}, {"model": [1]}, {"loss": 1}, {"loss": ["1"]}, {"loss": [1, 2]}
OTHERS = [], 3, {"loss": [1], "accuracy": [1]}, *(VALID | change for change in CHANGES)


@pytest.mark.parametrize("content", OTHERS)
def test_other_json_is_refused(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content))
    with pytest.raises(MetricsError, match=r"metrics\.json does not hold metrics"):
        History.load(path)


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
    validation = History("TIM", {"loss": [2.0, math.nan, 1.0, 1.0, 3.0]})
    assert kept_epoch(validation, "best") == 2 and kept_epoch(validation, "last") == 4
    assert kept_epoch(History("TIM", {"loss": [math.nan] * 2}), "best") is None


def test_whole_epochs_are_kept():
    # an interrupt in the middle of `append`, or between two
    training = History("TIM", {"epoch": [0, 1, 2, 3], "loss": [1.0, 2.0, 3.0]})
    validation = History("TIM", {"epoch": [0, 1], "loss": [2.0, 2.0]})
    keep_whole_epochs(training, validation)
    assert training.columns == {"epoch": [0, 1], "loss": [1.0, 2.0]} and len(validation) == 2
    empty = History("TIM")
    keep_whole_epochs(training, empty)
    assert len(training) == len(empty) == 0


def test_nearest_neighbours_agree_as_counted_one_by_one():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(40, 3)), rng.choice(["a", "b", "c"], 40).tolist()
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2) + np.diag(np.full(40, np.inf))
    same = [labels[row] == labels[nearest] for row, nearest in enumerate(distances.argmin(1))]
    pairs = [labels[one] == labels[other] for one in range(40) for other in range(40) if one != other]
    assert nearest_agreement(vectors, labels) == pytest.approx((np.mean(same), np.mean(pairs)))
    groups = np.repeat(np.eye(3), 5, axis=0)
    assert nearest_agreement(groups, [str(row // 5) for row in range(15)])[0] == 1

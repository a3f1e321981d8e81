"""Confusion matrices and intervals, against scikit-learn and against drawing utterances one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_matrix

from utils.metrics import confusion_matrix, intervals, matrix_scores, scores

answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@settings(deadline=None)
@given(answers)
def test_scores_of_a_matrix_are_those_of_its_predictions(pairs):
    targets, predictions = np.array(pairs).T
    matrix = confusion_matrix(targets, predictions, 5)
    assert matrix.tolist() == sklearn_matrix(targets, predictions, labels=range(5)).tolist()
    found = matrix_scores(matrix)
    for score, value in scores(targets, predictions, 5).items():
        assert found[score] == pytest.approx(value), score


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


def test_intervals_are_the_same_for_the_same_seed():
    matrix = np.array([[8, 2], [3, 7]])
    assert intervals(matrix) == intervals(matrix)
    assert intervals(matrix, resamples=200) != intervals(matrix, resamples=200, seed=1)


def test_a_perfect_result_leaves_no_doubt():
    assert intervals(np.diag([5, 5, 5]))["accuracy"] == (1, 1)

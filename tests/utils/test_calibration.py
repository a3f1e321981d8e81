"""Calibration error and temperature scaling, on answers whose calibration is known."""

import numpy as np
import pytest

from testing.calibration import at_temperature, fit_temperature, negative_log_likelihood
from utils.metrics import reliability


def drawn(temperature: float, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (count, 4), and targets that are drawn with the probabilities of logits / temperature."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((count, 4))
    cumulated = at_temperature(logits, temperature).cumsum(1)
    return logits, (rng.random((count, 1)) > cumulated).sum(1)


def test_a_calibrated_network_has_hardly_any_error():
    logits, targets = drawn(1.0)
    bins = reliability(at_temperature(logits, 1.0), targets)
    assert bins.count.sum() == len(targets)
    assert bins.error < 0.01
    assert (
        np.isnan(bins.confidence[:2]).all() and np.isnan(bins.accuracy[:2]).all()
    )  # four classes: at least 25 %
    assert reliability(at_temperature(logits, 0.3), targets).error > 0.1  # overconfident


def test_the_error_of_a_few_answers_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.35, 0.65], [1.0, 0.0]])
    targets = np.array([0, 1, 1, 0])
    bins = reliability(probabilities, targets, bins=10)
    assert bins.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]  # 1.0 is in the last bin
    assert bins.accuracy[[6, 9]] == pytest.approx([1, 2 / 3])
    assert bins.confidence[[6, 9]] == pytest.approx([0.65, 2.82 / 3])
    assert bins.error == pytest.approx((0.35 * 1 + (2.82 / 3 - 2 / 3) * 3) / 4)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_found(temperature):
    logits, targets = drawn(temperature)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(temperature, rel=0.05)
    around = [negative_log_likelihood(logits, targets, found * factor) for factor in (0.8, 1, 1.25)]
    assert around[1] < min(around[0], around[2])
    assert reliability(at_temperature(logits, found), targets).error < 0.01


def test_answers_that_are_all_right_do_not_make_the_temperature_vanish():
    logits = np.array([[5.0, 0.0], [0.0, 4.0]])
    assert 0.04 < fit_temperature(logits, np.array([0, 1])) < 0.1


def test_temperature_changes_no_order():
    logits, _ = drawn(1.0, count=100)
    assert (at_temperature(logits, 7.0).argsort(1) == logits.argsort(1)).all()
    assert at_temperature(logits, 1.0) == pytest.approx(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))

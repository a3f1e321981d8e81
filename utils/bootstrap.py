"""How sure a score is: intervals by the bootstrap over utterances."""

import numpy as np

LEVEL = 0.95


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (num_classes, num_classes); row: the true class, column: the predicted one."""
    cells = np.asarray(targets) * num_classes + np.asarray(predictions)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def matrix_scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of utils.metrics.scores (defined there), from confusion matrices (…, classes, classes)."""
    matrices = np.asarray(matrices, dtype=float)
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    true, predicted = matrices.sum(-1), matrices.sum(-2)
    recall, precision = _ratio(right, true), _ratio(right, predicted)
    return {
        "accuracy": right.sum(-1) / matrices.sum((-2, -1)),
        "uar": recall.sum(-1) / (true > 0).sum(-1),
        "recall": recall.mean(-1),
        "precision": precision.mean(-1),
        "f1_score": _ratio(2 * right, true + predicted).mean(-1),
    }


def intervals(matrix: np.ndarray, resamples: int = 10_000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of the scores, over samples of as many utterances drawn with replacement.

    Scores depend on an utterance only through its cell in the confusion matrix, so that drawing utterances
    is drawing cells, with the counts as their chances: one multinomial draw a sample.

    Args:
        matrix: (classes, classes) counts.
        resamples: samples to draw.
        seed: of the draws.

    Returns:
        score → (low, high).
    """
    counts = np.asarray(matrix)
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, size=resamples)
    bounds = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    found = matrix_scores(drawn.reshape(resamples, *counts.shape))
    return {score: tuple(np.quantile(values, bounds).tolist()) for score, values in found.items()}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)

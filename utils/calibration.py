"""Can probabilities be taken at their word? Reliability, expected calibration error, temperature scaling."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 10
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Reliability:
    """Answers in bins of equal width by their confidence, the probability of the answer given.

    Attributes:
        count: (bins,) answers in each.
        confidence: (bins,) their mean confidence; NaN in an empty bin.
        accuracy: (bins,) share of them that is right; NaN in an empty bin.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy over all answers.

        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
        """
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(gaps * self.count) / self.count.sum())


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Reliability:
    """Compare confidences with how often they are right.

    Args:
        probabilities: (utterances, classes).
        targets: (utterances,) class indices.
        bins: number of bins between 0 and 1.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, weights, minlength=bins) for weights in (confidence, right))
    means = [np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums]
    return Reliability(count, *means)


def at_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (utterances, classes): softmax of logits / temperature. Which class is first stays."""
    return softmax(np.asarray(logits, np.float64) / temperature, axis=-1)


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> float:
    """Mean over utterances, in nats."""
    scores = log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)
    return float(-scores[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the lowest negative log-likelihood (Guo et al.), within TEMPERATURES.

    Args:
        logits: (utterances, classes), of utterances that the network was not trained on.
        targets: (utterances,) class indices.
    """
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, targets, np.exp(log)),
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    return float(np.exp(found.x))

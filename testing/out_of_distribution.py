"""How far an utterance is from the training set: answers about speech unlike it are not to be trusted.

The distance is Mahalanobis's, of statistics of an utterance's MFCCs to those of the training utterances. It
knows nothing of the network, whose own summaries tell white noise from speech no better than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

COEFFICIENTS = 20  # of which level, spread and speed of change count
SHAPE_COEFFICIENTS = 5  # of which also the skewness of changes counts: speech rises faster than it falls
LAGS = (1, 2, 4, 8)  # frames over which changes are taken
QUANTILE = 0.95  # of the validation utterances lies within the threshold
BLOCK = 1024  # utterances
SMALLEST = 1e-3  # dB; below it a coefficient does not change


@dataclass(frozen=True)
class Novelty:
    """Distances of utterances to those of a training set.

    Attributes:
        location, scale: (statistics,) their mean and standard deviation over the training utterances.
        precision: (statistics, statistics), inverse of the correlations, shrunk by Ledoit and Wolf's rule.
        threshold: the distance within which QUANTILE of the validation utterances lies.
    """

    location: np.ndarray
    scale: np.ndarray
    precision: np.ndarray
    threshold: float

    def __call__(self, x: Tensor) -> np.ndarray:
        """Raw MFCCs (utterances, n_mfcc, frames) → (utterances,): 1 at the threshold, more where unlike."""
        return self._distance(utterance_statistics(x)) / self.threshold

    def _distance(self, statistics: np.ndarray) -> np.ndarray:
        away = (statistics - self.location) / self.scale
        return np.sqrt(np.maximum(np.einsum("ui,ij,uj->u", away, self.precision, away), 0))

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file, in six digits."""
        rows = [_short(row) for row in self.precision]
        values = {"location": _short(self.location), "scale": _short(self.scale), "precision": rows}
        return values | {"threshold": self.threshold}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Novelty":
        """Of what to_dict returns."""
        arrays = (np.array(values[key], np.float64) for key in ("location", "scale", "precision"))
        return cls(*arrays, float(values["threshold"]))


def fit_novelty(frames: Tensor, training: Sequence[int], validation: Sequence[int]) -> Novelty:
    """Measure the training set, and on the validation set how far an utterance like it usually is.

    Args:
        frames: (utterances, num_features, frames), raw.
        training, validation: rows of it.
    """
    from sklearn.covariance import LedoitWolf  # here, for predictions do without it

    statistics, others = _of_rows(frames, training), _of_rows(frames, validation)
    location, scale = statistics.mean(0), statistics.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    covariance = LedoitWolf(assume_centered=True).fit((statistics - location) / scale)
    novelty = Novelty(location, scale, covariance.precision_, threshold=1.0)
    threshold = float(np.quantile(novelty._distance(others), QUANTILE))
    return Novelty(location, scale, covariance.precision_, threshold)


def utterance_statistics(x: Tensor) -> np.ndarray:
    """What the distance is about: level, spread, speed and skewness of change of the first coefficients.

    Args:
        x: raw MFCCs (utterances, n_mfcc, frames).

    Returns:
        float64 (utterances, statistics).
    """
    x = x[:, :COEFFICIENTS].double()
    parts = [x.mean(-1), _log_spread(x)]
    for lag in (lag for lag in LAGS if lag < x.shape[-1]):
        change = x[..., lag:] - x[..., :-lag]
        if lag == 1:
            parts.append(_log_spread(change))
        change = change[:, :SHAPE_COEFFICIENTS]
        size = change.square().mean(-1).sqrt().clamp(min=SMALLEST)
        parts.append(change.pow(3).mean(-1) / size**3)
    return torch.cat(parts, dim=1).numpy()


def _log_spread(x: Tensor) -> Tensor:
    return x.std(-1, correction=0).clamp(min=SMALLEST).log()


def _of_rows(frames: Tensor, rows: Sequence[int]) -> np.ndarray:
    """Their statistics; no more than BLOCK of them are in memory at a time."""
    starts = range(0, len(rows), BLOCK)
    return np.concatenate([utterance_statistics(frames[rows[start : start + BLOCK]]) for start in starts])


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]

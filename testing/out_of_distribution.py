"""How far an utterance is from the training set: answers about speech unlike it are not to be trusted.

The distance is Mahalanobis's, from statistics of an utterance's MFCCs to those of the training utterances. It
does not use the network, whose own summaries separate white noise from speech no better than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

COEFFICIENTS = 20  # of which level, spread and speed of change count
SHAPE_COEFFICIENTS = 5  # of which also the skewness of changes counts: speech rises faster than it falls
LAGS = (1, 2, 4, 8)  # frames over which changes are taken
QUANTILE = 0.95  # of the validation utterances lies within the threshold
BLOCK = 1024  # utterances
ARRAYS = ("location", "scale", "precision")
SMALLEST = 1e-3  # dB; below it a coefficient does not change


@dataclass(frozen=True)
class Novelty:
    """Distances of utterances to those of a training set."""

    location: np.ndarray  # (statistics,) mean over the training utterances
    scale: np.ndarray  # (statistics,) standard deviation over them
    precision: np.ndarray  # (statistics, statistics), inverse of the correlations, shrunk by Ledoit and Wolf
    threshold: float  # the distance within which QUANTILE of the validation utterances lies

    def __call__(self, x: Tensor) -> np.ndarray:
        """Raw MFCCs (utterances, n_mfcc, frames) → (utterances,): 1 at the threshold, more where unlike."""
        return self._distance(utterance_statistics(x)) / self.threshold

    def _distance(self, statistics: np.ndarray) -> np.ndarray:
        away = (statistics - self.location) / self.scale
        return np.sqrt(np.maximum(np.einsum("ui,ij,uj->u", away, self.precision, away), 0))

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file, in six digits."""
        rounded = np.vectorize(lambda value: float(f"{value:.6g}"))
        return {key: rounded(getattr(self, key)).tolist() for key in ARRAYS} | {"threshold": self.threshold}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Novelty":
        """From the values of to_dict."""
        arrays = {key: np.array(values[key], np.float64) for key in ARRAYS}
        return cls(**arrays, threshold=float(values["threshold"]))


def fit_novelty(frames: Tensor, training: Sequence[int], validation: Sequence[int]) -> Novelty:
    """Measure the training set, and on the validation set how far an utterance like it usually is.

    `frames` are raw, (utterances, num_features, frames); `training` and `validation` are rows of it.
    """
    from sklearn.covariance import LedoitWolf  # here, for predictions do without it

    statistics = _of_rows(frames, training)
    location, scale = statistics.mean(0), statistics.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    covariance = LedoitWolf(assume_centered=True).fit((statistics - location) / scale)
    novelty = Novelty(location, scale, covariance.precision_, threshold=1.0)
    threshold = float(np.quantile(novelty._distance(_of_rows(frames, validation)), QUANTILE))
    return replace(novelty, threshold=threshold)


def utterance_statistics(x: Tensor) -> np.ndarray:
    """Level, spread, speed and skewness of change of the first coefficients.

    Raw MFCCs (utterances, n_mfcc, frames) → float64 (utterances, statistics).
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

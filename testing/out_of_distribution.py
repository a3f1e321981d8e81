"""How far an utterance is from the training set: answers about speech unlike it are not to be trusted.

The distance is Mahalanobis's, from statistics of an utterance's MFCCs to those of the training utterances. It
does not use the network, whose own summaries separate white noise from speech no better than chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

COEFFICIENTS = 20  # of which level, spread and speed of change count
SHAPE_COEFFICIENTS = 5  # of which also the skewness of changes counts: speech rises faster than it falls
LAGS = (1, 2, 4, 8)  # frames over which changes are taken
QUANTILE = 0.95  # of the validation utterances lies within the threshold
BLOCK = 1024  # utterances in memory at a time
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
        away = (utterance_statistics(x) - self.location) / self.scale
        squares = np.einsum("ui,ij,uj->u", away, self.precision, away)
        return np.sqrt(np.maximum(squares, 0)) / self.threshold

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
    """From the training and validation rows of raw frames (utterances, num_features, frames)."""
    from sklearn.covariance import LedoitWolf  # here, for predictions do without it

    def in_blocks(measure: Callable[[Tensor], np.ndarray], rows: Sequence[int]) -> np.ndarray:
        starts = range(0, len(rows), BLOCK)
        return np.concatenate([measure(frames[rows[start : start + BLOCK]]) for start in starts])

    statistics = in_blocks(utterance_statistics, training)
    location, scale = statistics.mean(0), statistics.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    covariance = LedoitWolf(assume_centered=True).fit((statistics - location) / scale)
    novelty = Novelty(location, scale, covariance.precision_, threshold=1.0)
    return replace(novelty, threshold=float(np.quantile(in_blocks(novelty, validation), QUANTILE)))


def utterance_statistics(x: Tensor) -> np.ndarray:
    """Level, spread, speed, skewness of changes: (utterances, n_mfcc, frames) → (utterances, statistics)."""
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

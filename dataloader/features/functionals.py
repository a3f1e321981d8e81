"""Functionals of whole utterances: how high the pitch is and how varied, how fast the speech, …

As deviations from the speaker's own (dataloader.features.normalise) they carry over to speakers on whom the
network was not trained.
"""

import numpy as np
import torch
from torch import Tensor

from dataloader.features.prosody import counted
from utils.config import FUNCTIONALS, TIMING

QUANTILES = (5, 25, 50, 75, 95)  # %


def functionals_of(x: Tensor) -> Tensor:
    """Functionals of features (utterances, n_mfcc + 8, frames), the last eight from prosody.

    Returns:
        float32 (utterances, (n_mfcc + 6) · len(FUNCTIONALS) + len(TIMING)): FUNCTIONALS of each feature over
        frames of speech (of pitch and its change over voiced ones), then TIMING.
    """
    values, masks = x.numpy(), counted(x).numpy()
    speech, voiced = values[:, -2] > 0, values[:, -1] > 0
    rows = [
        np.append(_of_counted(values[one, :-2], masks[one]), _timing(speech[one], voiced[one]))
        for one in range(len(values))
    ]
    return torch.from_numpy(np.array(rows, dtype=np.float32))


def _of_features(values: np.ndarray) -> np.ndarray:
    """FUNCTIONALS of each feature: (features, frames) → (features, len(FUNCTIONALS))."""
    quantiles = np.percentile(values, QUANTILES, axis=-1)
    change = np.abs(np.diff(values)).mean(-1)
    trend = (values * np.linspace(-1, 1, values.shape[-1])).mean(-1)
    spread = quantiles[-1] - quantiles[0]
    return np.stack([values.mean(-1), values.std(-1), *quantiles, spread, change, trend], axis=-1)


def _of_counted(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """FUNCTIONALS of each feature over the frames that count for it; zeros where there are hardly any."""
    found = np.zeros((len(values), len(FUNCTIONALS)))
    for mask in np.unique(masks, axis=0):  # most features share theirs
        if mask.sum() >= 3:
            alike = (masks == mask).all(axis=1)
            found[alike] = _of_features(np.compress(mask, values[alike], axis=1))
    return found


def _timing(speech: np.ndarray, voiced: np.ndarray) -> list[float]:
    """TIMING of one utterance, from the first frame of speech to the last."""
    spoken = np.flatnonzero(speech)
    if not len(spoken):
        return [0.0] * len(TIMING)
    span = slice(spoken[0], spoken[-1] + 1)
    speech, voiced = speech[span].astype(int), voiced[span].astype(int)
    stretches, pauses = (np.diff(voiced) == 1).sum(), (np.diff(speech) == -1).sum()
    changes = max(len(speech) - 1, 1)
    return [len(speech), speech.mean(), voiced.mean(), stretches / changes, pauses / changes]

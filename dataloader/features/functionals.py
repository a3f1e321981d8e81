"""Statistics of whole utterances, as deviations from their speaker's usual ones, beside the frames.

What an utterance is like as a whole (how high its pitch is and how varied, how fast it is spoken), compared
with the same speaker's others, tells more of a voice never heard than what a network learns from five voices.
"""


import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataloader.features.prosody import counted
from utils.config import STATISTICS, TIMING

QUANTILES = (5, 25, 50, 75, 95)  # %


def utterance_statistics(x: Tensor) -> Tensor:
    """Statistics of each utterance's features.

    Args:
        x: (utterances, n_mfcc + 8, frames), the last eight from prosody, raw or by speaker.

    Returns:
        float32 (utterances, (n_mfcc + 6) · len(STATISTICS) + len(TIMING)): STATISTICS of each feature over
        frames of speech (of pitch and its change over voiced ones), then TIMING.
    """
    values, masks = x.numpy(), counted(x).numpy()
    speech, voiced = values[:, -2] > 0, values[:, -1] > 0
    rows = []
    for utterance in range(len(values)):
        of_frames = _of_counted(values[utterance, :-2], masks[utterance])
        rows.append(np.append(of_frames, _timing(speech[utterance], voiced[utterance])))
    return torch.from_numpy(np.array(rows, dtype=np.float32))




def below_frames(x: Tensor, statistics: Tensor) -> Tensor:
    """Features (utterances, n, frames), and as many further rows as statistics (utterances, count) fill.

    They are written one after the other, along the frames, and end with zeros.
    """
    count, frames = statistics.shape[1], x.shape[-1]
    rows = F.pad(statistics, (0, -count % frames)).unflatten(1, (-1, frames))
    return torch.cat([x, rows], dim=1)


def of_features(values: np.ndarray) -> np.ndarray:
    """STATISTICS of each feature: (features, frames) → (features, len(STATISTICS))."""
    quantiles = np.percentile(values, QUANTILES, axis=-1)
    change = np.abs(np.diff(values)).mean(-1)
    trend = (values * np.linspace(-1, 1, values.shape[-1])).mean(-1)
    spread = quantiles[-1] - quantiles[0]
    return np.stack([values.mean(-1), values.std(-1), *quantiles, spread, change, trend], axis=-1)


def _of_counted(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """STATISTICS of each feature over the frames that count for it; zeros where there are hardly any."""
    found = np.zeros((len(values), len(STATISTICS)))
    for mask in np.unique(masks, axis=0):  # most features share theirs
        if mask.sum() >= 3:
            alike = (masks == mask).all(axis=1)
            found[alike] = of_features(np.compress(mask, values[alike], axis=1))
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

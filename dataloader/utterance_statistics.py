"""Statistics of whole utterances, as deviations from their speaker's usual ones, beside the frames.

What an utterance is like as a whole (how high its pitch is and how varied, how fast it is spoken), compared
with the same speaker's others, tells more of a voice never heard than what a network learns from five voices.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataloader.prosody import counted
from utils.config import STATISTICS, TIMING

QUANTILES = (5, 25, 50, 75, 95)  # %
MOST = 4.0  # deviations; what is further away is no more telling


def utterance_statistics(x: Tensor) -> Tensor:
    """Statistics of each utterance's features.

    Args:
        x: (utterances, n_mfcc + 8, frames), the last eight from dataloader.prosody, raw or by speaker.

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


def deviations(statistics: Tensor, speakers: Sequence[str], sentences: Sequence[str] | None = None) -> Tensor:
    """Each speaker's statistics as deviations from their mean over that speaker's utterances; at most ±4.

    Args:
        statistics: (utterances, count).
        speakers: of each utterance.
        sentences: of each utterance; with them means are over the speaker's utterances of the same sentence.
            Deviations are in standard deviations over all of the speaker's, in both cases.
    """
    names, result = np.array(speakers), torch.empty_like(statistics)
    for speaker in np.unique(names):
        rows = torch.from_numpy(names == speaker)
        own = statistics[rows]
        if sentences is not None:
            said = np.array(sentences)[rows]
            for sentence in np.unique(said):
                alike = torch.from_numpy(said == sentence)
                own[alike] -= own[alike].mean(0)
        scaled = (own - own.mean(0)) / (own.std(0, correction=0) + 1e-6)
        result[rows] = scaled.clamp(-MOST, MOST)
    return result


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

"""Features and functionals as deviations from their speaker's own (`features.normalise: speaker`)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataloader.features.functionals import below_frames, utterance_statistics
from dataloader.features.prosody import counted
from utils.config import Config

MOST = 4.0  # deviations; what is further away is no more telling


def taken_by_speaker(x: torch.Tensor, speakers: Sequence[str], config: Config) -> torch.Tensor:
    """Raw features as the network takes them where `features.by_speaker` is true.

    Args:
        x: (utterances, num_features, frames).
        speakers: of each utterance.
        config: `model.statistics` is used.

    Returns:
        (utterances, num_features, frames): frames as deviations from the speaker's own; where they are asked
        for, the statistics of the whole utterance below_frames.
    """
    frames = by_speaker(x, speakers)
    if not config.model.statistics:
        return frames
    return below_frames(frames, deviations(utterance_statistics(x), speakers))


def by_speaker(x: Tensor, speakers: Sequence[str]) -> Tensor:
    """Each speaker's features as deviations from that speaker's own mean, in the speaker's own deviations.

    Mean and standard deviation of each feature are taken over all recordings of the speaker that are given,
    over frames of speech; those of pitch over voiced frames. Emotions are not looked at. Elsewhere features
    are 0, and whether there is speech, and voice, is ±0.5.

    Args:
        x: (utterances, n_mfcc + 8, frames), the last eight from `prosody`.
        speakers: of each utterance.

    Returns:
        float32, as x.
    """
    names, masks, result = np.array(speakers), counted(x), torch.zeros_like(x)
    for speaker in np.unique(names):
        rows = torch.from_numpy(np.flatnonzero(names == speaker))
        for row in range(x.shape[1] - 2):
            values, mask = x[rows, row], masks[rows, row]
            heard = values[mask]
            scaled = (values - heard.mean()) / (heard.std(correction=0) + 1e-6)
            result[rows, row] = torch.where(mask, scaled, 0.0)
    result[:, -2:] = x[:, -2:] - 0.5
    return result


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

"""Features and functionals as deviations from their speaker's own (`features.normalise: speaker`)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataloader.features.functionals import functionals_of
from dataloader.features.prosody import counted
from utils.config import FeaturesConfig

MOST = 4.0  # standard deviations; a functional that is further away counts as this far


def normalise(
    frames: Tensor, speakers: Sequence[str], features: FeaturesConfig
) -> tuple[Tensor, Tensor | None]:
    """Raw frames (utterances, num_features, frames) → the network's, of the same shape, and functionals.

    Functionals (utterances, num_functionals) come where `features` asks for them; `speakers` has the speaker
    of each utterance.
    """
    if features.normalise == "none":
        return frames, None
    frames = frames[:]
    functionals = deviations(functionals_of(frames), speakers) if features.functionals else None
    return by_speaker(frames, speakers), functionals


def by_speaker(x: Tensor, speakers: Sequence[str]) -> Tensor:
    """Each speaker's features as deviations from that speaker's mean, in that speaker's standard deviations.

    Both are taken over all recordings of the speaker that are given, whatever their emotions, over frames of
    speech; those of pitch over voiced frames. In other frames a feature is 0; speech and voiced become ±0.5.
    x is (utterances, n_mfcc + 8, frames), the last eight from `prosody`; the result has its shape.
    """
    names, masks, result = np.array(speakers), counted(x), torch.zeros_like(x)
    for speaker in np.unique(names):
        rows = torch.from_numpy(np.flatnonzero(names == speaker))
        for row in range(x.shape[1] - 2):
            values, mask = x[rows, row], masks[rows, row]
            if mask.any():
                own = values[mask]
                scaled = (values - own.mean()) / (own.std(correction=0) + 1e-6)
                result[rows, row] = torch.where(mask, scaled, 0.0)
    result[:, -2:] = x[:, -2:] - 0.5
    return result


def deviations(functionals: Tensor, speakers: Sequence[str]) -> Tensor:
    """Functionals (utterances, count) as deviations from the mean over their speaker's; at most ±MOST."""
    names, result = np.array(speakers), torch.empty_like(functionals)
    for speaker in np.unique(names):
        rows = torch.from_numpy(names == speaker)
        own = functionals[rows]
        scaled = (own - own.mean(0)) / (own.std(0, correction=0) + 1e-6)
        result[rows] = scaled.clamp(-MOST, MOST)
    return result

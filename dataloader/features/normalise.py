"""Features and functionals as deviations from their speaker's own (`features.normalise: speaker`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dataloader.features.functionals import functionals_of
from dataloader.features.prosody import counted
from utils.config import FeaturesConfig
from utils.errors import UserError

MOST = 4.0  # standard deviations; a functional that is further away counts as this far
PRIOR = 1.0  # recordings as which the training's speakers count in the norm of a new one (docs/validation.md)


@dataclass(frozen=True)
class SpeakerNorm:
    """A speaker's means and standard deviations, taken over recordings of whatever emotions.

    First those of each feature but speech and voiced, over frames of speech (of pitch: voiced ones), then
    those of each functional, over utterances. All are float32 (num_features - 2 + num_functionals,).
    """

    mean: Tensor
    std: Tensor  # 0 where a feature never varies, or no frame counts
    count: Tensor  # the utterances that it is of: for a feature, those with a frame that counts

    @classmethod
    def of(cls, frames: Tensor, functionals: Tensor) -> "SpeakerNorm":
        """Of raw frames (utterances, num_features, frames) of one speaker, and their raw_functionals."""
        masks = counted(frames)
        own = [frames[:, row][masks[:, row]] for row in range(masks.shape[1])]
        own = [values if len(values) else torch.zeros(1) for values in own]
        mean = torch.stack([values.mean() for values in own])
        std = torch.stack([values.std(correction=0) for values in own])
        count = torch.cat([masks.any(-1).sum(0), torch.full(functionals.shape[1:], len(functionals))])
        spread = functionals.std(0, correction=0) if functionals.numel() else functionals[0]
        return cls(torch.cat([mean, functionals.mean(0)]), torch.cat([std, spread]), count.float())

    @classmethod
    def mean_of(cls, norms: Iterable["SpeakerNorm"]) -> "SpeakerNorm":
        """The mean over several speakers: of their means, and of their standard deviations."""
        parts = zip(*((one.mean, one.std, one.count) for one in norms), strict=True)
        return cls(*(torch.stack(part).mean(0) for part in parts))

    def shrunk(self, population: "SpeakerNorm", prior: float) -> "SpeakerNorm":
        """(count · own + prior · population) / (count + prior): a few recordings say little of a speaker."""
        if not 0 <= prior < np.inf:
            raise UserError(f"prior = {prior}: a number of recordings is needed, 0 or more.")
        share = self.count / (self.count + prior).clamp(min=1e-9)
        mean, std = torch.lerp(population.mean, self.mean, share), torch.lerp(population.std, self.std, share)
        return SpeakerNorm(mean, std, self.count)

    def apply(self, frames: Tensor, functionals: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw frames and raw_functionals, as in `of` → the network's, of the same shapes.

        In frames that do not count a feature is 0, as it is where its norm does not vary; speech and voiced
        become ±0.5. Functionals are at most ±MOST; None where there are none.
        """
        masks = counted(frames)
        size = masks.shape[1]
        scaled = torch.where(masks, self._deviations(frames[:, :size].mT, slice(size)).mT, 0.0)
        further = self._deviations(functionals, slice(size, None)).clamp(-MOST, MOST)
        return torch.cat([scaled, frames[:, size:] - 0.5], 1), further if further.shape[1] else None

    def _deviations(self, values: Tensor, part: slice) -> Tensor:
        """Of values (…, features), those that `part` says."""
        mean, std = self.mean[part], self.std[part]
        return torch.where(std > 0, (values - mean) / (std + 1e-6), 0.0)


def raw_functionals(frames: Tensor, features: FeaturesConfig) -> Tensor:
    """Functionals (utterances, num_functionals) of raw frames; of no width where `features` asks for none."""
    return functionals_of(frames[:]) if features.functionals else torch.empty(len(frames), 0)


def normalise(
    frames: Tensor, speakers: Sequence[str], features: FeaturesConfig
) -> tuple[Tensor, Tensor | None, dict[str, SpeakerNorm]]:
    """Raw frames (utterances, num_features, frames) → the network's, of the same shape, and functionals.

    Functionals (utterances, num_functionals) come where `features` asks for them; `speakers` has the speaker
    of each utterance. A speaker's norm is of all these utterances; the norms come too, speaker → norm.
    """
    if features.normalise == "none":
        return frames, None, {}
    names, norms = np.array(speakers), dict[str, SpeakerNorm]()
    functionals, result = raw_functionals(frames, features), torch.empty_like(frames[:])
    further = torch.empty_like(functionals)
    for speaker in np.unique(names):
        rows = torch.from_numpy(np.flatnonzero(names == speaker))
        own = frames[rows], functionals[rows]
        norms[str(speaker)] = norm = SpeakerNorm.of(*own)
        result[rows], deviations = norm.apply(*own)
        if deviations is not None:
            further[rows] = deviations
    return result, further if features.functionals else None, norms

"""Augmentation of the features of a batch: gain, shift, SpecAugment, mixup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dataloader.augment.waveforms import FEATURES, random_generator, variants_each
from utils.config import AugmentConfig


@dataclass(frozen=True)
class Draws:
    """The changes to the features of a batch; every array has one entry (or row) an utterance."""

    variant: np.ndarray  # 0 (itself) to the number of variants
    gain: np.ndarray  # in dB
    shift: np.ndarray  # in frames; positive is later
    time_masks: np.ndarray  # int (batch, masks, 2), begin and end of each
    coefficient_masks: np.ndarray
    partner: np.ndarray  # uniform in [0, 1), of the utterance that is mixed in
    share: np.ndarray  # of the utterance itself in the mixture, 1 where there is none

    def without(self, untouched: np.ndarray) -> "Draws":
        """The same with nothing done to those for which `untouched`, bool (batch,), is true."""
        chosen = ~untouched
        return replace(
            self,
            gain=self.gain * chosen,
            shift=self.shift * chosen,
            time_masks=self.time_masks * chosen[:, None, None],
            coefficient_masks=self.coefficient_masks * chosen[:, None, None],
            share=np.where(untouched, 1.0, self.share),
        )


class FeatureAugmentation:
    """Draws and makes changes to MFCCs: gain, shift, SpecAugment's masks; and draws partners for mixup.

    SpecAugment: D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
    Recognition", Interspeech 2019. torchaudio's masks are not used, for they draw from the global generator,
    whatever the utterance. Mixup: H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical
    Risk Minimization", ICLR 2018.

    Args:
        mean: (n_mfcc,), with which masks are filled: the training set's mean of each coefficient.
        frames: of each utterance.
        n_mels: mel bands behind the MFCCs.
    """

    def __init__(self, settings: AugmentConfig, seed: int, mean: torch.Tensor, frames: int, n_mels: int):
        self.settings, self.seed, self.mean, self.frames = settings, seed, mean, frames
        self.decibel = math.sqrt(n_mels)  # on the first coefficient, for one dB more in all bands
        self.variants = variants_each(settings)

    def draw(self, names: Sequence[str], *numbers: int) -> Draws:
        """Draw for utterances, by their names and numbers such as the epoch's."""
        settings, count = self.settings, 8 + 6 * self.settings.masks
        uniform, weight = np.empty((len(names), count)), np.empty(len(names))
        for row, name in enumerate(names):
            rng = random_generator(self.seed, name, FEATURES, *numbers)
            rng.random(out=uniform[row])
            weight[row] = rng.beta(settings.mixup_alpha, settings.mixup_alpha)
        u, masks = uniform.T[:8], uniform[:, 8:].reshape(len(names), 2, settings.masks, 3)
        shares = _within(u[3], u[4], settings.frame_shift, settings.frame_shift_range)
        sides = np.where(u[5] < 0.5, -1, 1)
        times = settings.time_mask, settings.time_mask_range, self.frames
        coefficients = settings.coefficient_mask, settings.coefficient_mask_range, len(self.mean)
        return Draws(
            variant=(u[0] * (1 + self.variants)).astype(np.int64),
            gain=_within(u[1], u[2], settings.gain, settings.gain_range),
            shift=np.rint(sides * shares * self.frames).astype(np.int64),
            time_masks=_masks(masks[:, 0], *times),
            coefficient_masks=_masks(masks[:, 1], *coefficients),
            partner=u[6],
            share=np.where(u[7] < settings.mixup, weight, 1.0),
        )

    def apply(self, x: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Features (batch, num_features, frames) with all draws but mixup's; x is changed in place.

        Gain is exact: the DCT turns the same number of dB in all bands into a constant on the first
        coefficient. (It takes the floor of -80 dB with it, which is relative to the loudest band, and knows
        nothing of the absolute floor of -100 dB.)
        """
        batch, n_mfcc, frames = x.shape

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(x.device)

        x[:, 0] += self.decibel * tensor(draws.gain.astype(np.float32))[:, None]
        if draws.shift.any():
            # Silence: as loud as the quietest frame, in all bands alike; exact where an utterance is padded.
            silence = torch.zeros(batch, n_mfcc, 1, device=x.device)
            silence[:, 0] = x[:, 0].amin(dim=1, keepdim=True)
            origin = torch.arange(frames, device=x.device) - tensor(draws.shift)[:, None]  # (batch, frames)
            inside = (origin >= 0) & (origin < frames)
            moved = x.gather(2, origin.clamp(0, frames - 1)[:, None].expand(-1, n_mfcc, -1))
            x = torch.where(inside[:, None], moved, silence)
        coefficients = _covered(tensor(draws.coefficient_masks), n_mfcc)
        hidden = coefficients[:, :, None] | _covered(tensor(draws.time_masks), frames)[:, None, :]
        return torch.where(hidden, self.mean.to(x.device)[:, None], x)


def _within(chance: np.ndarray, place: np.ndarray, probability: float, bounds: Sequence[float]) -> np.ndarray:
    """Values within bounds where a chance (0 to 1) is below the probability, else 0."""
    return np.where(chance < probability, bounds[0] + place * (bounds[1] - bounds[0]), 0.0)


def _masks(uniform: np.ndarray, probability: float, bounds: Sequence[float], length: int) -> np.ndarray:
    """Begin and end (batch, masks, 2) of masks from uniform numbers (batch, masks, 3)."""
    width = np.rint(_within(uniform[..., 0], uniform[..., 1], probability, bounds) * length)
    begin = np.floor(uniform[..., 2] * (length - width + 1))
    return np.stack([begin, begin + width], axis=-1).astype(np.int64)


def _covered(masks: torch.Tensor, length: int) -> torch.Tensor:
    """Which of `length` places any mask of (batch, masks, 2) covers: bool (batch, length)."""
    places = torch.arange(length, device=masks.device)
    return ((places >= masks[..., :1]) & (places < masks[..., 1:])).any(dim=1)

"""Fourier transforms as matrix products, for ONNX, whose own are slow, and exact at powers of two alone.

Cosines and sines are of whole parts of a circle, and rounded once, from float64. The graph holds them as one
short table and the integers that point into it: programs work the rest out once, when they load a file.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram


class Circle(nn.Module):
    """Cosines of n-ths of a circle."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        angles = torch.arange(4 * n, dtype=torch.float64) * (math.pi / (2 * n))
        self.cosines = nn.Buffer(angles.cos().float())

    def forward(self, turns: Tensor, quarters: Tensor) -> Tensor:
        """cos(2π (turns / n + quarters / 4)) of integers.

        A transform's cosines have 0 quarters for its real and 1 for its imaginary part: exp(-ix) = cos x +
        i cos(x + π/2). A product with a complex factor has (part of the result) - (part of the input).
        """
        return self.cosines[(4 * turns + self.n * quarters) % (4 * self.n)]


class MelSpectrogramByProducts(nn.Module):
    """A MelSpectrogram of torchaudio with power 2, centred windows and zeros beyond the ends.

    The Fourier transform of n samples is one of A and one of B samples, n = A · B (Cooley and Tukey 1965):
    sample B a + b and frequency c + A d turn by B a c + b (c + A d) n-ths of a circle. As samples are real,
    c ≤ A / 2 is enough: a frequency that is missing has the power of n minus it.
    """

    def __init__(self, mel: MelSpectrogram) -> None:
        super().__init__()
        n, self.hop = mel.n_fft, mel.hop_length
        costs = {a: (a // 2 + 1) * (n + 2 * (n // a) ** 2) for a in range(1, n + 1) if n % a == 0}
        self.a = min(costs, key=costs.__getitem__)
        self.b, self.c = n // self.a, self.a // 2 + 1
        self.circle = Circle(n)
        self.window = nn.Buffer(mel.spectrogram.window.view(self.a, 1, self.b))
        frequencies = np.add.outer(np.arange(self.c), self.a * np.arange(self.b)).ravel()
        bins, places = np.unique(np.minimum(frequencies, n - frequencies), return_index=True)
        bands = torch.zeros(len(frequencies), mel.n_mels)
        bands[places] = mel.mel_scale.fb[bins]
        self.bands = nn.Buffer(bands)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(batch, 1, samples) → (batch, 1, n_mels, frames)."""
        a, b, c, part = (torch.arange(count) for count in (self.a, self.b, self.c, 2))
        first = self.circle(self.b * c[:, None, None] * a, part[:, None])  # (c, parts, A)
        frequency = (c[:, None] + self.a * b)[:, None, None, None]  # (c, 1, 1, 1, B)
        second = self.circle(frequency * b[:, None, None], part[:, None] - part[:, None, None, None])

        frames = self.frames(waveforms.squeeze(1)) * self.window  # (batch, A, frames, B)
        inner = (first.flatten(0, 1) @ frames.flatten(2)).unflatten(2, frames.shape[2:])
        inner = inner.unflatten(1, (self.c, 2)).transpose(2, 3).flatten(3)  # (batch, c, frames, parts · B)
        real, imaginary = (inner @ second.flatten(3).flatten(1, 2)).split(self.b, dim=3)
        power = (real * real + imaginary * imaginary).transpose(1, 2).flatten(2)  # (batch, frames, c · B)
        return (power @ self.bands).mT.unsqueeze(1)

    def frames(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) → (batch, A, frames, B)."""
        n, size = self.circle.n, math.gcd(self.hop, self.b)  # of pieces that all frames are made of
        padded = F.pad(waveforms, (n // 2, n // 2))
        count = 1 + (padded.shape[1] - n) // self.hop
        pieces = F.pad(padded, (0, -padded.shape[1] % size)).unflatten(1, (-1, size))
        row, piece = torch.arange(self.a)[:, None, None], torch.arange(self.b // size)
        place = torch.arange(count)[:, None] * (self.hop // size) + row * (self.b // size) + piece
        return pieces.index_select(1, place.flatten()).view(-1, self.a, count, self.b)


class ConvByProducts(nn.Module):
    """models.causal_conv by products, for a kernel of so many taps and so many frames."""

    def __init__(self, taps: int, frames: int) -> None:
        super().__init__()
        self.taps, self.frames, self.points = taps, frames, 2 * -(-(frames + taps - 1) // 2)
        self.circle = Circle(self.points)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """x (batch, groups · in, frames), kernel (groups, out, in, taps) → (batch, groups · out, frames)."""
        groups, out_channels, in_channels, _ = kernel.shape
        frame, tap, part = (torch.arange(count) for count in (self.frames, self.taps, 2))
        frequency = torch.arange(self.points // 2 + 1)
        angles = self.circle(tap[:, None, None, None] * frequency[:, None, None], part - part[:, None])
        weight = (kernel @ angles.flatten(1)).unflatten(3, (-1, 2, 2)).permute(3, 0, 4, 2, 5, 1)
        weight = weight.flatten(4).flatten(2, 3)  # (frequencies, groups, parts · in, parts · out)
        basis = self.circle(frequency[:, None, None] * frame, part[:, None])  # (frequencies, parts, frames)
        # of a frequency in the signal
        share = (2 - (frequency % (self.points // 2) == 0).long()) / self.points

        spectrum = (basis.flatten(0, 1) @ x.mT).unflatten(2, (groups, in_channels)).unflatten(1, (-1, 2))
        spectrum = spectrum.permute(1, 3, 0, 2, 4).flatten(3) @ weight  # (frequencies, groups, batch, …)
        spectrum = spectrum.unflatten(3, (2, out_channels)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
        return ((basis * share[:, None, None]).flatten(0, 1).T @ spectrum).mT

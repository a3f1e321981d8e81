"""Waveforms to frames of MFCCs and prosody, and the features of a whole corpus with a cache on disk."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from torch.nn.functional import pad

from dataloader.advice import check_emotions, left_out
from dataloader.audio import AudioError, condition, fit_length, read_mono, resample, silent
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.cache import cache_key, cached_rows
from dataloader.features.normalise import SpeakerNorm, normalise
from dataloader.features.prosody import check_prosody, power, prosody
from dataloader.identity import identified_corpus
from dataloader.splits import check_known
from utils.config import FeaturesConfig
from utils.files import expanded
from utils.progress import warn

MOST_KEPT = 256 * 2**20  # bytes of features that come from the pass that takes fingerprints


class MelSpectrogram(torchaudio.transforms.MelSpectrogram):
    """torchaudio's of power 2, given power=None: a third faster, for that takes a root and squares it."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(…, samples) → (…, bands, frames)."""
        return self.mel_scale(power(self.spectrogram(waveform)))


class MFCC(torch.nn.Module):
    """Mel-frequency cepstral coefficients, equal to librosa.feature.mfcc with its defaults.

    Power spectrogram (centred Hann windows, zeros beyond the ends) → Slaney mel bands → decibels, with a
    floor 80 dB below the utterance's loudest band → orthonormal DCT-II.

    `features` has sample_rate (Hz), n_fft and hop_length (samples), n_mels (bands), n_mfcc, f_max (Hz).
    """

    def __init__(self, features: FeaturesConfig):
        super().__init__()
        self.n_fft, self.hop_length = features.n_fft, features.hop_length
        self.mel: Any = MelSpectrogram(
            features.sample_rate,
            features.n_fft,
            hop_length=features.hop_length,
            f_max=features.f_max or features.sample_rate / 2,
            n_mels=features.n_mels,
            power=None,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=80.0)
        dct = torchaudio.functional.create_dct(features.n_mfcc, features.n_mels, norm="ortho")
        self.register_buffer("dct", dct.T)  # (n_mfcc, n_mels)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) → (batch, n_mfcc, frames); no utterance depends on the others of its batch."""
        # torchaudio takes the 80 dB floor over the last three axes (channels, bands, frames): without an axis
        # of one channel each, a loud utterance would lift the floor of the whole batch.
        return self._of_bands(self.mel(waveforms.unsqueeze(1)))

    def between_zeros(self, waveform: torch.Tensor, length: int) -> torch.Tensor:
        """forward(fit_length(waveform, length)[None]) of (length or fewer,), without the zeros' spectra."""
        hop, half = self.hop_length, self.n_fft // 2
        before, total = (length - len(waveform)) // 2, length // hop
        end = before + len(waveform)
        first, last = max(before - half, 0) // hop, min(-(-(end + half) // hop), total)  # frames
        stop = length if last == total else last * hop
        spectra = power(self.mel.spectrogram(pad(waveform, (before - first * hop, stop - end))[None, None]))
        frames = 1 + (length - self.n_fft % 2) // hop
        # With the zeros' powers beside them the product has forward's size, and so its rounding.
        spectra = pad(spectra.mT, (0, 0, first, frames - first - spectra.shape[-1])).mT
        return self._of_bands(self.mel.mel_scale(spectra))

    def _of_bands(self, bands: torch.Tensor) -> torch.Tensor:
        """Mel bands (batch, 1, n_mels, frames) → (batch, n_mfcc, frames)."""
        decibels = self.decibels(bands).squeeze(1)
        # A frame's mean level is all in its first coefficient. Taken out of the sums it cannot blur them: in
        # float32 torchaudio.transforms.MFCC, which leaves it in, is up to 2e-3 away from librosa.
        level = decibels.mean(dim=1, keepdim=True)
        mfcc = self.dct @ (decibels - level)
        mfcc[:, 0] += math.sqrt(decibels.shape[1]) * level[:, 0]
        return mfcc


class Extractor(MFCC):
    """MFCCs, and below them the prosody where `features.prosody` asks for it (see check_prosody)."""

    def __init__(self, features: FeaturesConfig):
        super().__init__(features)
        self.settings = features
        if features.prosody:
            check_prosody(features)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) → (batch, num_features, frames)."""
        return self._with_prosody(super().forward(waveforms), waveforms)

    def of_one(self, waveform: np.ndarray) -> torch.Tensor:
        """A waveform (samples,) of any length → (1, num_features, frames), forward's of its fit_length."""
        length = self.settings.signal_length
        fitted = torch.from_numpy(fit_length(waveform, length))[None]
        if len(waveform) >= length:
            return self(fitted)
        return self._with_prosody(self.between_zeros(torch.from_numpy(waveform), length), fitted)

    def _with_prosody(self, mfccs: torch.Tensor, waveforms: torch.Tensor) -> torch.Tensor:
        if not self.settings.prosody:
            return mfccs
        return torch.cat([mfccs, prosody(waveforms, self.settings).to(mfccs)], dim=1)


@dataclass(frozen=True)
class Features:
    """The features of a corpus."""

    frames: torch.Tensor  # float32 (utterances, num_features, frames), on the CPU or mapped from disk
    functionals: torch.Tensor | None  # float32 (utterances, num_functionals), for `features.functionals`
    utterances: tuple[Utterance, ...]  # row i is of utterances[i]
    skipped: dict[str, str]  # name → reason, for each recording that could not be used
    norms: Mapping[str, SpeakerNorm] = field(default_factory=dict)  # of each speaker; with normalise: speaker


def load_features(
    corpus: Corpus,
    features: FeaturesConfig,
    cache_dir: str | Path,
    progress: bool = True,
    only: Collection[str] | None = None,
) -> Features:
    """The features of every utterance of a corpus: read from the cache, or extracted and cached.

    The cache is one file per corpus and settings. A damaged one is made anew. A folder that cannot be written
    only costs the cache, where the frames find room in memory. A recording that cannot be used is skipped,
    with a warning that says why; an emotion without any is a UserError. A speaker's mean is over the
    recordings whose names `only` has; where one of these has no speaker, that is a UserError, too.
    """
    if features.normalise == "speaker":
        normed = (one for one in corpus.utterances if only is None or one.name in only)
        remedy = "Name them, or set features.normalise=none."
        check_known(normed, "speaker", "features.normalise=speaker", remedy)
    extract = Extractor(features)
    kept: dict[Utterance, torch.Tensor] = {}  # made while fingerprints were taken, not to decode twice
    most = MOST_KEPT // (4 * features.num_features * features.frames)

    def frames_from(samples: np.ndarray, rate: int) -> torch.Tensor:
        waveform = resample(samples, rate, features.sample_rate)
        return framed([condition(waveform, features)], extract)

    def keep(utterance: Utterance, samples: np.ndarray, rate: int) -> None:
        if len(kept) < most:
            kept[utterance] = frames_from(samples, rate)

    def frames_of(utterance: Utterance) -> torch.Tensor:
        if utterance.problem:
            raise AudioError(utterance.problem)
        for remark in utterance.measures.remarks if utterance.measures else ():
            warn(remark)
        made = kept.pop(utterance, None)
        return frames_from(*read_mono(utterance.path, say=silent)) if made is None else made

    corpus = identified_corpus(corpus, cache_dir, progress, keep)
    cache = expanded(cache_dir) / f"{corpus.name[:40]}-{cache_key(corpus.utterances, features)}.npy"
    title = f"features of {corpus.name}"
    frames, utterances, skipped = cached_rows(cache, corpus.utterances, frames_of, title, progress)
    if skipped:
        warn(left_out(corpus, list(skipped.values())))
    check_emotions(corpus, utterances)
    if only is not None and features.normalise == "speaker":
        rows = [row for row, utterance in enumerate(utterances) if utterance.name in only]
        frames, utterances = frames[rows], tuple(utterances[row] for row in rows)
    speakers = [utterance.speaker for utterance in utterances]
    frames, functionals, norms = normalise(frames, speakers, features)
    return Features(frames, functionals, utterances, skipped, norms)


def framed(waveforms: Sequence[np.ndarray], extract: Extractor) -> torch.Tensor:
    """Waveforms (samples,) of any length → (waveforms, num_features, frames)."""
    # One at a time: a larger batch's spectrograms do not fit the processor's caches.
    return torch.cat([extract.of_one(waveform) for waveform in waveforms])

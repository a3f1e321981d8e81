"""Waveforms to MFCCs, in batches and on any device, and the MFCCs of a whole corpus with a cache on disk."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torchaudio

from dataloader.audio import AudioError, condition, fit_length, read_audio
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.cache import Features, _load_cache, cache_key, on_disk, save_rows
from dataloader.features.normalise import taken_by_speaker
from dataloader.features.prosody import check_prosody, prosody
from utils.config import Config, FeaturesConfig
from utils.errors import UserError
from utils.files import expanded
from utils.progress import progress_bar, warn

READ_AHEAD = 128  # waveforms in memory at a time: 50 MB


class MFCC(torch.nn.Module):
    """Mel-frequency cepstral coefficients, equal to librosa.feature.mfcc with its defaults.

    Power spectrogram (centred Hann windows, zeros beyond the ends) → Slaney mel bands → decibels, with a
    floor 80 dB below the utterance's loudest band → orthonormal DCT-II.

    Args:
        features: sample_rate (Hz), n_fft and hop_length (samples), n_mels (bands), f_max (Hz).
        n_mfcc: coefficients to keep; the first is the loudness.
    """

    def __init__(self, features: FeaturesConfig, n_mfcc: int):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            features.sample_rate,
            features.n_fft,
            hop_length=features.hop_length,
            f_max=features.f_max or features.sample_rate / 2,
            n_mels=features.n_mels,
            power=2.0,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=80.0)
        dct = torchaudio.functional.create_dct(n_mfcc, features.n_mels, norm="ortho").T  # (n_mfcc, n_mels)
        self.register_buffer("dct", dct)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) → (batch, n_mfcc, frames), with FeaturesConfig.frames frames.

        No utterance's MFCCs depend on what it is batched with.
        """
        # torchaudio takes the 80 dB floor over the last three axes (channels, bands, frames): without an axis
        # of one channel each, a loud utterance would lift the floor of the whole batch.
        decibels = self.decibels(self.mel(waveforms.unsqueeze(1))).squeeze(1)  # (batch, n_mels, frames)
        # A frame's mean level is all in its first coefficient. Taken out of the sums it cannot blur them: in
        # float32 torchaudio.transforms.MFCC, which leaves it in, is up to 2e-3 away from librosa.
        level = decibels.mean(dim=1, keepdim=True)
        mfcc = self.dct @ (decibels - level)
        mfcc[:, 0] += math.sqrt(decibels.shape[1]) * level[:, 0]
        return mfcc


class Extractor(MFCC):
    """MFCCs, and below them the prosody where `features.prosody` asks for it.

    Args:
        config: `features` and `model.num_features` are used.

    Raises:
        UserError: when prosody cannot be had with these windows, or at this sample rate.
    """

    def __init__(self, config: Config):
        super().__init__(config.features, config.n_mfcc)
        self.settings = config.features
        if self.settings.prosody:
            check_prosody(self.settings)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) → (batch, num_features, frames)."""
        mfccs = super().forward(waveforms)
        if not self.settings.prosody:
            return mfccs
        below = [prosody(waveform.numpy(force=True), self.settings) for waveform in waveforms]
        return torch.cat([mfccs, torch.stack(below).to(mfccs)], dim=1)




def load_features(corpus: Corpus, config: Config, progress: bool = True) -> Features:
    """The MFCCs of every utterance of a corpus: read from the cache, or extracted and cached.

    The cache is one file per corpus and settings in `data.cache_dir`. A damaged one is made anew. A folder
    that cannot be written only costs the cache, where the features have their place in memory. A recording
    that cannot be used is skipped, with a warning that says why.

    Args:
        corpus: what find_corpus returns.
        config: `features`, `model.num_features`, `data.cache_dir` and `data.storage` are used.
        progress: show a progress bar during extraction.

    Raises:
        UserError: when an emotion of the corpus has no usable recording, or features that are to stay on disk
            cannot be written.
    """
    cache = expanded(config.data.cache_dir) / f"{corpus.name[:40]}-{cache_key(corpus.utterances, config)}.npz"

    def waveform(utterance: Utterance) -> list[np.ndarray]:
        return [condition(read_audio(utterance.path, config.features.sample_rate), config.features)]

    title = f"MFCCs of {corpus.name}"
    features = cached_mfccs(cache, corpus.utterances, waveform, 1, config, title, progress)
    if features.skipped:
        count = f"{len(features.skipped)} of {len(corpus.utterances)}"
        reasons = "".join(f"\n  {reason}" for reason in features.skipped.values())
        warn(f"{count} recordings of {corpus.name} cannot be used and are left out:{reasons}")
    present = {utterance.emotion for utterance in features.utterances}
    missing = [emotion for emotion in corpus.emotions if emotion not in present]
    if missing:
        raise UserError(
            f"{corpus.root} has no usable recording of {', '.join(missing)}. "
            "Every emotion needs some: restore the missing or damaged files."
        )
    if config.features.by_speaker and not config.features.by_sentence:  # with both, after the split
        speakers = [utterance.speaker for utterance in features.utterances]
        return replace(features, x=taken_by_speaker(features.x[:], speakers, config))
    return features




def cached_mfccs(
    cache: Path,
    utterances: Sequence[Utterance],
    waveforms: Callable[[Utterance], list[np.ndarray]],
    each: int,
    config: Config,
    title: str,
    progress: bool,
) -> Features:
    """MFCCs of utterances, one or more of each: read from `cache`, or computed and kept there.

    Args:
        cache: a file that is of exactly these utterances, waveforms and settings (see cache_key).
        utterances: with names of their own.
        waveforms: an utterance → its waveforms (samples,), of any length. It runs in several threads, and may
            raise an AudioError: then the utterance is skipped.
        each: how many waveforms an utterance has.
        config: `features`, `model.num_features` and `data.storage` are used.
        title: of the progress bar.
        progress: whether to show it.

    Returns:
        Features with `each` rows of x for an utterance, one after the other.

    Raises:
        UserError: when features that are to stay on disk cannot be written.
    """
    shape = each * len(utterances), config.model.num_features, config.features.frames
    disk = on_disk(config.data.storage, shape[0], shape[1:])
    features = _load_cache(cache, utterances, each, shape, disk)
    if features is not None:
        return features

    kept: list[Utterance] = []
    names: list[str] = []
    skipped: dict[str, str] = {}

    def blocks() -> Iterator[torch.Tensor]:
        for utterance, mfccs in _extract(utterances, waveforms, each, config, title, progress):
            if isinstance(mfccs, AudioError):
                skipped[utterance.name] = str(mfccs)
            else:
                kept.append(utterance)
                names.append(utterance.name)
                yield mfccs

    if disk:
        try:
            save_rows(cache, blocks(), shape, names, skipped)
        except OSError as error:
            reason = f"the folder {cache.parent} cannot be made ({error.strerror or error})"
            raise UserError(f"{reason}, and features are to stay there: change data.cache_dir.") from error
        return _load_cache(cache, utterances, each, shape, disk)
    x = torch.empty(shape)
    end = 0
    for block in blocks():
        x[end : end + each] = block
        end += each
    x = x[:end]
    try:
        save_rows(cache, [x], shape, names, skipped)
    except (OSError, UserError) as error:
        warn(f"the features are not kept for the next time: {error}")
    return Features(x, tuple(kept), skipped)


def _extract(
    utterances: Sequence[Utterance],
    waveforms: Callable[[Utterance], list[np.ndarray]],
    each: int,
    config: Config,
    title: str,
    progress: bool,
) -> Iterator[tuple[Utterance, torch.Tensor | AudioError]]:
    """The MFCCs (each, n_mfcc, frames) of one utterance after the other, or why there are none."""
    settings = config.features
    extract = Extractor(config)

    def read(utterance: Utterance) -> list[torch.Tensor] | AudioError:
        try:
            found = waveforms(utterance)
        except AudioError as error:
            return error
        return [torch.from_numpy(fit_length(waveform, settings.signal_length)) for waveform in found]

    ahead = max(READ_AHEAD // each, 1)
    bar = progress_bar(total=len(utterances), desc=title, unit="file", disable=not progress)
    # Threads, not processes: libsndfile and soxr let go of the interpreter's lock, and threads start at once.
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(utterances), ahead):
            chunk = utterances[start : start + ahead]
            for utterance, found in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(found, AudioError):
                    yield utterance, found
                else:
                    # One at a time, for the spectrograms of a larger batch do not fit the processor's caches.
                    yield utterance, torch.cat([extract(waveform.unsqueeze(0)) for waveform in found])
                bar.update()







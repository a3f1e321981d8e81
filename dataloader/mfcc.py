"""Waveforms to MFCCs, in batches and on any device, and the MFCCs of a whole corpus with a cache on disk."""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchaudio

from dataloader.audio import AudioError, fit_length, read_audio
from dataloader.corpora import Corpus, Utterance
from utils.config import Config, FeaturesConfig
from utils.errors import UserError
from utils.files import write_atomically
from utils.progress import progress_bar, warn

CACHE_VERSION = 1  # raise it when this code starts to compute other features from the same recordings
READ_AHEAD = 128  # waveforms in memory at a time: 50 MB


class MFCC(torch.nn.Module):
    """Mel-frequency cepstral coefficients, equal to librosa.feature.mfcc with its defaults.

    Power spectrogram (centred Hann windows, zeros beyond the ends) → Slaney mel bands → decibels, with a
    floor 80 dB below the utterance's loudest band → orthonormal DCT-II.

    Args:
        features: sample_rate (Hz), n_fft and hop_length (samples), n_mels (bands).
        n_mfcc: coefficients to keep; the first is the loudness.
    """

    def __init__(self, features: FeaturesConfig, n_mfcc: int):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            features.sample_rate,
            features.n_fft,
            hop_length=features.hop_length,
            f_max=features.sample_rate / 2,
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
        """(batch, samples) → (batch, n_mfcc, frames), where frames = 1 + samples // hop_length.

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


@dataclass(frozen=True)
class Features:
    """The MFCCs of a corpus.

    Attributes:
        x: float32 (utterances, n_mfcc, frames), not standardised, on the CPU.
        utterances: row i of x is utterances[i].
        skipped: name → reason, for each recording that could not be used.
    """

    x: torch.Tensor
    utterances: tuple[Utterance, ...]
    skipped: dict[str, str]


def load_features(corpus: Corpus, config: Config, progress: bool = True) -> Features:
    """The MFCCs of every utterance of a corpus: read from the cache, or extracted and cached.

    The cache is one file per corpus and settings in `data.cache_dir`. A damaged one is made anew, and a
    folder that cannot be written only costs the cache. A recording that cannot be used is skipped, with a
    warning that says why.

    Args:
        corpus: what find_corpus returns.
        config: `features`, `model.num_features` (n_mfcc) and `data.cache_dir` are used.
        progress: show a progress bar during extraction.

    Raises:
        UserError: when an emotion of the corpus has no usable recording.
    """
    cache = config.data.cache_dir / f"{corpus.name}-{_cache_key(corpus, config)[:12]}.npz"
    features = _load_cache(cache, corpus, config)
    fresh = features is None
    if fresh:
        features = _extract(corpus, config, progress)
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
    if fresh:
        _save_cache(cache, features)
    return features


def _extract(corpus: Corpus, config: Config, progress: bool) -> Features:
    """Decode, resample and transform every recording of the corpus."""
    settings = config.features
    mfcc = MFCC(settings, config.model.num_features)

    def read(utterance: Utterance) -> torch.Tensor | AudioError:
        try:
            waveform = fit_length(read_audio(utterance.path, settings.sample_rate), settings.signal_length)
            return torch.from_numpy(waveform)
        except AudioError as error:
            return error

    x = torch.empty(len(corpus.utterances), config.model.num_features, settings.frames)
    kept, skipped = [], {}
    bar = progress_bar(total=len(x), desc=f"MFCCs of {corpus.name}", unit="file", disable=not progress)
    # Threads, not processes: libsndfile and soxr let go of the interpreter's lock, and threads start at once.
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(x), READ_AHEAD):
            chunk = corpus.utterances[start : start + READ_AHEAD]
            for utterance, waveform in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(waveform, AudioError):
                    skipped[utterance.name] = str(waveform)
                else:
                    # One at a time, for the spectrograms of a larger batch do not fit the processor's caches.
                    x[len(kept)] = mfcc(waveform.unsqueeze(0)).squeeze(0)
                    kept.append(utterance)
                bar.update()
    return Features(x[: len(kept)], tuple(kept), skipped)


def _cache_key(corpus: Corpus, config: Config) -> str:
    """A hash of all that the features depend on.

    A recording stands there with its size and time of change (inside a zip, its CRC), not with its contents:
    reading those takes as long as extracting the features.
    """
    settings = config.features.model_dump(exclude={"standardise"}) | {"n_mfcc": config.model.num_features}
    libraries = {name: version(name) for name in ("torchaudio", "soxr", "soundfile")}
    recordings = list(zip((u.name for u in corpus.utterances), _fingerprints(corpus.utterances), strict=True))
    everything = [CACHE_VERSION, settings, libraries, recordings]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _fingerprints(utterances: tuple[Utterance, ...]) -> Iterator[list]:
    """What tells for each recording whether it is still the same one."""
    archives: dict[Path, dict] = {}
    for path in (utterance.path for utterance in utterances):
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        try:
            if archive is None:
                status = path.stat()
                yield [status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]
            else:
                if archive not in archives:
                    with zipfile.ZipFile(archive) as file:
                        archives[archive] = {i.filename: [i.file_size, i.CRC] for i in file.infolist()}
                yield archives[archive][path.relative_to(archive).as_posix()]
        except (OSError, zipfile.BadZipFile, KeyError):
            yield ["gone"]  # since the corpus was listed; reading it will say more


def _save_cache(path: Path, features: Features) -> None:
    """Store features as a .npz, a zip of arrays that holds a checksum of each of them."""
    names = [utterance.name for utterance in features.utterances]
    buffer = io.BytesIO()
    np.savez(buffer, x=features.x.numpy(), utterances=names, skipped=json.dumps(features.skipped))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except (OSError, UserError) as error:
        warn(f"the features are not kept for the next time: {error}")


def _load_cache(path: Path, corpus: Corpus, config: Config) -> Features | None:
    """The features that _save_cache stored; None where there are none, or none that can be trusted."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, names, skipped = arrays["x"], arrays["utterances"].tolist(), json.loads(str(arrays["skipped"]))
        by_name = {utterance.name: utterance for utterance in corpus.utterances}
        if sorted([*names, *skipped]) != sorted(by_name):
            raise ValueError("it is about other recordings")
        shape = len(names), config.model.num_features, config.features.frames
        if x.dtype != np.float32 or x.shape != shape:
            raise ValueError(f"it holds {x.dtype} values of shape {x.shape}")
    except Exception as error:  # a damaged zip raises nearly anything, and extracting anew cures all of it
        warn(f"the feature cache {path} is damaged ({error}); it is made anew.")
        return None
    return Features(torch.from_numpy(x), tuple(by_name[name] for name in names), skipped)

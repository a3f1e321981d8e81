"""One vector an utterance, for classifiers that take no frames: functionals, or the mean of wav2vec 2.0.

openSMILE's feature sets are eGeMAPSv02 (Eyben et al., IEEE Transactions on Affective Computing 7, 2016) and
ComParE_2016 (Schuller et al., Interspeech 2016). It is optional: its licence allows private and research use,
not commercial products (https://github.com/audeering/opensmile).
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataloader.audio import read_audio, read_mono, silent
from dataloader.corpora.utterance import Utterance
from dataloader.features.cache import cache_key, cached_rows
from dataloader.features.extract import Features
from dataloader.features.functionals import functionals_of
from utils.config import FeaturesConfig
from utils.errors import UserError, many, some
from utils.files import expanded
from utils.progress import warn

OPENSMILE = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}
SHORTEST = 400  # samples that wav2vec 2.0's convolutions need

Summary = Callable[[Path], np.ndarray]  # a recording → (features,)


def summaries(features: Features, kind: str, cache_dir: str | Path, progress: bool = True) -> np.ndarray:
    """float64 (utterances, features) of a kind: `functionals`, which need frames with prosody, as they are;
    a key of OPENSMILE; or `wav2vec2_base`.

    What openSMILE and wav2vec 2.0 give is of whole recordings at their own rate, and kept in the cache.
    """
    if kind == "functionals":
        found = functionals_of(features.frames[:]).double().numpy()
    else:
        made_by = f"{kind} {version('opensmile' if kind in OPENSMILE else 'torchaudio')}"
        make = _opensmile(OPENSMILE[kind]) if kind in OPENSMILE else wav2vec2(*_wav2vec2_base())
        key = cache_key(features.utterances, FeaturesConfig(), made_by)
        cache = expanded(cache_dir) / f"{made_by.replace(' ', '-')}-{key}.npy"

        def row_of(utterance: Utterance) -> torch.Tensor:
            return torch.tensor(make(utterance.path), dtype=torch.float32)[None]

        rows, _, skipped = cached_rows(cache, features.utterances, row_of, made_by, progress)
        if skipped:
            raise UserError(f"{kind} cannot be had of all recordings: {some([*skipped.values()])}")
        found = rows.double().numpy()
    if lost := int((~np.isfinite(found)).any(1).sum()):
        warn(f"{many(lost, 'recording')} with features that are no finite numbers; these count as 0")
    return np.nan_to_num(found, posinf=0, neginf=0)


def by_speaker(vectors: np.ndarray, speakers: Sequence[str]) -> np.ndarray:
    """Vectors (utterances, features) as deviations from their speaker's mean, in standard deviations."""
    found, names = np.zeros_like(vectors), np.array(speakers)
    for speaker in np.unique(names):
        own = vectors[names == speaker]
        std = own.std(0)
        found[names == speaker] = (own - own.mean(0)) / np.where(std > 0, std, 1)
    return found


def _opensmile(feature_set: str) -> Summary:
    try:
        import opensmile
    except ImportError:
        needs = "opensmile, whose licence allows no commercial use: pip install -r requirements-corpus.txt"
        raise UserError(f"{feature_set} needs {needs}. --features functionals needs nothing.") from None
    level = opensmile.FeatureLevel.Functionals
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet[feature_set], feature_level=level)
    return lambda path: smile.process_signal(*read_mono(path, say=silent)).to_numpy()[0]


def _wav2vec2_base() -> tuple[Any, int]:
    """torchaudio's WAV2VEC2_BASE, downloaded at first use (360 MB), and its sample rate in Hz."""
    from torchaudio.pipelines import WAV2VEC2_BASE

    try:
        return WAV2VEC2_BASE.get_model(), int(WAV2VEC2_BASE.sample_rate)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a broken download a RuntimeError
        remedy = "Connect this machine once, or copy its file into torch's folder of checkpoints"
        place = f"{torch.hub.get_dir()}/checkpoints"
        raise UserError(f"wav2vec2_base cannot be downloaded ({error}). {remedy} ({place}).") from error


def wav2vec2(model: Any, sample_rate: int) -> Summary:
    """The mean over time of the middle layer of a torchaudio.models.Wav2Vec2Model."""
    model.eval()

    @torch.inference_mode()
    def summary(path: Path) -> np.ndarray:
        waveform = torch.from_numpy(read_audio(path, sample_rate, say=silent))
        waveform = torch.nn.functional.pad(waveform, (0, max(SHORTEST - len(waveform), 0)))
        layers, _ = model.extract_features(waveform.unsqueeze(0))
        return layers[(len(layers) - 1) // 2].mean(1)[0].numpy()

    return summary

"""Variants of training utterances, made of their waveforms (samples,) and kept in a cache.

All draws depend on the seed, the utterance's name, and the number of the variant or epoch: not on the order
of utterances, batch sizes, threads or the machine.
"""

import atexit
import hashlib
import importlib.util
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import soxr
import torch
import torchaudio.functional as audio
from numpy.random import Generator

from dataloader.audio import condition, fit_length, read_audio
from dataloader.corpora.utterance import Utterance
from dataloader.features.cache import Cached, cache_key, cached_rows
from dataloader.features.extract import Extractor, framed
from dataloader.features.normalise import normalise
from utils.config import AugmentConfig, FeaturesConfig
from utils.errors import UserError
from utils.files import expanded

WAVEFORMS, FEATURES = 0, 1  # two streams of draws for each utterance
PUBLISHED_SNR = 10.0  # dB
PUBLISHED_SHIFT = (0.05, 0.3)  # share of the recording
PUBLISHED_SPEEDS = (0.25, 0.5, 1.5, 2.0)
Wave = np.ndarray  # (samples,)
Waves = dict[str, Wave]  # by a description of the change
AUGMENT_VERSION = 1  # raise it when this code starts to make other variants


def import_librosa() -> ModuleType:
    """librosa, imported when it is first needed, for that takes a second.

    Numba caches compiled code beside librosa or in the user's home; where neither can be written, a folder
    must be named.
    """
    found = importlib.util.find_spec("librosa")
    places = [os.path.expanduser("~"), *((found and found.submodule_search_locations) or [])]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in places):
        folder = tempfile.mkdtemp(prefix="cktim-numba-")  # its own: the code that lies there is run
        os.environ["NUMBA_CACHE_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import librosa

    # Version 1.0 warns of parameters that it passes to itself, numba of memory that was never set.
    warnings.filterwarnings("ignore", module="librosa|numba")
    return librosa


def add_noise(wave: Wave, snr: float, rng: Generator) -> Wave:
    """White noise on top, `snr` dB below the whole recording's mean power."""
    noise = rng.standard_normal(len(wave), dtype=np.float32)
    return audio.add_noise(torch.from_numpy(wave), torch.from_numpy(noise), torch.tensor(snr)).numpy()


def shift(wave: Wave, share: float) -> Wave:
    """Later by a share of its length (earlier where that is negative), with zeros where nothing is left."""
    samples = round(abs(share) * len(wave))
    kept, zeros = len(wave) - samples, np.zeros_like(wave[:samples])
    return np.concatenate([zeros, wave[:kept]] if share >= 0 else [wave[samples:], zeros])


def stretch(wave: Wave, speed: float) -> Wave:
    """`speed` times as fast (2: half as long) at the same pitch, by librosa's phase vocoder."""
    return import_librosa().effects.time_stretch(wave, rate=speed)


def reverse(wave: Wave) -> Wave:
    """Backwards in time."""
    return wave[::-1].copy()


def perturb_speed(wave: Wave, speed: float) -> Wave:
    """Resampled, `speed` times as fast: pitch and formants rise by that factor (Ko, Interspeech 2015)."""
    return soxr.resample(wave, speed, 1.0, quality="HQ")


def change_pitch(wave: Wave, semitones: float, sample_rate: int) -> Wave:
    """Higher by so many semitones, as long as before (librosa: stretched, then resampled)."""
    return import_librosa().effects.pitch_shift(wave, sr=sample_rate, n_steps=semitones)


def reverberate(wave: Wave, seconds: float, sample_rate: int, rng: Generator) -> Wave:
    """In a room with that reverberation time (until the sound has lost 60 dB), as long and loud as before.

    The impulse response is the direct sound, then noise that decays exponentially and has the same energy: a
    listener at the distance where both are equal.
    """
    time = np.arange(1, max(round(seconds * sample_rate), 2)) / sample_rate
    tail = rng.standard_normal(len(time)) * np.exp(-math.log(1_000) * time / seconds)
    response = np.concatenate([[1.0], tail / np.linalg.norm(tail)]).astype(np.float32)
    wet = audio.fftconvolve(torch.from_numpy(wave), torch.from_numpy(response))[: len(wave)].numpy()
    return wet * (np.linalg.norm(wave) / np.linalg.norm(wet))


def published_variants(wave: Wave, rng: Generator) -> Waves:
    """The four of the published trials, by their description: noise, shifted, stretched and reversed."""
    side, amount, speed = rng.choice([-1, 1]), rng.uniform(*PUBLISHED_SHIFT), rng.choice(PUBLISHED_SPEEDS)
    return {
        f"white noise, {PUBLISHED_SNR:g} dB below": add_noise(wave, PUBLISHED_SNR, rng),
        f"shifted by {100 * side * amount:+.0f} %": shift(wave, side * amount),
        f"speed × {speed:g}": stretch(wave, speed),
        "backwards": reverse(wave),
    }


def further_variants(wave: Wave, settings: AugmentConfig, sample_rate: int, rng: Generator) -> Waves:
    """One of each other kind, by its description, drawn within the configuration's ranges."""
    speed, semitones = rng.uniform(*settings.stretch_range), rng.uniform(*settings.pitch_range)
    seconds = rng.uniform(*settings.reverb_range)
    return {
        f"speed × {speed:.2f}": stretch(wave, speed),
        f"{semitones:+.1f} semitones": change_pitch(wave, semitones, sample_rate),
        f"a room of {seconds:.1f} s": reverberate(wave, seconds, sample_rate, rng),
    }


def examples(wave: Wave, name: str, features: FeaturesConfig, augment: AugmentConfig, seed: int = 0) -> Waves:
    """An utterance and a variant of each kind, by description; padded or cut to the network's length."""
    wave, rng = condition(wave, features), random_generator(seed, name, WAVEFORMS)
    variants = {"the utterance itself": wave, **published_variants(wave, rng)}
    variants |= further_variants(wave, augment, features.sample_rate, rng)
    return {text: fit_length(variant, features.signal_length) for text, variant in variants.items()}


def drawn_variant(wave: Wave, settings: AugmentConfig, sample_rate: int, rng: Generator) -> Wave:
    """A waveform with those changes that the configuration's probabilities draw."""
    if rng.random() < settings.reverse:
        wave = reverse(wave)
    if rng.random() < settings.stretch:
        wave = stretch(wave, rng.uniform(*settings.stretch_range))
    if rng.random() < settings.pitch:
        wave = change_pitch(wave, rng.uniform(*settings.pitch_range), sample_rate)
    if rng.random() < settings.reverb:
        wave = reverberate(wave, rng.uniform(*settings.reverb_range), sample_rate, rng)
    if rng.random() < settings.noise:
        wave = add_noise(wave, rng.uniform(*settings.noise_snr), rng)
    if rng.random() < settings.shift:
        wave = shift(wave, rng.choice([-1, 1]) * rng.uniform(*settings.shift_range))
    return wave


def random_generator(seed: int, name: str, *numbers: int) -> Generator:
    """The generator of one utterance's draws, for one purpose, and variant or epoch."""
    of_name = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, of_name, *numbers])


@dataclass(frozen=True)
class TrainingPool:
    """Training utterances, each followed by its variants (those of speed perturbation first)."""

    frames: torch.Tensor  # float32 (utterances · each, num_features, frames), or more, of which `rows` count
    functionals: torch.Tensor | None  # float32 (utterances · each, num_functionals)
    sources: tuple[str, ...]  # the name of the utterance from which each row was made
    each: int  # rows of one utterance
    rows: list[int] | None = None  # of `frames`; None where all count


def corpus_variants(
    utterances: Sequence[Utterance],
    features: FeaturesConfig,
    augment: AugmentConfig,
    seed: int,
    cache_dir: str | Path,
    progress: bool = True,
) -> Cached:
    """Raw frames of utterances, each followed by its variants, made or read from the cache (cached_rows).

    They are cached as the features are: by recordings, settings, and the seed where anything is drawn. So all
    folds of a corpus share them.
    """
    rate, extract = features.sample_rate, Extractor(features)

    def frames_of(utterance: Utterance) -> torch.Tensor:
        wave = condition(read_audio(utterance.path, rate), features)
        if augment.mode == "published":
            rng = random_generator(seed, utterance.name, WAVEFORMS)
            return framed([wave, *published_variants(wave, rng).values()], extract)
        found = [wave, *(perturb_speed(wave, speed) for speed in augment.speed_perturbation)]
        for number in range(drawn_each(augment)):
            rng = random_generator(seed, utterance.name, WAVEFORMS, number)
            found.append(drawn_variant(wave, augment, rate, rng))
        return framed(found, extract)

    each = 1 + variants_each(augment)
    of_features = ("mode", "gain", "frame_shift", "masks", "time_mask", "coefficient_mask", "mixup")
    recipe = {key: value for key, value in augment.model_dump().items() if not key.startswith(of_features)}
    recipe = {"mode": "published"} if augment.mode == "published" else recipe
    libraries = [version(name) for name in ("librosa", "numpy")]
    drawn = seed if augment.mode == "published" or drawn_each(augment) else None
    key = cache_key(utterances, features, AUGMENT_VERSION, recipe, drawn, libraries)
    cache = expanded(cache_dir) / f"augmented-{key}.npy"
    return cached_rows(cache, utterances, frames_of, "variants of utterances", progress, each)


def training_pool(
    names: Sequence[str],
    variants: Cached,
    own: tuple[torch.Tensor, torch.Tensor | None] | None,
    features: FeaturesConfig,
) -> TrainingPool:
    """The training set's part of all variants.

    With `features.normalise: speaker` a speaker at another speed counts as another speaker, for the voice is
    another.

    Args:
        names: of the training set; a UserError where one can no longer be read.
        variants: of the corpus (corpus_variants).
        own: frames and functionals of the training set, normalised; None without `features.normalise`.
    """
    frames, utterances, skipped = variants
    each = len(frames) // max(len(utterances), 1)
    place = {utterance.name: place for place, utterance in enumerate(utterances)}
    for name in names:
        if name not in place:
            problem = f"the training utterance {name} can no longer be used"
            raise UserError(f"{problem}: {skipped.get(name, 'it is gone')}. Restore it.")
    sources = tuple(name for name in names for _ in range(each))
    rows = [place[name] * each + number for name in names for number in range(each)]
    if own is None:
        return TrainingPool(frames, None, sources, each, rows)
    speaker_of = {utterance.name: utterance.speaker for utterance in utterances}
    varied_rows = [row for row in rows if row % each]
    speakers = [f"{speaker_of[name]} {speed}" for name in names for speed in range(1, each)]

    def together(own: torch.Tensor, varied: torch.Tensor) -> torch.Tensor:
        return torch.cat([own[:, None], varied.unflatten(0, (-1, each - 1))], 1).flatten(0, 1)

    varied, more, _ = normalise(frames[varied_rows], speakers, features)
    functionals = None if own[1] is None or more is None else together(own[1], more)
    return TrainingPool(together(own[0], varied), functionals, sources, each)


def variants_each(augment: AugmentConfig) -> int:
    """How many variants of its waveform an utterance has."""
    return 4 if augment.mode == "published" else len(augment.speed_perturbation) + drawn_each(augment)


def drawn_each(augment: AugmentConfig) -> int:
    """How many of them are drawn; online, none where only features are varied."""
    chances = (augment.noise, augment.shift, augment.stretch, augment.reverse, augment.pitch, augment.reverb)
    return augment.variants if augment.mode == "offline" or any(chances) else 0

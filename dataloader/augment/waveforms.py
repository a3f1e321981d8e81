"""Variations of training utterances: of their waveforms, kept in a cache, and of their MFCCs, on the fly.

Whatever is drawn depends on the seed, the utterance's name, and the number of the variant or epoch: not on
the order of utterances, batch sizes, threads or the machine.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import soxr
import torch
import torchaudio.functional as audio

from dataloader.audio import condition, fit_length, read_audio
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.cache import Rows, cache_key
from dataloader.features.extract import cached_mfccs
from dataloader.features.normalise import taken_by_speaker
from dataloader.sentences import Sentences
from dataloader.splits import Split
from utils.config import AugmentConfig, Config
from utils.errors import UserError
from utils.files import expanded

WAVEFORMS, FEATURES = 0, 1  # two streams of draws for each utterance
PUBLISHED_SNR = 10.0  # dB
PUBLISHED_SHIFT = (0.05, 0.3)  # share of the recording
PUBLISHED_SPEEDS = (0.25, 0.5, 1.5, 2.0)
AUGMENT_VERSION = 1  # raise it when this code starts to make other variants


# ------------------------------------------------------------------------- waveforms (samples,) to waveforms


def add_noise(wave: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """White noise on top, `snr` dB below the whole recording's mean power."""
    noise = rng.standard_normal(len(wave), dtype=np.float32)
    return audio.add_noise(torch.from_numpy(wave), torch.from_numpy(noise), torch.tensor(snr)).numpy()


def shift(wave: np.ndarray, share: float) -> np.ndarray:
    """Later by a share of its length (earlier where that is negative), with zeros where nothing is left."""
    samples = round(abs(share) * len(wave))
    shifted = np.zeros_like(wave)
    if share >= 0:
        shifted[samples:] = wave[: len(wave) - samples]
    else:
        shifted[: len(wave) - samples] = wave[samples:]
    return shifted


def stretch(wave: np.ndarray, speed: float) -> np.ndarray:
    """As fast as `speed` says (2: half as long) at the same pitch, by librosa's phase vocoder."""
    from librosa.effects import time_stretch  # here, for librosa takes seconds to import

    return time_stretch(wave, rate=speed)


def reverse(wave: np.ndarray) -> np.ndarray:
    """Backwards in time."""
    return wave[::-1].copy()


def other_voice(wave: np.ndarray, speed: float) -> np.ndarray:
    """Played `speed` times as fast, as a tape is: shorter, and pitch and formants higher, by that factor.

    Speed perturbation: T. Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015.
    """
    return soxr.resample(wave, speed, 1.0, quality="HQ")


def change_pitch(wave: np.ndarray, semitones: float, sample_rate: int) -> np.ndarray:
    """Higher by so many semitones, as long as before (librosa: stretched, then resampled)."""
    from librosa.effects import pitch_shift

    return pitch_shift(wave, sr=sample_rate, n_steps=semitones)


def reverberate(wave: np.ndarray, seconds: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """In a room with that reverberation time (until the sound has lost 60 dB), as long and loud as before.

    The impulse response is the direct sound, then noise that decays exponentially and has the same energy: a
    listener at the distance where both are equal.
    """
    time = np.arange(1, max(round(seconds * sample_rate), 2)) / sample_rate
    tail = rng.standard_normal(len(time)) * np.exp(-math.log(1_000) * time / seconds)
    response = np.concatenate([[1.0], tail / np.linalg.norm(tail)]).astype(np.float32)
    wet = audio.fftconvolve(torch.from_numpy(wave), torch.from_numpy(response))[: len(wave)].numpy()
    return wet * (np.linalg.norm(wave) / np.linalg.norm(wet))


def published_variants(wave: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The four of the published trials: with noise, shifted, stretched and reversed, by what was done."""
    side, amount, speed = rng.choice([-1, 1]), rng.uniform(*PUBLISHED_SHIFT), rng.choice(PUBLISHED_SPEEDS)
    return {
        f"white noise, {PUBLISHED_SNR:g} dB below": add_noise(wave, PUBLISHED_SNR, rng),
        f"shifted by {100 * side * amount:+.0f} %": shift(wave, side * amount),
        f"speed × {speed:g}": stretch(wave, speed),
        "backwards": reverse(wave),
    }


def further_variants(
    wave: np.ndarray, settings: AugmentConfig, sample_rate: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One of each kind that the published trials do not have, drawn within the configuration's ranges."""
    speed, semitones = rng.uniform(*settings.stretch_range), rng.uniform(*settings.pitch_range)
    seconds = rng.uniform(*settings.reverb_range)
    return {
        f"speed × {speed:.2f}": stretch(wave, speed),
        f"{semitones:+.1f} semitones": change_pitch(wave, semitones, sample_rate),
        f"a room of {seconds:.1f} s": reverberate(wave, seconds, sample_rate, rng),
    }


def examples(wave: np.ndarray, name: str, config: Config) -> dict[str, np.ndarray]:
    """An utterance and a variant of each kind, by what was done; padded or cut, as the network gets them."""
    wave = condition(wave, config.features)
    rng = random_generator(config.train.seed, name, WAVEFORMS)
    variants = {
        "the utterance itself": wave,
        **published_variants(wave, rng),
        **further_variants(wave, config.augment, config.features.sample_rate, rng),
    }
    return {what: fit_length(variant, config.features.signal_length) for what, variant in variants.items()}


def drawn_variant(
    wave: np.ndarray, settings: AugmentConfig, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """A waveform with whatever of `reverse` to `shift` is drawn, by the configuration's probabilities."""
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


def random_generator(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The generator of one utterance's draws, for one purpose, and variant or epoch."""
    return np.random.default_rng([seed, _number(name), *numbers])


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


# ------------------------------------------------------------------------------- the training set's variants


@dataclass(frozen=True)
class TrainingPool:
    """Training utterances with their variants, as features.

    Attributes:
        x: float32 (utterances × each, n_mfcc, frames), raw MFCCs: an utterance itself, then its variants,
            those in other voices first.
        sources: the name of the utterance from which each row was made, in the order of the split's names.
        each: rows of one utterance.
    """

    x: Rows
    sources: tuple[str, ...]
    each: int


def training_pool(corpus: Corpus, split: Split, config: Config, progress: bool = True) -> TrainingPool:
    """Make the variants of the training set's waveforms, or read them from the cache.

    Only recordings of `split.train` are read: variants are made after the split and of nothing else. They are
    cached as the features are, by recordings, settings and seed.

    Args:
        corpus, split: where the recordings are, and which of them train.
        config: `features`, `augment`, `train.seed`, `model.num_features`, `data.cache_dir` and `data.storage`
            are used.
        progress: show a progress bar while they are made.

    Raises:
        UserError: when a training utterance can no longer be read.
    """
    settings, seed, rate = config.augment, config.train.seed, config.features.sample_rate
    by_name = {utterance.name: utterance for utterance in corpus.utterances}
    utterances = [by_name[name] for name in split.train]

    def waveforms(utterance: Utterance) -> list[np.ndarray]:
        wave = condition(read_audio(utterance.path, rate), config.features)
        if settings.mode == "published":
            rng = random_generator(seed, utterance.name, WAVEFORMS)
            return [wave, *published_variants(wave, rng).values()]
        numbers = range(drawn_each(settings))
        generators = [random_generator(seed, utterance.name, WAVEFORMS, number) for number in numbers]
        voices = (other_voice(wave, speed) for speed in settings.voices)
        return [wave, *voices, *(drawn_variant(wave, settings, rate, rng) for rng in generators)]

    each = 1 + variants_each(settings)
    recipe = {"mode": "published"} if settings.mode == "published" else _waveform_settings(settings)
    libraries = [version(name) for name in ("librosa", "numpy")]
    key = cache_key(utterances, config, AUGMENT_VERSION, recipe, seed, libraries)
    cache = expanded(config.data.cache_dir) / f"{corpus.name[:40]}-augmented-{key}.npz"
    title = f"variants of {corpus.name}'s training set"
    features = cached_mfccs(cache, utterances, waveforms, each, config, title, progress)
    if features.skipped:
        name, reason = next(iter(features.skipped.items()))
        raise UserError(f"the training utterance {name} can no longer be used: {reason}. Restore it.")
    sources = tuple(utterance.name for utterance in features.utterances for _ in range(each))
    return TrainingPool(features.x, sources, each)


def voices_apart(
    pool: TrainingPool, x: torch.Tensor, speakers: Sequence[str], config: Config
) -> TrainingPool:
    """A pool with features by speaker, where each other voice is a speaker of its own.

    Args:
        pool: of utterances and their variants in other voices.
        x: the utterances' features, by speaker already.
        speakers: of each utterance.
        config: `model.statistics` is used.
    """
    owners = _owners(pool, speakers)
    return _with_variants(pool, x, lambda raw: taken_by_speaker(raw, owners, config))


def pool_by_sentence(
    pool: TrainingPool, x: torch.Tensor, utterances: Sequence[Utterance], sentences: Sentences, config: Config
) -> TrainingPool:
    """A pool with features by sentence: variants are laid along the templates, too, which are not theirs.

    With `features.by_speaker` each other voice is a speaker of its own here, too, who says a sentence only as
    often as it is in the training set. How far the mean of those recordings is from the mean of all that the
    speaker has of it is known, and is added: a variant is as far from what is usual as its utterance is.

    Args:
        pool: of utterances and their variants, raw.
        x: the utterances' features, by sentence already.
        utterances: of the pool, each once.
        sentences: the templates.
        config: `features`, and `model`, which says which statistics are taken.
    """
    names = [utterance.sentence for utterance in utterances for _ in range(1, pool.each)]
    if not config.features.by_speaker:
        return _with_variants(pool, x, lambda raw: sentences.deviations(raw, config.model, names))
    owners = _owners(pool, [utterance.speaker for utterance in utterances])
    beyond = _mean_of_alike(x, utterances).repeat_interleave(pool.each - 1, dim=0)
    return _with_variants(
        pool, x, lambda raw: sentences.deviations(raw, config.model, names, owners) + beyond
    )


def _mean_of_alike(x: torch.Tensor, utterances: Sequence[Utterance]) -> torch.Tensor:
    """For each utterance the mean of those of its speaker and sentence, x-shaped."""
    alike: dict[tuple[str, str], list[int]] = {}
    for row, utterance in enumerate(utterances):
        alike.setdefault((utterance.speaker, utterance.sentence), []).append(row)
    means = torch.empty_like(x)
    for rows in alike.values():
        means[rows] = x[rows].mean(0)
    return means


def _owners(pool: TrainingPool, speakers: Sequence[str]) -> list[str]:
    """A name for the voice of each variant: its speaker's and the variant's number."""
    return [f"{speaker} {voice}" for speaker in speakers for voice in range(1, pool.each)]


def _with_variants(
    pool: TrainingPool, x: torch.Tensor, taken: Callable[[torch.Tensor], torch.Tensor]
) -> TrainingPool:
    """The pool with x for its utterances, and what `taken` makes of the rows of their variants."""
    raw = pool.x[:].unflatten(0, (-1, pool.each))[:, 1:].flatten(0, 1)
    varied = taken(raw).unflatten(0, (-1, pool.each - 1))
    return replace(pool, x=torch.cat([x[:, None], varied], dim=1).flatten(0, 1))


def variants_each(settings: AugmentConfig) -> int:
    """How many variants of its waveform an utterance has."""
    return 4 if settings.mode == "published" else len(settings.voices) + drawn_each(settings)


def drawn_each(settings: AugmentConfig) -> int:
    """How many of them are drawn; online, none where only features are varied."""
    chances = (settings.noise, settings.shift, settings.stretch, settings.reverse, settings.pitch)
    return settings.variants if settings.mode == "offline" or any((*chances, settings.reverb)) else 0


def _waveform_settings(settings: AugmentConfig) -> dict:
    """Those that variants depend on."""
    later = ("mode", "gain", "frame_shift", "masks", "time_mask", "coefficient_mask", "mixup")
    return {key: value for key, value in settings.model_dump().items() if not key.startswith(later)}


# ---------------------------------------------------------------------- features (n_mfcc, frames), in batches











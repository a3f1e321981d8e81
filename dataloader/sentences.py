"""What is said, taken out of the features (`features.by_sentence`): deviations from how a sentence is usual.

Acted corpora have few sentences, each said by everyone in every emotion, and what is said moves MFCCs more
than how it is said does. Here each sentence of the training set gets a template: how its utterances run on
the average, on one common time axis. An utterance is laid along it by dynamic time warping (Sakoe and Chiba,
1978), and what remains is its difference from the template; with `features.by_speaker`, too, from how its
speaker usually says that sentence. Labels of emotions are not looked at; nor are, outside of the training
set, those of sentences: which one is said is recognised, as the nearest template.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor

from dataloader.corpora.utterance import UNKNOWN, Utterance
from dataloader.features.functionals import below_frames, of_features, utterance_statistics
from dataloader.features.normalise import MOST, deviations
from dataloader.features.prosody import pitch_carried_on
from utils.config import Config, ModelConfig
from utils.errors import UserError
from utils.files import open_atomically

SPEECH_RANGE = 26.5  # dB below the loudest frame's mean level, where an utterance begins and ends
ALIGNED_BY = slice(1, 20)  # the MFCCs that say which sound it is: neither loudness nor the finest detail
ROUNDS = 2  # of averaging a template
MOST_COMPARED = 50  # utterances of a sentence, each with each, for the one where its template begins
LISTS = ("contours", "usual", "statistics")  # what there is for each sentence


@dataclass(frozen=True)
class Sentences:
    """Templates of a training set's sentences.

    Attributes:
        names: of the sentences, as the corpus has them.
        contours: for each, what utterances are aligned with, as `contour` gives it.
        usual: for each, the mean of its utterances laid along it, (num_features, frames of the template).
        statistics: for each, mean and standard deviation of its utterances' statistics, (2, num_statistics).
        n_mfcc: how many of the features are MFCCs; the others are prosody.
        n_mels: bands of the MFCCs.
    """

    names: tuple[str, ...]
    contours: tuple[np.ndarray, ...]
    usual: tuple[np.ndarray, ...]
    statistics: tuple[np.ndarray, ...]
    n_mfcc: int
    n_mels: int

    @classmethod
    def fit(cls, x: Tensor, sentences: Sequence[str], config: Config) -> "Sentences":
        """Templates of a training set.

        The utterance that is nearest to all others of its sentence is where a template begins; then it is
        twice the average of all of them, laid along it (DTW barycenter averaging, Petitjean et al. 2011).

        Args:
            x: raw features (utterances, num_features, frames).
            sentences: of each utterance.
            config: `features` and `model` say what the features are, and which statistics are taken.

        Raises:
            UserError: when a sentence has a single utterance, from which nothing could deviate.
        """
        n_mfcc, n_mels = config.n_mfcc, config.features.n_mels
        x = pitch_carried_on(x) if config.features.prosody else x
        spoken = [speech(utterance, n_mels) for utterance in x.numpy()]
        contours = [contour(utterance[:n_mfcc]) for utterance in spoken]
        said, names = np.array(sentences), tuple(sorted(set(sentences)))
        templates, usual, statistics = [], [], []
        for name in names:
            rows = np.flatnonzero(said == name)
            if len(rows) < 2:
                raise UserError(
                    f"features.by_sentence: the training set has a single utterance of the sentence {name}, "
                    "and deviations want several. Set it to false for this corpus or this split."
                )
            template = _medoid([contours[row] for row in rows])
            for _ in range(ROUNDS):
                laid = [laid_along(template, contours[row], contours[row]) for row in rows]
                template = np.mean(laid, axis=0)
            laid = np.stack([laid_along(template, contours[row], spoken[row]) for row in rows])
            own = statistics_of(x[rows], laid - laid.mean(0), config.model)
            templates.append(template)
            usual.append(laid.mean(0))
            statistics.append(np.stack([own.mean(0), own.std(0)]))
        return cls(names, tuple(templates), tuple(usual), tuple(statistics), n_mfcc, n_mels)

    def recognise(self, utterance: np.ndarray) -> str:
        """Which sentence an utterance (num_features, frames) is nearest to."""
        own = contour(speech(utterance, self.n_mels)[: self.n_mfcc])
        return self.names[int(np.argmin([distance(template, own) for template in self.contours]))]

    def deviations(
        self,
        x: Tensor,
        model: ModelConfig,
        sentences: Sequence[str] | None = None,
        speakers: Sequence[str] | None = None,
    ) -> Tensor:
        """Features as the network takes them where `features.by_sentence` is true.

        Args:
            x: raw features (utterances, num_features, frames).
            model: says which statistics are taken, as in `fit`.
            sentences: of each utterance; None where they are to be recognised.
            speakers: of each utterance, with `features.by_speaker`; then usual is what these utterances of
                the same speaker and sentence are on the average, in the speaker's own deviations.

        Returns:
            float32 (utterances, num_features, frames): each utterance laid along its sentence's template, as
            differences from what is usual, and behind its end zeros. Where they are asked for, the statistics
            of the utterance below_frames, as deviations from those usual, at most ±4.
        """
        names = [self.recognise(one) for one in x.numpy()] if sentences is None else sentences
        x = pitch_carried_on(x) if x.shape[1] > self.n_mfcc else x
        indices = [self.names.index(name) for name in names]
        laid = []
        for index, utterance in zip(indices, x.numpy(), strict=True):
            spoken = speech(utterance, self.n_mels)
            laid.append(laid_along(self.contours[index], contour(spoken[: self.n_mfcc]), spoken))
        if speakers is None:
            laid = [one - self.usual[index] for one, index in zip(laid, indices, strict=True)]
        else:
            laid = from_the_speakers_own(laid, speakers, names)
        frames = torch.zeros_like(x)
        for row, values in enumerate(laid):
            frames[row, :, : values.shape[1]] = torch.from_numpy(values)
        if not model.num_statistics:
            return frames
        found = [statistics_of(x[row : row + 1], values[None], model)[0] for row, values in enumerate(laid)]
        if speakers is not None:
            found = torch.tensor(np.array(found), dtype=torch.float32)
            return below_frames(frames, deviations(found, speakers, names))
        mean, std = np.stack([self.statistics[index] for index in indices], axis=1)
        scaled = ((found - mean) / (std + 1e-6)).clip(-MOST, MOST).astype(np.float32)
        return below_frames(frames, torch.from_numpy(scaled))

    def save(self, path: str | Path) -> None:
        """Write all of it as .npz.

        Raises:
            UserError: when the file cannot be written.
        """
        arrays = {"names": np.array(self.names), "bands": np.array([self.n_mfcc, self.n_mels])}
        for name in LISTS:
            arrays |= {f"{name}_{index}": values for index, values in enumerate(getattr(self, name))}
        with open_atomically(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Sentences":
        """Read what `save` has written.

        Raises:
            UserError: when the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = tuple(arrays["names"].tolist())
                lists = {kind: tuple(arrays[f"{kind}_{i}"] for i in range(len(names))) for kind in LISTS}
                n_mfcc, n_mels = arrays["bands"].tolist()
                return cls(names=names, n_mfcc=n_mfcc, n_mels=n_mels, **lists)
        except Exception as error:  # a damaged file raises nearly anything
            raise UserError(
                f"{path}: the sentences of this run cannot be read ({error}). Copy the file there again, or "
                "train the run again."
            ) from error


def speech(utterance: np.ndarray, n_mels: int) -> np.ndarray:
    """Features (num_features, frames) from the first frame of speech to the last."""
    loudness = utterance[0] / np.sqrt(n_mels)  # the first coefficient is the mean level times that root
    loud = np.flatnonzero(loudness > loudness.max() - SPEECH_RANGE)
    return utterance[:, loud[0] : loud[-1] + 1]


def contour(spoken: np.ndarray) -> np.ndarray:
    """What alignment looks at: some of the MFCCs, each as deviations from its mean over the utterance."""
    chosen = spoken[ALIGNED_BY].astype(np.float64)
    return (chosen - chosen.mean(1, keepdims=True)) / (chosen.std(1, keepdims=True) + 1e-6)


def distance(template: np.ndarray, own: np.ndarray) -> float:
    """How far two contours are apart along the best alignment, per frame."""
    accumulated = librosa.sequence.dtw(C=_costs(template, own), backtrack=False)
    return accumulated[-1, -1] / (template.shape[1] + own.shape[1])


def laid_along(template: np.ndarray, own: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (rows, frames of own) at the times that correspond to the template's: (rows, its frames).

    Where the template waits for several frames of the utterance, their mean time counts.
    """
    _, path = librosa.sequence.dtw(C=_costs(template, own))
    frames = template.shape[1]
    times = np.bincount(path[:, 0], path[:, 1], frames) / np.bincount(path[:, 0], minlength=frames)
    return np.stack([np.interp(times, np.arange(values.shape[1]), row) for row in values])


def from_the_speakers_own(
    laid: Sequence[np.ndarray], speakers: Sequence[str], sentences: Sequence[str]
) -> list[np.ndarray]:
    """Each utterance's difference from the mean of its speaker's utterances of the same sentence.

    Args:
        laid: of each utterance, features (num_features, frames of the template), laid along the template.
        speakers, sentences: of each utterance.

    Returns:
        As laid, each feature in standard deviations of the speaker's differences.
    """
    speakers, sentences = np.array(speakers), np.array(sentences)
    result = list(laid)
    for speaker in np.unique(speakers):
        rows = np.flatnonzero(speakers == speaker)
        for sentence in np.unique(sentences[rows]):
            alike = rows[sentences[rows] == sentence]
            usual = np.mean([laid[row] for row in alike], axis=0)
            for row in alike:
                result[row] = laid[row] - usual
        deviation = np.concatenate([result[row] for row in rows], axis=1).std(axis=1, keepdims=True)
        for row in rows:
            result[row] = result[row] / (deviation + 1e-6)
    return result


def _costs(template: np.ndarray, own: np.ndarray) -> np.ndarray:
    """One less the cosine of each pair of frames, (frames of the template, frames of own)."""
    lengths = np.outer(np.linalg.norm(template, axis=0), np.linalg.norm(own, axis=0))
    return 1 - template.T @ own / (lengths + 1e-6)


def _medoid(contours: list[np.ndarray]) -> np.ndarray:
    """The contour that is nearest to all others; of very many some are looked at."""
    contours = contours[:: -(-len(contours) // MOST_COMPARED)]
    apart = np.zeros((len(contours), len(contours)))
    for one in range(len(contours)):
        for other in range(one):
            apart[one, other] = apart[other, one] = distance(contours[one], contours[other])
    return contours[int(apart.sum(0).argmin())]


def statistics_of(x: Tensor, laid: np.ndarray, model: ModelConfig) -> np.ndarray:
    """Those statistics of utterances that `model` asks for: (utterances, num_statistics).

    Args:
        x: features (utterances, num_features, frames).
        laid: the same, laid along the template, as differences from it (…, frames of the template).
        model: with `statistics`, those of utterance_statistics; with `sentence_statistics`, STATISTICS of x
            and of laid.
    """
    found = [np.empty((len(x), 0))]
    if model.statistics:
        found.append(utterance_statistics(x).numpy())
    if model.sentence_statistics:
        found += [of_features(values).reshape(len(x), -1) for values in (x.numpy(), laid)]
    return np.concatenate(found, axis=1)


def by_sentence(
    x: Tensor, utterances: Sequence[Utterance], training: Collection[str], config: Config
) -> tuple[Tensor, Sentences]:
    """Features of a corpus as deviations from its sentences' templates, which are of the training set.

    With `features.by_speaker` they are deviations from how each speaker says the sentence, over all of the
    speaker's recordings in the corpus, of which emotions are not looked at.

    Args:
        x: raw features (utterances, num_features, frames).
        utterances: whose rows x has.
        training: names of those in the training set. Of all others the sentence is recognised.
        config: `features` and `model` are used.

    Returns:
        Features as of Sentences.deviations, and the templates.

    Raises:
        UserError: when the corpus does not tell the sentences, or one has a single utterance in training, or
            by speaker nobody says any of them twice.
    """
    rows = [row for row, utterance in enumerate(utterances) if utterance.name in training]
    said = [utterances[row].sentence for row in rows]
    if UNKNOWN in said:
        raise UserError(
            "features.by_sentence: this corpus does not tell the sentence of each utterance. Set it to false."
        )
    speakers = [utterance.speaker for utterance in utterances] if config.features.by_speaker else None
    if speakers and len({(speakers[row], name) for row, name in zip(rows, said, strict=True)}) == len(rows):
        raise UserError(
            "features.by_sentence with features.by_speaker: no speaker of the training set says a sentence "
            "twice, so there is nothing to compare an utterance with. Set one of the two to false."
        )
    sentences = Sentences.fit(x[rows], said, config)
    known = dict(zip(rows, said, strict=True))
    names = [known.get(row) or sentences.recognise(utterance) for row, utterance in enumerate(x.numpy())]
    return sentences.deviations(x, config.model, names, speakers), sentences

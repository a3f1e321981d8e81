"""From a configuration to batches: corpus → features → split → (frames, functionals, target, allowed)."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dataloader.advice import check_emotions, draw, length_advice
from dataloader.augment.features import Draws, FeatureAugmentation
from dataloader.augment.waveforms import (
    TrainingPool,
    corpus_variants,
    drawn_each,
    training_pool,
    variants_each,
)
from dataloader.corpora.find import find_corpus
from dataloader.corpora.utterance import Corpus, Utterance
from dataloader.features.cache import MOST_IN_MEMORY
from dataloader.features.extract import Features, load_features
from dataloader.identity import copies, recorded
from dataloader.splits import SUBSETS, Split, check_left_out, check_sources
from utils.config import AugmentConfig, Config, FeaturesConfig
from utils.device import use_huge_pages
from utils.emotions import without_codes
from utils.errors import UserError, many, remarks, some
from utils.progress import warn

STATISTICS_BLOCK = 1024  # utterances


class Batch(NamedTuple):
    """Utterances as a network takes them."""

    frames: torch.Tensor  # float32 (batch, num_features, frames), not standardised
    functionals: torch.Tensor | None  # float32 (batch, num_functionals)
    target: torch.Tensor  # int64 (batch,), classes; with mixup float32 (batch, classes), the share of each
    # float32 (batch, classes), 0 for an emotion that the utterance's corpus lacks (with mixup: the corpora of
    # both); None where all corpora have all emotions
    allowed: torch.Tensor | None = None


@dataclass(frozen=True)
class Data:
    """A corpus, its features and its split; a class index is a position in `corpus.emotions`."""

    corpus: Corpus
    features: Features
    split: Split
    settings: FeaturesConfig = field(default_factory=FeaturesConfig)  # with which the features were made
    cache_dir: Path = Path("dataset/cache")  # where variants of the training set are kept

    def rows(self, subset: str) -> list[int]:
        """The rows of `features` that are the "train", "validation" or "test" set, in the split's order."""
        rows = {utterance.name: row for row, utterance in enumerate(self.features.utterances)}
        return [rows[name] for name in getattr(self.split, subset)]

    def arrays(self, subset: str) -> Batch:
        """All utterances of a subset, in the order of the split's names."""
        rows, functionals = self.rows(subset), self.features.functionals
        functionals = None if functionals is None else functionals[rows]
        return Batch(self.features.frames[rows], functionals, self.targets(subset), self.allowed(subset))

    def targets(self, subset: str) -> torch.Tensor:
        """The class indices of a subset."""
        emotions = [self.features.utterances[row].emotion for row in self.rows(subset)]
        if strange := sorted(set(emotions) - set(self.corpus.emotions)):
            words = self.corpus.words
            known, others = (", ".join(words[e] for e in some) for some in (self.corpus.emotions, strange))
            problem = f"{self.corpus.root} has utterances of {others} in the {subset} set"
            raise UserError(f"{problem}, and the run knows {known}. Restore the corpus.")
        return torch.tensor([self.corpus.emotions.index(emotion) for emotion in emotions])

    def allowed(self, subset: str) -> torch.Tensor | None:
        """The mask of a subset, as in a Batch."""
        return allowed_emotions(self.corpus, [self.features.utterances[row] for row in self.rows(subset)])

    def missing_emotions(self) -> list[str]:
        """Emotions of which a subset has no utterance: `sor (test)`."""
        emotion_of = {one.name: one.emotion for one in self.corpus.utterances}
        emotion_of |= {name: one.partition(" ")[2] for name, one in self.split.recordings.items()}
        present = {subset: {emotion_of.get(n) for n in getattr(self.split, subset)} for subset in SUBSETS}
        return [f"{one} ({s})" for s in SUBSETS for one in self.corpus.emotions if one not in present[s]]


def allowed_emotions(corpus: Corpus, utterances: Sequence[Utterance]) -> torch.Tensor | None:
    """float32 (utterances, classes): 1 for the emotions that are in an utterance's own corpus, else 0.

    None where one corpus is alone, or each has every emotion: then nothing is to be masked.
    """
    found: dict[str, set[str]] = {}
    for utterance in corpus.utterances:
        found.setdefault(utterance.corpus, set()).add(utterance.emotion)
    if all(name == "" or emotions.issuperset(corpus.emotions) for name, emotions in found.items()):
        return None
    rows = {name: [float(one in emotions) for one in corpus.emotions] for name, emotions in found.items()}
    return torch.tensor([rows[utterance.corpus] for utterance in utterances])


def prepare_data(
    config: Config,
    progress: bool = True,
    split: Split | None = None,
    subsets: Sequence[str] = SUBSETS,
    emotions: Sequence[str] | None = None,
    changed: bool = False,
) -> Data:
    """Find the corpus, load its features, and draw the split, or apply a recorded one.

    Copies of a recording come into one subset; those of two emotions are left out. Warnings name both.

    Args:
        config: `data`, `features` and `train.seed`; with a recorded split, not the settings that draw one.
        split: a recorded split (load_split); utterances that it does not list are left out.
        subsets: the subsets of a recorded split that will be used.
        emotions: the classes of a run, whatever the corpus has by now.
        changed: use recordings whose sound or emotion has changed since the split was recorded.

    Raises:
        UserError: from each step, and when a recorded split is of another corpus, or an utterance of its
            `subsets` (with `features.normalise: speaker` of any) can no longer be read, or has changed.
    """
    use_huge_pages()
    recorded_name = split.corpus if split and split.recordings else ""
    corpus = find_corpus(config.data, split is None or split.corpus == "demo", recorded_name)
    if emotions is not None:
        corpus = replace(corpus, emotions=tuple(emotions))
    for warning in corpus.warnings:
        warn(warning)
    if split is not None and split.corpus != corpus.name:
        problem = f"the split was drawn from the corpus {split.corpus}, but {corpus.root} holds {corpus.name}"
        raise UserError(f"{problem}: let data.root name the corpus of that run.")
    check_emotions(corpus, corpus.utterances)
    if split is not None:
        split = _as_named(split, {utterance.name for utterance in corpus.utterances})
    only = {*split.train, *split.validation, *split.test, *split.recordings} if split else None
    features = load_features(corpus, config.features, config.data.cache_dir, progress, only)
    same = copies(features.utterances)
    if split is None:
        for warning in length_advice(corpus, features.utterances, config.features):
            warn(warning)
        split = draw(config, corpus, features.utterances, same, warn)
    else:
        if config.features.normalise == "speaker":  # a speaker's mean is over all of the recordings
            subsets = SUBSETS
        _check_recorded(split, subsets, corpus, features, changed)
        if split.recordings:  # later ones of further emotions would change the mask of `allowed`
            kept = tuple(one for one in corpus.utterances if only and one.name in only)
            corpus = replace(corpus, utterances=kept)
    data = Data(corpus, features, split, config.features, config.data.cache_dir)
    check_left_out(split, corpus.utterances)
    if leaks := _leaks(split, same):
        warn(f"recordings of the split in two of its subsets: {some(leaks)}")
    if missing := data.missing_emotions():
        warn(f"emotions without any utterance: {', '.join(without_codes(missing, corpus.words))}")
    return data


def _leaks(split: Split, same: Mapping[str, str]) -> list[str]:
    """`copy = original` where they are in two subsets."""
    subset_of = split.subset_of
    return [
        f"{name} = {of} ({subset_of[name]}, {subset_of[of]})"
        for name, of in same.items()
        if name in subset_of and of in subset_of and subset_of[name] != subset_of[of]
    ]


def _as_named(split: Split, names: set[str]) -> Split:
    """A recorded split with the corpus's names, where it has them with Windows's separators or a folder."""

    def known(name: str) -> str:
        with_slashes = name.replace("\\", "/")
        choices = (name, with_slashes, with_slashes.rpartition("/")[2])
        return next((choice for choice in choices if choice in names), name)

    train, validation, test = (tuple(map(known, getattr(split, subset))) for subset in SUBSETS)
    recordings = {known(name): value for name, value in split.recordings.items()}
    return replace(split, train=train, validation=validation, test=test, recordings=recordings)


def _check_recorded(
    split: Split, subsets: Sequence[str], corpus: Corpus, features: Features, changed: bool
) -> None:
    """Raise a UserError that names the utterances of a recorded split that can no longer be used.

    Those of other subsets, and those that are new in the corpus, matter to nothing: a warning names them. So
    it does those of other sound or emotion with `changed`.
    """
    now = recorded(features.utterances)
    gone, others, elsewhere = list[str](), list[str](), list[str]()  # others: of other sound or emotion
    for name, subset in split.subset_of.items():
        used = subset in subsets
        if name not in now:
            reason = features.skipped.get(name, "not found")
            (gone if used else elsewhere).append(f"{name} ({subset}: {reason})")
        elif (then := split.recordings.get(name, now[name])) != now[name]:
            sound = then.partition(" ")[0] != now[name].partition(" ")[0]
            reason = "its sound" if sound else "its emotion"
            (others if used else elsewhere).append(f"{name} ({subset}: {reason} is another)")
    new = [name for name in now if name not in split.recordings] if split.recordings else []
    remedy = "Restore these files: another test set would give another result."
    if gone:
        problem = f"{len(gone)} of the recorded split's utterances cannot be used from {corpus.root}"
        raise UserError(f"{problem}: {some(gone)}. {remedy}")
    problem = f"of the recorded split in {corpus.root} changed"
    if others and not changed:
        raise UserError(f"{many(len(others), 'utterance')} {problem}: {some(others)}. {remedy}")
    for remark in remarks(
        (others, "utterance", problem),
        (elsewhere, "utterance", f"of {corpus.root}, not used now, changed"),
        (new, "recording", f"of {corpus.root} new since the split was drawn, and left out"),
    ):
        warn(remark)


class BatchLoader:
    """Batches cut by index out of arrays (a DataLoader would collect them item by item).

    Every pass is one epoch. With `shuffle` (training) each epoch has its own order, fixed by seed and epoch
    number, and a last batch of one utterance is left out, for batch norm cannot learn from a single one.
    Without it (evaluation) every utterance comes, in order.

    Args:
        frames, functionals: of all rows, see Batch; frames that are mapped from disk are read batch by batch.
        target: (items,), on the device of the batches.
        rows: of the items; None where every row is an item.
        allowed: (items, classes) on that device, see Batch.
        weights: (items,) for `shuffle`: how often each item comes in an epoch on average, in proportion;
            an epoch has as many items as without.
    """

    def __init__(
        self,
        frames: torch.Tensor,
        functionals: torch.Tensor | None,
        target: torch.Tensor,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rows: Sequence[int] | None = None,
        allowed: torch.Tensor | None = None,
        weights: np.ndarray | None = None,
    ):
        self.allowed, self.weights = allowed, weights
        self.target, self.rows = target, None if rows is None else torch.tensor(rows)
        if functionals is not None:
            functionals = (functionals if self.rows is None else functionals[self.rows]).to(target.device)
        if frames.nbytes <= MOST_IN_MEMORY:  # moved to the device whole and once
            frames = (frames if self.rows is None else frames[self.rows]).to(target.device)
            self.rows = None
        self.frames, self.functionals = frames, functionals
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = 0  # of the pass to come; set it to resume
        self.part: Callable[[np.ndarray], np.ndarray] = lambda items: items  # of a batch, for this process

    def __len__(self) -> int:
        """Batches a pass."""
        items = len(self.target)
        lone = self.shuffle and items > self.batch_size > 1 and items % self.batch_size == 1
        return -(-items // self.batch_size) - lone

    def __iter__(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        order, epoch = np.arange(len(self.target)), self.epoch
        if self.shuffle:
            random = np.random.default_rng([self.seed, epoch])
            order = order if self.weights is None else systematic_sample(self.weights, random)
            random.shuffle(order)
        self.epoch += 1
        for batch in range(len(self)):
            items = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self.batch(self.part(items), epoch)

    def batch(self, items: np.ndarray, epoch: int) -> Batch:
        """The batch of these items."""
        index = self._index(items)
        return Batch(*self.take(items), self.target[index], self._allowed(index))

    def take(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames and functionals of some rows, copied."""
        index = self._index(rows)
        place = index if self.rows is None else self.rows[torch.from_numpy(rows)]
        frames = self.frames[place.to(self.frames.device)].to(self.target.device)
        return frames, None if self.functionals is None else self.functionals[index]

    def _allowed(self, index: torch.Tensor) -> torch.Tensor | None:
        return None if self.allowed is None else self.allowed[index]

    def _index(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows).to(self.target.device)


def systematic_sample(weights: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As many items as there are weights: item i weights[i] / mean times on average, rounded up or down.

    Madow's systematic sampling: the items lie in a random order on a line, each as long as its weight, and
    marks at equal distances choose them. Independent draws would leave out a third of all items even with
    equal weights, with which this has each exactly once.
    """
    order = random.permutation(len(weights))
    ends = np.cumsum(weights[order])
    ends = len(weights) / ends[-1] * ends
    ends[-1] = len(weights)  # whatever the rounding
    marks = np.floor(ends + random.random()).astype(np.int64)
    return np.repeat(order, np.diff(marks, prepend=0))


class AugmentedLoader(BatchLoader):
    """Batches of varied training utterances: online drawn anew in each epoch, offline the same in all.

    Online an item is an utterance, as itself or one of its variants. Offline every row of the pool is one;
    the utterances themselves stay as they are. With mixup the partner is drawn from the whole training set
    and varied as it is in that epoch, so that no utterance depends on the others of its batch.
    """

    def __init__(
        self,
        pool: TrainingPool,
        target: torch.Tensor,
        classes: int,
        augmentation: FeatureAugmentation,
        batch_size: int,
        seed: int,
        rows: Sequence[int] | None = None,
        allowed: torch.Tensor | None = None,
        weights: np.ndarray | None = None,
    ):
        self.online = augmentation.settings.mode == "online"
        self.each, self.classes, self.augmentation = pool.each, classes, augmentation
        self.names = list(pool.sources[:: pool.each])
        if not self.online:
            self.names = [f"{name}#{row % pool.each}" for row, name in enumerate(pool.sources)]
            target, allowed, weights = repeated(pool.each, target, allowed, weights)
        about = pool.frames, pool.functionals, target
        super().__init__(*about, batch_size, True, seed, rows, allowed, weights)

    def batch(self, items: np.ndarray, epoch: int) -> Batch:
        """The batch of these items; with mixup the target is (batch, classes)."""
        batch, draws = self._varied(items, epoch)
        mixed = np.flatnonzero(draws.share < 1)
        if self.augmentation.settings.mixup and len(mixed):
            partners = (draws.partner[mixed] * len(self.names)).astype(np.int64)
            share = torch.from_numpy(draws.share[mixed].astype(np.float32)).to(batch.target.device)
            rows = self._index(mixed)
            for mine, theirs in zip(batch, self._varied(partners, epoch)[0], strict=True):
                if mine is not None and theirs is not None:
                    mine[rows] = torch.lerp(theirs, mine[rows], share.view(-1, *[1] * (mine.ndim - 1)))
        return batch

    def _varied(self, items: np.ndarray, epoch: int) -> tuple[Batch, Draws]:
        """The items with everything but mixup, and the draws for them."""
        draws = self.augmentation.draw([self.names[item] for item in items], epoch if self.online else 0)
        rows = items * self.each + draws.variant if self.online else items
        if not self.online:
            draws = draws.without(items % self.each == 0)
        frames, functionals = self.take(rows)
        index = self._index(items)
        target = self.target[index]
        if self.augmentation.settings.mixup:
            target = F.one_hot(target, self.classes).to(frames.dtype)
        frames = self.augmentation.apply(frames, draws)
        return Batch(frames, functionals, target, self._allowed(index)), draws


def repeated(
    each: int, target: torch.Tensor, allowed: torch.Tensor | None, weights: np.ndarray | None
) -> tuple[torch.Tensor, torch.Tensor | None, np.ndarray | None]:
    """What a BatchLoader takes of utterances, for `each` rows of each utterance behind one another."""
    target = target.repeat_interleave(each)
    allowed = None if allowed is None else allowed.repeat_interleave(each, 0)
    return target, allowed, None if weights is None else weights.repeat(each)


def make_loader(
    data: Data,
    subset: str,
    batch_size: int,
    shuffle: bool,
    seed: int,
    device: torch.device | str = "cpu",
    weights: np.ndarray | None = None,
) -> BatchLoader:
    """Batches of one subset: "train", "validation" or "test", as they are."""
    features, target, rows = data.features, data.targets(subset).to(device), data.rows(subset)
    allowed = None if (allowed := data.allowed(subset)) is None else allowed.to(device)
    about = features.frames, features.functionals, target
    return BatchLoader(*about, batch_size, shuffle, seed, rows, allowed, weights)


def make_training_loader(
    data: Data,
    augment: AugmentConfig | None,
    batch_size: int,
    seed: int,
    mean: torch.Tensor,
    device: torch.device | str = "cpu",
    progress: bool = True,
    balance: str = "none",
) -> BatchLoader:
    """Batches of the training set, varied where `augment` is given; the seed draws variants, too.

    `balance` is that of TrainConfig: how often each utterance comes.
    `mean` (num_features,) is the training set's; SpecAugment fills its masks with it. A UserError follows
    where variants cannot be made, or anything but the training set is about to be trained on.
    """
    features, names, weights = data.features, data.split.train, balancing_weights(data, balance)
    if augment is None:
        return make_loader(data, "train", batch_size, True, seed, device, weights)
    _check_variable(data.settings, augment)
    target, rows = data.targets("train").to(device), data.rows("train")
    allowed = None if (allowed := data.allowed("train")) is None else allowed.to(device)
    pool = TrainingPool(features.frames, features.functionals, names, 1)
    if variants_each(augment):
        own = None if data.settings.normalise == "none" else data.arrays("train")[:2]
        how = data.settings, augment, seed, data.cache_dir, progress
        pool = training_pool(names, corpus_variants(features.utterances, *how), own, data.settings)
        rows = pool.rows
    check_sources(pool.sources, data.split)
    if augment.mode == "published":
        target, allowed, weights = repeated(pool.each, target, allowed, weights)
        about = pool.frames, pool.functionals, target
        return BatchLoader(*about, batch_size, True, seed, rows, allowed, weights)
    augmentation = FeatureAugmentation(augment, seed, mean, data.settings.frames, data.settings.n_mels)
    classes = len(data.corpus.emotions)
    about = pool, target, classes, augmentation
    return AugmentedLoader(*about, batch_size, seed, rows, allowed, weights)


def balancing_weights(data: Data, balance: str) -> np.ndarray | None:
    """(utterances of the training set,) for BatchLoader, as `train.balance` says; None for "none".

    An utterance has the weight 1 / sqrt(n), where n utterances of the training set have its emotion
    ("class"), or its emotion and its corpus ("corpus_and_class").
    """
    if balance == "none":
        return None
    utterances = [data.features.utterances[row] for row in data.rows("train")]
    cells = [(u.emotion, u.corpus if balance == "corpus_and_class" else "") for u in utterances]
    counts = Counter(cells)
    return np.array([counts[cell] ** -0.5 for cell in cells])


def _check_variable(features: FeaturesConfig, augment: AugmentConfig) -> None:
    """Raise a UserError where features are asked for that the configured augmentation would falsify."""
    if augment.mode == "offline" and not variants_each(augment):
        raise UserError("augment.mode = offline without variants varies nothing: raise augment.variants.")
    if features.prosody and (augment.gain or augment.frame_shift) and augment.mode != "published":
        problem = "augment.gain and augment.frame_shift change MFCCs alone"
        raise UserError(f"{problem}: with features.prosody set both to 0.")
    if features.normalise == "speaker" and (augment.mode == "published" or drawn_each(augment)):
        raise UserError(
            "variants have no speaker's own mean: with features.normalise = speaker set augment.variants to "
            "0, and augment.mode to online. augment.speed_perturbation may vary the voice."
        )


def feature_statistics(frames: torch.Tensor, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, float32 (num_features,), of each feature over utterances and frames.

    `frames` are (utterances, num_features, frames), and `rows` those of the training set as they are, without
    variants: test utterances are not varied either. The standard deviation is the population's, and 1 where a
    feature never changes.
    """
    count, zero = len(rows) * frames.shape[2], torch.zeros(frames.shape[1], dtype=torch.float64)

    def blocks() -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), STATISTICS_BLOCK):
            yield frames[rows[start : start + STATISTICS_BLOCK]]

    mean = sum((block.double().sum(dim=(0, 2)) for block in blocks()), zero) / count
    squares = sum(((block.double() - mean[:, None]).square().sum(dim=(0, 2)) for block in blocks()), zero)
    highest = torch.stack([block.amax(dim=(0, 2)) for block in blocks()]).amax(dim=0)
    lowest = torch.stack([block.amin(dim=(0, 2)) for block in blocks()]).amin(dim=0)
    std = torch.where(highest == lowest, 1.0, (squares / count).sqrt())
    return mean.float(), std.float()

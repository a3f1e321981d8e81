"""From a configuration to batches: corpus → features → split → (x, y)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from dataloader.augment.features import Draws, FeatureAugmentation
from dataloader.augment.waveforms import (
    TrainingPool,
    drawn_each,
    pool_by_sentence,
    training_pool,
    variants_each,
    voices_apart,
)
from dataloader.corpora.find import find_corpus, length_advice
from dataloader.corpora.utterance import Corpus
from dataloader.features.cache import Features, Rows
from dataloader.features.extract import load_features
from dataloader.sentences import Sentences, by_sentence
from dataloader.splits import SUBSETS, Split, check_left_out, check_sources, draw_split
from training import distributed
from utils.config import Config
from utils.errors import UserError
from utils.progress import warn

STATISTICS_BLOCK = 1024  # utterances


@dataclass(frozen=True)
class Data:
    """A corpus, its features and its split; a class index is a position in `corpus.emotions`."""

    corpus: Corpus
    features: Features
    split: Split
    sentences: Sentences | None = None  # of the training set, where `features.by_sentence` is true

    def arrays(self, subset: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The utterances of "train", "validation" or "test", in the order of the split's names, in memory.

        Returns:
            x: float32 (utterances, n_mfcc, frames), raw MFCCs.
            y: int64 (utterances,), class indices.
        """
        x, y = self.rows(subset)
        return x[:], y

    def rows(self, subset: str) -> tuple[Rows, torch.Tensor]:
        """As `arrays`, with x left on disk where the corpus's features are."""
        rows = {utterance.name: row for row, utterance in enumerate(self.features.utterances)}
        chosen = [rows[name] for name in getattr(self.split, subset)]
        emotions = [self.features.utterances[row].emotion for row in chosen]
        y = torch.tensor([self.corpus.emotions.index(emotion) for emotion in emotions])
        x = self.features.x
        return x[chosen] if isinstance(x, torch.Tensor) else x.select(chosen), y


def prepare_data(
    config: Config,
    progress: bool = True,
    split: Split | None = None,
    subsets: Sequence[str] = SUBSETS,
) -> Data:
    """Find the corpus, load its features, and draw the split, or apply a recorded one.

    Args:
        config: `data`, `features`, `train.seed`, and of `model` num_features and what says which statistics
            are used; with a recorded split, not what says how to draw one.
        progress: show progress bars.
        split: a recorded split (load_split); utterances that it does not list are left out.
        subsets: the subsets of a recorded split that will be used.

    Raises:
        UserError: from each step, and when a recorded split is of another corpus, lists in one of `subsets`
            an utterance that can no longer be read, or has a speaker in two subsets that was to be left out;
            with `features.by_sentence` also when that is so of the training set, and with
            `features.by_speaker` of any subset.
    """
    corpus = find_corpus(config.data)
    for warning in (*corpus.warnings, *length_advice(corpus, config.features)):
        warn(warning)
    if split is not None and split.corpus != corpus.name:
        raise UserError(
            f"the split was drawn from the corpus {split.corpus}, but {corpus.root} holds {corpus.name}: "
            "let data.root name the corpus of that run."
        )
    features = load_features(corpus, config, progress)
    if split is None:
        split = draw_split(features.utterances, config.data, config.train.seed, corpus.name)
    else:
        split = _as_named(split, {utterance.name for utterance in corpus.utterances})
        if config.features.by_speaker:  # what is usual of a speaker is so of all of the recordings
            subsets = SUBSETS
        elif config.features.by_sentence:  # templates of another training set would be others
            subsets = ("train", *subsets)
        _check_recorded(split, subsets, corpus, features)
    check_left_out(split, corpus.utterances)
    if not config.features.by_sentence:
        return Data(corpus, features, split)
    x, sentences = by_sentence(features.x[:], features.utterances, set(split.train), config)
    return Data(corpus, replace(features, x=x), split, sentences)


def _as_named(split: Split, names: set[str]) -> Split:
    """A recorded split with the corpus's names, where it has them with Windows's separators or a folder."""

    def known(name: str) -> str:
        with_slashes = name.replace("\\", "/")
        choices = (name, with_slashes, with_slashes.rpartition("/")[2])
        return next((choice for choice in choices if choice in names), name)

    return replace(split, **{subset: tuple(map(known, getattr(split, subset))) for subset in SUBSETS})


def _check_recorded(split: Split, subsets: Sequence[str], corpus: Corpus, features: Features) -> None:
    """Raise a UserError that names the utterances of a recorded split that can no longer be used."""
    usable = {utterance.name for utterance in features.utterances}
    gone = [
        f"{name} ({subset}: {features.skipped.get(name, 'not found')})"
        for subset in subsets
        for name in getattr(split, subset)
        if name not in usable
    ]
    if gone:
        raise UserError(
            f"{len(gone)} of the recorded split's utterances cannot be used from {corpus.root}: "
            + ", ".join(gone[:5])
            + (" and others" if len(gone) > 5 else "")
            + ". Restore these files: another test set would give another result."
        )


class BatchLoader:
    """Batches cut by index out of rows in memory or on disk (a DataLoader would collect them item by item).

    Every pass is one epoch. With `shuffle` (training) each epoch has its own order, fixed by seed and epoch
    number, and a last batch of one utterance is left out, for batch norm cannot learn from a single one.
    Without it (evaluation) every utterance comes, in order. Batches are on the device of y. Processes that
    share a training (training.distributed) get a part of each batch.
    """

    def __init__(self, x: Rows, y: torch.Tensor, batch_size: int, shuffle: bool, seed: int):
        self.x, self.y = x, y
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = 0  # of the pass to come; set it to resume

    def __len__(self) -> int:
        """Batches a pass."""
        lone = self.shuffle and len(self.y) > self.batch_size > 1 and len(self.y) % self.batch_size == 1
        return -(-len(self.y) // self.batch_size) - lone

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """x (batch, n_mfcc, frames) and y (batch,)."""
        order = np.arange(len(self.y))
        epoch = self.epoch
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        self.epoch += 1
        for batch in range(len(self)):
            items = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self.batch(distributed.part(items), epoch)

    def batch(self, items: np.ndarray, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of these items."""
        items = torch.from_numpy(items).to(self.y.device)
        return self.x[items].to(self.y.device), self.y[items]


class AugmentedLoader(BatchLoader):
    """Batches of varied training utterances: online drawn anew in each epoch, offline the same in all.

    Online an item is an utterance, that comes as itself or one of its variants. Offline every row of the pool
    is an item; the utterances themselves stay as they are.

    With mixup y is (batch, classes), the share of each class. The partner is drawn from the whole training
    set, and varied as it is in that epoch, so that no utterance depends on what it is batched with.
    """

    def __init__(
        self,
        pool: TrainingPool,
        y: torch.Tensor,
        classes: int,
        augmentation: FeatureAugmentation,
        batch_size: int,
        seed: int,
    ):
        self.online = augmentation.settings.mode == "online"
        self.each, self.classes, self.augmentation = pool.each, classes, augmentation
        self.names = [f"{name}#{row % pool.each}" for row, name in enumerate(pool.sources)]
        if self.online:
            self.names = list(pool.sources[:: pool.each])
        else:
            y = y.repeat_interleave(pool.each)
        super().__init__(pool.x, y, batch_size, True, seed)

    def batch(self, items: np.ndarray, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of these items; y is (batch, classes) where mixup is on."""
        x, draws = self._varied(items, epoch)
        y = self.y[torch.from_numpy(items).to(self.y.device)]
        if not self.augmentation.settings.mixup:
            return x, y
        y = F.one_hot(y, self.classes).to(x.dtype)
        mixed = np.flatnonzero(draws.share < 1)
        if len(mixed):
            partners = (draws.partner[mixed] * len(self.names)).astype(np.int64)
            other, _ = self._varied(partners, epoch)
            other_y = F.one_hot(self.y[torch.from_numpy(partners).to(y.device)], self.classes).to(x.dtype)
            share = torch.from_numpy(draws.share[mixed].astype(np.float32)).to(x.device)
            rows = torch.from_numpy(mixed).to(x.device)
            x[rows] = torch.lerp(other, x[rows], share[:, None, None])
            y[rows] = torch.lerp(other_y, y[rows], share[:, None])
        return x, y

    def _varied(self, items: np.ndarray, epoch: int) -> tuple[torch.Tensor, Draws]:
        """The items' features with everything but mixup, and what was drawn for them."""
        draws = self.augmentation.draw([self.names[item] for item in items], epoch if self.online else 0)
        rows = items * self.each + draws.variant if self.online else items
        if not self.online:
            draws = draws.without(items % self.each == 0)
        x = self.x[torch.from_numpy(rows).to(self.y.device)].to(self.y.device)
        return self.augmentation.apply(x, draws), draws


def make_loader(
    data: Data, subset: str, batch_size: int, shuffle: bool, seed: int, device: torch.device | str = "cpu"
) -> BatchLoader:
    """Batches of one subset: "train", "validation" or "test", as they are.

    Where features are held in memory, the subset is moved to the device whole and once; EMOVO's is 17 MB.
    """
    x, y = data.rows(subset)
    return BatchLoader(_move(x, device), y.to(device), batch_size, shuffle, seed)


def make_training_loader(
    config: Config,
    data: Data,
    mean: torch.Tensor,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> BatchLoader:
    """Batches of the training set, varied as `augment` says where `model.aug` is true.

    Args:
        config: `augment`, `features`, `train`, `data` and `model` are used.
        data: corpus, features and split.
        mean: (n_mfcc,), of the training set's features; SpecAugment fills its masks with it.
        device: of the batches.
        progress: show a progress bar while variants are made.

    Raises:
        UserError: when variants cannot be made, or anything but the training set is about to be trained on.
    """
    train, settings = config.train, config.augment
    x, y = data.rows("train")
    pool = TrainingPool(x, data.split.train, 1)
    if config.model.aug:
        _check_variable(config)
        if settings.mode == "offline" and not variants_each(settings):
            raise UserError("augment.mode = offline without variants varies nothing: raise augment.variants.")
        if variants_each(settings):
            pool = training_pool(data.corpus, data.split, config, progress)
            by_name = {utterance.name: utterance for utterance in data.corpus.utterances}
            trained = [by_name[name] for name in data.split.train]
            if data.sentences is not None:
                pool = pool_by_sentence(pool, x, trained, data.sentences, config)
            elif config.features.by_speaker:
                pool = voices_apart(pool, x, [utterance.speaker for utterance in trained], config)
    check_sources(pool.sources, data.split)
    pool, y = replace(pool, x=_move(pool.x, device)), y.to(device)
    if not config.model.aug or settings.mode == "published":
        return BatchLoader(pool.x, y.repeat_interleave(pool.each), train.batch_size, True, train.seed)
    frames, n_mels = config.features.frames, config.features.n_mels
    augmentation = FeatureAugmentation(settings, train.seed, mean, frames, n_mels)
    return AugmentedLoader(pool, y, len(data.corpus.emotions), augmentation, train.batch_size, train.seed)


def _check_variable(config: Config) -> None:
    """Raise a UserError where features are asked for that the configured augmentation would falsify."""
    settings = config.augment
    if config.features.prosody and (settings.gain or settings.frame_shift) and settings.mode != "published":
        raise UserError(
            "augment.gain and augment.frame_shift change MFCCs alone: with features.prosody set both to 0."
        )
    if config.features.by_sentence and (settings.gain or settings.frame_shift):
        raise UserError(
            "augment.gain and augment.frame_shift are of MFCCs, not of deviations from a sentence: with "
            "features.by_sentence set both to 0."
        )
    if config.features.by_sentence and (settings.mode == "published" or settings.reverse):
        raise UserError(
            "what is reversed cannot be laid along a sentence: with features.by_sentence set augment.reverse "
            "to 0, and augment.mode to online or offline."
        )
    if config.features.by_speaker and (settings.mode == "published" or drawn_each(settings)):
        raise UserError(
            "variants have no speaker's own mean: with features.by_speaker set augment.variants to 0, and "
            "augment.mode to online. augment.voices may vary the voice."
        )


def feature_statistics(x: Rows, num_features: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each coefficient over utterances and frames.

    They are of the training set only, and of its utterances as they are, without variants: what is tested on
    is not varied either, and a run with augmentation stays comparable to one without.

    Args:
        x: (utterances, n_mfcc, frames); no more than STATISTICS_BLOCK of them are in memory at a time.
        num_features: how many of the n_mfcc, from the first; None for all.

    Returns:
        mean and std, float32 (n_mfcc,); the std is the population's, and 1 where a coefficient never changes.
    """
    count = x.shape[0] * x.shape[2]

    def blocks() -> Iterator[torch.Tensor]:
        for start in range(0, len(x), STATISTICS_BLOCK):
            yield x[start : start + STATISTICS_BLOCK][:, :num_features]

    mean = sum(block.double().sum(dim=(0, 2)) for block in blocks()) / count
    squares = sum((block.double() - mean[:, None]).square().sum(dim=(0, 2)) for block in blocks())
    highest = torch.stack([block.amax(dim=(0, 2)) for block in blocks()]).amax(dim=0)
    lowest = torch.stack([block.amin(dim=(0, 2)) for block in blocks()]).amin(dim=0)
    std = torch.where(highest == lowest, 1.0, (squares / count).sqrt())
    return mean.float(), std.float()


def _move(x: Rows, device: torch.device | str) -> Rows:
    """To the device, if it is in memory; batches read from disk are moved one by one."""
    return x.to(device) if isinstance(x, torch.Tensor) else x

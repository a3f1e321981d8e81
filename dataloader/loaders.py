"""From a configuration to batches: corpus → features → split → (x, y)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataloader.corpora import Corpus, find_corpus
from dataloader.mfcc import Features, load_features
from dataloader.splits import SUBSETS, Split, holdout
from utils.config import Config
from utils.errors import UserError
from utils.progress import warn


@dataclass(frozen=True)
class Data:
    """A corpus, its features and its split; a class index is a position in `corpus.emotions`."""

    corpus: Corpus
    features: Features
    split: Split

    def arrays(self, subset: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The utterances of "train", "validation" or "test", in the order of the split's names.

        Returns:
            x: float32 (utterances, n_mfcc, frames), raw MFCCs.
            y: int64 (utterances,), class indices.
        """
        rows = {utterance.name: row for row, utterance in enumerate(self.features.utterances)}
        chosen = [rows[name] for name in getattr(self.split, subset)]
        emotions = [self.features.utterances[row].emotion for row in chosen]
        y = torch.tensor([self.corpus.emotions.index(emotion) for emotion in emotions])
        return self.features.x[chosen], y


def prepare_data(
    config: Config,
    progress: bool = True,
    split: Split | None = None,
    subsets: Sequence[str] = SUBSETS,
) -> Data:
    """Find the corpus, load its features, and draw the split, or apply a recorded one.

    Args:
        config: `data`, `features`, `model.num_features` and `train.seed` are used.
        progress: show progress bars.
        split: a recorded split (load_split); utterances that it does not list are left out.
        subsets: the subsets of a recorded split that will be used.

    Raises:
        UserError: from each step, and when a recorded split is of another corpus or lists in one of `subsets`
            an utterance that can no longer be read.
    """
    corpus = find_corpus(config.data)
    for warning in corpus.warnings:
        warn(warning)
    if split is not None and split.corpus != corpus.name:
        raise UserError(
            f"the split was drawn from the corpus {split.corpus}, but {corpus.root} holds {corpus.name}: "
            "let data.root name the corpus of that run."
        )
    features = load_features(corpus, config, progress)
    if split is None:
        fractions = config.data.validation_fraction, config.data.test_fraction
        split = holdout(features.utterances, config.train.seed, *fractions, corpus.name)
    else:
        _check_recorded(split, subsets, corpus, features)
    return Data(corpus, features, split)


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
    """Batches cut by index out of tensors in memory (a DataLoader would collect them item by item).

    Every pass is one epoch. With `shuffle` (training) each epoch has its own order, fixed by seed and epoch
    number, and a last batch of one utterance is left out, for batch norm cannot learn from a single one.
    Without it (evaluation) every utterance comes, in order.
    """

    def __init__(self, x: torch.Tensor, y: torch.Tensor, batch_size: int, shuffle: bool, seed: int):
        self.x, self.y = x, y
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = 0  # of the pass to come; set it to resume

    def __len__(self) -> int:
        """Batches a pass."""
        lone = self.shuffle and len(self.y) > self.batch_size > 1 and len(self.y) % self.batch_size == 1
        return -(-len(self.y) // self.batch_size) - lone

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """x (batch, n_mfcc, frames) and y (batch,), on the device of the tensors given."""
        order = np.arange(len(self.y))
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        self.epoch += 1
        order = torch.from_numpy(order).to(self.y.device)
        for batch in range(len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self.x[rows], self.y[rows]


def make_loader(
    data: Data, subset: str, batch_size: int, shuffle: bool, seed: int, device: torch.device | str = "cpu"
) -> BatchLoader:
    """Batches of one subset: "train", "validation" or "test".

    The subset is moved to the device whole and once; EMOVO's is 17 MB.
    """
    x, y = data.arrays(subset)
    return BatchLoader(x.to(device), y.to(device), batch_size, shuffle, seed)


def feature_statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each coefficient over utterances and frames, of the training set only.

    Args:
        x: (utterances, n_mfcc, frames).

    Returns:
        mean and std, float32 (n_mfcc,); the std is the population's, and 1 where a coefficient never changes.
    """
    variance, mean = torch.var_mean(x.double(), dim=(0, 2), correction=0)
    constant = x.amax(dim=(0, 2)) == x.amin(dim=(0, 2))
    return mean.float(), torch.where(constant, 1.0, variance.sqrt()).float()

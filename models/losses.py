"""The loss that a training minimises."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, allowed: Tensor | None = None
) -> Tensor:
    """The mean cross-entropy of a batch, in nats.

    Args:
        logits: (batch, classes).
        targets: classes (batch,), or with mixup the share of each class (batch, classes).
        label_smoothing: share of each target that is spread evenly over the classes of its utterance.
        allowed: (batch, classes), 0 for the classes that an utterance cannot have: they are no part of its
            softmax. The target is never one of them.
    """
    if allowed is None:
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    possible = allowed > 0
    log_probabilities = among(logits, allowed).log_softmax(1).masked_fill(~possible, 0.0)  # not 0 · -inf
    shares = F.one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets
    even = possible / possible.sum(1, keepdim=True)
    shares = (1 - label_smoothing) * shares + label_smoothing * even
    return -(shares * log_probabilities).sum(1).mean()


def among(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Logits (batch, classes) with -inf for the classes that an utterance cannot have (see cross_entropy)."""
    return logits if allowed is None else logits.masked_fill(allowed == 0, -torch.inf)

"""The loss that a training minimises."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of a batch, in nats.

    Args:
        logits: (batch, classes).
        targets: classes (batch,), or with mixup the share of each class (batch, classes).
        label_smoothing: share of each target that is spread evenly over all classes.
    """
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)

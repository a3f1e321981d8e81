"""The loss against its formula."""

import torch

from models.losses import cross_entropy


def test_cross_entropy_of_classes_and_of_shares_with_smoothed_labels():
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 7), torch.randint(7, (5,))
    shares = torch.eye(7)[classes]
    for smoothing in (0.0, 0.1):
        smoothed = (1 - smoothing) * shares + smoothing / 7
        expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
        for target in (classes, shares):
            torch.testing.assert_close(cross_entropy(logits, target, smoothing), expected)

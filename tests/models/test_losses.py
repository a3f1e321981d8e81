"""The loss against its formula."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.losses import among, cross_entropy


def test_cross_entropy_of_classes_and_of_shares_with_smoothed_labels():
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 7), torch.randint(7, (5,))
    shares = torch.eye(7)[classes]
    for smoothing in (0.0, 0.1):
        smoothed = (1 - smoothing) * shares + smoothing / 7
        expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
        for target in (classes, shares):
            torch.testing.assert_close(cross_entropy(logits, target, smoothing), expected)


@given(
    rows=st.lists(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=8),
    smoothing=st.floats(0, 0.9),
    mixed=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_a_masked_loss_is_that_of_each_utterance_with_its_own_classes_alone(rows, smoothing, mixed, seed):
    """Value and gradient, beside a loop over utterances with short vectors."""
    torch.manual_seed(seed)
    allowed = torch.tensor(rows).float()
    logits = (5 * torch.randn(allowed.shape)).requires_grad_()
    shares = torch.rand(allowed.shape) * allowed + 1e-3 * allowed
    shares = shares / shares.sum(1, keepdim=True)
    target = shares if mixed else shares.argmax(1)
    each = []
    for row, (one, is_open) in enumerate(zip(logits, allowed.bool(), strict=True)):
        own = shares[row, is_open] if mixed else shares[row, is_open].argmax()
        each.append(F.cross_entropy(one[is_open][None], own[None], label_smoothing=smoothing))
    loss = cross_entropy(logits, target, smoothing, allowed)
    torch.testing.assert_close(loss, torch.stack(each).mean())
    ours, theirs = (torch.autograd.grad(one, logits)[0] for one in (loss, torch.stack(each).mean()))
    torch.testing.assert_close(ours, theirs)
    assert not ours[allowed == 0].any()
    probabilities = among(logits, allowed).softmax(1)
    assert not probabilities[allowed == 0].any()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(rows)))


def test_a_mask_that_allows_everything_changes_nothing():
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 7), torch.randint(7, (5,))
    for target in (classes, torch.rand(5, 7).softmax(1)):
        expected = cross_entropy(logits, target, 0.1)
        torch.testing.assert_close(cross_entropy(logits, target, 0.1, torch.ones(5, 7)), expected)

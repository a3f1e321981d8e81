"""A training step with batches of any size."""

import math

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataloader.loaders import BatchLoader
from models.cktim import build_model
from training.train import make_optimizer, run_epoch
from utils.config import ModelConfig, TrainConfig


@settings(deadline=None, max_examples=25)
@given(
    utterances=st.integers(1, 20), frames=st.integers(2, 9), batch_size=st.integers(1, 25), ck=st.booleans()
)
@example(utterances=9, frames=2, batch_size=8, ck=True)  # one is left over
@example(utterances=1, frames=2, batch_size=64, ck=False)
@example(utterances=3, frames=5, batch_size=1, ck=True)
def test_a_training_step_with_batches_of_any_size(utterances, frames, batch_size, ck):
    """Train for an epoch on noise; the loss, the weights and the running statistics must be finite."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(n_filter=4, hidden_scale=0.125, ck=ck), 3, num_features=6, frames=frames)
    x, y = torch.randn(utterances, 6, frames), torch.arange(utterances) % 3
    loader = BatchLoader(x, None, y, batch_size, shuffle=True, seed=0)
    row, _ = run_epoch(model, loader, 0.1, make_optimizer(TrainConfig(), model), 1.0)
    assert math.isfinite(row["loss"])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())

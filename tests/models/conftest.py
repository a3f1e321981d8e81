"""Model configurations for the tests of models/."""

import pytest

from utils.config import ModelConfig

PUBLISHED = {
    "generator_norm": "batch",
    "kernel_dropout": 0.1,
    "kernel_init": "siren",
    "kernel_bias": False,
    "kernel_window": 0.0,
    "input_dropout": 0.0,
    "pooling": "mean",
    "pooling_dropout": 0.0,
    "omega_0": 25.0,
    "input_omega_0": 1.0,
    "n_temporal_aware_block": 6,
}


@pytest.fixture
def published():
    """Build a ModelConfig in the published settings, with changes: published(ck=False)."""
    return lambda **changes: ModelConfig(**{**PUBLISHED, **changes})


@pytest.fixture
def small():
    """Build a small ModelConfig, with changes: small(n_temporal_aware_block=1)."""
    sizes = {"n_filter": 5, "num_features": 4, "n_temporal_aware_block": 2, "hidden_scale": 0.25}
    return lambda **changes: ModelConfig(**{**sizes, **changes})

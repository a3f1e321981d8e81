"""Networks for the tests of models/."""

import pytest

from models.cktim import build_model
from utils.config import ModelConfig, load_config


@pytest.fixture
def published(repository):
    """Build a ModelConfig in the published settings, with changes: published(ck=False)."""
    model = load_config(repository / "conf/published.yaml").model
    return lambda **changes: model.model_copy(update=changes)


@pytest.fixture
def small():
    """Build a small network for 4 features and 7 emotions: small(frames=33, n_temporal_aware_block=1)."""

    def build(frames=188, num_functionals=0, frame_seconds=512 / 22_050, **changes):
        sizes = {"n_filter": 5, "n_temporal_aware_block": 2, "hidden_scale": 0.25}
        return build_model(ModelConfig(**{**sizes, **changes}), 7, 4, num_functionals, frames, frame_seconds)

    return build

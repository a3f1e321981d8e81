"""Held-out utterances reach no training (the guard against others: dataloader/test_training_loader)."""

import math
from dataclasses import replace

import pytest

from training.train import train
from utils.metrics import read_json


@pytest.mark.parametrize("augmented", [False, True])
def test_held_out_features_change_nothing_of_a_training(config, data, augmented):
    """Test utterances of NaN change no file; other validation utterances change the validation alone."""
    settings = config(train={"num_epochs": 2}, model={"aug": augmented}, augment={"mixup": 0.5})

    def outcome(**changed: float) -> dict[str, object]:
        """Of a training with these values all over these subsets."""
        frames = data.features.frames.clone()
        for subset, value in changed.items():
            frames[data.rows(subset)] = value
        features = replace(data.features, frames=frames)
        run_dir = train(settings, replace(data, features=features), progress=False)
        metrics = {part: read_json(run_dir / f"{part}_metrics.json") for part in ("training", "validation")}
        metrics["training"].pop("seconds")
        files = "standardisation.json", "model.pt"
        return metrics | {name: (run_dir / name).read_bytes() for name in files}

    plain = outcome()
    assert outcome(test=math.nan) == plain
    other = outcome(validation=100.0)
    assert other.pop("validation") != plain.pop("validation")
    assert other == plain

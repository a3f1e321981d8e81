"""Nothing of what is tested on reaches a training, whatever the protocol and with variants or without."""

from dataclasses import replace

import pytest
import torch

from dataloader import loaders
from utils.errors import UserError
from utils.metrics import read_json


def changed_outside_training(data):
    """The same data with other features in the validation and test sets."""
    x = data.features.frames.clone()
    for row, utterance in enumerate(data.features.utterances):
        if utterance.name not in data.split.train:
            x[row] = 100 * torch.randn(x[row].shape)
    return replace(data, features=replace(data.features, x=x))


@pytest.mark.parametrize("augmented", [False, True])
def test_held_out_features_change_neither_statistics_nor_weights(config, data, augmented):
    settings = config(train={"num_epochs": 1}, model={"aug": augmented})
    online = settings.augment.model_copy(update={"mode": "online", "variants": 0, "mixup": 0.5})
    settings = settings.model_copy(update={"augment": online})
    one = fit(settings, data, progress=False)
    other = fit(settings, changed_outside_training(data), progress=False)
    assert (one / "standardisation.json").read_bytes() == (other / "standardisation.json").read_bytes()
    weights = [torch.load(run / "model.pt", weights_only=True) for run in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    losses = [read_json(run / "validation_metrics.json")["loss"] for run in (one, other)]
    assert losses[0] != losses[1]  # they did change


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_a_training_on_anything_but_the_training_set_does_not_start(config, data, subset, monkeypatch):
    """The code is broken so that a held-out utterance is among what is trained on; the guard must say so."""
    stolen = getattr(data.split, subset)[0]
    pool = loaders.TrainingPool
    monkeypatch.setattr(loaders, "TrainingPool", lambda x, sources, each: pool(x, (*sources, stolen), each))
    with pytest.raises(UserError, match=rf"not in the training set: {stolen} \({subset}\)"):
        fit(config(), data, progress=False)
    assert not list(config().train.results_dir.glob("*"))

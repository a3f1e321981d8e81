"""Seeds that are trained at once: as one by one."""

import dataclasses

import pandas as pd
import pytest
import torch

from dataloader.splits import draw_split
from training.together import can_join, train_together
from training.train import train
from utils.files import read_tensors


@pytest.fixture
def double():
    """Double precision: a wrong draw, or weights of another seed, then differ by far more than rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


FUNCTIONALS = {"prosody": True, "normalise": "speaker", "functionals": True, "n_mfcc": 4}


@pytest.mark.parametrize(
    "settings",
    [
        {"train": {"gradient_clipping": 0.1}},
        {"model": {"ck": False, "pooling": "mean"}, "train": {"keep": "best", "gradient_clipping": 0.0}},
        {"model": {"separable": True, "af_type": "KAF", "pooling_dropout": 0.0}, "features": FUNCTIONALS},
        {"model": {"generator_type": "convKan", "kernel_window": 0.0}},
    ],
)
def test_seeds_at_once_are_the_same_as_one_by_one(config, data, tmp_path, double, settings):
    """Losses, scores and weights of two seeds, each with a split of its own; and all files are there."""
    train_settings = {"num_epochs": 2, **settings.get("train", {})}
    configs = [config(**{**settings, "train": {**train_settings, "seed": seed}}) for seed in (0, 1)]
    sizes, frames = configs[0].features.sizes, data.features.frames.double()
    frames = frames.repeat(1, 2, 1)[:, : sizes[0]]  # as many features, whatever they mean
    functionals = torch.randn(len(frames), sizes[1]) if sizes[1] else None
    features = dataclasses.replace(data.features, frames=frames, functionals=functionals)
    each = []
    for seed in (0, 1):
        split = draw_split(features.utterances, configs[seed].data, seed, "EMOVO")
        each.append(dataclasses.replace(data, features=features, split=split, settings=configs[0].features))
    alone, together = ([tmp_path / way / f"CkTIM_seed{seed}" for seed in (0, 1)] for way in "ab")
    for run_dir in alone + together:
        run_dir.mkdir(parents=True)
    for one in zip(configs, each, alone, strict=True):
        train(*one, progress=False)
    train_together(configs, each, together)
    for homes in zip(alone, together, strict=True):
        epochs = [pd.read_csv(home / "epochs.csv").filter(regex="^(?!.*seconds)") for home in homes]
        pd.testing.assert_frame_equal(*epochs, rtol=1e-9)
        first, second = ({path.name: path for path in home.iterdir()} for home in homes)
        assert first.keys() == second.keys() >= {"model.pt", "loss_acc.png"}
        for name in ("parameters.txt", "split.json", "standardisation.json"):
            assert first[name].read_bytes() == second[name].read_bytes()
        assert first["model.pt"].stat().st_size == second["model.pt"].stat().st_size
        weights, others = read_tensors(first["model.pt"]), read_tensors(second["model.pt"])
        torch.testing.assert_close(dict(others), dict(weights), rtol=1e-6, atol=1e-6)


def test_what_depends_on_a_seed_s_own_course_is_made_alone(config):
    assert can_join(config()) and can_join(config(model={"ck": False, "kernel_dropout": 0.1}))
    assert not can_join(config(train={"schedule": "plateau"}))
    assert not can_join(config(train={"log": "tensorboard"}))
    assert not can_join(config(model={"kernel_dropout": 0.1}))
    assert not can_join(config(model={"generator_norm": "batch"}))

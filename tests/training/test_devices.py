"""A training step on another device than the CPU, by the device "meta", which has shapes and no values."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dataloader.augment.features import FeatureAugmentation
from dataloader.features.extract import MFCC
from models.ckconv import CKConv
from models.cktim import build_model
from models.losses import among, cross_entropy
from utils.config import AugmentConfig, FeaturesConfig, ModelConfig

MODELS = [
    {},
    {"ck": False},
    {"generator_type": "convKan", "generator_norm": "batch"},
    {"af_type": "KAF"},
    {"af_type": "ReLu", "conv_algorithm": "direct"},
    {"pooling": "mean_std", "pooling_dropout": 0.5, "kernel_dropout": 0.1, "kernel_window": 0.05},
]


class OnOneDevice(TorchDispatchMode):
    """Raises where a tensor with axes is made elsewhere than on `device`, NumPy's aside, or one in float64.

    MPS, Apple's device, has no float64.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in (one for one in tree_leaves(result) if isinstance(one, torch.Tensor)):
            assert tensor.dtype not in (torch.float64, torch.complex128), operation
            from_numpy = operation is torch.ops.aten.lift_fresh.default
            assert tensor.device.type == self.device or not tensor.ndim or from_numpy, operation
        return result


def test_the_watch_notices_both():
    for wrong in ({"dtype": torch.float64, "device": "meta"}, {"device": "cpu"}):
        with pytest.raises(AssertionError), OnOneDevice("meta"):
            torch.ones(3, **wrong)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_step_and_an_evaluation_make_nothing_elsewhere_and_no_float64(model, monkeypatch):
    monkeypatch.setattr(CKConv, "support", CKConv.reach)  # it asks for values
    net = build_model(ModelConfig(**model), 7, num_functionals=12).to("meta")
    optimizer = torch.optim.AdamW(net.parameters())
    frames, functionals, shares, allowed = (
        torch.empty(4, *shape, device="meta") for shape in ([39, 188], [12], [7], [7])
    )
    targets = torch.empty(4, dtype=torch.long, device="meta")
    with OnOneDevice("meta"):
        for target, among_these in ((targets, None), (targets, allowed), (shares, allowed)):
            cross_entropy(net(frames, functionals), target, 0.1, among_these).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        net.eval()
        with torch.no_grad(), net.frozen_kernels():
            for seconds in (None, 0.01):
                among(net(frames, functionals, seconds), allowed)


def test_mfccs_and_changes_to_them_make_nothing_elsewhere_and_no_float64():
    settings = AugmentConfig(gain=1, frame_shift=1, time_mask=1, coefficient_mask=1, mixup=1)
    augment = FeatureAugmentation(settings, 0, torch.zeros(39), 188, 128)
    draws = augment.draw(["a", "b"], 0)
    mfcc = MFCC(FeaturesConfig()).to("meta")
    waveforms = torch.empty(2, 96_000, device="meta")
    with OnOneDevice("meta"):
        frames = augment.apply(mfcc(waveforms), draws)
    assert frames.shape == (2, 39, 188) and frames.dtype == torch.float32

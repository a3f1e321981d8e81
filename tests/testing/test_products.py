"""Products with cosines and sines are the transforms and convolutions that they stand for."""

import numpy as np
import pytest
import torch
from torch import nn

from dataloader.features.extract import MFCC
from models.causal_conv import direct_conv
from testing.products import Circle, ConvByProducts, MelSpectrogramByProducts
from utils.config import FeaturesConfig

# (n_fft, hop_length): composite, powers of two, odd, prime; hops that divide the window and that do not
SIZES = [(400, 160), (512, 128), (1_102, 441), (2_048, 512), (2_205, 551), (509, 100)]


class Both(nn.Module):
    """MFCCs by fast Fourier transforms, and by products, of each of SIZES."""

    def __init__(self) -> None:
        super().__init__()
        features = [FeaturesConfig(n_fft=n_fft, hop_length=hop, n_mels=40) for n_fft, hop in SIZES]
        self.usual = nn.ModuleList(MFCC(one) for one in features)
        self.products = nn.ModuleList(MFCC(one) for one in features)
        for mfcc in self.products:
            mfcc.mel = MelSpectrogramByProducts(mfcc.mel)

    def forward(self, waveforms):
        return [mfcc(waveforms) for mfcc in self.products]


@pytest.fixture(scope="module")
def waveforms():
    """A chord that sets in, and noise of two levels, which lifts every band above what rounding makes."""
    time = torch.arange(12_345) / 22_050
    chord = torch.stack([(2 * np.pi * pitch * time).sin() for pitch in (110, 443, 2_750)]).sum(0)
    noise = torch.rand(2, len(time), generator=torch.Generator().manual_seed(0)) - 0.5
    return 0.1 * chord * (time > 0.2) + torch.tensor([[0.02], [0.3]]) * noise


@pytest.fixture(scope="module")
def both():
    return Both()


def test_mfccs_by_products_are_our_mfccs_for_any_window(both, waveforms):
    for size, usual, got in zip(SIZES, both.usual, both(waveforms), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(
            got, usual(waveforms), rtol=0, atol=2e-4, msg=lambda text, n=size: f"{n}: {text}"
        )


def test_onnxruntime_computes_our_mfccs_for_any_window(both, waveforms):
    pytest.importorskip("onnxscript", reason="pip install -r requirements-export.txt")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -r requirements-export.txt")
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.onnx.export(
        both.eval(), (waveforms,), dynamo=True, dynamic_shapes=shapes, input_names=["x"], verbose=False
    )
    content = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for some in (waveforms, waveforms[1:]):
        for size, usual, got in zip(SIZES, both.usual, session.run(None, {"x": some.numpy()}), strict=True):
            np.testing.assert_allclose(got, usual(some), rtol=0, atol=2e-4, err_msg=str(size))


@pytest.mark.parametrize(("taps", "frames"), [(1, 1), (1, 7), (7, 7), (6, 7), (50, 188), (188, 188)])
def test_a_convolution_by_products_is_the_sum_as_written(taps, frames):
    random = torch.Generator().manual_seed(taps + frames)
    x = torch.randn(3, 2 * 5, frames, generator=random)
    kernel = torch.randn(2, 4, 5, taps, generator=random)
    got = ConvByProducts(taps, frames)(x, kernel)
    expected = direct_conv(x.double(), kernel.double())
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6 * float(expected.abs().amax()))


def test_a_circles_cosines_are_rounded_once(n=1_102):
    turns, quarters = torch.tensor([0, 551, 1, 10**9]), torch.tensor([0, 0, 1, -1])
    angles = 2 * np.pi * (np.array([0, 551, 1, 10**9 % n]) / n + np.array([0, 0, 1, -1]) / 4)
    np.testing.assert_allclose(Circle(n)(turns, quarters), np.cos(angles), rtol=0, atol=3e-8)

"""The nonlinearities of kernel generators, chosen by `model.af_type`.

Each says which factor its argument takes (`argument_factor`): the frequency omega_0 is the sine's own.
"""

import torch
from torch import Tensor, nn

# KAF's dictionary: 20 Gaussians on [-4, 4], as wide as the paper's rule of thumb has it.
DICTIONARY_SIZE = 20
DICTIONARY_EDGE = 4.0
SPACING = 2 * DICTIONARY_EDGE / (DICTIONARY_SIZE - 1)
BANDWIDTH = 1 / (6 * SPACING**2)
RANDOM_STD = 0.3  # of KAF's coefficients at the start: its values then vary by about 0.5
RIDGE = 0.01  # keeps KAFsin's coefficients of order 1, at 0.005 from the sine on [-3, 3]


class Sine(nn.Module):
    """sin(x), elementwise; the factor omega_0 is the generator's (SIREN, arXiv 2006.09661)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class KAF(nn.Module):
    """Kernel activation function: per channel a learned mixture of Gaussians on a fixed dictionary.

    KAF(x) = sum over i of a_i · exp(-γ (x - d_i)²) with γ = 1 / (6 Δ²), Δ the dictionary's spacing
    (Scardapane et al., Neural Networks 110, 2019). Outside the dictionary, [-4, 4], it and its gradients
    fall to 0.

    Args:
        channels: channels, each with coefficients of its own.
        as_sine: start as the sine, by kernel ridge regression on the dictionary; otherwise at random.
    """

    def __init__(self, channels: int, as_sine: bool = False) -> None:
        super().__init__()
        dictionary = torch.linspace(-DICTIONARY_EDGE, DICTIONARY_EDGE, DICTIONARY_SIZE)
        self.register_buffer("dictionary", dictionary, persistent=False)
        if as_sine:
            gram = gaussians(dictionary, dictionary) + RIDGE * torch.eye(DICTIONARY_SIZE)
            coefficients = torch.linalg.solve(gram, dictionary.sin()).repeat(channels, 1)
        else:
            coefficients = RANDOM_STD * torch.randn(channels, DICTIONARY_SIZE)
        self.coefficients = nn.Parameter(coefficients)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, taps) → the same shape."""
        return torch.einsum("bcti,ci->bct", gaussians(x, self.dictionary), self.coefficients)


def gaussians(x: Tensor, centres: Tensor) -> Tensor:
    """exp(-γ (x - d)²) for every centre d: any shape → (…, centres)."""
    return torch.exp(-BANDWIDTH * (x.unsqueeze(-1) - centres).square())


def make_activation(af_type: str, channels: int) -> nn.Module:
    """The nonlinearity that `af_type` names: sin, ReLu, KAF, or KAFsin (a KAF that starts as the sine)."""
    if af_type == "sin":
        return Sine()
    if af_type == "ReLu":
        return nn.ReLU()
    return KAF(channels, as_sine=af_type == "KAFsin")


def argument_factor(af_type: str, omega_0: float) -> float:
    """The factor on the nonlinearity's argument.

    The sine takes omega_0. A KAF takes it up to the dictionary's edge: positions lie in [-1, 1], and a
    larger factor would move most of them to where the KAF is 0 and learns nothing; its own shape takes
    over from there. A ReLU has no frequency: it takes 1.
    """
    if af_type == "sin":
        return omega_0
    return 1.0 if af_type == "ReLu" else min(omega_0, DICTIONARY_EDGE)

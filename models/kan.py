"""Parts of kernel generators: Kolmogorov-Arnold layers, and nonlinearities, fixed or learned (KAF)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The splines of a KAN: cubic, on 5 intervals of [-1, 1].
SPLINE_ORDER = 3
SPLINE_GRID = 5
SPLINES = SPLINE_GRID + SPLINE_ORDER

# Coefficients drawn with this standard deviation give an edge of a KAN, on average over [-1, 1], the slope of
# an edge whose weight is drawn from U(-1, 1).
EDGE_STD = 0.27

# KAF's dictionary: 20 Gaussians on [-4, 4], as wide as the paper's rule of thumb has it.
DICTIONARY_SIZE = 20
DICTIONARY_EDGE = 4.0
SPACING = 2 * DICTIONARY_EDGE / (DICTIONARY_SIZE - 1)
BANDWIDTH = 1 / (6 * SPACING**2)
RANDOM_STD = 0.3  # of KAF's coefficients at the start: its values then vary by about 0.5
RIDGE = 0.01  # keeps KAFsin's coefficients of order 1, at 0.005 from the sine on [-3, 3]


class KANLayer(nn.Module):
    """A layer of a Kolmogorov-Arnold network (arXiv 2404.19756, equation 2.10), as a grouped 1×1 convolution.

    Every edge from an input to an output is a function of its own, and an output adds up its edges:

        φ(x) = w_b · silu(x) + w_s · sum over i of c_i · B_i(x),

    with B_i the cubic B-splines on [-1, 1]. Outside, the splines fade to 0 and w_b · silu(x) remains. All
    edges together are one matrix product, over the silu and the splines of all inputs.

    Args:
        in_channels, out_channels: channels of one group.
        groups: independent groups.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        edges = (groups, out_channels, in_channels)
        self.base_scale = nn.Parameter(torch.empty(edges))  # w_b
        self.spline_scale = nn.Parameter(torch.ones(edges))  # w_s
        self.coefficients = nn.Parameter(torch.empty(*edges, SPLINES))  # c

    @torch.no_grad()
    def initialise(self, bound: float) -> None:
        """Random edges, about as steep as those of a convolution with weights from U(-bound, bound)."""
        self.base_scale.normal_(0, EDGE_STD * bound)
        self.coefficients.normal_(0, EDGE_STD * bound)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, groups · in_channels, taps) → (batch, groups · out_channels, taps)."""
        groups, _, in_channels = self.base_scale.shape
        x = x.unflatten(1, (groups, in_channels)).unsqueeze(-2)
        features = torch.cat([F.silu(x), spline_basis(x)], dim=-2)  # (batch, groups, in, 1 + splines, taps)
        splines = self.spline_scale.unsqueeze(-1) * self.coefficients
        weight = torch.cat([self.base_scale.unsqueeze(-1), splines], dim=-1)
        return (weight.flatten(2) @ features.flatten(2, 3)).flatten(1, 2)

    @torch.no_grad()
    def scale(self, factor: float | Tensor) -> None:
        """Multiply the layer's values by `factor`, one for all or one for each output, (groups · out,)."""
        groups, out_channels, _ = self.base_scale.shape
        factor = torch.as_tensor(factor).to(self.base_scale)
        factor = factor.expand(groups * out_channels).view(groups, out_channels, 1)
        self.base_scale.mul_(factor)
        self.spline_scale.mul_(factor)

    @torch.no_grad()
    def shift(self, offset: Tensor) -> None:
        """Add `offset` (groups · out,) to the layer's values at inputs in [-1, 1], where splines sum to 1."""
        groups, out_channels, in_channels = self.base_scale.shape
        offset = offset.view(groups, out_channels, 1) / in_channels
        self.coefficients.add_((offset / self.spline_scale).unsqueeze(-1))


def spline_basis(x: Tensor) -> Tensor:
    """The cubic B-splines on [-1, 1] by the recursion of Cox and de Boor: (…, 1, taps) → (…, 8, taps)."""
    u = (x + 1) * (SPLINE_GRID / 2)  # in units of the grid's intervals, where the knots are whole numbers
    knots = torch.arange(-SPLINE_ORDER, SPLINE_GRID + SPLINE_ORDER + 1, device=x.device).unsqueeze(-1)
    basis = ((knots[:-1] <= u) & (u < knots[1:])).to(x.dtype)
    for order in range(1, SPLINE_ORDER + 1):
        rising = (u - knots[: -order - 1]) / order
        falling = (knots[order + 1 :] - u) / order
        basis = rising * basis[..., :-1, :] + falling * basis[..., 1:, :]
    return basis


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
        self.dictionary = nn.Buffer(dictionary, persistent=False)
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


class Sine(nn.Module):
    """sin(x), elementwise; the factor omega_0 is the generator's (SIREN, arXiv 2006.09661)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


def make_activation(af_type: str, channels: int) -> nn.Module:
    """The nonlinearity that `af_type` names: sin, ReLu, KAF, or KAFsin (a KAF that starts as the sine)."""
    if af_type == "sin":
        return Sine()
    if af_type == "ReLu":
        return nn.ReLU()
    return KAF(channels, as_sine=af_type == "KAFsin")


def argument_factor(af_type: str, omega_0: float) -> float:
    """The factor on the nonlinearity's argument: omega_0 for the sine, 1 for a ReLU, which has no frequency.

    A KAF takes omega_0 up to the dictionary's edge, beyond which it is 0 and learns nothing.
    """
    if af_type == "sin":
        return omega_0
    return 1.0 if af_type == "ReLu" else min(omega_0, DICTIONARY_EDGE)

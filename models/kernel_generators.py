"""Kernel generators: small networks that map a relative position in [-1, 1] to a kernel's values there."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.activations import argument_factor, make_activation
from utils.config import ModelConfig

HIDDEN_CHANNELS = 32  # width of the generator's two hidden layers at hidden_scale 1

# The splines of a KAN: cubic, on 5 intervals of [-1, 1].
SPLINE_ORDER = 3
SPLINE_GRID = 5
SPLINES = SPLINE_GRID + SPLINE_ORDER

# Coefficients drawn with this standard deviation give an edge of a KAN, on average over [-1, 1], the slope of
# an edge whose weight is drawn from U(-1, 1).
EDGE_STD = 0.27


class KernelGenerator(nn.Module):
    """Layers 1 → hidden → hidden → out over positions; what a layer is, is the subclass's affair.

    After each hidden layer: × omega_0, batch norm (optional), nonlinearity. All groups are evaluated in one
    call, as groups of the layers.

    Args:
        groups: independent generators (one for each direction in time).
        out_channels: values a position, of each generator.
        hidden_channels: width of the two hidden layers.
        omega_0: factor on the sine's argument; the larger, the faster kernels may vary. KAF takes it up to
            4, ReLU not at all (models.activations.argument_factor).
        norm: "none", or "batch" for the published network's batch norm over positions. Positions never
            change, so it makes training (batch statistics) and evaluation (running averages) see
            different kernels, and it cancels omega_0.
        af_type: the nonlinearity: "sin", "KAF", "KAFsin" or "ReLu" (models.activations).
    """

    layer_type: type[nn.Module]

    def __init__(
        self,
        groups: int,
        out_channels: int,
        hidden_channels: int,
        omega_0: float,
        norm: str = "none",
        af_type: str = "sin",
    ) -> None:
        super().__init__()
        self.groups, self.omega_0 = groups, argument_factor(af_type, omega_0)
        widths = (1, hidden_channels, hidden_channels, out_channels)
        self.layers = nn.ModuleList(self.layer_type(n_in, n_out, groups) for n_in, n_out in pairwise(widths))
        hidden = groups * hidden_channels
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(hidden) if norm == "batch" else nn.Identity() for _ in range(2)
        )
        self.activations = nn.ModuleList(make_activation(af_type, hidden) for _ in range(2))
        # SIREN's ranges (arXiv 2006.09661, section 3.2); with omega_0 = 1 they are He's, as a ReLU wants.
        for index, (layer, fan_in) in enumerate(zip(self.layers, widths[:-1], strict=True)):
            layer.initialise(1.0 if index == 0 else math.sqrt(6 / fan_in) / self.omega_0)
        if af_type == "ReLu":
            self._spread_kinks(hidden_channels)

    @torch.no_grad()
    def _spread_kinks(self, hidden_channels: int) -> None:
        """Give each unit of a ReLU layer a kink (a zero of its argument) at a position of its own.

        Where arguments keep one sign, a ReLU is linear or dead, so the kinks are spread evenly over [-1, 1]
        (CKConv, appendix), and units that would be off at most positions change sign.
        """
        own = torch.arange(hidden_channels)
        at_kinks = ((2 * own + 1) / hidden_channels - 1).expand(1, self.groups, -1)
        everywhere = torch.linspace(-1, 1, 101).expand(1, self.groups, -1)
        for layer in self.layers[:-1]:
            value = layer(at_kinks).view(self.groups, hidden_channels, hidden_channels)[:, own, own]
            layer.shift(-value.flatten())
            value = layer(everywhere)
            # where all inputs are off the layer is constant, and 0 up to rounding if its kink lies there
            sign = torch.where(value.abs() > 1e-5 * value.abs().amax(), value.sign(), 0)
            mostly_off = sign.mean((0, 2)) < 0
            layer.scale(1 - 2 * mostly_off.float())
            at_kinks, everywhere = F.relu(layer(at_kinks)), F.relu(layer(everywhere))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (taps,) in [-1, 1] → values (groups, out_channels, taps)."""
        h = positions.expand(1, self.groups, -1)
        for layer, norm, activation in zip(self.layers[:-1], self.norms, self.activations, strict=True):
            h = activation(norm(self.omega_0 * layer(h)))
        return self.layers[-1](h).unflatten(1, (self.groups, -1)).squeeze(0)

    def rescale_output(self, factor: float) -> None:
        """Multiply every value that the generator gives by `factor`."""
        self.layers[-1].scale(factor)


class ConvLayer(nn.Conv1d):
    """A weight-normalised 1×1 convolution in groups; channels are those of one group."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__(groups * in_channels, groups * out_channels, kernel_size=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(1, groups · in_channels, taps) → (1, groups · out_channels, taps), as nn.Conv1d but faster."""
        weight = self.weight.unflatten(0, (self.groups, -1)).squeeze(-1)
        bias = self.bias.view(self.groups, -1, 1)
        return torch.baddbmm(bias, weight, x.view(self.groups, -1, x.shape[-1])).view(1, -1, x.shape[-1])

    @torch.no_grad()
    def initialise(self, bound: float) -> None:
        """Weights from U(-bound, bound), biases from U(-0.1, 0.1)."""
        self.weight.uniform_(-bound, bound)
        self.bias.uniform_(-0.1, 0.1)
        weight_norm(self)

    @torch.no_grad()
    def scale(self, factor: float | Tensor) -> None:
        """Multiply the layer's values by `factor`, one for all or one for each output, (groups · out,)."""
        factor = torch.as_tensor(factor).to(self.bias)
        self.bias.mul_(factor)
        self.parametrizations.weight.original0.mul_(factor.view(-1, 1, 1))  # weight norm's magnitudes

    @torch.no_grad()
    def shift(self, offset: Tensor) -> None:
        """Add `offset` (groups · out,) to the layer's values."""
        self.bias.add_(offset)


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


class ConvGenerator(KernelGenerator):
    """A perceptron of weight-normalised 1×1 convolutions (SIREN; CKConv, arXiv 2102.02611, section 4)."""

    layer_type = ConvLayer


class KANGenerator(KernelGenerator):
    """A Kolmogorov-Arnold network whose edges are splines.

    Its edges are nonlinear already; the nonlinearity between the layers stays, as in the conv generator:
    omega_0 then means the same frequency (edges start as steep as SIREN's), and sine values lie in [-1, 1],
    where the next layer has its splines.
    """

    layer_type = KANLayer


GENERATORS = {"conv": ConvGenerator, "convKan": KANGenerator}


def make_generator(model: ModelConfig, groups: int, out_channels: int, omega_0: float) -> KernelGenerator:
    """The kernel generator that the configuration names (arguments as in KernelGenerator)."""
    hidden_channels = max(1, math.floor(HIDDEN_CHANNELS * model.hidden_scale))
    generator = GENERATORS[model.generator_type]
    return generator(groups, out_channels, hidden_channels, omega_0, model.generator_norm, model.af_type)

"""Kernel generators: small networks that map a relative position in [-1, 1] to a kernel's values there."""

import math
from collections import OrderedDict
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.kan import KANLayer, argument_factor, make_activation
from utils.config import ModelConfig

HIDDEN_CHANNELS = 32  # width of the generator's two hidden layers at hidden_scale 1


class KernelGenerator(nn.Module):
    """Layers 1 → hidden → hidden → out over positions, of the subclass's type; all groups in one call.

    After each hidden layer: × omega_0, batch norm (optional), nonlinearity.

    Args:
        groups: independent generators (one for each direction in time).
        out_channels: values a position, of each generator.
        hidden_channels: width of the two hidden layers.
        omega_0: factor on the argument of the nonlinearity (models.kan.argument_factor).
        norm: "none", or "batch" for the published network's batch norm over positions, with which training
            and evaluation have different kernels, and omega_0 cancels.
        af_type: the nonlinearity: "sin", "KAF", "KAFsin" or "ReLu" (models.kan).
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
        """Spread the kinks of ReLU units (zeros of their arguments) evenly over [-1, 1] (CKConv, appendix).

        Units that would be off at most positions change sign.
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

    def __reduce__(self) -> tuple:
        # PyTorch does not pickle the class that a parametrisation gives a module, nor weight norm's hook.
        return pickled_layer, ({**vars(self), "_load_state_dict_pre_hooks": OrderedDict()},)


def pickled_layer(state: dict) -> ConvLayer:
    """The layer that was pickled; weight_norm makes the class, for whatever parametrisations it had."""
    layer = ConvLayer.__new__(ConvLayer)
    layer.__setstate__(state)
    if isinstance(parametrizations := layer._modules.pop("parametrizations", None), nn.ModuleDict):
        for name in parametrizations:
            layer.register_parameter(name, nn.Parameter(torch.ones(1, 1)))
            weight_norm(layer, name)
        layer.parametrizations = parametrizations
    return layer


class ConvGenerator(KernelGenerator):
    """A perceptron of weight-normalised 1×1 convolutions (SIREN; CKConv, arXiv 2102.02611, section 4)."""

    layer_type = ConvLayer


class KANGenerator(KernelGenerator):
    """A Kolmogorov-Arnold network of splines, with the same nonlinearity between its layers."""

    layer_type = KANLayer


GENERATORS = {"conv": ConvGenerator, "convKan": KANGenerator}


def make_generator(model: ModelConfig, groups: int, out_channels: int, omega_0: float) -> KernelGenerator:
    """The kernel generator that the configuration names (arguments as in KernelGenerator)."""
    hidden_channels = max(1, math.floor(HIDDEN_CHANNELS * model.hidden_scale))
    generator = GENERATORS[model.generator_type]
    return generator(groups, out_channels, hidden_channels, omega_0, model.generator_norm, model.af_type)

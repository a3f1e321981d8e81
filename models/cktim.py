"""CkTIM-net: continuous-kernel temporal network for speech emotion recognition; with `ck: False`, TIM-net.

    frames (batch, num_features, frames), standardised
      → beside them the same reversed in time: two groups of channels, one for each direction
      → input convolution
      → n temporal-aware blocks; after each, the summary over time, the two directions added: g_1 … g_n
      → dynamic fusion: sum of w_j · g_j
      → linear classifier; with functionals of the utterance, a perceptron on them adds its logits

Every layer after the input works on both directions at once, as groups of its channels: the same
mathematics as two separate branches, in half the calls.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.ckconv import CKConv, SeparableCKConv
from models.kernel_generators import make_generator
from models.temporal_aware_block import DilatedCausalConv, TemporalAwareBlock
from utils.config import ModelConfig

DIRECTIONS = 2  # forwards and backwards in time
FREEZING = threading.Lock()


class CkTIMNet(nn.Module):
    """CkTIM-net (or TIM-net), see the module's head.

    The state dict holds, beside the weights, all else that belongs to them: the standardisation (buffers
    `feature_mean` and `feature_std` (num_features,), which at the start change nothing), and the length and
    frame period of a training utterance, at which the continuous kernels are anchored (`_extra_state`).

    Args:
        model: the `model` section of the configuration.
        num_classes, num_features, num_functionals: emotions, features of a frame, functionals (0: none).
        frames: frames of a training utterance: the horizon of the continuous kernels.
        frame_seconds: seconds from one frame to the next in training.
    """

    def __init__(
        self,
        model: ModelConfig,
        num_classes: int,
        num_features: int = 39,
        num_functionals: int = 0,
        frames: int = 188,
        frame_seconds: float = 512 / 22_050,
    ) -> None:
        super().__init__()
        self.name, self.frames, self.frame_seconds = model.name, frames, frame_seconds
        self.feature_mean = nn.Buffer(torch.zeros(num_features))
        self.feature_std = nn.Buffer(torch.ones(num_features))
        self.input_dropout = nn.Dropout1d(model.input_dropout)
        self.input_conv = convolution(model, num_features, frames)
        self.blocks = nn.ModuleList(
            TemporalAwareBlock(
                [convolution(model, num_features, frames, block) for _ in range(2)],
                DIRECTIONS * model.n_filter,
                model.dropout_rate,
            )
            for block in range(model.n_temporal_aware_block)
        )
        self.fusion = DynamicFusion(model.n_temporal_aware_block)
        self.with_std, self.pooling_dropout = model.pooling == "mean_std", model.pooling_dropout
        self.classifier = nn.Linear(model.n_filter * (1 + self.with_std), num_classes)
        self.functionals = None
        if num_functionals:
            self.functionals = nn.Sequential(
                nn.Dropout(model.functionals_dropout),
                nn.Linear(num_functionals, model.functionals_width),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Linear(model.functionals_width, num_classes),
            )

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set the standardisation: mean and standard deviation of each feature, (num_features,)."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)

    def forward(
        self, frames: Tensor, functionals: Tensor | None = None, frame_seconds: float | None = None
    ) -> Tensor:
        """Features of utterances → logits (batch, classes).

        Args:
            frames: (batch, num_features, frames), any number of frames, not standardised.
            functionals: (batch, num_functionals), for a network that was made with them.
            frame_seconds: where it is not that of the training; TIM-net ignores it.
        """
        return self.logits(self.embedding(frames, frame_seconds), functionals)

    def logits(self, embedding: Tensor, functionals: Tensor | None = None) -> Tensor:
        """Of an embedding (batch, channels), and functionals as in `forward`: (batch, classes)."""
        logits = self.classifier(embedding)
        return logits if self.functionals is None else logits + self.functionals(functionals)

    def embedding(self, frames: Tensor, frame_seconds: float | None = None) -> Tensor:
        """The utterances as the classifier gets them, Σ_j w_j · g_j (TIM-Net, equation 5): (batch, channels).

        Channels are n_filter means over time, with `pooling` mean_std as many standard deviations behind
        them. Arguments as in `forward`; functionals go to the logits past it.
        """
        return self.fusion(self.summaries(frames, frame_seconds))

    def summaries(self, x: Tensor, frame_seconds: float | None = None) -> Tensor:
        """g_1 … g_n: (batch, n blocks, n_filter), with `pooling` mean_std (batch, n blocks, 2 · n_filter)."""
        step = 1.0 if frame_seconds is None else frame_seconds / self.frame_seconds
        x = self.input_dropout((x - self.feature_mean[:, None]) / self.feature_std[:, None])
        x = self.input_conv(torch.cat([x, x.flip(-1)], dim=1), step)
        mask = None
        if self.training and self.pooling_dropout:
            mask = all_but_a_stretch(x, self.pooling_dropout)
            mask = torch.stack([mask, mask.flip(-1)], dim=1)  # (batch, directions, 1, frames)
        return pooled_after_each(self.blocks, x, step, DIRECTIONS, mask, self.with_std).sum(1)

    @contextmanager
    def frozen_kernels(self) -> Iterator["CkTIMNet"]:
        """Generate each kernel once within the block. Blocks may be nested, and overlap in threads."""
        self.freeze_kernels()
        try:
            yield self
        finally:
            self.freeze_kernels(False)

    def freeze_kernels(self, frozen: bool = True) -> None:
        """Begin to keep the continuous kernels, or end it, as often as it was begun.

        Kernels are kept in evaluation without gradients, until something changes that they are made of.
        """
        with FREEZING:
            for module in self.modules():
                if isinstance(module, CKConv):
                    module._frozen.freeze(1 if frozen else -1)

    def get_extra_state(self) -> Tensor:
        """(2,): frames and seconds from frame to frame of a training utterance."""
        return torch.tensor([self.frames, self.frame_seconds], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Anchor the continuous kernels where the loaded weights had them."""
        self.frames, self.frame_seconds = round(state[0].item()), state[1].item()
        for module in self.modules():
            if isinstance(module, CKConv):
                module.horizon = self.frames


class DynamicFusion(nn.Module):
    """A learned weighted sum of the blocks' summaries (TIM-Net, equation 5); at the start their average."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((n_blocks,), 1 / n_blocks))

    def forward(self, summaries: Tensor) -> Tensor:
        """(batch, n_blocks, channels) → (batch, channels)."""
        return self.weight @ summaries


def all_but_a_stretch(x: Tensor, longest: float, generator: torch.Generator | None = None) -> Tensor:
    """A random mask (batch, 1, frames): 0 on one stretch of frames, up to that share of all, 1 elsewhere."""
    batch, _, frames = x.shape
    width, begin = (torch.rand(batch, 1, 1, device=x.device, generator=generator) for _ in range(2))
    width = frames * longest * width
    begin = (frames - width) * begin
    frame = torch.arange(frames, device=x.device)
    return ((frame < begin) | (frame >= begin + width)).to(x.dtype)


def pooled_after_each(
    blocks: Iterable[nn.Module], x: Tensor, step: float, groups: int, mask: Tensor | None, with_std: bool
) -> Tensor:
    """`pool` of each group of x's channels after each block: (batch, groups, n blocks, 1 or 2 · channels)."""
    pooled = []
    for block in blocks:
        x = block(x, step)
        pooled.append(pool(x.unflatten(1, (groups, -1)), mask, with_std))
    return torch.stack(pooled, dim=2)


def pool(x: Tensor, mask: Tensor | None, with_std: bool) -> Tensor:
    """The mean over time, or mean and standard deviation: (…, channels, frames) → (…, 1 or 2 · channels).

    mask (…, 1, frames) is 1 for frames that count. The root's slope is infinite at 0: a constant channel
    counts as one of standard deviation 0.003.
    """

    def mean(values: Tensor) -> Tensor:
        return values.mean(-1) if mask is None else (values * mask).sum(-1) / mask.sum(-1).clamp(min=1)

    centre = mean(x)
    if not with_std:
        return centre
    variance = mean((x - centre.unsqueeze(-1)).square())
    return torch.cat([centre, (variance + 1e-5).sqrt()], dim=-1)


build_model = CkTIMNet  # the name by which scripts know it


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def convolution(model: ModelConfig, num_features: int, frames: int, block: int | None = None) -> nn.Module:
    """The input's convolution, or a block's: CKConv, or TIM-net's (1 tap; in the blocks dilation 2^block).

    Where the blocks' kernels are separable, the input's convolution is TIM-net's.
    """
    in_channels = num_features if block is None else model.n_filter
    if not model.ck or (model.separable and block is None):
        taps, dilation = (1, 1) if block is None else (model.kernel_size, 2**block)
        sizes = DIRECTIONS * in_channels, DIRECTIONS * model.n_filter, taps
        return DilatedCausalConv(*sizes, dilation=dilation, groups=DIRECTIONS)
    if block is None:
        omega_0, window = model.input_omega_0, model.input_kernel_window if model.kernel_window else 0.0
    else:
        omega_0, window = model.omega_0, model.kernel_window
    options: dict[str, Any] = {
        "window": window,
        "kernel_dropout": model.kernel_dropout,
        "variance_preserving": model.kernel_init == "variance_preserving",
        "algorithm": model.conv_algorithm,
    }
    kernels = in_channels * (1 if model.separable else model.n_filter)
    generator = make_generator(model, DIRECTIONS, kernels, omega_0)
    if model.separable:
        return SeparableCKConv(in_channels, DIRECTIONS, generator, frames, **options)
    bias = block is None and model.kernel_bias  # in a block the batch norm would take it out again
    return CKConv(in_channels, model.n_filter, DIRECTIONS, generator, frames, bias=bias, **options)

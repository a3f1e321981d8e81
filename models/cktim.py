"""CkTIM-net: continuous-kernel temporal network for speech emotion recognition; with `ck: False`, TIM-net.

    MFCCs (batch, num_features, frames), standardised
      → beside them the same reversed in time: two groups of channels, one for each direction
      → input convolution
      → n temporal-aware blocks; after each, the summary over time, the two directions added: g_1 … g_n
      → dynamic fusion: sum of w_j · g_j
      → linear classifier; with statistics of the whole utterance, a small perceptron on them beside it: their
        logits are added, or with `late_fusion` their probabilities multiplied

Every layer after the input works on both directions at once, as groups of its channels: the same
mathematics as two separate branches, in half the calls.
"""

import torch
from torch import Tensor, nn

from models.ckconv import CKConv
from models.dynamic_fusion import DynamicFusion
from models.kernel_generators import make_generator
from models.temporal_aware_block import DilatedCausalConv, TemporalAwareBlock
from utils.config import ModelConfig

DIRECTIONS = 2  # forwards and backwards in time


class CkTIMNet(nn.Module):
    """CkTIM-net (or TIM-net), see the module's head.

    The state dict holds, beside the weights, all else that belongs to them: the standardisation (buffers
    `feature_mean` and `feature_std` (num_features,), which at the start change nothing), and the length and
    frame period of a training utterance, at which the continuous kernels are anchored (`_extra_state`).

    Args:
        model: the `model` section of the configuration.
        num_classes: number of emotions.
        frames: frames of a training utterance: the horizon of the continuous kernels.
        frame_seconds: seconds from one frame to the next in training.
    """

    def __init__(
        self, model: ModelConfig, num_classes: int, frames: int = 188, frame_seconds: float = 512 / 22_050
    ) -> None:
        super().__init__()
        channels = DIRECTIONS * model.n_filter
        self.frames, self.frame_seconds = frames, frame_seconds
        self.register_buffer("feature_mean", torch.zeros(model.num_features))
        self.register_buffer("feature_std", torch.ones(model.num_features))
        self.input_dropout = nn.Dropout1d(model.input_dropout)
        self.input_conv = input_convolution(model, frames)
        self.blocks = nn.ModuleList(
            TemporalAwareBlock(
                (block_convolution(model, index, frames), block_convolution(model, index, frames)),
                channels,
                model.dropout_rate,
                model.gate,
            )
            for index in range(model.n_temporal_aware_block)
        )
        self.fusion = DynamicFusion(model.n_temporal_aware_block)
        self.pool = {"mean": mean, "mean_std": mean_std}[model.pooling]
        self.pooling_dropout = model.pooling_dropout
        summary = model.n_filter * (2 if model.pooling == "mean_std" else 1)
        self.classifier = nn.Linear(summary, num_classes)
        self.num_statistics = model.num_statistics
        self.statistics = statistics_path(model, num_classes) if model.num_statistics else None
        self.late_fusion = model.late_fusion

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set the standardisation: mean and standard deviation of each coefficient, (num_features,)."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, frame_seconds: float | None = None
    ) -> Tensor:
        """Raw MFCCs → logits.

        Args:
            x: (batch, num_features, frames), any number of frames. With statistics, rows below that hold
                them (dataloader.features.functionals.below_frames).
            lengths: (batch,) frames of each utterance, where shorter ones are padded at their end: padding
                changes no logit. None for utterances that fill the batch.
            frame_seconds: seconds from one frame to the next, where it is not that of the training:
                continuous kernels are sampled accordingly (TIM-net has no such notion, and ignores it).

        Returns:
            (batch, num_classes); with `late_fusion`, means of both paths' log probabilities, the softmax of
            which is their geometric mean, scaled to a sum of 1 (the product rule of Kittler et al., "On
            Combining Classifiers", IEEE TPAMI 20, 1998, with a root).
        """
        paths = [self.classifier(self.fusion(self.summaries(x, lengths, frame_seconds)))]
        if self.statistics is not None:
            below = x[:, len(self.feature_mean) :].flatten(1)
            paths.append(self.statistics(below[:, : self.num_statistics]))
        if self.late_fusion:
            return torch.stack(paths).log_softmax(-1).mean(0)
        return sum(paths)

    def summaries(
        self, x: Tensor, lengths: Tensor | None = None, frame_seconds: float | None = None
    ) -> Tensor:
        """Raw MFCCs → g_1 … g_n; arguments as in forward.

        Returns:
            (batch, n blocks, n_filter), with `pooling` mean_std (batch, n blocks, 2 · n_filter).
        """
        step = 1.0 if frame_seconds is None else frame_seconds / self.frame_seconds
        x = (x[:, : len(self.feature_mean)] - self.feature_mean[:, None]) / self.feature_std[:, None]
        mask = None
        if lengths is not None:
            mask = (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None].to(x.dtype)
            x = x * mask
        x = self.input_dropout(x)
        x = self.input_conv(torch.cat([x, reverse(x, lengths)], dim=1), step)
        pooled = mask
        if self.training and self.pooling_dropout:
            heard = all_but_a_stretch(x, self.pooling_dropout)
            pooled = heard if mask is None else heard * mask
        if pooled is not None:  # (batch, directions, 1, frames): frame t of the reversed input is another one
            pooled = torch.stack([pooled, reverse(pooled, lengths)], dim=1)
        summaries = []
        for block in self.blocks:
            x = block(x, mask, step)
            summaries.append(self.pool(x.unflatten(1, (DIRECTIONS, -1)), pooled).sum(1))
        return torch.stack(summaries, dim=1)

    def get_extra_state(self) -> Tensor:
        """(2,): frames and seconds from frame to frame of a training utterance."""
        return torch.tensor([self.frames, self.frame_seconds], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Anchor the continuous kernels where the loaded weights had them."""
        self.frames, self.frame_seconds = round(state[0].item()), state[1].item()
        for module in self.modules():
            if isinstance(module, CKConv):
                module.horizon = self.frames


def reverse(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Reverse in time (batch, channels, frames); what lies behind an utterance's length stays there."""
    if lengths is None:
        return x.flip(-1)
    frame = torch.arange(x.shape[-1], device=x.device)
    source = torch.where(frame < lengths[:, None], lengths[:, None] - 1 - frame, frame)
    return x.gather(-1, source[:, None].expand_as(x))


def all_but_a_stretch(x: Tensor, longest: float) -> Tensor:
    """A random mask (batch, 1, frames): 0 on one stretch of frames, up to that share of all, 1 elsewhere.

    The summaries over time are of the rest, as in dropout: no part of an utterance may be relied on alone.
    """
    batch, _, frames = x.shape
    width = frames * longest * torch.rand(batch, 1, 1, device=x.device)
    begin = (frames - width) * torch.rand(batch, 1, 1, device=x.device)
    frame = torch.arange(frames, device=x.device)
    return ((frame < begin) | (frame >= begin + width)).to(x.dtype)


def mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean over time: (…, channels, frames) → (…, channels).

    mask (…, 1, frames) is 1 for frames that count, and 0 for others.
    """
    return x.mean(-1) if mask is None else (x * mask).sum(-1) / mask.sum(-1).clamp(min=1)


def mean_std(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean and standard deviation over time (statistics pooling): (…, channels, frames) → (…, 2 · channels).

    The root's slope is infinite at 0: a constant channel counts as one of standard deviation 0.003.
    """
    centre = mean(x, mask)
    variance = mean((x - centre.unsqueeze(-1)).square(), mask)
    return torch.cat([centre, (variance + 1e-5).sqrt()], dim=-1)


def statistics_path(model: ModelConfig, num_classes: int) -> nn.Module:
    """Statistics of whole utterances (batch, num_statistics) → what they add to the logits."""
    return nn.Sequential(
        nn.Dropout(model.statistics_dropout),
        nn.Linear(model.num_statistics, model.statistics_width),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(model.statistics_width, num_classes),
    )


def build_model(
    model: ModelConfig, num_classes: int, frames: int = 188, frame_seconds: float = 512 / 22_050
) -> CkTIMNet:
    """The network that the `model` section of the configuration describes (arguments as in CkTIMNet)."""
    return CkTIMNet(model, num_classes, frames, frame_seconds)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def input_convolution(model: ModelConfig, frames: int) -> nn.Module:
    """num_features → n_filter channels in each direction: CKConv, or TIM-net's 1×1 convolution."""
    if model.ck:
        window = model.input_kernel_window if model.kernel_window else 0.0
        return continuous_convolution(
            model, model.num_features, model.input_omega_0, frames, model.kernel_bias, window
        )
    return DilatedCausalConv(
        DIRECTIONS * model.num_features, DIRECTIONS * model.n_filter, kernel_size=1, groups=DIRECTIONS
    )


def block_convolution(model: ModelConfig, index: int, frames: int) -> nn.Module:
    """n_filter → n_filter channels in each direction: CKConv, or a causal one of dilation 2^index."""
    if model.ck:
        # without a bias, which the batch norm that follows would take out again
        return continuous_convolution(
            model, model.n_filter, model.omega_0, frames, bias=False, window=model.kernel_window
        )
    channels = DIRECTIONS * model.n_filter
    return DilatedCausalConv(channels, channels, model.kernel_size, dilation=2**index, groups=DIRECTIONS)


def continuous_convolution(
    model: ModelConfig, in_channels: int, omega_0: float, frames: int, bias: bool, window: float
) -> CKConv:
    """in_channels → n_filter channels in each direction, with a generator as configured."""
    return CKConv(
        in_channels,
        model.n_filter,
        DIRECTIONS,
        make_generator(model, DIRECTIONS, in_channels * model.n_filter, omega_0),
        frames,
        bias=bias,
        kernel_dropout=model.kernel_dropout,
        window=window,
        variance_preserving=model.kernel_init == "variance_preserving",
        algorithm=model.conv_algorithm,
    )

"""Runs that differ in their seed alone, trained at once as further groups of one network.

Their channels lie behind one another, (batch, seeds · channels, frames), so that a GPU, which one such
network leaves idle, gets as many calls for all as for one. Each seed keeps its own split, order of batches,
first weights and random draws: its losses are those of a training of its own, up to rounding.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from dataloader.loaders import Batch, Data
from models.cktim import DIRECTIONS, CkTIMNet, all_but_a_stretch, pooled_after_each
from training.resume import Progress
from training.train import (
    check_memory,
    describe_run,
    draw_history,
    make_optimizer,
    make_scheduler,
    prepared,
    run_epochs,
    save_model,
)
from utils import runs
from utils.config import Config
from utils.device import keep_freed_memory, pick_device, seed_everything
from utils.errors import UserError
from utils.metrics import History


def can_join(config: Config) -> bool:
    """Whether runs with these settings can be trained at once.

    Not where the learning rate or the end depends on the run's own validation loss, where TensorBoard
    watches, or where draws or a batch norm depend on the number of taps, which on a CPU depends on the seed.
    """
    model, settings = config.model, config.train
    by_loss = settings.schedule == "plateau" or settings.early_stopping
    by_taps = model.ck and (model.kernel_dropout > 0 or model.generator_norm == "batch")
    return not (by_loss or by_taps) and settings.log == "none"


def train_together(configs: Sequence[Config], data: Sequence[Data], run_dirs: Sequence[Path]) -> None:
    """Train the runs of several seeds, each into its own directory, as training.train.train one by one.

    Args:
        configs: of settings that can_join, equal but for train.seed.
        data: of each run.
        run_dirs: where each is written; they exist. The `seconds` of an epoch are a run's share of its time.

    Raises:
        UserError: where the seeds have not equally many utterances.
        LossError: where a loss is no finite number.
    """
    keep_freed_memory()
    check_memory(configs[0])
    settings, device = configs[0].train, pick_device(configs[0].train.device)

    def begin(config: Config, data: Data, run_dir: Path) -> tuple:
        seed_everything(config.train.seed)
        begun = prepared(config, data, device, progress=False)
        describe_run(config, data, begun[0], run_dir)
        draws = torch.Generator(device)
        draws.set_state(default_generator(device).get_state())
        return *begun, draws

    nets, training, validation, draws = zip(*map(begin, configs, data, run_dirs), strict=True)
    for loaders in (training, validation):
        if len({len(loader.target) for loader in loaders}) > 1:
            raise UserError("the seeds have not equally many utterances to train on and to validate")
    joined, smoothing = JoinedNets(nets, configs[0], draws), settings.label_smoothing
    optimizer = make_optimizer(settings, joined)
    scheduler = make_scheduler(settings, optimizer, len(training[0]))
    done = [Progress(History(net.name), History(net.name)) for net in nets]
    for epoch in range(settings.num_epochs):
        started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
        trained = run_epochs(joined.train(), training, smoothing, optimizer, joined.clip, scheduler)
        checked = run_epochs(joined.eval(), validation, smoothing)
        seconds, is_last = (time.perf_counter() - started) / len(nets), epoch == settings.num_epochs - 1
        each = zip(done, nets, run_dirs, trained, checked, strict=True)
        for one, net, run_dir, (train_row, _), (validation_row, _) in each:
            is_best = one.append(epoch, rate, seconds, train_row, validation_row)
            if is_best if settings.keep == "best" else is_last:
                save_model(net, run_dir / runs.MODEL_FILE)
    for one, its_data, run_dir in zip(done, data, run_dirs, strict=True):
        one.save(run_dir)
        draw_history(one, its_data, run_dir, settings)


class JoinedNets(nn.Module):
    """Networks of one configuration as one, whose weights are theirs: they are views of its weights.

    Args:
        nets: on one device, with their weights.
        config: from which they were built.
        draws: for each network the generator from which its dropout draws.
    """

    def __init__(self, nets: Sequence[CkTIMNet], config: Config, draws: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.nets, self.draws = tuple(nets), draws
        self.pooling_dropout, self.most = config.model.pooling_dropout, config.train.gradient_clipping
        self.mean = torch.cat([net.feature_mean for net in nets])[:, None]
        self.std = torch.cat([net.feature_std for net in nets])[:, None]
        self.input_dropout = SeedsDropout(config.model.input_dropout, draws)
        self.trunk = join([nn.Sequential(net.input_conv, *net.blocks) for net in nets])
        for block in list(self.trunk.children())[1:]:
            block.dropout = SeedsDropout(config.model.dropout_rate, draws)
        heads = ((net.fusion, net.classifier, net.functionals) for net in nets)
        self.heads = nn.ModuleList(nn.ModuleList(one for one in head if one is not None) for head in heads)

    def forward(self, batches: Sequence[Batch]) -> list[Tensor]:
        """The logits (batch, classes) of each network for its own batch; all batches are equally large."""
        seeds, (input_conv, *blocks) = len(self.nets), self.trunk.children()
        x = self.input_dropout((torch.cat([one.frames for one in batches], 1) - self.mean) / self.std)
        x = x.unflatten(1, (seeds, -1))
        x = input_conv(torch.cat([x, x.flip(-1)], dim=2).flatten(1, 2))
        mask = None
        if self.training and self.pooling_dropout:
            masks = [all_but_a_stretch(x, self.pooling_dropout, one) for one in self.draws]
            mask = torch.stack([mask for one in masks for mask in (one, one.flip(-1))], dim=1)
        pooled = pooled_after_each(blocks, x, 1.0, seeds * DIRECTIONS, mask, self.nets[0].with_std)
        each, logits = pooled.unflatten(1, (seeds, DIRECTIONS)).sum(2).unbind(1), []
        for net, own, batch, draws in zip(self.nets, each, batches, self.draws, strict=True):
            with drawing_from(draws):
                logits.append(net.logits(net.fusion(own), batch.functionals))
        return logits

    def clip(self) -> None:
        """nn.utils.clip_grad_norm_ of each network's gradient, as train.gradient_clipping says."""
        if not self.most:
            return
        joined = [grad.view(len(self.nets), -1) for grad in gradients(self.trunk)]
        own = [gradients(head) for head in self.heads]
        heads = torch.stack([torch.cat([grad.flatten() for grad in head]) for head in own])
        scale = (self.most / (torch.cat([*joined, heads], dim=1).norm(dim=1) + 1e-6)).clamp(max=1)
        for grad in joined:
            grad.mul_(scale[:, None])
        for head, factor in zip(own, scale, strict=True):
            torch._foreach_mul_(head, factor)


def gradients(module: nn.Module) -> list[Tensor]:
    return [one.grad for one in module.parameters() if one.grad is not None]


class SeedsDropout(nn.Module):
    """F.dropout1d of (batch, seeds · channels, frames), for each seed as it would draw alone."""

    def __init__(self, rate: float, draws: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.rate, self.draws = rate, draws

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return x
        shape = len(x), x.shape[1] // len(self.draws), 1
        kept = [x.new_empty(shape).bernoulli_(1 - self.rate, generator=one) for one in self.draws]
        return x * torch.cat(kept, dim=1).div_(1 - self.rate)


def join(modules: Sequence[nn.Sequential]) -> nn.Sequential:
    """A module with the groups of all, whose tensors are then views of its own, along the first axis."""
    joined, count = deepcopy(modules[0]), len(modules)
    for module in joined.modules():
        if "groups" in vars(module):
            vars(module)["groups"] *= count
    everyone, persistent = [tensors_of(module) for module in modules], joined.state_dict()
    for name, tensor in tensors_of(joined).items():
        own = [tensors[name].data for tensors in everyone]
        if tensor.ndim and name in persistent:
            tensor.data = torch.cat(own)
            own = list(tensor.data.chunk(count))
        else:  # batch norm's count of batches, KAF's dictionary: one for all
            own = [tensor.data] * count
        for tensors, part in zip(everyone, own, strict=True):
            tensors[name].data = part
    return joined


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))


def default_generator(device: torch.device) -> torch.Generator:
    """The generator from which PyTorch draws on that device, a CPU or the current GPU."""
    on_cuda = device.type == "cuda"
    return torch.cuda.default_generators[torch.cuda.current_device()] if on_cuda else torch.default_generator


@contextmanager
def drawing_from(draws: torch.Generator) -> Iterator[None]:
    """Within the block PyTorch draws from that generator."""
    default = default_generator(draws.device)
    default.set_state(draws.get_state())
    yield
    draws.set_state(default.get_state())

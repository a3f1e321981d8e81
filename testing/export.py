"""A trained network for use without this repository: `python -m testing.export RUN_DIR [--format torch]`.

One graph from waveforms to scores, with every continuous kernel as numbers:

    waveform (batch, samples) at the run's sample rate, mono, 512 samples or more
      → silence at the ends and level taken out, where the run says so
      → padded or cut at both ends to the length of a training utterance
      → MFCCs, with a floor 80 dB below each utterance's loudest band
      → logits (batch, emotions), probabilities (batch, emotions)

`onnx` needs requirements-export.txt, and runs in onnxruntime and OpenVINO; `torch` is one of torch.export.
`web` is a folder with a page that recognises in the browser alone, from the ONNX file (testing.web).
All are compared with the run on real utterances first, and not written unless the logits agree.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.export")

import copy
import importlib
import io
import json
import logging
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataloader.audio import LEVEL, TRIM_DB, condition, fit_length, read_audio
from dataloader.corpora.find import find_corpus
from dataloader.features.extract import MFCC
from models.causal_conv import choose_algorithm, direct_conv
from models.ckconv import CKConv
from models.cktim import count_parameters
from testing import web
from testing.load_run import LoadedRun, corpus_settings, load_run, predict
from testing.parsers import FILES
from testing.products import ConvByProducts, MelSpectrogramByProducts
from utils.config import FeaturesConfig
from utils.emotions import ENGLISH
from utils.errors import UserError, many
from utils.files import check_outputs, try_output
from utils.runs import SHIPPED_RUN, files_of

OPSET = 18  # of ONNX; the lowest that PyTorch writes. From 20 on there is an inverse transform, DFT, which
# onnxruntime 1.32 loads with a dynamic length and then fails to run: testing.products does without.
LARGEST_FOLDED = 256  # numbers; larger arrays that follow from others are made when a program loads the file
TOLERANCE = 1e-4  # largest difference of a logit from the run's
UTTERANCES = 16  # that are compared
TRIM_FRAME, TRIM_HOP = 2_048, 512  # samples; librosa.effects.trim's

Program = Callable[[np.ndarray], np.ndarray]  # waveforms (batch, samples) → logits (batch, emotions)


class Recogniser(nn.Module):
    """A run on the CPU, which stays as it is, in operations that can be exported."""

    def __init__(self, run: LoadedRun, kind: str) -> None:
        super().__init__()
        self.features = run.config.features
        self.mfcc = MFCC(self.features)
        if kind == "onnx":
            self.mfcc.mel = MelSpectrogramByProducts(self.mfcc.mel)
        self.net = copy.deepcopy(run.model)
        for name, conv in list(self.net.named_modules()):
            if isinstance(conv, CKConv):
                self.net.set_submodule(name, FixedConv(conv, self.features.frames, kind))
        self.eval().requires_grad_(False)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) → logits (batch, emotions), probabilities (batch, emotions)."""
        logits = self.net(self.mfcc(conditioned(waveform, self.features)))
        return logits, logits.softmax(1)


def conditioned(waveform: Tensor, features: FeaturesConfig) -> Tensor:
    """dataloader.audio's condition and fit_length as one graph: (batch, samples) → (batch, signal_length)."""
    length, speech = features.signal_length, waveform
    start = torch.zeros_like(waveform[:, :1], dtype=torch.long)
    end = start + waveform.shape[-1]
    if features.trim_silence:
        start, end = speech_bounds(waveform)
        place = torch.arange(waveform.shape[-1])
        speech = torch.where((start <= place) & (place < end), waveform, 0.0)
    # negative where zeros come first
    first = start + torch.div(end - start - length, 2, rounding_mode="trunc")
    fitted = F.pad(speech, (length, length)).gather(-1, length + first + torch.arange(length))
    if features.normalise_level:
        rms = (energy(speech) / (end - start)).sqrt()
        fitted = fitted * torch.where(rms > 0, LEVEL / rms, 1.0)
    return fitted


def energy(waveform: Tensor) -> Tensor:
    """The sum of squares, (batch, samples) → (batch, 1); in two steps.

    onnxruntime adds up one by one, which in float32 errs by 3e-5 after a minute of sound.
    """
    squares = F.pad(waveform.square(), (0, TRIM_HOP)).unsqueeze(1)
    parts = F.conv1d(squares, torch.ones(1, 1, TRIM_HOP), stride=TRIM_HOP)
    return parts.sum((1, 2)).unsqueeze(1)


def speech_bounds(waveform: Tensor) -> tuple[Tensor, Tensor]:
    """As librosa.effects.trim: the first sample of speech and the one after its last, each (batch, 1)."""
    mean = torch.full((1, 1, TRIM_FRAME), 1 / TRIM_FRAME)
    power = F.conv1d(waveform.square().unsqueeze(1), mean, stride=TRIM_HOP, padding=TRIM_FRAME // 2)
    power = power.squeeze(1).clamp(min=1e-10)  # (batch, frames)
    loud = power > power.amax(-1, keepdim=True) * 10 ** (-TRIM_DB / 10)
    frame = torch.arange(power.shape[-1])
    first = torch.where(loud, frame, power.shape[-1]).amin(-1, keepdim=True)
    last = torch.where(loud, frame, 0).amax(-1, keepdim=True)
    return TRIM_HOP * first, (TRIM_HOP * (last + 1)).clamp(max=waveform.shape[-1])


class FixedConv(nn.Module):
    """A CKConv for utterances of so many frames, at the training's frame rate.

    Its kernel is numbers; for ONNX it is generated in the graph where that takes less space, once, when a
    program loads the file. There, long kernels are applied by ConvByProducts.
    """

    @torch.no_grad()
    def __init__(self, conv: CKConv, frames: int, kind: str) -> None:
        super().__init__()
        self.taps = min(frames, conv.support())
        self.bias = None if conv.bias is None else nn.Buffer(conv.bias.data)
        self.kernel = nn.Buffer(conv.sample_kernel(self.taps))
        self.conv = self.products = None
        if kind == "onnx" and count_parameters(conv) < self.kernel.numel():
            self.conv = conv
            del self.kernel
        if kind == "onnx" and conv.in_channels > 1 and choose_algorithm(1, self.taps) == "fft":
            self.products = ConvByProducts(self.taps, frames)

    def forward(self, x: Tensor, step: float = 1.0, norm: nn.BatchNorm1d | None = None) -> Tensor:
        """As CKConv."""
        kernel = self.kernel if self.conv is None else self.conv.sample_kernel(self.taps)
        if self.products is None:
            y = direct_conv(x, kernel, self.bias)
        else:
            y = self.products(x, kernel) + (0.0 if self.bias is None else self.bias[:, None])
        return y if norm is None else norm(y)


def metadata(run: LoadedRun) -> dict[str, str]:
    """For programs that use the graph; the file holds it, lists as JSON."""
    return {
        "emotions": json.dumps(run.emotions),  # in the order of the scores
        "emotions_english": json.dumps([ENGLISH[emotion] for emotion in run.emotions]),
        "sample_rate": str(run.config.features.sample_rate),  # Hz
        "signal_length": str(run.config.features.signal_length),  # samples of a training utterance
        "run": run.path.name,
        "corpus": run.split.corpus if run.split else "",
    }


def check_features(run: LoadedRun) -> None:
    """A UserError for a run whose features cannot be computed in a graph."""
    for key in ("functionals", "normalise", "prosody"):
        if getattr(run.config.features, key) not in (False, "none"):
            problem = f"{run.path} uses features.{key}, which cannot be part of an exported graph"
            raise UserError(f"{problem}. Take a run without it, such as {SHIPPED_RUN}.")


def traced(run: LoadedRun, kind: str) -> torch.export.ExportedProgram:
    """The graph of a Recogniser, for any batch and length."""
    example = torch.randn(2, 1_000, generator=torch.Generator().manual_seed(0))
    shapes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=TRIM_HOP)},)
    program = torch.export.export(Recogniser(run, kind), (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program


def torch_file(run: LoadedRun, program: torch.export.ExportedProgram) -> bytes:
    """The content of a .pt2 file; `metadata` lies in it as metadata.json."""
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"metadata.json": json.dumps(metadata(run))})
    return content.getvalue()


def onnx_file(run: LoadedRun, program: torch.export.ExportedProgram) -> bytes:
    """The content of an .onnx file; `metadata` lies in its metadata_props."""
    _import("onnx")
    optimize = _import("onnxscript.optimizer").optimize
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # on torchvision
    exported = torch.onnx.export(
        program,
        input_names=["waveform"],
        output_names=["logits", "probabilities"],
        opset_version=OPSET,
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert exported is not None  # with dynamo
    optimize(exported.model, output_size_limit=LARGEST_FOLDED)
    model = exported.model_proto
    graph = model.graph
    graph.ClearField("value_info")
    for thing in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        thing.ClearField("metadata_props")  # the exporter's notes, with paths of this machine
    for value in (*graph.input, *graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, ("batch", "samples"), strict=True):
            if axis.HasField("dim_param"):
                axis.dim_param = name
    for key, value in metadata(run).items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()


def load_torch(content: bytes) -> Program:
    """A .pt2 file's content as a function."""
    module = torch.export.load(io.BytesIO(content)).module()
    return torch.inference_mode()(lambda waveforms: module(torch.from_numpy(waveforms))[0].numpy())


def load_onnx(content: bytes) -> Program:
    """An .onnx file's content as a function, run by onnxruntime with as many threads as PyTorch has."""
    onnxruntime = _import("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda waveforms: session.run(["logits"], {"waveform": waveforms})[0]


KINDS = {"onnx": (onnx_file, load_onnx), "torch": (torch_file, load_torch)}


def _import(name: str):
    """A package of requirements-export.txt; a UserError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is missing: python -m pip install -r requirements-export.txt") from error


def run_program(run: LoadedRun) -> Program:
    """The run itself as a function, as the evaluation computes."""
    features, mfcc = run.config.features, MFCC(run.config.features)
    run.model.freeze_kernels()

    def answer(waveforms: np.ndarray) -> np.ndarray:
        waves = [fit_length(condition(wave, features), features.signal_length) for wave in waveforms]
        return predict(run.model, mfcc(torch.from_numpy(np.stack(waves)))).numpy()

    return torch.inference_mode()(answer)


def real_utterances(run: LoadedRun, recordings: Sequence[str | Path] = ()) -> list[np.ndarray]:
    """Waveforms (samples,) at the run's rate: of `recordings`, or else of UTTERANCES of its test set."""
    rate = run.config.features.sample_rate
    if recordings:
        return [read_audio(path, rate) for path in recordings]
    split, place = run.split, corpus_settings(run.config.data, run.split)
    corpus = find_corpus(place, recorded_name=split.corpus if split else "")
    if split and corpus.name != split.corpus:
        raise UserError(
            f"an export is checked on real utterances, and the corpus of {run.path}, {split.corpus}, is not "
            "found. Say where it is (data.root=…), or name some recordings (--recordings FILE …)."
        )
    found = [u for u in corpus.utterances if not split or u.name in set(split.test)]
    chosen = np.unique(np.linspace(0, len(found) - 1, UTTERANCES).round().astype(int))
    return [read_audio(found[index].path, rate) for index in chosen]


@dataclass(frozen=True)
class Export:
    """An exported network, compared with the run."""

    content: bytes  # of the file
    program: Program  # what it computes
    difference: float  # the largest one between its logits and the run's
    utterances: int  # compared
    path: Path | None = None  # where it was written


def checked(run: LoadedRun, kind: str, waveforms: Sequence[np.ndarray]) -> Export:
    """A file of that kind, not yet written; a UserError where a logit is off by more than TOLERANCE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about PyTorch
        write, load = KINDS[kind]
        content = write(run, traced(run, kind))
        program = load(content)
    reference, shortest = run_program(run), min(map(len, waveforms))
    batches = [wave[None] for wave in (*waveforms, np.concatenate(waveforms))]  # single ones, all in a row,
    batches.append(np.stack([wave[:shortest] for wave in waveforms]))  # and a batch of all
    difference = max(float(np.abs(program(batch) - reference(batch)).max()) for batch in batches)
    if not difference <= TOLERANCE:
        largest = max(float(np.abs(reference(batch)).max()) for batch in batches)
        raise UserError(
            f"the exported network differs from {run.path} by up to {difference:.1e} in a logit, more than "
            f"{TOLERANCE:g}: nothing is written. The run's own logits reach {largest:.3g}, of which float32 "
            f"keeps seven digits; logits in the hundreds, as of the published weights, cannot be that exact."
        )
    return Export(content, program, difference, len(waveforms))


def export(
    run_dir: str | Path,
    kind: str = "onnx",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    recordings: Sequence[str | Path] = (),
    runtime: str | Path | None = None,
) -> Export:
    """Export a run as "onnx", "torch" or "web", compare the network with the run, and write it.

    `out` is RUN_DIR/FILES[kind] if left out; among `overrides`, data.root says where the corpus is. With
    `recordings` (sound files) the comparison is on these instead of utterances of the corpus. `runtime` is
    where onnxruntime-web lies, for a page (see testing.web.runtime_parts); npm fetches it if left out.
    """
    run = load_run(run_dir, [*overrides, "train.device=cpu"])
    path = Path(out) if out else run.path / FILES[kind]
    check_features(run)
    if kind == "web":
        web.check_folder(path)
    else:
        try_output(path)
    waveforms = real_utterances(run, recordings)
    page = web.page_files(run, TRIM_HOP, runtime) if kind == "web" else {}
    network = path / FILES["onnx"] if page else path
    check_outputs([network, *(path / name for name in page)], [*recordings, *files_of(run.path)])
    made = checked(run, "onnx" if page else kind, waveforms)
    web.write_files({path / name: content for name, content in page.items()} | {network: made.content})
    return replace(made, path=path)


@command
def main(options: Namespace) -> None:
    given = options.run_dir, options.format, options.out, options.overrides, options.recordings
    made = export(*given, options.runtime)
    if options.format == "web":
        server = f"python -m http.server --bind 127.0.0.1 --directory {made.path}"
        print(f"Written: {made.path}. Show it: {server}")
    else:
        kind = f"opset {OPSET}" if options.format == "onnx" else "torch.export"
        print(f"Written: {made.path} ({len(made.content) / 1e6:.1f} MB, {kind}).")
    print(f"On {many(made.utterances, 'utterance')} its logits are the run's within {made.difference:.0e}.")

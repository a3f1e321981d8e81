"""Why a network answers as it does, for one utterance: `python -m testing.explain RUN_DIR FILE`.

Every temporal-aware block (TAB) multiplies its input by an attention over time, the sigmoid at its end. It is
shown forwards and backwards, beside the network's input and its answer.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.explain")

from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dataloader.audio import condition, fit_length, read_audio, to_waveform
from dataloader.features.extract import Extractor
from models.cktim import DIRECTIONS, CkTIMNet
from testing.calibration import at_temperature, load_calibration
from testing.evaluate import Evaluation
from testing.kernels import kernel_figure
from testing.load_run import NEEDS_A_SPEAKER, LoadedRun, load_run, predict
from utils.emotions import emotion_code
from utils.errors import UserError
from utils.files import check_outputs, problems_of, try_output
from utils.plots.explain import Explanation, plot_explanation
from utils.plots.style import save_figure
from utils.progress import warn
from utils.runs import files_of
from utils.tables import Table, percent


def explain(
    run: LoadedRun | str | Path,
    recording: str | Path | np.ndarray,
    sample_rate: int | None = None,
    truth: str | None = None,
) -> Explanation:
    """One utterance's answer and attention; utils.plots.explain.plot_explanation shows them.

    `recording` is a sound file, or a waveform (samples,) or (samples, channels) of `sample_rate` Hz. `truth`
    is the true emotion, as a code or an English or Italian word. A UserError where the recording cannot be
    used, `truth` is no emotion of the run, or its features are normalised by speaker.
    """
    if not isinstance(run, LoadedRun):
        run = load_run(run)
    if truth is not None and truth not in run.emotions:
        word, truth = truth, emotion_code(truth)
        if truth not in run.emotions:
            known = ", ".join(run.words[emotion] for emotion in run.emotions)
            raise UserError(f"{word} is no emotion of this run; it knows {known}.")
    settings, rate = run.config.features, run.config.features.sample_rate
    if settings.normalise == "speaker":
        raise UserError(f"{run.path} {NEEDS_A_SPEAKER}")
    if isinstance(recording, np.ndarray):
        name = "the recording"
        if sample_rate is None:
            raise UserError("a waveform needs its sample rate: explain(run, waveform, sample_rate)")
        waveform = to_waveform(recording, sample_rate, rate, name)
    else:
        name, waveform = Path(recording).name, read_audio(recording, rate)
    waveform = condition(waveform, settings)
    fitted = fit_length(waveform, settings.signal_length)
    features = Extractor(settings)(torch.from_numpy(fitted)[None])
    logits, attention = temporal_attention(run.model, features)
    start = max(len(fitted) - len(waveform), 0) // 2
    end = start + min(len(waveform), len(fitted))
    return Explanation(
        name=name,
        network=run.path.name,
        waveform=fitted,
        sample_rate=rate,
        recorded=(start / rate, end / rate),
        seconds=len(waveform) / rate,
        mfcc=features[0, : settings.n_mfcc].numpy(),
        frame_seconds=settings.frame_seconds,
        attention=attention.numpy(),
        fusion=run.model.fusion.weight.detach().cpu().numpy(),
        probabilities=at_temperature(logits.numpy(), load_calibration(run.path).temperature),
        emotions=run.emotions,
        truth=truth,
        words=run.words,
    )


@torch.inference_mode()
def temporal_attention(net: CkTIMNet, features: Tensor) -> tuple[Tensor, Tensor]:
    """A network's answer to one utterance, and the attention of its blocks, averaged over channels.

    Features (1, num_features, frames), raw → logits (classes,) and attention (n blocks, 2, frames), both on
    the CPU: forwards, then backwards, both in the utterance's time.
    """
    found: list[Tensor] = []

    def keep(block, args, kwargs) -> None:
        channels = block.attention(*args, **kwargs)[0]
        found.append(channels.unflatten(0, (DIRECTIONS, -1)).mean(1))

    hooks = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in net.blocks]
    try:
        logits = predict(net, features)[0]
    finally:
        for hook in hooks:
            hook.remove()
    forwards, backwards = torch.stack(found).cpu().unbind(1)
    return logits, torch.stack([forwards, backwards.flip(-1)], dim=1)


def explain_right_and_wrong(evaluation: Evaluation) -> list[Explanation]:
    """The surest right answer and the surest wrong one, explained; or none, with a warning."""
    if evaluation.recalled:
        warn("nothing is explained: that takes the corpus's recordings.")
        return []
    if evaluation.run.config.features.normalise == "speaker":
        warn(f"nothing is explained: {evaluation.run.path.name} {NEEDS_A_SPEAKER}")
        return []
    sure = evaluation.probabilities.max(1)
    right = evaluation.predictions == evaluation.targets
    explained = []
    for rows in (np.flatnonzero(right), np.flatnonzero(~right)):
        if len(rows):
            utterance = evaluation.utterances[rows[sure[rows].argmax()]]
            explained.append(explain(evaluation.run, utterance.path, truth=utterance.emotion))
    return explained


def probabilities_table(explanation: Explanation) -> Table:
    """All emotions, the most probable first."""
    words = [explanation.words[emotion] for emotion in explanation.emotions]
    ranked = sorted(zip(explanation.probabilities, words, strict=True), reverse=True)
    rows = [{"emotion": word, "probability": percent(probability)} for probability, word in ranked]
    return Table(rows, f"{explanation.name}: {explanation.in_words}")


@command
def main(options: Namespace) -> None:
    out = options.out or Path(f"{options.file.stem}_explained.png")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: figures are PNG, so let it end on .png")
    for_kernels = out.with_name(f"{out.stem}_kernels.png")
    outputs = [out, for_kernels] if options.kernels else [out]
    check_outputs(outputs, [options.file, *files_of(options.run_dir)])
    for path in outputs:
        try_output(path)
    run = load_run(options.run_dir)
    figures = {}
    if options.kernels:
        figures[for_kernels] = kernel_figure(run, options.kernels)
    explanation = explain(run, options.file, truth=options.truth)
    figures[out] = plot_explanation(explanation)
    print(probabilities_table(explanation), end="\n\n")

    def write(path: Path, figure: Figure) -> None:
        save_figure(figure, path)
        print(f"Written: {path}")

    if problems := problems_of(partial(write, *item) for item in figures.items()):
        raise UserError("\n".join(problems))

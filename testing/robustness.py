"""Recordings as other people make them: `python -m testing.robustness RUN_DIR [key=value …]`.

Two measurements on the test set that a run recorded: whether an utterance gets the same emotion at other
sample rates, and whether the novelty score tells the test set from what is no such speech.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import butter, sosfilt
from sklearn.metrics import roc_auc_score

from dataloader.audio import read_audio
from dataloader.corpora.demo import make_demo_corpus
from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import Utterance
from testing.evaluate import recorded_test_set
from testing.predict import Recognizer
from testing.predictions import Answer
from utils.errors import UserError, exit_on_user_error
from utils.files import write_atomically
from utils.progress import progress_bar
from utils.tables import Table, percent

RATES = (48_000, 22_050, 16_000, 8_000)  # Hz; what an utterance gets at the first is compared with the others
TELEPHONE = (300.0, 3_400.0), 8_000  # Hz: the band, and the sample rate
NOTES = 110.0 * 2 ** (np.arange(37) / 12)  # Hz: three octaves
CHORD = 1.0, 2 ** (4 / 12), 2 ** (7 / 12)  # a major one


def at_sample_rates(recognizer: Recognizer, utterances: Sequence[Utterance], progress: bool = True) -> dict:
    """Recognise utterances at several sample rates.

    Returns:
        `rates`, and for each `same`, the share of the utterances that get the same emotion as at the first
        rate, `accuracy`, and `unlike`, the share that is called unlike the training speech.
    """
    answers: dict[int, list[Answer]] = {rate: [] for rate in RATES}
    bar = progress_bar(utterances, desc="sample rates", unit="utterance", disable=not progress)
    for utterance in bar:
        best = read_audio(utterance.path, RATES[0])
        for rate in RATES:
            wave = soxr.resample(best, RATES[0], rate, quality="HQ")
            answers[rate].append(recognizer.recognise(wave, rate).answer)
    truth = np.array([utterance.emotion for utterance in utterances])
    heard = {rate: np.array([str(answer.emotion) for answer in answers[rate]]) for rate in RATES}
    return {
        "rates": list(RATES),
        "same": [float(np.mean(heard[rate] == heard[RATES[0]])) for rate in RATES],
        "accuracy": [float(np.mean(heard[rate] == truth)) for rate in RATES],
        "unlike": [float(np.mean([answer.unlike for answer in answers[rate]])) for rate in RATES],
    }


def novelty_of_others(recognizer: Recognizer, utterances: Sequence[Utterance], progress: bool = True) -> dict:
    """Tell utterances from what is made of them, or in their place, by novelty alone.

    Returns:
        `threshold_passed`: the share of the utterances that is called unlike the training speech. For each
        kind of other sound `auroc`, the probability that one of it is more novel than one of the utterances,
        and `unlike`, the share of it that is called unlike.

    Raises:
        UserError: when the run was not calibrated.
    """
    if recognizer.calibration.novelty is None:
        path = recognizer.run.path
        raise UserError(f"{path} is not calibrated. Do that first: python -m testing.calibration {path}")
    rate, rng = recognizer.features.sample_rate, np.random.default_rng(0)
    demo = read_corpus("emovo", make_demo_corpus(recognizer.run.config.data.demo_dir, progress=progress))
    voices = iter(rng.permutation(len(demo.utterances)))
    others: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "white noise": lambda wave: wave.std() * rng.standard_normal(len(wave), dtype=np.float32),
        "chords": lambda wave: _chords(len(wave), rate, rng),
        "speech backwards": lambda wave: wave[::-1].copy(),
        "speech over a telephone": lambda wave: _telephone(wave, rate),
        "eSpeak's voice": lambda wave: read_audio(demo.utterances[next(voices)].path, rate),
    }
    scores: dict[str, list[float]] = {"test set": [], **{kind: [] for kind in others}}
    bar = progress_bar(utterances, desc="novelty", unit="utterance", disable=not progress)
    for utterance in bar:
        wave = read_audio(utterance.path, rate)
        for kind, sound in {"test set": wave, **{kind: make(wave) for kind, make in others.items()}}.items():
            novelty = recognizer.recognise(sound, rate).answer.novelty
            scores[kind].append(np.inf if novelty is None else novelty)
    own = scores.pop("test set")
    truth = [False] * len(own) + [True] * len(own)
    return {
        "threshold_passed": float(np.mean(np.array(own) > 1)),
        "auroc": {kind: float(roc_auc_score(truth, [*own, *values])) for kind, values in scores.items()},
        "unlike": {kind: float(np.mean(np.array(values) > 1)) for kind, values in scores.items()},
    }


def rates_table(measured: dict, count: int) -> Table:
    """What at_sample_rates returns."""
    headings = {"same": "same emotion", "accuracy": "accuracy", "unlike": "called unlike"}
    rows = [
        {
            "sample rate": f"{rate} Hz",
            **{heading: percent(measured[key][place]) for key, heading in headings.items()},
        }
        for place, rate in enumerate(measured["rates"])
    ]
    return Table(rows, f"{count} test utterances at other sample rates (the same as at {RATES[0]} Hz)")


def novelty_table(measured: dict, count: int) -> Table:
    """What novelty_of_others returns."""
    rows = [
        {"sound": kind, "AUROC": f"{auroc:.3f}", "called unlike": percent(measured["unlike"][kind])}
        for kind, auroc in measured["auroc"].items()
    ]
    notes = [f"Of the test set itself {percent(measured['threshold_passed'])} are called unlike."]
    return Table(rows, f"Novelty against that of {count} test utterances", notes)


def _chords(samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Major chords of tones with five harmonics that die away, 0.15 to 0.5 s each."""
    sound, begin = np.zeros(samples), 0
    while begin < samples:
        end = min(begin + int(rng.uniform(0.15, 0.5) * rate), samples)
        time = np.arange(end - begin) / rate
        root = rng.choice(NOTES)
        for step in CHORD:
            for k in range(1, 6):
                sound[begin:end] += np.sin(2 * np.pi * k * step * root * time) * np.exp(-3 * time) / k
        begin = end
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def _telephone(wave: np.ndarray, rate: int) -> np.ndarray:
    """Cut to a telephone's band and sample rate, and back at the old rate."""
    band, low_rate = TELEPHONE
    low = soxr.resample(wave, rate, low_rate, quality="HQ")
    low = sosfilt(butter(4, band, "bandpass", fs=low_rate, output="sos"), low)
    return soxr.resample(low.astype(np.float32), low_rate, rate, quality="HQ")


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m testing.robustness",
        description="Test a run at other sample rates, and its novelty score on what is no such speech.",
    )
    parser.add_argument("run_dir", help="a run that testing.calibration has calibrated")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="where the corpus is now, say: data.root=EMOVO.zip"
    )
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    options = parser.parse_args(arguments)
    recognizer = Recognizer(options.run_dir, options.overrides)
    data = recorded_test_set(recognizer.run, recognizer.run.config)
    by_name = {utterance.name: utterance for utterance in data.features.utterances}
    utterances = [by_name[name] for name in data.split.test]
    novelty = novelty_of_others(recognizer, utterances)
    rates = at_sample_rates(recognizer, utterances)
    print(rates_table(rates, len(utterances)), novelty_table(novelty, len(utterances)), sep="\n\n")
    if options.json:
        content = {"run": Path(options.run_dir).name, "utterances": len(utterances)}
        content |= {"sample_rates": rates, "novelty": novelty}
        write_atomically(options.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

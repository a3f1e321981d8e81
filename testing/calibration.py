"""How far a run's answers can be trusted: `python -m testing.calibration RUN_DIR [key=value …]`.

A temperature is fitted on the validation set that makes the probabilities as right as they are sure, and
testing.out_of_distribution measures how far from the training set speech may be. testing.predict uses both.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.calibration")

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataloader.features.normalise import SpeakerNorm
from models.losses import among
from testing.load_run import LoadedRun, load_run, predict, recorded_test_set
from testing.out_of_distribution import Novelty, fit_novelty
from utils import runs
from utils.errors import UserError
from utils.files import try_output, write_json
from utils.metrics import read_json, reliability
from utils.tables import Table, percent

TEMPERATURES = (0.05, 20.0)  # least and most
SUBSETS = ("validation", "test")


@dataclass(frozen=True)
class Calibration:
    """The content of a run directory's calibration.json."""

    temperature: float = 1.0  # by which logits are divided; 1 where the run was not calibrated
    novelty: Novelty | None = None  # None likewise
    population: SpeakerNorm | None = None  # the mean over training speakers, with features.normalise: speaker

    def save(self, run_dir: Path) -> None:
        """Write it into a run directory."""
        content: dict[str, Any] = {"temperature": self.temperature}
        content["novelty"] = self.novelty and self.novelty.to_dict()
        if self.population:
            content["population"] = {key: one.tolist() for key, one in vars(self.population).items()}
        write_json(run_dir / runs.CALIBRATION_FILE, content)


def load_calibration(run_dir: Path) -> Calibration:
    """A run's calibration; where it has none, one that changes nothing. A damaged one is a UserError."""
    path = run_dir / runs.CALIBRATION_FILE
    if not path.exists():
        return Calibration()
    content = read_json(path)
    try:
        temperature = float(content["temperature"])
        if not 0 < temperature < np.inf:
            raise ValueError(f"a temperature of {temperature}")
        novelty = content["novelty"] and Novelty.from_dict(content["novelty"])
        population = {key: torch.tensor(one) for key, one in content.get("population", {}).items()}
        norm = SpeakerNorm(**population) if population else None
        return Calibration(temperature, novelty, norm)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no calibration ({error!r}). Make it anew: python -m testing.calibration {run_dir}"
        ) from error


@dataclass(frozen=True)
class Calibrated:
    """A run, its calibration, and of its "validation" and "test" set the values that it was made of."""

    run: LoadedRun
    calibration: Calibration
    logits: Mapping[str, np.ndarray]  # (utterances, classes)
    targets: Mapping[str, np.ndarray]  # (utterances,) class indices
    novelty: Mapping[str, np.ndarray]  # (utterances,)


def calibrate(
    run_dir: str | Path, overrides: Sequence[str] = (), fallback: Sequence[str] = (), progress: bool = True
) -> Calibrated:
    """Fit a run's temperature and novelty, and write calibration.json into it; arguments as in load_run."""
    run = load_run(run_dir, overrides, fallback)
    try_output(run.path / runs.CALIBRATION_FILE)
    data = recorded_test_set(run, progress, ("train", *SUBSETS))
    fitted = fit_novelty(data.features.frames, data.rows("train"), data.rows("validation"))
    logits, targets, novelty = {}, {}, {}
    for subset in SUBSETS:
        frames, functionals, target, allowed = data.arrays(subset)
        found = predict(run.model, frames, functionals, run.config.train.batch_size)
        logits[subset] = among(found, allowed).numpy()
        targets[subset], novelty[subset] = target.numpy(), fitted(frames)
    temperature, norms = fit_temperature(logits["validation"], targets["validation"]), data.features.norms
    speakers = {data.features.utterances[row].speaker for row in data.rows("train")} if norms else ()
    population = SpeakerNorm.mean_of(norms[one] for one in sorted(speakers)) if norms else None
    calibration = Calibration(temperature, fitted, population)
    calibration.save(run.path)
    return Calibrated(run, calibration, logits, targets, novelty)


def calibration_table(calibrated: Calibrated) -> Table:
    """Calibration before and after, on the validation set and, as a measure only, on the test set."""
    rows = []
    for subset in SUBSETS:
        logits, targets = calibrated.logits[subset], calibrated.targets[subset]
        for temperature in (1.0, calibrated.calibration.temperature):
            probabilities = at_temperature(logits, temperature)
            rows.append(
                {
                    "set": f"{subset} ({len(targets)} utterances)",
                    "temperature": f"{temperature:.2f}",
                    "accuracy": percent(float((probabilities.argmax(1) == targets).mean())),
                    "mean probability of the answer": percent(float(probabilities.max(1).mean())),
                    "expected calibration error": percent(reliability(probabilities, targets).error),
                    "loss (nats)": f"{negative_log_likelihood(logits, targets, temperature):.3f}",
                    "unlike the training set": percent(float((calibrated.novelty[subset] > 1).mean())),
                }
            )
    notes = [
        "The temperature is fitted on the validation set, which flatters it; the test set is only measured.",
        "With so few utterances a perfectly calibrated network has an error of some per cent, too.",
    ]
    return Table(rows, f"{calibrated.run.path.name}: calibration", notes)


def reliability_figure(calibrated: Calibrated):
    """Reliability before and after temperature scaling, on the validation and the test set."""
    from utils.plots.predictions import plot_reliability  # here, for matplotlib takes a second to import

    panels = {}
    for subset in SUBSETS:
        for temperature in (1.0, calibrated.calibration.temperature):
            probabilities = at_temperature(calibrated.logits[subset], temperature)
            label = "as trained" if temperature == 1 else f"temperature {temperature:.2f}"
            panels[f"{subset} set, {label}"] = reliability(probabilities, calibrated.targets[subset])
    return plot_reliability(panels, calibrated.run.path.name)


def at_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (utterances, classes): softmax of logits / temperature. Which class is first stays."""
    return (torch.as_tensor(logits).double() / temperature).softmax(-1).numpy()


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray, temperature: float = 1.0) -> float:
    """Mean over utterances, in nats."""
    scores = (torch.as_tensor(logits).double() / temperature).log_softmax(1).numpy()
    return float(-scores[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al.); logits: (utterances, classes)."""
    from scipy.optimize import minimize_scalar  # here, for recognition needs no scipy.optimize

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits, targets, np.exp(log_temperature))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


@command
def main(options: Namespace) -> None:
    calibrated = calibrate(options.run_dir, options.overrides)
    print(calibration_table(calibrated))
    print(f"\nWritten: {calibrated.run.path / runs.CALIBRATION_FILE}")

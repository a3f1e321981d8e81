"""How many recordings of a speaker make a norm: `python -m testing.enrolment RUN_DIR [key=value …]`.

Of a run whose features are normalised by speaker. A test speaker's norm is taken from some of the speaker's
test recordings, drawn at random without regard to their labels; the others are recognised with it.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.enrolment")

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dataloader.features.normalise import PRIOR, SpeakerNorm, raw_functionals
from dataloader.loaders import Batch
from models.losses import among
from testing.load_run import LoadedRun, load_run, predict, recorded_test_set
from utils import runs
from utils.errors import UserError, some
from utils.files import try_output, write_json
from utils.metrics import scores
from utils.progress import progress_bar
from utils.significance import summarise
from utils.tables import NOTHING, Table, percent, percent_range

COUNTS = (0, 1, 3, 10, 30)  # recordings of the norm; of 0 it is the mean over the training speakers
DRAWS = 5  # of each count

Judged = Sequence[tuple[SpeakerNorm, np.ndarray]]  # norms, and the rows that are recognised with each


@dataclass(frozen=True)
class Strangers:
    """Recordings of speakers on whom a run was not trained."""

    run: LoadedRun
    batch: Batch  # with raw frames
    functionals: Tensor  # raw (utterances, num_functionals)
    speakers: np.ndarray  # (utterances,)
    corpora: np.ndarray  # (utterances,)
    population: SpeakerNorm  # the mean over the training speakers

    def norm(self, rows: np.ndarray) -> SpeakerNorm:
        """Of one speaker's recordings."""
        own = SpeakerNorm.of(self.batch.frames[rows], self.functionals[rows])
        return own.shrunk(self.population, PRIOR)

    def drawn(self, own: Sequence[np.ndarray], count: int, draw: int) -> Judged:
        """A norm of so many of each speaker's rows, and the others; the population's and all rows for 0."""
        if count == 0:
            return [(self.population, np.concatenate(own))]
        rng = np.random.default_rng((0, draw, count))
        orders = [rng.permutation(rows) for rows in own]
        return [(self.norm(order[:count]), order[count:]) for order in orders]

    def predictions(self, judged: Judged) -> np.ndarray:
        """(utterances,) classes; -1 of those that are not recognised."""
        found, allowed = np.full(len(self.speakers), -1), self.batch.allowed
        for norm, rows in judged:
            logits = predict(self.run.model, *norm.apply(self.batch.frames[rows], self.functionals[rows]))
            found[rows] = among(logits, None if allowed is None else allowed[rows]).argmax(1).numpy()
        return found

    def uar(self, found: np.ndarray, of: np.ndarray) -> float:
        """Of the recognised ones among the utterances that the mask says."""
        of = of & (found >= 0)
        return scores(self.batch.target.numpy()[of], found[of], len(self.run.emotions))["uar"]

    def row(
        self, corpus: str, recordings: int, found: Sequence[np.ndarray], all_others: bool
    ) -> dict[str, Any]:
        """UAR, its deviation over several draws (None of one), and each speaker's UAR, the mean over them."""
        of = self.corpora == corpus
        uars = [self.uar(one, of) for one in found]
        return {
            **{"corpus": corpus, "recordings": recordings, "all_others": all_others},
            "utterances": int((found[0] >= 0).sum()),
            "uar": float(np.mean(uars)),
            "uar_std": float(np.std(uars, ddof=1)) if len(uars) > 1 else None,
            "speakers": {
                str(name): float(np.mean([self.uar(one, self.speakers == name) for one in found]))
                for name in np.unique(self.speakers[of])
            },
        }


def measure_enrolment(
    run_dir: str | Path, overrides: Sequence[str] = (), progress: bool = True
) -> dict[str, Any]:
    """The unweighted average recall (UAR) over the number of recordings that a speaker's norm is taken from.

    In each draw every speaker's norm is of other recordings, which are not scored; with all others, each
    utterance has a norm of its own. The result is written into the run directory (enrolment.json): `rows` of
    each corpus and number (Strangers.row), `prior` and `draws`. A UserError where the run is not normalised
    by speaker, or was trained on a speaker of the test set, or one of them has a single recording.
    """
    run = load_run(run_dir, overrides)
    try_output(run.path / runs.ENROLMENT_FILE)
    strangers = _strangers(run, progress)
    speakers, table = strangers.speakers, []
    with run.model.frozen_kernels():
        for corpus in np.unique(strangers.corpora):
            names = np.unique(speakers[strangers.corpora == corpus])
            own = [np.flatnonzero(speakers == name) for name in names]
            if (fewest := min(map(len, own))) < 2:
                problem = f"a speaker of {corpus} has a single recording in the test set of {run.path}"
                raise UserError(f"{problem}: no other can be the norm.")
            counts = [count for count in COUNTS if count < fewest]
            for count in progress_bar(counts, desc=str(corpus), unit="count", disable=not progress):
                draws = (strangers.drawn(own, count, draw) for draw in range(DRAWS if count else 1))
                table.append(strangers.row(str(corpus), count, [*map(strangers.predictions, draws)], False))
            each = [(strangers.norm(rows[rows != one]), np.array([one])) for rows in own for one in rows]
            others = round(np.mean([len(rows) - 1 for rows in own]))
            table.append(strangers.row(str(corpus), others, [strangers.predictions(each)], True))
    result = {"prior": PRIOR, "draws": DRAWS, "rows": table}
    write_json(run.path / runs.ENROLMENT_FILE, result)
    return result


def _strangers(run: LoadedRun, progress: bool) -> Strangers:
    features = run.config.features
    if features.normalise != "speaker":
        problem = f"{run.path} does not use a speaker's norm (features.normalise: none)"
        remedy = "Take a run that was trained with features.normalise=speaker."
        raise UserError(f"{problem}: nobody can be enrolled. {remedy}")
    plain = features.model_copy(update={"normalise": "none", "functionals": False})
    raw_run = replace(run, config=run.config.model_copy(update={"features": plain}))
    data = recorded_test_set(raw_run, progress, ("train", "test"))
    tested, learned = (
        [data.features.utterances[row] for row in data.rows(part)] for part in ("test", "train")
    )
    speakers, trained_on = (np.array([one.speaker for one in part]) for part in (tested, learned))
    if known := sorted(set(speakers) & set(trained_on)):
        problem = f"{run.path} was trained on {some(known)}, of whom recordings are in its test set too"
        raise UserError(f"{problem}. Take a run that leaves speakers out, say data.protocol=speaker_kfold.")
    corpora = np.array([one.corpus or data.corpus.name for one in tested])
    batch, training = data.arrays("test"), data.arrays("train").frames
    voices = (training[trained_on == name] for name in np.unique(trained_on))
    population = SpeakerNorm.mean_of(SpeakerNorm.of(own, raw_functionals(own, features)) for own in voices)
    return Strangers(run, batch, raw_functionals(batch.frames, features), speakers, corpora, population)


def enrolment_table(result: dict[str, Any], name: str) -> Table:
    """The result of measure_enrolment for the run called `name`."""
    rows, notes = [], []
    for row in result["rows"]:
        spread = summarise(list(row["speakers"].values()))
        count = f"all others ({row['recordings']})" if row["all_others"] else str(row["recordings"])
        rows.append(
            {
                "corpus": row["corpus"],
                "recordings": count,
                "UAR": percent(row["uar"]),
                "std over draws": NOTHING if row["uar_std"] is None else percent(row["uar_std"]),
                "mean over speakers": percent(spread.mean),
                "95 %": percent_range(max(spread.low, 0), min(spread.high, 1)) if spread.n > 1 else NOTHING,
                "speakers": str(spread.n),
            }
        )
    for corpus in dict.fromkeys(row["corpus"] for row in result["rows"]):
        measured = [row["recordings"] for row in result["rows"] if row["corpus"] == corpus]
        if missing := [str(count) for count in COUNTS if count not in measured]:
            notes.append(f"{corpus}: a speaker has too few recordings to take {', '.join(missing)}.")
    notes.append("Recordings of a norm are not scored in their draw; 0 has the training speakers' mean norm.")
    return Table(rows, f"{name}: recordings of a speaker's norm", notes)


@command
def main(options: Namespace) -> None:
    run_dir = runs.existing_run_dir(options.run_dir)
    print(enrolment_table(measure_enrolment(run_dir, options.overrides), run_dir.name))
    print(f"\nWritten: {run_dir / runs.ENROLMENT_FILE}")

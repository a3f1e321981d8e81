"""A look at a corpus before training: `python -m dataloader.inspect [key=value …] [--output FOLDER]`."""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.stats
from matplotlib.figure import Figure

from dataloader.advice import draw
from dataloader.corpora.find import find_corpus
from dataloader.corpora.utterance import Corpus, Measures, Utterance
from dataloader.identity import copies, identified_corpus
from utils.config import Config, FeaturesConfig, load_config
from utils.errors import UserError, exit_on_user_error, some
from utils.files import expanded, try_output, write_json
from utils.plots.corpus import plot_corpus
from utils.plots.style import save_figure, shortened
from utils.progress import warn
from utils.runs import DEFAULT_CONFIG
from utils.tables import Table

MOST_SPEAKERS = 12  # with columns of their own
HELD = 95  # % of the recordings that an advised signal_length holds
CLIPPED = 10  # samples that make a recording a clipped one
LONG = 3  # times signal_length
SILENT = 0.5  # share of silence at both ends that is worth a word
TOGETHER = 0.5  # Cramér's V of an emotion and a property of the recording that is worth a word


@dataclass(frozen=True)
class Survey:
    """What a corpus holds. print() shows text, and a notebook HTML."""

    corpus: Corpus
    utterances: tuple[Utterance, ...]  # those that can be used
    features: FeaturesConfig
    warnings: tuple[str, ...]  # a training gives the same
    advice: tuple[str, ...]

    def __str__(self) -> str:
        sentences = "\n".join(f"- {one}" for one in (*self.warnings, *self.advice)) or "- nothing"
        return f"{self.table()}\n\n{self.facts()}\n\nWorth a word:\n{sentences}"

    def _repr_html_(self) -> str:
        return f"{self.table(self.advice)._repr_html_()}{self.facts()._repr_html_()}"

    def counts(self) -> dict[str, dict[str, int]]:
        """Emotion → speaker → utterances, with zeros."""
        found = Counter((one.emotion, one.speaker) for one in self.utterances)
        speakers = sorted({one.speaker for one in self.utterances})
        return {code: {name: found[code, name] for name in speakers} for code in self.corpus.emotions}

    def table(self, notes: Sequence[str] = ()) -> Table:
        """Utterances of each emotion and speaker; with many speakers, of the usual one."""
        rows = []
        for emotion, by_speaker in self.counts().items():
            numbers = list(by_speaker.values())
            row = {"emotion": shortened(self.corpus.words[emotion]), "all": str(sum(numbers))}
            if len(numbers) <= MOST_SPEAKERS:
                row |= {shortened(name): str(number) for name, number in by_speaker.items()}
            else:
                row["a speaker"] = f"{min(numbers)} to {max(numbers)}, median {median(numbers):g}"
            seconds = [one.seconds for one in self._measures(emotion)]
            rows.append({**row, "median s": f"{median(seconds):.1f}" if seconds else "–"})
        hours = sum(one.seconds for one in self._measures()) / 3_600
        speakers = len({one.speaker for one in self.utterances})
        caption = f"{self.corpus.name}: {len(self.utterances)} utterances, {len(rows)} emotions, "
        caption += f"{speakers} speaker{'s'[: speakers != 1]}, "
        return Table(rows, caption + (f"{hours:.1f} h" if hours >= 2 else f"{60 * hours:.1f} min"), notes)

    def facts(self) -> Table:
        """Durations, levels, silence, and how the recordings were made."""
        found = self._measures()
        percentiles = {
            "duration (s)": ([one.seconds for one in found], ".1f"),
            "level (dB, RMS)": ([one.level for one in found], ".0f"),
            "silence at both ends (%)": ([100 * _silence(one) for one in found], ".0f"),
        }
        rows = [
            {"": name}
            | {
                heading: format(np.percentile(values, share, method="nearest"), digits)
                for heading, share in (("least", 0), ("5 %", 5), ("median", 50), ("95 %", 95), ("most", 100))
            }
            for name, (values, digits) in percentiles.items()
        ]
        made = [f"{kind} ({number})" for kind, number in _made(found).most_common()]
        return Table(rows, "", [f"Recorded as {some(made)}."])

    def figure(self) -> Figure:
        """Utterances by emotion and speaker, durations, levels, and how recordings were made."""
        found, features = self._measures(), self.features
        held = _percentile([one.seconds for one in found])
        marks = {
            f"features.signal_length, {features.signal_length / features.sample_rate:.1f} s": (
                features.signal_length / features.sample_rate
            ),
            f"{HELD} % are shorter, {held:.1f} s": held,
        }
        counts = {self.corpus.words[emotion]: row for emotion, row in self.counts().items()}
        seconds, levels = [one.seconds for one in found], [one.level for one in found]
        return plot_corpus(counts, seconds, marks, levels, _made(found), f"{self.corpus.name} corpus")

    def as_json(self) -> dict[str, Any]:
        """All that is known, of each recording too."""
        words = self.corpus.words
        return {
            "corpus": self.corpus.name,
            "counts": {words[emotion]: row for emotion, row in self.counts().items()},
            "warnings": [*self.corpus.warnings, *self.warnings],
            "advice": self.advice,
            "left_out": {one.name: one.problem for one in self.corpus.utterances if one.problem},
            "recordings": [
                {"name": one.name, "emotion": words[one.emotion], "speaker": one.speaker}
                | (one.measures._asdict() if one.measures else {})
                for one in self.utterances
            ],
        }

    def _measures(self, emotion: str | None = None) -> list[Measures]:
        return [one.measures for one in self.utterances if one.measures and emotion in (None, one.emotion)]


def inspect(config: Config, corpus: Corpus | None = None, progress: bool = True) -> Survey:
    """Look at the corpus of a configuration; each file is decoded once, and its measures are kept.

    Args:
        corpus: where it is found already.
    """
    corpus = corpus or find_corpus(config.data)
    corpus = identified_corpus(corpus, config.data.cache_dir, progress)
    usable = tuple(one for one in corpus.utterances if not one.problem)
    if not usable:
        reasons = some([one.problem for one in corpus.utterances])
        raise UserError(f"{corpus.root} has no usable recording: {reasons}.")
    warnings = list(unusable(corpus))
    try:
        draw(config, corpus, usable, copies(usable), warnings.append)
    except UserError as error:
        warnings.append(f"a training would end here: {error}")
    return Survey(corpus, usable, config.features, tuple(warnings), tuple(advice(corpus, config.features)))


def unusable(corpus: Corpus) -> list[str]:
    """A sentence with the recordings that cannot be used, and why, and one on channels that are left out."""
    problems = [one.problem for one in corpus.utterances if one.problem]
    reasons = "".join(f"\n  {problem}" for problem in problems)
    number = f"{len(problems)} of {len(corpus.utterances)}"
    found = [f"{number} recordings of {corpus.name} cannot be used and are left out:{reasons}"]
    return found[: len(problems)] + [
        remark for one in corpus.utterances if one.measures for remark in one.measures.remarks
    ]


def advice(corpus: Corpus, features: FeaturesConfig) -> list[str]:
    """Sentences on lengths, sample rates, clipping and silence, with the key to type."""
    found = [(one, one.measures) for one in corpus.utterances if one.measures]
    said = _on_length([measures for _, measures in found], features)
    rates = Counter(measures.rate for _, measures in found)
    highest = features.f_max or features.sample_rate / 2
    if len(rates) > 1 and min(rates) / 2 < highest:
        there = some([f"{rate} Hz ({number})" for rate, number in sorted(rates.items())])
        f_max = min(rates) * 7 // 16  # a resampler fades out below half of the rate
        said.append(
            f"sample rates differ, {there}: a network can learn the rate, unless features.f_max={f_max} "
            "leaves out what the lowest lacks"
        )
    properties: dict[str, Callable[[Measures], str]] = {
        "sample rate": lambda one: f"{one.rate} Hz",
        "format": lambda one: one.coding,
        "number of channels": lambda one: f"{one.channels}",
    }
    for name, value in properties.items():
        pairs = Counter((corpus.words[one.emotion], value(measures)) for one, measures in found)
        said += _on_confusion(name, pairs)
    clipped = [one.name for one, measures in found if measures.clipped >= CLIPPED]
    silent = [one.name for one, measures in found if _silence(measures) > SILENT]
    chosen = features.signal_length / features.sample_rate
    long = [
        f"{one.name}, {measures.seconds:.0f} s" for one, measures in found if measures.seconds > LONG * chosen
    ]
    cure = "features.trim_silence=true cuts that off"
    for names, what in (
        (clipped, "are clipped"),
        (long, f"keep no more than {chosen:.1f} s of their middle: split them"),
        (silent, f"have more silence at their ends than speech between; {cure}"),
    ):
        if names:
            said.append(f"{len(names)} recordings {what}: {some(names)}")
    return said


def _on_length(found: Sequence[Measures], features: FeaturesConfig) -> list[str]:
    trimmed = features.trim_silence
    seconds = [one.seconds - trimmed * (one.before + one.after) for one in found]
    chosen = features.signal_length / features.sample_rate
    held = _percentile(seconds)
    samples = math.ceil(held * features.sample_rate / 1_000) * 1_000
    longer = np.mean(np.array(seconds) > chosen)
    if longer > 1 - HELD / 100:
        shares = f"{longer:.0%} of the recordings are longer than {chosen:.1f} s (features.signal_length)"
        return [f"{shares}, and lose both ends: features.signal_length={samples} would hold {HELD} %"]
    if held < chosen / 2:
        shares = f"{HELD} % of the recordings are at most {held:.1f} s long"
        return [f"{shares}: features.signal_length={samples} would hold them, and train faster"]
    return []


def _on_confusion(name: str, pairs: Mapping[tuple[str, str], int]) -> list[str]:
    """A sentence where a property of the recording goes with the emotion."""
    emotions, values = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    counts = np.array([[pairs.get((emotion, value), 0) for value in values] for emotion in emotions])
    if min(counts.shape) < 2 or scipy.stats.contingency.association(counts) < TOGETHER:
        return []
    usual = [f"{emotion}: {values[row.argmax()]}" for emotion, row in zip(emotions, counts, strict=True)]
    problem = f"the {name} goes with the emotion ({some(usual, 9)})"
    return [f"{problem}: a network can learn it in place of the emotion"]


def _silence(one: Measures) -> float:
    """The share of silence at both ends."""
    return (one.before + one.after) / one.seconds


def _percentile(seconds: Sequence[float]) -> float:
    return float(np.percentile(seconds, HELD, method="inverted_cdf"))


def _made(found: Sequence[Measures]) -> Counter[str]:
    channels = {1: "mono", 2: "stereo"}
    return Counter(
        f"{one.coding}, {one.rate / 1000:g} kHz, {channels.get(one.channels, f'{one.channels} channels')}"
        for one in found
    )


@exit_on_user_error
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    about = "Look at a corpus before training: what it holds, and what is unusual in it."
    parser = argparse.ArgumentParser("python -m dataloader.inspect", description=about)
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="default: conf/config.yaml")
    output = "write corpus.png and corpus.json there"
    parser.add_argument("--output", metavar="FOLDER", type=expanded, help=output)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for instance data.root=FOLDER")
    options = parser.parse_intermixed_args(arguments)
    config = load_config(options.config, options.overrides)
    places: list[Path] = (
        [options.output / f"corpus.{kind}" for kind in ("png", "json")] if options.output else []
    )
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        try_output(place)
    corpus = find_corpus(config.data)
    for warning in corpus.warnings:
        warn(warning)
    survey = inspect(config, corpus)
    print(survey)
    if places:
        save_figure(survey.figure(), places[0])
        write_json(places[1], survey.as_json(), indent=1)
        print(f"\nWritten: {places[0]} and {places[1].name}")


if __name__ == "__main__":
    main()

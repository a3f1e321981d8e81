"""The answers of testing.predict, and how they are shown and written down."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from dataloader.corpora.listing import readable
from utils.emotions import CODES, ENGLISH
from utils.errors import many
from utils.tables import NOTHING, Table, csv_text, percent, unique

UNSURE = "unsure"
SILENCE = "silence"
UNLIKE = "unlike the training speech"
LIMITS = (  # in the words of docs/model_card.md
    "The network judges how a voice sounds, not how a person feels. "
    "It must not decide anything about a person."
)


@dataclass(frozen=True)
class Answer:
    """The emotion of a stretch of time."""

    start: float  # in seconds, as the end
    end: float
    label: str  # the emotion's code; UNSURE where none is probable enough; SILENCE
    probabilities: Mapping[str, float]  # of each emotion, calibrated where the run is; empty in silence
    novelty: float | None  # 1 at the threshold; None in silence, and where the run was not calibrated
    words: Mapping[str, str] = field(default_factory=lambda: ENGLISH, repr=False, compare=False)  # by code

    @property
    def emotion(self) -> str | None:
        """The most probable emotion's code, however probable; None in silence."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None

    @property
    def unlike(self) -> bool:
        """Whether the speech is so far from that of the training that the probabilities mean little."""
        return self.novelty is not None and self.novelty > 1

    def to_dict(self, words: Mapping[str, str]) -> dict[str, Any]:
        """For JSON: label, probabilities and novelty, emotions as words."""
        return {
            "label": words[self.label],
            "probabilities": {words[e]: round(p, 6) for e, p in self.probabilities.items()},
            "novelty": None if self.novelty is None else round(self.novelty, 3),
        }

    def __str__(self) -> str:
        """For instance `joy 81 % (then surprise 12 %, anger 4 %)`."""
        if not self.probabilities:
            return self.label
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        first, *others = [f"{self.words[emotion]} {100 * p:.0f} %" for emotion, p in ranked[:3]]
        said = f"{self.label}, {first}" if self.label == UNSURE else first
        then = f" (then {', '.join(others)})" if others else ""
        return said + then + (f"; {UNLIKE} (novelty {self.novelty:.1f})" if self.unlike else "")


@dataclass(frozen=True)
class Recognition:
    """A recording's answer."""

    name: str  # the file, as it was named
    answer: Answer  # about the whole of it
    timeline: tuple[Answer, ...] = ()  # about its parts, without gaps; empty where one window covers it all

    def segments(self) -> list[tuple[float, float, str, float]]:
        """The timeline with equal neighbours joined: start, end, label, mean probability of the answer."""
        joined = []
        for label, group in groupby(self.timeline, key=lambda part: part.label):
            parts = list(group)
            sure = [max(part.probabilities.values(), default=np.nan) for part in parts]
            joined.append((parts[0].start, parts[-1].end, label, float(np.mean(sure))))
        return joined

    def to_dict(self, codes: bool = False) -> dict:
        """For JSON: label, probabilities and novelty of the whole, then of each part; emotions as words."""
        words = CODES if codes else self.answer.words

        def of(answer: Answer) -> dict[str, Any]:
            return {"start": round(answer.start, 3), "end": round(answer.end, 3), **answer.to_dict(words)}

        return {"file": self.name, **of(self.answer), "timeline": [of(part) for part in self.timeline]}


@dataclass(frozen=True)
class Failure:
    """A file that got no answer, and why."""

    name: str
    reason: str

    def to_dict(self, codes: bool = False) -> dict:
        """For JSON."""
        return {"file": self.name, "error": self.reason}


Outcome = Recognition | Failure


def to_json(outcomes: Sequence[Outcome], codes: bool = False) -> str:
    """A list with an object for each file; see Recognition.to_dict."""
    content = [one.to_dict(codes) for one in outcomes]
    return readable(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"


def to_csv(outcomes: Sequence[Outcome], emotions: Sequence[str], words: Mapping[str, str] = ENGLISH) -> str:
    """A line for each file (part: whole), followed by a line for each part of its timeline (1, 2, …).

    `words` says how an emotion is written; one that is called as another column has a number behind its name
    there, such as `label_2`.
    """
    *columns, error = "file", "part", "start", "end", "label", "novelty", "error"
    names = unique([*columns, error, *(words[e] for e in emotions)])[len(columns) + 1 :]
    rows: list[list[object]] = [[*columns, *names, error]]
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            rows.append([outcome.name, *[""] * (5 + len(emotions)), outcome.reason])
            continue
        for part, answer in enumerate((outcome.answer, *outcome.timeline)):
            novelty = "" if answer.novelty is None else f"{answer.novelty:.3f}"
            start, end = f"{answer.start:.3f}", f"{answer.end:.3f}"
            shares = [f"{answer.probabilities[e]:.6f}" if answer.probabilities else "" for e in emotions]
            about = outcome.name, part or "whole", start, end, words[answer.label], novelty
            rows.append([*about, *shares, ""])
    return readable(csv_text(rows))


def timeline_table(recognition: Recognition) -> Table:
    """The label from when to when."""
    rows = []
    for start, end, label, sure in recognition.segments():
        probability = NOTHING if np.isnan(sure) else percent(sure)
        rows.append((clock(start), clock(end), recognition.answer.words[label], probability))
    return Table.of(("from", "to", "answer", "probability"), rows, f"{recognition.name}, over time")


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """One line a file, and in the caption how many files got each label."""
    rows = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            reason = outcome.reason.removeprefix(outcome.name).strip()
            rows.append((outcome.name, NOTHING, "no answer", NOTHING, NOTHING, reason))
            continue
        answer = outcome.answer
        novelty = NOTHING if answer.novelty is None else f"{answer.novelty:.2f}"
        probability = percent(max(answer.probabilities.values())) if answer.probabilities else NOTHING
        remarks = [f"{answer.words[str(answer.emotion)]}?"] if answer.label == UNSURE else []
        remarks += [UNLIKE] if answer.unlike else []
        length, label = clock(answer.end), answer.words[answer.label]
        rows.append((outcome.name, length, label, probability, novelty, ", ".join(remarks)))
    counts = ", ".join(f"{count} {label}" for label, count in Counter(row[2] for row in rows).most_common())
    headings = "file", "length", "answer", "probability", "novelty", "remark"
    return Table.of(headings, rows, f"{many(len(outcomes), 'file')}: {counts}")


def timeline_figure(recognition: Recognition, emotions: Sequence[str]):
    """Probabilities, answers and novelty over the time of a recording."""
    from utils.plots.predictions import plot_timeline

    parts = recognition.timeline or (recognition.answer,)
    return plot_timeline(parts, emotions, readable(recognition.name), recognition.answer.words)


def clock(seconds: float) -> str:
    """3723.4 → `1:02:03.4`, 63.4 → `1:03.4`."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths / 10:04.1f}"

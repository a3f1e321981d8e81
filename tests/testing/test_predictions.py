"""Answers in words, tables, JSON and CSV."""

import csv
import io
import json

import pytest

from testing.predictions import (
    SILENCE,
    UNSURE,
    Answer,
    Failure,
    Recognition,
    clock,
    summary_table,
    timeline_figure,
    timeline_table,
    to_csv,
    to_json,
)
from utils.emotions import CODES, ENGLISH, in_own_words

EMOTIONS = ("gio", "rab", "tri")
JOY = {"gio": 0.8, "rab": 0.15, "tri": 0.05}
EVEN = {"gio": 0.3, "rab": 0.4, "tri": 0.3}
TIMELINE = (
    Answer(0, 2, "gio", JOY, 0.5),
    Answer(2, 3.5, "gio", {"gio": 0.6, "rab": 0.2, "tri": 0.2}, 0.7),
    Answer(3.5, 5, SILENCE, {}, None),
    Answer(5, 70, UNSURE, EVEN, 1.5),
)
LONG = Recognition("a/long.wav", Answer(0, 70, UNSURE, EVEN, 1.5), TIMELINE)
SHORT = Recognition("short.wav", Answer(0, 2, "gio", JOY, None))
QUIET = Recognition("quiet.wav", Answer(0, 2, SILENCE, {}, None))
BAD = Failure("bad.wav", "bad.wav is not audio")
OUTCOMES = [LONG, SHORT, QUIET, BAD]


def test_answers_in_words():
    assert str(SHORT.answer) == "joy 80 % (then anger 15 %, sadness 5 %)"
    assert str(QUIET.answer) == "silence"
    assert str(LONG.answer) == (
        "unsure, anger 40 % (then joy 30 %, sadness 30 %); unlike the training speech (novelty 1.5)"
    )
    assert (SHORT.answer.emotion, LONG.answer.emotion, QUIET.answer.emotion) == ("gio", "rab", None)
    assert [outcome.answer.unlike for outcome in OUTCOMES[:3]] == [True, False, False]


def test_equal_neighbours_are_one_segment():
    assert LONG.segments()[:1] == [(0, 3.5, "gio", pytest.approx(0.7))]
    table = timeline_table(LONG)
    assert [tuple(row.values()) for row in table.rows] == [
        ("0:00.0", "0:03.5", "joy", "70.0 %"),
        ("0:03.5", "0:05.0", "silence", "–"),
        ("0:05.0", "1:10.0", "unsure", "40.0 %"),
    ]


def test_the_summary_has_a_line_a_file_and_counts():
    table = summary_table(OUTCOMES)
    assert table.caption.startswith("4 files: 1 unsure, 1 joy, 1 silence, 1 no answer")
    rows = {row["file"]: row for row in table.rows}
    assert rows["a/long.wav"]["remark"] == "anger?, unlike the training speech"
    assert rows["short.wav"]["answer"] == "joy" and rows["short.wav"]["novelty"] == "–"
    assert rows["quiet.wav"]["answer"] == "silence" and rows["quiet.wav"]["probability"] == "–"
    assert rows["bad.wav"]["remark"] == "is not audio"


def test_json_holds_everything():
    long, short, quiet, bad = json.loads(to_json(OUTCOMES))
    assert long["label"] == "unsure" and long["novelty"] == 1.5 and long["end"] == 70
    assert [part["label"] for part in long["timeline"]] == ["joy", "joy", "silence", "unsure"]
    assert short["probabilities"] == {ENGLISH[code]: p for code, p in JOY.items()}
    assert json.loads(to_json(OUTCOMES, codes=True))[1]["probabilities"] == JOY
    assert short["novelty"] is None and short["timeline"] == []
    assert quiet["label"] == "silence" and quiet["probabilities"] == {}
    assert bad == {"file": "bad.wav", "error": "bad.wav is not audio"}


def test_csv_has_a_line_a_file_and_one_a_part():
    rows = list(csv.DictReader(io.StringIO(to_csv(OUTCOMES, EMOTIONS))))
    assert [row["part"] for row in rows] == ["whole", "1", "2", "3", "4", "whole", "whole", ""]
    assert [row["label"] for row in rows[:5]] == ["unsure", "joy", "joy", "silence", "unsure"]
    assert float(rows[1]["joy"]) == 0.8 and rows[3]["joy"] == "" and rows[3]["novelty"] == ""
    assert rows[-1]["error"] == "bad.wav is not audio" and rows[-1]["file"] == "bad.wav"
    with_codes = csv.DictReader(io.StringIO(to_csv(OUTCOMES, EMOTIONS, CODES)))
    assert [(row["label"], row["gio"]) for row in with_codes][1] == ("gio", "0.800000")


def test_everywhere_an_emotion_has_the_users_own_word():
    words = in_own_words({"gio": "Freude", "müde": "Müde", "rab": "RAB"})
    answer = Answer(0, 1, "gio", {"gio": 0.6, "müde": 0.3, "rab": 0.1}, None, words)
    outcome = Recognition("a.wav", answer, (answer,))
    assert str(answer) == "Freude 60 % (then Müde 30 %, anger 10 %)"
    assert outcome.to_dict()["probabilities"] == {"Freude": 0.6, "Müde": 0.3, "anger": 0.1}
    assert to_csv([outcome], ("gio", "müde", "rab"), words).startswith(
        "file,part,start,end,label,novelty,Freude,Müde,anger,error\n"
    )
    for table in (timeline_table(outcome), summary_table([outcome])):
        assert [row["answer"] for row in table.rows] == ["Freude"]
    (legend,) = timeline_figure(outcome, ("gio", "müde", "rab")).legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["Freude", "Müde", "anger", "unsure", "silence"]


def test_columns_of_emotions_are_not_those_of_others():
    emotions = ("file", "Label", "error", "=joy")
    answer = Answer(0, 2, "=joy", dict(zip(emotions, (0.1, 0.2, 0.3, 0.4), strict=True)), None)
    text = to_csv([Recognition("-x.wav", answer), Failure("=b.wav", "@gone")], emotions)
    found, failed = csv.DictReader(io.StringIO(text))
    assert (found["file"], found["label"], found["error"]) == ("'-x.wav", "'=joy", "")
    assert [float(found[name]) for name in ("file_2", "Label_2", "error_2", "'=joy")] == [0.1, 0.2, 0.3, 0.4]
    assert (failed["file"], failed["error"], failed["file_2"]) == ("'=b.wav", "'@gone", "")


def test_the_figure_of_one_answer_and_of_many():
    assert len(timeline_figure(LONG, EMOTIONS).axes) == 3
    for outcome in (SHORT, QUIET):
        assert len(timeline_figure(outcome, EMOTIONS).axes) == 2  # novelty is not known


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (63.44, "1:03.4"), (59.97, "1:00.0"), (3_723.4, "1:02:03.4"), (36_000, "10:00:00.0")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text

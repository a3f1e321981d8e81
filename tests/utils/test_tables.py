"""Tables as text and as HTML."""

import csv
import io
import re

import pytest

from utils.tables import Table, csv_text, percent, percent_range, unique

TABLE = Table(
    [
        {"run": "<CkTIM>", "settings": "default", "accuracy": "81.2 ± 2.6"},
        {"run": "TIM", "settings": "published", "accuracy": "–"},
    ],
    "A caption & more",
    ["A note."],
)


def test_text_lines_up():
    assert str(TABLE).splitlines() == [
        "A caption & more",
        "run      settings     accuracy",
        "-------  ---------  ----------",
        "<CkTIM>  default    81.2 ± 2.6",
        "TIM      published           –",
        "A note.",
    ]


def test_html_is_escaped_and_aligned():
    html = TABLE._repr_html_()
    assert "&lt;CkTIM&gt;" in html and "<CkTIM>" not in html and "A caption &amp; more" in html
    assert '<td style="padding: 2px 8px; text-align: right; white-space: nowrap">81.2 ± 2.6</td>' in html
    assert '<th style="padding: 2px 8px; text-align: left; white-space: nowrap">settings</th>' in html
    wide = Table([{"test accuracy": "81.2 ± 2.6", "settings": "default, 9 epochs"}], "")._repr_html_()
    assert re.findall(r"white-space: (\w+)\">(\w+)", wide) == [
        ("normal", "test"),  # a heading of two words
        ("nowrap", "settings"),
        ("nowrap", "81"),
        ("normal", "default"),  # a text of several words
    ]
    assert html.count("<tr>") == 3 and "<em>A note.</em>" in html


def test_an_empty_table_says_so():
    table = Table([], "Nothing yet")
    assert str(table) == "Nothing yet\n(nothing to show)"
    assert "(nothing to show)" in table._repr_html_()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"])
def test_a_cell_that_a_spreadsheet_would_run_is_disarmed(start):
    assert next(csv.reader(io.StringIO(csv_text([[f"{start}cmd|'/c calc'!A0"]]), newline=""))) == [
        f"'{start}cmd|'/c calc'!A0"
    ]


def test_other_cells_stay_as_they_are():
    cells = ["-5", "+1.5e-3", "-0.250000", "", "a=b", "e-mail@home", "–", "'quoted'", "7", "1:03.4"]
    assert next(csv.reader(io.StringIO(csv_text([cells])))) == cells


def test_names_are_made_unique_in_any_case():
    assert unique(["file", "File", "a", "file_2", "file"]) == ["file", "File_2", "a", "file_2_2", "file_3"]
    assert unique(["é", "e\u0301"]) == ["é", "e\u0301_2"]  # one file to macOS


def test_percent():
    assert percent(0.8125) == "81.2 %"
    assert percent_range(0.5, 0.98765) == "50.0 – 98.8 %"

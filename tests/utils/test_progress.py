"""Progress bars and warnings."""

import time

import tqdm.auto

from utils.progress import progress_bar, warn


def test_a_bar_yields_what_it_is_given(capsys, monkeypatch):
    monkeypatch.delenv("CKTIM_PROGRESS", raising=False)
    assert list(progress_bar(range(3), desc="counting")) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err
    assert list(progress_bar(range(3), desc="silent", disable=True)) == [0, 1, 2]
    assert "silent" not in capsys.readouterr().err


def test_a_log_file_gets_few_lines(capsys, monkeypatch):
    monkeypatch.delenv("CKTIM_PROGRESS", raising=False)
    for _ in progress_bar(range(6)):
        time.sleep(0.12)  # a terminal's bar would be drawn anew each time
    assert capsys.readouterr().err.count("\r") == 2  # the first and the last


def test_a_bar_is_plain_text_on_demand(monkeypatch, capsys):
    monkeypatch.setenv("CKTIM_PROGRESS", "text")
    assert type(progress_bar(range(3), disable=True)) is tqdm.tqdm
    list(progress_bar(range(3), desc="counting"))
    assert "counting" in capsys.readouterr().out  # not among the errors of an executed notebook
    monkeypatch.delenv("CKTIM_PROGRESS")
    assert isinstance(progress_bar(range(3), disable=True), tqdm.auto.tqdm)


def test_a_warning_is_shown_every_time(capsys):
    for _ in range(2):
        warn("no EMOVO here")
    assert capsys.readouterr().err == "warning: no EMOVO here\n" * 2

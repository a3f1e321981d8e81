"""The page of testing.demo says what testing.predict says, survives any upload, and keeps no sound."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from testing import demo
from testing.predict import Recognizer
from testing.predictions import LIMITS, Answer
from utils.runs import ENROLLED_RUN, SHIPPED_RUN


@pytest.fixture(scope="module")
def recognizer():
    """The shipped network, loaded once."""
    return Recognizer()


def label(shown: str) -> str | None:
    """The code of the answer in HTML."""
    found = re.search(r'data-label="([^"]*)"', shown)
    return found and found[1]


def test_ten_hostile_uploads_get_a_message_each(recognizer, hostile, spoken):
    said = {
        "no sound": "There is no speech in it.",
        "zip": "zip.wav is not audio",
        "hour": "hour.flac is too long, 1:00:00.0: this page takes up to 10 minutes",
        "nan": "nan.wav holds samples that are not finite numbers",
        "one sample": "one.wav is too short: 1 samples",
        "cut short": "cut.wav is cut short",
        "empty": "empty.wav is not audio: the file is empty",
    }
    assert len(hostile) == 10
    for name, path in hostile.items():
        shown, *_ = demo.recognised(recognizer, path)
        assert str(path.parent) not in shown and "<img" not in shown
        if name in said:
            assert said[name] in shown, name
        else:
            assert label(shown) == recognizer.recognise_file(path).answer.label
    assert "&lt;img src=x onerror=alert(1)&gt;.wav, 0:0" in demo.recognised(recognizer, hostile["markup"])[0]


def test_an_answer_has_all_probabilities_its_doubt_and_words_as_text():
    probabilities = {"gio": 0.25, "<b>": 0.75}
    shown = demo.answer_html(Answer(0, 2, "<b>", probabilities, 1.4), "<i>.wav")
    assert "<b>" not in shown and "<i>.wav" not in shown and shown.count('class="bar') == 3
    assert "75 % probable. It is unlike the training speech (novelty 1.4), so" in shown
    shown = demo.answer_html(Answer(0, 2, "unsure", {"gio": 0.45, "tri": 0.4}, 0.4), "a.wav")
    assert "The most probable is joy, 45 %." in shown and "novelty" not in shown


def test_explanations_are_of_one_utterance_and_timelines_of_longer_ones(recognizer, spoken, joined):
    _, along, why = demo.recognised(recognizer, spoken["neu"])
    assert 'src="data:image/png;base64,' in why and not along
    shown, along, why = demo.recognised(recognizer, joined)
    assert 'src="data:image/png;base64,' in along and "more than 12 seconds are not explained" in why
    assert label(shown) == recognizer.recognise_file(joined).answer.label


def test_chunks_of_live_sound_get_the_moments_of_the_stream(recognizer, spoken, tmp_path):
    wave, rate = soundfile.read(spoken["rab"], dtype="int16", always_2d=True)
    stream, shown, expected = None, [], []
    direct = recognizer.stream(rate)
    for number, start in enumerate(range(0, len(wave), rate // 10)):
        chunk = wave[start : start + rate // 10]
        soundfile.write(tmp_path / f"{number}.wav", chunk, rate)
        one, stream = demo.moment_html(recognizer, stream, tmp_path / f"{number}.wav")
        shown += [label(one)] if one else []
        expected += [moment.label for moment in direct.feed(chunk)]
    assert shown == expected and len(shown) > 5


def test_runs_beside_a_run_can_be_chosen_and_two_know_a_speaker(run_dir, repository):
    names = [name for name, _ in demo.runs_to_choose(run_dir)]
    assert names[:2] == [run_dir.name, SHIPPED_RUN.name]
    shipped = dict(demo.runs_to_choose(SHIPPED_RUN))
    assert next(iter(shipped)) == SHIPPED_RUN.name
    assert shipped[ENROLLED_RUN.name] == str(ENROLLED_RUN.resolve())
    assert demo.can_enrol(SHIPPED_RUN) and demo.can_enrol(ENROLLED_RUN) and not demo.can_enrol(run_dir)


def test_a_missing_gradio_is_named_with_the_way_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        demo.main([])
    assert "Gradio is missing: python -m pip install -r requirements-live.txt" in capsys.readouterr().err


@pytest.fixture(scope="module")
def address(tmp_path_factory, repository):
    """The page, as the command shows it; the folder of temporary files lies beside nothing else."""
    pytest.importorskip("gradio", reason="pip install -r requirements-live.txt")
    folder = tmp_path_factory.mktemp("temporary")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "testing.demo", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=repository, env=environment) as process:
        for _ in range(600):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the command has ended"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/", folder
        process.terminate()
        process.wait(60)
    assert not list(folder.glob("cktim-demo-*"))


def sounds_in(folder: Path) -> list[Path]:
    """Files that hold something."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]


def answered(view, before: str = "") -> str | None:
    """The label of the next answer, or None for a message."""
    view.wait_for_function(
        "before => { const shown = document.querySelector('#answer .answer');"
        " return shown && shown.textContent !== before && !document.querySelector('#answer .generating'); }",
        arg=before,
        timeout=60_000,
    )
    found = view.locator("#answer .label")
    return found.get_attribute("data-label") if found.count() else None


def open_tab(view, name: str) -> str:
    """Choose a tab; what the answer's card says then."""
    view.wait_for_selector("#answer .answer", timeout=60_000)
    view.get_by_role("tab", name=name).click()
    return view.text_content("#answer .answer")


@pytest.mark.slow
def test_uploads_get_the_answers_of_predict_and_are_not_kept(address, browse, recognizer, spoken, hostile):
    url, folder = address
    view = browse(url)
    said = open_tab(view, "Choose a file")
    assert LIMITS in view.text_content("body")
    for path in (*spoken.values(), hostile["zip"], hostile["nan"], hostile["empty"], spoken["tri"]):
        view.set_input_files("#file input[type=file]", path)
        found = answered(view, said)
        said = view.text_content("#answer .answer")
        if path in spoken.values():
            assert found == recognizer.recognise_file(path).answer.label, path
        else:
            assert found is None and path.name in said
    assert not sounds_in(folder)


@pytest.mark.slow
def test_the_microphone_gets_the_answers_of_predict(address, browse, recognizer, spoken):
    url, folder = address
    for path in spoken.values():
        expected = recognizer.recognise_file(path)
        view = browse(url, path)
        said = open_tab(view, "Record")
        view.locator("#mic button:has-text('Record')").first.click()
        view.wait_for_timeout(1_000 * expected.answer.end + 500)
        view.locator("#mic button:has-text('Stop'):visible").first.click()
        assert answered(view, said) == expected.answer.label, path
    assert not sounds_in(folder)


@pytest.mark.slow
def test_a_live_voice_gets_answers_while_it_speaks(address, browse, spoken):
    url, _ = address
    view = browse(url, spoken["rab"])
    open_tab(view, "Live")
    view.locator("#live button:has-text('Record')").first.click()
    view.wait_for_selector("#answer :text('Live, 0:0')", timeout=30_000)
    view.wait_for_selector("#answer .bar", timeout=30_000)
    view.locator("#live button:has-text('Stop')").first.click()


@pytest.mark.slow
def test_a_voice_can_be_enrolled(address, browse, spoken):
    url, _ = address
    view = browse(url)
    said = open_tab(view, "Choose a file")
    view.get_by_text("Your voice").click()
    paths = list(spoken.values())
    view.set_input_files("#mine input[type=file]", paths[:3])
    view.wait_for_selector("text=Your norm: 3 of 3 recordings.", timeout=60_000)
    view.set_input_files("#file input[type=file]", paths[0])
    expected = Recognizer().enrol(paths[:3]).recognise_file(paths[0])
    assert answered(view, said) == expected.answer.label

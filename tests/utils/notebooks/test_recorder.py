"""The upload button and Colab's microphone, with what a browser would send."""

import base64
import io
import shutil
import subprocess
import sys
import types
from datetime import UTC, datetime

import numpy as np
import pytest
import soundfile
from IPython.display import HTML

from utils.errors import UserError
from utils.notebooks import recorder
from utils.notebooks.recorder import CALLBACK, MICROPHONE, ask_for_recording, uploaded_files

widgets = pytest.importorskip("ipywidgets")

SOUND = np.sin(np.arange(4_800) / 10).astype(np.float32)


@pytest.fixture(autouse=True)
def interactive(monkeypatch):
    monkeypatch.delenv("CKTIM_AUDIO", raising=False)


@pytest.fixture
def colab(monkeypatch) -> dict:
    """A stand-in for google.colab: the callbacks that are registered, by name."""
    callbacks = {}
    package = types.ModuleType("google.colab")
    package.output = types.SimpleNamespace(register_callback=callbacks.__setitem__)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return callbacks


@pytest.fixture
def displayed(monkeypatch) -> list:
    found = []
    monkeypatch.setattr(recorder, "display", found.append)
    return found


def wav_file(samples: np.ndarray, sample_rate: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, sample_rate, format="WAV", subtype="FLOAT")
    return content.getvalue()


def describe(path) -> str:
    samples, rate = soundfile.read(path, dtype="float32")
    return f"{path.name}: {len(samples)} samples at {rate} Hz, sum {samples.sum():.3f}"


def shown(widget) -> str:
    return str(widget.children[1].outputs)


def upload(widget, name: str, content: bytes) -> None:
    file = {"name": name, "type": "audio/wav", "size": len(content), "content": memoryview(content)}
    widget.children[0].value = ({**file, "last_modified": datetime.now(UTC)},)


def test_an_uploaded_file_is_shown_under_its_name(displayed):
    paths = []
    widget = ask_for_recording(lambda path: [paths.append(path), describe(path)][1])
    assert isinstance(widget.children[0], widgets.FileUpload) and shown(widget) == "()"
    upload(widget, "my voice.wav", wav_file(SOUND, 16_000))
    assert f"my voice.wav: 4800 samples at 16000 Hz, sum {SOUND.sum():.3f}" in shown(widget)
    upload(widget, "../other.wav", wav_file(SOUND[:100], 8_000))
    assert "'other.wav: 100 samples" in shown(widget) and "my voice" not in shown(widget)
    assert not any(path.exists() for path in paths)
    assert displayed == []  # no microphone outside Colab


def test_a_file_that_cannot_be_used_gives_its_message_and_no_path_of_this_machine(tmp_path):
    def refuse(path):
        raise UserError(f"{path} is not audio")

    widget = ask_for_recording(refuse)
    upload(widget, "text.wav", b"text")
    (output,) = widget.children[1].outputs
    assert (output["name"], output["text"]) == ("stderr", "error: text.wav is not audio\n")


def test_in_colab_the_microphone_sends_its_samples(colab, displayed):
    widget = ask_for_recording(describe)
    (html,) = displayed
    assert CALLBACK in html.data and "getUserMedia" in html.data
    loud = 2 * SOUND  # beyond full scale, and sent without loss
    colab[CALLBACK](base64.b64encode(loud.astype("<f4").tobytes()).decode(), 48_000.0)
    assert f"microphone.wav: 4800 samples at 48000 Hz, sum {loud.sum():.3f}" in shown(widget)


def test_notebooks_that_are_passed_on_hold_a_note(monkeypatch, colab):
    monkeypatch.setenv("CKTIM_AUDIO", "0")
    assert isinstance(ask_for_recording(describe), HTML)
    assert colab == {}


def test_both_versions_of_the_upload_widget_are_understood():
    assert uploaded_files(({"name": "a.wav", "content": memoryview(b"abc")},)) == [("a.wav", b"abc")]
    assert uploaded_files({"a.wav": {"metadata": {}, "content": b"abc"}}) == [("a.wav", b"abc")]


BROWSER = """
const elements = {};
const document = {getElementById: id => elements[id] ??= {}};
const navigator = {mediaDevices: {getUserMedia: async () => ({getTracks: () => [{stop: () => {}}]})}};
class MediaRecorder {
  start() { this.ondataavailable({data: "part"}); }
  stop() { this.onstop(); }
}
class Blob { async arrayBuffer() { return null; } }
class AudioContext {
  async decodeAudioData() {
    return {sampleRate: 48000, getChannelData: () => new Float32Array([0.5, -0.25, 1])};
  }
}
const google = {colab: {kernel: {invokeFunction: async (...args) => console.log(JSON.stringify(args))}}};
SCRIPT
(async () => {
  await elements["cktim-record"].onclick();
  await elements["cktim-record"].onclick();
  setTimeout(() => process.exit(0), 200);
})();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript interpreter on this machine")
def test_the_button_records_and_hands_the_samples_over():
    script = MICROPHONE.partition("<script>")[2].partition("</script>")[0]
    run = ["node", "-e", BROWSER.replace("SCRIPT", script)]
    printed = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
    samples = base64.b64encode(np.array([0.5, -0.25, 1], "<f4").tobytes()).decode()
    assert printed.strip() == f'["{CALLBACK}",["{samples}",48000],{{}}]'

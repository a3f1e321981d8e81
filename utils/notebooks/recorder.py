"""Get a recording from the user of a notebook: an upload button, and in Colab the microphone."""

import base64
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from IPython.display import HTML, display

from utils.errors import UserError

MOST_SECONDS = 30  # of a recording by microphone
CALLBACK = "cktim.recorded"

# The browser records in a format of its own, decodes it, and sends the samples.
MICROPHONE = """
<button id="cktim-record">Record</button> <span id="cktim-says"></span>
<script>
(() => {
  const [button, says] = ["cktim-record", "cktim-says"].map(id => document.getElementById(id));
  let recorder = null;
  button.onclick = async () => {
    if (recorder) { recorder.stop(); return; }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({audio: true});
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = event => parts.push(event.data);
      recorder.onstop = async () => {
        stream.getTracks().forEach(track => track.stop());
        recorder = null;
        button.textContent = "Record";
        says.textContent = "…";
        const sound = await new AudioContext().decodeAudioData(await new Blob(parts).arrayBuffer());
        const bytes = new Uint8Array(new Float32Array(sound.getChannelData(0)).buffer);
        const text = Array.from(bytes, byte => String.fromCharCode(byte)).join("");
        await google.colab.kernel.invokeFunction("CALLBACK", [btoa(text), sound.sampleRate], {});
        says.textContent = "";
      };
      recorder.start();
      button.textContent = "Stop";
      says.textContent = "recording; speak now";
      const mine = recorder;
      setTimeout(() => { if (mine === recorder) mine.stop(); }, MILLISECONDS);
    } catch (error) {
      recorder = null;
      says.textContent = "No microphone: " + error.message;
    }
  };
})();
</script>
""".replace("CALLBACK", CALLBACK).replace("MILLISECONDS", str(1000 * MOST_SECONDS))


def ask_for_recording(show: Callable[[Path], object]) -> Any:
    """A widget to upload a sound file, in Colab also to record one; cells go on without a click.

    `show` makes, of the recording's file (deleted afterwards), a figure, say, which is displayed below; the
    message of a UserError is displayed instead. With CKTIM_AUDIO=0, for notebooks that are passed on, a note
    stands in the widget's place.
    """
    if os.environ.get("CKTIM_AUDIO") == "0":
        return HTML("<em>Run this cell to choose a recording of your own.</em>")
    from ipywidgets import FileUpload, Output, VBox  # Jupyter brings it, and Colab has it

    upload, area = FileUpload(accept="audio/*,.wav,.flac,.ogg,.mp3", multiple=False), Output()

    def use(name: str, content: bytes) -> None:
        area.outputs = ()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (Path(name).name or "recording")
            path.write_bytes(content)
            try:
                area.append_display_data(show(path))
            except UserError as error:
                area.append_stderr(f"error: {str(error).replace(folder + os.sep, '')}\n")

    def on_recorded(samples: str, sample_rate: float) -> None:
        wave, content = np.frombuffer(base64.b64decode(samples), "<f4"), io.BytesIO()
        soundfile.write(content, wave, round(sample_rate), format="WAV", subtype="FLOAT")
        use("microphone.wav", content.getvalue())

    def on_uploaded(change: dict) -> None:
        for file in uploaded_files(change["new"]):
            use(*file)

    upload.observe(on_uploaded, names="value")
    if "google.colab" in sys.modules:
        from google.colab import output

        output.register_callback(CALLBACK, on_recorded)
        display(HTML(MICROPHONE))
    return VBox([upload, area])


def uploaded_files(value: Iterable | dict) -> list[tuple[str, bytes]]:
    """Name and content of each file in a FileUpload's value of ipywidgets 8, or 7, which Colab has."""
    files = value.items() if isinstance(value, dict) else ((file["name"], file) for file in value)
    return [(name, bytes(file["content"])) for name, file in files]

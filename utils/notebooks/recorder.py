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
  const button = document.getElementById("cktim-record");
  const says = document.getElementById("cktim-says");
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
        const context = new AudioContext();
        const sound = await context.decodeAudioData(await new Blob(parts).arrayBuffer());
        const bytes = new Uint8Array(new Float32Array(sound.getChannelData(0)).buffer);
        let text = "";
        for (let start = 0; start < bytes.length; start += 32768)
          text += String.fromCharCode(...bytes.subarray(start, start + 32768));
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
    """An upload button for a sound file, in Colab also one that records; cells go on without a click.

    Args:
        show: the recording's file, which is deleted afterwards → a figure, say, to be displayed below; the
            message of a UserError is displayed instead.

    Returns:
        A widget; a note in its place where CKTIM_AUDIO=0, for notebooks that are passed on.
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
        use("microphone.wav", wav_file(np.frombuffer(base64.b64decode(samples), "<f4"), round(sample_rate)))

    upload.observe(lambda change: [use(*file) for file in uploaded_files(change["new"])], names="value")
    if "google.colab" in sys.modules:
        from google.colab import output

        output.register_callback(CALLBACK, on_recorded)
        display(HTML(MICROPHONE))
    return VBox([upload, area])


def uploaded_files(value: Iterable | dict) -> list[tuple[str, bytes]]:
    """Name and content of each file in a FileUpload's value of ipywidgets 8, or 7, which Colab has."""
    if isinstance(value, dict):
        return [(name, bytes(file["content"])) for name, file in value.items()]
    return [(file["name"], bytes(file["content"])) for file in value]


def wav_file(samples: np.ndarray, sample_rate: int) -> bytes:
    """A waveform (samples,) as the content of a WAV file."""
    content = io.BytesIO()
    soundfile.write(content, samples, sample_rate, format="WAV", subtype="FLOAT")
    return content.getvalue()

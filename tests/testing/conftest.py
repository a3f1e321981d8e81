"""A tiny corpus on disk, and a run that was trained on it."""

import functools
import http.server
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from dataloader.corpora.demo import make_demo_corpus
from testing.predict import Recognizer, main
from training.train import train
from utils.config import Config
from utils.emotions import EMOTIONS


def tiny_config(folder: Path, data: dict, features=(), train=(), model=()) -> Config:
    """A training of seconds on a corpus of short sounds, in a folder."""
    where = {"num_epochs": 1, "batch_size": 16, "results_dir": folder / "results", "device": "cpu"}
    return Config(
        data={"cache_dir": folder / "cache", **data},
        features={"signal_length": 4_096, "n_mfcc": 13, **dict(features)},
        train=where | dict(train),
        model={"n_filter": 4, "hidden_scale": 0.25, **dict(model)},
    )


@pytest.fixture
def train_tiny(tmp_path):
    """Train a run on a corpus of short sounds: train_tiny({"root": …}, features={…})."""
    return lambda *args, **parts: train(tiny_config(tmp_path, *args, **parts), progress=False)


@pytest.fixture(scope="session")
def trained(tiny_emovo, tmp_path_factory) -> Path:
    """The directory of a short training of CkTIM-net, not to be changed (take `run_dir`)."""
    model = {"n_filter": 8, "n_temporal_aware_block": 2}
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(folder, {"root": tiny_emovo}, train={"num_epochs": 8}, model=model)
    return train(config, progress=False)


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    """A copy of the trained run, under its own name."""
    return Path(shutil.copytree(trained, tmp_path / "results" / trained.name))


@pytest.fixture(scope="session")
def published_root(repository) -> Path:
    """The published run directories, where they are on disk."""
    root = repository / "../shared/published"
    if not root.exists():
        pytest.skip("the published run directories are not on disk")
    return root.resolve()


@pytest.fixture
def status():
    """The exit status of testing.predict's command: status(*arguments)."""

    def status(*arguments) -> int:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            return exit_.code
        return 0

    return status


@pytest.fixture(scope="session")
def spoken(tmp_path_factory, request) -> dict[str, Path]:
    """A recording (WAV, 16 bits) of each emotion: of EMOVO where it is on disk, else of the demo voices.

    Those whose answer does not hang by a hair: another resampler may move a probability by a few hundredths.
    """
    try:
        root = request.getfixturevalue("emovo_root")
    except pytest.skip.Exception:
        root = make_demo_corpus(tmp_path_factory.mktemp("demo") / "demo", progress=False)
    folder, recognizer, found = tmp_path_factory.mktemp("spoken"), Recognizer(), {}
    for emotion in EMOTIONS:
        sure: dict[Path, float] = {}
        for path in sorted(root.rglob(f"{emotion}-*.*"))[::5]:
            first, second, *_ = sorted(recognizer.recognise_file(path).answer.probabilities.values())[::-1]
            sure[path] = min(first - second, abs(first - recognizer.sure))
            if sure[path] > 0.15:
                break
        best = max(sure, key=sure.__getitem__)
        found[emotion] = folder / f"{best.stem}.wav"
        soundfile.write(found[emotion], *soundfile.read(best), subtype="PCM_16")
    return found


@pytest.fixture(scope="session")
def joined(spoken, tmp_path_factory) -> Path:
    """All of them in a row, with pauses between them."""
    path, pause = tmp_path_factory.mktemp("joined") / "joined.wav", np.zeros(24_000, np.float32)
    read = [soundfile.read(one, dtype="float32") for one in spoken.values()]
    soundfile.write(path, np.concatenate([part for wave, _ in read for part in (wave, pause)]), read[0][1])
    return path


@pytest.fixture(scope="session")
def hostile(spoken, tmp_path_factory) -> dict[str, Path]:
    """Ten files that people may upload."""
    folder = tmp_path_factory.mktemp("hostile")
    source = next(iter(spoken.values()))
    wave, rate = soundfile.read(source, dtype="float32")
    names = {"nan": "nan.wav", "markup": "<img src=x onerror=alert(1)>.wav", "hour": "hour.flac"}
    names |= {"zip": "zip.wav", "cut short": "cut.wav", "384 kHz": "fast.wav", "12 channels": "twelve.wav"}
    names |= {"no sound": "silence.wav", "one sample": "one.wav", "empty": "empty.wav"}
    paths = {name: folder / file for name, file in names.items()}
    sounds = {
        "no sound": (np.zeros(rate, np.float32), rate),
        "nan": (np.where(np.arange(len(wave)) == 999, np.nan, wave), rate),
        "markup": (wave, rate),
        "hour": (np.resize(wave, 3_600 * 8_000), 8_000),
        "384 kHz": (soxr.resample(wave, rate, 384_000), 384_000),
        "12 channels": (np.tile(0.3 * wave[:, None], 12), rate),
        "one sample": (wave[1_000:1_001], rate),
    }
    for name, (sound, own) in sounds.items():
        kind = "PCM_16" if name == "hour" else "FLOAT"
        soundfile.write(paths[name], sound, own, subtype=kind)
    paths["cut short"].write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    paths["empty"].touch()
    with zipfile.ZipFile(paths["zip"], "w") as archive:
        archive.write(source, "a.wav")
    return paths


@pytest.fixture
def served():
    """The address of a folder that is served by a plain static server: served(folder)."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            """Say nothing."""

    servers = []

    def serve(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def browse():
    """A real browser at an address, with a WAV as its microphone: browse(address, wav).

    The test fails where the console has an error or anything is asked of another host.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    faults: list[str] = []
    with playwright.sync_playwright() as driver:

        def opened(address: str, microphone: Path | None = None):
            fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            fake += [f"--use-file-for-fake-audio-capture={microphone}%noloop"] if microphone else []
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *fake])
            view = browser.new_page(viewport={"width": 1_280, "height": 900})
            view.on("console", lambda said: said.type == "error" and faults.append(said.text))
            view.on("pageerror", lambda error: faults.append(str(error)))
            own = (address, address.replace("http", "ws", 1), "blob:", "data:")
            view.on("request", lambda one: one.url.startswith(own) or faults.append(one.url))
            view.on("websocket", lambda one: one.url.startswith(own) or faults.append(one.url))
            view.goto(address)
            return view

        yield opened
    assert not faults

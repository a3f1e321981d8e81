"""The files of a web page that recognises in the browser alone: `testing.export RUN_DIR --format web`.

The page is in testing/page; beside it are the exported network, and onnxruntime-web from its npm package.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dataloader import audio, decode
from testing import parsers, predict
from testing.calibration import load_calibration
from testing.load_run import LoadedRun
from testing.predictions import LIMITS, SILENCE, UNSURE
from utils.errors import UserError
from utils.files import write_atomically
from utils.progress import warn

RUNTIME = "onnxruntime-web@1.30.0"  # of npm
PARTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = Path(__file__).with_name("page")
SETTINGS = "settings.json"
PATIENCE = 600  # seconds for npm
# Constants that the page needs.
OF_AUDIO = "SHORTEST", "LOUDEST", "ROUNDING", "NEAR_SILENCE", "STEADY", "NO_SOUND", "OPPOSITE", "LEVEL_FRAME"
OF_PREDICT = "OVERLAP", "LONGEST_UTTERANCE", "PAUSE"
RESAMPLED = 0.4  # of the sample rate: up to there, all good resamplers agree


def page_files(run: LoadedRun, least_samples: int, runtime: str | Path | None = None) -> dict[str, bytes]:
    """Name → content of all files of the page but the network.

    `least_samples` are those that the network needs. `runtime` is a folder that holds onnxruntime-web, or its
    package (.tgz); None has npm fetch it.
    """
    features = run.config.features
    if not features.f_max or features.f_max > RESAMPLED * features.sample_rate:
        warn(
            f"the mel bands of {run.path} end where the browser's resampler differs from testing.predict's: "
            "some answers will. A run with features.f_max=7000 has no such bands."
        )
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.is_file()}
    files[SETTINGS] = json.dumps(settings(run, least_samples), indent=1).encode()
    return files | {f"onnxruntime/{name}": content for name, content in runtime_parts(runtime).items()}


def settings(run: LoadedRun, least_samples: int) -> dict[str, object]:
    """What recognition in the browser must know of the run, and of dataloader.audio and testing.predict."""
    return {
        "run": run.path.name,
        "limits": LIMITS,
        "emotions": run.emotions,
        "words": {label: run.words[label] for label in (*run.emotions, UNSURE, SILENCE)},
        "temperature": load_calibration(run.path).temperature,
        "sure": parsers.SURE,
        "sample_rate": run.config.features.sample_rate,  # Hz
        "window": run.config.features.signal_length,  # samples
        "least_samples": least_samples,
        "block_seconds": decode.BLOCK,
        **{name.lower(): getattr(audio, name) for name in OF_AUDIO},
        **{name.lower(): getattr(predict, name) for name in OF_PREDICT},
    }


def runtime_parts(source: str | Path | None) -> dict[str, bytes]:
    """The PARTS of onnxruntime-web in a folder or a package (.tgz); None has npm fetch the package."""
    if source is None:
        with tempfile.TemporaryDirectory() as folder:
            return runtime_parts(_fetched(Path(folder)))
    source = Path(source)
    try:
        if source.is_dir():
            found = {path.name: path for path in source.rglob("ort*") if path.name in PARTS}
            parts = {name: path.read_bytes() for name, path in found.items()}
        else:
            with tarfile.open(source) as package:
                members = {Path(one.name).name: one for one in package if one.isfile()}
                files = {name: package.extractfile(members[name]) for name in PARTS if name in members}
                parts = {name: file.read() for name, file in files.items() if file}
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{source} cannot be read ({error}): name a folder or .tgz of {RUNTIME}.") from error
    if missing := [name for name in PARTS if name not in parts]:
        raise UserError(f"{source} lacks {', '.join(missing)}: name a folder or .tgz of {RUNTIME}.")
    return parts


def _fetched(folder: Path) -> Path:
    """The package, which npm has put into the folder."""
    remedy = f"fetch {RUNTIME} elsewhere (`npm pack {RUNTIME}`) and name the file: --runtime FILE.tgz"
    if (npm := shutil.which("npm")) is None:
        raise UserError(f"the page needs {RUNTIME}, and npm is not installed. Install Node.js, or {remedy}.")
    command = [npm, "pack", RUNTIME, "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE, cwd=folder)
        return next(folder.glob("*.tgz"))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = said[0] if said else "no output"
        raise UserError(f"npm cannot fetch {RUNTIME} ({reason}). Try again, or {remedy}.") from error


def check_folder(folder: Path) -> None:
    """A UserError where the page would lie among other files."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).is_file():
        raise UserError(f"{folder} holds other files. Name an empty folder, or a new one: --out FOLDER")


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files into folders that are made where they are missing."""
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {path.parent}: {error.strerror or error}.") from error
        write_atomically(path, content)

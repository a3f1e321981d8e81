"""Other people's machines: odd paths, a corpus that cannot be written, no home, other systems' separators."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from testing.evaluate import evaluate
from testing.evaluate import main as evaluate_command
from training.train import main as train_command
from training.train import train
from utils.config import load_config
from utils.errors import UserError
from utils.files import expanded, write_json
from utils.metrics import read_json

TINY = [
    *("features.signal_length=8192", "features.n_mels=40", "features.n_mfcc=13"),
    *("model.n_filter=4", "model.hidden_scale=0.25", "train.num_epochs=1", "train.device=cpu"),
    *("data.test_fraction=0.3", "data.validation_fraction=0.2"),
]
ODD_SPEAKERS, ODD_EMOTIONS = ("anna", "bé [2]"), ("angry", "it's $x_{$ 😀")
NAMES = [f"s{number}" for number in range(10)]
# Trains, evaluates, and takes a file without an encoding of its own for an error, as far as it is ours.
TRAIN_AND_EVALUATE = """
import sys
import warnings
from pathlib import Path

ours = r"(utils|models|dataloader|training|testing)\\b"
warnings.filterwarnings("error", category=EncodingWarning, module=ours)
from training.train import main as train
from testing.evaluate import main as evaluate
results, *overrides = sys.argv[1:]
train(overrides)
evaluate([str(next(Path(results).iterdir()))])
"""


def make_corpus(root: Path, names: list[str], speakers=ODD_SPEAKERS, emotions=ODD_EMOTIONS) -> Path:
    """SPEAKER/EMOTION/NAME.wav: short tones in noise, of two emotions."""
    rng = np.random.default_rng(0)
    for speaker in speakers:
        for pitch, emotion in zip((0.05, 0.2), emotions, strict=True):
            folder = root / speaker / emotion
            folder.mkdir(parents=True)
            for name in names:
                tone = np.sin(pitch * np.arange(6_000)) + 0.2 * rng.standard_normal(6_000)
                soundfile.write(folder / f"{name}.wav", 0.3 * tone, 22_050)
    return root


def settings(corpus: Path, work: Path) -> list[str]:
    """Overrides; JSON's quotes are YAML's."""
    paths = {"data.root": corpus, "data.cache_dir": work / "cache", "train.results_dir": work / "results"}
    return [*TINY, "data.corpus=folder", *(f"{key}={quoted(path)}" for key, path in paths.items())]


def quoted(path: Path) -> str:
    """As YAML, to which # and : in a name would be something else."""
    return json.dumps(str(path), ensure_ascii=False)


def command(
    arguments: list[str], repository: Path, wrapper: list[str], code: str = TRAIN_AND_EVALUATE, **changes
) -> str:
    """Run Python code in a process without a home or a place for temporary files of its own."""
    private = re.compile("HOME|USER.*|LOGNAME|TMPDIR|TEMP|TMP|MPL.*|XDG_.*|NUMBA_.*|PYTHON.*|LC_.*|LANG")
    environment = {key: value for key, value in os.environ.items() if not private.fullmatch(key)}
    done = subprocess.run(
        [*wrapper, sys.executable, "-X", "warn_default_encoding", "-c", code, *arguments],
        cwd=repository,
        env=environment | {"OMP_NUM_THREADS": "1"} | changes,
        capture_output=True,
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, output
    return output


def read_only(folder: Path) -> list[str]:
    """Words before a command, so that it cannot write to a folder; modes do not bind root."""
    if os.name != "nt" and os.geteuid() != 0:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        return []
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && "$@"'
    wrapper = ["unshare", "--mount", "sh", "-c", script, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("nothing makes a folder read-only here")
    assert subprocess.run([*wrapper, "touch", str(folder / "x")], capture_output=True).returncode != 0
    return wrapper


def results_of(run_dir: Path) -> dict:
    return json.loads((run_dir / "CkTIM_test_metrics.json").read_text(encoding="utf-8"))


def test_odd_paths_a_read_only_corpus_and_a_home_that_cannot_be_written(tmp_path, repository):
    names = ["a b", "it's", '"q" [1]*', "-dash", ".dot", "é 日本", "😀", "$x_{$", "a\\b", "#1"]
    corpus = make_corpus(tmp_path / "my corpus, perché #1 [è]", names)
    work = tmp_path / "my work 日本 😀"
    wrapper = read_only(corpus)
    arguments = [str(work / "results"), *settings(corpus, work)]
    output = command(arguments, repository, wrapper, HOME=os.devnull + "/home", LC_ALL="C.UTF-8")
    assert "Run directory: " in output
    (run_dir,) = (work / "results").iterdir()
    assert (run_dir / "confusion_matrix.png").stat().st_size and list((work / "cache").glob("*.npy"))
    split = json.loads((run_dir / "split.json").read_text(encoding="utf-8"))
    recorded = sorted(name for subset in ("train", "validation", "test") for name in split[subset])
    paths = (path.relative_to(corpus) for path in corpus.rglob("*.wav"))
    assert recorded == sorted(path.as_posix().removesuffix(".wav") for path in paths)
    assert len(recorded) == 4 * len(names)
    assert "it's $x_{$ 😀" in (run_dir / "predictions.csv").read_text(encoding="utf-8")
    assert results_of(run_dir)["confusion_matrix"]


@pytest.mark.slow  # Numba compiles what librosa needs, and keeps nothing of it
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="the packages are somebody's own to write")
def test_librosa_starts_where_neither_it_nor_the_home_can_be_written(repository):
    packages = Path(importlib.util.find_spec("librosa").origin).parent
    code = "import os; from dataloader.augment.waveforms import import_librosa; import_librosa()"
    code += "; print(os.environ['NUMBA_CACHE_DIR'])"
    folder = command([], repository, read_only(packages), code, HOME=os.devnull + "/home")
    assert not Path(folder.splitlines()[0]).exists()  # any more


def test_a_terminal_that_knows_ascii_alone_and_no_home(tmp_path, repository):
    corpus = make_corpus(tmp_path / "corpus", NAMES, ("anna",), ("angry", "sad"))
    arguments = [str(tmp_path / "results"), *settings(corpus, tmp_path)]
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    output = command(arguments, repository, [], **ascii_alone)
    assert "Run directory: " in output
    (run_dir,) = (tmp_path / "results").iterdir()
    assert results_of(run_dir)["confusion_matrix"]


@pytest.fixture
def trained(tmp_path):
    """A run on a tiny corpus, and the corpus."""
    corpus = make_corpus(tmp_path / "corpus", NAMES)
    config = load_config("conf/config.yaml", settings(corpus, tmp_path))
    return train(config, progress=False), corpus


def test_a_run_from_windows_is_evaluated(trained):
    run_dir, corpus = trained
    evaluate(run_dir, progress=False)
    expected = results_of(run_dir)["confusion_matrix"]

    split = read_json(run_dir / "split.json")
    for subset in ("train", "validation", "test"):
        split[subset] = [name.replace("/", "\\") for name in split[subset]]
    write_json(run_dir / "split.json", split)
    parameters = (run_dir / "parameters.txt").read_text(encoding="utf-8")
    parameters = re.sub(r"  root: .*", lambda _: r"  root: C:\corpora\mine", parameters)
    parameters = re.sub(r"  cache_dir: .*", "  cache_dir: D:/cache", parameters)
    (run_dir / "parameters.txt").write_text(parameters, encoding="utf-8")
    if os.name != "nt":
        with pytest.raises(UserError, match=r"C:\\corpora\\mine is a path on Windows.*data\.root="):
            evaluate(run_dir, progress=False)
    elsewhere = [f"data.root={quoted(corpus)}", f"data.cache_dir={corpus.parent / 'cache'}"]
    evaluate(run_dir, elsewhere, progress=False)
    assert results_of(run_dir)["confusion_matrix"] == expected


def test_a_home_is_written_as_a_tilde_in_every_path(tmp_path, monkeypatch, repository):
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    make_corpus(home / "corpus", NAMES)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    overrides = settings(Path("~/corpus"), Path("~/work"))
    train_command(["--config", str(repository / "conf/config.yaml"), *overrides])
    assert sorted(path.name for path in (home / "work").iterdir()) == ["cache", "results"]
    (run_dir,) = (home / "work/results").iterdir()
    assert "~/work/results" in (run_dir / "parameters.txt").read_text(encoding="utf-8")  # as it was written
    evaluate_command([f"~/work/results/{run_dir.name}"])
    assert results_of(run_dir)["confusion_matrix"]
    assert not list(here.iterdir())
    assert expanded("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")

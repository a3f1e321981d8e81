"""Importing a module changes nothing outside of it."""

import subprocess
import sys

PROBE = """
import importlib, os, pathlib, pkgutil, re, signal, sys, tempfile, warnings
import librosa, matplotlib.pyplot, numpy, pandas, scipy.stats, seaborn, sklearn.metrics, soundfile
import IPython.display, nbclient, nbformat, requests, torch, torchaudio


def state():
    hooks = {**vars(sys.modules["torch.optim.optimizer"]), **vars(torch.nn.modules.module)}
    hooks = {name: len(found) for name, found in hooks.items() if re.match("_global.*hooks$", name)}
    places = pathlib.Path(), pathlib.Path(tempfile.gettempdir())
    return {
        "environment": dict(os.environ),
        "files": sorted(str(path) for place in places for path in place.iterdir()),
        "figures": {key: str(value) for key, value in matplotlib.rcParams.items()},
        "hooks": hooks,
        "random numbers": [numpy.random.get_state()[1].tolist(), torch.initial_seed()],
        "signals": [str(signal.getsignal(one)) for one in signal.valid_signals()],
        "torch": [torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()],
        "warnings": list(map(str, warnings.filters)),
    }


before = state()
for package in ("dataloader", "models", "testing", "training", "utils"):
    path = importlib.import_module(package).__path__
    names = [package, *(module.name for module in pkgutil.walk_packages(path, package + "."))]
    for name in names:
        importlib.import_module(name)
        after = state()
        for part in before:
            if before[part] != after[part]:
                print(name, "changes:", part)
        before = after
"""


def test_no_import_has_a_side_effect(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shown = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == ""

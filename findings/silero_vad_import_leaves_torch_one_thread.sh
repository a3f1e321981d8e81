#!/usr/bin/env bash
# To import silero_vad leaves all of PyTorch with one thread, whatever was set before.
#
# Version: silero-vad 6.2.3 with torch 2.11.0 (CPU). A module of the package calls torch.set_num_threads(1) when it is
# imported, so an import, even one that only looks whether the package is there, changes the speed of every other network in
# the process: a training that looks for speech first runs on one core from then on. The model as ONNX needs no thread of
# PyTorch. To set the count again after the import cures it, and load_silero_vad(onnx=True) leaves it then; to run the
# package's ONNX file by onnxruntime alone, found by importlib.util.find_spec, avoids it.
#
# Output seen:
#     threads before: 2
#     threads after the import: 1
#     threads after they were set again, and the model was loaded: 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    silero-vad==6.2.3 torch==2.11.0 torchaudio==2.11.0 onnxruntime==1.27.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch

torch.set_num_threads(2)
print("threads before:", torch.get_num_threads())
from silero_vad import load_silero_vad

after = torch.get_num_threads()
print("threads after the import:", after)
torch.set_num_threads(2)
load_silero_vad(onnx=True)
again = torch.get_num_threads()
print("threads after they were set again, and the model was loaded:", again)
raise SystemExit((after, again) != (1, 2))
PYTHON

#!/usr/bin/env bash
# OneCycleLR divides by zero where pct_start * total_steps is 1, for schedules of any length.
#
# Version: torch 2.13.0 (CPU), seen too with 2.11.0. Both arguments are within their documented ranges, and neighbouring
# values work: the first phase then has its end at step pct_start * total_steps - 1 = 0, and the learning rate of step
# 0 is computed as a share of a phase of no length, in the constructor. A warm-up of one step in ten, or of one in
# a hundred, is such a schedule; a training script meets it when somebody tries it on few batches.
#
# Output seen:
#     total_steps=10 pct_start=0.1: ZeroDivisionError
#     total_steps=100 pct_start=0.01: ZeroDivisionError
#     total_steps=11 pct_start=0.1: works
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch

seen = []
for total_steps, pct_start in ((10, 0.1), (100, 0.01), (11, 0.1)):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    try:
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total_steps, pct_start=pct_start)
        result = "works"
    except ZeroDivisionError:
        result = "ZeroDivisionError"
    print(f"total_steps={total_steps} pct_start={pct_start}: {result}")
    seen.append(result)
assert seen == ["ZeroDivisionError", "ZeroDivisionError", "works"], seen
PYTHON

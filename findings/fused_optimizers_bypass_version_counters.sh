#!/usr/bin/env bash
# A step of a fused optimiser changes parameters without counting it in their version counters.
#
# Version: torch 2.13.0 (CPU), seen too with 2.11.0. Autograd notices in-place changes of tensors that a backward pass
# still needs by their version counters (Tensor._version). AdamW(fused=False).step() raises the counter of each
# parameter; AdamW(fused=True).step() changes the values and leaves the counter at 0. So a backward pass after the
# step, through a graph that was made before it, raises the usual RuntimeError ("modified by an inplace operation")
# with the plain optimiser, and with the fused one it ends without an error, and its gradient mixes old and new values:
# for w ** 2 at w = 1, after a step of 0.5, 1.0 in place of the right 2.0. Whoever keeps something that is computed
# from parameters until `_version` changes keeps it too long.
#
# Output seen:
#     fused=False: counter 0 -> 1, backward after the step: RuntimeError
#     fused=True: counter 0 -> 0, backward after the step: gradient 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch

seen = {}
for fused in (False, True):
    w = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([w], lr=0.5, weight_decay=0.0, fused=fused)
    loss = (w**2).sum()  # its backward pass needs w as it is now
    w.grad = torch.ones(1)
    before = w._version
    optimizer.step()
    after, w.grad = w._version, None
    try:
        loss.backward()
        result = f"gradient {w.grad.item():.1f}"
    except RuntimeError:
        result = "RuntimeError"
    print(f"fused={fused}: counter {before} -> {after}, backward after the step: {result}")
    seen[fused] = (after > before, result)
assert seen == {False: (True, "RuntimeError"), True: (False, "gradient 1.0")}, seen
PYTHON

#!/usr/bin/env bash
# The backward pass of torch.fft.rfft is a complex transform of the full length; a real one gives the same gradient.
#
# Version: torch 2.13.0 (CPU), seen too with 2.11.0. rfft of n real samples is about half of the work of a complex transform,
# and so is irfft, which is its backward pass but for a factor: the gradient to a sample is the real part of an unnormalised
# inverse transform of n // 2 + 1 values. PyTorch fills them up to n complex zeros, calls the complex transform
# (aten::_fft_c2c) of all n points, and drops the imaginary half of the result. With an even n, irfft(norm="forward") of
# the incoming gradient, all but its first and last value halved, is the same to rounding. In a network of depthwise
# convolutions by spectra this was 36 % of a training step, and to write the backward pass out halved the step.
#
# Output seen:
#     transforms in backward: ['aten::_fft_c2c'], of 384 complex points
#     the same by irfft: largest difference below 1e-4: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.profiler import ProfilerActivity, profile

n = 384
x = torch.randn(8, 16, n, generator=torch.Generator().manual_seed(0), requires_grad=True)
spectrum = torch.fft.rfft(x)
given = torch.randn(spectrum.shape, dtype=spectrum.dtype, generator=torch.Generator().manual_seed(1))
with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
    (gradient,) = torch.autograd.grad(spectrum, x, given)
found = [event for event in seen.events() if event.name.startswith("aten::_fft_")]
names, points = sorted({event.name for event in found}), found[0].input_shapes[0][-1]
print(f"transforms in backward: {names}, of {points} complex points")
halved = given.clone()
halved[..., 1:-1] /= 2
by_irfft = torch.fft.irfft(halved, n, norm="forward")
same = (by_irfft - gradient).abs().max().item() < 1e-4
print(f"the same by irfft: largest difference below 1e-4: {same}")
assert (names, points, same) == (["aten::_fft_c2c"], n, True)
PYTHON

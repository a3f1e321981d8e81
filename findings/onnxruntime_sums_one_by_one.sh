#!/usr/bin/env bash
# onnxruntime's ReduceSum over a long axis of float32 errs hundreds of times more than NumPy's sum.
#
# Version: onnxruntime 1.32.0, CPU, with onnx 1.23.2 and numpy 2.4.6. A minute of sound at 22 050 Hz has 1.3 million samples.
# NumPy adds them pairwise. onnxruntime's error grows with the length of the axis, as that of a plain loop. PyTorch exports
# x.square().sum(-1) as a ReduceSum, so a root mean square in an exported graph is right for recordings of seconds, and
# drifts for those of minutes. A sum in two steps, over pieces of 512 and then over the pieces, cures it.
#
# Output seen (relative errors):
#     1 s: onnxruntime 3e-07, in two steps 1e-08, numpy 1e-08
#     60 s: onnxruntime 2e-05, in two steps 3e-08, numpy 3e-08
#     600 s: onnxruntime 7e-04, in two steps 1e-07, numpy 2e-08
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


def session(steps):
    """ReduceSum over the last axis, as often as there are axes."""
    names = ["x", *(f"y{step}" for step in range(steps))]
    last = helper.make_tensor("last", TensorProto.INT64, [1], [-1])
    nodes = [helper.make_node("ReduceSum", [a, "last"], [b], keepdims=0) for a, b in zip(names, names[1:])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * (steps + 1))
    y = helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "sum", [x], [y], [last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


errors = {}
for seconds in (1, 60, 600):
    samples = seconds * 22_050 // 512 * 512
    squares = np.square(np.random.default_rng(0).uniform(-0.3, 0.3, (1, samples)).astype(np.float32))
    exact = squares.astype(float).sum()
    sums = {
        "onnxruntime": session(1).run(None, {"x": squares})[0][0],
        "in two steps": session(2).run(None, {"x": squares.reshape(1, -1, 512)})[0][0],
        "numpy": squares.sum(),
    }
    errors[seconds] = {name: abs(float(one) / exact - 1) for name, one in sums.items()}
    print(f"{seconds} s:", ", ".join(f"{name} {error:.0e}" for name, error in errors[seconds].items()))
seen = errors[60]["onnxruntime"] > 1e-5 and max(errors[60]["in two steps"], errors[60]["numpy"]) < 1e-6
raise SystemExit(not seen)
PYTHON

"""Evaluate a run, recognise, calibrate, explain, export."""

import sys

# Commands of version 0.1 that went, and where to; this table goes with version 0.3.
GONE = {
    "testing.benchmark": "it is `python -m training.benchmark` now.",
    "testing.collect": "results are read from run directories, see notebook_results.ipynb.",
    "testing.frame_rates": "docs/results.md has its figures.",
    "testing.protocols": "it is `python -m training.trials conf/trials/protocols.yaml` now.",
    "testing.robustness": "docs/results.md has its figures.",
}
command = dict(zip(sys.orig_argv, sys.orig_argv[1:], strict=False)).get("-m", "")
if command in GONE:
    raise SystemExit(f"error: {command} is gone: {GONE[command]}")

"""The same trial on a Ray cluster of two machines, one of which is lost; for environments that have Ray."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from training.trials import load_trial, main
from utils.errors import UserError
from utils.metrics import read_json

pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.fixture
def trial(demo, tmp_path) -> Path:
    """Eight tiny runs on the demo corpus."""
    path = tmp_path / "some.yaml"
    content = {"settings": demo, "grid": {"model.ck": [True, False]}, "seeds": [0, 1, 2, 3]}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_lost_machine_loses_nothing_and_the_metrics_are_those_of_processes(trial):
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    process = None
    try:
        lost = cluster.add_node(num_cpus=1)
        folder = trial.parent / "ray"
        command = [sys.executable, "-m", "training.trials", str(trial), "backend=ray"]
        process = subprocess.Popen(
            [*command, f"train.results_dir={folder}"], env={**os.environ, "RAY_ADDRESS": cluster.address}
        )
        while len(list(folder.glob("some_demo/*TIM*"))) < 2:
            assert process.poll() is None
            time.sleep(0.1)
        cluster.remove_node(lost, allow_graceful=False)
        assert process.wait(timeout=240) == 0
    finally:
        if process is not None:
            process.kill()
        cluster.shutdown()
    main([str(trial), f"train.results_dir={trial.parent / 'processes'}", "workers=2"])
    results, expected = (
        read_json(trial.parent / place / "some_demo.json") for place in ("ray", "processes")
    )
    assert len(results["runs"]) == 8 and results["runs"] == expected["runs"]


def test_without_a_cluster_the_message_says_how_to_start_one(trial, monkeypatch):
    from training import trials

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="ray start --head"):
        next(trials._on_ray(load_trial(trial), [], False))

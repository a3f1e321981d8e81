"""Run directories without weights, for what reads and compares them."""

import json
from pathlib import Path

import numpy as np
import pytest

from utils.config import Config, save_config
from utils.emotions import EMOTIONS
from utils.metrics import History, confusion_matrix, scores


@pytest.fixture
def make_run(tmp_path):
    """Write a run directory and return it: make_run("TIM_TAB1_seed0", model={"ck": False}, accuracy=0.8)."""

    def write(
        name,
        corpus="EMOVO",
        protocol="holdout",
        fold=None,
        folds=None,
        partition="",
        epochs=4,
        tested=True,
        accuracy=0.5,
        **sections,
    ) -> Path:
        run_dir = tmp_path / "results" / name
        run_dir.mkdir(parents=True)
        config = Config(**sections)
        save_config(config, run_dir / "parameters.txt")
        split = {"corpus": corpus, "protocol": protocol, "fold": fold, "folds": folds}
        split["partition"] = partition
        (run_dir / "split.json").write_text(json.dumps(split))
        for part, offset in (("training", 0), ("validation", 0.1)):
            history = History(config.model.name)
            for epoch in range(epochs):
                history.append(epoch=epoch, loss=2 / (epoch + 1) + offset, accuracy=epoch / epochs)
            history.save(run_dir / f"{part}_metrics.json")
        if tested:
            targets = np.arange(70) % 7
            predictions = np.where(np.arange(70) < round(accuracy * 70), targets, (targets + 1) % 7)
            metrics = {
                "model": [config.model.name],
                "epoch": [],
                "loss": [1.0],
                **{score: [value] for score, value in scores(targets, predictions, 7).items()},
                "inference_time_one_sample": [0.002],
                "inference_time_tot": [0.2],
                "trainable_parameters": [12345],
                "accuracy_interval": [[accuracy - 0.1, accuracy + 0.1]],
                "uar_interval": [[accuracy - 0.1, accuracy + 0.1]],
                "emotions": list(EMOTIONS),
                "confusion_matrix": confusion_matrix(targets, predictions, 7).tolist(),
            }
            (run_dir / f"{config.model.name}_test_metrics.json").write_text(json.dumps(metrics))
        return run_dir

    return write

"""A run at other frame rates than its own, and the whole chain of commands for other generators."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.cktim import CkTIMNet
from testing import collect, evaluate, frame_rates
from testing.frame_rates import accuracy_at_hops, load_hops_table, measure_runs
from training import train
from utils.errors import UserError
from utils.metrics import read_json

SMALL = [
    "features.signal_length=4096",
    "train.num_epochs=1",
    "train.batch_size=16",
    "train.device=cpu",
    "features.n_mfcc=13",
    "model.n_filter=4",
    "model.hidden_scale=0.25",
]


def test_at_the_hop_of_the_training_it_is_the_test_result(run_dir):
    metrics = evaluate.evaluate(run_dir, progress=False).metrics
    at_hops = accuracy_at_hops(run_dir, (512, 1024), progress=False)
    assert at_hops["accuracy"][0] == metrics["accuracy"][0]
    assert at_hops["uar"][0] == metrics["uar"][0]
    assert at_hops["agreement"][0] == 1
    assert all(len(values) == 2 for values in at_hops.values())


def test_the_network_gets_the_frames_and_the_frame_rate_of_each_hop(run_dir, monkeypatch):
    calls = set()

    def answer(self, x, lengths=None, frame_seconds=None):
        """At hop 256 always dis, elsewhere always tri."""
        calls.add((x.shape[-1], frame_seconds))
        return torch.eye(7)[0 if x.shape[-1] == 17 else 6].expand(len(x), -1)

    monkeypatch.setattr(CkTIMNet, "forward", answer)
    at_hops = accuracy_at_hops(run_dir, (1024, 256), progress=False)
    assert calls == {(17, 256 / 22_050), (9, 512 / 22_050), (5, 1024 / 22_050)}
    assert at_hops["agreement"] == [1, 0]
    assert at_hops["uar"] == pytest.approx([1 / 7, 1 / 7])


def test_runs_of_different_test_sets_are_refused(run_dir, tmp_path):
    other = Path(shutil.copytree(run_dir, tmp_path / "other"))
    split = read_json(other / "split.json")
    (other / "split.json").write_text(json.dumps({**split, "protocol": "kfold"}))
    with pytest.raises(UserError, match=r"different test sets \(.*holdout; .*kfold\)"):
        measure_runs([run_dir, other], progress=False)


def test_a_run_without_recorded_test_set_is_refused_in_one_line(run_dir, capsys):
    (run_dir / "split.json").unlink()
    with pytest.raises(SystemExit) as exit_:
        frame_rates.main([str(run_dir)])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_missing_file_names_the_command_and_another_one_is_refused(tmp_path):
    table = load_hops_table(tmp_path / "none.json")
    assert not table.rows and "none.json" in str(table) and "python -m testing.frame_rates" in str(table)
    (tmp_path / "other.json").write_text('{"runs": []}')
    with pytest.raises(UserError, match="not written by"):
        load_hops_table(tmp_path / "other.json")


def test_from_training_to_tables_with_every_kind_of_generator(repository, tiny_emovo, tmp_path, capsys):
    """convKan and KAF, two seeds of a sine, and TIM-net: train, evaluate, collect, other frame rates."""
    for settings in (
        ["model.generator_type=convKan", "model.af_type=KAFsin"],
        ["model.af_type=KAF"],
        ["train.seed=0"],
        ["train.seed=1"],
        ["model.ck=false", "model.n_temporal_aware_block=2"],
    ):
        places = [f"train.results_dir={tmp_path}/results", f"data.cache_dir={tmp_path}/cache"]
        config = ["--config", str(repository / "conf/config.yaml"), f"data.root={tiny_emovo}"]
        train.main([*config, *places, *SMALL, *settings])
    runs = sorted(map(str, (tmp_path / "results").iterdir()))
    assert [Path(run).name.split("_")[0] for run in runs] == ["CkTIM"] * 3 + ["CkkTIM", "TIM"]
    for run in runs:
        evaluate.main([run])
    capsys.readouterr()

    collect.main([*runs, "--json", str(tmp_path / "runs.json")])
    rows = json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"))["runs"]
    assert [row["run"] for row in rows] == [Path(run).name for run in runs]
    assert rows[3]["settings"]["model.af_type"] == "KAFsin"
    assert rows[3]["trainable_parameters"] > rows[0]["trainable_parameters"] > rows[4]["trainable_parameters"]

    frame_rates.main([*runs, "train.batch_size=7", "--json", str(tmp_path / "hops.json")])
    shown = capsys.readouterr().out
    measured = json.loads((tmp_path / "hops.json").read_text(encoding="utf-8"))
    assert measured["hops"] == [256, 512, 1024] and measured["test_set"] == "EMOVO corpus, holdout"
    assert sorted(len(of_network) for of_network in measured["networks"].values()) == [1, 1, 1, 2]
    by_name = {row["run"]: row for row in rows}
    for of_network in measured["networks"].values():
        for run in of_network:
            assert run["accuracy"][1] == pytest.approx(by_name[run["run"]]["test"]["accuracy"])
    table = load_hops_table(tmp_path / "hops.json")
    assert str(table) in shown and len(table.rows) == 4 * 3
    assert sum(row["runs"] == "2" and "±" in row["accuracy"] for row in table.rows) == 3
    assert [row["hop (samples)"] for row in table.rows[:3]] == ["256", "512 (training)", "1024"]
    assert table.rows[1]["same answer"] == "100.0"

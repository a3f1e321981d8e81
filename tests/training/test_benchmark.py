"""What the benchmark measures and how; never how long anything takes."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training import benchmark, benchmark_report
from utils.config import Config
from utils.errors import UserError

FEATURES = {"signal_length": 24 * 512}  # 25 frames
MODEL = {"n_filter": 4, "num_features": 6, "hidden_scale": 0.25}
PUBLISHED = {"generator_norm": "batch", "kernel_dropout": 0.1, "kernel_init": "siren", "kernel_bias": False}
TINY = {
    "depths": (1, 2),
    "batch": 4,
    "repetitions": 2,
    "repetitions_at_batch_1": 3,
    "frames": (16, 32, 64),
    "utterances": 3,
    "train_utterances": 10,
    "validation_utterances": 5,
}


@pytest.fixture
def setup():
    published = Config(features=FEATURES, model={**MODEL, **PUBLISHED, "kernel_window": 0})
    return benchmark.Setup(published, Config(features=FEATURES, model=MODEL), torch.device("cpu"), **TINY)


@pytest.fixture
def tiny_main(monkeypatch, setup):
    """main() on tiny networks: tiny_main("--only", "steps")."""
    configs = {"conf/published.yaml": setup.published, "conf/config.yaml": setup.default}
    monkeypatch.setattr(benchmark, "load_config", configs.__getitem__)
    monkeypatch.setattr(benchmark, "QUICK", TINY)
    return lambda *arguments: benchmark.main(["--quick", "--device", "cpu", *map(str, arguments)])


def test_calls_take_turns():
    calls = []
    turns = {"A": lambda: calls.append("A"), "B": lambda: calls.append("B")}
    seconds = benchmark.measure_in_turns(turns, 3, torch.device("cpu"))
    assert "".join(calls) == "AB" + 3 * "AB"  # a round to warm up, and three
    assert {name: len(times) for name, times in seconds.items()} == {"A": 3, "B": 3}
    calls.clear()
    benchmark.measure_in_turns(turns, 2, torch.device("cpu"), warm_up=False)
    assert "".join(calls) == "ABAB"


def test_each_call_gets_its_own_time():
    turns = {"long": lambda: time.sleep(0.05), "none": lambda: None}
    seconds = benchmark.measure_in_turns(turns, 2, torch.device("cpu"))
    assert min(seconds["long"]) >= 0.05
    assert 0 < min(seconds["none"]) < min(seconds["long"])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.3, 2.0])
def test_exponent_of_a_power_law(exponent):
    sizes = [750, 1500, 3000, 6000]
    values = [3e-5 * size**exponent for size in sizes]
    assert benchmark_report.fit_exponent(sizes, values) == pytest.approx(exponent, abs=1e-9)
    noisy = [value * factor for value, factor in zip(values, (1.02, 0.99, 1.01, 0.98), strict=True)]
    assert benchmark_report.fit_exponent(sizes, noisy) == pytest.approx(exponent, abs=0.03)
    assert benchmark_report.fit_exponent(sizes[:1], values[:1]) is None


def frame_records(frames, exponents):
    return [
        {
            "algorithm": algorithm,
            "frames": length,
            "seconds": [1e-6 * length**exponent] * 3,
            "peak_bytes": 1000 * length,
        }
        for length in frames
        for algorithm, exponent in exponents.items()
    ]


def test_exponents_are_fitted_from_750_frames_on_and_a_short_series_says_so():
    records = frame_records((750, 1500, 3000), {"direct": 2.0, "fft": 1.1})
    records += frame_records((6000,), {"fft": 1.1})
    short = frame_records((188, 375), {"direct": 0.0, "fft": 0.0})  # would spoil a fit over all lengths
    text = benchmark_report.show_frames([*short, *records])
    assert "direct, fitted over 750 to 3000 frames: time ∝ frames^2.00, memory ∝ frames^1.00." in text
    assert "fft, fitted over 750 to 6000 frames: time ∝ frames^1.10, memory ∝ frames^1.00." in text
    assert "direct ends at 3000 frames" in text
    assert "fft ends" not in text


def test_peak_memory_counts_what_is_held_at_once():
    kib = 1024

    def call():
        a = torch.zeros(300 * kib, dtype=torch.uint8)
        b = torch.zeros(500 * kib, dtype=torch.uint8)
        del a, b
        torch.zeros(600 * kib, dtype=torch.uint8)

    before = torch.zeros(4000 * kib, dtype=torch.uint8)
    peak = benchmark.peak_memory(call, torch.device("cpu"))
    assert 800 * kib <= peak < 820 * kib
    del before


def test_baseline_and_ours_have_the_same_weights_and_results(setup):
    """The columns that a ratio is taken of compute the same function."""
    for ck in (True, False):
        networks = benchmark.make_networks(setup, ck, 2)
        assert ("direct" in networks) == ck
        (baseline, _), (published, config) = networks["baseline"], networks["published"]
        assert config.model.n_temporal_aware_block == 2 and config.model.ck == ck
        x = torch.randn(3, 6, 25)
        with torch.no_grad():
            published(x)  # moves its running statistics, and the baseline's stay
            expected = benchmark.TwoBranches(published, config.model).eval()(x)
            torch.testing.assert_close(published.eval()(x), expected, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(baseline.eval()(x), expected, rtol=1e-4, atol=1e-5)
    direct = benchmark.make_networks(setup, True, 1)["direct"][1]
    assert direct.model.conv_algorithm == "direct" and direct.model.generator_norm == "batch"


def test_training_step_changes_the_weights(setup):
    network, config = benchmark.make_networks(setup, True, 1)["baseline"]
    optimizer = benchmark.make_optimizer(config, network)
    first, last = network.branches[0].input_conv.generator.layers[0], network.classifier
    before = first.weight.clone(), last.weight.clone()
    benchmark.training_step(network, optimizer, torch.randn(4, 6, 25), torch.randint(7, (4,)))
    assert not torch.equal(first.weight, before[0]) and not torch.equal(last.weight, before[1])


def test_frames_that_take_too_long_end_a_series(setup, monkeypatch):
    direct = iter((1.0, 1.0, 1 + setup.slow_call))
    monkeypatch.setattr(
        benchmark,
        "measure_in_turns",
        lambda calls, *_, **__: {name: [next(direct) if name == "direct" else 0.1] for name in calls},
    )
    monkeypatch.setattr(benchmark, "peak_memory", lambda *_: None)
    records = benchmark.measure_frames(setup)
    measured = [(record["algorithm"], record["frames"], len(record["seconds"])) for record in records]
    assert measured == [("direct", 16, 2), ("fft", 16, 2), ("direct", 32, 1), ("fft", 32, 2), ("fft", 64, 2)]
    assert "direct ends at 32 frames" in benchmark_report.show_frames(records)


def test_parts_of_an_epoch_add_up(setup, monkeypatch):
    """Every moment of the epoch belongs to one part, and each part to the right moments."""
    clock = iter(range(10_000))
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    records = benchmark.measure_epoch(setup)
    assert [(record["network"], record["blocks"], record["training"]) for record in records] == [
        (network, blocks, training)
        for network in ("CkTIM", "TIM")
        for blocks in (1, 2)
        for training in ("plain", "online")
    ]
    for record in records:
        parts = {name: times[0] for name, times in record["parts"].items()}
        assert all(len(times) == 2 for times in record["parts"].values())
        # Three batches, of 4, 4 and 2; each mark is one tick. `other` lies before each forward pass, after
        # each step of the optimiser, and at the end.
        assert parts == {
            "loading": 3,
            "forward": 3,
            "backward": 3,
            "optimiser": 3,
            "other": 3 + 3 + 1,
            "validation": 1,
        }


@pytest.mark.filterwarnings("ignore:.*slated for removal:DeprecationWarning")  # of librosa.load
def test_whole_run_prints_writes_and_draws(tiny_main, tmp_path, capsys):
    tiny_main("--json", tmp_path / "b.json", "--plot", tmp_path / "b.png")
    output = capsys.readouterr().out
    results = json.loads((tmp_path / "b.json").read_text())
    for name, (heading, _, show) in benchmark.SECTIONS.items():
        assert f"## {heading}\n\n{show(results[name])}" in output  # the file holds all that the tables show
    assert results["machine"]["threads"] == torch.get_num_threads()
    assert f"torch {torch.__version__}" in output
    assert [(r["network"], r["blocks"]) for r in results["steps"]] == [
        ("CkTIM", 1),
        ("CkTIM", 2),
        ("TIM", 1),
        ("TIM", 2),
    ]
    assert {r["batch"] for r in results["inference"]} == {1, 4}
    assert all(len(r["seconds"]["baseline"]) == (3 if r["batch"] == 1 else 2) for r in results["inference"])
    assert {(r["algorithm"], r["frames"]) for r in results["frames"]} == {
        (algorithm, frames) for algorithm in ("direct", "fft") for frames in TINY["frames"]
    }
    assert all(r["peak_bytes"] > 0 for r in results["frames"])
    assert [r["way"] for r in results["features"]].count("librosa") == 2
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_only_what_is_asked_for_in_the_usual_order(tiny_main, tmp_path, capsys):
    tiny_main("--only", "epoch, steps", "--plot", tmp_path / "b.png")
    output = capsys.readouterr().out
    assert output.index("## Training step") < output.index("## A whole epoch")
    assert "## Inference" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "steps,speed"], "steps,speed: must be some of steps,inference"),
        (["--only", ""], "must be some of"),
        (["--json", "results.txt"], ".json"),
        (["--plot", "nowhere/b.png"], "nowhere"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_bad_arguments_are_told_at_once(tiny_main, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        tiny_main(*arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.out == ""


def test_unwritable_output_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="must be the name"):
        benchmark.check_output("--json", tmp_path, ".json")


def test_table_is_aligned_markdown():
    text = benchmark_report.table("Title", ["a", "long head"], [["first", "1"], ["x", "22"]])
    assert text.splitlines() == [
        "Title",
        "",
        "| a     | long head |",
        "| :---- | --------: |",
        "| first |         1 |",
        "| x     |        22 |",
    ]


def test_median_spread_and_ratio():
    times = [0.010, 0.011, 0.012]
    assert benchmark_report.milliseconds(times) == "11 ±9 %"
    assert benchmark_report.milliseconds([2.0]) == "2000 (once)"
    assert benchmark_report.ratio([1.0, 5.0, 1.1], times) == "×100"
    assert benchmark_report.ratio(None, times) == benchmark_report.milliseconds(None) == "–"
    assert benchmark_report.number(np.float64(1234.5)) == "1234"

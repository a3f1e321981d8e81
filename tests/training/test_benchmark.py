"""The networks and calls that the benchmark measures; never how long anything takes."""

import time

import pytest
import torch

from tests.models.reference import TwoBranches
from training import benchmark
from utils import progress
from utils.config import Config
from utils.errors import UserError

FEATURES = {"signal_length": 24 * 512, "n_mfcc": 6}  # 25 frames
MODEL = {"n_filter": 4, "hidden_scale": 0.25}
PUBLISHED = {"generator_norm": "batch", "kernel_dropout": 0.1, "kernel_init": "siren", "kernel_bias": False}
TINY = {
    **{"depths": (1, 2), "batch": 4, "repetitions": 2, "repetitions_at_batch_1": 3, "frames": (750, 1500)},
    **{"train_utterances": 10, "validation_utterances": 5},
}


@pytest.fixture
def setup():
    published = Config(features=FEATURES, model={**MODEL, **PUBLISHED, "kernel_window": 0})
    default = Config(features=FEATURES, model=MODEL)
    return benchmark.Setup(published, default, torch.device("cpu"), benchmark.load_formula(), **TINY)


@pytest.fixture
def tiny_main(monkeypatch, setup):
    """main() on tiny networks: tiny_main("--only", "steps")."""
    configs = {"conf/published.yaml": setup.published, "conf/config.yaml": setup.default}
    monkeypatch.setattr(benchmark, "load_config", configs.__getitem__)
    monkeypatch.setattr(benchmark, "QUICK", TINY)
    return lambda *arguments: benchmark.main(["--quick", "--device", "cpu", *map(str, arguments)])


def test_calls_take_turns_and_each_gets_its_own_time():
    calls = []
    turns = {"A": lambda: [calls.append("A"), time.sleep(0.05)], "B": lambda: calls.append("B")}
    seconds = progress.measure_in_turns(turns, 3)
    assert "".join(calls) == "AB" + 3 * "AB"  # a round to warm up, and three
    assert {name: len(times) for name, times in seconds.items()} == {"A": 3, "B": 3}
    assert min(seconds["A"]) >= 0.05 and 0 < min(seconds["B"]) < min(seconds["A"])


def test_exponents_of_power_laws():
    points = [(frames, 3e-5 * frames**1.3, 1000 * frames) for frames in (750, 1500, 3000)]
    expected = "fft: time ∝ frames^1.30, memory ∝ frames^1.00 (750 to 3000 frames)"
    assert benchmark.growth("fft", points) == expected


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


@pytest.mark.parametrize("ck", [True, False])
def test_formula_and_ours_have_the_same_weights_and_results(setup, ck):
    networks = benchmark.make_networks(setup, ck, 2)
    (formula, _), (published, config) = networks["formula"], networks["published"]
    assert config.model.n_temporal_aware_block == 2 and config.model.ck == ck
    x = torch.randn(3, 6, 25)
    with torch.no_grad():
        published(x)  # moves its running statistics, and the formula's stay
        expected = TwoBranches(published, config.model).eval()(x)
        torch.testing.assert_close(published.eval()(x), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(formula.eval()(x), expected, rtol=1e-4, atol=1e-5)


def test_training_step_changes_the_weights(setup):
    network, config = benchmark.make_networks(setup, True, 1)["formula"]
    first, last = network.branches[0].input_conv.generator.layers[0], network.classifier
    before = first.weight.clone(), last.weight.clone()
    optimizer = benchmark.make_optimizer(config.train, network)
    benchmark.training_step(network, optimizer, torch.randn(4, 6, 25), torch.randint(7, (4,)))
    assert not torch.equal(first.weight, before[0]) and not torch.equal(last.weight, before[1])


def test_an_algorithm_that_takes_too_long_is_given_no_longer_signals(setup, monkeypatch):
    slow = {"direct": [1 + setup.slow_call] * 2, "fft": [0.1] * 2}
    monkeypatch.setattr(benchmark, "measure_in_turns", lambda calls, *_: {name: slow[name] for name in calls})
    monkeypatch.setattr(benchmark, "peak_memory", lambda *_: None)
    (table,) = benchmark.measure_frames(setup)
    assert [row["direct (ms)"] for row in table.rows] == ["13000 ±0 %", "–"]
    assert [row["fft (ms)"] for row in table.rows] == ["100 ±0 %"] * 2
    (note,) = table.notes  # from a single length no exponent follows
    assert note.startswith("fft: time ∝") and "memory" not in note


def test_a_whole_run_prints_every_table(tiny_main, capsys):
    tiny_main()
    output = capsys.readouterr().out
    assert f"torch {torch.__version__}" in output
    steps = output.partition("Training step, batch 4")[2].partition("\n\n")[0].splitlines()
    expected = ["CkTIM 1", "CkTIM 2", "TIM 1", "TIM 2"]
    assert [" ".join(line.split()[:2]) for line in steps[3:]] == expected
    for words in ("formula / config.yaml", "Inference, batch 1", "Inference, batch 4", "direct (peak MB)"):
        assert words in output
    for words in ("direct: time ∝", "fft: time ∝", "online / plain", "loading takes"):
        assert words in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "steps,speed"], "steps,speed: must be some of steps,inference"),
        (["--only", ""], "must be some of"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_bad_arguments_are_named_at_once(tiny_main, arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        tiny_main(*arguments)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.out == ""


def test_without_the_tests_folder_the_way_out_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "FORMULA", tmp_path / "reference.py")
    with pytest.raises(UserError, match="not there: run this in a clone"):
        benchmark.load_formula()


def test_figures_have_three_digits():
    assert progress.milliseconds([0.010, 0.011, 0.012]) == "11 ±9 %"
    assert benchmark.ratio([1.0, 5.0, 1.1], [0.010, 0.011, 0.012]) == "×100"
    assert [benchmark.number(value) for value in (1234.5, 12.345)] == ["1234", "12.3"]


PEER = """
import torch

class TorchTIMNET(torch.nn.Module):
    def __init__(self, dropout, nb_filters, kernel_size, dilations, output_dim):
        super().__init__()
        assert (dropout, nb_filters, kernel_size) == (0.1, 4, 2) and dilations in (1, 2)
        self.linear = torch.nn.Linear(nb_filters + 2, output_dim)

    def forward(self, x):
        assert x.shape[1:] == (25, 6)  # frames, features
        return self.linear(x.mean(1))
"""


def test_a_checkout_of_the_official_network_is_a_column_of_tim_net(tiny_main, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tiny_main("--only", "steps", "--peer", tmp_path)
    assert "torch_TIMNET.py, a network to compare with, is not there" in capsys.readouterr().err
    (tmp_path / "Code").mkdir()
    (tmp_path / "Code/torch_TIMNET.py").write_text(PEER)
    tiny_main("--only", "steps,inference", "--peer", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if line.startswith("network")]
    assert len(tables) == 3 and all("peer (ms)" in line and "peer / published" in line for line in tables)
    assert all("–" in line for line in lines if line.startswith("CkTIM"))
    assert all("–" not in line for line in lines if line.startswith("TIM"))

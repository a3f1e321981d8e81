"""train() and fit(): which files they write, that they repeat to the last digit, how they end."""

import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from dataloader.loaders import BatchLoader, make_loader
from dataloader.splits import load_split
from testing import evaluate
from training import train as module
from training.train import TrainingError, build_for, fit, main, run_epoch, train
from utils.config import load_config
from utils.errors import UserError
from utils.metrics import History, read_json


def read_metrics(run_dir):
    """Both metrics files, without the time that the epochs took."""
    metrics = [read_json(run_dir / f"{part}_metrics.json") for part in ("training", "validation")]
    metrics[0].pop("seconds")
    return metrics


def trained_network(settings, data, run_dir):
    model = build_for(settings, data).eval()
    model.load_state_dict(torch.load(run_dir / "model.pt", weights_only=True))
    return model


@pytest.mark.parametrize("ck", [True, False])
def test_a_run_directory_holds_all_that_is_needed(config, data, ck):
    settings = config(model={"ck": ck})
    run_dir = train(settings, data, progress=False)
    assert run_dir.name.startswith("CkTIM_TAB2_seed0_" if ck else "TIM_TAB2_seed0_")
    files = "model.pt parameters.txt split.json emotions.json standardisation.json loss_acc.png"
    metrics = "training_metrics.json validation_metrics.json epochs.csv"
    assert {path.name for path in run_dir.iterdir()} == {*files.split(), *metrics.split()}
    assert load_config(run_dir / "parameters.txt") == settings
    assert load_split(run_dir / "split.json") == data.split
    training = History.load(run_dir / "training_metrics.json")
    assert training["epoch"] == [0, 1, 2]
    assert training.model == ("CkTIM" if ck else "TIM")


def test_the_loop_needs_a_model_two_loaders_and_its_own_settings(config, data, tmp_path):
    settings = config().train
    loaders = [
        BatchLoader(torch.randn(20, 6, 9), torch.randn(20, 4), torch.arange(20) % 3, 8, shuffle, 0)
        for shuffle in (True, False)
    ]
    model = module.build_model(config().model, 3, num_features=6, num_functionals=4, frames=9)
    done, finished = fit(model, *loaders, settings, tmp_path, progress=False)
    assert finished and done.epochs == 3 and (tmp_path / "model.pt").exists()
    assert read_json(tmp_path / "training_metrics.json")["loss"] == done.training["loss"]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_saved_model_is_that_of_the_kept_epoch(config, data, keep):
    settings = config(train={"num_epochs": 6, "learning_rate": 0.1, "schedule": "plateau", "keep": keep})
    run_dir = train(settings, data, progress=False)
    validation = History.load(run_dir / "validation_metrics.json")
    best = min(range(6), key=lambda epoch: validation["loss"][epoch]) if keep == "best" else 5
    loader = make_loader(data, "validation", 16, shuffle=False, seed=0)
    row, _ = run_epoch(trained_network(settings, data, run_dir), loader, settings.train.label_smoothing)
    assert row["loss"] == pytest.approx(validation["loss"][best], abs=1e-6)
    assert row["accuracy"] == validation["accuracy"][best]
    assert len(set(validation["loss"])) > 1


def test_a_second_run_gives_the_same_metrics_to_the_last_digit(config, data):
    first, second = (train(config(), data, progress=False) for _ in range(2))
    assert first != second
    assert read_metrics(first) == read_metrics(second)
    assert read_metrics(train(config(train={"seed": 1}), data, progress=False)) != read_metrics(first)


def test_ten_epochs_have_the_same_losses_by_either_algorithm(config, data, request):
    """Single precision hides it: there any other order of summation grows beyond 1e-3 in a few epochs."""
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(torch.float64)
    losses, answers = [], []
    data = replace(data, features=replace(data.features, frames=data.features.frames.double()))
    for algorithm in ("direct", "fft"):
        settings = config(train={"num_epochs": 10}, model={"conv_algorithm": algorithm, "kernel_window": 0})
        run_dir = train(settings, data, progress=False)
        losses.append([loss for part in read_metrics(run_dir) for loss in part["loss"]])
        with torch.inference_mode():
            answers.append(trained_network(settings, data, run_dir)(data.arrays("validation").frames))
    assert len(set(losses[0])) == 20
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-6)


def test_it_learns(config, data):
    run_dir = train(config(train={"num_epochs": 15}), data, progress=False)
    assert read_metrics(run_dir)[1]["accuracy"][-1] > 0.7  # chance: 0.14


def test_standardisation_comes_from_the_training_set_alone(config, data):
    run_dir = train(config(), data, progress=False)
    frames = data.arrays("train").frames
    statistics = read_json(run_dir / "standardisation.json")
    assert statistics["mean"] == pytest.approx(frames.mean((0, 2)).tolist(), rel=1e-4)
    assert statistics["std"] == pytest.approx(frames.std((0, 2), correction=0).tolist(), rel=1e-4)
    state = torch.load(run_dir / "model.pt", weights_only=True)
    assert state["feature_mean"].tolist() == statistics["mean"]
    plain = train(config(features={"standardise": False}), data, progress=False)
    assert read_json(plain / "standardisation.json") == {"mean": [0.0] * 6, "std": [1.0] * 6}


# ------------------------------------------------------------------------------------------- augmentation


def test_augmented_training_repeats_to_the_last_digit_and_says_so_in_its_name(config, data):
    augmented = {"model": {"aug": True}}
    mixed = config(**augmented, augment={"mixup": 0.5})
    first, second = (train(mixed, data, progress=False) for _ in range(2))
    assert first.name.startswith("CkTIM_aug_TAB2_seed0_")
    assert read_metrics(first) == read_metrics(second)
    plain, unmixed = (train(config(**parts), data, progress=False) for parts in ({}, augmented))
    rows = [read_metrics(run_dir)[0] for run_dir in (first, plain, unmixed)]
    assert rows[0] != rows[1] != rows[2] != rows[0]
    assert rows[0].keys() == rows[1].keys()
    # the statistics, and so the features in an evaluation, are those of the utterances as they are
    assert (first / "standardisation.json").read_text() == (plain / "standardisation.json").read_text()


def test_only_the_training_batches_are_varied(config, data, monkeypatch):
    seen = {True: [], False: []}

    def spy(model, loader, smoothing, optimizer=None, *settings):
        seen[optimizer is not None].append(torch.cat([batch.frames for batch in loader]))
        return run_epoch(model, loader, smoothing, optimizer, *settings)

    monkeypatch.setattr(module, "run_epoch", spy)
    train(config(model={"aug": True}), data, progress=False)
    for frames in seen[False]:
        assert torch.equal(frames, data.arrays("validation").frames)
    rows = {row.numpy().tobytes() for row in data.arrays("train").frames}
    varied = [row for frames in seen[True] for row in frames if row.numpy().tobytes() not in rows]
    assert len(varied) > 0.9 * sum(map(len, seen[True]))


def test_the_loss_takes_shares_of_classes_and_the_scores_the_largest():
    """With mixup the loss is the average of those of both classes, smoothed labels included."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
    shares = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.4, 0.6]])

    class Answers(torch.nn.Module):
        def forward(self, frames, functionals):
            return frames

    def row(target):
        return run_epoch(Answers(), [(logits, None, target, None)], 0.1)[0]

    targets = 0.9 * shares + 0.1 / 3
    expected = -(targets * logits.log_softmax(1)).sum(1).mean().item()
    assert row(shares)["loss"] == pytest.approx(expected, rel=1e-6)
    assert row(shares)["accuracy"] == 0.5
    assert row(torch.eye(3)[[0, 2]]) == pytest.approx(row(torch.tensor([0, 2])))


# --------------------------------------------------------------------------------------------- how it ends


def test_epochs_stand_in_a_spreadsheet_after_a_resumed_training_too(config, data, interrupt_at):
    interrupt_at(4)
    run_dir = train(config(), data, progress=False)
    assert len(pd.read_csv(run_dir / "epochs.csv")) == 1
    train(config(), data, run_dir, progress=False, resume=True)
    table = pd.read_csv(run_dir / "epochs.csv")
    training, validation = (
        History.load(run_dir / f"{part}_metrics.json") for part in ("training", "validation")
    )
    others = {f"validation_{name}": values for name, values in validation.columns.items() if name != "epoch"}
    pd.testing.assert_frame_equal(table, pd.DataFrame({**training.columns, **others}), rtol=1e-12)
    assert list(table)[:2] == ["epoch", "learning_rate"] and len(table) == 3


def next_command(printed: str, start: str) -> list[str]:
    """The arguments of the command that a line names, as a shell would take it apart."""
    (line,) = (line for line in printed.splitlines() if line.startswith(start))
    words = shlex.split(line.removeprefix(start))
    assert words[:2] == ["python", "-m"]
    return words[2:]


def test_the_command_ends_with_the_next_one(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keys = {**demo, "train.results_dir": "my runs, 1", "train.seed": "3"}
    main([f"{key}={value}" for key, value in keys.items()])
    name, run_dir = next_command(capsys.readouterr().out, "Next: ")
    assert (name, Path(run_dir).parent) == ("testing.evaluate", Path("my runs, 1"))
    evaluate.main([run_dir])
    printed = capsys.readouterr().out
    assert next_command(printed, "Next, with a recording of yours: ") == [
        "testing.predict",
        run_dir,
        "hello.wav",
    ]


def test_the_next_command_says_where_the_corpus_is_now(demo, tmp_path, interrupt_at, capsys):
    interrupt_at(3, 5)
    keys = {**demo, "train.results_dir": tmp_path / "results", "train.num_epochs": 3}
    main([f"{key}={value}" for key, value in keys.items()])
    root = shutil.copytree(demo["data.root"], tmp_path / "my corpus")
    name, *arguments = next_command(capsys.readouterr().out, "To go on: ")
    for expected in ("To go on: ", "Next: "):
        assert name == "training.train"
        main([*arguments, f"data.root={root}"] if len(arguments) == 1 else arguments)
        name, *arguments = next_command(capsys.readouterr().out, expected)
        assert arguments[1:] == [f"data.root={root}"]
    assert name == "testing.evaluate"


def test_an_interrupt_keeps_every_whole_epoch(config, data, interrupt_at, capsys):
    interrupt_at(5)  # training and validation of two epochs are done
    run_dir = train(config(train={"num_epochs": 50}), data, progress=False)
    assert len(History.load(run_dir / "validation_metrics.json")) == 2
    assert (run_dir / "model.pt").exists() and (run_dir / "loss_acc.png").exists()
    printed = capsys.readouterr().out
    assert "2 whole epochs" in printed and f"python -m training.train resume={run_dir}" in printed


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_the_model(config, data, monkeypatch, batch):
    seen, cross_entropy = [], F.cross_entropy
    batches = -(-len(data.split.train) // 16)
    each_epoch = batches + 1  # the validation set is one batch

    def counting(*arguments, **settings):
        seen.append(1)
        loss = cross_entropy(*arguments, **settings)
        return loss * math.inf if len(seen) == 2 * each_epoch + batch else loss

    monkeypatch.setattr(F, "cross_entropy", counting)
    settings = config(train={"num_epochs": 9, "schedule": "plateau"})
    run_dir = settings.train.results_dir / "run"
    run_dir.mkdir(parents=True)
    where = f"batch {batch} of {batches} \\(learning rate 0\\.01\\)"
    if batch > batches:
        where = "batch 1 of 1 of the validation"
    with pytest.raises(TrainingError, match=f"epoch 3, {where}.*so far is kept in {run_dir}"):
        train(settings, data, run_dir, progress=False)
    assert len(History.load(run_dir / "validation_metrics.json")) == 2
    parameters = trained_network(settings, data, run_dir).parameters()
    assert all(parameter.isfinite().all() for parameter in parameters)


@pytest.mark.parametrize("steps", [*range(1, 12), 20])
def test_one_cycle_rises_and_comes_to_rest_in_any_number_of_steps(config, data, steps):
    """Here one an epoch."""
    settings = config(train={"num_epochs": steps, "batch_size": 200, "schedule": "one_cycle"})
    run_dir = train(settings, data, progress=False)
    rates = read_metrics(run_dir)[0]["learning_rate"]
    assert len(rates) == steps and (run_dir / "model.pt").exists()
    assert max(rates) == pytest.approx(settings.train.learning_rate, rel=0.05) and min(rates) > 0
    assert steps < 3 or rates[-1] < rates[0] < max(rates)
    if steps == 20:  # the highest comes after a tenth of the steps
        highest, peak = rates.index(max(rates)), settings.train.learning_rate
        assert highest in (1, 2) and rates[highest:] == sorted(rates[highest:], reverse=True)
        assert rates[0] == pytest.approx(peak / 25) and rates[-1] < peak / 20


def test_early_stopping(config, data, capsys):
    early = {"early_stopping": True, "early_stopping_patience": 2}
    run_dir = train(config(train={"num_epochs": 40, "learning_rate": 1.0, **early}), data, progress=False)
    losses = History.load(run_dir / "validation_metrics.json")["loss"]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    assert f"since epoch {best + 1}" in capsys.readouterr().out


def test_gradient_clipping_bounds_the_step(config, data):
    model = build_for(config(), data)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    run_epoch(model, [data.arrays("train")], 0.0, optimizer, gradient_clipping=0.01)
    moved = sum((a - b).square().sum() for a, b in zip(before, model.parameters(), strict=True)).sqrt()
    assert 0 < moved.item() <= 0.0101


def test_a_results_folder_that_cannot_be_written_is_named(config, data, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    for results_dir in (tmp_path / "results", tmp_path / "results" / "deeper"):
        with pytest.raises(UserError, match=r"cannot write the results folder .*results_dir"):
            train(config(train={"results_dir": results_dir}), data, progress=False)


BAD_INPUT = {"data.root=no/such/place": "no/such/place", "train.num_epoch=3": "train.num_epochs"}
BAD_INPUT["--config=missing.yaml"] = "missing.yaml"


@pytest.mark.parametrize("argument", BAD_INPUT)
def test_the_command_line_reports_bad_input_in_a_sentence(argument, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([argument])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and BAD_INPUT[argument] in error


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"features": {"signal_length": 10**12}}, "extracting the features .* lower features.signal_length"),
        (
            {"train": {"batch_size": 10**9}},
            "one step of the training .* lower train.batch_size, model.n_filter",
        ),
        ({"model": {"n_filter": 10**6}, "train": {"batch_size": 10**5}}, "one step of the training"),
    ],
)
def test_what_does_not_fit_the_memory_is_named_before_the_work(config, settings, key):
    with pytest.raises(UserError, match=key):
        train(config(**settings), progress=False)

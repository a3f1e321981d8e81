"""fit(): what it writes, that it repeats to the last digit, and that it never looks at the test set."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dataloader.loaders import make_loader
from dataloader.splits import load_split
from models.cktim import build_model
from training import train
from training.train import TrainingError, cross_entropy_of_paths, fit, main, make_criterion, run_epoch
from utils.config import Config, load_config
from utils.errors import UserError
from utils.metrics import History, read_json


def read_metrics(run_dir):
    """Both metrics files, without the time that the epochs took."""
    training, validation = (
        read_json(run_dir / f"{subset}_metrics.json") for subset in ("training", "validation")
    )
    training.pop("seconds")
    return training, validation


@pytest.mark.parametrize("ck", [True, False])
def test_a_run_directory_holds_all_that_is_needed(config, data, ck):
    settings = config(model={"ck": ck})
    run_dir = fit(settings, data, progress=False)
    assert run_dir.name.startswith("CkTIM_TAB2_seed0_" if ck else "TIM_TAB2_seed0_")
    assert {path.name for path in run_dir.iterdir()} == {
        "model.pt",
        "parameters.txt",
        "split.json",
        "emotions.json",
        "standardisation.json",
        "training_metrics.json",
        "validation_metrics.json",
        "loss_acc.png",
    }
    assert load_config(run_dir / "parameters.txt") == settings
    assert load_split(run_dir / "split.json") == data.split
    training = History.load(run_dir / "training_metrics.json")
    assert training["epoch"] == [0, 1, 2]
    assert training.model == ("CkTIM" if ck else "TIM")


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_saved_model_is_that_of_the_kept_epoch(config, data, keep):
    settings = config(train={"num_epochs": 6, "learning_rate": 0.1, "schedule": "plateau", "keep": keep})
    run_dir = fit(settings, data, progress=False)
    validation = History.load(run_dir / "validation_metrics.json")
    best = min(range(6), key=lambda epoch: validation["loss"][epoch]) if keep == "best" else 5
    model = build_model(settings.model, 7, settings.features.frames)
    model.load_state_dict(torch.load(run_dir / "model.pt", weights_only=True))
    loader = make_loader(data, "validation", 16, shuffle=False, seed=0)
    row = run_epoch(model, loader, make_criterion(settings))
    assert row["loss"] == pytest.approx(validation["loss"][best], abs=1e-6)
    assert row["accuracy"] == validation["accuracy"][best]
    assert len(set(validation["loss"])) > 1


def test_a_second_run_gives_the_same_metrics_to_the_last_digit(config, data):
    first, second = (fit(config(), data, progress=False) for _ in range(2))
    assert first != second
    assert read_metrics(first) == read_metrics(second)
    assert read_metrics(fit(config(train={"seed": 1}), data, progress=False)) != read_metrics(first)


@pytest.fixture
def in_double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_ten_epochs_have_the_same_losses_by_either_algorithm(config, data, in_double_precision):
    """Single precision hides it: there any other order of summation grows beyond 1e-3 in a few epochs."""
    losses, answers = [], []
    data = replace(data, features=replace(data.features, x=data.features.frames.double()))
    for algorithm in ("direct", "fft"):
        settings = config(train={"num_epochs": 10}, model={"conv_algorithm": algorithm, "kernel_window": 0})
        run_dir = fit(settings, data, progress=False)
        histories = (History.load(run_dir / f"{part}_metrics.json") for part in ("training", "validation"))
        losses.append([loss for history in histories for loss in history["loss"]])
        model = build_model(settings.model, 7, settings.features.frames).eval()
        model.load_state_dict(torch.load(run_dir / "model.pt", weights_only=True))
        with torch.inference_mode():
            answers.append(model(data.arrays("validation")[0]))
    assert len(set(losses[0])) == 20
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-6)


def test_it_learns(config, data):
    run_dir = fit(config(train={"num_epochs": 15}), data, progress=False)
    assert History.load(run_dir / "validation_metrics.json")["accuracy"][-1] > 0.7  # chance: 0.14


def test_the_test_set_is_never_touched(config, data):
    """Test utterances made of NaN change nothing, neither in the metrics nor in the standardisation."""
    clean = fit(config(), data, progress=False)
    names = [utterance.name for utterance in data.features.utterances]
    poisoned = data.features.frames.clone()
    poisoned[[names.index(name) for name in data.split.test]] = math.nan
    dirty = fit(config(), replace(data, features=replace(data.features, x=poisoned)), progress=False)
    assert read_metrics(dirty) == read_metrics(clean)
    assert (dirty / "standardisation.json").read_text() == (clean / "standardisation.json").read_text()


def test_standardisation_comes_from_the_training_set_alone(config, data):
    run_dir = fit(config(), data, progress=False)
    x, _ = data.arrays("train")
    statistics = read_json(run_dir / "standardisation.json")
    assert statistics["mean"] == pytest.approx(x.mean((0, 2)).tolist(), rel=1e-4)
    assert statistics["std"] == pytest.approx(x.std((0, 2), correction=0).tolist(), rel=1e-4)
    state = torch.load(run_dir / "model.pt", weights_only=True)
    assert state["feature_mean"].tolist() == statistics["mean"]
    plain = fit(config(features={"standardise": False}), data, progress=False)
    assert read_json(plain / "standardisation.json") == {"mean": [0.0] * 6, "std": [1.0] * 6}


# ------------------------------------------------------------------------------------------- augmentation

# The corpus in memory has no recordings, so only features are varied here.
ON_FEATURES = {"mode": "online", "noise": 0.0, "stretch": 0.0, "pitch": 0.0, "reverb": 0.0}


def test_augmented_training_repeats_to_the_last_digit_and_says_so_in_its_name(config, data):
    def augmented(**augment):
        base = config(model={"aug": True})
        augment = base.augment.model_copy(update={**ON_FEATURES, **augment})
        return base.model_copy(update={"augment": augment})

    first, second = (fit(augmented(mixup=0.5), data, progress=False) for _ in range(2))
    assert first.name.startswith("CkTIM_aug_TAB2_seed0_")
    assert read_metrics(first) == read_metrics(second)
    plain, without_mixup = fit(config(), data, progress=False), fit(augmented(), data, progress=False)
    rows = [read_metrics(run_dir)[0] for run_dir in (first, plain, without_mixup)]
    assert rows[0] != rows[1] != rows[2] != rows[0]
    assert rows[0].keys() == rows[1].keys()
    # the statistics, and so what evaluation sees, are those of the utterances as they are
    assert (first / "standardisation.json").read_text() == (plain / "standardisation.json").read_text()


def test_only_the_training_batches_are_varied(config, data, monkeypatch):
    settings = config(model={"aug": True})
    settings = settings.model_copy(update={"augment": settings.augment.model_copy(update=ON_FEATURES)})
    seen = {True: [], False: []}

    def spy(model, loader, criterion, optimizer=None, *settings):
        seen[optimizer is not None].append(torch.cat([x for x, _ in loader]))
        return run_epoch(model, loader, criterion, optimizer, *settings)

    monkeypatch.setattr(train, "run_epoch", spy)
    fit(settings, data, progress=False)
    for x in seen[False]:
        assert torch.equal(x, data.arrays("validation")[0])
    rows = {row.numpy().tobytes() for row in data.arrays("train")[0]}
    varied = [row for x in seen[True] for row in x if row.numpy().tobytes() not in rows]
    assert len(varied) > 0.9 * sum(map(len, seen[True]))


def test_the_loss_takes_shares_of_classes_and_the_scores_the_largest():
    """With mixup the loss is the average of those of both classes, smoothed labels included."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
    shares = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.4, 0.6]])

    class Answers(torch.nn.Module):
        def forward(self, x):
            return x

    criterion = make_criterion(Config())
    row = run_epoch(Answers(), [(logits, shares)], criterion)
    targets = 0.9 * shares + 0.1 / 3
    assert row["loss"] == pytest.approx(-(targets * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-6)
    assert row["accuracy"] == 0.5
    hard = run_epoch(Answers(), [(logits, torch.tensor([0, 2]))], criterion)
    certain = run_epoch(Answers(), [(logits, torch.eye(3)[[0, 2]])], criterion)
    assert certain == pytest.approx(hard)


@pytest.mark.parametrize("y", [torch.tensor([0, 2]), torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.4, 0.6]])])
def test_paths_that_are_fused_late_have_each_the_loss_that_it_would_have_alone(y):
    paths = torch.randn(2, 2, 3, generator=torch.manual_seed(0), requires_grad=True)
    together = cross_entropy_of_paths(paths.log_softmax(-1).mean(0), y, 0.1)
    alone = sum(F.cross_entropy(path, y, label_smoothing=0.1) for path in paths) / 2
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(torch.autograd.grad(together, paths)[0], torch.autograd.grad(alone, paths)[0])


def test_an_interrupt_keeps_every_whole_epoch(config, data, monkeypatch, capsys):
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:  # training and validation of two epochs are done
            raise KeyboardInterrupt
        return run_epoch(*arguments)

    monkeypatch.setattr(train, "run_epoch", interrupted)
    run_dir = fit(config(train={"num_epochs": 50}), data, progress=False)
    assert len(History.load(run_dir / "validation_metrics.json")) == 2
    assert (run_dir / "model.pt").exists() and (run_dir / "loss_acc.png").exists()
    assert "2 whole epochs" in capsys.readouterr().out


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
    run_dir = config().train.results_dir / "run"
    run_dir.mkdir(parents=True)
    where = f"batch {batch} of {batches} \\(learning rate 0\\.01\\)"
    if batch > batches:
        where = "batch 1 of 1 of the validation"
    with pytest.raises(TrainingError, match=f"epoch 3, {where}.*so far is kept in {run_dir}"):
        fit(config(train={"num_epochs": 9, "schedule": "plateau"}), data, run_dir, progress=False)
    assert len(History.load(run_dir / "validation_metrics.json")) == 2
    model = build_model(config().model, 7, config().features.frames)
    model.load_state_dict(torch.load(run_dir / "model.pt", weights_only=True))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_one_cycle_rises_and_comes_to_rest(config, data):
    settings = config(train={"num_epochs": 20, "learning_rate": 0.02, "schedule": "one_cycle"})
    rates = History.load(fit(settings, data, progress=False) / "training_metrics.json")["learning_rate"]
    highest = rates.index(max(rates))
    assert highest in (1, 2) and 0.018 < rates[highest] <= 0.02  # after a tenth of the steps
    assert rates[0] == pytest.approx(0.02 / 25) and rates[-1] < 0.001
    assert rates[highest:] == sorted(rates[highest:], reverse=True)


def test_early_stopping(config, data, capsys):
    settings = config(
        train={"num_epochs": 40, "learning_rate": 1.0, "early_stopping": True, "early_stopping_patience": 2}
    )
    run_dir = fit(settings, data, progress=False)
    losses = History.load(run_dir / "validation_metrics.json")["loss"]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    assert f"since epoch {best + 1}" in capsys.readouterr().out


def test_gradient_clipping_bounds_the_step(config, data):
    settings = config()
    model = build_model(settings.model, 7, settings.features.frames)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    x, y = data.arrays("train")
    run_epoch(model, [(x, y)], F.cross_entropy, optimizer, gradient_clipping=0.01)
    moved = sum((a - b).square().sum() for a, b in zip(before, model.parameters(), strict=True)).sqrt()
    assert 0 < moved.item() <= 0.0101


def test_a_results_folder_that_cannot_be_written_is_named(config, data, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    for results_dir in (tmp_path / "results", tmp_path / "results" / "deeper"):
        with pytest.raises(UserError, match=r"cannot write the results folder .*results_dir"):
            fit(config(train={"results_dir": results_dir}), data, progress=False)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("data.root=no/such/place", "no/such/place"),
        ("train.num_epoch=3", "train.num_epochs"),
        ("model.dropout_rate=1.5", "model.dropout_rate"),
        ("--config=missing.yaml", "missing.yaml"),
    ],
)
def test_the_command_line_reports_bad_input_in_a_sentence(argument, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([argument])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error

"""Events for TensorBoard: the metrics of the JSON files, and matrices and mistakes of the validation set."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from testing.load_run import load_run, predict
from training.train import main, train
from utils.metrics import History
from utils.results import with_effect
from utils.runs import flat

RATE = 22_050
SHORT = {"num_epochs": 2}
LOGGED = {**SHORT, "log": "tensorboard"}


@pytest.fixture
def heard(data, tmp_path):
    """The corpus in memory with recordings, which only a mistake's sound is read from: noise, too loud."""
    for utterance in data.features.utterances:
        path = tmp_path / utterance.path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.5, 4_000), RATE, subtype="FLOAT")
    utterances = tuple(replace(one, path=tmp_path / one.path) for one in data.features.utterances)
    features = replace(data.features, utterances=utterances)
    return replace(data, corpus=replace(data.corpus, utterances=utterances), features=features)


def events(run_dir: Path, part: str) -> EventAccumulator:
    return EventAccumulator(str(run_dir / "tensorboard" / part)).Reload()


def curve(found: EventAccumulator, name: str) -> list:
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in found.Scalars(name)]


def assert_curves_are_the_metrics(run_dir: Path) -> None:
    for part in ("training", "validation"):
        history, found = History.load(run_dir / f"{part}_metrics.json"), events(run_dir, part)
        assert set(found.Tags()["scalars"]) == history.columns.keys() - {"epoch", "seconds"}
        for name in found.Tags()["scalars"]:
            assert curve(found, name) == list(enumerate(history[name], start=1))


def test_curves_are_the_metrics_and_the_run_is_the_same(config, heard):
    plain, logged = (train(config(train=how), heard, progress=False) for how in (SHORT, LOGGED))
    assert_curves_are_the_metrics(logged)
    assert "learning_rate" in events(logged, "training").Tags()["scalars"]
    for name in ("validation_metrics.json", "split.json"):
        assert (plain / name).read_bytes() == (logged / name).read_bytes()
    assert not (plain / "tensorboard").exists()
    assert with_effect(flat(config(train=SHORT))) == with_effect(flat(config(train=LOGGED)))


def test_matrices_come_a_few_times_and_mistakes_in_the_end(config, heard):
    settings = config(train={**LOGGED, "num_epochs": 5, "learning_rate": 1e-6})
    run_dir = train(settings, heard, progress=False)
    found = events(run_dir, "validation")
    assert [event.step for event in found.Images("confusion_matrix")] == [2, 4]
    batch, names = heard.arrays("validation"), heard.split.validation
    answers = predict(load_run(run_dir).model, batch.frames).argmax(1)
    wrong = [name for name, *pair in zip(names, answers, batch.target, strict=True) if pair[0] != pair[1]]
    texts = [tag for tag in found.Tags()["tensors"] if tag.startswith("mistakes/")]
    sounds = found.Tags()["audio"]
    assert len(sounds) == len(texts) == min(len(wrong), 5) > 0
    said = [found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in texts]
    assert len(
        {name for name in wrong if any(f"**{name}**".replace("_", r"\_") in text for text in said)}
    ) == len(said)
    assert all("recognised as" in tag.replace("_", " ") for tag in sounds)
    wave, rate = soundfile.read(io.BytesIO(found.Audio(sounds[0])[0].encoded_audio_string))
    assert (rate, len(wave)) == (RATE, 4_000) and np.abs(wave).max() > 0.99


@pytest.mark.parametrize("logged_first", [True, False])
def test_a_resumed_training_goes_on_with_its_curves(config, heard, interrupt_at, logged_first):
    interrupt_at(4)  # in the second epoch's validation
    run_dir = train(config(train=LOGGED if logged_first else SHORT), heard, progress=False)
    train(config(train=LOGGED), heard, run_dir, progress=False, resume=True)
    assert_curves_are_the_metrics(run_dir)


def test_an_epoch_that_is_made_again_counts_once(config, heard, monkeypatch):
    """The power went when the events of the second epoch were written, and its state was not."""
    from training import train as module

    kept, save_state = [], module.save_state

    def once(*arguments, **parts):
        if kept:
            raise SystemExit
        kept.append(save_state(*arguments, **parts))

    monkeypatch.setattr(module, "save_state", once)
    with pytest.raises(SystemExit):
        train(config(train=LOGGED), heard, progress=False)
    monkeypatch.setattr(module, "save_state", save_state)
    (run_dir,) = config().train.results_dir.iterdir()
    train(config(train=LOGGED), heard, run_dir, progress=False, resume=True)
    assert_curves_are_the_metrics(run_dir)


def test_events_that_cannot_be_written_stop_no_training(config, heard, tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file in the folder's place")
    train(config(train=LOGGED), heard, tmp_path, progress=False)
    assert capsys.readouterr().err.count("no more events for TensorBoard are written") == 1
    assert (
        len(History.load(tmp_path / "training_metrics.json")) == 2 and not (tmp_path / "resume.pt").exists()
    )


def test_a_missing_package_is_named_before_the_corpus_is_read(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SystemExit):
        main(["train.log=tensorboard", f"data.root={tmp_path}/none", f"train.results_dir={tmp_path}"])
    said = capsys.readouterr().err
    assert "train.log = tensorboard" in said and "pip install tensorboard" in said
    assert not list(tmp_path.iterdir())

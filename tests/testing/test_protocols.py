"""The experiment over protocols: what is planned, what is done again and what not, and the tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import testing.evaluate
import training.train
from dataloader.corpora.find import read_corpus
from dataloader.corpora.readers import EMOVO_NAMES
from dataloader.corpora.utterance import DEMO_MARKER
from dataloader.splits import load_split
from testing import protocols
from testing.protocols import COMMAND, finished, is_of, main, plan, protocols_tables
from utils.errors import UserError

SPEAKERS, SENTENCES = ("f1", "f2", "m1"), ("b1", "b2", "n1", "n2", "d1")
TINY = [
    "features.signal_length=4096",
    "model.n_temporal_aware_block=1",
    "model.n_filter=4",
    "features.n_mfcc=8",
    "train.device=cpu",
    "data.folds=2",
    "data.validation_fraction=0.2",
    "data.test_fraction=0.2",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A demo corpus of short noises, not to be changed: 3 speakers × 5 sentences × 7 emotions."""
    root = tmp_path_factory.mktemp("protocols") / "demo"
    root.mkdir()
    (root / DEMO_MARKER).write_text("{}")
    for number, name in enumerate(EMOVO_NAMES):
        if name.split("-")[1] in SPEAKERS and name.split("-")[2] in SENTENCES:
            noise = np.random.default_rng(number).uniform(-0.1, 0.1, 4_000)
            soundfile.write(root / f"{name}.wav", noise, 22_050)
    return root


@pytest.fixture
def settings(demo, tmp_path) -> list[str]:
    return [*TINY, f"data.root={demo}", f"data.cache_dir={tmp_path}/cache"]


@pytest.fixture
def command(settings, tmp_path):
    """Run the command on the demo corpus, in this process."""

    def run(*arguments):
        options = ["--json", str(tmp_path / "p.json"), "--epochs", "1", "--processes", "1"]
        main(
            [*options, "--augmented", "augment.mode=online", "--augmented", "augment.variants=0", *arguments]
        )

    return lambda *arguments: run(*arguments, *settings)


def test_the_plan_of_emovo(tmp_path):
    """3 holdouts, 6 speakers and 10 folds; two networks; plain and augmented; no run twice."""
    corpus = read_emovo_of(SPEAKERS_OF_EMOVO, tmp_path / "EMOVO")
    configs = plan(corpus, tmp_path / "work")
    assert len(configs) == (3 + 6 + 10) * 2 * 2
    names = [(c.data.protocol, c.data.fold, c.train.seed, c.model.name, c.model.aug) for c in configs]
    assert len(set(names)) == len(names)
    assert {(c.model.n_temporal_aware_block, c.train.num_epochs) for c in configs} == {(3, 100)}
    assert {c.augment.mode for c in configs if c.model.aug} == {"online"}


SPEAKERS_OF_EMOVO = ("f1", "f2", "f3", "m1", "m2", "m3")


def read_emovo_of(speakers, root):
    root.mkdir()
    for speaker in speakers:
        (root / f"dis-{speaker}-b1.wav").touch()
    return read_corpus("emovo", root)


def test_runs_are_made_once_evaluated_and_shown_a_table_a_protocol(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training.train, "save_figure", lambda *_, **__: None)  # these take most of the time
    monkeypatch.setattr(testing.evaluate, "save_figure", lambda *_, **__: None)
    monkeypatch.setattr(testing.evaluate, "TIMING_PASSES", 1)
    command("--protocol", "leave_one_speaker_out", "--protocol", "kfold", "--dry-run")
    listed = capsys.readouterr().out
    assert "20 runs of 1 epochs on the demo corpus, 0 done" in listed
    assert not (tmp_path / "p.json").exists() and not (tmp_path / "p").exists()

    command("--protocol", "leave_one_speaker_out")
    collected = json.loads((tmp_path / "p.json").read_text())
    assert len(collected["runs"]) == 12
    for row in collected["runs"]:
        split = load_split(tmp_path / "p" / row["run"] / "split.json")
        assert (split.protocol, split.fold, split.folds) == ("leave_one_speaker_out", row["fold"], 3)
        assert {name.split("-")[1] for name in split.test} == {SPEAKERS[row["fold"]]}
        assert f"leave_one_speaker_out_fold{row['fold']}_seed0" in row["run"]
    shown = capsys.readouterr().out
    assert "(demo corpus, leave_one_speaker_out, 3 folds)" in shown and shown.count("3 of 3") == 4
    tables = protocols_tables(tmp_path / "p.json")
    assert [(row["network"], row["aug"]) for row in tables[0].rows] == [
        ("TIM", "false"),
        ("TIM", "true"),
        ("CkTIM", "false"),
        ("CkTIM", "true"),
    ]

    with monkeypatch.context() as patched:
        patched.setattr(protocols, "fit", lambda *_, **__: pytest.fail("a run is done again"))
        command("--protocol", "leave_one_speaker_out")  # all are in the file
        (tmp_path / "p.json").rename(tmp_path / "kept.json")
        command("--protocol", "leave_one_speaker_out")  # all are in the folder
    again = json.loads((tmp_path / "p.json").read_text())
    assert sorted(row["run"] for row in again["runs"]) == sorted(row["run"] for row in collected["runs"])

    monkeypatch.setattr(protocols, "NETWORKS", {"TIM": ("model.ck=false",)})
    command("--protocol", "kfold")
    captions = [table.caption for table in protocols_tables(tmp_path / "p.json")]
    assert [caption.partition("(")[2] for caption in captions] == [
        "demo corpus, leave_one_speaker_out, 3 folds)",
        "demo corpus, kfold, 2 folds)",
    ]


def test_two_processes_and_a_run_that_fails(settings, demo, tmp_path, monkeypatch):
    """The others are done all the same; what was interrupted is done anew."""
    corpus = read_corpus("emovo", demo)
    overrides = [*settings, "train.num_epochs=1"]
    configs = [c for c in plan(corpus, tmp_path / "work", overrides, (), ("kfold",)) if not c.model.aug]
    failing = configs[0].model_copy(update={"data": configs[0].data.model_copy(update={"fold": 7})})
    failed = protocols.run_all([failing, configs[0]], tmp_path / "p.json", "demo", 2, progress=False)
    assert len(failed) == 1 and "data.fold = 7: must be 0 to 1" in failed[0]
    (row,) = finished(configs, tmp_path / "p.json")
    assert is_of(row, configs[0], "demo") and not is_of(row, configs[0], "EMOVO")
    assert not any(is_of(row, config, "demo") for config in [failing, *configs[1:]])
    more_epochs = configs[0].model_copy(
        update={"train": configs[0].train.model_copy(update={"num_epochs": 2})}
    )
    assert not is_of(row, more_epochs, "demo")

    fit = protocols.fit
    monkeypatch.setattr(
        protocols, "fit", lambda config, data, progress: fit(configs[1], data, progress=False)
    )
    assert "interrupted after 1 epochs" in protocols.run_one(more_epochs, 1)


def test_what_is_missing_is_said_with_the_command_and_wrong_input_is_refused(command, tmp_path, capsys):
    (table,) = protocols_tables(tmp_path / "none.json")
    assert not table.rows and COMMAND in str(table)
    with pytest.raises(SystemExit):
        command("--processes", "0")
    with pytest.raises(SystemExit):
        command("--epochs", "0")
    assert "train.num_epochs=0: must be a whole number, at least 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("model.none=1")
    assert "error: override model.none=1" in capsys.readouterr().err
    (tmp_path / "p.json").write_text('{"hops": []}')
    with pytest.raises(UserError, match="not written by"):
        finished([], tmp_path / "p.json")

"""A run on several corpora: answers among the emotions of each, and scores of each."""

import csv
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import accuracy_score, recall_score

from testing.calibration import calibrate
from testing.evaluate import evaluate, evaluate_across, main
from training.resume import check_same_data, prepare_resumed
from utils.errors import UserError
from utils.metrics import read_json

EMODB = {"W": "anger", "F": "joy", "N": "neutral"}  # the letters in its names
FOLDER = ("angry", "sad", "neutral")


def sound(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).normal(0, 0.02, 4_000)
    soundfile.write(path, 0.1 * np.sin(np.arange(4_000) * (0.05 + 0.002 * number)) + noise, 16_000)


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """EMO-DB's layout with three emotions, and a folder with others; five speakers each."""
    folder = tmp_path_factory.mktemp("corpora")
    several = product(("03", "08", "09", "10", "11"), EMODB, ("a01", "a02"))
    for number, (speaker, letter, text) in enumerate(several):
        sound(folder / f"EMO-DB/wav/{speaker}{text}{letter}a.wav", number)
    for number, (speaker, emotion, take) in enumerate(product("abcde", FOLDER, range(2))):
        sound(folder / f"mine/{speaker}/{emotion}/{take}.wav", 100 + number)
    return {"emodb": folder / "EMO-DB", "folder": folder / "mine"}


@pytest.fixture
def run(train_tiny, roots) -> Path:
    data = {"corpus": ["emodb", "folder"], "root": roots, "protocol": "speaker_kfold", "folds": 5, "fold": 1}
    data |= {"emotions": ["joy", "neutral", "anger", "sadness"]}
    return train_tiny(data, train={"balance": "corpus_and_class", "num_epochs": 2})


def test_each_corpus_is_answered_among_its_emotions_and_scored(run, capsys):
    main([str(run)])
    printed = capsys.readouterr().out
    metrics = read_json(run / "CkTIM_test_metrics.json")
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert metrics["emotions"] == ["gio", "neu", "rab", "tri"]
    assert metrics["corpora"] == ["EMO-DB", "folder-mine"]
    for place, (corpus, lacks) in enumerate((("EMO-DB", "tri"), ("folder-mine", "gio"))):
        own = [row for row in rows if row["utterance"].startswith(f"{corpus}/")]
        assert len({row["speaker"] for row in own}) == 1 and len(own) == 6
        assert all(float(row[lacks]) == 0 and row["predicted"] != lacks for row in own)
        columns = [[row[key] for row in own] for key in ("true", "predicted")]
        labels = sorted(set(columns[0]))
        found = [metrics[f"{key}_per_corpus"][place] for key in ("utterances", "accuracy", "uar")]
        uar = recall_score(*columns, labels=labels, average="macro")
        assert found == [6, pytest.approx(accuracy_score(*columns)), pytest.approx(uar)]
        low, high = metrics["uar_interval_per_corpus"][place]
        assert low <= uar <= high
        assert corpus in printed.partition("Each corpus")[2]
    assert metrics["accuracy"][0] == pytest.approx(np.mean([row["true"] == row["predicted"] for row in rows]))
    assert np.isfinite(metrics["loss"][0])
    assert evaluate(run, everything=True, progress=False).metrics["utterances_per_corpus"] == [30, 30]


def test_a_temperature_is_fitted_on_masked_answers(run):
    calibrated = calibrate(run, progress=False)
    assert np.isfinite(calibrated.calibration.temperature)
    assert np.isneginf(calibrated.logits["validation"]).sum() == len(calibrated.targets["validation"])


def test_a_run_on_several_corpora_is_not_tested_across_on_one_of_them(run, roots):
    with pytest.raises(UserError, match=r"was trained on EMO-DB\+folder-mine"):
        evaluate_across(run, "emodb", [f"data.root={roots['emodb']}"], progress=False)


def test_what_listeners_heard_is_another_task_but_no_other_corpus(train_tiny, tmp_path):
    root, rows = tmp_path / "CREMA-D", ["FileName,VoiceVote"]
    texts = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS")
    for number, (text, emotion) in enumerate(product(texts, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))):
        sound(root / f"AudioWAV/1001_{text}_{emotion}_XX.wav", number)
        rows.append(f"1001_{text}_{emotion}_XX,{'DFHNSA'[number % 6]}")  # never the intended one
    (root / "summaryTable.csv").write_text("\n".join(rows))
    data = {"corpus": "cremad", "root": root, "test_fraction": 0.3}
    intended, heard = (train_tiny({**data, "labels": labels}) for labels in ("intended", "heard"))
    assert heard.name.startswith("CkTIM_CREMA-D-heard_")
    labels = [
        {one.name: one.emotion for one in evaluate(run, progress=False).utterances}
        for run in (intended, heard)
    ]
    assert labels[0].keys() & labels[1].keys()
    assert all(labels[1][name] != emotion for name, emotion in labels[0].items() if name in labels[1])
    for run in (intended, heard):
        for override in ("intended", "heard"):
            places = [f"data.root={root}", f"data.labels={override}"]
            with pytest.raises(UserError, match="was trained on CREMA-D"):
                evaluate_across(run, "cremad", places, progress=False)


def test_a_users_own_among_several_may_be_renamed(run, roots, tmp_path):
    before = evaluate(run, progress=False)
    moved = roots | {"folder": Path(shutil.copytree(roots["folder"], tmp_path / "other"))}
    place = "data.root={" + ", ".join(f"{name}: {root}" for name, root in moved.items()) + "}"
    after = evaluate(run, [place], progress=False)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert after.utterances[-1].path.is_relative_to(moved["folder"])
    check_same_data(run, prepare_resumed(after.run.config, run, progress=False))

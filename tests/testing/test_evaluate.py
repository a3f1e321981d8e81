"""Evaluation: the same numbers in every process, on the recorded test set or on another corpus."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from scipy.signal import lfilter
from sklearn.metrics import confusion_matrix

from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import DEMO_MARKER
from dataloader.features.extract import load_features
from dataloader.splits import load_split, save_split
from models.cktim import count_parameters
from testing.calibration import at_temperature, calibrate, load_calibration
from testing.evaluate import (
    confusion_figure,
    emotions_table,
    evaluate,
    evaluate_across,
    evaluate_or_recall,
    evaluate_others,
    main,
    misjudged_table,
    scores_table,
    trust_in_words,
)
from testing.explain import explain
from testing.export import real_utterances
from testing.load_run import load_run, predict, recorded_test_set
from testing.predict import main as recognise
from training.resume import check_same_data, prepare_resumed
from utils.emotions import EMOTIONS, ENGLISH
from utils.errors import UserError
from utils.files import write_json
from utils.metrics import History, read_json, scores
from utils.runs import read_run


@pytest.fixture(scope="module")
def evaluation(trained, tmp_path_factory):
    """An evaluation in the process that trained, of a copy of the run."""
    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / trained.name))
    return evaluate(copy, progress=False)


@pytest.fixture
def corpus(tiny_emovo, tmp_path) -> Path:
    """A copy of the corpus, to be changed."""
    return Path(shutil.copytree(tiny_emovo, tmp_path / "elsewhere"))


def assert_same(metrics: dict, others: dict) -> None:
    """The same but for times. The loss may differ in the last digits of float32, whose sums depend on where
    in memory the numbers lie; no score does.
    """
    losses = "loss", "loss_without_smoothing"
    assert [metrics[key][0] for key in losses] == pytest.approx([others[key][0] for key in losses], abs=1e-5)
    rest = [key for key in metrics if key not in (*losses, "device") and "time" not in key]
    assert {key: metrics[key] for key in rest} == {key: others[key] for key in rest}


def read_predictions(run_dir: Path) -> list[dict]:
    with (run_dir / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- answers, scores and files ---


def test_the_loaded_network_gives_the_losses_that_the_training_recorded(trained):
    run = load_run(trained)
    frames, _, target, _ = recorded_test_set(run, False, ["validation"]).arrays("validation")
    logits = predict(run.model, frames, batch_size=16)
    recorded = History.load(trained / "validation_metrics.json")
    loss = F.cross_entropy(logits, target, label_smoothing=0.1).item()
    assert loss == pytest.approx(recorded["loss"][-1], abs=1e-5)
    assert (logits.argmax(1) == target).float().mean().item() == pytest.approx(recorded["accuracy"][-1])


def test_metrics_are_those_of_the_predictions_on_the_recorded_test_set(evaluation, trained):
    assert tuple(u.name for u in evaluation.utterances) == load_split(trained / "split.json").test
    assert [EMOTIONS[target] for target in evaluation.targets] == [u.emotion for u in evaluation.utterances]
    metrics, targets, predictions = evaluation.metrics, evaluation.targets, evaluation.predictions
    assert metrics["utterances"] == [len(targets)] and metrics["accuracy"][0] > 0.3  # chance: 0.14
    for score, value in scores(targets, predictions, 7).items():
        assert metrics[score] == [value]
        ((low, high),) = metrics[f"{score}_interval"]
        assert low <= value <= high and high - low < 0.8
    assert metrics["confusion_matrix"] == confusion_matrix(targets, predictions, labels=range(7)).tolist()
    matrix = np.array(metrics["confusion_matrix"])
    assert metrics["recall_per_emotion"] == pytest.approx(np.diag(matrix) / matrix.sum(1))
    assert metrics["utterances_per_emotion"] == matrix.sum(1).tolist()
    assert np.mean(metrics["precision_per_emotion"]) == pytest.approx(metrics["precision"][0])
    assert np.mean(metrics["f1_score_per_emotion"]) == pytest.approx(metrics["f1_score"][0])
    chosen = evaluation.probabilities[range(len(targets)), targets]
    assert evaluation.probabilities.sum(1) == pytest.approx(1)
    smoothed = 0.9 * -np.log(chosen) + 0.1 * -np.log(evaluation.probabilities).mean(1)
    assert metrics["loss"][0] == pytest.approx(smoothed.mean(), rel=1e-4)
    assert metrics["trainable_parameters"] == [count_parameters(evaluation.run.model)]
    assert 0 < metrics["inference_time_one_sample"][0] < metrics["inference_time_tot"][0] < 10


def test_files_hold_the_old_keys_and_read_back(evaluation):
    written = read_json(evaluation.run.path / "CkTIM_test_metrics.json")
    assert written == evaluation.metrics == read_run(evaluation.run.path).test
    assert written["model"] == ["CkTIM"] and written["epoch"] == []
    earlier = "loss accuracy recall precision f1_score inference_time_one_sample inference_time_tot"
    assert all(len(written[key]) == 1 for key in (*earlier.split(), "trainable_parameters"))
    for name in ("confusion_matrix.png", "loss_acc.png"):
        assert (evaluation.run.path / name).read_bytes().startswith(b"\x89PNG")

    rows = read_predictions(evaluation.run.path)
    assert [row["utterance"] for row in rows] == [u.name for u in evaluation.utterances]
    for row, target, prediction in zip(rows, evaluation.targets, evaluation.predictions, strict=True):
        assert row["true"] == EMOTIONS[target] == row["utterance"][:3]
        assert row["predicted"] == EMOTIONS[prediction] == max(EMOTIONS, key=lambda e: float(row[e]))
        assert row["utterance"] == f"{row['true']}-{row['speaker']}-{row['sentence']}"


def test_misjudged_utterances_come_surest_first(evaluation):
    answers = np.random.default_rng(0).dirichlet(np.ones(7), len(evaluation.targets))
    mistaken = replace(evaluation, probabilities=answers)  # as if the network had answered at random
    rows = mistaken.misjudged()
    assert sorted(rows) == np.flatnonzero(mistaken.predictions != mistaken.targets).tolist() and len(rows) > 3
    sureness = [answers[row].max() for row in rows]
    assert sureness == sorted(sureness, reverse=True)
    first, second = answers[rows[0]].argsort()[::-1][:2]
    true, answer, then = (ENGLISH[EMOTIONS[index]] for index in (mistaken.targets[rows[0]], first, second))
    words = mistaken.in_words(rows[0])
    assert words.startswith(f"**{mistaken.utterances[rows[0]].name}**: {true}, ") and f" {answer} " in words
    assert f"(then {then} {100 * answers[rows[0], second]:.0f} %, " in words
    table = misjudged_table(mistaken, most=1)
    assert table.rows[0]["true"] == true and answer in table.rows[0].values()
    assert table.notes == [f"and {len(rows) - 1} more"]


def test_runs_that_were_not_evaluated_yet_are_made_up_for(run_dir, capsys):
    broken = Path(shutil.copytree(run_dir, run_dir.with_name("broken")))
    (broken / "split.json").unlink()
    evaluate_others(run_dir.parent)
    assert read_run(run_dir).test is not None and read_run(broken).test is None
    assert "not evaluated: " in capsys.readouterr().err
    written = (run_dir / "CkTIM_test_metrics.json").stat().st_mtime_ns
    evaluate_others(run_dir.parent)
    assert (run_dir / "CkTIM_test_metrics.json").stat().st_mtime_ns == written


def test_tables_show_every_score(evaluation):
    text = f"{scores_table(evaluation)}\n{emotions_table(evaluation)}"
    assert f"{100 * evaluation.metrics['accuracy'][0]:.1f} %" in text
    assert f"{evaluation.metrics['trainable_parameters'][0]:,}" in text
    assert all(emotion in text for emotion in ("\ndisgust  ", "\nsadness  "))


def test_a_fresh_process_gets_the_same_numbers(evaluation, run_dir, repository):
    command = [sys.executable, "-m", "testing.evaluate", str(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "(UAR), also the accuracy" in result.stdout
    fresh = read_json(run_dir / "CkTIM_test_metrics.json")
    assert_same(fresh, evaluation.metrics)
    for there, here in zip(read_predictions(run_dir), read_predictions(evaluation.run.path), strict=True):
        assert [there[key] for key in there if key not in EMOTIONS] == list(here.values())[:5]
        assert all(float(there[e]) == pytest.approx(float(here[e]), abs=1e-5) for e in EMOTIONS)


# --- the corpus, elsewhere and changed ---


def test_recordings_beside_the_test_set_may_come_and_go_and_others_are_named(evaluation, run_dir, corpus):
    for path in sorted(corpus.rglob("*.wav"))[:20]:
        shutil.copy(path, path.with_name(path.name.replace("-f1-", "-f2-")))
    next(corpus.rglob(f"{evaluation.run.split.train[3]}.wav")).unlink()
    changed = evaluate(run_dir, [f"data.root={corpus}"], progress=False)
    assert_same(changed.metrics, evaluation.metrics)
    (run_dir / "CkTIM_test_metrics.json").unlink()
    next(corpus.rglob(f"{(name := evaluation.utterances[3].name)}.wav")).unlink()
    with pytest.raises(UserError, match=name):
        evaluate(run_dir, [f"data.root={corpus}"], progress=False)
    assert not (run_dir / "CkTIM_test_metrics.json").exists()


def test_a_run_needs_its_own_corpus_and_a_demo_run_finds_it(run_dir, corpus, monkeypatch, tiny_emovo):
    """Though EMOVO has come to its usual place."""
    (corpus / DEMO_MARKER).write_text("{}")
    with pytest.raises(UserError, match=r"EMOVO.*demo"):
        evaluate(run_dir, [f"data.root={corpus}"], progress=False)
    save_split(replace(load_split(run_dir / "split.json"), corpus="demo"), run_dir / "split.json")
    parameters = (run_dir / "parameters.txt").read_text()
    (run_dir / "parameters.txt").write_text(parameters.replace(f"root: {tiny_emovo}", "root: null"))
    monkeypatch.setenv("EMOVO_ROOT", str(tiny_emovo))
    evaluation = evaluate(run_dir, [f"data.demo_dir={corpus}"], progress=False)
    assert evaluation.corpus.is_demo and "demo" in evaluation.title


# --- all utterances of the corpus ---


def test_everything_is_no_test_and_leaves_no_files(run_dir, tiny_emovo):
    before = sorted(run_dir.iterdir())
    (run_dir / "split.json").unlink()
    evaluation = evaluate(run_dir, everything=True, progress=False)
    assert len(evaluation.targets) == 98
    assert "no test result" in evaluation.title
    assert sorted([*run_dir.iterdir(), run_dir / "split.json"]) == before


def test_functionals_and_speakers_means_are_those_of_the_training(tiny_emovo, train_tiny):
    features = {"prosody": True, "normalise": "speaker", "functionals": True}
    run_dir = train_tiny({"root": tiny_emovo}, features=features)
    run, evaluation = load_run(run_dir), evaluate(run_dir, progress=False)
    frames, functionals, *_ = recorded_test_set(run, progress=False).arrays("test")
    assert functionals.shape == (len(frames), run.config.features.num_functionals)
    expected = predict(run.model, frames, functionals).softmax(1).numpy()
    np.testing.assert_allclose(evaluation.probabilities, expected, atol=1e-6)


def test_damaged_test_metrics_are_written_anew(run_dir):
    evaluate(run_dir, progress=False)
    (file,) = run_dir.glob("*_test_metrics.json")
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"test_metrics.json is not a whole JSON file.*evaluate the run"):
        read_run(run_dir)
    evaluate(run_dir, progress=False)
    assert json.loads(file.read_text()).keys() == json.loads(whole).keys()
    assert read_run(run_dir).test["accuracy"] == json.loads(whole)["accuracy"]


def test_a_file_that_cannot_be_written_costs_no_other_and_no_result(run_dir, capsys):
    (run_dir / "confusion_matrix.png").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir)])
    printed = capsys.readouterr()
    assert "(UAR), also the accuracy" in printed.out and "Written" not in printed.out
    assert re.search(r"error: cannot write .*confusion_matrix\.png", printed.err)
    assert read_run(run_dir).test and len(read_predictions(run_dir)) and (run_dir / "loss_acc.png").is_file()
    (run_dir / "predictions.csv").unlink()
    (run_dir / "predictions.csv").mkdir()  # is known before the work begins
    with pytest.raises(UserError, match=r"cannot write .*predictions"):
        evaluate(run_dir, ["data.root=nowhere"], progress=False)


# --- on another corpus ---


@pytest.fixture(scope="module")
def emodb(tmp_path_factory) -> Path:
    """A few sounds in EMO-DB's layout: four utterances of each of its emotions."""
    root = tmp_path_factory.mktemp("tiny") / "EMO-DB"
    (root / "wav").mkdir(parents=True)
    for number, initial in enumerate("WLEFTNA"):
        for sentence in ("a01", "a02", "b01", "b02"):
            rng = np.random.default_rng([number, *sentence.encode()])
            wave = np.sin(0.05 * (number + 1) * np.arange(3_000)) + 0.1 * rng.standard_normal(3_000)
            soundfile.write(root / f"wav/03{sentence}{initial}a.wav", 0.3 * wave, 16_000)
    return root


def test_across_corpora_the_shared_emotions_count(run_dir, emodb, capsys):
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    main([str(run_dir), "--corpus", "emodb", f"data.root={emodb}"])
    printed, warned = capsys.readouterr()
    assert "4 utterances of EMO-DB left out, for the run does not know the emotion: boredom (4)" in warned
    shared = "disgust, joy, neutral, fear, anger, sadness"
    assert f"one of the emotions that the run knows and the corpus has: {shared}." in printed
    folder = run_dir / "cross-corpus_EMO-DB"
    assert "EMO-DB corpus, cross-corpus" in printed and f"Written into {folder}" in printed
    assert {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()} == before
    assert read_run(run_dir).test is None  # it is no test on the recorded test set

    metrics = read_json(folder / "CkTIM_test_metrics.json")
    assert metrics["emotions"] == ["dis", "gio", "neu", "pau", "rab", "tri"]  # no surprise, no boredom
    assert metrics["utterances"] == [24] and metrics["utterances_per_emotion"] == [4] * 6
    origin = [metrics[key] for key in ("protocol", "corpus", "trained_on")]
    assert origin == [["cross-corpus"], ["EMO-DB"], ["EMOVO"]]
    rows = read_predictions(folder)
    assert list(rows[0])[5:] == metrics["emotions"]
    for row in rows:
        assert row["predicted"] == max(metrics["emotions"], key=lambda e: float(row[e]))
        assert sum(float(row[e]) for e in metrics["emotions"]) == pytest.approx(1, abs=1e-5)
    hits = sum(row["true"] == row["predicted"] for row in rows)
    assert metrics["accuracy"] == [pytest.approx(hits / 24)]
    true = {row["utterance"]: row["true"] for row in rows}
    assert true["03a01Wa"] == "rab" and true["03b01Ta"] == "tri"

    run = load_run(run_dir)  # its answers among all emotions, of which the shared ones are left
    places = run.config.features, run.config.data.cache_dir
    features = load_features(read_corpus("emodb", emodb), *places, progress=False)
    logits = predict(run.model, features.frames)[:, [EMOTIONS.index(e) for e in metrics["emotions"]]]
    found = {row["utterance"]: [float(row[e]) for e in metrics["emotions"]] for row in rows}
    for utterance, probabilities in zip(features.utterances, logits.softmax(1).tolist(), strict=True):
        if utterance.name in true:  # not those of boredom
            assert found[utterance.name] == pytest.approx(probabilities, abs=1e-5)


def test_across_corpora_needs_another_corpus_with_two_emotions_at_least(run_dir, tiny_emovo, emodb, tmp_path):
    with pytest.raises(UserError, match="was trained on EMOVO"):
        evaluate_across(run_dir, "emovo", [f"data.root={tiny_emovo}"], progress=False)
    with pytest.raises(UserError, match="gone is neither a folder nor a zip"):
        evaluate_across(run_dir, "emodb", ["data.root=gone"], progress=False)
    with pytest.raises(UserError, match=r"train\.seed=1: the run was trained"):
        evaluate_across(run_dir, "emodb", [f"data.root={emodb}", "train.seed=1"], progress=False)
    for emotion in ("angry", "smug"):
        (tmp_path / "mine" / emotion).mkdir(parents=True)
        shutil.copy(emodb / "wav/03a01Wa.wav", tmp_path / "mine" / emotion)
    with pytest.raises(UserError, match=r"EMOVO and folder-mine share 1 emotions \(anger\)"):
        evaluate_across(run_dir, "folder", [f"data.root={tmp_path / 'mine'}"], progress=False)
    with pytest.raises(SystemExit):
        main([str(run_dir), "--corpus", "emodb", "--all"])


def own_corpus(kind: str, root: Path, first: int) -> Path:
    """Three speakers' recordings, from pitch number `first` on, as a folder `data` or a table `data.csv`."""
    rows = ["path,emotion,speaker"]
    for number, (speaker, emotion, take) in enumerate(product("abc", ("angry", "sad", "calm"), "12")):
        path = root / "data" / speaker / emotion / f"{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng([first, number]).standard_normal(4_000)
        soundfile.write(path, 0.1 * np.sin(0.01 * (first + number) * np.arange(4_000)) + noise, 16_000)
        rows.append(f"{path.relative_to(root).as_posix()},{emotion},{speaker}")
    (root / "data.csv").write_text("\n".join(rows))
    return root / ("data.csv" if kind == "table" else "data")


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_users_own_corpora_are_known_by_their_recordings(train_tiny, tmp_path, kind):
    ours, others = (own_corpus(kind, tmp_path / name, first) for name, first in (("A", 10), ("B", 50)))
    run_dir = train_tiny({"corpus": kind, "root": ours, "test_fraction": 0.34, "validation_fraction": 0.34})
    across = evaluate_across(run_dir, kind, [f"data.root={others}"], progress=False)
    assert across.metrics["corpus"] == across.metrics["trained_on"] == [f"{kind}-data"]
    assert trust_in_words(across.metrics)[0] == "Whether the test speakers were trained on is not known."
    kept = (across.folder / "predictions.csv").read_bytes()
    third = own_corpus(kind, tmp_path / "C", 90)
    for more in ([f"data.root={third}"], [f"data.root={others}", "data.labels={calm: angry}"]):
        for _ in range(2):  # a repeat writes over its own
            another = evaluate_across(run_dir, kind, more, progress=False)
            assert re.fullmatch(rf"{across.folder.name}_[0-9a-f]{{8}}", another.folder.name)
    assert across.folder == run_dir / f"cross-corpus_{kind}-data"
    assert (across.folder / "predictions.csv").read_bytes() == kept
    assert len(list(run_dir.glob("cross-corpus*/predictions.csv"))) == 3
    with pytest.raises(UserError, match=r"trained or validated on \d+ of 18 recordings"):
        evaluate_across(run_dir, kind, [f"data.root={ours}"], progress=False)
    before = evaluate(run_dir, progress=False)
    renamed = ours.rename(ours.with_stem("other"))
    place = [f"data.root={renamed}"]
    np.testing.assert_array_equal(
        evaluate(run_dir, place, progress=False).probabilities, before.probabilities
    )
    run = load_run(run_dir, place)
    check_same_data(run_dir, prepare_resumed(run.config, run_dir, progress=False))
    assert real_utterances(run) and calibrate(run_dir, place, progress=False)
    with pytest.raises(UserError, match=r"of the recorded split in .* changed"):
        evaluate(run_dir, [f"data.root={others}"], progress=False)
    split = read_json(run_dir / "split.json")
    write_json(run_dir / "split.json", split | {"corpus": f"{kind}-/../../out"})  # by somebody else
    with pytest.raises(UserError, match=f"from the corpus {kind}-/../../out, but"):
        evaluate(run_dir, place, progress=False)
    write_json(run_dir / "split.json", split | {"recordings": {}})  # of an earlier version: by its name
    with pytest.raises(UserError, match=f"from the corpus {kind}-data, but"):
        evaluate(run_dir, [f"data.root={renamed}"], progress=False)
    with pytest.raises(UserError, match=f"was trained on {kind}-data"):
        evaluate_across(run_dir, kind, [f"data.root={others}"], progress=False)


LARGE_HELD_OUT = {"validation_fraction": 0.3, "test_fraction": 0.3}


def test_a_run_on_other_emotions_knows_them(tiny_emovo, emodb, train_tiny):
    roots = {"emovo": tiny_emovo, "emodb": emodb}
    run_dir = train_tiny({"corpus": ["emovo", "emodb"], "root": roots, **LARGE_HELD_OUT})
    run = load_run(run_dir)
    assert run.emotions == (*EMOTIONS, "noi") and run.model.classifier.weight.shape[0] == 8
    evaluation = evaluate(run_dir, progress=False)
    assert evaluation.metrics["emotions"] == [*EMOTIONS, "noi"] and "EMOVO+EMO-DB" in evaluation.title
    assert any(u.name.startswith("EMO-DB/") for u in evaluation.utterances)
    assert "boredom" in str(emotions_table(evaluation))
    with pytest.raises(UserError, match=r"trained on EMOVO\+EMO-DB"):
        evaluate_across(run_dir, "emodb", [f"data.root={emodb}"], progress=False)

    (run_dir / "emotions.json").write_text(json.dumps({"emotions": run.emotions, "words": {"rab": 7}}))
    with pytest.raises(UserError, match="no words for emotions"):
        load_run(run_dir)
    (run_dir / "emotions.json").write_text("7")
    with pytest.raises(UserError, match="no list of emotions"):
        load_run(run_dir)
    (run_dir / "emotions.json").unlink()
    with pytest.raises(UserError, match="does not fit"):
        load_run(run_dir)


def test_a_run_keeps_the_users_words_and_refuses_further_emotions(emodb, train_tiny, tmp_path, capsys):
    for emotion, initial in (("Wut", "W"), ("traurig", "T")):
        (tmp_path / "mine" / emotion).mkdir(parents=True)
        for number, path in enumerate(sorted(emodb.glob(f"wav/*{initial}a.wav"))[:4]):
            shutil.copy(path, tmp_path / "mine" / emotion / f"{number}.wav")
    place = {"corpus": "folder", "root": tmp_path / "mine"}
    run_dir = train_tiny({**place, **LARGE_HELD_OUT}, train={"batch_size": 2})
    evaluation = evaluate(run_dir, progress=False)
    assert evaluation.metrics["emotions"] == ["rab", "tri"]
    assert (run_dir / "predictions.csv").read_text().splitlines()[0].endswith(",true,predicted,rab,tri")
    assert [row["emotion"] for row in emotions_table(evaluation).rows] == ["Wut", "traurig"]
    shown = [text.get_text() for text in confusion_figure(evaluation).axes[0].get_xticklabels()]
    assert shown == ["Wut", "traurig"] == [read_run(run_dir).words[code] for code in ("rab", "tri")]
    assert any(
        f"{word}, recognised as {other} " in evaluation.in_words(0) for word in shown for other in shown
    )
    sound = str(tmp_path / "mine/Wut/0.wav")
    assert explain(run_dir, sound, truth="wut").in_words.startswith(("Wut (", "traurig ("))
    recognise([str(run_dir), sound, "--json", "-"])
    assert json.loads(capsys.readouterr().out)[0]["probabilities"].keys() == {"Wut", "traurig"}
    # later the folder has a further emotion: classes keep their places, and the test set is the same
    shutil.copytree(tmp_path / "mine/Wut", tmp_path / "mine/afraid")
    assert evaluate(run_dir, progress=False).metrics["emotions"] == ["rab", "tri"]
    with pytest.raises(UserError, match="has afraid too"):
        evaluate(run_dir, everything=True, progress=False)


# --- other recordings than those of the training ---


@pytest.fixture
def own(tiny_emovo, train_tiny, tmp_path) -> tuple[Path, Path]:
    """A run, and the corpus that it was trained on, to be changed."""
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "EMOVO"))
    return train_tiny({"root": root}), root


def other_sound(root: Path, name: str) -> None:
    (path,) = root.rglob(f"{name}.wav")
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[::-1], rate)


def test_other_sound_in_the_test_set_is_an_error_or_an_explicit_wish(own, capsys):
    run_dir, root = own
    name = load_run(run_dir).split.test[2]
    metrics = evaluate(run_dir, progress=False).metrics
    other_sound(root, name)
    with pytest.raises(UserError, match=rf"1 utterance of the .* {name} .test: its sound is another"):
        evaluate(run_dir, progress=False)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    main([str(run_dir), "--changed"])
    assert {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()} == before
    assert f"Written into {run_dir / 'changed-recordings'}" in capsys.readouterr().out
    found = read_json(run_dir / "changed-recordings/CkTIM_test_metrics.json")
    assert found["protocol"] == ["changed recordings"] and found["loss"] != metrics["loss"]


def test_other_sound_in_training_changes_no_test_but_the_calibration(own, capsys):
    run_dir, root = own
    name = load_run(run_dir).split.train[2]
    before = evaluate(run_dir, progress=False)
    other_sound(root, name)
    assert (evaluate(run_dir, progress=False).probabilities == before.probabilities).all()
    assert f"{name} (train: its sound is another)" in capsys.readouterr().err
    with pytest.raises(UserError, match=rf"changed: {name}"):
        calibrate(run_dir, progress=False)


def test_recordings_of_a_speaker_that_came_later_change_no_test(tiny_emovo, train_tiny, tmp_path):
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "EMOVO"))
    for path in root.rglob("*-b1.wav"):
        path.rename(tmp_path / path.name)
    run_dir = train_tiny({"root": root}, features={"prosody": True, "normalise": "speaker"})
    before = evaluate(run_dir, progress=False)
    for path in tmp_path.glob("*-b1.wav"):
        path.rename(root / "f1" / path.name)
    assert (evaluate(run_dir, progress=False).probabilities == before.probabilities).all()


def test_a_copy_of_the_training_corpus_is_no_other_corpus(own, tmp_path):
    run_dir, root = own
    split = load_run(run_dir).split
    for path in root.rglob("*.wav"):
        samples, rate = soundfile.read(path)
        copy = tmp_path / "others" / ENGLISH[path.name[:3]] / f"x{path.stem}.flac"
        copy.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(copy, samples, rate)
    learned = len(split.train) + len(split.validation)
    with pytest.raises(UserError, match=rf"trained or validated on {learned} of 98 recordings of .*others"):
        evaluate_across(run_dir, "folder", [f"data.root={tmp_path / 'others'}"], progress=False)


def test_copies_of_the_training_corpus_through_a_codec_are_no_other_corpus(own, tmp_path, capsys):
    run_dir, root = own
    (run_dir / "split.json").write_text(json.dumps(asdict(replace(load_run(run_dir).split, recordings={}))))
    rng, (b, a) = np.random.default_rng(0), ((1, 0, -0.9), (1, -1.8, 0.95))
    for path in root.rglob("*.wav"):  # noise that comes and goes, in bands that move, as speech does
        pieces = [0.02 * lfilter(b, np.multiply(a, (1, r, 1)), rng.normal(size=2000)) for r in rng.random(16)]
        copy = tmp_path / "others" / ENGLISH[path.name[:3]] / f"x{path.stem}.ogg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, copy):
            soundfile.write(file, np.concatenate(pieces).clip(-1, 1), 16_000)
    others = [f"data.root={tmp_path / 'others'}"]
    with pytest.raises(UserError, match=r"trained or validated on \d+ of 98 recordings of .*others"):
        evaluate_across(run_dir, "folder", others, progress=False)
    root.rename(root.with_name("elsewhere"))
    evaluate_across(run_dir, "folder", others, progress=False)
    assert "no copies" in capsys.readouterr().err


def test_an_emotion_that_came_later_shifts_nothing(emodb, train_tiny, tmp_path):
    for emotion, initial in (("fear", "A"), ("sad", "T")):
        (tmp_path / "mine" / emotion).mkdir(parents=True)
        for path in emodb.glob(f"wav/*{initial}a.wav"):
            shutil.copy(path, tmp_path / "mine" / emotion)
    place = {"corpus": "folder", "root": tmp_path / "mine"}
    run_dir = train_tiny({**place, **LARGE_HELD_OUT}, train={"batch_size": 2})
    before = calibrate(run_dir, progress=False)
    (tmp_path / "mine/disgust").mkdir()
    for path in emodb.glob("wav/*Ea.wav"):
        shutil.copy(path, tmp_path / "mine/disgust")  # first in the order of emotions
    after = calibrate(run_dir, progress=False)
    for subset in ("validation", "test"):
        assert (after.targets[subset] == before.targets[subset]).all()
        assert (after.logits[subset] == before.logits[subset]).all()


def test_an_emotion_that_is_not_tested_is_named_in_the_result(train_tiny, tiny_emovo, tmp_path):
    root = Path(shutil.copytree(tiny_emovo, tmp_path / "EMOVO"))
    (root / "f1/sor-f1-d2.wav").unlink()
    data = {"root": root, "protocol": "leave_one_sentence_out", "fold": 4}  # b1, b2, b3, d1, d2
    evaluation = evaluate(train_tiny(data), progress=False)
    assert evaluation.metrics["missing_emotions"] == ["sor (test)"]
    assert "Emotions without any utterance: surprise (test)." in str(scores_table(evaluation))


def test_on_a_machine_without_the_corpus_a_shipped_run_shows_what_it_recorded(
    repository, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOVO_ROOT", raising=False)
    run_dir = shutil.copytree(repository / "training/results/CkTIM_TAB1_for_recognition", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    with pytest.raises(SystemExit) as exit_:
        main([str(run_dir)])
    assert exit_.value.code == 1
    said = capsys.readouterr()
    assert "no place is known where EMOVO lies. `python -m dataloader.download emovo` gets it" in said.err
    assert "EMOVO corpus, test set (as it was recorded)" in said.out and "Each emotion" in said.out
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no demo corpus was made
    (run_dir / "predictions.csv").unlink()
    with pytest.raises(SystemExit) as exit_:
        main([str(run_dir)])
    assert exit_.value.code == 2 and "no place is known" in capsys.readouterr().err


def test_what_was_recorded_is_what_the_evaluation_found(evaluation, tmp_path):
    again = evaluate_or_recall(evaluation.run.path, [f"data.root={tmp_path / 'nowhere'}"])
    assert again.recalled and again.title == f"{evaluation.title} (as it was recorded)"
    np.testing.assert_allclose(again.probabilities, evaluation.probabilities, atol=1e-6)
    np.testing.assert_array_equal(again.targets, evaluation.targets)
    assert str(scores_table(again)).split("\n")[1:] == str(scores_table(evaluation)).split("\n")[1:]
    assert misjudged_table(again, 5).rows == misjudged_table(evaluation, 5).rows


def test_there_is_one_loss_and_calibrated_answers_are_as_sure_as_those_of_predict(evaluation, repository):
    right = evaluation.probabilities[np.arange(len(evaluation.targets)), evaluation.targets]
    (loss,) = evaluation.metrics["loss_without_smoothing"]
    assert loss == pytest.approx(-np.log(right).mean(), abs=1e-5)
    assert f"{loss:.3f}" in str(scores_table(evaluation))
    run = load_run(repository / "training/results/CkTIM_TAB1_for_recognition")
    logits = np.random.default_rng(0).normal(0, 3, evaluation.probabilities.shape)
    raw = replace(evaluation, run=run, probabilities=at_temperature(logits, 1.0))
    temperature = load_calibration(run.path).temperature
    assert temperature != 1
    np.testing.assert_allclose(raw.calibrated().probabilities, at_temperature(logits, temperature))


def test_it_is_said_how_far_to_trust_a_result(evaluation):
    metrics = evaluation.metrics
    everyone = sorted({utterance.speaker for utterance in evaluation.utterances})
    assert metrics["speakers"] == metrics["speakers_trained_on"] == everyone  # a holdout
    voices, size = trust_in_words(metrics)
    of = f"{len(everyone)} of the {len(everyone)}"
    assert voices == f"{of} test speakers were trained on: this does not measure unknown voices."
    counts = metrics["utterances_per_emotion"]
    assert size.startswith(f"{min(counts)} ") and len(set(counts)) == 1 and "the test set is small" in size
    shown = str(scores_table(evaluation))
    assert voices in shown and shown.index("(UAR)") < shown.index("precision")
    unknown = {**metrics, "speakers_trained_on": []}
    assert trust_in_words(unknown)[0].endswith("test speakers were trained on: this measures unknown voices.")
    assert trust_in_words(unknown)[0].startswith(f"0 of the {len(everyone)} ")
    nameless = {key: value for key, value in metrics.items() if not key.startswith("speakers")}
    assert "is not known" in trust_in_words(nameless)[0]
    many = {**nameless, "utterances_per_emotion": [90, 0, 300], "uar_interval": [[0.6, 0.66]]}
    size = "90 to 300 test utterances of each emotion; UAR 60.0 – 66.0 % (95 % interval)."
    assert trust_in_words(many)[1] == size

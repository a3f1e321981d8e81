"""A speaker's own recordings as the norm: enrolled recognisers, and how many recordings it takes."""

import copy
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dataloader.audio import condition, fit_length, read_audio
from dataloader.features.extract import Extractor
from dataloader.features.functionals import functionals_of
from dataloader.features.prosody import counted
from testing import enrolment, live
from testing.calibration import at_temperature, calibrate, load_calibration
from testing.enrolment import enrolment_table, measure_enrolment
from testing.evaluate import evaluate
from testing.load_run import load_run, predict
from testing.predict import Recognizer, find_files
from testing.predictions import SILENCE
from utils.errors import UserError
from utils.metrics import read_json
from utils.plots.results import plot_sizes
from utils.results import read_enrolment

RATE = 22_050
SPEAKERS, EMOTIONS, TAKES = "abcde", ("angry", "joy", "sad"), range(3)
BY_SPEAKER = {"prosody": True, "normalise": "speaker", "functionals": True, "normalise_level": True}


def sound(number: int, pitch: float, level: float = 0.3, samples: int = 4_000) -> np.ndarray:
    """A buzz with noise that swells and falls; other numbers have other noise and pitch."""
    rng, time = np.random.default_rng(number), np.arange(samples) / RATE
    phase = 2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time + np.sin(2 * np.pi * 5 * time)
    buzz = sum(np.sin(k * phase) / k for k in range(1, 6)) + 0.05 * rng.standard_normal(samples)
    return level / 3 * buzz * np.sin(np.pi * np.arange(samples) / samples) ** 2


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """SPEAKER/EMOTION/TAKE.wav: five voices, nine recordings each."""
    folder = tmp_path_factory.mktemp("voices") / "voices"
    for number, (speaker, emotion, take) in enumerate(product(SPEAKERS, EMOTIONS, TAKES)):
        path = folder / f"speaker_{speaker}/{emotion}/{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        # emotions are hard to tell apart, so that no probability is 0 or 1
        pitch = 90 + 25 * SPEAKERS.index(speaker) + 5 * EMOTIONS.index(emotion)
        soundfile.write(path, sound(number, pitch), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def trained_by_speaker(root, tmp_path_factory) -> Path:
    """A run that was tested on one speaker and validated on another, not to be changed (take `run`)."""
    from training.train import train
    from utils.config import Config

    folder = tmp_path_factory.mktemp("by_speaker")
    config = Config(
        data={"corpus": "folder", "root": root, "protocol": "leave_one_speaker_out", "cache_dir": folder},
        features={"signal_length": 4_096, "n_mfcc": 13, **BY_SPEAKER},
        train={"num_epochs": 3, "batch_size": 12, "results_dir": folder / "results", "device": "cpu"},
        model={"n_filter": 4, "hidden_scale": 0.25},
    )
    run_dir = train(config, progress=False)
    calibrate(run_dir, progress=False)
    return run_dir


@pytest.fixture
def run(trained_by_speaker, tmp_path) -> Path:
    return Path(shutil.copytree(trained_by_speaker, tmp_path / trained_by_speaker.name))


@pytest.fixture(scope="module")
def recognizer(trained_by_speaker) -> Recognizer:
    return Recognizer(trained_by_speaker)


@pytest.fixture(scope="module")
def stranger(trained_by_speaker, root) -> Path:
    """The folder of the test speaker."""
    (name,) = {name.split("/")[0] for name in load_run(trained_by_speaker).split.test}
    return root / name


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wav"))


def same(one: dict, other: dict, tolerance: float = 1e-4) -> bool:
    return one.keys() == other.keys() and all(abs(one[e] - other[e]) <= tolerance for e in one)


# --- recognisers ---


def test_answers_with_all_recordings_are_those_of_evaluation(run, stranger):
    evaluation = evaluate(run, progress=False)
    assert len(evaluation.utterances) == 9
    enrolled = Recognizer(run).enrol([stranger], prior=0)
    assert enrolled.enrolled == 9
    expected = at_temperature(np.log(evaluation.probabilities), load_calibration(run).temperature)
    assert np.median(expected.max(1)) < 0.99 and np.ptp(expected, axis=0).max() > 0.01
    for utterance, row in zip(evaluation.utterances, expected, strict=True):
        answer = enrolled.recognise_file(utterance.path).answer
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-4)
        assert answer.novelty is not None


def test_answers_are_those_of_the_formula(recognizer, stranger):
    """Features, deviations and network, step by step, for three recordings as the norm of a fourth."""
    features, extract = recognizer.features, Extractor(recognizer.features)
    *norm, judged = files_of(stranger)[:4]
    waves = [condition(read_audio(path, RATE), features) for path in (*norm, judged)]
    raw = torch.cat([extract(torch.from_numpy(fit_length(wave, 4_096))[None]) for wave in waves])
    masks, frames = counted(raw), torch.zeros_like(raw[3:])
    for row in range(raw.shape[1] - 2):
        own = raw[:3, row][masks[:3, row]]
        if len(own) > 1:
            scaled = (raw[3, row] - own.mean()) / (own.std(correction=0) + 1e-6)
            frames[0, row] = torch.where(masks[3, row], scaled, 0.0)
    frames[0, -2:] = raw[3, -2:] - 0.5
    functionals = functionals_of(raw)
    own = functionals[:3]
    further = (functionals[3:] - own.mean(0)) / (own.std(0, correction=0) + 1e-6)
    further = torch.where((own == own[0]).all(0), 0.0, further.clamp(-4, 4))
    logits = predict(recognizer.run.model, frames, further).numpy()
    expected = at_temperature(logits, recognizer.calibration.temperature)[0]
    found = recognizer.enrol(norm, prior=0).recognise_file(judged).answer.probabilities
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-4)
    plain = recognizer.enrol(norm[:1], prior=0).recognise_file(judged).answer.probabilities
    assert not same(plain, found, 1e-3)  # the norm matters


def test_neither_order_nor_kind_nor_gain_of_the_recordings_matters(recognizer, stranger, tmp_path):
    files, judged = files_of(stranger)[1:], files_of(stranger)[0]
    expected = recognizer.enrol(files).recognise_file(judged).answer.probabilities
    pairs = [soundfile.read(path, dtype="float32") for path in files]
    shutil.make_archive(str(tmp_path / "them"), "zip", stranger, ".")
    shutil.copytree(stranger, tmp_path / "them", ignore=lambda *_: ["0.wav"])
    mixed = [*pairs[:3], *files[:5:-1], *files[3:6], files[5]]  # one of them twice counts once
    for recordings in (files[::-1], pairs, [(0.1 * wave, rate) for wave, rate in pairs], mixed):
        found = recognizer.enrol(recordings)
        assert found.enrolled == 8
        assert same(found.recognise_file(judged).answer.probabilities, expected)
    zipped = recognizer.enrol(tmp_path / "them.zip")
    assert same(
        zipped.recognise_file(judged).answer.probabilities,
        recognizer.enrol([stranger]).recognise_file(judged).answer.probabilities,
    )
    fewer = recognizer.enrol(str(tmp_path / "them")).recognise_file(judged).answer.probabilities
    assert not same(fewer, expected, 1e-4)


def test_every_window_of_a_long_recording_has_the_speakers_norm(recognizer, stranger, tmp_path):
    pieces = [soundfile.read(path, dtype="float32")[0] for path in files_of(stranger)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(pieces), RATE, subtype="FLOAT")
    enrolled = recognizer.enrol([stranger])
    recognition = enrolled.recognise_file(tmp_path / "long.wav")
    window = np.concatenate(pieces)[:4_096]
    alone = enrolled(window, RATE)
    assert len(recognition.timeline) > 12 and same(recognition.timeline[0].probabilities, alone, 0.02)
    by_itself = recognizer.enrol([tmp_path / "long.wav"])  # all of its windows, each an utterance
    whole = np.concatenate([*pieces, np.zeros(30_000, np.float32)])
    silence_after = recognizer.enrol([(whole, RATE)])
    assert (by_itself.enrolled, by_itself.norm.count.max()) == (1, -(-9 * 4_000 // 4_096))
    assert silence_after.norm.count.max() in (by_itself.norm.count.max(), by_itself.norm.count.max() + 1)


def test_enrolling_leaves_a_recognizer_as_it_is(recognizer, root):
    one, other = (recognizer.enrol([root / f"speaker_{speaker}"]) for speaker in "ab")
    judged = files_of(root)[0]
    assert one.run.model is other.run.model
    assert not same(*(each.recognise_file(judged).answer.probabilities for each in (one, other)), 1e-3)
    with pytest.raises(UserError, match=r"recognizer\.enrol\(.*--same-speaker FOLDER"):
        recognizer.recognise_file(judged)
    with pytest.raises(UserError, match=r"--same-speaker FOLDER"):
        recognizer(np.zeros(RATE), RATE)  # in silence too
    assert one(np.zeros(RATE), RATE) == {}
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert same(*(each.recognise_file(judged).answer.probabilities for each in (one, twin)))


def test_threads_keep_their_speakers_apart(recognizer, root):
    judged = files_of(root)[0]

    def answer(speaker):
        return recognizer.enrol([root / f"speaker_{speaker}"]).recognise_file(judged).answer.probabilities

    expected = list(map(answer, SPEAKERS))
    with ThreadPoolExecutor(8) as threads:
        for speaker, found in zip(SPEAKERS * 3, threads.map(answer, SPEAKERS * 3), strict=True):
            assert same(found, expected[SPEAKERS.index(speaker)])


def test_recordings_that_cannot_be_used_are_named(recognizer, stranger, tmp_path, capsys):
    bad = tmp_path / "bad"
    bad.mkdir()
    soundfile.write(bad / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(bad / "long_silence.wav", np.zeros(20 * RATE), RATE)
    (bad / "text.wav").write_text("Lorem ipsum\n" * 100)
    pairs = [(np.full(RATE, np.nan), RATE), (sound(0, 100), 3)]
    few = files_of(stranger)[:2]
    enrolled = recognizer.enrol([bad, tmp_path / "gone.wav", *pairs, *few])
    assert enrolled.enrolled == 2
    printed = capsys.readouterr().err
    for part in ("silent.wav", "long_silence.wav", "text.wav", "gone.wav", "waveform 3", "waveform 4"):
        assert printed.count(f"{part} ") == 1, part
    expected = recognizer.enrol(few).recognise_file(few[0]).answer
    assert enrolled.recognise_file(few[0]).answer == expected
    for nothing in ([], (), [bad]):
        with pytest.raises(UserError, match="no recording is left"):
            recognizer.enrol(nothing)
    for wrong in ([sound(0, 100)], [None]):
        with pytest.raises(UserError, match=r"pairs \(waveform, sample_rate\)"):
            recognizer.enrol(wrong)
    one = (sound(0, 100), RATE)
    assert torch.equal(recognizer.enrol(one).norm.mean, recognizer.enrol([one]).norm.mean)
    for call in (enrolled.embed, enrolled.recognise_file):
        with pytest.raises(UserError, match=r"pair \(waveform, sample_rate\) is needed, not a ndarray"):
            call(one[0])


def test_a_prior_draws_a_norm_to_that_of_the_training(run, root, stranger, capsys):
    split = load_run(run).split
    population = load_calibration(run).population
    means = []
    for folder in {root / name.split("/")[0] for name in split.train}:
        means.append(Recognizer(run).enrol([folder], prior=0).norm.mean)
    torch.testing.assert_close(population.mean, torch.stack(means).mean(0), rtol=1e-3, atol=1e-3)
    plain, drawn = (Recognizer(run).enrol(files_of(stranger)[:3], prior) for prior in (0, 5))
    expected = (plain.norm.count * plain.norm.mean + 5 * population.mean) / (plain.norm.count + 5)
    torch.testing.assert_close(drawn.norm.mean, expected, rtol=1e-4, atol=1e-4)
    (run / "calibration.json").unlink()
    with pytest.raises(UserError, match=r"testing\.calibration"):
        Recognizer(run).enrol([stranger], prior=5)
    assert not capsys.readouterr().err
    uncertain = Recognizer(run).enrol(files_of(stranger)[:3])  # the default is for calibrated runs
    assert torch.equal(uncertain.norm.mean, plain.norm.mean)
    assert "warning" in (printed := capsys.readouterr().err) and "testing.calibration" in printed


def test_the_shipped_network_has_one_for_enrolled_speakers(
    run, stranger, tmp_path, monkeypatch, train_tiny, root
):
    plain = train_tiny({"corpus": "folder", "root": root})
    with pytest.raises(UserError, match=r"does not use a speaker's norm.*features\.normalise=speaker"):
        Recognizer(plain).enrol([stranger])
    monkeypatch.setattr("testing.predict.SHIPPED_RUN", plain)
    monkeypatch.setattr("testing.predict.ENROLLED_RUN", tmp_path / "not there")
    with pytest.raises(UserError, match=r"not there, is not there\. .*features\.normalise=speaker"):
        Recognizer(plain).enrol([stranger])
    monkeypatch.setattr("testing.predict.ENROLLED_RUN", run)
    enrolled = Recognizer(plain, ["train.device=cpu"], sure=0.9).enrol([stranger])
    judged = files_of(stranger)[0]
    expected = Recognizer(run).enrol([stranger]).recognise_file(judged).answer.probabilities
    assert enrolled.recognise_file(judged).answer.probabilities == expected and enrolled.sure == 0.9


# --- the command ---


def test_the_live_command_is_for_a_speaker_too(run, stranger, capsys):
    heard, *norm = map(str, files_of(stranger)[:3])
    with pytest.raises(SystemExit):
        live.main([str(run), heard])
    assert "Enrol the speaker first" in (printed := capsys.readouterr().err) and "s of speech" not in printed
    options = ["--window", "0.2", "--hop", "0.1", "--sure", "0"]
    options += [word for path in norm for word in ("--same-speaker", path)]
    live.main([str(run), heard, "train.device=cpu", *options])
    found = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    samples, rate = soundfile.read(heard)
    stream = Recognizer(run, sure=0).enrol(norm).stream(rate, window_seconds=0.2, hop_seconds=0.1)
    expected = [moment.probabilities for moment in (*stream.feed(samples), *stream.finish())]
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-4)


def test_the_command_takes_the_same_speakers_recordings(run, stranger, tmp_path, capsys, status):
    first, second, judged, *_ = files_of(stranger)
    assert status(run, judged) == 2
    assert "--same-speaker FOLDER" in capsys.readouterr().err
    assert status(run, "--same-speaker", stranger, judged) == 0
    printed = capsys.readouterr()
    said, answered = printed.out.splitlines()
    assert "9 recordings" in said and answered.startswith(f"{judged}: ") and "warning" not in printed.err
    expected = Recognizer(run).enrol([first, second]).recognise_file(judged).answer
    several = ["--same-speaker", first, "--same-speaker", second]
    for order in ([run, *several, judged], [*several, run, judged], [run, judged, *several]):
        assert status(*order, "--codes", "--json", "-") == 0
        printed = capsys.readouterr()
        (found,) = json.loads(printed.out)
        assert same(found["probabilities"], expected.probabilities) and "2 recordings" in printed.err
    assert status(run, judged, "--same-speaker", tmp_path / "gone") == 2
    assert "no recording is left" in capsys.readouterr().err
    assert status(run, judged, "--same-speaker", first, "--csv", first) == 2
    assert "would be overwritten" in capsys.readouterr().err
    (outcome,) = find_files([judged])
    assert outcome == judged and expected.label != SILENCE


# --- how many recordings it takes ---


def test_uar_over_recordings_is_that_of_enrolled_recognizers(run, stranger, monkeypatch):
    """The draw of three is repeated with a Recognizer; with all others, recording by recording."""
    chosen = []
    norm = enrolment.Strangers.norm
    monkeypatch.setattr(
        enrolment.Strangers, "norm", lambda self, rows: chosen.append(rows.tolist()) or norm(self, rows)
    )
    monkeypatch.setattr(enrolment, "DRAWS", 1)
    result = measure_enrolment(run, progress=False)
    assert read_json(run / "enrolment.json") == result
    rows = {row["recordings"]: row for row in result["rows"]}
    assert [*rows] == [0, 1, 3, 8] and [row["all_others"] for row in rows.values()] == [0, 0, 0, 1]
    assert [row["utterances"] for row in rows.values()] == [9, 8, 6, 9]
    names = load_run(run).split.test
    paths = [stranger.parent / f"{name}.wav" for name in names]
    paths = [
        path if path.exists() else stranger.parent / name for path, name in zip(paths, names, strict=True)
    ]
    recognizer = Recognizer(run)

    def right(enrolled_rows, judged_rows):
        enrolled = recognizer.enrol([paths[row] for row in enrolled_rows])
        found = [
            (paths[row].parent.name, enrolled.recognise_file(paths[row]).answer.emotion)
            for row in judged_rows
        ]
        return found

    def uar(answers):
        codes = {"angry": "rab", "joy": "gio", "sad": "tri"}
        recalls = [
            np.mean([codes[emotion] == answer for emotion, answer in answers if emotion == each])
            for each in {emotion for emotion, _ in answers}
        ]
        return float(np.mean(recalls))

    (three,) = (one for one in chosen if len(one) == 3)
    answers = right(three, [row for row in range(9) if row not in three])
    assert rows[3]["uar"] == pytest.approx(uar(answers)) == rows[3]["speakers"][stranger.name]
    each = [right([row for row in range(9) if row != one], [one])[0] for one in range(9)]
    assert rows[8]["uar"] == pytest.approx(uar(each)) and rows[8]["uar_std"] is None
    assert sorted(chosen[-9:]) == sorted([row for row in range(9) if row != one] for one in range(9))


def test_draws_are_fixed_and_differ(run):
    first, again = (measure_enrolment(run, progress=False) for _ in range(2))
    assert first == again
    assert any(row["uar_std"] for row in first["rows"])
    text = str(enrolment_table(first, "it"))
    assert "too few recordings to take 10, 30" in text and "all others (8)" in text


def test_a_strangers_norm_is_of_no_training_recording(run, root, tmp_path, monkeypatch):
    """With the sound of all training speakers replaced, only the norm without any recording changes."""
    monkeypatch.setattr(enrolment, "PRIOR", 0)
    before = measure_enrolment(run, progress=False)
    arrays = enrolment.recorded_test_set

    def others(*arguments):
        data = arrays(*arguments)
        rows = data.rows("train")
        frames = data.features.frames.clone()
        frames[rows] = frames[rows][:, :, torch.randperm(frames.shape[2])] * 3 + 10
        features = copy.copy(data.features)
        object.__setattr__(features, "frames", frames)
        changed = copy.copy(data)
        object.__setattr__(changed, "features", features)
        return changed

    monkeypatch.setattr(enrolment, "recorded_test_set", others)
    after = measure_enrolment(run, progress=False)
    assert before["rows"][1:] == after["rows"][1:]
    monkeypatch.setattr(enrolment, "PRIOR", 50)
    assert measure_enrolment(run, progress=False)["rows"][1:] != after["rows"][1:]


def test_the_command_writes_beside_the_run(run, capsys):
    enrolment.main([str(run), "train.batch_size=5"])
    assert "Written: " in capsys.readouterr().out and (run / "enrolment.json").exists()


def test_runs_without_norms_or_without_strangers_are_refused(train_tiny, root):
    plain = train_tiny({"corpus": "folder", "root": root})
    with pytest.raises(UserError, match=r"nobody can be enrolled"):
        measure_enrolment(plain, progress=False)
    known = train_tiny({"corpus": "folder", "root": root}, features=BY_SPEAKER)
    with pytest.raises(UserError, match=r"was trained on .*speaker_a.*data\.protocol=speaker_kfold"):
        measure_enrolment(known, progress=False)


def test_files_of_several_folds_make_one_curve_of_all_speakers(run, tmp_path):
    content = measure_enrolment(run, progress=False)
    own = [list(row["speakers"].values()) for row in content["rows"]]
    for row in content["rows"]:
        row["speakers"] = {"another": 0.5}
    (tmp_path / "other.json").write_text(
        json.dumps({key: content[key] for key in content if key != "checksum"})
    )
    found = read_enrolment(run / "enrolment.json", tmp_path / "other.json")
    assert list(found) == ["0", "1", "3", "all others"]
    for expected, corpora in zip(own, found.values(), strict=True):
        ((name, uars),) = corpora.items()
        assert name.endswith(" (2 speakers)") and sorted(uars) == pytest.approx(sorted([*expected, 0.5]))
    line = plot_sizes(found, "title", "recordings").axes[0].get_lines()[0]
    means = [50 * (mean + 0.5) for (mean,) in own]
    np.testing.assert_allclose(line.get_ydata().astype(float), means)
    (tmp_path / "bad.json").write_text("{}")
    for name in ("bad.json", "gone.json"):
        with pytest.raises(UserError, match=name):
            read_enrolment(tmp_path / name)

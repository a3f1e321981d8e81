"""Recognition in anyone's recording: as evaluation does it, whatever the file, with an answer for each."""

import csv
import io
import json
import os
import shutil
import threading
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dataloader.audio import AudioError, fit_length
from dataloader.corpora.find import read_corpus
from dataloader.features.extract import Extractor, load_features
from dataloader.loaders import feature_statistics
from dataloader.splits import SUBSETS, load_split
from models.cktim import build_model
from testing.calibration import at_temperature, calibrate, load_calibration
from testing.evaluate import evaluate
from testing.load_run import predict
from testing.predict import SURE, Recognizer, figures, find_files, recognise_files
from testing.predictions import SILENCE, UNSURE, Answer, Failure, Recognition
from training.train import save_model
from utils.config import Config, save_config
from utils.emotions import EMOTIONS, ENGLISH
from utils.runs import ENROLLED_RUN, SHIPPED_RUN

RATE = 22_050


def write_run(folder: Path, **features) -> Path:
    """The directory of a network that was not trained, with EMOVO's usual features and distinct answers."""
    model = {"n_filter": 8, "hidden_scale": 0.25}
    config = Config(train={"device": "cpu"}, model=model, features=features)
    run_dir = folder / "CkTIM_TAB1_seed0"
    run_dir.mkdir(parents=True)
    torch.manual_seed(0)
    net = build_model(config.model, len(EMOTIONS), config.features.num_features).eval()
    sounds = (voice(1 + seed / 4, level=0.05 * 1.3**seed, seed=seed) for seed in range(10))
    fitted = [torch.from_numpy(fit_length(sound, 96_000))[None] for sound in sounds]
    x = torch.cat(list(map(Extractor(config.features), fitted)))
    net.standardise(*feature_statistics(x, range(len(x))))
    with torch.no_grad():  # its scores vary from sound to sound, and saturate no probability
        scores = net(x)
        spread = scores.std(0)[:, None]
        net.classifier.weight.div_(spread)
        net.classifier.bias.copy_((net.classifier.bias - scores.mean(0)) / spread[:, 0])
        assert net(x).softmax(1).amax(1).median() < 0.9
    save_config(config, run_dir / "parameters.txt")
    save_model(net, run_dir / "model.pt")
    return run_dir


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def recognizer(plain_run) -> Recognizer:
    return Recognizer(plain_run)


def voice(seconds: float, rate: int = RATE, level: float = 0.3, seed: int = 0) -> np.ndarray:
    """Syllables of a buzzing tone that glides, below 2 kHz: the same at every sample rate from 8 kHz on."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = np.random.default_rng(seed).uniform(100, 200)
    phase = 2 * np.pi * (pitch * time - 10 * np.cos(2 * np.pi * 0.6 * time))
    buzz = sum(np.sin(k * phase) / k for k in range(1, 7))
    return (level * buzz / 2 * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def same(one: dict, other: dict, tolerance: float = 1e-5) -> bool:
    return one.keys() == other.keys() and all(abs(one[e] - other[e]) <= tolerance for e in one)


# --- as evaluation does it ---


@pytest.mark.parametrize("calibrated", [False, True])
def test_answers_are_those_of_evaluation(run_dir, calibrated):
    evaluation = evaluate(run_dir, progress=False)
    temperature = calibrate(run_dir, progress=False).calibration.temperature if calibrated else 1.0
    recognizer = Recognizer(run_dir)
    expected = at_temperature(np.log(evaluation.probabilities), temperature)
    answers = [recognizer.recognise_file(utterance.path).answer for utterance in evaluation.utterances]
    found = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [answer.emotion for answer in answers] == [EMOTIONS[index] for index in evaluation.predictions]
    assert all((answer.novelty is not None) == calibrated for answer in answers)


def test_training_and_recognition_condition_alike(tmp_path, plain_run):
    """With the switches of the run, silence around the speech and its level change no answer."""
    switched = Recognizer(write_run(tmp_path, trim_silence=True, normalise_level=True))
    speech = voice(2)
    faint = np.concatenate([np.zeros(10 * 512), 0.1 * speech, np.zeros(20 * 512)]).astype(np.float32)
    assert same(switched(speech, RATE), switched(faint, RATE), 0.02)
    plain = Recognizer(plain_run)
    assert not same(plain(speech, RATE), plain(faint, RATE), 0.02)


def test_prosody_is_that_of_a_corpus(tiny_emovo, tmp_path):
    recognizer = Recognizer(write_run(tmp_path, prosody=True))
    corpus = read_corpus("emovo", tiny_emovo)
    chosen = tuple(next(u for u in corpus.utterances if u.emotion == emotion) for emotion in EMOTIONS)
    features = load_features(replace(corpus, utterances=chosen), recognizer.features, tmp_path, False)
    expected = predict(recognizer.run.model, features.frames).softmax(1).numpy()
    for utterance, row in zip(chosen, expected, strict=True):
        found = recognizer.recognise_file(utterance.path).answer.probabilities
        np.testing.assert_allclose(list(found.values()), row, atol=1e-5)


# --- any file (formats: test_audio) ---


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_sample_rates_and_channels(recognizer, tmp_path, rate, channels):
    sound = np.repeat(voice(3, rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / "x.wav", sound, rate, subtype="FLOAT")
    answer = recognizer.recognise_file(tmp_path / "x.wav").answer
    assert answer.end == pytest.approx(3, abs=1e-3) and list(answer.probabilities) == list(EMOTIONS)
    assert same(answer.probabilities, recognizer(sound, rate))
    assert same(answer.probabilities, recognizer(sound[:, 0], rate), 1e-4)


@pytest.mark.parametrize("seconds", [0.05, 0.2, 3.0, 4.4, 10])
def test_recordings_of_any_length_get_an_answer(recognizer, seconds):
    recognition = recognizer.recognise(voice(seconds), RATE)
    assert sum(recognition.answer.probabilities.values()) == pytest.approx(1)
    assert bool(recognition.timeline) == (seconds > 96_000 / RATE)
    if seconds == 10:  # longer than the window: the answer is that of the middle, as in training
        assert len(recognition.timeline) == 4
        middle = voice(10)[(10 * RATE - 96_000) // 2 :][:96_000]
        alone = recognizer(middle, RATE)  # without its own mean, not the whole's
        assert recognition.answer.probabilities == pytest.approx(alone, abs=0.01)


def test_ten_minutes_have_a_timeline(recognizer, tmp_path):
    """Six channels, with silence in the fifth minute."""
    sound = np.concatenate([voice(240, 8_000), np.zeros(60 * 8_000, np.float32), voice(300, 8_000, seed=1)])
    soundfile.write(tmp_path / "x.flac", np.repeat(sound[:, None], 6, axis=1), 8_000)
    recognition = recognizer.recognise_file(tmp_path / "x.flac")
    timeline = recognition.timeline
    assert len(timeline) == 1 + -(-(600 * RATE - 96_000) // 48_000)
    assert timeline[0].start == 0 and timeline[-1].end == recognition.answer.end == 600
    assert all(one.end == other.start for one, other in pairwise(timeline))
    silent = [part for part in timeline if part.label == SILENCE]
    assert 240 < silent[0].start < 245 and 295 < silent[-1].end < 300
    assert all(part.start > 240 and part.end < 300 for part in silent)
    voiced = [part.probabilities for part in timeline if part.probabilities]
    mean = {emotion: np.mean([one[emotion] for one in voiced]) for emotion in EMOTIONS}
    assert same(recognition.answer.probabilities, mean, 1e-9)

    in_memory = recognizer.recognise(sound, 8_000)
    assert len(in_memory.timeline) == len(timeline)
    for one, other in zip(in_memory.timeline, timeline, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        assert same(one.probabilities, other.probabilities, 0.02)


# --- silence and noise ---


LITTLE_NOISE = 1e-4 * np.random.default_rng(0).standard_normal(20 * RATE)
SILENT = [
    *(np.zeros(2 * RATE), np.full(2 * RATE, 0.4), np.zeros((2 * RATE, 2)), np.zeros(2 * RATE, np.int16)),
    *(LITTLE_NOISE[: 2 * RATE], 0.5 + LITTLE_NOISE),
]


@pytest.mark.parametrize("sound", SILENT)
def test_silence_is_called_silence(recognizer, sound, tmp_path):
    assert recognizer(sound, RATE) == {}
    soundfile.write(tmp_path / "x.wav", sound, RATE)
    answer = recognizer.recognise_file(tmp_path / "x.wav").answer
    assert (answer.label, answer.emotion, answer.novelty) == (SILENCE, None, None)
    assert answer.end == len(sound) / RATE


def test_arrays_that_are_no_sound_are_refused(recognizer):
    for sound, rate, message in (
        *((voice(0.04), RATE, "too short"), (0.5, RATE, "too short"), (voice(1), 0, "sample rate")),
        *((np.full(RATE, np.nan), RATE, "not finite"), (voice(1)[None], RATE, "transpose")),
    ):
        with pytest.raises(AudioError, match=message):
            recognizer(sound, rate)


# --- how sure it is ---


def test_it_is_a_plain_call(recognizer):
    answer = recognizer(voice(3), RATE)
    assert type(answer) is dict and all(type(value) is float for value in answer.values())
    for clipped in (np.clip(20 * voice(3), -1, 1), 20 * voice(3)):  # floats beyond full scale, too
        assert recognizer(clipped, RATE).keys() == set(EMOTIONS)


def test_below_the_threshold_the_answer_is_unsure(plain_run):
    probabilities = Recognizer(plain_run)(voice(3), RATE)
    highest = max(probabilities.values())
    first = max(probabilities, key=probabilities.get)
    for sure, label in ((highest - 0.01, first), (highest + 0.01, UNSURE)):
        answer = Recognizer(plain_run, sure=sure).recognise(voice(3), RATE).answer
        assert answer.label == label and answer.emotion == first
    assert SURE == 0.5


def test_novelty_is_shown_once_the_run_is_calibrated(run_dir, tiny_emovo):
    calibrate(run_dir, progress=False)
    recognizer = Recognizer(run_dir)
    own = [recognizer.recognise_file(path).answer for path in sorted(tiny_emovo.rglob("*.wav"))]
    assert np.mean([answer.unlike for answer in own]) < 0.3
    tone = 0.3 * np.sin(np.arange(4_000) / 3)
    assert recognizer.recognise(tone, RATE).answer.unlike


# --- folders, and the command ---


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two good recordings, one that is silent, and all kinds of bad ones, in folders."""
    root = tmp_path / "recordings"
    (root / "deep/er").mkdir(parents=True)
    (root / "nothing").mkdir()
    soundfile.write(root / "good.wav", voice(2), RATE)
    soundfile.write(root / "deep/er/long.FLAC", voice(30), RATE, format="FLAC")
    soundfile.write(root / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    (root / "empty.wav").write_bytes(b"")
    (root / "text.wav").write_text("Lorem ipsum\n" * 100)
    (root / "notes.txt").write_text("not looked at")
    (root / "._good.wav").write_bytes(b"macOS leaves such files on foreign disks")
    return root


def test_in_a_folder_the_others_get_their_answers(recognizer, folder):
    outcomes = {Path(outcome.name).name: outcome for outcome in recognise_files(recognizer, [folder], False)}
    assert sorted(outcomes) == ["empty.wav", "good.wav", "long.FLAC", "nan.wav", "silent.wav", "text.wav"]
    assert all(isinstance(outcomes[name], Recognition) for name in ("good.wav", "long.FLAC", "silent.wav"))
    assert outcomes["silent.wav"].answer.label == SILENCE and outcomes["long.FLAC"].timeline
    reasons = {"empty.wav": "not audio", "nan.wav": "not finite", "text.wav": "not audio"}
    for name, reason in reasons.items():
        assert isinstance(outcomes[name], Failure)
        assert name in outcomes[name].reason and reason in outcomes[name].reason


def test_folders_without_sound_and_missing_files_are_named(recognizer, folder):
    paths = [folder / "nothing", folder / "gone.wav", folder / "good.wav"]
    assert isinstance(next(find_files(paths)), Failure)
    empty, gone, good = recognise_files(recognizer, paths, progress=False)
    assert "holds no sound file" in empty.reason and ".flac" in empty.reason
    assert "gone.wav cannot be read" in gone.reason
    assert isinstance(good, Recognition)


@pytest.fixture
def messy(tmp_path) -> Path:
    """One good recording beside all that may lie in a folder of a user's."""
    root = tmp_path / "messy"
    (root / "x.wav").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    soundfile.write(root / "good.wav", voice(2), RATE)
    soundfile.write(root / "phone.sph", voice(2), RATE, format="NIST")
    soundfile.write(tmp_path / "else/linked.ogg", voice(2), RATE)
    (root / "link").symlink_to(tmp_path / "else")
    (root / "broken.m4a").symlink_to("gone.m4a")
    (root / "samples.raw").write_bytes(np.int16(voice(2) * 2**15).tobytes())
    shutil.copy(root / "good.wav", os.fsdecode(os.fsencode(root) + b"/caf\xe9.wav"))
    shutil.copy(root / "good.wav", root / "noname")
    os.mkfifo(root / "pipe.wav")
    (root / "notes.txt").write_text("notes")
    (root / "face.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    return root


@pytest.mark.skipif(os.name == "nt", reason="no pipes and bytes in names there")
def test_every_file_of_a_messy_folder_has_an_answer_or_a_reason(plain_run, messy, tmp_path, capsys, status):
    files = tmp_path / "answers.csv", tmp_path / "answers.json"
    options = ["--csv", files[0], "--json", files[1], "--plots", tmp_path / "plots"]
    assert status(plain_run, messy, *options) == 1
    printed = capsys.readouterr()
    assert "1 other file with neither sound nor text, left out: face.jpg" in printed.err
    assert "notes.txt" not in printed.err
    answered = {"good.wav", "phone.sph", "linked.ogg", r"caf\udce9.wav", "noname"}
    reasons = {"broken.m4a": "not there", "pipe.wav": "a named pipe", "samples.raw": "samples.raw"}
    reasons["x.wav"] = "a folder, and holds no recording"
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"))))
    assert {row["file"].rpartition("/")[2]: bool(row["label"]) for row in rows} == {
        **dict.fromkeys(answered, True),
        **dict.fromkeys(reasons, False),
    }
    for row in rows:
        assert reasons.get(row["file"].rpartition("/")[2], "") in row["error"]
    assert len(json.loads(files[1].read_text(encoding="utf-8"))) == len(rows)
    assert len(list((tmp_path / "plots").iterdir())) == len(answered)
    assert printed.out.startswith("9 files: ") and "4 no answer" in printed.out
    for name in reasons:
        assert printed.err.count(f"/{name} ") == 1


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
def test_one_bad_name_does_not_stop_the_others(recognizer, folder, monkeypatch):
    monkeypatch.setattr("testing.pipes.NO_WRITER", 0.05)
    os.mkfifo(folder / "alone")
    names = ["n" * 300 + ".wav", "nul\0.wav", str(folder / "alone"), "/dev/zero", str(folder / "good.wav")]
    *failures, good = recognise_files(recognizer, names, progress=False)
    assert isinstance(good, Recognition) and all(isinstance(one, Failure) for one in failures)
    reasons = "File name too long", "null", "nobody writes", "is a device"
    for failure, name, reason in zip(failures, names, reasons, strict=False):
        assert failure.reason.startswith(name) and reason in failure.reason


def test_an_error_that_nobody_foresaw_costs_one_file(recognizer, folder, monkeypatch):
    recognise_file = recognizer.recognise_file

    def recognise(path, **options):
        if path.name == "good.wav":
            raise IndexError("out of range")
        return recognise_file(path, **options)

    monkeypatch.setattr(recognizer, "recognise_file", recognise)
    paths = [folder / "good.wav", folder / "silent.wav"]
    bad, silent = recognise_files(recognizer, paths, progress=False)
    assert bad.reason == f"{paths[0]} cannot be recognised (IndexError: out of range)"
    assert silent.answer.label == SILENCE


def test_a_zip_of_recordings_is_answered_as_its_folder(plain_run, folder, tmp_path, capsys, status):
    shutil.make_archive(str(tmp_path / "it"), "zip", folder)
    assert status(plain_run, folder, "--json", "-") == 1
    ours = json.loads(capsys.readouterr().out)
    assert status(plain_run, tmp_path / "it.zip", "--json", "-") == 1
    theirs = json.loads(capsys.readouterr().out)
    names = [sorted((Path(one["file"]).name, one.get("label")) for one in found) for found in (ours, theirs)]
    assert names[0] == names[1] and len(theirs) == 6
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    assert status(plain_run, tmp_path / "bad.zip", folder / "good.wav") == 1
    assert "bad.zip cannot be read (" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="no /dev/fd there")
def test_a_pipe_is_answered_as_its_file(recognizer, folder):
    reader, writer = os.pipe()
    content = (folder / "good.wav").read_bytes()
    thread = threading.Thread(target=lambda: (os.write(writer, content), os.close(writer)))
    thread.start()
    piped = recognizer.recognise_file(f"/dev/fd/{reader}")  # as <(…) names it
    thread.join()
    os.close(reader)
    assert piped.name == f"/dev/fd/{reader}"
    assert piped.answer == recognizer.recognise_file(folder / "good.wav").answer


def test_standard_input_is_called_so(recognizer, folder, monkeypatch):
    monkeypatch.setattr("testing.predict.once_read", lambda path: nullcontext(folder / "good.wav"))
    (outcome,) = recognise_files(recognizer, ["-"], progress=False)
    assert outcome.name == "standard input" and isinstance(outcome, Recognition)


def test_one_file_is_answered_in_a_line(plain_run, folder, capsys, status):
    assert status(plain_run, folder / "good.wav") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{folder / 'good.wav'}: ") and len(printed.out.splitlines()) == 1
    assert printed.err == ""
    assert status(plain_run, folder / "deep/er/long.FLAC") == 0
    assert "over time" in capsys.readouterr().out
    assert status(folder / "good.wav", "train.device=cpu") == 0  # the shipped network answers
    assert capsys.readouterr().out.startswith(f"{folder / 'good.wav'}: ")


def test_no_other_network_answers_for_the_folder_of_a_trial(plain_run, folder, tmp_path, capsys, status):
    shutil.copytree(plain_run, tmp_path / "trial/run")
    assert status(tmp_path / "trial", folder) != 0
    out, err = capsys.readouterr()
    assert "is not a run directory" in err and not out


def test_a_folder_is_summarised_and_its_failures_are_an_exit_status(
    plain_run, folder, tmp_path, capsys, status
):
    files = tmp_path / "answers.csv", tmp_path / "answers.json", tmp_path / "plots"
    options = ["--csv", files[0], "--json", files[1], "--plots", files[2]]
    assert status(plain_run, folder, "train.device=cpu", *options) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("6 files: ") and "3 no answer" in printed.out
    assert printed.err.count("warning: ") == 3
    rows = list(csv.DictReader(io.StringIO(files[0].read_text())))
    assert [row["part"] for row in rows].count("whole") == 3
    assert [bool(row["error"]) for row in rows].count(True) == 3
    assert len(json.loads(files[1].read_text())) == 6
    plots = sorted(path.name for path in files[2].iterdir())
    assert len(plots) == 3 and plots[0].endswith("recordings_deep_er_long.FLAC.png")
    assert status(plain_run, folder / "good.wav", "--json", "-") == 0  # nothing else on standard output
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["probabilities"].keys() == {ENGLISH[emotion] for emotion in EMOTIONS}
    assert status(plain_run, folder / "good.wav", "--json", "-", "--codes") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["probabilities"].keys() == set(EMOTIONS)


def test_when_nothing_can_be_tried_the_status_is_another(plain_run, folder, tmp_path, capsys, status):
    assert status(tmp_path / "no run", folder / "good.wav") == 2
    assert status(plain_run) == 2
    assert status(plain_run, "train.device=cpu") == 2
    assert status(plain_run, folder / "good.wav", "--csv", tmp_path / "no folder/x.csv") == 2
    (tmp_path / "file").write_text("")
    assert status(plain_run, folder / "good.wav", "--plots", tmp_path / "file") == 2
    assert capsys.readouterr().err.count("error: ") == 5


def test_a_recording_is_no_output_however_it_is_named(plain_run, folder, tmp_path, capsys, status):
    sound = folder / "good.wav"
    before, link = sound.read_bytes(), tmp_path / "link.csv"
    link.symlink_to(sound)
    for output in (sound, folder / "deep/../good.wav", link, plain_run / "model.pt"):
        for recording in (sound, folder):
            assert status(plain_run, recording, "--csv", output) == 2
            assert "would be overwritten" in capsys.readouterr().err
    assert status(plain_run, sound, "--csv", tmp_path / "x", "--json", tmp_path / "x") == 2
    assert sound.read_bytes() == before and not (tmp_path / "x").exists()


def test_an_output_that_fails_costs_no_other(plain_run, folder, tmp_path, capsys, status):
    outputs = ["--csv", tmp_path / "none/a.csv", "--json", tmp_path / "a.json", "--plots", tmp_path / "plots"]
    assert status(plain_run, folder / "good.wav", *outputs) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{folder / 'good.wav'}: ")
    for beginning in ("warning", "error"):  # before the work, and after it
        assert f"{beginning}: cannot write {tmp_path / 'none/a.csv'}" in printed.err
    assert (
        len(json.loads((tmp_path / "a.json").read_text())) == 1
        and len(list((tmp_path / "plots").iterdir())) == 1
    )
    assert status(plain_run, folder / "good.wav", "--csv", "") == 2
    assert status(plain_run, folder / "good.wav", "--sure", "nan") == 2


def test_no_two_figures_share_a_name(tmp_path):
    answer = Answer(0.0, 1.0, "gio", dict.fromkeys(EMOTIONS, 1 / 7), None)
    paths = ("a/b.wav", "a_b.wav", "A/b.wav", "../a/b.wav", f"{'long' * 60}.wav", f"{'long' * 61}.wav")
    for write in figures([Recognition(path, answer) for path in paths], EMOTIONS, tmp_path):
        write()
    found = sorted(path.name.casefold() for path in tmp_path.iterdir())
    assert len(set(found)) == len(paths) and found[:4] == [
        *("a_b.wav.png", "a_b.wav_2.png", "a_b.wav_3.png", "a_b.wav_4.png")
    ]


@pytest.mark.parametrize("run_dir", [SHIPPED_RUN, ENROLLED_RUN], ids=lambda path: path.name)
def test_no_speaker_of_a_shipped_network_is_in_two_subsets(run_dir):
    def speaker(name: str) -> str:  # CREMA-D/1001_DFA_ANG_XX, EMOVO/dis-f1-b1, nEMO/AO0_anger_1, RAVDESS/…-01
        corpus, name = name.split("/", 1)
        part = {"CREMA-D": name[:4], "EMOVO": name.split("-")[1:2], "RAVDESS": name[-2:]}
        return f"{corpus}/{part.get(corpus, name.rpartition('/')[2].split('_')[0])}"

    split = load_split(run_dir / "split.json")
    train, validation, test = (set(map(speaker, getattr(split, subset))) for subset in SUBSETS)
    assert (len(train), len(validation), len(test)) == (103, 14, 13)
    assert not (train & validation or train & test or validation & test)
    assert {name.split("/")[0] for name in test} == {"CREMA-D", "EMOVO", "RAVDESS", "nEMO"}
    size = sum(path.stat().st_size for path in run_dir.iterdir())
    assert size < 6e6 and load_calibration(run_dir).temperature != 1

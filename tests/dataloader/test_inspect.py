"""A look at a corpus of one's own with all that goes wrong in such, and the way from it to an answer."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

import dataloader.identity
from dataloader.advice import length_advice, shared_voices, unusual
from dataloader.audio import clipped_samples
from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import Utterance
from dataloader.identity import identified, identified_corpus
from dataloader.inspect import inspect, main
from dataloader.loaders import prepare_data
from dataloader.splits import draw_split
from testing.evaluate import evaluate
from testing.predict import Recognizer, recognise_files
from testing.predictions import Failure
from training.train import train
from utils.config import Config
from utils.errors import UserError

COUNTS = {"anger": 31, "joy": 14, "sadness": 5, "Verachtung": 2}
SPEAKERS = "anna maria", "Jörg", "speaker_3"
FORMATS = (  # suffix, Hz, channels
    *((".wav", 44_100, 2), (".wav", 8_000, 1), (".flac", 48_000, 1)),
    *((".mp3", 22_050, 1), (".ogg", 16_000, 2), (".m4a", 44_100, 1)),
)


def voice(number: int, seconds: float, rate: int) -> np.ndarray:
    """(samples,) noise in bands that move, in syllables: no two numbers are alike."""
    rng = np.random.default_rng(number)
    size = int(seconds * 16_000)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequencies = np.fft.rfftfreq(size, 1 / 16_000)
    wave = np.zeros(size)
    for centre in rng.uniform(300, 3_000, 4):
        band = np.fft.irfft(spectrum * np.exp(-(((frequencies - centre) / 150) ** 2)), size)
        points = np.clip(rng.standard_normal(max(int(6 * seconds), 4)), 0, None)
        wave += band * np.interp(np.linspace(0, len(points) - 1, size), range(len(points)), points)
    return soxr.resample(0.3 * wave / np.abs(wave).max(), 16_000, rate, quality="HQ")


def write(path: Path, wave: np.ndarray, rate: int, channels: int = 1) -> Path:
    """Of the format that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".m4a":
        soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)
        return path
    with av.open(path, "w") as container:
        track = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = rate
        container.mux([*track.encode(frame), *track.encode(None)])
    return path


@pytest.fixture(scope="session")
def messy(tmp_path_factory) -> Path:
    """SPEAKER/EMOTION/*, not to be changed."""
    root = tmp_path_factory.mktemp("messy") / "meine Aufnahmen"
    number = 0
    for emotion, count in COUNTS.items():
        for index in range(count):
            suffix, rate, channels = FORMATS[number % len(FORMATS)]
            wave = voice(number, 1 + 0.1 * (number % 9), rate)
            number += 1
            path = root / SPEAKERS[index % 3] / emotion / f"Äußerung {index}{suffix}"
            write(path, wave, rate, channels)
    anger = root / SPEAKERS[0] / "anger"
    write(root / SPEAKERS[1] / "anger/long.flac", voice(900, 40, 16_000), 16_000)
    write(anger / "clipped.wav", np.clip(20 * voice(901, 1.5, 16_000), -1, 1), 16_000)
    one_ear = np.stack([voice(902, 1.5, 16_000), np.zeros(24_000)], axis=1)
    soundfile.write(anger / "one ear.wav", one_ear, 16_000)
    shutil.copy(anger / "Äußerung 0.wav", root / SPEAKERS[2] / "anger/again.wav")
    source, rate = soundfile.read(root / SPEAKERS[1] / "anger/Äußerung 1.wav")
    write(root / SPEAKERS[2] / "joy/other label.m4a", source, rate)
    write(root / SPEAKERS[0] / "joy/silent.wav", np.zeros(16_000), 16_000)
    write(root / SPEAKERS[0] / "joy/one sample.wav", np.ones(1) / 2, 16_000)
    for name, content in {
        "text.wav": b"recorded on Monday\n",
        "nothing.wav": b"",
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    }.items():
        (root / SPEAKERS[0] / "joy" / name).write_bytes(content)
    return root


def config_of(root: Path, tmp_path: Path, **data: object) -> Config:
    return Config(data={"corpus": "folder", "root": root, "cache_dir": tmp_path / "cache", **data})


def made_of(**counts: dict[str, int]) -> list[Utterance]:
    """speaker={emotion: number of utterances}"""
    return [
        Utterance(Path("x"), emotion, speaker, "s", f"{speaker}{emotion}{number}")
        for speaker, emotions in counts.items()
        for emotion, most in emotions.items()
        for number in range(most)
    ]


ENGLISH_OF = {"rab": "anger", "gio": "joy", "neu": "neutral"}


def said(utterances: list[Utterance], **train: str) -> list[str]:
    return unusual(Config(train=train), utterances, ENGLISH_OF)


def test_each_oddity_of_a_messy_corpus_is_named_once(messy, tmp_path, capsys):
    main(["data.corpus=folder", f"data.root={messy}", f"data.cache_dir={tmp_path}", f"--output={tmp_path}/o"])
    printed = "\n".join(capsys.readouterr())
    lines = [line for line in printed.splitlines() if not line.startswith("Written")]
    for name, reason in {
        "silent.wav": "is silent",
        "one sample.wav": "is too short: 1 samples",
        "text.wav": "it is text",
        "nothing.wav": "the file is empty",
        "pointer.wav": "Git LFS pointer",
        "again": "1 recording of folder-meine Aufnahmen copied, in one subset",
        "other label": "copied under another emotion, both left out",
        "clipped": "1 recording clipped",
        "one ear.wav": "channel 2 of 2 has no sound",
        "anger/long": "longer than 13 s, of which the middle 4.4 s count",
        "Verachtung": "are too few to train",
    }.items():
        assert len([line for line in lines if name in line and reason in line]) == 1, name
    assert "5 of 62 recordings of folder-meine Aufnahmen cannot be used" in printed
    assert "sample rates differ, 8000 Hz (10), 16000 Hz (11)" in printed and "f_max=3500" in printed
    assert "Verachtung has 2 utterances, anger 34: train.balance=class" in printed
    assert "mp3, 22.05 kHz, mono (9)" in printed
    assert (tmp_path / "o/corpus.png").stat().st_size > 10_000
    content = json.loads((tmp_path / "o/corpus.json").read_text())
    assert len(content["recordings"]) == 57 and len(content["warnings"]) == 6
    assert sum(content["counts"]["joy"].values()) == 15


def test_measures_are_those_of_the_sound(tmp_path):
    rate, wave = 16_000, np.zeros(32_000)
    wave[8_000:24_000] = voice(1, 1, rate) + 0.02
    wave[12_000:12_020] = 1.0
    path = write(tmp_path / "joy/a.wav", wave, rate, 2)
    (one,) = identified(read_corpus("folder", tmp_path).utterances, tmp_path / "index", progress=False)
    found = one.measures
    assert (found.seconds, found.rate, found.channels, found.coding) == (2.0, rate, 2, "wav pcm_16")
    stored = soundfile.read(path)[0][:, 0]
    assert found.level == pytest.approx(20 * np.log10(stored.std()), abs=0.01)
    assert found.clipped == 18  # of 20 equal ones, those between two
    assert 0.45 < found.before < 0.8 and 0.45 < found.after < 0.8
    (again,) = identified(read_corpus("folder", tmp_path).utterances, tmp_path / "index", progress=False)
    assert again.measures == found


def test_loud_sound_that_is_not_cut_off_is_not_clipped():
    wave = voice(2, 2, 44_100)[:, None]
    assert clipped_samples(wave / np.abs(wave).max()) == 0
    assert clipped_samples(np.clip(wave, -0.15, 0.15)) > 10  # before it was turned down
    assert clipped_samples(np.zeros((100, 1))) == 0


def test_rare_emotions_are_named_from_six_times_on_unless_they_are_balanced():
    assert said(made_of(a={"rab": 59, "gio": 10}, b={"gio": 1, "rab": 1})) == []
    uneven = made_of(a={"rab": 65, "gio": 10}, b={"gio": 1, "rab": 1})
    (sentence,) = said(uneven)
    assert sentence.startswith("joy has 11 utterances, anger 66: train.balance=class")
    assert said(uneven, balance="class") == []


def test_speakers_of_one_emotion_and_without_names_are_named():
    (sentence,) = said(made_of(a={"rab": 5, "gio": 5}, b={"gio": 5}, c={"neu": 2, "rab": 4}))
    assert sentence.startswith("speakers with one emotion alone: 1 of 3 (b: joy)")
    assert "data.protocol=speaker_kfold data.folds=3" in sentence
    (sentence,) = said(made_of(unknown={"rab": 5, "gio": 5}))
    assert sentence.startswith("utterances without a speaker: 10 of 10")


@pytest.mark.parametrize(
    ("speakers", "keys"),
    [
        (12, "data.protocol=speaker_kfold"),
        (7, "data.protocol=speaker_kfold data.folds=5"),
        (2, "data.protocol=speaker_kfold data.folds=2 data.validate_on=heard"),
        (1, None),
    ],
)
def test_a_holdout_that_shares_speakers_names_keys_that_hold_them_apart(speakers, keys):
    utterances = made_of(**{f"s{number}": {"rab": 20, "gio": 20} for number in range(speakers)})
    data = Config().data
    sentence = shared_voices(data, utterances, draw_split(utterances, data, 0))
    assert f"{speakers} of the {speakers} speakers in the test set are trained on too" in sentence
    if keys is None:
        assert "nothing about unknown voices" in sentence
        return
    assert f"{keys} measures unknown voices" in sentence
    values = dict(pair.removeprefix("data.").split("=") for pair in keys.split())
    apart = Config(data={**values, "folds": int(values.get("folds", 10))}).data
    assert shared_voices(apart, utterances, draw_split(utterances, apart, 0)) == ""


def test_a_property_that_goes_with_the_emotion_is_named(tmp_path):
    for number in range(8):
        write(tmp_path / f"c/joy/{number}.mp3", voice(number, 1, 16_000), 16_000)
        write(tmp_path / f"c/anger/{number}.wav", voice(10 + number, 1, 16_000), 16_000)
    survey = inspect(config_of(tmp_path / "c", tmp_path), progress=False)
    (sentence,) = [one for one in survey.advice() if "goes with the emotion" in one]
    assert "joy: mp3" in sentence and "anger: wav pcm_16" in sentence and "format" in sentence
    write(tmp_path / "c/joy/x.wav", voice(30, 30, 16_000), 16_000)
    assert "1 recording longer than 13 s" in str(inspect(config_of(tmp_path / "c", tmp_path)))


def test_the_advised_length_holds_95_percent(tmp_path):
    seconds = np.linspace(4.0, 8.0, 20)
    for number, length in enumerate(seconds):
        write(
            tmp_path / f"c/{('joy', 'anger')[number % 2]}/{number}.wav", voice(number, length, 8_000), 8_000
        )
    survey = inspect(config_of(tmp_path / "c", tmp_path), progress=False)
    (sentence,) = [one for one in survey.advice() if "signal_length" in one]
    assert sentence.startswith(
        f"{np.mean(seconds > 96_000 / 22_050):.0%} of the recordings are longer than 4.4 s"
    )
    length = int(re.search(r"signal_length=(\d+)", sentence)[1])
    assert np.mean(seconds * 22_050 <= length) >= 0.95 > np.mean(seconds * 22_050 <= length - 1_000)
    held = survey.features.model_copy(update={"signal_length": length})
    assert not [one for one in replace(survey, features=held).advice() if "signal_length" in one]


def test_an_emotion_without_a_usable_recording_ends_a_training(tmp_path, capsys):
    for name in ("joy/speaker_with_1_name", "anger/speaker_with_2_name", "fear/all"):
        for number in range(6):
            path = write(tmp_path / f"c/{name}/{number}.wav", voice(10 * len(name) + number, 1, 8_000), 8_000)
            if "fear" in name and number:
                path.write_bytes(b"")
    where = ["data.corpus=folder", f"data.root={tmp_path}/c", f"data.cache_dir={tmp_path}/cache"]
    main(where)
    printed = capsys.readouterr()
    assert re.search(r"^emotion +all +all_2 +speaker\S+ +speaker\S+ +median s$", printed.out, re.MULTILINE)
    assert "speakers with one emotion alone: 3 of 3" in printed.err
    path.with_name("0.wav").write_bytes(b"")
    main(where)
    printed = capsys.readouterr()
    problem = "no usable recording of fear"
    assert f"a training would end here: {tmp_path}/c has {problem}" in printed.err
    assert re.search(r"^fear +0 .*–$", printed.out, re.MULTILINE)
    with pytest.raises(UserError, match=problem):
        prepare_data(config_of(tmp_path / "c", tmp_path), progress=False)


def test_long_recordings_among_short_ones_are_to_be_split(tmp_path):
    for number in range(40):
        seconds = 60 if number == 3 else 1
        write(
            tmp_path / f"c/{('joy', 'anger')[number % 2]}/{number}.wav", voice(number, seconds, 4_000), 4_000
        )
    corpus = identified_corpus(read_corpus("folder", tmp_path / "c"), tmp_path)
    (sentence,) = length_advice(corpus, corpus.utterances, Config().features)
    assert "2% of the recordings are longer" in sentence and "split the long ones" in sentence


def test_nothing_is_decoded_twice_and_no_recording_at_all_is_an_error(tmp_path, monkeypatch):
    for emotion in ("joy", "anger"):
        write(tmp_path / f"c/{emotion}/a.wav", voice(len(emotion), 1, 16_000), 16_000)
    reads: list = []
    read = dataloader.identity.read_recording
    monkeypatch.setattr(
        dataloader.identity, "read_recording", lambda *a, **k: (reads.append(a), read(*a, **k))[1]
    )
    for _ in range(2):
        survey = inspect(config_of(tmp_path / "c", tmp_path), progress=False)
    assert len(reads) == 2 and "<table>" in survey._repr_html_()
    for path in (tmp_path / "c").rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no usable recording: .*the file is empty"):
        inspect(config_of(tmp_path / "c", tmp_path), progress=False)


def test_a_messy_corpus_goes_all_the_way(messy, tmp_path, capsys):
    config = Config(
        data=config_of(messy, tmp_path, min_utterances=5).data.model_dump(),
        features={"signal_length": 22_050},
        train={"num_epochs": 2, "results_dir": tmp_path, "device": "cpu", "balance": "class"},
        model={"n_filter": 4},
    )
    run_dir = train(config, progress=False)
    warnings = capsys.readouterr().err
    for text in (
        "5 of 60 recordings",
        "1 recording of folder-meine Aufnahmen copied, in",
        "copied under another emotion",
        "channel 2 of 2 has no sound",
        "3 of the 3 speakers in the test set are trained on too",
        "Verachtung (2)",
    ):
        assert warnings.count(text) == 1, text
    assert 0 < evaluate(run_dir).metrics["accuracy"][0] <= 1
    recognizer = Recognizer(run_dir)
    files = sorted(path for path in messy.rglob("*") if path.is_file())
    outcomes = list(recognise_files(recognizer, files))
    failed = {Path(one.name).name for one in outcomes if isinstance(one, Failure)}
    assert failed == {"one sample.wav", "text.wav", "nothing.wav", "pointer.wav"} and len(outcomes) == 62

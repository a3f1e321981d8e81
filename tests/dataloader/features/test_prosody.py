"""Prosody of signals whose pitch, level and voicing are known, and features by speaker."""

import re
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch

from dataloader.audio import condition, fit_length, read_audio
from dataloader.augment.waveforms import perturb_speed
from dataloader.features.cache import cache_key
from dataloader.features.extract import Extractor
from dataloader.features.normalise import by_speaker
from dataloader.features.prosody import check_prosody, pitch_carried_on, prosody
from dataloader.loaders import make_training_loader, prepare_data
from utils.config import PROSODY, AugmentConfig, Config, DataConfig, FeaturesConfig, ModelConfig
from utils.errors import UserError

RATE = 22_050
SETTINGS = FeaturesConfig()


def tone(pitch: float, level: float = 0.3, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 8))
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def named(waveform: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PROSODY, prosody(waveform, SETTINGS).numpy(), strict=True))


@pytest.mark.parametrize("pitch", [90.0, 180.0, 400.0])
def test_pitch_of_a_tone(pitch):
    found = named(tone(pitch))
    inner = slice(3, -3)
    np.testing.assert_allclose(np.exp(found["pitch"][inner]), pitch, rtol=0.01)
    np.testing.assert_allclose(found["pitch_change"][inner], 0, atol=0.02)
    assert (found["voiced"][inner] == 1).all() and (found["periodicity"][inner] > 0.9).all()


def test_pitch_change_of_a_glide():
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * 100 * (2**time - 1) / np.log(2)  # an octave a second, from 100 Hz
    glide = sum(np.sin(k * phase) / k for k in range(1, 6)).astype(np.float32)
    assert np.median(named(glide)["pitch_change"]) == pytest.approx(np.log(2) * 512 / RATE, rel=0.2)


def test_level_is_in_decibels():
    loud, soft = named(tone(200, 0.4)), named(tone(200, 0.04))
    np.testing.assert_allclose(loud["level"] - soft["level"], 20, atol=0.1)


def test_noise_is_no_voice_and_silence_no_speech():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    found = named(np.concatenate([np.zeros(RATE, np.float32), noise]))
    half = len(found["speech"]) // 2
    assert found["speech"][: half - 3].max() == 0 and found["speech"][half + 3 :].min() == 1
    assert found["voiced"].mean() < 0.05


def test_digital_silence_gives_finite_values():
    assert prosody(np.zeros(9_000, np.float32), SETTINGS).isfinite().all()


def test_prosody_stands_below_the_mfccs():
    config = Config(features=FeaturesConfig(prosody=True), model=ModelConfig(num_features=21))
    waveforms = torch.from_numpy(np.stack([tone(120), tone(240)]))
    x = Extractor(config)(waveforms)
    assert x.shape == (2, 21, 1 + len(waveforms[0]) // 512)
    plain = Config(features=FeaturesConfig(), model=ModelConfig(num_features=13))
    assert torch.equal(x[:, :13], Extractor(plain)(waveforms))
    assert torch.equal(x[1, 13:], prosody(waveforms[1].numpy(), SETTINGS))


def test_by_speaker():
    torch.manual_seed(0)
    speakers = ["a", "b", "a", "b", "a"]
    x = 3 + 2 * torch.randn(5, 2 + len(PROSODY), 40)
    x[1::2] = 10 * x[1::2] - 5  # speaker b has another voice
    x[:, -2] = (torch.rand(5, 40) > 0.3).float()
    x[:, -1] = x[:, -2] * (torch.rand(5, 40) > 0.3)
    result = by_speaker(x, speakers)
    for rows in ([0, 2, 4], [1, 3]):
        for row, mask in ((0, x[rows, -2] > 0), (2, x[rows, -1] > 0)):
            heard = result[rows, row][mask]
            assert heard.mean().abs() < 1e-5 and (heard.std(correction=0) - 1).abs() < 1e-4
            assert (result[rows, row][~mask] == 0).all()
    alone = by_speaker(x[::2], ["a"] * 3)
    assert torch.equal(result[::2], alone)  # no speaker's features depend on another's recordings
    assert set(result[:, -2:].unique().tolist()) == {-0.5, 0.5}


@pytest.fixture
def config(tiny_corpus, tmp_path):
    data = DataConfig(root=tiny_corpus, cache_dir=tmp_path, test_fraction=0.2)
    features = FeaturesConfig(signal_length=8192, prosody=True, by_speaker=True)
    return Config(data=data, features=features, model=ModelConfig(num_features=12))


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_a_corpus_by_speaker(config):
    data = prepare_data(config, progress=False)
    raw = config.model_copy(update={"features": config.features.model_copy(update={"by_speaker": False})})
    x = prepare_data(raw, progress=False).features.frames
    speakers = [utterance.speaker for utterance in data.features.utterances]
    assert torch.equal(data.features.frames, by_speaker(x, speakers))


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mode": "published"}, "augment.variants to 0"),
        ({"mode": "online"}, "augment.gain and augment.frame_shift"),
        ({"mode": "online", "gain": 0.0, "frame_shift": 0.0}, "augment.variants to 0"),
    ],
)
def test_augmentation_that_would_falsify_features_is_refused(config, changes, complaint):
    augment = config.augment.model_copy(update=changes)
    model = config.model.model_copy(update={"aug": True})
    config = config.model_copy(update={"augment": augment, "model": model})
    data = replace(prepare_data(config, progress=False))
    with pytest.raises(UserError, match=complaint):
        make_training_loader(config, data, torch.zeros(12), progress=False)


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_other_voices_are_speakers_of_their_own(config):
    augment = AugmentConfig(mode="online", variants=0, voices=(0.9, 1.2), gain=0, frame_shift=0, masks=0)
    model = config.model.model_copy(update={"aug": True})
    config = config.model_copy(update={"augment": augment, "model": model})
    data = prepare_data(config, progress=False)
    loader = make_training_loader(config, data, torch.zeros(12), progress=False)
    x, _ = data.rows("train")
    each, train = 3, set(data.split.train)
    assert len(loader.x) == each * len(x) and torch.equal(loader.x[::each], x)

    of_one = [u for u in data.corpus.utterances if u.name in train and u.speaker == "f1"]
    extract = Extractor(config)
    for place, speed in enumerate(augment.voices, start=1):
        waves = [condition(read_audio(u.path, 22_050), config.features) for u in of_one]
        varied = [perturb_speed(wave, speed) for wave in waves]
        raw = extract(torch.from_numpy(np.stack([fit_length(wave, 8192) for wave in varied])))
        expected = by_speaker(raw, ["somebody"] * len(of_one))
        rows = [each * data.split.train.index(u.name) + place for u in of_one]
        torch.testing.assert_close(loader.x[rows], expected, rtol=0, atol=1e-3)


def test_another_librosa_means_other_prosody(config, monkeypatch):
    plain = config.model_copy(update={"features": FeaturesConfig(signal_length=8192)})
    before = cache_key([], config), cache_key([], plain)
    monkeypatch.setattr("dataloader.features.extract.version", lambda name: "0" if name == "librosa" else "1")
    first = cache_key([], config), cache_key([], plain)
    monkeypatch.setattr("dataloader.features.extract.version", lambda name: "2" if name == "librosa" else "1")
    second = cache_key([], config), cache_key([], plain)
    assert len({before[0], first[0], second[0]}) == 3 and first[1] == second[1]


@pytest.mark.filterwarnings("ignore:With fmin", "ignore:n_fft=")
@pytest.mark.parametrize(
    ("rate", "n_fft"), [(22_050, 341), (22_050, 340), (1_200, 20), (1_199, 64), (8_000, 125)]
)
@pytest.mark.parametrize("length", [1, 300, 9_000])
def test_windows_that_are_long_enough_give_prosody_of_any_length_and_others_are_refused(rate, n_fft, length):
    features = FeaturesConfig(sample_rate=rate, n_fft=n_fft, hop_length=100, signal_length=length)
    waveform = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    try:
        check_prosody(features)
    except UserError as error:
        assert re.search("features.(n_fft|sample_rate) = .*needs at least", str(error))
        with pytest.raises(librosa.util.exceptions.ParameterError):
            prosody(waveform, features)
    else:
        rows = prosody(waveform, features)
        assert rows.shape == (8, features.frames) and rows.isfinite().all()


def test_pitch_is_carried_on_where_there_is_no_voice():
    x = torch.zeros(3, 2 + len(PROSODY), 8)
    pitch, change, voiced = (2 + PROSODY.index(name) for name in ("pitch", "pitch_change", "voiced"))
    x[:, pitch] = torch.tensor([9.0, 5.0, 9.0, 9.0, 5.6, 6.6, 9.0, 9.0])
    x[0, voiced, [1, 4, 5]] = 1.0
    x[1, voiced, 5] = 1.0
    found = pitch_carried_on(x)
    torch.testing.assert_close(found[0, pitch], torch.tensor([5.0, 5.0, 5.2, 5.4, 5.6, 6.6, 6.6, 6.6]))
    torch.testing.assert_close(found[0, change], torch.tensor([0.0, 0.0, 0.2, 0.2, 0.2, 0.3, 0.0, 0.0]))
    assert (found[1, pitch] == 6.6).all() and torch.equal(found[2, pitch], x[2, pitch])
    others = [row for row in range(x.shape[1]) if row not in (pitch, change)]
    assert torch.equal(found[:, others], x[:, others]) and x[0, pitch, 0] == 9.0

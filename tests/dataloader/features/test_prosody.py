"""Prosody of signals whose pitch, level and voicing are known."""

import re

import librosa
import numpy as np
import pytest
import torch

from dataloader.features.extract import Extractor
from dataloader.features.prosody import check_prosody, prosody
from utils.config import PROSODY, FeaturesConfig
from utils.errors import UserError

RATE = 22_050
SETTINGS = FeaturesConfig()


def tone(pitch: float, level: float = 0.3, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 8))
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def named(waveform: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PROSODY, prosody(torch.from_numpy(waveform)[None], SETTINGS)[0].numpy(), strict=True))


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
    assert prosody(torch.zeros(1, 9_000), SETTINGS).isfinite().all()


def test_prosody_stands_below_the_mfccs():
    waveforms = torch.from_numpy(np.stack([tone(120), tone(240)]))
    x = Extractor(FeaturesConfig(n_mfcc=13, prosody=True))(waveforms)
    assert x.shape == (2, 21, 1 + len(waveforms[0]) // 512)
    assert torch.equal(x[:, :13], Extractor(FeaturesConfig(n_mfcc=13))(waveforms))
    assert torch.equal(x[:, 13:], prosody(waveforms, SETTINGS))


def syllables() -> np.ndarray:
    """Three voiced stretches of moving pitch, with noise, pauses and digital silence between."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE)
    time = np.arange(3 * RATE) / RATE
    pitch = 150 * 2 ** np.sin(2 * np.pi * time)
    voice = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / RATE) / k for k in range(1, 12))
    loudness = np.sin(np.pi * time) ** 2
    loudness[: RATE // 4] = 0
    return (loudness * (0.2 * voice + 0.02 * noise)).astype(np.float32)


@pytest.mark.parametrize("hop", [512, 1024])
def test_pitch_level_centroid_and_crossings_are_those_of_librosa(hop):
    wave, frame = syllables(), {"frame_length": 2048, "hop_length": hop}
    found = prosody(torch.from_numpy(wave)[None], FeaturesConfig(hop_length=hop))[0].numpy()
    found = dict(zip(PROSODY, found, strict=True))
    librosas = {
        "pitch": np.log(librosa.yin(wave, fmin=65, fmax=600, sr=RATE, **frame)),
        "level": 20 * np.log10(librosa.feature.rms(y=wave, **frame)[0] + 1e-5),
        "centroid": np.log(librosa.feature.spectral_centroid(y=wave, sr=RATE, hop_length=hop)[0] + 50),
        "crossings": librosa.feature.zero_crossing_rate(wave, **frame)[0],
    }
    for name, expected in librosas.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-3, err_msg=name)


def test_periodicity_is_the_correlation_of_a_frame_with_itself_a_period_later():
    wave = syllables()
    found = named(wave)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave.astype(float), 1024), 2048)[::512]
    for window, pitch, periodicity in zip(windows, found["pitch"], found["periodicity"], strict=True):
        period = round(RATE / np.exp(pitch.astype(float)))
        early, late = window[:-period], window[period:]
        norm = np.sqrt((early @ early) * (late @ late)) + 1e-9
        assert periodicity == pytest.approx(early @ late / norm, abs=1e-3)


@pytest.mark.filterwarnings("ignore:With fmin", "ignore:n_fft=")
@pytest.mark.parametrize(
    ("rate", "n_fft"), [(22_050, 341), (22_050, 340), (1_200, 20), (1_199, 64), (8_000, 125)]
)
@pytest.mark.parametrize("length", [101, 300, 9_000])
def test_windows_that_are_long_enough_give_prosody_of_any_length_and_others_are_refused(rate, n_fft, length):
    features = FeaturesConfig(sample_rate=rate, n_fft=n_fft, hop_length=100, signal_length=length)
    waveform = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    try:
        check_prosody(features)
    except UserError as error:
        assert re.search("features.(n_fft|sample_rate) = .*needs at least", str(error))
        with pytest.raises(librosa.util.exceptions.ParameterError):
            librosa.yin(waveform, fmin=65, fmax=600, sr=rate, frame_length=n_fft, hop_length=100)
    else:
        rows = prosody(torch.from_numpy(waveform)[None], features)
        assert rows.shape == (1, 8, features.frames) and rows.isfinite().all()


def test_waveforms_of_a_batch_do_not_depend_on_each_other():
    waves = torch.from_numpy(np.stack([syllables(), 3 * syllables()[::-1], 0 * syllables()]))
    one_by_one = torch.cat([prosody(wave[None], SETTINGS) for wave in waves])
    torch.testing.assert_close(prosody(waves, SETTINGS), one_by_one, atol=1e-4, rtol=0)

"""The stream: answers that do not depend on the chunks and equal those of the windows, in bounded memory."""

import subprocess
import sys
import threading
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from dataloader.audio import AudioError, read_audio
from testing.predict import Recognizer
from testing.predictions import SILENCE, UNSURE
from testing.stream import Moment, _Holder, _Smoother
from utils import device
from utils.errors import UserError

OFF = {"smoothing_seconds": 0, "margin": 0}
RATE = 22_050


@pytest.fixture(scope="module")
def recognizer(repository) -> Recognizer:
    return Recognizer(repository / "training/results/CkTIM_TAB1_for_recognition", ["train.device=cpu"])


def needs_silero() -> None:
    if not find_spec("silero_vad"):  # whose import sets all of PyTorch to one thread
        pytest.skip("silero-vad is not installed")


def talk(seconds: float, rate: int = RATE, seed: int = 0, channels: int = 1) -> np.ndarray:
    """A buzzing tone in phrases, with pauses of a second, in faint noise: float32 (samples, channels)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (rng.uniform(100, 200) * time - 10 * np.cos(2 * np.pi * 0.6 * time))
    buzz = sum(np.sin(k * phase) / k for k in range(1, 7))
    phrases = (np.sin(2 * np.pi * time / 4) > -0.5) * (0.6 + 0.4 * np.sin(6 * np.pi * time))
    noise = 1e-3 * rng.standard_normal((len(time), channels))
    return ((0.1 * buzz * phrases)[:, None] * rng.uniform(0.5, 1, channels) + noise).astype(np.float32)


def fed(stream, sound: np.ndarray, sizes) -> list[Moment]:
    """The moments of a sound in chunks of these sizes, over and over, up to its end."""
    moments, start = [], 0
    while start < len(sound):
        for size in sizes:
            moments += stream.feed(sound[start : start + size])
            start += size
    return moments + stream.finish()


def answers_of(moments: list[Moment]) -> list[tuple]:
    return [(m.start, m.end, m.label, m.novelty, *m.probabilities.items()) for m in moments]


@pytest.mark.parametrize("seed", range(10))
def test_answers_do_not_depend_on_the_chunks(recognizer, seed):
    rng = np.random.default_rng(seed)
    rate = int(rng.choice([8_000, 16_000, 22_050, 44_100, 48_000]))
    sound = talk(4.3, rate, seed, channels=int(rng.integers(1, 4)))
    if seed % 3 == 0:
        sound = (32_000 * sound).astype(np.int16)
    whole = fed(recognizer.stream(rate), sound, [len(sound)])
    assert len(whole) == 17 and {m.speech for m in whole} == {True, False}
    parts = fed(recognizer.stream(rate), sound, rng.choice([1, 2, 7, 160, 1_000, 30_000], 20).tolist())
    assert answers_of(whole) == answers_of(parts)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 44_099.5, 96_000])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_smoothing_each_answer_is_that_of_its_window(recognizer, rate, channels):
    sound = talk(3.1, round(rate), 1, channels)
    sound[:, -1] += 0.02  # an offset
    whole = soxr.resample(sound, rate, RATE, quality="HQ")
    moments = fed(recognizer.stream(rate, vad=None, hop_seconds=0.3, window_seconds=1.5, **OFF), sound, [999])
    assert [m.time for m in moments] == pytest.approx(0.3 * np.arange(1, 11))
    for number, moment in enumerate(moments, start=1):
        end = round(number * 0.3 * RATE)
        expected = recognizer.recognise(whole[max(0, end - round(1.5 * RATE)) : end], RATE).answer
        assert moment.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert moment.label == expected.label
        assert moment.novelty == pytest.approx(expected.novelty, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "full", "middle"),
    [("int16", 2**15, 0), ("int32", 2**31, 0), ("int64", 2**15, 0), ("uint8", 2**7, 128), ("int8", 2**7, 0)],
)
def test_integers_are_taken_as_recognition_takes_them(recognizer, kind, full, middle):
    sound = np.clip(np.round(talk(2, 16_000)[:, 0] * full) + middle, 0 if middle else -full, 2 * full - 1)
    integers = sound.astype(kind)
    options = {"vad": None, "hop_seconds": 2, **OFF}
    (moment,) = fed(recognizer.stream(16_000, **options), integers, [321])
    floats = (integers.astype(float) - middle) / full
    (expected,) = fed(recognizer.stream(16_000, **options), floats, [123])
    assert moment.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert moment.label == recognizer.recognise(integers, 16_000).answer.label


@pytest.mark.parametrize("vad", ["energy", "silero", None])
def test_silence_has_no_emotion(recognizer, vad):
    if vad == "silero":
        needs_silero()
    moments = fed(recognizer.stream(16_000, vad=vad), np.zeros(80_000), [16_000])
    assert [(m.label, m.speech, m.emotion, m.novelty) for m in moments] == 20 * [(SILENCE, False, None, None)]


@pytest.mark.parametrize("vad", ["energy", "silero"])
def test_steady_noise_is_no_speech(recognizer, vad):
    if vad == "silero":
        needs_silero()
    noise = 0.05 * np.random.default_rng(0).standard_normal(5 * 16_000)
    assert not any(m.speech for m in fed(recognizer.stream(16_000, vad=vad), noise, [1_600]))


def test_the_detectors_find_speech_between_pauses(recognizer, emovo_root):
    needs_silero()

    speech = read_audio(emovo_root / "f1/neu-f1-l1.flac", 48_000)
    pause = np.full(3 * 48_000, 1e-4, np.float32)
    found = {}
    for vad in ("energy", "silero"):
        moments = fed(recognizer.stream(48_000, vad=vad), np.concatenate([pause, speech, pause]), [4_800])
        found[vad] = np.array([m.time for m in moments if m.speech])
        assert found[vad].min() == pytest.approx(3.5, abs=0.5)
        assert found[vad].max() == pytest.approx(3 + len(speech) / 48_000 + 0.25, abs=0.75)
    assert set(found["silero"]) & set(found["energy"])


def test_a_buffer_may_be_used_again(recognizer):
    sound, buffer = talk(2)[:, 0], np.zeros(100, np.float32)
    stream, moments = recognizer.stream(RATE), []
    for start in range(0, len(sound), 100):
        buffer[:] = sound[start : start + 100]
        moments += stream.feed(buffer)
        buffer[:] = 1
    assert answers_of(moments) == answers_of(recognizer.stream(RATE).feed(sound))


def test_what_is_no_sound_leaves_the_stream_as_it_was(recognizer):
    sound = talk(2)
    stream = recognizer.stream(RATE)
    moments = stream.feed(sound[:30_000])
    wrong = [
        np.full(10, np.nan),
        np.full(10, 1e3),
        np.zeros((10, 2)),
        np.zeros(10, np.int16),
        ["a"],
        [[]],
        1j,
    ]
    for chunk in (*wrong, [True], [[1.0], [1.0, 2.0]], np.zeros((2, 2, 2))):
        with pytest.raises(AudioError, match="the stream"):
            stream.feed(chunk)
    assert stream.feed([]) == stream.feed(np.zeros((0, 1))) == []
    moments += stream.feed(sound[30_000:]) + stream.finish()
    assert answers_of(moments) == answers_of(fed(recognizer.stream(RATE), sound, [len(sound)]))
    with pytest.raises(UserError, match="has ended"):
        stream.feed(sound)
    assert recognizer.stream(RATE).finish() == stream.finish() == []


@pytest.mark.parametrize(
    "options",
    [
        {"hop_seconds": 0},
        {"hop_seconds": "1"},
        {"window_seconds": float("nan")},
        {"smoothing_seconds": -1},
        {"margin": 2},
        {"vad": "loud"},
        {"sample_rate": 100},
    ],
)
def test_wrong_options_are_named(recognizer, options):
    with pytest.raises(UserError, match=str(next(iter(options))).replace("sample_rate", "sample rate")):
        recognizer.stream(**{"sample_rate": RATE, **options})


def test_the_memory_is_bounded(recognizer, monkeypatch):
    """Twenty minutes, with a network that costs nothing: what the stream itself keeps."""
    monkeypatch.setattr(recognizer, "look", lambda sounds: [({"gio": 0.7, "tri": 0.3}, 1.0)])
    stream, minute = recognizer.stream(8_000, hop_seconds=1), talk(60, 8_000)
    stream.feed(minute)
    tracemalloc.start()
    try:
        for _ in range(20):
            assert len(stream.feed(minute)) == 60
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say how much is taken")
def test_a_day_of_sound_takes_no_more_memory_than_a_minute(repository):
    """With a phrase of three seconds a minute, in a process of its own."""
    run = repository / "training/results/CkTIM_TAB1_for_recognition"
    code = f"""
import resource
import numpy as np
from testing.predict import Recognizer
from tests.testing.test_stream import talk

def taken():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

minute = 1e-4 * np.random.default_rng(0).standard_normal((60 * 16_000, 1)).astype(np.float32)
minute[: 3 * 16_000] += talk(3, 16_000)
stream = Recognizer({str(run)!r}, ["train.device=cpu"]).stream(16_000)
spoken = [sum(moment.speech for moment in stream.feed(minute))]
first = taken()
spoken += [sum(moment.speech for moment in stream.feed(minute)) for _ in range(24 * 60 - 1)]
assert min(spoken) > 8, spoken
print((taken() - first) / 2**20)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert not found.returncode, found.stderr
    assert float(found.stdout) < 20


def test_the_network_uses_one_thread_and_others_keep_theirs(recognizer, monkeypatch):
    own, before, look = [], torch.get_num_threads(), recognizer.look
    monkeypatch.setattr(
        recognizer, "look", lambda sounds: (own.append(torch.get_num_threads()), look(sounds))[1]
    )
    torch.set_num_threads(3)
    monkeypatch.setattr(device, "_single", {})  # as in a process that has not begun
    try:
        others = []
        thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
        recognizer.stream(RATE, vad=None).feed(talk(1))
        thread.start()
        thread.join()
        assert set(own) == {1} and torch.get_num_threads() == 3 and others == [3]
    finally:
        torch.set_num_threads(before)


def test_smoothing_is_the_exponentially_weighted_mean():
    smooth, given = (
        _Smoother(0.5, 0.25),
        [{"a": 0.2, "b": 0.8}, {"a": 0.9, "b": 0.1}, {}, {"a": 0.5, "b": 0.5}],
    )
    found = [smooth(one) for one in given]
    weights = np.exp(-0.25 / 0.5 * np.array([3, 2, 0]))
    assert found[0] == given[0] and found[2] == {}
    assert found[3]["a"] == pytest.approx(weights @ [0.2, 0.9, 0.5] / weights.sum())
    assert sum(found[3].values()) == pytest.approx(1)
    unsmoothed = _Smoother(0, 0.25)
    assert [unsmoothed(one) for one in given] == given


def test_a_label_is_held_until_another_leads_by_the_margin():
    hold = _Holder(sure=0.4, margin=0.1)
    labels = [hold({"a": a, "b": 1 - a}) for a in (0.6, 0.46, 0.44, 0.54, 0.6)]
    assert labels == ["a", "a", "b", "b", "a"]
    assert hold({}) == SILENCE
    assert hold({"a": 0.49, "b": 0.51}) == "b"  # at once after silence
    assert [hold({"a": 0.3, "b": b}) for b in (0.35, 0.25, 0.45, 0.52)] == ["b", UNSURE, UNSURE, "b"]

"""MFCCs against librosa's; and the features of a corpus: complete, cached, and safe from damage."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch

import dataloader.features.extract
from dataloader.audio import condition, fit_length, read_audio
from dataloader.corpora.find import read_corpus
from dataloader.features.extract import MFCC, load_features
from utils.config import Config, DataConfig, FeaturesConfig, ModelConfig
from utils.emotions import EMOTIONS
from utils.errors import UserError

read_emovo = partial(read_corpus, "emovo")
RATE = 22_050
SETTINGS = FeaturesConfig()


def librosa_mfcc(waveform: np.ndarray, n_mfcc: int = 39, hop_length: int = 512) -> np.ndarray:
    return librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=n_mfcc, hop_length=hop_length)


def synthetic_speech(seed: int, samples: int = 96_000, level: float = 0.5) -> np.ndarray:
    """Syllables of a gliding, harmonic-rich voice with breath noise, and silence between and around them."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    phase = 2 * np.pi * np.cumsum(rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time))) / RATE
    voice = sum(np.sin(k * phase) / k for k in range(1, 30)) + 0.05 * rng.standard_normal(samples)
    syllables = np.clip(np.sin(2 * np.pi * 2 * time), 0, 1) * (abs(time - time.mean()) < 0.4 * time[-1])
    return (level * voice * syllables / np.abs(voice).max()).astype(np.float32)


# --- MFCC ---


@pytest.mark.parametrize("level", [1.0, 0.05, 1e-4])
@pytest.mark.parametrize("seed", [0, 1])
def test_mfccs_of_synthetic_speech_equal_librosas(seed, level):
    waveform = synthetic_speech(seed, level=level)
    ours = MFCC(SETTINGS, 39)(torch.from_numpy(waveform)[None])[0].numpy()
    assert ours.shape == (39, 188)
    np.testing.assert_allclose(ours, librosa_mfcc(waveform), rtol=0, atol=1e-3)


def test_mfccs_of_real_speech_equal_librosas(emovo_root):
    mfcc = MFCC(SETTINGS, 39)
    utterances = read_emovo(emovo_root).utterances
    for utterance in utterances[::12]:
        waveform = fit_length(read_audio(utterance.path), 96_000)
        ours = mfcc(torch.from_numpy(waveform)[None])[0].numpy()
        np.testing.assert_allclose(ours, librosa_mfcc(waveform), rtol=0, atol=1e-3, err_msg=utterance.name)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # librosa, of the short ones
@pytest.mark.parametrize(
    ("samples", "n_mfcc", "hop_length"),
    [(1, 39, 512), (511, 39, 512), (512, 13, 512), (30_000, 39, 256), (96_000, 39, 1024), (96_000, 128, 512)],
)
def test_mfccs_of_any_length_and_rate_of_frames(samples, n_mfcc, hop_length):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    settings = FeaturesConfig(hop_length=hop_length, signal_length=samples)
    ours = MFCC(settings, n_mfcc)(torch.from_numpy(waveform)[None])[0].numpy()
    assert ours.shape == (n_mfcc, settings.frames)
    np.testing.assert_allclose(ours, librosa_mfcc(waveform, n_mfcc, hop_length), rtol=0, atol=1e-3)


def test_mel_bands_end_at_f_max():
    waveform = synthetic_speech(0)
    ours = MFCC(FeaturesConfig(f_max=7_000), 39)(torch.from_numpy(waveform)[None])[0].numpy()
    expected = librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=39, fmax=7_000)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)


def test_with_f_max_a_recording_made_at_16_khz_looks_like_one_made_at_48(tmp_path):
    """Noise reaches up to half of any rate; what is above f_max changes no MFCC."""
    wide = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    soundfile.write(tmp_path / "48.wav", wide, 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "16.wav", soxr.resample(wide, 48_000, 16_000), 16_000, subtype="FLOAT")
    for settings, same in ((FeaturesConfig(f_max=7_000), True), (FeaturesConfig(), False)):
        mfcc = MFCC(settings, 39)
        at_48, at_16 = (
            mfcc(torch.from_numpy(fit_length(read_audio(tmp_path / f"{rate}.wav"), 20_000))[None])
            for rate in (48, 16)
        )
        assert torch.allclose(at_48, at_16, rtol=0, atol=0.5) == same  # dB; speech has hundreds


def test_no_utterances_mfccs_depend_on_what_it_is_batched_with():
    loud, faint = synthetic_speech(0, level=1.0), synthetic_speech(1, level=1e-4)
    batch = torch.from_numpy(np.stack([loud, faint, np.zeros_like(loud)]))
    mfcc = MFCC(SETTINGS, 39)
    together = mfcc(batch)
    for row, waveform in zip(together, batch, strict=True):
        torch.testing.assert_close(row, mfcc(waveform[None])[0], rtol=0, atol=1e-3)
        np.testing.assert_allclose(row.numpy(), librosa_mfcc(waveform.numpy()), rtol=0, atol=1e-3)
    # The trap that MFCC avoids is there: torchaudio alone gives the faint one the loud one's floor.
    assert mfcc.decibels(mfcc.mel(batch))[1].min() > mfcc.decibels(mfcc.mel(batch[1:2])).min() + 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_mfccs_are_the_same_on_a_gpu():
    waveforms = torch.from_numpy(np.stack([synthetic_speech(seed) for seed in range(4)]))
    mfcc = MFCC(SETTINGS, 39)
    torch.testing.assert_close(mfcc.cuda()(waveforms.cuda()).cpu(), mfcc.cpu()(waveforms), rtol=0, atol=1e-3)


# --- the features of a corpus ---


@pytest.fixture
def root(tiny_corpus, tmp_path) -> Path:
    """A copy of the tiny corpus, to be damaged."""
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(
        data=DataConfig(cache_dir=tmp_path / "cache"),
        features=FeaturesConfig(signal_length=8_000),
        model=ModelConfig(num_features=13),
    )


@pytest.fixture
def reads(monkeypatch) -> list:
    """The paths of all recordings that are decoded from now on."""
    paths = []

    def spy(path, sample_rate):
        paths.append(path)
        return read_audio(path, sample_rate)

    monkeypatch.setattr(dataloader.features.extract, "read_audio", spy)
    return paths


def cache_files(config: Config) -> list[Path]:
    return sorted(config.data.cache_dir.iterdir())


def assert_equal(one, other):
    assert torch.equal(one.x, other.x)
    assert one.utterances == other.utterances
    assert one.skipped == other.skipped


def test_features_are_the_mfccs_of_each_utterance_in_order(root, config):
    corpus = read_emovo(root)
    features = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    assert features.frames.shape == (len(corpus.utterances), 13, 16)
    assert features.frames.dtype == torch.float32
    assert features.utterances == corpus.utterances
    assert features.skipped == {}
    for row, utterance in zip(features.frames, features.utterances, strict=True):
        expected = librosa_mfcc(fit_length(read_audio(utterance.path), 8_000), 13)
        np.testing.assert_allclose(row.numpy(), expected, rtol=0, atol=1e-3)


def test_features_come_from_the_cache_the_second_time(root, config, reads):
    corpus = read_emovo(root)
    first = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    assert len(reads) == len(corpus.utterances)
    second = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    assert len(reads) == len(corpus.utterances)
    assert_equal(first, second)


def test_features_do_not_depend_on_the_moment_of_reading(root, config, tmp_path):
    """Threads finish in any order."""
    corpus = read_emovo(root)
    first = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    shutil.rmtree(config.data.cache_dir)
    assert_equal(first, load_features(corpus, config.features, config.data.cache_dir, progress=False))


@pytest.mark.parametrize(
    "change",
    [
        {"features": {"hop_length": 256}},
        {"features": {"n_fft": 1024}},
        {"features": {"n_mels": 64}},
        {"features": {"signal_length": 9_000}},
        {"features": {"sample_rate": 16_000}},
        {"features": {"f_max": 7_000.0}},
        {"features": {"trim_silence": True}},
        {"features": {"normalise_level": True}},
        {"model": {"num_features": 20}},
    ],
)
def test_other_settings_make_other_features(root, config, reads, change):
    corpus = read_emovo(root)
    load_features(corpus, config.features, config.data.cache_dir, progress=False)
    other = Config.model_validate(
        {section: values | change.get(section, {}) for section, values in config.model_dump().items()}
    )
    features = load_features(corpus, other.features, other.data.cache_dir, progress=False)
    assert len(reads) == 2 * len(corpus.utterances)
    assert features.frames.shape == (len(corpus.utterances), other.model.num_features, other.features.frames)
    assert len(cache_files(config)) == 2


@pytest.mark.parametrize("switch", ["trim_silence", "normalise_level"])
def test_recordings_are_conditioned_before_they_are_fitted(root, config, switch):
    corpus = read_emovo(root)
    settings = config.features.model_copy(update={switch: True})
    features = load_features(corpus, config.model_copy(update={"features": settings}), progress=False)
    plain = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    for row, other, utterance in zip(features.frames, plain.x, corpus.utterances, strict=True):
        waveform = fit_length(condition(read_audio(utterance.path), settings), 8_000)
        np.testing.assert_allclose(row.numpy(), librosa_mfcc(waveform, 13), rtol=0, atol=1e-3)
        assert switch == "trim_silence" or not torch.equal(row, other)  # these recordings have no silence


def test_settings_that_no_feature_depends_on_use_the_same_cache(root, config, reads):
    corpus = read_emovo(root)
    load_features(corpus, config.features, config.data.cache_dir, progress=False)
    other = config.model_copy(update={"features": FeaturesConfig(signal_length=8_000, standardise=False)})
    load_features(corpus, other.features, other.data.cache_dir, progress=False)
    assert len(reads) == len(corpus.utterances)


def test_a_changed_recording_is_read_anew(root, config):
    corpus = read_emovo(root)
    before = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    path = corpus.utterances[3].path
    waveform, rate = soundfile.read(path)
    soundfile.write(path, waveform[::-1], rate)  # as long as it was
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = load_features(read_emovo(root), config, progress=False)
    assert [i for i in range(len(before.x)) if not torch.equal(before.x[i], after.x[i])] == [3]


def test_a_zip_gives_the_same_features_and_is_read_anew_when_changed(root, config, tmp_path, reads):
    unpacked = load_features(read_emovo(root), config, progress=False)
    archive = shutil.make_archive(tmp_path / "EMOVO", "zip", root)
    for _ in range(2):
        zipped = load_features(read_emovo(archive), config, progress=False)
        assert torch.equal(zipped.x, unpacked.x)
    assert len(reads) == 2 * len(unpacked.utterances)

    path = unpacked.utterances[3].path
    waveform, rate = soundfile.read(path)
    soundfile.write(path, waveform[::-1], rate)
    shutil.make_archive(tmp_path / "EMOVO", "zip", root)
    changed = load_features(read_emovo(archive), config, progress=False)
    assert [i for i in range(len(changed.x)) if not torch.equal(changed.x[i], unpacked.x[i])] == [3]


# --- recordings that cannot be used ---


def test_unusable_recordings_are_named_and_the_rest_is_read(root, config, reads, capsys):
    corpus = read_emovo(root)
    whole = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    bad = [corpus.utterances[i] for i in (0, 7, 20, 30)]
    bad[0].path.write_text("no sound")
    bad[1].path.write_bytes(bad[1].path.read_bytes()[:3_000])
    soundfile.write(bad[2].path, np.zeros(10_000), RATE)
    soundfile.write(bad[3].path, np.ones(1), RATE)

    for source in ("files", "cache"):  # reported again when they come from the cache
        capsys.readouterr()
        reads.clear()
        features = load_features(read_emovo(root), config, progress=False)
        assert bool(reads) == (source == "files")
        assert features.skipped.keys() == {utterance.name for utterance in bad}, source
        message = capsys.readouterr().err
        assert f"4 of {len(corpus.utterances)}" in message
        for utterance, reason in zip(bad, ("not audio", "cut short", "silent", "too short"), strict=True):
            assert reason in features.skipped[utterance.name]
            assert any(str(utterance.path) in line and reason in line for line in message.splitlines())
        kept = [i for i, utterance in enumerate(corpus.utterances) if utterance not in bad]
        assert features.utterances == tuple(corpus.utterances[i] for i in kept)
        assert torch.equal(features.frames, whole.x[kept])


def test_a_recording_that_vanishes_is_skipped(root, config):
    corpus = read_emovo(root)
    corpus.utterances[5].path.unlink()
    features = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    assert list(features.skipped) == [corpus.utterances[5].name]


def test_a_repaired_recording_is_used_again(root, config):
    corpus = read_emovo(root)
    path = corpus.utterances[5].path
    content = path.read_bytes()
    path.write_bytes(b"")
    assert load_features(corpus, config.features, config.data.cache_dir, progress=False).skipped
    path.write_bytes(content)
    assert not load_features(corpus, config.features, config.data.cache_dir, progress=False).skipped


def test_an_emotion_without_usable_recordings_is_an_error(root, config):
    for path in root.rglob("sor-*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no usable recording of sor"):
        load_features(read_emovo(root), config, progress=False)


def test_a_corpus_without_any_usable_recording_is_an_error(root, config):
    for path in root.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=", ".join(EMOTIONS)):
        load_features(read_emovo(root), config, progress=False)


# --- the cache on disk ---


def test_a_damaged_cache_is_noticed_and_made_anew(root, config, capsys):
    corpus = read_emovo(root)
    whole = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    (path,) = cache_files(config)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    flips = [bytearray(content) for _ in range(30)]
    for damaged in flips:
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
    cuts = [content[: int(length)] for length in np.linspace(0, len(content) - 1, 6)]
    others = [b"\0" * len(content), b"\x80\x04K\x01.", content + b"more"]
    rebuilt = 0
    for damaged in (*flips, *cuts, *others):
        path.write_bytes(damaged)
        capsys.readouterr()
        assert_equal(load_features(corpus, config.features, config.data.cache_dir, progress=False), whole)
        if "damaged" in capsys.readouterr().err:
            rebuilt += 1
            assert path.read_bytes() == content
    assert rebuilt >= 36  # a bit in a zip's time stamps, say, harms nothing


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((1, 13, 16), np.float32)},
        {"x": np.zeros((70, 13, 16))},
        {"x": np.array([{"an": "object"}], dtype=object)},
        {"utterances": np.array(["dis-f1-b1"])},
        {"skipped": np.array(json.dumps({"dis-f1-b1": "silent"}))},
        {"skipped": np.array("{")},
    ],
)
def test_a_cache_that_does_not_fit_is_made_anew(root, config, capsys, arrays):
    corpus = read_emovo(root)
    whole = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    (path,) = cache_files(config)
    with np.load(path) as file:
        np.savez(path, **(dict(file) | arrays))
    assert_equal(load_features(corpus, config.features, config.data.cache_dir, progress=False), whole)
    assert "damaged" in capsys.readouterr().err


def test_a_cache_is_told_apart_by_the_corpus(root, config):
    corpus = read_emovo(root)
    load_features(corpus, config.features, config.data.cache_dir, progress=False)
    load_features(replace(corpus, name="demo"), config, progress=False)
    assert [path.name.partition("-")[0] for path in cache_files(config)] == ["EMOVO", "demo"]


def test_a_cache_that_cannot_be_written_only_costs_a_warning(root, config, tmp_path, capsys):
    corpus = read_emovo(root)
    whole = load_features(corpus, config.features, config.data.cache_dir, progress=False)
    (tmp_path / "file").touch()
    blocked = config.model_copy(update={"data": DataConfig(cache_dir=tmp_path / "file" / "cache")})
    assert_equal(load_features(corpus, blocked.features, blocked.data.cache_dir, progress=False), whole)
    assert "not kept" in capsys.readouterr().err


def test_an_interrupted_write_leaves_no_file(root, config, monkeypatch, capsys):
    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    load_features(read_emovo(root), config, progress=False)
    assert "No space left" in capsys.readouterr().err
    assert cache_files(config) == []

"""MFCCs against librosa's; and the features of a corpus: complete, cached, and read anew when it changes."""

import os
import shutil
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch

import dataloader.audio
import dataloader.features.extract
from dataloader.audio import condition, fit_length, read_audio
from dataloader.corpora.find import read_corpus
from dataloader.features.extract import MFCC, Extractor, Features, load_features
from utils.config import FeaturesConfig
from utils.errors import UserError

RATE = 22_050


def mfcc(waveform: np.ndarray, **settings) -> np.ndarray:
    """Of one waveform, by us; otherwise librosa_mfcc."""
    return MFCC(FeaturesConfig(**settings))(torch.from_numpy(waveform)[None])[0].numpy()


def librosa_mfcc(waveform: np.ndarray, n_mfcc: int = 39, **settings) -> np.ndarray:
    return librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=n_mfcc, **settings)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


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
    assert mfcc(waveform).shape == (39, 188)
    assert_close(mfcc(waveform), librosa_mfcc(waveform))
    assert_close(mfcc(waveform, f_max=7_000.0), librosa_mfcc(waveform, fmax=7_000))


def test_mfccs_of_real_speech_equal_librosas(emovo_root):
    for utterance in read_corpus("emovo", emovo_root).utterances[::12]:
        waveform = fit_length(read_audio(utterance.path), 96_000)
        assert_close(mfcc(waveform), librosa_mfcc(waveform))


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # librosa, of the short ones
@pytest.mark.parametrize(
    ("samples", "n_mfcc", "hop"),
    [(1, 39, 512), (511, 39, 512), (512, 13, 512), (30_000, 39, 256), (96_000, 39, 1024), (96_000, 128, 512)],
)
def test_mfccs_of_any_length_and_rate_of_frames(samples, n_mfcc, hop):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    expected = librosa_mfcc(waveform, n_mfcc, hop_length=hop)
    assert_close(mfcc(waveform, n_mfcc=n_mfcc, hop_length=hop), expected)
    if samples >= hop:
        assert expected.shape[1] == FeaturesConfig(hop_length=hop, signal_length=samples).frames


def test_with_f_max_a_recording_made_at_16_khz_looks_like_one_made_at_48(tmp_path):
    """Noise reaches up to half of any rate; nothing above f_max changes an MFCC."""
    wide = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    soundfile.write(tmp_path / "48.wav", wide, 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "16.wav", soxr.resample(wide, 48_000, 16_000), 16_000, subtype="FLOAT")
    at_48, at_16 = (fit_length(read_audio(tmp_path / f"{rate}.wav"), 20_000) for rate in (48, 16))
    for f_max, same in ((7_000.0, True), (None, False)):
        close = np.allclose(mfcc(at_48, f_max=f_max), mfcc(at_16, f_max=f_max), rtol=0, atol=0.5)
        assert close == same  # dB; speech has hundreds


def test_no_utterances_mfccs_depend_on_what_it_is_batched_with():
    loud, faint = synthetic_speech(0, level=1.0), synthetic_speech(1, level=1e-4)
    batch, net = torch.from_numpy(np.stack([loud, faint, np.zeros_like(loud)])), MFCC(FeaturesConfig())
    for row, waveform in zip(net(batch), batch.numpy(), strict=True):
        assert_close(row, mfcc(waveform))
    # The trap that MFCC avoids is there: torchaudio alone gives the faint one the loud one's floor.
    assert net.decibels(net.mel(batch))[1].min() > net.decibels(net.mel(batch[1:2])).min() + 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_mfccs_are_the_same_on_a_gpu():
    waveforms = torch.from_numpy(np.stack([synthetic_speech(seed) for seed in range(4)]))
    net = MFCC(FeaturesConfig())
    assert_close(net.cuda()(waveforms.cuda()).cpu(), net.cpu()(waveforms))


# --- the features of a corpus (damaged caches: test_cache) ---


@pytest.fixture
def root(tiny_corpus, tmp_path) -> Path:
    """A copy of the tiny corpus, to be damaged."""
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


@pytest.fixture
def load(root, tmp_path):
    """Load the features of the corpus as it now lies on disk: load(n_mfcc=20)."""

    def load(place: Path = root, **features) -> Features:
        settings = FeaturesConfig(**{"signal_length": 8_000, "n_mfcc": 13, **features})
        return load_features(read_corpus("emovo", place), settings, tmp_path / "cache", progress=False)

    return load


@pytest.fixture
def reads(monkeypatch) -> list:
    """The paths of all recordings that are decoded from now on."""
    paths, read = [], dataloader.audio._read_bytes
    monkeypatch.setattr(dataloader.audio, "_read_bytes", lambda path: (paths.append(path), read(path))[1])
    return paths


def reverse(path: Path) -> None:
    """Another sound in a file of the same size and time."""
    waveform, rate = soundfile.read(path)
    before = path.stat()
    soundfile.write(path, waveform[::-1], rate)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def changed_rows(ours: Features, theirs: Features) -> list[int]:
    return [row for row, x in enumerate(ours.frames) if not torch.equal(x, theirs.frames[row])]


def test_features_are_the_mfccs_of_each_utterance_in_order_and_cached(root, load, reads, tmp_path):
    features, utterances = load(), read_corpus("emovo", root).utterances
    assert features.frames.shape == (70, 13, 16) and features.frames.dtype == torch.float32
    assert (features.utterances, features.skipped, features.functionals) == (utterances, {}, None)
    for row, utterance in zip(features.frames, utterances, strict=True):
        assert_close(row, librosa_mfcc(fit_length(read_audio(utterance.path), 8_000), 13))
    assert len(reads) == 140  # 70 of them by this test
    for again in (load(), load(standardise=False)):  # from the cache: standardisation comes later
        assert not changed_rows(again, features) and again.utterances == utterances
    assert len(reads) == 140
    shutil.rmtree(tmp_path / "cache")
    assert not changed_rows(load(), features)  # threads finish in any order


OTHER_SETTINGS = {
    **{"hop_length": 256, "n_fft": 1024, "n_mels": 64, "signal_length": 9_000, "sample_rate": 16_000},
    **{"f_max": 7_000.0, "trim_silence": True, "normalise_level": True, "n_mfcc": 20, "prosody": True},
}


@pytest.mark.parametrize("key", OTHER_SETTINGS)
def test_other_settings_make_other_features(load, reads, key):
    change = {key: OTHER_SETTINGS[key]}
    plain, other = load(), load(**change)
    settings = FeaturesConfig(**{"signal_length": 8_000, "n_mfcc": 13, **change})
    assert len(reads) == 140 and other.frames.shape == (70, settings.num_features, settings.frames)
    assert plain.frames.shape != other.frames.shape or key == "trim_silence" or changed_rows(plain, other)


@pytest.mark.parametrize("switch", ["trim_silence", "normalise_level"])
def test_recordings_are_conditioned_before_they_are_fitted(load, switch):
    features = load(**{switch: True})
    for row, utterance in zip(features.frames, features.utterances, strict=True):
        conditioned = condition(read_audio(utterance.path), FeaturesConfig(**{switch: True}))
        assert_close(row, librosa_mfcc(fit_length(conditioned, 8_000), 13))


def test_changed_recordings_are_read_anew_from_a_zip_too(root, load, reads, tmp_path):
    before = load()
    archive = Path(shutil.make_archive(tmp_path / "EMOVO", "zip", root))
    assert not changed_rows(load(archive), before)
    assert len(reads) == 140  # fingerprints say that it is the same sound, whose features are kept
    reverse(before.utterances[3].path)
    assert changed_rows(load(), before) == [3]
    shutil.make_archive(tmp_path / "EMOVO", "zip", root)
    assert changed_rows(load(archive), before) == [3]


# --- recordings that cannot be used ---


@pytest.mark.parametrize("most", [0, 2**30])
def test_unusable_recordings_are_named_and_the_rest_is_read(load, reads, on_disk, most, capsys):
    on_disk(most)
    whole = load()
    bad = [whole.utterances[row] for row in (0, 7, 20, 69)]
    bad[0].path.write_text("no sound")
    bad[1].path.write_bytes(bad[1].path.read_bytes()[:3_000])
    soundfile.write(bad[2].path, np.zeros(10_000), RATE)
    soundfile.write(bad[3].path, np.ones(1), RATE)
    kept = [row for row in range(69) if row not in (0, 7, 20)]
    for source in ("files", "cache"):  # reported again when they come from the cache
        capsys.readouterr()
        reads.clear()
        features = load()
        assert (len(reads) > 4) == (source == "files")  # those that have no fingerprint are tried again
        assert features.skipped.keys() == {utterance.name for utterance in bad}, source
        message = capsys.readouterr().err
        assert "4 of 70" in message
        for utterance, reason in zip(bad, ("not audio", "cut short", "silent", "too short"), strict=True):
            assert reason in features.skipped[utterance.name]
            assert any(str(utterance.path) in line and reason in line for line in message.splitlines())
        assert features.utterances == tuple(whole.utterances[row] for row in kept)
        assert torch.equal(features.frames, whole.frames[kept])


def test_a_recording_that_vanishes_is_skipped_and_a_repaired_one_used_again(root, load, tmp_path):
    corpus = read_corpus("emovo", root)
    path, settings = corpus.utterances[5].path, FeaturesConfig(signal_length=8_000)
    content = path.read_bytes()
    path.unlink()  # after the corpus was listed
    features = load_features(corpus, settings, tmp_path / "cache", progress=False)
    assert list(features.skipped) == [corpus.utterances[5].name]
    path.write_bytes(b"")
    assert load().skipped
    path.write_bytes(content)
    assert not load().skipped


@pytest.mark.parametrize(("files", "named"), [("sor-*.wav", "surprise"), ("*.wav", "disgust, joy, neutral")])
def test_an_emotion_without_usable_recordings_is_an_error(root, load, files, named):
    for path in root.rglob(files):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=f"no usable recording of {named}"):
        load()


@pytest.mark.parametrize("prosody", [False, True])
@pytest.mark.parametrize(
    ("length", "hop", "n_fft"), [(5_000, 512, 2_048), (8_192, 1_024, 2_048), (5_000, 512, 2_205)]
)
def test_spectra_of_the_zeros_around_a_waveform_need_not_be_computed(length, hop, n_fft, prosody):
    extract = Extractor(FeaturesConfig(signal_length=length, hop_length=hop, n_fft=n_fft, prosody=prosody))
    for samples in (1, 2, 1_023, 1_024, 2_501, length - 1_025, length - 1, length, length + 3_001):
        waveform = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        expected = extract(torch.from_numpy(fit_length(waveform, length))[None])
        assert torch.equal(extract.of_one(waveform), expected)

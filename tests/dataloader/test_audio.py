"""Reading sound files: the waveform, and an error by name for every file that is none."""

import io
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import librosa
import numpy as np
import pytest
import soundfile

import dataloader.decode
from dataloader.audio import (
    LEVEL,
    AudioError,
    SilenceError,
    audio_seconds,
    condition,
    fit_length,
    is_silent,
    loudest_level,
    read_audio,
    stream_audio,
    to_waveform,
    windows,
)
from utils.config import FeaturesConfig

RATE = 22_050


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """White noise (samples, channels) that no format clips."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels))


def encoded(waveform: np.ndarray, rate: int = RATE, **kwargs) -> bytes:
    """A sound file's bytes."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, **{"format": "WAV", **kwargs})
    return file.getvalue()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_resampling_is_librosas_soxr_hq(tmp_path, rate):
    librosa = pytest.importorskip("librosa")
    original = noise(rate // 3).astype(np.float32)[:, 0]
    soundfile.write(tmp_path / "x.wav", original, rate, subtype="FLOAT")
    original -= original.mean(dtype=np.float64).astype(np.float32)
    expected = librosa.resample(original, orig_sr=rate, target_sr=RATE, res_type="soxr_hq")
    waveform = read_audio(tmp_path / "x.wav")
    assert len(expected) - len(waveform) in (0, 1)  # librosa rounds up, and fills up with a zero
    np.testing.assert_array_equal(waveform, expected[: len(waveform)])


EXACT = "WAV PCM_16, WAV PCM_24, WAV PCM_32, WAV FLOAT, WAV DOUBLE, FLAC PCM_16, FLAC PCM_24, AIFF PCM_16"
ROUGH = "WAV PCM_U8, FLAC PCM_S8, OGG VORBIS, MP3 MPEG_LAYER_III"


@pytest.mark.parametrize("kind", f"{EXACT}, {ROUGH}".split(", "))
def test_any_format_is_read_and_stereo_becomes_the_mean_of_the_channels(tmp_path, kind):
    format, subtype = kind.split()
    stereo = noise(RATE, channels=2)
    (tmp_path / "x").write_bytes(encoded(stereo, format=format, subtype=subtype))
    waveform = read_audio(tmp_path / "x")
    assert waveform.dtype == np.float32 and abs(len(waveform) - RATE) < 2_500  # MP3 pads
    if kind in EXACT:
        np.testing.assert_allclose(
            waveform, stereo.mean(axis=1) - stereo.mean(), atol=1e-7 if "O" in subtype else 2**-14
        )


def test_a_tone_keeps_its_frequency_and_length(tmp_path):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(48_000) / 48_000)
    soundfile.write(tmp_path / "x.wav", 0.5 * tone, 48_000)
    waveform = read_audio(tmp_path / "x.wav")
    assert len(waveform) == RATE
    assert np.abs(np.fft.rfft(waveform)).argmax() == 1_000  # Hz, as it lasts one second


def test_a_member_of_a_zip_reads_as_the_file_does_and_nothing_is_unpacked(tmp_path):
    data = encoded(noise(5_000, channels=2), rate=48_000)
    (tmp_path / "x.wav").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "EMOVO.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("EMOVO/f1/x.wav", data)
    waveform = read_audio(tmp_path / "EMOVO.zip/EMOVO/f1/x.wav")
    np.testing.assert_array_equal(waveform, read_audio(tmp_path / "x.wav"))
    blocks = list(stream_audio(tmp_path / "EMOVO.zip/EMOVO/f1/x.wav"))
    np.testing.assert_allclose(np.concatenate(blocks), waveform, atol=1e-6)
    assert audio_seconds(tmp_path / "EMOVO.zip/EMOVO/f1/x.wav") == 5_000 / 48_000
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["EMOVO.zip", "x.wav"]


BROKEN_FLAC = bytearray(encoded(noise(20_000), format="FLAC"))
BROKEN_FLAC[len(BROKEN_FLAC) // 2 : len(BROKEN_FLAC) // 2 + 500] = bytes(500)
NAN = noise(5_000)
NAN[77] = np.nan

BAD_FILES = {
    "empty": (b"", "not audio"),
    "text": (b"Lorem ipsum dolor sit amet.\n" * 100, "not audio"),
    "zeros": (bytes(10_000), "not audio"),
    "header of a WAV": (encoded(noise(5_000))[:30], "not audio"),
    "no samples": (encoded(noise(0)), "too short"),
    "one sample": (encoded(noise(1)), "too short: 1 samples"),
    "silent": (encoded(np.zeros(5_000)), "silent"),
    "constant": (encoded(np.full(5_000, 0.5)), "silent"),
    "one step of dither": (encoded((3 * noise(5_000)).round() / 2**15), "silent"),
    "NaN": (encoded(NAN, subtype="FLOAT"), "not finite"),
    "infinity": (encoded(np.where(np.isnan(NAN), np.inf, NAN), subtype="FLOAT"), "not finite"),
    "1 Hz": (encoded(noise(5_000), rate=1), "sample rate of 1 Hz"),
    "1 MHz": (encoded(noise(100_000), rate=1_000_000), "sample rate of 1000000 Hz"),
    "far too loud": (encoded(1e20 * noise(5_000), subtype="FLOAT"), r"holds samples of 5e\+19"),
    "one sample of stereo": (encoded(noise(1, channels=2)), "too short: 1 samples"),
    "corrupt FLAC": (bytes(BROKEN_FLAC), "corrupt"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_named(tmp_path, kind):
    data, reason = BAD_FILES[kind]
    path = tmp_path / "dis-f1-b1.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=reason) as caught:
        read_audio(path)
    assert str(path) in str(caught.value) and "BytesIO" not in str(caught.value)
    assert isinstance(caught.value, SilenceError) == (reason == "silent")
    if not re.search("too short|silent", reason):  # in a stream these are no error
        with pytest.raises(AudioError, match=rf"{path} .*{reason}"):
            list(stream_audio(path))


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "AIFF", "AU", "FLAC", "MP3"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_truncated_files_are_found(tmp_path, format, share):
    data = encoded(noise(RATE, channels=2), format=format)
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    read_audio(path)
    path.write_bytes(data[: int(share * len(data))])
    for read in (read_audio, lambda path: list(stream_audio(path))):
        with pytest.raises(AudioError, match=r"x\.wav is (cut short|not audio, or corrupt)"):
            read(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
def test_a_wav_that_was_streamed_and_does_not_know_its_size_is_read(tmp_path, size):
    waveform = noise(5_000)
    waveform -= waveform.mean()
    data = bytearray(encoded(waveform))
    where = data.find(b"data") + 4
    data[where : where + 4] = struct.pack("<I", size)
    (tmp_path / "x.wav").write_bytes(data)
    np.testing.assert_allclose(read_audio(tmp_path / "x.wav"), waveform[:, 0], atol=2**-15)


def flac_of(samples: int) -> bytes:
    """A FLAC of 5 000 samples whose header claims so many."""
    data = bytearray(encoded(noise(5_000, channels=2), format="FLAC"))
    data[21] = (data[21] & 0xF0) | samples >> 32
    data[22:26] = (samples % 2**32).to_bytes(4, "big")
    return bytes(data)


def test_a_flac_that_was_streamed_and_does_not_know_its_length_is_read(tmp_path):
    (tmp_path / "x.flac").write_bytes(flac_of(0))
    (tmp_path / "y.flac").write_bytes(flac_of(5_000))
    whole = read_audio(tmp_path / "y.flac")
    np.testing.assert_array_equal(read_audio(tmp_path / "x.flac"), whole)
    np.testing.assert_allclose(np.concatenate(list(stream_audio(tmp_path / "x.flac"))), whole, atol=1e-6)
    assert audio_seconds(tmp_path / "x.flac") == 5_000 / RATE


@pytest.mark.parametrize("samples", [10_000, 2**31, 2**36 - 1])
def test_memory_is_not_taken_because_a_header_claims_much_sound(tmp_path, samples):
    (tmp_path / "x.flac").write_bytes(flac_of(samples))
    for read in (read_audio, lambda path: list(stream_audio(path))):
        tracemalloc.start()
        with pytest.raises(AudioError, match=r"x\.flac is cut short"):
            read(tmp_path / "x.flac")
        assert tracemalloc.get_traced_memory()[1] < 2**25  # bytes; numpy counts here what it asks for
        tracemalloc.stop()


def test_what_lies_behind_the_sound_may_be_cut_short(tmp_path):
    data = encoded(noise(5_000)) + b"LIST" + struct.pack("<I", 100) + bytes(10)
    (tmp_path / "x.wav").write_bytes(data[:4] + struct.pack("<I", len(data) + 82) + data[8:])
    assert len(read_audio(tmp_path / "x.wav")) == 5_000


def test_missing_files_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("here.wav", b"")
    (tmp_path / "b.zip").write_bytes(b"no zip at all")
    for path in ("gone.wav", "gone/x.wav", ".", "a.zip/gone.wav", "b.zip/x.wav"):
        for read in (read_audio, audio_seconds, lambda path: list(stream_audio(path))):
            with pytest.raises(AudioError, match=re.escape(str(tmp_path / path))):
                read(tmp_path / path)


def test_a_corrupt_member_of_a_zip_is_named(tmp_path):
    data = encoded(noise(5_000))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
            archive.writestr("x.wav", data)
        content = bytearray((tmp_path / "a.zip").read_bytes())
        content[1_000:1_100] = bytes(100)
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(AudioError, match=r"a\.zip/x\.wav cannot be read"):
            read_audio(tmp_path / "a.zip/x.wav")


PADDED = [(3, [1, 2, 3]), (3, [0, 1, 2, 3, 0, 0]), (3, [0, 1, 2, 3, 0]), (4, [1, 2, 3, 4, 0])]
CUT = [(6, [2, 3, 4]), (5, [2, 3, 4]), (5, [1, 2, 3, 4])]


@pytest.mark.parametrize(("samples", "expected"), PADDED + CUT)
def test_fit_length_pads_and_cuts_in_the_middle(samples, expected):
    fitted = fit_length(np.arange(1, samples + 1, dtype=np.float32), len(expected))
    assert fitted.dtype == np.float32 and fitted.tolist() == expected


# --- sound that is in memory ---


def test_sound_in_memory_is_as_if_read_from_a_file(tmp_path):
    stereo = noise(9_000, channels=2)
    soundfile.write(tmp_path / "x.wav", stereo, 48_000, subtype="DOUBLE")
    np.testing.assert_array_equal(to_waveform(stereo, 48_000), read_audio(tmp_path / "x.wav"))
    mono = noise(9_000)
    np.testing.assert_allclose(to_waveform(mono[:, 0], RATE), mono[:, 0] - mono.mean(), atol=1e-7)


@pytest.mark.parametrize(("kind", "subtype"), [("int16", "PCM_16"), ("int32", "PCM_32"), ("uint8", "PCM_U8")])
def test_integers_are_as_a_wav_holds_them(tmp_path, kind, subtype):
    soundfile.write(tmp_path / "x.wav", noise(5_000), RATE, subtype=subtype)
    if kind == "uint8":  # soundfile does not read into it
        integers = np.frombuffer((tmp_path / "x.wav").read_bytes()[-5_000:], np.uint8)
    else:
        integers = soundfile.read(tmp_path / "x.wav", dtype=kind)[0]
    np.testing.assert_allclose(to_waveform(integers, RATE), read_audio(tmp_path / "x.wav"), atol=1e-7)


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (noise(1_000).T, RATE, "transpose"),
        (noise(1_000)[:, 0] + 0j, RATE, "real numbers"),
        (noise(1_000).reshape(10, 10, 10), RATE, "shape"),
        (np.array(["a"] * 1_000), RATE, "real numbers"),
        (np.zeros(0), RATE, "too short"),
        (np.full(5_000, 0.5), RATE, "silent"),
        (NAN, RATE, "not finite"),
        (noise(5_000), 0, "sample rate of 0 Hz"),
    ],
)
def test_what_is_no_sound_is_refused(sound, rate, message):
    with pytest.raises(AudioError, match=f"hello.*{message}"):
        to_waveform(sound, rate, name="hello")


def voice(level: float = 1.0) -> np.ndarray:
    """Noise that comes and goes, (samples,), up to 0.5."""
    return level * noise(RATE)[:, 0] * np.sin(np.arange(RATE) / 1_500) ** 4


def test_integers_count_by_their_values_not_by_their_type():
    expected, remarks = to_waveform(voice().astype(np.float32), RATE), []
    for bits, kind in ((16, "int32"), (16, "int64"), (24, "int32"), (24, "int64"), (32, "int64")):
        integers = np.round(voice() * 2.0 ** (bits - 1)).astype(kind)
        found = to_waveform(integers, RATE, say=remarks.append)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        found = to_waveform(integers.tolist(), RATE, say=remarks.append)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(remarks) == 4 and all("24-bit" in remark for remark in remarks)
    loud = np.round(voice(1.9) * 127 + 128)
    for kind in ("uint8", "int16", "int64"):  # 8 bits have no sign
        np.testing.assert_allclose(to_waveform(loud.astype(kind), RATE), 1.9 * expected, atol=0.02)
    upper = np.round(voice(0.01) * 2.0**23).astype(np.int32) * 256  # as a 24-bit WAV is read into int32
    np.testing.assert_allclose(to_waveform(upper, RATE), 0.01 * expected, atol=1e-6)
    quiet = np.round(voice(0.003) * 2**15).astype(np.int16)  # the type's own width is not doubted
    assert np.ptp(to_waveform(quiet, RATE)) < 0.004


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (voice() * 32_768, "where 1 is full scale"),
        (voice() > 0, "truth values"),
        (voice() + 0j, "complex numbers"),
        (voice().astype(object), "objects"),
        ([[0.0, 1.0], [2.0]], "not an array"),
        ("hello", "text"),
    ],
)
def test_arrays_of_another_kind_are_named(sound, message):
    with pytest.raises(AudioError, match=f"mine .*{message}"):
        to_waveform(sound, RATE, name="mine")


@pytest.mark.parametrize("rate", ["22050", None, 0, 10**9])
def test_a_rate_that_is_none_is_named(rate):
    with pytest.raises(AudioError, match="sample rate"):
        to_waveform(voice(), rate)


def test_a_masked_array_is_an_array():
    np.testing.assert_array_equal(to_waveform(np.ma.masked_array(voice()), RATE), to_waveform(voice(), RATE))


def test_offsets_and_channels_are_treated_in_arrays_as_in_files(tmp_path):
    speech = voice()[:, None]
    for sound in (speech + 0.02, np.hstack([speech, -speech]), np.hstack([speech, 0 * speech + 0.1])):
        remarks = []
        soundfile.write(tmp_path / "x.wav", sound, RATE, subtype="DOUBLE")
        found = to_waveform(sound, RATE, say=remarks.append)
        np.testing.assert_array_equal(found, read_audio(tmp_path / "x.wav", say=remarks.append))
        np.testing.assert_allclose(np.abs(found), np.abs(speech - speech.mean())[:, 0], atol=1e-6)
        assert len(remarks) == 2 * (sound.shape[1] - 1)
    ordinary = np.hstack([speech, noise(RATE, seed=1) * 0.1 + 0.5 * speech])
    mean = ordinary.mean(axis=1)
    np.testing.assert_allclose(to_waveform(ordinary, RATE), mean - mean.mean(), atol=1e-6)


def test_faint_speech_is_no_silence():
    assert not is_silent(voice(1e-3).astype(np.float32)) and not is_silent(voice().astype(np.float32))
    assert is_silent(1e-3 * noise(RATE)[:, 0]) and is_silent(np.zeros(RATE))
    assert not is_silent(0.1 * noise(RATE)[:, 0])


# --- long recordings ---


@pytest.mark.parametrize(
    ("format", "rate"), [("WAV", 48_000), ("FLAC", RATE), ("OGG", 44_100), ("MP3", 16_000)]
)
def test_a_stream_is_the_recording(tmp_path, monkeypatch, format, rate):
    monkeypatch.setattr(dataloader.decode, "BLOCK", 1)
    path = tmp_path / "x"
    path.write_bytes(encoded(noise(int(3.3 * rate), channels=2), rate, format=format))
    blocks = list(stream_audio(path))
    assert len(blocks) > 3 and {block.dtype for block in blocks} == {np.dtype(np.float32)}
    whole = read_audio(path)
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)
    assert audio_seconds(path) == pytest.approx(len(whole) / RATE, abs=1e-4)


@pytest.mark.parametrize("samples", [1, 9, 10, 11, 14, 15, 16, 20, 37])
@pytest.mark.parametrize("block", [1, 4, 50])
def test_windows_cover_everything(samples, block):
    waveform = np.arange(samples, dtype=np.float32)
    blocks = [waveform[start : start + block] for start in range(0, samples, block)]
    found = list(windows(blocks, 10, 5))
    for start, window in found:
        np.testing.assert_array_equal(window, waveform[start : start + 10])
    assert [start for start, _ in found[:-1]] == list(range(0, 5 * len(found) - 5, 5))
    last, window = found[-1]
    assert last + len(window) == samples and last == max(samples - 10, 0)
    assert len(found) == 1 + max(0, -(-(samples - 10) // 5))


def test_the_loudest_level_is_that_of_sound_not_of_an_offset():
    quiet = np.full(10_000, 0.3, np.float32)
    assert loudest_level(quiet) == pytest.approx(0, abs=1e-6)
    quiet[4_096:6_144] += np.tile([0.1, -0.1], 1_024).astype(np.float32)
    assert loudest_level(quiet) == pytest.approx(0.1, rel=1e-3)


# --- conditioning ---


def spoken(before: float, after: float, level: float) -> np.ndarray:
    """A burst of noise of one second with fainter noise (40 dB below) for so many seconds around it."""
    loudness = np.repeat([0.01, 1.0, 0.01], [int(seconds * RATE) for seconds in (before, 1, after)])
    return (level * loudness * noise(len(loudness))[:, 0]).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 511, 2_047, 2_048, 30_000, 44_123])
@pytest.mark.parametrize("silence", [0.0, 1e-6, 1e-3])
def test_trimming_is_librosas(samples, silence):
    rng = np.random.default_rng(samples)
    loudness = np.concatenate([[silence] * 9_000, [0.1] * samples, [silence] * 5_000])
    waveform = (loudness * rng.standard_normal(len(loudness))).astype(np.float32)
    theirs = librosa.effects.trim(waveform, top_db=30)[0]
    np.testing.assert_array_equal(condition(waveform, FeaturesConfig(trim_silence=True)), theirs)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 2), (0.7, 0.4)])
def test_silence_at_the_ends_is_cut_off(before, after):
    waveform = spoken(before, after, level=0.3)
    assert condition(waveform, FeaturesConfig()) is waveform  # unless the configuration asks for it
    trimmed = condition(waveform, FeaturesConfig(trim_silence=True))
    assert trimmed.dtype == np.float32
    assert RATE <= len(trimmed) < RATE + 2 * 2_048  # frames of 2 048 samples
    start = waveform.tobytes().find(trimmed.tobytes()) // 4
    assert start <= before * RATE and start + len(trimmed) >= (before + 1) * RATE  # it is whole


@pytest.mark.parametrize("level", [1e-4, 0.3, 1.0])
def test_levels_become_the_same(level):
    settings = FeaturesConfig(normalise_level=True)
    scaled = condition(spoken(0, 0, level), settings)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(np.sqrt(np.mean(scaled**2)), LEVEL, rtol=1e-5)
    np.testing.assert_allclose(scaled, condition(spoken(0, 0, 0.5), settings), rtol=1e-4)


def test_with_both_neither_pauses_nor_the_distance_to_the_microphone_count():
    settings = FeaturesConfig(trim_silence=True, normalise_level=True)
    near, far = spoken(512 / RATE, 0.3, level=0.8), spoken(512 / RATE, 2, level=0.01)
    near, far = condition(near, settings), condition(far, settings)
    assert not condition(np.zeros(1_000, np.float32), settings).any()  # digital silence
    shorter = min(len(near), len(far))
    np.testing.assert_allclose(near[:shorter], far[:shorter], rtol=0.01, atol=1e-3)


def test_the_original_recordings_read_as_their_mono_copies(emovo_root, emovo_original_root):
    paths = sorted(emovo_original_root.rglob("*.wav"))
    assert paths
    for path in paths:
        copy = emovo_root / path.parent.name / f"{path.stem}.flac"
        if not copy.exists():
            pytest.skip("EMOVO is on disk, but not as FLAC")
        # the mean of two 16-bit channels is exact in 24 bits
        np.testing.assert_allclose(read_audio(path), read_audio(copy), atol=1e-6)


def test_reading_does_not_import_numba():
    code = "import sys, dataloader.audio, dataloader.corpora.find; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""The recordings of docs/reliability.md's table; `PYTHONPATH=. python` with this file prints it."""

# ruff: noqa: E731

import io
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from dataloader.audio import SAMPLE_RATE, AudioError, audio_seconds, read_audio, stream_audio

SECONDS = 1.5
READ = "read"


def speech(rate: int, channels: int = 1) -> np.ndarray:
    """(samples, channels) that come and go as speech does, below 3 kHz; no two moments are alike."""
    rng, time = np.random.default_rng(0), np.arange(int(SECONDS * 48_000)) / 48_000
    noise = np.convolve(rng.standard_normal(len(time) + 63), np.hanning(64) / 32, "valid")
    sound = 0.1 * noise * (0.02 + np.sin(2 * np.pi * 2.1 * time) ** 2)
    mono = soxr.resample(sound, 48_000, rate, quality="HQ")
    return np.repeat(mono[:, None], channels, axis=1).astype(np.float32)


def libsndfile(format: str, subtype: str, sound: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=format, subtype=subtype)
    return file.getvalue()


def ffmpeg(format: str, codec: str, sound: np.ndarray, rate: int, picture: str = "", **options: str) -> bytes:
    """Encoded by FFmpeg, with a video track where `picture` names a codec, and a second, silent sound track
    for `second=yes`; `pipe=yes`: as if it were written to a pipe; other options are the container's."""
    file, layout = io.BytesIO(), {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[1] if sound.size else 1]
    quality, second, pipe = (options.pop(name, "") for name in ("quality", "second", "pipe"))
    if pipe:
        file.seekable = lambda: False
        file.seek = None
    with av.open(file, "w", format=format, options=options) as container:
        video = (
            container.add_stream(picture, rate=10, width=64, height=64, pix_fmt="yuv420p")
            if picture
            else None
        )
        tracks = [
            container.add_stream(codec, rate=rate, layout=layout) for _ in range(2 if second else 1) if codec
        ]
        for track in tracks:
            if quality:  # of a variable rate
                track.codec_context.qscale = True
                track.codec_context.global_quality = int(quality) * 118
            elif codec not in ("pcm_s16le", "alac", "wavpack", "tta"):
                track.bit_rate = 12_200 if "amr" in codec else 64_000 * len(sound.T)
        if video:
            for index in range(15):
                image = av.VideoFrame.from_ndarray(np.full((96, 64), 10 * index, np.uint8), "yuv420p")
                image.pts, image.time_base = index, Fraction(1, 10)
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        for number, track in enumerate(tracks):
            content = np.ascontiguousarray(sound.T * (1 - number), np.float32)
            frame = av.AudioFrame.from_ndarray(content, "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            context = track.codec_context
            resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1_024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return file.getvalue()


def announcing(data: bytes, size: Callable[[int], int]) -> bytes:
    """With another length in the header: size(bytes of samples), after what precedes them in their chunk."""
    name, code, own = {
        b"RIFF": (b"data", "<I", 0),
        b"RF64": (b"ds64", "<Q", 0),
        b"FORM": (b"SSND", ">I", 8),
        b".snd": (b".snd", ">I", 0),
        b"caff": (b"data", ">Q", 4),
        b"riff": (b"data\xf3", "<Q", 24),
    }[data[:4]]
    at = data.index(name) + (16 if name in (b"data\xf3", b"ds64") else 8 if name == b".snd" else 4)
    present = 2 * int(SECONDS * 44_100)
    largest = 256 ** struct.calcsize(code) - 1
    new = struct.pack(code, largest if (wanted := size(present)) > 1e9 else wanted + own * (wanted != 0))
    return data[:at] + new + data[at + len(new) :]


def flac_of(samples: Callable[[int], int]) -> bytes:
    data = bytearray(libsndfile("FLAC", "PCM_16", speech(44_100), 44_100))
    number = samples(int(SECONDS * 44_100))
    data[21] = (data[21] & 0xF0) | number >> 32
    data[22:26] = (number % 2**32).to_bytes(4, "big")
    return bytes(data)


ID3 = b"ID3\x04\0\0\0\0\x01\0" + bytes(128)
CUT = "cut short or corrupt: it holds"
BY_LIBSNDFILE = """WAV PCM_16 8000 1; WAV PCM_16 11025 2; WAV PCM_16 16000 1; WAV PCM_16 22050 1;
WAV PCM_16 32000
2; WAV PCM_16 44100 2; WAV PCM_16 48000 6; WAV PCM_16 96000 1; WAV PCM_16 192000 2; WAV PCM_U8
16000 1; WAV PCM_24 48000 2; WAV PCM_32 44100 1; WAV FLOAT 48000 2; WAV DOUBLE 44100 1; WAV
ULAW 8000 1; WAV ALAW 8000 2; WAV IMA_ADPCM 22050 1; WAV MS_ADPCM 44100 1; WAV GSM610 8000 1;
WAVEX PCM_24 48000 6; RF64 PCM_16 44100 2; W64 PCM_16 48000 1; W64 FLOAT 44100 2; AIFF PCM_16
44100 2; AIFF PCM_24 48000 1; AIFF FLOAT 44100 1; AU PCM_16 44100 2; AU ULAW 8000 1; CAF PCM_16
44100 1; CAF PCM_24 48000 2; CAF ALAC_16 44100 2; NIST PCM_16 16000 1; NIST ULAW 8000 1; VOC
PCM_16 44100 1; PVF PCM_16 16000 1; FLAC PCM_S8 16000 1; FLAC PCM_16 44100 2; FLAC PCM_24 48000
1; FLAC PCM_24 96000 6; OGG VORBIS 44100 2; OGG VORBIS 16000 1; OGG OPUS 48000 2; OGG OPUS
16000 1; OGG OPUS 8000 1; MP3 MPEG_LAYER_III 44100 2; MP3 MPEG_LAYER_III 16000 1"""
BY_FFMPEG = """mp3 libmp3lame 44100 1; mp3 libmp3lame 48000 2; mp3 libmp3lame 22050 1; mp3 libmp3lame 8000 1;
mp2 mp2 48000 1; mp2 mp2 44100 2; ipod aac 44100 1; ipod aac 48000 2; ipod aac 16000 1; ipod
alac 44100 2; mp4 aac 48000 6; mp4 libopus 48000 1; mov aac 44100 1; mov pcm_s16le 48000 2; 3gp
libopencore_amrnb 8000 1; 3gp aac 16000 1; adts aac 44100 1; adts aac 48000 2; webm libopus
48000 1; webm libopus 48000 2; webm libopus 16000 1; matroska libopus 48000 1; matroska aac
44100 2; matroska flac 44100 1; ogg libopus 48000 1; opus libopus 24000 2; asf wmav2 44100 1;
asf wmav2 48000 2; amr libopencore_amrnb 8000 1; ac3 ac3 48000 6; ac3 ac3 44100 1; eac3 eac3
48000 2; wv wavpack 44100 1; tta tta 48000 2; avi libmp3lame 44100 1; flv aac 44100 1; mpegts
aac 48000 2; mpeg mp2 48000 1; wav libmp3lame 44100 1; caf alac 44100 1; flac flac 44100 6"""
Row = tuple[str, str, int, int, str, str, Callable[[], bytes]]  # of the table, and the file


def plain_rows() -> list[Row]:
    """Formats without fault."""
    rows: list[Row] = []
    for line in BY_LIBSNDFILE.split(";"):
        format, subtype, rate, channels = line.split()
        make = lambda f=format, s=subtype, r=int(rate), c=int(channels): libsndfile(f, s, speech(r, c), r)
        rows.append((subtype, format, int(rate), int(channels), "", READ, make))
    for line in BY_FFMPEG.split(";"):
        format, codec, rate, channels = line.split()
        make = lambda f=format, s=codec, r=int(rate), c=int(channels): ffmpeg(f, s, speech(r, c), r)
        rows.append((codec, format, int(rate), int(channels), "", READ, make))
    return rows


def odd_lengths() -> list[Row]:
    """Headers that do not say how long the recording is, and recordings behind each other."""
    rows: list[Row] = []
    lengths = {
        "announces nothing": (lambda n: 0, READ),
        "announces the largest number": (lambda n: 2**64, READ),
        "announces 44 bytes too many": (lambda n: n + 44, READ),
        "announces 1,000 bytes; the rest is behind": (lambda n: 1_000, READ),
        "announces twice as much": (lambda n: 2 * n, CUT),
    }
    for format, (odd, (size, outcome)) in product(
        ("WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF", "W64"), lengths.items()
    ):
        make = lambda f=format, s=size: announcing(libsndfile(f, "PCM_16", speech(44_100), 44_100), s)
        rows.append(("PCM_16", format, 44_100, 1, odd, outcome, make))
    for odd, samples, outcome in (
        ("announces nothing", lambda n: 0, READ),
        ("announces 100 samples too many", lambda n: n + 100, READ),
        ("announces 1,000 samples; the rest is behind", lambda n: 1_000, READ),
        ("announces twice as much", lambda n: 2 * n, CUT),
        ("announces 2^36 - 1 samples", lambda n: 2**36 - 1, CUT),
    ):
        rows.append(("PCM_16", "FLAC", 44_100, 1, odd, outcome, lambda s=samples: flac_of(s)))
    bases = {
        ("PCM_16", "WAV", 44_100): lambda r: libsndfile("WAV", "PCM_16", speech(r), r),
        ("PCM_16", "AIFF", 44_100): lambda r: libsndfile("AIFF", "PCM_16", speech(r), r),
        ("PCM_16", "W64", 44_100): lambda r: libsndfile("W64", "PCM_16", speech(r), r),
        ("PCM_16", "FLAC", 48_000): lambda r: libsndfile("FLAC", "PCM_16", speech(r), r),
        ("VORBIS", "OGG", 44_100): lambda r: libsndfile("OGG", "VORBIS", speech(r), r),
        ("OPUS", "OGG", 16_000): lambda r: libsndfile("OGG", "OPUS", speech(r), r),
        ("libmp3lame", "mp3", 44_100): lambda r: ffmpeg("mp3", "libmp3lame", speech(r), r),
        ("aac", "adts", 44_100): lambda r: ffmpeg("adts", "aac", speech(r), r),
    }
    for (codec, format, rate), make in bases.items():
        twice = lambda m=make, r=rate: 2 * m(r)
        rows.append((codec, format, rate, 1, "two recordings, one behind the other", f"{READ} twice", twice))
        tagged = lambda m=make, r=rate: ID3 + m(r)
        rows.append((codec, format, rate, 1, "an ID3 tag in front", READ, tagged))
        half = lambda m=make, r=rate: m(r)[: len(m(r)) // 2]
        outcome = {"OGG": "cut short:", "adts": f"{READ} half: it announces no length"}.get(format, CUT)
        rows.append((codec, format, rate, 1, "the second half is missing", outcome, half))
    mp3 = lambda **options: ffmpeg("mp3", "libmp3lame", speech(44_100), 44_100, **options)
    for odd, make in (
        ("no Xing frame, constant rate", lambda: mp3(write_xing="0")),
        ("no Xing frame, variable rate", lambda: mp3(write_xing="0", quality="4")),
        ("written to a pipe", lambda: mp3(pipe="yes", write_xing="0", quality="2")),
        ("no Xing frame, cut within a frame", lambda: mp3(write_xing="0")[:-50]),
    ):
        rows.append(("libmp3lame", "mp3", 44_100, 1, odd, READ, make))
    twice = lambda: 2 * (ID3 + mp3() + b"TAG" + bytes(125))
    rows.append(
        ("libmp3lame", "mp3", 44_100, 1, "two recordings, with tags at both ends", f"{READ} twice", twice)
    )
    for format, codec in (("webm", "libopus"), ("matroska", "aac"), ("mp4", "aac"), ("opus", "libopus")):
        fragments = {"movflags": "frag_keyframe+empty_moov"} if format == "mp4" else {"pipe": "yes"}
        make = lambda f=format, c=codec, o=fragments: ffmpeg(f, c, speech(48_000), 48_000, **o)
        rows.append((codec, format, 48_000, 1, "written to a pipe", READ, make))
        half = lambda f=format, c=codec: (d := ffmpeg(f, c, speech(48_000), 48_000))[: len(d) // 2]
        outcome = {"mp4": "its index", "opus": "cut short:"}.get(format, CUT)
        rows.append((codec, format, 48_000, 1, "the second half is missing", outcome, half))
    for format, codec in (("avi", "libmp3lame"), ("voc", "pcm_s16le"), ("asf", "wmav2"), ("flv", "aac")):
        make = lambda f=format, c=codec: ffmpeg(f, c, speech(44_100), 44_100, pipe="yes")
        rows.append((codec, format, 44_100, 1, "written to a pipe", READ, make))
        if format != "voc":
            half = lambda f=format, c=codec: (d := ffmpeg(f, c, speech(44_100), 44_100))[: len(d) // 2]
            rows.append((codec, format, 44_100, 1, "the second half is missing", CUT, half))
    ogg = lambda: bases["VORBIS", "OGG", 44_100](44_100).split(b"OggS")
    hole = lambda: b"OggS".join([*(pages := ogg())[:3], bytes(len(pages[3])), *pages[4:]])
    rows.append(("VORBIS", "OGG", 44_100, 1, "zeros in its midst", CUT, hole))
    late = lambda: ffmpeg("webm", "libopus", speech(48_000), 48_000, output_ts_offset="5")
    rows.append(("libopus", "webm", 48_000, 1, "its clock starts at 5 seconds", READ, late))
    mixed = lambda: mp3() + mp3(quality="4")
    rows.append(
        ("libmp3lame", "mp3", 44_100, 1, "a constant and a variable rate, joined", f"{READ} twice", mixed)
    )
    wav = lambda: libsndfile("WAV", "PCM_16", speech(44_100), 44_100)
    two = lambda: wav() + b"data" + struct.pack("<I", 50_000) + wav()[-50_000:]
    rows.append(("PCM_16", "WAV", 44_100, 1, "two chunks of samples", "in several chunks", two))
    behind = lambda: wav() + b"LIST" + struct.pack("<I", 100) + bytes(10)
    rows.append(("PCM_16", "WAV", 44_100, 1, "a chunk behind the sound is cut short", READ, behind))
    rows.append(
        ("PCM_16", "WAV", 44_100, 1, "1,000 zeros behind the end", READ, lambda: wav() + bytes(1_000))
    )
    return rows


def odd_sounds() -> list[Row]:
    """Offsets, scales, channels and levels."""
    rows: list[Row] = []
    rng = np.random.default_rng(1)
    mono = speech(44_100)
    noise = 0.05 * rng.standard_normal((len(mono), 1)).astype(np.float32)
    dither = (rng.uniform(-0.5, 0.5, (2, len(mono), 1)).sum(0)).round() / 2**15
    for odd, sound, outcome, subtypes in (
        ("an offset of 0.005", mono + 0.005, READ, "PCM_16 FLOAT"),
        ("an offset of 0.02", mono + 0.02, READ, "PCM_16 PCM_24"),
        ("offsets of 0.1 and -0.05", np.hstack([mono + 0.1, mono - 0.05]), READ, "PCM_16"),
        (
            "channels that cancel each other",
            np.hstack([mono, -mono]),
            f"{READ}: opposite polarity",
            "PCM_16 FLOAT",
        ),
        (
            "the second inverted, at half level",
            np.hstack([mono, -mono / 2]),
            f"{READ}: opposite polarity",
            "PCM_16",
        ),
        ("a dead channel", np.hstack([0 * mono, mono]), f"{READ}: has no sound", "PCM_16 FLOAT"),
        (
            "a channel with an offset alone",
            np.hstack([mono, 0 * mono + 0.1]),
            f"{READ}: has no sound",
            "PCM_16",
        ),
        ("noise in one channel", np.hstack([mono, noise]), f"{READ}: nothing but noise", "PCM_16"),
        ("louder noise in one channel", np.hstack([4 * noise, mono]), f"{READ}: nothing but noise", "FLOAT"),
        ("speech in one of six", np.hstack([0 * mono] * 5 + [mono]), f"{READ}: has no sound", "PCM_16"),
        ("60 dB fainter", mono / 1_000, f"{READ} 60 dB fainter", "FLOAT PCM_24"),
        ("80 dB fainter", mono / 10_000, f"{READ} 80 dB fainter", "FLOAT"),
        ("dither alone", dither, "silent", "PCM_16 PCM_24"),
        ("faint noise alone", noise / 200, "silent", "PCM_24"),
        ("zeros alone", 0 * mono, "silent", "PCM_16 FLOAT"),
        ("an offset alone", 0 * mono + 0.3, "silent", "PCM_16 FLOAT"),
        ("values of 16 bits", np.round(mono * 32_768), "where 1 is full scale", "FLOAT DOUBLE"),
        ("values that are no number", np.where(mono > 0.03, np.nan, mono), "not finite", "FLOAT"),
    ):
        for subtype in subtypes.split():
            make = lambda x=sound, s=subtype: libsndfile("WAV", s, x, 44_100)
            rows.append((subtype, "WAV", 44_100, sound.shape[1], odd, outcome, make))
    inverted = np.hstack([mono, -mono])
    for format, codec in (("ipod", "aac"), ("flac", "flac")):
        make = lambda f=format, c=codec: ffmpeg(f, c, inverted, 44_100)
        outcome = f"{READ}: opposite polarity"
        rows.append((codec, format, 44_100, 2, "channels that cancel each other", outcome, make))
    for format, codec in (("mp4", "aac"), ("wv", "wavpack")):
        make = lambda f=format, c=codec: ffmpeg(f, c, mono + np.float32(0.02), 44_100)
        rows.append((codec, format, 44_100, 1, "an offset of 0.02", READ, make))
    return rows


def other_files() -> list[Row]:
    """Videos, and what is no recording."""
    rows: list[Row] = []
    for format, codec, picture in (
        ("mp4", "aac", "mpeg4"),
        ("webm", "libopus", "libvpx"),
        ("matroska", "aac", "mpeg4"),
    ):
        make = lambda f=format, c=codec, p=picture: ffmpeg(f, c, speech(48_000), 48_000, p)
        rows.append((codec, format, 48_000, 1, f"a video ({picture})", READ, make))
        make = lambda f=format, c=codec: ffmpeg(f, c, speech(48_000), 48_000, second="yes")
        rows.append((codec, format, 48_000, 1, "a second sound track", f"{READ}, the first", make))
        make = lambda f=format, p=picture: ffmpeg(f, "", np.zeros((0, 1)), 48_000, p)
        rows.append(("", format, 0, 0, f"a video without sound ({picture})", "a video without sound", make))
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:46ab\nsize 72998\n"
    for odd, data, outcome in (
        ("empty", b"", "empty"),
        ("zeros", bytes(9_000), "not audio"),
        ("text", b"Lorem ipsum dolor sit amet.\n" * 100, "it is text"),
        ("JSON", b'{"error": "not found"}', "it is text"),
        ("a web page", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        ("a Git LFS pointer", lfs, "a Git LFS pointer"),
        ("a git-annex pointer", b"/annex/objects/MD5E-s7--0a.wav\n", "a git-annex pointer"),
        ("a list of other files", b"ffconcat version 1.0\nfile other.wav\n", "it is text"),
        ("a playlist", b"#EXTM3U\n#EXTINF:10,\nother.wav\n", "it is text"),
        ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(900), "not audio"),
        ("a zip", b"PK\x03\x04" + bytes(900), "not audio"),
        ("random bytes", np.random.default_rng(0).bytes(9_000), "not audio"),
        ("the head of a WAV alone", libsndfile("WAV", "PCM_16", speech(8_000), 8_000)[:30], "not audio"),
    ):
        rows.append(("", "", 0, 0, odd, outcome, lambda d=data: d))
    return rows


ROWS = [*plain_rows(), *odd_lengths(), *odd_sounds(), *other_files()]


def table() -> str:
    lines = ["| what is odd | outcome | tried as |", "|---|---|---|"]
    kinds: dict[tuple[str, str], dict[str, None]] = {}
    for codec, container, _, _, odd, outcome, _ in ROWS:
        said = outcome if outcome.startswith(READ) else f"“… {outcome} …”"
        kinds.setdefault((odd, said), {})[f"{container} {codec}".strip()] = None
    for (odd, said), tried in kinds.items():
        lines.append(f"| {odd or 'nothing'} | {said} | {', '.join(tried)} |")
    return "\n".join(lines)


# Neither these containers nor their readers know of the encoder's delay.
NO_DELAY = ("adts", "mp2", "ac3", "eac3", "asf", "amr", "avi", "flv", "mpegts", "mpeg", "wav", "3gp")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(map(str, row[:5])))
def test_a_recording_is_read_whole_or_named(row, tmp_path, capfd):
    codec, container, _, _, odd, outcome, make = row
    path = tmp_path / "recording"
    try:
        path.write_bytes(make())
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"PyAV {av.__version__} does not write {error}")
    if not outcome.startswith(READ):
        with pytest.raises(AudioError) as caught:
            read_audio(path)
        assert outcome in str(caught.value) and str(path) in str(caught.value)
        assert capfd.readouterr().err == ""  # libraries keep quiet
        return
    remarks: list[str] = []
    waveform = read_audio(path, say=remarks.append)
    blocks = np.concatenate(list(stream_audio(path, say=lambda remark: None)))
    assert capfd.readouterr().err == ""
    np.testing.assert_allclose(blocks, waveform, atol=1e-5)
    assert audio_seconds(path) == pytest.approx(len(waveform) / SAMPLE_RATE, abs=1e-3)
    _, _, remark = outcome.partition(": ")
    assert all(remark in one for one in remarks) and bool(remarks) == outcome.startswith(f"{READ}: ")
    expected = speech(SAMPLE_RATE)[:, 0]
    if "half" in outcome:
        assert len(waveform) == pytest.approx(len(expected) / 2, rel=0.2)
        return
    delayed = container in NO_DELAY or (codec == "libmp3lame" and "no Xing" in odd) or "pipe" in odd
    slack = 0.12 if delayed else 0.05 if "twice" in outcome else 0.006
    copies = 2 if "twice" in outcome else 1
    padding = 0 if codec.startswith("PCM") else 0.08  # of the last frame
    assert -slack < len(waveform) / SAMPLE_RATE - copies * SECONDS < copies * max(slack, padding)
    faint = 10 ** (-float(outcome.split()[1]) / 20) if "fainter" in outcome else 1
    for start in np.arange(copies) * (len(waveform) - len(expected) - 1 if copies > 1 else 0):
        lag, level = lag_and_level(waveform[start : start + len(expected)], expected)
        assert abs(lag) < slack
        assert level == pytest.approx(faint, rel=0.5 if "amr" in codec else 0.12)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row[4]][::8], ids=lambda row: " ".join(map(str, row[:4]))
)
def test_members_of_a_zip_are_read_as_files(row, tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(row[-1]())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "recording")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.zip/recording"), read_audio(path))


def lag_and_level(waveform: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """By how many seconds a waveform is late, and its level by that of the expected one, where both agree."""
    size = 2 * max(len(waveform), len(expected))
    product = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(expected, size).conj())
    at = int(np.abs(product).argmax())
    return (at - size * (at > size // 2)) / SAMPLE_RATE, abs(product[at]) / np.square(
        expected, dtype=float
    ).sum()


def test_the_table_in_the_docs_is_this_one(repository):
    assert len(ROWS) >= 120
    text = (repository / "docs/reliability.md").read_text(encoding="utf-8")
    assert table() in text, f"python {Path(__file__).name} prints the table"


if __name__ == "__main__":
    print(table())


def test_flac_needs_no_ffmpeg(tmp_path, monkeypatch):
    """It takes longer; and libsndfile cannot seek in a FLAC whose length is taken out of its header."""
    monkeypatch.setattr("dataloader.decode._by_ffmpeg", None)
    (tmp_path / "x.flac").write_bytes(libsndfile("FLAC", "PCM_16", speech(48_000), 48_000))
    assert len(read_audio(tmp_path / "x.flac", 48_000)) == int(SECONDS * 48_000)

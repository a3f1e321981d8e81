"""Sound files of any format to blocks of samples; errors say how much is missing, or what a file is instead.

libsndfile reads what it reads exactly. FFmpeg (PyAV) reads the rest: MP3, whose length libsndfile estimates,
several Ogg streams in one file, and all that libsndfile has no decoder for. A header's announcement is
compared with what is there; players read on where it is wrong, and so does this.
"""

import io
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import Any, BinaryIO

import numpy as np
import soundfile

from utils.errors import UserError

SOUND_SUFFIXES = (  # lossless formats first; samples without a header (.raw, .pcm) are none of them
    *(".wav", ".wave", ".flac", ".aif", ".aiff", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd"),
    *(".sph", ".nist", ".voc", ".wv", ".tta", ".ape", ".opus", ".ogg", ".oga", ".spx", ".mp3", ".mp2"),
    *(".mpga", ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".webm", ".weba", ".mka"),
    *(".mkv", ".wma", ".wmv", ".asf", ".amr", ".awb", ".ac3", ".eac3", ".avi", ".mpg", ".mpeg", ".flv"),
    *(".ogv", ".mts", ".m2ts", ".m2t", ".vob", ".dts", ".rm", ".ra", ".mpc", ".tak", ".shn", ".latm"),
    ".loas",
)
# FFmpeg's demuxers that may read a file: none that opens other files or addresses which a file names.
DEMUXERS = (
    "mp3,aac,mov,matroska,ogg,flac,wav,w64,aiff,au,caf,asf,amr,amrnb,amrwb,ac3,eac3,avi,flv,mpeg,mpegts,"
    "wv,tta,ape,voc,nistsphere,pvf,ircam,iff,epaf,avr,dts,loas,mpc,mpc8,rm,tak,shn"
)
EXACT = ("mov", "flac", "ogg", "wv", "tta", "ape", "caf")  # of them, those whose length is no estimate
BLOCK = 10  # seconds that are decoded at a time
BLOCK_VALUES = 2**22  # samples × channels that are decoded at a time, at most: 16 MiB
TOLERANCE = 0.05  # seconds that may be missing: some headers count themselves, or padding
LOSSY_TOLERANCE = 0.15  # the same of FFmpeg's formats, which pad to whole frames
LOST_PACKETS = 0.02  # share of packets that players pass over too; tags in the middle of an MP3 are such
UNKNOWN_SIZE = 0x7FFF_0000  # bytes; programs that write to a pipe claim this much or more
UNKNOWN_LENGTH = 2**63 - 1  # samples; libsndfile says so of a FLAC that was written to a pipe
HEAD = 4_096  # bytes
LIVE = 4_096  # bytes of a pipe that are read at once, at most; an eighth of a second at 16 kHz
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object that says how large a file is

W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of its chunks' names
# Magic → where the first chunk is, bytes of a name, format of a size, its share for the chunk's own head,
# alignment, and the chunk that holds the samples.
CHUNKS = {
    b"RIFF": (12, 4, "<I", 0, 2, b"data"),
    b"RF64": (12, 4, "<I", 0, 2, b"data"),
    b"RIFX": (12, 4, ">I", 0, 2, b"data"),
    b"FORM": (12, 4, ">I", 0, 2, b"SSND"),
    b"caff": (8, 4, ">Q", 0, 1, b"data"),
    b"riff": (40, 16, "<Q", 24, 8, b"data" + W64),
}
FOR_LIBSNDFILE = (*CHUNKS, b"fLaC", b"OggS", b".snd", b"dns.", b"NIST_1A", b"PVF1")


class AudioError(UserError):
    """A file that cannot be used as speech; the message names it and says why."""


@dataclass
class Sound:
    """A recording that is being decoded."""

    rate: int  # Hz
    channels: int
    frames: int | None  # samples of a channel, where they are known without decoding
    # float32 (samples, channels); an AudioError at the end where some are missing
    blocks: Iterator[np.ndarray]
    coding: str  # how the samples are written: `wav pcm_16`, `mp3`


@dataclass
class _Layout:
    """How far the announcements of a header hold."""

    end: int  # of the recording
    behind: int | None = None  # where another one begins
    patches: dict[int, bytes] = field(default_factory=dict)  # with them the header says what is there
    share: float = 1.0  # of what was announced that is there
    samples: int | None = None  # that a FLAC announces, 0 where it does not say; None of other formats
    for_libsndfile: bool = True
    several: bool = False  # whether further chunks hold samples too
    cut: bool = False  # whether it is certain that an unknown amount is missing


class _View(io.RawIOBase):
    """A part of a file, some bytes of which are replaced."""

    def __init__(self, file: BinaryIO, start: int, end: int):
        self.file, self.start, self.length, self.at = file, start, end - start, 0
        self.patches: dict[int, bytes] = {}  # place in the part → bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(offset + (0, self.at, self.length)[whence], 0)
        return self.at

    def readinto(self, buffer: Any) -> int:
        data = bytearray(self.peek(self.at, len(buffer)))
        for place, new in self.patches.items():
            first, last = max(place - self.at, 0), min(place + len(new) - self.at, len(data))
            if first < last:
                data[first:last] = new[first + self.at - place : last + self.at - place]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def peek(self, at: int, size: int) -> bytes:
        """What the file holds there."""
        if at >= self.length:  # a header's number may be beyond any file
            return b""
        self.file.seek(self.start + at)
        return self.file.read(max(min(size, self.length - at), 0))

    def fast(self) -> io.IOBase:
        """The same; what is in memory is read without Python's help."""
        if not isinstance(self.file, io.BytesIO):
            return self
        content = bytearray(self.file.getbuffer()[self.start : self.start + self.length])
        for place, new in self.patches.items():
            content[place : place + len(new)] = new
        return io.BytesIO(content)


class _Forwards(soundfile.SoundFile):
    """Read from its start to its end: seeking fails where a header lies, and in a FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


@contextmanager
def decoded(file: BinaryIO, name: str) -> Iterator[Sound]:
    """The sound in a file in which one can seek, of any format; all that fails is an AudioError with `name`.

    Of several sound tracks it is the default one, or else the first.
    """
    try:
        with ExitStack() as stack:
            start, end = _after_tags(file), file.seek(0, io.SEEK_END)
            sounds, behind = [], 0
            while behind is not None:  # some programs write one WAV after the other
                start += behind
                sound, behind = _open(stack, _View(file, start, end), name)
                sounds.append(sound)
            yield _joined(sounds, name)
    except _errors() as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name} is not audio, or corrupt ({reason.strip(' .')})") from error


def _errors() -> tuple[type[Exception], ...]:
    """Those of both libraries; asked for when there is one, for the import takes 0.1 s and 18 MB."""
    from av.error import FFmpegError

    return soundfile.LibsndfileError, FFmpegError, OSError


@contextmanager
def decoded_live(file: Any, name: str, raw: tuple[int, int] | None = None) -> Iterator[Sound]:
    """The sound that is still being written into a pipe, in blocks as they come; errors as in `decoded`.

    `file.read(most)` may give fewer bytes. `raw`: sample rate and channels of 16-bit samples without a
    header, little-endian. Of a WAV FFmpeg reads 64 KiB before the first block: 2 s at 16 kHz.
    """
    import av

    options = {"format_whitelist": DEMUXERS, "probesize": str(LIVE)}
    if raw:
        options = {"sample_rate": str(raw[0]), "ch_layout": f"{raw[1]}C"}
    try:
        with av.open(file, format="s16le" if raw else None, options=options, buffer_size=LIVE) as container:
            if not container.streams.audio:
                raise AudioError(f"{name} holds no sound")
            stream = container.streams.audio[0]
            frames = _frames(container, stream, name)
            if (first := next(frames, None)) is None:
                raise AudioError(f"{name} is too short: 0 samples")
            blocks = _as_arrays(chain([first], frames))
            coding = stream.codec_context.codec.canonical_name
            yield Sound(first.sample_rate, first.layout.nb_channels, None, blocks, coding)
    except av.error.FFmpegError as error:
        raise AudioError(f"{name} is not audio, or corrupt ({error.strerror})") from error


def _open(stack: ExitStack, file: _View, name: str) -> tuple[Sound, int | None]:
    """The first sound in a file, and where another one begins behind it."""
    head = file.peek(0, HEAD)
    known = head.startswith(FOR_LIBSNDFILE)
    if not known:
        _refuse_others(head, name)
    layout = _layout(file, head)
    if layout.several:
        raise AudioError(f"{name} holds its samples in several chunks (data), of which programs play one.")
    file.patches, file.length = layout.patches, layout.end
    if known and layout.for_libsndfile:
        try:
            return _by_libsndfile(stack, file, layout, name), layout.behind
        except soundfile.LibsndfileError:  # WAV, Ogg and CAF hold other codecs too
            file.seek(0)
    if layout.samples is not None:
        file.patches = {}
    from av.error import FFmpegError

    try:
        return _by_ffmpeg(stack, file, name), layout.behind
    except FFmpegError:
        if layout.cut:
            raise AudioError(f"{name} is cut short: it ends amid its first page of Ogg") from None
        if known or head.startswith(b"\xff"):  # libsndfile takes nearly anything for an MP3
            raise
        file.seek(0)
        return _by_libsndfile(stack, file, layout, name), None


def _joined(sounds: list[Sound], name: str) -> Sound:
    """Sounds one after the other, in blocks whose length depends on nothing but rate and channels."""
    rate, channels = sounds[0].rate, sounds[0].channels
    if any((sound.rate, sound.channels) != (rate, channels) for sound in sounds):
        raise AudioError(f"{name} holds recordings of several sample rates or channels: split it.")
    frames = [sound.frames for sound in sounds if sound.frames is not None]
    blocks = _of_size(chain.from_iterable(sound.blocks for sound in sounds), block_size(rate, channels))
    whole = sum(frames) if len(frames) == len(sounds) else None
    return Sound(rate, channels, whole, blocks, sounds[0].coding)


def block_size(rate: int, channels: int) -> int:
    """Samples of each channel in a block."""
    return max(1, min(BLOCK * rate, BLOCK_VALUES // channels))


def _of_size(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Pieces (samples, channels) as blocks (size, channels), and a last one with the rest."""
    kept: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        while count + len(piece) >= size:
            kept.append(piece[: size - count])
            yield kept[0] if len(kept) == 1 else np.concatenate(kept)
            piece, kept, count = piece[size - count :], [], 0
        kept.append(piece)
        count += len(piece)
    if count:
        yield kept[0] if len(kept) == 1 else np.concatenate(kept)


def _check_whole(found: float, announced: float, tolerance: float, name: str) -> None:
    """Compare seconds."""
    if found < announced - tolerance:
        there = f"{found:.2f} of the {announced:.2f} seconds ({found / announced:.0%}) that it announces"
        raise AudioError(f"{name} is cut short or corrupt: it holds {there}")


# --- the two libraries ---


def _by_libsndfile(stack: ExitStack, file: _View, layout: _Layout, name: str) -> Sound:
    sound = stack.enter_context(_Forwards(file.fast()))
    if sound.subtype.startswith("MPEG"):  # in a WAV; its length is an estimate
        raise soundfile.LibsndfileError(0)
    rate, known = sound.samplerate, sound.frames != UNKNOWN_LENGTH

    def blocks() -> Iterator[np.ndarray]:
        count, size = 0, block_size(rate, sound.channels)
        try:
            while len(block := sound.read(size, dtype="float32", always_2d=True)):
                count += len(block)
                yield block
        except soundfile.LibsndfileError:
            if sound.format != "FLAC":
                raise
            file.seek(0)  # FFmpeg passes over damage, and over the heads of further recordings
            for block in islice(_of_size(_by_ffmpeg(stack, file, name).blocks, size), count // size, None):
                count += len(block)
                yield block
        announced = layout.samples or (sound.frames / layout.share if known else count)
        _check_whole(count / rate, announced / rate, TOLERANCE, name)
        if layout.cut:
            raise AudioError(f"{name} is cut short: after {count / rate:.2f} s it ends amid a page of Ogg")

    coding = f"{sound.format} {sound.subtype}".lower()
    return Sound(rate, sound.channels, sound.frames if known else None, blocks(), coding)


def _by_ffmpeg(stack: ExitStack, file: _View, name: str) -> Sound:
    import av

    head = file.peek(0, HEAD)
    try:
        container = stack.enter_context(av.open(file, options={"format_whitelist": DEMUXERS}))
    except av.error.FFmpegError as error:
        if head[4:8] == b"ftyp":
            raise AudioError(f"{name} is cut short: its index (moov), written last, is missing") from error
        raise
    if not container.streams.audio:
        raise AudioError(f"{name} is not audio: it is a video without sound")
    stream = container.streams.best("audio") or container.streams.audio[0]
    if stream.codec_context is None:
        raise AudioError(f"{name} is not audio that can be decoded: its codec is not known")
    frames = _frames(container, stream, name)
    if (first := next(frames, None)) is None:
        raise AudioError(f"{name} is too short: 0 samples")
    rate, announced = first.sample_rate, _announced(container, stream, head)

    def blocks() -> Iterator[np.ndarray]:
        count = 0
        for block in _as_arrays(chain([first], frames)):
            count += len(block)
            yield block
        share = _announced_bytes(head) / file.length
        _check_whole(count / rate, max(announced, share * count / rate), LOSSY_TOLERANCE, name)

    coding = stream.codec_context.codec.canonical_name
    return Sound(rate, first.layout.nb_channels, None, blocks(), coding)


def _frames(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """A stream's decoded frames; an AudioError at the end where more than a few packets are damaged."""
    from av.error import FFmpegError

    packets = lost = 0
    for packet in container.demux(stream):
        packets += 1
        try:
            yield from packet.decode()
        except FFmpegError:
            lost += 1
    if lost > 2 + LOST_PACKETS * packets:
        raise AudioError(f"{name} is corrupt: {lost} of its {packets} packets cannot be decoded")


def _as_arrays(frames: Iterator[Any]) -> Iterator[np.ndarray]:
    """Frames → float32 (samples, channels), of the first one's rate and channels; later ones may change."""
    import av

    first = next(frames)
    for _, group in groupby(chain([first], frames), lambda f: (f.format.name, f.layout.name, f.sample_rate)):
        resampler = av.AudioResampler("fltp", first.layout, first.sample_rate)
        for frame in chain(group, [None]):  # None: what is left in the resampler
            if frame is not None:
                frame.pts = None
            for piece in resampler.resample(frame):
                yield piece.to_ndarray().T


def _announced(container: Any, stream: Any, head: bytes) -> float:
    """Seconds that a header promises; 0 where it does not, or where FFmpeg estimates them."""
    kind = container.format.name.partition(",")[0]
    seconds = float((stream.duration or 0) * stream.time_base)
    if kind == "mp3":  # FFmpeg estimates it by the bit rate where two were put together
        xing = re.search(rb"(?:Xing|Info)...[\1\3\5\7\t\x0b\r\x0f](.{4})", head, re.DOTALL)
        rate = stream.codec_context.sample_rate
        if not xing:
            return seconds if b"VBRI" in head else 0.0
        frames = int.from_bytes(xing[1], "big")
        return min(seconds, frames * (1_152 if rate >= 32_000 else 576) / rate)
    if kind in ("matroska", "flv"):
        known = container.duration if len(container.streams) == 1 else 0
        return ((known or 0) - max(container.start_time or 0, 0)) / 1e6
    first = max(stream.start_time or 0, 0) * stream.time_base if kind == "ogg" else 0
    return float(seconds - first) if kind in EXACT else 0.0


def _announced_bytes(head: bytes) -> int:
    """How large an AVI or a WMA says that it is; 0 of other formats, and where it does not."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        size = int.from_bytes(head[4:8], "little") + 8
        return size if size < UNKNOWN_SIZE else 0
    at = head.find(ASF_FILE)
    return int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0


# --- headers ---


def _after_tags(file: BinaryIO) -> int:
    """Where ID3 tags at the start of a file end."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return at
        a, b, c, d = (byte & 0x7F for byte in head[6:])
        at += 10 + (a << 21 | b << 14 | c << 7 | d)


def _refuse_others(head: bytes, name: str) -> None:
    """An AudioError for what is often found in place of a recording."""
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not head:
        what = "the file is empty"
    elif text.startswith(b"version https://git-lfs"):
        what = "it is a Git LFS pointer, and the recording is elsewhere. Fetch it with `git lfs pull`"
    elif b"/annex/objects/" in text[:500]:
        what = "it is a git-annex pointer, and the recording is elsewhere. Fetch it with `git annex get`"
    elif text.startswith((b"<!doctype html", b"<html")):
        what = "it is a web page. Download the recording itself"
    elif not re.search(rb"[\x00-\x08\x0e-\x1f]", head) and not head.startswith((b"#!AMR", b"\xff")):
        what = "it is text"
    else:
        return
    raise AudioError(f"{name} is not audio: {what}.")


def _layout(file: _View, head: bytes) -> _Layout:
    if head[:4] in CHUNKS:
        return _layout_of_chunks(file, head[:4])
    if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        code = ">II" if head[:4] == b".snd" else "<II"
        start, announced = struct.unpack(code, head[4:12])
        return _corrected(file, 8, code[0] + "I", 0, announced, file.length - start)
    if head[:4] == b"fLaC" and head[4:5] in (b"\x00", b"\x80") and len(head) >= 26:
        samples = (head[21] & 0x0F) << 32 | int.from_bytes(head[22:26], "big")
        return _Layout(file.length, None, {21: bytes([head[21] & 0xF0, 0, 0, 0, 0])}, samples=samples)
    if head[:4] == b"OggS":
        streams, end = _ogg_streams(file)
        return _Layout(file.length, for_libsndfile=streams == 1 and end >= file.length, cut=end > file.length)
    return _Layout(file.length)


def _corrected(file: _View, place: int, code: str, own: int, announced: int, present: int) -> _Layout:
    """Of a header that announces so many bytes at `place`, where so many are present."""
    if announced == present:
        return _Layout(file.length)
    limit = 256 ** struct.calcsize(code) - 1
    size = struct.pack(code, min(max(present, 0) + own, limit))
    unknown = announced >= (UNKNOWN_SIZE if limit < 2**32 else 2**62)
    share = 1.0 if unknown or announced < present else max(present, 1) / announced
    return _Layout(file.length, None, {place: size}, share)


def _layout_of_chunks(file: _View, magic: bytes) -> _Layout:
    """Of RIFF and its relatives: what lies behind the samples must be further chunks, or belongs to them."""
    start, width, code, own, align, samples = CHUNKS[magic]
    head = width + struct.calcsize(code)
    before = {}
    for name, at, size in _chunks(file, magic, start):
        before[name] = at, size
        if name == samples:
            break
    else:
        return _Layout(file.length)
    at, announced = before[samples]
    size_at = at - struct.calcsize(code)
    place = before[b"ds64"][0] + 8 if b"ds64" in before else None  # of the size in 64 bits
    if magic == b"RF64" and place and announced == 0xFFFFFFFF:
        size_at, code = place, "<Q"
        announced = struct.unpack(code, file.peek(place, 8).ljust(8, b"\0"))[0]
    present = file.length - at
    if announced >= present:
        return _corrected(file, size_at, code, own, announced, present)
    further, end = [], at + announced
    for name, begin, size in _chunks(file, magic, end + -end % align):
        further.append(name)
        end = begin + size
        if name.startswith(magic):
            return _Layout(begin - head, begin - head)
    if end + 8 >= file.length or (announced and not file.peek(end, 2**20).strip(b"\0")):
        again = samples in further
        return _Layout(file.length, for_libsndfile=not again, several=again and announced > 0)
    return _corrected(file, size_at, code, own, announced, present)


def _chunks(file: _View, magic: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and size of each chunk from `at` on, as far as they have the names of chunks."""
    _, width, code, own, align, _ = CHUNKS[magic]
    head = width + struct.calcsize(code)
    while len(content := file.peek(at, head)) == head and re.match(rb"[\w(][\w()\xa9 .-]{3}", content):
        size = max(struct.unpack(code, content[width:])[0] - own, 0)
        yield content[:width], at + head, size
        at += head + size
        at += -at % align


def _ogg_streams(file: _View) -> tuple[int, int]:
    """The number of streams, and where the last page ends or should end."""
    at = streams = 0
    while len(head := file.peek(at, 27)) == 27 and head[:4] == b"OggS":
        streams += head[5] >> 1 & 1  # a page that begins a stream
        at += 27 + head[26] + sum(file.peek(at + 27, head[26]))
    return streams, at

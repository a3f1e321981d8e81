"""Recordings are known by their sound: fingerprints, near copies, and what corpora with copies come to."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import dataloader.identity
from dataloader.corpora.find import read_corpus
from dataloader.corpora.utterance import Utterance
from dataloader.identity import copies, fingerprint, identified, outline, recorded
from dataloader.loaders import prepare_data
from dataloader.splits import SUBSETS, draw_split, keep_together
from utils.config import DataConfig
from utils.errors import UserError

RATE = 22_050


def speech(number: int, seconds: float = 1.5) -> np.ndarray:
    """Noise whose spectrum changes every tenth of a second, as that of speech does."""
    rng, pieces = np.random.default_rng(number), []
    for _ in range(int(10 * seconds)):
        spectrum = np.fft.rfft(rng.standard_normal(RATE // 10))
        places = np.linspace(0, 11_025, len(spectrum))
        shape = sum(rng.uniform() * np.exp(-(((places - rng.uniform(200, 3_500)) / 200) ** 2)) for _ in "abc")
        pieces.append(np.fft.irfft(spectrum * shape, RATE // 10))
    wave = np.concatenate(pieces)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **kind) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kind)
    return path


def utterance(path: Path, emotion: str = "rab", speaker: str = "f1", sentence: str = "b1") -> Utterance:
    return Utterance(path, emotion, speaker, sentence, path.stem)


def find(paths, tmp_path) -> dict[str, str]:
    return copies(identified([utterance(path) for path in paths], tmp_path / "index", progress=False))


def test_a_fingerprint_is_of_the_samples_in_any_lossless_file_under_any_name(tmp_path):
    samples = np.round(speech(0) * 2**15) / 2**15
    files = {
        "a.wav": {"samples": samples, "subtype": "PCM_16"},
        "b.flac": {"samples": samples, "subtype": "PCM_24"},
        "c.aiff": {"samples": samples, "subtype": "PCM_16"},
        "d.wav": {"samples": samples, "subtype": "FLOAT"},
        "stereo.wav": {"samples": np.stack([samples, samples], 1), "subtype": "PCM_16"},
    }
    paths = [write(tmp_path / name, **how) for name, how in files.items()]
    one = samples.copy()
    one[1_000] += 2**-15
    others = [write(tmp_path / "one.wav", one), write(tmp_path / "fast.wav", samples, 2 * RATE)]
    found = identified([utterance(path) for path in paths + others], tmp_path / "index", progress=False)
    prints = [one.fingerprint for one in found]
    assert len(set(prints[:5])) == 1 and len(set(prints)) == 3 and all(prints)


def variants(samples: np.ndarray) -> dict[str, dict]:
    rng, narrow = np.random.default_rng(1), soxr.resample(samples, RATE, 8_000)
    return {
        "mp3": {"samples": samples, "format": "MP3"},
        "opus": {"samples": soxr.resample(samples, RATE, 16_000), "rate": 16_000, "subtype": "OPUS"},
        "8 kHz": {"samples": narrow, "rate": 8_000},
        "telephone": {"samples": narrow, "rate": 8_000, "subtype": "ULAW"},
        "softer": {"samples": 0.2 * samples},
        "clipped": {"samples": np.clip(1.5 * samples / np.abs(samples).max(), -1, 1)},
        "sooner": {"samples": samples[RATE // 50 :]},
        "later": {"samples": np.pad(samples, (RATE // 50, 0))},
        "noisy": {"samples": samples + samples.std() * 0.1 * rng.standard_normal(len(samples))},
        "upside down": {"samples": -samples},
    }


@pytest.mark.parametrize("kind", variants(speech(0)))
def test_near_copies_are_found_and_nothing_else(tmp_path, kind):
    originals = [write(tmp_path / f"{number:02}.wav", speech(number)) for number in range(12)]
    suffix = {"mp3": "mp3", "opus": "ogg"}.get(kind, "wav")
    made = [write(tmp_path / f"copy{n}.{suffix}", **variants(speech(n))[kind]) for n in (3, 7)]
    assert find(originals + made, tmp_path) == {"copy3": "03", "copy7": "07"}


def test_sounds_that_look_alike_are_no_copies(tmp_path):
    rng, times = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    tones = [0.3 * np.sin(2 * np.pi * (300 + 3 * number) * times) for number in range(8)]
    warbles = [tone * (1 + np.sin(2 * np.pi * 5 * times)) / 2 for tone in tones]
    noises = [0.1 * rng.standard_normal(2 * RATE) for _ in range(8)]
    short = [speech(number, 0.3) for number in range(8)]
    sounds = [*tones, *warbles, *noises, *short, tones[0]]  # the last one is a copy indeed
    paths = [write(tmp_path / f"{number:02}.wav", wave) for number, wave in enumerate(sounds)]
    assert find(paths, tmp_path) == {"32": "00"}


def test_an_outline_does_not_depend_on_shift_and_gain():
    wave = speech(5)
    one, other = (outline(samples, RATE).astype(float) for samples in (wave, 0.1 * np.pad(wave, (7_056, 0))))
    assert (
        one.shape == (240,) and np.abs(one - other).max() <= 2
    )  # 0.32 s, whole hops: rounding alone is left
    assert not outline(np.ones(RATE, np.float32), RATE).any() and fingerprint(wave, 1) != fingerprint(wave, 2)


# --- the file that keeps them ---


@pytest.fixture
def reads(monkeypatch) -> list:
    """The names of recordings that are decoded from now on."""
    names: list = []
    read = dataloader.identity.read_recording
    monkeypatch.setattr(
        dataloader.identity, "read_recording", lambda path, say: (names.append(path.name), read(path, say))[1]
    )
    return names


def test_a_recording_is_read_again_when_its_file_is_another_one(tmp_path, reads, capsys):
    paths = [write(tmp_path / f"{name}.wav", speech(number)) for number, name in enumerate("abcd")]
    for path in paths:
        os.utime(path, ns=(0, 10**18))
    index, listed = tmp_path / "index", [utterance(path) for path in paths]
    before = recorded(identified(listed, index, progress=False))
    assert recorded(identified(listed, index, progress=False)) == before and len(reads) == 4
    for source, target in (("a", "x"), ("b", "a"), ("x", "b")):  # equal sizes and times
        (tmp_path / f"{source}.wav").rename(tmp_path / f"{target}.wav")
    content = paths[2].read_bytes()  # written over, in place
    paths[2].write_bytes(paths[3].read_bytes())
    os.utime(paths[2], ns=(0, 10**18))
    paths[3].write_bytes(content[:100])
    now = recorded(identified(listed, index, progress=False))
    assert now == {"a": before["b"], "b": before["a"], "c": before["d"]}  # d is no sound any more
    assert sorted(reads[4:]) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    index.write_text(index.read_text().replace("rab", "gio").replace("0", "1", 5))
    assert recorded(identified(listed, index, progress=False)) == now
    assert "are damaged" in capsys.readouterr().err


# --- corpora with copies ---


def folder(root: Path, emotions=("happy", "sad"), speakers=("ann", "bob"), each=12) -> Path:
    number = 0
    for speaker in speakers:
        for emotion in emotions:
            for take in range(each):
                write(root / speaker / emotion / f"{take:02}.wav", speech(number))
                number += 1
    return root


def prepared(build, root, tmp_path, **kwargs):
    settings = {"corpus": "folder", "root": root, "cache_dir": tmp_path / "cache"} | kwargs.pop("data", {})
    return prepare_data(build(data=settings), progress=False, **kwargs)


def test_copies_stay_in_one_subset_and_those_of_two_emotions_are_left_out(build, tmp_path, capsys):
    root = folder(tmp_path / "c")
    for path in list(root.rglob("*.wav")):
        shutil.copy(path, path.with_name(f"{path.stem} (1).wav"))
    write(root / "bob/sad/other.flac", speech(3))  # ann is happy in it
    data = prepared(build, root, tmp_path)
    subset_of = {name: subset for subset in SUBSETS for name in getattr(data.split, subset)}
    assert len(subset_of) == 94 and not [name for name in subset_of if "ann/happy/03" in name]
    assert all(subset_of[name] == subset_of[name.removesuffix(" (1)")] for name in subset_of)
    printed = capsys.readouterr().err
    assert "2 recordings of folder-c copied under another emotion, both left out: " in printed
    assert "bob/sad/other = ann/happy/03" in printed and "47 recordings of folder-c copied, in" in printed
    assert prepared(build, root, tmp_path, split=data.split).split == data.split
    assert "in two of its subsets" not in capsys.readouterr().err


def test_a_copy_of_a_test_speaker_is_not_trained_on(build, tmp_path, capsys):
    root = folder(tmp_path / "c", speakers=("ann", "bob", "cat", "dan"), each=3)
    shutil.copy(root / "ann/sad/00.wav", root / "cat/sad/same.wav")
    place = {"protocol": "leave_one_speaker_out", "fold": 0}
    split = prepared(build, root, tmp_path, data=place).split
    held = {
        name
        for name in (*split.train, *split.validation, *split.test)
        if "same" in name or "ann/sad/00" in name
    }
    assert held == {"ann/sad/00"} and "ann/sad/00" in split.test
    assert "left out: cat/sad/same" in capsys.readouterr().err


def test_two_corpora_with_one_recording_are_noticed(build, tmp_path, capsys):
    """A part of one corpus, through a codec, in another that is trained beside it."""
    listed = [utterance(write(tmp_path / f"x{n}.wav", speech(n)), speaker=f"x/{n}") for n in range(9)]
    again = [
        utterance(write(tmp_path / f"y{n}.mp3", speech(n), format="MP3"), speaker="y/1") for n in range(3)
    ]
    same = copies(identified([*listed, *again], tmp_path / "index", progress=False))
    assert same == {"y0": "x0", "y1": "x1", "y2": "x2"}
    split = draw_split([*listed, *again], DataConfig(protocol="leave_one_speaker_out", fold=9), 0)
    assert set(split.test) == {"y0", "y1", "y2"}
    kept, lost = keep_together(split, same)
    assert kept.test == split.test and set(lost) == {"x0", "x1", "x2"}
    assert set(kept.train) | set(kept.validation) == {f"x{n}" for n in range(3, 9)}


# --- recorded splits ---


def test_changes_since_the_split_was_recorded_are_named(build, tmp_path, capsys):
    root = folder(tmp_path / "c")
    split = prepared(build, root, tmp_path).split
    tested, trained = split.test[0], split.train[0]
    write(root / "cleo/happy/new.wav", speech(100))
    write(root / f"{trained}.wav", speech(101))
    use = {"split": split, "subsets": ("test",)}
    before = prepared(build, root, tmp_path, **use)
    printed = capsys.readouterr().err
    assert "new since the split was drawn, and left out: cleo/happy/new" in printed
    assert f"not used now, changed: {trained} (train: its sound is another)" in printed
    with pytest.raises(UserError, match=rf"1 utterance of .* changed: {trained} \(train: its sound"):
        prepared(build, root, tmp_path, split=split, subsets=("train", "validation"))
    write(root / f"{tested}.wav", speech(102))
    with pytest.raises(UserError, match=rf"changed: {tested} \(test: its sound is another"):
        prepared(build, root, tmp_path, **use)
    after = prepared(build, root, tmp_path, changed=True, **use)
    rows = (before.arrays("test").frames != after.arrays("test").frames).flatten(1).any(1)
    assert rows.tolist() == [name == tested for name in split.test]


def test_another_emotion_under_the_same_name_is_named(build, tmp_path):
    root = folder(tmp_path / "c")
    split = prepared(build, root, tmp_path).split
    name = split.test[1]
    corrected = split.recordings | {name: f"{split.recordings[name].partition(' ')[0]} dis"}
    with pytest.raises(UserError, match=rf"changed: {name} \(test: its emotion is another"):
        prepared(build, root, tmp_path, split=replace(split, recordings=corrected))


def test_a_later_emotion_does_not_change_what_a_corpus_allows(build, tiny_corpus, tmp_path):
    """Of two corpora one gets, after the split was drawn, an emotion that only the other had."""
    root = folder(tmp_path / "c", emotions=("happy", "sad"), speakers=("ann",))
    place = {"corpus": ["folder", "emovo"], "root": {"folder": root, "emovo": tiny_corpus}}
    before = prepared(build, None, tmp_path, data=place)
    for take in range(3):
        write(root / "ann/angry" / f"{take}.wav", speech(200 + take))
    after = prepared(build, None, tmp_path, data=place, split=before.split, emotions=before.corpus.emotions)
    assert (after.allowed("test") == before.allowed("test")).all() and not before.allowed("test").all()


def test_a_copy_of_the_corpus_in_other_files_is_the_same_corpus(build, tmp_path, capsys):
    root = folder(tmp_path / "c")
    data = prepared(build, root, tmp_path)
    shutil.move(root, tmp_path / "old")
    for path in (tmp_path / "old").rglob("*.wav"):
        samples, rate = soundfile.read(path)
        write(root / path.relative_to(tmp_path / "old").with_suffix(".flac"), samples, rate)
    capsys.readouterr()
    again = prepared(build, root, tmp_path, split=data.split)
    assert (again.features.frames == data.features.frames).all()
    assert not re.search("changed|new since|copies", capsys.readouterr().err)


def test_copies_under_two_emotions_are_kept_where_nothing_else_is_there(build, tmp_path, capsys):
    root = folder(tmp_path / "c", emotions=["happy"])
    for path in list(root.rglob("*.wav")):
        write(path.parent.with_name("sad") / path.name, soundfile.read(path)[0])
    split = prepared(build, root, tmp_path).split
    assert "copied under another emotion, kept, for too little else" in capsys.readouterr().err
    for subset in SUBSETS:
        names = getattr(split, subset)
        assert {name.replace("happy", "sad") for name in names} == {n for n in names if "sad" in n}


def test_a_corpus_of_one_emotion_is_refused(build, tmp_path):
    with pytest.raises(UserError, match=r"one emotion alone \(happy\)"):
        prepared(build, folder(tmp_path / "c", emotions=["happy"]), tmp_path)


def test_an_emotion_that_a_subset_lacks_is_named(build, tmp_path, capsys):
    root = folder(tmp_path / "c", speakers=("ann", "bob", "cat", "dan"), each=3)
    shutil.rmtree(root / "ann/sad")
    data = prepared(build, root, tmp_path, data={"protocol": "leave_one_speaker_out", "fold": 0})
    assert data.missing_emotions() == ["tri (test)"]
    assert "emotions without any utterance: sad (test)" in capsys.readouterr().err


# --- real corpora ---


def test_emovo_has_one_take_under_two_sentences(emovo_root, tmp_path):
    corpus = read_corpus("emovo", emovo_root)
    assert copies(identified(corpus.utterances, tmp_path / "index", progress=False)) == {
        "tri-f3-n2": "tri-f3-n1"
    }


PAIRS = {
    "CREMA-D": (
        *("1006_TIE_HAP_XX 1006_TIE_NEU_XX", "1013_WSI_DIS_XX 1013_WSI_SAD_XX"),
        *("1017_IWL_ANG_XX 1017_IWL_FEA_XX", "1017_IWW_ANG_XX 1017_IWW_FEA_XX"),
        *("1020_IEO_ANG_LO 1020_IEO_ANG_MD", "1028_IEO_HAP_LO 1028_IEO_HAP_MD"),
        *("1045_ITH_DIS_XX 1045_IWL_DIS_XX", "1056_MTI_ANG_XX 1056_TAI_ANG_XX"),
        "1067_IEO_DIS_LO 1067_IEO_FEA_LO",
    ),
    "RAVDESS": ("03-01-03-01-02-01-07 03-01-03-01-02-02-07",),
}


@pytest.mark.parametrize("name", PAIRS)
def test_known_pairs_are_found(repository, tmp_path, name):
    root = repository / "../shared/data" / name
    if not root.exists():
        pytest.skip(f"{name} is not on disk")
    pairs = dict(reversed(pair.split()) for pair in PAIRS[name])
    speakers = {one[:4] if name == "CREMA-D" else one[-2:] for one in pairs}
    corpus = read_corpus(name.replace("-", "").lower(), root)
    listed = [
        one for one in corpus.utterances if one.speaker in speakers or one.speaker.lstrip("0") in speakers
    ]
    assert len(listed) >= 60 * len(speakers)
    assert copies(identified(listed, tmp_path / "index", progress=False)) == pairs

"""What holds for any file name, length, setting of the MFCCs, and batch size."""

import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataloader.audio import fit_length
from dataloader.corpora.find import read_corpus
from dataloader.features.extract import MFCC
from dataloader.loaders import BatchLoader
from dataloader.splits import SUBSETS, draw_split, load_split, save_split
from utils.config import DataConfig, FeaturesConfig

HARD = ["a b", "it's", '"quoted"', "[a]*?", "$x$_{", "-dash", ".dot", "..", "é", "e\u0301", "日本", "😀"]
HARD += ["a\nb", "a\\b", "#1", "%s", "{x}", "~", "a|b", "<b>", "CON", " ", "x" * 200, "null", "1e3"]
letters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
names = (st.sampled_from(HARD) | st.text(letters, min_size=1, max_size=12)).filter(
    lambda name: name not in (".", "..") and not name.startswith("._") and len(name.encode()) <= 200
)


@settings(deadline=None, max_examples=60)
@given(
    speaker=names,
    emotions=st.lists(names, min_size=2, max_size=2, unique_by=str.casefold),
    stems=st.lists(names, min_size=6, max_size=8, unique_by=str.casefold),
)
@example(speaker="$x$_{", emotions=["😀", "a\nb"], stems=["-dash", ".dot", "...", "it's", '"q"', "a\\b"])
def test_recordings_of_any_name_are_found_split_and_found_again(tmp_path_factory, speaker, emotions, stems):
    root = tmp_path_factory.getbasetemp() / "a corpus [of] 😀"
    shutil.rmtree(root, ignore_errors=True)
    for emotion in emotions:
        (root / speaker / emotion).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            (root / speaker / emotion / f"{stem}.wav").touch()
    files = {path for path in root.rglob("*") if path.is_file()}
    corpus = read_corpus("folder", root)
    found = {utterance.path for utterance in corpus.utterances}
    doubles = "".join(warning for warning in corpus.warnings if "doubling another" in warning)
    assert found <= files and all(path.name in doubles for path in files - found)
    assert len({utterance.name for utterance in corpus.utterances}) == len(found)

    data = DataConfig(corpus="folder", root=root, protocol="kfold", folds=3)
    split = draw_split(corpus.utterances, data, 0, corpus.name)
    assert sorted(name for subset in SUBSETS for name in getattr(split, subset)) == [
        utterance.name for utterance in corpus.utterances
    ]
    save_split(split, root / "split.json")
    assert load_split(root / "split.json") == split


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text_are_reported(tmp_path):
    for name in (b"caf\xe9.wav", b"fine.wav"):
        path = os.path.join(os.fsencode(tmp_path), b"anger", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    corpus = read_corpus("folder", tmp_path)
    assert [utterance.name for utterance in corpus.utterances] == ["anger/fine"]
    assert corpus.warnings == (r"1 sound file with a name that is not utf-8, left out: 'caf\udce9.wav'",)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_mfccs_of_any_length_and_setting_have_their_shape_and_are_finite(data):
    draw = data.draw
    n_fft, n_mels = draw(st.integers(16, 4_096)), draw(st.integers(1, 64))
    signal_length = draw(st.integers(2, 20_000))
    most = 2**21 // n_fft  # frames, to keep the test short
    least = signal_length // most + 1
    hop = draw(st.integers(least, max(least, min(3 * n_fft, signal_length - n_fft % 2))))
    rate = draw(st.sampled_from([1_000, 8_000, 22_050, 192_000]))
    f_max = draw(st.none() | st.floats(1, rate / 2))
    n_mfcc = draw(st.integers(1, n_mels))
    settings = {"sample_rate": rate, "n_fft": n_fft, "hop_length": hop, "n_mels": n_mels, "n_mfcc": n_mfcc}
    features = FeaturesConfig(**settings, f_max=f_max, signal_length=signal_length)
    samples = draw(st.sampled_from([1, 2, signal_length - 1, signal_length, signal_length + 1]))
    samples = max(1, draw(st.just(samples) | st.integers(1, 4 * signal_length)))
    loudness = draw(st.sampled_from([0, 1e-6, 1, 2**32]))
    waveform = np.random.default_rng(samples).uniform(-loudness, loudness, samples).astype(np.float32)
    fitted = fit_length(waveform, signal_length)
    assert fitted.shape == (signal_length,)
    mfccs = MFCC(features)(torch.from_numpy(fitted)[None])
    assert mfccs.shape == (1, n_mfcc, features.frames)
    assert features.frames == len(range(0, signal_length + 1 - n_fft % 2, hop))
    assert mfccs.isfinite().all()


@settings(deadline=None, max_examples=200)
@given(items=st.integers(1, 60), batch_size=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
@example(items=9, batch_size=8, seed=0)
@example(items=1, batch_size=1, seed=0)
@example(items=1, batch_size=8, seed=0)
@example(items=3, batch_size=1, seed=0)
@example(items=10, batch_size=4, seed=0)
def test_batches_of_any_size_bring_every_utterance_once(items, batch_size, seed):
    x, y = torch.arange(items, dtype=torch.float32)[:, None, None], torch.arange(items)
    for shuffle in (False, True):
        loader = BatchLoader(x, None, y, batch_size, shuffle, seed)
        for _ in range(2):
            batches = list(loader)
            assert len(batches) == len(loader) > 0
            assert all(torch.equal(batch.frames[:, 0, 0].long(), batch.target) for batch in batches)
            assert all(len(batch.target) == batch_size for batch in batches[:-1])
            assert 1 <= len(batches[-1].target) <= batch_size
            seen = torch.cat([batch.target for batch in batches])
            if shuffle:  # but for a lone last one, from which batch norm could not learn
                lone = items > batch_size > 1 and items % batch_size == 1
                assert len(seen) == len(seen.unique()) == items - lone
                assert batch_size == 1 or items == 1 or all(len(batch.target) > 1 for batch in batches)
            else:
                assert seen.tolist() == list(range(items))

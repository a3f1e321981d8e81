"""Features on disk: the same rows as in memory, written in pieces, and never half a file."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dataloader.features.cache
from dataloader.features.cache import open_rows, save_rows
from dataloader.features.extract import load_features
from dataloader.loaders import feature_statistics, make_loader, make_training_loader, prepare_data
from utils.errors import UserError

X = torch.randn(10, 3, 4, generator=torch.Generator().manual_seed(0))


def test_rows_are_saved_in_pieces_and_read_whole(tmp_path):
    path = tmp_path / "new folder" / "x.npy"
    checksum = save_rows(path, X.split(3), (10, 3, 4))
    rows = open_rows(path, (10, 3, 4), checksum)
    assert torch.equal(rows, X) and np.array_equal(np.load(path), X.numpy())  # a plain .npy
    rows.zero_()
    assert torch.equal(open_rows(path, (10, 3, 4), checksum), X)  # changes stay out of the file
    rows = open_rows(path, (10, 3, 4), save_rows(path, [X[:2], X[2:5]], (10, 3, 4)))
    assert torch.equal(rows[:5], X[:5]) and not rows[5:].any()  # those that never came are zeros


def test_damage_anywhere_is_noticed(tmp_path):
    path = tmp_path / "x.npy"
    checksum = save_rows(path, [X], (10, 3, 4))
    content = path.read_bytes()
    for place in (0, 20, len(content) - 480, len(content) - 200, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError):
            open_rows(path, (10, 3, 4), checksum)
    path.write_bytes(content[:-30])
    with pytest.raises(ValueError):
        open_rows(path, (10, 3, 4), checksum)
    np.save(path, X.double().numpy())
    with pytest.raises(ValueError, match="float64"):
        open_rows(path, (10, 3, 4), checksum)


def test_an_interrupt_leaves_no_file(tmp_path):
    def interrupted():
        yield X[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_rows(tmp_path / "x.npy", interrupted(), (10, 3, 4))
    assert list(tmp_path.iterdir()) == []


# --- a whole corpus ---


@pytest.fixture
def here(build, tmp_path):
    """Build a configuration with a cache of its own."""
    return lambda **sections: build(data={"cache_dir": tmp_path / "cache"}, **sections)


def load(config, corpus):
    return load_features(corpus, config.features, config.data.cache_dir, progress=False)


def assert_equal(ours, theirs):
    assert torch.equal(ours.frames, theirs.frames)
    assert (ours.utterances, ours.skipped) == (theirs.utterances, theirs.skipped)


BY_SPEAKER = {"prosody": True, "normalise": "speaker", "functionals": True}


@pytest.mark.parametrize(
    "augment", [None, {"mode": "published"}, {"mode": "online", "mixup": 0.5}, BY_SPEAKER]
)
def test_batches_from_disk_are_those_from_memory(here, on_disk, augment, tmp_path):
    config = here(features=BY_SPEAKER) if augment is BY_SPEAKER else here(augment=augment)
    seen = []
    for most in (2**30, 0):
        on_disk(most)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        for _ in range(2):  # extracted, and from the cache
            data = prepare_data(config, progress=False)
            mean, std = feature_statistics(data.features.frames, data.rows("train"))
            augmented = config.augment if config.model.aug else None
            training = make_training_loader(data, augmented, 16, 0, mean, progress=False)
            test = make_loader(data, "test", 4, shuffle=False, seed=0)
            assert len(test.frames) == (70 if most == 0 else 14)  # mapped ones are read batch by batch
            batches = [part for loader in (training, training, test) for batch in loader for part in batch]
            seen.append([mean, std, *(part for part in batches if part is not None)])
            assert torch.equal(torch.cat([batch.frames for batch in test]), data.arrays("test").frames)
    for other in seen[1:]:
        assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))


def test_extraction_to_disk_holds_one_recording_at_a_time(here, data, on_disk, monkeypatch):
    on_disk()
    sizes = []

    def spy(path, blocks, shape):
        return save_rows(path, (sizes.append(len(block)) or block for block in blocks), shape)

    monkeypatch.setattr(dataloader.features.cache, "save_rows", spy)
    assert_equal(load(here(), data.corpus), data.features)
    assert sizes == [1] * 70


def test_a_folder_that_cannot_be_written_costs_the_cache_or_is_named(here, data, on_disk, tmp_path, capsys):
    (tmp_path / "cache").touch()  # a file where the folder should be
    assert_equal(load(here(), data.corpus), data.features)
    assert "not kept" in capsys.readouterr().err
    on_disk()
    with pytest.raises(UserError, match=r"change data\.cache_dir"):
        load(here(), data.corpus)


def test_a_file_on_disk_that_another_process_overwrites_is_named(here, data, on_disk, monkeypatch):
    on_disk()
    monkeypatch.setattr(dataloader.features.cache, "save_rows", lambda *args: save_rows(*args) + 1)
    with pytest.raises(UserError, match="changed while they were written"):
        load(here(), data.corpus)


CHANGES = [{"utterances": ["dis-f1-b1"]}, {"skipped": {"dis-f1-b1": "silent"}}, {"skipped": None}]


@pytest.mark.parametrize("change", [*CHANGES, {"checksum": 0}, {"checksum": "0"}, {}, []])
def test_a_description_that_does_not_fit_is_made_anew(here, data, capsys, tmp_path, change):
    load(here(), data.corpus)
    (path,) = (tmp_path / "cache").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change if change else change))
    assert_equal(load(here(), data.corpus), data.features)
    assert "damaged" in capsys.readouterr().err


def test_a_cache_is_told_apart_by_the_corpus(here, data, tmp_path):
    for corpus in (data.corpus, replace(data.corpus, name="demo")):
        load(here(), corpus)
    names = {path.name.partition("-")[0] for path in Path(tmp_path / "cache").iterdir()}
    assert names == {"EMOVO", "demo"}

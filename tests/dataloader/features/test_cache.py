"""Features on disk: the same rows as in memory, written in pieces, and never half a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

import dataloader.features.cache
import dataloader.loaders
from dataloader.features.cache import DiskRows, on_disk, open_rows, save_rows
from dataloader.features.extract import load_features
from dataloader.loaders import feature_statistics, make_loader, make_training_loader, prepare_data
from utils.config import Config
from utils.errors import UserError


def test_what_is_auto_depends_on_the_size():
    assert not on_disk("auto", 588, (39, 188))
    assert on_disk("auto", 20_000, (39, 188))  # 559 MiB
    assert on_disk("disk", 1, (1, 1))
    assert not on_disk("memory", 10**9, (39, 188))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(10, 3, 4)


def save(path: Path, x: torch.Tensor) -> None:
    save_rows(path, x.split(3), (len(x), 3, 4), [f"u{row}" for row in range(len(x))], {"lost": "why"})


@pytest.mark.parametrize("disk", [False, True])
def test_what_is_saved_in_pieces_is_read_whole(x, tmp_path, disk):
    save(tmp_path / "new folder" / "x.npz", x)
    rows, names, skipped = open_rows(tmp_path / "new folder" / "x.npz", disk)
    assert isinstance(rows, DiskRows) == disk
    assert tuple(rows.shape) == (10, 3, 4) and len(rows) == 10
    assert torch.equal(rows[:], x)
    assert names[7] == "u7" and skipped == {"lost": "why"}
    assert np.array_equal(np.load(tmp_path / "new folder" / "x.npz")["x"], x.numpy())  # a plain .npz


@pytest.mark.parametrize("index", [3, -1, slice(2, 8), slice(None), [4, 0, 4], torch.tensor([9, 1]), []])
def test_rows_are_indexed_as_a_tensor_is(x, tmp_path, index):
    save(tmp_path / "x.npz", x)
    rows, *_ = open_rows(tmp_path / "x.npz", True)
    assert torch.equal(rows[index], x[index])
    chosen = [7, 2, 2, 5, 0, 1, 9, 3, 4, 6]
    assert torch.equal(rows.select(chosen)[index], x[chosen][index])
    rows[:].zero_()
    assert torch.equal(rows[:], x)  # what was read is a copy


def test_rows_that_never_came_are_zeros(x, tmp_path):
    save_rows(tmp_path / "x.npz", [x[:2], x[2:5]], (10, 3, 4), [], {})
    rows, *_ = open_rows(tmp_path / "x.npz", True)
    assert torch.equal(rows[:5], x[:5]) and not rows[5:].any()


@pytest.mark.parametrize("disk", [False, True])
def test_damage_anywhere_is_noticed(x, tmp_path, disk):
    path = tmp_path / "x.npz"
    save(path, x)
    content = path.read_bytes()
    start = content.index(x.numpy().tobytes())
    for place in (start, start + 200, start + 479):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(Exception, match="CRC"):
            open_rows(path, disk)
    path.write_bytes(content[:-30])
    with pytest.raises(Exception, match="zip"):
        open_rows(path, disk)
    np.savez_compressed(path, x=x.numpy(), utterances=["a"], skipped="{}")
    if disk:
        with pytest.raises(ValueError, match="not stored as they are"):
            open_rows(path, disk)


def test_an_interrupt_leaves_no_file(x, tmp_path):
    def interrupted():
        yield x[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_rows(tmp_path / "x.npz", interrupted(), (10, 3, 4), [], {})
    assert list(tmp_path.iterdir()) == []


# --- a whole corpus ---


@pytest.fixture
def build(tiny_corpus, tmp_path):
    def build(storage: str, **augment) -> Config:
        return Config(
            data={"root": tiny_corpus, "cache_dir": tmp_path / storage, "storage": storage},
            features={"signal_length": 8_000},
            train={"batch_size": 16},
            model={"num_features": 13, "aug": bool(augment)},
            augment=augment,
        )

    return build


@pytest.mark.parametrize("augment", [{}, {"mode": "published"}, {"mode": "online", "mixup": 0.5}])
def test_batches_from_disk_are_those_from_memory(build, augment, monkeypatch):
    monkeypatch.setattr(dataloader.loaders, "STATISTICS_BLOCK", 10)
    seen = []
    for storage in ("memory", "disk"):
        for _ in range(2):  # extracted, and from the cache
            config = build(storage, **augment)
            data = prepare_data(config, progress=False)
            assert isinstance(data.features.frames, DiskRows) == (storage == "disk")
            mean, std = feature_statistics(data.rows("train")[0])
            training = make_training_loader(config, data, mean, progress=False)
            assert isinstance(training.x, DiskRows) == (storage == "disk")
            test = make_loader(data, "test", 4, shuffle=False, seed=0)
            seen.append(
                [mean, std, *(part for loader in (training, training, test) for b in loader for part in b)]
            )
            assert torch.equal(torch.cat([x for x, _ in test]), data.arrays("test")[0])
    for other in seen[1:]:
        for one, two in zip(seen[0], other, strict=True):
            assert torch.equal(one, two)


def test_extraction_to_disk_holds_one_recording_at_a_time(build, monkeypatch):
    sizes = []

    def spy(path, blocks, *rest):
        save_rows(path, (sizes.append(len(block)) or block for block in blocks), *rest)

    monkeypatch.setattr(dataloader.features.extract, "save_rows", spy)
    data = prepare_data(build("disk"), progress=False)
    assert sizes == [1] * len(data.features.utterances)


def test_unusable_recordings_leave_no_gap(build, tiny_corpus, monkeypatch):
    whole = prepare_data(build("memory"), progress=False)
    bad = {whole.corpus.utterances[3].path, whole.corpus.utterances[69].path}
    read_audio = dataloader.features.extract.read_audio

    def failing(path, rate):
        if path in bad:
            raise dataloader.features.extract.AudioError(f"{path} is no sound")
        return read_audio(path, rate)

    monkeypatch.setattr(dataloader.features.extract, "read_audio", failing)
    config = build("disk")
    for _ in range(2):
        features = load_features(whole.corpus, config, progress=False)
        assert len(features.skipped) == 2
        kept = [row for row, u in enumerate(whole.corpus.utterances) if u.path not in bad]
        assert features.utterances == tuple(whole.corpus.utterances[row] for row in kept)
        assert torch.equal(features.frames[:], whole.features.frames[kept])


def test_features_that_are_to_stay_on_disk_must_be_written(build, tmp_path):
    (tmp_path / "disk").touch()  # a file where the folder should be
    with pytest.raises(UserError, match=r"change data\.cache_dir"):
        prepare_data(build("disk"), progress=False)


def test_a_damaged_cache_on_disk_is_made_anew(build, capsys):
    config = build("disk")
    first = prepare_data(config, progress=False)
    path = first.features.frames.path
    content = path.read_bytes()
    path.write_bytes(content[:5_000] + b"damage" + content[5_006:])
    again = prepare_data(config, progress=False)
    assert "damaged" in capsys.readouterr().err
    assert path.read_bytes() == content
    assert torch.equal(again.features.frames[:], first.features.frames[:])

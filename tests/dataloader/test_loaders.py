"""From a configuration to batches, and nothing of the test set on the way to the training."""

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import dataloader.loaders
import dataloader.splits
from dataloader.advice import length_advice
from dataloader.corpora.find import read_corpus
from dataloader.identity import identified_corpus
from dataloader.loaders import BatchLoader, feature_statistics, make_loader, prepare_data
from dataloader.splits import SUBSETS, load_split, save_split
from utils.config import Config, DataConfig, FeaturesConfig
from utils.emotions import EMOTIONS
from utils.errors import UserError


def assert_equal(ours, theirs):
    """Two batches."""
    assert torch.equal(ours.frames, theirs.frames) and torch.equal(ours.target, theirs.target)


def with_frames(data, frames):
    return replace(data, features=replace(data.features, frames=frames))


def test_every_utterance_is_in_one_subset_with_its_features_and_label(data):
    rows = {utterance.name: row for row, utterance in enumerate(data.features.utterances)}
    names = [name for subset in SUBSETS for name in getattr(data.split, subset)]
    assert sorted(names) == sorted(rows)
    for subset, count in zip(SUBSETS, (49, 7, 14), strict=True):
        x, functionals, y, _ = data.arrays(subset)
        assert x.shape == (count, 13, 16) and functionals is None
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        for name, features, label in zip(getattr(data.split, subset), x, y, strict=True):
            assert torch.equal(features, data.features.frames[rows[name]])
            assert EMOTIONS[label] == name.partition("-")[0]
    # a corpus of other emotions, in another order, has its own class indices
    turned = replace(data, corpus=replace(data.corpus, emotions=EMOTIONS[::-1]))
    assert torch.equal(turned.targets("test"), 6 - data.targets("test"))


def test_the_split_is_that_of_the_seed_and_records_the_corpus(build, data, capsys):
    assert prepare_data(build(), progress=False).split == data.split
    assert "utterances missing" in capsys.readouterr().err  # warnings about the corpus are shown
    assert (data.split.corpus, data.split.seed) == ("EMOVO", 0)
    other = prepare_data(build(train={"seed": 1}), progress=False).split
    assert other.test != data.split.test and other.seed == 1


@pytest.mark.parametrize("protocol", ["leave_one_sentence_out", "kfold"])
def test_the_protocol_and_fold_of_the_configuration_are_used_and_recorded(build, protocol):
    split = prepare_data(build(data={"protocol": protocol, "fold": 3}), progress=False).split
    assert (split.protocol, split.fold, split.folds) == (protocol, 3, 10)
    if protocol == "leave_one_sentence_out":  # the fourth of b1, d1, d2, l1, l2, n1 to n5
        assert {name.rpartition("-")[2] for name in split.test} == {"l1"}
    with pytest.raises(UserError, match=r"data\.fold = 10: must be 0 to 9"):
        prepare_data(build(data={"protocol": protocol, "fold": 10}), progress=False)


def test_emovo_at_the_default_settings(emovo_root, tmp_path):
    data = prepare_data(Config(data=DataConfig(root=emovo_root, cache_dir=tmp_path)), progress=False)
    for subset, count in zip(SUBSETS, (58, 10, 16), strict=True):
        x, _, y, _ = data.arrays(subset)
        assert x.shape == (7 * count, 39, 188) and x.isfinite().all()
        assert y.bincount().tolist() == [count] * 7


# --- leakage ---


@pytest.mark.parametrize("protocol", ["speaker_kfold", "leave_one_speaker_out", "partition"])
def test_a_test_speaker_is_noticed_in_training_where_the_code_that_draws_is_broken(
    build, monkeypatch, tmp_path, protocol
):
    """Once each: a draw that puts one utterance of a test speaker into training or validation."""
    root = tmp_path / "voices"
    for speaker, emotion, number in itertools.product("abcde", ("anger", "joy"), range(3)):
        path = root / speaker / emotion / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        pitch = 0.1 + 0.01 * number + 0.001 * ord(speaker) + 0.0001 * len(emotion)
        soundfile.write(path, 0.1 * np.sin(np.arange(4_000) * pitch), 16_000)
    names = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.wav")]
    (tmp_path / "some.csv").write_text("name,fold\n" + "".join(f"{n},{ord(n[0]) - 97}\n" for n in names))
    settings = {"corpus": "folder", "root": root, "protocol": protocol, "folds": 5, "fold": 2}
    settings |= {"partition": tmp_path / "some.csv"} if protocol == "partition" else {}
    split = prepare_data(build(data=settings), progress=False).split
    speakers = [{name[0] for name in getattr(split, subset)} for subset in SUBSETS]
    assert list(map(len, speakers)) == [3, 1, 1] and set.union(*speakers) == set("abcde")

    drawn = dataloader.splits._split
    for leaking in ("train", "validation"):

        def broken(data, seed, train, validation, test, *folds, leaking=leaking, **how):
            (train if leaking == "train" else validation).append(test.pop())
            return drawn(data, seed, train, validation, test, *folds, **how)

        monkeypatch.setattr(dataloader.splits, "_split", broken)
        with pytest.raises(UserError, match=rf"has the speaker \w in {leaking} and in test"):
            prepare_data(build(data=settings), progress=False)


def test_nothing_but_its_own_subset_reaches_a_loader(data):
    """Every utterance's features are its row number, so that each value says where it comes from."""
    rows = torch.arange(len(data.features.frames), dtype=torch.float32)
    marked = with_frames(data, rows[:, None, None].expand(-1, 13, 16).clone())
    seen = {}
    for subset in SUBSETS:
        loader = make_loader(marked, subset, batch_size=8, shuffle=subset == "train", seed=0)
        seen[subset] = {int(value) for _ in range(3) for x, *_ in loader for value in x.unique()}
        names = {data.features.utterances[row].name for row in seen[subset]}
        assert names <= set(getattr(data.split, subset))
    assert seen["train"].isdisjoint(seen["test"] | seen["validation"])
    assert seen["validation"].isdisjoint(seen["test"])


def test_statistics_are_the_training_sets_population_mean_and_std(data, monkeypatch):
    monkeypatch.setattr(dataloader.loaders, "STATISTICS_BLOCK", 10)
    scale, offset = torch.tensor([1.0, 30.0, 0.01]), torch.tensor([0.0, -500.0, 3.0])
    x, rows = torch.randn(25, 3, 50) * scale[:, None] + offset[:, None], list(range(3, 24))
    columns = x[rows].double().permute(1, 0, 2).reshape(3, -1)
    x[:3], x[24:] = 1e6, torch.nan  # held out
    mean, std = feature_statistics(x, rows)
    torch.testing.assert_close(mean, columns.mean(1).float())
    torch.testing.assert_close(std, columns.std(1, correction=0).float())
    x[:, 1] = -0.1
    mean, std = feature_statistics(x, rows)
    assert std[1] == 1 and mean[1] == pytest.approx(-0.1) and std[0] != 1  # it never changes


# --- recorded splits ---


def test_a_recorded_split_is_used_as_it_is(build, data, tmp_path):
    save_split(data.split, tmp_path / "split.json")
    split = load_split(tmp_path / "split.json")
    again = prepare_data(build(train={"seed": 5}), progress=False, split=split)
    assert again.split == data.split
    assert_equal(again.arrays("test"), data.arrays("test"))


def test_a_split_recorded_with_folders_and_separators_of_windows_is_applied(build, data):
    recorded = replace(
        data.split, **{part: tuple(f"f1\\{n}" for n in getattr(data.split, part)) for part in SUBSETS}
    )
    assert prepare_data(build(), progress=False, split=recorded).split == data.split
    lost = replace(recorded, test=("f1\\dis-f1-b9", *recorded.test))
    with pytest.raises(UserError, match=r"f1\\dis-f1-b9 \(test: not found\)"):
        prepare_data(build(), progress=False, split=lost)


def test_recordings_that_came_later_change_no_recorded_test_set(build, tiny_corpus, data, tmp_path):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    for path in root.rglob("*-f1-b1.wav"):
        shutil.copy(path, path.with_name(path.name.replace("-b1", "-b2")))
    grown = prepare_data(build(data={"root": root}), progress=False, split=data.split)
    assert len(grown.features.utterances) == len(data.features.utterances) + 7
    assert_equal(grown.arrays("test"), data.arrays("test"))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no sound")])
@pytest.mark.parametrize("subset", SUBSETS)
def test_a_recorded_utterance_that_is_gone_is_an_error_that_names_it(
    build, tiny_corpus, data, tmp_path, subset, damage
):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    name = getattr(data.split, subset)[3]
    damage(next(root.rglob(f"{name}.wav")))
    config = build(data={"root": root})
    with pytest.raises(UserError, match=f"1 of the recorded .*{name} .{subset}: "):
        prepare_data(config, progress=False, split=data.split)
    others = [one for one in SUBSETS if one != subset]
    prepare_data(config, progress=False, split=data.split, subsets=others)
    by_speaker = build(data={"root": root}, features={"prosody": True, "normalise": "speaker"})
    with pytest.raises(UserError, match=f"{name} .{subset}: "):  # it would count for the speaker's mean
        prepare_data(by_speaker, progress=False, split=data.split, subsets=others)


def test_splits_that_do_not_fit_are_refused(build, data):
    with pytest.raises(UserError, match="demo"):
        prepare_data(build(), progress=False, split=replace(data.split, corpus="demo"))
    with pytest.raises(UserError, match=r"the sentence \w\d in train and in"):
        leaking = replace(data.split, protocol="leave_one_sentence_out")
        prepare_data(build(), progress=False, split=leaking)


# --- batches ---


def loader(utterances: int, batch_size: int, shuffle: bool, seed: int = 0) -> BatchLoader:
    """Batches of utterances whose frames, functionals and target are their number."""
    numbers = torch.arange(utterances)
    frames, functionals = numbers.float()[:, None, None], numbers.float()[:, None]
    return BatchLoader(frames, functionals, numbers, batch_size, shuffle, seed)


def epoch(batches: BatchLoader) -> list[int]:
    return [int(number) for _, _, y, _ in batches for number in y]


def test_the_order_of_training_is_another_in_each_epoch_and_determined_by_seed_and_epoch():
    one, other = loader(22, 4, True), loader(22, 4, True)
    torch.manual_seed(1)
    orders = [epoch(one) for _ in range(3)]
    assert all(sorted(order) == list(range(22)) != order for order in orders) and orders[0] != orders[1]
    torch.manual_seed(2)
    assert [epoch(other) for _ in range(3)] == orders
    assert epoch(loader(22, 4, True, seed=1)) != orders[0]
    resumed = loader(22, 4, True)
    resumed.epoch = 2
    assert epoch(resumed) == orders[2]


@pytest.mark.parametrize("mapped", [False, True])
def test_frames_functionals_and_target_stay_together(on_disk, mapped):
    if mapped:
        on_disk()
    numbers, rows = torch.arange(30), list(range(25, 3, -1))
    frames, functionals = numbers.float()[:, None, None].clone(), numbers.float()[:, None]
    batches = BatchLoader(frames, functionals, numbers[rows], 4, True, 0, rows)
    assert len(batches.frames) == (30 if mapped else 22)
    for x, beside, y, _ in batches:
        assert torch.equal(x[:, 0, 0], y.float()) and torch.equal(beside[:, 0], y.float())
        x.zero_()  # a copy
    assert sorted(epoch(batches)) == sorted(rows) and torch.equal(frames[:, 0, 0], numbers.float())


def test_advice_on_the_length(tmp_path):
    (tmp_path / "03-01-06-01-02-01-12.wav").touch()
    corpus = read_corpus("ravdess", tmp_path)
    (advice,) = length_advice(corpus, corpus.utterances, FeaturesConfig())
    assert "features.signal_length=110000" in advice
    for chosen in (110_000, 50_000):
        assert length_advice(corpus, corpus.utterances, FeaturesConfig(signal_length=chosen)) == []
    assert length_advice(replace(corpus, signal_length=96_000), corpus.utterances, FeaturesConfig()) == []


@pytest.mark.parametrize(("seconds", "chosen"), [(12.0, 96_000), (21.0, 96_000), (2.0, 22_050)])
def test_a_corpus_that_loses_much_to_the_length_is_told_so_with_one_that_holds_95_percent(
    tmp_path, seconds, chosen
):
    lengths = seconds * np.linspace(0.9, 1.1, 20)  # at any rate
    noise = np.random.default_rng(0).integers(-9_000, 9_000, 400_000, np.int16)
    for number, length in enumerate(lengths):
        (tmp_path / "long/angry").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"long/angry/{number}.wav", noise[: int(length * 16_000)], 16_000)
    (tmp_path / "long/sad").mkdir()
    (tmp_path / "long/sad/broken.wav").touch()
    corpus = identified_corpus(read_corpus("folder", tmp_path / "long"), tmp_path)
    (advice,) = length_advice(corpus, corpus.utterances, FeaturesConfig(signal_length=chosen))
    lost = 1 - chosen / (22_050 * lengths).mean()
    said = f"folder-long: 100% of the recordings are longer than {chosen / 22_050:.1f} s"
    assert advice.startswith(said) and f"lose both ends, {lost:.0%} of all sound" in advice
    holding = int(re.search(r"signal_length=(\d+) would hold 95%", advice)[1])
    assert np.mean(lengths * 22_050 <= holding) >= 0.95 > np.mean(lengths * 22_050 <= holding - 1_000)
    assert length_advice(corpus, corpus.utterances, FeaturesConfig(signal_length=holding)) == []

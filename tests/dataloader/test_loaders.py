"""From a configuration to batches, and nothing of the test set on the way to the training."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataloader.loaders import BatchLoader, Data, feature_statistics, make_loader, prepare_data
from dataloader.splits import SUBSETS, load_split, save_split
from utils.config import Config, DataConfig, FeaturesConfig, ModelConfig, TrainConfig
from utils.emotions import EMOTIONS
from utils.errors import UserError


def make_config(root: Path, cache: Path, seed: int = 0) -> Config:
    return Config(
        data=DataConfig(root=root, cache_dir=cache),
        features=FeaturesConfig(signal_length=8_000),
        train=TrainConfig(seed=seed),
        model=ModelConfig(num_features=13),
    )


@pytest.fixture(scope="session")
def config(tiny_corpus, tmp_path_factory) -> Config:
    return make_config(tiny_corpus, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data(config) -> Data:
    return prepare_data(config, progress=False)


def test_every_utterance_is_in_one_subset_with_its_features_and_label(data):
    rows = {utterance.name: row for row, utterance in enumerate(data.features.utterances)}
    names = [name for subset in SUBSETS for name in getattr(data.split, subset)]
    assert sorted(names) == sorted(rows)
    for subset, count in zip(SUBSETS, (49, 7, 14), strict=True):
        x, y = data.arrays(subset)
        assert x.shape == (count, 13, 16)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        for name, features, label in zip(getattr(data.split, subset), x, y, strict=True):
            assert torch.equal(features, data.features.frames[rows[name]])
            assert EMOTIONS[label] == name.partition("-")[0]


def test_the_split_is_that_of_the_seed_and_records_the_corpus(config, data):
    again = prepare_data(config, progress=False)
    assert again.split == data.split
    assert (data.split.corpus, data.split.seed) == ("EMOVO", 0)
    other = prepare_data(config.model_copy(update={"train": TrainConfig(seed=1)}), progress=False)
    assert other.split.test != data.split.test
    assert other.split.seed == 1


def test_a_split_recorded_with_folders_and_separators_of_windows_is_applied(config, data):
    recorded = replace(
        data.split, **{part: tuple(f"f1\\{n}" for n in getattr(data.split, part)) for part in SUBSETS}
    )
    assert prepare_data(config, progress=False, split=recorded).split == data.split
    lost = replace(recorded, test=("f1\\dis-f1-b9", *recorded.test))
    with pytest.raises(UserError, match=r"f1\\dis-f1-b9 \(test: not found\)"):
        prepare_data(config, progress=False, split=lost)


def test_warnings_about_the_corpus_are_shown(config, capsys):
    prepare_data(config, progress=False)
    assert "utterances are missing" in capsys.readouterr().err


# --- leakage ---


def test_nothing_but_its_own_subset_reaches_a_loader(data):
    """Every utterance's features are its row number, so that each value tells where it comes from."""
    rows = torch.arange(len(data.features.frames), dtype=torch.float32)
    marked = replace(data, features=replace(data.features, x=rows[:, None, None].expand(-1, 13, 16).clone()))
    seen = {}
    for subset in SUBSETS:
        loader = make_loader(marked, subset, batch_size=8, shuffle=subset == "train", seed=0)
        seen[subset] = {int(value) for _ in range(3) for x, _ in loader for value in x.unique()}
        names = {data.features.utterances[row].name for row in seen[subset]}
        assert names <= set(getattr(data.split, subset))
    assert seen["train"].isdisjoint(seen["test"] | seen["validation"])
    assert seen["validation"].isdisjoint(seen["test"])


def test_statistics_come_from_the_training_set_alone(data):
    x, _ = data.arrays("train")
    mean, std = feature_statistics(x)
    held_out = {name for subset in ("validation", "test") for name in getattr(data.split, subset)}
    poisoned = data.features.frames.clone()
    for row, utterance in enumerate(data.features.utterances):
        if utterance.name in held_out:
            poisoned[row] = 1e6
    again = feature_statistics(replace(data, features=replace(data.features, x=poisoned)).arrays("train")[0])
    assert torch.equal(again[0], mean)
    assert torch.equal(again[1], std)


def test_statistics_are_the_population_mean_and_std_of_each_coefficient():
    x = (
        torch.randn(20, 3, 50) * torch.tensor([1.0, 30.0, 0.01])[:, None]
        + torch.tensor([0.0, -500.0, 3.0])[:, None]
    )
    mean, std = feature_statistics(x)
    assert mean.shape == std.shape == (3,)
    columns = x.double().permute(1, 0, 2).reshape(3, -1)
    torch.testing.assert_close(mean, columns.mean(1).float())
    torch.testing.assert_close(std, ((columns - columns.mean(1, keepdim=True)) ** 2).mean(1).sqrt().float())


def test_a_coefficient_that_never_changes_has_a_std_of_one():
    x = torch.randn(5, 2, 7)
    x[:, 1] = -0.1
    mean, std = feature_statistics(x)
    assert std[1] == 1
    assert mean[1] == pytest.approx(-0.1)
    assert std[0] != 1


# --- recorded splits ---


def test_a_recorded_split_is_used_as_it_is(config, data, tmp_path):
    save_split(data.split, tmp_path / "split.json")
    other_seed = config.model_copy(update={"train": TrainConfig(seed=5)})
    again = prepare_data(other_seed, progress=False, split=load_split(tmp_path / "split.json"))
    assert again.split == data.split
    for one, other in zip(again.arrays("test"), data.arrays("test"), strict=True):
        assert torch.equal(one, other)


def test_recordings_that_came_later_change_no_recorded_test_set(tiny_corpus, data, tmp_path):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    for path in root.rglob("*-f1-b1.wav"):
        shutil.copy(path, path.with_name(path.name.replace("-b1", "-b2")))
    config = make_config(root, tmp_path / "cache")
    grown = prepare_data(config, progress=False, split=data.split)
    assert len(grown.features.utterances) == len(data.features.utterances) + 7
    for one, other in zip(grown.arrays("test"), data.arrays("test"), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no sound")])
@pytest.mark.parametrize("subset", SUBSETS)
def test_a_recorded_utterance_that_is_gone_is_an_error_that_names_it(
    tiny_corpus, data, tmp_path, subset, damage
):
    root = Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))
    name = getattr(data.split, subset)[3]
    damage(next(root.rglob(f"{name}.wav")))
    with pytest.raises(UserError, match=f"1 of the recorded .*{name} .{subset}: "):
        prepare_data(make_config(root, tmp_path / "cache"), progress=False, split=data.split)


def test_a_split_of_another_corpus_is_an_error(config, data):
    with pytest.raises(UserError, match="demo"):
        prepare_data(config, progress=False, split=replace(data.split, corpus="demo"))


@pytest.mark.parametrize("protocol", ["leave_one_sentence_out", "kfold"])
def test_the_protocol_and_fold_of_the_configuration_are_used_and_recorded(config, protocol):
    chosen = config.data.model_copy(update={"protocol": protocol, "fold": 3})
    split = prepare_data(config.model_copy(update={"data": chosen}), progress=False).split
    assert (split.protocol, split.fold, split.folds) == (protocol, 3, 10)
    if protocol == "leave_one_sentence_out":  # the fourth of b1, d1, d2, l1, l2, n1 to n5
        assert {name.rpartition("-")[2] for name in split.test} == {"l1"}
    too_far = config.data.model_copy(update={"protocol": protocol, "fold": 10})
    with pytest.raises(UserError, match=r"data\.fold = 10: must be 0 to 9"):
        prepare_data(config.model_copy(update={"data": too_far}), progress=False)


def test_a_recorded_split_with_a_sentence_in_two_subsets_is_refused(config, data):
    with pytest.raises(UserError, match=r"the sentence \w\d in train and in"):
        prepare_data(config, progress=False, split=replace(data.split, protocol="leave_one_sentence_out"))


# --- batches ---


def loader(utterances: int, batch_size: int, shuffle: bool, seed: int = 0) -> BatchLoader:
    """Batches of utterances whose only feature is their number."""
    numbers = torch.arange(utterances)
    return BatchLoader(numbers.float()[:, None, None], numbers, batch_size, shuffle, seed)


def epoch(batches: BatchLoader) -> list[int]:
    return [int(number) for _, y in batches for number in y]


def test_evaluation_sees_every_utterance_once_in_order():
    for utterances in (1, 7, 8, 9):
        assert epoch(loader(utterances, 4, shuffle=False)) == list(range(utterances))


def test_training_sees_every_utterance_once_in_another_order_each_epoch():
    batches = loader(22, 4, shuffle=True)
    first, second = epoch(batches), epoch(batches)
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second
    assert first != list(range(22))


def test_the_order_is_determined_by_seed_and_epoch():
    one, other = loader(22, 4, True), loader(22, 4, True)
    torch.manual_seed(1)
    orders = [epoch(one) for _ in range(3)]
    torch.manual_seed(2)
    assert [epoch(other) for _ in range(3)] == orders
    assert epoch(loader(22, 4, True, seed=1)) != orders[0]
    resumed = loader(22, 4, True)
    resumed.epoch = 2
    assert epoch(resumed) == orders[2]


def test_features_and_labels_stay_together():
    for x, y in loader(22, 4, shuffle=True):
        assert torch.equal(x[:, 0, 0], y.float())


@pytest.mark.parametrize(
    ("utterances", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1]), (3, 4, [3])],
)
def test_a_last_batch_of_one_is_left_out_of_training_alone(utterances, batch_size, sizes):
    training = loader(utterances, batch_size, shuffle=True)
    assert [len(y) for _, y in training] == sizes
    assert len(training) == len(sizes)
    evaluation = loader(utterances, batch_size, shuffle=False)
    assert sum(len(y) for _, y in evaluation) == utterances
    assert len(list(evaluation)) == len(evaluation)


def test_labels_are_positions_in_the_corpus_emotions(data):
    """A corpus of other emotions, in another order, has its own class indices."""
    turned = replace(data.corpus, emotions=EMOTIONS[::-1])
    _, y = data.arrays("test")
    _, turned_y = replace(data, corpus=turned).arrays("test")
    assert torch.equal(turned_y, 6 - y)


def test_emovo_at_the_default_settings(emovo_root, tmp_path):
    data = prepare_data(Config(data=DataConfig(root=emovo_root, cache_dir=tmp_path)), progress=False)
    for subset, count in zip(SUBSETS, (58, 10, 16), strict=True):
        x, y = data.arrays(subset)
        assert x.shape == (7 * count, 39, 188)
        assert x.isfinite().all()
        assert y.bincount().tolist() == [count] * 7

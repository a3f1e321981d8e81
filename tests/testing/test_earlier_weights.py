"""Weights of the earlier implementation: converted right, and agreeing with the labels of EMOVO."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dataloader.corpora.find import read_corpus
from dataloader.features.extract import load_features
from models.cktim import build_model
from testing.earlier_weights import CLASSES
from testing.load_run import load_run, predict
from tests.models.reference import TwoBranches
from utils.config import load_config
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.runs import PUBLISHED_CONFIG, read_run

PARAMETERS = """Hydra Configuration Parameters:
----------------------------------------
train: {'num_epochs': 100, 'batch_size': 64, 'learning_rate': 0.01, 'early_stopping': True}
model: {'n_temporal_aware_block': 2, 'n_filter': 5, 'num_features': 4, 'ck': CK, 'omega_0': 24}
"""


THEIR_NAMES = (  # ours → theirs, within a direction
    (r"^input_conv", "conv_DIRECTION"),
    (r"^blocks", "TempAw_Blocks_DIRECTION"),
    (r"convolutions\.0", "conv1"),
    (r"convolutions\.1", "conv2"),
    (r"generator\.layers\.0", "kernel_gen.linear_input"),
    (r"generator\.layers\.1", "kernel_gen.linear_hidden"),
    (r"generator\.layers\.2", "kernel_gen.linear_output"),
    (r"generator\.norms\.0", "kernel_gen.batch_norm1"),
    (r"generator\.norms\.1", "kernel_gen.batch_norm2"),
    (r"norms\.0", "batch_norm1"),
    (r"norms\.1", "batch_norm2"),
)


def earlier_state(branches: TwoBranches) -> dict[str, torch.Tensor]:
    """The weights of a two-branch network under the earlier implementation's names."""
    state = {"ctim_net.weightsdyn_fun": branches.fusion.weight[:, None]}
    for direction, branch in zip(("forward", "reverse"), branches.branches, strict=True):
        for name, tensor in branch.state_dict().items():
            for ours, theirs in THEIR_NAMES:
                name = re.sub(ours, theirs.replace("DIRECTION", direction), name)
            state[f"ctim_net.{name}"] = tensor
            if name.endswith("kernel_gen.linear_input.bias"):
                counter = name.replace("kernel_gen.linear_input.bias", "previous_length")
                state[f"ctim_net.{counter}"] = torch.tensor([188])
    for part in ("weight", "bias"):
        state[f"classifier.{part}"] = getattr(branches.classifier, part)
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@pytest.fixture(params=[True, False], ids=["CkTIM", "TIM"])
def earlier(request, tmp_path) -> tuple[Path, TwoBranches]:
    """A run directory as the earlier implementation left it, and the network in it as two branches."""
    run_dir = tmp_path / ("CkTIM_TAB2" if request.param else "TIM_TAB2")
    run_dir.mkdir()
    (run_dir / "parameters.txt").write_text(PARAMETERS.replace("CK", str(request.param)))
    small = ["n_temporal_aware_block=2", "n_filter=5", "num_features=4", f"ck={str(request.param).lower()}"]
    config = load_config(PUBLISHED_CONFIG, [f"model.{setting}" for setting in (*small, "omega_0=24")])
    torch.manual_seed(0)
    net = build_model(config.model, 7, num_features=4).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d)):
        for tensor in (norm.running_mean, norm.bias):
            nn.init.uniform_(tensor, -1, 1)
        for tensor in (norm.running_var, norm.weight):
            nn.init.uniform_(tensor, 0.5, 2)
    nn.init.normal_(net.fusion.weight)
    branches = TwoBranches(net, config.model)
    torch.save(earlier_state(branches), run_dir / "model.pt")
    return run_dir, branches


def test_converted_weights_are_the_same_function_with_classes_in_our_order(earlier):
    run_dir, branches = earlier
    run = load_run(run_dir)
    assert (run.config.train.learning_rate, run.config.model.omega_0) == (0.01, 24.0)
    assert (run.config.model.generator_norm, run.config.features.standardise) == ("batch", False)
    assert run.split is None
    x = torch.randn(3, 4, 188)
    with torch.no_grad():
        theirs, ours = branches(x), run.model(x)
    for index, emotion in enumerate(EMOTIONS):
        theirs_index = ("rab", "dis", "pau", "gio", "neu", "tri", "sor").index(emotion)
        torch.testing.assert_close(ours[:, index], theirs[:, theirs_index], rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_whole_are_an_error(earlier):
    run_dir, _ = earlier
    state = torch.load(run_dir / "model.pt", weights_only=True)
    for name in ("classifier.bias", next(name for name in state if "conv_reverse" in name)):
        torch.save({key: value for key, value in state.items() if key != name}, run_dir / "model.pt")
        with pytest.raises(UserError, match=rf"earlier implementation, but not whole.*{name}"):
            load_run(run_dir)


def test_without_parameters_the_name_and_the_call_take_their_place(earlier):
    run_dir, _ = earlier
    expected = load_run(run_dir).config.model
    (run_dir / "parameters.txt").unlink()
    fallback = ["af_type=sin", "hidden_scale=1", "n_temporal_aware_block=2", "omega_0=24"]
    sizes = ["n_filter=5", "num_features=4"]
    run = load_run(run_dir, fallback=[f"model.{setting}" for setting in (*fallback, *sizes)])
    assert run.config.model == expected


def test_parameters_are_read_and_not_run(earlier, tmp_path):
    run_dir, _ = earlier
    text = (run_dir / "parameters.txt").read_text()
    code = f"__import__('pathlib').Path({str(tmp_path / 'it_ran')!r}).touch()"
    (run_dir / "parameters.txt").write_text(text.replace("'omega_0': 24", f"'omega_0': {code}"))
    with pytest.raises(UserError, match="no configuration that can be read"):
        load_run(run_dir)
    assert not (tmp_path / "it_ran").exists()


# --- the published directories themselves ---


@pytest.fixture(scope="module")
def emovo(emovo_root, tmp_path_factory):
    """Unstandardised features of EMOVO, (588, 39, 188), and class indices."""
    corpus, settings = read_corpus("emovo", emovo_root), load_config(PUBLISHED_CONFIG).features
    features = load_features(corpus, settings, tmp_path_factory.mktemp("cache"), progress=False)
    return features.frames, torch.tensor([EMOTIONS.index(u.emotion) for u in features.utterances])


@pytest.mark.parametrize(("name", "at_least"), [("TIM_TAB6", 0.85), ("CkTIM_TAB1", 0.69)])
def test_published_weights_agree_with_the_labels(published_root, emovo, name, at_least):
    x, y = emovo
    predictions = predict(load_run(published_root / name).model, x).argmax(1)
    assert len(y) == 588 and sorted(CLASSES) == sorted(EMOTIONS)
    assert (predictions == y).float().mean() >= at_least


def test_published_directories_read_as_runs(published_root):
    for path in sorted(published_root.glob("*TIM*")):
        run = read_run(path)
        assert (run.corpus, run.protocol, len(run.training), len(run.validation)) == ("EMOVO", None, 100, 100)
        assert run.config.model.name == json.loads(next(path.glob("*_test_*")).read_text())["model"][0]
        assert run.test["accuracy"][0] > 0.5

"""Runs are rebuilt from their directories; damage and contradictions are named, and no code in them runs."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from testing.evaluate import main
from testing.load_run import load_run
from utils.errors import UserError


class Code:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# Changes of a file's content; None deletes it.


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return lambda content: buffer.getvalue()


def weights(change):
    def changed(content: bytes) -> bytes:
        state = torch.load(io.BytesIO(content), weights_only=True)
        change(state)
        return saved(state)(content)

    return changed


def text(old: str, new: str):
    return lambda content: content.replace(old.encode(), new.encode())


def packed(content: bytes) -> bytes:
    """60 kB here might become gigabytes in memory."""
    whole, buffer = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
    return buffer.getvalue()


def another_seed(content: bytes) -> bytes:
    split = json.loads(content) | {"seed": 4}
    del split["checksum"]  # as somebody does who changes it on purpose
    return json.dumps(split).encode()


CLASSES = weights(lambda state: state.update({"classifier.weight": torch.zeros(4, 8)}))
BLOCKS = text("n_temporal_aware_block: 2", "n_temporal_aware_block: 3")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.pt", None, "has no model.pt"),
        ("split.json", None, "has no split.json.*--all"),
        ("parameters.txt", None, "no configuration.*tells model.af_type, model.hidden_scale, model.omega"),
        ("model.pt", saved([1, 2]), "holds a list, not a state dict"),
        ("model.pt", saved({"epoch": 3}), "holds a dictionary with epoch: int, not a state dict"),
        ("model.pt", saved({}), "not a state dict"),
        ("model.pt", saved({"weight": torch.zeros(2)}), "does not fit"),
        ("model.pt", lambda content: b"hello", "not a file of PyTorch"),
        ("model.pt", half, "cut off"),
        ("model.pt", packed, r"model\.pt is not a file of PyTorch.* is packed"),
        ("model.pt", weights(lambda state: state.pop("classifier.bias")), "classifier.bias is missing"),
        ("model.pt", weights(lambda state: state.update(extra=torch.zeros(1))), "extra is not known"),
        ("model.pt", CLASSES, r"classifier.weight has the shape \(4, 8\), not \(7, 16\)"),
        ("model.pt", weights(lambda state: state["classifier.bias"].fill_(torch.nan)), "not finite"),
        ("training_metrics.json", half, r"training_metrics.json is not a whole JSON file"),
        ("validation_metrics.json", half, r"validation_metrics.json is not a whole JSON file"),
        ("split.json", half, "split.json"),
        ("split.json", text('"seed": 0', '"seed": 4'), r"split\.json .*its checksum does not fit"),
        ("split.json", another_seed, "train.seed is 0 by its name, .* 4 by split.json"),
        ("parameters.txt", BLOCKS, "aware_block is 2 by its name, 3 by parameters.txt, 2 by model.pt"),
        ("parameters.txt", text("ck: true", "ck: false"), "model.ck is true by its name, false by param"),
        ("parameters.txt", text("hidden_scale: 0.25", "hidden_scale: 0.5"), "does not fit"),
    ],
)
def test_damage_is_reported_in_one_line(run_dir, capsys, file, change, message):
    content = (run_dir / file).read_bytes()
    (run_dir / file).unlink()
    if change:
        assert change(content) != content
        (run_dir / file).write_bytes(change(content))
    with pytest.raises(SystemExit) as exit_:
        main([str(run_dir)])
    assert exit_.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and re.search(message, line)


def test_a_folder_without_a_run_is_named(run_dir):
    for path in run_dir.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="is not a run directory"):
        load_run(run_dir)
    shutil.rmtree(run_dir)
    with pytest.raises(UserError, match="there is no run directory"):
        load_run(run_dir)


def test_code_in_the_weights_is_refused_and_does_not_run(run_dir, tmp_path):
    torch.save({"weight": Code(tmp_path / "it_ran")}, run_dir / "model.pt")
    with pytest.raises(UserError, match="holds objects or code"):
        load_run(run_dir)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TIM_TAB2", "model.ck is false by its name, true by parameters.txt, true by model.pt"),
        ("CkkTIM_TAB2", 'model.generator_type is "convKan" by its name, "conv" by parameters.txt'),
        ("CkTIM_aug_TAB2", "model.aug is true by its name, false by parameters.txt"),
        ("CkTIM_demo_TAB2", 'corpus is "demo" by its name, "EMOVO" by split.json'),
        ("CkTIM_omega_0_26", "model.omega_0 is 26 by its name"),
    ],
)
def test_a_name_that_contradicts_the_rest_is_an_error(run_dir, name, message):
    with pytest.raises(UserError, match=message):
        load_run(run_dir.rename(run_dir.with_name(name)))


def test_settings_of_the_training_cannot_be_overridden(run_dir):
    run_dir = run_dir.rename(run_dir.with_name("my best run"))  # a name that contradicts nothing
    with pytest.raises(UserError, match=r"model.omega_0=30: the run was trained with"):
        load_run(run_dir, ["model.omega_0=30"])
    assert load_run(run_dir, ["train.batch_size=3"]).config.train.batch_size == 3


def test_without_configuration_the_name_and_the_call_take_its_place(trained, run_dir, capsys):
    (run_dir / "parameters.txt").write_text("model: {ck: tr")
    fallback = ["model.af_type=sin", "model.hidden_scale=0.25", "model.n_temporal_aware_block=2"]
    rest = ["model.n_filter=8", "features.n_mfcc=13", "features.signal_length=4096"]
    again = load_run(run_dir, rest, fallback=[*fallback, "model.omega_0=25"])
    assert "parameters.txt: not valid YAML" in capsys.readouterr().err
    assert again.config.model == load_run(trained).config.model
    with pytest.raises(UserError, match="n_temporal_aware_block is 2 by its name, 6 by the call"):
        load_run(run_dir, rest, [*fallback[:2], "model.n_temporal_aware_block=6", "model.omega_0=25"])

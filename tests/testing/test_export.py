"""Exported files compute what the run computes, and are not written where they do not."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import nn

from dataloader.audio import condition, fit_length, read_audio
from models.cktim import build_model
from testing import export as module
from testing.evaluate import evaluate
from testing.export import FixedConv, Recogniser, conditioned, export, main, traced
from testing.load_run import load_run
from utils.config import FeaturesConfig, ModelConfig
from utils.errors import UserError
from utils.metrics import read_json

RATE = 22_050


@pytest.fixture(scope="module")
def program(trained):
    """The graphs of the trained run, which take seconds to make: program(run, "onnx")."""
    graph = cache(lambda kind: traced(load_run(trained), kind))
    return lambda run, kind: graph(kind)


@pytest.fixture
def made(program, monkeypatch):
    """Let exports of copies of the trained run take the graphs that are made already."""
    monkeypatch.setattr(module, "traced", program)


@pytest.fixture(scope="module")
def file(trained, program, tmp_path_factory):
    """An exported file, made once: file("onnx")."""
    files = {}

    def get(kind):
        if kind == "onnx":
            onnx_packages()
        if kind not in files:
            path = tmp_path_factory.mktemp("exported") / module.FILES[kind]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "traced", program)
                files[kind] = export(trained, kind, path)
        return files[kind]

    return get


def onnx_packages():
    """onnx and onnxruntime; a test that asks for them is skipped where they are not installed."""
    reason = "pip install -r requirements-export.txt"
    pytest.importorskip("onnxscript", reason=reason)
    return pytest.importorskip("onnx", reason=reason), pytest.importorskip("onnxruntime", reason=reason)


def speech(samples: int, before: int = 5_000, level: float = 0.3) -> np.ndarray:
    """Noise of one level, with much fainter noise around it, 9 000 samples in all."""
    lengths = [before, samples, 9_000 - before]
    noise = np.random.default_rng(samples).uniform(-level, level, sum(lengths))
    return (np.repeat([1e-3, 1, 1e-3], lengths) * noise).astype(np.float32)


@pytest.mark.parametrize("trim_silence", [False, True])
@pytest.mark.parametrize("normalise_level", [False, True])
@pytest.mark.parametrize("samples", [1_100, 13_050, 13_051, 13_052, 40_000, 40_001])
def test_the_graph_conditions_waveforms_as_the_loader_does(trim_silence, normalise_level, samples):
    features = FeaturesConfig(
        signal_length=22_051, trim_silence=trim_silence, normalise_level=normalise_level
    )
    waves = [speech(samples, 2_000, 0.3), speech(samples, 6_001, 0.01)]
    got = conditioned(torch.from_numpy(np.stack(waves)), features).numpy()
    expected = np.stack([fit_length(condition(wave, features), 22_051) for wave in waves])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=0)


def test_onnxruntime_adds_up_a_minute_of_sound_without_losing_digits(tmp_path):
    _, onnxruntime = onnx_packages()

    class Energy(nn.Module):
        def forward(self, waveform):
            return module.energy(waveform)

    minute = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 60 * 22_050)).astype(np.float32)
    path = str(tmp_path / "energy.onnx")
    torch.onnx.export(Energy(), (torch.from_numpy(minute),), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: minute})
    expected = np.square(minute.astype(float)).sum(1, keepdims=True)
    np.testing.assert_allclose(got, expected, rtol=2e-6)  # one by one: 3e-5


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_exported_files_answer_as_the_evaluation_does(run_dir, file, kind):
    exported = file(kind)
    assert exported.difference <= 1e-4 and exported.utterances == 14
    content = exported.path.read_bytes()
    assert b"/testing/" not in content and b"site-packages" not in content  # nothing of the machine
    answer = module.KINDS[kind][1](content)
    evaluation = evaluate(run_dir, progress=False)
    batch = np.stack([read_audio(utterance.path) for utterance in evaluation.utterances])
    expected = evaluation.probabilities
    got = F.softmax(torch.from_numpy(answer(batch)), dim=1).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    quiet = batch * np.geomspace(1, 1e-3, len(batch), dtype=np.float32)[:, None]
    together, alone = answer(quiet), np.concatenate([answer(wave[None]) for wave in quiet])
    np.testing.assert_allclose(together, alone, atol=1e-4)  # each has a floor of its own


def test_onnx_files_hold_what_a_program_needs(run_dir, file):
    onnx, onnxruntime = onnx_packages()
    path = file("onnx").path
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", module.OPSET)]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("waveform", ["batch", "samples"])]
    outputs = {one.name: one.shape for one in session.get_outputs()}
    assert outputs == {"logits": ["batch", 7], "probabilities": ["batch", 7]}
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["emotions"]) == list(load_run(run_dir).emotions)
    assert json.loads(told["emotions_english"])[4] == "anger"
    assert (told["sample_rate"], told["signal_length"], told["run"]) == ("22050", "4096", run_dir.name)
    logits, probabilities = session.run(None, {"waveform": speech(20_000)[None]})
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


@pytest.mark.parametrize("shape", [None, (1, 20_000)])
def test_openvino_answers_as_onnxruntime_for_any_length_and_for_one(file, shape):
    openvino = pytest.importorskip("openvino", reason="pip install -r requirements-dev.txt")
    exported, core = file("onnx"), openvino.Core()
    model = core.read_model(exported.path)
    if shape:
        model.reshape(list(shape))
    network = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch, samples in [shape] if shape else [(2, 14_000), (1, 9_512)]:
        waves = np.stack([speech(samples - 9_000, 1_000 * row) for row in range(batch)])
        np.testing.assert_allclose(network(waves)["logits"], exported.program(waves), rtol=0, atol=1e-4)


@pytest.mark.parametrize("generator", ["conv", "convKan"])
def test_kernels_take_the_least_space_in_onnx_files(generator):
    model = ModelConfig(generator_type=generator, kernel_window=0)
    conv = build_model(model, 7).blocks[0].convolutions[0].eval()
    numbers, least = FixedConv(conv, 188, "torch"), FixedConv(conv, 188, "onnx")
    x = torch.randn(2, 78, 188, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(least(x), numbers(x), rtol=0, atol=1e-5)
    sizes = [sum(tensor.numel() for tensor in one.state_dict().values()) for one in (numbers, least)]
    assert sizes[0] == 2 * 39 * 39 * 188
    assert sizes[1] < 0.2 * sizes[0] if generator == "conv" else sizes[1] < 1.01 * sizes[0]


def test_torch_files_hold_their_metadata_and_no_kernel_generator(run_dir, file):
    extra = {"metadata.json": ""}
    program = torch.export.load(file("torch").path, extra_files=extra)
    assert json.loads(extra["metadata.json"])["run"] == run_dir.name
    assert not any("generator" in name for name in program.state_dict)
    assert any(name.endswith("kernel") for name in program.state_dict)


def test_the_run_itself_stays_as_it_is(run_dir):
    run = load_run(run_dir)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    for kind in module.FILES:
        Recogniser(run, kind)
    after = run.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in run.model.parameters())


def test_what_differs_from_the_run_is_not_written(run_dir, made, monkeypatch, capsys):
    right = module.run_program
    monkeypatch.setattr(module, "run_program", lambda run: lambda waves: right(run)(waves) + 2e-4)
    with pytest.raises(SystemExit):
        main([str(run_dir), "--format", "torch"])
    said = capsys.readouterr().err
    assert "by up to 2.0e-04 in a logit, more than 0.0001: nothing is written" in said
    assert "The run's own logits reach " in said
    assert not (run_dir / "model.pt2").exists()


def test_recordings_that_are_named_take_the_place_of_the_corpus(run_dir, made, tmp_path, capsys):
    with pytest.raises(UserError, match="nowhere"):
        export(run_dir, "torch", overrides=[f"data.root={tmp_path / 'nowhere'}"])
    soundfile.write(tmp_path / "mine.wav", speech(20_000), RATE)
    where = [str(run_dir), f"data.root={tmp_path / 'nowhere'}", "--recordings", str(tmp_path / "mine.wav")]
    main([*where, "--format", "torch", "--out", str(tmp_path / "mine.pt2")])
    assert (tmp_path / "mine.pt2").exists() and not (run_dir / "model.pt2").exists()
    main([*where, "--format", "torch"])
    assert (run_dir / "model.pt2").exists()
    assert "On 1 utterance its logits are the run's within" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "changes"), [("prosody", {}), ("functionals", {}), ("normalise", {"normalise": "speaker"})]
)
def test_features_that_cannot_be_part_of_a_graph_are_refused(run_dir, key, changes):
    run = load_run(run_dir)
    changes = {"prosody": False, "functionals": False, "normalise": "none", key: True} | changes
    features = run.config.features.model_copy(update=changes)
    run = replace(run, config=run.config.model_copy(update={"features": features}))
    with pytest.raises(UserError, match=rf"features\.{key}, which cannot be part"):
        module.check_features(run)


def test_the_corpus_of_another_run_is_no_ground(run_dir, made):
    split = read_json(run_dir / "split.json")
    (run_dir / "split.json").write_text(json.dumps(split | {"corpus": "EMO-DB"}))
    with pytest.raises(UserError, match="EMO-DB, is not found"):
        export(run_dir, "torch")


def test_a_missing_package_is_named_with_the_way_to_get_it(run_dir, made, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"onnx is missing: .*requirements-export\.txt"):
        export(run_dir, "onnx")

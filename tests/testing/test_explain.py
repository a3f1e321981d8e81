"""An explanation shows the network's own answer and attention."""

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image

from dataloader.audio import fit_length, read_audio
from dataloader.features.extract import MFCC
from models.cktim import CkTIMNet, build_model
from testing import kernels
from testing.evaluate import evaluate
from testing.explain import explain, explain_right_and_wrong, main, temporal_attention
from testing.kernels import kernel_figure
from testing.load_run import load_run
from utils.config import ModelConfig
from utils.errors import UserError


def recording(tiny_emovo, name="gio-f1-b1"):
    return tiny_emovo / "f1" / f"{name}.wav"


def net(ck: bool = True, blocks: int = 2) -> CkTIMNet:
    torch.manual_seed(0)
    model = ModelConfig(ck=ck, n_temporal_aware_block=blocks, n_filter=4, hidden_scale=0.25)
    return build_model(model, 7, num_features=3, frames=20).eval()


def test_the_answer_is_that_of_the_evaluation(run_dir, tiny_emovo):
    evaluation = evaluate(run_dir, progress=False)
    for utterance, expected in zip(evaluation.utterances[:5], evaluation.probabilities, strict=False):
        explanation = explain(run_dir, utterance.path, truth=utterance.emotion)
        np.testing.assert_allclose(explanation.probabilities, expected, atol=1e-5)
        assert explanation.emotions == evaluation.run.emotions and explanation.truth == utterance.emotion


def test_everything_belongs_to_the_utterance_as_the_network_gets_it(run_dir, tiny_emovo):
    run = load_run(run_dir)
    explanation = explain(run, recording(tiny_emovo))
    waveform = fit_length(read_audio(recording(tiny_emovo)), 4_096)
    np.testing.assert_array_equal(explanation.waveform, waveform)
    expected = MFCC(run.config.features)(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_array_equal(explanation.mfcc, expected)
    assert explanation.attention.shape == (2, 2, 9)
    assert ((explanation.attention > 0) & (explanation.attention < 1)).all()
    np.testing.assert_array_equal(explanation.fusion, run.model.fusion.weight.detach())
    assert explanation.recorded == pytest.approx((48 / 22_050, 4_048 / 22_050))  # 4 000 samples in 4 096
    assert explanation.seconds == pytest.approx(4_000 / 22_050)
    assert (explanation.name, explanation.network) == ("gio-f1-b1.wav", run_dir.name)


@pytest.mark.parametrize("ck", [True, False])
def test_blocks_multiply_their_input_by_this_attention(ck, monkeypatch):
    network = net(ck)
    mfcc = torch.randn(1, 3, 20)
    logits, attention = temporal_attention(network, mfcc)
    torch.testing.assert_close(logits, network(mfcc)[0].detach())
    x = network.input_conv(torch.cat([mfcc, mfcc.flip(-1)], dim=1))
    for block, (forwards, backwards) in zip(network.blocks, attention, strict=True):
        expected = block.attention(x)[0].detach()
        torch.testing.assert_close(forwards, expected[:4].mean(0))
        torch.testing.assert_close(backwards, expected[4:].mean(0).flip(-1))
        x = block(x)
    monkeypatch.setattr(CkTIMNet, "embedding", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        temporal_attention(network, mfcc)
    assert not any(block._forward_pre_hooks for block in network.blocks)


def test_both_directions_run_with_the_time_of_the_utterance():
    """A change at one moment changes the attention forwards from there on, backwards up to there."""
    network = net(blocks=1)
    mfcc = torch.randn(1, 3, 20)
    changed = mfcc.clone()
    changed[..., 12] += 5
    (before,), (after,) = (temporal_attention(network, x)[1] for x in (mfcc, changed))
    forwards, backwards = (before != after).numpy()
    assert not forwards[:12].any() and forwards[12:].any()
    assert backwards[:13].any() and not backwards[13:].any()


def test_a_waveform_in_memory_is_as_good_as_its_file(run_dir, tiny_emovo, tmp_path):
    rng = np.random.default_rng(0)
    stereo = rng.uniform(-0.3, 0.3, (9_600, 2)).astype(np.float32)
    soundfile.write(tmp_path / "stereo.wav", stereo, 48_000, subtype="FLOAT")
    by_file, by_waveform = explain(run_dir, tmp_path / "stereo.wav"), explain(run_dir, stereo, 48_000)
    np.testing.assert_array_equal(by_file.waveform, by_waveform.waveform)
    np.testing.assert_array_equal(by_file.probabilities, by_waveform.probabilities)
    assert by_waveform.seconds == pytest.approx(0.2, abs=1e-3)
    assert by_waveform.recorded == (0, 4_096 / 22_050)  # the middle of it


def test_recordings_that_cannot_be_used_are_refused(run_dir, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no sound")
    for recording, rate, message in (
        (np.zeros(9_000), None, "needs its sample rate"),
        (np.zeros(100), 22_050, "too short: 100 samples"),
        (np.zeros(9_000), 22_050, "silent"),
        (tmp_path / "none.wav", None, "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            explain(run_dir, recording, rate)
    with pytest.raises(SystemExit):
        main([str(run_dir), str(tmp_path / "text.wav")])
    assert capsys.readouterr().err.startswith("error: ")


def test_the_truth_may_be_said_in_words(run_dir, tiny_emovo):
    run, path = load_run(run_dir), recording(tiny_emovo)
    for word, code in (("rab", "rab"), ("Anger", "rab"), ("gioia", "gio"), (None, None)):
        assert explain(run, path, truth=word).truth == code
    for word in ("envy", "calm"):
        with pytest.raises(UserError, match=rf"{word} is no emotion of this run; it knows disgust, joy"):
            explain(run, path, truth=word)


def test_a_run_that_compares_recordings_of_a_speaker_cannot_judge_one(run_dir, tiny_emovo):
    text = (run_dir / "parameters.txt").read_text()
    text = text.replace("n_mfcc: 13", "n_mfcc: 5").replace("prosody: false", "prosody: true")
    text = text.replace("normalise: none", "normalise: speaker")
    (run_dir / "parameters.txt").write_text(text)
    with pytest.raises(UserError, match="cannot judge a single recording"):
        explain(run_dir, recording(tiny_emovo))


def test_damaged_weights_give_no_figure(run_dir, tiny_emovo):
    run = load_run(run_dir)
    with torch.no_grad():
        run.model.classifier.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite numbers"):
        explain(run, recording(tiny_emovo))


def test_one_right_and_one_wrong_answer_are_explained(run_dir):
    evaluation = evaluate(run_dir, progress=False)
    explained = explain_right_and_wrong(evaluation)
    right = evaluation.predictions == evaluation.targets
    assert [made.answer == made.truth for made in explained] == [True, False][: 1 + (~right).any()]
    assert explained[0].probabilities.max() == pytest.approx(evaluation.probabilities[right].max(), abs=1e-5)


def test_kernels_are_those_of_the_layer_that_is_named(run_dir, monkeypatch):
    run = load_run(run_dir)
    default, other = kernel_figure(run), kernel_figure(run, "input_conv")
    assert isinstance(default, Figure)
    assert default.get_suptitle().replace("\n", " ").endswith("kernels of blocks.0.convolutions.0")
    assert other.get_suptitle().endswith("kernels of input_conv")
    curves = [figure.axes[0].lines[0].get_ydata() for figure in (default, other)]
    assert not np.array_equal(*curves)
    with pytest.raises(UserError, match=r"no continuous kernels in blocks\.9, but in input_conv, blocks\.0"):
        kernel_figure(run, "blocks.9")
    monkeypatch.setattr(kernels, "CKConv", type("Nothing", (), {}))  # as in TIM-net
    with pytest.raises(UserError, match="no continuous kernels"):
        kernel_figure(run)


def test_the_command_writes_figures_and_prints_the_answer(run_dir, tiny_emovo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = recording(tiny_emovo)
    main([str(run_dir), str(path)])
    main([str(run_dir), str(path), "--truth", "joy", "--out", "here.png", "--kernels"])
    for name in ("gio-f1-b1_explained.png", "here.png", "here_kernels.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 5
    printed = capsys.readouterr().out
    answer = explain(run_dir, path, truth="gio")
    assert f"gio-f1-b1.wav: {answer.in_words}" in printed
    assert "Written: here_kernels.png" in printed
    with pytest.raises(SystemExit):
        main([str(run_dir), str(path), "--out", "here.pdf"])

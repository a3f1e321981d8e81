"""Embeddings: input of the last layer, mean over windows, a table of files, a figure of the test set."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from dataloader.audio import SilenceError
from testing import embed
from testing.evaluate import evaluate
from testing.predict import Recognizer
from utils.emotions import ENGLISH
from utils.errors import UserError

RATE = 22_050


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def recognizer(trained) -> Recognizer:
    return Recognizer(trained)


def test_the_last_layer_makes_the_answers_of_embeddings(run_dir, recognizer):
    evaluation = evaluate(run_dir, progress=False)
    layer = recognizer.run.model.classifier
    found = np.stack([recognizer.embed(one.path) for one in evaluation.utterances])
    np.testing.assert_allclose(found, evaluation.embeddings, atol=1e-4)
    with torch.inference_mode():
        answers = layer(torch.from_numpy(found)).softmax(1)
    np.testing.assert_allclose(answers, evaluation.probabilities, atol=1e-4)
    assert found.dtype == np.float32 and found.shape[1] == layer.in_features


def test_of_a_long_recording_it_is_the_mean_over_the_windows_of_its_answer(recognizer, tmp_path):
    """The layer is linear: of the mean embedding it makes the mean of the windows' logits."""
    whole, window = sound(8 * recognizer.window / RATE), recognizer.window
    whole[2 * window : 4 * window] = 0
    soundfile.write(tmp_path / "long.wav", whole, RATE, subtype="FLOAT")
    timeline = recognizer.recognise_file(tmp_path / "long.wav").timeline
    spoken = [list(part.probabilities.values()) for part in timeline if part.probabilities]
    assert 2 < len(spoken) < len(timeline)
    expected = torch.tensor(np.log(spoken).mean(0)).softmax(0)
    for recording in (tmp_path / "long.wav", (whole, RATE)):
        found = recognizer.run.model.classifier(torch.from_numpy(recognizer.embed(recording)))
        np.testing.assert_allclose(found.softmax(0).detach(), expected, atol=1e-4)
    with pytest.raises(SilenceError):
        recognizer.embed((np.zeros(RATE, np.float32), RATE))


def run_main(*arguments) -> int:
    try:
        embed.main([str(one) for one in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_a_row_each_file_in_folders_too_and_those_without_are_named(trained, recognizer, tmp_path, capsys):
    folder, out = tmp_path / "my recordings", tmp_path / "out.csv"
    folder.mkdir()
    for name, wave in {"=a": sound(0.5), "b": sound(0.3, 1), "silent": np.zeros(RATE)}.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="FLOAT")
    (folder / "broken.wav").write_bytes(b"RIFF")
    assert run_main(trained, folder, "--csv", out) == 1
    said = capsys.readouterr().err
    assert "silent.wav" in said and "broken.wav" in said
    table = pd.read_csv(out, index_col="file")
    assert list(table) == [f"e{number}" for number in range(recognizer.embed((sound(0.5), RATE)).size)]
    rows = {name.rpartition("/")[2]: row for name, row in table.iterrows()}
    assert rows.keys() == {"=a.wav", "b.wav", "silent.wav", "broken.wav"}
    assert rows["silent.wav"].isna().all() and rows["broken.wav"].isna().all()
    np.testing.assert_allclose(rows["b.wav"], recognizer.embed(folder / "b.wav"), rtol=1e-5, atol=1e-6)
    assert run_main(trained, folder / "b.wav") == 0
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    np.testing.assert_allclose(printed.iloc[0, 1:].astype(float), rows["b.wav"], rtol=1e-6)


def test_no_output_takes_the_place_of_a_recording_and_a_run_of_norms_needs_one(trained, tmp_path, capsys):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(0.5), RATE)
    assert run_main(trained, path, "--csv", path) == 2 and "would be overwritten" in capsys.readouterr().err
    assert run_main(trained, path, "--csv", tmp_path / "none" / "x.csv") == 2
    assert run_main("/no_such_run", path) == 2


def test_the_figure_has_a_panel_for_speakers_where_there_are_some(run_dir):
    evaluation = evaluate(run_dir, progress=False)
    (panel,) = embed.embedding_figure(evaluation).axes  # one speaker
    emotions = {ENGLISH[one.emotion] for one in evaluation.utterances}
    assert {text.get_text() for text in panel.get_legend().get_texts()} == emotions
    assert sum(len(points.get_offsets()) for points in panel.collections) == len(evaluation.targets)
    several = [replace(one, speaker=f"s{row % 3}") for row, one in enumerate(evaluation.utterances)]
    by_emotion, by_speaker = embed.embedding_figure(replace(evaluation, utterances=tuple(several))).axes
    assert "by emotion" in by_emotion.get_title() and "by speaker" in by_speaker.get_title()
    assert len(by_speaker.get_legend().get_texts()) == 3
    unknown = tuple(replace(one, speaker="unknown") for one in evaluation.utterances)
    assert len(embed.embedding_figure(replace(evaluation, utterances=unknown)).axes) == 1
    with pytest.raises(UserError, match="needs the recordings"):
        embed.embedding_figure(replace(evaluation, embeddings=None))

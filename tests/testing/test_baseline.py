"""Baselines under a run's own split, against plain scikit-learn and openSMILE."""

import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchaudio
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import SVC

from dataloader.audio import read_audio
from dataloader.corpora.find import find_corpus
from dataloader.features import summaries as module
from dataloader.features.summaries import by_speaker, summaries, wav2vec2
from dataloader.splits import draw_split, load_split, save_split
from testing.baseline import CHOICES, CLASSIFIERS, _predict, baseline, main, prepared
from utils.config import load_config, save_config
from utils.emotions import EMOTIONS
from utils.errors import UserError
from utils.files import write_json
from utils.metrics import read_json
from utils.runs import DEFAULT_CONFIG


def by_hand(make, x: dict, y: dict) -> tuple[float, np.ndarray]:
    """The C that validation chooses, and answers in the test, with nothing of ours."""
    mean, std = x["train"].mean(0), x["train"].std(0)
    scaled = {part: (rows - mean) / np.where(std > 0, std, 1) for part, rows in x.items()}
    machines = {c: make(c).fit(scaled["train"], y["train"]) for c in CHOICES}
    recalls = {
        c: balanced_accuracy_score(y["validation"], one.predict(scaled["validation"]))
        for c, one in machines.items()
    }
    chosen = min(recalls, key=lambda c: (-round(recalls[c], 9), c))
    return chosen, machines[chosen].predict(scaled["test"])


def test_it_learns_from_the_training_set_and_validation_chooses(run_dir, capsys):
    main([str(run_dir)])
    out = capsys.readouterr().out
    names = [line.split("  ")[0] for line in out.splitlines()[3:8]]
    assert names == ["CkTIM with 2 TABs", "linear SVM", "logistic regression", "majority class", "chance"]
    found, split = read_json(run_dir / "baseline_functionals.json"), load_split(run_dir / "split.json")
    _, data = prepared(run_dir, "functionals", [], progress=False)
    vectors = summaries(data.features, "functionals", data.cache_dir)
    row = {utterance.name: place for place, utterance in enumerate(data.features.utterances)}
    parts = {part: [row[name] for name in getattr(split, part)] for part in ("train", "validation", "test")}
    x = {part: vectors[rows] for part, rows in parts.items()}
    y = {part: np.array([data.features.utterances[i].emotion for i in rows]) for part, rows in parts.items()}
    machines = {
        "linear SVM": lambda c: SVC(C=c, kernel="linear", class_weight="balanced"),
        "logistic regression": lambda c: LogisticRegression(C=c, class_weight="balanced", max_iter=5_000),
    }
    for name, make in machines.items():
        chosen, answers = by_hand(make, x, y)
        assert found[name]["C"] == [chosen]
        assert found[name]["uar"] == [pytest.approx(balanced_accuracy_score(y["test"], answers))]
        low, high = found[name]["uar_interval"][0]
        assert low <= found[name]["uar"][0] <= high
    assert found["chance"]["uar_per_fold"] == [pytest.approx(1 / 7)]
    assert found["majority class"]["uar"] == [pytest.approx(1 / 7)]
    recorded = read_json(run_dir / "CkTIM_test_metrics.json")  # it was evaluated for the table
    assert found["CkTIM with 2 TABs"]["uar"] == recorded["uar"]
    assert found["CkTIM with 2 TABs"]["uar_interval"] == recorded["uar_interval"]


def test_a_folder_without_a_split_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "neither a run with its split.json nor the folder of a trial" in capsys.readouterr().err


def test_a_speaker_is_the_norm_of_the_own_vectors():
    vectors = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(9).reshape(9, 1)
    found = by_speaker(vectors, list("aabbbbaac"))
    assert found[[0, 1, 6, 7]].mean(0) == pytest.approx(0) and found[2:6].std(0) == pytest.approx(1)
    assert (found[8] == 0).all()  # of one recording alone nothing deviates


def test_of_several_corpora_an_answer_is_among_the_emotions_of_its_own():
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = random.normal(size=(60, 5)) + y.reshape(60, 1)
    allowed = torch.ones(60, 3)
    allowed[:30, 2] = 0
    for make in CLASSIFIERS.values():
        machine = make(1.0).fit(x, y)
        free, bound = machine.predict(x), _predict(machine, x, allowed)
        assert (free[:30] == 2).any() and (bound[:30] < 2).all()
        same = free[30:] == bound[30:]
        assert same.mean() > 0.9 and (bound[30:] == 2).any()


@pytest.fixture
def recording(tiny_emovo):
    return next(tiny_emovo.rglob("*.wav"))


def test_wav2vec2_gives_the_mean_of_its_middle_layer(recording, tmp_path, monkeypatch):
    torch.manual_seed(0)
    tiny = torchaudio.models.wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(8, 10, 5), (8, 8, 4)],
        extractor_conv_bias=False,
        encoder_embed_dim=8,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=3,
        encoder_pos_conv_groups=1,
        encoder_num_layers=4,
        encoder_num_heads=2,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=16,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.1,
        aux_num_out=None,
    )
    found = wav2vec2(tiny, 16_000)(recording)
    waveform = torch.from_numpy(read_audio(recording, 16_000)).unsqueeze(0)
    layers = tiny.eval().extract_features(waveform)[0]
    assert found == pytest.approx(layers[1].mean(1)[0].detach().numpy(), abs=1e-5) and len(layers) == 4
    monkeypatch.setattr(module, "read_audio", lambda *_, **__: np.ones(10, np.float32))
    assert np.isfinite(wav2vec2(tiny, 16_000)(recording)).all()  # shorter than its convolutions reach


def test_a_key_of_the_training_is_refused(run_dir):
    with pytest.raises(UserError, match=r"train\.seed=3: .* Only data\.root, "):
        baseline(run_dir, overrides=["train.seed=3"], progress=False)


def test_features_that_are_not_here_are_said_to_be_missing(run_dir, monkeypatch):
    def no_network(self):
        raise URLError("no network")

    monkeypatch.setattr(torchaudio.pipelines.Wav2Vec2Bundle, "get_model", no_network)
    with pytest.raises(UserError, match=r"wav2vec2_base cannot be downloaded .*no network"):
        baseline(run_dir, "wav2vec2_base", progress=False)
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-corpus\.txt"):
        baseline(run_dir, "compare", progress=False)


def test_opensmile_reads_a_recording_once(run_dir, recording, monkeypatch):
    smile = pytest.importorskip("opensmile")
    found, content = baseline(run_dir, "egemaps", progress=False)
    assert content["number of features"] == 88 and "eGeMAPS" not in found.caption
    monkeypatch.setattr(smile, "Smile", lambda **how: pytest.fail("the cache was not used"))
    monkeypatch.setattr(module, "_opensmile", lambda name: None)
    assert baseline(run_dir, "egemaps", progress=False)[1] == content


@pytest.mark.slow
def test_egemaps_and_a_support_vector_machine_agree_with_a_script_of_their_own(repository, tmp_path):
    """EMOVO, leave one speaker out: mean UAR of the six folds, within a point of plain openSMILE."""
    opensmile = pytest.importorskip("opensmile")
    root = repository / "../shared/data/EMOVO"
    if not root.exists():
        pytest.skip("EMOVO is not on disk")
    places = [f"data.root={root}", f"data.cache_dir={tmp_path}", "data.protocol=leave_one_speaker_out"]
    level = opensmile.FeatureLevel.Functionals
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)
    files = [one.path for one in find_corpus(load_config(DEFAULT_CONFIG, places).data).utterances]
    rows = dict(zip([path.stem for path in files], smile.process_files(files).to_numpy(), strict=True))
    ours, theirs = [], []
    for fold in range(6):
        config = load_config(DEFAULT_CONFIG, [*places, f"data.fold={fold}", "features.hop_length=2048"])
        split = draw_split(find_corpus(config.data).utterances, config.data, 0, "EMOVO")
        run_dir = tmp_path / f"fold{fold}"
        run_dir.mkdir()
        save_config(config, run_dir / "parameters.txt")
        save_split(split, run_dir / "split.json")
        write_json(run_dir / "emotions.json", {"emotions": EMOTIONS})
        ours += baseline(run_dir, "egemaps", progress=False)[1]["linear SVM"]["uar"]
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        x = {part: np.stack([rows[name] for name in names]) for part, names in parts.items()}
        y = {part: np.array([name[:3] for name in names]) for part, names in parts.items()}
        _, answers = by_hand(lambda c: SVC(C=c, kernel="linear"), x, y)
        theirs.append(balanced_accuracy_score(y["test"], answers))
    print(ours, theirs)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.01)

"""Templates of sentences: alignment against its definition, recognition, and what training may see."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.augment.waveforms import training_pool
from dataloader.corpora.utterance import Utterance
from dataloader.features.functionals import of_features, utterance_statistics
from dataloader.features.normalise import deviations
from dataloader.features.prosody import pitch_carried_on
from dataloader.loaders import make_training_loader, prepare_data
from dataloader.sentences import Sentences, by_sentence, distance, laid_along, speech
from utils.config import PROSODY, STATISTICS, Config, DataConfig, FeaturesConfig, ModelConfig
from utils.errors import UserError

N_MELS, FEATURES, FRAMES = 40, 24, 60
SETTINGS = Config(
    features=FeaturesConfig(n_mels=N_MELS, by_sentence=True), model=ModelConfig(num_features=FEATURES)
)
WITH_STATISTICS = SETTINGS.model_copy(
    update={"model": ModelConfig(num_features=FEATURES, sentence_statistics=True)}
)
SILENT = -2000.0  # the first coefficient of a silent frame


def melody(seed: int, frames: int) -> np.ndarray:
    """MFCCs (FEATURES, frames) of a sentence that is this seed's, said at this speed."""
    random = np.random.default_rng(seed)
    times, corners = np.linspace(0, 9, frames), np.arange(10)
    rows = [np.interp(times, corners, random.normal(size=10) * 20) for _ in range(FEATURES)]
    rows[0] = rows[0] / 10 - 100
    return np.stack(rows).astype(np.float32)


def recording(spoken: np.ndarray, before: int = 3) -> np.ndarray:
    """The same with silence before and after, (FEATURES, FRAMES)."""
    padded = np.zeros((FEATURES, FRAMES), np.float32)
    padded[0] = SILENT
    padded[:, before : before + spoken.shape[1]] = spoken
    return padded


def said(sentence: int, count: int = 5) -> torch.Tensor:
    """A sentence at several speeds, (count, FEATURES, FRAMES)."""
    return torch.from_numpy(np.stack([recording(melody(sentence, 30 + 4 * i), i) for i in range(count)]))


def warped_by_definition(template: np.ndarray, own: np.ndarray) -> tuple[float, np.ndarray]:
    """The cheapest path's cost, and the mean frame of `own` on it for each frame of the template."""
    unit = [contour / np.linalg.norm(contour, axis=0) for contour in (template, own)]
    costs = 1 - unit[0].T @ unit[1]
    total = np.full(np.add(costs.shape, 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(costs.shape):
        total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j = costs.shape
    visits = [[] for _ in range(i)]
    while i and j:
        visits[i - 1].append(j - 1)
        i, j = min([(i - 1, j - 1), (i, j - 1), (i - 1, j)], key=lambda cell: total[cell])
    return total[-1, -1], np.array([np.mean(visit) for visit in visits])


def test_alignment_is_that_of_its_definition():
    random = np.random.default_rng(0)
    for _ in range(10):
        template = random.normal(size=(5, random.integers(2, 12)))
        own = random.normal(size=(5, random.integers(2, 12)))
        cost, frames = warped_by_definition(template, own)
        assert distance(template, own) == pytest.approx(cost / (template.shape[1] + own.shape[1]), abs=1e-5)
        times = np.arange(own.shape[1])[None].astype(float)
        np.testing.assert_allclose(laid_along(template, own, times)[0], frames, atol=1e-9)


def test_what_is_said_twice_as_slowly_falls_on_the_same_frames():
    values = np.random.default_rng(1).normal(size=(6, 20))
    slow = values.repeat(2, axis=1)
    np.testing.assert_allclose(laid_along(values, slow, slow), values, atol=1e-9)
    np.testing.assert_allclose(laid_along(values, values, values), values, atol=1e-9)


def test_speech_is_without_the_silence_around_it():
    spoken = melody(0, 30)
    spoken[0, 10] = SILENT  # a pause stays
    np.testing.assert_array_equal(speech(recording(spoken, before=7), N_MELS), spoken)
    faint = recording(spoken)
    edge = faint[0].max() - 26.5 * np.sqrt(N_MELS)
    faint[0, 1], faint[0, 2] = edge - 0.1, edge + 0.1
    assert speech(faint, N_MELS).shape[1] == 31


def test_sentences_are_recognised_at_any_speed_and_level():
    names = [str(k) for k in range(6) for _ in range(5)]
    sentences = Sentences.fit(torch.cat([said(k) for k in range(6)]), names, SETTINGS)
    for k in range(6):
        utterance = recording(melody(k, 41), before=9)
        utterance[0, 9:50] += 30
        utterance[3, 9:50] -= 7  # another voice
        assert sentences.recognise(utterance) == str(k)


def test_nothing_remains_of_what_is_said_alike():
    x = said(0)[:1].repeat(4, 1, 1)
    sentences = Sentences.fit(x, ["a"] * 4, SETTINGS)
    assert sentences.deviations(x, SETTINGS.model, ["a"] * 4).abs().max() < 1e-3

    changed = x.clone()
    changed[0, 2, :30] += 8.0  # a constant, which no alignment looks at
    found = sentences.deviations(changed, SETTINGS.model, ["a"] * 4)
    assert found[1:].abs().max() < 1e-3 and found[0, :2].abs().max() < 1e-3
    torch.testing.assert_close(found[0, 2, :30], torch.full((30,), 8.0), atol=1e-3, rtol=0)
    assert (found[:, :, 30:] == 0).all()


def test_a_template_is_the_mean_of_its_utterances():
    sentences = Sentences.fit(said(0), ["a"] * 5, SETTINGS)
    found = sentences.deviations(said(0), SETTINGS.model, ["a"] * 5)
    torch.testing.assert_close(found.mean(0), torch.zeros(FEATURES, FRAMES), atol=1e-3, rtol=0)
    assert found.abs().max() > 0.1


def utterances(sentences: list[str], speakers: list[str] | None = None) -> list[Utterance]:
    speakers = speakers or ["f1"] * len(sentences)
    return [
        Utterance(Path("x.wav"), "gio", speaker, name, f"u{row}")
        for row, (name, speaker) in enumerate(zip(sentences, speakers, strict=True))
    ]


def test_no_label_outside_of_training_counts_and_no_recording_there_changes_others():
    x, names = torch.cat([said(0), said(1)]), ["a"] * 5 + ["b"] * 5
    training = {f"u{row}" for row in (0, 1, 2, 5, 6, 7)}
    found = by_sentence(x, utterances(names), training, SETTINGS)[0]

    wrong = [name if row in (0, 1, 2, 5, 6, 7) else "c" for row, name in enumerate(names)]
    assert torch.equal(by_sentence(x, utterances(wrong), training, SETTINGS)[0], found)

    changed = x.clone()
    changed[3] = said(2)[0]
    others = [row for row in range(10) if row != 3]
    again = by_sentence(changed, utterances(names), training, SETTINGS)[0]
    assert torch.equal(again[others], found[others]) and not torch.equal(again[3], found[3])


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a", "a", "unknown"], "does not tell the sentence"),
        (["a", "a", "b"], "a single utterance of the sentence b"),
    ],
)
def test_a_corpus_of_which_too_little_is_known_is_refused(names, complaint):
    with pytest.raises(UserError, match=complaint):
        by_sentence(said(0)[:3], utterances(names), {"u0", "u1", "u2"}, SETTINGS)


def test_a_corpus_in_which_nobody_says_a_sentence_twice_is_refused_by_speaker():
    own = SETTINGS.model_copy(update={"features": SETTINGS.features.model_copy(update={"by_speaker": True})})
    alone, names = utterances(["a"] * 3, ["f1", "f2", "f3"]), {"u0", "u1", "u2"}
    by_sentence(said(0)[:3], alone, names, SETTINGS)
    with pytest.raises(UserError, match="no speaker of the training set says a sentence twice"):
        by_sentence(said(0)[:3], alone, names, own)


@pytest.mark.parametrize("utterance", [np.zeros((FEATURES, FRAMES)), recording(melody(0, 1))])
def test_silence_and_single_frames_give_numbers_all_the_same(utterance):
    x = torch.cat([said(0), torch.from_numpy(utterance.astype(np.float32))[None]])
    for training in (said(0), x):
        sentences = Sentences.fit(training, ["a"] * len(training), WITH_STATISTICS)
        assert sentences.deviations(x, WITH_STATISTICS.model).isfinite().all()


def test_statistics_are_deviations_from_the_sentences_training_utterances():
    config, model = WITH_STATISTICS, WITH_STATISTICS.model
    x = torch.cat([said(0), said(1)]) + torch.randn(10, FEATURES, FRAMES, generator=torch.manual_seed(0))
    names, training = ["a"] * 5 + ["b"] * 5, [0, 1, 2, 5, 6, 7]
    found, _ = by_sentence(x, utterances(names), {f"u{row}" for row in training}, config)
    frames, _ = by_sentence(x, utterances(names), {f"u{row}" for row in training}, SETTINGS)
    assert torch.equal(found[:, :FEATURES], frames)
    below = found[:, FEATURES:].flatten(1)
    statistics = below[:, : model.num_statistics].view(10, 2, FEATURES, len(STATISTICS))
    assert (below[:, model.num_statistics :] == 0).all()
    for kind, values in enumerate((x, frames)):  # of frames those of the template: behind it there are zeros
        for rows, heard in (((0, 1, 2, 3, 4), (0, 1, 2)), ((5, 6, 7, 8, 9), (5, 6, 7))):
            end = FRAMES if kind == 0 else 1 + int(frames[rows[0]].abs().sum(0).nonzero().max())
            means = values[list(rows), :, :end].mean(-1)
            own = values[list(heard), :, :end].mean(-1)
            expected = ((means - own.mean(0)) / own.std(0, correction=0)).clamp(-4, 4)
            torch.testing.assert_close(statistics[list(rows), kind, :, 0], expected, atol=2e-3, rtol=1e-3)


def with_prosody(x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The same with eight rows of prosody below; speech is where x is not silent, and mostly voiced."""
    generator = torch.manual_seed(seed)
    below = torch.randn(len(x), len(PROSODY), x.shape[-1], generator=generator)
    below[:, PROSODY.index("speech")] = (x[:, 0] > SILENT).float()
    voiced = torch.rand(len(x), x.shape[-1], generator=generator) < 0.8
    below[:, PROSODY.index("voiced")] = voiced * below[:, PROSODY.index("speech")]
    return torch.cat([x, below], dim=1)


def settings_with_prosody(**model: bool) -> Config:
    return Config(
        features=FeaturesConfig(n_mels=N_MELS, by_sentence=True, prosody=True),
        model=ModelConfig(num_features=FEATURES + len(PROSODY), **model),
    )


def test_prosody_is_laid_along_the_sentence_as_the_sounds_are():
    config, x = settings_with_prosody(), with_prosody(said(0))
    sentences = Sentences.fit(x, ["a"] * 5, config)
    found = sentences.deviations(x, config.model, ["a"] * 5)
    plain = Sentences.fit(said(0), ["a"] * 5, SETTINGS).deviations(said(0), SETTINGS.model, ["a"] * 5)
    assert torch.equal(found[:, :FEATURES], plain)  # prosody has no say in the alignment

    higher = x.clone()
    higher[1, FEATURES + PROSODY.index("pitch")] += 0.5
    change = sentences.deviations(higher, config.model, ["a"] * 5) - found
    rows, frames = torch.full((FEATURES + len(PROSODY), FRAMES), 0.0), sentences.usual[0].shape[1]
    rows[FEATURES + PROSODY.index("pitch"), :frames] = 0.5
    torch.testing.assert_close(change[1], rows, atol=1e-5, rtol=0)
    assert (change[[0, 2, 3, 4]] == 0).all()


def test_pitch_where_no_voice_is_counts_for_nothing():
    config, x = settings_with_prosody(statistics=True, sentence_statistics=True), with_prosody(said(0))
    sentences = Sentences.fit(x, ["a"] * 5, config)
    other = x.clone()
    unvoiced = other[:, FEATURES + PROSODY.index("voiced")] == 0
    other[:, FEATURES + PROSODY.index("pitch")][unvoiced] = 99.0
    model = config.model
    assert torch.equal(sentences.deviations(other, model), sentences.deviations(x, model))


def test_statistics_of_speech_are_deviations_from_the_sentences_own():
    config = settings_with_prosody(statistics=True, sentence_statistics=True)
    x, names = with_prosody(torch.cat([said(0), said(1)])), ["a"] * 5 + ["b"] * 5
    x[:, :FEATURES] += torch.randn(10, FEATURES, FRAMES, generator=torch.manual_seed(0))
    sentences = Sentences.fit(x, names, config)
    found = sentences.deviations(x, config.model, names)
    below = found[:, config.model.num_features :].flatten(1)
    assert 0 <= below.shape[1] - config.model.num_statistics < FRAMES
    of_speech = utterance_statistics(pitch_carried_on(x))
    below = below[:, : of_speech.shape[1]]
    torch.testing.assert_close(below, deviations(of_speech, names), atol=1e-4, rtol=1e-4)


def test_by_speaker_usual_is_how_the_speaker_says_the_sentence():
    config = settings_with_prosody(statistics=True, sentence_statistics=True)
    own = config.model_copy(update={"features": config.features.model_copy(update={"by_speaker": True})})
    x, names = with_prosody(torch.cat([said(0), said(1)])), ["a"] * 5 + ["b"] * 5
    x[:, :FEATURES] += torch.randn(10, FEATURES, FRAMES, generator=torch.manual_seed(0))
    speakers = ["f1", "f1", "m1", "m1", "m1"] * 2
    training = {f"u{row}" for row in range(10) if row not in (1, 8)}
    plain, _ = by_sentence(x, utterances(names), training, config)
    found, sentences = by_sentence(x, utterances(names, speakers), training, own)
    count, features = config.model.num_statistics, config.model.num_features
    below, laid = found[:, features:].flatten(1)[:, :count], plain[:, :features]
    ends = {name: sentences.usual[sentences.names.index(name)].shape[1] for name in "ab"}
    statistics = []
    for speaker in ("f1", "m1"):
        expected = {}
        for name in "ab":
            rows = [row for row in range(10) if (speakers[row], names[row]) == (speaker, name)]
            of_these = laid[rows, :, : ends[name]]
            expected |= dict(zip(rows, of_these - of_these.mean(0), strict=True))
        deviation = torch.cat(list(expected.values()), dim=1).std(1, correction=0)[:, None] + 1e-6
        for row, values in expected.items():
            end = values.shape[1]
            torch.testing.assert_close(found[row, :features, :end], values / deviation, atol=2e-3, rtol=1e-3)
            assert (found[row, :features, end:] == 0).all()
            whole = [utterance_statistics(pitch_carried_on(x[row : row + 1]))[0]]
            for one in (pitch_carried_on(x[row : row + 1])[0].numpy(), found[row, :features, :end].numpy()):
                whole.append(torch.from_numpy(of_features(one)).float().flatten())
            statistics.append((row, torch.cat(whole)))
    statistics = torch.stack([values for _, values in sorted(statistics, key=lambda pair: pair[0])])
    expected = deviations(statistics, speakers, names)
    steady = expected.abs().gt(1e-2) & statistics.std(0).gt(1e-3)  # others are rounding, blown up
    torch.testing.assert_close(below[steady], expected[steady], atol=1e-2, rtol=1e-2)
    assert steady.float().mean() > 0.8


def test_templates_are_kept(tmp_path):
    sentences = Sentences.fit(torch.cat([said(0), said(1)]), ["b2"] * 5 + ["a 'l1'"] * 5, WITH_STATISTICS)
    sentences.save(tmp_path / "sentences.npz")
    again = Sentences.load(tmp_path / "sentences.npz")
    assert again.names == ("a 'l1'", "b2") == sentences.names
    assert (again.n_mfcc, again.n_mels) == (FEATURES, N_MELS)
    x = torch.cat([said(1), said(0)])
    model = WITH_STATISTICS.model
    assert torch.equal(again.deviations(x, model), sentences.deviations(x, model))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more"])
def test_damaged_templates_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "sentences.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"sentences\.npz: the sentences of this run cannot be read"):
        Sentences.load(tmp_path / "sentences.npz")


@pytest.fixture
def config(tiny_corpus, tmp_path) -> Config:
    data = DataConfig(root=tiny_corpus, cache_dir=tmp_path, test_fraction=0.2)
    return Config(
        data=data,
        features=FeaturesConfig(signal_length=8192, by_sentence=True),
        model=ModelConfig(num_features=12),
    )


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_a_corpus_by_sentence(config):
    data = prepare_data(config, progress=False)
    plain = config.model_copy(update={"features": config.features.model_copy(update={"by_sentence": False})})
    raw = prepare_data(plain, progress=False)
    assert raw.split == data.split
    expected, _ = by_sentence(raw.features.x, raw.features.utterances, set(data.split.train), config)
    assert torch.equal(data.features.x, expected)

    again = prepare_data(config, False, data.split, ("test",))
    assert torch.equal(again.arrays("test")[0], data.arrays("test")[0])


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
@pytest.mark.parametrize(("by_speaker", "subset"), [(False, "train"), (True, "train"), (True, "validation")])
def test_what_is_compared_with_has_to_be_there_whole(config, tmp_path, by_speaker, subset):
    if by_speaker:
        features = config.features.model_copy(update={"by_speaker": True, "prosody": True})
        config = config.model_copy(update={"features": features})
    root = shutil.copytree(config.data.root, tmp_path / "EMOVO")
    config = config.model_copy(update={"data": config.data.model_copy(update={"root": root})})
    data = prepare_data(config, progress=False)
    name = getattr(data.split, subset)[0]
    (root / name.split("-")[1] / f"{name}.wav").unlink()
    with pytest.raises(UserError, match=name):
        prepare_data(config, False, data.split, ("test",))


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"gain": 0.5}, "augment.gain and augment.frame_shift"),
        ({"mode": "published"}, "augment.mode to online or offline"),
        ({"reverse": 0.1}, "augment.reverse to 0"),
    ],
)
def test_augmentation_that_would_spoil_a_sentence_is_refused(config, changes, complaint):
    usable = {"mode": "online", "gain": 0.0, "frame_shift": 0.0, "variants": 0}
    augment = config.augment.model_copy(update=usable | changes)
    config = config.model_copy(update={"augment": augment, "model": ModelConfig(num_features=12, aug=True)})
    data = prepare_data(config, progress=False)
    with pytest.raises(UserError, match=complaint):
        make_training_loader(config, data, torch.zeros(12), progress=False)


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_by_speaker_other_voices_are_speakers_of_their_own(config):
    augment = {"mode": "online", "variants": 0, "voices": (0.9, 1.1), "gain": 0.0, "frame_shift": 0.0}
    config = config.model_copy(
        update={
            "augment": config.augment.model_copy(update=augment),
            "features": config.features.model_copy(update={"by_speaker": True, "prosody": True}),
            "model": ModelConfig(num_features=12, aug=True, statistics=True, sentence_statistics=True),
        }
    )
    data = prepare_data(config, progress=False)
    found = make_training_loader(config, data, torch.zeros(12), progress=False).x.unflatten(0, (-1, 3))
    assert torch.equal(found[:, 0], data.rows("train")[0])

    raw = training_pool(data.corpus, data.split, config, progress=False).x.unflatten(0, (-1, 3))
    by_name = {utterance.name: utterance for utterance in data.corpus.utterances}
    trained = [by_name[name] for name in data.split.train]
    said, speakers = [one.sentence for one in trained], [one.speaker for one in trained]
    owners = np.array([f"{speaker} {sentence}" for speaker, sentence in zip(speakers, said, strict=True)])
    beyond = torch.stack([found[owners == owner, 0].mean(0) for owner in owners])
    assert beyond.abs().max() > 0.1  # in the training set a sentence lacks some of its recordings
    for variant in (1, 2):
        expected = data.sentences.deviations(raw[:, variant], config.model, said, speakers) + beyond
        torch.testing.assert_close(found[:, variant], expected)
        assert not torch.equal(expected, found[:, 0])


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_by_speaker_the_same_voice_once_more_deviates_as_the_utterance_does(config):
    augment = {"mode": "online", "variants": 0, "voices": (1.0,), "gain": 0.0, "frame_shift": 0.0}
    config = config.model_copy(
        update={
            "augment": config.augment.model_copy(update=augment),
            "features": config.features.model_copy(update={"by_speaker": True, "prosody": True}),
            "model": ModelConfig(num_features=12, aug=True),
        }
    )
    data = prepare_data(config, progress=False)
    x = make_training_loader(config, data, torch.zeros(12), progress=False).x
    own, again = x.unflatten(0, (-1, 2)).unbind(1)
    assert (again - own).std() < 0.1 * own.std()  # scales differ: of all recordings, of the training set


@pytest.mark.filterwarnings("ignore:the EMOVO corpus")
def test_variants_are_laid_along_the_templates_of_what_they_vary(config):
    augment = config.augment.model_copy(update={"mode": "online", "variants": 1, "voices": (0.9,)})
    model = ModelConfig(num_features=12, aug=True, sentence_statistics=True)
    config = config.model_copy(
        update={"augment": augment.model_copy(update={"gain": 0.0, "frame_shift": 0.0}), "model": model}
    )
    data = prepare_data(config, progress=False)
    loader = make_training_loader(config, data, torch.zeros(12), progress=False)
    found = loader.x.unflatten(0, (-1, 3))
    assert torch.equal(found[:, 0], data.rows("train")[0])

    raw = training_pool(data.corpus, data.split, config, progress=False).x.unflatten(0, (-1, 3))
    by_name = {utterance.name: utterance for utterance in data.corpus.utterances}
    said = [by_name[name].sentence for name in data.split.train]
    for variant in (1, 2):
        expected = data.sentences.deviations(raw[:, variant], model, said)
        assert torch.equal(found[:, variant], expected) and not torch.equal(expected, found[:, 0])

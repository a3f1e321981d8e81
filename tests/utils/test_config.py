"""The configuration: what is read, what is refused, and in which words."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from utils.config import (  # isort: skip
    KEYS, REMOVED, RENAMED, SECTIONS, Config, ConfigError, FeaturesConfig, ModelConfig,
    load_config, migrate, reference, save_config,
)  # fmt: skip
from utils.errors import UserError

# Configurations of the earlier implementation, of this one's first version, and of its last with old names.
EARLIER = """
train: {'num_epochs': 100, 'batch_size': 64, 'learning_rate': 0.01, 'early_stopping': True}
model: {'num_features': 39, 'ck': False, 'omega_0': 26, 'af_type': 'KAFsin', 'aug': True}
"""
FIRST = """
data: {corpus: emovo, root: null, storage: disk, validation_fraction: 0.1, test_fraction: 0.2}
features: {sample_rate: 22050, n_fft: 2048, hop_length: 512, n_mels: 64, standardise: true}
model: {gate: sigmoid, num_features: 26, ck: true, kernel_window: 0.1}
"""
LAST = """
data: {storage: auto}
features: {prosody: true, by_speaker: true, by_sentence: false}
augment: {voices: [0.9, 1.1]}
model: {num_features: 21, statistics: true, statistics_width: 32, statistics_dropout: 0.2}
"""
# The values of conf/published.yaml when it listed every key; without paths and keys without effect.
PUBLISHED = """
data: {corpus: emovo, protocol: holdout, fold: 0, validation_fraction: 0.1, test_fraction: 0.2}
features: {sample_rate: 22050, n_fft: 2048, hop_length: 512, n_mfcc: 39, n_mels: 128, f_max: null,
  signal_length: 96000, trim_silence: false, normalise_level: false, prosody: false, functionals: false,
  normalise: none, standardise: false}
augment: {mode: published}
train: {seed: 0, num_epochs: 100, batch_size: 64, learning_rate: 0.01, optimizer: adam, weight_decay: 0,
  schedule: plateau, lr_scheduler: 0.25, patience: 5, keep: best, label_smoothing: 0.1, early_stopping: false,
  gradient_clipping: 0}
model: {dropout_rate: 0.1, input_dropout: 0, pooling: mean, pooling_dropout: 0, n_temporal_aware_block: 6,
  n_filter: 39, ck: true, generator_type: conv, kernel_size: 2, omega_0: 25, input_omega_0: 1,
  hidden_scale: 1, af_type: sin, generator_norm: batch, kernel_dropout: 0.1, kernel_init: siren,
  kernel_bias: false, kernel_window: 0, aug: false}
"""


@pytest.fixture
def load(tmp_path):
    """Load a configuration from its text."""

    def load(text: str, *overrides: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return load


@pytest.fixture
def complaint(load, tmp_path):
    """The message about a text that cannot be loaded, without the folder."""

    def complaint(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as error:
            load(text, *overrides)
        return str(error.value).replace(str(tmp_path / "config.yaml"), "config.yaml")

    return complaint


# ----------------------------------------------------------------------------------------- the files of conf/


def test_config_yaml_holds_the_defaults_in_a_line_each(repository):
    path = repository / "conf/config.yaml"
    assert load_config(path) == Config()
    text = path.read_text(encoding="utf-8")
    sections = yaml.safe_load(text)
    assert list(sections) == list(SECTIONS) == ["data", "features", "model", "train", "augment"]
    assert sum(map(len, sections.values())) <= 40 and len(text.splitlines()) <= 130
    for section, keys in sections.items():
        for key in keys:
            line = re.search(rf"^  {key}: .*", text, re.MULTILINE)[0]
            assert "  # " in line and len(line) <= 120
            for choice in KEYS[f"{section}.{key}"].get("enum", []):
                assert re.search(rf"(?<![\w.]){choice}(?!\w)", line), f"{choice} is missing at {key}"


def test_the_other_files_stay_as_they_are_when_defaults_change(repository):
    path = repository / "conf/published.yaml"
    found = load_config(path).model_dump()
    for section, values in yaml.safe_load(PUBLISHED).items():
        assert {key: found[section][key] for key in values} == values
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    features = load_config(repository / "conf/speaker_independent.yaml").features
    assert (features.num_features, features.num_functionals, features.normalise) == (21, 195, "speaker")


def test_the_page_of_all_keys_is_up_to_date(repository):
    page = (repository / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == reference() + "\n", "make it anew: python -m utils.config > docs/configuration.md"
    assert all(schema["description"].endswith((".", ").")) for schema in KEYS.values())


# --------------------------------------------------------------------------------------------- what is read


def test_a_configuration_is_frozen_and_has_a_name_and_frames():
    assert FeaturesConfig().frames == 188
    assert FeaturesConfig(signal_length=512).frames == 2
    assert FeaturesConfig(signal_length=1_024, n_fft=2047).frames == 2
    assert ModelConfig().name == "CkTIM"
    assert ModelConfig(generator_type="convKan").name == "CkkTIM"
    assert ModelConfig(ck=False, generator_type="convKan").name == "TIM"
    with pytest.raises(ValidationError):
        Config().train.seed = 1


def test_old_files_load(load):
    config = load(EARLIER)
    assert config.train.learning_rate == 0.01 and config.train.early_stopping is True
    assert config.model.omega_0 == 26 and config.model.af_type == "KAFsin" and config.model.aug is True
    assert config.model.name == "TIM" and config.features == FeaturesConfig()
    config = load(FIRST)
    assert (config.features.n_mfcc, config.features.n_mels, config.model.kernel_window) == (26, 64, 0.1)
    config = load(LAST)
    assert config.features == FeaturesConfig(n_mfcc=13, prosody=True, normalise="speaker", functionals=True)
    assert (config.model.functionals_width, config.model.functionals_dropout) == (32, 0.2)
    assert config.augment.speed_perturbation == (0.9, 1.1)


def test_parameters_of_every_run_load(load, repository):
    for file in sorted((repository / "training/results").glob("*/parameters.txt")):
        assert file.parent.name.startswith(load_config(file).model.name)
    for file in sorted((repository / "../shared/published").glob("*/parameters.txt")):
        config = load("\n".join(file.read_text(encoding="utf-8").splitlines()[2:]))
        assert config.train.learning_rate == 0.01
        assert file.parent.name.startswith(config.model.name)
        assert config.model.aug == ("aug" in file.parent.name)


def test_a_removed_key_that_mattered_is_an_error(complaint):
    removed = "this key was removed; see docs/results.md"
    assert complaint("features: {by_sentence: true}\nmodel: {late_fusion: true, gate: sigmoid}") == (
        f"config.yaml: features.by_sentence = true: {removed}\n"
        f"config.yaml: model.late_fusion = true: {removed}"
    )
    assert complaint("train:", "model.gate=residual") == f'override: model.gate = "residual": {removed}'
    assert complaint("model: {num_features: x}").startswith('config.yaml: features.n_mfcc = "x": must be')
    assert complaint("train:", "model.num_features=0").startswith("override model.num_features=0: must be")


def test_renamed_and_removed_keys_are_no_keys_any_more():
    assert not {*RENAMED, *REMOVED} & set(KEYS) and set(RENAMED.values()) <= set(KEYS)
    assert migrate({"x.y": 1, "model.gate": "sigmoid"}) == {"x.y": 1}


@pytest.mark.parametrize(
    ("text", "overrides", "key", "value"),
    [
        ("train: {learning_rate: 1e-3}", [], "train.learning_rate", 0.001),
        ("train:", ["train.learning_rate=2.5e-2"], "train.learning_rate", 0.025),
        ("model: {omega_0: 25}", [], "model.omega_0", 25.0),
        ("\ufefftrain: {seed: 3}", [], "train.seed", 3),  # a byte order mark
        ("train: {num_epochs: 7}", ["train.num_epochs=5", "train.num_epochs = 6"], "train.num_epochs", 6),
        ("data:", ["data.root=a folder/EMOVO=1.zip"], "data.root", Path("a folder/EMOVO=1.zip")),
        ("data:", ["data.root=my corpus #2"], "data.root", Path("my corpus #2")),  # to YAML a comment
        ("data:", ["data.root='quoted #3' # and a comment"], "data.root", Path("quoted #3")),
        ("data: {root: somewhere}", ["data.root=null"], "data.root", None),
        ("data: {root: {emodb: ~/b.zip}}", [], "data.root", {"emodb": Path("~/b.zip")}),
        ("augment: {noise_snr: [5, 20]}", [], "augment.noise_snr", (5, 20)),
        ("augment: {speed_perturbation: [0.9]}", [], "augment.speed_perturbation", (0.9,)),
        ("augment: {voices: [0.9]}", ["augment.speed_perturbation=[]"], "augment.speed_perturbation", ()),
        ("features: {n_mfcc: 20}\nmodel: {num_features: 39}", [], "features.n_mfcc", 20),
        ("model: {num_features: 20}", ["features.n_mfcc=30"], "features.n_mfcc", 30),
        ("features: {prosody: true}", ["model.num_features=21"], "features.n_mfcc", 13),
        ("features: {prosody: true}", ["features.by_speaker=true"], "features.normalise", "speaker"),
        ("train: {<<: {seed: 1, num_epochs: 7}, seed: 3}", [], "train.seed", 3),
        ("train: {<<: {seed: 1, num_epochs: 7}, seed: 3}", [], "train.num_epochs", 7),
        ("train:\nmodel: {}", ["data.storage=disk", "model.gate=sigmoid"], "model.ck", True),
    ],
)
def test_what_is_read(load, text, overrides, key, value):
    section, _, leaf = key.partition(".")
    assert getattr(getattr(load(text, *overrides), section), leaf) == value


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("key", [key for key in KEYS if "type" in KEYS[key]])
def test_every_bound_is_enforced_and_named(complaint, key):
    section, leaf = key.split(".")
    for name, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
        if name in KEYS[key]:
            message = complaint(f"{section}: {{{leaf}: {KEYS[key][name] + step}}}")
            assert message.startswith(f"config.yaml: {key} = {KEYS[key][name] + step}: must be")
            assert str(KEYS[key][name]) in message.rpartition("must be")[2]


CORPUS = "one of emovo, emodb, ravdess, savee, casia, tess, cremad, nemo, iemocap, folder, table "
CORPUS += "or a list of these"
ROOT = "text or a mapping of emovo, emodb, ravdess, savee, casia and 6 more to text or null"
FRACTIONS = "data.validation_fraction + data.test_fraction"
REST = "the training set"
SECTIONS_OF_KEYS = "must hold sections of keys (data, features, model, train, augment)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {dropout_rate: 2}", "model.dropout_rate = 2: must be a number, at least 0 and less than 1"),
        ("train: {lr_scheduler: 1}", "train.lr_scheduler = 1: must be a number, more than 0 and less than 1"),
        ("train: {batch_size: true}", "train.batch_size = true: must be a whole number, at least 1"),
        ("train: {num_epochs: 5.0}", "train.num_epochs = 5.0: must be a whole number, at least 1"),
        ("train: {num_epochs:}", "train.num_epochs = null: must be a whole number, at least 1"),
        ("model: {omega_0: .nan}", "model.omega_0 = NaN: must be a number, more than 0"),
        ("model: {ck: 1}", "model.ck = 1: must be true or false"),
        ("train: {optimizer: sgd}", 'train.optimizer = "sgd": must be one of adam, adamw'),
        ("model: {af_type: relu}", 'model.af_type = "relu": must be one of sin, KAF, KAFsin, ReLu'),
        ("data: {corpus: emo}", f'data.corpus = "emo": must be {CORPUS}'),
        ("data: {corpus: []}", f"data.corpus = []: must be {CORPUS}"),
        ("data: {emotions: [joy]}", "data.emotions = a list: must be a list of at least 2 texts or null"),
        (
            "data: {protocol: partition}",
            "data.protocol = partition: needs data.partition, a file of names and folds",
        ),
        (
            "data: {partition: a.csv}",
            "data.protocol = holdout: data.partition is for data.protocol = partition alone",
        ),
        ("data: {corpus: [emovo, emo]}", f'data.corpus = "emo": must be {CORPUS}'),
        ("data: {root: 2024}", f"data.root = 2024: must be {ROOT}"),
        ("data: {corpus: [emodb], root: {emo: x}}", f'data.root = "emo": must be {ROOT}'),
        ("data: {cache_dir: [a, b]}", "data.cache_dir = a list: must be text"),
        (r'data: {cache_dir: "a\0b"}', r'data.cache_dir = "a\u0000b": must be text'),
        (r'data: {cache_dir: "\ud800"}', 'data.cache_dir = "\ud800": must be text'),
        ("train: {patience: {a: 1}}", "train.patience = a mapping: must be a whole number, at least 0"),
        ("train: 5", "train = 5: must be a section of keys"),
        ("model: {ck: " + "x" * 100 + "}", 'model.ck = "' + "x" * 56 + "…: must be true or false"),
        ("train: {num_epoch: 5}", "unknown key train.num_epoch; did you mean train.num_epochs?"),
        ("model: {learning_rate: 1}", "unknown key model.learning_rate; did you mean train.learning_rate?"),
        ("num_epochs: 5", "unknown key num_epochs; did you mean train.num_epochs?"),
        ("trian: {seed: 1}", "unknown key trian; did you mean train?"),
        ("omega: 1", "unknown key omega; did you mean model.omega_0?"),
        ("zzzz: 1", "unknown key zzzz; the sections are data, features, model, train, augment"),
        ("data: {test_fraction: 0.9}", f"{FRACTIONS} = 1: must be less than 1, for the rest is {REST}"),
        ("", f"is empty: {SECTIONS_OF_KEYS}"),
        ("- train", f"holds a list: {SECTIONS_OF_KEYS}"),
        ("train", f'holds "train": {SECTIONS_OF_KEYS}'),
    ],
)
def test_what_is_refused(complaint, text, expected):
    assert complaint(text) == f"config.yaml: {expected}"


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("f_max: 1e5", "f_max = 100000: must be at most sample_rate / 2 (features.sample_rate = 22050)"),
        ("n_mels: 38", "n_mfcc = 39: must be at most n_mels (features.n_mels = 38)"),
        ("normalise: speaker", "normalise = speaker: needs prosody, which finds the speech (features"),
        ("functionals: true", 'functionals = true: needs normalise = speaker (features.normalise = "none")'),
        ("signal_length: 511", "signal_length = 511: must give two frames (features.hop_length = 512)"),
    ],
)
def test_features_that_do_not_fit_together(complaint, features, expected):
    assert complaint(f"features: {{{features}}}").startswith(f"config.yaml: features.{expected}")


def test_every_error_has_its_line(complaint):
    text = "train: {seed: -1, num_epoch: 5}\nmodel: {ck: maybe}"
    lines = complaint(text, "train.patience=-1", "x").splitlines()
    assert [line.split(" =")[0] for line in sorted(lines)] == [
        "config.yaml: model.ck",
        "config.yaml: train.seed",
        "config.yaml: unknown key train.num_epoch; did you mean train.num_epochs?",
        "override train.patience=-1: must be a whole number, at least 0",
        "override x: must be key=value, such as train.num_epochs=5",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train=5", "train is a section; name one of its keys, such as train.seed"),
        ("train.num_epoch=5", "unknown key train.num_epoch; did you mean train.num_epochs?"),
        ("train.seed.x=5", "unknown key train.seed.x; did you mean train.seed?"),
        ("train.num_epochs=[1", "not valid YAML: line 1, column 3: while parsing a flow sequence"),
        ("=5", "unknown key ; the sections are data, features, model, train, augment"),
    ],
)
def test_wrong_override(complaint, override, expected):
    assert complaint("train:", override).startswith(f"override {override}: {expected}")


def test_a_conflict_names_the_override(complaint, load):
    message = complaint("features: {f_max: 8001}", "features.sample_rate=16000")
    assert message.startswith("override features.sample_rate=16000: features.f_max = 8001")
    assert load("features: {f_max: 8000, sample_rate: 16000, n_mels: 39}").features.f_max == 8000
    override = "data.test_fraction=0.95"
    assert complaint("train:", override).startswith(f"override {override}: {FRACTIONS} = 1.05: must be")


NO_RANGES = "[1]", "[30, 10]", "[1, true]", "7", "[1, 1000]", "[a, 1]", "[1, 2, 3]"
NO_SPEEDS = "0.9", "[0.4]", "[1, true]", "[a]", f"{[1.0] * 17}"
CASES = [*(("noise_snr", each) for each in NO_RANGES), *(("speed_perturbation", each) for each in NO_SPEEDS)]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_range_is_two_numbers_in_order_and_speeds_are_a_list(complaint, key, value):
    allowed = {
        "noise_snr": "must be two numbers [lowest, highest], each at least -20 and at most 100",
        "speed_perturbation": "must be a list of up to 16 numbers, each at least 0.5 and at most 2",
    }
    assert complaint("augment:", f"augment.{key}={value}").endswith(f"={value}: {allowed[key]}")


# A few lines that stand for 9^29 values, were somebody to write them out.
BOMB = "a0: &a0 [lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
UNSUPPORTED = "anchors (&), aliases (*) and tags (!) are not supported"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train:\n  seed: 1\n  seed: 2\n", "line 3, column 3: the key seed stands here a second time"),
        ("train: {}\ntrain: {}\n", "line 2, column 1: the key train stands here a second time"),
        ("train: a: b", "line 1, column 9: mapping values are not allowed here"),
        ("train:\n\tseed: 1", "line 2, column 1: while scanning for the next token, found character '\\t'"),
        ("--- {}\n--- {}", "line 2, column 1: expected a single document in the stream, but found another"),
        ("train: !!python/object/apply:os.system [exit]", f"line 1, column 8: {UNSUPPORTED}"),
        ("train: {seed: !!bool x}", f"line 1, column 15: {UNSUPPORTED}"),
        ("train: &a [*a]", f"line 1, column 8: {UNSUPPORTED}"),
        ("train: {seed: *a}", f"line 1, column 15: {UNSUPPORTED}"),
        ("train: {seed: \x01}", "unacceptable character #x0001"),
        ("train: {seed: 2024-99-99}", "month must be in 1..12"),
        (BOMB, f"line 1, column 5: {UNSUPPORTED}"),
        ("[" * 2_000, "nested too deeply"),
        ("? [a]\n: 1", "line 1, column 3: while constructing a mapping, found unhashable key"),
    ],
)
def test_bad_yaml(complaint, text, expected):
    assert complaint(text).startswith(f"config.yaml: not valid YAML: {expected}")


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == f"{path}: there is no such file in {tmp_path.resolve()}"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    path.write_bytes(b"train: {}\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: is not UTF-8 text \(byte 16\)"):
        load_config(path)


# ------------------------------------------------------------------------------------ written and read back


TEXTS = ["1e3", "null", "~", "yes", "12", "2024-01-01", "a: b", "# c", " d ", "é/ù", "\x85", "lo  ng " * 30]


letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
shares = st.floats(0, 1, exclude_min=True, exclude_max=True)


@settings(deadline=None, max_examples=100)
@given(
    path=st.sampled_from(TEXTS) | st.text(letters, max_size=20),
    speeds=st.lists(st.floats(0.5, 2), max_size=3),
    snr=st.tuples(st.floats(-20, 100), st.floats(-20, 100)).map(sorted),
    rate=shares,
    seed=st.integers(0, 2**32 - 1),
    f_max=st.none() | st.floats(0, 8_000, exclude_min=True),
)
def test_a_saved_config_loads_as_it_was(tmp_path_factory, path, speeds, snr, rate, seed, f_max):
    values = {
        "data": {"corpus": ["emodb"], "root": {"emodb": path}, "cache_dir": path},
        "features": {"f_max": f_max, "trim_silence": seed % 2 == 0},
        "train": {"learning_rate": rate, "seed": seed, "keep": "best"},
        "augment": {"speed_perturbation": speeds, "noise_snr": snr},
    }
    config = Config.model_validate(values)
    file = tmp_path_factory.getbasetemp() / "saved.yaml"
    save_config(config, file)
    assert load_config(file) == config


# What is special to YAML, to this configuration, or to both.
PIECES = [*SECTIONS, *(key.split(".")[1] for key in KEYS), *TEXTS, *"[]{}:,-?|>&*!%@`'\"#\n\t =."]
PIECES += [": ", "- ", "\n  ", "&a", "*a", "<<: ", "\\ud800", "\\0", "---", "...", "%YAML 9.9", "\ufeff"]
PIECES += ["!!bool x", "!!int ''", "!!float a", "!!set {}", "!!binary é", "!!python/name:os.x"]
PIECES += ["!!timestamp x", "1e999", "-1", "0x1F", "1:30", ".nan", "1" * 5_000]
snippets = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)


@settings(deadline=None, max_examples=300)
@given(override=st.tuples(st.sampled_from(sorted(KEYS)) | snippets, st.just("=") | st.just(""), snippets))
def test_an_override_is_taken_or_refused_by_name(tmp_path_factory, override):
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.write_text("train:\n", encoding="utf-8")
    key, *rest = override
    try:
        config = load_config(path, ["".join(override)])
    except ConfigError as error:
        assert key in str(error)
    else:
        assert key.strip() in KEYS and rest[0] == "="
        save_config(config, path)
        assert load_config(path) == config


@settings(deadline=None, max_examples=300)
@given(text=snippets | st.tuples(st.sampled_from(sorted(SECTIONS)), snippets).map(": ".join))
def test_any_text_is_a_configuration_or_refused_with_its_file(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        assert str(error).startswith(str(path))


def test_a_saved_config_is_plain_yaml_in_the_order_of_config_yaml(tmp_path):
    save_config(Config(), tmp_path / "parameters.txt")
    saved = yaml.safe_load((tmp_path / "parameters.txt").read_text(encoding="utf-8"))
    assert [f"{section}.{key}" for section, keys in saved.items() for key in keys] == list(KEYS)
    with pytest.raises(UserError, match="cannot write"):
        save_config(Config(), tmp_path / "no such folder" / "parameters.txt")


@pytest.mark.parametrize(
    "text",
    ["data.root=", "data.root=~", "data.root= ", 'data.root=""', "features.f_max=", "data.cache_dir=''"],
)
def test_no_value_is_no_null(text):
    key = text.partition("=")[0]
    with pytest.raises(ConfigError, match=f"has no value; write {key}=null where none is meant"):
        load_config("conf/config.yaml", [text])
    assert load_config("conf/config.yaml", ["data.root=null"]).data.root is None


def test_a_colon_without_a_space_is_named():
    with pytest.raises(ConfigError, match="put a space behind each colon"):
        load_config("conf/config.yaml", ["data.labels={freude:joy}"])
    labels = load_config("conf/config.yaml", ["data.labels={'a:b': null, c: joy}"]).data.labels
    assert labels == {"a:b": None, "c": "joy"}

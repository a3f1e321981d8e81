"""The one configuration: typed, with ranges, read from YAML, with `key=value` overrides on top.

What each key does, in which unit, and when to change it, stands beside it in `conf/config.yaml`,
whose values are the defaults below.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from utils.errors import UserError
from utils.files import write_atomically


class ConfigError(UserError):
    """A configuration that cannot be used. The message has one line for each thing that is wrong."""


def _is_text(path: Path) -> Path:
    """Raise a ValueError where no file can have that name: a NUL, or half a character, YAML's `"\\ud800"`."""
    if b"\0" in str(path).encode("utf-8", "surrogateescape"):
        raise ValueError("a NUL")
    return path


# A path is text in YAML, with forward slashes whatever the system that wrote it.
PathText = Annotated[
    Path, Field(strict=False), AfterValidator(_is_text), PlainSerializer(Path.as_posix, when_used="json")
]


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lowest value comes first")
    return bounds


def _range(least: float, most: float) -> Any:
    """The type of a key that holds two numbers [lowest, highest], both between `least` and `most`."""
    number = Annotated[float, Field(ge=least, le=most)]
    return Annotated[tuple[number, number], Field(strict=False), AfterValidator(_in_order)]


MOST_VALUES = 100_000  # in a YAML file; a trial has some hundred

# The features that features.prosody puts beside the MFCCs of a frame (dataloader/features/prosody.py).
PROSODY = ("pitch", "periodicity", "level", "centroid", "crossings", "pitch_change", "speech", "voiced")

# Functionals of each feature but speech and voiced, then of the timing (dataloader/features/functionals.py).
FUNCTIONALS = ("mean", "std", "5 %", "25 %", "50 %", "75 %", "95 %", "5 to 95 %", "change", "trend")
TIMING = ("frames", "speech", "voiced", "voiced stretches a frame", "pauses a frame")

# Those that dataloader/corpora/readers.py reads; `folder` is the user's own.
CorpusName = Literal["emovo", "emodb", "ravdess", "savee", "casia", "tess", "cremad", "iemocap", "folder"]


class Section(BaseModel):
    """A group of keys: unknown ones are refused, a number is not a truth value, and nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which corpus, where it lies, and how it is split."""

    corpus: CorpusName | Annotated[list[CorpusName], Field(min_length=1)] = Field(
        "emovo", description="the corpus to train on, or several"
    )
    root: PathText | dict[CorpusName, PathText] | None = Field(
        None, description="its folder or zip, or that of each; null looks in the usual places"
    )
    cache_dir: PathText = Field(Path("dataset/cache"), description="where extracted features are kept")
    demo_dir: PathText = Field(Path("dataset/demo"), description="where the synthetic demo corpus is made")
    protocol: Literal["holdout", "kfold", "leave_one_speaker_out", "leave_one_sentence_out"] = Field(
        "holdout", description="how the test set is drawn"
    )
    fold: int = Field(0, ge=0, description="which of the protocol's folds to test on, counted from 0")
    folds: int = Field(10, ge=2, description="folds of the protocol kfold")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share of the utterances for validation")
    validate_on: Literal["unheard", "heard"] = Field(
        "unheard", description="speakers (sentences) of the validation set, where some are left out"
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the utterances for testing")

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> "DataConfig":
        total = self.validation_fraction + self.test_fraction
        if total >= 1:
            raise PydanticCustomError(
                "together",
                "data.validation_fraction + data.test_fraction = {total}: "
                "must be less than 1, for the rest is the training set",
                {"total": f"{total:g}", "keys": ["data.validation_fraction", "data.test_fraction"]},
            )
        return self


class FeaturesConfig(Section):
    """From waveform to frames, and to functionals of the whole utterance."""

    sample_rate: int = Field(22_050, ge=1_000, le=192_000, description="samples per second after resampling")
    n_fft: int = Field(2_048, ge=16, le=65_536, description="samples in one analysis window")
    hop_length: int = Field(512, ge=1, description="samples from one frame to the next")
    n_mfcc: int = Field(39, ge=1, description="MFCCs per frame; the first is the loudness")
    n_mels: int = Field(128, ge=1, le=1_024, description="mel bands")
    f_max: float | None = Field(None, gt=0, description="Hz where the mel bands end; null: sample_rate / 2")
    signal_length: int = Field(96_000, ge=1, description="samples that an utterance is padded or cut to")
    trim_silence: bool = Field(False, description="cut off silence before and after the speech")
    normalise_level: bool = Field(False, description="bring every recording to the same level")
    prosody: bool = Field(False, description="pitch, voicing, level and brightness beside the MFCCs")
    functionals: bool = Field(False, description="functionals of the whole utterance beside its frames")
    normalise: Literal["none", "speaker"] = Field(
        "none", description="speaker: features as deviations from the mean of the same speaker's recordings"
    )
    standardise: bool = Field(True, description="scale each coefficient by the training set's mean and std")

    @model_validator(mode="after")
    def _features_fit_together(self) -> "FeaturesConfig":
        if self.f_max is not None and self.f_max > self.sample_rate / 2:
            problem = "features.f_max = {f_max:g}: must be at most half of sample_rate, {sample_rate}"
            keys = ["features.f_max", "features.sample_rate"]
        elif self.n_mfcc > self.n_mels:
            problem = "features.n_mfcc = {n_mfcc}: must be at most features.n_mels = {n_mels}"
            keys = ["features.n_mfcc", "features.n_mels"]
        elif self.normalise == "speaker" and not self.prosody:
            problem = "features.normalise = speaker: needs features.prosody, which says where there is speech"
            keys = ["features.normalise", "features.prosody"]
        elif self.functionals and self.normalise != "speaker":
            problem = "features.functionals: needs features.normalise = speaker, for they are deviations"
            keys = ["features.functionals", "features.normalise"]
        elif self.signal_length < self.hop_length:
            problem = "features.signal_length = {signal_length}: must be at least hop_length, {hop_length}"
            keys = ["features.signal_length", "features.hop_length"]
        else:
            return self
        raise PydanticCustomError("together", problem.format_map(self.model_dump()), {"keys": keys})

    @property
    def num_features(self) -> int:
        """Features of a frame: MFCCs, and the prosody below them."""
        return self.n_mfcc + (len(PROSODY) if self.prosody else 0)

    @property
    def num_functionals(self) -> int:
        """Functionals of an utterance; 0 without `functionals`."""
        return (self.num_features - 2) * len(FUNCTIONALS) + len(TIMING) if self.functionals else 0

    @property
    def frames(self) -> int:
        """Frames of one utterance; windows of odd length reach one sample less beyond its ends."""
        return 1 + (self.signal_length - self.n_fft % 2) // self.hop_length

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_length / self.sample_rate


class AugmentConfig(Section):
    """Variations of the training utterances, where `model.aug` is true.

    `noise` to `reverb` are probabilities of changes to a waveform; each variant of an utterance is drawn with
    them. `gain` to `mixup` are probabilities of changes to MFCCs.
    """

    mode: Literal["published", "offline", "online"] = Field("published", description="how variants are used")
    variants: int = Field(4, ge=0, le=64, description="variants of each training utterance")
    speed_perturbation: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = Field(
        (), max_length=16, strict=False, description="speeds of playback, each of which makes a variant"
    )
    noise: float = Field(0.3, ge=0, le=1, description="probability of white noise")
    noise_snr: _range(-20, 100) = Field((10.0, 30.0), description="signal-to-noise ratio in dB")
    shift: float = Field(0.0, ge=0, le=1, description="probability of a shift in time")
    shift_range: _range(0, 0.9) = Field((0.05, 0.3), description="shift, as a share of the recording")
    stretch: float = Field(0.5, ge=0, le=1, description="probability of another speed at the same pitch")
    stretch_range: _range(0.1, 10) = Field((0.9, 1.1), description="speed; 2 is twice as fast")
    reverse: float = Field(0.0, ge=0, le=1, description="probability of reversal in time")
    pitch: float = Field(0.3, ge=0, le=1, description="probability of another pitch at the same speed")
    pitch_range: _range(-24, 24) = Field((-2.0, 2.0), description="change of pitch in semitones")
    reverb: float = Field(0.2, ge=0, le=1, description="probability of the sound of a room")
    reverb_range: _range(0.01, 10) = Field((0.1, 0.5), description="its reverberation time in seconds")
    gain: float = Field(0.5, ge=0, le=1, description="probability of another loudness")
    gain_range: _range(-60, 60) = Field((-6.0, 6.0), description="change of loudness in dB")
    frame_shift: float = Field(1.0, ge=0, le=1, description="probability of a shift by whole frames")
    frame_shift_range: _range(0, 0.9) = Field((0.0, 0.1), description="shift, as a share of the frames")
    masks: int = Field(2, ge=0, le=16, description="SpecAugment's masks of each kind")
    time_mask: float = Field(0.5, ge=0, le=1, description="probability of each mask over frames")
    time_mask_range: _range(0, 1) = Field((0.0, 0.1), description="its width, as a share of the frames")
    coefficient_mask: float = Field(0.5, ge=0, le=1, description="probability of each mask over coefficients")
    coefficient_mask_range: _range(0, 1) = Field((0.0, 0.1), description="its width, a share of the MFCCs")
    mixup: float = Field(0.0, ge=0, le=1, description="probability of mixing in another utterance")
    mixup_alpha: float = Field(0.2, gt=0, le=100, description="both parameters of the beta distribution")


class TrainConfig(Section):
    """One training run."""

    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the split, the weights and the batches")
    device: Literal["auto", "cuda", "mps", "cpu"] = Field("auto", description="where to compute")
    results_dir: PathText = Field(Path("training/results"), description="where run directories are made")
    num_epochs: int = Field(100, ge=1, description="passes over the training set")
    batch_size: int = Field(64, ge=1, description="utterances per step")
    learning_rate: float = Field(0.003, gt=0, le=1, description="step size of the optimiser")
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="the optimiser")
    weight_decay: float = Field(0.01, ge=0, le=1, description="the optimiser's weight decay")
    schedule: Literal["plateau", "one_cycle"] = Field("one_cycle", description="how the learning rate goes")
    lr_scheduler: float = Field(0.25, gt=0, lt=1, description="factor on the learning rate at a plateau")
    patience: int = Field(5, ge=0, description="epochs without progress that make a plateau")
    keep: Literal["best", "last"] = Field("last", description="the epoch whose weights are kept")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="target share spread over all classes")
    early_stopping: bool = Field(False, description="end when validation stops improving")
    early_stopping_patience: int = Field(30, ge=1, description="epochs without progress that end the run")
    gradient_clipping: float = Field(1.0, ge=0, description="largest gradient norm; 0 is off")


class ModelConfig(Section):
    """The network."""

    dropout_rate: float = Field(0.1, ge=0, lt=1, description="spatial dropout: share of channels zeroed")
    input_dropout: float = Field(0.1, ge=0, lt=1, description="share of the input's coefficients zeroed")
    pooling: Literal["mean", "mean_std"] = Field("mean_std", description="a TAB's summary over time")
    pooling_dropout: float = Field(0.5, ge=0, lt=1, description="longest share of frames left out")
    functionals_width: int = Field(64, ge=1, description="hidden units of the perceptron on functionals")
    functionals_dropout: float = Field(0.3, ge=0, lt=1, description="share of the functionals zeroed")
    n_temporal_aware_block: int = Field(1, ge=1, le=16, description="temporal-aware blocks (TABs)")
    n_filter: int = Field(39, ge=1, description="channels of each direction")
    ck: bool = Field(True, description="continuous kernels (CkTIM) or dilated ones (TIM)")
    generator_type: Literal["conv", "convKan"] = Field("conv", description="the network that makes a kernel")
    kernel_size: int = Field(2, ge=1, description="taps of TIM's dilated convolutions, in frames")
    omega_0: float = Field(25.0, gt=0, description="frequency factor of the TABs' generators")
    input_omega_0: float = Field(1.0, gt=0, description="the same, of the input convolution's generator")
    hidden_scale: float = Field(1.0, ge=1 / 32, le=32, description="the generator's width, in units of 32")
    af_type: Literal["sin", "KAF", "KAFsin", "ReLu"] = Field("sin", description="its nonlinearity")
    generator_norm: Literal["none", "batch"] = Field("none", description="normalisation inside the generator")
    kernel_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on single kernel values")
    kernel_init: Literal["variance_preserving", "siren"] = Field(
        "variance_preserving", description="scale of the kernels at the start"
    )
    kernel_bias: bool = Field(True, description="a trainable bias in the continuous input convolution")
    kernel_window: float = Field(0.03, ge=0, le=1, description="start width of the kernels' window")
    input_kernel_window: float = Field(0.003, gt=0, le=1, description="the same, of the input convolution's")
    conv_algorithm: Literal["auto", "direct", "fft"] = Field("auto", description="how CKConv is computed")
    aug: bool = Field(False, description="train on augmented utterances")

    @property
    def name(self) -> str:
        """The network's name, with which run directories begin: CkTIM, CkkTIM (convKan) or TIM."""
        if not self.ck:
            return "TIM"
        return "CkkTIM" if self.generator_type == "convKan" else "CkTIM"


class Config(BaseModel):
    """Everything that a run depends on, in sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    model: ModelConfig = ModelConfig()


SECTIONS = {name: field.annotation for name, field in Config.model_fields.items()}
# Every key with its JSON schema, from which error messages take types and ranges.
KEYS = {
    f"{section}.{key}": schema
    for section, model in SECTIONS.items()
    for key, schema in model.model_json_schema()["properties"].items()
}


# Keys of earlier versions, for configurations and run directories of every age.
RENAMED = {
    "augment.voices": "augment.speed_perturbation",
    "features.by_speaker": "features.normalise",
    "model.num_features": "features.n_mfcc",
    "model.statistics": "features.functionals",
    "model.statistics_dropout": "model.functionals_dropout",
    "model.statistics_width": "model.functionals_width",
}
# Removed keys → the value with which they changed nothing; None where every value is such.
REMOVED = {
    "data.storage": None,
    "features.by_sentence": False,
    "model.gate": "sigmoid",
    "model.late_fusion": False,
    "model.sentence_statistics": False,
}


def migrate(settings: Mapping[str, Any], prosody: bool = False) -> dict[str, Any]:
    """Settings of any version with today's keys: `section.key` → value; unknown keys stay as they are.

    Args:
        settings: as they were written. `model.num_features` counted the prosody beside the MFCCs.
        prosody: `features.prosody`, where `settings` does not say it.

    Raises:
        ConfigError: for a removed key whose value changed results.
    """
    found: dict[str, Any] = {}
    gone = []
    for key, value in settings.items():
        if key in REMOVED:
            if REMOVED[key] not in (None, value):
                gone.append(f"{key} = {_show(value)}: the key was removed; docs/results.md says why")
        elif key in RENAMED and RENAMED[key] not in settings:
            if key == "features.by_speaker" and isinstance(value, bool):
                value = "speaker" if value else "none"
            with_prosody = settings.get("features.prosody", prosody)
            if key == "model.num_features" and with_prosody and isinstance(value, int):
                value -= len(PROSODY)
            found[RENAMED[key]] = value
        elif key not in RENAMED:
            found[key] = value
    if gone:
        raise ConfigError("\n".join(gone))
    return found


def load_config(path: str | Path = "conf/config.yaml", overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and put overrides on top.

    Keys that the file leaves out take the defaults, which are the values of `conf/config.yaml`. That
    also holds for a file of the earlier implementation, which knows only the older keys of `train` and
    `model`: it gets today's treatment in everything that it does not name.

    Args:
        path: a YAML file with the sections data, features, augment, train and model, each of them optional.
        overrides: texts such as "train.num_epochs=5", the value written as in YAML. The last one wins.

    Raises:
        ConfigError: one line for each thing that is wrong, with the key, the value and what is allowed.
    """
    path = Path(path)
    values = _read(path)
    errors = []
    given, origin = {}, {}  # key → value, and the override that set it
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals:
            errors.append(f"override {override}: must be key=value, such as train.num_epochs=5")
        elif key not in {*KEYS, *RENAMED, *REMOVED}:
            errors.append(f"override {override}: {_unknown(key)}")
        else:
            try:
                value = parse_yaml(text)
            except ConfigError as error:
                errors.append(f"override {override}: {error}")
                continue
            if isinstance(value, str) and " #" in text and text[0] not in "'\"":
                value = text  # to YAML it would be a comment from there on
            given[key] = value
            origin[RENAMED.get(key, key)] = f"override {override}"
    settings = {
        f"{section}.{key}": value
        for section, keys in values.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
    }
    merged: dict[str, Any] = {}
    for source, some in ((path, settings), ("override", given)):
        try:
            merged |= migrate(some, merged.get("features.prosody", False))
        except ConfigError as error:
            errors += [f"{source}: {line}" for line in str(error).splitlines()]
    sections = {section: {} if isinstance(keys, dict) else keys for section, keys in values.items()}
    for key, value in merged.items():
        section, _, name = key.partition(".")
        if isinstance(sections.setdefault(section, {}), dict):  # otherwise the file's own error follows
            sections[section][name] = value
    try:
        config = Config.model_validate(sections)
    except ValidationError as error:
        # A value that fits none of several types has an error for each of them; the innermost says most.
        found: dict[tuple, dict[str, Any]] = {}
        for details in error.errors(include_url=False):
            key = (*details["loc"][:2], details["type"] == "together")
            if key not in found or len(details["loc"]) > len(found[key]["loc"]):
                found[key] = details
        errors += [_explain(details, path, origin) for details in found.values()]
    if errors:
        raise ConfigError("\n".join(errors))
    return config


def save_config(config: Config, path: str | Path) -> None:
    """Write the whole configuration as YAML; `load_config` reads it back to an equal one.

    Raises:
        UserError: when the file cannot be written.
    """
    text = yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
    write_atomically(path, text)


def _read(path: Path) -> dict[str, Any]:
    """The file's sections; a section with nothing in it is an empty one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file in {path.parent.resolve()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start + 1})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds {_show(values)}"
        raise ConfigError(f"{path}: {found}: must hold sections of keys ({', '.join(SECTIONS)})")
    # Copies, for a YAML alias makes two sections one and the same object.
    return {
        key: {} if value is None else dict(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def parse_yaml(text: str) -> Any:
    """What a YAML text holds; a ConfigError says where it is not valid.

    Aliases are the same object again, and cost nothing until somebody walks through them: a few lines of
    aliases of aliases stand for more values than there is memory. MOST_VALUES is their limit.
    """
    try:
        value = yaml.load(text, _Loader)
        count = _count_values(value, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        problem = f"line {mark.line + 1}, column {mark.column + 1}: {what}"
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
    except RecursionError:
        problem = "nested too deeply"
    except ValueError as error:  # a date that is none, say
        problem = str(error)
    except (KeyError, IndexError, AttributeError, TypeError):
        problem = "a tag (!!…) that does not fit its value"
    else:
        if count <= MOST_VALUES:
            return value
        problem = f"with its aliases it holds more than {MOST_VALUES:,} values"
    raise ConfigError(f"not valid YAML: {problem}")


def _count_values(value: Any, known: dict[int, int]) -> int:
    """Values in a value, itself included; what an alias stands for counts wherever it stands.

    Args:
        value: from a YAML text.
        known: the count of each mapping and list that was looked at, by its id; none for one in itself.
    """
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = 0
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count_values(one, known) for one in inside)
    return known[id(value)]


def _explain(details: dict[str, Any], path: Path, origin: dict[str, str]) -> str:
    """One line for one of pydantic's errors."""
    if details["type"] == "together":
        culprits = [origin[key] for key in details["ctx"]["keys"] if key in origin]
        return f"{', '.join(culprits) or path}: {details['msg']}"
    key = ".".join(str(part) for part in details["loc"][:2])
    if details["type"] in ("extra_forbidden", "invalid_key"):
        return f"{path}: {_unknown(key)}"
    allowed = _allowed(KEYS[key]) if key in KEYS else "a section of keys"
    where = origin[key] if key in origin else f"{path}: {key} = {_show(details['input'])}"
    return f"{where}: must be {allowed}"


def _unknown(key: str) -> str:
    """`unknown key train.num_epoch; did you mean train.num_epochs?`"""
    if key in SECTIONS:
        example = next(known for known in KEYS if known.startswith(f"{key}."))
        return f"{key} is a section; name one of its keys, such as {example}"
    name = key.rpartition(".")[2]
    same_name = [known for known in KEYS if known.endswith(f".{name}")]
    close = difflib.get_close_matches(key, KEYS if "." in key else SECTIONS, n=1)
    close_name = difflib.get_close_matches(name, [known.partition(".")[2] for known in KEYS], n=1)
    suggestions = same_name or close or [known for known in KEYS if known.partition(".")[2] in close_name]
    if suggestions:
        return f"unknown key {key}; did you mean {suggestions[0]}?"
    return f"unknown key {key}; the sections are {', '.join(SECTIONS)}"


def _allowed(schema: dict[str, Any]) -> str:
    """What a key takes, in words: `a number, at least 0 and less than 1`."""
    if "anyOf" in schema:
        return " or ".join(_allowed(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "prefixItems" in schema:
        number = _allowed(schema["prefixItems"][0]).removeprefix("a number, ")
        return f"two numbers [lowest, highest], each {number}"
    if schema["type"] == "array" and schema["items"].get("type") == "number":
        number = _allowed(schema["items"]).removeprefix("a number, ")
        return f"a list of up to {schema['maxItems']} numbers, each {number}"
    kind = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "null": "null",
        "array": "a list of these",
        "object": "a mapping of corpora to such text",
    }[schema["type"]]
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    limits = [f"{words} {schema[bound]}" for bound, words in bounds.items() if bound in schema]
    return f"{kind}, {' and '.join(limits)}" if limits else kind


def _show(value: Any) -> str:
    """A value as one would write it in YAML, kept short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list) and not (value and all(isinstance(v, (int, float)) for v in value)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error and `1e-3` is a number (see below)."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        problem = f"the key {key.value} stands here a second time"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what `<<` names; each key is kept once, or merges of merges would fill the memory."""
        super().flatten_mapping(node)
        last = {
            (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key): (key, value)
            for key, value in node.value
        }
        node.value = list(last.values())


class _Dumper(yaml.SafeDumper):
    """Puts quotes around text that _Loader would take for a number."""


# YAML 1.1 wants a dot and a signed exponent in a float; people, and YAML 1.2, write 1e-3.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )

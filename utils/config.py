"""The one configuration: typed, with ranges, read from YAML, with `key=value` overrides on top.

The text beside or under a key is its documentation: `python -m utils.config > docs/configuration.md`.
"""

import difflib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Predicate
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    model_validator,
)
from pydantic.functional_serializers import PlainSerializer
from pydantic_core import PydanticCustomError

from utils.errors import UserError, some
from utils.files import parse_yaml, to_yaml, write_atomically


class ConfigError(UserError):
    """A configuration that cannot be used. The message has one line for each problem."""


def _range(least: float, most: float) -> GetPydanticSchema:
    """Makes a pair two numbers [lowest, highest], both between `least` and `most`."""
    number = Annotated[float, Field(ge=least, le=most)]
    pair = Annotated[tuple[number, number], Field(strict=False), Predicate(lambda pair: pair[0] <= pair[1])]
    return GetPydanticSchema(lambda _source, handler: handler(pair))


def key(default: Any, meaning: str, **bounds: Any) -> Any:
    """A key with its default and its documentation."""
    return Field(default, description=meaning, **bounds)


# A name that a file can have: without a NUL, and without half a character (YAML's "\\ud800"), a ValueError.
_IsText = Predicate(lambda path: b"\0" not in str(path).encode("utf-8", "surrogateescape"))
# A path is text in YAML, with forward slashes whatever the system that wrote it.
_AsText = PlainSerializer(Path.as_posix, when_used="json")
PathText = Annotated[Path, Field(strict=False), _IsText, _AsText]
# Those that dataloader/corpora/readers.py reads; `folder` and `table` are the user's own.
CorpusName = Literal[
    "emovo", "emodb", "ravdess", "savee", "casia", "tess", "cremad", "nemo", "iemocap", "folder", "table"
]
Protocol = Literal[
    "holdout", "kfold", "speaker_kfold", "leave_one_speaker_out", "leave_one_sentence_out", "partition"
]
Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Pair = tuple[float, float]
# Text that may look like a number to YAML.
Word = Annotated[
    str, BeforeValidator(lambda word: str(word) if type(word) is int else word), Field(min_length=1)
]
Speed = Annotated[float, Field(ge=0.5, le=2)]

# The features that features.prosody puts beside the MFCCs of a frame (dataloader/features/prosody.py).
PROSODY = ("pitch", "periodicity", "level", "centroid", "crossings", "pitch_change", "speech", "voiced")
# Functionals of each feature but speech and voiced, then of the timing (dataloader/features/functionals.py).
FUNCTIONALS = ("mean", "std", "5 %", "25 %", "50 %", "75 %", "95 %", "5 to 95 %", "change", "trend")
TIMING = ("frames", "speech", "voiced", "voiced stretches a frame", "pauses a frame")


class Section(BaseModel, use_attribute_docstrings=True):
    """A group of keys: unknown ones are refused, a number is not a truth value, and nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which recordings, and how they are split."""

    corpus: CorpusName | Annotated[list[CorpusName], Field(min_length=1)] = "emovo"
    """The corpus, or several to train on together: [emovo, emodb]. folder: your own, EMOTION/*.wav,
    SPEAKER/EMOTION/*.wav or EMOTION/SPEAKER/*.wav; table: a CSV or TSV file with a row for each.
    Most need another features.signal_length than EMOVO; a warning says which."""
    root: PathText | dict[CorpusName, PathText] | None = None
    """Its folder, zip or table (~ is your home); of several corpora {emovo: PATH, emodb: PATH}. null looks at
    EMOVO_ROOT (EMODB_ROOT, …) in the environment, then in dataset; without EMOVO the demo corpus is made."""
    emotions: Annotated[list[str], Field(min_length=2)] | None = None
    """The emotions to keep, such as [anger, joy, sadness]; utterances of others are left out."""
    columns: dict[Literal["file", "emotion", "speaker", "sentence", "split"], Word | None] | None = None
    """For corpus: table, names of columns that are not found by their usual names, such as
    {emotion: annotation, speaker: voice}; null: a column is not to be used."""
    min_utterances: int = key(0, "Emotions with fewer utterances are left out, with a warning.", ge=0)
    labels: Literal["intended", "heard"] | dict[Word, Word | None] = "intended"
    """What an utterance is labelled with: the emotion that its speaker meant, or the one that most listeners
    heard in the sound, for corpora with votes (cremad); recordings at a tie are left out. Two tasks. Or, for
    folder and table, emotions for your own words: {freude: joy, other: null}; null leaves recordings out."""
    cache_dir: PathText = key(Path("dataset/cache"), "Folder for extracted features; delete it any time.")
    demo_dir: PathText = key(Path("dataset/demo"), "Folder for the demo corpus, synthetic speech.")
    protocol: Protocol = "holdout"
    """How the test set is drawn: at random, or as a table's column split says (holdout), as one of `folds`
    random parts (kfold) or groups of speakers (speaker_kfold), as all of one speaker or of one sentence, or
    as a published partition says. Speakers who are left out measure unknown voices. All but holdout need a
    run for each fold."""
    fold: int = key(0, "The part, speaker or sentence to test on, from 0; a partition's own number.", ge=0)
    folds: int = key(10, "Parts of kfold, groups of speakers of speaker_kfold.", ge=2)
    partition: PathText | None = None
    """For protocol: partition, a CSV file with the columns name and fold (or test_fold), such as EmoBox has.
    Utterances in no fold are never tested on."""
    validation_fraction: Fraction = 0.1
    """Share of each emotion's utterances for validation; of speakers (sentences) where some are left out.
    With speaker_kfold a whole group validates, unless validate_on is heard."""
    validate_on: Literal["unheard", "heard"] = "unheard"
    """Where speakers (sentences) are left out, validate on others that are left out too, as a judge of
    settings must (unheard), or on utterances of the training speakers, to train on one more (heard)."""
    test_fraction: Fraction = key(0.2, "Share of each emotion's utterances for testing, with holdout.")
    training_utterances: int = key(0, "Train on so many, drawn from the training set; 0: on all of it.", ge=0)

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "DataConfig":
        if (total := self.validation_fraction + self.test_fraction) >= 1:
            keys = "data.validation_fraction", "data.test_fraction"
            problem = f"{' + '.join(keys)} = {total:g}: must be less than 1, for the rest is the training set"
            raise PydanticCustomError("together", "{problem}", {"problem": problem, "keys": keys})
        if (self.protocol == "partition") != (self.partition is not None):
            keys = "data.protocol", "data.partition"
            needs = "data.partition is for data.protocol = partition alone"
            if self.partition is None:
                needs = "needs data.partition, a file of names and folds"
            problem = f"data.protocol = {self.protocol}: {needs}"
            raise PydanticCustomError("together", "{problem}", {"problem": problem, "keys": keys})
        return self


class FeaturesConfig(Section):
    """From waveform to frames, and to functionals of the whole utterance."""

    sample_rate: int = key(22_050, "Hz to which every recording is resampled.", ge=1_000, le=192_000)
    n_fft: int = key(2_048, "Samples of an analysis window: 2048 are 93 ms at 22 050 Hz.", ge=16, le=65_536)
    hop_length: Count = key(512, "Samples from one frame to the next: 512 are 23 ms at 22 050 Hz.")
    n_mfcc: Count = key(39, "MFCCs of a frame, at most n_mels; the first is the loudness. 13 suit prosody.")
    n_mels: int = key(128, "Mel bands from which the MFCCs are computed.", ge=1, le=1_024)
    f_max: Positive | None = None
    """Hz where the mel bands end; null: half of sample_rate. With 7000, 100 % of EMOVO's test utterances get
    the same emotion at 16 kHz as at 48, else 67 %; the accuracy is the same (one run each)."""
    signal_length: Count = key(96_000, "Samples to which utterances are padded or cut (96 000: 4.4 s).")
    trim_silence: bool = key(False, "Cut off ends 30 dB below the loudest frame, in recognition too.")
    normalise_level: bool = key(False, "Scale recordings to one RMS level; use it with trim_silence.")
    prosody: bool = key(False, "Pitch, voicing, level and brightness beside the MFCCs: 8 more features.")
    functionals: bool = False
    """Functionals of the whole utterance (quantiles, changes, timing) beside its frames, for a small
    perceptron. They are deviations from the speaker's, so they need normalise: speaker."""
    normalise: Literal["none", "speaker"] = "none"
    """speaker: features as deviations from the mean over the speaker's recordings, emotions not looked at.
    Helps with unknown voices; a stranger is recognised once some recordings are enrolled. Needs prosody; of
    the variants of waveforms it allows speed_perturbation alone."""
    standardise: bool = key(True, "Scale features by the training set's mean and std; false as published.")

    @model_validator(mode="after")
    def _features_fit_together(self) -> "FeaturesConfig":
        if self.f_max is not None and self.f_max > self.sample_rate / 2:
            other, problem = "sample_rate", f"f_max = {self.f_max:g}: must be at most sample_rate / 2"
        elif self.n_mfcc > self.n_mels:
            other, problem = "n_mels", f"n_mfcc = {self.n_mfcc}: must be at most n_mels"
        elif self.normalise == "speaker" and not self.prosody:
            other, problem = "prosody", "normalise = speaker: needs prosody, which finds the speech"
        elif self.functionals and self.normalise != "speaker":
            other, problem = "normalise", "functionals = true: needs normalise = speaker"
        elif self.frames < 2:
            other, problem = "hop_length", f"signal_length = {self.signal_length}: must give two frames"
        else:
            return self
        keys = [f"features.{one}" for one in (problem.partition(" ")[0], other)]
        problem = f"features.{problem} ({keys[1]} = {_show(getattr(self, other))})"
        raise PydanticCustomError("together", "{problem}", {"problem": problem, "keys": keys})

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

    @property
    def sizes(self) -> tuple[int, int, int, float]:
        """The arguments of a network that depend on the features (models.cktim.CkTIMNet)."""
        return self.num_features, self.num_functionals, self.frames, self.frame_seconds


class ModelConfig(Section):
    """The network."""

    dropout_rate: Dropout = key(0.1, "Spatial dropout: share of whole channels set to zero in training.")
    input_dropout: Dropout = key(0.1, "Share of the features set to zero, over all frames, in training.")
    pooling: Literal["mean", "mean_std"] = key("mean_std", "A TAB's summary over time; mean as published.")
    pooling_dropout: Dropout = 0.5
    """In training the summary leaves out one stretch of frames, drawn anew for each utterance and step, of up
    to this share. With 0 the accuracy of CkTIM-net falls from 82.5 to 79.6 %."""
    functionals_width: Count = key(64, "Hidden units of the perceptron on features.functionals.")
    functionals_dropout: Dropout = key(0.3, "Share of the functionals set to zero in training.")
    n_temporal_aware_block: int = key(1, "Temporal-aware blocks (TABs); published: 1, 3, 6.", ge=1, le=16)
    n_filter: Count = key(39, "Channels of each of the two directions in time. More overfit sooner.")
    ck: bool = key(True, "true: continuous kernels (CkTIM-net); false: dilated kernels (TIM-net).")
    generator_type: Literal["conv", "convKan"] = "conv"
    """The small network that makes a continuous kernel: a perceptron of 1×1 convolutions, or a
    Kolmogorov-Arnold network of learned splines, with ten times the parameters."""
    separable: bool = False
    """One continuous kernel a channel, then a 1×1 convolution that mixes the channels, in place of a kernel
    for each pair of channels. The input's convolution is 1×1, too."""
    kernel_size: Count = key(2, "Taps of TIM-net's dilated convolutions, in frames.")
    omega_0: Positive = 25.0
    """Frequency factor of the TABs' generators: the larger, the faster kernels may vary. For af_type: sin;
    KAF and KAFsin take it up to 4, the edge of their dictionary, and ReLu not at all."""
    input_omega_0: Positive = key(1.0, "The same, of the input convolution's generator.")
    hidden_scale: float = key(1.0, "Width of the generators' hidden layers / 32 channels.", ge=1 / 32, le=32)
    af_type: Literal["sin", "KAF", "KAFsin", "ReLu"] = "sin"
    """The generators' nonlinearity; KAF is learned for each channel; so is KAFsin, which starts as sine."""
    generator_norm: Literal["none", "batch"] = "none"
    """batch, as published, gives training and evaluation different kernels, and cancels omega_0."""
    kernel_dropout: Dropout = key(0.0, "Dropout on single kernel values in training; published is 0.1.")
    kernel_init: Literal["variance_preserving", "siren"] = "variance_preserving"
    """Size of the kernels at the start: outputs as large as inputs, or, as published, much larger."""
    kernel_bias: bool = key(True, "Trainable bias in the continuous input convolution; false as published.")
    kernel_window: Probability = 0.03
    """Start width of the window that keeps a kernel local until it learns to reach further, as a share of the
    utterance. 0, as published, is no window: the accuracy of CkTIM-net falls from 82.5 to 75.7 %."""
    input_kernel_window: float = key(0.003, "The same, of the input convolution.", gt=0, le=1)
    conv_algorithm: Literal["auto", "direct", "fft"] = key("auto", "Same results; fft suits long kernels.")
    aug: bool = key(False, "Train on augmented utterances, as the section augment says.")

    @property
    def name(self) -> str:
        """The network's name, with which run directories begin: CkTIM, CkkTIM (convKan) or TIM."""
        return ("CkkTIM" if self.generator_type == "convKan" else "CkTIM") if self.ck else "TIM"


class TrainConfig(Section):
    """One training run."""

    seed: int = key(0, "Seed of the split, the first weights and the order of batches.", ge=0, le=2**32 - 1)
    device: Literal["auto", "cuda", "mps", "cpu"] = key("auto", "auto is the first of the others that works.")
    results_dir: PathText = key(Path("training/results"), "Folder in which every run gets its own directory.")
    num_epochs: Count = key(100, "Passes over the training set. Lower it for a quick look.")
    batch_size: Count = key(64, "Utterances per step. Lower it when memory runs out.")
    learning_rate: float = key(0.003, "Largest step size. Lower it when the loss jumps.", gt=0, le=1)
    optimizer: Literal["adam", "adamw"] = key("adamw", "adamw decays weights apart from the gradient.")
    weight_decay: Probability = key(0.01, "Weight decay; 0 is off. Raise it against overfitting.")
    schedule: Literal["plateau", "one_cycle"] = "one_cycle"
    """one_cycle: the learning rate rises for a tenth of the steps, then falls along a cosine until
    num_epochs. plateau, as published: times lr_scheduler after `patience` epochs without a lower loss."""
    lr_scheduler: Fraction = key(0.25, "Factor on the learning rate at a plateau, with schedule: plateau.")
    patience: int = key(5, "Epochs without a lower validation loss that make a plateau.", ge=0)
    keep: Literal["best", "last"] = "last"
    """The epoch whose weights are kept: best (lowest validation loss, noisy) or last, for one_cycle."""
    label_smoothing: Dropout = key(0.1, "Share of each target that is spread evenly over all emotions.")
    balance: Literal["none", "class", "corpus_and_class"] = "none"
    """How often an utterance comes in an epoch: once, or in proportion to 1 / sqrt(n), n being the number of
    training utterances of its emotion, or of its emotion in its corpus. Epochs are as long as with none."""
    early_stopping: bool = key(False, "End after early_stopping_patience epochs; not for one_cycle.")
    early_stopping_patience: Count = key(30, "Epochs without a lower validation loss that end the training.")
    gradient_clipping: float = key(1.0, "Largest norm of the gradient; 0 is off.", ge=0)
    log: Literal["none", "tensorboard"] = "none"
    """tensorboard: curves, confusion matrices and, in the end, sound of mistakes on the validation set, for
    `tensorboard --logdir RUN_DIR`. Needs `pip install tensorboard`."""


class AugmentConfig(Section):
    """Variants of training utterances, with `model.aug`; `gain` to `mixup` vary MFCCs, the rest waveforms."""

    mode: Literal["published", "offline", "online"] = "published"
    """published: each utterance and four fixed variants (noise 10 dB below the speech, a shift by 5 to 30 %,
    a speed of 0.25, 0.5, 1.5 or 2, reversal); no other key counts. offline: each utterance and its variants,
    the same in every epoch. online: each utterance once, as itself or a variant, its MFCCs changed anew."""
    variants: int = key(4, "Variants of each waveform, made once; 0 varies the MFCCs alone.", ge=0, le=64)
    speed_perturbation: tuple[Speed, ...] = Field((), max_length=16, strict=False)
    """Speeds of playback, each a further variant with pitch and formants as much higher, such as [0.9, 1.1].
    Helps with unknown voices. With normalise: speaker each speed makes a speaker of its own."""
    noise: Probability = key(0.3, "Probability of white noise.")
    noise_snr: Annotated[Pair, _range(-20, 100)] = key((10.0, 30.0), "Signal-to-noise ratio in dB.")
    shift: Probability = key(0.0, "Probability of a shift in time, filled with zeros.")
    shift_range: Annotated[Pair, _range(0, 0.9)] = key((0.05, 0.3), "The shift, as a share of the recording.")
    stretch: Probability = key(0.5, "Probability of another speed at the same pitch.")
    stretch_range: Annotated[Pair, _range(0.1, 10)] = key((0.9, 1.1), "The speed; 2 is twice as fast.")
    reverse: Probability = key(0.0, "Probability of reversal in time.")
    pitch: Probability = key(0.3, "Probability of another pitch at the same speed.")
    pitch_range: Annotated[Pair, _range(-24, 24)] = key((-2.0, 2.0), "Semitones; keep the change small.")
    reverb: Probability = key(0.2, "Probability of the sound of a room.")
    reverb_range: Annotated[Pair, _range(0.01, 10)] = key((0.1, 0.5), "Reverberation time in seconds.")
    gain: Probability = key(0.5, "Probability of another loudness.")
    gain_range: Annotated[Pair, _range(-60, 60)] = key((-6.0, 6.0), "Change of loudness in dB.")
    frame_shift: Probability = key(1.0, "Probability of a shift by whole frames, filled with silence.")
    frame_shift_range: Annotated[Pair, _range(0, 0.9)] = key((0.0, 0.1), "The shift: share of the frames.")
    masks: int = key(2, "SpecAugment's masks over frames, and as many over coefficients.", ge=0, le=16)
    time_mask: Probability = key(0.5, "Probability of each mask over frames.")
    time_mask_range: Annotated[Pair, _range(0, 1)] = key((0.0, 0.1), "Its width: share of the frames.")
    coefficient_mask: Probability = key(0.5, "Probability of each mask over coefficients.")
    coefficient_mask_range: Annotated[Pair, _range(0, 1)] = key((0.0, 0.1), "Its width: share of them.")
    mixup: Probability = key(0.0, "Probability of averaging an utterance and its label with another's.")
    mixup_alpha: float = key(0.2, "The average's weight is drawn from Beta(α, α) with this α.", gt=0, le=100)


class Config(BaseModel, frozen=True, extra="forbid"):
    """Everything that a run depends on, in sections."""

    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    augment: AugmentConfig = AugmentConfig()


SECTIONS: dict[str, type[Section]] = {name: type(section) for name, section in Config()}
# Every key with its JSON schema, from which messages and docs/configuration.md take types and ranges.
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
    """Settings `section.key` → value of any version, with today's keys; unknown ones stay as they are.

    `prosody` is that of the features where `settings` does not say it: num_features counted it too.
    A ConfigError names removed keys whose values changed results.
    """
    prosody = settings.get("features.prosody", prosody)
    gone = {key: value for key, value in settings.items() if REMOVED.get(key) not in (None, value)}
    if gone:
        removed = "this key was removed; see docs/results.md"
        raise ConfigError("\n".join(f"{key} = {_show(value)}: {removed}" for key, value in gone.items()))
    found = {}
    for key, value in settings.items():
        if key == "features.by_speaker" and isinstance(value, bool):
            value = "speaker" if value else "none"
        elif key == "model.num_features" and isinstance(value, int) and prosody:
            value -= len(PROSODY)
        if key not in REMOVED and RENAMED.get(key) not in settings:
            found[RENAMED.get(key, key)] = value
    return found


def load_config(path: str | Path = "conf/config.yaml", overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and put overrides on top; a ConfigError has one line for each problem.

    Args:
        path: a YAML file. Keys that it leaves out take the defaults; keys of earlier versions are translated.
        overrides: texts such as "train.num_epochs=5", the value written as in YAML. The last one wins.
    """
    path = Path(path)
    sections = _read(path)
    given, origin, errors = {}, {}, []  # key → value, key → the override that set it, messages
    for override in overrides:
        key, equals, text = (part.strip() for part in override.partition("="))
        try:
            if not equals:
                raise ConfigError("must be key=value, such as train.num_epochs=5")
            if key not in {*KEYS, *RENAMED, *REMOVED}:
                raise ConfigError(_unknown(key))
            if text.strip("'\" ") in ("", "~"):  # to YAML null, which a key may allow, and nobody asks for so
                raise ConfigError(f"has no value; write {key}=null where none is meant")
            value = parse_yaml(text)
            pairs = value.items() if isinstance(value, dict) and "null" not in text else ()
            if any(one is None and ":" in str(name) for name, one in pairs):
                raise ConfigError("put a space behind each colon, as in {freude: joy}")
        except UserError as error:
            errors.append(f"override {override}: {error}")
            continue
        # To YAML, text after " #" is a comment; in a path it is not.
        given[key] = text if isinstance(value, str) and " #" in text and text[0] not in "'\"" else value
        origin[RENAMED.get(key, key)] = f"override {override}"
    groups = {name: keys for name, keys in sections.items() if isinstance(keys, dict)}
    written = {f"{name}.{key}": value for name, keys in groups.items() for key, value in keys.items()}
    sections |= {name: {} for name in groups}
    merged: dict[str, Any] = {}
    for source, settings in ((path, written), ("override", given)):
        try:
            merged |= migrate(settings, merged.get("features.prosody", False))
        except ConfigError as error:
            errors += [f"{source}: {line}" for line in str(error).splitlines()]
    for key, value in merged.items():
        name, _, leaf = key.partition(".")
        if isinstance(sections.setdefault(name, {}), dict):  # otherwise the file's own error follows
            sections[name][leaf] = value
    try:
        config = Config.model_validate(sections)
    except ValidationError as error:
        # A value that fits none of several types has an error for each of them; the innermost says most.
        deepest: dict[tuple, Mapping[str, Any]] = {}
        for details in sorted(error.errors(include_url=False), key=lambda one: len(one["loc"])):
            deepest[*details["loc"][:2], details["type"] == "together"] = details
        errors += [_explain(details, path, origin) for details in deepest.values()]
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))
    return config


def save_config(config: Config, path: str | Path) -> None:
    """Write the whole configuration as YAML; `load_config` reads it back to an equal one."""
    write_atomically(path, to_yaml(config.model_dump(mode="json")))


def _read(path: Path) -> dict[Any, Any]:
    """The file's sections; a section with nothing in it is an empty one."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8-sig"))
        if isinstance(values, dict):
            return {key: {} if value is None else value for key, value in values.items()}
        found = "is empty" if values is None else f"holds {_show(values)}"
        problem = f"{found}: must hold sections of keys ({', '.join(SECTIONS)})"
    except FileNotFoundError:
        problem = f"there is no such file in {path.parent.resolve()}"
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start + 1})"
    except UserError as error:
        problem = str(error)
    raise ConfigError(f"{path}: {problem}")


def _explain(details: Mapping[str, Any], path: Path, origin: Mapping[str, str]) -> str:
    """One line for one of pydantic's errors."""
    if details["type"] == "together":
        culprits = [origin[key] for key in details["ctx"]["keys"] if key in origin]
        return f"{', '.join(culprits) or path}: {details['msg']}"
    key = ".".join(str(part) for part in details["loc"][:2])
    if details["type"] in ("extra_forbidden", "invalid_key"):
        return f"{path}: {_unknown(key)}"
    where = origin.get(key, f"{path}: {key} = {_show(details['input'])}")
    return f"{where}: must be {_allowed(KEYS[key]) if key in KEYS else 'a section of keys'}"


def _unknown(key: str) -> str:
    """`unknown key train.num_epoch; did you mean train.num_epochs?`"""
    if key in SECTIONS:
        example = next(known for known in KEYS if known.startswith(f"{key}."))
        return f"{key} is a section; name one of its keys, such as {example}"
    name, by_name = key.rpartition(".")[2], {known.partition(".")[2]: known for known in reversed(KEYS)}
    near = [by_name[name]] if name in by_name else []
    near += difflib.get_close_matches(key, KEYS if "." in key else SECTIONS, n=1)
    near += [by_name[other] for other in difflib.get_close_matches(name, by_name, n=1)]
    hint = f"did you mean {near[0]}?" if near else f"the sections are {', '.join(SECTIONS)}"
    return f"unknown key {key}; {hint}"


def _allowed(schema: Mapping[str, Any]) -> str:
    """The allowed values of a key in words: `a number, at least 0 and less than 1`."""
    if "anyOf" in schema:
        return " or ".join(_allowed(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    bounds = {"minimum": "at least", "exclusiveMinimum": "more than"}
    bounds |= {"maximum": "at most", "exclusiveMaximum": "less than"}
    number = (schema.get("prefixItems") or [schema.get("items", schema)])[0]
    limits = " and ".join(f"{words} {number[bound]}" for bound, words in bounds.items() if bound in number)
    if "prefixItems" in schema:
        return f"two numbers [lowest, highest], each {limits}"
    if schema.get("items") == {"type": "string"}:
        return f"a list of at least {schema['minItems']} texts"
    if "maxItems" in schema:
        return f"a list of up to {schema['maxItems']} numbers, each {limits}"
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null"}
    kinds |= {"string": "text", "array": "a list of these"}
    if schema["type"] == "object":
        names = schema.get("propertyNames", {}).get("enum")
        value = _allowed(schema["additionalProperties"])
        return f"a mapping of {some(names) if names else 'names'} to {value}"
    return kinds[schema["type"]] + (f", {limits}" if limits else "")


def _show(value: Any) -> str:
    """A value as one would write it in YAML, kept short."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list) and not all(isinstance(one, (int, float)) for one in value):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def reference() -> str:
    """docs/configuration.md: the keys with default, allowed values and meaning, then the earlier ones."""
    lines = ["# Configuration\n", "Any key can stand in [config.yaml](../conf/config.yaml), or be given as"]
    lines += ["`section.key=value`. Made by `python -m utils.config > docs/configuration.md`."]
    for section, model in SECTIONS.items():
        lines += [f"\n## {section}\n", inspect.cleandoc(model.__doc__ or "")]
        lines += ["\n| key | default | allowed | meaning |\n|---|---|---|---|"]
        for key, default in model().model_dump(mode="json").items():
            schema, shown = KEYS[f"{section}.{key}"], _show(default).strip('"')
            meaning = " ".join(schema["description"].split())
            lines.append(f"| `{key}` | `{shown}` | {_allowed(schema)} | {meaning} |")
    lines += ["\n## Keys of earlier versions\n", "`features.by_speaker: true` is `normalise: speaker`;"]
    lines += ["`model.num_features` counted the prosody too.\n", "| key | today |\n|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    for key, value in REMOVED.items():
        note = "" if value is None else f"; any value but {_show(value)} is an error"
        lines.append(f"| `{key}` | removed{note} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.buffer.write(f"{reference()}\n".encode())  # whatever the terminal's encoding is

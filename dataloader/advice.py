"""Splits of a corpus with copies in it, and sentences on what is unusual in it, with the key to type."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dataloader.corpora.readers import READERS
from dataloader.corpora.utterance import UNKNOWN, Corpus, Utterance
from dataloader.identity import copies, recorded
from dataloader.splits import Split, draw_split, fewer, is_unknown, keep_together
from utils.config import Config, DataConfig, FeaturesConfig
from utils.errors import UserError, many, remarks, some

RARE = 6  # times as many utterances of one emotion as of another are worth a word
HELD = 0.95  # of the recordings is held by an advised signal_length
MUCH = 0.1  # share of a corpus's sound; EMOVO loses 5 % to its usual signal_length
FOLDS = 5  # of speakers, where data.folds are more than there are


def held(seconds: np.ndarray) -> float:
    """The duration that HELD of the recordings do not exceed."""
    return float(np.quantile(seconds, HELD, method="inverted_cdf"))


def on_length(seconds: np.ndarray, features: FeaturesConfig) -> list[str]:
    """A sentence where recordings of these durations suit `features.signal_length` badly."""
    chosen = features.signal_length / features.sample_rate
    key = f"features.signal_length={math.ceil(held(seconds) * features.sample_rate / 1_000) * 1_000}"
    longer = f"{(seconds > chosen).mean():.0%} of the recordings are longer than {chosen:.1f} s"
    longer += f" (features.signal_length), and lose both ends, {_lost(seconds, chosen):.0%} of all sound"
    if held(seconds) > chosen:
        return [f"{longer}: {key} would hold {HELD:.0%}"]
    if _lost(seconds, chosen) > MUCH:
        return [f"{longer}: split the long ones"]
    if held(seconds) < chosen / 2:
        shares = f"{HELD:.0%} of the recordings are at most {held(seconds):.1f} s long"
        return [f"{shares}: {key} would hold them, and train faster"]
    return []


def length_advice(corpus: Corpus, utterances: Sequence[Utterance], features: FeaturesConfig) -> list[str]:
    """A warning where identified utterances lose MUCH, or signal_length is EMOVO's and another suits them."""
    seconds = np.array([one.measures.seconds for one in utterances if one.measures])
    if _lost(seconds, features.signal_length / features.sample_rate) > MUCH:
        return [f"{corpus.name}: {sentence}" for sentence in on_length(seconds, features)]
    usual, advised = READERS["emovo"].signal_length, corpus.signal_length
    if features.signal_length != usual or advised in (0, usual):
        return []
    problem = f"features.signal_length is {usual} samples, as for EMOVO; {advised} suit {corpus.name}"
    return [f"{problem} (features.signal_length={advised})."]


def _lost(seconds: np.ndarray, most: float) -> float:
    """The share of all sound that is lost where recordings are cut to `most` seconds."""
    return np.maximum(seconds - most, 0).sum() / max(seconds.sum(), 1e-9)


def check_emotions(corpus: Corpus, utterances: Sequence[Utterance]) -> None:
    """Raise a UserError where there is one emotion alone, or an emotion has no utterance."""
    if len(corpus.emotions) < 2:
        problem = f"{corpus.root} has recordings of one emotion alone ({corpus.words[corpus.emotions[0]]})"
        raise UserError(f"{problem}: there is nothing to tell apart. Add recordings of others.")
    present = {utterance.emotion for utterance in utterances}
    if missing := [corpus.words[emotion] for emotion in corpus.emotions if emotion not in present]:
        remedy = "Every emotion needs some: restore the missing or damaged files."
        raise UserError(f"{corpus.root} has no usable recording of {', '.join(missing)}. {remedy}")


def draw(
    config: Config,
    corpus: Corpus,
    utterances: Sequence[Utterance],
    same: Mapping[str, str],
    say: Callable[[str], None],
) -> Split:
    """A new split of the usable utterances of a corpus.

    `say` gets a sentence on the copies (`same`: copy → original) and utterances that are left out, and on all
    that unusual() finds.
    """
    emotion_of = {utterance.name: utterance.emotion for utterance in utterances}
    torn = {first for name, first in same.items() if emotion_of[name] != emotion_of[first]}
    chosen = [one for one in utterances if same.get(one.name, one.name) not in torn]
    torn_fate = "both left out"
    if len({one.emotion for one in chosen}) < 2:
        chosen, torn_fate = list(utterances), "kept, for too little else is there"
    named = {True: list[str](), False: list[str]()}
    for name, first in same.items():
        named[first in torn].append(f"{name} = {first}")
    for remark in remarks(
        (named[True], "recording", f"of {corpus.name} copied under another emotion, {torn_fate}"),
        (named[False], "recording", f"of {corpus.name} copied, in one subset with the original"),
    ):
        say(remark)
    for sentence in unusual(config, chosen, corpus.words):
        say(sentence)
    split = draw_split(chosen, config.data, config.train.seed, corpus.name, corpus.utterances)
    split, lost = keep_together(split, same)
    if lost:
        say(f"copies that would have to be in another subset, left out: {some(lost)}")
    if number := config.data.training_utterances:
        split = fewer(split, emotion_of, number)
    if own(config.data) and (sentence := shared_voices(config.data, chosen, split)):
        say(sentence)
    return replace(split, recordings=recorded(utterances))


def rehearse(config: Config, corpus: Corpus, say: Callable[[str], None]) -> None:
    """Say what a training on an identified corpus would warn of; the UserError in which it would end."""
    usable = [one for one in corpus.utterances if not one.problem]
    check_emotions(corpus, usable)
    draw(config, corpus, usable, copies(usable), say)


def left_out(corpus: Corpus, problems: Sequence[str]) -> str:
    """A sentence on the recordings that cannot be used."""
    reasons = "".join(f"\n  {problem}" for problem in problems)
    count = f"{len(problems)} of {len(corpus.utterances)}"
    return f"{count} recordings of {corpus.name} cannot be used and are left out:{reasons}"


def unusual(config: Config, utterances: Sequence[Utterance], words: Mapping[str, str]) -> list[str]:
    """Sentences on emotions that are rare, speakers with one emotion alone, and speakers without a name."""
    found = []
    counted = Counter(one.emotion for one in utterances).most_common()
    (common, most), (rare, least) = counted[0], counted[-1]
    if most >= RARE * least and config.train.balance == "none":
        counts = f"{words[rare]} has {many(least, 'utterance')}, {words[common]} {most}"
        found.append(
            f"{counts}: train.balance=class has rare emotions trained on more often; judge by UAR, to "
            "which each emotion counts alike"
        )
    emotions = defaultdict(set)
    for one in utterances:
        emotions[one.speaker].add(one.emotion)
    nameless = [one.name for one in utterances if is_unknown(one.speaker)]
    single = {s: words[min(has)] for s, has in emotions.items() if len(has) == 1 and not is_unknown(s)}
    if single:
        named = some([f"{speaker}: {emotion}" for speaker, emotion in sorted(single.items())])
        remedy = "a network can learn the voice in place of the emotion"
        if keys := unknown_voices(config.data, emotions):
            remedy += f", which {keys} would show"
        count = f"{len(single)} of {len(emotions)}"
        found.append(f"speakers with one emotion alone: {count} ({named}): {remedy}")
    if config.data.protocol in ("speaker_kfold", "leave_one_speaker_out"):
        has = {emotion: [one for one in emotions if emotion in emotions[one]] for emotion, _ in counted}
        if rare_voices := [f"{words[emotion]}: {who[0]}" for emotion, who in has.items() if len(who) == 1]:
            found.append(
                f"emotions that one speaker alone speaks ({some(rare_voices)}): with "
                f"data.protocol={config.data.protocol} no network that is tested on them has learned them"
            )
    if nameless:
        number = f"utterances without a speaker: {len(nameless)} of {len(utterances)}"
        cure = "name speakers (by folders SPEAKER/EMOTION, or a table's column), to measure unknown voices"
        where = f"so the same voices may be trained and tested on ({some(nameless, 2)})"
        found.append(f"{number}, {where}: {cure}")
    return found


def shared_voices(data: DataConfig, utterances: Sequence[Utterance], split: Split) -> str:
    """A sentence where speakers are both trained and tested on; "" elsewhere."""
    voices = (speakers_of(names, utterances) for names in (split.train, split.test))
    trained, tested = ({one for one in speakers if not is_unknown(one)} for speakers in voices)
    if split.partition or not trained & tested:  # a partition says it itself
        return ""
    shared = f"{len(trained & tested)} of the {len(tested)} speakers in the test set are trained on too"
    if keys := unknown_voices(data, {one.speaker for one in utterances}):
        return f"{shared}: {keys} measures unknown voices"
    return f"{shared}: the result says nothing about unknown voices"


def speakers_of(names: Sequence[str], utterances: Sequence[Utterance]) -> set[str]:
    """The speakers of the utterances with these names; UNKNOWN where one is not there."""
    speaker_of = {utterance.name: utterance.speaker for utterance in utterances}
    return {speaker_of.get(name, UNKNOWN) for name in names}


def unknown_voices(data: DataConfig, speakers: Mapping[str, object] | set[str]) -> str:
    """The keys to type for a test on unknown voices; "" where it is one already, or not possible."""
    if data.protocol not in ("holdout", "kfold", "leave_one_sentence_out"):
        return ""
    if len(speakers) < 2 or any(map(is_unknown, speakers)):
        return ""
    keys = "data.protocol=speaker_kfold"
    if len(speakers) == 2:
        return f"{keys} data.folds=2 data.validate_on=heard"
    return keys if data.folds <= len(speakers) else f"{keys} data.folds={min(FOLDS, len(speakers))}"


def own(data: DataConfig) -> bool:
    """Whether a corpus is the user's own, and none whose voices everybody knows."""
    names = [data.corpus] if isinstance(data.corpus, str) else data.corpus
    return any(not READERS[name].count for name in names)

"""Which emotions are learned: a mapping of a user's own words, the ones to keep, and the rare ones."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dataloader.corpora.utterance import Corpus, CorpusError
from utils.emotions import CODES, emotion_code, in_order, plain_word
from utils.errors import some


def relabel(corpora: Sequence[Corpus], labels: Mapping[str, str | None]) -> list[Corpus]:
    """The corpora with other emotions for a user's own words (`data.labels`); None leaves a word out.

    Other words keep their meaning. A CorpusError names a word that no recording has.
    """
    meaning = {plain_word(word): emotion for word, emotion in labels.items()}
    there = {plain_word(one.word): one.word for corpus in corpora for one in corpus.utterances if one.word}
    if not there:
        names = ", ".join(corpus.name for corpus in corpora)
        problem = f"data.labels: the emotions of {names} are known, and need no mapping"
        raise CorpusError(f"{problem}; it is for the corpora folder and table, whose words are yours.")
    if len(meaning) < len(labels):
        raise CorpusError(f"data.labels has a word twice: {some([*labels])}. Capitals, accents do not count.")
    if strange := [word for word in labels if plain_word(word) not in there]:
        close = difflib.get_close_matches(plain_word(strange[0]), there, n=1)
        hint = f"Did you mean {there[close[0]]}? " if close else ""
        problem = f"data.labels: no recording is labelled {', '.join(strange)}"
        raise CorpusError(f"{problem}. {hint}The words are {some(sorted(there.values()), 30)}.")

    def relabelled(corpus: Corpus) -> Corpus:
        kept = []
        for one in corpus.utterances:
            word = meaning.get(plain_word(one.word), one.word)
            if word is None:
                one = replace(one, emotion="")
            elif word != one.word:
                one = replace(one, emotion=emotion_code(word), word=word)
            kept.append(one)
        corpus = replace(corpus, utterances=tuple(kept))
        if any(one.word for one in kept):
            corpus = replace(corpus, emotions=in_order(one.emotion for one in kept if one.emotion))
        return _keep(corpus, bool, "data.labels", by_word=True)

    corpora = [relabelled(corpus) for corpus in corpora]
    if not any(corpus.utterances for corpus in corpora):
        raise CorpusError("data.labels leaves out every recording: give some of the words an emotion.")
    return corpora


def keep_emotions(corpus: Corpus, words: Sequence[str] | None) -> Corpus:
    """The corpus with these emotions alone (`data.emotions`), and a warning that counts what is left out."""
    if words is None:
        return corpus
    wanted = {emotion_code(word): word for word in words}
    if strange := [word for emotion, word in wanted.items() if emotion not in corpus.emotions]:
        there = ", ".join(corpus.words[emotion] for emotion in corpus.emotions)
        raise CorpusError(f"data.emotions: {corpus.name} has no {', '.join(strange)}; it has {there}.")
    if len(wanted) < 2:
        raise CorpusError(f"data.emotions: {' and '.join(words)} is one emotion: a network needs several.")
    return _keep(corpus, wanted.__contains__, "data.emotions")


def leave_out_rare(corpus: Corpus, least: int) -> Corpus:
    """The corpus without emotions of fewer than `least` utterances (`data.min_utterances`), and a warning."""
    count = Counter(one.emotion for one in corpus.utterances)
    if least > 1 and sum(number >= least for number in count.values()) < 2:
        found = ", ".join(f"{corpus.words[one]} {number}" for one, number in count.most_common())
        problem = f"data.min_utterances = {least} leaves fewer than two emotions of {corpus.name}"
        raise CorpusError(f"{problem} ({found}): a network needs two or more. Lower it.")
    return _keep(corpus, lambda emotion: count[emotion] >= least, f"data.min_utterances = {least}")


def _keep(corpus: Corpus, wanted: Callable[[str], bool], key: str, by_word: bool = False) -> Corpus:
    """The corpus with the wanted emotions alone; a warning counts what the key leaves out."""
    kept = tuple(one for one in corpus.utterances if wanted(one.emotion))
    words = CODES if by_word else corpus.words
    rest = (one for one in corpus.utterances if not wanted(one.emotion))
    counts = Counter(one.word if by_word else one.emotion for one in rest)
    named = ", ".join(f"{words[word]} ({counts[word]})" for word in in_order(counts))
    number = f"{counts.total()} of {corpus.name}'s utterances left out"
    return replace(
        corpus,
        utterances=kept,
        emotions=tuple(filter(wanted, corpus.emotions)),
        warnings=(*corpus.warnings, *([f"{number} by {key}: {named}"] if counts else [])),
    )

"""One code for each emotion in every corpus, always in this order: a class index is a position in it."""

from collections.abc import Iterable

EMOTIONS = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")  # EMOVO's seven

# Code → the names that people and corpora give it; first the English one that we show.
NAMES = {
    "dis": "disgust dis disgusted disgusto",
    "gio": "joy gio joyful hap happy happiness gioia",
    "neu": "neutral neu neutro",
    "pau": "fear pau fea fearful afraid scared paura",
    "rab": "anger rab ang angry rabbia",
    "sor": "surprise sor sur surprised pleasant_surprise pleasant_surprised ps sorpresa",
    "tri": "sadness tri sad tristezza",
    "cal": "calm cal calma",
    "noi": "boredom noi bored noia",
}
_CODES = {name: code for code, names in NAMES.items() for name in names.split()}


class _English(dict):
    """Code → English name; an emotion without a code (see common_code) keeps its own name."""

    def __missing__(self, emotion: str) -> str:
        return emotion


ENGLISH = _English({code: names.split()[0] for code, names in NAMES.items()})


def common_code(word: str) -> str | None:
    """The code of an emotion by any of its names, in any case: `Angry` → `rab`; None for another word."""
    return _CODES.get(word.strip().lower().replace(" ", "_").replace("-", "_"))


def in_order(emotions: Iterable[str]) -> tuple[str, ...]:
    """Each emotion once: those that have a code in the order of NAMES, then others by the alphabet."""
    codes = list(NAMES)
    return tuple(sorted(set(emotions), key=lambda e: (codes.index(e) if e in codes else len(codes), e)))

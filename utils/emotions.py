"""One code for each emotion in every corpus, always in this order: a class index is a position in it."""

from collections.abc import Iterable

EMOTIONS = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")  # EMOVO's seven


class _Names(dict):
    """English names; an emotion that has no code of ours (see common_code) is its own name."""

    def __missing__(self, emotion: str) -> str:
        return emotion


ENGLISH = _Names(
    {
        "dis": "disgust",
        "gio": "joy",
        "neu": "neutral",
        "pau": "fear",
        "rab": "anger",
        "sor": "surprise",
        "tri": "sadness",
        "cal": "calm",
        "noi": "boredom",
    }
)
# What corpora and people call them, in folders and file names.
WORDS = {
    "dis": "dis disgust disgusted disgusto",
    "gio": "gio joy joyful hap happy happiness gioia",
    "neu": "neu neutral neutro",
    "pau": "pau fea fear fearful afraid scared paura",
    "rab": "rab ang anger angry rabbia",
    "sor": "sor sur surprise surprised pleasant_surprise pleasant_surprised ps sorpresa",
    "tri": "tri sad sadness tristezza",
    "cal": "cal calm calma",
    "noi": "noi bored boredom noia",
}
_CODES = {word: code for code, words in WORDS.items() for word in words.split()}


def common_code(word: str) -> str | None:
    """The code for what people call an emotion, in any case: `Angry` → `rab`; None for another word."""
    return _CODES.get(word.strip().lower().replace(" ", "_").replace("-", "_"))


def in_order(emotions: Iterable[str]) -> tuple[str, ...]:
    """Each emotion once: those that have a code in the order of ENGLISH, then others by the alphabet."""
    codes = list(ENGLISH)
    return tuple(sorted(set(emotions), key=lambda e: (codes.index(e) if e in ENGLISH else len(codes), e)))

"""One code for each emotion in every corpus, always in this order: a class index is a position in it."""

import unicodedata
from collections.abc import Iterable, Mapping

EMOTIONS = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")  # EMOVO's seven

# Code → the names that people and corpora give it, without accents; first the English one that we show. Then
# Italian, German, Polish, French, Spanish, Portuguese, and Mandarin in pinyin and characters.
NAMES = {
    "dis": "disgust dis disgusted disgusting disgusto disgustato ekel abscheu wstret obrzydzenie odraza "
    "degout asco repugnancia nojo repulsa yanwu exin 厌恶",
    "gio": "joy gio joyful hap happy happiness gioia felice felicita allegria freude freudig frohlich "
    "froehlich glucklich gluecklich radosc radosny szczescie joie joyeux heureux alegria alegre "
    "feliz felicidad felicidade gaoxing kuaile xiyue 高兴 快乐 开心",
    "neu": "neutral neu neutro neutrale neutralny neutralnosc neutre zhongxing 中性",
    "pau": "fear pau fea fearful afraid scared paura spaventato angst angstlich aengstlich furcht strach "
    "lek peur miedo medo haipa kongju 害怕 恐惧",
    "rab": "anger rab ang angry rabbia arrabbiato collera wut wutend wuetend arger aerger zorn zornig "
    "gniew zlosc colere ira rabia enojo enfado enojado raiva shengqi fennu 生气 愤怒",
    "sor": "surprise sor sur surprised pleasant_surprise pleasant_surprised ps sorpresa sorpreso "
    "uberraschung ueberraschung uberrascht ueberrascht zaskoczenie zdziwienie surpris surpresa "
    "jingya jingqi 惊讶 惊奇",
    "tri": "sadness tri sad tristezza triste trauer traurig traurigkeit smutek smutny tristesse tristeza "
    "beishang nanguo shangxin 悲伤 伤心 难过",
    "cal": "calm cal calma calmo ruhe ruhig gelassen spokoj spokojny calme tranquilo pingjing 平静",
    "noi": "boredom noi bored noia annoiato langeweile gelangweilt nuda ennui aburrimiento tedio wuliao 无聊",
}
# Names of emotions that no code stands for.
OTHERS = (
    "contempt contemptuous excited excitement frustrated frustration amused amusement anxious anxiety "
    "confused confusion embarrassed guilt shame proud pride relaxed relaxation stressed stress tired sleepy "
    "sarcastic desire love hate interest interested sympathy tender tenderness serenity"
)
_CODES = {name: code for code, names in NAMES.items() for name in names.split()}


class _Words(dict):
    """Code → word; an emotion without a code (see common_code) is its own word."""

    def __missing__(self, emotion: str) -> str:
        return emotion


ENGLISH = _Words({code: names.split()[0] for code, names in NAMES.items()})
CODES = _Words({code: code for code in NAMES})


def in_own_words(own: Mapping[str, str]) -> Mapping[str, str]:
    """Emotion → the word that people see: the user's own, as written, but for codes; else the English one."""
    return _Words(ENGLISH | {emotion: word for emotion, word in own.items() if word.lower() not in CODES})


def common_code(word: str) -> str | None:
    """The code of an emotion by any of its names, however written: `Angry`, `Colère` → `rab`; else None."""
    return _CODES.get(plain_word(word))


def is_emotion(word: str) -> bool:
    """Whether a word is known for an emotion's name, with a code or without."""
    return plain_word(word) in {*_CODES, *OTHERS.split()}


def plain_word(word: str) -> str:
    """A word in small letters without accents, by which words are compared."""
    letters = unicodedata.normalize("NFKD", word.strip().casefold().replace("ł", "l"))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return plain.replace(" ", "_").replace("-", "_")


def emotion_code(word: str) -> str:
    """The same, where another word is the user's own emotion, in small letters."""
    return common_code(word) or unicodedata.normalize("NFC", word.strip().lower())


def without_codes(remarks: Iterable[str], words: Mapping[str, str]) -> list[str]:
    """Remarks about emotions, such as `sor (test)`, with their words: `surprise (test)`."""
    parts = (remark.rpartition(" ") for remark in remarks)
    return [f"{words[emotion]} {remark}" for emotion, _, remark in parts]


def in_order(emotions: Iterable[str]) -> tuple[str, ...]:
    """Each emotion once: those that have a code in the order of NAMES, then others by the alphabet."""
    codes = list(NAMES)
    return tuple(sorted(set(emotions), key=lambda e: (codes.index(e) if e in codes else len(codes), e)))

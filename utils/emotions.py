"""EMOVO's seven emotions, always in this order: a class index is a position in EMOTIONS."""

EMOTIONS = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
ENGLISH = {
    "dis": "disgust",
    "gio": "joy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}

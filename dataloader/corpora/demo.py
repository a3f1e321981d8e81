"""A synthetic stand-in for EMOVO, so that everything runs where EMOVO is not on disk; no basis for results.

eSpeak NG speaks 14 Italian sentences in 6 voices, in EMOVO's layout; each emotion gets the pitch level, pitch
range, rate and loudness that the literature describes (see EMOTION_CUES).
"""

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from dataloader.corpora.espeak import SAMPLE_RATE
from dataloader.corpora.readers import EMOVO_NAMES, SPEAKERS
from dataloader.corpora.utterance import DEMO_MARKER, CorpusError, how_to_get
from utils.files import expanded
from utils.progress import progress_bar

# How an utterance differs from a neutral one: in semitones, two factors, and dB.
Cues = namedtuple("Cues", "pitch range rate level")
# The directions are the literature's, the numbers ours. Anger, joy, fear, sadness: P. N. Juslin, P. Laukka,
# "Communication of emotions in vocal expression and music performance: Different channels, same code?",
# Psychological Bulletin 129(5), 2003. Disgust: I. R. Murray, J. L. Arnott, "Toward the simulation of emotion
# in synthetic speech: A review of the literature on human vocal emotion", JASA 93(2), 1993. Surprise is in
# neither; measured on EMOVO it is raised and wider than neutral, at about the neutral rate and level.
EMOTION_CUES = {
    "dis": Cues(-4.0, 1.1, 0.75, -3.0),
    "gio": Cues(4.0, 1.5, 1.15, 3.0),
    "neu": Cues(0.0, 1.0, 1.0, 0.0),
    "pau": Cues(4.5, 0.7, 1.3, -2.5),
    "rab": Cues(4.0, 1.5, 1.2, 6.0),
    "sor": Cues(5.5, 1.8, 1.0, 1.0),
    "tri": Cues(-2.0, 0.6, 0.8, -5.0),
}
# By how much each varies uniformly between utterances, up or down (factors: from 1 / (1 + this) to 1 + this),
# so that emotions overlap: TIM-net and CkTIM-net get some 80 % of a held-out fifth right.
VARIATION = Cues(1.0, 0.15, 0.06, 1.2)
NEUTRAL_RATE = 160  # words a minute
NEUTRAL_GAIN = -9.0  # dB; leaves room for the loudest
STEPS_PER_SEMITONE = 6  # of eSpeak NG's pitch; measured on it+m1 between 20 and 80
VOICES = {speaker: f"it+{speaker}" for speaker in SPEAKERS}  # eSpeak NG has variants of these very names
TEXTS = {
    "b1": "Il treno arriva sempre in ritardo.",
    "b2": "I bambini giocano nel cortile.",
    "b3": "La finestra della cucina è aperta.",
    "l1": "La settimana prossima mia sorella comincia un lavoro nuovo.",
    "l2": "Stamattina ho comprato il pane e un mazzo di fiori gialli.",
    "l3": "Quando è tornato a casa, ha trovato la lettera sul tavolo.",
    "l4": "Mi può dire a che ora apre l'ufficio postale?",
    "n1": "La nuvola stanca piega il martello.",
    "n2": "Un sasso gentile beve la strada e il vento quadrato.",
    "n3": "Le scale dormono dentro la minestra.",
    "n4": "Ombrello rosmarino tamburo lavagna cotone.",
    "n5": "Trentadue seicentoquattro undici novemila.",
    "d1": "Domani mattina dove andate?",
    "d2": "Hai visto il mio cappello?",
}

README = """\
This is the demo corpus of CkTIM-net: synthetic speech in the layout of EMOVO, made by eSpeak NG and
dataloader/corpora/demo.py, so that everything runs where EMOVO is not on disk. Never report a score on it as
a result. This folder may be deleted at any time; it is made again when needed.
"""


def make_demo_corpus(root: str | Path, seed: int = 0, progress: bool = True) -> Path:
    """Make the demo corpus: 588 files root/SPEAKER/EMOTION-SPEAKER-SENTENCE.flac (22 050 Hz, 16 bits).

    The same seed gives the same samples. A whole demo corpus of this seed is left as it is; any other one is
    replaced; anything else at `root` is a CorpusError. It is made beside `root` and then moved there, whole
    or not at all.
    """
    root, plan = expanded(root), plan_utterances(seed)
    made_from = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    marker = json.dumps({"corpus": "demo, synthetic speech", "seed": seed, "made_from": made_from}, indent=2)
    try:
        if _is_whole(root, marker):
            return root
        ours = (root / DEMO_MARKER).is_file() or (root.is_dir() and not any(root.iterdir()))
        if root.exists() and not ours:
            raise CorpusError(f"{root} is no demo corpus. Remove it, or name another data.demo_dir.")
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
            folder = Path(temporary) / "new"
            _write_corpus(folder, plan, progress)
            (folder / "README.txt").write_text(README, encoding="utf-8")
            (folder / DEMO_MARKER).write_text(marker, encoding="utf-8")
            if _is_whole(root, marker):  # another process was faster
                return root
            if root.exists():
                root.rename(Path(temporary) / "old")
            folder.rename(root)
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or error
        problem = f"the demo corpus cannot be written to {root}: {reason}"
        raise CorpusError(f"{problem}. Free some space (50 MB), or name another data.demo_dir.") from error
    return root


def plan_utterances(seed: int) -> dict[str, dict]:
    """Each utterance's name → its line for espeak.py and "gain" in dB, drawn from seed and name alone."""
    plan = {}
    for name in EMOVO_NAMES:
        emotion, speaker, sentence = name.split("-")
        cues = EMOTION_CUES[emotion]
        high, wide, fast, loud = np.random.default_rng([seed, *name.encode()]).uniform(-1, 1, size=4)
        plan[name] = {
            "text": TEXTS[sentence],
            "voice": VOICES[speaker],
            "rate": round(NEUTRAL_RATE * cues.rate * (1 + VARIATION.rate) ** fast),
            "pitch": round(50 + STEPS_PER_SEMITONE * (cues.pitch + high * VARIATION.pitch)),
            "range": min(99, round(50 * cues.range * (1 + VARIATION.range) ** wide)),
            "gain": NEUTRAL_GAIN + cues.level + loud * VARIATION.level,
        }
    return plan


def _write_corpus(folder: Path, plan: dict[str, dict], progress: bool) -> None:
    """Speak the plan and write it."""
    with progress_bar(total=len(plan), desc="demo corpus", unit="utterance", disable=not progress) as bar:
        for (name, line), waveform in zip(plan.items(), _speak(list(plan.values())), strict=True):
            path = folder / name.split("-")[1] / f"{name}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, waveform * 10 ** (line["gain"] / 20), SAMPLE_RATE, subtype="PCM_16")
            bar.update()


def _speak(lines: Sequence[dict]) -> Iterator[np.ndarray]:
    """Have espeak.py speak lines; yields float waveforms (samples,) in [-1, 1)."""
    # -P: only the wheel is imported there, and nothing beside the program
    command = [sys.executable, "-P", str(Path(__file__).with_name("espeak.py"))]
    spoken = subprocess.run(command, input=json.dumps(lines).encode(), capture_output=True)
    if spoken.returncode != 0:
        complaints = spoken.stderr.decode(errors="replace").strip().splitlines()
        reason = (complaints or [f"eSpeak NG ended with status {spoken.returncode}"])[-1]
        raise CorpusError(
            f"the demo corpus cannot be made: {reason}. Reinstall the wheel (pip install --force-reinstall "
            f"espeakng-loader), or use EMOVO itself: {how_to_get('emovo')}"
        )
    position = 0
    while position < len(spoken.stdout):
        (count,) = struct.unpack_from("=i", spoken.stdout, position)
        yield np.frombuffer(spoken.stdout, np.int16, count, position + 4) / 2**15
        position += 4 + 2 * count


def _is_whole(root: Path, marker: str) -> bool:
    """Whether a folder holds the demo corpus that the marker describes, with every file."""
    try:
        there = (root / DEMO_MARKER).read_text(encoding="utf-8") == marker
    except (OSError, ValueError):
        return False
    return there and all((root / name.split("-")[1] / f"{name}.flac").is_file() for name in EMOVO_NAMES)

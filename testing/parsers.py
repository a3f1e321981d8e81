"""The arguments of this package's commands, see utils.parsers; and defaults that they share with programs."""

from argparse import ArgumentParser
from pathlib import Path

from dataloader.corpora.readers import READERS
from dataloader.speech import DETECTORS
from utils import runs

SURE = 0.5  # the least probability of an answer
LAYER = "blocks.0.convolutions.0"  # the first layer of TAB 1, whose kernels are shown by default
FILES = {"onnx": "model.onnx", "torch": "model.pt2", "web": "web"}  # of an export; web is a folder
KINDS = ("functionals", "egemaps", "compare", "wav2vec2_base")  # of features of a baseline


def evaluate(parser: ArgumentParser) -> None:
    """Evaluate a run on the test set that it recorded, and write the results beside it."""
    overrides = "where the corpus is on this machine, or what device to use: data.root=EMOVO.zip; for a run "
    overrides += f"whose {runs.PARAMETERS_FILE} is lost, its settings: {', '.join(runs.FALLBACK_KEYS)}"
    _add_run(parser, overrides)
    whole = "evaluate on the whole corpus, training set included, and write nothing: no test result"
    parser.add_argument("--all", action="store_true", dest="everything", help=whole)
    other = "test on another corpus than that of the training, over the emotions that both have: "
    other += f"{', '.join(READERS)}; data.root=… is its place then"
    parser.add_argument("--corpus", choices=READERS, metavar="NAME", help=other)
    change = "take recordings whose sound or labels have changed since, such as copies through a codec"
    parser.add_argument("--changed", action="store_true", help=change)


def predict(parser: ArgumentParser) -> None:
    """Recognise the emotion in recordings."""
    parser.epilog = "Exit status: 0 when every file got an answer (silence is one), 1 when some did not or "
    parser.epilog += "an output could not be written, 2 when none was tried, for the run or an argument is "
    parser.epilog += "wrong."
    _add_recordings(parser)
    add = parser.add_argument
    add("--csv", metavar="FILE", help="write all answers there; - is standard output")
    add("--json", metavar="FILE", help="the same as JSON")
    codes = "let the CSV and the JSON have the emotions' codes (dis, gio, …) in place of words"
    add("--codes", action="store_true", help=codes)
    add("--plots", metavar="FOLDER", help="write a figure of each recording's timeline there")
    sure_help = "least probability of an answer; below it the answer is `unsure` (default: %(default)s)"
    add("--sure", type=float, default=SURE, metavar="P", help=sure_help)


def calibration(parser: ArgumentParser) -> None:
    """Fit a run's temperature, measure what its training set is like, and write calibration.json into it."""
    _add_run(parser, "where the corpus is now, say: data.root=EMOVO.zip")


def explain(parser: ArgumentParser) -> None:
    """Show what a network makes of one utterance: its input, attention, fusion weights and answer."""
    _add_run(parser)
    parser.add_argument("file", type=Path, help="a sound file: WAV, FLAC, OGG, MP3, …")
    parser.add_argument("--out", type=Path, help="the figure; FILE_explained.png in this folder if left out")
    parser.add_argument("--truth", metavar="EMOTION", help="the emotion that it is, to be shown too")
    kernels = f"draw learned kernels of a layer too, {LAYER} if none is named, into OUT_kernels.png"
    parser.add_argument("--kernels", nargs="?", const=LAYER, metavar="LAYER", help=kernels)


def export(parser: ArgumentParser) -> None:
    """Export a run as one file, from waveforms to scores, compared with the run first."""
    _add_run(parser, "where the corpus is on this machine: data.root=…")
    add = parser.add_argument
    add("--format", choices=FILES, default="onnx", help="onnx if left out; web is a folder")
    add("--out", type=Path, help=f"RUN_DIR/{', '.join(FILES.values())} if left out")
    add("--recordings", nargs="+", type=Path, default=(), metavar="FILE", help="to compare on")
    runtime = "of a page: a folder or .tgz of onnxruntime-web; npm fetches it if left out"
    add("--runtime", type=Path, metavar="PATH", help=runtime)


def embed(parser: ArgumentParser) -> None:
    """Write the embedding of each recording."""
    _add_recordings(parser)
    where = "columns file, e0, e1, …; - is standard output (default: %(default)s)"
    parser.add_argument("--csv", default="-", metavar="FILE", help=where)


def enrolment(parser: ArgumentParser) -> None:
    """Measure how many recordings of a test speaker make a norm, and write enrolment.json into the run."""
    _add_run(parser, "where the corpus is now, say: data.root=EMOVO.zip")


def live(parser: ArgumentParser) -> None:
    """Recognise emotion live."""
    add = parser.add_argument
    source = "a sound file, played at its own speed, or - (standard input: arecord -f cd | …); the "
    source += "microphone where neither is named. Before it, for a network of yours, its run directory"
    add("paths", nargs="*", metavar="[RUN_DIR] [FILE | -]", help=source)
    add("overrides", nargs="*", metavar="key=value", help="for instance train.device=cpu")
    raw = "standard input is 16-bit samples without a header (arecord -t raw -f S16_LE), of this rate"
    add("--rate", type=int, metavar="HZ", help=raw)
    add("--channels", type=int, default=1, metavar="N", help="of --rate (default: %(default)s)")
    add("--vad", choices=DETECTORS, default="energy", help="how speech is found (default: %(default)s)")
    add("--window", type=float, metavar="S", help="seconds that are looked at (default: 2)")
    add("--hop", type=float, default=0.25, metavar="S", help="seconds between answers (default: %(default)s)")
    add("--sure", type=float, default=SURE, metavar="P", help="as in testing.predict (default: %(default)s)")
    _add_norm(parser)


def demo(parser: ArgumentParser) -> None:
    """Show a page that recognises emotions in voices."""
    network = "the network; the shipped one if left out"
    parser.add_argument("run_dir", nargs="?", type=Path, default=runs.SHIPPED_RUN, help=network)
    who = "who may open the page: 0.0.0.0 is everybody on the network"
    parser.add_argument("--host", default="127.0.0.1", help=who)
    parser.add_argument("--port", type=int, default=7_860, help="default: %(default)s")


def baseline(parser: ArgumentParser) -> None:
    """Support vector machine, logistic regression, majority class and chance beside a run."""
    parser.add_argument("folder", metavar="DIR", help="a run directory, or the folder of a trial")
    about = "functionals: our own, of MFCCs and prosody; egemaps, compare: openSMILE's eGeMAPSv02 and "
    about += "ComParE_2016 (pip install -r requirements-corpus.txt; its licence allows no commercial use); "
    about += "wav2vec2_base: the mean of a layer of torchaudio's network (a download of 360 MB)"
    parser.add_argument("--features", choices=KINDS, default=KINDS[0], help=about)
    where = "where the corpus is: data.root=…"
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=where)


def _add_run(parser: ArgumentParser, overrides: str = "") -> None:
    """For a command about one run: RUN_DIR, and `key=value …` where `overrides` explains it."""
    parser.add_argument("run_dir", help="for instance training/results/CkTIM_TAB1_seed0_2026-01-31_14-05-59")
    if overrides:
        parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=overrides)


def _add_recordings(parser: ArgumentParser) -> None:
    """For a command about recordings: those, a run, `key=value`, and the norm, see testing.predict.Asked."""
    add = parser.add_argument
    recordings = "recordings, folders or zips of them, or - (standard input); before them, for a network of "
    recordings += "yours, its run directory"
    add("paths", nargs="+", metavar="[RUN_DIR] FILE_OR_FOLDER", help=recordings)
    add("overrides", nargs="*", default=[], metavar="key=value", help="for instance train.device=cpu")
    _add_norm(parser)


def _add_norm(parser: ArgumentParser) -> None:
    norm = "unlabelled recordings of the same speaker, for the norm: a file, folder or zip; may be repeated"
    parser.add_argument("--same-speaker", action="append", default=[], metavar="FILE_OR_FOLDER", help=norm)

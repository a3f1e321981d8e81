"""A look at a corpus before training: `python -m dataloader.inspect [key=value …] [--output FOLDER]`."""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("dataloader.inspect")

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

import pandas
import scipy.stats
from matplotlib.figure import Figure
from pandas import DataFrame

from dataloader.advice import HELD, held, left_out, on_length, rehearse
from dataloader.corpora.find import find_corpus
from dataloader.corpora.utterance import Corpus
from dataloader.identity import identified_corpus
from dataloader.parsers import SURVEY as FILES
from utils.config import Config, FeaturesConfig, load_config
from utils.errors import UserError, remarks, some
from utils.files import output_folder, try_output, write_json
from utils.plots.corpus import plot_corpus
from utils.plots.style import save_figure, shortened
from utils.progress import warn
from utils.tables import NOTHING, Table, unique

MOST_SPEAKERS = 12  # with columns of their own
CLIPPED = 10  # samples that make a recording a clipped one
LONG = 3  # times signal_length
TOGETHER = 0.5  # Cramér's V of the emotion and how recordings were made that is worth a word
CHANNELS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class Survey:
    """What a corpus holds. print() shows text, and a notebook HTML."""

    corpus: Corpus  # with measures
    features: FeaturesConfig
    recordings: DataFrame  # a row for each that can be used: name, emotion in words, speaker, Measures, …

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.tables()))

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())

    def counts(self) -> DataFrame:
        """Utterances (emotions, speakers)."""
        found = pandas.crosstab(self.recordings.emotion, self.recordings.speaker)
        return found.reindex([self.corpus.words[one] for one in self.corpus.emotions], fill_value=0)

    def tables(self) -> tuple[Table, Table]:
        """Utterances of each emotion and speaker; durations, levels and silence, with all advice."""
        counts, seconds = self.counts(), self.recordings.seconds
        headings = unique(["emotion", "all", "median s", *map(shortened, counts.columns)])[3:]
        rows = []
        for emotion, row in counts.iterrows():
            cells = {"emotion": shortened(str(emotion)), "all": str(row.sum())}
            if len(row) <= MOST_SPEAKERS:
                cells |= dict(zip(headings, map(str, row), strict=True))
            else:
                cells["a speaker"] = f"{row.min()} to {row.max()}, median {row.median():g}"
            middle = seconds[self.recordings.emotion == emotion].median()
            rows.append({**cells, "median s": f"{middle:.1f}" if row.any() else NOTHING})
        size = f"{len(seconds)} utterances, emotions: {len(counts)}, speakers: {len(counts.columns)}"
        caption = f"{self.corpus.name}: {size}, {seconds.sum() / 60:.1f} minutes"
        quantiles = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": HELD, "most": 1.0}
        columns = {"duration (s)": "seconds", "level (dB, RMS)": "level", "silence at both ends": "silence"}
        facts = []
        for title, column in columns.items():
            digits = ".0%" if column == "silence" else ".1f"
            found = self.recordings[column].quantile([*quantiles.values()], "nearest")
            facts.append({"": title} | {k: f"{v:{digits}}" for k, v in zip(quantiles, found, strict=True)})
        made = [f"{kind} ({number})" for kind, number in self.recordings.made.value_counts().items()]
        return Table(rows, caption), Table(facts, "", [f"Recorded as {some(made)}.", *self.advice()])

    def figure(self) -> Figure:
        """Utterances by emotion and speaker, durations, levels, and how recordings were made."""
        chosen = self.features.signal_length / self.features.sample_rate
        most = held(self.recordings.seconds.to_numpy())
        marks = {f"features.signal_length, {chosen:.1f} s": chosen, f"{HELD:.0%} end by {most:.1f} s": most}
        kinds = self.recordings.made.value_counts().to_dict()
        values = self.recordings.seconds, marks, self.recordings.level, kinds
        return plot_corpus(self.counts(), *values, f"{self.corpus.name} corpus")

    def advice(self) -> list[str]:
        """Sentences on what is unusual in the recordings, with the key to type."""
        found, features = self.recordings, self.features
        chosen = features.signal_length / features.sample_rate
        said = on_length((found.seconds * (1 - features.trim_silence * found.silence)).to_numpy(), features)
        rates, highest = found.rate.value_counts().sort_index(), features.f_max or features.sample_rate / 2
        if len(rates) > 1 and (lowest := int(rates.index[0])) / 2 < highest:
            there = some([f"{rate} Hz ({number})" for rate, number in rates.items()])
            f_max = lowest * 7 // 16  # a resampler fades out below half of the rate
            cure = "a network can learn the rate, unless "
            cure += f"features.f_max={f_max} leaves out what the lowest lacks"
            said.append(f"sample rates differ, {there}: {cure}")
        titles = {"rate": "sample rate", "coding": "format", "channels": "number of channels"}
        for column, title in titles.items():
            counts = pandas.crosstab(found.emotion, found[column])
            if min(counts.shape) > 1 and scipy.stats.contingency.association(counts) >= TOGETHER:
                usual = some([f"{emotion}: {value}" for emotion, value in counts.idxmax(axis=1).items()], 9)
                said.append(f"the {title} goes with the emotion ({usual}): a network can learn it instead")
        longer = f"longer than {LONG * chosen:.0f} s"
        trim = "with more silence at the ends than sound between; features.trim_silence=true cuts it off"
        odd = {
            "clipped": found.clipped >= CLIPPED,
            f"{longer}, of which the middle {chosen:.1f} s count; to be split": found.seconds > LONG * chosen,
            trim: found.silence > 0.5,
        }
        return said + remarks(*((list(found.name[rows]), "recording", what) for what, rows in odd.items()))


def inspect(config: Config, corpus: Corpus | None = None, progress: bool = True) -> Survey:
    """Look at the corpus of a configuration, or one that was found; measures are kept in data.cache_dir."""
    corpus = corpus or find_corpus(config.data)
    corpus = identified_corpus(corpus, config.data.cache_dir, progress)
    rows = [
        {
            "name": one.name,
            "emotion": corpus.words[one.emotion],
            "speaker": one.speaker,
            **of._asdict(),
            "silence": (of.before + of.after) / of.seconds,
            "made": f"{of.coding}, {of.rate / 1000:g} kHz, "
            + CHANNELS.get(of.channels, f"{of.channels} channels"),
        }
        for one in corpus.utterances
        if (of := one.measures)
    ]
    if not rows:
        reasons = some([one.problem for one in corpus.utterances])
        raise UserError(f"{corpus.root} has no usable recording: {reasons}.")
    return Survey(corpus, config.features, DataFrame(rows))


def warnings(config: Config, corpus: Corpus) -> Iterator[str]:
    """What a training warns of in an identified corpus, and the error in which it ends."""
    problems = [one.problem for one in corpus.utterances if one.problem]
    if problems:
        yield left_out(corpus, problems)
    yield from (remark for one in corpus.utterances if one.measures for remark in one.measures.remarks)
    said: list[str] = []
    try:
        rehearse(config, corpus, said.append)
    except UserError as error:
        said.append(f"a training would end here: {error}")
    yield from said


@command
def main(options: Namespace) -> None:
    """The command line."""
    config, folder = load_config(options.config, options.overrides), options.output
    if folder:
        for name in FILES:
            try_output(output_folder(folder) / name)
    corpus = find_corpus(config.data)
    for warning in corpus.warnings:
        warn(warning)
    survey = inspect(config, corpus)
    said = list(warnings(config, survey.corpus))
    for warning in said:
        warn(warning)
    print(survey)
    if folder:
        save_figure(survey.figure(), folder / FILES[0])
        content = {
            "corpus": survey.corpus.name,
            "warnings": [*corpus.warnings, *said],
            "advice": survey.advice(),
            "counts": survey.counts().to_dict("index"),
            "recordings": survey.recordings.to_dict("records"),
        }
        write_json(folder / FILES[1], content, indent=1)
        print(f"Written into {folder}: {' and '.join(FILES)}")

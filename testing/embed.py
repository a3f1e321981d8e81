"""Embeddings of recordings: `python -m testing.embed [RUN_DIR] FILE_OR_FOLDER … --csv embeddings.csv`.

From Python: `Recognizer(RUN_DIR).embed("hello.wav")`. The embeddings of a test set are in its Evaluation.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.embed")

import sys
from argparse import Namespace

from matplotlib.figure import Figure

from dataloader.corpora.utterance import UNKNOWN
from testing.evaluate import Evaluation
from testing.parsers import SURE
from testing.pipes import name_of
from testing.predict import STDOUT, Asked, of_each
from testing.predictions import Failure
from utils.errors import UserError
from utils.files import check_outputs, try_output, write_atomically
from utils.metrics import nearest_agreement
from utils.plots.predictions import plot_embeddings
from utils.progress import warn
from utils.tables import csv_text, percent

PERPLEXITY = 30.0  # of the t-SNE, with as many utterances at least three times


def embedding_figure(evaluation: Evaluation) -> Figure:
    """A t-SNE of an evaluation's embeddings by emotion and, where the corpus tells them, by speaker.

    Each panel's title says how often an utterance's nearest other one has the same emotion (speaker). L. van
    der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 2008. A UserError for fewer than three
    utterances, and where the evaluation was recalled.
    """
    from sklearn.manifold import TSNE

    vectors, utterances = evaluation.embeddings, evaluation.utterances
    if vectors is None or len(vectors) < 3:
        raise UserError("a figure of embeddings needs the recordings of the corpus, three of them at least.")
    labels = {"emotion": [evaluation.run.words[one.emotion] for one in utterances]}
    speakers = [f"{one.corpus} {one.speaker}".strip() for one in utterances]
    if len(set(speakers)) > 1 and any(one.speaker != UNKNOWN for one in utterances):
        labels["speaker"] = speakers
    panels = {}
    for name, named in labels.items():
        share, chance = nearest_agreement(vectors, named)
        agree = f"{percent(share)} of nearest neighbours agree, by chance {percent(chance)}"
        panels[f"by {name}: {agree}"] = named
    near = min(PERPLEXITY, (len(vectors) - 1) / 3)
    points = TSNE(perplexity=near, init="pca", random_state=0).fit_transform(vectors)
    return plot_embeddings(points, panels, f"Embeddings (t-SNE): {evaluation.title}")


@command
def main(options: Namespace) -> None:
    asked, printed = Asked.by(options), options.csv in STDOUT
    if not printed:
        check_outputs([options.csv], asked.inputs)
        try_output(options.csv)
    recognizer = asked.recognizer(SURE, sys.stderr)
    recognizer.check_norm()
    size = recognizer.run.model.classifier.in_features
    found = of_each(asked.recordings, recognizer.embed, "embedding")
    rows = [["file", *(f"e{number}" for number in range(size))]]
    for file, vector in zip(asked.recordings, found, strict=True):
        if isinstance(vector, Failure):
            warn(vector.reason)
            rows.append([vector.name, *[""] * size])
        else:
            rows.append([name_of(str(file)), *(f"{value:.7g}" for value in vector)])
    if printed:
        print(csv_text(rows), end="")
    else:
        write_atomically(options.csv, csv_text(rows))
    if any(isinstance(vector, Failure) for vector in found):
        raise SystemExit(1)

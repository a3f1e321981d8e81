"""A page on which people speak and see the emotion: `make demo`, or `python -m testing.demo [RUN_DIR]`.

It shows what testing.predict answers to a recording, an upload, or a voice while it speaks, and why. It needs
Gradio (requirements-live.txt). Sound stays on this machine, and is deleted once it is recognised.
"""

from utils.parsers import command, run_command

if __name__ == "__main__":  # first, for the imports below take seconds
    run_command("testing.demo")

import html
import os
import signal
import sys
import tempfile
from argparse import Namespace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import soundfile

from dataloader.audio import audio_seconds
from testing.explain import explain
from testing.predict import LONGEST_UTTERANCE, Recognizer
from testing.predictions import LIMITS, UNLIKE, UNSURE, Answer, Recognition, clock, timeline_figure
from testing.stream import Stream
from utils.errors import UserError
from utils.plots.explain import plot_explanation
from utils.runs import ENROLLED_RUN, SHIPPED_RUN, is_run_dir, list_runs

MOST_SECONDS = 600
MOST_BYTES = 200 * 2**20
SHORT = 2  # parts of a timeline, which shows no more than the answer
HINT = "Record yourself, choose a file, or speak live. The emotion appears here."
SWEPT = (10, 60)  # each so many seconds, sound that is so old; two live chunks of silence are one file
STYLE, MICROPHONE = (Path(__file__).with_name("page") / name for name in ("answer.css", "microphone.js"))
LOOK = """
:root { color-scheme: light; }
.dark { color-scheme: dark; }
.gradio-container, .gradio-container > main { width: 100%; }
.gradio-container { max-width: 76rem !important; margin: 0 auto !important; }
#answer { padding: 1.25rem; border: 1px solid var(--border-color-primary); border-radius: 1rem; }
#answer { min-height: 12rem; }
.figure { overflow-x: auto; max-width: calc(100vw - 3rem); border-radius: .5rem; background: white; }
.figure img { min-width: 34rem; width: 100%; }
"""

recogniser_of = lru_cache(maxsize=4)(Recognizer)


def recognised(recognizer: Recognizer, path: str | Path, name: str | None = None) -> tuple[str, str, str]:
    """The HTML of a recording's answer, timeline and explanation; of a message, where it cannot be used."""
    name = name or Path(path).name
    try:
        if (seconds := audio_seconds(path)) > MOST_SECONDS:
            limit = f"this page takes up to {MOST_SECONDS // 60} minutes, testing.predict any length"
            raise UserError(f"{name} is too long, {clock(seconds)}: {limit}.")
        found = recognizer.recognise_file(path)
        along = timeline_figure(found, recognizer.emotions) if len(found.timeline) > SHORT else None
        shown = answer_html(found.answer, f"{name}, {clock(seconds)}")
        return shown, figure_html(along), _why(recognizer, found, path)
    except Exception as error:  # no fault of one file, known or not, ends the page
        return problem_html(error, path), "", ""


def _why(recognizer: Recognizer, found: Recognition, path: str | Path) -> str:
    """The HTML of the explanation of one utterance's answer."""
    if not found.answer.probabilities:
        return ""
    if recognizer.norm:
        return "<p>Answers by a speaker's norm are not explained.</p>"
    longest = LONGEST_UTTERANCE * recognizer.window / recognizer.features.sample_rate
    if found.answer.end > longest:
        return f"<p>Answers about more than {longest:.0f} seconds are not explained: choose a part of it.</p>"
    return figure_html(plot_explanation(explain(recognizer.run, path)))


def answer_html(answer: Answer, about: str) -> str:
    """An answer with the probabilities of all emotions as bars, below a line of what it is about."""
    words, first = answer.words, answer.emotion
    rows = []
    for emotion, share in answer.probabilities.items():
        cells = f"<span>{html.escape(words[emotion])}</span>"
        cells += f'<span class="track"><i style="width: {100 * share:.1f}%"></i></span>'
        cells += f'<span class="share">{100 * share:.0f} %</span>'
        rows.append(f'<div class="bar{" first" if emotion == first else ""}">{cells}</div>')
    if first is None:
        doubt = "There is no speech in it."
    else:
        sure = f"{100 * answer.probabilities[first]:.0f} %"
        doubt = f"{sure} probable."
        if answer.label == UNSURE:
            doubt = f"No emotion is probable enough. The most probable is {words[first]}, {sure}."
        if answer.unlike:
            doubt += f" It is {UNLIKE} (novelty {answer.novelty:.1f}), so the probabilities mean little."
    about, doubt, code, label = map(html.escape, (about, doubt, answer.label, words[answer.label]))
    texts = f'<p>{about}</p><p class="label" data-label="{code}">{label}</p><p>{doubt}</p>'
    return f'<div class="answer">{texts}<div class="bars">{"".join(rows)}</div></div>'


def figure_html(figure: Any) -> str:
    """A figure within the page, so that no file of it lies on the disk."""
    return f'<div class="figure">{figure._repr_mimebundle_()[0]["text/html"]}</div>' if figure else ""


def hint_html(text: str) -> str:
    """What to do on the page."""
    return f'<div class="answer"><p>{html.escape(text)}</p></div>'


def problem_html(error: Exception, path: str | Path) -> str:
    """What is wrong with a file, under the name that it had."""
    text = str(error) if isinstance(error, UserError) else f"{path}: {type(error).__name__}: {error}"
    text = html.escape(text.replace(str(path), Path(path).name))
    return f'<div class="answer"><p class="problem" role="alert">{text}</p></div>'


def moment_html(recognizer: Recognizer, stream: Stream | None, path: str | Path) -> tuple[str | None, Stream]:
    """The HTML of the last moment in a chunk of sound, if there is one, and the stream that goes on."""
    sound, rate = soundfile.read(path, dtype="int16", always_2d=True)
    stream = stream or recognizer.stream(rate)
    moments = stream.feed(sound)
    return (answer_html(moments[-1], f"Live, {clock(moments[-1].time)}") if moments else None), stream


def can_enrol(run_dir: str | Path) -> bool:
    """Whether there is a network for a known speaker: this one, or the shipped one's companion."""
    companion = Path(run_dir).resolve() == SHIPPED_RUN.resolve() and is_run_dir(ENROLLED_RUN)
    return companion or recogniser_of(str(run_dir)).features.normalise == "speaker"


def runs_to_choose(run_dir: Path) -> list[tuple[str, str]]:
    """Names and paths: the run, those beside it, and the shipped one."""
    beside = [run.path for run in list_runs(run_dir.parent) if run.has_weights]
    paths = dict.fromkeys(path.resolve() for path in (run_dir, SHIPPED_RUN, *beside))
    return [(path.name, str(path)) for path in paths]


def build(run_dir: Path) -> Any:
    """The page."""
    import gradio as gr

    def judge(run: str, own: Recognizer | None, path: str, name: str | None = None) -> tuple:
        shown, along, reasons = recognised(own or recogniser_of(run), path, name)
        Path(path).unlink(missing_ok=True)
        return shown, along, reasons, gr.update(visible=bool(reasons)), None

    def listen(run: str, own: Recognizer | None, stream: Stream | None, path: str) -> tuple:
        try:
            shown, stream = moment_html(own or recogniser_of(run), stream, path)
        except (UserError, RuntimeError) as error:
            shown, stream = problem_html(error, path), None
        return shown or gr.skip(), stream, "", gr.update(visible=False)

    def enrol(run: str, paths: list[str]) -> tuple:
        try:
            own = recogniser_of(run).enrol(paths)
        except UserError as error:
            return None, problem_html(error, ""), None
        finally:
            for path in paths:
                Path(path).unlink(missing_ok=True)
        said = f"Your norm: {own.enrolled} of {len(paths)} recordings. What follows is judged by it."
        return own, said, None

    def choose(run: str) -> tuple:
        known, shown = False, hint_html(HINT)
        try:
            known = can_enrol(run)
            if recogniser_of(run).features.normalise == "speaker":
                shown = hint_html("This network needs recordings of you first: open “Your voice”.")
        except UserError as error:
            shown = problem_html(error, run)
        return None, None, gr.update(visible=known), "", shown

    alone: dict[str, Any] = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
    sound: dict[str, Any] = {"sources": ["microphone"], "type": "filepath", "show_label": False}
    how: dict[str, Any] = {"analytics_enabled": False, "fill_width": True, "delete_cache": SWEPT}
    with gr.Blocks(title="Emotion in speech", **how) as page:
        own, stream = gr.State(), gr.State()
        gr.Markdown("# Emotion in speech\nNo sound leaves this machine, and none is kept.")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                with gr.Tab("Record"):
                    mic = gr.Audio(elem_id="mic", **sound)
                with gr.Tab("Choose a file"):
                    file = gr.File(show_label=False, elem_id="file", height=160)
                with gr.Tab("Live"):
                    live = gr.Audio(elem_id="live", streaming=True, **sound)
                with gr.Accordion("Network", open=False):
                    run = gr.Dropdown(runs_to_choose(run_dir), value=str(run_dir), show_label=False)
                with gr.Accordion("Your voice", open=False, visible=can_enrol(run_dir)) as voice:
                    gr.Markdown("Some recordings of you alone, of various moods, make the answers better.")
                    mine = gr.File(file_count="multiple", show_label=False, elem_id="mine", height=140)
                    said = gr.HTML()
            with gr.Column(scale=3, min_width=300):
                answer = gr.HTML(choose(str(run_dir))[-1], elem_id="answer")
                timeline = gr.HTML()
                with gr.Accordion("Why?", open=False, visible=False) as reasons:
                    why = gr.HTML(elem_id="why")
        gr.Markdown(LIMITS)
        results = [answer, timeline, why, reasons]
        spoken, quiet = partial(judge, name="Your recording"), {"show_progress": "hidden", **alone}
        mic.stop_recording(spoken, [run, own, mic], [*results, mic], **alone)
        file.upload(judge, [run, own, file], [*results, file], **alone)
        live.stream(listen, [run, own, stream, live], [answer, stream, timeline, reasons], **quiet)
        live.stop_recording(lambda: None, None, stream, **quiet)
        mine.upload(enrol, [run, mine], [own, said, mine], **alone)
        run.change(choose, run, [own, stream, voice, said, answer], **alone)
    return page


@command
def main(options: Namespace) -> None:
    recogniser_of(str(options.run_dir.resolve()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder goes then, too
    with tempfile.TemporaryDirectory(prefix="cktim-demo-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        try:
            import gradio as gr
        except ImportError as error:
            raise UserError("Gradio is missing: python -m pip install -r requirements-live.txt") from error
        theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
        print(f"Open http://{options.host}:{options.port} (Ctrl-C ends it)", flush=True)
        try:
            build(options.run_dir.resolve()).launch(
                server_name=options.host,
                server_port=options.port,
                share=False,
                ssr_mode=False,
                max_file_size=MOST_BYTES,
                footer_links=[],
                quiet=True,
                theme=theme,
                css=STYLE.read_text() + LOOK,
                head=f"<script>{MICROPHONE.read_text()}</script>",
            )
        except OSError as error:
            raise UserError(f"the page cannot be shown: {error}") from error

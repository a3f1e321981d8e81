"""The page that recognises in the browser alone answers as testing.predict does."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from testing import web
from testing.export import export, main
from testing.load_run import load_run
from testing.predict import Recognizer
from testing.predictions import LIMITS
from utils.errors import UserError
from utils.runs import SHIPPED_RUN


@pytest.fixture
def runtime(tmp_path) -> Path:
    """A folder that holds onnxruntime-web's files, or what may pass for them."""
    folder = tmp_path / "runtime/dist"
    folder.mkdir(parents=True)
    for name in web.PARTS:
        (folder / name).write_text(name)
    return folder.parent


def packed(folder: Path, leave_out: str = "") -> Path:
    """The folder as npm packs it."""
    path = folder.parent / "onnxruntime-web.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name in web.PARTS:
            content = name.encode()
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            if name != leave_out:
                package.addfile(info, io.BytesIO(content))
    return path


def test_the_runtime_is_found_in_a_folder_and_in_a_package(runtime):
    expected = {name: name.encode() for name in web.PARTS}
    assert web.runtime_parts(runtime) == expected
    assert web.runtime_parts(packed(runtime)) == expected
    with pytest.raises(UserError, match=r"lacks ort\.wasm\.min\.mjs: name a folder or \.tgz of"):
        web.runtime_parts(packed(runtime, leave_out=web.PARTS[0]))
    (runtime / "text.tgz").write_text("no package")
    for wrong in (runtime / "text.tgz", runtime / "nowhere"):
        with pytest.raises(UserError, match=rf"{wrong.name} cannot be read"):
            web.runtime_parts(wrong)


def test_npm_fetches_the_runtime_and_says_why_it_cannot(runtime, monkeypatch):
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"npm is not installed\. Install Node\.js, or .*--runtime FILE\.tgz"):
        web.runtime_parts(None)
    monkeypatch.setattr(web.shutil, "which", lambda name: "/bin/npm")

    def run(command, cwd, **options):
        assert command == ["/bin/npm", "pack", web.RUNTIME, "--pack-destination", str(cwd)]
        packed(runtime).rename(cwd / "onnxruntime-web-1.tgz")

    monkeypatch.setattr(web.subprocess, "run", run)
    assert web.runtime_parts(None) == web.runtime_parts(runtime)

    def fail(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="npm error network request failed\nmore")

    monkeypatch.setattr(web.subprocess, "run", fail)
    with pytest.raises(UserError, match=r"\(npm error network request failed\)\. Try again, or fetch onnx"):
        web.runtime_parts(None)


def test_a_page_does_not_lie_among_other_files(tmp_path):
    web.check_folder(tmp_path / "new")
    web.check_folder(tmp_path)
    web.write_files({tmp_path / "settings.json": b"{}", tmp_path / "onnxruntime/a.mjs": b"a"})
    web.check_folder(tmp_path)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(UserError, match=r"holds other files\. Name an empty folder"):
        web.check_folder(tmp_path)
    with pytest.raises(UserError, match="cannot make"):
        web.write_files({tmp_path / "onnxruntime/a.mjs/index.html": b""})


def test_what_the_page_says_of_limits_is_in_the_model_card(repository):
    card = " ".join((repository / "docs/model_card.md").read_text(encoding="utf-8").split())
    for sentence in LIMITS.removesuffix(".").split(". "):
        assert sentence in card


def test_the_settings_are_those_of_the_run():
    run = load_run(SHIPPED_RUN)
    found = json.loads(json.dumps(web.settings(run, 512)))
    assert found["window"] == run.config.features.signal_length and found["least_samples"] == 512
    assert found["temperature"] == Recognizer().calibration.temperature
    assert found["emotions"][1] == "gio" and found["words"]["gio"] == "joy"


@pytest.mark.parametrize(("run", "warned"), [(SHIPPED_RUN.name, 0), ("TIM_TAB6_for_comparison", 1)])
def test_bands_that_depend_on_the_resampler_are_warned_of(run, warned, runtime, capsys):
    files = web.page_files(load_run(SHIPPED_RUN.with_name(run)), 512, runtime)
    assert {"index.html", "answer.css", "settings.json", f"onnxruntime/{web.PARTS[0]}"} <= set(files)
    assert capsys.readouterr().err.count("end where the browser's resampler differs") == warned


def test_runs_that_no_graph_can_hold_are_refused_before_anything_is_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(web, "runtime_parts", lambda source: pytest.fail("fetched"))
    run = SHIPPED_RUN.with_name("TIM_for_enrolled_speakers")
    with pytest.raises(SystemExit):
        main([str(run), "--format", "web", "--out", str(tmp_path / "page")])
    assert f"cannot be part of an exported graph. Take a run without it, such as {SHIPPED_RUN}" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "page").exists()


@pytest.fixture(scope="module")
def page(tmp_path_factory, spoken) -> Path:
    """The folder of the shipped network's page."""
    pytest.importorskip("onnxscript", reason="pip install -r requirements-export.txt")
    pytest.importorskip("onnxruntime", reason="pip install -r requirements-export.txt")
    folder = tmp_path_factory.mktemp("web")
    try:
        export(SHIPPED_RUN, "web", folder, recordings=list(spoken.values())[:2])
    except UserError as error:
        if "npm" in str(error):
            pytest.skip(str(error))
        raise
    return folder


@pytest.fixture
def open_page(browse, served, page):
    """A browser with the page loaded: open_page(microphone)."""

    def opened(microphone: Path | None = None):
        view = browse(served(page), microphone)
        view.wait_for_selector("body[data-ready]", timeout=60_000)
        return view

    return opened


def label(view) -> str | None:
    """The answer that the page shows, once it is done; None where there is none."""
    view.wait_for_selector("#file:not([disabled])", state="attached", timeout=120_000)
    return view.get_attribute("#label", "data-label") if view.is_visible("#answer") else None


@pytest.mark.slow
def test_uploads_get_the_answers_of_predict(open_page, spoken, hostile):
    view, recognizer = open_page(), Recognizer()
    for path in spoken.values():
        view.set_input_files("#file", path)
        assert label(view) == recognizer.recognise_file(path).answer.label, path
        assert "probable" in view.text_content("#doubt")
    for name, path in hostile.items():
        view.set_input_files("#file", path)
        found, said = label(view), view.text_content("#said")
        match name:
            case "zip" | "nan" | "one sample" | "hour" | "empty":
                assert found is None and view.get_attribute("#said", "class") == "problem", name
            case "no sound":
                assert found == "silence" and "no speech" in view.text_content("#doubt")
            case "cut short":
                assert "it is cut short, for it announces" in said
            case _:
                assert found == recognizer.recognise_file(path).answer.label, name
        assert name != "markup" or path.name in said
    view.set_input_files("#file", path := next(iter(spoken.values())))
    assert label(view) == recognizer.recognise_file(path).answer.label


@pytest.mark.slow
def test_long_recordings_have_the_timeline_of_predict(open_page, joined):
    view, expected = open_page(), Recognizer().recognise_file(joined)
    view.set_input_files("#file", joined)
    assert label(view) == expected.answer.label
    assert view.locator("#timeline i").count() == len(expected.timeline)


@pytest.mark.slow
def test_the_microphone_gets_the_answers_of_predict(open_page, spoken):
    recognizer = Recognizer()
    for path in spoken.values():
        expected = recognizer.recognise_file(path)
        view = open_page(path)
        view.click("#record")
        view.wait_for_selector("text=Stop")
        view.wait_for_timeout(1_000 * expected.answer.end + 500)
        assert "Listening" in view.text_content("#said")
        view.click("#record")
        view.wait_for_selector("text=Record")
        assert label(view) == expected.answer.label, path

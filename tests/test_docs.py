"""README.md and docs/ name links, files, commands and keys that exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from utils.config import KEYS, REMOVED, RENAMED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FOLDERS = "conf|models|dataloader|training|testing|utils|tests|docs"
KNOWN_KEYS = {*KEYS, *REMOVED, *RENAMED}
SECTIONS = "|".join({key.partition(".")[0] for key in KEYS})
MADE_LATER = re.compile(r"RUN_DIR|_seed\d|training/results/(omega_0$|table-data_)")  # by the reader's runs


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param, request.param.read_text(encoding="utf-8")


def anchors(text):
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_files_and_headings(page):
    path, text = page
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_files_that_are_named_exist(page):
    path, text = page
    text = text.partition("### Moved")[0] if path.name == "CHANGELOG.md" else text  # old names stand there
    for name in re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w./*-]+\w|\w+\.ipynb", text):
        assert list(ROOT.glob(name)) or MADE_LATER.search(name), name


def test_commands_are_modules(page):
    _, text = page
    gone = {"testing.benchmark", "training.notebook"}  # CHANGELOG.md says where they are now
    for module in set(re.findall(r"python\S* -m ([\w.]+)", text)) - gone:
        assert find_spec(module), module


def test_keys_are_of_the_configuration(page):
    _, text = page
    for key in re.findall(rf"(?<=[` ])((?:{SECTIONS})\.(?!pt|onnx)\w+)(?=[`=:])", text):  # no model.pt
        assert key in KNOWN_KEYS, key


def test_readme_stays_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 230 and len(text.split()) <= 1600

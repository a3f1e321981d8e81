"""Each import is declared, and the ranges belong together with the exact versions in constraints.txt."""

import ast
import os
import re
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Only for clusters; its tests are skipped where it is missing.
NOT_IN_CI = {"ray"}
OURS = {"dataloader", "models", "testing", "training", "utils"}
# kagglehub: `dataloader.download` says how to get it; google: only Colab has it.
# annotated_types, pydantic_core: parts of pydantic.
NEED_NO_LINE = {"kagglehub", "google", "annotated_types", "pydantic_core", "tests", *sys.stdlib_module_names}


def requirements(path: Path) -> list[Requirement]:
    """The lines of a requirements file that name a package."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.fixture(scope="module")
def constraints(repository) -> dict[str, str]:
    """Package → version."""
    exact = {}
    for one in requirements(repository / "constraints.txt"):
        (specifier,) = one.specifier
        assert specifier.operator == "==" and not one.extras and one.url is None, one
        exact[canonicalize_name(one.name)] = specifier.version
    return exact


def test_every_requirement_has_a_range_and_an_exact_version_within(repository, constraints):
    files = sorted(repository.glob("requirements*.txt"))
    assert len(files) == 6
    for file in files:
        for one in requirements(file):
            operators = {specifier.operator for specifier in one.specifier}
            assert operators == {">=", "<"}, f"{file.name}: {one} must be a range, from tested to untested"
            if one.name not in NOT_IN_CI:
                tested = constraints.get(canonicalize_name(one.name))
                assert tested and one.specifier.contains(tested), f"{file.name}: {one}, tested: {tested}"


def imported(path: Path) -> dict[str, bool]:
    """Top-level name of each library that a file imports → whether at once, not within a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in {name.partition(".")[0] for name in names} - OURS - NEED_NO_LINE:
            found[name] = found.get(name, False) or node in tree.body
    return found


def test_every_import_is_declared(repository):
    packages_of = packages_distributions()
    declared = {
        file.name: {canonicalize_name(one.name) for one in requirements(file)}
        for file in repository.glob("requirements*.txt")
    }
    always, anywhere = declared["requirements.txt"], set().union(*declared.values())
    used = set()
    for file in (path for folder in (*sorted(OURS), "tests") for path in (repository / folder).rglob("*.py")):
        in_code = file.relative_to(repository).parts[0] in OURS
        for name, at_once in imported(file).items():
            packages = {canonicalize_name(one) for one in packages_of.get(name, [name])}
            known = always if in_code and at_once else anywhere
            assert packages & known, f"{file} imports {name}, which no file of requirements names"
            used |= packages if in_code else set()
    assert always - used == {"jupyter"}, "requirements.txt names what no module imports"


def test_no_line_holds_only_for_one_machine(repository):
    """A path, an address, a local version, or a library that each build of torch prescribes itself."""
    for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line
        assert not re.match(r"(nvidia|cuda|triton)", line), line


def test_what_is_installed_by_the_constraints_is_as_they_say(repository, constraints):
    if Path(os.environ.get("PIP_CONSTRAINT", "")).resolve() != repository / "constraints.txt":
        pytest.skip("this environment does not claim to be installed with constraints.txt (PIP_CONSTRAINT)")
    installed = {canonicalize_name(one.name): one.version for one in distributions() if one.name}
    for name in constraints.keys() & installed.keys():  # others are not needed here
        assert installed[name].partition("+")[0] == constraints[name], name  # +cpu: a build of it

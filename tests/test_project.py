"""The repository itself: pinned dependencies, no registry hosts, docstrings, README and notebooks."""

import ast
import json
import re
import subprocess
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from benchmarks.mutations import MUTATIONS
from conftest import NOTEBOOKS, ROOT

MODULES = sorted(path for folder in ("v2a_utils", "data") for path in (ROOT / folder).rglob("*.py"))
# in pieces, so that this file does not name them itself
HOSTS = ["pypi" + ".org/simple", "files.python" + "hosted", "index-url " + "http", "index-url=" + "http",
         "find-links " + "http", "arti" + "factory", "/api/" + "pypi/"]


def committed() -> list[Path]:
    """Files that git tracks or would track."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def canonical(requirement: str) -> str:
    """The name in a requirement as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement).group()).lower()


def pins() -> dict[str, set[str]]:
    """Name -> versions pinned in requirements.txt (several where they depend on the platform)."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line):
            found.setdefault(canonical(match[1]), set()).add(match[2])
    return found


# ------------------------------------------------------------------------------------------------------ dependencies


def test_every_direct_dependency_is_pinned_as_declared():
    project, pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], pins()
    requirements = project["dependencies"] + project["optional-dependencies"]["test"]
    assert not [name for name in requirements if canonical(name) not in pinned]
    for requirement in requirements:
        if "==" in requirement:
            assert pinned[canonical(requirement)] == {requirement.split("==")[1]}


def test_requirements_hold_pins_and_nothing_else():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line.lstrip()[0] != "#"]
    assert lines and all(re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==[^\s;]+( ;.*)?$", line) for line in lines)


def test_environment_installs_the_pinned_requirements():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip, = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    assert pip.pop() == "-e ."
    if pip != ["-r requirements.txt"]:
        listed = dict(line.split(";")[0].strip().split("==") for line in pip)
        assert {canonical(name): {version} for name, version in listed.items()} == pins()
    assert any(str(part).startswith("python") for part in environment["dependencies"])


def test_no_committed_text_names_a_registry_or_a_private_index():
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        assert not [host for host in HOSTS if host in text.lower()], path


def test_no_committed_result_names_a_place_of_one_machine():
    for path in committed():
        if path.is_relative_to(ROOT / "data") and path.suffix in (".json", ".csv", ".md"):
            assert not re.search(r"""["\s,](/(?:home|root|work|tmp|Users|mnt|opt)/|[A-Z]:\\)""", path.read_text()), path


# -------------------------------------------------------------------------------------------------------------- code


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_public_functions_and_classes_have_docstrings(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no docstring"
    definitions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert not [node.name for node in definitions if node.name[0] != "_" and not ast.get_docstring(node)]


def asks_for_a_stack(code: str) -> bool:
    """Whether code decides by a stack's name: compares with it, matches it, or asks how a text begins or ends."""
    def names(node) -> bool:
        return any(isinstance(part, ast.Constant) and part.value in ("mini", "paper") for part in ast.walk(node))

    def decides(node) -> bool:
        by_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in (
            "startswith", "endswith")
        return (isinstance(node, (ast.Compare, ast.MatchValue)) or by_method) and names(node)

    return any(decides(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("code", [
    'a if name == "mini" else b', "x = stack.name in ('mini', 'other')", 'if "paper" != name: pass',
    'match name:\n    case "mini":\n        pass', 'name.startswith("mini")',
])
def test_a_question_for_a_stacks_name_is_found(code):
    assert asks_for_a_stack(code) and not asks_for_a_stack(code.replace("mini", "tiny").replace("paper", "tiny"))


def test_only_the_file_of_the_stacks_asks_for_a_stack_by_name():
    assert not [path.name for path in MODULES if path.name != "places.py" and asks_for_a_stack(path.read_text())]


ROOMS = ("options", "data", "models", "stacks", "metrics", "mappers", "event_adapter", "retiming", "pipeline",
         "sound_files", "plotting", "widgets", "evaluation", "commands", "__main__")  # along the way of the data


def room_of(module: str) -> int:
    """Place in ROOMS of a module's dotted name below v2a_utils."""
    return ROOMS.index(module.split(".")[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_never_imports_from_one_above_it(path):
    if not path.is_relative_to(ROOT / "v2a_utils") or (path.parent == ROOT / "v2a_utils" and path.stem == "__init__"):
        return
    inside = path.relative_to(ROOT / "v2a_utils").with_suffix("").parts
    imports = re.findall(r"^\s*(?:from|import) v2a_utils\.([\w.]+)", path.read_text(), re.MULTILINE)
    imports += re.findall(r"^\s*from v2a_utils import (?!__)(\w+)", path.read_text(), re.MULTILINE)
    assert not [module for module in imports if room_of(module) > room_of(".".join(inside))]


def test_no_module_imports_itself_by_way_of_others():
    graph = {}
    for path in (ROOT / "v2a_utils").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        imports = re.findall(r"^\s*from (v2a_utils[\w.]*) import ([\w, ()]+)", path.read_text(), re.MULTILINE)
        graph[name] = {module for module, _ in imports} | {
            f"{module}.{one.strip(' ()')}" for module, names in imports for one in names.split(",")}
    TopologicalSorter({name: found & graph.keys() for name, found in graph.items()}).prepare()  # CycleError names it


@pytest.mark.parametrize("room", ["data", "evaluation", "mappers", "metrics", "models", "stacks"])
def test_a_room_holds_at_most_ten_files(room):
    assert len(list((ROOT / "v2a_utils" / room).glob("*.py"))) <= 10


def test_soundworld_knows_nothing_of_the_helper():
    for path in (ROOT / "data" / "soundworld").glob("*.py"):
        assert not re.search(r"(?:from|import) (?:v2a_utils|v2a_pretraining)", path.read_text()), path


@pytest.mark.parametrize("name, file, text, instead, tests", MUTATIONS, ids=[name for name, *_ in MUTATIONS])
def test_every_mutation_has_its_one_place_and_its_tests(name, file, text, instead, tests):
    assert (ROOT / "v2a_utils" / file).read_text().count(text) == 1
    assert all((ROOT / "tests" / one).is_file() for one in tests.split())


def test_the_version_is_written_once_and_told_twice():
    from v2a_utils import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "v2a_utils.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_hosted_workflow_does_what_a_developer_does():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert commands == ["make check", "make test SLOW=1"] and {"check", "test"} <= set(targets)


# ------------------------------------------------------------------------------------------------------------ README


def test_readme_mentions_every_notebook_and_both_commands():
    text = (ROOT / "README.md").read_text()
    assert not [path.name for path in NOTEBOOKS if path.name not in text]
    assert "v2a_utils sound" in text and "v2a_utils world" in text


# --------------------------------------------------------------------------------------------------------- notebooks


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_notebooks_named_by_number_and_topic():
    assert NOTEBOOKS
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name) for path in NOTEBOOKS)


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_notebook_opens_with_a_title(path):
    first = json.loads(path.read_text())["cells"][0]
    assert first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")


@each_notebook
def test_notebook_has_one_cell_of_parameters(path):
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells(path, "code")) == 1


@each_notebook
def test_notebook_cells_are_short(path):
    assert not [cell["source"] for cell in cells(path, "code") if len("".join(cell["source"]).splitlines()) > 15]


@each_notebook
def test_notebook_was_committed_executed_and_without_errors(path):
    code = [cell for cell in cells(path, "code") if "".join(cell["source"]).strip()]
    assert not [cell["source"] for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    assert all(cell["execution_count"] for cell in code)


@each_notebook
def test_notebook_is_small(path):
    assert path.stat().st_size < 1_500_000


def test_making_a_sound_starts_without_the_libraries_that_only_other_things_need(fresh):
    """laion_clap's package, scikit-learn and numba would double the time to the first sound."""
    assert "diffusers" in fresh["modules"]
    assert not {"laion_clap", "sklearn", "numba", "pandas"} & set(fresh["modules"])

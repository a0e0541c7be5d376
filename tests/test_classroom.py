"""Copies for a class: nothing is given away to students, and checks tell right answers from wrong ones."""

import ast
import builtins
import json
import re

import nbformat
import pytest
from classroom import HIDDEN, exercises, students, teachers, write
from conftest import LESSONS, NOTEBOOKS, ROOT
from test_book import load_stage

from v2a_utils.widgets import check

STAGE = load_stage()
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def names(code: str) -> tuple[set[str], set[str]]:
    """Names that code defines, and names that it uses, on whatever level."""
    defined, used = set(), set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
    return defined, used


@each_notebook
def test_a_students_copy_gives_nothing_away(path):
    whole = read(path)
    copy = students(whole, exercises(path))
    assert tagged(whole, "solution") and not tagged(copy, "solution")
    assert not [cell for cell in copy.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert HIDDEN not in "".join(cell.source for cell in copy.cells)
    assert len(tagged(copy, "answer")) == len(tagged(copy, "check")) == len(tagged(whole, "solution"))
    assert all("check(lambda:" in cell.source for cell in tagged(copy, "check"))
    assert all("..." in cell.source for cell in tagged(copy, "answer"))
    nbformat.validate(copy)


@each_notebook
def test_a_teachers_copy_stops_where_our_solution_does_not_hold(path):
    copy = teachers(read(path), exercises(path))
    checks = tagged(copy, "check")
    assert len(checks) == len(tagged(copy, "solution"))
    assert all("assert check(" in cell.source and "\ncheck(" not in cell.source for cell in checks)
    nbformat.validate(copy)


@each_notebook
def test_answers_and_checks_use_only_names_that_the_notebook_has(path):
    """A variable renamed in a notebook would let every answer fail."""
    whole = read(path)
    known = set(dir(builtins)) | {"check"}
    for cell in whole.cells:
        if cell.cell_type == "code" and "solution" not in cell.metadata.get("tags", []):
            known |= names(cell.source)[0]
    for task in exercises(path):
        answer, checks = names(task["answer"]), names(task["check"])
        assert not answer[1] - answer[0] - known, task["answer"]
        assert not checks[1] - checks[0] - answer[0] - known, task["check"]


@each_notebook
def test_our_solutions_give_every_answer_that_is_asked_for(path):
    for cell, task in zip(tagged(read(path), "solution"), exercises(path), strict=True):
        asked = {node.id for statement in ast.parse(task["answer"]).body for node in ast.walk(statement)
                 if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        assert asked - {"rows"} <= names(cell.source + "\n" + task["solution"])[0]


@pytest.mark.parametrize("answer, right", [(3, True), (4, False), (..., False), ("three", False)])
def test_a_check_says_whether_an_answer_holds_and_hints_if_not(answer, right, capsys):
    assert check(lambda: abs(answer - 3) < 0.1, "Count again.") is right
    assert ("holds" in capsys.readouterr().out) is right
    check(lambda: abs(answer - 3) < 0.1, "Count again.")
    assert ("Count again." in capsys.readouterr().out) is not right


def test_a_tiny_notebooks_copies_run(tmp_path):
    """Our solution passes its own check, a wrong answer gets the hint and stops nothing."""
    task = {"answer": "double = ...  # of three", "solution": "double = value * 2",
            "check": 'check(lambda: double == 6, "Twice three.")'}
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell("three = 3"), nbformat.v4.new_markdown_cell(HIDDEN),
        nbformat.v4.new_code_cell("value = three", metadata={"tags": ["solution"]})])
    for form in (students, teachers):
        names_there = {}
        for cell in form(notebook, [task]).cells:
            if cell.cell_type == "code":
                exec(cell.source, names_there)
    with pytest.raises(AssertionError):
        exec(teachers(notebook, [task | {"solution": "double = 5"}]).cells[-1].source, {"double": 5})


def test_the_command_writes_both_copies_of_every_notebook(tmp_path):
    written = write(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {
        f"{kind}/{path.relative_to(ROOT / 'notebooks')}" for kind in ("students", "teachers") for path in NOTEBOOKS}


def test_a_solution_without_a_check_is_refused(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", metadata={"tags": ["solution"]})])
    nbformat.write(notebook, tmp_path / "99_new.ipynb")
    with pytest.raises(ValueError, match="99_new.ipynb has 1 solutions and exercises.toml 0"):
        write(tmp_path / "out", tmp_path)


def test_the_guide_has_minutes_questions_and_cuts_for_every_notebook():
    guide = (ROOT / "notebooks" / "book" / "guide.md").read_text()
    parts = {part[:2]: part for part in guide.split("\n## ")}
    for path in LESSONS:
        part = parts[path.name[:2]]
        for needed in ("| minutes |", "**Say before.**", "**Say after.**", "**Wrong ideas", "**Exam.**",
                       "**Skip with 4"):
            assert needed in part, (path.name, needed)
        assert "**With 90" in part


GUIDE = (ROOT / "notebooks" / "book" / "guide.md").read_text()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_guides_minutes_add_up_and_leave_time_to_read(path):
    part = next(part for part in GUIDE.split("\n## ") if part.startswith(path.name[:2]))
    rows = dict(re.findall(r"^\| (.+) \| (\d+) \|$", part, re.MULTILINE))
    planned = sum(map(int, rows.values()))
    glance = re.search(rf"^\| {path.name[:2]} [^|]+\| (\d+) \|", GUIDE, re.MULTILINE)
    assert int(glance[1]) == planned
    notebook = json.loads(path.read_text())
    assert planned > STAGE.effort(notebook)[0]
    text = "".join("".join(cell["source"]) + "\n" for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    sections = [int(number) for number in re.findall(r"^## (\d+)\.", text, re.MULTILINE)]
    named = [int(number) for row in rows for number in re.findall(r"(?:^|; | and |, )(\d+)\b", row)]
    assert not sections or max(named) <= max(sections)


def test_effort_counts_words_lines_and_seconds_but_no_solution():
    moments = {"iopub.execute_input": "2026-01-01T00:00:00.000Z", "shell.execute_reply": "2026-01-01T00:01:30.000Z"}
    cells = [{"cell_type": "markdown", "source": "word " * 2 * STAGE.WORDS + "$$a + b$$"},
             {"cell_type": "code", "source": "x = 1\n\n" * STAGE.LINES, "metadata": {"execution": moments}},
             {"cell_type": "code", "source": "x = 1\n" * 99, "metadata": {"tags": ["solution"]}}]
    assert STAGE.effort({"cells": cells}) == (3, 1.5)
    assert STAGE.effort_table({"00": {"cells": cells}}).endswith("| 00 | 3 | 2 |\n")

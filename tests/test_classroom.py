"""Copies for a class: nothing is given away to students, and checks tell right answers from wrong ones."""

import ast
import builtins
import json
import re
import subprocess
import sys

import nbformat
import pytest
from classroom import HIDDEN, exercises, students, teachers, write
from conftest import LESSONS, NOTEBOOKS, ROOT
from lessons import HIDDEN as NEEDED
from lessons import PART, SKIP, counts, names, short
from test_book import load_stage

from v2a_utils.widgets import check

STAGE = load_stage()
GUIDE = (ROOT / "notebooks" / "book" / "guide.md").read_text()
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


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


def test_the_command_writes_all_copies_of_every_notebook(tmp_path):
    written = {path.relative_to(tmp_path).as_posix() for path in write(tmp_path)}
    assert written == {
        f"{kind}/{path.relative_to(ROOT / 'notebooks')}" for kind in ("students", "teachers") for path in NOTEBOOKS} | {
        f"{kind}-45/{path.name}" for kind in ("students", "teachers") for path in LESSONS}


# ----------------------------------------------------------------------------------------------------- 45 minutes


@each_lesson
def test_a_copy_for_45_minutes_has_all_that_its_cells_use_and_one_exercise(path):
    whole = read(path)
    part = nbformat.from_dict(short(whole))
    nbformat.validate(part)
    code = [names(cell.source) for cell in part.cells if cell.cell_type == "code"]
    before = [names(cell.source) for cell in whole.cells if cell.cell_type == "code"]
    known = set().union(*(defined for defined, _ in before))
    assert not set().union(*(used for _, used in code)) & known - set().union(*(defined for defined, _ in code))
    assert len(tagged(part, "solution")) == 1 and len(part.cells) < len(whole.cells)
    text = "".join(cell.source for cell in part.cells if cell.cell_type == "markdown")
    for kept in ("## What we saw", "## Limits", "## Exercises", "**1. ", "## References"):
        assert (kept in text) or (path.name[:2] == "00" and kept == "## What we saw"), kept
    assert "**2. " not in text


@each_lesson
def test_a_copy_for_45_minutes_is_as_short_as_the_guide_says(path):
    """Of the guide's minutes it keeps the share that its text and code are of the whole."""
    notebook = json.loads(path.read_text())
    planned = int(re.search(rf"^\| {path.name[:2]} [^|]+\| (\d+) \|", GUIDE, re.MULTILINE)[1])
    assert planned * STAGE.reading_in_short(notebook) / STAGE.effort(notebook)[0] < 50
    part = next(part for part in GUIDE.split("\n## ") if part.startswith(path.name[:2]))
    advice = re.search(r"\*\*Skip with 45[^*]*\*\*(.*?)\*\*With 90", part, re.DOTALL)[1]
    left_out = [re.match(r"## (\d+)", PART.split(cell["source"] if isinstance(cell["source"], str)
                                                 else "".join(cell["source"]))[-1])
                for cell in notebook["cells"] if SKIP in cell["metadata"].get("tags", [])]
    assert {found[1] for found in left_out if found} <= set(re.findall(r"\d+", advice))


def test_what_is_left_out_stays_folded_where_it_is_needed():
    def cell(kind, source, *tags):
        made = nbformat.v4.new_code_cell(source) if kind else nbformat.v4.new_markdown_cell(source)
        return made | {"metadata": {"tags": list(tags)}}

    cells = [cell(0, "End of the first.\n\n## 2. Left out", SKIP), cell(1, "a = 1"), cell(1, "b = 2"),
             cell(0, "No heading, kept again.", "keep-45"), cell(1, "print(a)"), cell(0, "And this not.", SKIP),
             cell(1, "c = 3"), cell(0, "Its end.\n\n## Exercises\n\n**1. This.**"), cell(1, "a", "solution"),
             cell(0, "**2. Not this.**"), cell(1, "b", "solution"), cell(0, "## References")]
    made = short({"cells": cells})["cells"]
    assert [one["source"] for one in made] == ["End of the first.", "a = 1", "No heading, kept again.", "print(a)",
                                               "## Exercises\n\n**1. This.**", "a", "## References"]
    assert made[1]["metadata"]["tags"] == [NEEDED] and made[1]["metadata"]["jupyter"]["source_hidden"]


@each_lesson
def test_a_lesson_has_at_most_forty_cells_and_prints_few_numbers(path):
    found = counts(json.loads(path.read_text()))
    assert found["cells"] <= 40 and found["words"] < 1700 and found["numbers"] < 50


def test_what_is_printed_is_counted_and_what_is_drawn_is_not():
    shown = [{"text": "n = 12, 0.5 and a4\n"}, {"data": {"image/png": "", "text/plain": "<Figure size 3x4>"}},
             {"data": {"text/html": '<div class="finding">1 2 3</div>', "text/plain": "It is 7%."}},
             {"data": {"text/html": "<table><thead>9</thead><td>1,000</td></table>", "text/plain": "5 6 7"}}]
    cells = [{"cell_type": "code", "source": "", "metadata": {}, "outputs": shown},
             {"cell_type": "code", "source": "", "metadata": {"tags": ["solution"]}, "outputs": shown},
             {"cell_type": "markdown", "source": "two words", "metadata": {}}]
    assert counts({"cells": cells}) == {"cells": 2, "words": 2, "numbers": 4}
    run = subprocess.run([sys.executable, ROOT / "notebooks" / "book" / "lessons.py"], capture_output=True, text=True)
    assert len(run.stdout.splitlines()) == 1 + len(NOTEBOOKS), run.stderr


def test_a_solution_without_a_check_is_refused(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", metadata={"tags": ["solution"]})])
    nbformat.write(notebook, tmp_path / "99_new.ipynb")
    with pytest.raises(ValueError, match="99_new.ipynb has 1 solutions and exercises.toml 0"):
        write(tmp_path / "out", tmp_path)


def test_the_guide_has_minutes_questions_and_cuts_for_every_notebook():
    parts = {part[:2]: part for part in GUIDE.split("\n## ")}
    for path in LESSONS:
        part = parts[path.name[:2]]
        for needed in ("| minutes |", "**Say before.**", "**Say after.**", "**Wrong ideas", "**Exam.**",
                       "**Skip with 4"):
            assert needed in part, (path.name, needed)
        assert "**With 90" in part


@each_lesson
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
    assert STAGE.effort_table({"00": {"cells": cells}}).endswith("| 00 | 3 | 3 | 2 |\n")

"""Copies of the notebooks for a class: `make classroom` writes students' and teachers'.

The notebooks tag their solutions, and `notebooks/exercises.toml` says for each exercise what a student fills in, how
our solution answers, and which checks follow. A student's copy has no solutions and no outputs. Of each lesson there is
a copy for 45 minutes besides (`lessons.py` says what it leaves out).
"""

import argparse
import copy
import tomllib
from pathlib import Path

import nbformat
from lessons import short

from v2a_utils.data.files import whole_file

NOTEBOOKS = Path(__file__).parents[1]
DEEPER = "deeper"  # the folder of the deep dives
HEADER = "from v2a_utils.widgets import check"
HIDDEN = "*The solution is the collapsed cell below: click the dots to open it.*"
FILL_IN = "*Fill in the cell below, run it, then run the check under it.*"


def exercises(path: Path) -> list[dict[str, str]]:
    """The exercises of a notebook in their order: `answer`, `solution` and `check`, each as code.

    A lesson's stand under its number ("00"), a deep dive's under its folder and name ("deeper/07_reproduction").
    """
    key = path.name[:2] if path.parent.name != DEEPER else f"{DEEPER}/{path.stem}"
    return tomllib.loads((NOTEBOOKS / "exercises.toml").read_text()).get(key, [])


def students(notebook: nbformat.NotebookNode, tasks: list[dict[str, str]]) -> nbformat.NotebookNode:
    """A copy to work on: each solution becomes an empty answer and its check; nothing has been run."""
    made, given = copy.deepcopy(notebook), iter(tasks)
    made.cells = [new for cell in made.cells for new in (
        _answer(next(given)) if _is_solution(cell) else [_unsolved(cell)])]
    made.metadata.pop("widgets", None)
    return made


def teachers(notebook: nbformat.NotebookNode, tasks: list[dict[str, str]]) -> nbformat.NotebookNode:
    """A copy with our solutions, each followed by the check that students see; here a failed check stops the run."""
    made, given, cells = copy.deepcopy(notebook), iter(tasks), []
    for cell in made.cells:
        cells.append(cell)
        if _is_solution(cell):
            task = next(given)
            cell.source += "\n\n# the answer that the check looks at\n" + task["solution"].strip()
            strict = "\n".join(f"assert {line}" if line.startswith("check(") else line
                               for line in task["check"].strip().splitlines())
            cells.append(_code(f"{HEADER}\n\n{strict}", "check"))
    made.cells = cells
    return made


def _is_solution(cell: nbformat.NotebookNode) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def _answer(task: dict[str, str]) -> list[nbformat.NotebookNode]:
    return [_code(task["answer"].strip(), "answer"), _code(f"{HEADER}\n\n{task['check'].strip()};", "check")]


def _code(source: str, tag: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})


def _unsolved(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A cell as students get it: code without its outputs, text without the pointer to the solution."""
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    else:
        cell.source = cell.source.replace(HIDDEN, FILL_IN)
    return cell


def write(out: Path, source: Path = NOTEBOOKS) -> list[Path]:
    """Write all copies of every notebook; ValueError where solutions and exercises do not match in number."""
    written = []
    for path in [*sorted(source.glob("*.ipynb")), *sorted(source.glob(f"{DEEPER}/*.ipynb"))]:
        whole, tasks = nbformat.read(path, as_version=4), exercises(path)
        solved = sum(map(_is_solution, whole.cells))
        if solved != len(tasks):
            raise ValueError(f"{path.name} has {solved} solutions and exercises.toml {len(tasks)} exercises for it")
        lengths = {"": whole} | ({"-45": nbformat.from_dict(short(whole))} if path.parent == source else {})
        for length, notebook in lengths.items():
            asked = tasks[: sum(map(_is_solution, notebook.cells))]  # 45 minutes have the first exercise only
            for kind, form in (("students", students), ("teachers", teachers)):
                copied = out / f"{kind}{length}" / path.relative_to(source)
                with whole_file(copied) as temporary:
                    nbformat.write(form(notebook, asked), temporary)
                written.append(copied)
    return written


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/classroom"), help="folder of the copies")
    for path in write(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()

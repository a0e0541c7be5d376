"""What lessons are made of: what can be counted, and which part of them fits into 45 minutes.

`python notebooks/book/lessons.py` prints cells, words and printed numbers of every notebook; folded solutions do not
count. A lesson's 45-minute copy leaves out what its tags say: from a cell tagged `skip-45` on (from its last heading,
if it has one) to the next heading or a cell tagged `keep-45`. Of the exercises it keeps the first.
"""

import ast
import copy
import json
import re
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1]
SKIP, KEEP, HIDDEN = "skip-45", "keep-45", "needed-45"
PART = re.compile(r"^(?=## |\*\*[23]\. )", re.MULTILINE)  # where a section or a further exercise begins
NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*")


def source(cell: dict) -> str:
    """A cell's text, which files hold as lines."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell.get("metadata", {}).get("tags", [])


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


def short(notebook: dict) -> dict:
    """The 45-minute copy. Code that is left out stays, folded, where something that is kept needs it."""
    made, parts, left_out = copy.deepcopy(notebook), [], False
    for cell in made["cells"]:
        left_out = left_out and KEEP not in tags(cell)
        if cell["cell_type"] == "code":
            parts.append((cell, left_out))
            continue
        kept, pieces = [], PART.split(source(cell))
        for place, piece in enumerate(pieces):
            begins = PART.match(piece) is not None
            if begins:
                left_out = piece.startswith("**")  # exercises 2 and 3
            if SKIP in tags(cell) and place == len(pieces) - 1:
                left_out = True
            if not left_out:
                kept.append(piece)
        if text := "".join(kept).strip("\n"):
            parts.append((cell | {"source": text}, False))
    made["cells"] = _with_what_is_needed(parts)
    return made


def _with_what_is_needed(parts: list[tuple[dict, bool]]) -> list[dict]:
    """The kept cells, and folded those that define what later ones use."""
    cells, needed = [], set()
    for cell, left_out in reversed(parts):
        if cell["cell_type"] == "code":
            defined, used = names(source(cell))
            if left_out and ("solution" in tags(cell) or not defined & needed):
                continue
            needed |= used
            if left_out:
                cell["metadata"] |= {"jupyter": {"source_hidden": True, "outputs_hidden": True},
                                     "tags": [*tags(cell), HIDDEN]}
        cells.append(cell)
    return cells[::-1]


def counts(notebook: dict) -> dict[str, int]:
    """Cells, words of text, and numbers in what the cells print, solutions left out."""
    cells = [cell for cell in notebook["cells"] if "solution" not in tags(cell)]
    words = sum(len(source(cell).split()) for cell in cells if cell["cell_type"] == "markdown")
    printed = [_printed(output) for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    return {"cells": len(cells), "words": words, "numbers": sum(len(NUMBER.findall(text)) for text in printed)}


def _printed(output: dict) -> str:
    """What an output shows as text: what was printed, findings and tables, but no figure, player or panel."""
    data = output.get("data", {})
    html = "".join(data.get("text/html", ""))
    if 'class="finding"' in html:
        return "".join(data["text/plain"])
    if "<table" in html:
        return re.sub(r"<[^>]+>", " ", re.sub(r"<(style|thead)\b.*?</\1>", "", html, flags=re.DOTALL))
    if html or any(kind.startswith(("image/", "application/")) for kind in data):
        return ""
    return "".join(output.get("text", "") or data.get("text/plain", ""))


def main() -> None:
    """The command."""
    print(f"{'notebook':32}{'cells':>7}{'words':>7}{'numbers':>9}{'words in 45 minutes':>21}")
    for path in [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(NOTEBOOKS.glob("deeper/*.ipynb"))]:
        notebook = json.loads(path.read_text())
        whole, part = counts(notebook), counts(short(notebook))
        print(f"{path.stem:32}{whole['cells']:7}{whole['words']:7}{whole['numbers']:9}{part['words']:21}")


if __name__ == "__main__":
    main()

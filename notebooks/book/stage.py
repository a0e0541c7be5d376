"""Lay out what Sphinx builds the book from: pages, executed notebooks, figures and sounds, in one folder.

The notebooks stay as they are. Their copies lose what only works with a running kernel, fold their solutions, and give
every figure an alternative text: the caption that follows it.
"""

import json
import re
import shutil
import sys
import tomllib
from datetime import datetime
from pathlib import Path

from lessons import HIDDEN, short, tags

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGES = {"v2a_utils": "v2a_utils", "soundworld": "data/soundworld", "v2a_pretraining": "data/pretraining"}
WIDGET = "application/vnd.jupyter.widget-view+json"
WORDS, LINES = 150, 15  # of text and of code that are read in a minute, with the outputs beside them looked at
PANEL = "*A panel stands here when the notebook runs: `make lab`.*"


def plain(markdown: str) -> str:
    """Markdown's text without its marks, on one line."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`$\\]", "", text).split())


def caption(cells: list[dict], index: int) -> str:
    """The caption of a code cell's figure: what was found there, else the first paragraph below, else the heading.

    A paragraph that is a caption opens with an asterisk: "**Figure 1.** ..." or "*...*".
    """
    for cell in cells[index : index + 2]:
        if found := [plain("".join(output["data"]["text/plain"])) for output in cell.get("outputs", [])
                     if 'class="finding"' in "".join(output.get("data", {}).get("text/html", ""))]:
            return " ".join(found)
    for cell in cells[index + 1 : index + 4]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            first = text.strip().split("\n\n")[0]
            if first.startswith("*"):
                return plain(first)
            break
    headings = [line for cell in cells[:index] if cell["cell_type"] == "markdown"
                for line in "".join(cell["source"]).splitlines() if re.match(r"#+ ", line)]
    return "Figure to the section " + plain(headings[-1].lstrip("# "))


def without_a_kernel(output: dict) -> dict:
    """An output as a page can show it: a word in a panel's place, and a text for every picture inside HTML."""
    data = output.get("data", {})
    if WIDGET in data:
        return {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": PANEL}}
    if "text/html" in data:
        html = "".join(data["text/html"])
        data["text/html"] = re.sub(r"<img (?![^>]*\balt=)", '<img alt="The picture that belongs to this sound" ', html)
    return output


def staged(notebook: dict) -> dict:
    """A copy's content made ready for the book, in place."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":  # the book's pages lie beside the folder of notebooks, not inside it
            cell["source"] = [line.replace("](book/", "](../").replace("click the dots", "click the bar")
                              for line in cell["source"]]
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = [without_a_kernel(output) for output in cell["outputs"]]
        cell["metadata"] = {"tags": cell["metadata"].get("tags", [])}
        if "solution" in cell["metadata"]["tags"]:
            cell["metadata"]["tags"].append("hide-cell")
        cell["metadata"]["mystnb"] = {"image": {"alt": caption(notebook["cells"], index)}}
    return notebook


def slides(notebook: dict) -> dict:
    """A staged notebook turned into slides, in place: no code, and nothing from its limits and exercises on.

    `_static/book.css` gives every section a screen of its own on pages that hold the mark.
    """
    cells = notebook["cells"]
    end = next((index for index, cell in enumerate(cells)
                if re.search(r"^## (Limits|Exercises)", "".join(cell["source"]), re.MULTILINE)), len(cells))
    notebook["cells"] = cells[:end]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"]["tags"].append("remove-input")
        else:  # slides lie beside the book's pages
            cell["source"] = [line.replace("](../", "](") for line in cell["source"]]
    title = re.sub(r"^# (\d\d · )?", "# A first lecture: ", "".join(cells[0]["source"]))
    cells[0]["source"] = title.replace("\n", '\n\n<div class="slides"></div>\n', 1)
    return notebook


def effort(notebook: dict) -> tuple[float, float]:
    """Minutes that a notebook takes to read at WORDS and LINES a minute, without solutions, and that its cells ran."""
    words = lines = seconds = 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            words += len(re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL).split())
            continue
        if "solution" not in cell["metadata"].get("tags", []):
            lines += sum(bool(line.strip()) for line in text.splitlines())
        moments = cell["metadata"].get("execution", {})
        if {"iopub.execute_input", "shell.execute_reply"} <= moments.keys():
            begun, done = (datetime.fromisoformat(moments[name].replace("Z", "+00:00"))
                           for name in ("iopub.execute_input", "shell.execute_reply"))
            seconds += (done - begun).total_seconds()
    return words / WORDS + lines / LINES, seconds / 60


def effort_table(notebooks: dict[str, dict]) -> str:
    """Markdown for the guide: what a notebook and its 45-minute copy take to read, and what it took to run here."""
    rows = []
    for name, notebook in notebooks.items():
        reading, running = effort(notebook)
        part = f"{reading_in_short(notebook):.0f}" if not name.startswith("deeper") else "–"
        rows.append(f"| {name} | {reading:.0f} | {part} | {f'{running:.0f}' if running >= 1 else 'under 1'} |")
    head = (f"| notebook | minutes to read ({WORDS} words or {LINES} lines of code a minute) | in the 45-minute copy | "
            "minutes that the machine took for this copy |")
    return "\n".join([head, "|---|---|---|---|", *rows, ""])


def reading_in_short(notebook: dict) -> float:
    """Minutes that a lesson's 45-minute copy takes to read, without what is folded there."""
    return effort({"cells": [cell for cell in short(notebook)["cells"] if HIDDEN not in tags(cell)]})[0]


def title(path: Path) -> str:
    """What a notebook is called in a table."""
    return ("deeper: " if path.parent.name == "deeper" else "") + path.stem.replace("_", " ")


def addressed(page: str, settings: str) -> str:
    """A page with the repository's address, from pyproject.toml's text, where one belongs; as it is without one."""
    return page.replace("https://...", tomllib.loads(settings)["tool"]["v2a"]["repository"] or "https://...")


def stage(out: Path) -> None:
    """Write the book's source into `out`, which is emptied before."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(HERE, out, ignore=shutil.ignore_patterns("__pycache__", "stage.py", "requirements.*", "live"))
    for package, folder in PACKAGES.items():
        shutil.copytree(ROOT / folder, out / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "figures", out / "figures")
    shutil.copy(ROOT / "pyproject.toml", out)
    (out / "hosted.md").write_text(addressed((HERE / "hosted.md").read_text(), (out / "pyproject.toml").read_text()))
    for page, kept in {"report.md": "mini/REPORT.md", "measures.md": "results/audit.md"}.items():
        shutil.copy(ROOT / "data" / kept, out / page)
    (out / "notebooks" / "deeper").mkdir(parents=True)
    lessons = [path for folder in ("notebooks", "notebooks/deeper") for path in sorted((ROOT / folder).glob("*.ipynb"))]
    sources = {path: json.loads(path.read_text()) for path in lessons}
    (out / "effort.txt").write_text(effort_table({title(path): one for path, one in sources.items()}))
    for path, notebook in sources.items():
        notebook = staged(notebook)
        (out / path.relative_to(ROOT)).write_text(json.dumps(notebook))
        if path.name.startswith("00_"):
            (out / "slides.ipynb").write_text(json.dumps(slides(notebook)))


if __name__ == "__main__":
    stage(Path(sys.argv[1]))

"""What the notebooks say in text: results stand in outputs, which a rerun renews, and not in sentences."""

import json
import re

import pytest
from conftest import NOTEBOOKS, ROOT
from test_project import committed

NO_RESULT = re.compile(  # formulas, code, rows of tables, papers' numbers, places in the notebooks
    r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\d{4}\.\d{5}|^\|.*$|[Ss]ections? [\d, to]+|Figures? \d+|notebook \d\d",
    re.DOTALL | re.MULTILINE)
RESULT = re.compile(r"(?<![\w.])\d[\d,]*\.\d+|(?<![\w.])\d+%|\b\d+ times\b")  # decimals, shares, multiples
CONSTANTS = {
    "95%", "5%", "50%", "99%", "100%", "0.5",  # levels of intervals and tests, chance, all
    "0.01",  # CLIP's temperature
    "86%", "53%", "19%",  # what the paper's abstract says
    "48.83",  # M parameters, the paper's table; notebook 03 asserts that ours has as many
    "44.1",  # kHz, the other usual rate, which notebook 01 takes for 48
    "0.1", "0.9",  # nats in dB
    "0.96", "2.56",  # seconds of a frame of VGGish and of a sound of SoundWorld
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_sentence_holds_a_measured_number(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"][1:] if cell["cell_type"] == "markdown"]
    texts = [text for cell in cells if not (text := "".join(cell["source"])).startswith("## References")]
    found = {number for text in texts for number in RESULT.findall(NO_RESULT.sub("", text))}
    assert not found - CONSTANTS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_solution_is_hidden_with_its_output(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if "solution" in cell["metadata"].get("tags", [])]
    assert cells
    for cell in cells:
        assert cell["metadata"]["jupyter"] == {"source_hidden": True, "outputs_hidden": True}


def test_names_of_the_code_that_pages_give_exist():
    files = committed()
    code = "".join(path.read_text() for path in files if path.suffix in (".py", ".toml", ".json") or path.name == "Makefile")
    code += " ".join(path.relative_to(ROOT).as_posix() for path in files)
    pages = [path for path in files if path.suffix == ".md" and path.name != "CHANGELOG.md"]
    named = {(page.name, name) for page in pages for name in re.findall(r"(?<!\})`(?:\w+\.)*(\w+_\w+)(?:\(\))?`", page.read_text())}
    assert len(named) > 20 and not [name for name in named if name[1] not in code]

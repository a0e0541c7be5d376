"""The book: its parts belong together, and the built site has no broken link, formula, picture or player.

The site is built only where its builder is installed (`make book` does that); the rest is held always.
"""

import base64
import importlib.util
import json
import re
import subprocess
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
from conftest import NOTEBOOKS, ROOT
from matplotlib.colors import to_rgb

from v2a_utils.plotting import MARKERS

BOOK = ROOT / "notebooks" / "book"
PAGES = sorted(BOOK.glob("*.md"))
BUILDER = ROOT / ".venv-book" / "bin" / "python"


def load_stage():
    """The module that stages the book; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("stage", BOOK / "stage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stage():
    return load_stage()


# ---------------------------------------------------------------------------------------------- without the builder


def test_the_readme_shows_figures_and_sounds_that_are_there_and_small():
    text = (ROOT / "README.md").read_text()
    shown = re.findall(r"!\[([^]]+)\]\((.*?)\)", text)
    assert len(shown) >= 4 and all(len(alternative) > 40 for alternative, _ in shown)
    linked = [target for target in re.findall(r"\]\((.*?)\)", text) if not target.startswith("http")]
    assert not [target for target in linked if not (ROOT / target).exists()]
    assert sum(target.endswith(".mp3") for target in linked) >= 4
    assert sum(path.stat().st_size for path in (ROOT / "data" / "figures").iterdir()) < 1_500_000


def test_the_readme_brings_both_commands_on_its_first_screen():
    first = (ROOT / "README.md").read_text().splitlines()[:20]
    assert {"make sound", "make test"} <= {" ".join(line.split()[:2]) for line in first}


def test_every_page_is_in_the_table_of_contents():
    listed = set(re.findall(r"^([a-z_]+)$", (BOOK / "index.md").read_text(), re.MULTILINE)) | {"index"}
    assert {path.stem for path in PAGES} | {"report", "measures", "slides"} == listed


def test_every_page_has_one_title():
    titles = {path.name: re.findall(r"^# .+", path.read_text(), re.MULTILINE) for path in PAGES}
    titles = {name: [line for line in found if not line.startswith("# %%")] for name, found in titles.items()}
    assert not [name for name, found in titles.items() if not found]


def test_headings_go_down_by_one_level_at_a_time():
    """Else the builder ends with a warning that it takes for an error."""
    made = [ROOT / "data" / "results" / "audit.md", ROOT / "data" / "mini" / "REPORT.md"]
    for path in [*PAGES, *made]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
        steps = [later - earlier for earlier, later in zip([0, *levels], levels)]
        assert max(steps) <= 1, path.name


def test_the_bibliography_has_every_paper_that_a_notebook_cites_by_number():
    known = set(re.findall(r"eprint = \{(.*?)\}", (BOOK / "references.bib").read_text()))
    for path in NOTEBOOKS:
        text = "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]
                       if cell["cell_type"] == "markdown")
        assert not set(re.findall(r"\b\d{4}\.\d{5}\b", text)) - known, path.name


def test_pages_cite_only_what_the_bibliography_has():
    keys = set(re.findall(r"@\w+\{(.*?),", (BOOK / "references.bib").read_text()))
    for path in PAGES:
        assert not set(re.findall(r"\{cite:[pt]\}`(.*?)`", path.read_text())) - keys, path.name


def test_pages_link_only_to_what_the_book_has(stage):
    for path in PAGES:
        for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", path.read_text()):
            package, _, rest = target.removeprefix("api/").removesuffix("/index").partition("/")
            module = ROOT / stage.PACKAGES.get(package, package) / rest
            assert (target in ("report", "measures", "slides") or (BOOK / f"{target}.md").is_file() or module.is_dir()
                    or module.with_suffix(".py").is_file() or (ROOT / f"{target}.ipynb").is_file()), (path.name, target)


def test_a_copy_needs_no_kernel_and_folds_its_solution(stage):
    panel = {"output_type": "display_data", "metadata": {}, "data": {stage.WIDGET: {}, "text/plain": ["VBox()"]}}
    picture = {"output_type": "display_data", "metadata": {}, "data": {"text/html": ['<img src="a.png">']}}
    notebook = {"metadata": {"widgets": {}}, "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A title"]},
        {"cell_type": "code", "metadata": {"tags": ["solution"]}, "source": ["1"], "outputs": [panel, picture]},
        {"cell_type": "markdown", "metadata": {}, "source": ["**Figure 1.** A *dog*.\n", "\n", "More."]},
        {"cell_type": "code", "metadata": {}, "source": ["2"], "outputs": []}]}
    one, other = stage.staged(notebook)["cells"][1::2]
    assert "widgets" not in notebook["metadata"] and stage.WIDGET not in json.dumps(notebook)
    assert one["metadata"]["tags"] == ["solution", "hide-cell"] and "alt=" in one["outputs"][1]["data"]["text/html"]
    assert one["metadata"]["mystnb"]["image"]["alt"] == "Figure 1. A dog."
    assert other["metadata"]["mystnb"]["image"]["alt"] == "Figure to the section A title"


def test_what_was_found_is_the_text_of_the_figure_before_it(stage):
    finding = {"output_type": "display_data", "data": {"text/html": ['<div class="finding">'], "text/plain": ["Far."]}}
    cells = [{"cell_type": "markdown", "source": ["# A title"]}, {"cell_type": "code", "outputs": []},
             {"cell_type": "code", "outputs": [finding]}]
    assert stage.caption(cells, 1) == stage.caption(cells, 2) == "Far."


def test_the_first_cell_for_hosted_services_gets_the_address_from_the_one_place(stage):
    page = (BOOK / "hosted.md").read_text()
    assert page.count("https://...") == 1 and stage.addressed(page, '[tool.v2a]\nrepository = ""') == page
    there = stage.addressed(page, '[tool.v2a]\nrepository = "https://host/name"')
    assert 'REPOSITORY = "https://host/name"' in there


def test_slides_show_no_code_and_end_before_the_exercises(stage):
    notebook = {"metadata": {}, "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# 00 · A title\n", "\n", "Text."]},
        {"cell_type": "code", "metadata": {}, "source": ["1"], "outputs": []},
        {"cell_type": "markdown", "metadata": {}, "source": ["*A caption.*\n", "\n", "## Exercises"]}]}
    first, code = stage.slides(stage.staged(notebook))["cells"]
    assert first["source"].startswith("# A first lecture: A title\n") and "Text." in first["source"]
    assert "remove-input" in code["metadata"]["tags"]


# ------------------------------------------------------------------------------------------------- the site, if built


class Page(HTMLParser):
    """What a built page refers to."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.ids, self.links, self.loaded, self.images = path, set(), [], [], []
        self.formulas, self.text, self._code = 0, [], 0
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("img", "script", "audio", "source", "video", "iframe") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.loaded.append(values["href"])
        if tag == "img":
            self.images.append((values.get("src", ""), values.get("alt") or ""))
        self.formulas += tag == "math"
        self._code += tag in ("pre", "code", "script", "style")

    def handle_endtag(self, tag):
        self._code -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data):
        if not self._code:
            self.text.append(data)


@pytest.fixture(scope="module")
def site(stage, tmp_path_factory) -> dict[Path, Page]:
    """Every page of a site built anew, by its path. The builder itself refuses a page with a warning (-W)."""
    if not BUILDER.is_file():
        pytest.skip("the book's builder is not installed; `make book` installs it")
    folder = tmp_path_factory.mktemp("book")
    stage.stage(folder / "source")
    result = subprocess.run([BUILDER, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", folder / "source",
                             folder / "html"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return {path: Page(path) for path in (folder / "html").rglob("*.html") if "_static" not in path.parts}


def test_the_site_has_every_lesson_and_every_module(site):
    names = {path.name for path in site}
    assert {f"{path.stem}.html" for path in NOTEBOOKS} | {f"{path.stem}.html" for path in PAGES} <= names
    documented = {path.parent.name for path in site if "api" in path.parts}
    assert {path.stem for path in (ROOT / "v2a_utils").rglob("*.py") if path.stem[0] != "_"} <= documented


def test_no_link_is_broken(site):
    for path, page in site.items():
        for link in page.links:
            address, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", address) or link == "#" or address == "live/index.html":  # `make live` writes that
                continue
            target = (path.parent / address).resolve() if address else path
            assert target.is_file(), (path.name, link)
            if anchor and target in site:
                assert anchor in site[target].ids, (path.name, link)


def test_nothing_is_loaded_from_elsewhere_and_all_of_it_is_there(site):
    for path, page in site.items():
        for source in page.loaded:
            assert not re.match(r"(https?:)?//", source), (path.name, source[:100])
            if not source.startswith("data:"):
                assert (path.parent / unquote(source).split("?")[0]).is_file(), (path.name, source)


def test_every_picture_has_an_alternative_text(site):
    for path, page in site.items():
        assert not [source[:60] for source, alternative in page.images if not alternative.strip()], path.name


def test_every_player_holds_a_sound(site):
    players = [source for page in site.values() for source in page.loaded if source.startswith("data:audio")]
    assert len(players) > 50
    for source in players:
        kind, content = source.split(";base64,")
        begins = base64.b64decode(content)[:3]
        assert begins == b"ID3" or begins[:1] == b"\xff" or begins == b"RIF", kind


def test_formulas_are_drawn(site):
    formulas = {path.stem: page.formulas for path, page in site.items() if page.formulas}
    assert {"02_domain_gap", "03_mapper_training", "04_audioldm_generation", "06_no_pairs"} <= set(formulas)
    assert not [path.name for path, page in site.items() if "$$" in "".join(page.text)]


def test_search_finds_a_word_of_a_lesson_without_a_network(site):
    index = next(iter(site)).parents[0]
    while not (index / "searchindex.js").is_file():
        index = index.parent
    words = (index / "searchindex.js").read_text()
    assert words.startswith("Search.setIndex(") and "spectrogram" in words
    assert "searchindex.js" in (index / "search.html").read_text()


# ------------------------------------------------------------------------------------------------------------ colours

# what is left of linear red, green and blue without one kind of cone: Machado, Oliveira and Fernandes 2009, severity 1
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB (3,) under D65."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    ratio = np.array(to_xyz) @ np.clip(linear, 0, 1) / (0.95047, 1, 1.08883)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_tell_the_colours_of_the_collection_apart(kind):
    srgb = np.array([to_rgb(colour) for colour in MARKERS])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = [lab(np.array(BLINDNESS[kind]) @ colour) for colour in linear]
    differences = [np.linalg.norm(one - two) for one, two in combinations(seen, 2)]
    assert min(differences) > 15  # 2.3 is just noticeable side by side; marks in a plot lie apart and are small

"""Sphinx's configuration of the book. `make book` stages the pages (stage.py), then builds without running a cell."""

import re
import tomllib
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

HERE = Path(__file__).parent  # the staged copy: out/book/source
SETTINGS = tomllib.loads((HERE / "pyproject.toml").read_text())
REPOSITORY = SETTINGS["tool"]["v2a"]["repository"]  # the one place where the public address belongs; may be empty

project, author = "Pictures into sound", "the contributors"
project_copyright = "the contributors, Apache-2.0"
extensions = ["myst_nb", "autoapi.extension", "sphinxcontrib.bibtex", "sphinx_copybutton"]
highlight_language = "none"
default_role = "literal"  # docstrings write `names` with single backticks
exclude_patterns = ["_build", "v2a_utils", "soundworld", "v2a_pretraining"]

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_ipywidgets_js = {}  # panels need a running kernel, so their scripts (from elsewhere) are left out
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {"repository": REPOSITORY or "(this copy names no public address yet)"}

autoapi_dirs = ["v2a_utils", "soundworld", "v2a_pretraining"]
autoapi_root = "api"
autoapi_options = ["members", "show-inheritance", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"
suppress_warnings = ["autoapi.python_import_resolution", "misc.highlighting_failure"]

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static", "figures"]  # of the figures the front page plays the sounds
html_css_files = ["book.css"]
html_context = {"default_mode": "auto"}  # light or dark as the reader's machine is
html_sidebars = {"**": ["navbar-logo.html", "sbt-sidebar-nav.html"]}  # the search's button is in the header
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # summaries would be fetched, which a browser refuses for pages opened from disk
html_theme_options = {"use_download_button": False, "home_page_in_toc": True, "show_toc_level": 2}
if REPOSITORY:
    html_theme_options |= {
        "repository_url": REPOSITORY, "use_repository_button": True, "path_to_docs": "",
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    }


def _formula(translator, node: nodes.Element) -> None:
    """A formula as MathML, which browsers draw by themselves: no script, no fonts, no network."""
    block = isinstance(node, nodes.math_block)
    formula = convert(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def _read_plainly(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: a bar, a star or a trailing underscore in them is no markup."""
    lines[:] = [re.sub(r"(`[^`]*`)|([|*]|_(?!\w))", lambda match: match[1] or "\\" + match[2], line) for line in lines]


def setup(app) -> None:
    """Formulas become MathML at build time, docstrings are read as they were written."""
    app.connect("autodoc-process-docstring", _read_plainly)
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))


html_math_renderer = "mathml"

"""The built book in a browser, opened from disk as a reader opens it: `make book` comes first."""

import pytest
from conftest import ROOT

from browser.lab import SCREENSHOTS, faint, play

HTML = ROOT / "out" / "book" / "html"
PAGES = ["index", "notebooks/00_picture_to_sound", "notebooks/02_domain_gap", "notebooks/05_evaluation", "guide",
         "slides", "glossary", "stacks", "functions", "api/v2a_utils/pipeline/index"]
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason="the book is not built: make book")


def go(page, name: str, theme: str = "light") -> None:
    page.goto((HTML / f"{name}.html").as_uri())
    page.evaluate("theme => Object.assign(document.documentElement.dataset, {theme: theme, mode: theme})", theme)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width, theme", [(420, "light"), (1400, "dark")])
def test_a_page_fits_its_window_and_can_be_read(page, name, width, theme):
    page.set_viewport_size({"width": width, "height": 900})
    go(page, name, theme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"book-{name.split('/')[-1]}-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 1
    assert page.evaluate("[...document.images].filter(one => one.complete && !one.naturalWidth).length") == 0
    assert page.evaluate("[...document.images].filter(one => !one.alt).length") == 0
    words = page.locator("article p, article li, article td, article h1, article h2")
    assert words.count() > 0 and faint(page.locator("article").first) == []


def test_a_player_of_the_book_plays(page):
    go(page, "notebooks/00_picture_to_sound")
    play(page.locator("audio").first)
    silent = "[...document.querySelectorAll('audio')].filter(one => !one.src && !one.querySelector('source')).length"
    assert page.evaluate(silent) == 0


def test_formulas_are_drawn_without_a_network(page):
    go(page, "notebooks/03_mapper_training")
    formulas = page.locator("math")
    assert formulas.count() > 3 and all(formulas.nth(i).bounding_box()["height"] > 5 for i in range(formulas.count()))
    assert "$$" not in page.locator("article").first.inner_text()


def test_a_word_is_found_without_a_network(page):
    page.context.set_offline(True)
    page.goto((HTML / "search.html").as_uri() + "?q=guidance")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results li").count() > 2
    page.context.set_offline(False)

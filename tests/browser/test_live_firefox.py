"""The page that hears pictures in the system's Firefox, from disk and from a server: `make live` comes first."""

import time

import pytest

from browser.bidi import Firefox, firefox_path
from browser.lab import SCREENSHOTS
from browser.live import FOLDER, written

pytestmark = pytest.mark.skipif(not (FOLDER / "index.html").is_file(), reason="the page is not built: make live")
UNTIL = "(async () => {{ while (!({condition})) await new Promise(done => setTimeout(done, 100)); return true; }})()"


@pytest.fixture
def firefox(tmp_path):
    if firefox_path() is None:
        pytest.skip("Firefox is not installed")
    opened = Firefox(tmp_path / "profile")
    yield opened
    opened.close()


@pytest.mark.parametrize("where", ["disk", "server"])
def test_a_sound_is_made_and_nothing_is_asked_of_anyone(firefox, address, where):
    page = (FOLDER / "index.html").as_uri() if where == "disk" else address
    begun = time.monotonic()
    firefox.resize(1280, 900)
    firefox.goto(page)
    firefox.evaluate(UNTIL.format(condition="document.querySelector('#strip button')"))
    firefox.evaluate("document.querySelector('#strip button[aria-label=dog]').click()")
    firefox.evaluate("byId('make').click()")
    firefox.evaluate(UNTIL.format(condition="sound !== null && !busy"))
    written(f"Firefox from {where}: first sound", time.monotonic() - begun)
    assert firefox.evaluate("[sound.wave.length, Math.max(...sound.wave) > 0.05]") == [40_960, True]
    firefox.evaluate(UNTIL.format(condition="document.body.dataset.ready"))
    begun = time.monotonic()
    firefox.evaluate("byId('another').click()")
    firefox.evaluate(UNTIL.format(condition="sound.options.seed === 1 && !busy"))
    written(f"Firefox from {where}: next sound", time.monotonic() - begun)
    firefox.screenshot(SCREENSHOTS / f"live-firefox-{where}.png")
    firefox.resize(360, 800)
    assert firefox.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    own = page.rsplit("/", 1)[0]
    assert [url for url in firefox.requests if not url.startswith((own, "blob:", "data:", "about:"))] == []
    assert firefox.errors == []

"""The page that hears pictures as a person uses it, in a browser that Playwright drives."""

import csv

from conftest import ROOT

from browser.lab import SCREENSHOTS

FOLDER = ROOT / "out" / "book" / "html" / "live"
PATIENCE = 60_000  # milliseconds for a sound, on a machine that is busy with other things


def written(name: str, seconds: float) -> None:
    """Add a time to the table."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with open(SCREENSHOTS / "live-times.csv", "a", newline="") as file:
        csv.writer(file).writerow((name, f"{seconds:.1f}"))


class Live:
    """The page as a person uses it."""

    def __init__(self, browser, address: str | None = None, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True}
                                           | options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address or (FOLDER / "index.html").as_uri())
        self.page.locator("#strip button").first.wait_for()

    def ready(self):
        self.page.locator("body[data-ready]").wait_for()
        return self

    def settle(self) -> None:
        """Wait until what was asked for is done."""
        self.page.wait_for_function("() => byId('make').getAttribute('aria-disabled') === 'false'")

    def press(self) -> dict:
        """Press the button and wait: what the sound was made with, its length, what is heard."""
        self.page.locator("#make").click()
        self.settle()
        return self.sound()

    def sound(self) -> dict:
        return self.page.evaluate("sound && {options: sound.options, length: sound.wave.length, heard: sound.heard, "
                                  "loud: Math.max(...sound.wave.map(Math.abs)), strange: sound.strange, by: sound.by}")

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def kept(self) -> int:
        return self.page.locator("#kept li:not(.empty)").count()

    def look(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"live-{name}.png", full_page=True)

    def elsewhere(self) -> list[str]:
        """Requests to anything but the page's own folder."""
        own = self.page.url.rsplit("/", 1)[0]
        return [url for url in self.requests if not url.startswith((own, "blob:", "data:"))]

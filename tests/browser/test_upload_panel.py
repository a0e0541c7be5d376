"""Notebook 04's panel in JupyterLab: every control, every kind of file, impatient presses, widths and themes."""

import io

import pytest
import soundfile
from conftest import PHOTOS, needs_photos
from PIL import Image

from browser.lab import cut_off, faint, play

CELLS = ["c01", "c02", "c03", "c04", "c37"]  # up to the examples, and the panel's
SEVERAL = 200  # denoising steps: enough for a person to press again while the sound is being made


class Panel:
    """The panel's parts, by what a person calls them."""

    def __init__(self, lab):
        self.lab, self.page = lab, lab.page
        self.place = self.page.locator(".jp-OutputArea-child", has=self.page.get_by_role("button", name="make a sound"))
        self.button = self.place.get_by_role("button", name="make a sound")
        self.upload_button = self.place.get_by_role("button", name="upload")
        self.cards = self.place.locator("div:has(> audio):has(> a[download])")

    def set(self, name: str, value) -> None:
        """Choose in a list or type into a field."""
        field = self.place.get_by_label(name, exact=True)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))
            field.press("Tab")

    def give(self, path) -> None:
        """Upload a file and wait until its name is shown."""
        with self.page.expect_file_chooser() as chooser:
            self.upload_button.click()
        chooser.value.set_files(path)
        self.place.get_by_text(f"{path.name} (").wait_for()

    def press(self) -> None:
        """Press the button and wait until the kernel has answered everything."""
        self.button.click()
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_timeout(1000)  # the press reaches the kernel
        self.lab.idle()
        self.page.wait_for_timeout(500)  # what it says reaches the page

    def saved(self, number: int = 0):
        """The sound that a card's link saves: its samples, its rate and the name of the file."""
        with self.page.expect_download() as download:
            self.cards.nth(number).get_by_role("link").click()
        with open(download.value.path(), "rb") as file:
            samples, rate = soundfile.read(io.BytesIO(file.read()))
        return samples, rate, download.value.suggested_filename


@pytest.fixture(scope="module")
def panel(lab):
    lab.open("04", CELLS, "STEPS = 4")
    lab.run_all()
    return Panel(lab)


def test_a_sound_is_made_played_and_saved(panel):
    panel.press()
    assert panel.cards.count() == 1
    play(panel.cards.first.locator("audio"))
    samples, rate, name = panel.saved()
    assert len(samples) / rate == pytest.approx(2.56, abs=0.1) and abs(samples).max() > 0.05
    assert name.endswith("-diffusion-steps4-guidance2-seed0.wav")
    panel.lab.look("panel-made", panel.button)


@pytest.mark.parametrize("name, value", [("picture", 1), ("mapper", "regression"), ("steps", 6), ("guidance", 6),
                                         ("seed", 3)])
def test_each_control_changes_the_sound(panel, name, value):
    before, count = panel.saved()[0], panel.cards.count()
    if name == "picture":
        value = panel.place.get_by_label("picture").locator("option").nth(value).inner_text()
    panel.set(name, value)
    panel.press()
    after = panel.saved()[0]
    assert panel.cards.count() == count + 1
    assert len(before) != len(after) or abs(before - after).max() > 1e-3


def test_pressing_twice_makes_one_sound(panel):
    count = panel.cards.count()
    panel.set("seed", 11)
    panel.set("steps", SEVERAL)
    panel.button.dblclick()
    panel.settle()
    assert panel.cards.count() == count + 1
    assert panel.place.get_by_text("the same sound").is_visible() or panel.button.is_enabled()


def test_what_is_changed_while_a_sound_is_made_counts_for_the_next_one(panel):
    panel.set("seed", 12)
    panel.button.click()
    panel.set("seed", 13)
    panel.settle()
    assert "seed12.wav" in panel.saved()[2]
    panel.set("steps", 4)
    panel.press()
    assert "steps4-guidance6-seed13.wav" in panel.saved()[2]


def test_no_upload_a_broken_one_and_one_of_a_wrong_type_are_said_and_lose_nothing(panel, tmp_path):
    count = panel.cards.count()
    panel.set("picture", "my upload")
    panel.press()
    assert panel.place.get_by_text("choose a picture or a video first").is_visible()
    files = {"broken.png": b"no picture", "notes.txt": b"only words", "empty.jpg": b"", "a&<b>.mp4": b"?"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        panel.give(tmp_path / name)
        panel.press()
        said = panel.place.locator(".jp-OutputArea-output pre").last.inner_text()
        assert name in said and len(said.strip().splitlines()) == 1, said
        assert panel.button.is_enabled() and panel.cards.count() == count
    panel.lab.look("panel-broken", panel.button)
    assert panel.lab.errors() == []


def test_a_picture_with_transparency_gets_its_sound(panel, tmp_path):
    count = panel.cards.count()
    Image.new("RGBA", (300, 40), (200, 30, 30, 90)).save(tmp_path / "strip.png")
    panel.give(tmp_path / "strip.png")
    panel.press()
    assert panel.cards.count() == min(count + 1, 8)


@needs_photos
def test_a_photograph_gets_its_sound_or_a_sentence(panel):
    photo = next(path for path in PHOTOS if path.name.startswith("dog"))
    panel.give(photo)
    panel.press()
    panel.lab.look("panel-photograph", panel.button)
    assert panel.cards.first.locator("b").inner_text() != ""
    play(panel.cards.first.locator("audio"))


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [700, 1100, 1900])
def test_nothing_is_cut_off_or_faint(panel, width, theme):
    panel.lab.theme(theme)
    panel.lab.widen(width)
    panel.lab.look(f"panel-{width}-{theme.lower()}", panel.place.get_by_label("picture"))
    assert cut_off(panel.place) == []
    assert faint(panel.place) == []

"""The page that hears pictures in the system's Chromium, from disk and from a server: `make live` comes first.

Times are written to out/browser/live-times.csv, not asserted: they depend on what else the machine does.
"""

import io
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import PHOTOS, needs_photos
from PIL import Image

from browser.lab import SCREENSHOTS, faint
from browser.live import FOLDER, Live, written

pytestmark = pytest.mark.skipif(not (FOLDER / "index.html").is_file(), reason="the page is not built: make live")
MEMORY = 600e6  # bytes of a renderer


@pytest.fixture(scope="module")
def live(browser):
    """One page for the tests that do not need a fresh one."""
    opened = Live(browser).ready()
    yield opened
    assert opened.errors == [] and opened.elsewhere() == []
    opened.context.close()


# ------------------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize("where", ["disk", "server"])
def test_a_press_before_the_models_are_open_is_answered_and_nothing_is_asked_of_anyone(browser, address, where):
    begun = time.monotonic()
    live = Live(browser, None if where == "disk" else address)
    first = live.press()
    written(f"Chromium from {where}: first sound", time.monotonic() - begun)
    assert first["length"] == 40_960 and first["loud"] > 0.05 and live.kept() == 1
    live.ready()
    begun = time.monotonic()
    live.page.locator("#another").click()
    live.page.wait_for_function("() => sound.options.seed === 1")
    written(f"Chromium from {where}: next sound", time.monotonic() - begun)
    assert live.errors == [] and live.elsewhere() == []
    live.context.close()


def test_the_page_is_small():
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert 1e7 < size < 6e7


def test_a_page_closed_amid_a_sound_opens_again(browser):
    live = Live(browser)
    live.page.locator("#make").click()
    live.page.wait_for_timeout(1000)
    live.page.reload()
    live.page.locator("#strip button").first.wait_for()
    assert live.press()["loud"] > 0.05 and live.errors == []
    live.context.close()


# ------------------------------------------------------------------------------------------------------- making


def test_drawings_are_heard_as_what_they_show(live):
    """Of four drawings at least three: the models err now and then, here as in the package."""
    right = 0
    for name in ("dog", "bell", "train", "frog"):
        live.page.get_by_role("radio", name=name, exact=True).click()
        live.page.wait_for_function("name => chosen.what.includes(name)", arg=name)
        heard = live.press()["heard"]
        right += heard[0][0].startswith(name)
    assert right >= 3


def test_every_control_changes_the_sound_and_the_same_settings_give_the_same(live):
    print_of = "Array.from(sound.wave.slice(8000, 8050))"
    live.page.locator("#settings summary").click()
    live.page.get_by_label("seed", exact=True).fill("5")
    live.press()
    before = live.page.evaluate(print_of)
    live.press()
    assert live.page.evaluate(print_of) == before
    for label, value in (("seed", "6"), ("guidance scale", "4"), ("denoising steps", "5"), ("mapper", "regression"),
                         ("mapper", "words"), ("mapper", "none")):
        if label == "mapper":
            live.page.get_by_role("combobox", name="mapper").select_option(value)
        else:
            live.page.get_by_label(label, exact=True).fill(value)
        live.press()
        after = live.page.evaluate(print_of)
        assert after != before
        before = after
    live.page.get_by_role("combobox", name="mapper").select_option(index=0)
    live.page.get_by_label("denoising steps", exact=True).fill("12")
    live.page.get_by_label("guidance scale", exact=True).fill("2")


@pytest.mark.parametrize("value, kept", [("", 12), ("-3", 1), ("1000", 50), ("7.6", 8)])
def test_a_number_that_cannot_be_becomes_one_that_can(live, value, kept):
    live.page.get_by_label("denoising steps", exact=True).fill(value)
    assert live.page.evaluate("readSettings().steps") == kept
    live.page.get_by_label("denoising steps", exact=True).fill("12")


def test_ten_presses_make_one_sound(live):
    live.page.evaluate("byId('seed').value = 31")
    before = live.page.evaluate("byId('kept').children.length")
    live.page.evaluate("while (byId('kept').children.length) byId('kept').lastChild.remove()")
    live.page.evaluate("for (let i = 0; i < 10; i++) { byId('make').click(); byId('another').click(); }")
    live.settle()
    assert before and live.kept() == 1 and live.sound()["options"]["seed"] == 31


def test_stopping_gives_what_the_model_guesses_then(live):
    live.page.evaluate("byId('steps').value = 50")
    live.page.locator("#make").click()
    live.page.wait_for_function("() => /step [3-9]/.test(byId('status').textContent)")
    live.page.get_by_role("button", name="Stop", exact=True).click()
    live.settle()
    assert live.page.evaluate("sound.steps") < 50 and "stopped at" in live.page.locator("#kept li").first.inner_text()
    live.page.evaluate("byId('steps').value = 12")


def test_the_last_eight_sounds_stay_and_one_is_saved(live):
    live.page.evaluate("byId('steps').value = 1")
    for _ in range(9):
        live.press()
    live.page.evaluate("byId('steps').value = 12")
    assert live.kept() == 8
    with live.page.expect_download() as download:
        live.page.locator("#save").click()
    samples, rate = soundfile.read(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert rate == 16_000 and len(samples) == 40_960
    ours = np.array(live.page.evaluate("Array.from(sound.wave)"))
    assert np.abs(samples - ours).max() < 1e-4 and download.value.suggested_filename.endswith(".wav")


# ------------------------------------------------------------------------------------------- stops, map, and game


def test_every_stop_does_what_it_says(live):
    live.page.get_by_role("radio", name="dog", exact=True).click()
    said = {}
    for button in ("Without mapper", "With it again", "0", "1", "5", "Hear step 3", "Hear the last"):
        live.page.locator("#tour").get_by_role("button", name=button, exact=True).click()
        live.page.wait_for_timeout(100)
        live.settle()
        said[button] = live.sound()["options"] | {"caption": live.page.locator("#mel-caption").inner_text()}
    assert said["Without mapper"]["mapper"] == "none" and said["With it again"]["mapper"] != "none"
    assert [said[scale]["guidance"] for scale in "015"] == [0, 1, 5]
    assert "step 3" in said["Hear step 3"]["caption"] and "all" in said["Hear the last"]["caption"]
    assert "guidance 5" in live.page.locator("#unusual").inner_text()
    live.page.get_by_role("button", name="Back to the usual").click()
    assert live.page.evaluate("readSettings().guidance === settings.guidance && byId('unusual').hidden")
    seed = live.page.evaluate("sound.options.seed")
    live.page.get_by_role("button", name="Three more seeds").click()
    live.page.wait_for_function("seed => sound.options.seed === seed + 3 && !busy", arg=seed)
    live.page.get_by_role("button", name="A picture of noise").click()
    live.page.wait_for_timeout(100)
    live.settle()
    made = live.sound()
    assert made["options"]["mapper"] == said["With it again"]["mapper"]
    assert made["strange"] or not live.page.evaluate("settings.photo")  # by the classifiers, whatever CLIP's space says


def test_what_a_stop_was_answered_stands_below_it_and_can_be_played_again(live):
    stop = live.page.locator("#tour > li").nth(1)
    for scale in ("0", "1", "1"):
        stop.get_by_role("button", name=scale, exact=True).click()
        live.settle()
    titles = [words.split(":")[0] for words in stop.locator(".tried span").all_inner_texts()]
    assert titles[-2:] == ["Guidance 0", "Guidance 1"] and len(set(titles)) == len(titles)
    shades = "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size"
    assert stop.locator(".tried canvas").first.evaluate(shades) > 20
    live.page.evaluate("silence()")
    stop.get_by_role("button", name="Play: Guidance 0").click()
    assert live.page.evaluate("playing !== null")
    live.page.evaluate("backToUsual()")


def test_the_map_shows_the_picture_crossing_and_answers_a_finger_and_keys(live):
    live.page.get_by_role("radio", name="cat", exact=True).click()
    live.press()
    marks = live.page.locator("#map .own.vision, #map .own.mapped")
    assert marks.count() == 2 and live.page.locator("#map .way").count() == 1
    live.page.locator("#map").scroll_into_view_if_needed()
    box = live.page.locator("#map .sound").nth(33).bounding_box()
    live.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    live.page.locator("#touched").wait_for()
    assert "of a" in live.page.locator("#touched").inner_text() and live.page.evaluate("worldMap.at !== null")
    live.page.locator("#map").focus()
    moved = 0
    for key, axis, sign in (("ArrowUp", 1, -1), ("ArrowLeft", 0, -1), ("ArrowDown", 1, 1), ("ArrowRight", 0, 1)):
        before = live.page.evaluate("worldMap.place(worldMap.at)")
        live.page.keyboard.press(key)
        after = live.page.evaluate("worldMap.place(worldMap.at)")
        assert after == before or sign * (after[axis] - before[axis]) > 0, key
        moved += after != before
    assert moved >= 3  # only at a border is there nothing further that way
    live.page.keyboard.press("Enter")
    live.page.wait_for_function("() => playing !== null")
    before = live.page.locator("#map .picture").first.get_attribute("cx")
    live.page.get_by_label("show all pictures after the mapper").check()
    assert live.page.locator("#map .picture").first.get_attribute("cx") != before


def test_a_place_on_the_map_is_the_builders(live):
    """The page puts a mapped picture where the builder put it, by the same rule."""
    from v2a_utils.mappers import trained_mapper
    from v2a_utils.stacks import load_stack

    stack = load_stack("mini", "cpu")
    size = stack.vision.embed_dim
    visual = live.page.evaluate(f"Array.from(worldMap.tensors.points.values.slice(0, {5 * size}))")
    mapped = trained_mapper(stack, "regression").map(np.array(visual, np.float32).reshape(5, size))
    places = live.page.evaluate("rows => rows.map(row => worldMap.placeOf(row, settings))", mapped.tolist())
    built = live.page.evaluate("Array.from(worldMap.tensors['places regression'].values.slice(0, 10))")
    assert np.allclose(np.ravel(places), built, atol=1e-4)


def test_a_game_of_ten_rounds_keeps_the_score(live):
    live.page.get_by_role("button", name="Play ten rounds").click()
    right = 0
    for number in range(1, 11):
        live.page.get_by_text(f"Round {number} of 10. Listen to both.").wait_for()
        live.page.get_by_role("button", name="▶ A").click()
        live.page.get_by_role("button", name="A is real").dblclick(force=True)
        verdict = live.page.locator("#verdict").inner_text()
        right += verdict.startswith("Right")
        assert f"Score {right} of {number}" in verdict
        if number < 10:
            live.page.get_by_role("button", name="Next", exact=True).click()
    assert not live.page.get_by_role("button", name="Next", exact=True).is_visible()
    live.look("game")


# ----------------------------------------------------------------------------------------- pictures of one's own


def give(live, path) -> None:
    live.page.locator("#file").set_input_files(path)
    live.page.wait_for_function("name => byId('status').textContent.includes(name)", arg=path.name)


def test_a_broken_picture_is_said_and_loses_nothing(live, tmp_path):
    for name, content in {"broken.png": b"no picture", "empty.jpg": b"", "a&<b>.gif": b"GIF89a?"}.items():
        (tmp_path / name).write_bytes(content)
        before = live.page.evaluate("chosen.what")
        give(live, tmp_path / name)
        assert "not a picture that this browser can read" in live.status()
        assert live.page.evaluate("chosen.what") == before
    assert live.press()["loud"] > 0.01


def test_a_picture_of_fifty_megapixels_is_taken_and_a_larger_one_refused(live, tmp_path):
    Image.new("RGB", (8660, 5774), (90, 140, 60)).save(tmp_path / "large.jpg", quality=50)
    give(live, tmp_path / "large.jpg")
    assert "is here" in live.status()
    live.press()
    Image.new("L", (12_000, 8000)).save(tmp_path / "vast.png")
    give(live, tmp_path / "vast.png")
    assert "million pixels" in live.status()


def test_transparency_lies_on_white_and_a_strip_is_refused(live, tmp_path):
    Image.new("RGBA", (60, 60), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    give(live, tmp_path / "clear.png")
    assert set(live.page.evaluate("Array.from(chosen.picture.data)")) == {255}
    Image.new("RGB", (2000, 40)).save(tmp_path / "strip.png")
    give(live, tmp_path / "strip.png")
    assert "too narrow" in live.status()


@needs_photos
def test_photographs_go_by_the_classifiers_as_in_the_package(live):
    if not live.page.evaluate("settings.photo"):
        pytest.skip("the page was built without the classifiers of photographs")
    from v2a_utils.data.media import load_frames
    from v2a_utils.pipeline import is_drawn
    from v2a_utils.stacks import load_stack

    stack = load_stack("mini", "cpu")
    live.page.evaluate("byId('mapper').selectedIndex = 0")
    for path in PHOTOS[:6]:
        live.page.evaluate("sound = null")
        give(live, path)
        made, frames = live.press(), load_frames(path)
        seen, visual = stack.photo.see(frames), stack.vision.embed_frames(frames)
        drawn = is_drawn(stack, visual, lambda own=frames: own)
        assert not drawn and bool(made and made["by"]) == bool(seen.chosen), (path.name, live.status())
        assert seen.names[0][0] in live.status()
    live.look("photograph")


def test_what_the_reader_is_told_stays_while_models_are_opened(browser, tmp_path):
    live = Live(browser)
    Image.new("RGB", (60, 60), "teal").save(tmp_path / "teal.png")
    give(live, tmp_path / "teal.png")
    live.ready()
    assert "is here" in live.status()
    live.context.close()


def test_a_drawing_given_as_a_file_goes_by_clip(live, tmp_path):
    from soundworld import draw, make_scene

    draw(make_scene("test", 5)).save(tmp_path / "drawing.png")
    give(live, tmp_path / "drawing.png")
    made = live.press()
    assert made and not made["by"] and not made["strange"]


def test_a_camera_gives_a_picture(browser):
    camera = browser.browser_type.launch(
        executable_path=_chromium(),
        args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
    live = Live(camera)
    live.page.get_by_role("button", name="Camera").click()
    live.page.get_by_role("button", name="Take the picture").click()
    live.page.get_by_text("The picture is taken").wait_for()
    assert live.page.evaluate("chosen.own && chosen.picture.width > 100")
    assert not live.page.locator("#video").is_visible()
    assert live.errors == []
    camera.close()


# ------------------------------------------------------------------------------------------- everybody, everywhere


@pytest.mark.parametrize("width, scheme", [(360, "light"), (360, "dark"), (1280, "dark"), (1280, "light")])
def test_the_page_fits_and_every_word_can_be_read(browser, width, scheme):
    live = Live(browser, viewport={"width": width, "height": 800}, color_scheme=scheme).ready()
    live.press()
    live.page.wait_for_timeout(3000)
    live.look(f"{width}-{scheme}")
    assert live.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert faint(live.page.locator("body")) == []
    small = live.page.evaluate("""() => [...document.querySelectorAll('button, select, input:not(#file), a.button')]
        .filter(one => one.offsetWidth && !one.closest('label:has(input[type=checkbox])'))
        .filter(one => one.getBoundingClientRect().height < 24 || one.getBoundingClientRect().width < 24)
        .map(one => one.id || one.textContent)""")
    assert small == []
    live.context.close()


def test_a_keyboard_is_enough(browser):
    live = Live(browser).ready()
    for _ in range(40):
        live.page.keyboard.press("Tab")
        if live.page.evaluate("document.activeElement.getAttribute('role') === 'radio'"):
            break
    first = live.page.evaluate("chosen.what")
    live.page.keyboard.press("ArrowRight")
    live.page.wait_for_function("first => chosen.what !== first", arg=first)
    for _ in range(10):
        live.page.keyboard.press("Tab")
        if live.page.evaluate("document.activeElement.id === 'make'"):
            break
    live.page.keyboard.press("Enter")
    live.page.wait_for_function("() => sound !== null && !busy")
    assert live.status().startswith("Done")
    live.context.close()


def test_a_screen_reader_has_a_name_for_everything(live):
    nameless = live.page.evaluate("""() => [
        ...document.querySelectorAll('button, input, select, a, canvas, svg, progress')]
        .filter(one => one.offsetWidth || one.tagName === 'svg')
        .filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || one.title || one.labels?.length))
        .map(one => one.outerHTML.slice(0, 80))""")
    assert nameless == []
    assert live.page.locator("[role=status][aria-live=polite]").count() >= 1
    assert live.page.locator("img:not([alt])").count() == 0
    assert live.page.evaluate("document.documentElement.lang") == "en"
    levels = [int(name[1]) for name in live.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map(one => one.tagName)")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:]))


def test_the_page_stays_alive_while_it_computes(live):
    """Frames are drawn while a sound is made: the longest wait for one is far shorter than the sound takes."""
    live.page.evaluate("byId('seed').value = 77")
    longest, whole = live.page.evaluate("""async () => {
        const begun = performance.now();
        let before = begun, longest = 0, done = false;
        makeSound().then(() => { done = true; });
        while (!done) {
            await new Promise(resolve => setTimeout(resolve, 10));
            longest = Math.max(longest, performance.now() - before);
            before = performance.now();
        }
        return [longest, performance.now() - begun];
    }""")
    assert longest < whole / 2


def test_the_renderer_takes_less_memory_than_it_may(browser):
    live = Live(browser).ready()
    for _ in range(3):
        live.press()
    Image.new("RGB", (8660, 5774), (90, 140, 60)).save(SCREENSHOTS / "large.jpg", quality=50)
    give(live, SCREENSHOTS / "large.jpg")
    live.press()
    (SCREENSHOTS / "large.jpg").unlink()
    found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = [int(line.split()[1]) * 1024 for one in found if one["type"] == "renderer"
             for line in Path(f"/proc/{one['id']}/status").read_text().splitlines() if line.startswith("RssAnon")]
    written("Chromium: renderer's memory, MB", max(sizes) / 1e6)
    assert 5e7 < max(sizes) < MEMORY
    live.context.close()


def _chromium() -> str:
    import shutil

    from browser.conftest import BROWSERS

    return next(filter(None, map(shutil.which, BROWSERS)))

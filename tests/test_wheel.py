"""An installed wheel: the package alone, without the checkout, makes a sound."""

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


def test_every_room_is_in_the_wheel(installed):
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("v2a_utils/**/__init__.py")}
    rooms = {folder.as_posix().replace("/", ".") for folder in folders}
    assert set(listed) == rooms | {"v2a_utils.embedded", "soundworld", "v2a_pretraining"}
    modules = {path.relative_to(ROOT) for path in ROOT.glob("v2a_utils/**/*.py")}
    assert not [path for path in modules if not (installed / path).is_file()]
    assert not list(installed.rglob("*.mp3"))  # the authors' sounds have a licence of their own
    beside = {"soundworld": "data/soundworld", "v2a_pretraining": "data/pretraining"}
    assert not [path.name for name, folder in beside.items() for path in (ROOT / folder).glob("*.py")
                if not (installed / name / path.name).is_file()]


def test_an_installed_wheel_makes_a_sound_from_an_empty_folder(installed, tmp_path):
    draw(plain_scene("dog")).save(tmp_path / "dog.png")
    run = subprocess.run(
        [sys.executable, "-m", "v2a_utils", "sound", "dog.png", "--steps", "1", "--candidates", "1", "--seconds", "1"],
        cwd=tmp_path, env=offline_environment() | {"PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "dog.wav").is_file()

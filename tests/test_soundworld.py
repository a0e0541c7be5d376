"""SoundWorld: purity, and what each cause does to the picture and to the sound."""

import csv
import hashlib
from dataclasses import asdict

import librosa
import numpy as np
import pytest
import soundfile
from conftest import plain_scene
from PIL import Image
from scipy.stats import spearmanr
from soundworld import (
    CLASSES,
    FAMILIES,
    IMAGE_SIZE,
    KINDS,
    NUM_SAMPLES,
    OOD_STYLES,
    SAMPLE_RATE,
    SPLITS,
    STYLES,
    draw,
    make_scene,
    other_take,
    picture_caption,
    sound_caption,
    synthesise,
)
from soundworld.captions import COLOURS, TEMPI, TIMBRES, class_prompt, noun, vocabulary

from v2a_utils.__main__ import main

IMAGEHEAR = {
    "accordion", "bass", "bells", "bird", "bongo", "car", "cat", "chicken", "cow", "cricket", "dog", "drums", "duck",
    "flute", "frog", "guitar", "gun", "harmonica", "horse", "lion", "motorcycle", "people", "piano", "police", "rain",
    "saxophone", "sheep", "train", "trumpet", "waterfall",
}
THINGS = {"size", "count", "distance", "hue", "mirrored", "tilt", "place", "timbre", "tempo", "take"}


def picture(scene) -> bytes:
    return draw(scene).tobytes()


def digest(scene) -> str:
    return hashlib.sha256(picture(scene) + synthesise(scene).tobytes()).hexdigest()


def centroid(waveform: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE) * power).sum() / power.sum())


def measured_pitch(name: str, waveform: np.ndarray) -> float:
    """Median fundamental (Hz) of the louder frames."""
    low, high = 0.8 * KINDS[name].low, min(1.25 * KINDS[name].high, 7000)
    pitches = librosa.yin(waveform, fmin=low, fmax=high, sr=SAMPLE_RATE)
    levels = librosa.feature.rms(y=waveform)[0]
    return float(np.median(pitches[: len(levels)][levels >= np.quantile(levels, 0.6)]))


# ---------------------------------------------------------------------------------------------------------- purity


@pytest.mark.parametrize("split", SPLITS)
def test_same_split_seed_index_gives_same_picture_and_sound(split):
    assert make_scene(split, 3, 7) == make_scene(split, 3, 7)
    assert digest(make_scene(split, 3, 7)) == digest(make_scene(split, 3, 7))


def test_another_process_draws_and_sounds_the_same(fresh):
    assert fresh["scene"] == digest(make_scene("train", 5, 1))


def test_other_seeds_indices_and_splits_give_other_scenes():
    keys = [(split, index, seed) for split in SPLITS for index in range(3) for seed in range(3)]
    assert len({digest(make_scene(*key)) for key in keys}) == len(keys)
    assert len({make_scene(*key).id for key in keys}) == len(keys)


@pytest.mark.parametrize("split, index, seed, named", [("tset", 0, 0, "tset"), ("test", -1, 0, "-1"),
                                                       ("test", 0, -5, "-5")])
def test_bad_split_index_or_seed_is_named(split, index, seed, named):
    with pytest.raises(ValueError, match=named):
        make_scene(split, index, seed)


# ------------------------------------------------------------------------------------- what belongs to what is heard


@pytest.mark.parametrize("name", CLASSES)
def test_invisible_causes_change_the_sound_and_not_the_picture(name):
    scene = plain_scene(name)
    for change in ({"timbre": 0.9}, {"tempo": 0.9}, {"take": 6}):
        changed = plain_scene(name, **change)
        assert picture(changed) == picture(scene), change
        assert not np.allclose(synthesise(changed), synthesise(scene), atol=1e-3), change


@pytest.mark.parametrize("name", CLASSES)
def test_nuisances_change_the_picture_and_not_the_sound(name):
    scene = plain_scene(name)
    for change in ({"hue": 0.95}, {"mirrored": True}, {"tilt": 7.0}, {"place": 0.6}, {"style": "watercolour"},
                   {"background": "city"}, {"light": "night"}, {"stroke": 12}):
        changed = plain_scene(name, **change)
        assert picture(changed) != picture(scene), change
        assert np.array_equal(synthesise(changed), synthesise(scene)), change


@pytest.mark.parametrize("name", CLASSES)
def test_visible_causes_change_both(name):
    scene = plain_scene(name)
    for change in ({"size": 0.9}, {"count": 3}, {"distance": 0.9}):
        changed = plain_scene(name, **change)
        assert picture(changed) != picture(scene), change
        assert not np.allclose(synthesise(changed), synthesise(scene), atol=1e-3), change


@pytest.mark.parametrize("name", ["flute", "trumpet", "cow", "sheep", "cat", "guitar", "piano"])
def test_larger_things_sound_lower(name):
    sizes = np.linspace(0, 1, 9)
    pitches = [measured_pitch(name, synthesise(plain_scene(name, size=size))) for size in sizes]
    assert spearmanr(sizes, pitches).statistic < -0.9
    assert pitches[0] == pytest.approx(KINDS[name].high, rel=0.06)
    assert pitches[-1] == pytest.approx(KINDS[name].low, rel=0.06)


@pytest.mark.parametrize("name", CLASSES)
def test_farther_things_sound_quieter(name):
    levels = [float(synthesise(plain_scene(name, distance=distance)).std()) for distance in (0.0, 0.5, 1.0)]
    assert levels[0] > 2 * levels[1] > 4 * levels[2]


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("guitar", "piano")])
def test_farther_things_sound_duller(name):
    """On average over sizes: the echo lifts and swallows single low tones (guitar and piano have little else)."""
    sizes = np.linspace(0, 1, 9)
    near, far = ([centroid(synthesise(plain_scene(name, distance=distance, timbre=0.8, size=size))) for size in sizes]
                 for distance in (0.0, 1.0))
    assert np.log(near).mean() > np.log(far).mean()


@pytest.mark.parametrize("name", CLASSES)
def test_one_two_and_three_of_a_kind_sound_different(name):
    sounds = [synthesise(plain_scene(name, count=count)) for count in (1, 2, 3)]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(sounds[first] - sounds[second]).max() > 0.02


def test_two_things_are_both_heard():
    dog, cow = plain_scene("dog"), plain_scene("cow")
    both = type(dog)("test", 0, 0, dog.things + cow.things, "flat", "meadow", "day", 11)
    total = synthesise(dog) + synthesise(cow)
    assert np.corrcoef(synthesise(both), total)[0, 1] > 0.99


# ---------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("split", SPLITS)
def test_sounds_are_bounded_and_pictures_have_their_size(split):
    for index in range(40):
        scene = make_scene(split, index)
        sound = synthesise(scene)
        assert sound.dtype == np.float32 and sound.shape == (NUM_SAMPLES,)
        assert np.isfinite(sound).all() and 1e-3 < np.abs(sound).max() <= 1
        image = draw(scene)
        assert image.mode == "RGB" and image.size == (IMAGE_SIZE, IMAGE_SIZE)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_extreme_things_sound_and_look_sane(name, end):
    scene = plain_scene(name, size=end, distance=0.0, timbre=end, tempo=end, hue=end, count=3, place=end)
    sound = synthesise(scene)
    assert np.isfinite(sound).all() and 0.05 < np.abs(sound).max() <= 1
    assert np.asarray(draw(scene)).std() > 5


def test_drawing_styles_of_ood_are_seen_nowhere_else():
    for split in SPLITS:
        styles = {make_scene(split, index).style for index in range(200)}
        assert styles == set(OOD_STYLES if split == "ood" else STYLES)
    assert not set(OOD_STYLES) & set(STYLES)


def test_classes_are_many_of_several_families_and_all_of_imagehear():
    assert len(CLASSES) >= 16 and len(set(CLASSES)) == len(CLASSES)
    assert len(FAMILIES) >= 4
    assert set(CLASSES) <= IMAGEHEAR and len(IMAGEHEAR) == 30


def test_every_class_occurs_and_some_scenes_hold_two_different_ones():
    scenes = [make_scene("train", index) for index in range(600)]
    assert {scene.label for scene in scenes} == set(CLASSES)
    duets = [scene for scene in scenes if len(scene.things) == 2]
    assert 0.05 < len(duets) / len(scenes) < 0.2
    assert all(len(set(scene.labels)) == 2 for scene in duets)


# --------------------------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("caption", [picture_caption, sound_caption])
def test_captions_name_the_classes_in_known_words(caption):
    known = set(vocabulary())
    for index in range(200):
        scene = make_scene("ood" if index % 2 else "train", index)
        for variant in range(4):
            text = caption(scene, variant)
            assert set(text.split()) <= known, text
            for thing in scene.things:
                assert f" {noun(thing.name, thing.count)}" in text, text
            assert text == caption(scene, variant)


def test_captions_tell_only_what_their_sense_perceives():
    for index in range(100):
        scene = make_scene("train", index)
        assert not set(picture_caption(scene).split()) & {*TIMBRES, *TEMPI}
        assert not set(sound_caption(scene).split()) & set(COLOURS)


def test_class_prompts_differ_and_use_known_words():
    for kind in ("picture", "sound"):
        prompts = [class_prompt(name, kind) for name in CLASSES]
        assert len(set(prompts)) == len(CLASSES)
        for name, prompt in zip(CLASSES, prompts):
            assert set(prompt.split()) <= set(vocabulary())
            assert f" {noun(name)}" in prompt and kind in prompt


# --------------------------------------------------------------------------------------------------- world command


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_world_writes_pictures_sounds_and_labels(tmp_path):
    assert main(["world", "--out", str(tmp_path), "--split", "ood", "--count", "25", "--seed", "4"]) == 0
    rows = list(csv.DictReader((tmp_path / "labels.csv").open(newline="")))
    scenes = [make_scene("ood", index, 4) for index in range(25)]
    assert [row["id"] for row in rows] == [scene.id for scene in scenes]
    assert len(list(tmp_path.iterdir())) == 2 * 25 + 1
    for row, scene in zip(rows, scenes):
        assert row["class"] == "+".join(scene.labels) and row["caption"] == picture_caption(scene)
        assert (row["style"], row["background"], row["light"]) == (scene.style, scene.background, scene.light)
        for number, thing in enumerate(scene.things, start=1):
            for name in THINGS:
                assert row[name + ("" if number == 1 else "2")] == str(asdict(thing)[name])
        assert Image.open(tmp_path / f"{scene.id}.png").tobytes() == picture(scene)
        info = soundfile.info(tmp_path / f"{scene.id}.wav")
        assert (info.subtype, info.samplerate, info.frames) == ("PCM_16", SAMPLE_RATE, NUM_SAMPLES)
        assert np.allclose(soundfile.read(tmp_path / f"{scene.id}.wav")[0], synthesise(scene), atol=1e-4)
    assert any(len(scene.things) == 2 for scene in scenes)  # else the second thing's columns were not tested


def test_world_writes_the_same_files_for_the_same_seed(tmp_path):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["world", "--out", str(tmp_path / folder), "--count", "3", "--seed", seed]) == 0
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert not set(files_of(tmp_path / "a").values()) & set(files_of(tmp_path / "c").values())


@pytest.mark.parametrize("options, named", [(["--count", "0"], "0"), (["--seed", "-2"], "-2")])
def test_world_refuses_bad_numbers_in_one_sentence(tmp_path, capsys, options, named):
    assert main(["world", "--out", str(tmp_path), *options]) == 2
    complaint = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1 and named in complaint[0]


def test_another_take_is_the_same_picture_with_another_sound():
    scene = make_scene("test", 3)
    first, second = other_take(scene, 0), other_take(scene, 1)
    assert first == other_take(scene, 0) and first != second
    assert draw(first) == draw(scene)
    assert not np.array_equal(synthesise(first), synthesise(scene))
    assert not np.array_equal(synthesise(first), synthesise(second))

"""Scenes as short films: the thing makes its gestures, moves, and in some films the camera looks elsewhere for a while.

The frames of a film agree with its sound in all visible causes (class, size, count, distance) and in time: each event
of the sound is seen in a gesture. Drift and sway are motion that is no event. A cut is a still picture of other things
that are not heard; so it matters how the frames of a clip become one embedding.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from soundworld.drawing import draw
from soundworld.scene import NUM_SAMPLES, SAMPLE_RATE, SPLITS, Scene, make_scene

FRAME_RATE = 25  # frames a second
SECONDS = NUM_SAMPLES / SAMPLE_RATE  # 2.56, as long as the sound
CUTS = {  # (start, end) in seconds and the share of films; of 3 frames, one a second, each cut hits one
    (0.0, 0.0): 0.4, (0.0, 0.75): 0.35, (0.75, 1.5): 0.1, (1.75, 2.5): 0.15,
}
TURN = 2.25  # s, the time in which things drift once and sway twice
DRIFT = 0.12  # of the picture's width in TURN
SWAY = 5.0  # degrees to either side


def film(scene: Scene, rate: float = FRAME_RATE) -> list[Image.Image]:
    """The pictures of a scene's film, RGB, `rate` a second (64 at 25, 10 at 4); a pure function of its arguments."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 3])
    sign, phase = rng.choice([-1, 1]), rng.uniform(0, 2 * np.pi)
    hidden, other = cut(scene, rate), None
    frames = []
    for number in range(int(SECONDS * rate)):
        if number in hidden:
            other = other or draw(distractor(scene))
            frames.append(other)
            continue
        turns = number / rate / TURN
        frames.append(draw(replace(scene, things=tuple(
            replace(thing, place=thing.place + sign * DRIFT * (turns - 0.5) / len(scene.things),
                    tilt=thing.tilt + SWAY * np.sin(4 * np.pi * turns + phase))
            for thing in scene.things)), at=number / rate))
    return frames


def cut(scene: Scene, rate: float = FRAME_RATE) -> range:
    """Numbers of the frames of a scene's film that show something else; empty for a film without a cut."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 4])
    start, end = list(CUTS)[rng.choice(len(CUTS), p=list(CUTS.values()))]
    return range(int(np.ceil(start * rate)), int(np.ceil(end * rate)))


def distractor(scene: Scene) -> Scene:
    """What a cut shows: a scene of the same split that has no class in common with this one."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 5])
    while True:
        other = make_scene(scene.split, int(rng.integers(2**31)), scene.seed)
        if not set(other.labels) & set(scene.labels):
            return other

"""Scenes as short films: the thing moves, and in some films the camera looks at something else for a while.

The frames of a film agree with its sound in all visible causes (class, size, count, distance), except in a cut: a
still picture of other things that are not heard. So it matters how the frames of a clip become one embedding.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from soundworld.drawing import draw
from soundworld.scene import SPLITS, Scene, make_scene

FRAME_RATE = 4  # frames a second
FRAMES = 10  # 2.5 s, the sound lasts 2.56 s
CUTS = {  # frames that show something else, and the share of films; of 3 frames, one a second, each cut hits one
    range(0): 0.4, range(0, 3): 0.35, range(3, 6): 0.1, range(7, 10): 0.15,
}
DRIFT = 0.12  # of the picture's width, from the first frame to the last
SWAY = 5.0  # degrees to either side


def film(scene: Scene) -> list[Image.Image]:
    """The FRAMES pictures of a scene's film, RGB; a pure function of the scene."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 3])
    sign, phase = rng.choice([-1, 1]), rng.uniform(0, 2 * np.pi)
    hidden, other = cut(scene), None
    frames = []
    for number in range(FRAMES):
        if number in hidden:
            other = other or draw(distractor(scene))
            frames.append(other)
            continue
        moment = number / (FRAMES - 1)
        frames.append(draw(replace(scene, things=tuple(
            replace(thing, place=thing.place + sign * DRIFT * (moment - 0.5) / len(scene.things),
                    tilt=thing.tilt + SWAY * np.sin(4 * np.pi * moment + phase))
            for thing in scene.things))))
    return frames


def cut(scene: Scene) -> range:
    """Numbers of the frames of a scene's film that show something else; empty for a film without a cut."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 4])
    return list(CUTS)[rng.choice(len(CUTS), p=list(CUTS.values()))]


def distractor(scene: Scene) -> Scene:
    """What a cut shows: a scene of the same split that has no class in common with this one."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 5])
    while True:
        other = make_scene(scene.split, int(rng.integers(2**31)), scene.seed)
        if not set(other.labels) & set(scene.labels):
            return other

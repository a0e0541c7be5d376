"""The hidden scene behind every SoundWorld picture and sound.

A scene says which things there are (one, sometimes two), and for each

* its *visible causes*: size, count and distance, which change the picture **and** the sound;
* its *visible nuisances*: colour, pose, position, background, light and drawing style, which change the picture only;
* its *invisible causes*: timbre, tempo and take, which change the sound only.

The invisible causes make the mapping from pictures to sounds one-to-many. A scene is a pure function of
(split, seed, index): nothing is stored or downloaded.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

SAMPLE_RATE = 16_000  # Hz, AudioLDM's
NUM_SAMPLES = 40_960  # 2.56 s: 256 mel frames at AudioLDM's hop of 160
IMAGE_SIZE = 128  # pixels

SPLITS = ("train", "val", "test", "ood")
STYLES = ("flat", "outline", "shaded", "watercolour")
OOD_STYLES = ("chalk", "sketch", "mosaic")  # never drawn in train, val or test
BACKGROUNDS = ("meadow", "beach", "snow", "city", "room", "hills")
LIGHTS = ("day", "dusk", "night")
DUET_SHARE = 0.1


class Kind(NamedTuple):
    """What is fixed about a sounding class."""

    family: str
    low: float  # Hz, fundamental of the largest one (size 1)
    high: float  # Hz, fundamental of the smallest one (size 0)
    pitched: bool  # a pitch can be measured in the sound


KINDS = {
    "bird": Kind("animals", 1800, 5000, False),
    "cat": Kind("animals", 330, 900, True),
    "cow": Kind("animals", 75, 220, True),
    "cricket": Kind("animals", 2600, 5600, True),
    "dog": Kind("animals", 170, 700, False),
    "duck": Kind("animals", 180, 500, False),
    "frog": Kind("animals", 250, 1100, False),
    "horse": Kind("animals", 350, 1100, False),
    "sheep": Kind("animals", 160, 480, True),
    "car": Kind("vehicles", 35, 120, False),
    "police": Kind("vehicles", 450, 1300, True),
    "train": Kind("vehicles", 220, 620, False),
    "bells": Kind("instruments", 260, 1400, True),
    "drums": Kind("instruments", 45, 160, False),
    "flute": Kind("instruments", 390, 1600, True),
    "guitar": Kind("instruments", 82, 330, True),
    "piano": Kind("instruments", 130, 1050, True),
    "trumpet": Kind("instruments", 170, 700, True),
    "rain": Kind("water", 900, 3500, False),
    "waterfall": Kind("water", 120, 600, False),
}
CLASSES = tuple(KINDS)
FAMILIES = tuple(dict.fromkeys(kind.family for kind in KINDS.values()))
PITCHED = tuple(name for name, kind in KINDS.items() if kind.pitched)


@dataclass(frozen=True)
class Thing:
    """One sounding thing, or `count` of its kind. Every float lies in 0..1 unless noted."""

    name: str  # class, one of CLASSES
    # visible causes
    size: float  # 0 tiny, 1 huge: pitch and resonance go down
    count: int  # 1 to 3: number or rate of events, or density of the sound
    distance: float  # 0 near, 1 far: quieter, duller, more of the room
    # visible nuisances
    hue: float  # colour
    mirrored: bool  # looks to the left instead of to the right
    tilt: float  # degrees, -8..8
    place: float  # horizontal position in the picture, 0 left, 1 right
    # invisible causes
    timbre: float  # 0 dark and clear, 1 bright and rough
    tempo: float  # 0 slow, 1 quick
    take: int  # seed of phases, onset times and small variations


@dataclass(frozen=True)
class Scene:
    """One sample of SoundWorld: what is there, and how the picture of it is drawn."""

    split: str
    seed: int
    index: int
    things: tuple[Thing, ...]  # one, sometimes two of different classes
    style: str
    background: str
    light: str
    stroke: int  # seed of the drawing's small variations

    @property
    def id(self) -> str:
        return f"{self.split}-{self.seed}-{self.index:06d}"

    @property
    def label(self) -> str:
        """Class of the first (main) thing."""
        return self.things[0].name

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def pitch(thing: Thing) -> float:
    """Fundamental frequency in Hz that the size implies: geometric from `high` (size 0) to `low` (size 1)."""
    kind = KINDS[thing.name]
    return kind.high * (kind.low / kind.high) ** thing.size


def make_scene(split: str, index: int, seed: int = 0) -> Scene:
    """The scene number `index` of a split; the same (split, seed, index) gives the same scene everywhere.

    Raises ValueError for an unknown split or a negative index or seed.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown SoundWorld split {split!r}: use one of {', '.join(SPLITS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must be 0 or more, got index {index} and seed {seed}")
    rng = np.random.default_rng([SPLITS.index(split), seed, index])
    number = 2 if rng.random() < DUET_SHARE else 1
    names = rng.choice(CLASSES, size=number, replace=False)
    halves = rng.permutation([0.25, 0.75]) if number == 2 else [0.5]
    things = tuple(_draw_thing(rng, str(name), half, number) for name, half in zip(names, halves))
    styles = OOD_STYLES if split == "ood" else STYLES
    return Scene(
        split, seed, index, things,
        style=str(rng.choice(styles)),
        background=str(rng.choice(BACKGROUNDS)),
        light=str(rng.choice(LIGHTS, p=[0.6, 0.2, 0.2])),
        stroke=int(rng.integers(2**31)),
    )


def other_take(scene: Scene, number: int) -> Scene:
    """The same picture with another sound: every thing's invisible causes drawn anew, differently for each `number`."""
    rng = np.random.default_rng([SPLITS.index(scene.split), scene.seed, scene.index, 1 + number])
    things = tuple(
        replace(thing, timbre=float(rng.random()), tempo=float(rng.random()), take=int(rng.integers(2**31)))
        for thing in scene.things
    )
    return replace(scene, things=things)


def counterfactual(scene: Scene, *, size: float | None = None, count: int | None = None, distance: float | None = None,
                   name: str | None = None) -> Scene:
    """The same scene with a visible cause of its main thing changed, and everything else as it was.

    All nuisances and all invisible causes stay, so picture and sound differ by what the change does to them and by
    nothing else. Another count or name sounds with the same timbre, tempo and take; its events follow from these.

    Raises ValueError for a size or distance outside 0..1, a count that is not 1, 2 or 3, a count other than 1 where two
    different things are seen, an unknown name, or one that the scene's other thing has.
    """
    changes = {key: value for key, value in (("size", size), ("count", count), ("distance", distance), ("name", name))
               if value is not None}
    for key in ("size", "distance"):
        if not 0 <= changes.get(key, 0) <= 1:
            raise ValueError(f"{key} is {changes[key]}: it lies between 0 and 1")
    first, *others = scene.things
    if changes.get("count", 1) not in (1, 2, 3) or (others and changes.get("count", 1) != 1):
        raise ValueError(f"count is {count}: it is 1, 2 or 3, and 1 where two different things are seen")
    if changes.get("name", first.name) not in CLASSES:
        raise ValueError(f"unknown SoundWorld class {name!r}: use one of {', '.join(CLASSES)}")
    if name in {other.name for other in others}:
        raise ValueError(f"the scene's other thing is a {name} already: the two are of different classes")
    return replace(scene, things=(replace(first, **changes), *others))


def _draw_thing(rng: np.random.Generator, name: str, centre: float, number: int) -> Thing:
    return Thing(
        name,
        size=float(rng.random()),
        count=int(rng.integers(1, 4)) if number == 1 else 1,
        distance=float(rng.random()),
        hue=float(rng.random()),
        mirrored=bool(rng.random() < 0.5),
        tilt=float(rng.uniform(-8, 8)),
        place=float(centre + rng.uniform(-0.12, 0.12) / number),
        timbre=float(rng.random()),
        tempo=float(rng.random()),
        take=int(rng.integers(2**31)),
    )

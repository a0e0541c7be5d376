"""Captions in words: what is seen (for CLIP) and what is heard (for CLAP).

Both captions of a scene name the class and the visible causes. The picture's adds the visible nuisances, the sound's
the invisible causes. CLIP and CLAP are trained on these words only, never on each other.
"""

from functools import lru_cache

import numpy as np

from soundworld.figures import Colour, body_colour
from soundworld.scene import KINDS, Scene, Thing

PLURALS = {
    "sheep": "sheep", "police": "police cars", "bells": "bells", "drums": "drum kits", "rain": "rain clouds",
}
NOUNS = {"police": "police car", "bells": "bell", "drums": "drum kit", "rain": "rain cloud"}
SOUNDS = {
    "bird": ("chirping", "singing"), "cat": ("meowing", "mewing"), "cow": ("mooing", "lowing"),
    "cricket": ("chirping", "stridulating"), "dog": ("barking", "yapping"), "duck": ("quacking", "calling"),
    "frog": ("croaking", "ribbiting"), "horse": ("trotting", "clopping"), "sheep": ("bleating", "baaing"),
    "car": ("driving", "roaring"), "police": ("wailing", "with a siren"), "train": ("puffing", "whistling"),
    "bells": ("ringing", "tolling"), "drums": ("beating", "drumming"), "flute": ("playing", "piping"),
    "guitar": ("strumming", "playing"), "piano": ("playing", "tinkling"), "trumpet": ("blaring", "playing"),
    "rain": ("pattering", "falling"), "waterfall": ("roaring", "rushing"),
}
SIZES = ("tiny", "small", "medium", "large", "huge")
PITCHES = ("very high", "high", "middle", "low", "very low")
DISTANCES = ("very near", "near", "some way off", "far", "very far")
TIMBRES = ("dark", "clear", "bright")
TEMPI = ("slow", "steady", "quick")
COUNTS = ("one", "two", "three")
COLOURS: dict[str, tuple[Colour, ...]] = {  # colours that people call by the word: red, green, blue in 0..255
    "red": ((206, 48, 52), (160, 40, 50)), "orange": ((238, 146, 62), (240, 118, 92), (216, 134, 78)),
    "yellow": ((242, 214, 86), (240, 188, 76)), "green": ((88, 160, 80), (156, 196, 80), (54, 96, 76), (116, 142, 66)),
    "teal": ((52, 150, 148), (40, 110, 112), (120, 176, 172)),
    "blue": ((66, 112, 190), (104, 158, 210), (46, 66, 124), (128, 152, 196), (56, 92, 118)),
    "purple": ((132, 86, 166), (160, 124, 184), (116, 112, 164)),
    "pink": ((240, 156, 176), (214, 78, 116), (222, 146, 140)),
    "white": ((246, 244, 240), (226, 222, 220)), "grey": ((142, 143, 150), (98, 104, 118), (182, 188, 196)),
    "black": ((46, 44, 50), (68, 64, 74)), "brown": ((128, 84, 56), (182, 112, 72), (134, 118, 106)),
    "beige": ((232, 206, 170), (206, 166, 118)),
}
# what cannot be heard is not told: a very high voice has no overtones that could be bright, and water has no beat
NO_TIMBRE, NO_TEMPO = ("bird", "cricket"), ("rain", "waterfall")
STYLE_WORDS = {
    "flat": "a flat drawing", "outline": "an outlined drawing", "shaded": "a shaded picture",
    "watercolour": "a watercolour", "chalk": "a chalk drawing", "sketch": "a pencil sketch", "mosaic": "a mosaic",
}
BACKGROUND_WORDS = {
    "meadow": "in a meadow", "beach": "on a beach", "snow": "in the snow", "city": "in a city", "room": "in a room",
    "hills": "before the hills",
}
LIGHT_WORDS = {"day": "by day", "dusk": "at dusk", "night": "at night"}


def picture_caption(scene: Scene, variant: int = 0) -> str:
    """What a person sees, for CLIP. `variant` picks wording and how much is told; 0 tells everything."""
    rng = np.random.default_rng([7, scene.stroke, variant])
    tell = _teller(rng, variant)
    parts = [" and ".join(_seen(thing, tell) for thing in scene.things)]
    parts += tell(BACKGROUND_WORDS[scene.background]) + tell(LIGHT_WORDS[scene.light])
    opening = STYLE_WORDS[scene.style] if tell("style") else "a picture"
    return f"{opening} of {' '.join(parts)}"


def sound_caption(scene: Scene, variant: int = 0) -> str:
    """What a person hears, for CLAP. `variant` picks wording and how much is told; 0 tells everything."""
    rng = np.random.default_rng([11, scene.stroke, variant])
    tell = _teller(rng, variant)
    return "the sound of " + " and ".join(_heard(thing, tell, rng) for thing in scene.things)


def class_prompt(name: str, kind: str) -> str:
    """The caption for zero-shot classification of a picture (`kind` "picture") or a sound (`kind` "sound")."""
    if kind == "picture":
        return f"a picture of {with_article(noun(name))}"
    return f"the sound of {with_article(noun(name))} {SOUNDS[name][0]}"


def noun(name: str, count: int = 1) -> str:
    """The word for one or several things of a class: ("police", 2) -> "police cars"."""
    if count == 1:
        return NOUNS.get(name, name)
    return PLURALS.get(name, name + "s")


def grade(words: tuple[str, ...], value: float) -> str:
    """The word for a value in 0..1 on a scale of equally wide steps."""
    return words[min(int(value * len(words)), len(words) - 1)]


def _teller(rng: np.random.Generator, variant: int):
    """A function that returns [phrase] or, to leave it out, []: some people tell nearly all, some hardly anything."""
    talkative = 1.0 if variant == 0 else rng.random()
    return lambda phrase: [phrase] if rng.random() < talkative else []


@lru_cache(maxsize=4096)
def colour_word(colour: Colour) -> str:
    """The word whose typical colours come nearest in CIELAB to a colour (red, green, blue in 0..255)."""
    seen = cielab(colour)
    nearest = {word: np.linalg.norm(cielab(typical) - seen, axis=1).min() for word, typical in COLOURS.items()}
    return min(nearest, key=nearest.get)


def cielab(colours) -> np.ndarray:
    """sRGB colours (..., 3) in 0..255 as CIELAB (..., 3) under daylight (D65): lightness 0..100, a and b about +-100.

    Equal distances in this space look about equally large (CIE 15:2018).
    """
    encoded = np.asarray(colours, float) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ_OF_SRGB.T / _XYZ_OF_SRGB.sum(1)  # relative to white
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_XYZ_OF_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _seen(thing: Thing, tell) -> str:
    words = tell(grade(SIZES, thing.size)) + tell(colour_word(body_colour(thing.name, thing.hue)))
    return " ".join([_number(thing, words)] + tell(grade(DISTANCES, thing.distance)))


def _number(thing: Thing, words: list[str]) -> str:
    """The thing, or its number, with the words that describe it: "an orange cat", "three tiny birds"."""
    described = " ".join(words + [noun(thing.name, thing.count)])
    return f"{COUNTS[thing.count - 1]} {described}" if thing.count > 1 else with_article(described)


def _heard(thing: Thing, tell, rng: np.random.Generator) -> str:
    sound = str(rng.choice(SOUNDS[thing.name]))
    timbre = [] if thing.name in NO_TIMBRE else tell(grade(TIMBRES, thing.timbre))
    beats = thing.name not in NO_TEMPO and (thing.name, thing.count) != ("bells", 1)  # a single stroke has no tempo
    tempo = tell(grade(TEMPI, thing.tempo)) if beats else []
    said = _number(thing, timbre + tell(grade(PITCHES, thing.size)))
    return " ".join([said, sound] + tempo + tell(grade(DISTANCES, thing.distance)))


def with_article(words: str) -> str:
    """Words with "a" or "an" before them, by their first letter."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted."""
    scales = (SIZES, PITCHES, DISTANCES, TIMBRES, TEMPI, COUNTS, tuple(COLOURS))
    phrases = [word for scale in scales for word in scale]
    phrases += [*STYLE_WORDS.values(), *BACKGROUND_WORDS.values(), *LIGHT_WORDS.values()]
    phrases += [noun(name, count) for name in KINDS for count in (1, 2)]
    phrases += [word for pair in SOUNDS.values() for word in pair]
    return sorted({word for phrase in phrases + ["a an picture of the sound and"] for word in phrase.split()})

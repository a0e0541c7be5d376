"""Captions in words: what is seen (for CLIP) and what is heard (for CLAP).

The two captions of a scene share the class and the visible causes; the picture's adds the visible nuisances, the
sound's the invisible causes. CLIP and CLAP are trained on these words only, never on each other.
"""

import numpy as np

from soundworld.scene import KINDS, Scene, Thing

PLURALS = {
    "sheep": "sheep", "police": "police cars", "bells": "bells", "drums": "drum kits", "rain": "rain clouds",
}
NOUNS = {"police": "police car", "bells": "bell", "drums": "drum kit", "rain": "rain cloud"}
SOUNDS = {
    "bird": ("chirping", "singing"), "cat": ("meowing", "mewing"), "cow": ("mooing", "lowing"),
    "cricket": ("chirping", "stridulating"), "dog": ("barking", "yapping"), "duck": ("quacking", "calling"),
    "frog": ("croaking", "ribbiting"), "horse": ("trotting", "clopping"), "sheep": ("bleating", "baaing"),
    "car": ("driving", "idling"), "police": ("wailing", "with a siren"), "train": ("puffing", "whistling"),
    "bells": ("ringing", "tolling"), "drums": ("beating", "drumming"), "flute": ("playing", "piping"),
    "guitar": ("strumming", "playing"), "piano": ("playing", "tinkling"), "trumpet": ("blaring", "playing"),
    "rain": ("falling", "pattering"), "waterfall": ("roaring", "rushing"),
}
SIZES = ("tiny", "small", "medium", "large", "huge")
PITCHES = ("very high", "high", "middle", "low", "very low")
DISTANCES = ("very near", "near", "some way off", "far", "very far")
TIMBRES = ("dark", "clear", "bright")
TEMPI = ("slow", "steady", "quick")
COUNTS = ("one", "two", "three")
HUES = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
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
        return f"a picture of {_with_article(noun(name))}"
    return f"the sound of {_with_article(noun(name))} {SOUNDS[name][0]}"


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


def _seen(thing: Thing, tell) -> str:
    words = tell(grade(SIZES, thing.size)) + tell(grade(HUES, thing.hue)) + [noun(thing.name, thing.count)]
    start = COUNTS[thing.count - 1] if thing.count > 1 else "a"
    return " ".join([start] + words + tell(grade(DISTANCES, thing.distance)))


def _heard(thing: Thing, tell, rng: np.random.Generator) -> str:
    sound = str(rng.choice(SOUNDS[thing.name]))
    words = tell(grade(TIMBRES, thing.timbre)) + tell(grade(PITCHES, thing.size))
    start = COUNTS[thing.count - 1] if thing.count > 1 else "a"
    return " ".join(
        [start] + words + [noun(thing.name, thing.count), sound]
        + tell(grade(TEMPI, thing.tempo)) + tell(grade(DISTANCES, thing.distance))
    )


def _with_article(word: str) -> str:
    return word if word == "rain cloud" else f"a {word}"


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted."""
    scales = (SIZES, PITCHES, DISTANCES, TIMBRES, TEMPI, COUNTS, HUES)
    phrases = [word for scale in scales for word in scale]
    phrases += [*STYLE_WORDS.values(), *BACKGROUND_WORDS.values(), *LIGHT_WORDS.values()]
    phrases += [noun(name, count) for name in KINDS for count in (1, 2)]
    phrases += [word for pair in SOUNDS.values() for word in pair]
    return sorted({word for phrase in phrases + ["a picture of the sound and"] for word in phrase.split()})

"""SoundWorld: a small audio-visual world whose truth is known."""

from soundworld.captions import class_prompt, picture_caption, sound_caption
from soundworld.drawing import draw
from soundworld.films import cut, film
from soundworld.scene import (
    CLASSES,
    FAMILIES,
    IMAGE_SIZE,
    KINDS,
    NUM_SAMPLES,
    OOD_STYLES,
    PITCHED,
    SAMPLE_RATE,
    SPLITS,
    STYLES,
    Scene,
    Thing,
    counterfactual,
    make_scene,
    other_take,
    pitch,
)
from soundworld.synthesis import Event, events, synthesise

__all__ = [
    "CLASSES", "Event", "FAMILIES", "IMAGE_SIZE", "KINDS", "NUM_SAMPLES", "OOD_STYLES", "PITCHED", "SAMPLE_RATE",
    "SPLITS", "STYLES", "Scene", "Thing", "class_prompt", "counterfactual", "cut", "draw", "events", "film",
    "make_scene", "other_take", "picture_caption", "pitch", "sound_caption", "synthesise",
]

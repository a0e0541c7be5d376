"""SoundWorld: a small audio-visual world whose truth is known."""

from v2a_utils.soundworld.captions import class_prompt, picture_caption, sound_caption
from v2a_utils.soundworld.drawing import draw
from v2a_utils.soundworld.films import cut, film
from v2a_utils.soundworld.scene import (
    CLASSES, FAMILIES, IMAGE_SIZE, KINDS, NUM_SAMPLES, OOD_STYLES, PITCHED, SAMPLE_RATE, SPLITS, STYLES,
    Scene, Thing, make_scene, other_take, pitch,
)
from v2a_utils.soundworld.synthesis import synthesise

__all__ = [
    "CLASSES", "FAMILIES", "IMAGE_SIZE", "KINDS", "NUM_SAMPLES", "OOD_STYLES", "PITCHED", "SAMPLE_RATE", "SPLITS",
    "STYLES", "Scene", "Thing", "class_prompt", "cut", "draw", "film", "make_scene", "other_take",
    "picture_caption", "pitch", "sound_caption", "synthesise",
]

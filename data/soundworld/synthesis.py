"""The sound of a SoundWorld scene: each thing's dry voice, set at its distance, summed."""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import fft

from soundworld.blocks import Dry, between, edges
from soundworld.scene import NUM_SAMPLES, SAMPLE_RATE, Scene, Thing
from soundworld.voices import VOICES

NEAR_LEVEL = 0.7  # peak of a single near event
FAR_LOSS = 16.0  # dB between distance 0 and 1
FAR_CUTOFF = 1600.0  # Hz, air and ground take the highs on the way
TAIL = 0.3  # s of reverberation
KNEE = 0.85  # the limiter leaves everything below alone
SIZE = fft.next_fast_len(NUM_SAMPLES + int(TAIL * SAMPLE_RATE), real=True)


@lru_cache(maxsize=1)
def _surroundings() -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz) and spectrum of the one echo pattern all scenes share, both of shape (SIZE // 2 + 1,)."""
    rng = np.random.default_rng(0)
    t = np.arange(int(TAIL * SAMPLE_RATE)) / SAMPLE_RATE
    echo = rng.standard_normal(len(t)) * np.exp(-t / 0.07) * (t > 0.008)
    return np.fft.rfftfreq(SIZE, 1 / SAMPLE_RATE), fft.rfft(echo / np.sqrt(np.sum(echo**2)), SIZE)


def at_distance(dry: np.ndarray, distance: float) -> np.ndarray:
    """A dry sound, shape (NUM_SAMPLES,), heard from `distance` 0..1: quieter, duller and with more echo; same shape."""
    f, echo = _surroundings()
    air = 1 / np.sqrt(1 + (f / between(SAMPLE_RATE / 2, FAR_CUTOFF, distance)) ** 3)
    air *= f**2 / (f**2 + 20**2)  # no constant pressure reaches a microphone
    room = 1 - 0.25 * distance + (0.06 + 0.5 * distance) * echo
    gain = NEAR_LEVEL * 10 ** (-FAR_LOSS * distance / 20)
    return gain * fft.irfft(fft.rfft(dry, SIZE) * air * room, SIZE)[:NUM_SAMPLES]


def _voice(thing: Thing) -> Dry:
    return VOICES[thing.name](thing, np.random.default_rng(thing.take))


def synthesise(scene: Scene) -> np.ndarray:
    """Sound of a scene: float32, shape (NUM_SAMPLES,) at SAMPLE_RATE, in -1..1; a pure function of the scene."""
    parts = [at_distance(_voice(thing).sound, thing.distance)
             for thing in scene.things]
    sound = np.sum(parts, axis=0) * edges(NUM_SAMPLES, 0.005, 0.01)
    over = np.maximum(np.abs(sound) - KNEE, 0)
    headroom = 1 - KNEE
    limited = np.sign(sound) * (np.minimum(np.abs(sound), KNEE) + headroom * np.tanh(over / headroom))
    return limited.astype(np.float32)


class Event(NamedTuple):
    """The beginning of one sound of a scene."""

    seconds: float  # from the beginning of the clip
    thing: int  # place in scene.things
    individual: int  # 0 to count - 1: which one of its kind


def events(scene: Scene) -> tuple[Event, ...]:
    """When the things of a scene sound: the onset of every event in the clip, earliest first.

    They come from the synthesis itself, so they cannot differ from what is heard. An onset is where the event's own
    signal reaches a tenth of its peak: a bark or a key's stroke, a bird's syllable, a cricket's chirp, a hoof's beat, a
    train's chuff, toot or clack. A siren never pauses: its events are the moments at which it begins to rise. Rain,
    waterfall and car sound without a beginning and have none.
    """
    found = [Event(float(seconds), number, individual) for number, thing in enumerate(scene.things)
             for seconds, individual in _onsets(replace(thing, **_UNHEARD))]
    return tuple(sorted(found))


_UNHEARD = {"hue": 0.0, "mirrored": False, "tilt": 0.0, "place": 0.0, "distance": 0.0}  # so that a film asks once


@lru_cache(maxsize=256)
def _onsets(thing: Thing) -> tuple[tuple[float, int], ...]:
    return tuple((seconds, individual) for seconds, individual in _voice(thing).onsets
                 if 0 <= seconds < NUM_SAMPLES / SAMPLE_RATE)

"""What the measures are computed on: sounds through the models that only evaluate."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from soundworld import PITCHED, Scene

from v2a_utils.data.audio import loudness
from v2a_utils.evaluation.attributes import count_events, measure_pitch
from v2a_utils.stacks.stack import Stack

ATTRIBUTES = ("pitch", "events", "loudness")  # Hz, NaN for classes without one; number of onsets; dB


@dataclass
class Features:
    """Features of sounds; arrays (n, ...), or (n, seeds, ...) for several sounds of each picture.

    `frames` is an array of arrays (frames, d) where sounds differ in length.
    """

    logits: np.ndarray  # the tagger's class scores, (n, classes)
    features: np.ndarray  # the tagger's penultimate layer, (n, d): what FD compares
    frames: np.ndarray  # of every 0.96 s, (n, frames, d): what FAD compares
    clip: np.ndarray  # Wav2CLIP's embedding, (n, d)
    attributes: np.ndarray  # (n, 3) in the order of ATTRIBUTES; (n, 0) for sounds that are not SoundWorld's

    @property
    def loudness(self) -> np.ndarray:
        """Level of each sound in dB."""
        return self.attributes[..., ATTRIBUTES.index("loudness")]

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        digest = hashlib.sha256()
        for values in vars(self).values():
            for one in values.flat if values.dtype == object else (values,):
                digest.update(f"{one.shape} ".encode() + np.ascontiguousarray(one).tobytes())
        return digest.hexdigest()

    def rows(self, *index) -> "Features":
        """The features at an index of the first axes."""
        return Features(*(values[index] for values in vars(self).values()))


def extract(stack: Stack, sounds: Sequence[np.ndarray], scenes: list[Scene]) -> Features:
    """Features of the sounds (n, samples) of SoundWorld's scenes, at the generator's rate."""
    rate, waves = stack.generator.sample_rate, list(sounds)
    features = stack.tagger.features(waves, rate)
    return Features(stack.tagger.classify(features), features, stack.framewise.frames(waves, rate),
                    stack.wav2clip.embed(waves, rate), measure_attributes(waves, rate, scenes))


def measure_attributes(waves: list[np.ndarray], sample_rate: int, scenes: list[Scene]) -> np.ndarray:
    """What SoundWorld's pictures say of their sounds, measured in sounds: (n, 3) in the order of ATTRIBUTES."""
    return np.array([
        (measure_pitch(wave, sample_rate, scene.label) if scene.label in PITCHED else np.nan,
         count_events(wave, sample_rate), loudness(wave))
        for wave, scene in zip(waves, scenes)
    ])


def stack_seeds(parts: list[Features]) -> Features:
    """The features of each seed's sounds, as one with arrays (n, seeds, ...)."""
    return Features(*(np.stack([getattr(one, field.name) for one in parts], axis=1) for field in fields(Features)))


def stack_clips(rows: list[dict[str, np.ndarray]]) -> Features:
    """The features of n files, each with arrays by the names of `Features`, as one with arrays (n, ...).

    Attributes, and what the rows lack, become (n, 0). Frames are an array (n,) of arrays: as many as each sound's
    length gives.
    """
    nothing, frames = np.zeros((len(rows), 0)), np.empty(len(rows), object)
    for place, row in enumerate(rows):
        frames[place] = row.get("frames")
    together = {name: np.stack([row[name] for row in rows]) if name in rows[0] else nothing
                for name in ("logits", "features", "clip")}
    return Features(together["logits"], together["features"], frames, together["clip"], nothing)

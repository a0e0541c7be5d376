"""Sounds for many conditions, batch by batch, and SoundWorld's pictures that they are made for.

What was generated before with the same weights, configurations, conditions and settings is read from the cache (in
half precision: 80 kB a sound with the mini stack), so a killed run loses one batch at most.
"""

import hashlib
import json
import time
from dataclasses import replace
from functools import cached_property

import numpy as np
from soundworld import synthesise
from tqdm.auto import tqdm

from v2a_utils.data.files import cache_folder, whole_file
from v2a_utils.models.weights import state_sha256
from v2a_utils.pipeline import SoundOptions, best_candidates
from v2a_utils.stacks.extraction import embed_world, world_store
from v2a_utils.stacks.stack import Stack

BATCH = 16


def generator_key(stack: Stack) -> str:
    """SHA-256 of all that determines a stack's generator: weights, configurations, null embedding, length."""
    generator = stack.generator
    parts = (generator.unet, generator.vae, generator.vocoder)
    made_of = {
        "weights": [state_sha256(part) for part in parts],
        "configurations": [_settings(part.config) for part in (*parts, generator.scheduler)],
        "null": np.asarray(generator.null_embedding, np.float32).tobytes().hex(),
        "clip_seconds": generator.clip_seconds,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def _settings(config) -> dict:
    """A model's configuration without its path and the version of the library that wrote it."""
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {key: value for key, value in values.items() if key[0] != "_" and not key.endswith("version")}


def batch_options(options: SoundOptions, start: int) -> SoundOptions:
    """The options of the batch that begins at row `start`: noise of its own for every batch and seed."""
    return replace(options, seed=(1_000_000 * options.seed + start) % 2**32)


class World:
    """Scenes of a SoundWorld split with their embeddings and true sounds, and the sounds that are made for them."""

    def __init__(self, stack: Stack, split: str, count: int):
        self.stack, self.split = stack, split
        table = embed_world(stack, split, count)
        self.scenes, self.visual, self.audio = table.scenes, table.visual, table.audio
        self.spared = 0.0  # seconds that sounds took which an earlier run or another process made

    @cached_property
    def sounds(self) -> np.ndarray:
        """The true sounds, (n, samples)."""
        return np.stack([synthesise(scene) for scene in self.scenes])

    def pairs(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of `number` pairs of the training split; its scenes are not made, which would take longest."""
        store = world_store(self.stack, "train", number)
        visual, audio = (store.numpy(column)[:number] for column in ("visual", "audio"))
        return visual, audio

    @cached_property
    def key(self) -> str:
        """The generator's key."""
        return generator_key(self.stack)

    def generate(self, title: str, conditions: np.ndarray, options: SoundOptions) -> tuple[np.ndarray, float]:
        """Sounds (n, samples) for conditions (n, d), and seconds per sound; those of an earlier run are read."""
        sounds, seconds = [], []
        for start in tqdm(range(0, len(conditions), BATCH), f"{self.split} {title}", unit="batch"):
            batch = np.ascontiguousarray(conditions[start : start + BATCH], np.float32)
            settings = batch_options(options, start)
            key = hashlib.sha256(f"{self.key} {settings}".encode() + batch.tobytes()).hexdigest()[:24]
            path = cache_folder("sounds") / f"{key}.npz"
            known = path.is_file()
            if not known:
                began = time.perf_counter()
                waves, _ = best_candidates(self.stack, batch, settings, rank=False)
                with whole_file(path) as temporary:
                    np.savez(temporary, waves=waves.astype(np.float16), seconds=time.perf_counter() - began)
            cached = np.load(path)
            sounds.append(cached["waves"].astype(np.float32))
            seconds.append(float(cached["seconds"]))
            self.spared += known * seconds[-1]
        return np.concatenate(sounds), sum(seconds) / len(conditions)

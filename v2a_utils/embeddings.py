"""Embeddings of SoundWorld by a stack's two towers, kept on disk so that no notebook computes them twice."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from v2a_utils.soundworld import SAMPLE_RATE, Scene, draw, make_scene, synthesise
from v2a_utils.stacks import Stack

CACHE = Path(__file__).parent.parent / "results" / "embeddings"
BATCH = 64


@dataclass(frozen=True)
class EmbeddingTable:
    """Pictures and sounds of the same scenes, row by row, each of unit norm."""

    visual: np.ndarray  # (n, visual_dim) float32, CLIP
    audio: np.ndarray  # (n, audio_dim) float32, CLAP
    scenes: list[Scene]

    @property
    def labels(self) -> np.ndarray:
        """Class of the main thing of each scene, (n,) str."""
        return np.array([scene.label for scene in self.scenes])


def embed_world(stack: Stack, split: str, count: int, seed: int = 0) -> EmbeddingTable:
    """The first `count` scenes of a SoundWorld split through both towers of a stack.

    What was computed before with the same weights is read from results/embeddings.
    """
    scenes = [make_scene(split, index, seed) for index in range(count)]
    path = CACHE / f"{stack.name}-{split}-{seed}-{count}-{_fingerprint(stack)}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        save_file(_embed(stack, scenes), temporary)
        temporary.replace(path)
    return EmbeddingTable(**load_file(path), scenes=scenes)


def _embed(stack: Stack, scenes: list[Scene]) -> dict[str, np.ndarray]:
    visual, audio = [], []
    for start in tqdm(range(0, len(scenes), BATCH), "embed", unit="batch", leave=False, disable=len(scenes) == 1):
        batch = scenes[start : start + BATCH]
        visual.append(stack.vision.embed_images([draw(scene) for scene in batch]))
        audio.append(stack.audio.embed_audio([synthesise(scene) for scene in batch], SAMPLE_RATE))
    return {"visual": np.concatenate(visual), "audio": np.concatenate(audio)}


def _fingerprint(stack: Stack) -> str:
    """A short sum over the embeddings of one scene: other weights, other file."""
    probe = _embed(stack, [make_scene("test", 0)])
    rounded = [np.round(probe[name], 3).tobytes() for name in ("visual", "audio")]
    return hashlib.sha256(b"".join(rounded)).hexdigest()[:12]

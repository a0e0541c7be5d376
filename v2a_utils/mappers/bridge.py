"""A bridge from CLIP's space to CLAP's over words, without a single pair: by the names of classes."""

import numpy as np
from scipy.special import softmax

from v2a_utils.models.stacks import Stack
from v2a_utils.soundworld import CLASSES, class_prompt


class WordsBridge:
    """Which of the words a picture shows, by CLIP; the embeddings of how they sound, by CLAP, mixed in these shares."""

    def __init__(self, seen: np.ndarray, heard: np.ndarray, scale: float):
        self.seen, self.heard, self.scale = seen, heard, scale  # (labels, visual_dim), (labels, audio_dim), CLIP's own

    def map(self, visual: np.ndarray, seed: int = 0) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm. Nothing is drawn at random."""
        mixed = softmax(self.scale * visual @ self.seen.T, axis=1) @ self.heard
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def words_bridge(stack: Stack) -> WordsBridge:
    """The bridge over SoundWorld's class names, as CLIP sees and CLAP hears them."""
    seen = stack.vision.embed_texts([class_prompt(name, "picture") for name in CLASSES])
    heard = stack.embed_words([class_prompt(name, "sound") for name in CLASSES])
    return WordsBridge(seen, heard, float(stack.vision.model.logit_scale.detach().exp()))

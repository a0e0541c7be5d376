"""Photographs on a stack that has seen drawings only: a classifier names what is in them, and words do the rest.

    photograph ──ImageNet classifier──▶ shares of SoundWorld's things ──CLAP's words──▶ unpaired sounds

It is the bridge of `words` with a classifier in CLIP's place. No mapper has to be trained for it, since nothing but
words passes between seeing and hearing.
"""

import numpy as np
import torch
from PIL import Image
from soundworld import CLASSES, class_prompt

from v2a_utils.data.media import MediaError
from v2a_utils.mappers.registry import words_bridge
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.models.photo import Seen
from v2a_utils.stacks.stack import Stack


def photograph_embedding(stack: Stack, frames: list[Image.Image], seed: int = 0) -> tuple[np.ndarray, Seen]:
    """The unit-norm CLAP embedding (d,) for a photograph (or a video's frames), and what the classifier saw.

    It is that of a sound drawn from those that the words stand for, so another seed gives another one. MediaError when
    the photograph shows nothing that SoundWorld has a sound for: no sound is better than a guess.
    """
    seen = stack.photo.see(frames)
    if not seen.known:
        names = ", ".join(f"{name} {share:.0%}" for name, share in seen.names)
        raise MediaError(f"the photograph shows nothing that SoundWorld has a sound for (the classifier's best guesses "
                         f"are {names}); with vision set to clip it gets a sound all the same")
    shares = np.array([seen.shares.get(name, 0) for name in CLASSES], np.float32)
    return _bridge(stack).hear(torch.from_numpy(shares / shares.sum())[None], seed, form="draw")[0], seen


def _bridge(stack: Stack) -> WordsBridge:
    """The bridge over the names of SoundWorld's classes, built once for each stack."""
    if "photographs" not in stack.cache:
        names = [tuple(class_prompt(name, what) for what in ("picture", "sound")) for name in CLASSES]
        stack.cache["photographs"] = words_bridge(stack, names)
    return stack.cache["photographs"]

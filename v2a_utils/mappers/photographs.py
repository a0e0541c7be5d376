"""Photographs on a stack that has seen drawings only: classifiers name what is in them, and words do the rest.

    photograph ──ImageNet classifiers──▶ the likeliest of SoundWorld's things ──CLAP's words──▶ unpaired sounds

It is the bridge of `words` with classifiers in CLIP's place. No mapper has to be trained for it, since nothing but
words passes between seeing and hearing.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from soundworld import CLASSES, class_prompt

from v2a_utils.data.media import MediaError
from v2a_utils.mappers.registry import trained_mapper, words_bridge
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.models.photo import LEAST_SHARE, Seen
from v2a_utils.stacks.stack import Stack

TOLD = 5  # of what was seen, at most: of a bridge's sentences several may say the same
FITTING = 24  # of 2,000 sounds, of which each class has about a hundred: a draw from all hits another class at times


@dataclass(frozen=True)
class Look:
    """Who looked at a picture, and what they saw."""

    by_classifiers: bool = False  # else by CLIP
    seen: list[tuple[str, float]] = field(default_factory=list)  # names or sentences with their shares, the likeliest
    chosen: tuple[str, float] | None = None  # the class whose sound a photograph gets, and its share
    drawn: bool | None = None  # whether it is a drawing as this CLIP knows them; None: nobody asked


def seen_by_clip(stack: Stack, visual: np.ndarray, mapper: str) -> list[tuple[str, float]]:
    """What CLIP sees in a picture, (d,): the three likeliest of SoundWorld's things, or five of a bridge's sentences.

    Nothing on a stack of photographs with another mapper than words: its CLIP would have to read a vocabulary first.
    """
    if stack.config.draws:
        if "names" not in stack.cache:
            stack.cache["names"] = stack.vision.embed_texts([class_prompt(name, "picture") for name in CLASSES])
        cosines = torch.from_numpy(stack.cache["names"] @ visual)
        names, shares = CLASSES, (stack.vision.model.logit_scale.detach().exp().cpu() * cosines).softmax(0).numpy()
    elif mapper == WordsBridge.kind:
        bridge = trained_mapper(stack, mapper)
        names, shares = bridge.sentences, bridge.attention(visual[None])[0]
    else:
        return []
    told = 3 if names is CLASSES else TOLD
    return [(names[place], float(shares[place])) for place in np.argsort(-shares)[:told]]


def photograph_embedding(stack: Stack, frames: list[Image.Image], seed: int = 0) -> tuple[np.ndarray, Seen]:
    """The unit-norm CLAP embedding (d,) for a photograph (or a video's frames), and what the classifiers saw.

    It lies between two sounds drawn from the FITTING ones that the likeliest class stands for most surely: another
    photograph of the class, or another seed, gives another one. NoSoundError (a ValueError) when the photograph surely
    shows nothing that SoundWorld has a sound for: no sound is better than a guess.
    """
    seen = stack.photo.see(frames)
    if seen.chosen is None:
        names = ", ".join(f"{name} {share:.0%}" for name, share in seen.names)
        best, share = seen.best
        raise NoSoundError(
            f"a photograph of nothing that SoundWorld surely has a sound for (the classifiers saw {names}; of "
            f"SoundWorld's things {best}, {share:.0%}, where {LEAST_SHARE:.0%} are needed); --vision clip would give a "
            "meaningless sound all the same")
    sounds = _bridge(stack).best_sounds(CLASSES.index(seen.chosen), FITTING)
    rng = np.random.default_rng([seed, seen.content])
    mixed = rng.dirichlet(np.ones(2)) @ sounds[rng.choice(len(sounds), 2)]
    return (mixed / np.linalg.norm(mixed)).astype(np.float32), seen


class NoSoundError(MediaError):
    """A picture that could be read, but has no sound."""


def _bridge(stack: Stack) -> WordsBridge:
    """The bridge over the names of SoundWorld's classes, built once for each stack."""
    if "photographs" not in stack.cache:
        names = [tuple(class_prompt(name, what) for what in ("picture", "sound")) for name in CLASSES]
        stack.cache["photographs"] = words_bridge(stack, names)
    return stack.cache["photographs"]

"""Picture in, sound out: the whole system in one function."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from v2a_utils.data.audio import even_loudness
from v2a_utils.data.media import MAX_FRAMES, sample_frames, video_seconds
from v2a_utils.mappers.bridge import words_bridge
from v2a_utils.mappers.folders import trained_mapper
from v2a_utils.models.audioldm import SCHEDULERS
from v2a_utils.models.clip import aggregate_frames
from v2a_utils.models.stacks import Stack

MAPPER_CHOICES = ("diffusion", "regression", "words", "none")
OVERLAP = 0.25  # of a window with the next one, along a video


@dataclass(frozen=True)
class SoundOptions:
    """How a sound is made. `mapper` "none" hands the CLIP embedding to the generator as it is."""

    mapper: str = "diffusion"
    steps: int = 25  # denoising steps of the generator
    guidance: float = 2.0  # classifier-free guidance scale of the generator; 1 is none
    seconds: float | None = None  # None: the length that the generator was trained on
    candidates: int = 3  # sounds made for one picture; the best by CLAP similarity is kept
    seed: int = 0
    scheduler: str = "dpm++"  # of the generator

    def __post_init__(self):
        checks = {
            "mapper": (self.mapper in MAPPER_CHOICES, f"one of {', '.join(MAPPER_CHOICES)}"),
            "steps": (1 <= self.steps <= 1000, "1 to 1000"),
            "guidance": (0 <= self.guidance <= 50, "0 to 50"),
            "seconds": (self.seconds is None or 0.5 <= self.seconds <= 60, "0.5 to 60"),
            "candidates": (1 <= self.candidates <= 64, "1 to 64"),
            "seed": (0 <= self.seed < 2**32, "0 to 4294967295"),
            "scheduler": (self.scheduler in SCHEDULERS, f"one of {', '.join(SCHEDULERS)}"),
        }
        for name, (fine, allowed) in checks.items():
            if not fine:
                raise ValueError(f"{name} is {getattr(self, name)}: give {allowed}")


@dataclass(frozen=True)
class Sound:
    """What came out, and what it was made from."""

    waveform: np.ndarray  # (samples,), in [-1, 1], at one loudness
    sample_rate: int  # Hz
    visual: np.ndarray  # (d,), CLIP embedding of the picture or the mean over the frames
    mapped: np.ndarray  # (d,), what the generator was conditioned on
    similarity: float  # cosine between `mapped` and CLAP's embedding of the sound
    heard: list[tuple[str, float]]  # the tagger's three most likely classes with probabilities
    strange: bool  # the picture is unlike those that the stack was trained on


def map_embeddings(stack: Stack, visual: np.ndarray, mapper: str, seed: int = 0) -> np.ndarray:
    """Visual embeddings (n, d) -> what the generator is conditioned on, (n, generator's d), unit norm."""
    if mapper == "words":
        if mapper not in stack.kept:
            stack.kept[mapper] = words_bridge(stack)
        return stack.kept[mapper].map(visual, seed=seed)
    if mapper != "none":
        return trained_mapper(stack, mapper).map(visual, seed=seed)
    wanted = stack.generator.embed_dim
    if visual.shape[1] != wanted:
        raise ValueError(f"without a mapper CLIP's {visual.shape[1]} numbers cannot stand for CLAP's {wanted}")
    return visual


def best_candidates(stack: Stack, mapped: np.ndarray, options: SoundOptions, progress=None):
    """For every row of `mapped` the best of `candidates` sounds by CLAP similarity to that row.

    Returns the sounds (n, samples) as generated, and their cosines (n,). AudioLDM re-ranks its candidates by
    similarity to the text; here the mapped embedding stands in the text's place.
    """
    repeated = np.repeat(mapped, options.candidates, axis=0)
    waves = stack.generator.generate(
        repeated, options.steps, options.guidance, options.seconds, options.seed, progress, options.scheduler
    )
    heard = stack.audio.embed_audio(list(waves), stack.generator.sample_rate)
    cosines = (heard * repeated).sum(1).reshape(len(mapped), options.candidates)
    best = cosines.argmax(1) + options.candidates * np.arange(len(mapped))
    return waves[best], cosines.max(1)


def picture_to_sound(
    stack: Stack, frames: list[Image.Image], options: SoundOptions = SoundOptions(), progress=None
) -> Sound:
    """The sound of a picture (one frame) or a video (several RGB frames, averaged in CLIP's space).

    `progress(done, steps)` is called after every denoising step. Same options and frames, same sound.
    """
    visual = stack.vision.embed_frames(frames)
    mapped = map_embeddings(stack, visual[None], options.mapper, options.seed)
    waves, cosines = best_candidates(stack, mapped, options, progress)
    rate = stack.generator.sample_rate
    return Sound(
        even_loudness(waves[0]), rate, visual, mapped[0], float(cosines[0]), stack.tagger.top(waves[0], rate),
        stack.familiarity.is_strange(visual),
    )


def video_to_sound(
    stack: Stack, path: str | Path, options: SoundOptions = SoundOptions(), progress=None
) -> Sound:
    """The sound of a video from its first to its last picture, of any length.

    Windows of `options.seconds` overlap by a quarter; each is conditioned on its own pictures, and all on the same
    noise of the mapper, so that what goes on sounding keeps its timbre. `progress(done, all)` counts denoising steps.
    `visual` and `mapped` of the answer are those of the windows' mean direction.
    """
    rate, seconds = stack.generator.sample_rate, options.seconds or stack.generator.clip_seconds
    total, hop = video_seconds(path), seconds * (1 - OVERLAP)
    starts = hop * np.arange(max(int(np.ceil((total - seconds) / hop - 1e-6)), 0) + 1)
    visual, mapped, waves, cosines = [], [], [], []
    for number, start in enumerate(starts):
        visual.append(stack.vision.embed_frames(_frames_between(path, start, start + seconds)))
        mapped.append(map_embeddings(stack, visual[-1][None], options.mapper, options.seed)[0])
        own = replace(options, seconds=seconds, seed=(options.seed + number) % 2**32)
        tell = progress and (lambda done, steps, n=number: progress(n * steps + done, len(starts) * steps))
        best, cosine = best_candidates(stack, mapped[-1][None], own, tell)
        waves.append(best[0])
        cosines.append(cosine[0])
    whole = cross_fade(np.stack(waves), round(hop * rate))[: round(total * rate)]
    seen = aggregate_frames(np.stack(visual))
    return Sound(even_loudness(whole), rate, seen, aggregate_frames(np.stack(mapped)), float(np.mean(cosines)),
                 stack.tagger.top(whole, rate), stack.familiarity.is_strange(seen))


def _frames_between(path: str | Path, start: float, stop: float) -> list[Image.Image]:
    """MAX_FRAMES pictures of a video, evenly spread from `start` to `stop` seconds, or as many as there are."""
    rate = MAX_FRAMES / (stop - start)
    first = round(start * rate)
    return sample_frames(path, rate, lambda number: range(min(first, number - 1), min(first + MAX_FRAMES, number)))


def cross_fade(waves: np.ndarray, hop: int) -> np.ndarray:
    """Windows (n, samples), each beginning `hop` samples after the last, as one sound (samples + (n - 1) hop,).

    Where two overlap, one fades out by a cosine and the other in by a sine: the sum of squares is 1, so sounds that
    have nothing to do with each other keep their power.
    """
    length = waves.shape[1]
    ramp = np.sin(np.linspace(0, np.pi / 2, length - hop, dtype=np.float32))
    fade_in = np.concatenate([ramp, np.ones(hop, np.float32)])
    whole = np.zeros(length + (len(waves) - 1) * hop, np.float32)
    for number, wave in enumerate(waves):
        gain = (fade_in if number else 1) * (fade_in[::-1] if number < len(waves) - 1 else 1)
        whole[number * hop :][:length] += gain * wave
    return whole

"""Picture in, sound out: the whole system in one function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from v2a_utils.data.audio import even_loudness
from v2a_utils.data.batches import Lanes, lane_count
from v2a_utils.data.media import MAX_FRAMES, MediaError, load_frames, sample_frames, thumbnails, video_seconds
from v2a_utils.event_adapter import Control, event_adapter
from v2a_utils.mappers.photographs import TOLD, Look, photograph_embedding, seen_by_clip
from v2a_utils.mappers.registry import has_mapper, mapper_familiarity, trained_mapper
from v2a_utils.metrics.timing import event_curve, motion
from v2a_utils.models.clip import aggregate_frames
from v2a_utils.models.photo import INSTALL
from v2a_utils.options import FAMILIARITY, MAPPER_CHOICES, TRAINED, SoundOptions
from v2a_utils.retiming import retimed
from v2a_utils.stacks.stack import Stack

OVERLAP = 0.25  # share of a video's window that the next one overlaps
SYNC_STRENGTHS, LOSS = (0.5, 0.65), 0.2  # see `in_time`
SYNC_RATE = 25  # frames a second in which motion is looked for
WINDOWS_AT_ONCE = 2  # whose sounds are made on a CPU: each takes the real models' memory for a sound


@dataclass(frozen=True)
class Sound:
    """A sound, and what it was made from."""

    waveform: np.ndarray  # (samples,), in [-1, 1], at one loudness
    sample_rate: int  # Hz
    visual: np.ndarray  # (d,), CLIP embedding of the picture or the mean over the frames
    mapped: np.ndarray  # (d,), what the generator was conditioned on
    similarity: float | None  # cosine between `mapped` and CLAP's embedding of the sound; None for a single candidate
    heard: list[tuple[str, float]]  # the tagger's three most likely classes with probabilities; empty without a tagger
    out_of_distribution: bool | None  # unlike the pictures that the mapper was trained on; None if unknown
    look: Look = Look()  # who looked at the picture, and what they saw


# ------------------------------------------------------------------------------------------------------- what is there


def mapper_choices(stack: Stack) -> list[str]:
    """The MAPPER_CHOICES that a stack has, its default first."""
    return [*(kind for kind in TRAINED if has_mapper(stack, kind)), *(["words"] if stack.has("words") else []), "none"]


def settle(stack: Stack, options: SoundOptions) -> SoundOptions:
    """The options that a stack with these parts can follow, with the mapper chosen.

    Says once what is missing, before anything is generated. ValueError when a part that every sound needs is missing.
    """
    for part in ("clip", "audioldm"):
        stack.place(part)
    mapper, candidates = options.mapper or mapper_choices(stack)[0], options.candidates
    if mapper == "none" and options.mapper is None:
        stack.place("words")  # says what is missing
    if options.mapper is None and mapper != TRAINED[0]:
        stack.notice(f"The {stack.name} stack has no trained {TRAINED[0]} mapper: the mapper {mapper} takes its place.")
    if candidates > 1 and not stack.has("clap"):
        candidates = 1
        stack.notice(f"CLAP is not there to choose among {options.candidates} candidates, so one sound is made.")
    if not stack.has("tagger"):
        stack.notice("There is no tagger, so nothing says what the sound sounds like.")
    if mapper_familiarity(stack, mapper) is None:
        stack.notice("Nothing says how familiar a picture is: no trained mapper came with the file for it.")
    if options.vision == "photo":
        stack.photo  # says what is missing
    vision = "clip" if options.vision == "auto" and options.mapper else options.vision
    return replace(options, mapper=mapper, candidates=candidates, vision=vision)


# ----------------------------------------------------------------------------------------------- picture in, sound out


def embed_files(stack: Stack, paths: Sequence[str | Path]) -> list[np.ndarray | MediaError]:
    """The CLIP embedding (d,) of each picture or video, or the error of a file that cannot be read.

    The frames of a file are one batch. Files do not share one: rounding depends on a batch's size, and a sound must not
    depend on what else is made in the same run.
    """
    found: list[np.ndarray | MediaError] = []
    for path in paths:
        try:
            found.append(stack.vision.embed_frames(load_frames(path)))
        except MediaError as error:
            found.append(error)
    return found


def map_embeddings(stack: Stack, visual: np.ndarray, mapper: str, seed: int = 0) -> np.ndarray:
    """Visual embeddings (n, d) -> what the generator is conditioned on, (n, generator's d), unit norm."""
    if mapper != "none":
        return trained_mapper(stack, mapper).map(visual, seed=seed)
    wanted = stack.generator.embed_dim
    if visual.shape[1] != wanted:
        raise ValueError(f"without a mapper CLIP's {visual.shape[1]} dimensions cannot stand for CLAP's {wanted}")
    return visual


def map_picture(stack: Stack, visual: np.ndarray, frames: Callable[[], list[Image.Image]],
                options: SoundOptions) -> tuple[np.ndarray, Look]:
    """What the generator is conditioned on for one picture, (d,), and who looked at it and what they saw.

    `visual` is its CLIP embedding (d,); `frames()` loads its pictures if the classifiers have to look at them, see
    `SoundOptions.vision`. NoSoundError (a ValueError) when they are surely of nothing that SoundWorld has a sound for.
    """
    drawn = is_drawn(stack, visual, frames, options.mapper)
    if options.vision == "photo" or (options.vision == "auto" and stack.has("photo") and drawn is False):
        mapped, seen = photograph_embedding(stack, frames(), options.seed)
        return mapped, Look(True, seen.names, seen.best, drawn)
    look = Look(False, seen_by_clip(stack, visual, options.mapper), None, drawn)
    return map_embeddings(stack, visual[None], options.mapper, options.seed)[0], look


def is_drawn(stack: Stack, visual: np.ndarray, frames: Callable[[], list[Image.Image]],
             mapper: str = TRAINED[0]) -> bool | None:
    """Whether a picture is a drawing of the kind that a CLIP of drawings knows; None for any other CLIP.

    A classifier of photographs and the distance in CLIP's space tell together; without the first, it is not sure.
    A mapper of one's own may have learned from other pictures, and has its own familiarity.
    """
    if not stack.config.draws or _is_own(mapper):
        return None
    distance = 1.0  # where nothing says what is familiar
    if stack.has("familiarity"):
        distance = float(stack.familiarity.distance(visual[None])[0]) / stack.familiarity.limit
    if stack.has("photo"):
        return stack.photo.is_drawn(frames(), distance)
    if distance > 1:
        stack.notice(f"The {stack.name} stack knows drawings only. For photographs: {INSTALL}")
    return distance <= 1


def _is_own(mapper: str) -> bool:
    """Whether a mapper is the reader's own: a folder that says what it is familiar with."""
    return mapper not in MAPPER_CHOICES and (Path(mapper) / FAMILIARITY).is_file()


def best_candidates(stack: Stack, mapped: np.ndarray, options: SoundOptions, progress=None, rank: bool = True,
                    control: Control | None = None):
    """For every row of `mapped` the best of `candidates` sounds by CLAP similarity to that row.

    Returns the sounds (n, samples) as generated, and their cosines (n,). Without `rank`, which one candidate does not
    need, CLAP is not asked and the cosines are None. `control` has a timeline for every candidate of every row.
    """
    audio = stack.audio if rank else None  # loaded first: an error comes before minutes of generation, not after
    repeated = np.repeat(mapped, options.candidates, axis=0)
    waves = stack.generator.generate(repeated, options.steps, options.guidance, options.seconds, options.seed, progress,
                                     options.scheduler, exclude=excluded(stack, options), control=control)
    if audio is None:
        return waves, None
    heard = audio.embed_audio(list(waves), stack.generator.sample_rate)
    cosines = (heard * repeated).sum(1).reshape(len(mapped), options.candidates)
    best = cosines.argmax(1) + options.candidates * np.arange(len(mapped))
    return waves[best], cosines.max(1)


def excluded(stack: Stack, options: SoundOptions) -> np.ndarray | None:
    """CLAP's embedding of the words of what shall not be heard, (generator's d,); None without such words."""
    if options.exclude is None:
        return None
    place = ("exclude", options.exclude)  # asked for with every batch of sounds
    if place not in stack.cache:
        stack.cache[place] = stack.embed_words([options.exclude])[0]
    return stack.cache[place]


def picture_to_sound(stack: Stack, frames: list[Image.Image], options: SoundOptions = SoundOptions(),
                     progress=None) -> Sound:
    """The sound of a picture (one frame) or a video (several RGB frames, averaged in CLIP's space).

    `progress(done, steps)` is called after every denoising step. The same options and frames give the same sound.
    """
    options = settle(stack, options)
    visual = stack.vision.embed_frames(frames)
    mapped, look = map_picture(stack, visual, lambda: frames, options)
    return embedding_to_sound(stack, visual, mapped, options, progress, look)


def embedding_to_sound(stack: Stack, visual: np.ndarray, mapped: np.ndarray, options: SoundOptions, progress=None,
                       look: Look = Look()) -> Sound:
    """The sound of a picture that is already embedded, (d,), and mapped, (generator's d,).

    `options` come from `settle`, `mapped` and `look` from `map_picture`.
    """
    describe = _describer(stack, options)
    waves, cosines = best_candidates(stack, mapped[None], options, progress, options.candidates > 1)
    rate = stack.generator.sample_rate
    return Sound(even_loudness(waves[0]), rate, visual, mapped, None if cosines is None else float(cosines[0]),
                 *describe(waves[0], visual), look)


def _describer(stack: Stack, options: SoundOptions):
    """A function (waveform, visual) -> what the tagger hears, and whether the picture is out of distribution.

    Without a model its answer is empty. The models are loaded now, so a damaged one is named before a sound is made.
    """
    tagger = stack.tagger if stack.has("tagger") else None
    familiarity = mapper_familiarity(stack, options.mapper)

    def describe(waveform: np.ndarray, visual: np.ndarray) -> tuple[list[tuple[str, float]], bool | None]:
        heard = tagger.top(waveform, stack.generator.sample_rate) if tagger else []
        return heard, familiarity.is_out_of_distribution(visual) if familiarity else None

    return describe


def video_to_sound(stack: Stack, path: str | Path, options: SoundOptions = SoundOptions(), sync: bool = False) -> Sound:
    """The sound of a whole video, of any length.

    Windows of `options.seconds` overlap by a quarter. Each is conditioned on its own pictures, but all share the noise
    of the mapper, so that a lasting sound keeps its timbre. `visual` and `mapped` of the answer are the windows' mean
    directions, `look` what was likeliest in any window. With `sync` it sounds when something happens in the pictures
    (`in_time`); a window in which nothing does keeps its sound.
    """
    total, options = video_seconds(path), settle(stack, options)
    describe, rate, seconds = _describer(stack, options), stack.generator.sample_rate, options.seconds
    seconds = seconds or stack.generator.clip_seconds
    hop = seconds * (1 - OVERLAP)
    starts = hop * np.arange(max(int(np.ceil((total - seconds) / hop - 1e-6)), 0) + 1)
    visual, mapped, looks = [], [], []
    for start in starts:
        frames = _frames_between(path, start, start + seconds)
        visual.append(stack.vision.embed_frames(frames))
        condition, look = map_picture(stack, visual[-1], lambda seen=frames: seen, options)
        mapped.append(condition)
        looks.append(look)
    films = [_motion_between(path, start, start + seconds) for start in starts] if sync else None
    waves, cosines = _window_sounds(stack, mapped, replace(options, seconds=seconds), films)
    whole = cross_fade(np.stack(waves), round(hop * rate))[: round(total * rate)]
    seen = aggregate_frames(np.stack(visual))
    similarity = float(np.mean(cosines)) if options.candidates > 1 else None
    return Sound(even_loudness(whole), rate, seen, aggregate_frames(np.stack(mapped)), similarity,
                 *describe(whole, seen), _together(looks))


def _together(looks: list[Look]) -> Look:
    """What was seen in several windows of a film, as one: of each name the largest share."""
    seen = dict(sorted((pair for look in looks for pair in look.seen), key=itemgetter(1)))  # the last one stays
    chosen = [look.chosen for look in looks if look.chosen]
    drawn = [look.drawn for look in looks if look.drawn is not None]
    likeliest = sorted(seen.items(), key=itemgetter(1), reverse=True)[:TOLD]
    return Look(any(look.by_classifiers for look in looks), likeliest,
                max(chosen, key=itemgetter(1), default=None), all(drawn) if drawn else None)


def _window_sounds(stack: Stack, mapped: list[np.ndarray], options: SoundOptions,
                   films: list[np.ndarray] | None = None) -> tuple[list, list]:
    """The best sound (samples,) for every window's embedding, and its cosine (1,), or None for one candidate.

    With the windows' motion in `films` the sounds are in time with it; the cosines are those from before.
    """
    rank = options.candidates > 1
    if rank or (films and stack.has("clap")):
        stack.audio  # loaded here, so that no two lanes load it at once

    def window(number: int) -> tuple[np.ndarray, np.ndarray | None]:
        own = replace(options, seed=(options.seed + number) % 2**32)
        waves, cosines = best_candidates(stack, mapped[number][None], own, pool.check, rank)
        if films:
            waves = in_time(stack, waves, mapped[number][None], films[number], own, pool.check)
        return waves, cosines

    with Lanes(min(lane_count(stack.device), len(mapped), WINDOWS_AT_ONCE)) as pool:
        bar = tqdm(pool.map(window, range(len(mapped))), "windows", len(mapped), leave=False, disable=len(mapped) == 1)
        waves, cosines = zip(*bar)
    return [wave[0] for wave in waves], list(cosines)


def _frames_between(path: str | Path, start: float, stop: float) -> list[Image.Image]:
    """MAX_FRAMES pictures of a video, evenly spread from `start` to `stop` seconds, or as many as there are."""
    rate = MAX_FRAMES / (stop - start)
    first = round(start * rate)
    return sample_frames(path, rate, lambda number: range(min(first, number - 1), min(first + MAX_FRAMES, number)))


def in_time(stack: Stack, waves: np.ndarray, mapped: np.ndarray, film: np.ndarray, options: SoundOptions,
            progress=None) -> np.ndarray:
    """A sound (1, samples) made for an embedding (1, d), with its events where its film's motion (frames,) shows some.

    A stack with an event adapter makes it anew and is told of the events; without one the sound's own are moved. If
    CLAP no longer hears the embedding in it (its cosine falls by more than LOSS), the next way is tried: other events
    moved, more noise to melt the seams. If nothing helps, the sound stays as it was. Without CLAP the first one counts.
    """
    generator, adapter = stack.generator, event_adapter(stack)
    seconds = waves.shape[1] / generator.sample_rate
    if not event_curve(film, len(film) / seconds).any():
        return waves
    settings = {"steps": options.steps, "seed": options.seed, "guidance": options.guidance, "progress": progress,
                "scheduler": options.scheduler, "exclude": excluded(stack, options)}
    attempts = [partial(retimed, generator, waves, mapped, [film], strength, **settings) for strength in SYNC_STRENGTHS]
    if adapter:
        shown = Control.by_films(generator, adapter, [film] * options.candidates, seconds)
        attempts.insert(0, lambda: best_candidates(stack, mapped, options, progress, options.candidates > 1, shown)[0])
    for attempt in attempts:
        moved = attempt()
        if not stack.has("clap") or np.array_equal(moved, waves):
            return moved
        before, after = stack.audio.embed_audio([waves[0], moved[0]], generator.sample_rate) @ mapped[0]
        if after >= before - LOSS:
            return moved
    return waves


def _motion_between(path: str | Path, start: float, stop: float) -> np.ndarray:
    """The motion of a video from `start` to `stop` seconds, (frames,), 0 where it ends before."""
    frames, rate = thumbnails(path, start, stop, SYNC_RATE)
    moved = motion(frames)
    return np.pad(moved, (0, max(round((stop - start) * rate) - len(moved), 0)))


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

"""Embedding extraction: any data set in, a store of CLIP and CLAP embeddings out.

    sources ──decode, preprocess──▶ batches ──CLIP, CLAP──▶ rows ──▶ shards of the store

A `Job` is one batch of clips within one shard. Jobs are the same whatever runs them, so that a run on one machine, a
run that was killed and resumed, and a run on many machines (`v2a_utils.stacks.extraction_on_ray`) make the same rows.
"""

import json
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from joblib import cpu_count
from soundworld import SAMPLE_RATE, Scene, draw, make_scene, synthesise
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from v2a_utils import __version__
from v2a_utils.data.audio import fit_length, resample
from v2a_utils.data.batches import lane_count, parallel_map
from v2a_utils.data.files import cache_folder, key
from v2a_utils.data.sources import FileSource, Listing, Source, soundworld, world_code
from v2a_utils.data.store import SHARD_CLIPS, Row, Store
from v2a_utils.models.clip import aggregate_frames, choose_frames
from v2a_utils.models.weights import state_sha256
from v2a_utils.options import EmbedOptions
from v2a_utils.stacks.stack import Stack

SHIPPED = "embeddings"  # folder in a stack's extras: a store for each split of SoundWorld
PROBED = 4  # of its scenes, embedded again to see whether they are still the same
BATCH = 8  # clips: enough to keep a CPU busy, and little to wait for before the encoders begin
FRAMES = 32  # through CLIP at a time
DECODERS = cpu_count()  # processes that prepare ahead


@dataclass(frozen=True)
class Job:
    """The clips of one batch and the shard that they go into."""

    shard: int
    place: int  # number of the batch within its shard
    sources: list[Source]


@dataclass
class Prepared:
    """A job's clips, decoded and preprocessed, except those that could not be read."""

    sources: list[Source]
    frames: torch.Tensor | None  # uint8 (frames of all clips, 3, size, size); None when there are no clips
    counts: list[int]  # frames of each clip
    waves: torch.Tensor | None  # (clips, clip_samples); None without clips or sounds
    skipped: list[tuple[str, str]]  # (id, reason)


@dataclass
class Encoded:
    """What becomes of a job: its rows of the table, and (id, reason) of the clips without one."""

    rows: list[Row]
    skipped: list[tuple[str, str]]


@dataclass(frozen=True)
class Preparation:
    """Decoding and the encoders' preprocessing without their weights: what a decoding process needs."""

    fit: Callable  # CLIP's, RGB picture -> uint8 (3, size, size)
    sample_rate: int  # Hz, CLAP's
    clip_samples: int
    options: EmbedOptions

    def __call__(self, job: Job) -> Prepared:
        """Decode and preprocess a job's clips."""
        clips, skipped = {}, []
        for source in job.sources:
            try:
                clips[source] = self.clip(source)
            except ValueError as error:
                skipped.append((source.id, str(error)))
        frames = [frames for frames, _ in clips.values()]
        waves = [wave for _, wave in clips.values() if wave is not None]
        return Prepared(list(clips), torch.cat(frames) if frames else None, [len(one) for one in frames],
                        torch.stack(waves) if waves else None, skipped)

    def clip(self, source: Source) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames as bytes (frames, 3, size, size) and the sound (clip_samples,) of one clip."""
        options, seconds = self.options, self.clip_samples / self.sample_rate
        seed = [options.seed, zlib.crc32(source.id.encode())]
        choose = partial(choose_frames, options.aggregate, seed=seed)
        clip = source.decode(options.frame_rate, choose, seconds)
        frames = torch.stack([self.fit(frame) for frame in clip.frames])
        if clip.waveform is None:
            return frames, None
        wave = resample(clip.waveform, clip.sample_rate, self.sample_rate)
        return frames, torch.from_numpy(fit_length(wave, self.clip_samples))


def preparation(stack: Stack, options: EmbedOptions = EmbedOptions()) -> Preparation:
    """The preparation that a stack's encoders want."""
    return Preparation(stack.vision.fit, stack.audio.sample_rate, stack.audio.clip_samples, options)


def encode(stack: Stack, prepared: Prepared, aggregate: str) -> Encoded:
    """Both towers on prepared clips."""
    encoded = Encoded([], list(prepared.skipped))
    if not prepared.sources:
        return encoded
    visual = np.concatenate([stack.vision.embed_prepared(batch) for batch in prepared.frames.split(FRAMES)])
    per_clip = np.split(visual, np.cumsum(prepared.counts)[:-1])
    has_sounds = prepared.waves is not None
    audio = stack.audio.embed_prepared(prepared.waves) if has_sounds else [None] * len(per_clip)
    for source, frames, heard in zip(prepared.sources, per_clip, audio):
        seen = aggregate_frames(frames, "none" if aggregate == "none" else "mean")  # others chose before decoding
        if all(np.isfinite(vector).all() for vector in (seen, heard) if vector is not None):
            encoded.rows.append(Row(source.id, source.label, source.split, source.caption, seen, heard))
        else:
            encoded.skipped.append((source.id, "its embedding is not finite: the picture or sound has absurd values"))
    return encoded


def store_settings(stack: Stack, options: EmbedOptions) -> dict[str, str]:
    """How a store is made, for its metadata; stores with the same settings can be compared row by row."""
    seed = f" (seed {options.seed})" if options.aggregate == "random" else ""
    return {
        "stack": stack.name, "clip": stack.config.clip_name, "clip_sha256": state_sha256(stack.vision.model),
        "clip_preprocessing": json.dumps(stack.vision.model.visual.preprocess_cfg, sort_keys=True),
        "clap": stack.audio.name, "clap_sha256": state_sha256(stack.audio.model),
        "clap_preprocessing": f"mono, {stack.audio.sample_rate} Hz by way of 16000 Hz, first "
                              f"{stack.audio.clip_samples} samples, shorter sounds repeated and zero-padded",
        "aggregate": options.aggregate + seed, "frame_rate": str(options.frame_rate),
        "v2a_utils": __version__,
    }


def run_here(jobs: list[Job], stack: Stack, options: EmbedOptions) -> Iterator[tuple[Job, Encoded]]:
    """Every job with what becomes of it, in order, on this machine."""
    towers = partial(encode, stack, aggregate=options.aggregate)
    yield from zip(jobs, from_sources(jobs, preparation(stack, options), towers, stack.device))


def from_sources(jobs: list[Job], prepare: Preparation, towers: Callable, device: str) -> Iterator:
    """What `towers` makes of every job, prepared by `prepare`, in order.

    On CPUs each thread takes a batch of files all the way: decoders and encoders release Python's lock, and nothing has
    to be handed over. For a GPU, and for scenes of SoundWorld, which are drawn with the lock held, processes prepare.
    """
    number = lane_count(device)
    if device == "cpu" and all(isinstance(source, FileSource) for job in jobs for source in job.sources):
        return parallel_map(lambda job: towers(prepare(job)), jobs, number)
    return parallel_map(towers, prepare_ahead(jobs, prepare), number)


def prepare_ahead(jobs: list[Job], prepare: Preparation) -> Iterator[Prepared]:
    """What `prepare` makes of every job, in order, made ahead of its use by DECODERS processes."""
    return iter(DataLoader(jobs, batch_size=None, collate_fn=prepare, num_workers=min(DECODERS, len(jobs))))


def embed(listing: Listing, stack: Stack, path: str | Path, options: EmbedOptions = EmbedOptions(),
          resume: bool = False, run: Callable = run_here) -> Store:
    """Embed every clip of a listing into the store at `path`, and name in its skipped.csv those that could not be.

    `resume` goes on with the store that an earlier run left there. `run(jobs, stack, options)` yields every job with
    what becomes of it, in any order: `run_here` or another engine. ValueError when the store holds something else.
    """
    store, settings = Store(path), store_settings(stack, options) | listing.settings
    ids = [source.id for source in listing.sources]
    shards = [slice(start, start + SHARD_CLIPS) for start in range(0, len(ids), SHARD_CLIPS)]
    store.refuse_existing(resume)
    todo = store.missing([ids[shard] for shard in shards], settings)
    jobs = [job for number in todo for job in batch_jobs(number, listing.sources[shards[number]])]
    done = run(jobs, stack, options)
    dims = {"visual": stack.vision.embed_dim} | ({"audio": stack.audio.embed_dim} if listing.has_sounds else {})
    known = store.skipped()
    with tqdm(total=len(ids), initial=len(ids) - sum(len(job.sources) for job in jobs), unit="clip") as bar:
        for number, parts in _whole_shards(done, jobs, bar):
            rows = [row for part in parts for row in part.rows]
            skipped = [clip for part in parts for clip in part.skipped]
            store.write(number, ids[shards[number]], rows, skipped, dims, settings)
            known += skipped
            store.write_skipped(listing.left_out + known)
    store.write_skipped(listing.left_out + store.skipped())  # in the order of the listing, whatever was done first
    return store


def batch_jobs(shard: int, sources: list[Source]) -> list[Job]:
    """The jobs of one shard's clips, in their order."""
    return [Job(shard, place, sources[start : start + BATCH])
            for place, start in enumerate(range(0, len(sources), BATCH))]


def _whole_shards(done: Iterable[tuple[Job, Encoded]], jobs: list[Job], bar: tqdm) -> Iterator[tuple[int, list]]:
    """(number, what became of its jobs, in order) of each shard as soon as its last job is done."""
    sizes, waiting = Counter(job.shard for job in jobs), defaultdict(dict)
    for job, encoded in done:
        waiting[job.shard][job.place] = encoded
        bar.update(len(job.sources))
        if len(waiting[job.shard]) == sizes[job.shard]:
            parts = waiting.pop(job.shard)
            yield job.shard, [parts[place] for place in sorted(parts)]


# ------------------------------------------------------------------------------------------------ SoundWorld, kept


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


def world_store(stack: Stack, split: str, count: int, seed: int = 0) -> Store:
    """The store of (at least) the first `count` scenes of a SoundWorld split, through both towers of a stack.

    It lies in the cache, under a key of weights and world. It begins with the embeddings that the mini stack ships,
    where they still are what the encoders make of the world.
    """
    settings, cache = store_settings(stack, EmbedOptions()), cache_folder("embeddings")
    name = f"{stack.name}-{split}-{seed}-{key(world=world_code(), **settings)[:12]}"
    store, shipped = Store(cache / name), Store(stack.config.extras / SHIPPED / split)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{store.path}.lock"):  # two notebooks side by side: the second waits for what the first makes
        if (seed == 0 and not Path(store.path).exists() and shipped.made_with(settings)
                and _still_true(shipped, stack, split)):
            half = shutil.copytree(shipped.path, f"{store.path}.part", dirs_exist_ok=True)
            Path(half).rename(store.path)
        if not store.shards() or len(store) < count:
            listing = replace(soundworld(split, count, seed), settings={})  # the shipped embeddings name no world
            embed(listing, stack, store.path, resume=True)
    return store


def _still_true(shipped: Store, stack: Stack, split: str) -> bool:
    """Whether some of the shipped embeddings are what the encoders make of the world's scenes as it is now."""
    rows = np.linspace(0, len(shipped) - 1, PROBED).astype(int)
    scenes = [make_scene(split, int(row)) for row in rows]
    now = {"visual": stack.vision.embed_images([draw(scene) for scene in scenes]),
           "audio": stack.audio.embed_audio([synthesise(scene) for scene in scenes], SAMPLE_RATE)}
    return all((shipped.numpy(side)[rows] * now[side]).sum(1).min() > 0.999 for side in now)


def embed_world(stack: Stack, split: str, count: int, seed: int = 0) -> EmbeddingTable:
    """The first `count` scenes of a SoundWorld split, read from `world_store`."""
    store = world_store(stack, split, count, seed)
    scenes = [make_scene(split, index, seed) for index in range(count)]
    visual, audio = (np.array(store.numpy(column)[:count]) for column in ("visual", "audio"))  # writable copies
    return EmbeddingTable(visual, audio, scenes)

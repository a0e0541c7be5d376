"""Sounds as files: one for every row of a store of embeddings, made by any mapper (the command `generate`).

    store ──mapper──▶ conditions ──jobs of BATCH rows──▶ AudioLDM, here or on Ray ──▶ OUT/<id>.flac

With several seeds each has its folder, OUT/seed0/<id>.flac and so on. A job whose files are all there is not done
again, and each row's noise depends on its place in the store only, so a run that was killed and resumed ends with the
same files as one that was not. What made the files is written beside them; sounds made otherwise are never mixed in.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from v2a_utils.data.audio import SOUNDS, resample, save_audio
from v2a_utils.data.files import key, write_json
from v2a_utils.data.sources import Listing
from v2a_utils.data.splits import sample
from v2a_utils.data.store import Store
from v2a_utils.models.weights import state_sha256
from v2a_utils.options import TRUE, SoundOptions
from v2a_utils.pipeline import best_candidates, map_embeddings
from v2a_utils.stacks.stack import Stack

BATCH = 16
RECORD = "generation.json"  # what made the sounds of a folder


@dataclass(frozen=True)
class Job:
    """Rows of a store that are generated together, the files they become and how they are made."""

    paths: list[Path]
    conditions: np.ndarray
    options: SoundOptions


Run = Callable[[Stack, list[Job]], Iterable[np.ndarray]]  # the sounds of every job in order, by some engine


def make(stack: Stack, job: Job) -> np.ndarray:
    """The sounds of a job, (rows, samples)."""
    return best_candidates(stack, job.conditions, job.options, rank=job.options.candidates > 1)[0]


def generate(stack: Stack, store: Store, mapper: str, out: Path, options: SoundOptions, seeds: int = 1,
             suffix: str = "flac", run: Run | None = None, limit: int | None = None) -> list[Path]:
    """A sound file for every row of a store and seed; returns all paths, those of earlier runs among them.

    mapper: a kind, the folder of a trained one, "none", or "true" for CLAP's own embedding of each sound. `limit` takes
    a random sample of so many rows. ValueError when the store does not fit the stack, or `out` holds other sounds.
    """
    check_store(stack, store)

    ids = store.numpy("id")
    rows = sample(ids, limit) if limit is not None else slice(None)
    visual = np.array(store.numpy("visual")[rows])  # a memory-mapped array cannot be written to
    made_for = range(options.seed, options.seed + seeds)
    conditions = [np.array(store.numpy("audio")[rows])] * seeds if mapper == TRUE else [
        map_embeddings(stack, visual, mapper, seed) for seed in made_for]
    return make_files(stack, ids[rows], np.stack(conditions), out, options, mapper, suffix, run)


def make_files(stack: Stack, ids: Iterable[str], conditions: np.ndarray, out: Path, options: SoundOptions, mapper: str,
               suffix: str = "flac", run: Run | None = None) -> list[Path]:
    """A sound file for every seed and id of `conditions` (seeds, ids, d); `mapper` is only told in the folder's record.

    Otherwise as `generate`.
    """
    names, seeds = file_names(ids), len(conditions)
    claim_folder(out, {
        "stack": stack.name, "mapper": mapper, "options": vars(options), "seeds": seeds, "format": suffix,
        "conditions": key(conditions=np.asarray(conditions, np.float32), ids=names),
        "generator": generator_key(stack)})
    jobs, paths = [], []
    for place, rows in enumerate(conditions):
        seed = options.seed + place
        folder = out / f"seed{seed}" if seeds > 1 else out
        own = [folder / f"{name}.{suffix}" for name in names]
        for start in range(0, len(own), BATCH):
            part = slice(start, start + BATCH)
            if not all(path.is_file() for path in own[part]):
                jobs.append(Job(own[part], rows[part], batch_options(replace(options, seed=seed), start)))
        paths += own
    rate, began, count = stack.generator.sample_rate, time.perf_counter(), sum(len(job.paths) for job in jobs)
    with tqdm(total=len(paths), initial=len(paths) - count, unit="sound") as bar:
        for job, waves in zip(jobs, (run or run_here)(stack, jobs)):
            for path, wave in zip(job.paths, waves):
                write_sound(path, wave, rate)
            bar.update(len(job.paths))
    if count:
        each = (time.perf_counter() - began) / count
        tqdm.write(f"{count} sounds of {stack.generator.clip_seconds:g} s, {each:.2g} s each")
    return paths


def generator_key(stack: Stack) -> str:
    """The key of all that determines a stack's generator."""
    generator = stack.generator
    parts = (generator.unet, generator.vae, generator.vocoder)
    return key(weights=[state_sha256(part) for part in parts], clip_seconds=generator.clip_seconds,
               configurations=[_settings(part.config) for part in (*parts, generator.scheduler)],
               null=np.asarray(generator.null_embedding, np.float32))


def _settings(config) -> dict:
    """A model's configuration without its path and the version of the library that wrote it."""
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {name: str(value) for name, value in values.items() if name[0] != "_" and not name.endswith("version")}


def batch_options(options: SoundOptions, start: int) -> SoundOptions:
    """The options of the batch that begins at row `start`: noise of its own for every batch and seed."""
    return replace(options, seed=(1_000_000 * options.seed + start) % 2**32)


def run_here(stack: Stack, jobs: list[Job]) -> Iterator[np.ndarray]:
    """The sounds of every job in order, on this machine."""
    return (make(stack, job) for job in jobs)


def run_on_ray(stack: Stack, jobs: list[Job]) -> Iterator[np.ndarray]:
    """The sounds of every job in order, on a Ray cluster with one actor for each GPU."""
    from v2a_utils.stacks.extraction_on_ray import map_on_ray

    return map_on_ray(jobs, make, stack)


def copy_references(listing: Listing, out: Path, sample_rate: int, seconds: float, suffix: str = "flac") -> list[Path]:
    """The true sounds of a data set as files beside the made ones: mono, at their rate, cut to their length.

    Clips without a sound, or that cannot be read, are left out with a message.
    """
    names = file_names([source.id for source in listing.sources])
    claim_folder(out, {"reference": listing.name, "sample_rate": sample_rate, "seconds": seconds, "format": suffix})
    paths, left_out = [], []
    for name, source in zip(names, tqdm(listing.sources, unit="sound")):
        path = out / f"{name}.{suffix}"
        if not path.is_file():
            try:
                clip = source.decode(1.0, lambda number: [0], seconds)
            except ValueError as error:
                left_out.append(f"left out: {error}")
                continue
            if clip.waveform is None:
                left_out.append(f"left out: {source.id} has no sound")
                continue
            wave = resample(clip.waveform, clip.sample_rate, sample_rate)[: round(seconds * sample_rate)]
            write_sound(path, wave, sample_rate)
        paths.append(path)
    print(*left_out, sep="\n", end="\n" * bool(left_out))
    return paths


def write_sound(path: Path, wave: np.ndarray, sample_rate: int) -> None:
    """Write a sound as it was generated, what exceeds full scale clipped. FloatingPointError for NaN.

    24 bits: with 16, the rounding of quiet sounds is heard by the audio backbones.
    """
    if not np.isfinite(wave).all():
        raise FloatingPointError(f"{path.name}: the generator gave samples that are no numbers (NaN or infinite)")
    save_audio(path, np.clip(wave, -1, 1), sample_rate, "PCM_24")


def file_names(ids: Iterable[str]) -> list[str]:
    """File names of clips, by their ids; a folder in an id stays one. ValueError for ids that lead out or repeat."""
    names = [str(each) for each in ids]
    for name in names:
        if not name or name.startswith("/") or ".." in Path(name).parts or "\\" in name or "\0" in name:
            raise ValueError(f"the id {name!r} cannot be the name of a file: give the clips other ids")
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the id {double!r} belongs to several clips, which would be one file")
    return names


def claim_folder(out: Path, record: dict) -> None:
    """Make `out` a folder of sounds made as `record` says. ValueError when it holds other sounds."""
    path, record = out / RECORD, json.loads(json.dumps(record))
    if path.is_file():
        if (found := json.loads(path.read_text())) != record:
            other = ", ".join(sorted(key for key in record.keys() | found.keys() if record.get(key) != found.get(key)))
            raise ValueError(f"{out}: its sounds were made otherwise ({other}); give another --out")
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a folder for the sounds")
    if out.is_dir() and any(each.suffix.lower() in SOUNDS for each in out.rglob("*")):
        raise ValueError(f"{out}: holds sounds that `generate` did not make; give another --out")
    write_json(path, record)


def check_store(stack: Stack, store: Store) -> None:
    """ValueError unless a store holds one embedding per clip, made by this stack's CLIP."""
    if not len(store):
        raise ValueError(f"{store.path}: no clip in it")
    settings = store.settings
    if settings.get("aggregate") == "none":
        raise ValueError(f"{store.path}: keeps all frames of each clip; embed it with another --aggregate")
    if settings.get("clip_sha256") != state_sha256(stack.vision.model):
        raise ValueError(f"{store.path}: was embedded by another CLIP than that of the stack {stack.name}; embed it "
                         "again, or give its --stack")


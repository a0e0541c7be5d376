"""Sounds as files: one for every row of a store of embeddings, made by any mapper (the command `generate`).

    store ──mapper──▶ conditions ──jobs of BATCH rows──▶ AudioLDM, here or on Ray ──▶ OUT/<id>.flac

With several seeds each has its folder, OUT/seed0/<id>.flac and so on, so that a folder is what any evaluation kit
reads: files matched by name. A job whose files are all there is not done again, and each row's noise depends on its
place in the store only, so a run that was killed and resumed ends with the same files as one that was not.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from v2a_utils.data.audio import SOUNDS, resample
from v2a_utils.data.files import whole_file, write_json
from v2a_utils.data.sources import Listing
from v2a_utils.data.store import Store
from v2a_utils.evaluation.generation import BATCH, batch_options, generator_key
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.models.weights import state_sha256
from v2a_utils.pipeline import SoundOptions, best_candidates, map_embeddings
from v2a_utils.stacks.stack import Stack

FORMATS = ("flac", "wav")
VGGSOUND_TEST = 15_446  # clips of its test split
RECORD = "generation.json"  # what made the sounds of a folder
TRUE, REFERENCE = "true", "reference"  # in a mapper's place: the sound's own CLAP embedding; the sound itself


@dataclass(frozen=True)
class Job:
    """Rows of a store that are generated together, the files they become and how they are made."""

    paths: list[Path]
    conditions: np.ndarray
    options: SoundOptions


class Maker:
    """Makes the sounds of jobs with a stack's generator; on Ray one such actor holds each GPU."""

    def __init__(self, stack: Stack):
        self.stack = stack

    def __call__(self, job: Job) -> np.ndarray:
        """The sounds of a job, (rows, samples)."""
        return best_candidates(self.stack, job.conditions, job.options, rank=job.options.candidates > 1)[0]


def generate(stack: Stack, store: Store, mapper: str, out: Path, options: SoundOptions, seeds: int = 1,
             suffix: str = "flac", run: Callable[[Stack, list[Job]], Iterable[np.ndarray]] | None = None) -> list[Path]:
    """A sound file for every row of a store and seed; returns all paths, those of earlier runs among them.

    mapper: a kind, the folder of a trained one, "none", or "true" for CLAP's own embedding of each sound. ValueError
    when the store does not fit the stack, or `out` holds sounds that were made otherwise.
    """
    if suffix not in FORMATS or seeds < 1:
        raise ValueError(f"{seeds} seeds as {suffix}: give 1 or more, as {' or '.join(FORMATS)}")
    check_store(stack, store)

    def conditions(seed: int) -> np.ndarray:
        return store.numpy("audio") if mapper == TRUE else map_embeddings(stack, store.numpy("visual"), mapper, seed)

    made_from = {"mapper": _mapper_key(stack, mapper),
                 "store": hashlib.sha256(store.numpy("visual").tobytes()).hexdigest()}
    return make_files(stack, store.numpy("id"), conditions, out, options, made_from, seeds, suffix, run)


def make_files(stack: Stack, ids: Iterable[str], conditions: Callable[[int], np.ndarray], out: Path,
               options: SoundOptions, made_from: dict[str, str], seeds: int = 1, suffix: str = "flac",
               run: Callable[[Stack, list[Job]], Iterable[np.ndarray]] | None = None) -> list[Path]:
    """A sound file for every id and seed, of `conditions(seed)`, (ids, d); otherwise as `generate`.

    `made_from` says what the conditions come from: a folder of sounds made from others is refused.
    """
    names = file_names(ids)
    record = {"stack": stack.name, "generator": generator_key(stack)} | made_from | {
        "options": vars(options), "seeds": seeds, "format": suffix}
    claim_folder(out, record)
    jobs, paths = [], []
    for seed in range(options.seed, options.seed + seeds):
        folder = out / f"seed{seed}" if seeds > 1 else out
        own = [folder / f"{name}.{suffix}" for name in names]
        jobs += _jobs(conditions, own, replace(options, seed=seed))
        paths += own
    rate, began, count = stack.generator.sample_rate, time.perf_counter(), sum(len(job.paths) for job in jobs)
    with tqdm(total=len(paths), initial=len(paths) - count, unit="sound") as bar:
        for job, waves in zip(jobs, (run or run_here)(stack, jobs)):
            for path, wave in zip(job.paths, waves):
                write_sound(path, wave, rate)
            bar.update(len(job.paths))
    if count:
        each = (time.perf_counter() - began) / count
        tqdm.write(f"{count} sounds of {stack.generator.clip_seconds:g} s, {each:.2g} s each; VGGSound's "
                   f"{VGGSOUND_TEST:,} test clips would take {hours_for(VGGSOUND_TEST, each):.3g} hours this way")
    return paths


def hours_for(clips: int, seconds_each: float, actors: int = 1, candidates: int = 1) -> float:
    """Hours that `clips` take at the measured seconds of one candidate, with `actors` (GPUs) that share the work.

    ValueError unless all are above 0.
    """
    if min(clips, seconds_each, actors, candidates) <= 0:
        raise ValueError(f"{clips} clips of {seconds_each} s by {actors} actors, {candidates} candidates: give more "
                         "than 0")
    return clips * candidates * seconds_each / actors / 3600


def run_here(stack: Stack, jobs: list[Job]) -> Iterator[np.ndarray]:
    """The sounds of every job in order, on this machine."""
    return map(Maker(stack), jobs)


def run_on_ray(stack: Stack, jobs: list[Job]) -> Iterator[np.ndarray]:
    """The sounds of every job in order, on a Ray cluster with one actor for each GPU."""
    from v2a_utils.stacks.extraction_on_ray import map_on_ray

    return map_on_ray(jobs, Maker, stack)


def copy_references(listing: Listing, out: Path, sample_rate: int, seconds: float, suffix: str = "flac") -> list[Path]:
    """The true sounds of a data set as files beside the made ones: mono, at their rate, cut to their length.

    Clips without a sound, or that cannot be read, are left out with a message.
    """
    names = file_names([source.id for source in listing.sources])
    claim_folder(out, {"reference": listing.name, "sample_rate": sample_rate, "seconds": seconds, "format": suffix})
    paths = []
    for name, source in zip(names, tqdm(listing.sources, unit="sound")):
        path = out / f"{name}.{suffix}"
        if not path.is_file():
            try:
                clip = source.decode(1.0, lambda number: [0], seconds)
            except ValueError as error:
                tqdm.write(f"left out: {error}")
                continue
            if clip.waveform is None:
                tqdm.write(f"left out: {source.id} has no sound")
                continue
            wave = resample(clip.waveform, clip.sample_rate, sample_rate)[: round(seconds * sample_rate)]
            write_sound(path, wave, sample_rate)
        paths.append(path)
    return paths


def write_sound(path: Path, wave: np.ndarray, sample_rate: int) -> None:
    """Write a sound as it was generated, 16 bits, what exceeds full scale clipped. FloatingPointError for NaN."""
    if not np.isfinite(wave).all():
        raise FloatingPointError(f"{path.name}: the generator gave samples that are no numbers (NaN or infinite)")
    with whole_file(path) as temporary:
        soundfile.write(temporary, np.clip(wave, -1, 1), sample_rate, subtype="PCM_16",
                        format=path.suffix[1:].upper())


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
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: damaged ({error}); give another --out") from error
        if found != record:
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


def _mapper_key(stack: Stack, mapper: str) -> str:
    """A mapper's name, with the SHA-256 of its weights if it was trained."""
    return mapper if mapper in (TRUE, "none") else f"{mapper} {state_sha256(trained_mapper(stack, mapper))}"


def _jobs(conditions: Callable[[int], np.ndarray], paths: list[Path], options: SoundOptions) -> list[Job]:
    """The jobs of one seed of which a file is missing."""
    missing = [start for start in range(0, len(paths), BATCH)
               if not all(path.is_file() for path in paths[start : start + BATCH])]
    if not missing:
        return []
    rows = conditions(options.seed)
    return [Job(paths[start : start + BATCH], rows[start : start + BATCH], batch_options(options, start))
            for start in missing]

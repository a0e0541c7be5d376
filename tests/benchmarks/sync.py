"""When does it sound? How much of time is seen in films, and how much of it the generator can make.

`python -m benchmarks.sync` (`make bench-sync`) writes sync.csv. The films are those of SoundWorld's test split (and,
for "seen", of its unseen styles) with at least one event: 25 frames a second, with their cuts. F1 counts pairs of
onsets within 50 or 100 ms, as mir_eval does, over all films; the distance is the median of pairs within MOST; FD is to
the films' true sounds. "as made, other film" is judged by the events of the next film.

The sounds are kept in results/sync: a killed run goes on.
"""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from soundworld import SAMPLE_RATE, Scene, cut, events, film, make_scene, synthesise
from tqdm.auto import tqdm

from v2a_utils import event_adapter as adapter_code
from v2a_utils import retiming
from v2a_utils.data.files import key, whole_file, write_table
from v2a_utils.data.sources import world_code
from v2a_utils.event_adapter import Control, event_adapter
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.metrics import timing
from v2a_utils.metrics.sounds import bootstrap, frechet_distance
from v2a_utils.metrics.timing import event_curve, matches, motion, peaks
from v2a_utils.models import audioldm
from v2a_utils.models.weights import state_sha256
from v2a_utils.retiming import onsets, retimed
from v2a_utils.stacks.stack import Stack, load_stack

KEPT = Path("results/sync")
RATE, SECONDS = 25, 2.56  # frames a second; of a film
MOST = 0.3  # s: onsets farther apart have nothing to do with each other
BATCH = 16


def kept(name: str, make: Callable[[], np.ndarray], **made_by) -> np.ndarray:
    """What `make` gives, from disk if the same made it before."""
    path = KEPT / f"{name}-{key(**made_by)[:16]}.npy"
    if not path.is_file():
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.save(file, make())
    return np.load(path)


def scenes_of(split: str, count: int) -> list[Scene]:
    """The first scenes of a split that have events."""
    some = (scene for index in range(10**6) if events(scene := make_scene(split, index)))
    return [next(some) for _ in range(count)]


def moments(scene: Scene) -> np.ndarray:
    """When a scene's things begin to sound (s)."""
    return np.unique([event.seconds for event in events(scene)])


def films_of(scenes: list[Scene]) -> np.ndarray:
    """Motion of the scenes' films, (n, frames)."""
    return kept("films", lambda: np.stack([motion(np.stack([np.asarray(frame) for frame in film(scene)]))
                                           for scene in tqdm(scenes, "films")]),
                world=world_code(), code=inspect.getsource(timing), split=scenes[0].split, count=len(scenes))


def looks_of(stack: Stack, scenes: list[Scene]) -> np.ndarray:
    """CLIP's embedding of every film by four of its frames a second, (n, d)."""
    return kept("looks", lambda: np.stack([stack.vision.embed_frames(film(scene, 4)) for scene in tqdm(scenes, "looks")]),
                world=world_code(), split=scenes[0].split, count=len(scenes), clip=state_sha256(stack.vision.model))


# ------------------------------------------------------------------------------------------------------ ways to make


def as_made(stack: Stack, conditions: np.ndarray, films: np.ndarray, **settings) -> np.ndarray:
    """The generator knows nothing of time."""
    return stack.generator.generate(conditions, **settings)


def moved(stack: Stack, conditions: np.ndarray, films: np.ndarray, **settings) -> np.ndarray:
    """Its sounds' own events are moved: nothing is trained."""
    return retimed(stack.generator, as_made(stack, conditions, films, **settings), conditions, list(films), **settings)


def told(stack: Stack, conditions: np.ndarray, films: np.ndarray, **settings) -> np.ndarray:
    """An adapter, which was trained, tells it of the events."""
    shown = Control.by_films(stack.generator, event_adapter(stack), list(films), SECONDS)
    return stack.generator.generate(conditions, control=shown, **settings)


WAYS = {"as made": as_made, "moved": moved, "told by the adapter": told}


def sounds(stack: Stack, way: str, conditions: np.ndarray, films: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """All sounds by a way, (n, samples), in batches whose noise is their own."""
    parts = [slice(start, start + BATCH) for start in range(0, len(films), BATCH)]
    return np.concatenate([WAYS[way](stack, conditions[part], films[part], steps=steps, seed=1000 * seed + part.start,
                                     seconds=SECONDS) for part in tqdm(parts, f"{way}, seed {seed}")])


# ------------------------------------------------------------------------------------------------------------- judged


def timed(true: list[np.ndarray], found: list[np.ndarray]) -> dict:
    """How well onsets (s) of n films are met: F1 with its interval, median distance of pairs (s)."""
    row = {}
    for window in (0.05, 0.1):
        hits = np.array([len(matches(one, other, window)) for one, other in zip(true, found)])
        both = np.array([len(one) + len(other) for one, other in zip(true, found)])
        interval = bootstrap(lambda hits, both: 2 * hits.sum() / both.sum(), hits, both).within(0, 1)
        name = f"F1 {1000 * window:.0f} ms"
        row |= {name: interval.value, f"{name} low": interval.low, f"{name} high": interval.high}
    away = [abs(one[a] - other[b]) for one, other in zip(true, found) for a, b in matches(one, other, MOST)]
    return row | {"distance": np.median(away)}


def judged(stack: Stack, scenes: list[Scene], waves: np.ndarray, reference: np.ndarray) -> dict:
    """Of sounds (n, samples): their onsets against the events, the right class, FD to features (n, d)."""
    features = stack.tagger.features(list(waves), SAMPLE_RATE)
    heard = [stack.tagger.names[place] for place in stack.tagger.classify(features).argmax(1)]
    return timed([moments(scene) for scene in scenes], [onsets(wave, SAMPLE_RATE) for wave in waves]) | {
        "right class": np.mean([name in scene.labels for name, scene in zip(heard, scenes)]),
        "FD": frechet_distance(reference, features)}


def seeing(count: int) -> list[dict]:
    """What of the events is seen in films, of the test split and of unseen styles; "outside cuts" alone as well."""
    rows = []
    for split in ("test", "ood"):
        scenes = scenes_of(split, count)
        true = [moments(scene) for scene in scenes]
        found = [peaks(event_curve(film, RATE), RATE) for film in films_of(scenes)]
        open_ = [times[~np.isin((times * RATE).astype(int), cut(scene))] for times, scene in zip(true, scenes)]
        rows += [{"what": "seeing", "name": name, "films": count} | timed(times, found)
                 for name, times in ((split, true), (f"{split}, outside cuts", open_))]
    return rows


def making(stack: Stack, count: int, seeds: int, steps: int) -> list[dict]:
    """A row for every way and seed, and the true sounds, the same through VAE and vocoder, and other films'."""
    scenes = scenes_of("test", count)
    films, looks = films_of(scenes), looks_of(stack, scenes)
    true = np.stack([synthesise(scene) for scene in scenes])
    reference = stack.tagger.features(list(true), SAMPLE_RATE)
    found = {("true sounds", 0): true, ("true sounds through VAE and vocoder", 0): passed(stack, true)}
    mapper, generator = trained_mapper(stack, "diffusion"), stack.generator
    weights = [state_sha256(part) for part in (generator.unet, generator.vae, generator.vocoder, event_adapter(stack))]
    code = [inspect.getsource(part) for part in (timing, retiming, adapter_code, audioldm, *WAYS.values(), sounds)]
    for seed in range(seeds):
        conditions = mapper.map(looks, seed=seed)
        for way in WAYS:
            found[way, seed] = kept("sounds", lambda way=way, seed=seed, conditions=conditions: sounds(
                stack, way, conditions, films, steps, seed), way=way, seed=seed, steps=steps, films=films,
                conditions=conditions, weights=weights, null=generator.null_embedding, code=code,
                scheduler=dict(generator.scheduler.config))
        found["as made, other film", seed] = np.roll(found["as made", seed], 1, 0)
    return [{"what": "making", "name": name, "seed": seed, "films": count} | judged(stack, scenes, waves, reference)
            for (name, seed), waves in found.items()]


@torch.inference_mode()
def passed(stack: Stack, waves: np.ndarray) -> np.ndarray:
    """Sounds (n, samples) through VAE and vocoder: the generator can make nothing better."""
    generator = stack.generator
    return np.concatenate([generator.vocoder(generator.decode(generator.encode(waves[start : start + BATCH]))).float()
                           .cpu().numpy() for start in range(0, len(waves), BATCH)])[:, : waves.shape[1]]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3, help="of mapper and generator (default: 3)")
    parser.add_argument("--steps", type=int, default=12, help="of denoising (default: 12)")
    parser.add_argument("--out", type=Path, default=Path("out/results/sync.csv"), help="default: %(default)s")
    options = parser.parse_args()
    rows = seeing(options.films) + making(load_stack("mini"), options.films, options.seeds, options.steps)
    table = pd.DataFrame(rows).round(4)
    write_table(table, options.out)
    print(table.to_string())


if __name__ == "__main__":
    main()

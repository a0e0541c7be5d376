"""The evaluation: every method makes sounds for the same pictures, every measure listens to them, a table comes out.

    conditions (a mapper, words, ...) ──AudioLDM──▶ sounds, kept in results/sounds ──listeners──▶ measures ──▶ summary

`python -m v2a_utils evaluate` runs it. What was generated before with the same weights, conditions and settings is read
from there, batch by batch, so a killed run loses one batch at most. The summary (data/results) is all that notebook 05
draws from; the table of single sounds stays in results/.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from v2a_utils.data.audio import loudness
from v2a_utils.data.files import whole_file, write_json, write_table
from v2a_utils.mappers.closed_form import CLOSED_FORM
from v2a_utils.mappers.folders import trained_mapper
from v2a_utils.mappers.networks import train_mapper
from v2a_utils.mappers.recipes import build, recipe_for
from v2a_utils.mappers.training import half_precision
from v2a_utils.measures import gap
from v2a_utils.measures.metrics import (
    COUNTED, Interval, Moments, attribute_fidelity, bootstrap, clip_scores, count_events, coverage, diversity,
    frechet_distance, hits, inception_score, kl_divergence, measure_pitch,
)
from v2a_utils.models.extraction import embed_world
from v2a_utils.models.stacks import Stack
from v2a_utils.models.weights import state_sha256
from v2a_utils.pipeline import SoundOptions, best_candidates, map_embeddings
from v2a_utils.soundworld import PITCHED, SAMPLE_RATE, Scene, other_take, pitch, sound_caption, synthesise

BATCH = 16
KEPT = Path("results/sounds")  # generated sounds, in half precision: 80 kB each with the mini stack
SUMMARY = Path(__file__).parents[2] / "data" / "results"


# ---------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Method:
    """Where the generator's conditions come from, and how it is run. Groups other than "table" are sweeps."""

    source: str  # "real", "caption", "none", a name of CLOSED_FORM, or a kind of mapper
    settings: dict = field(default_factory=dict)  # of the mapper's map()
    steps: int = 20  # denoising steps of the generator
    guidance: float = 2.0  # of the generator
    group: str = "table"


METHODS = {
    "reference": Method("real"),  # the true sound of another take: as good as a sound for this picture can be
    "text caption": Method("caption"),  # CLAP's embedding of words that tell everything, even what cannot be seen
    "no mapper": Method("none"),
    "nearest neighbour": Method("nearest neighbour"),
    "closed form": Method("ridge"),
    "regression": Method("regression"),
    "diffusion": Method("diffusion"),
    "better mapper": Method("diffusion", {"draws": 4}),  # as near as a regression, as true as a draw: notebook 03
    **{f"{draws} draws": Method("diffusion", {"draws": draws}, group="draws") for draws in (2, 8, 16)},
    **{f"{steps} steps": Method("diffusion", steps=steps, group="steps") for steps in (2, 5, 10, 40)},
    **{f"guidance {scale:g}": Method("diffusion", guidance=scale, group="guidance") for scale in (1, 1.5, 3, 5)},
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The defaults make about 8,400 sounds, in the minutes that data/results/run.json notes."""

    pictures: int = 256  # of the test split
    seeds: int = 3
    ood: int = 96  # pictures in styles never seen in training
    sweep: int = 96  # pictures of a sweep, with one seed
    real: int = 512  # true sounds that FD and FAD compare with
    covered: int = 64  # pictures whose true conditional distribution is drawn
    takes: int = 16  # true sounds of each of them
    gap: int = 1000  # pictures whose mapped embeddings are compared with the true sounds
    pairs: int = 2000  # training pairs of the maps without training
    efficiency: tuple[int, ...] = (100, 400, 1600, 6400)  # training pairs of the data-efficiency curve
    draws: int = 200  # of a bootstrap
    steps: int | None = None  # denoising steps of every method; None leaves them as METHODS has them


QUICK = Sizes(pictures=6, seeds=2, ood=4, sweep=4, real=24, covered=3, takes=5, gap=64, pairs=64,
              efficiency=(32, 64), draws=10, steps=1)


# ------------------------------------------------------------------------------------------------ pictures and sounds


class World:
    """Scenes of a SoundWorld split with their embeddings and true sounds, and the sounds that are made for them."""

    def __init__(self, stack: Stack, split: str, count: int):
        self.stack, self.split = stack, split
        table = embed_world(stack, split, count)
        self.scenes, self.visual, self.audio = table.scenes, table.visual, table.audio

    @cached_property
    def sounds(self) -> np.ndarray:
        """The true sounds, (n, samples)."""
        return np.stack([synthesise(scene) for scene in self.scenes])

    @cached_property
    def weights(self) -> str:
        """SHA-256 of all that makes the generator what it is."""
        generator = self.stack.generator
        schedule = {key: value for key, value in generator.scheduler.config.items() if key[0] != "_"}
        parts = [state_sha256(part) for part in (generator.unet, generator.vae, generator.vocoder)]
        parts += [json.dumps(schedule, sort_keys=True, default=str), generator.null_embedding.tobytes().hex()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def generate(self, title: str, conditions: np.ndarray, options: SoundOptions) -> tuple[np.ndarray, float]:
        """Sounds (n, samples) for conditions (n, d), and seconds a sound; kept ones of an earlier run are read."""
        sounds, seconds = [], []
        for start in tqdm(range(0, len(conditions), BATCH), f"{self.split} {title}", unit="batch"):
            batch = np.ascontiguousarray(conditions[start : start + BATCH], np.float32)
            settings = replace(options, seed=1_000_000 * options.seed + start)
            key = hashlib.sha256(f"{self.weights} {settings}".encode() + batch.tobytes()).hexdigest()[:24]
            path = KEPT / f"{key}.npz"
            if not path.is_file():
                began = time.perf_counter()
                with half_precision(self.stack.device):
                    waves, _ = best_candidates(self.stack, batch, settings)
                with whole_file(path) as temporary:
                    np.savez(temporary, waves=waves.astype(np.float16), seconds=time.perf_counter() - began)
            kept = np.load(path)
            sounds.append(kept["waves"].astype(np.float32))
            seconds.append(float(kept["seconds"]))
        return np.concatenate(sounds), sum(seconds) / len(conditions)


def conditions(world: World, method: Method, seed: int, sizes: Sizes) -> np.ndarray:
    """What the generator is conditioned on for every picture of a world, (n, d)."""
    stack = world.stack
    if method.source == "caption":
        return stack.audio.embed_texts([sound_caption(scene) for scene in world.scenes])
    if method.source == "none":
        return map_embeddings(stack, world.visual, "none")
    if method.source in CLOSED_FORM:
        pairs = embed_world(stack, "train", sizes.pairs)
        return CLOSED_FORM[method.source](pairs.visual, pairs.audio)(world.visual)
    return trained_mapper(stack, method.source).map(world.visual, seed=seed, **method.settings)


def make_sounds(world: World, name: str, seed: int, sizes: Sizes) -> tuple[np.ndarray, float]:
    """The sounds (n, samples) of a method for the pictures of a world, and the seconds a sound took to generate."""
    method = METHODS[name]
    if method.source == "real":
        return np.stack([synthesise(other_take(scene, seed)) for scene in world.scenes]), 0.0
    options = SoundOptions(steps=sizes.steps or method.steps, guidance=method.guidance, candidates=1, seed=seed)
    return world.generate(f"{name}, seed {seed}", conditions(world, method, seed, sizes), options)


def trained_parameters(stack: Stack, name: str) -> int:
    """How many numbers of a method are trained to join the two spaces; a list of pairs to look up counts as none."""
    source = METHODS[name].source
    if source in ("real", "caption", "none", "nearest neighbour"):
        return 0
    if source in CLOSED_FORM:
        return (stack.vision.embed_dim + 1) * stack.audio.embed_dim
    return sum(parameter.numel() for parameter in trained_mapper(stack, source).parameters())


# ---------------------------------------------------------------------------------------------------------- listening


@dataclass
class Heard:
    """What the listeners make of sounds; arrays (n, ...), of several seeds (n, seeds, ...)."""

    logits: np.ndarray  # the tagger's class scores
    features: np.ndarray  # the tagger's
    frames: np.ndarray  # the framewise listener's, (n, frames, d)
    clip: np.ndarray  # Wav2CLIP's
    pitch: np.ndarray  # Hz; NaN for classes without one
    events: np.ndarray  # onsets
    loudness: np.ndarray  # dB


def listen(stack: Stack, sounds: np.ndarray, scenes: list[Scene]) -> Heard:
    """Sounds (n, samples) of scenes through every listener."""
    rate, waves = stack.generator.sample_rate, list(sounds)
    pitches = [measure_pitch(wave, rate, scene.label) if scene.label in PITCHED else np.nan
               for wave, scene in zip(waves, scenes)]
    features = stack.tagger.features(waves, rate)
    return Heard(
        stack.tagger.classify(features), features, stack.framewise.frames(waves, rate),
        stack.wav2clip.embed(waves, rate), np.array(pitches), np.array([count_events(wave, rate) for wave in waves]),
        np.array([loudness(wave) for wave in waves]),
    )


def stack_seeds(heard: list[Heard]) -> Heard:
    """What was heard with each seed, as one with arrays (n, seeds, ...)."""
    return Heard(*(np.stack([getattr(one, name) for one in heard], axis=1) for name in Heard.__dataclass_fields__))


class Judge:
    """All measures of the sounds made for the pictures of one world, against its true sounds."""

    def __init__(self, world: World, sizes: Sizes):
        self.world, self.sizes, self.stack = world, sizes, world.stack
        self.truth = listen(self.stack, world.sounds, world.scenes)

    @cached_property
    def real(self) -> dict[str, Moments]:
        """Moments of many true sounds' features and frames."""
        heard = self.truth
        if self.sizes.real > len(self.world.scenes):
            world = World(self.stack, self.world.split, self.sizes.real)
            heard = listen(self.stack, world.sounds, world.scenes)
        return {"features": Moments([heard.features]), "frames": Moments(heard.frames)}

    @cached_property
    def takes(self) -> np.ndarray:
        """Features of further true sounds of the first pictures, (pictures, takes, d)."""
        scenes = self.world.scenes[: self.sizes.covered]
        sounds = [synthesise(other_take(scene, 1000 + take)) for scene in scenes for take in range(self.sizes.takes)]
        features = self.stack.tagger.features(sounds, SAMPLE_RATE)
        return _unit(features).reshape(len(scenes), self.sizes.takes, -1)

    def measures(self, made: Heard) -> Iterator[tuple[str, Interval, np.ndarray, str, int]]:
        """(measure, value with interval, value of each seed, backbone, sample rate) of sounds (n, seeds, ...).

        Intervals resample pictures, all seeds of a picture together.
        """
        for listener, rows in ((self.stack.tagger, self._tagged(made)), (self.stack.framewise, self._framed(made)),
                               (self.stack.wav2clip, self._seen(made)), (None, self._attributes(made))):
            backbone, rate = (listener.backbone, listener.sample_rate) if listener else ("signal", SAMPLE_RATE)
            for name, interval, by_seed in rows:
                yield name, interval, by_seed, backbone, rate

    def _tagged(self, made: Heard):
        draws, truth, number = self.sizes.draws, self.truth, made.logits.shape[1]
        yield "FD", *self._over_seeds(lambda rows: frechet_distance(rows, self.real["features"]), made.features, 0.3)
        for outputs in ("softmax", "sigmoid"):
            each = np.stack([kl_divergence(truth.logits, made.logits[:, s], outputs) for s in range(number)], 1)
            yield f"KL {outputs}", *self._mean(each)
        yield "IS", *self._over_seeds(lambda rows: inception_score(rows, splits=1)[0], made.logits, 1)
        yield "accuracy", *self._mean(self.right(made))
        ranks = np.stack([gap.retrieval_ranks(_unit(made.features[:, s]), _unit(truth.features))
                          for s in range(number)], 1)
        yield "recall@10", *self._mean(ranks <= 10)
        if number > 1:
            apart = diversity(made.features)
            yield "diversity", bootstrap(np.mean, apart, draws=draws), np.array([apart.mean()])
            met = [coverage(true, one) for true, one in zip(self.takes, _unit(made.features))]
            yield "coverage", bootstrap(np.mean, np.array(met), draws=draws), np.array([np.mean(met)])

    def _framed(self, made: Heard):
        yield "FAD", *self._over_seeds(
            lambda rows: frechet_distance(Moments(rows), self.real["frames"]), made.frames, 0.3)

    def _seen(self, made: Heard):
        yield "CS", *self._mean(self.scores(made))

    def _attributes(self, made: Heard):
        for name, rows, measured, truth in self.attributes(made):
            classes = np.array([scene.label for scene in self.world.scenes])[rows]
            try:
                each = [attribute_fidelity(measured[rows, s], truth[rows], classes, draws=1).value
                        for s in range(measured.shape[1])]
                yield name, attribute_fidelity(measured[rows], truth[rows], classes, self.sizes.draws), np.array(each)
            except ValueError:  # too few pictures of any class
                continue

    def attributes(self, made: Heard) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(measure, rows of pictures that it is defined for, measured (n, seeds), truth (n,))."""
        things = [scene.things[0] for scene in self.world.scenes]
        alone = np.array([len(scene.things) == 1 for scene in self.world.scenes])
        pitched, counted = (np.array([thing.name in names for thing in things]) for names in (PITCHED, COUNTED))
        yield "size → pitch", alone & pitched, made.pitch, np.array([pitch(thing) for thing in things])
        yield "count → events", alone & counted, made.events, np.array([float(thing.count) for thing in things])
        yield "distance → loudness", alone, made.loudness, np.array([-thing.distance for thing in things])

    def right(self, made: Heard) -> np.ndarray:
        """Whether the tagger hears a class of the picture, (n, seeds) bool."""
        return np.stack([hits(made.logits[:, s], self.stack.tagger.names, self.world.scenes)
                         for s in range(made.logits.shape[1])], 1)

    def scores(self, made: Heard) -> np.ndarray:
        """CS of every sound, (n, seeds)."""
        return np.stack([clip_scores(self.world.visual, made.clip[:, s]) for s in range(made.clip.shape[1])], 1)

    def _mean(self, each: np.ndarray) -> tuple[Interval, np.ndarray]:
        """Mean over pictures and seeds of what is measured sound by sound, (n, seeds)."""
        return bootstrap(np.mean, each.mean(1), draws=10 * self.sizes.draws), each.mean(0)

    def _over_seeds(self, function: Callable, rows: np.ndarray, share: float) -> tuple[Interval, np.ndarray]:
        """Mean over seeds of a measure of all sounds of a seed, rows (n, seeds, ...); `share` of the usual draws."""
        def mean(drawn: np.ndarray) -> float:
            return float(np.mean([function(drawn[:, s]) for s in range(drawn.shape[1])]))

        by_seed = np.array([function(rows[:, s]) for s in range(rows.shape[1])])
        interval = bootstrap(mean, rows, draws=max(int(share * self.sizes.draws), 10))
        return interval._replace(low=max(interval.low, 0.0)), by_seed  # distances and scores are 0 or more


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


# ------------------------------------------------------------------------------------------------------- the command


def evaluate(stack: Stack, names: list[str], sizes: Sizes, out: Path = SUMMARY) -> pd.DataFrame:
    """Generate, listen, measure; writes evaluation.csv, sounds.csv, gap.csv, efficiency.csv and run.json into `out`.

    evaluation.csv has a row for each method, split and measure: value, 95% interval over pictures, n, range over seeds,
    backbone, sample rate. All single sounds go to results/singles.csv. ValueError for an unknown method.
    """
    if unknown := set(names) - METHODS.keys():
        raise ValueError(f"unknown method {', '.join(sorted(unknown))}: the methods are {', '.join(METHODS)}")
    worlds = {"test": World(stack, "test", sizes.pictures), "ood": World(stack, "ood", sizes.ood),
              "sweep": World(stack, "test", sizes.sweep)}
    judges = {split: Judge(world, sizes) for split, world in worlds.items()}
    rows, sounds, began = [], [], time.perf_counter()
    for name in tqdm(names, "methods", unit="method"):
        group = METHODS[name].group
        for split in ("test", "ood") if group == "table" else ("sweep",):
            made, seconds = make_and_listen(worlds[split], name, sizes.seeds if group == "table" else 1, sizes)
            parts = {split: made}
            if split == "test":  # beside the sweeps stand sounds of the same number
                parts["sweep"] = Heard(*(values[: sizes.sweep, :1] for values in vars(made).values()))
            for part, heard in parts.items():
                found = _rows(judges[part], name, heard, seconds)
                rows += [{"method": name, "group": group, "split": part} | row for row in found]
            sounds += [{"method": name, "split": split} | row for row in _singles(judges[split], made)]
    table, singles = pd.DataFrame(rows), pd.DataFrame(sounds)
    shown = singles[(singles.seed == 0) & (singles.split == "test")]
    for content, path in ((table, out / "evaluation.csv"), (shown, out / "sounds.csv"),
                          (singles, KEPT.parent / "singles.csv"),
                          (gap_table(stack, names, sizes), out / "gap.csv"),
                          (data_efficiency(stack, worlds["test"], sizes), out / "efficiency.csv")):
        write_table(content, path)
    write_json(out / "run.json", {
        "stack": stack.name, "generator": worlds["test"].weights[:16], "sizes": vars(sizes),
        "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - began),
        "settings": {name: f"{METHODS[name].source} {json.dumps(METHODS[name].settings)}, "
                           f"{sizes.steps or METHODS[name].steps} steps, guidance {METHODS[name].guidance:g}"
                     for name in names},
    })
    return table


def make_and_listen(world: World, name: str, seeds: int, sizes: Sizes) -> tuple[Heard, np.ndarray]:
    """What is heard of a method's sounds, (n, seeds, ...), and the seconds a sound took with each seed."""
    heard, seconds = [], []
    for seed in range(seeds):
        sounds, took = make_sounds(world, name, seed, sizes)
        heard.append(listen(world.stack, sounds, world.scenes))
        seconds.append(took)
    return stack_seeds(heard), np.array(seconds)


def _rows(judge: Judge, name: str, made: Heard, seconds: np.ndarray) -> list[dict]:
    """Rows of evaluation.csv for one method and world."""
    n, parameters, tagger = len(made.logits), trained_parameters(judge.stack, name), judge.stack.tagger
    rows = [_row("seconds a sound", Interval(seconds.mean(), seconds.min(), seconds.max(), n), seconds),
            _row("trained parameters", Interval(parameters, parameters, parameters, n), np.array([parameters]))]
    rows += [_row(*measured) for measured in judge.measures(made)]
    right, labels = judge.right(made), np.array([scene.label for scene in judge.world.scenes])
    for label in sorted(set(labels)):
        mine = right[labels == label]
        rows.append(_row("accuracy", bootstrap(np.mean, mine.mean(1), draws=judge.sizes.draws), mine.mean(0),
                         tagger.backbone, tagger.sample_rate, label))
    return rows


def _singles(judge: Judge, made: Heard) -> Iterator[dict]:
    """Rows of singles.csv: one sound each."""
    right, scores = judge.right(made), judge.scores(made)
    truths = {name: np.where(rows, truth, np.nan) for name, rows, _, truth in judge.attributes(made)}
    for index, seed in np.ndindex(right.shape):
        yield {"seed": seed, "index": index, "label": judge.world.scenes[index].label, "right": right[index, seed],
               "CS": scores[index, seed], "pitch": made.pitch[index, seed], "events": made.events[index, seed],
               "loudness": made.loudness[index, seed]} | {f"true {name}": true[index] for name, true in truths.items()}


def _row(measure: str, interval: Interval, by_seed: np.ndarray, backbone: str = "", rate: int = 0, label: str = ""):
    return {"measure": measure, "label": label, "value": interval.value, "low": interval.low, "high": interval.high,
            "n": interval.n, "seeds": len(by_seed), "seed_low": by_seed.min(), "seed_high": by_seed.max(),
            "backbone": backbone, "sample_rate": rate}


def gap_table(stack: Stack, names: list[str], sizes: Sizes) -> pd.DataFrame:
    """What the methods of the table leave of the gap, by `gap.measure`: their conditions against the true sounds'."""
    world, rows = World(stack, "test", sizes.gap), []
    for name in tqdm([name for name in names if METHODS[name].group == "table"], "gap", unit="method"):
        if METHODS[name].source == "real":
            cloud = stack.audio.embed_audio([synthesise(other_take(scene, 0)) for scene in world.scenes], SAMPLE_RATE)
        else:
            cloud = conditions(world, METHODS[name], 0, sizes)
        for measure, interval in gap.measure(cloud, world.audio, draws=sizes.draws).items():
            rows.append({"method": name, "measure": measure} | interval._asdict())
    return pd.DataFrame(rows)


def data_efficiency(stack: Stack, world: World, sizes: Sizes) -> pd.DataFrame:
    """Mappers trained on few pairs, judged by embeddings alone: cosine, recall@10 and FD of the test pictures.

    Each has its recipe's shape and a quarter of its steps, enough for so few pairs.
    """
    pairs = embed_world(stack, "train", max(sizes.efficiency))
    rows = []
    for kind in ("regression", "diffusion"):
        recipe = recipe_for(stack.name, kind)
        steps = 2 if sizes.steps else recipe.train.steps // 4
        for number in sizes.efficiency:
            mapper = build(recipe, pairs.visual.shape[1], pairs.audio.shape[1])
            train = replace(recipe.train, steps=steps, batch_size=min(recipe.train.batch_size, number))
            train_mapper(mapper, pairs.visual[:number], pairs.audio[:number], train)
            mapped = mapper.eval().map(world.visual)
            for measure, value in (("cosine", gap.pair_cosines(mapped, world.audio).mean()),
                                   ("recall@10", gap.recall(gap.retrieval_ranks(mapped, world.audio))),
                                   ("FD of embeddings", frechet_distance(mapped, world.audio))):
                rows.append({"mapper": kind, "pairs": number, "measure": measure, "value": value, "n": len(mapped)})
    return pd.DataFrame(rows)

"""The evaluation: every method makes sounds for the same pictures, every measure scores them, tables come out.

    conditions (a mapper, words, ...) ──AudioLDM──▶ sounds, cached ──features──▶ measures ──▶ summary

`python -m v2a_utils evaluate` runs it. The committed summary (data/results) is all that notebook 05 draws from.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from soundworld import SAMPLE_RATE, other_take, synthesise
from tqdm.auto import tqdm

from v2a_utils.evaluation.evaluator import Evaluator
from v2a_utils.evaluation.features import Features, extract, stack_seeds
from v2a_utils.evaluation.generation import World
from v2a_utils.evaluation.methods import METHODS, Sizes, conditions, make_sounds, missing, trained_parameters
from v2a_utils.evaluation.summary import describe, efficiency_rows, gap_table, summarise, write_summary
from v2a_utils.mappers.recipes import build, recipe_for
from v2a_utils.mappers.training import train_mapper
from v2a_utils.stacks.extraction import embed_world
from v2a_utils.stacks.stack import MINI, Stack

SUMMARY = MINI.parent / "results"  # the committed summary, of the mini stack


def choose(stack: Stack, names: list[str] | None) -> list[str]:
    """The methods to run: those asked for, or all that the stack can run; the others are named.

    ValueError for an unknown method, or for one asked for that the stack cannot run.
    """
    if unknown := set(names or ()) - METHODS.keys():
        raise ValueError(f"unknown method {', '.join(sorted(unknown))}: the methods are {', '.join(METHODS)}")
    reasons = {name: missing(stack, METHODS[name]) for name in names or METHODS}
    absent = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in absent.items():
        if names:
            raise ValueError(f"the method {name} cannot be run: {reason}")
        tqdm.write(f"left out: {name} ({reason})")
    return [name for name in reasons if name not in absent]


def evaluate(stack: Stack, names: list[str] | None, sizes: Sizes, out: Path) -> pd.DataFrame:
    """Generate, extract features, measure; `names` None means every method that the stack can run.

    Writes into `out`: evaluation.csv, with a row for each method, split and measure (value, 95% interval over pictures,
    n, range over seeds, backbone, sample rate); differences.csv of COMPARED; singles.csv, with a row for each sound;
    sounds.csv, the rows of one seed of the test split; gap.csv; efficiency.csv; run.json. ValueError for an unknown
    method.
    """
    names, began = choose(stack, names), time.perf_counter()
    worlds = {"test": World(stack, "test", sizes.pictures), "ood": World(stack, "ood", sizes.ood),
              "sweep": World(stack, "test", sizes.sweep)}
    evaluators = {split: Evaluator(world, sizes) for split, world in worlds.items()}
    if not evaluators["test"].known.any():
        tqdm.write(f"accuracy is left out: {stack.tagger.backbone} has none of the pictures' classes")

    def make(name: str, split: str) -> tuple[Features, np.ndarray]:
        return make_and_extract(worlds[split], name, 1 if split == "sweep" else sizes.seeds, sizes)

    methods = {name: METHODS[name] for name in names}
    tables = summarise(evaluators, methods, make, partial(trained_parameters, stack))
    many = World(stack, "test", sizes.gap)
    tables |= {"gap": gap_table(_clouds(many, names, sizes), many.audio, sizes.draws),
               "efficiency": data_efficiency(stack, worlds["test"], sizes)}
    return write_summary(out, tables, {
        "stack": stack.name, "generator": worlds["test"].key[:16], "sizes": vars(sizes),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - began + sum(world.spared for world in worlds.values())),
        "settings": {name: describe(method, sizes.steps) for name, method in methods.items()},
    })


def make_and_extract(world: World, name: str, seeds: int, sizes: Sizes) -> tuple[Features, np.ndarray]:
    """Features of a method's sounds, (n, seeds, ...), and the seconds per sound with each seed."""
    features, seconds = [], []
    for seed in range(seeds):
        sounds, took = make_sounds(world, name, seed, sizes)
        features.append(extract(world.stack, sounds, world.scenes))
        seconds.append(took)
    return stack_seeds(features), np.array(seconds)


def _clouds(world: World, names: list[str], sizes: Sizes) -> Iterator[tuple[str, np.ndarray]]:
    """What the methods of the table condition the generator on, (n, d) each; the reference's is another take."""
    for name in (name for name in names if METHODS[name].group == "table"):
        if METHODS[name].source == "true":
            continue  # nothing is left of it
        if METHODS[name].source == "real":
            takes = [synthesise(other_take(scene, 0)) for scene in world.scenes]
            yield name, world.stack.audio.embed_audio(takes, SAMPLE_RATE)
        else:
            yield name, conditions(world, METHODS[name], 0, sizes)


def data_efficiency(stack: Stack, world: World, sizes: Sizes) -> pd.DataFrame:
    """Mappers trained on few pairs, compared by embeddings alone: cosine, recall@10 and FD of the test pictures.

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
            rows += efficiency_rows(kind, number, mapped, world.audio)
    return pd.DataFrame(rows)

"""The evaluation: every method makes sounds for the same pictures, every measure scores them, tables come out.

    conditions (a mapper, words, ...) ──AudioLDM──▶ sounds, cached in results/sounds ──features──▶ measures ──▶ summary

`python -m v2a_utils evaluate` runs it. The summary (data/results) is all that notebook 05 draws from.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json, write_table
from v2a_utils.evaluation.evaluator import Evaluator
from v2a_utils.evaluation.features import ATTRIBUTES, Features, extract, stack_seeds
from v2a_utils.evaluation.generation import World
from v2a_utils.evaluation.methods import (
    COMPARED, METHODS, Sizes, conditions, make_sounds, missing, trained_parameters,
)
from v2a_utils.evaluation.scorer import Score
from v2a_utils.mappers.networks import train_mapper
from v2a_utils.mappers.recipes import build, recipe_for
from v2a_utils.measures import gap
from v2a_utils.measures.metrics import Interval, frechet_distance, rate_interval
from v2a_utils.models.extraction import embed_world
from v2a_utils.models.stacks import Stack
from v2a_utils.soundworld import SAMPLE_RATE, other_take, synthesise

SUMMARY = Path(__file__).parents[2] / "data" / "results"
TRIALS = Path("results/evaluation")  # what is not the whole evaluation of the stack in SUMMARY


def folder_for(stack: Stack, whole: bool) -> Path:
    """Where a summary belongs that no folder was given for.

    The committed one is replaced only by a whole evaluation of the same stack; ValueError when it cannot be read.
    """
    committed = SUMMARY / "run.json"
    if whole and (not committed.is_file() or json.loads(committed.read_text())["stack"] == stack.name):
        return SUMMARY
    return TRIALS / stack.name


def choose(stack: Stack, names: list[str] | None) -> list[str]:
    """The methods to run: those asked for, or all that the stack has what they need for; others are said.

    ValueError for an unknown method, or for one asked for that the stack cannot run.
    """
    if unknown := set(names or ()) - METHODS.keys():
        raise ValueError(f"unknown method {', '.join(sorted(unknown))}: the methods are {', '.join(METHODS)}")
    reasons = {name: missing(stack, name) for name in names or METHODS}
    absent = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in absent.items():
        if names:
            raise ValueError(f"the method {name} cannot be run: {reason}")
        tqdm.write(f"left out: {name} ({reason})")
    return [name for name in reasons if name not in absent]


def evaluate(stack: Stack, names: list[str] | None, sizes: Sizes, out: Path) -> pd.DataFrame:
    """Generate, extract features, measure; `names` None means every method that the stack can run.

    Writes into `out`: evaluation.csv, with a row for each method, split and measure (value, 95% interval over pictures,
    n, range over seeds, backbone, sample rate); differences.csv of COMPARED; sounds.csv and singles.csv, a row a sound,
    the former of one seed of the test split; gap.csv; efficiency.csv; run.json. ValueError for an unknown method.
    """
    names, began = choose(stack, names), time.perf_counter()
    worlds = {"test": World(stack, "test", sizes.pictures), "ood": World(stack, "ood", sizes.ood),
              "sweep": World(stack, "test", sizes.sweep)}
    evaluators = {split: Evaluator(world, sizes) for split, world in worlds.items()}
    if not evaluators["test"].known.any():
        tqdm.write(f"accuracy is left out: {stack.tagger.backbone} has none of the pictures' classes")
    rows, sounds, tested = [], [], {}
    for name in tqdm(names, "methods", unit="method"):
        found, singles, made = _method(evaluators, name, sizes)
        rows, sounds = rows + found, sounds + singles
        tested |= made
    singles = pd.DataFrame(sounds)
    shown = singles[(singles.seed == 0) & (singles.split == "test")]
    tables = {"evaluation": pd.DataFrame(rows), "differences": differences(evaluators["test"], tested),
              "sounds": shown, "singles": singles, "gap": gap_table(stack, names, sizes),
              "efficiency": data_efficiency(stack, worlds["test"], sizes)}
    for name, table in tables.items():
        write_table(table, out / f"{name}.csv")
    write_json(out / "run.json", {
        "stack": stack.name, "generator": worlds["test"].key[:16], "sizes": vars(sizes),
        "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - began),
        "settings": {name: f"{METHODS[name].source} {json.dumps(METHODS[name].settings)}, "
                           f"{sizes.steps or METHODS[name].steps} steps, guidance {METHODS[name].guidance:g}"
                     for name in names},
    })
    return tables["evaluation"]


def _method(evaluators: dict[str, Evaluator], name: str, sizes: Sizes) -> tuple[list, list, dict[str, Features]]:
    """Rows of evaluation.csv and of singles.csv of one method, and its features on the test split."""
    group, rows, sounds, tested = METHODS[name].group, [], [], {}
    for split in ("test", "ood") if group == "table" else ("sweep",):
        world = evaluators[split].world
        made, seconds = make_and_extract(world, name, sizes.seeds if group == "table" else 1, sizes)
        parts = {split: made}
        if split == "test":  # beside the sweeps stand sounds of the same number
            tested[name] = made
            parts["sweep"] = made.rows(slice(sizes.sweep), slice(1))
        for part, features in parts.items():
            found = _rows(evaluators[part], name, features, seconds)
            rows += [{"method": name, "group": group, "split": part} | row for row in found]
        sounds += [{"method": name, "split": split} | row for row in _singles(evaluators[split], made)]
    return rows, sounds, tested


def make_and_extract(world: World, name: str, seeds: int, sizes: Sizes) -> tuple[Features, np.ndarray]:
    """Features of a method's sounds, (n, seeds, ...), and the seconds a sound took with each seed."""
    features, seconds = [], []
    for seed in range(seeds):
        sounds, took = make_sounds(world, name, seed, sizes)
        features.append(extract(world.stack, sounds, world.scenes))
        seconds.append(took)
    return stack_seeds(features), np.array(seconds)


def _rows(evaluator: Evaluator, name: str, made: Features, seconds: np.ndarray) -> list[dict]:
    """Rows of evaluation.csv for one method and world."""
    n, parameters, tagger = len(made.logits), trained_parameters(evaluator.stack, name), evaluator.stack.tagger
    seconds_each = Score("seconds a sound", Interval(seconds.mean(), seconds.min(), seconds.max(), n), seconds, "", 0)
    trained = Interval(parameters, parameters, parameters, n)
    rows = [_row(seconds_each), _row(Score("trained parameters", trained, np.array([parameters]), "", 0))]
    rows += [_row(score) for score in evaluator.scores(made)]
    hits, labels = evaluator.hits(made), np.array([scene.label for scene in evaluator.world.scenes])
    for label in sorted(set(labels[evaluator.known])):
        mine = hits[(labels == label) & evaluator.known]
        score = Score("accuracy", rate_interval(mine), mine.mean(0), tagger.backbone, tagger.sample_rate)
        rows.append(_row(score, label))
    return rows


def _row(score: Score, label: str = "") -> dict:
    value, low, high, n = score.interval
    return {"measure": score.measure, "label": label, "value": value, "low": low, "high": high, "n": n,
            "seeds": len(score.by_seed), "seed_low": score.by_seed.min(), "seed_high": score.by_seed.max(),
            "backbone": score.backbone, "sample_rate": score.sample_rate}


def _singles(evaluator: Evaluator, made: Features) -> Iterator[dict]:
    """Rows of singles.csv: one sound each."""
    hits, scores = evaluator.hits(made), evaluator.each(made)["CS"]
    truths = {name: np.where(rows, truth, np.nan) for name, rows, _, truth in evaluator.attributes(made)}
    for index, seed in np.ndindex(hits.shape):
        right = hits[index, seed] if evaluator.known[index] else np.nan
        measured = dict(zip(ATTRIBUTES, made.attributes[index, seed]))
        yield {"seed": seed, "index": index, "label": evaluator.world.scenes[index].label, "right": right,
               "CS": scores[index, seed]} | measured | {f"true {name}": true[index] for name, true in truths.items()}


def differences(evaluator: Evaluator, made: dict[str, Features]) -> pd.DataFrame:
    """Every measure of one method minus that of another on the same pictures, of the pairs in COMPARED that were made.

    The intervals resample both together, so that what makes a picture hard for both falls out.
    """
    pairs = [pair for pair in COMPARED if set(pair) <= made.keys()]
    rows = [{"method": first, "other": second, "measure": measure} | interval._asdict()
            for first, second in tqdm(pairs, "differences", unit="pair")
            for measure, interval in evaluator.differences(made[first], made[second])]
    return pd.DataFrame(rows, columns=["method", "other", "measure", *Interval._fields])


def gap_table(stack: Stack, names: list[str], sizes: Sizes) -> pd.DataFrame:
    """What the methods of the table leave of the gap, by `gap.measure`: their conditions against the true sounds'."""
    world, rows = World(stack, "test", sizes.gap), []
    for name in tqdm([name for name in names if METHODS[name].group == "table"], "gap", unit="method"):
        if METHODS[name].source == "true":
            continue  # nothing is left of it
        if METHODS[name].source == "real":
            cloud = stack.audio.embed_audio([synthesise(other_take(scene, 0)) for scene in world.scenes], SAMPLE_RATE)
        else:
            cloud = conditions(world, METHODS[name], 0, sizes)
        for measure, interval in gap.measure(cloud, world.audio, draws=sizes.draws).items():
            rows.append({"method": name, "measure": measure} | interval._asdict())
    return pd.DataFrame(rows, columns=["method", "measure", *Interval._fields])


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
            for measure, value in (("cosine", gap.pair_cosines(mapped, world.audio).mean()),
                                   ("recall@10", gap.recall(gap.retrieval_ranks(mapped, world.audio))),
                                   ("FD of embeddings", frechet_distance(mapped, world.audio))):
                rows.append({"mapper": kind, "pairs": number, "measure": measure, "value": value, "n": len(mapped)})
    return pd.DataFrame(rows)

"""What is a pair worth? Mappers trained on few and on many pairs, against the bridge over words, which has none.

`python -m benchmarks.pairs` writes pairs.csv, from which notebook 06 draws. Every training draws its pairs
anew; what was trained before with the same embeddings and settings is read from results/pairs. `--cost` measures the
time and memory of bridges over 527 and over 100,000 sentences instead.
"""

import argparse
import hashlib
import itertools
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeCV
from soundworld import CLASSES, Scene, class_prompt
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json, write_table
from v2a_utils.mappers.bridge import VOCABULARIES, read_sentences
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.mappers.registry import words_bridge
from v2a_utils.mappers.training import TrainConfig, train_mapper
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.metrics import gap
from v2a_utils.metrics.sounds import unit_norm
from v2a_utils.stacks.extraction import embed_world
from v2a_utils.stacks.stack import load_stack

KEPT = Path("results/pairs")
PAIRS = (30, 100, 300, 1000, 3000, 10_000, 24_000)
FEATURES = 256  # of an RBF kernel, for the ridge regressions
Map = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Train what is not there yet, and write the table; or measure the cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS, help=f"to learn from (default: {PAIRS})")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of everything (default: 3)")
    parser.add_argument("--held-out", type=int, default=512, help="test pairs to judge by (default: 512)")
    parser.add_argument("--out", type=Path, default=Path("out/results/pairs.csv"), help="the table (default: %(default)s)")
    parser.add_argument("--cost", action="store_true", help="measure time and memory instead")
    options = parser.parse_args()
    if options.cost:
        return print(cost().to_string(index=False))
    stack = load_stack("mini")
    train, test = (embed_world(stack, split, count) for split, count in
                   (("train", max(options.pairs)), ("test", options.held_out)))
    names = stack.audio.embed_texts([class_prompt(name, "sound") for name in CLASSES])
    judge = partial(measures, test.visual, test.audio, test.scenes, names)
    table = curve(train.visual, train.audio, words_bridge(stack).map, judge, options)
    write_table(table, options.out)
    print(table.pivot_table("value", ["way", "pairs"], "measure").round(3).to_string())
    for measure in ("cosine", "recall@10"):
        print(measure, {way: crossing(table, way, measure) for way in options.ways})


def curve(visual: np.ndarray, audio: np.ndarray, bridge: Map, judge: Callable[[Map], dict], options) -> pd.DataFrame:
    """A row for each way, number of pairs, training seed and measure; the way "bridge" has 0 pairs.

    `judge(map)` measures a map.
    """
    rows = [{"way": "bridge", "pairs": 0, "seed": 0, "measure": name, "value": value}
            for name, value in judge(bridge).items()]
    todo = [(seed, number, way) for seed in range(options.seeds) for number in options.pairs for way in options.ways]
    for seed, number, way in tqdm(todo, "trainings"):
        chosen = np.random.default_rng([seed, number]).permutation(len(visual))[:number]
        key = json.dumps([way, number, seed, options.held_out, asdict(training(way, number, seed))])
        content = visual[chosen].tobytes() + audio[chosen].tobytes() + bridge(visual[chosen[:8]]).tobytes()
        path = KEPT / f"{hashlib.sha256(key.encode() + content).hexdigest()[:24]}.json"
        if not path.is_file():
            write_json(path, judge(WAYS[way](visual[chosen], audio[chosen], bridge, training(way, number, seed))))
        rows += [{"way": way, "pairs": number, "seed": seed, "measure": name, "value": value}
                 for name, value in json.loads(path.read_text()).items()]
    return pd.DataFrame(rows).assign(n=options.held_out)


def training(way: str, pairs: int, seed: int) -> TrainConfig:
    """The mini recipe of a kind of mapper with as many steps as so few pairs can bear."""
    recipe = RECIPES["mini"].get(way, RECIPES["mini"]["regression"])
    steps = int(np.clip(20 * pairs**0.5, 200, recipe.train.steps))
    return replace(recipe.train, steps=steps, batch_size=min(recipe.train.batch_size, pairs), seed=seed)


def network(kind: str, visual: np.ndarray, audio: np.ndarray, bridge: Map, config: TrainConfig) -> Map:
    """A mapper of the stack's kinds, trained on the pairs alone."""
    mapper = build(replace(RECIPES["mini"][kind], train=config), visual.shape[1], audio.shape[1])
    train_mapper(mapper, visual, audio, config)
    return mapper.map


def ridge(visual: np.ndarray, audio: np.ndarray, bridge: Map, config: TrainConfig, start: bool = False) -> Map:
    """Ridge regression on the features of an RBF kernel, its penalty by leave-one-out; with `start`, on what the
    bridge leaves: where pairs are few, the penalty keeps the answer near to the bridge's."""
    kernel = RBFSampler(gamma=1.0, n_components=FEATURES, random_state=config.seed).fit(visual)

    def features(rows: np.ndarray) -> np.ndarray:
        return np.hstack([rows, bridge(rows), kernel.transform(rows)]) if start else np.hstack(
            [rows, kernel.transform(rows)])

    offset = bridge if start else (lambda rows: 0)
    model = RidgeCV(np.logspace(-3, 4, 15)).fit(features(visual), audio - offset(visual))

    def mapped(rows: np.ndarray) -> np.ndarray:
        found = offset(rows) + model.predict(features(rows))
        return unit_norm(found).astype(np.float32)

    return mapped


WAYS = {"ridge": ridge, "bridge + ridge": partial(ridge, start=True), "regression": partial(network, "regression"),
        "diffusion": partial(network, "diffusion")}


def measures(visual: np.ndarray, audio: np.ndarray, scenes: list[Scene], names: np.ndarray, mapper: Map) -> dict:
    """Of a map, on held-out pairs: cosine, recall@10, Fréchet distance, and the class that CLAP's words name, all in
    CLAP's space. `names` (classes, d) are CLAP's embeddings of CLASSES."""
    mapped = mapper(visual)
    named = np.array(CLASSES)[(mapped @ names.T).argmax(1)]
    return {
        "cosine": float(gap.pair_cosines(mapped, audio).mean()),
        "recall@10": gap.recall(gap.retrieval_ranks(mapped, audio)),
        "Fréchet distance": gap.frechet_distance(mapped, audio),
        "class by CLAP": float(np.mean([name in scene.labels for name, scene in zip(named, scenes)])),
    }


def crossing(table: pd.DataFrame, way: str, measure: str) -> float:
    """How many pairs a way needs to do as well as the bridge does with none, interpolated between two sizes on a
    logarithmic scale; infinity if it never does. Of means over seeds."""
    rows = table[table.measure == measure]
    level = rows[rows.way == "bridge"].value.mean()
    means = rows[rows.way == way].groupby("pairs").value.mean()
    above = means[means >= level]
    if above.empty:
        return float("inf")
    place = list(means.index).index(above.index[0])
    if place == 0:
        return float(above.index[0])
    (left, low), (right, high) = list(means.items())[place - 1 : place + 1]
    return float(np.exp(np.interp(level, [low, high], np.log([left, right]))))


def cost(
    sizes: tuple[int, ...] = (527, 100_000), widths: tuple[int, ...] = (64, 512), sounds: int = 2000
) -> pd.DataFrame:
    """Seconds and memory of bridges over so many sentences and sounds: random rows of the stacks' widths, mini and
    paper, cost what real ones cost. What embedding a sentence costs is measured on 527 real ones of the mini stack."""
    stack, rng, rows = load_stack("mini"), np.random.default_rng(0), []
    known = [f"{seen} {number}" for number, (seen, _) in enumerate(read_sentences(VOCABULARIES / "audioset.txt") * 2)]
    each = []
    for embed in (stack.vision.embed_texts, stack.audio.embed_texts):
        embed(known[:8])
        began = time.perf_counter()
        embed(known[:527])
        each.append((time.perf_counter() - began) / 527 * 1000)
    print(f"ms to embed a sentence, mini: CLIP {each[0]:.2f}, CLAP {each[1]:.2f} (n = 527)")
    for width, size in itertools.product(widths, sizes):
        bridge = WordsBridge(width, width, [("", "")] * size, sounds, 30.0, 30.0)
        bridge.load_state_dict({name: torch.from_numpy(_unit_rows(rng, len(part), width))
                                for name, part in bridge.named_buffers()})
        visual, times = _unit_rows(rng, 64, width), []
        for _ in range(2):
            began = time.perf_counter()
            bridge.map(visual)
            times.append(time.perf_counter() - began)
        rows.append({"sentences": size, "sounds": sounds, "width": width, "s to weigh the sounds": times[0] - times[1],
                     "ms a picture": times[1] / len(visual) * 1000,
                     "MB on disk": sum(part.nelement() for part in bridge.buffers()) * 2 / 1e6,
                     "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})
    return pd.DataFrame(rows)


def _unit_rows(rng: np.random.Generator, number: int, width: int) -> np.ndarray:
    return unit_norm(rng.standard_normal((number, width))).astype(np.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)  # sums in one order, so that a run can be repeated to the digit
    main()

"""What makes a mapper good? One ingredient changed at a time, each over several training seeds.

`python -m benchmarks.ablations` trains the mini stack's mappers, much shorter than their recipes do, and writes
mappers.csv, from which notebook 03 draws (data/results/mappers.csv with UPDATE=1). What was trained before with the same embeddings and settings is
read from results/ablations, so a killed run loses only the trainings that were under way.
"""

import argparse
import hashlib
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student_t
from soundworld import SAMPLE_RATE, other_take, synthesise
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json, write_table
from v2a_utils.mappers.recipes import RECIPES, Recipe, build
from v2a_utils.mappers.training import TrainConfig, train_mapper
from v2a_utils.metrics import gap
from v2a_utils.stacks.extraction import embed_world
from v2a_utils.stacks.stack import load_stack

KEPT = Path("results/ablations")
SHORT = TrainConfig(1000, 128, 2e-3)
MEASURES = ("cosine", "Fréchet distance", "recall@10", "spread")


@dataclass(frozen=True)
class Run:
    """A mapper, how its training differs from SHORT, and the settings of map() under which it is measured."""

    group: str
    name: str
    kind: str = "diffusion"
    sizes: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    pairs: int | None = None  # None: all
    attributes: dict = field(default_factory=dict)  # of the mapper, set before it is trained
    settings: dict = field(default_factory=lambda: {"": {}})  # name -> arguments of map()


RUNS = (
    Run("mapper", "regression", "regression"),
    Run("mapper", "regression, depth 3", "regression", {"depth": 3}),
    Run("mapper", "diffusion", settings={
        "DPM-Solver++, 16 steps": {}, "DDIM, 64 steps": {"sampler": "ddim", "steps": 64},
        "mean of 4 draws": {"draws": 4}, "guidance 2": {"guidance": 2.0},
    }),
    Run("mapper", "flow", "flow", settings={
        "8 steps": {}, "1 step": {"steps": 1}, "mean of 2 draws": {"draws": 2}, "temperature 0": {"temperature": 0.0},
    }),
    Run("loss", "regression, cosine", "regression", {"objective": "cosine"}),
    Run("loss", "regression, contrastive", "regression", {"objective": "contrastive"}),
    *(Run("network", f"depth {depth}", sizes={"depth": depth}) for depth in (1, 6)),
    Run("network", "width 64", sizes={"width": 64}),
    *(Run("training pairs", f"{pairs}", pairs=pairs) for pairs in (300, 1000, 3000)),
    *(Run("training steps", f"{steps}", train={"steps": steps}) for steps in (250, 500)),
    *(Run("condition dropped", f"{share:.0%}", attributes={"dropout": share},
          settings={"": {}, "guidance 2": {"guidance": 2.0}}) for share in (0.0, 0.3)),
    Run("normalisation", "entries of 1/sqrt(d)", attributes={"scale_in": 1.0, "scale_out": 1.0}),
    Run("averaged weights", "none", train={"ema": 0.0}),
)


@dataclass(frozen=True)
class Data:
    """Pairs of unit-norm embeddings (n, d), and the true sounds of a few held-out pictures (pictures, takes, d)."""

    visual: np.ndarray
    audio: np.ndarray
    held_visual: np.ndarray
    held_audio: np.ndarray
    takes: np.ndarray

    @classmethod
    def embed(cls, pairs: int, held_out: int, pictures: int, takes: int, seed: int = 0) -> "Data":
        """Of the SoundWorld of a seed through the mini stack: split `train` to learn from, `val` to judge."""
        stack = load_stack("mini")
        train, val = embed_world(stack, "train", pairs, seed), embed_world(stack, "val", held_out, seed)
        sounds = [synthesise(other_take(scene, take)) for scene in val.scenes[:pictures] for take in range(takes)]
        heard = stack.audio.embed_audio(sounds, SAMPLE_RATE)
        return cls(train.visual, train.audio, val.visual, val.audio, heard.reshape(pictures, takes, -1))


def main() -> None:
    """Train what is not there yet, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of everything (default: 3)")
    parser.add_argument("--steps", type=int, default=SHORT.steps, help=f"of a training (default: {SHORT.steps})")
    parser.add_argument("--pairs", type=int, default=6000, help="to learn from (default: 6000)")
    parser.add_argument("--held-out", type=int, default=1000, help="pairs to judge by (default: 1000)")
    parser.add_argument("--out", type=Path, default=Path("out/results/mappers.csv"), help="the table (default: %(default)s)")
    options = parser.parse_args()
    data = Data.embed(options.pairs, options.held_out, min(100, options.held_out), 8)
    table = ablate(RUNS, data, range(options.seeds), replace(SHORT, steps=options.steps), KEPT)
    write_table(table, options.out)
    print(table.to_string())


def ablate(runs: tuple[Run, ...], data: Data, seeds: range, config: TrainConfig, kept: Path) -> pd.DataFrame:
    """All runs with all seeds, one training on each core: a row for every run and setting. Folder `kept`: see measure.

    Columns: group, name, seeds, pairs, n, and of every one of MEASURES the mean over training seeds and the half width
    of its 95% interval (Student's t; NaN for one seed).
    """
    cores = torch.get_num_threads()
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = {pool.submit(measure, run, data, replace(config, seed=seed), kept): run
                   for run in runs for seed in seeds}
        done = tqdm(as_completed(waiting), "mappers", total=len(waiting))
        found = [{"run": waiting[future]} | row for future in done for row in future.result()]
    rows = []
    for run in runs:
        for setting in run.settings:
            mine = pd.DataFrame([row for row in found if (row["run"], row["setting"]) == (run, setting)])
            rows.append(_row(run, setting, mine, len(data.held_visual)))
    return pd.DataFrame(rows)


def _row(run: Run, setting: str, found: pd.DataFrame, held_out: int) -> dict:
    seeds = len(found)
    width = student_t.ppf(0.975, seeds - 1) / seeds**0.5 if seeds > 1 else np.nan
    row = {"group": run.group, "name": ", ".join(filter(None, (run.name, setting))), "seeds": seeds,
           "pairs": found.pairs.iloc[0], "n": held_out}
    for measure_name in MEASURES:
        row |= {measure_name: found[measure_name].mean(), f"{measure_name} ±": width * found[measure_name].std()}
    return row


def measure(run: Run, data: Data, config: TrainConfig, kept: Path) -> list[dict]:
    """Train a run's mapper with the seed of `config` and measure it under each of its settings, or read from the folder
    `kept` what was found before. Only with as many torch threads (ablate: one) are the numbers the same, since sums in
    another order round differently.

    "cosine", "recall@10" and "Fréchet distance" are to the true held-out sounds; "spread" is the scatter of 8 samples
    of a picture as a share of that of its true sounds.
    """
    visual, audio = data.visual[: run.pairs], data.audio[: run.pairs]
    sizes = RECIPES["mini"][run.kind].sizes | run.sizes
    recipe = Recipe(run.kind, sizes, replace(config, **run.train))
    key = json.dumps([asdict(recipe), run.attributes, run.settings])
    content = b"".join(part.tobytes() for part in (visual, audio, data.held_visual, data.held_audio, data.takes))
    path = kept / f"{hashlib.sha256(key.encode() + content).hexdigest()[:24]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    mapper = build(recipe, visual.shape[1], audio.shape[1])
    vars(mapper).update(run.attributes)
    train_mapper(mapper, visual, audio, recipe.train)
    rows = [{"setting": name, "pairs": len(visual)} | _judge(mapper, data, settings)
            for name, settings in run.settings.items()]
    write_json(path, rows)
    return rows


def _judge(mapper: torch.nn.Module, data: Data, settings: dict) -> dict[str, float]:
    mapped = mapper.map(data.held_visual, **settings)
    pictures, takes = data.takes.shape[:2]
    samples = mapper.map(np.repeat(data.held_visual[:pictures], takes, 0), seed=1, **settings)
    return {
        "cosine": float(gap.pair_cosines(mapped, data.held_audio).mean()),
        "Fréchet distance": gap.frechet_distance(mapped, data.held_audio),
        "recall@10": gap.recall(gap.retrieval_ranks(mapped, data.held_audio)),
        "spread": float(_scatter(samples.reshape(pictures, takes, -1)) / _scatter(data.takes)),
    }


def _scatter(clouds: np.ndarray) -> float:
    """Mean total variance of clouds of unit vectors (clouds, n, d)."""
    return float(clouds.var(axis=1, ddof=1).sum(-1).mean())


if __name__ == "__main__":
    main()

"""Does the order of the mappers survive another training seed, and another world?

`python -m benchmarks.order` trains the mini stack's mappers, much shorter than their recipes do, with several seeds on
each of several worlds (SoundWorld's scenes drawn from another seed, for training and for judging), and writes a row a
training into order.csv, from which notebook 05 draws. What was trained before is read from
results/ablations.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from benchmarks.ablations import KEPT, MEASURES, SHORT, Data, Run, measure
from v2a_utils.data.files import write_table
from v2a_utils.mappers.recipes import RECIPES

STEPS = 500
RUNS = (
    Run("order", "regression", "regression"),
    Run("order", "regression, deep", "regression", RECIPES["mini"]["regression_deep"].sizes),
    Run("order", "diffusion"),
)


def main() -> None:
    """Train what is not there yet, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="trainings of every mapper on each world (default: 5)")
    parser.add_argument("--worlds", type=int, default=2, help="seeds of SoundWorld (default: 2)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of a training (default: {STEPS})")
    parser.add_argument("--pairs", type=int, default=3000, help="to learn from (default: 3000)")
    parser.add_argument("--held-out", type=int, default=1000, help="pairs to judge by (default: 1000)")
    parser.add_argument("--out", type=Path, default=Path("out/results/order.csv"), help="the table (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # of these small networks: threads wait for each other more than they compute
    rows = []
    for world in range(options.worlds):
        data = Data.embed(options.pairs, options.held_out, min(50, options.held_out), 8, world)
        rows += order(data, world, range(options.seeds), options.steps, KEPT)
    write_table(pd.DataFrame(rows), options.out)


def order(data: Data, world: int, seeds: range, steps: int, kept: Path) -> list[dict]:
    """A row for every mapper and training seed: its numbers on the held-out pairs of the same world."""
    trainings = [(run, seed) for seed in seeds for run in RUNS]
    return [{"world": world, "seed": seed, "mapper": run.name, "n": len(data.held_visual)}
            | {name: row[name] for name in ("pairs", *MEASURES)}
            for run, seed in tqdm(trainings, f"world {world}", unit="mapper")
            for row in measure(run, data, replace(SHORT, steps=steps, seed=seed), kept)]


if __name__ == "__main__":
    main()

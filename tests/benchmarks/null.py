"""How often is a verdict wrong where nothing differs? (`make bench-null`)

Two methods draw their sounds' features from one distribution, so every "holds" and every "does not hold" about their
difference is wrong. Features go the way of the evaluation: `Scorer.rows`, `Scorer.differences`, `judge`. A row a number
of clips, for measures that are means and for clouds; in brackets the interval of the simulation (Wilson's).
"""

import argparse
from types import SimpleNamespace

import numpy as np

from v2a_utils.evaluation.features import Features
from v2a_utils.evaluation.scorer import Scorer
from v2a_utils.metrics.sounds import rate_interval
from v2a_utils.metrics.statistics import CLOUDS, LEAST_CLOUD, judge

MEANS = ("KL softmax", "KL sigmoid", "CS", "accuracy", "recall@10", "diversity")
SIZES = (5, 8, 12, 30, 64, 256)
DIM, CLASSES, FRAMES, SEEDS = 16, 20, 3, 2


def features(rng: np.random.Generator, n: int, shift: float = 0.0) -> Features:
    """Features (n, SEEDS, ...) of sounds, skewed as a ReLU leaves them and correlated; seeds of a clip are alike."""
    mixing = np.random.default_rng(0).normal(size=(DIM, DIM)) * np.linspace(0.5, 0.05, DIM)

    def rows(*shape: int) -> np.ndarray:
        noise = rng.normal(size=(n, 1, *(1,) * (len(shape) - 1), DIM)) + rng.normal(size=(n, *shape, DIM))
        return np.maximum(noise @ mixing - 0.2 + shift, 0).astype(np.float32)

    logits = rng.normal(size=(n, 1, CLASSES)) + rng.normal(size=(n, SEEDS, CLASSES))
    return Features(logits, rows(SEEDS), rows(SEEDS, FRAMES), rng.exponential(size=(n, SEEDS, 8)), np.zeros((n, SEEDS, 0)))


def verdicts(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, str]:
    """The verdict on each measure's difference, alone in its table; both methods are `shift` away from the reference."""
    listener = SimpleNamespace(names=[str(number) for number in range(CLASSES)], backbone="", sample_rate=0)
    scorer = Scorer(dict.fromkeys(("tagger", "framewise", "wav2clip"), listener), features(rng, n).rows(slice(None), 0),
                    rng.normal(size=(n, 8)), [frozenset([str(number % CLASSES)]) for number in range(n)])
    first, second = (scorer.rows(features(rng, n, shift)) for _ in range(2))
    return {name: judge({name: apart}, CLOUDS)[name] for name, apart in scorer.differences(first, second)}


def wrong(n: int, trials: int, measures: tuple[str, ...], shift: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """For each measure whether each trial's verdict was wrong, (trials,) bool."""
    found = [verdicts(np.random.default_rng([seed, n, trial]), n, shift) for trial in range(trials)]
    return {name: np.array([not one[name].startswith("undecided") for one in found]) for name in measures}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.null", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    options = parser.parse_args()
    for shift in (0.0, 0.3):
        print(f"both methods {shift:g} away from the reference, {options.trials} trials")
        for n in SIZES:
            found = wrong(n, options.trials, MEANS + (CLOUDS if n >= LEAST_CLOUD else ()), shift)
            print(f"  n = {n:3d}: " + ", ".join(f"{name} {rate_interval(values).percent().partition(', n')[0]})"
                                               for name, values in found.items()), flush=True)


if __name__ == "__main__":
    main()

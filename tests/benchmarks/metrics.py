"""The Fréchet distance's speed against audioldm_eval's formula (`make bench-metrics`), on the same features in one run.

Features as PANNs' CNN14 gives them: 2048 numbers, not below 0, correlated. The formula (metrics/fid.py: np.cov and
SciPy's sqrtm of the covariances' product) is the peer's own code where audioldm_eval is installed, else written out.
"""

import argparse
import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

from v2a_utils.measures.metrics import Moments, frechet_distance

GOAL = 5


def main() -> None:
    """Print both times and how far the two numbers differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1000, help="rows in a batch of the one-pass version")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # SciPy's, that an argument of sqrtm goes away
    first, second = (features(seed, options.rows, options.width) for seed in (0, 1))
    ours, our_time = timed(lambda: frechet_distance(first, second))
    streamed, stream_time = timed(lambda: frechet_distance(*(
        Moments(np.array_split(rows, max(options.rows // options.batch, 1))) for rows in (first, second))))
    theirs, their_time = timed(lambda: peers_distance(first, second))
    print(f"FD of {options.rows} x {options.width} features, {torch.get_num_threads()} threads: ours {our_time:.1f} s, "
          f"in batches of {options.batch} {stream_time:.1f} s, audioldm_eval's formula {their_time:.1f} s, "
          f"{their_time / our_time:.1f} times (goal {GOAL})")
    print(f"  {ours:.6f}, in batches {streamed:.6f}, theirs {theirs:.6f}: relative difference "
          f"{abs(ours - theirs) / theirs:.1e}")


def features(seed: int, rows: int, width: int) -> np.ndarray:
    """Correlated features after a ReLU, float32 (rows, width)."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) / np.sqrt(width)
    noise = rng.normal(size=(rows, width)).astype(np.float32)
    return np.maximum(noise @ mixing.astype(np.float32) - 0.5 + 0.1 * seed, 0)


def peers_distance(first: np.ndarray, second: np.ndarray) -> float:
    """audioldm_eval's Fréchet distance."""
    package = importlib.util.find_spec("audioldm_eval")
    if package is not None:
        file = Path(package.submodule_search_locations[0]) / "metrics" / "fid.py"
        spec = importlib.util.spec_from_file_location("peers_fid", file)
        fid = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fid)
        tables = ({"2048": torch.from_numpy(rows)} for rows in (first, second))
        return fid.calculate_fid(*tables, "2048")["frechet_distance"]
    cov1, cov2 = (np.cov(rows, rowvar=False) for rows in (first, second))
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    return float(np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root))


def timed(call) -> tuple[float, float]:
    """What a call gives, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


if __name__ == "__main__":
    main()

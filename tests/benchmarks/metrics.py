"""The speed of the Fréchet distance against audioldm_eval's formula, and of `score` (`make bench-metrics`).

Features as PANNs' CNN14 gives them: 2048 dimensions, not below 0, correlated. The formula (metrics/fid.py: np.cov and
SciPy's sqrtm of the covariances' product) is the peer's own code where audioldm_eval is installed, else written out.
"""

import argparse
import importlib.util
import resource
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.linalg
import torch

from v2a_utils.evaluation.features import Features, stack_seeds
from v2a_utils.evaluation.scorer import Scorer
from v2a_utils.metrics.sounds import Moments, batches, frechet_distance

GOAL = 5


def main() -> None:
    """Measure what the options ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1000, help="rows in a batch of the one-pass version")
    parser.add_argument("--only-score", action="store_true")
    options = parser.parse_args()
    score(options)
    if not options.only_score:
        distance(options)


def score(options: argparse.Namespace) -> None:
    """Print seconds and memory of all that `score` does with features, at the sizes of CNN14, VGGish and Wav2CLIP."""
    rng, before = np.random.default_rng(0), peak()
    clouds = []
    for seed in range(2):
        frames = np.empty(options.rows, object)
        for place in range(options.rows):
            frames[place] = rng.normal(size=(10, 128)).astype(np.float32)  # of ten seconds
        logits, clip = (rng.normal(size=(options.rows, width)).astype(np.float32) for width in (527, 512))
        clouds.append(Features(logits, features(seed, options.rows, options.width), frames, clip,
                               np.zeros((options.rows, 0))))
    listener = SimpleNamespace(names=[str(number) for number in range(527)], backbone="given", sample_rate=0)
    scorer = Scorer(dict.fromkeys(("tagger", "framewise", "wav2clip"), listener), clouds[0], clouds[0].clip)
    given, made, began = peak(), stack_seeds(clouds[1:]), time.perf_counter()
    processor = time.process_time()
    for one in (*scorer.scores(scorer.rows(made)), *scorer.more_scores(made)):
        print(f"  {one.measure} {one.interval}")
    print(f"score, features of {options.rows} clips given, {torch.get_num_threads()} threads: "
          f"{time.perf_counter() - began:.0f} s ({time.process_time() - processor:.0f} s of a processor), at most "
          f"{peak():.2f} GB of memory, {given - before:.2f} GB of them the features")


def peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def distance(options: argparse.Namespace) -> None:
    """Print the times of both Fréchet distances and how far the two numbers differ."""
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
    found = np.empty((rows, width), np.float32)
    for part in batches(found):  # so that making them takes no more memory than what is measured
        part[:] = np.maximum(rng.normal(size=part.shape) @ mixing - 0.5 + 0.1 * seed, 0)
    return found


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

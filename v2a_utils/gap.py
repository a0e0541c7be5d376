"""The domain gap in numbers: how far apart two clouds of unit-norm embeddings lie, without any projection.

Clouds are float arrays (n, d) with rows of unit norm. Row i of two clouds belongs together (a picture and its sound)
where a function says "pairs". Intervals come from `metrics.bootstrap`.
"""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression


def centroid_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Length of the gap vector, the difference of the two means (Liang et al. 2022, arXiv 2203.02053); 0..2."""
    _check_widths(first, second)
    return float(np.linalg.norm(first.mean(0) - second.mean(0)))


def mean_cosine(cloud: np.ndarray) -> float:
    """Mean cosine of two different rows: 0 all around the sphere, towards 1 the narrower the cone (Liang et al.)."""
    n = len(cloud)
    return float((np.sum(cloud.sum(0, dtype=np.float64) ** 2) - n) / (n * (n - 1)))


def pair_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of every pair, shape (n,), -1..1."""
    _check_widths(first, second)
    return np.sum(first * second, axis=1)


def modality_hits(first: np.ndarray, second: np.ndarray, seed: int = 0) -> np.ndarray:
    """Can a straight cut tell the clouds apart? Hit (1) or miss (0) of a logistic regression on each held-out row.

    Half of the rows of each cloud train it, the other half are judged. The mean is its accuracy: 0.5 for clouds that
    cannot be told apart, 1 for clouds with an empty slab between them.
    """
    _check_widths(first, second)
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(len(cloud)), 2) for cloud in (first, second)]
    train, judged = (np.concatenate([first[halves[0][k]], second[halves[1][k]]]) for k in (0, 1))
    train_side, judged_side = (np.repeat([0, 1], [len(halves[0][k]), len(halves[1][k])]) for k in (0, 1))
    model = LogisticRegression(C=100.0, max_iter=2000).fit(train, train_side)  # unit-norm entries are small
    return (model.predict(judged) == judged_side).astype(float)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two clouds (Heusel et al. 2017, arXiv 1706.08500); 0 or more.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) with unbiased covariances, in float64. It is biased upwards
    for small n, so compare only values of equal n; with fewer rows than dimensions it warns.
    """
    _check_widths(first, second)
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    rows, width = min(len(first), len(second)), first.shape[1]
    if rows < width:
        warnings.warn(f"a Fréchet distance of {rows} rows in {width} dimensions is far too large", stacklevel=2)
    cov1, cov2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # the eigenvalues of S1 S2 are those of a symmetric matrix: no complex square root, no sqrtm
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(0)).sum()
    shift = np.sum((first.mean(0) - second.mean(0)) ** 2)
    return float(max(shift + np.trace(cov1) + np.trace(cov2) - 2 * overlap, 0.0))


def retrieval_ranks(queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Place of its own target, by cosine, among all targets for every query of the pairs: (n,), 1 is best.

    By chance the mean is (n + 1) / 2. A tie counts as half a place, so that a constant mapper is at chance.
    """
    _check_widths(queries, targets)
    cosines = queries @ targets.T
    own = np.diag(cosines)[:, None]
    return 1 + (cosines > own).sum(1) + 0.5 * ((cosines == own).sum(1) - 1)


def recall(ranks: np.ndarray, k: int = 10) -> float:
    """Share of queries whose own target is among the first k; by chance k / n."""
    return float(np.mean(ranks <= k))


def _check_widths(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"embeddings of {first.shape[1]} and of {second.shape[1]} numbers share no space: map one of them first"
        )

"""The domain gap in numbers: how far apart two clouds of unit-norm embeddings lie, without any projection.

Clouds are float arrays (n, d) with rows of unit norm. Where a function says "pairs", row i of both clouds belongs
together (a picture and its sound).
"""

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import skew
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

from v2a_utils.metrics.sounds import Interval, bootstrap, check_clouds, frechet_rows, rate_interval, student_interval
from v2a_utils.metrics.sounds import frechet_distance as frechet_distance  # measures of the gap, too
from v2a_utils.metrics.sounds import retrieval_ranks as retrieval_ranks


def centroid_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Length of the gap vector, the difference of the two means (Liang et al. 2022, arXiv 2203.02053); 0..2."""
    check_clouds(first, second)
    return float(np.linalg.norm(first.mean(0) - second.mean(0)))


def mean_cosine(cloud: np.ndarray) -> float:
    """Mean cosine of two different rows: 0 all around the sphere, towards 1 the narrower the cone (Liang et al.)."""
    n = len(cloud)
    return float((np.sum(cloud.sum(0, dtype=np.float64) ** 2) - n) / (n * (n - 1)))


def pair_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of every pair, shape (n,), -1..1."""
    check_clouds(first, second)
    return np.sum(first * second, axis=1)


def centroid_share(first: np.ndarray, second: np.ndarray) -> float:
    """Centroid distance as a share of the mean distance of a pair: how much of a pair's distance all pairs share.

    0 where the pairs do not differ at all.
    """
    apart = float(np.linalg.norm(first - second, axis=1).mean())
    return centroid_distance(first, second) / apart if apart else 0.0


def two_sample_hits(first: np.ndarray, second: np.ndarray, judge: str = "linear", seed: int = 0) -> np.ndarray:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017): hit (1) or miss (0) on each held-out row.

    Half of the rows of each cloud train it, the other half are judged; rows with the same number, which may belong
    together, fall into the same half. The mean is the C2ST accuracy ("told apart"): 0.5 for clouds that cannot be told
    apart, 1 for clouds that never mix. `judge` "linear" is a logistic regression, which sees little more than a
    difference of means; "boosted" is gradient boosting, which sees shapes.
    """
    check_clouds(first, second)
    rng = np.random.default_rng(seed)
    order = rng.permutation(max(len(first), len(second)))
    halves = [[half[half < len(cloud)] for half in np.array_split(order, 2)] for cloud in (first, second)]
    train, judged = (np.concatenate([first[halves[0][k]], second[halves[1][k]]]) for k in (0, 1))
    train_side, judged_side = (np.repeat([0, 1], [len(halves[0][k]), len(halves[1][k])]) for k in (0, 1))
    model = JUDGES[judge](seed).fit(train, train_side)
    return (model.predict(judged) == judged_side).astype(float)


JUDGES = {
    "linear": lambda seed: LogisticRegression(C=100.0, max_iter=2000),  # the entries of unit-norm rows are small
    "boosted": lambda seed: HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, max_bins=63,
                                                           max_features=0.3, random_state=seed),
}


def mmd_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared maximum mean discrepancy with an RBF kernel, as (n,) values whose mean it is; pairs.

    The unbiased estimate of Gretton et al. 2012 (JMLR 13, lemma 6), so it may fall below 0; the kernel's width is the
    median distance. Each value is a row's influence, 2 h_i - mean h, so that Student's interval over the rows gives an
    estimate over pairs of rows its right width.
    """
    check_clouds(first, second)
    n = len(first)
    sample = np.concatenate([first[:500], second[:500]])
    scale = np.median(pdist(sample, "sqeuclidean")) or 1.0
    sums = np.zeros(n)
    for rows in np.array_split(np.arange(n), max(n // 1000, 1)):
        for one, two, sign in ((first, first, 1), (second, second, 1), (first, second, -1)):
            kernel = rbf_kernel(one[rows], two, gamma=1 / scale)
            kernel[np.arange(len(rows)), rows] = 0  # a row with itself, or with its partner, is no pair
            sums[rows] += sign * kernel.sum(1)
        sums -= kernel.sum(0)  # the last one, the cross kernel, seen from the other side
    means = sums / (n - 1)
    return 2 * means - means.mean()


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment of pairs, 0..1 (Kornblith et al. 2019, eq. 5); widths may differ.

    1 when one cloud is a rotated, scaled and shifted copy of the other.
    """
    first, second = (cloud - cloud.mean(0) for cloud in (np.asarray(first, float), np.asarray(second, float)))
    cross = np.sum((second.T @ first) ** 2)
    return float(cross / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))


def mutual_neighbours(first: np.ndarray, second: np.ndarray, k: int = 10) -> np.ndarray:
    """Share of the k nearest rows that a row has in common in both spaces, (n,) (Huh et al. 2024); widths may differ.

    By chance k / (n - 1).
    """
    near = [NearestNeighbors(n_neighbors=k, metric="cosine").fit(cloud).kneighbors(return_distance=False)
            for cloud in (first, second)]
    return np.array([len(np.intersect1d(one, two)) / k for one, two in zip(*near)])


def neighbour_counts(queries: np.ndarray, targets: np.ndarray, k: int = 10) -> np.ndarray:
    """How often each target is among the k nearest neighbours of a query, (n,); the counts' skewness is the hubness.

    It is large when a few hubs are the neighbours of nearly all queries (Radovanovic, Nanopoulos and Ivanovic 2010).
    """
    check_clouds(queries, targets)
    near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(targets).kneighbors(queries, return_distance=False)
    return np.bincount(near.ravel(), minlength=len(targets))


def widened(cloud: np.ndarray, width: int) -> np.ndarray:
    """The cloud (n, d) with zeros up to `width`: lengths and angles within it stay the same."""
    if cloud.shape[1] > width:
        raise ValueError(f"a cloud of {cloud.shape[1]} dimensions cannot be widened to {width}: widen the other one")
    return np.pad(cloud, ((0, 0), (0, width - cloud.shape[1])))


def recall(ranks: np.ndarray, k: int = 10) -> float:
    """Share of queries whose own target is among the first k; by chance k / n."""
    return float(np.mean(ranks <= k))


def measure(cloud: np.ndarray, sounds: np.ndarray, paired: bool = True, draws: int = 200,
            seed: int = 0) -> dict[str, Interval]:
    """All numbers of the gap between a cloud and the sounds, (n, d) each, with 95% intervals.

    Intervals are Wilson's for shares, Student's for means and the Fréchet distance, else from the bootstrap.
    """
    moved = frechet_rows(sounds, cloud)
    cells = {
        "centroid distance": bootstrap(centroid_distance, cloud, sounds, draws=draws, seed=seed).within(0),
        "Fréchet distance": student_interval(frechet_rows(cloud, sounds) + moved - moved.mean()).within(0),
        "MMD²": student_interval(mmd_rows(cloud, sounds)),
    }
    for judge in JUDGES:
        hits = two_sample_hits(cloud, sounds, judge, seed)
        cells[f"told apart, {judge}"] = rate_interval(hits)
    if paired:
        cells["centroid share"] = bootstrap(centroid_share, cloud, sounds, draws=draws, seed=seed)
        ranks = retrieval_ranks(cloud, sounds)
        cells["cosine"] = student_interval(pair_cosines(cloud, sounds))
        for k in (1, 5, 10):
            cells[f"recall@{k}"] = rate_interval(ranks <= k)
        cells["median rank"] = bootstrap(np.median, ranks, draws=draws, seed=seed)
        cells["CKA"] = bootstrap(linear_cka, cloud, sounds, draws=draws, seed=seed).within(0, 1)
        cells["shared neighbours"] = student_interval(mutual_neighbours(cloud, sounds)).within(0, 1)
        cells["hubness"] = bootstrap(skew, neighbour_counts(cloud, sounds), draws=draws, seed=seed)
    return cells

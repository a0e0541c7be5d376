"""Measures of generated sounds, against real ones and against their pictures, and intervals for any number.

Pure functions on arrays; the models that extract features are in `v2a_utils.models`. Features and embeddings are
(n, d), class scores before softmax ("logits") (n, classes); row i belongs to picture i. A measure of single sounds
returns (n,): its mean is the number that other programs report. A measure of whole clouds also tells its `influence`,
(n,), how each row moves it; so every number has Student's interval over rows, and rows can be looked at one by one.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats
from scipy.special import entr, expit, log_softmax, softmax

BATCH = 500  # rows that are in double precision at once
ENOUGH = 10_000 / 2048  # rows for each feature: Heusel et al. ask for 10,000 of Inception's 2048
PARTS = (1, 2, 3)  # into which clouds are cut to see how their distance grows as rows get fewer
RANKED = 200  # queries that are ranked at once
MEDIAN_OF = 3000  # rows whose distances give a kernel its width: 4 million pairs
LEAST_SHARE = 1e-6  # audioldm_eval adds it to a probability before its logarithm


# -------------------------------------------------------------------------------------------------------- intervals


class Interval(NamedTuple):
    """An estimate from n rows with its 95% interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        largest = np.abs(np.nan_to_num(self[:3], posinf=1, neginf=1)).max()
        digits = 0 if abs(self.value) >= 10 else 3 if not 0 < largest < 0.01 else 1 - int(np.floor(np.log10(largest)))
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def percent(self) -> str:
        """A share in words: value, interval and n."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n})"

    def within(self, low: float = -np.inf, high: float = np.inf) -> "Interval":
        """The same estimate with its bounds kept within what the quantity can be."""
        return self._replace(low=max(self.low, low), high=min(self.high, high))


def bootstrap(function: Callable[..., float], *arrays: np.ndarray, draws: int = 200, seed: int = 0) -> Interval:
    """`function(*arrays)` with its 95% interval: the standard error of resampled rows (Efron 1979) times Student's t.

    Arrays of one length are resampled together, row by row. Resample ranks and hits, not the clouds they were computed
    from: a row that is there twice would be its own neighbour. For a mean, `student_interval` needs no draws.
    """
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise ValueError(f"arrays of {[len(array) for array in arrays]} rows cannot be resampled together")
    value = float(function(*arrays))
    if n < 2 or draws < 2:  # one row says nothing of how rows differ
        return Interval(value, -np.inf, np.inf, n)
    resamples = np.random.default_rng(seed).integers(n, size=(draws, n))
    drawn = [function(*(array[rows] for array in arrays)) for rows in resamples]
    error = np.std(drawn, ddof=1) * np.sqrt(n / (n - 1))  # resamples vary a little less than samples do
    half = float(scipy.stats.t.ppf(0.975, min(n, draws) - 1) * error)
    return Interval(value, value - half, value + half, n)


def student_interval(values: np.ndarray) -> Interval:
    """Mean of independent values (n,), say one a clip or a training seed, with Student's 95% interval.

    One value leaves everything possible.
    """
    values = np.asarray(values, np.float64)
    n, value = len(values), float(np.mean(values))
    half = float(scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5) if n > 1 else np.inf
    return Interval(value, value - half, value + half, n)


def rate_interval(successes: np.ndarray, method: str = "wilson") -> Interval:
    """Share of successes with its 95% interval, Wilson's, or the "exact" one (Clopper and Pearson) of (n,) bool.

    Wilson's takes (n,), or (n, seeds) for several sounds of each of n pictures. Sounds of one picture are alike, so
    they count as fewer: as the number of independent sounds that would have the variance seen between pictures (Korn
    and Graubard 1998), at least n and at most n * seeds. The interval's `n` counts pictures. The bounds lie within
    0..1 and never coincide, not even for a share of 0 or 1.
    """
    each = np.asarray(successes, np.float64).reshape(len(successes), -1)
    n, share = len(each), float(each.mean())
    if method == "exact":
        interval = scipy.stats.binomtest(round(each.sum()), n).proportion_ci(method=method)
        return Interval(share, *map(float, interval), n)
    variance = each.mean(1).var(ddof=1) / n if n > 1 else 0.0
    count = float(np.clip(share * (1 - share) / variance, n, each.size)) if variance else n
    z = scipy.stats.norm.ppf(0.975)
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = min(centre - half, share), max(centre + half, share)  # equal but for rounding at 0 and 1
    return Interval(share, float(low), float(high), n).within(0, 1)


# ------------------------------------------------------------------------------------------ distances of two clouds


class Moments:
    """Mean and covariance of rows that come in batches, in float64, keeping none.

    Sums are taken around the first batch's mean, so that rows far from 0 lose no digits (Chan, Golub and LeVeque 1983).
    `mean` is (d,), `covariance` (d, d), unbiased as np.cov's.
    """

    def __init__(self, batches: Iterable[np.ndarray] = ()):
        self.n, self._origin, self._sum = 0, np.zeros(0), np.zeros(0)
        for batch in batches:
            self.add(batch)

    def add(self, rows: np.ndarray) -> None:
        """Add (rows, d). ValueError for NaN, infinity or another d."""
        if not len(rows):
            return
        centred = np.array(rows, np.float64)
        if not np.isfinite(centred).all():
            raise ValueError("features hold NaN or infinity: leave such rows out")
        if not self.n:
            width = centred.shape[1]
            self._origin, self._sum, self._scatter = centred.mean(0), np.zeros(width), np.zeros((width, width))
        if centred.shape[1] != len(self._origin):
            raise ValueError(f"a batch of {centred.shape[1]} features does not go with others of {len(self._origin)}")
        centred -= self._origin
        self._sum += centred.sum(0)
        self._scatter += centred.T @ centred
        self.n += len(rows)

    @property
    def mean(self) -> np.ndarray:
        return self._origin + self._sum / max(self.n, 1)

    @property
    def covariance(self) -> np.ndarray:
        return (self._scatter - np.outer(self._sum, self._sum / self.n)) / (self.n - 1)

    @property
    def variance(self) -> float:
        """The covariance's trace."""
        return (np.trace(self._scatter) - self._sum @ self._sum / self.n) / (self.n - 1)

    @cached_property
    def root(self) -> np.ndarray:
        """The covariance's symmetric square root."""
        values, vectors = scipy.linalg.eigh(self.covariance.T, overwrite_a=True)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def frechet_rows(cloud: np.ndarray, other: np.ndarray | Moments) -> np.ndarray:
    """The Fréchet distance of a cloud (n, d) from another plus how each of its rows moves it, (n,).

    The derivative in the share of a row x, with u = x - m1: 2 u (m1 - m2) + u (I - T) u less its mean, where T =
    S2^1/2 (S2^1/2 S1 S2^1/2)^-1/2 S2^1/2 carries the one Gaussian to the other (Rippl, Munk and Sturm 2016, arXiv
    1507.04090). Its standard error is that of infinitely many resamples (the infinitesimal jackknife, Jaeckel 1972).
    """
    own, other = _moments_of(cloud, other)
    if own.n < cloud.shape[1]:  # S1 = F^T F of few rows: F T F^T, which has every u T u, is F S2 F^T's root
        factor = _factor(cloud, own)
        values, vectors = np.linalg.eigh(factor @ other.covariance @ factor.T)
        carried = (own.n - 1) * vectors**2 @ np.sqrt(values.clip(0))
    else:
        # the matrix is symmetric: transposed, it is in LAPACK's order and solved in place
        values, vectors = scipy.linalg.eigh((other.root @ own.covariance @ other.root).T, overwrite_a=True)
        vectors *= np.where(values > 1e-12 * values.max(), values, np.inf) ** -0.25
        steps = other.root @ vectors
        carried = np.concatenate([(((rows - own.mean) @ steps) ** 2).sum(1) for rows in batches(cloud)])
    found = [2 * (rows - own.mean) @ (own.mean - other.mean) + ((rows - own.mean) ** 2).sum(1)
             for rows in batches(cloud)]
    influence = np.concatenate(found) - carried
    return _distance(own, other, values) + influence - influence.mean()


def check_clouds(first: np.ndarray, second: np.ndarray) -> None:
    """ValueError unless arrays (n, d) have one d, two rows or more and finite numbers."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"embeddings of {first.shape[1]} and of {second.shape[1]} dimensions share no space: map one")
    for cloud in (first, second):
        if len(cloud) < 2:
            raise ValueError(f"a cloud of {len(cloud)} row(s) has no shape: give two rows or more")
        if not np.isfinite(cloud.sum(dtype=np.float64)):
            raise ValueError("an embedding holds NaN or infinity: leave such rows out")


def _moments_of(first: np.ndarray | Moments, second: np.ndarray | Moments) -> tuple[Moments, Moments]:
    one, two = (cloud if isinstance(cloud, Moments) else Moments(batches(cloud)) for cloud in (first, second))
    if min(one.n, two.n) < 2:
        raise ValueError(f"a cloud of {min(one.n, two.n)} row(s) has no shape: give two rows or more")
    if len(two.mean) != len(one.mean):
        raise ValueError(f"features of {len(one.mean)} and of {len(two.mean)} dimensions are not of one model")
    return one, two


def _factor(cloud: np.ndarray | Moments, own: Moments) -> np.ndarray:
    """F with F^T F the covariance: the centred rows where fewer than dimensions, else Cholesky's, or the root."""
    if isinstance(cloud, np.ndarray) and len(cloud) < cloud.shape[1]:
        return (cloud - own.mean) / (own.n - 1) ** 0.5
    try:
        return np.linalg.cholesky(own.covariance).T
    except np.linalg.LinAlgError:  # a covariance without an inverse
        return own.root


def _distance(one: Moments, two: Moments, values: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2) - 2 tr (S1 S2)^1/2, from the eigenvalues of F S2 F^T, those of S1 S2 that are not 0."""
    variances = one.variance + two.variance
    return float(max(np.sum((one.mean - two.mean) ** 2) + variances - 2 * np.sqrt(values.clip(0)).sum(), 0.0))


class KernelReference:
    """A cloud (n, d) that others are compared with by KAD (Chung et al. 2025, arXiv 2502.15602, package kadtk).

    KAD is 100 times the unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012) with the kernel
    exp(-|x - y|^2 / (2 b^2)); b is the median distance of the reference's rows (of MEDIAN_OF drawn ones, if it has
    more). It does not depend on n on average, so it suits small n; it may fall below 0.
    """

    def __init__(self, rows: np.ndarray, seed: int = 0):
        if len(rows) < 2:
            raise ValueError(f"a cloud of {len(rows)} row(s) has no shape: give two rows or more")
        self.rows = rows
        self.centre = rows.mean(0, dtype=np.float64).astype(np.float32)  # near 0 single precision is exact enough
        some = rows[np.random.default_rng(seed).permutation(len(rows))[:MEDIAN_OF]]
        squares = self._squares(some, some)[np.tri(len(some), k=-1, dtype=bool)]
        self.gamma = 0.5 / (float(np.quantile(squares, 0.5, method="lower")) or 1.0)
        self.within = self._sums(rows, rows).sum() - len(rows)  # no row is a pair with itself

    def compare(self, cloud: np.ndarray) -> tuple[float, np.ndarray]:
        """KAD of a cloud (n, d), and how each of its rows moves it, (n,) with mean 0."""
        n, other = len(cloud), len(self.rows)
        own, cross = self._sums(cloud, cloud) - 1, self._sums(cloud, self.rows)
        value = own.sum() / (n * (n - 1)) + self.within / (other * (other - 1)) - 2 * cross.sum() / (n * other)
        influence = 2 * (own / (n - 1) - cross / other)
        return 100 * float(value), 100 * (influence - influence.mean())

    def _sums(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The sum of the kernel with all rows of `second`, for each row of `first`."""
        return np.concatenate([sum(np.exp(-self.gamma * self._squares(rows, part)).sum(1, dtype=np.float64)
                                   for part in batches(second)) for rows in batches(first)])

    def _squares(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Squared distances (n, m) in single precision."""
        first, second = (np.asarray(rows - self.centre, np.float32) for rows in (first, second))
        norms = (np.einsum("ij,ij->i", rows, rows) for rows in (first, second))
        return np.maximum(np.add.outer(*norms) - 2 * first @ second.T, 0)


def frechet_distance(first: np.ndarray | Moments, second: np.ndarray | Moments) -> float:
    """Fréchet distance of the Gaussians fitted to two clouds (Heusel et al. 2017, arXiv 1706.08500); 0 or more.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2) with unbiased covariances, in float64, of arrays (n, d) or of
    `Moments`: FD on features of clips, FAD on those of frames. It is biased upwards for small n, so compare only values
    of equal n; with fewer rows than dimensions it warns.
    """
    one, two = _moments_of(first, second)
    rows, width = min(one.n, two.n), len(one.mean)
    if rows < width:
        warnings.warn(f"a Fréchet distance of {rows} rows in {width} dimensions is far too large", stacklevel=2)
    by_first = one.n < two.n  # the smaller cloud gives the smaller matrix
    factor, other = (_factor(first, one), two) if by_first else (_factor(second, two), one)
    return _distance(one, two, np.linalg.eigvalsh(factor @ other.covariance @ factor.T))


def few_rows(rows: int, width: int) -> bool:
    """Whether clouds of so many rows are too small for a Fréchet distance in `width` dimensions (ENOUGH)."""
    return rows < ENOUGH * width


def infinite_frechet_distance(first: np.ndarray, second: np.ndarray, groups: int = 10, seed: int = 0) -> Interval:
    """The Fréchet distance extrapolated to infinitely many rows, with its 95% interval; `n` is that of the clips.

    Clip by clip: (n, d), or (n, frames, d), or an array of arrays (frames, d) whose frames are pooled. The distance of
    n clips exceeds that of infinitely many by about a / n (Chong and Forsyth 2020, arXiv 1911.07023; Gui et al. 2023,
    arXiv 2311.01616, fadtk): a line over 1 / n, fitted to the distances of all clips, of halves and of thirds (split at
    random by `seed`), is read at 0. Both clouds are split, since both are small; fadtk splits only the generated one,
    and draws with replacement, whose line leads back to the distance of all rows. The interval is a jackknife over
    `groups` of clips, with Student's t. ValueError unless both have equally many clips, and at least 3 * groups.
    """
    n = len(first)
    if len(second) != n or n < 3 * groups:
        raise ValueError(f"clouds of {n} and {len(second)} clips: give equally many, {3 * groups} or more")
    order = np.random.default_rng(seed).permutation(n)
    value = _at_infinity(first, second, order)
    left = np.array([_at_infinity(first, second, np.setdiff1d(order, group, assume_unique=True))
                     for group in np.array_split(order, groups)])
    error = np.sqrt((groups - 1) * left.var())
    half = scipy.stats.t.ppf(0.975, groups - 1) * error
    return Interval(value, value - half, value + half, n)


def _at_infinity(first: np.ndarray, second: np.ndarray, order: np.ndarray) -> float:
    """Where the line over 1 / n through the distances of PARTS of the clips in `order` meets 0."""
    def pooled(clips: np.ndarray) -> np.ndarray:
        return clips if clips.ndim == 2 else np.concatenate(list(clips))

    means = [np.mean([frechet_distance(pooled(first[rows]), pooled(second[rows]))
                      for rows in np.array_split(order, parts)]) for parts in PARTS]
    return float(np.polyfit(PARTS, means, 1)[1])


def batches(rows: np.ndarray, size: int = BATCH) -> list[np.ndarray]:
    """Parts of rows that take little memory in double precision."""
    return np.array_split(rows, len(rows) // size + 1)


def in_batches(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """`function` of arrays whose rows belong together, batch by batch: what it needs on the way stays small."""
    if len({len(rows) for rows in arrays}) > 1:
        raise ValueError(f"arrays of {[len(rows) for rows in arrays]} rows are no pairs")
    return np.concatenate([function(*parts) for parts in zip(*map(batches, arrays))])


# -------------------------------------------------------------------------------------- what a classifier makes of it


def kl_divergence(real: np.ndarray, made: np.ndarray, outputs: str = "softmax") -> np.ndarray:
    """KL(real || made) of the classes that a tagger hears in pairs of sounds, logits (n, classes) each -> (n,) in nats.

    As audioldm_eval has it (metrics/kl.py): `outputs` "softmax" or, for classes that may sound together, "sigmoid",
    whose sum leaves out each class's complement, so that it may fall below 0.
    """
    if real.shape != made.shape:  # rows of which one is broadcast would be pairs of nothing
        raise ValueError(f"logits of shape {real.shape} and {made.shape} are no pairs")
    if outputs not in ("softmax", "sigmoid"):
        raise ValueError(f"outputs is {outputs!r}: use softmax or sigmoid")
    real, made = (np.asarray(logits, np.float64) for logits in (real, made))
    log_real = log_softmax(real, 1) if outputs == "softmax" else -np.logaddexp(0, -real)
    share = _shares(made) if outputs == "softmax" else expit(made)
    return (np.exp(log_real) * (log_real - np.log(share + LEAST_SHARE))).sum(1)


def inception_score(logits: np.ndarray, splits: int = 10, seed: int = 2020) -> np.ndarray:
    """Inception score (Salimans et al. 2016) of each of `splits` shuffled parts, (splits,); peers give mean and std.

    exp of the mean KL of a sound's classes from those of all sounds: from 1 to the number of classes. The order is that
    of audioldm_eval (metrics/isc.py). ValueError for fewer sounds than parts.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} sounds cannot be split into {splits} parts: use fewer splits")
    order = np.random.RandomState(seed).permutation(len(logits))
    edges = [part * len(logits) // splits for part in range(splits + 1)]
    return np.array([inception_rows(logits[order[a:b]]).mean() for a, b in pairwise(edges)])


def inception_rows(logits: np.ndarray) -> np.ndarray:
    """The inception score of all rows together plus how each row moves it, (n,): what leaving it out changes.

    The jackknife (Efron and Stein 1981), since the score's derivative promises too much below 256 rows.
    """
    n, others = len(logits), max(len(logits) - 1, 1)
    total = sum(_shares(rows).sum(0) for rows in batches(logits))
    entropies = in_batches(lambda rows: entr(_shares(rows)).sum(1), logits)
    of_others = in_batches(lambda rows: entr((total - _shares(rows)) / others).sum(1), logits)
    without = np.exp(of_others - (entropies.sum() - entropies) / others)
    return np.exp(entr(total / n).sum() - entropies.mean()) + (n - 1) * (without.mean() - without)


def _shares(logits: np.ndarray) -> np.ndarray:
    return softmax(np.asarray(logits, np.float64), 1)


def class_hits(logits: np.ndarray, names: Sequence[str], right: Sequence[Collection[str]],
               ignored: Collection[str] = ()) -> np.ndarray:
    """Whether the highest class of each row, leaving out those `ignored`, is among the row's `right` ones, (n,) bool.

    The paper's accuracy on ImageHear (Im2Wav, arXiv 2211.03089) takes both from `v2a_utils.models.backbones`.
    """
    kept = [column for column, name in enumerate(names) if name not in ignored]
    best = np.asarray(logits)[:, kept].argmax(1)
    return np.array([names[kept[column]] in allowed for column, allowed in zip(best, right)])


def hits(scores: np.ndarray, names: Sequence[str], scenes: Sequence) -> np.ndarray:
    """Whether the highest class of each row of `scores` (n, classes) is among the `labels` of its scene, (n,) bool."""
    return class_hits(scores, names, [scene.labels for scene in scenes])


# ------------------------------------------------------------------------------------ what an embedding makes of it


def clip_scores(pictures: np.ndarray, sounds: np.ndarray) -> np.ndarray:
    """CS: 100 times the cosine of CLIP's embedding of a picture and Wav2CLIP's of its sound, (n, d) each -> (n,).

    Im2Wav's measure (arXiv 2211.03089); the rows need not be of unit norm.
    """
    if pictures.shape != sounds.shape:
        raise ValueError(f"embeddings of shape {pictures.shape} and {sounds.shape} are no pairs of one space")
    return 100 * (unit_norm(pictures) * unit_norm(sounds)).sum(1)


def retrieval_ranks(queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each query's own target among all targets, by cosine, for pairs (n, d) of any norm: (n,), 1 is best.

    By chance the mean is (n + 1) / 2. A tie counts as half a rank, so that a constant mapper is at chance.
    """
    check_clouds(queries, targets)
    norms, ranks = np.maximum(in_batches(partial(np.linalg.norm, axis=1), targets), 1e-12), []  # of zeros: cosine 0
    for rows in np.array_split(np.arange(len(queries)), len(queries) // RANKED + 1):
        cosines = queries[rows] @ targets.T / norms  # times each query's norm, which changes no rank
        own = cosines[np.arange(len(rows)), rows][:, None]
        ranks.append(1 + (cosines > own).sum(1) + 0.5 * ((cosines == own).sum(1) - 1))
    return np.concatenate(ranks)


def diversity(samples: np.ndarray) -> np.ndarray:
    """Mean distance, 1 - cosine, of two sounds made for one picture: (pictures, samples, d) -> (pictures,), 0..2."""
    number = samples.shape[1]
    if number < 2:
        raise ValueError("diversity needs two samples of each picture or more")
    total = unit_norm(samples).sum(1)
    return 1 - ((total**2).sum(1) - number) / (number * (number - 1))


def unit_norm(rows: np.ndarray) -> np.ndarray:
    """Vectors (..., d) brought to unit norm, in double precision; a vector of zeros stays one."""
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)

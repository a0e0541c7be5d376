"""The measures of generated sounds against reference sounds, each with its interval, seed values and backbone."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import numpy as np

from v2a_utils.evaluation.features import Features
from v2a_utils.metrics import gap
from v2a_utils.metrics.sounds import (
    Interval,
    Moments,
    bootstrap,
    class_hits,
    clip_scores,
    diversity,
    few_rows,
    frechet_distance,
    inception_score,
    infinite_frechet_distance,
    kl_divergence,
    rate_interval,
    unit_norm,
)
from v2a_utils.models.backbones import TOO_GENERAL, AudioBackbone

MODEL_OF = {"FAD": "framewise", "FAD at infinite n": "framewise", "CS": "wav2clip"}  # for other measures the tagger
SHARES = ("accuracy", "recall@10", "coverage")
LINE_FROM = 30  # clips, from which on distances are extrapolated to infinite n
IS_PARTS = 10  # in which the field takes the mean of inception scores


class Score(NamedTuple):
    """One number: a measure of all sounds with its interval over pictures, and its value for each seed."""

    measure: str
    interval: Interval
    by_seed: np.ndarray
    backbone: str
    sample_rate: int  # Hz, at which the backbone gets the sounds
    interval_by: str = ""  # what the interval comes from


class Cloud(NamedTuple):
    """A measure of all sounds of one seed together: `function` of rows (n, ...) out of `rows` (n, seeds, ...)."""

    rows: np.ndarray
    function: Callable[[np.ndarray], float]
    draws: float  # share of the usual number of bootstrap draws: slow measures get fewer

    def value(self, rows: np.ndarray) -> float:
        """The mean over seeds."""
        return float(np.mean([self.function(rows[:, seed]) for seed in range(rows.shape[1])]))


class Scorer:
    """All measures of sounds against the reference sounds of the same pictures.

    models: the evaluating models by name: tagger, and for FAD framewise, for CS wav2clip. truth: features of the
    reference sounds, row by row, or None where there are none, which leaves out FD, FAD, KL and recall@10. visual:
    CLIP's embeddings of the pictures (n, d), or None. right: which of the tagger's classes count as right for each
    picture (empty where it knows none), or None. Intervals resample pictures, all seeds of a picture together; `draws`
    is the number of resamples.
    """

    def __init__(self, models: dict[str, AudioBackbone], truth: Features | None, visual: np.ndarray | None = None,
                 right: list[frozenset[str]] | None = None, draws: int = 200):
        self.models, self.truth, self.visual, self.draws = models, truth, visual, draws
        self.right = right or [frozenset()] * len(truth.features)

    @cached_property
    def reference(self) -> dict[str, Moments]:
        """Moments of the reference sounds' features and frames."""
        frames = {"frames": Moments(self.truth.frames)} if "framewise" in self.models else {}
        return {"features": Moments([self.truth.features])} | frames

    # ------------------------------------------------------------------------------------------- what is measured

    def each(self, made: Features) -> dict[str, np.ndarray]:
        """What is measured sound by sound, (n, seeds) by measure; accuracy of the pictures whose class is known."""
        seeds, truth = range(made.logits.shape[1]), self.truth
        found = {}
        if truth is not None:
            found = {f"KL {outputs}": np.stack([kl_divergence(truth.logits, made.logits[:, seed], outputs)
                                                for seed in seeds], 1) for outputs in ("softmax", "sigmoid")}
            true = unit_norm(truth.features)
            ranks = [gap.retrieval_ranks(unit_norm(made.features[:, seed]), true) for seed in seeds]
            found["recall@10"] = np.stack(ranks, 1) <= 10
        if self.visual is not None and "wav2clip" in self.models:
            found["CS"] = np.stack([clip_scores(self.visual, made.clip[:, seed]) for seed in seeds], 1)
        if self.known.any():
            found["accuracy"] = self.hits(made)[self.known]
        return found

    def clouds(self, made: Features) -> dict[str, Cloud]:
        """What is measured of all sounds of a seed together."""
        def fd(rows: np.ndarray) -> float:
            return _distance(rows, self.reference["features"])

        def fad(rows: np.ndarray) -> float:
            return _distance(Moments(rows), self.reference["frames"])

        found = {} if self.truth is None else {"FD": Cloud(made.features, fd, 0.3)}
        if self.truth is not None and "framewise" in self.models:
            found["FAD"] = Cloud(made.frames, fad, 0.3)
        return found | {"IS": Cloud(made.logits, lambda rows: float(inception_score(rows, splits=1)[0]), 1)}

    def by_picture(self, made: Features) -> dict[str, np.ndarray]:
        """What is measured of the several sounds of a picture, (n,) by measure."""
        return {"diversity": diversity(made.features)} if made.logits.shape[1] > 1 else {}

    @cached_property
    def known(self) -> np.ndarray:
        """Pictures with a label that the tagger has a class for, (n,) bool."""
        return np.array([bool(names) for names in self.right])

    def hits(self, made: Features) -> np.ndarray:
        """Whether the tagger's highest class is right for the picture, (n, seeds) bool; False where it knows none."""
        names = self.models["tagger"].names
        return np.stack([class_hits(made.logits[:, seed], names, self.right, TOO_GENERAL)
                         for seed in range(made.logits.shape[1])], 1)

    # ----------------------------------------------------------------------------------------- numbers and intervals

    def scores(self, made: Features) -> Iterator[Score]:
        """Every measure of sounds (n, seeds, ...)."""
        for name, cloud in self.clouds(made).items():
            by_seed = np.array([cloud.function(cloud.rows[:, seed]) for seed in range(cloud.rows.shape[1])])
            draws = self._draws(cloud.draws)
            interval = bootstrap(cloud.value, cloud.rows, draws=draws)
            yield self._score(name, interval.within(0), by_seed, f"bootstrap of clips, {draws} draws")
        for name, values in self.each(made).items():
            interval = rate_interval(values) if name in SHARES else self._mean(values.mean(1))
            yield self._score(name, interval, values.mean(0), self._by(name))
        for name, values in self.by_picture(made).items():
            interval = rate_interval(values) if name in SHARES else self._mean(values).within(0)
            yield self._score(name, interval, values.mean(keepdims=True), self._by(name))

    def differences(self, first: Features, second: Features) -> Iterator[tuple[str, Interval]]:
        """Every measure of one method minus that of another for the same pictures, resampled together."""
        clouds, others = self.clouds(first), self.clouds(second)
        for name, cloud in clouds.items():
            def apart(one: np.ndarray, two: np.ndarray, value=cloud.value) -> float:
                return value(one) - value(two)

            yield name, bootstrap(apart, cloud.rows, others[name].rows, draws=self._draws(cloud.draws))
        for values, more in ((self.each(first), self.each(second)), (self.by_picture(first), self.by_picture(second))):
            for name in (name for name in values if name in more):
                one, two = (np.asarray(each[name], float).reshape(len(each[name]), -1).mean(1)
                            for each in (values, more))
                yield name, self._mean(one - two)

    def _mean(self, rows: np.ndarray) -> Interval:
        return bootstrap(np.mean, rows, draws=10 * self.draws)

    def _draws(self, share: float) -> int:
        return max(int(share * self.draws), 10)

    def _by(self, name: str) -> str:
        return "Wilson, over clips" if name in SHARES else f"bootstrap of clips, {10 * self.draws} draws"

    def _score(self, name: str, interval: Interval, by_seed: np.ndarray, by: str) -> Score:
        model = self.models[MODEL_OF.get(name, "tagger")]
        return Score(name, interval, by_seed, model.backbone, model.sample_rate, by)


class FieldScorer(Scorer):
    """The measures as the field prints them: beside the others IS in ten parts, and FD and FAD at infinite n."""

    def clouds(self, made: Features) -> dict[str, Cloud]:
        """What is measured of all sounds of a seed together; IS in parts where there are as many sounds."""
        found = super().clouds(made)
        if len(made.logits) >= IS_PARTS:
            found[f"IS in {IS_PARTS} parts"] = Cloud(
                made.logits, lambda rows: float(inception_score(rows, IS_PARTS).mean()), 1)
        return found

    def scores(self, made: Features) -> Iterator[Score]:
        """Every measure of sounds (n, seeds, ...), and distances at infinite n where there are too few of them."""
        yield from super().scores(made)
        for name, (first, second) in self.few(made).items():
            if len(second) < LINE_FROM:
                continue
            with _few_rows_are_known():
                each = [infinite_frechet_distance(first[:, seed], second) for seed in range(first.shape[1])]
            values = np.array(each)  # (seeds, 4)
            yield self._score(f"{name} at infinite n", Interval(*values[:, :3].mean(0), len(second)), values[:, 0],
                              "jackknife, 10 groups of clips")

    def few(self, made: Features) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Rows (n, seeds, ...) and (n, ...) of the distances for which there are too few."""
        clouds = {"FD": (made.features, self.truth.features, "features")}
        if "framewise" in self.models:
            clouds["FAD"] = (made.frames, self.truth.frames, "frames")
        return {name: (first, second) for name, (first, second, kind) in clouds.items()
                if few_rows(self.reference[kind].n, len(self.reference[kind].mean))}


def _distance(first: np.ndarray | Moments, second: Moments) -> float:
    """The Fréchet distance, without its warning for every draw of a bootstrap; `FieldScorer` says it once."""
    with _few_rows_are_known():
        return frechet_distance(first, second)


@contextmanager
def _few_rows_are_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="a Fréchet distance of")
        yield

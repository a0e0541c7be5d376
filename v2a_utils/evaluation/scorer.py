"""The measures of generated sounds against reference sounds, clip by clip, with intervals and differences."""

import warnings
from collections.abc import Iterator
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from v2a_utils.evaluation.features import Features
from v2a_utils.metrics import sounds as measures
from v2a_utils.metrics.sounds import Interval, KernelReference, Moments
from v2a_utils.metrics.statistics import CLOUDS
from v2a_utils.models.backbones import TOO_GENERAL, AudioBackbone

MODEL_OF = {"FAD": "framewise", "FAD at infinite n": "framewise", "CS": "wav2clip"}  # for other measures the tagger
SHARES = ("accuracy", "recall@10")
FROM_0 = ("FD", "FAD", "diversity")  # which cannot be less
LINE_FROM = 30  # clips, from which on distances are extrapolated to infinite n
IS_PARTS = 10  # in which the field takes the mean of inception scores
Rows = dict[str, np.ndarray]  # (n, seeds) by measure, or (n, 1) of all seeds together; NaN for clips without a value


class Score(NamedTuple):
    """One number: a measure of all sounds with its interval over pictures, and its value for each seed."""

    measure: str
    interval: Interval
    by_seed: np.ndarray
    backbone: str
    sample_rate: int  # Hz, at which the backbone gets the sounds
    interval_by: str = ""  # what the interval comes from

    def row(self) -> dict:
        """As a row of a table."""
        return {"measure": self.measure} | self.interval._asdict() | {
            "seeds": len(self.by_seed), "seed_low": self.by_seed.min(), "seed_high": self.by_seed.max(),
            "backbone": self.backbone, "sample_rate": self.sample_rate, "interval_by": self.interval_by}


class Scorer:
    """All measures of sounds against the reference sounds of the same pictures.

    models: the backbones by part: tagger, and for FAD framewise, for CS wav2clip. truth: features of the reference
    sounds, row by row; without them FD, FAD, KAD, KL and recall@10 are left out. visual: CLIP's embeddings of the
    pictures (n, d). right: which of the tagger's classes count as right for each picture, none where it knows none.
    real: features of more reference sounds than there are pictures; FD, FAD and KAD compare with them instead.

    Every measure is a row a clip, all seeds of one beside each other; of a whole cloud, such as FD, it is the distance
    plus how the clip moves it. So the mean over clips is the measure, and its interval Student's over clips.
    """

    def __init__(self, models: dict[str, AudioBackbone], truth: Features | None, visual: np.ndarray | None = None,
                 right: list[frozenset[str]] | None = None, real: Features | None = None):
        self.models, self.truth, self.visual = models, truth, visual
        self.real = real or truth or Features(*[np.zeros((0, 1))] * 5)
        self.right = right or [frozenset()] * len(self.real.features)

    # ---------------------------------------------------------------------------------------------- the reference

    @cached_property
    def moments(self) -> Moments:
        """Of the reference sounds' features."""
        return Moments(measures.batches(self.real.features))

    @cached_property
    def frame_moments(self) -> Moments:
        """Of the reference sounds' frames."""
        return Moments(self.real.frames)

    @cached_property
    def kernel(self) -> KernelReference:
        """The reference sounds' features for KAD."""
        return KernelReference(self.real.features)

    @cached_property
    def known(self) -> np.ndarray:
        """Pictures with a label that the tagger has a class for, (n,) bool."""
        return np.array([bool(names) for names in self.right])

    # ------------------------------------------------------------------------------------------- what is measured

    def rows(self, made: Features) -> Rows:
        """Every measure of sounds (n, seeds, ...), clip by clip."""
        seeds = [made.rows(slice(None), seed) for seed in range(made.logits.shape[1])]
        by_seed = [self._clouds(one) | self._pairs(one) for one in seeds]
        found = {name: np.stack([one[name] for one in by_seed], 1) for name in by_seed[0]}
        if len(seeds) > 1:
            found["diversity"] = measures.diversity(made.features)[:, None]
        return found

    def _clouds(self, made: Features) -> Rows:
        """What is measured of all sounds of a seed together, (n,) by measure."""
        found = {}
        if self.truth is not None:
            value, influence = self.kernel.compare(made.features)
            found["KAD"] = value + influence
            if "framewise" in self.models:
                found["FAD"] = self._frames(made.frames)
            found["FD"] = measures.frechet_rows(made.features, self.moments)  # last: its matrices stay in memory
        found["IS"] = measures.inception_rows(made.logits)
        return {name: found[name] for name in CLOUDS if name in found}

    def _frames(self, frames: np.ndarray) -> np.ndarray:
        """FAD clip by clip, (n,): all frames are one cloud, and a clip moves it as its frames do together."""
        lengths, pooled = [len(one) for one in frames], np.concatenate(list(frames))
        each = measures.frechet_rows(pooled, self.frame_moments)
        moved = np.add.reduceat(each - each.mean(), np.cumsum([0, *lengths[:-1]]))
        return each.mean() + moved * len(frames) / len(pooled)

    def _pairs(self, made: Features) -> Rows:
        """What is measured sound by sound of a seed, (n,) by measure."""
        found = {}
        if self.truth is not None:
            for outputs in ("softmax", "sigmoid"):
                found[f"KL {outputs}"] = measures.in_batches(partial(measures.kl_divergence, outputs=outputs),
                                                              self.truth.logits, made.logits)
            found["recall@10"] = measures.retrieval_ranks(made.features, self.truth.features) <= 10
        if self.visual is not None and "wav2clip" in self.models:
            found["CS"] = measures.in_batches(measures.clip_scores, self.visual, made.clip)
        if self.known.any():
            hits = measures.class_hits(made.logits, self.models["tagger"].names, self.right, TOO_GENERAL)
            found["accuracy"] = np.where(self.known, hits, np.nan)
        return {name: np.asarray(values, float) for name, values in found.items()}

    # ----------------------------------------------------------------------------------------- numbers and intervals

    def scores(self, rows: Rows) -> Iterator[Score]:
        """Every measure of a method, from its rows."""
        for name, values in rows.items():
            values = values[~np.isnan(values).any(1)]
            interval = measures.rate_interval(values) if name in SHARES else measures.student_interval(values.mean(1))
            if name in FROM_0:  # also where rounding leads below
                interval = interval._replace(value=max(interval.value, 0.0)).within(0)
            yield self._score(name, interval, values.mean(0),
                              "Wilson, over clips" if name in SHARES else "Student's t, over clips")

    def differences(self, first: Rows, second: Rows) -> Iterator[tuple[str, Interval]]:
        """Every measure of one method minus that of another for the same pictures, from their rows."""
        for name in (name for name in first if name in second):
            apart = first[name].mean(1) - second[name].mean(1)
            yield name, measures.student_interval(apart[~np.isnan(apart)])

    def more_scores(self, made: Features) -> Iterator[Score]:
        """IS in ten parts, as the field has it, and FD and FAD at infinite n where clips are few for the backbone."""
        if len(made.logits) >= IS_PARTS:
            parts = np.stack([measures.inception_score(logits, IS_PARTS) for logits in made.logits.swapaxes(0, 1)])
            interval = measures.student_interval(parts.mean(0))._replace(n=len(made.logits))
            yield self._score(f"IS in {IS_PARTS} parts", interval, parts.mean(1), "Student's t, over the parts")
        few = self.few(made) if len(made.logits) >= LINE_FROM else {}
        for name, (first, second) in few.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that they are few is what this is for
                each = np.array([measures.infinite_frechet_distance(own, second) for own in first.swapaxes(0, 1)])
            yield self._score(f"{name} at infinite n", Interval(*each[:, :3].mean(0), len(second)), each[:, 0],
                              "jackknife, 10 groups of clips")

    def few(self, made: Features) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Rows (n, seeds, ...) and (n, ...) of the distances for which there are too few."""
        clouds = {}
        if self.truth is None:
            return {}
        if measures.few_rows(min(self.moments.n, len(made.features)), len(self.moments.mean)):
            clouds["FD"] = made.features, self.truth.features
        frames = sum(map(len, made.frames[:, 0])) if "framewise" in self.models else 0
        if frames and measures.few_rows(min(self.frame_moments.n, frames), len(self.frame_moments.mean)):
            clouds["FAD"] = made.frames, self.truth.frames
        return clouds

    def _score(self, name: str, interval: Interval, by_seed: np.ndarray, by: str) -> Score:
        model = self.models[MODEL_OF.get(name, "tagger")]
        return Score(name, interval, by_seed, model.backbone, model.sample_rate, by)

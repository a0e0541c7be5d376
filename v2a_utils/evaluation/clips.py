"""Clips of any data set as the evaluation sees them: embeddings, files of sounds, and the measures of these files."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json
from v2a_utils.data.pairs import Pairs
from v2a_utils.evaluation.features import Features, stack_clips, stack_seeds
from v2a_utils.evaluation.scorer import Score, Scorer
from v2a_utils.evaluation.scoring import Extractor
from v2a_utils.metrics.sounds import Interval
from v2a_utils.models.backbones import right_classes
from v2a_utils.stacks.stack import Stack


@dataclass(frozen=True)
class Clips:
    """Embedded clips of one split; `methods.conditions` makes the generator's conditions of them.

    visual (n, d) and audio (n, d), unit norm; audio is None for pictures without sounds. `learned` gives the pairs that
    closed-form maps are fitted to.
    """

    stack: Stack
    ids: list[str]
    labels: np.ndarray  # (n,) str or None
    visual: np.ndarray
    audio: np.ndarray | None
    learned: Callable[[], Pairs]

    def pairs(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of at most `number` training pairs."""
        visual, audio = self.learned().train
        return visual[:number], audio[:number]

    def first(self, number: int) -> "Clips":
        """At most `number` of the clips, the first ones."""
        audio = None if self.audio is None else self.audio[:number]
        return replace(self, ids=self.ids[:number], labels=self.labels[:number], visual=self.visual[:number],
                       audio=audio)

    @property
    def sha256(self) -> str:
        """SHA-256 of the embeddings."""
        parts = (one.tobytes() for one in (self.visual, self.audio) if one is not None)
        return hashlib.sha256(b"".join(parts)).hexdigest()


def file_features(extractor: Extractor, paths: list[Path], clips: int) -> Features:
    """Features (clips, seeds, ...) of sound files, listed seed by seed.

    ValueError for one that cannot be read.
    """
    rows = [extractor(path) for path in tqdm(paths, "features", unit="sound")]
    if None in rows:
        raise ValueError(next(iter(extractor.notes.values())))
    return stack_seeds([stack_clips(rows[start : start + clips]) for start in range(0, len(rows), clips)])


class ClipsScorer(Scorer):
    """The measures of sounds made for clips; numbers that cost a bootstrap are kept in the folder `cache`.

    truth: features of the true sounds (n, ...), None where there are none.
    """

    def __init__(self, extractor: Extractor, clips: Clips, truth: Features | None, draws: int, cache: Path):
        names = extractor.models["tagger"].names
        right = [right_classes([label] if label else [], names) for label in clips.labels]
        super().__init__(extractor.models, truth, clips.visual, right, draws)
        self.labels, self.cache = np.array([label or "" for label in clips.labels]), cache
        models = [f"{model.backbone} {model.sample_rate}" for model in self.models.values()]
        self.key = f"{clips.sha256} {truth and truth.digest} {draws} {sorted(map(sorted, right))} {models}"

    def attributes(self, made: Features) -> Iterator:
        """Nothing: what the pictures say of their sounds is not known."""
        return iter(())

    def scores(self, made: Features) -> Iterator[Score]:
        """Every measure of sounds (n, seeds, ...)."""
        def rows() -> list:
            scores = super(ClipsScorer, self).scores(made)
            return [[one.measure, one.interval, one.by_seed.tolist(), *one[3:]] for one in scores]

        for measure, interval, by_seed, *backbone in self._cached(made.digest, rows):
            yield Score(measure, Interval(*interval), np.array(by_seed), *backbone)

    def differences(self, first: Features, second: Features) -> Iterator[tuple[str, Interval]]:
        """Every measure of one method minus that of another for the same pictures."""
        rows = self._cached(f"{first.digest} {second.digest}", lambda: list(
            super(ClipsScorer, self).differences(first, second)))
        return ((measure, Interval(*interval)) for measure, interval in rows)

    def _cached(self, what: str, rows: Callable[[], list]) -> list:
        path = self.cache / f"{hashlib.sha256(f'{self.key} {what}'.encode()).hexdigest()[:24]}.json"
        if not path.is_file():
            write_json(path, rows())
        return json.loads(path.read_text())

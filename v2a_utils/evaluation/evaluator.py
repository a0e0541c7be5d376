"""The measures on SoundWorld, whose truth is known: beside the field's, attribute fidelity and coverage."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from soundworld import SAMPLE_RATE, other_take, synthesise

from v2a_utils.evaluation.attributes import attribute_fidelity, seen_attributes
from v2a_utils.evaluation.features import Features, extract
from v2a_utils.evaluation.generation import World
from v2a_utils.evaluation.methods import Sizes
from v2a_utils.evaluation.scorer import Score, Scorer
from v2a_utils.metrics.sounds import Moments, coverage, unit_norm
from v2a_utils.models.backbones import right_classes


class Evaluator(Scorer):
    """All measures of the sounds made for the pictures of one world, against its true sounds."""

    def __init__(self, world: World, sizes: Sizes):
        self.world, self.sizes, self.stack = world, sizes, world.stack
        models = {name: getattr(world.stack, name) for name in ("tagger", "framewise", "wav2clip")}
        right = [right_classes(scene.labels, models["tagger"].names) for scene in world.scenes]
        super().__init__(models, extract(world.stack, world.sounds, world.scenes), world.visual, right, sizes.draws)

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of the main thing of each picture, (n,)."""
        return np.array([scene.label for scene in self.world.scenes])

    @cached_property
    def reference(self) -> dict[str, Moments]:
        """Moments of many true sounds' features and frames, more than there are pictures."""
        features = self.truth
        if self.sizes.real > len(self.world.scenes):
            world = World(self.stack, self.world.split, self.sizes.real)
            features = extract(self.stack, world.sounds, world.scenes)
        return {"features": Moments([features.features]), "frames": Moments(features.frames)}

    @cached_property
    def takes(self) -> np.ndarray:
        """Features of further true sounds of the first pictures, (pictures, takes, d)."""
        scenes = self.world.scenes[: self.sizes.covered]
        sounds = [synthesise(other_take(scene, 1000 + take)) for scene in scenes for take in range(self.sizes.takes)]
        features = self.stack.tagger.features(sounds, SAMPLE_RATE)
        return unit_norm(features).reshape(len(scenes), self.sizes.takes, -1)

    def by_picture(self, made: Features) -> dict[str, np.ndarray]:
        """Diversity, and of the first pictures coverage of the sounds that each could have."""
        found = super().by_picture(made)
        if found:
            met = [coverage(true, one) for true, one in zip(self.takes, unit_norm(made.features))]
            found["coverage"] = np.array(met)
        return found

    def scores(self, made: Features) -> Iterator[Score]:
        """Every measure of sounds (n, seeds, ...), attribute fidelity among them."""
        yield from super().scores(made)
        for name, rows, measured, truth in self.attributes(made):
            classes = self.labels[rows]
            try:
                by_seed = [attribute_fidelity(measured[rows, seed], truth[rows], classes, draws=1).value
                           for seed in range(measured.shape[1])]
                interval = attribute_fidelity(measured[rows], truth[rows], classes, self.draws)
            except ValueError:  # too few pictures of any class
                continue
            yield Score(name, interval, np.array(by_seed), "signal", SAMPLE_RATE)

    def attributes(self, made: Features) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(measure, rows of pictures that it is defined for, measured (n, seeds), truth (n,))."""
        for column, (name, (rows, truth)) in enumerate(seen_attributes(self.world.scenes).items()):
            yield name, rows, made.attributes[..., column], truth

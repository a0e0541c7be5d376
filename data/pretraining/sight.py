"""How well a CLIP of drawings sees: the table that says whether new weights are better than the old ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from soundworld import CLASSES, Scene, Thing, draw, make_scene
from soundworld.captions import cielab, class_prompt
from soundworld.figures import body_colour
from tqdm.auto import tqdm

from v2a_utils.metrics.sounds import Interval, bootstrap, rate_interval
from v2a_utils.models.clip import VisionEncoder
from v2a_utils.stacks.places import MINI
from v2a_utils.stacks.stack import load_mini_clip

READ = 4000  # training pictures that the linear readers learn from
LEAST = 15  # pictures of a class from which its R2 of colour is computed


class Seen:
    """Embeddings (n, d) of a split's pictures with one kind of thing, and these things."""

    def __init__(self, encoder: VisionEncoder, split: str, count: int):
        scenes: list[Scene] = [make_scene(split, index) for index in range(count)]
        scenes = [scene for scene in scenes if len(scene.things) == 1]
        parts = [scenes[start : start + 250] for start in range(0, len(scenes), 250)]
        self.things: list[Thing] = [scene.things[0] for scene in scenes]
        self.embeddings = np.concatenate([encoder.embed_images([draw(scene) for scene in part])
                                          for part in tqdm(parts, f"look at {split}")])
        self.names = np.array([thing.name for thing in self.things])
        self.colours = cielab([body_colour(thing.name, thing.hue) for thing in self.things])

    def values(self, cause: str) -> np.ndarray:
        """A visible cause of every thing, (n,)."""
        return np.array([getattr(thing, cause) for thing in self.things])


def table(folder: Path = MINI, test: int = 2000, ood: int = 1000, read: int = READ) -> str:
    """What the CLIP in `folder` sees of the first pictures of test and ood, as Markdown, each number with its interval.

    Readers are linear and learn from the first `read` pictures of train; nothing here is used to choose weights by ood.
    """
    encoder = load_mini_clip(folder / "clip", "cpu")
    train, *splits = (Seen(encoder, split, count) for split, count in
                      (("train", read), ("test", test), ("ood", ood)))
    rows = {"class by a linear reader": _read_class(train), "class zero-shot": _zero_shot(encoder)}
    rows |= {f"rank correlation of {cause}": _rank(train, cause) for cause in ("size", "distance")}
    rows |= {"R2 of the drawn colour within classes, mean": _colour(train, np.mean),
             "the same, lowest class": _colour(train, np.min)}
    header = [f"| CLIP of {folder} | " + " | ".join(f"{name} (n = {len(seen.things)})" for name, seen in
                                                   zip(("test", "ood"), splits)) + " |", "|---|---|---|"]
    return "\n".join(header + [f"| {what} | " + " | ".join(str(measure(seen)) for seen in splits) + " |"
                               for what, measure in rows.items()])


def _read_class(train: Seen) -> Callable[[Seen], str]:
    reader = LogisticRegression(max_iter=2000, C=100).fit(train.embeddings, train.names)
    return lambda seen: rate_interval(reader.predict(seen.embeddings) == seen.names).percent()


def _zero_shot(encoder: VisionEncoder) -> Callable[[Seen], str]:
    prompts = encoder.embed_texts([class_prompt(name, "picture") for name in CLASSES])
    classes = np.array(CLASSES)
    return lambda seen: rate_interval(classes[(seen.embeddings @ prompts.T).argmax(1)] == seen.names).percent()


def _rank(train: Seen, cause: str) -> Callable[[Seen], str]:
    reader = _ridge().fit(train.embeddings, train.values(cause))
    return lambda seen: _told(bootstrap(lambda read, true: float(spearmanr(read, true).statistic),
                                        reader.predict(seen.embeddings), seen.values(cause)))


def _colour(train: Seen, over_classes: Callable) -> Callable[[Seen], str]:
    """R2 of Lab within each class by a reader of its own, averaged over L, a, b by their variance."""
    readers = {name: _ridge().fit(train.embeddings[train.names == name], train.colours[train.names == name])
               for name in CLASSES}

    def measure(seen: Seen) -> str:
        classes = [name for name in CLASSES if (seen.names == name).sum() >= LEAST]
        read = np.stack([readers[name].predict(row[None])[0] for name, row in zip(seen.names, seen.embeddings)])

        def score(read, true, names) -> float:
            present = [name for name in classes if (names == name).sum() > 1]  # a resample may lack one
            return float(over_classes([_r2(read[names == name], true[names == name]) for name in present]))

        return _told(bootstrap(score, read, seen.colours, seen.names))

    return measure


def _r2(read: np.ndarray, true: np.ndarray) -> float:
    return 1 - float(((true - read) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())


def _ridge() -> RidgeCV:
    return RidgeCV(alphas=np.logspace(-4, 2, 7))


def _told(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

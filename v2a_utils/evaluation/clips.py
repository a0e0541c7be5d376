"""Clips of any data set as the evaluation sees them, and what the generator is conditioned on for each of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from soundworld import Scene, make_scene, sound_caption
from torch import nn

from v2a_utils.data.sources import Source, WorldSource, soundworld
from v2a_utils.evaluation.settings import Method
from v2a_utils.mappers.closed_form import CLOSED_FORM
from v2a_utils.mappers.own import LEARNED
from v2a_utils.mappers.registry import mapper_folder, trained_mapper
from v2a_utils.pipeline import map_embeddings
from v2a_utils.stacks.extraction import world_store
from v2a_utils.stacks.stack import Stack

NOT_TRAINED = ("real", "true", "caption", "none", "nearest neighbour")  # to look up pairs is no training


@dataclass(frozen=True)
class Clips:
    """Embedded clips of one split; what belongs together has one place in all of its lists.

    visual (n, d) and audio (n, d), unit norm; audio is None for pictures without sounds. `learned` gives the pairs that
    closed-form maps are fitted to, (m, d) each.
    """

    stack: Stack
    ids: list[str]
    sources: list[Source]  # where the true sounds are
    visual: np.ndarray
    audio: np.ndarray | None
    learned: Callable[[], tuple[np.ndarray, np.ndarray]]

    def select(self, ids: list[str]) -> "Clips":
        """The clips of these ids, in their order. KeyError for one that is not there."""
        places = {name: place for place, name in enumerate(self.ids)}
        rows = [places[name] for name in ids]
        return replace(self, ids=list(ids), sources=[self.sources[row] for row in rows], visual=self.visual[rows],
                       audio=None if self.audio is None else self.audio[rows])

    @cached_property
    def scenes(self) -> list[Scene | None]:
        """The scenes of SoundWorld; None for any other clip."""
        return [make_scene(source.split, source.index, source.seed) if isinstance(source, WorldSource) else None
                for source in self.sources]

    @property
    def labels(self) -> list[list[str]]:
        """The classes that are right for each clip, the main one first."""
        return [list(scene.labels) if scene else [source.label] if source.label else []
                for source, scene in zip(self.sources, self.scenes)]

    def missing(self, method: Method) -> str | None:
        """Why a method cannot be run for these clips, in a sentence; None when it can."""
        if method.source == "caption" and None in self.scenes:
            return "only SoundWorld's pictures have captions that tell everything"
        try:
            if is_mapper(method):
                trained_mapper(self.stack, method.source)
        except ValueError as error:
            return str(error)
        return None

    def learned_by(self, method: Method) -> set[str]:
        """The ids of these clips that a method's mapper was trained on, as its folder names them."""
        path = mapper_folder(self.stack, method.source) / LEARNED
        return set(path.read_text().split("\n")) & set(self.ids) if is_mapper(method) and path.is_file() else set()

    def conditions(self, method: Method, seed: int) -> np.ndarray:
        """What the generator is conditioned on for every clip, (n, d)."""
        if method.source == "true":
            return self.audio
        if method.source == "caption":
            return self.stack.audio.embed_texts([sound_caption(scene) for scene in self.scenes])
        if method.source == "none":
            return map_embeddings(self.stack, self.visual, "none")
        if method.source in CLOSED_FORM:
            return CLOSED_FORM[method.source](*self.learned())(self.visual)
        return trained_mapper(self.stack, method.source).map(self.visual, seed=seed, **method.settings)


def world_clips(stack: Stack, split: str, count: int, learned: int = 0) -> Clips:
    """The first `count` scenes of a SoundWorld split; maps in closed form learn from `learned` pairs of split train."""
    def pairs() -> tuple[np.ndarray, np.ndarray]:
        store = world_store(stack, "train", learned)
        return store.numpy("visual")[:learned], store.numpy("audio")[:learned]

    sources = soundworld(split, count).sources
    store = world_store(stack, split, count)
    visual, audio = (np.array(store.numpy(column)[:count]) for column in ("visual", "audio"))
    return Clips(stack, [source.id for source in sources], sources, visual, audio, pairs)


def is_mapper(method: Method) -> bool:
    """Whether a method's conditions come from a trained mapper's folder."""
    return method.source not in (*NOT_TRAINED, *CLOSED_FORM)


def trained_parameters(stack: Stack, method: Method) -> int:
    """How many parameters of a method are trained to join the two spaces."""
    if method.source in NOT_TRAINED:
        return 0
    if method.source in CLOSED_FORM:
        return (stack.vision.embed_dim + 1) * stack.audio.embed_dim
    mapper = trained_mapper(stack, method.source)
    return sum(parameter.numel() for parameter in mapper.parameters()) if isinstance(mapper, nn.Module) else 0

"""The methods that are compared: where the generator's conditions come from, and how many are measured."""

from dataclasses import dataclass, field

import numpy as np
from soundworld import other_take, sound_caption, synthesise
from torch import nn

from v2a_utils.evaluation.generation import World
from v2a_utils.mappers.closed_form import CLOSED_FORM
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.pipeline import SoundOptions, map_embeddings
from v2a_utils.stacks.stack import Stack

NOT_TRAINED = ("real", "true", "caption", "none", "nearest neighbour")  # to look up pairs is no training


@dataclass(frozen=True)
class Method:
    """Where the generator's conditions come from, and how it is run. Groups other than "table" are sweeps."""

    source: str  # "real", "true", "caption", "none", a name of CLOSED_FORM, or the folder of a trained mapper
    settings: dict = field(default_factory=dict)  # of the mapper's map()
    steps: int = 5  # denoising steps of the generator: the sweep of steps shows what more would change
    guidance: float = 2.0  # of the generator
    group: str = "table"


METHODS = {
    "reference": Method("real"),  # the true sound of another take: as good as a sound for this picture can be
    "true CLAP embedding": Method("true"),  # of the true sound: what the generator loses, whatever the mapper
    "text caption": Method("caption"),  # CLAP's embedding of words that tell everything, even what cannot be seen
    "no mapper": Method("none"),
    "nearest neighbour": Method("nearest neighbour"),
    "closed form": Method("ridge"),
    "words": Method("words"),  # a bridge over texts, fitted without pairs of pictures and sounds
    "words, drawn": Method("words", {"form": "draw"}),  # a sample instead of the mean
    "regression": Method("regression"),
    "regression, deep": Method("regression_deep"),  # as many parameters as the diffusion mapper
    "diffusion": Method("diffusion"),
    "better mapper": Method("diffusion", {"draws": 4}),  # as near as a regression, as true as a draw: notebook 03
    **{f"{draws} draws": Method("diffusion", {"draws": draws}, group="draws") for draws in (2, 8, 16)},
    **{f"{steps} steps": Method("diffusion", steps=steps, group="steps") for steps in (2, 10, 20, 40)},
    **{f"guidance {scale:g}": Method("diffusion", guidance=scale, group="guidance") for scale in (1, 1.5, 3, 5)},
}
COMPARED = (  # methods whose difference is taken picture by picture, the first minus the second
    ("reference", "no mapper"), ("true CLAP embedding", "reference"), ("diffusion", "no mapper"),
    ("diffusion", "reference"), ("diffusion", "true CLAP embedding"), ("diffusion", "regression"),
    ("diffusion", "regression, deep"), ("diffusion", "nearest neighbour"), ("regression, deep", "regression"),
    ("regression, deep", "true CLAP embedding"), ("regression, deep", "nearest neighbour"),
    ("regression", "closed form"), ("regression", "no mapper"), ("better mapper", "diffusion"),
    ("better mapper", "regression, deep"), ("words", "no mapper"), ("words", "text caption"), ("words", "regression"),
    ("words, drawn", "words"), ("words", "diffusion"), ("regression", "reference"), ("regression, deep", "reference"),
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The defaults make some 10,000 sounds; data/results/run.json says how long that took."""

    pictures: int = 256  # of the test split
    seeds: int = 3
    ood: int = 96  # pictures in styles never seen in training
    sweep: int = 96  # pictures of a sweep, with one seed
    real: int = 512  # true sounds that FD and FAD compare with
    covered: int = 64  # pictures whose true conditional distribution is drawn
    takes: int = 16  # true sounds of each of them
    gap: int = 1000  # pictures whose mapped embeddings are compared with the true sounds
    pairs: int = 24_000  # training pairs of the maps in closed form: those that the mappers were trained on
    efficiency: tuple[int, ...] = (100, 400, 1600, 6400)  # training pairs of the data-efficiency curve
    draws: int = 200  # of a bootstrap
    steps: int | None = None  # denoising steps of every method; None leaves them as METHODS has them


QUICK = Sizes(pictures=6, seeds=2, ood=4, sweep=4, real=24, covered=3, takes=5, gap=64, pairs=64,
              efficiency=(32, 64), draws=10, steps=1)


def is_mapper(method: Method) -> bool:
    """Whether a method's conditions come from a trained mapper's folder."""
    return method.source not in (*NOT_TRAINED, *CLOSED_FORM)


def missing(stack: Stack, method: Method) -> str | None:
    """Why a method cannot be run with a stack, in a sentence; None when it can."""
    if not is_mapper(method):
        return None
    try:
        trained_mapper(stack, method.source)
    except ValueError as error:
        return str(error)
    return None


def conditions(world: World, method: Method, seed: int, sizes: Sizes) -> np.ndarray:
    """What the generator is conditioned on for every picture of a world, (n, d)."""
    stack = world.stack
    if method.source == "true":
        return world.audio
    if method.source == "caption":
        return stack.audio.embed_texts([sound_caption(scene) for scene in world.scenes])
    if method.source == "none":
        return map_embeddings(stack, world.visual, "none")
    if method.source in CLOSED_FORM:
        return CLOSED_FORM[method.source](*world.pairs(sizes.pairs))(world.visual)
    return trained_mapper(stack, method.source).map(world.visual, seed=seed, **method.settings)


def sound_options(method: Method, seed: int, steps: int | None = None) -> SoundOptions:
    """How a method's sounds are generated; `steps` instead of its own."""
    return SoundOptions(steps=steps or method.steps, guidance=method.guidance, candidates=1, seed=seed)


def make_sounds(world: World, name: str, seed: int, sizes: Sizes) -> tuple[np.ndarray, float]:
    """The sounds (n, samples) of a method for the pictures of a world, and the seconds a sound took to generate."""
    method = METHODS[name]
    if method.source == "real":
        return np.stack([synthesise(other_take(scene, seed)) for scene in world.scenes]), 0.0
    options = sound_options(method, seed, sizes.steps)
    return world.generate(f"{name}, seed {seed}", conditions(world, method, seed, sizes), options)


def trained_parameters(stack: Stack, method: Method) -> int:
    """How many parameters of a method are trained to join the two spaces."""
    source = method.source
    if source in NOT_TRAINED:
        return 0
    if source in CLOSED_FORM:
        return (stack.vision.embed_dim + 1) * stack.audio.embed_dim
    mapper = trained_mapper(stack, source)
    return sum(parameter.numel() for parameter in mapper.parameters()) if isinstance(mapper, nn.Module) else 0

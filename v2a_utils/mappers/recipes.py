"""How each mapper is built and trained: recipes for each stack, fitted to the number of pairs."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import nn

from v2a_utils.mappers.model import MAPPERS
from v2a_utils.mappers.training import TrainConfig

# with fewer, a regression on SoundWorld has a lower cosine with the true sounds than the bridge over words, which needs
# no pairs: data/results/pairs.csv, notebook 06
PAIRS_WORTH_TRAINING = 6400


@dataclass(frozen=True)
class Recipe:
    """How a mapper is built and trained. Saved as recipe.json beside the weights, which `read_recipe` reads."""

    mapper: str  # a kind of MAPPERS
    sizes: dict  # arguments of its class besides the two embedding sizes
    train: TrainConfig


PATIENCE = 5  # of the 20 validations, so many in a row without a new best stop an overfitting mapper
_MINI = {"width": 128, "depth": 3, "heads": 4, "head_dim": 32}  # 0.9 M parameters
_PAPER = {"width": 512, "depth": 12, "heads": 12, "head_dim": 64, "dropout": 0.05}  # 48.8 M
# DALLE2-pytorch's example configuration of its prior; the number of steps is ours
_PAPER_TRAINING = TrainConfig(50_000, 128, 1.1e-4, weight_decay=6.02e-2, warmup=50, grad_norm=0.5, ema=0.9999,
                              patience=PATIENCE)
_FEW = {"width": 256, "depth": 4, "heads": 4, "head_dim": 64, "dropout": 0.05}  # 4 M: a choice, not measured
_FEW_TRAINING = TrainConfig(6000, 256, 1e-3, weight_decay=6.02e-2, patience=PATIENCE)
RECIPES = {
    "mini": {
        "regression": Recipe("regression", {}, TrainConfig(8000, 256, 3e-3, patience=PATIENCE)),
        # as many parameters as the diffusion mapper, for a comparison of equals
        "regression_deep": Recipe("regression", {"depth": 3, "expansion": 10},
                                  TrainConfig(2000, 256, 1e-3, patience=PATIENCE)),  # more overfits 24,000 pairs
        "diffusion": Recipe("diffusion", _MINI, TrainConfig(6000, 256, 2e-3, patience=PATIENCE)),
        "flow": Recipe("flow", _MINI, TrainConfig(6000, 256, 2e-3, patience=PATIENCE)),
    },
    "paper": {
        "regression": Recipe("regression", {}, _PAPER_TRAINING),
        "diffusion": Recipe("diffusion", _PAPER, _PAPER_TRAINING),
        "flow": Recipe("flow", _PAPER, _PAPER_TRAINING),
    },
}


PAIRS = {"mini": 24_000, "paper": 199_176}  # what the recipes above were made for
FEW_PAIRS = 10_000  # with fewer, a smaller network replaces that of the paper's size
FEW_RECIPES = {"paper": {kind: Recipe(kind, {} if kind == "regression" else _FEW, _FEW_TRAINING) for kind in MAPPERS}}
LEAST_STEPS, LEAST_BATCH = 400, 16


def recipe_for(stack: str, mapper: str, pairs: int | None = None) -> Recipe:
    """The recipe of a mapper for a stack, by their names, and a number of pairs; ValueError for an unknown name.

    With fewer pairs than the recipe was made for, each is still seen as often: in fewer steps, but LEAST_STEPS or more,
    and in batches of at most half of the pairs, but LEAST_BATCH or more.
    """
    if stack not in RECIPES or mapper not in RECIPES[stack]:
        raise ValueError(f"stack {stack} has no recipe for {mapper}: use {', '.join(MAPPERS)} and {', '.join(RECIPES)}")
    recipe, made_for = RECIPES[stack][mapper], PAIRS[stack]
    if pairs is None or pairs >= made_for:
        return recipe
    if pairs < FEW_PAIRS and stack in FEW_RECIPES:
        recipe, made_for = FEW_RECIPES[stack][mapper], PAIRS["mini"]
    train = recipe.train
    steps = min(max(round(train.steps * pairs / made_for), LEAST_STEPS), train.steps)
    batch = min(max(pairs // 2, LEAST_BATCH), train.batch_size)
    ema = min(train.ema, 1 - 5 / steps)  # averaged over a fifth of the run at most
    return replace(recipe, train=replace(train, steps=steps, batch_size=batch, ema=ema,
                                         warmup=min(train.warmup, steps // 10)))


def read_recipe(path: Path, base: Recipe) -> Recipe:
    """`base` with the changes in a JSON file: {"sizes": {...}, "train": {...}}, both optional and partial."""
    try:
        given = json.loads(Path(path).read_text())
        mapper = given.pop("mapper", base.mapper)
        sizes, train = (dict(given.pop(name, {})) for name in ("sizes", "train"))
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file with sizes and train ({error})") from error
    if mapper != base.mapper:
        raise ValueError(f"{path}: is for the {mapper} mapper, not {base.mapper}")
    if unknown := set(given) | (set(train) - {field.name for field in fields(TrainConfig)}):
        names = ", ".join(field.name for field in fields(TrainConfig))
        raise ValueError(f"{path}: unknown {', '.join(sorted(unknown))}; sizes and train are known, in train {names}")
    if "betas" in train:
        train["betas"] = tuple(train["betas"])  # JSON has lists only
    return replace(base, sizes=base.sizes | sizes, train=replace(base.train, **train))


def build(recipe: Recipe, visual_dim: int, audio_dim: int) -> nn.Module:
    """A recipe's untrained mapper, initialised by its seed. ValueError for a size that the class does not know."""
    torch.manual_seed(recipe.train.seed)
    try:
        return MAPPERS[recipe.mapper](visual_dim, audio_dim, **recipe.sizes)
    except TypeError as error:
        raise ValueError(f"the sizes {recipe.sizes} do not fit a {recipe.mapper} mapper ({error})") from error

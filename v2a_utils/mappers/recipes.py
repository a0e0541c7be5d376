"""How each mapper is built and trained for each stack, and the training of one from a table of pairs."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json
from v2a_utils.data.pairs import load_pairs
from v2a_utils.mappers.folders import save_mapper
from v2a_utils.mappers.networks import MAPPERS, train_mapper
from v2a_utils.mappers.training import TrainConfig, is_main_process
from v2a_utils.measures import gap


@dataclass(frozen=True)
class Recipe:
    """How a mapper is built and trained. Saved as recipe.json beside the weights, which `read_recipe` reads."""

    mapper: str  # a kind of MAPPERS
    sizes: dict  # arguments of its class besides the two embedding sizes
    train: TrainConfig


_MINI = {"width": 128, "depth": 3, "heads": 4, "head_dim": 32}  # 0.9 M parameters
_PAPER = {"width": 512, "depth": 12, "heads": 12, "head_dim": 64, "dropout": 0.05}  # 48.8 M
# DALLE2-pytorch's example configuration of its prior; the number of steps is ours
_PAPER_TRAINING = TrainConfig(50_000, 128, 1.1e-4, weight_decay=6.02e-2, warmup=50, grad_norm=0.5, ema=0.9999)
RECIPES = {
    "mini": {
        "regression": Recipe("regression", {}, TrainConfig(8000, 256, 3e-3)),
        # as many parameters as the diffusion mapper: what a regression does when it is not the smaller network
        "regression_deep": Recipe("regression", {"depth": 3, "expansion": 10}, TrainConfig(6000, 256, 1e-3)),
        "diffusion": Recipe("diffusion", _MINI, TrainConfig(6000, 256, 2e-3)),
        "flow": Recipe("flow", _MINI, TrainConfig(6000, 256, 2e-3)),
    },
    "paper": {
        "regression": Recipe("regression", {}, _PAPER_TRAINING),
        "diffusion": Recipe("diffusion", _PAPER, _PAPER_TRAINING),
        "flow": Recipe("flow", _PAPER, _PAPER_TRAINING),
    },
}


def recipe_for(stack: str, mapper: str) -> Recipe:
    """The recipe of a mapper for a stack, by their names; ValueError for an unknown one."""
    if stack not in RECIPES or mapper not in RECIPES[stack]:
        raise ValueError(f"no recipe for the {mapper} mapper of the stack {stack}: use {', '.join(MAPPERS)} and "
                         f"{', '.join(RECIPES)}")
    return RECIPES[stack][mapper]


def read_recipe(path: Path, base: Recipe) -> Recipe:
    """`base` with what a JSON file says instead: {"sizes": {...}, "train": {...}}, each as full or short as wanted."""
    try:
        given = json.loads(Path(path).read_text())
        mapper, sizes, train = given.pop("mapper", base.mapper), *(dict(given.pop(n, {})) for n in ("sizes", "train"))
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
    """The untrained mapper of a recipe, a function of its seed. ValueError for a size that its class does not know."""
    torch.manual_seed(recipe.train.seed)
    try:
        return MAPPERS[recipe.mapper](visual_dim, audio_dim, **recipe.sizes)
    except TypeError as error:
        raise ValueError(f"the sizes {recipe.sizes} do not fit a {recipe.mapper} mapper ({error})") from error


def train_from_store(
    store: Path, recipe: Recipe, out: Path, device: str = "cpu",
    watch: Callable[[nn.Module, list[float]], None] | None = None,
) -> nn.Module:
    """Train a mapper on the split `train` of a table of pairs, judging it on `val` as it learns; returns it.

    Writes config.json, model.safetensors, recipe.json and validation.json into `out`; checkpoint.pt there is where a
    killed run goes on. `watch(mapper, losses)` is called after every validation.
    """
    visual, audio = load_pairs(store, "train")
    held_out = load_pairs(store, "val")
    mapper, history = build(recipe, visual.shape[1], audio.shape[1]), []

    def judge(averaged: nn.Module, losses: list[float]) -> None:
        history.append({"step": len(losses), "loss": float(np.mean(losses[-100:]))} | validate(averaged, *held_out))
        tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in history[-1].items()))
        if watch is not None:
            watch(averaged, losses)

    train_mapper(mapper, visual, audio, recipe.train, out / "checkpoint.pt", device, judge)
    if is_main_process():
        save_mapper(mapper, out)
        write_json(out / "recipe.json", asdict(recipe))
        write_json(out / "validation.json", {"pairs": len(held_out[0]), "history": history})
    return mapper


def validate(mapper: nn.Module, visual: np.ndarray, audio: np.ndarray) -> dict[str, float]:
    """How near mapped embeddings come to the true ones of held-out pairs, and how near the two clouds lie."""
    mapped = mapper.map(visual)
    return {
        "cosine": float(gap.pair_cosines(mapped, audio).mean()),
        "recall@10": gap.recall(gap.retrieval_ranks(mapped, audio)),
        "Fréchet distance": gap.frechet_distance(mapped, audio),
        "centroid distance": gap.centroid_distance(mapped, audio),
    }

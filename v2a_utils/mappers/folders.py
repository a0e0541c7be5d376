"""A trained mapper's folder: written, read, and found by its kind."""

import json
from pathlib import Path

from torch import nn

from v2a_utils.data.files import write_json
from v2a_utils.mappers.networks import MAPPERS
from v2a_utils.models.stacks import Stack
from v2a_utils.models.weights import load_weights, save_weights


def save_mapper(mapper: nn.Module, folder: Path) -> None:
    """Write config.json and model.safetensors, as `load_mapper` reads them."""
    save_weights(mapper, folder / "model.safetensors")
    write_json(folder / "config.json", {"kind": mapper.kind} | mapper.config)


def load_mapper(folder: Path, device: str = "cpu") -> nn.Module:
    """A trained mapper from a folder with config.json and model.safetensors."""
    config = json.loads((Path(folder) / "config.json").read_text())
    mapper = MAPPERS[config.pop("kind")](**config)
    load_weights(mapper, Path(folder) / "model.safetensors")
    return mapper.to(device).eval()


def mapper_folder(stack: Stack, which: str | Path) -> Path:
    """Where a trained mapper lies, or would: the folder of its kind beside a stack, or the folder `which` itself."""
    return stack.config.extras / "mappers" / which if str(which) in MAPPERS else Path(which)


def has_mapper(stack: Stack, which: str | Path) -> bool:
    """Whether a trained mapper, by its kind or its folder, is there."""
    return (mapper_folder(stack, which) / "config.json").is_file()


def trained_mapper(stack: Stack, which: str | Path) -> nn.Module:
    """A trained mapper: of a kind ("regression", "diffusion" or "flow") that lies with a stack, or of a folder."""
    folder = mapper_folder(stack, which)
    if not has_mapper(stack, which):
        raise ValueError(f"{folder}: no trained mapper for the {stack.name} stack there; `python -m v2a_utils train` "
                         "makes one, and the mapper words needs none")
    return load_mapper(folder, stack.device)

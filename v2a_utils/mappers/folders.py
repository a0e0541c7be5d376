"""A trained mapper's folder: written, read, and found by its kind."""

import json
from pathlib import Path

from torch import nn

from v2a_utils.data.files import write_json
from v2a_utils.mappers.networks import MAPPERS
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.models.stacks import Stack
from v2a_utils.models.weights import load_weights, save_weights


def save_mapper(mapper: nn.Module, folder: Path) -> None:
    """Write config.json and model.safetensors, as `load_mapper` reads them."""
    save_weights(mapper, folder / "model.safetensors")
    write_json(folder / "config.json", {"kind": mapper.kind} | mapper.config)


def load_mapper(folder: Path, device: str = "cpu") -> nn.Module:
    """A trained mapper from a folder with config.json and model.safetensors."""
    config = json.loads((Path(folder) / "config.json").read_text())
    kind = config.pop("kind")
    mapper = (WordsBridge if kind == WordsBridge.kind else MAPPERS[kind])(**config)
    load_weights(mapper, Path(folder) / "model.safetensors")
    return mapper.to(device).eval()


def trained_mapper(stack: Stack, kind: str) -> nn.Module:
    """The trained mapper of a kind ("regression", "diffusion" or "flow") that lies with a stack, or "words"."""
    if kind == WordsBridge.kind:
        from v2a_utils.mappers.bridge import words_bridge  # which reads folders itself

        return words_bridge(stack)
    folder = stack.place("extras") / "mappers" / kind
    if not folder.is_dir():
        raise ValueError(f"{folder}: no trained {kind} mapper for the {stack.name} stack")
    return load_mapper(folder, stack.device)

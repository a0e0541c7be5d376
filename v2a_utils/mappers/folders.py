"""A trained mapper's folder: written, read, and found by its kind or its path."""

import json
from pathlib import Path

from torch import nn

from v2a_utils.data.files import write_json
from v2a_utils.mappers.networks import MAPPERS
from v2a_utils.models.familiarity import Familiarity
from v2a_utils.models.stacks import Stack
from v2a_utils.models.weights import load_weights, save_weights, state_sha256

ENCODER_SUMS = {"clip_sha256": "vision", "clap_sha256": "audio"}  # in config.json -> part of a stack


def save_mapper(mapper: nn.Module, folder: Path, sums: dict[str, str] | None = None) -> None:
    """Write model.safetensors and config.json, as `load_mapper` reads them.

    `sums` are the SHA-256 of the encoders that the mapper joins, by the names of ENCODER_SUMS.
    """
    save_weights(mapper, folder / "model.safetensors")
    write_json(folder / "config.json", {"kind": mapper.kind} | mapper.config | (sums or {}))


def load_mapper(folder: Path, device: str = "cpu") -> nn.Module:
    """A trained mapper from a folder with config.json and model.safetensors; ValueError says what is wrong with it."""
    config = {name: value for name, value in read_config(folder).items() if name not in ENCODER_SUMS}
    try:
        mapper = MAPPERS[config.pop("kind")](**config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{Path(folder) / 'config.json'}: describes no mapper that is known ({error})") from error
    load_weights(mapper, Path(folder) / "model.safetensors")
    return mapper.to(device).eval()


def read_config(folder: Path) -> dict:
    """A mapper folder's config.json; ValueError in one sentence where there is none that can be read."""
    path = Path(folder) / "config.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a trained mapper's configuration ({error})") from error


def mapper_folder(stack: Stack, which: str) -> Path:
    """Where a mapper lies: with the stack for a kind ("regression", "diffusion" or "flow"), else at the path given."""
    if which in MAPPERS:
        return Path(stack.config.extras or "") / "mappers" / which
    return Path(which)


def has_mapper(stack: Stack, which: str) -> bool:
    """Whether a mapper is there, by its kind or its folder; nothing is loaded."""
    return (mapper_folder(stack, which) / "config.json").is_file()


def trained_mapper(stack: Stack, which: str) -> nn.Module:
    """The trained mapper of a kind that lies with a stack, or of somebody's own folder; loaded once for each stack.

    ValueError when there is none, or when it was trained on other encoders than the stack's. CLAP is compared only
    where it has been loaded for something else.
    """
    folder, loaded = mapper_folder(stack, which), vars(stack).setdefault("mappers", {})
    if not has_mapper(stack, which):
        what = f"no trained {which} mapper for the {stack.name} stack" if which in MAPPERS else "no trained mapper there"
        raise ValueError(f"{folder}: {what}; train one with `python -m v2a_utils train`")
    if folder not in loaded:
        mapper = load_mapper(folder, stack.device)
        mapper.joins = {name: value for name, value in read_config(folder).items() if name in ENCODER_SUMS}
        loaded[folder] = mapper
    _check_encoders(stack, folder, loaded[folder].joins)
    return loaded[folder]


def _check_encoders(stack: Stack, folder: Path, joins: dict[str, str]) -> None:
    sums = vars(stack).setdefault("encoder_sums", {})
    for name, wanted in joins.items():
        part = ENCODER_SUMS[name]
        if part == "vision" or part in vars(stack):
            if name not in sums:
                sums[name] = state_sha256(getattr(stack, part).model)
            if sums[name] != wanted:
                raise ValueError(f"{folder}: this mapper was trained on another {name[:4].upper()} than that of the "
                                 f"{stack.name} stack; use the stack that embedded its clips, or train a mapper on this")


def mapper_familiarity(stack: Stack, which: str) -> Familiarity | None:
    """Which pictures are like those that a mapper was trained on: its own knowledge, else the stack's, else None."""
    for folder in (mapper_folder(stack, which), stack.config.extras):
        if folder is not None and (path := Path(folder) / "familiarity.safetensors").is_file():
            return Familiarity.load(path)
    return None

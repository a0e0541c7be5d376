"""Weights on disk: safetensors only, half precision in files."""

import hashlib
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from v2a_utils.data.files import whole_file, write_file


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write a module's state as float16 safetensors."""
    halves = {name: value.half() if value.is_floating_point() else value for name, value in module.state_dict().items()}
    write_tensors(path, {name: value.contiguous().cpu() for name, value in halves.items()})


def write_tensors(path: str | Path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None = None) -> None:
    """Write tensors by name, and texts about them, as safetensors."""
    write_file(path, save(tensors, about))  # whose own errors say why, say that the disk is full


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load safetensors into a module, strictly. ValueError names a file that is missing or does not fit."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: weights are missing")
    try:
        module.load_state_dict({name: value.float() if value.is_floating_point() else value
                                for name, value in load_file(path).items()})
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or not safetensors ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the model ({error})") from error


# NumPy's numbers, which trainers leave beside the weights: as harmless as tensors
_NUMBERS = [np.core.multiarray._reconstruct, np.core.multiarray.scalar, np.ndarray, np.dtype,
            *(type(np.dtype(kind)) for kind in ["f4", "f8", "i4", "i8"])]


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a published torch checkpoint, of its "state_dict" or "model" if it has one, on disk until used.

    Nothing that the file holds is executed (`weights_only`). ValueError names a file that holds more than weights.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            content = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
        weights = content.get("state_dict", content.get("model", content))
        return {name: value for name, value in weights.items() if torch.is_tensor(value)}
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).split("WeightsUnpickler error: ")[-1].splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint of weights alone ({reason}); if you trust it, load it where it was "
                         "made and save its state_dict by itself") from error


def refuse_script(path: Path) -> None:
    """ValueError for a TorchScript archive, in which OpenAI publishes CLIP: it holds a program beside its weights."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in name for name in archive.namelist()):
                raise ValueError("a TorchScript archive, whose program is not run here; `fetch --for sound` gets the "
                                 "same weights as safetensors")


def without_gaps(loaded: tuple) -> nn.Module:
    """The model that a library's `from_pretrained(..., output_loading_info=True)` returned, if all weights were there.

    ValueError if not: the libraries fill gaps with random numbers, and no more than log it.
    """
    model, info = loaded
    gaps = sorted(map(str, {*info["missing_keys"], *info.get("mismatched_keys", ())}))
    if gaps:
        raise ValueError(f"{len(gaps)} of its weights are missing or have another shape, {gaps[0]} first")
    return model


def state_sha256(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's state: the same for the same weights from any file."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a training's state so that a kill at any moment leaves a whole file."""
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)

"""The two stacks, what they are made of, and how they are loaded. The only file that knows them by name.

A stack is a vision encoder (CLIP), an audio encoder (CLAP) and a sound generator (AudioLDM) that belong together.
`mini` is embedded in data/mini; `paper` is given as local folders. Both are built by the same classes.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from v2a_utils.audio import AudioEncoder
from v2a_utils.generation import Generator
from v2a_utils.listeners import load_listener
from v2a_utils.mappers import load_mapper
from v2a_utils.tagger import Listener
from v2a_utils.vision import VisionEncoder
from v2a_utils.weights import check_sums

MINI = Path(__file__).parent.parent / "data" / "mini"
MINI_CLIP = "v2a-mini-clip"  # the name under which open_clip gets to know the mini CLIP


@dataclass(frozen=True)
class StackConfig:
    """Where the parts of a stack lie and what they are called. Folders that are None have not been given."""

    name: str
    clip_name: str  # open_clip's model name
    clip: str | Path | None  # folder with open_clip_config.json, or a checkpoint file of a model open_clip knows
    clap: Path | None  # folder with config.json, model.safetensors, tokenizer
    audioldm: Path | None  # folder as diffusers saves a pipeline, with null_embedding.safetensors
    extras: Path | None  # folder with mappers/, familiarity.safetensors and the listeners' folders
    checked: bool  # a SHA256SUMS lies in `extras` and is checked
    framewise: str = "vggish"  # folder in `extras` of the listener whose frames FAD compares


def _given(variable: str) -> Path | None:
    return Path(os.environ[variable]).expanduser() if os.environ.get(variable) else None


def stack_config(name: str) -> StackConfig:
    """The configuration of a stack by name; ValueError for an unknown one."""
    if name == "mini":
        return StackConfig("mini", MINI_CLIP, MINI / "clip", MINI / "clap", MINI / "audioldm", MINI, True,
                           "wav2clip")
    if name == "paper":
        return StackConfig("paper", "ViT-B-32-quickgelu", _given("V2A_CLIP"), _given("V2A_CLAP"),
                           _given("V2A_AUDIOLDM"), _given("V2A_EXTRAS"), False)
    raise ValueError(f"unknown stack {name!r}: use mini or paper")


class Stack:
    """The parts of a stack, each loaded when it is first asked for."""

    def __init__(self, config: StackConfig, device: str | None = None):
        self.config = config
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if config.checked:
            check_sums(config.extras)

    @property
    def name(self) -> str:
        return self.config.name

    def _folder(self, part: str) -> Path:
        folder = getattr(self.config, part)
        if folder is None or not Path(folder).exists():
            raise ValueError(
                f"the {self.name} stack needs its {part} weights: set V2A_{part.upper()} to their local path "
                f"(now {folder or 'not set'}), or use the stack mini, which is embedded"
            )
        return Path(folder)

    @cached_property
    def vision(self) -> VisionEncoder:
        folder = self._folder("clip")
        if folder.is_file():
            return VisionEncoder.load(self.config.clip_name, str(folder), device=self.device)
        return load_mini_clip(folder, self.device)

    @cached_property
    def audio(self) -> AudioEncoder:
        return AudioEncoder.load(self._folder("clap"), self.device)

    @cached_property
    def generator(self) -> Generator:
        return Generator.load(self._folder("audioldm"), self.device)

    @cached_property
    def tagger(self) -> Listener:
        return load_listener(self._folder("extras") / "tagger", self.device)

    @cached_property
    def wav2clip(self) -> Listener:
        return load_listener(self._folder("extras") / "wav2clip", self.device)

    @cached_property
    def framewise(self) -> Listener:
        return load_listener(self._folder("extras") / self.config.framewise, self.device)

    @cached_property
    def familiarity(self) -> "Familiarity":
        return Familiarity.load(self._folder("extras") / "familiarity.safetensors")

    def mapper(self, kind: str):
        """The trained mapper of a kind ("regression", "diffusion" or "flow")."""
        folder = self._folder("extras") / "mappers" / kind
        if not folder.is_dir():
            raise ValueError(f"{folder}: no trained {kind} mapper for the {self.name} stack")
        return load_mapper(folder, self.device)


def load_mini_clip(folder: Path, device: str = "cpu") -> VisionEncoder:
    """A CLIP of our own from a folder with its open_clip config, weights and byte-pair vocabulary."""
    return VisionEncoder.load(
        MINI_CLIP, str(folder / "open_clip_model.safetensors"), folder / f"{MINI_CLIP}.json",
        folder / "bpe_vocab.txt.gz", device,
    )


class Familiarity:
    """How much a picture is like those the stack was trained on: Mahalanobis distance of its CLIP embedding."""

    def __init__(self, mean: np.ndarray, precision: np.ndarray, limit: float):
        self.mean, self.precision, self.limit = mean, precision, limit

    @classmethod
    def fit(cls, train: np.ndarray, val: np.ndarray, share: float = 0.99) -> "Familiarity":
        """From embeddings (n, d); `share` of the validation pictures count as familiar."""
        centred = train - train.mean(0)
        precision = np.linalg.inv(centred.T @ centred / len(train) + 1e-4 * np.eye(train.shape[1]))
        model = cls(train.mean(0), precision, 0.0)
        model.limit = float(np.quantile(model.distance(val), share))
        return model

    def save(self, path: Path) -> None:
        values = {"mean": self.mean, "precision": self.precision, "limit": np.array([self.limit])}
        save_file({name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "Familiarity":
        stored = load_file(path)
        return cls(stored["mean"].numpy(), stored["precision"].numpy(), float(stored["limit"]))

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,), 0 at the centre of the training pictures."""
        away = embeddings - self.mean
        return np.sqrt(np.einsum("nd,de,ne->n", away, self.precision, away))

    def is_strange(self, embedding: np.ndarray) -> bool:
        return bool(self.distance(embedding[None])[0] > self.limit)


def load_stack(name: str | None = None, device: str | None = None) -> Stack:
    """The stack by name, or of the variable V2A_STACK, or mini; on the GPU if there is one."""
    return Stack(stack_config(name or os.environ.get("V2A_STACK", "mini")), device)

"""The two stacks, what they are made of, and how they are loaded. The only file that knows them by name.

A stack is a vision encoder (CLIP), an audio encoder (CLAP) and a sound generator (AudioLDM) that belong together.
`mini` is embedded in data/mini. The parts of `paper` are named by V2A_CLIP, V2A_CLAP, V2A_AUDIOLDM, V2A_EXTRAS and
V2A_CACHE, or by `clip = "..."` and so on in the TOML file that V2A_PATHS names; what of them is on the hub is fetched
when it is not given. Both are built by the same classes.
"""

import os
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from v2a_utils.models import downloads
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.clap import AudioEncoder
from v2a_utils.models.clap_checkpoint import load_clap, read_null
from v2a_utils.models.clip import VisionEncoder
from v2a_utils.models.familiarity import Familiarity
from v2a_utils.models.listeners import load_listener
from v2a_utils.models.tagger import Listener
from v2a_utils.models.weights import check_sums

MINI = Path(__file__).parents[2] / "data" / "mini"
MINI_CLIP = "v2a-mini-clip"  # the name under which open_clip gets to know the mini CLIP
HUB_CACHE = Path("~/.cache/v2a").expanduser()
PLACES = ("clip", "clap", "audioldm", "extras", "cache")


@dataclass(frozen=True)
class StackConfig:
    """Where the parts of a stack lie and what they are called. Places that are None have not been given."""

    name: str
    clip_name: str  # open_clip's model name
    clip: Path | None  # folder with open_clip's config and weights, or a checkpoint file of `clip_name`
    clap: Path | None  # folder with config.json, model.safetensors, tokenizer; or somebody's checkpoint file
    audioldm: Path | None  # folder as diffusers saves a pipeline
    extras: Path | None  # folder with mappers/, familiarity.safetensors and the listeners' folders
    checked: bool  # a SHA256SUMS lies in `extras` and is checked
    sources: dict[str, downloads.HubModel] = field(default_factory=dict)  # where parts that are not given come from
    cache: Path = HUB_CACHE  # what came from there
    clip_seconds: float | None = None  # of a sound; None: what the UNet's configuration says
    framewise: str = "vggish"  # folder in `extras` of the listener whose frames FAD compares


def _places() -> dict[str, Path]:
    """What the environment and the TOML file of V2A_PATHS name; the environment has the last word."""
    found = {}
    if file := os.environ.get("V2A_PATHS"):
        try:
            given = tomllib.loads(Path(file).expanduser().read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: not a TOML file that can be read ({error})") from error
        if unknown := set(given) - set(PLACES):
            raise ValueError(f"{file}: unknown {', '.join(sorted(unknown))}; it can name {', '.join(PLACES)}")
        found = {name: Path(file).expanduser().parent / Path(path).expanduser() for name, path in given.items()}
    named = {name: os.environ.get(f"V2A_{name.upper()}") for name in PLACES}
    return found | {name: Path(path).expanduser() for name, path in named.items() if path}


def stack_config(name: str) -> StackConfig:
    """The configuration of a stack by name; ValueError for an unknown one."""
    if name == "mini":
        return StackConfig("mini", MINI_CLIP, MINI / "clip", MINI / "clap", MINI / "audioldm", MINI, True,
                           framewise="wav2clip")
    if name == "paper":
        given = _places()
        cache = given.get("cache", HUB_CACHE)
        return StackConfig(
            "paper", "ViT-B-32-quickgelu", given.get("clip"), given.get("clap"), given.get("audioldm"),
            given.get("extras", cache / "extras"), False, {"clip": downloads.CLIP, "audioldm": downloads.AUDIOLDM}, cache,
            clip_seconds=10.0,  # diffusers' configuration says 5.12, but AudioLDM and the paper make 10
        )
    raise ValueError(f"unknown stack {name!r}: use mini or paper")


def best_device() -> str:
    """The GPU if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Stack:
    """The parts of a stack, each loaded when it is first asked for."""

    def __init__(self, config: StackConfig, device: str | None = None):
        self.config = config
        self.device = device or best_device()
        self.kept: dict = {}  # what others made of the parts and want to make only once: mappers, bridges
        if config.checked:
            check_sums(config.extras)

    @property
    def name(self) -> str:
        return self.config.name

    def place(self, part: str) -> Path:
        """Where a part lies, after it was fetched if need be."""
        place, variable = getattr(self.config, part), f"V2A_{part.upper()}"
        if place is None and part in self.config.sources:
            return downloads.fetch(self.config.sources[part], self.config.cache / part, variable)
        if place is None or not place.exists():
            raise ValueError(
                f"the {self.name} stack needs its {part} weights: set {variable} to their local path "
                f"(now {place or 'not set'}), or use the stack mini, which is embedded"
            )
        return place

    @cached_property
    def vision(self) -> VisionEncoder:
        place = self.place("clip")
        if (place / f"{MINI_CLIP}.json").is_file():
            return load_mini_clip(place, self.device)
        return VisionEncoder.load_published(self.config.clip_name, place, self.device)

    @cached_property
    def audio(self) -> AudioEncoder:
        place = self.place("clap")
        if place.is_dir():
            return AudioEncoder.load(place, self.device)
        return load_clap(place, self.place("audioldm"), self.device)

    @cached_property
    def generator(self) -> Generator:
        folder = self.place("audioldm")
        return Generator.load(folder, read_null(folder, self.config.extras), self.device, self.config.clip_seconds)

    @cached_property
    def tagger(self) -> Listener:
        return load_listener(self.place("extras") / "tagger", self.device)

    @cached_property
    def wav2clip(self) -> Listener:
        return load_listener(self.place("extras") / "wav2clip", self.device)

    @cached_property
    def framewise(self) -> Listener:
        return load_listener(self.place("extras") / self.config.framewise, self.device)

    @cached_property
    def familiarity(self) -> Familiarity:
        return Familiarity.load(self.place("extras") / "familiarity.safetensors")


def load_mini_clip(folder: Path, device: str = "cpu") -> VisionEncoder:
    """A CLIP of our own from a folder with its open_clip config, weights and byte-pair vocabulary."""
    return VisionEncoder.load(
        MINI_CLIP, str(folder / "open_clip_model.safetensors"), folder / f"{MINI_CLIP}.json",
        folder / "bpe_vocab.txt.gz", device,
    )


def load_stack(name: str | None = None, device: str | None = None) -> Stack:
    """The stack by name, or of the variable V2A_STACK, or mini; on the GPU if there is one."""
    return Stack(stack_config(name or os.environ.get("V2A_STACK", "mini")), device)

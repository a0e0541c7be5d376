"""A stack: a vision encoder (CLIP), an audio encoder (CLAP) and a sound generator (AudioLDM) that belong together.

`places` says which stacks there are and where their parts lie; all are built by the same classes.
"""

import gc
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from v2a_utils.data.files import check_sums, complaint
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.backbones import AudioBackbone, find_weights, load_backbone
from v2a_utils.models.clap import AudioEncoder, audioldm_texts, load_clap, read_null
from v2a_utils.models.clip import Familiarity, VisionEncoder
from v2a_utils.models.photo import PROBE, PhotoEye
from v2a_utils.stacks import places
from v2a_utils.stacks.places import BACKBONES, MINI, MINI_CLIP, PARTS, StackConfig, stack_config


def load_tagger(name: str, device: str | None = None) -> AudioBackbone:
    """A tagger of `places.TAGGERS`, from where `fetch --for benchmark` puts it. ValueError when it is not there."""
    if name not in places.TAGGERS:
        raise ValueError(f"unknown audio backbone {name!r}: beside the stack's there are {', '.join(places.TAGGERS)}")
    place = places.public_folders()[name]
    if not place.is_dir():
        raise ValueError(f"{place}: the audio backbone {name} is not there; `python -m v2a_utils fetch --for "
                         "benchmark` fetches it")
    return load_backbone(place, device or best_device())


def best_device() -> str:
    """The GPU, if there is one that this PyTorch was built for: on an older one it would fail at its first kernel."""
    if torch.cuda.is_available():
        built_for, has = torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
        oldest = min((int(name.removeprefix("sm_")) for name in built_for if name[3:].isdigit()), default=0)
        if 10 * has[0] + has[1] >= oldest:
            return "cuda"
        tqdm.write(f"{torch.cuda.get_device_name()} has compute capability {has[0]}.{has[1]}; this PyTorch was built "
                   f"for {oldest // 10}.{oldest % 10} and newer: the CPU is used")
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Stack:
    """The parts of a stack, each loaded when it is first asked for."""

    def __init__(self, config: StackConfig, device: str | None = None):
        self.config = config
        self.device = device or best_device()
        self.cache: dict = {}  # what is made from the parts once and shared: mappers, bridges
        self._said: set[str] = set()
        if config.checked:
            check_sums(config.extras)

    @property
    def name(self) -> str:
        return self.config.name

    def has(self, part: str) -> bool:
        """Whether a part of PARTS, or "photo", is there, without loading it."""
        if part == "photo":
            return self.config.draws and PhotoEye.installed()
        place = self.config.path(part)
        if part in BACKBONES:
            return find_weights(place) is not None
        return place.exists()

    def place(self, part: str) -> Path:
        """Where a part of PARTS is. ValueError says how to get one that is not there."""
        place, (what, purpose) = self.config.path(part), PARTS[part]
        if not self.has(part):
            owner = "audioldm" if part == "words" else part if part in places.PLACES else "extras"
            raise ValueError(
                f"{place}: the {self.name} stack's {what} is not there; `python -m v2a_utils fetch --for {purpose}` "
                f"fetches what is public, V2A_{owner.upper()} can name a copy elsewhere, and the stack mini is embedded"
            )
        return place

    def notice(self, sentence: str) -> None:
        """Print a sentence, once, however often it comes up."""
        if sentence not in self._said:
            self._said.add(sentence)
            tqdm.write(sentence)

    def release(self, *parts: str) -> None:
        """Free loaded parts that are no longer needed, say "vision"; asked for again, they are loaded anew."""
        for part in parts:
            self.__dict__.pop(part, None)
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def release_texts(self) -> None:
        """Free CLAP's own text tower if AudioLDM's folder has one: what is left embeds sounds only."""
        if self.config.path("words") != self.config.clap:
            self.audio.forget_texts()

    def embed_words(self, sentences: list[str]) -> np.ndarray:
        """CLAP embeddings (n, d) of sentences, float32, unit norm.

        They come from the text tower in AudioLDM's folder if it has one, so that no CLAP checkpoint is needed, else
        from CLAP itself. ValueError when neither is there.
        """
        if self.config.path("words") != self.config.clap:
            return audioldm_texts(self.place("audioldm"), sentences)
        return self.audio.embed_texts(sentences)

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
    def tagger(self) -> AudioBackbone:
        return load_backbone(self.place("tagger"), self.device)

    @cached_property
    def wav2clip(self) -> AudioBackbone:
        return load_backbone(self.place("wav2clip"), self.device)

    @cached_property
    def framewise(self) -> AudioBackbone:
        return load_backbone(self.place("framewise"), self.device)

    @cached_property
    def photo(self) -> PhotoEye:
        """The eye for photographs. ValueError where it is not installed, or for a CLIP that knows photographs."""
        if not self.config.draws:
            raise ValueError(f"the CLIP of the {self.name} stack knows photographs: leave out --vision photo")
        return PhotoEye.load(self.device, MINI / PROBE)

    @cached_property
    def familiarity(self) -> Familiarity:
        return Familiarity.load(self.place("familiarity"))


def load_mini_clip(folder: Path, device: str = "cpu") -> VisionEncoder:
    """A CLIP of our own from a folder with its open_clip config, weights and byte-pair vocabulary."""
    return VisionEncoder.load(MINI_CLIP, str(folder / "open_clip_model.safetensors"), folder / f"{MINI_CLIP}.json",
                              folder / "bpe_vocab.txt.gz", device)


def load_stack(name: str | None = None, device: str | None = None) -> Stack:
    """The stack of this name, by default that of V2A_STACK or else mini; on the GPU if there is one.

    ValueError for an unknown name and for a device that is not there.
    """
    return Stack(stack_config(name or os.environ.get("V2A_STACK", "mini")), device and usable(device))


def usable(device: str) -> str:
    """The device, if PyTorch can compute on it; ValueError if not."""
    try:
        torch.ones(1, device=device) + 1
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {device}: PyTorch cannot use it ({complaint(error)}); give cpu, cuda or "
                         "mps") from error
    return device

"""The public weights and data of the real models, in one table: what each is for, its source, and its licence.

`fetching` gets them, into the places where the stack `paper` looks for them.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from v2a_utils.models.backbones import BACKBONES

SUM_IN_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")  # torch.hub's convention
ZENODO = "https://zenodo.org"
PURPOSES = ("sound", "training", "evaluation", "benchmark")


@dataclass(frozen=True)
class Public:
    """Something public: a repository of the Hugging Face hub, a few files, or the pictures of an archive."""

    name: str
    what: str
    purposes: tuple[str, ...]  # of PURPOSES
    licence: str
    gigabytes: float | None  # about; None: the source is asked before the download
    repo: str = ""  # on the hub
    patterns: tuple[str, ...] = ()  # files of the repository, or members of the archive
    urls: tuple[str, ...] = ()
    zenodo: int | None = None  # record, whose API gives sizes and MD5 sums
    sums: dict[str, str] = field(default_factory=dict)  # published elsewhere: file -> "md5:..."
    sign: str = ""  # text in the repository's first file that tells it from other repositories

    @property
    def source(self) -> str:
        """Where it comes from, in a word."""
        return f"huggingface.co/{self.repo}" if self.repo else self.urls[0].split("://")[-1].split("?")[0]

    @property
    def checksum(self) -> str:
        """What its files are checked against."""
        if self.repo:
            return "the hub's SHA-256"
        if self.zenodo or self.sums:
            return "a published SHA-256" if self.sums else "Zenodo's MD5"
        return "the SHA-256 in its name" if SUM_IN_NAME.search(self.urls[0]) else "the first download's SHA-256"


_ALL = ("sound", "training", "evaluation")
_IDS = "https://raw.githubusercontent.com/heng-hw/V2A-Mapper/91974b10843d4ca60ca1e318418d0e6667a37078/meta_data"
TABLE = (
    Public("clip", "CLIP ViT-B/32 of OpenAI", _ALL, "MIT", 0.6, "timm/vit_base_patch32_clip_224.openai",
           ("open_clip_config.json", "open_clip_model.safetensors")),
    Public("audioldm", "AudioLDM-s, its UNet, VAE, vocoder and CLAP's text tower", _ALL,
           "CC BY-NC-SA 4.0: not for commercial use", 1.7, "cvssp/audioldm-s-full-v2",
           ("model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors", "*/*.bin"), sign="AudioLDMPipeline"),
    Public("clap", "AudioLDM's checkpoint, for CLAP's audio tower", ("training", "evaluation"),
           "CC BY-NC-SA 4.0: not for commercial use", 2.56, zenodo=7698295,
           urls=(f"{ZENODO}/records/7698295/files/audioldm-full-s-v2.ckpt",)),
    *(Public(one.key, one.what, one.purposes, one.licence, one.gigabytes, urls=one.urls, zenodo=one.zenodo,
             sums=one.sums) for one in BACKBONES),
    Public("imagehear", "ImageHear, 101 pictures of 30 classes", ("evaluation",), "MIT, as its repository says", 0.1,
           patterns=("*/Data/ImageHear/*.jpg",), urls=(
               "https://github.com/RoySheffer/im2wav/archive/ee1ba8d3b4dea9f95626fdae71e061c4cdf50d8d.zip",)),
    Public("v2a-mapper", "ids of the 101 and 15,446 items that V2A-Mapper was tested on", ("evaluation",),
           "none stated: facts", 0.001, urls=(
               f"{_IDS}/imagehear_id.txt", f"{_IDS}/vggsound_test_id.txt")),
    Public("vggsound", "VGGSound's list of clips (not the clips)", ("training", "evaluation"), "CC BY 4.0", 0.01, urls=(
        "https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv",)),
)


def needed(purpose: str) -> list[Public]:
    """The entries of the table that a purpose needs; ValueError for an unknown one."""
    if purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r}: use {', '.join(PURPOSES)}")
    return [item for item in TABLE if purpose in item.purposes]


def describe(items: list[Public], folders: dict[str, Path]) -> str:
    """The items in words: what each is for, its size, licence, source and check, and where it is or will be."""
    lines = []
    for item in items:
        size = f"about {item.gigabytes:g} GB" if item.gigabytes else "size stated by its source"
        state = "there" if folders[item.name].exists() else "not there"
        lines += [f"{item.name:10} {item.what}",
                  f"{'':10} for {', '.join(item.purposes)}; {size}; licence {item.licence}",
                  f"{'':10} from {item.source}, checked by {item.checksum}", f"{'':10} {state}: {folders[item.name]}"]
    return "\n".join(lines)


def file_name(url: str) -> str:
    """The name of the file that a URL leads to."""
    return PurePosixPath(url.split("?")[0]).name

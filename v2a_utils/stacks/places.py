"""Where the parts of the two stacks are, or would be. The only file that knows the stacks by name; it loads no library.

`mini` is embedded in data/mini. The parts of `paper` are where `python -m v2a_utils fetch` puts them, in V2A_CACHE; to
use a copy elsewhere, set V2A_CLIP, V2A_CLAP, V2A_AUDIOLDM or V2A_EXTRAS.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from v2a_utils.data.files import DATA, cache_folder
from v2a_utils.models import backbones
from v2a_utils.options import CHECKPOINT, FAMILIARITY, TEXT_TOWER

MINI = DATA / "mini"
MINI_CLIP = "v2a-mini-clip"  # the mini CLIP's model name in open_clip
PLACES = ("clip", "clap", "audioldm", "extras")
# each part of a stack: its name in the error when it is missing, and the purpose that `fetch --for` brings it for
PARTS = {
    "clip": ("CLIP", "sound"), "audioldm": ("AudioLDM", "sound"), "clap": ("CLAP", "training"),
    "words": ("CLAP's text tower", "sound"), "extras": ("mappers and audio backbones", "evaluation"),
    "tagger": ("tagger", "evaluation"), "wav2clip": ("Wav2CLIP", "evaluation"), "framewise": ("VGGish", "evaluation"),
    "familiarity": ("familiarity", "training"),
}
BACKBONES = ("tagger", "wav2clip", "framewise")
TAGGERS = tuple(one.key for one in backbones.BACKBONES if one.part is None)  # that belong to no stack


@dataclass(frozen=True)
class StackConfig:
    """What a stack is called and where its parts are, or would be."""

    name: str
    clip_name: str  # open_clip's model name
    clip: Path  # folder with open_clip's config and weights, or a checkpoint file of `clip_name`
    clap: Path  # folder with config.json, model.safetensors, tokenizer; or a published checkpoint file
    audioldm: Path  # folder as diffusers saves a pipeline
    extras: Path  # folder with mappers/, familiarity.safetensors and the folders of the backbones
    checked: bool  # against the SHA256SUMS in `extras`
    clip_seconds: float | None = None  # of a sound; None: what the UNet's configuration says
    framewise: str = "vggish"  # the folder in `extras` of the backbone for FAD
    draws: bool = False  # its CLIP knows drawings only, so that photographs need another eye

    def path(self, part: str) -> Path:
        """Where a part of PARTS is, or would be."""
        if part == "words":
            return self.audioldm / TEXT_TOWER if (self.audioldm / TEXT_TOWER).is_dir() else self.clap
        if part in BACKBONES:
            return self.extras / (self.framewise if part == "framewise" else part)
        return self.extras / FAMILIARITY if part == "familiarity" else getattr(self, part)


def _places() -> dict[str, Path]:
    """What the variables V2A_CLIP, V2A_CLAP, V2A_AUDIOLDM and V2A_EXTRAS name."""
    named = {name: os.environ.get(f"V2A_{name.upper()}") for name in PLACES}
    return {name: Path(path).expanduser() for name, path in named.items() if path}


def stack_config(name: str) -> StackConfig:
    """The configuration of a stack by name; ValueError for an unknown one."""
    if name == "mini":
        return StackConfig("mini", MINI_CLIP, MINI / "clip", MINI / "clap", MINI / "audioldm", MINI, True,
                           framewise="wav2clip", draws=True)
    if name == "paper":
        given = _places()
        usual = {part: cache_folder(part) for part in PLACES} | {"clap": cache_folder("clap") / CHECKPOINT}
        return StackConfig(
            "paper", "ViT-B-32-quickgelu", **{part: given.get(part, place) for part, place in usual.items()},
            checked=False, clip_seconds=10.0,  # diffusers' configuration says 5.12, but AudioLDM and the paper make 10
        )
    raise ValueError(f"unknown stack {name!r}: use mini or paper")


def public_folders() -> dict[str, Path]:
    """Where the paper stack looks for each item of `fetching.TABLE`.

    ValueError for a variable that names a place that does not exist: what is fetched to another would not be found.
    """
    given, config = _places(), stack_config("paper")
    for part in set(given) - {"extras"}:
        if not given[part].exists():
            raise ValueError(f"V2A_{part.upper()} names {given[part]}, which does not exist; unset it, then fetch")
    clap = config.clap if "clap" in given else config.clap.parent
    heard = {one.key: config.path(one.part) if one.part else config.extras / one.key for one in backbones.BACKBONES}
    lists = {name: cache_folder("data") / name for name in ("imagehear", "vggsound", "v2a-mapper")}
    return {"clip": config.clip, "audioldm": config.audioldm, "clap": clap} | heard | lists

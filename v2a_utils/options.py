"""What can be asked for: the range of every number, the settings of a sound and of embeddings. Loads no library."""

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

TRAINED = ("diffusion", "regression", "flow")  # kinds of mappers, the default first
MAPPER_CHOICES = (*TRAINED, "words", "none")
TRUE, REFERENCE = "true", "reference"  # in a mapper's place: the sound's own CLAP embedding; the sound itself
VISIONS = ("auto", "clip", "photo")
SCHEDULERS = ("dpm++", "ddim", "ddpm", "euler", "unipc")
AGGREGATES = ("mean", "middle", "random", "first", "none")  # what becomes of a video's frames
FAMILIARITY = "familiarity.safetensors"  # which pictures are familiar: a file of a stack's or a mapper's folder
CHECKPOINT = "audioldm-full-s-v2.ckpt"  # AudioLDM's own, which holds its CLAP
TEXT_TOWER = "text_encoder"  # CLAP's, in an AudioLDM folder
TRAINING = ("config.json", "model.safetensors", "recipe.json", "validation.json", FAMILIARITY, "README.md",
            "learned.txt")  # what `train` writes
SUMMARY = ("evaluation.csv", "run.json")  # of an evaluation: what tells its folder from others
SCORES = ("scores.csv", "scores.json", "output_metrics.json")  # what `score` writes
RANGES = {  # of every number that a command or a function takes: lowest and highest; (command, name) goes before name
    "steps": (1, 1000), "guidance": (0, 50), "seconds": (0.5, 60), "candidates": (1, 64), "seed": (0, 2**32 - 1),
    "seeds": (1, 1000), "count": (1, 1_000_000), "limit": (1, 10**9), "n": (4, 10**6), "draws": (2, 100_000),
    "frame_rate": (0.01, 100), "train_clips": (4, 10**9), "test_clips": (4, 10**9), "picture_clips": (2, 10**9),
    "sweep_clips": (4, 10**9), ("score", "seconds"): (0.01, 3600),
}


def check(name: str, value: float | None, command: str = "") -> None:
    """ValueError, in one sentence, for a number outside its range in RANGES; NaN is outside. None is no number."""
    low, high = RANGES.get((command, name)) or RANGES[name]
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name.replace('_', ' ')} is {value}: give {low} to {high}")


@dataclass(frozen=True)
class SoundOptions:
    """How a sound is made.

    `mapper` is one of MAPPER_CHOICES or the folder of a trained one: "words" is the bridge over words, which needs no
    training, and "none" hands the CLIP embedding to the generator as it is. The default is the first of TRAINED that is
    stored with the stack, or else words.

    `vision` says what looks at a picture on a stack whose CLIP knows drawings only: "clip", or "photo", the classifier
    of photographs. "auto" is CLIP for drawings and, where it is installed, the classifier for anything else; a mapper
    that was asked for by name needs CLIP.
    """

    mapper: str | None = None
    steps: int = 25  # denoising steps of the generator
    guidance: float = 2.0  # classifier-free guidance scale of the generator; 1 is none
    seconds: float | None = None  # None: the length that the generator was trained on
    candidates: int = 3  # sounds made for one picture; the best by CLAP similarity is kept
    seed: int = 0
    scheduler: str = "dpm++"  # of the generator
    vision: str = "auto"
    exclude: str | None = None  # words of what shall not be heard; they need a guidance above 1

    def __post_init__(self):
        for name in ("steps", "guidance", "seconds", "candidates", "seed"):
            check(name, getattr(self, name))
        for name, known in (("vision", VISIONS), ("scheduler", SCHEDULERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)}: give one of {', '.join(known)}")
        if self.exclude is not None and (not self.exclude.strip() or self.guidance <= 1):
            raise ValueError(f"exclude is {self.exclude!r} at guidance {self.guidance:g}: give words, and a guidance "
                             "above 1, by which the sound is led away from them")
        if self.mapper is not None and self.mapper not in MAPPER_CHOICES and not Path(self.mapper).is_dir():
            raise ValueError(f"mapper is {self.mapper}: give one of {', '.join(MAPPER_CHOICES)}, or the folder of a "
                             "trained one")


@dataclass(frozen=True)
class EmbedOptions:
    """How clips are embedded. "random" draws its frame from the seed and the clip's id."""

    aggregate: str = "mean"
    frame_rate: float = 1.0  # frames looked at per second of a video
    seed: int = 0

    def __post_init__(self):
        check("frame_rate", self.frame_rate)
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"unknown aggregate {self.aggregate!r}: use one of {', '.join(AGGREGATES)}")


def program() -> str:
    """How this program is started in a terminal like the user's, for messages that say what to type next."""
    here = Path(sys.executable)
    named = shutil.which(here.name)
    if named and here.samefile(named) and Path(named).parent == here.parent:
        return f"{here.name} -m v2a_utils"
    shown = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return f"{shlex.quote(str(shown))} -m v2a_utils"

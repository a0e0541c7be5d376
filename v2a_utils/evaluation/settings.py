"""What an evaluation is made of: the methods that are compared, and one configuration, also as a TOML or JSON file.

`Settings` are those of an evaluation of clips, `Published` those of one of sounds that somebody published.
"""

import json
import tomllib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

from v2a_utils.data.files import DATA, cache_folder, refuse_existing
from v2a_utils.data.sources import Listing, csv_rows, open_source, reopen
from v2a_utils.data.splits import sample
from v2a_utils.data.store import Store
from v2a_utils.options import SCORES, SUMMARY, TRAINED, EmbedOptions, SoundOptions, check

FILES = (".toml", ".json")
WORLD = "soundworld"  # as `videos`: SoundWorld's splits, whose truth is known
BY_HAND = ("the authors' sounds can only be downloaded by hand: ImageHear's (about 33 MB) from "
           "https://drive.google.com/drive/folders/1Ee8FLdtjgQV1CHP8Aee1FNwCWZVr25Y2, VGGSound's (about 5 GB) from "
           "https://drive.google.com/drive/folders/1daDYUPOjHmJD3UsUrp9PFjgTmSXv-Znw")
SWEEPS = ("guidance", "steps", "aggregate", "size", "pairs")


@dataclass(frozen=True)
class Method:
    """Where the generator's conditions come from, and how it is run. Groups other than "table" are sweeps."""

    source: str  # "real", "true", "caption", "none", a name of CLOSED_FORM, or a trained mapper's kind or folder
    settings: dict = field(default_factory=dict)  # of the mapper's map()
    steps: int = 5  # denoising steps of the generator: the sweep of steps shows what more would change
    guidance: float = 2.0  # of the generator
    group: str = "table"


METHODS = {name: Method(**given) for name, given in tomllib.loads((DATA / "tables/methods.toml").read_text()).items()}
PAPER_ROWS = ("reference", "true CLAP embedding", "no mapper", "nearest neighbour", "closed form", "words",
              "regression", "diffusion", "flow")
# methods whose difference is taken picture by picture, the first minus the second
COMPARED = tuple((first, second) for first, second in csv_rows(DATA / "tables/compared.csv")[1:])


@dataclass(frozen=True)
class Settings:
    """Keys of a configuration file. Paths are relative to where the command runs, as on the command line."""

    videos: str  # VGGSound's list, or any SOURCE or STORE of `embed` whose clips have sounds; or WORLD
    clips: str | None = None  # folder of VGGSound's videos
    pictures: str | None = None  # folder of ImageHear's pictures; or WORLD, for its split ood
    stack: str = "mini"
    work: str = "results/reproduction"  # embeddings, mappers and sounds, which may be large
    out: str | None = None  # summary (default: WORK/summary)
    engine: str = "local"  # or "ray", for extraction and generation
    train_clips: int | None = None  # at most so many of the list's split train are embedded
    test_clips: int | None = None  # at most so many of its split test get sounds
    picture_clips: int | None = None  # at most so many pictures get sounds
    aggregate: str = "mean"  # of a video's frames
    frame_rate: float = 1.0  # frames a second
    mappers: tuple[str, ...] = TRAINED  # trained here; others are taken from the stack, where it has them
    training: dict = field(default_factory=dict)  # fields of TrainConfig that replace the recipes'
    methods: tuple[str, ...] = PAPER_ROWS  # names of METHODS, kinds of mappers, or folders of trained ones
    steps: int | None = None  # of the generator, for all methods (default: METHODS has them), as the three that follow
    guidance: float = Method.guidance
    scheduler: str = "dpm++"
    candidates: int = 1
    seeds: int = 1  # sounds of each picture
    seed: int = 0
    sweeps: dict = field(default_factory=dict)  # values by a name of SWEEPS; for "size" a table of sizes by name
    sweep_mapper: str = "diffusion"
    sweep_clips: int = 1000  # test clips that a sweep is measured on, with one seed
    gap_clips: int = 1000  # test clips whose mapped embeddings are compared with the true sounds'
    draws: int = 200  # of a bootstrap, for what has no interval otherwise
    real: int = 0  # of SoundWorld: true sounds that FD, FAD and KAD compare with, where more than test clips
    quick: bool = False  # of few clips, to see it run: such a summary gives way to any other

    def __post_init__(self):
        known = {"sweep": SWEEPS, "mapper": TRAINED, "engine": ("local", "ray"), "method": (*METHODS, *TRAINED),
                 "training": _training_fields() if self.training else ()}
        given = {"sweep": self.sweeps, "mapper": self.mappers, "engine": (self.engine,), "training": self.training,
                 "method": [name for name in self.methods if not Path(name).is_dir()]}
        for what, names in given.items():
            if unknown := set(names) - set(known[what]):
                raise ValueError(f"unknown {what} {', '.join(sorted(unknown))}: known are {', '.join(known[what])}"
                                 + (", or the folder of a trained mapper" if what == "method" else ""))
        if doubled := [name for name in self.methods if self.methods.count(name) > 1]:
            raise ValueError(f"the method {doubled[0]} is asked for twice")
        for name in ("seeds", "draws", "sweep_clips", "train_clips", "test_clips", "picture_clips"):
            check(name, getattr(self, name))
        for group, values in self.sweeps.items():
            if not isinstance(values, dict if group == "size" else (list, tuple)):
                raise ValueError(f"the sweep {group} is {values!r}: give "
                                 + ("tables of sizes by name" if group == "size" else "a list of values"))
        for value in (self.aggregate, *self.sweeps.get("aggregate", ())):  # all are checked before hours of work
            EmbedOptions(value, self.frame_rate, self.seed)
        for name, usual in {"steps": Method.steps if self.steps is None else self.steps,
                            "guidance": self.guidance}.items():
            for value in (usual, *self.sweeps.get(name, ())):
                SoundOptions(scheduler=self.scheduler, candidates=self.candidates, seed=self.seed, **{name: value})

    @property
    def of_world(self) -> bool:
        """Whether the clips are SoundWorld's, whose truth is known."""
        return self.videos == WORLD

    @property
    def summary(self) -> Path:
        """The folder of the summary."""
        return Path(self.out or Path(self.work) / "summary")

    def check(self, overwrite: bool = False) -> None:
        """What can be said before a model is loaded: ValueError for clips that are not there, FileExistsError for a
        summary that is, unless `overwrite` or it is of a quick run."""
        refuse_existing((self.summary / name for name in SUMMARY), overwrite or _is_quick(self.summary / "run.json"))
        if not self.of_world:
            self.listing  # says what is wrong

    @property
    def store(self) -> Store | None:
        """`videos` as a store, if it is one."""
        store = Store(self.videos) if Path(self.videos).is_dir() else None
        return store if store is not None and store.shards() else None

    @cached_property
    def listing(self) -> Listing:
        """The clips with sounds, at most `train_clips` of them to learn from; for a given store, its own."""
        if (store := self.store) is not None:
            if "source" not in store.settings:
                raise ValueError(f"{store.path}: does not say what it was made from; embed it again")
            splits = dict(zip(store.numpy("id"), store.numpy("split")))
            listing = reopen(store.settings["source"], len(store) + len(store.skipped()))
            return replace(listing, sources=[replace(source, split=splits[source.id]) for source in listing.sources
                                             if source.id in splits])
        listing = open_source(self.videos, self.clips, self.seed)
        learned = [source.id for source in listing.sources if source.split != "test"]
        few = len(learned) if self.train_clips is None else self.train_clips
        chosen = {learned[place] for place in sample(learned, few, self.seed)}
        return replace(listing, sources=[source for source in listing.sources
                                         if source.split == "test" or source.id in chosen])


def _is_quick(run: Path) -> bool:
    try:
        return bool(json.loads(run.read_text())["configuration"]["quick"])
    except (OSError, ValueError, KeyError, TypeError):  # none, of an earlier version, or not ours
        return False


def _training_fields() -> list[str]:
    from v2a_utils.mappers.training import TrainConfig  # which takes a second

    return [one.name for one in fields(TrainConfig)]


def world_settings(quick: bool = False) -> dict:
    """`Settings` of the evaluation of a stack on SoundWorld: some 10,000 sounds, or, `quick`, enough to see it run."""
    whole = {"videos": WORLD, "pictures": WORLD, "mappers": (), "methods": tuple(METHODS), "seeds": 3,
             "work": str(cache_folder("evaluation"))}
    if quick:
        return whole | {"test_clips": 6, "picture_clips": 4, "sweep_clips": 4, "real": 24, "gap_clips": 64,
                        "train_clips": 64, "draws": 10, "steps": 1, "seeds": 2, "quick": True}
    return whole | {"test_clips": 256, "picture_clips": 96, "sweep_clips": 96, "real": 512, "train_clips": 24_000}


@dataclass(frozen=True)
class Published:
    """Keys of a configuration file that names `sounds`. Paths are relative to where the command runs."""

    sounds: str  # folder of a system's sounds for ImageHear, <id>.wav at any depth
    ids: str | None = None  # list of ids, one a line (default: the authors', which `fetch --for evaluation` gets)
    pictures: str | None = None  # folder of ImageHear's pictures (default: where `fetch` put them)
    vggsound: str | None = None  # folder of the system's sounds for VGGSound's test split
    reference: str | None = None  # folder of the true sounds of the same clips
    videos: str | None = None  # folder of these clips' videos or pictures, or a STORE of them: for CS
    system: str = "V2A-Mapper"  # its row of the paper's Table 1
    seconds: float = 9.984  # to which sounds are cut as well: the shortest of the three systems that are compared
    stack: str = "paper"
    out: str = "results/published"

    def __post_init__(self):
        check("seconds", self.seconds, "score")
        if self.vggsound and not self.reference:
            raise ValueError("vggsound is given and reference is not: name the folder of the true sounds, <id>.wav")

    def check(self, overwrite: bool = False) -> None:
        """ValueError for sounds that are not there; FileExistsError if what is written is, unless `overwrite`."""
        refuse_existing((Path(self.out) / name for name in ("published.csv", *(f"vggsound/{one}" for one in SCORES))),
                        overwrite)
        if not Path(self.sounds).is_dir():
            raise ValueError(f"{self.sounds}: no such folder; {BY_HAND}")


def read_settings(path: str | Path, **others) -> Settings | Published:
    """The settings of a file, `Published` where it names `sounds`; `others`, where not None, replace them.

    ValueError says in one sentence what is wrong.
    """
    path = Path(path)
    try:
        text = path.read_text()
        given = (tomllib.loads if path.suffix.lower() == ".toml" else json.loads)(text)
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in dict(given).items()}
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a TOML or JSON file of settings ({error})") from error
    kind = Published if "sounds" in given else Settings
    known = {one.name: one for one in fields(kind)}
    if unknown := given.keys() - known.keys():
        raise ValueError(f"{path}: unknown {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    if kind is Settings and "videos" not in given | others:
        raise ValueError(f"{path}: names no videos; give VGGSound's list, or another source of clips with sounds")
    for name, value in given.items():
        wanted = (int, float) if known[name].type is float else known[name].type
        if not isinstance(value, getattr(wanted, "__origin__", wanted)) or isinstance(value, bool):
            raise ValueError(f"{path}: {name} is {value!r}, not of the type {known[name].type}")
    try:
        return kind(**given | {name: value for name, value in others.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error

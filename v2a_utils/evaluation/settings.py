"""What a reproduction is made of: one configuration file, in TOML or JSON.

`Settings` are those of a reproduction from clips, `Published` those of one from sounds that somebody published.
"""

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from v2a_utils.data.store import Store
from v2a_utils.evaluation.methods import METHODS, Method
from v2a_utils.mappers.model import MAPPERS
from v2a_utils.mappers.training import TrainConfig
from v2a_utils.pipeline import SoundOptions
from v2a_utils.stacks.extraction import EmbedOptions

FILES = (".toml", ".json")
ROWS = {name: METHODS[name].source for name in (
    "reference", "true CLAP embedding", "no mapper", "nearest neighbour", "closed form", "words", "regression",
    "diffusion")} | {"flow": "flow"}
SWEEPS = ("guidance", "steps", "aggregate", "size", "pairs")


@dataclass(frozen=True)
class Settings:
    """Keys of a configuration file. Paths are relative to where the command runs, as on the command line."""

    videos: str  # VGGSound's list, or any SOURCE or STORE of `embed` whose clips have sounds
    clips: str | None = None  # folder of VGGSound's videos
    pictures: str | None = None  # folder of ImageHear's pictures
    stack: str = "mini"
    work: str = "results/reproduction"  # embeddings, mappers and sounds, which may be large
    out: str | None = None  # summary (default: WORK/summary)
    engine: str = "local"  # or "ray", for extraction and generation
    train_clips: int | None = None  # at most so many of the list's split train are embedded
    test_clips: int | None = None  # at most so many of its split test get sounds
    aggregate: str = "mean"  # of a video's frames
    frame_rate: float = 1.0  # frames a second
    mappers: tuple[str, ...] = tuple(MAPPERS)  # trained here; others are taken from the stack, where it has them
    training: dict = field(default_factory=dict)  # fields of TrainConfig that replace the recipes'
    methods: tuple[str, ...] = tuple(ROWS)  # rows of the table: of ROWS, or folders of trained mappers
    steps: int = Method.steps  # of the generator, as the three that follow
    guidance: float = Method.guidance
    scheduler: str = "dpm++"
    candidates: int = 1
    seeds: int = 1  # sounds of each picture
    seed: int = 0
    sweeps: dict = field(default_factory=dict)  # values by a name of SWEEPS; for "size" a table of sizes by name
    sweep_mapper: str = "diffusion"
    sweep_clips: int = 1000  # test clips that a sweep is measured on, with one seed
    draws: int = 200  # of a bootstrap

    def __post_init__(self):
        unknown = {"sweep": set(self.sweeps) - set(SWEEPS), "mapper": set(self.mappers) - set(MAPPERS),
                   "engine": {self.engine} - {"local", "ray"},
                   "training": set(self.training) - {one.name for one in fields(TrainConfig)},
                   "method": {name for name in self.methods if name not in ROWS and not Path(name).is_dir()}}
        for what, names in unknown.items():
            if names:
                known = {"sweep": SWEEPS, "mapper": MAPPERS, "engine": ("local", "ray"), "method": ROWS}.get(
                    what, [one.name for one in fields(TrainConfig)])
                raise ValueError(f"unknown {what} {', '.join(sorted(names))}: known are {', '.join(known)}"
                                 + (", or the folder of a trained mapper" if what == "method" else ""))
        for name, least in {"seeds": 1, "draws": 2, "sweep_clips": 4, "train_clips": 4, "test_clips": 4}.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name} is {value}: give {least} or more")
        for group, values in self.sweeps.items():
            if not isinstance(values, dict if group == "size" else (list, tuple)):
                raise ValueError(f"the sweep {group} is {values!r}: give "
                                 + ("tables of sizes by name" if group == "size" else "a list of values"))
        usual = {name: (getattr(self, name),) for name in ("steps", "guidance", "aggregate")}
        for name, values in usual.items():  # all values are checked before hours of work
            for value in (*values, *self.sweeps.get(name, ())):
                if name == "aggregate":
                    EmbedOptions(value, self.frame_rate, self.seed)
                else:
                    SoundOptions(scheduler=self.scheduler, candidates=self.candidates, seed=self.seed, **{name: value})

    @property
    def summary(self) -> Path:
        """The folder of the summary."""
        return Path(self.out or Path(self.work) / "summary")

    @property
    def store(self) -> Store | None:
        """`videos` as a store, if it is one."""
        store = Store(self.videos) if Path(self.videos).is_dir() else None
        return store if store and store.shards() else None

    def as_json(self) -> dict:
        """All settings, for the summary."""
        return json.loads(json.dumps(asdict(self)))


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
    draws: int = 1000  # of a bootstrap

    def __post_init__(self):
        if self.seconds <= 0 or self.draws < 2:
            raise ValueError(f"seconds {self.seconds:g} and draws {self.draws}: give more than 0 and 2 or more")
        if self.vggsound and not self.reference:
            raise ValueError("vggsound is given and reference is not: name the folder of the true sounds, <id>.wav")


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

"""Every mapper by its kind or its folder: written, read, and built where it needs no training.

A new kind is a class in `model` with `kind`, `config`, `loss` and `map`, listed in its MAPPERS, and a recipe.
"""

import json
from pathlib import Path

import numpy as np
from torch import nn

from v2a_utils.data.files import refuse_existing, write_json
from v2a_utils.mappers.bridge import OWN_WORDS, VOCABULARIES, Sentences, build_bridge, read_sentences, unpaired_sounds
from v2a_utils.mappers.model import MAPPERS
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.metrics.sounds import Interval
from v2a_utils.models.clip import Familiarity
from v2a_utils.models.weights import load_weights, save_weights, state_sha256
from v2a_utils.options import FAMILIARITY
from v2a_utils.stacks.stack import Stack

KINDS = MAPPERS | {WordsBridge.kind: WordsBridge}
ENCODER_SUMS = {"clip_sha256": "vision", "clap_sha256": "audio"}  # in config.json -> part of a stack


def save_mapper(mapper: nn.Module, folder: Path, sums: dict[str, str] | None = None, overwrite: bool = False) -> None:
    """Write model.safetensors and config.json, as `load_mapper` reads them.

    `sums` are the SHA-256 of the encoders that the mapper joins, by the names of ENCODER_SUMS. FileExistsError, before
    anything is written, where one of the files is there already, unless `overwrite`.
    """
    refuse_existing([folder / "model.safetensors", folder / "config.json"], overwrite)
    save_weights(mapper, folder / "model.safetensors")
    write_json(folder / "config.json", {"kind": mapper.kind} | mapper.config | (sums or {}))


def load_mapper(folder: Path, device: str = "cpu") -> nn.Module:
    """A trained mapper from a folder with config.json and model.safetensors; ValueError says what is wrong with it."""
    config = {name: value for name, value in read_config(folder).items() if name not in ENCODER_SUMS}
    try:
        mapper = KINDS[config.pop("kind")](**config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{Path(folder) / 'config.json'}: does not describe a known mapper ({error})") from error
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
    """Where a mapper is: with the stack for a kind of KINDS or the name of a folder there, else at the path given."""
    with_stack = stack.config.extras / "mappers" / which
    return with_stack if which in KINDS or with_stack.is_dir() else Path(which)


def has_mapper(stack: Stack, which: str) -> bool:
    """Whether a mapper is there, by its kind or its folder; nothing is loaded."""
    return (mapper_folder(stack, which) / "config.json").is_file()


def trained_mapper(stack: Stack, which: str) -> nn.Module:
    """A trained mapper, by its kind from those stored with a stack or by its folder; loaded once per stack.

    "words" needs no training: if no bridge over words is stored with the stack, one is built from its vocabulary.
    ValueError when there is no such mapper, or when it was trained on other encoders than the stack's. CLAP is compared
    only if it has been loaded for something else.
    """
    folder, put = mapper_folder(stack, which), stack.cache.setdefault("put mappers", {})
    loaded, versions = (stack.cache.setdefault(name, {}) for name in ("mappers", "versions of mappers"))
    if folder not in put and versions.get(folder) != (written := _written(folder)):  # not loaded yet, or trained anew
        loaded[folder], versions[folder] = _opened(stack, which, folder), written
    mapper = put[folder] if folder in put else loaded[folder]
    taken = mapper.config.get("visual_dim")
    if which not in KINDS and taken and taken != (given := stack.vision.embed_dim):
        raise ValueError(f"{folder}: this mapper takes embeddings of {taken} numbers, and the CLIP of the stack "
                         f"{stack.name} gives {given}; train one on embeddings of this stack")
    _check_encoders(stack, folder, getattr(mapper, "joins", {}))
    if which not in KINDS and (doubt := _doubt(folder)):
        stack.notice(doubt)
    return mapper


def against_constant(margin: Interval) -> str:
    """In words, how a mapper compares with one answer for all pictures, by how much nearer it comes to the sounds."""
    return "better than" if margin.low > 0 else "worse than" if margin.high < 0 else "no better than"


def _doubt(folder: Path) -> str:
    """A sentence for an own mapper that is no better on its validation pairs than one constant answer; else nothing."""
    path = folder / "validation.json"
    numbers = json.loads(path.read_text()).get("numbers", {}) if path.is_file() else {}
    margin = Interval(**numbers["above constant"]) if "above constant" in numbers else None
    if margin is None or margin.low > 0:
        return ""
    return f"{folder}: {against_constant(margin)} one answer for all pictures on its {margin.n} validation pairs"


def _written(folder: Path) -> list[tuple[int, int, int]]:
    """What tells the files of a mapper from others of the same names, without reading them."""
    stats = [path.stat() for path in (folder / "config.json", folder / "model.safetensors") if path.is_file()]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def words_bridge(stack: Stack, words: str | Path | Sentences | None = None,
                 sounds: str | Path | np.ndarray | None = None, form: str = "mean") -> WordsBridge:
    """The bridge over words for a stack: without `words` and `sounds` the one stored with it, if there is one.

    words: a text file (`read_sentences`) or pairs of sentences; by default the stack's own vocabularies. sounds: a
    folder of sound files, a store of embeddings (`unpaired_sounds`), or CLAP embeddings (n, d); by default those of the
    bridge stored with the stack, else none. ValueError says what is wrong with a file.
    """
    kept = None
    if has_mapper(stack, WordsBridge.kind):
        kept = load_mapper(mapper_folder(stack, WordsBridge.kind), stack.device)
    if kept is not None and words is None and sounds is None:
        kept.config["form"] = form
        return kept
    if words is None:
        words = [pair for name in OWN_WORDS[stack.name] for pair in read_sentences(VOCABULARIES / f"{name}.txt")]
    elif isinstance(words, (str, Path)):
        words = read_sentences(words)
    if sounds is not None:
        cloud = sounds if isinstance(sounds, np.ndarray) else unpaired_sounds(stack, sounds)
    else:
        cloud = None if kept is None else kept.sounds.cpu().numpy()
    return build_bridge(stack, words, cloud, form)


def put_mapper(stack: Stack, which: str, mapper: nn.Module) -> None:
    """Use this mapper for a kind, instead of the one stored with the stack."""
    stack.cache.setdefault("put mappers", {})[mapper_folder(stack, which)] = mapper


def _opened(stack: Stack, which: str, folder: Path) -> nn.Module:
    """A mapper, loaded or built; its `joins`, if set, are the SHA-256 of the encoders that it joins."""
    if has_mapper(stack, which):
        mapper = load_mapper(folder, stack.device)
        mapper.joins = {name: value for name, value in read_config(folder).items() if name in ENCODER_SUMS}
        return mapper
    if which == WordsBridge.kind:
        return words_bridge(stack)
    what = f"no trained {which} mapper for the {stack.name} stack" if which in KINDS else "no trained mapper there"
    raise ValueError(f"{folder}: {what}; train one with `python -m v2a_utils train`, or use the mapper words, which "
                     "needs no training")


def _check_encoders(stack: Stack, folder: Path, joins: dict[str, str]) -> None:
    sums = stack.cache.setdefault("encoder sums", {})
    for name, wanted in joins.items():
        part = ENCODER_SUMS[name]
        if part == "vision" or part in vars(stack):
            if name not in sums:
                sums[name] = state_sha256(getattr(stack, part).model)
            if sums[name] != wanted:
                raise ValueError(f"{folder}: this mapper was trained on another {name[:4].upper()} than the "
                                 f"{stack.name} stack's; use the stack that embedded its clips, or train a new mapper")


def mapper_familiarity(stack: Stack, which: str) -> Familiarity | None:
    """How familiar pictures are to a mapper, from the file in its folder, else the stack's; None without either."""
    own = mapper_folder(stack, which) / FAMILIARITY
    if own.is_file():
        return Familiarity.load(own)
    return stack.familiarity if stack.has("familiarity") else None

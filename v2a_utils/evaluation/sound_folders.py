"""Two folders of sounds, by whatever system, matched by the files' names.

A file's name is its path within the folder, without suffix. Several sounds of a clip lie in folders seed0, seed1, ...
or are numbered as av-benchmark's users do: <id>-0.flac, <id>-1.flac (or <id>_0) beside the reference's <id>.wav.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from v2a_utils.data.audio import SOUNDS

NUMBERED = re.compile(r"(.+)[-_](\d+)")
VGGSOUND = re.compile(r"(.{11})_(?:(\d{6})|(\d+)_\d+)")


@dataclass(frozen=True)
class Matched:
    """Clips of which there are a reference sound and all made ones."""

    true: dict[str, Path]  # by the clip's name
    made: dict[str, list[Path]]  # each seed's
    notes: list[str]  # what was left out


def files_by_name(folder: Path, suffixes: Collection[str], what: str) -> dict[str, Path]:
    """Path of every file of a folder with one of the suffixes, at any depth, by its name.

    ValueError for a folder that holds none ("no `what` file in it"), or two of one name.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of {what} files")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        if path.suffix.lower() not in suffixes or not path.is_file() or any(part[0] == "." for part in within.parts):
            continue
        name = unicodedata.normalize("NFC", within.with_suffix("").as_posix())
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {path.name} are both the {what} {name}; keep one")
        found[name] = path
    if not found:
        raise ValueError(f"{folder}: no {what} file in it")
    return found


def read_ids(path: Path) -> list[str]:
    """The ids of a list, one a line; its last line need not end. ValueError for none, or one that is there twice."""
    ids = path.read_text(encoding="utf-8-sig").split("\n") if path.is_file() else []
    ids = [name.strip() for name in ids if name.strip()]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"{path}: holds an id twice" if ids else f"{path}: no list of ids")
    return ids


def same_clip(name: str) -> str:
    """What all names of a clip have in common.

    VGGSound's are <YouTube id>_<start, 6 digits> in the list of V2A-Mapper's authors, and <YouTube id>_<start ms>_<end
    ms> as its videos are cut; elsewhere it is the name without its folder.
    """
    name = name.rpartition("/")[2]
    if match := VGGSOUND.fullmatch(name):
        return f"{match[1]}_{int(match[2]) if match[2] else int(match[3]) // 1000:06d}"
    return name


def _only(files: dict[str, Path], ids: list[str], folder: Path) -> dict[str, Path]:
    """The files of these ids, in their order and by them. ValueError names one that is lacking or there twice."""
    known: dict[str, Path] = {}
    for name, path in files.items():
        if known.setdefault(same_clip(name), path) != path and same_clip(name) in set(map(same_clip, ids)):
            raise ValueError(f"{folder}: {known[same_clip(name)].name} and {path.name} are both the clip {name}")
    if lacking := [name for name in ids if same_clip(name) not in known]:
        raise ValueError(f"{folder}: has no sound of {lacking[0]} ({len(lacking)} of {len(ids)} lacking)")
    return {name: known[same_clip(name)] for name in ids}


def match_sounds(sounds: Path, reference: Path, ids: Path | None = None) -> Matched:
    """The clips that two folders have in common, or exactly those of a list of ids.

    ValueError where there are fewer than two, or an id lacks a sound.
    """
    true = files_by_name(reference, SOUNDS, "sound")
    seeds = _by_seed(sounds, true)
    if ids is not None:
        wanted = read_ids(ids)
        true, seeds = _only(true, wanted, reference), [_only(seed, wanted, sounds) for seed in seeds]
    names = [name for name in true if all(name in seed for seed in seeds)]
    if len(names) < 2:
        raise ValueError(f"{sounds} and {reference}: {len(names)} name(s) in common, where two or more are needed "
                         f"(there lie {next(iter(seeds[0]))} and {next(iter(true))}, for example)")
    notes = []
    for what, files in (("reference", true), *((f"sounds, seed {number}", seed) for number, seed in enumerate(seeds))):
        if unmatched := len(files) - len(names):
            notes.append(f"{unmatched} of {len(files)} files of {what} have no partner and are left out")
    return Matched({name: true[name] for name in names},
                   {name: [seed[name] for seed in seeds] for name in names}, notes)


def _by_seed(folder: Path, known: Collection[str]) -> list[dict[str, Path]]:
    """The sounds of each seed: of the subfolders seed0, seed1, ... where there are such, else by the files' numbers."""
    parts = sorted(folder.glob("seed*"), key=lambda part: (len(part.name), part.name)) if folder.is_dir() else []
    if parts := [part for part in parts if part.is_dir()]:
        return [files_by_name(part, SOUNDS, "sound") for part in parts]
    samples = defaultdict(list)
    for name, path in files_by_name(folder, SOUNDS, "sound").items():
        numbered = NUMBERED.fullmatch(name)
        if name not in known and numbered and numbered[1] in known:
            samples[numbered[1]].append((int(numbered[2]), path))
        else:
            samples[name].append((-1, path))
    count = max(map(len, samples.values()))
    return [{name: sorted(paths)[seed][1] for name, paths in samples.items() if seed < len(paths)}
            for seed in range(count)]

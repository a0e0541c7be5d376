"""Atomic writes, keys and sums of whatever is kept and the one place where it is, free names, errors in one line."""

import hashlib
import json
import os
import platform
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from platformdirs import user_cache_path

from v2a_utils import __version__

if TYPE_CHECKING:  # pandas would double the time to the first sound
    import pandas as pd

_INSTALLED = Path(__file__).parents[1] / "embedded"  # where a wheel puts the checkout's data/
DATA = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "data"
SUMS = "SHA256SUMS"  # of a folder
LONGEST_NAME = 240  # bytes of a name without suffix and number; file systems take 255 in all


def key(**made_of) -> str:
    """The key under which a result is kept: SHA-256 of all that made it, and of this package's version.

    Arrays count by their content, dataclasses by their fields. TypeError for what has no content of its own.
    """
    text = json.dumps([__version__, made_of], sort_keys=True, default=_content)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(value) -> list | dict | str | float:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if is_dataclass(value):
        return vars(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no content that a key could be made of")


def cache_folder(kind: str) -> Path:
    """Where files of one kind are kept that can be fetched or computed again, say "embeddings".

    It lies in the folder that V2A_CACHE names, by default in the platform's folder for caches (~/.cache/v2a on Linux).
    """
    return Path(os.environ.get("V2A_CACHE") or user_cache_path("v2a", appauthor=False)).expanduser() / kind


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to: renamed to it when the block ends well, removed when it does not.

    Two writers of one file do not collide, and the last one wins; the content is on the disk before the file has its
    name. OSError names `path`, say when the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{_part_prefix()}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file)
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary), temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(paths: Iterable[str | Path], overwrite: bool = False) -> None:
    """FileExistsError if any of these is there already, unless `overwrite`: all that writes asks here beforehand."""
    there = [] if overwrite else [path for path in paths if os.path.lexists(path)]
    if there:
        more = f" and {len(there) - 1} more" if there[1:] else ""
        raise FileExistsError(f"{there[0]}{more}: there already, and left alone; give another --out, or --overwrite to "
                              "replace what is there")


def failure(error: Exception) -> str:
    """An error in one sentence: of the system's, which file it is about and what is wrong."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def _part_prefix() -> str:
    """How temporary names begin on this machine: process numbers of other machines mean nothing here."""
    return f".part-{zlib.crc32(platform.node().encode()):08x}-"


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove the half-written files that dead processes of this machine left in a folder; once per process."""
    for path in folder.glob(f"{_part_prefix()}*"):
        owner = path.name.removeprefix(_part_prefix()).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            path.unlink(missing_ok=True)


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write a file, by `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: dict | list) -> None:
    """Write indented JSON."""
    write_file(path, json.dumps(content, indent=2) + "\n")


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a CSV, numbers with 6 digits."""
    write_file(path, table.to_csv(index=False, float_format="%.6g"))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name as npz."""
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def complaint(error: Exception, path: str | Path = "") -> str:
    """What a library says is wrong with a file, in one line of at most 300 characters, without the path."""
    return " ".join(str(error).replace(f"'{path}'", "").split()).strip(" :")[:300] or type(error).__name__


def free_targets(inputs: list[Path], out: Path, ending: str, overwrite: bool) -> tuple[dict[Path, Path], list[str]]:
    """The file in `out` that each input's result goes to, and a sentence for each input that gets none.

    An existing file is replaced only with `overwrite`, an input never. Inputs of the same name are numbered.
    """
    taken, targets, refused = set(), {}, []
    originals = {path.resolve() for path in inputs}
    for path in dict.fromkeys(inputs):
        target = out / f"{_free_name(path.stem, taken)}.{ending}"
        if target.resolve() in originals:
            refused.append(f"{path}: its sound would replace an input, {target}; give another --out")
            continue
        try:
            refuse_existing([target], overwrite)
            targets[path] = target
        except FileExistsError as error:
            refused.append(str(error))
    return targets, refused


def _free_name(stem: str, taken: set[str]) -> str:
    """The stem, cut to what a file system takes with a suffix, and numbered when an earlier input has taken it."""
    stem = os.fsdecode(os.fsencode(stem)[:LONGEST_NAME]) if len(os.fsencode(stem)) > LONGEST_NAME else stem
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, source: str | None = None) -> None:
    """List every weight, config and table under `folder` in SHA256SUMS, in the format of sha256sum.

    With `source`, which says in a first line of comment where they came from, every file is listed.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS
                   and (source is not None or path.suffix in (".safetensors", ".json", ".gz", ".parquet", ".csv")))
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_file(folder / SUMS, "".join([f"# {source}\n"] * (source is not None) + lines))


def damaged_files(folder: Path) -> list[Path]:
    """The files of a folder's SHA256SUMS that are missing or changed."""
    lines = [line for line in (folder / SUMS).read_text().splitlines() if not line.startswith("#")]
    listed = {folder / name: expected for expected, name in (line.split("  ", 1) for line in lines)}
    return [path for path, expected in listed.items() if not path.is_file() or sha256(path) != expected]


def check_sums(folder: Path) -> None:
    """Compare every listed file with its sum. ValueError names the first that is missing or changed."""
    listing = folder / SUMS
    if not listing.is_file():
        raise ValueError(f"{listing}: missing; restore it from version control or run `python -m v2a_pretraining run`")
    for path in damaged_files(folder):
        raise ValueError(f"{path}: missing or damaged (its SHA-256 is not the listed one); restore it")

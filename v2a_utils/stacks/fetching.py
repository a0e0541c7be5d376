"""The public weights and data of the real models, in one table, and how `fetch` gets them to where `paper` looks.

A folder appears only when all its files are whole and checked; until then they gather in a folder beside it, and a run
that was interrupted goes on there. Where no sum is published, a later download is held against the first one's.
"""

import fnmatch
import hashlib
import re
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pooch
import requests
from filelock import FileLock
from huggingface_hub import HfApi
from huggingface_hub.constants import is_offline_mode

from v2a_utils.data.files import DATA, SUMS, complaint, damaged_files, whole_file, write_sums
from v2a_utils.models.backbones import BACKBONES

SUM_IN_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")  # torch.hub's convention
ZENODO = "https://zenodo.org"
PURPOSES = ("sound", "training", "evaluation", "benchmark")
PATIENCE = 60  # s without a byte
# some servers turn the libraries' own agents away; compressed, a file has another sum than the one that is published
HEADERS = {"User-Agent": f"v2a-utils/{version('v2a-utils')} (a notebook collection)", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Public:
    """Something public: a repository of the Hugging Face hub, a few files, or the pictures of an archive."""

    name: str
    what: str
    purposes: Sequence[str]  # of PURPOSES
    licence: str
    gigabytes: float | None  # about; None: unknown
    repo: str = ""  # on the hub
    patterns: Sequence[str] = ()  # files of the repository, or members of the archive
    urls: Sequence[str] = ()
    zenodo: int | None = None  # record, whose API gives MD5 sums
    sums: dict[str, str] = field(default_factory=dict)  # published elsewhere: file -> "sha256:..."

    @property
    def source(self) -> str:
        """Where it comes from, in a word."""
        return f"huggingface.co/{self.repo}" if self.repo else self.urls[0].split("://")[-1].split("?")[0]

    @property
    def size(self) -> str:
        """About how much it is, in words."""
        return f"about {self.gigabytes:g} GB" if self.gigabytes else "of unknown size"

    @property
    def checksum(self) -> str:
        """What its files are checked against."""
        if self.repo or self.zenodo or self.sums:
            return "the hub's SHA-256" if self.repo else "a published SHA-256" if self.sums else "Zenodo's MD5"
        return "the SHA-256 in its name" if SUM_IN_NAME.search(self.urls[0]) else "the first download's SHA-256"


_LISTED = [Public(name, **entry) for name, entry in tomllib.loads((DATA / "tables/public.toml").read_text()).items()]
_HEARING = [Public(one.key, one.what, one.purposes, one.licence, one.gigabytes, urls=one.urls, zenodo=one.zenodo,
                   sums=one.sums) for one in BACKBONES]
TABLE = (*_LISTED[:3], *_HEARING, *_LISTED[3:])  # models, backbones, data


def describe(items: Iterable[Public], folders: dict[str, Path]) -> str:
    """The items in words: what each is for, its size, licence, source and check, and where it is or will be."""
    lines = []
    for item in items:
        state = "there" if folders[item.name].exists() else "not there"
        lines += [f"{item.name:10} {item.what}",
                  f"{'':10} for {', '.join(item.purposes)}; {item.size}; licence {item.licence}",
                  f"{'':10} from {item.source}, checked by {item.checksum}", f"{'':10} {state}: {folders[item.name]}"]
    return "\n".join(lines)


def fetch_all(items: list[Public], folders: dict[str, Path], agreed: Callable[[str], bool]) -> bool:
    """Fetch what is missing or damaged of the items; False when `agreed` says no to the sizes and the licences.

    `agreed` is asked once, before the first byte. ValueError names what could not be had, once all else is there.
    """
    missing = [item for item in items if _is_missing(folders[item.name])]
    gigabytes = sum(item.gigabytes or 0 for item in missing)
    lines = [f"  {item.name}: {item.what}; {item.size}; {item.licence}; from {item.source}" for item in missing]
    if missing and not agreed("\n".join([f"About {gigabytes:.2g} GB in all are to be fetched:", *lines])):
        return False
    failed = []
    for item in missing:  # each by itself: a source that is down keeps nobody from the others
        print(f"{item.name} into {folders[item.name]}", flush=True)
        try:
            fetch(item, folders[item.name])
        except ValueError as error:
            failed.append(str(error))
    if failed:
        others = f"; the other {len(missing) - len(failed)} are there now" if len(missing) > len(failed) else ""
        raise ValueError("; ".join(failed) + others)
    return True


def take_all(items: list[Public], folders: dict[str, Path], carried: Path) -> None:
    """Take what is missing out of a folder that somebody carried here. ValueError names what it does not hold."""
    absent = [item for item in items if _is_missing(folders[item.name])
              and not take(item, carried, folders[item.name])]
    if absent:
        names = ", ".join(f"{item.name} ({_file_name(item.urls[0]) if item.urls else item.repo})" for item in absent)
        others = "; all else that was asked for is there now" if len(absent) < len(items) else ""
        raise ValueError(f"{carried}: holds no {names}{others}")


def _is_missing(folder: Path) -> bool:
    return not folder.exists() or ((folder / SUMS).is_file() and bool(damaged_files(folder)))


def fetch(item: Public, folder: Path) -> None:
    """Get an item from its source into `folder`. Every failure is a ValueError of one sentence."""
    if is_offline_mode():
        raise ValueError(f"{item.name}: HF_HUB_OFFLINE forbids fetching it; set HF_HUB_OFFLINE=0, or carry the files "
                         "here and give their folder with --from")
    with _gathering(folder) as part:
        if not _is_missing(folder):  # another run was quicker
            return
        lacking = (item.gigabytes or 0) * 1e9 - sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        if lacking > (free := shutil.disk_usage(part).free):
            raise ValueError(f"{folder}: {item.name} needs {lacking / 1e9:.1f} GB more and {free / 1e9:.1f} GB are "
                             "free; make room, or name another folder with V2A_CACHE")
        try:
            source = _from_hub(item, part) if item.repo else _from_urls(item, part)
        except Exception as error:
            hint = ", with HF_HUB_DISABLE_XET=1 if it hangs," if item.repo else ""
            raise ValueError(f"{item.name} could not be fetched from {item.source} ({complaint(error)}); run it "
                             f"again{hint} to go on, or carry the files here and give their folder with --from"
                             ) from error
        _finish(part, folder, source)


def take(item: Public, carried: Path, folder: Path) -> bool:
    """Copy an item's files out of a folder that somebody carried here, whatever lies around them; False if not there.

    Files are found by their usual names, also in a clone or in the hub's own cache. ValueError names a damaged one.
    """
    if not (found := _carried_repo(item, carried) if item.repo else _carried_files(item, carried)):
        return False
    with _gathering(folder) as part:
        for name, path in found.items():
            with whole_file(part / name) as temporary:
                shutil.copyfile(path, temporary)
            _check(part / name, item.sums.get(name, ""))
        _unpack(item, part)
        _finish(part, folder, str(carried))
    return True


@contextmanager
def _gathering(folder: Path) -> Iterator[Path]:
    """The folder beside `folder` where its files gather, for one run at a time; a damaged `folder` becomes it."""
    part = folder.with_name(f".part-{folder.name}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.exists() and _is_missing(folder):
            for path in damaged_files(folder):
                print(f"{path}: damaged or missing; it will be replaced", flush=True)
                path.unlink(missing_ok=True)
            folder.rename(part)
        part.mkdir(exist_ok=True)
        yield part
        if folder.exists():
            shutil.rmtree(part, ignore_errors=True)


def _from_hub(item: Public, part: Path) -> str:
    """The repository's files, checked against the hub's sums; returns where they came from."""
    hub = HfApi()
    commit = hub.model_info(item.repo).sha
    listed = {file.path: file for file in hub.list_repo_tree(item.repo, recursive=True, revision=commit)}
    names = _wanted(item, listed)
    (part / SUMS).unlink(missing_ok=True)  # of an earlier commit; the hub's own sums are checked
    hub.snapshot_download(item.repo, revision=commit, local_dir=part, allow_patterns=names)
    shutil.rmtree(part / ".cache")
    for name in names:
        lfs = listed[name].lfs
        _check(part / name, f"sha256:{lfs.sha256}" if lfs else f"blob:{listed[name].blob_id}")
    return f"{item.source} {commit}"


def _wanted(item: Public, names: Iterable[str]) -> list[str]:
    """The names that an item's patterns fit, without the pickled twins of safetensors."""
    found = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in item.patterns)]
    safe = {PurePosixPath(name).parent for name in found if name.endswith(".safetensors")}
    return [name for name in found if not (name.endswith(".bin") and PurePosixPath(name).parent in safe)]


def _from_urls(item: Public, part: Path) -> str:
    """The files behind an item's addresses, checked against what is published; returns where they came from."""
    sums = dict(item.sums)
    if item.zenodo and not sums:
        answer = requests.get(f"{ZENODO}/api/records/{item.zenodo}", timeout=PATIENCE, headers=HEADERS)
        answer.raise_for_status()
        sums = {file["key"]: file["checksum"] for file in answer.json()["files"]}
    pooch.get_logger().setLevel("WARNING")
    get = pooch.HTTPDownloader(progressbar=True, timeout=PATIENCE, headers=HEADERS)
    for url in item.urls:
        name = _file_name(url)
        if not (part / name).is_file():
            pooch.retrieve(url, sums.get(name), name, part, downloader=get)
        _check(part / name, sums.get(name, ""))
    for path in part.glob("tmp*"):  # what pooch was killed over
        path.unlink()
    _unpack(item, part)
    return item.source


def _file_name(url: str) -> str:
    return PurePosixPath(url.split("?")[0]).name


def _check(path: Path, known: str) -> None:
    """Remove a file whose sum is not the one in its name or not `known`, with a ValueError.

    The sum of kind "blob" is git's, which the hub has of small files.
    """
    kind, _, digits = known.partition(":")
    if found := SUM_IN_NAME.search(path.name):
        kind, digits = "sha256", found[1]
    if kind == "blob":
        content = path.read_bytes()
        fine = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == digits
    else:
        fine = not digits or pooch.file_hash(str(path), alg=kind).startswith(digits)
    if not fine:
        path.unlink()
        raise ValueError(f"{path}: arrived damaged (its {kind} is not the published one) and was removed")


def _unpack(item: Public, part: Path) -> None:
    """Replace an archive by the members that are wanted of it."""
    for archive in part.glob("*.zip"):
        with zipfile.ZipFile(archive) as content:
            for member in _wanted(item, content.namelist()):
                (part / PurePosixPath(member).name).write_bytes(content.read(member))
        archive.unlink()


def _finish(part: Path, folder: Path, source: str) -> None:
    """Compare the files with an earlier download, list their sums, and give the folder its name."""
    if (part / SUMS).is_file() and (changed := damaged_files(part)):
        for path in (*changed, part / SUMS):
            path.unlink(missing_ok=True)
        raise ValueError(f"{changed[0]}: is not the file that was fetched the first time (its SHA-256 differs); the "
                         "source may have changed: look there, and run it again to take what it offers now")
    write_sums(part, source)
    part.replace(folder)


def _carried_repo(item: Public, carried: Path) -> dict[str, Path]:
    """The files of a hub repository in the first folder below `carried` that has its first file and weights."""
    for first in sorted(carried.rglob(item.patterns[0])):
        paths = {path.relative_to(first.parent).as_posix(): path
                 for path in first.parent.rglob("*") if path.is_file()}
        names = _wanted(item, paths)
        if any(name.endswith((".safetensors", ".bin")) for name in names):
            return {name: paths[name] for name in names}
    return {}


def _carried_files(item: Public, carried: Path) -> dict[str, Path]:
    """The files of an item below `carried`, all of them or none; instead of an archive its members will do."""
    found = {}
    for name in map(_file_name, item.urls):
        spellings = (name, name.replace("=", "%3D"), name.replace("full-s-v2", "s-full-v2"))
        if paths := [path for spelling in spellings for path in carried.rglob(spelling)]:
            found[name] = paths[0]
    if len(found) == len(item.urls):
        return found
    members = [PurePosixPath(pattern) for pattern in item.patterns]
    return {path.name: path for member in members for path in sorted(carried.rglob(member.name))
            if path.parent.name.lower() == member.parent.name.lower()}

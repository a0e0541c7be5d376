"""Gets what `downloads.TABLE` lists: from its sources, or out of a folder that somebody carried here.

A folder appears only when all its files are whole and checked; until then they gather in a folder beside it.
"""

import fnmatch
import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pooch
import requests
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.utils import filter_repo_objects

from v2a_utils.data.files import complaint, whole_file
from v2a_utils.models.weights import SUMS, damaged_files, sha256, write_sums
from v2a_utils.stacks import downloads
from v2a_utils.stacks.downloads import SUM_IN_NAME, Public, file_name

PATIENCE = 60  # s without a byte
# some servers turn the libraries' own agents away; compressed, a file has another size than it is said to have
HEADERS = {"User-Agent": f"v2a-utils/{version('v2a-utils')} (a notebook collection)", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Remote:
    """One file at its source."""

    name: str
    url: str
    size: int | None  # bytes
    known: str | None  # "md5:..." or "sha256:..." or "blob:...", git's SHA-1 of small files on the hub
    revision: str = ""


def fetch_all(items: list[Public], folders: dict[str, Path], agreed: Callable[[str], bool]) -> bool:
    """Fetch what is missing or damaged of the items; False when `agreed` says no to the size and the licences.

    `agreed` is asked once, with a sentence, before the first byte. ValueError, when all that can be had is there, names
    what could not be.
    """
    missing = [item for item in items if _is_missing(folders[item.name])]
    if not missing:
        return True
    listed, failed = {}, []
    for item in missing:  # each by itself: a source that is down keeps nobody from the others
        try:
            listed[item.name] = survey(item, _commit(folders[item.name]))
        except ValueError as error:
            failed.append(str(error))
    wanted = [item for item in missing if item.name in listed]
    sizes = {name: sum(file.size or 0 for file in files) for name, files in listed.items()}
    lines = [f"  {item.name}: {item.what}; {sizes[item.name] / 1e9:.2g} GB; {item.licence}; from {item.source}"
             for item in wanted]
    if wanted and not agreed("\n".join([f"{sum(sizes.values()) / 1e9:.2g} GB in all are to be fetched:", *lines,
                                        *(f"  cannot be had now: {sentence}" for sentence in failed)])):
        return False
    for item in wanted:
        print(f"{item.name} into {folders[item.name]}", flush=True)
        try:
            fetch(item, listed[item.name], folders[item.name])
        except ValueError as error:
            failed.append(str(error))
    if failed:
        others = f"; the other {len(missing) - len(failed)} are there now" if len(missing) > len(failed) else ""
        raise ValueError("; ".join(failed) + others)
    return True


def take_all(items: list[Public], folders: dict[str, Path], carried: Path) -> None:
    """Take what is missing out of a folder that somebody carried here. ValueError names what it does not hold."""
    if not carried.is_dir():
        raise ValueError(f"{carried}: no such folder")
    absent = [item for item in items if _is_missing(folders[item.name])
              and not take(item, carried, folders[item.name])]
    if absent:
        names = ", ".join(f"{item.name} ({file_name(item.urls[0]) if item.urls else item.repo})" for item in absent)
        raise ValueError(f"{carried}: holds no {names}; all else that was asked for is there now")


def _is_missing(folder: Path) -> bool:
    return not folder.exists() or ((folder / SUMS).is_file() and bool(damaged_files(folder)))


# ------------------------------------------------------------------------------------------------------- the network


def survey(item: Public, commit: str | None = None) -> list[Remote]:
    """The files of an item as its source lists them, before any is fetched; of the newest commit by default.

    ValueError when the source cannot be asked.
    """
    if is_offline_mode():
        raise ValueError(f"{item.name}: HF_HUB_OFFLINE forbids fetching it; set HF_HUB_OFFLINE=0, or carry the files "
                         "here and give their folder with --from")
    return _reporting(item, _hub_files, commit) if item.repo else _reporting(item, _plain_files)


def _commit(folder: Path) -> str | None:
    """The commit of a repository that an earlier run fetched or began to fetch, if any."""
    for listing in (folder / SUMS, _part(folder) / SUMS):
        if listing.is_file() and (found := re.match(r"# .* ([0-9a-f]{40})$", listing.read_text().partition("\n")[0])):
            return found[1]
    return None


def _part(folder: Path) -> Path:
    """Where the files of a folder gather until it is whole."""
    return folder.with_name(f".part-{folder.name}")


def _reporting(item: Public, work: Callable, *more):
    """`work(item, ...)`; whatever goes wrong in it becomes a ValueError of one sentence."""
    try:
        return work(item, *more)
    except Exception as error:
        hint = ", with HF_HUB_DISABLE_XET=1 if it hangs," if item.repo else ""
        raise ValueError(f"{item.name} could not be fetched from {item.source} ({complaint(error)}); run it "
                         f"again{hint} to go on, or carry the files here and give their folder with --from") from error


def _hub_files(item: Public, commit: str | None) -> list[Remote]:
    info = HfApi().model_info(item.repo, revision=commit, files_metadata=True)
    found = filter_repo_objects(info.siblings, allow_patterns=list(item.patterns), key=lambda file: file.rfilename)
    files = [Remote(file.rfilename, item.repo, file.size,
                    f"sha256:{file.lfs.sha256}" if file.lfs else f"blob:{file.blob_id}", info.sha) for file in found]
    if not files:
        raise ValueError("nothing that is needed is there")
    return _without_twins(files)


def _without_twins(files: list[Remote]) -> list[Remote]:
    """Without the pickled twins of safetensors."""
    safe = {Path(file.name).parent for file in files if file.name.endswith(".safetensors")}
    return [file for file in files if not (file.name.endswith(".bin") and Path(file.name).parent in safe)]


def _plain_files(item: Public) -> list[Remote]:
    listed = {}
    if item.zenodo:
        answer = requests.get(f"{downloads.ZENODO}/api/records/{item.zenodo}", timeout=PATIENCE, headers=HEADERS)
        answer.raise_for_status()
        listed = {file["key"]: file for file in answer.json()["files"]}
    return [_plain_file(item, url, listed.get(file_name(url), {})) for url in item.urls]


def _plain_file(item: Public, url: str, listed: dict) -> Remote:
    name, size = file_name(url), listed.get("size")
    if size is None:
        head = requests.head(url, allow_redirects=True, timeout=PATIENCE, headers=HEADERS)
        head.raise_for_status()
        size = int(head.headers["Content-Length"]) if "Content-Length" in head.headers else None
    return Remote(name, url, size, item.sums.get(name) or listed.get("checksum"))


# ------------------------------------------------------------------------------------------------------ whole folders


def fetch(item: Public, files: list[Remote], folder: Path) -> None:
    """Get an item's files, as `survey` lists them, into `folder`, which appears only when all of them are whole.

    An interrupted run leaves its whole files in a folder beside it, and the next run fetches the others; those of the
    hub resume in the middle. A second run waits for the first. Every failure is a ValueError of one sentence.
    """
    with _alone(folder):
        part, missing = _begin(folder)
        if not missing:
            return
        free, size = shutil.disk_usage(part).free, sum(file.size or 0 for file in files)
        size -= sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        if size > free:
            raise ValueError(f"{folder}: {item.name} needs {size / 1e9:.1f} GB more and {free / 1e9:.1f} GB are free; "
                             "make room, or name another folder with V2A_CACHE")
        for file in files:
            _reporting(item, _fetch_file, file, part)
        names = _reporting(item, _unpacked, files, part)
        _finish(item, names, part, folder, f"{item.source} {files[0].revision}".strip())


def take(item: Public, carried: Path, folder: Path) -> bool:
    """Copy an item's files out of a folder that somebody carried here, whatever lies around them; False if not there.

    Files are found by their usual names, also in a clone or in the hub's own cache. ValueError names a damaged one.
    """
    found = _carried_repo(item, carried) if item.repo else _carried_files(item, carried)
    if not found:
        return False
    with _alone(folder):
        part, missing = _begin(folder)
        if missing:
            for name, path in found.items():
                with whole_file(part / name) as temporary:
                    shutil.copyfile(path, temporary)
                _check(part / name, None, item.sums.get(name))
            files = [Remote(name, "", None, None) for name in found]
            _finish(item, _reporting(item, _unpacked, files, part), part, folder, str(carried))
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other runs, in any process, away from a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        held = lock.acquire(timeout=0.1)
    except Timeout:
        print(f"{folder}: another run is working on it; waiting until that is done", flush=True)
        held = lock.acquire()
    with held:
        yield


def _begin(folder: Path) -> tuple[Path, bool]:
    """The folder beside `folder` where its files gather, and whether some are missing. Damaged ones are removed."""
    part = _part(folder)
    if folder.exists():
        bad = damaged_files(folder) if (folder / SUMS).is_file() else []
        if not bad:
            return part, False
        for path in bad:
            print(f"{path}: damaged or missing; it will be replaced", flush=True)
            path.unlink(missing_ok=True)
        folder.rename(part)
    part.mkdir(parents=True, exist_ok=True)
    return part, True


def _fetch_file(item: Public, file: Remote, part: Path) -> None:
    path = part / file.name
    if item.repo:
        hf_hub_download(item.repo, file.name, revision=file.revision, local_dir=part)
    elif not path.is_file() and not (item.patterns and _unzipped(part)):
        pooch.get_logger().setLevel("WARNING")
        pooch.retrieve(file.url, None, file.name, part,
                       downloader=pooch.HTTPDownloader(progressbar=True, timeout=PATIENCE, headers=HEADERS))
    if path.is_file():
        _check(path, file.size, file.known)


def _unzipped(part: Path) -> bool:
    """Whether the pictures of an archive are there already."""
    return (part / SUMS).is_file() and not damaged_files(part)


def _check(path: Path, size: int | None, known: str | None) -> None:
    """Remove a file whose size or checksum is not `size` or `known`, with a ValueError."""
    kind, _, digits = (known or "").partition(":")
    fine = size is None or path.stat().st_size == size
    if fine and kind == "blob":
        content = path.read_bytes()
        fine = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == digits
    elif fine and kind:
        fine = pooch.file_hash(str(path), alg=kind) == digits
    if not fine:
        path.unlink()
        raise ValueError(f"{path}: arrived damaged ({kind or 'its size'} is not what the source says) and was removed")


def _unpacked(item: Public, files: list[Remote], part: Path) -> list[str]:
    """The names of an item's files; an archive is replaced by the members that are wanted of it."""
    if item.repo or not item.patterns:
        return [file.name for file in files]
    for archive in part.glob("*.zip"):
        with zipfile.ZipFile(archive) as content:
            for member in content.namelist():
                if any(fnmatch.fnmatch(member, pattern) for pattern in item.patterns):
                    (part / PurePosixPath(member).name).write_bytes(content.read(member))
        archive.unlink()
    return sorted(path.name for path in part.iterdir() if path.match(item.patterns[0].split("/")[-1]))


def _finish(item: Public, names: list[str], part: Path, folder: Path, source: str) -> None:
    """Compare the files with an earlier download, list their sums, and give the folder its name."""
    if (part / SUMS).is_file() and (changed := damaged_files(part)):
        for path in (*changed, part / SUMS):
            path.unlink(missing_ok=True)
        raise ValueError(f"{changed[0]}: is not the file that was fetched the first time (its SHA-256 differs); the "
                         "source may have changed: look there, and run it again to take what it offers now")
    for path in sorted(part.rglob("*"), reverse=True):  # what a killed run and the libraries left
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.relative_to(part).as_posix() not in names:
            path.unlink()
    for name in names:
        found = SUM_IN_NAME.search(name)
        if found and not sha256(part / name).startswith(found[1]):
            (part / name).unlink()
            raise ValueError(f"{part / name}: arrived damaged (its SHA-256 does not begin so) and was removed")
    write_sums(part, source)
    part.replace(folder)


# ----------------------------------------------------------------------------------------------------- carried by hand


def _carried_repo(item: Public, carried: Path) -> dict[str, Path]:
    """The files of a hub repository in the first folder below `carried` that has its first file and weights."""
    for marker in sorted(carried.rglob(item.patterns[0])):
        root = marker.parent
        paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        names = filter_repo_objects(paths, allow_patterns=list(item.patterns))
        wanted = [Remote(name, "", None, None) for name in names]
        has_weights = any(Path(file.name).suffix in (".safetensors", ".bin") for file in wanted)
        if has_weights and item.sign in marker.read_text():
            return {file.name: paths[file.name] for file in _without_twins(wanted)}
    return {}


def _carried_files(item: Public, carried: Path) -> dict[str, Path]:
    """The files of an item below `carried`, all of them or none; instead of an archive its members will do."""
    found = {}
    for name in map(file_name, item.urls):
        spellings = (name, name.replace("=", "%3D"), name.replace("full-s-v2", "s-full-v2"))
        paths = [path for spelling in spellings for path in sorted(carried.rglob(spelling))]
        found |= {name: paths[0]} if paths else {}
    if len(found) == len(item.urls):
        return found
    if not item.patterns:
        return {}
    folder = PurePosixPath(item.patterns[0]).parent.name.lower()
    return {path.name: path for path in sorted(carried.rglob(PurePosixPath(item.patterns[0]).name))
            if path.parent.name.lower() == folder}

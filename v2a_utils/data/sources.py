"""Data sets behind one interface: SoundWorld, VGGSound, ImageHear, and folders of pictures and sounds paired by name.

Listing is cheap and separate from decoding. A `Listing` holds one `Source` per clip, small enough to be sent to any
process or machine, where its `decode` reads the clip. What a listing leaves out, it names with the reason.
"""

import csv
import hashlib
import io
import json
import os
import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from soundworld import CLASSES, SAMPLE_RATE, draw, make_scene, picture_caption, synthesise

from v2a_utils.data.audio import HEARING_RATE, SOUNDS, audible, load_audio
from v2a_utils.data.files import DATA, complaint
from v2a_utils.data.media import PICTURES, VIDEOS, is_called, kind_of, sample_frames
from v2a_utils.data.splits import SHARES, check_shares, part_of, sample

WORLD_SIZE = 1000  # scenes of a SoundWorld split, which has no end of its own
VGGSOUND_SECONDS = 10
MARGIN = 0.1  # seconds of sound read beyond the window: resampling smears the cut into the last samples
WINDOW = {"window": "pictures and sound of a clip from the same first seconds"}  # setting of a store of films
IMAGEHEAR = tomllib.loads((DATA / "vocabularies" / "imagehear.toml").read_text())  # what its 30 classes are
# of VGGSound's videos, as they are spread: id, start and end in seconds or milliseconds; id and start; the id alone
CLIP_NAMES = [re.compile(rf"(?P<id>.+){end}") for end in (
    r"[_-](?P<start>\d+(?:\.\d+)?)[_-](?P<stop>\d+(?:\.\d+)?)", r"[_-](?P<start>\d+(?:\.\d+)?)", "")]
NAMES_IN_WORDS = "ID_34000_44000, ID_34_44, ID_000034, ID_34 or ID alone, with any suffix of a video"
IMAGEHEAR_NAME = re.compile(rf"({'|'.join(IMAGEHEAR['right'])})\d+\.jpg", re.IGNORECASE)


@dataclass(frozen=True)
class Clip:
    """A decoded clip: what the encoders look at and listen to."""

    frames: list[Image.Image]  # RGB, one for a picture
    waveform: np.ndarray | None  # (samples,) float32, mono; None for a picture without a sound
    sample_rate: int  # Hz


@dataclass(frozen=True)
class FileSource:
    """A clip in files: a picture or video, and its sound in a file of its own or in the video."""

    id: str
    label: str | None
    split: str | None
    visual: str  # path of the picture or video
    sound: str | None  # path of the sound file or video; None for a picture without a sound
    caption: str | None = None

    def decode(self, frame_rate: float, choose: Callable[[int], Sequence[int]], seconds: float) -> Clip:
        """The first `seconds`: the frames, `frame_rate` a second, that `choose` picks, and the sound with a MARGIN.

        Frames and sound come from the same seconds: what a longer film shows later is not heard in them. Raises
        ValueError with one sentence that names the file when one of them cannot be read.
        """
        frames = sample_frames(self.visual, frame_rate, choose, seconds)
        # by way of 16 kHz, as AudioLDM's own sounds reach its CLAP: nothing above 8 kHz may come through
        heard = self.sound and audible(load_audio(self.sound, HEARING_RATE, seconds + MARGIN), self.sound)
        return Clip(frames, heard, HEARING_RATE)


@dataclass(frozen=True)
class WorldSource:
    """A scene of SoundWorld, drawn and synthesised when it is decoded."""

    id: str
    label: str
    split: str
    caption: str
    seed: int
    index: int

    def decode(self, frame_rate: float, choose: Callable[[int], Sequence[int]], seconds: float) -> Clip:
        """The picture, as the only frame, and the whole sound, whatever is asked for."""
        scene = make_scene(self.split, self.index, self.seed)
        return Clip([draw(scene)], synthesise(scene), SAMPLE_RATE)


Source = FileSource | WorldSource


@dataclass(frozen=True)
class Listing:
    """The clips of a data set in a fixed order, and (name, reason) of each that was left out."""

    name: str
    sources: list[Source]
    left_out: list[tuple[str, str]]
    has_sounds: bool = True
    settings: dict[str, str] = field(default_factory=dict)  # for a store's metadata: what shapes its rows

    def sample(self, limit: int | None, seed: int = 0) -> "Listing":
        """The same listing with at most `limit` clips, drawn at random: listings are sorted, often by class.

        Fewer clips are the first of more, so that a store can grow. Of SoundWorld, whose scenes are random by
        themselves, they are the first scenes.
        """
        if limit is None or all(isinstance(source, WorldSource) for source in self.sources):
            return replace(self, sources=self.sources[:limit])
        chosen = sample([source.id for source in self.sources], limit, seed)
        return replace(self, sources=[self.sources[place] for place in chosen])

    def summary(self) -> str:
        """What was found, and how much was left out and why, in a few lines."""
        labels, splits = (Counter(getattr(source, key) for source in self.sources) for key in ("label", "split"))
        parts = [f"{split} {number}" for split, number in splits.items() if split]
        classes = len(labels.keys() - {None})
        parts += [f"{classes} classes"] if classes else []
        lines = [f"{self.name}: {len(self.sources)} clips" + (f" ({', '.join(parts)})" if parts else "")]
        if "splits" in self.settings:
            lines.append(f"split by a hash of the ids in shares of {self.settings['splits']}")
        for reason, number in Counter(reason for _, reason in self.left_out).most_common():
            example = next(name for name, its_reason in self.left_out if its_reason == reason)
            lines.append(f"left out {number}: {reason} ({'such as ' if number > 1 else ''}{example})")
        return "\n".join(lines)


def open_source(source: str, clips: str | Path | None = None, seed: int = 0, limit: int | None = None,
                shares: tuple[float, ...] | None = None) -> Listing:
    """The listing that a command's SOURCE stands for, at most `limit` clips of it (a random sample), with splits.

    `soundworld:SPLIT` is SoundWorld (1,000 scenes without a limit); a .csv file is VGGSound, with its clips in the
    folder `clips`; a folder is ImageHear if all it holds are pictures named that way, else a folder of pairs. `shares`
    of train, val and test are for data sets without splits of their own (None: 80, 10, 10); the others refuse them.
    ValueError says what is wrong with a source, or that there is no clip in it.
    """
    listing = _open(source, clips, seed, limit)
    if not listing.sources:
        raise ValueError(f"{source}: no clip in it. " + listing.summary().replace("\n", "; "))
    opened = json.dumps({"source": source if source.startswith("soundworld:") else str(Path(source).absolute()),
                         "seed": seed, "clips": None if clips is None else str(Path(clips).absolute())})
    return with_splits(replace(listing, settings=listing.settings | {"source": opened}), shares).sample(limit, seed)


def reopen(opened: str, clips: int) -> Listing:
    """The listing that a store was made from, by its setting "source" and its number of clips."""
    given = json.loads(opened)
    return open_source(**given, limit=clips if given["source"].startswith("soundworld:") else None)


def with_splits(listing: Listing, shares: tuple[float, ...] | None = None) -> Listing:
    """The listing with a split for every clip, by a hash of its id (`splits.part_of`) where it has none yet.

    Of a data set with train and test but no val, such as VGGSound, a part of train becomes val by the same hash.
    ValueError for `shares` of a data set with splits of its own.
    """
    there, wanted = {source.split for source in listing.sources}, check_shares(shares or SHARES)
    train, val, test = (f"{share:g}" for share in wanted)
    if there == {None}:
        sources = [replace(source, split=part_of(source.id, wanted)) for source in listing.sources]
        said = f"train {train}, val {val}, test {test}"
    elif there == {"train", "test"}:
        own = (*wanted[:2], 0.0)
        sources = [replace(source, split=part_of(source.id, own)) if source.split == "train" else source
                   for source in listing.sources]
        said = f"of its own train {train} train, {val} val; its test as it is"
    elif shares is not None:
        raise ValueError(f"{listing.name}: has splits of its own; leave out --splits")
    else:
        return listing
    return replace(listing, sources=sources, settings=listing.settings | {"splits": said})


def _open(source: str, clips: str | Path | None, seed: int, limit: int | None) -> Listing:
    if source.startswith("soundworld:"):
        return soundworld(source.removeprefix("soundworld:"), WORLD_SIZE if limit is None else limit, seed)
    if Path(source).suffix.lower() == ".csv":
        if clips is None:
            raise ValueError(f"{source}: a VGGSound list needs the folder of its videos: give --clips FOLDER")
        return vggsound(source, Path(clips).absolute())  # absolute, for processes that run elsewhere
    if Path(source).is_dir():
        names = [path.name for path in Path(source).iterdir() if path.name[0] != "."]
        is_imagehear = names and all(IMAGEHEAR_NAME.fullmatch(name) for name in names)
        return (imagehear if is_imagehear else pairs)(Path(source).absolute())
    raise ValueError(f"{source}: neither a folder nor a .csv file nor soundworld:SPLIT")


def soundworld(split: str, count: int, seed: int = 0) -> Listing:
    """The first `count` scenes of a SoundWorld split; the label is the main thing's class."""
    scenes = [make_scene(split, index, seed) for index in range(count)]
    return Listing(f"SoundWorld {split}", [
        WorldSource(scene.id, scene.label, split, picture_caption(scene), seed, scene.index) for scene in scenes
    ], [], settings={"soundworld": world_code()})


@cache
def world_code() -> str:
    """SHA-256 of that part of SoundWorld's source that decides what its scenes look and sound like."""
    files = sorted(Path(make_scene.__code__.co_filename).parent.glob("*.py"))
    deciding = [path for path in files if path.stem not in ("layouts", "measures")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in deciding)).hexdigest()


def vggsound(listing: str | Path, clips: str | Path) -> Listing:
    """VGGSound: its official CSV (YouTube id, start second, label, split) and a folder of videos.

    The videos lie in the folder or at any depth below it, under any of CLIP_NAMES. A clip's sound is taken from a sound
    file of such a name, there or in a folder wav/ beside it, else from the video.
    """
    folder = Path(clips)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give --clips the folder of VGGSound's videos")
    rows, left_out, sources, seen = _vggsound_rows(Path(listing)), [], [], set()
    known: dict[str, set[int]] = defaultdict(set)
    for youtube_id, start, _, _ in rows:
        known[youtube_id].add(start)
    files = _files(folder, left_out)
    videos, unknown = _by_clip((path for path in files if is_called(path, "video")), known)
    beside = _files(folder.parent / "wav", left_out) if folder.name == "video" else []
    waves, _ = _by_clip((path for path in files + beside if path.suffix.lower() in SOUNDS), known)
    for youtube_id, start, label, split in rows:
        name = f"{youtube_id}_{start * 1000}_{(start + VGGSOUND_SECONDS) * 1000}"
        key = (youtube_id, start)
        if key in seen:
            left_out.append((name, "listed twice"))
        elif key not in videos:
            left_out.append((name, f"no video of it in the folder or below under the usual names ({NAMES_IN_WORDS})"))
        else:
            sources.append(FileSource(name, label, split, videos[key], waves.get(key, videos[key])))
        seen.add(key)
    left_out += [(_printable(path.stem), "not in the list") for path in unknown]
    ours = rows and {label for _, _, label, _ in rows} <= set(CLASSES)  # VGGSound's say more: "dog barking"
    return Listing("films of SoundWorld" if ours else "VGGSound", sources, left_out, settings=WINDOW)


def _by_clip(paths: Iterable[Path], known: dict[str, set[int]]) -> tuple[dict[tuple[str, int], str], list[Path]]:
    """(YouTube id, start in seconds) -> path of each clip that is known, and the paths of all others."""
    found, unknown = {}, []
    for path in paths:
        key = _clip_of(path.stem, known)
        if key is None:
            unknown.append(path)
        else:
            found.setdefault(key, str(path))
    return found, unknown


def _clip_of(stem: str, known: dict[str, set[int]]) -> tuple[str, int] | None:
    """YouTube id and start in seconds by a file's name. An id may look like an id and a start: those known decide."""
    for pattern in CLIP_NAMES:
        match = pattern.fullmatch(stem)
        if not match or (name := match["id"]) not in known:
            continue
        if "start" not in match.groupdict():
            return (name, *known[name]) if len(known[name]) == 1 else None
        start, stop = float(match["start"]), float(match.groupdict().get("stop") or match["start"])
        for unit in (1000, 1) if stop - start >= 1000 else (1, 1000):
            if start / unit in known[name]:
                return name, int(start / unit)
    return None


def csv_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file, also as a spreadsheet writes it: with a byte-order mark, semicolons or tabs, spaces."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        mark = max(",;\t", key=text.partition("\n")[0].count)
        return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file that can be read ({complaint(error, path)})") from error


def _vggsound_rows(path: Path) -> list[tuple[str, int, str, str]]:
    """The rows of the list, without the names of its columns."""
    found = []
    for number, row in enumerate(csv_rows(path), start=1):
        if not any(row) or (number == 1 and len(row) == 4 and row[3].lower() not in ("train", "test")):
            continue  # an empty row; names of columns
        try:
            name, start, label, split = row
            found.append((name, int(start.removesuffix(".0")), label, split.lower()))
        except ValueError:
            raise ValueError(f"{path}: row {number} is {','.join(row)!r}, not `YouTube id,start second,label,split`"
                             ) from None
    return found


def imagehear(folder: str | Path) -> Listing:
    """ImageHear (Sheffer and Adi 2022): pictures `<class><n>.jpg` of 30 classes, without sounds."""
    sources, left_out = [], []
    for path in sorted(Path(folder).iterdir()):
        if match := IMAGEHEAR_NAME.fullmatch(path.name):
            sources.append(FileSource(path.stem, match[1].lower(), "test", str(path), None))
        else:
            left_out.append((path.name, "not named <class><n>.jpg"))
    return Listing("ImageHear", sources, left_out, has_sounds=False)


def pairs(folder: str | Path) -> Listing:
    """Pictures or videos with sounds of the same base name, in a folder or in its subfolders, known by their content.

    A subfolder's name is the label. A video without such a sound brings its own. The id is the path within the folder
    without suffix, in canonical Unicode.
    """
    found, left_out = defaultdict(list), []
    for path in _files(Path(folder), left_out):
        within = path.relative_to(folder)
        kind = kind_of(path) or _kind_by_name(path)  # a damaged one is named when it is read
        if kind is None:
            left_out.append((_printable(within.as_posix()), "neither a picture, a video nor a sound"))
        else:
            found[_printable(within.with_suffix("").as_posix())].append((kind, str(path)))
    sources = []
    for name, files in sorted(found.items()):
        seen = [path for kind, path in files if kind != "sound"]
        heard = [path for kind, path in files if kind == "sound"] or [path for kind, path in files if kind == "video"]
        if len(seen) == len(heard) == 1:
            sources.append(FileSource(name, name.rpartition("/")[0] or None, None, seen[0], heard[0]))
        elif seen and heard:
            left_out.append((name, "several files that could be its picture or sound"))
        else:
            left_out.append((name, "a picture without a sound of its name" if seen else
                             "a sound without a picture or video of its name"))
    return Listing(f"folder {Path(folder)}", sources, left_out, settings=WINDOW)


def _kind_by_name(path: Path) -> str | None:
    kinds = {"picture": PICTURES, "video": VIDEOS, "sound": SOUNDS}
    return next((kind for kind, suffixes in kinds.items() if path.suffix.lower() in suffixes), None)


def _files(folder: Path, left_out: list[tuple[str, str]]) -> list[Path]:
    """Every file that is not hidden, at any depth, sorted; what cannot be opened goes into `left_out`.

    Links to folders are followed, but no folder is entered twice.
    """
    def refused(error: OSError) -> None:
        left_out.append((_printable(os.path.relpath(error.filename, folder)), "a folder that may not be opened"))

    found, entered = [], set()
    for where, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        if (real := os.path.realpath(where)) in entered:
            folders.clear()
            continue
        entered.add(real)
        for name in (name for name in names if name[0] != "."):
            path = Path(where) / name
            if path.exists():
                found.append(path)
            else:
                left_out.append((_printable(path.relative_to(folder).as_posix()), "a link to nothing"))
    return sorted(found)


def _printable(name: str) -> str:
    """A file name as canonical Unicode, undecodable bytes as escapes, so that any table can hold it."""
    return unicodedata.normalize("NFC", name.encode(errors="backslashreplace").decode())

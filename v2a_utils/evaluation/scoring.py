"""Any two folders of sounds, by whatever system, through the field's measures (the command `score`).

Files are matched by name: the path within the folder, without suffix. Several sounds of a clip lie in folders seed0,
seed1, ... or are numbered as av-benchmark's users do: <id>-0.flac, <id>-1.flac (or <id>_0) beside the reference's
<id>.wav. Features are kept by each file's SHA-256, so a second run is quick and a killed one goes on. Each sound is
taken whole, as in audioldm_eval, or all are cut to one length, as in av-benchmark.

Last, `recompute`: a row of the paper's Table 1 from the sounds that its authors published, with no generator and no
GPU. The paper does not say how long its sounds were heard, nor at which level, so every combination is measured, and
the reader sees which one gives the printed number.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from tqdm.auto import tqdm

from v2a_utils.data.audio import SOUNDS, read_audio
from v2a_utils.data.files import refuse_existing, write_file, write_json, write_table
from v2a_utils.data.media import PICTURES, VIDEOS, load_frames
from v2a_utils.data.sources import csv_rows
from v2a_utils.data.store import Store
from v2a_utils.evaluation.features import Extractor, Features, stack_clips, stack_seeds
from v2a_utils.evaluation.results import PAPER_TABLE
from v2a_utils.evaluation.scorer import LINE_FROM, Rows, Scorer
from v2a_utils.evaluation.settings import BY_HAND, Published
from v2a_utils.metrics.sounds import Interval, clip_scores, student_interval
from v2a_utils.metrics.statistics import CLOUDS
from v2a_utils.models.backbones import AudioBackbone, right_classes
from v2a_utils.options import SCORES
from v2a_utils.sound_files import check_store
from v2a_utils.stacks.places import BACKBONES, public_folders
from v2a_utils.stacks.stack import Stack, load_tagger

NUMBERED = re.compile(r"(.+)[-_](\d+)")
VGGSOUND = re.compile(r"(.{11})_(?:(\d{6})|(\d+)_\d+)")
LOSSY = {".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma"}
LOUDER, WIDER, DISTINCT = 4.0, 1.3, 0.9  # dB, a factor, a share: what is told of sounds beside the reference
TOP = 3  # classes that are told of each sound
AV_BENCHMARK = {  # its names for our numbers, by measure and backbone
    ("FD", "PANNs CNN14 16k"): "FD-PANN", ("FD", "PaSST"): "FD-PASST", ("FAD", "VGGish"): "FD-VGG",
    ("KL softmax", "PANNs CNN14 16k"): "KL-PANNS-softmax", ("KL softmax", "PaSST"): "KL-PASST-softmax",
    ("IS in 10 parts", "PANNs CNN14 16k"): "ISC-PANNS-mean", ("IS in 10 parts", "PaSST"): "ISC-PASST-mean",
}
FETCH = "`python -m v2a_utils fetch --for evaluation` gets it"
LEVELS = {"as published": lambda wave: wave, "peak 1": lambda wave: wave / max(np.abs(wave).max(), 1e-9)}
PRINTED = {"FD": "FD ↓ (VGG)", "FAD": "FAD ↓ (VGG)", "CS": "CS ↑ (VGG)"}  # columns of the paper's table


def score(stack: Stack, sounds: Path, reference: Path, pictures: Path | None = None, labels: Path | None = None,
          out: Path = Path("results/scores"), listeners: Sequence[str] = (), seconds: float | None = None,
          ids: Path | None = None, clips: Path | None = None, overwrite: bool = False) -> pd.DataFrame:
    """Measures of the sounds against the reference sounds of the same names, as a table with 95% intervals.

    listeners: the stack's name for its own (the default), or taggers of `places.TAGGERS`. CS needs `pictures`: a
    folder of them, or a store of embeddings by this stack's CLIP. Accuracy needs `labels`, a CSV with the columns id
    and label. `ids`: a list of ids, one a line; exactly these are measured. `clips`: a .csv or .parquet file for every
    measure of every sound. Writes into `out`: scores.csv; scores.json, which has the notes; output_metrics.json, what
    av-benchmark reports, by its names. ValueError says what does not fit; FileExistsError, before anything is heard,
    which of these files is there already, unless `overwrite`.
    """
    refuse_existing([*(out / name for name in SCORES), *([clips] if clips else [])], overwrite)
    if clips is not None and clips.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{clips}: give a file that ends in .csv or .parquet")
    matched = match_sounds(sounds, reference, ids)
    labelled = _labels(labels, matched.files) if labels else {}  # what is wrong with them is said before the wait
    tables, each, notes = [], [], list(matched.notes)
    for name in listeners or [stack.name]:
        models = ({part: getattr(stack, part) for part in BACKBONES} if name == stack.name
                  else {"tagger": load_tagger(name, stack.device)})
        extractor, tagger = Extractor(models, seconds), models["tagger"]
        heard = _listen(matched, extractor, name, whole=ids is not None)
        names = list(heard)
        seeds = [stack_clips([heard[name][place] for name in names]) for place in range(len(heard[names[0]]))]
        truth, made = seeds[0], stack_seeds(seeds[1:])
        given = [labelled[name] for name in names if labelled]
        right = [right_classes(label.split("+"), tagger.names) for label in given]
        visual = _visual(stack, pictures, names) if pictures and "wav2clip" in models else None
        scorer = Scorer(models, truth, visual, right or None)
        rows = scorer.rows(made)
        scores = [*scorer.scores(rows), *scorer.more_scores(made)]
        tables.append(pd.DataFrame([one.row() for one in scores]).drop(columns=["seed_low", "seed_high"]))
        said = [*_unlabelled(given, right), *extractor.said(), *_unlike(heard), *_one_sided(matched, made),
                *_too_few(tables[-1], scorer.few(made))]
        notes += [note for note in said if note not in notes]
        each.append(_each(names, rows, made, tagger))
    table = pd.concat(tables)
    for note in notes:
        tqdm.write(note)
    if clips is not None and clips.suffix.lower() == ".csv":
        write_table(pd.concat(each), clips)
    elif clips is not None:
        write_file(clips, pd.concat(each).to_parquet(index=False))
    write_table(table, out / "scores.csv")
    rows = json.loads(table.to_json(orient="records"))
    write_json(out / "scores.json", {
        "sounds": str(sounds), "reference": str(reference), "seconds": seconds, "notes": notes,
        "intervals": "95%, over clips, all sounds of a clip together; `interval_by` says how", "scores": rows})
    named = {AV_BENCHMARK[key]: row["value"] for row in rows
             if (key := (row["measure"], row["backbone"])) in AV_BENCHMARK}
    if named:  # none of them is of the mini stack's listeners
        write_json(out / "output_metrics.json", named)
    return table


# ----------------------------------------------------------------------------------------------- files and their names


@dataclass(frozen=True)
class Matched:
    """Clips of which there are a reference sound and all made ones."""

    files: dict[str, list[Path]]  # by the clip's name: the reference sound, then each seed's
    notes: list[str]  # what was left out


def match_sounds(sounds: Path, reference: Path, ids: Path | None = None) -> Matched:
    """The clips that two folders have in common, or exactly those of a list of ids.

    ValueError where there are fewer than two, or an id lacks a sound.
    """
    true = files_by_name(reference, SOUNDS, "sound")
    seeds = _by_seed(sounds, true)
    if ids is not None:
        wanted = read_ids(ids)
        true, seeds = only(true, wanted, reference), [only(seed, wanted, sounds) for seed in seeds]
    names = [name for name in true if all(name in seed for seed in seeds)]
    if len(names) < 2:
        raise ValueError(f"{sounds} and {reference}: {len(names)} name(s) in common, where two or more are needed "
                         f"(there lie {next(iter(seeds[0]))} and {next(iter(true))}, for example)")
    notes = []
    for what, files in (("reference", true), *((f"sounds, seed {number}", seed) for number, seed in enumerate(seeds))):
        if unmatched := len(files) - len(names):
            notes.append(f"{unmatched} of {len(files)} files of {what} have no partner and are left out")
    return Matched({name: [true[name], *(seed[name] for seed in seeds)] for name in names}, notes)


def files_by_name(folder: Path, suffixes: Collection[str], what: str, remedy: str = "") -> dict[str, Path]:
    """Path of every file of a folder with one of the suffixes, at any depth, by its name.

    ValueError for a folder that holds none ("no `what` file in it"), or two of one name.
    """
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
        raise ValueError(f"{folder}: no {what} file in it{remedy}")
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


def only(files: dict[str, Path], ids: list[str], folder: Path, what="sound", remedy="") -> dict[str, Path]:
    """The files of these ids, in their order and by them. ValueError names one that is lacking or there twice."""
    wanted, known = set(map(same_clip, ids)), {}
    for name, path in files.items():
        if known.setdefault(same_clip(name), path) != path and same_clip(name) in wanted:
            raise ValueError(f"{folder}: {known[same_clip(name)]} and {path} are both the {what} of {same_clip(name)}")
    if lacking := [name for name in ids if same_clip(name) not in known]:
        raise ValueError(f"{folder}: has no {what} of {lacking[0]} ({len(lacking)} of {len(ids)} lacking){remedy}")
    return {name: known[same_clip(name)] for name in ids}


def _by_seed(folder: Path, known: Collection[str]) -> list[dict[str, Path]]:
    """The sounds of each seed: of the subfolders seed0, seed1, ... where there are such, else by the files' numbers."""
    parts = [part for part in folder.glob("seed*") if part.is_dir()]
    if parts:
        parts.sort(key=lambda part: (len(part.name), part.name))
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


def _visual(stack: Stack, pictures: Path, names: list[str]) -> np.ndarray:
    """CLIP's embeddings of the pictures of these names, from a store or files (of a video, the mean of its frames)."""
    store, embedded = Store(pictures), {}
    if store.shards():
        check_store(stack, store)
        embedded = dict(zip(map(str, store.numpy("id")), store.numpy("visual")))
    files = embedded or files_by_name(pictures, PICTURES | VIDEOS, "picture")
    if lacking := [name for name in names if name not in files]:
        raise ValueError(f"{pictures}: has no picture of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    if embedded:
        return np.stack([embedded[name] for name in names])
    return np.stack([stack.vision.embed_frames(load_frames(files[name]))
                     for name in tqdm(names, "pictures", unit="picture")])


def _labels(path: Path, names: Collection[str]) -> dict[str, str]:
    """The label of each clip by a CSV; several of one clip are joined by +."""
    columns, *rows = [row for row in csv_rows(path) if any(row)] or [[]]
    if not {"id", "label"} <= set(columns):
        raise ValueError(f"{path}: its columns are {', '.join(columns) or 'none'}; id and label are needed")
    known = {row[columns.index("id")]: row[columns.index("label")] for row in rows if len(row) == len(columns)}
    if lacking := [name for name in names if name not in known]:
        raise ValueError(f"{path}: has no label of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    return {name: known[name] for name in names}


def _listen(clips: Matched, extractor: Extractor, title: str, whole: bool) -> dict[str, list[dict[str, np.ndarray]]]:
    """What the extractor finds in each file of the clips of which all could be read.

    ValueError for too few clips, or, where the `whole` list was asked for, for one that cannot be read.
    """
    heard = {name: [extractor(path) for path in paths]
             for name, paths in tqdm(clips.files.items(), f"features {title}", unit="clip")}
    heard = {name: found for name, found in heard.items() if all(one is not None for one in found)}
    if len(heard) < (len(clips.files) if whole else 2):
        few = "not all of the ids" if whole else "fewer than two clips"
        raise ValueError(f"{few} could be read: {'; '.join(extractor.said())[:300]}")
    return heard


# -------------------------------------------------------------------------------------------------- tables and notes


def _each(names: list[str], rows: Rows, made: Features, tagger: AudioBackbone) -> pd.DataFrame:
    """Every measure of every sound, to sort by and to listen: a row a clip and seed.

    Of FD, FAD, KAD and IS, which are of all sounds together, the columns hold by how much the value would change for
    each share that the clip's weight among all of them grew: the large ones of FD are the clips that spoil it.
    """
    tables = []
    for seed in range(made.logits.shape[1]):
        shares = softmax(made.logits[:, seed], 1)
        told = ["; ".join(f"{tagger.names[place]} {one[place]:.0%}" for place in np.argsort(-one)[:TOP])
                for one in shares]
        columns = {name: values[:, min(seed, values.shape[1] - 1)] for name, values in rows.items()}
        for name in set(CLOUDS) & columns.keys():
            columns[f"{name}, contribution"] = columns.pop(name) - rows[name][:, seed].mean()
        tables.append(pd.DataFrame({"id": names, "seed": seed, "backbone": tagger.backbone} | columns
                                   | {"top classes": told}))
    return pd.concat(tables)


def _too_few(table: pd.DataFrame, measures: Collection[str]) -> Iterator[str]:
    """Notes on distances that too few clips bias."""
    rows = {row.measure: row for row in table.itertuples()}
    for name in measures:
        row, endless = rows[name], rows.get(f"{name} at infinite n")
        line = (f"extrapolated to infinite n it is {endless.value:.4g} [{endless.low:.4g}, {endless.high:.4g}]"
                if endless else f"from {LINE_FROM} clips on it is extrapolated to infinite n")
        yield (f"{name} by {row.backbone}: {row.n} clips are few for a Fréchet distance of its features, which "
               f"raises it; it is {row.value:.4g}, and {line}")


def _unlike(heard: dict[str, list[dict[str, np.ndarray]]]) -> Iterator[str]:
    """Notes on rates and lengths that differ."""
    groups = {"reference": [found[0] for found in heard.values()],
              "sounds": [one for found in heard.values() for one in found[1:]]}
    rates = {what: Counter(f"{one['rate']:.0f} Hz" for one in found) for what, found in groups.items()}
    lengths = {what: [float(one["seconds"]) for one in found] for what, found in groups.items()}
    if len(set().union(*rates.values())) > 1:
        said = "; ".join(f"{what}: {', '.join(each)}" for what, each in rates.items())
        yield (f"sample rates differ ({said}): each backbone gets all sounds at its own rate, but what lies above half "
               "the rate of a file is not in it")
    else:
        yield from _unlike_pairs(heard)
    if max(map(max, lengths.values())) - min(map(min, lengths.values())) > 0.05:
        said = "; ".join(f"{what}: {min(each):.2f} to {max(each):.2f} s" for what, each in lengths.items())
        yield f"lengths differ ({said}): each sound is heard whole; --seconds cuts all of them"


def _unlike_pairs(heard: dict[str, list[dict[str, np.ndarray]]]) -> Iterator[str]:
    """Notes on levels and bandwidths that differ from those of the reference sounds, by the median over all pairs."""
    pairs = [(true, one) for true, *made in heard.values() for one in made]
    louder = float(np.median([one["level"] - true["level"] for true, one in pairs]))
    if abs(louder) > LOUDER:
        yield (f"the sounds are {abs(louder):.0f} dB {'louder' if louder > 0 else 'softer'} than the reference: FD, "
               "FAD and KAD count a level as a difference")
    wider = float(np.median([one["bandwidth"] / true["bandwidth"] for true, one in pairs]))
    if not 1 / WIDER < wider < WIDER:
        reach = [np.median([float(pair[side]["bandwidth"]) for pair in pairs]) / 1000 for side in (1, 0)]
        yield (f"the sounds reach up to {reach[0]:.1f} kHz, the reference up to {reach[1]:.1f} kHz: distances measure "
               "that as well")


def _one_sided(matched: Matched, made: Features) -> Iterator[str]:
    """Notes on sounds that are there several times, and on a codec that only one folder went through."""
    for seed in range(made.features.shape[1]):
        different = len(np.unique(made.features[:, seed].round(4), axis=0))
        if different < DISTINCT * len(made.features):
            yield (f"only {different} of {len(made.features)} sounds differ from each other: accuracy does not "
                   "see that, and IS counts it as better")
            break
    lossy = {what for true, *rest in matched.files.values() for what, files in (("reference", [true]), ("sounds", rest))
             if any(path.suffix.lower() in LOSSY for path in files)}
    if len(lossy) == 1:
        yield f"only the {lossy.pop()} went through a lossy codec, such as mp3: distances measure that as well"


def _unlabelled(labels: list[str], right: list[frozenset[str]]) -> Iterator[str]:
    """A note on labels that the tagger has no class for."""
    if strange := sorted({label for label, found in zip(labels, right) if not found}):
        yield (f"the tagger has no class for {', '.join(strange[:3])}{' and others' if strange[3:] else ''}; accuracy "
               f"is over the other {sum(map(bool, right))} of {len(right)} clips")


# ------------------------------------------------------------------------------------------------- published sounds


def recompute(settings: Published, stack: Stack, overwrite: bool = False) -> pd.DataFrame:
    """Every measure that the files allow beside the paper's, a row a protocol; also written as OUT/published.csv.

    Columns: measure, data, seconds (all sounds cut to that length, or whole), level, rate (Hz, at which the backbone
    hears), value with its 95% interval over items, n, paper. ValueError names what is missing and its remedy;
    FileExistsError a file that would be replaced, unless `overwrite`.
    """
    settings.check(overwrite)
    if settings.system not in PAPER_TABLE.index:
        raise ValueError(f"no system {settings.system!r} in the paper's table: {', '.join(PAPER_TABLE.index)}")
    names = ("measure", "data", "seconds", "level", "rate", *Interval._fields, "paper")
    table = pd.DataFrame([*_imagehear(settings, stack), *_vggsound(settings, stack, overwrite)], columns=names)
    write_table(table, Path(settings.out) / "published.csv")
    return table


def nearest(table: pd.DataFrame) -> str:
    """In a sentence, which protocol comes nearest to the printed CS on ImageHear, and whether its interval holds it."""
    rows = table[table.data == "ImageHear"]
    row = rows.loc[(rows.value - rows.paper).abs().idxmin()]
    return (f"nearest to the printed {row.paper:.3f}: seconds {row.seconds}, level {row.level}, at {row.rate} Hz, CS "
            f"{row.value:.3f}; its interval {'holds' if row.low <= row.paper <= row.high else 'misses'} that")


def _imagehear(settings: Published, stack: Stack) -> Iterator[dict]:
    """CS on ImageHear, whole and cut, at the published level and at peak 1."""
    fetched = public_folders()
    ids = read_ids(Path(settings.ids or fetched["v2a-mapper"] / "imagehear_id.txt"))
    folders = Path(settings.sounds), Path(settings.pictures or fetched["imagehear"])
    by_hand, fetch = f"; {BY_HAND}", f"; {FETCH}"
    made = only(files_by_name(folders[0], SOUNDS, "sound", by_hand), ids, folders[0], "sound", by_hand)
    pictures = only(files_by_name(folders[1], PICTURES, "picture", fetch), ids, folders[1], "picture", fetch)
    visual = np.stack([stack.vision.embed_frames(load_frames(path)) for path in tqdm(pictures.values(), "pictures")])
    sounds = [read_audio(path) for path in made.values()]
    for seconds, level in product((None, settings.seconds), LEVELS):
        heard = [stack.wav2clip.embed([LEVELS[level](wave[: seconds and round(seconds * rate)])], rate)
                 for wave, rate in tqdm(sounds, f"CS, {seconds or 'whole'}, {level}")]
        interval = student_interval(clip_scores(visual, np.concatenate(heard)))
        yield {"measure": "CS", "data": "ImageHear", "seconds": seconds or "whole", "level": level,
               "rate": stack.wav2clip.sample_rate} | interval._asdict() | {
                   "paper": PAPER_TABLE["CS ↑ (ImageHear)"][settings.system]}


def _vggsound(settings: Published, stack: Stack, overwrite: bool) -> Iterator[dict]:
    """FD, FAD and, with pictures or videos, CS on the test split of VGGSound, by `score`; nothing without sounds."""
    if not settings.vggsound:
        return
    found = score(stack, Path(settings.vggsound), Path(settings.reference), settings.videos and Path(settings.videos),
                  out=Path(settings.out) / "vggsound", seconds=settings.seconds, overwrite=overwrite)
    for row in found[found.measure.isin(list(PRINTED))].rename(columns={"sample_rate": "rate"}).to_dict("records"):
        yield row | {"data": "VGGSound", "seconds": settings.seconds, "level": "as published",
                     "paper": PAPER_TABLE[PRINTED[row["measure"]]][settings.system]}

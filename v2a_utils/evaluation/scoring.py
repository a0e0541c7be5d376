"""Any two folders of sounds, by whatever system, through the field's measures (the command `score`).

Files are matched by their path within the folder, without suffix. Features are kept by the SHA-256 of each file, so a
second run is quick and a killed one goes on. What is missing, unreadable, silent, short or of another rate is said.
"""

import hashlib
import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from v2a_utils.data.audio import SOUNDS, load_audio
from v2a_utils.data.files import whole_file, write_json, write_table
from v2a_utils.data.store import Store
from v2a_utils.evaluation.features import Features
from v2a_utils.evaluation.scorer import Scorer
from v2a_utils.models.audioset import right_classes
from v2a_utils.models.stacks import Stack
from v2a_utils.models.tagger import FRAME
from v2a_utils.models.weights import sha256, state_sha256

CACHE = Path("results/features")
SILENT = 1e-5  # highest sample of a sound that counts as silent


def sound_files(folder: Path) -> dict[str, Path]:
    """Path of every sound file of a folder, at any depth, by its name: the path within it without suffix.

    ValueError for a folder that holds none, or two of one name.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of sounds")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        if path.suffix.lower() not in SOUNDS or not path.is_file() or any(part[0] == "." for part in within.parts):
            continue
        name = unicodedata.normalize("NFC", within.with_suffix("").as_posix())
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {path.name} are both the sound {name}; keep one of them")
        found[name] = path
    if not found:
        raise ValueError(f"{folder}: no sound file in it")
    return found


def seed_folders(folder: Path) -> list[dict[str, Path]]:
    """The sounds of each seed: of the subfolders seed0, seed1, ... where there are such, else of the folder itself."""
    parts = sorted(folder.glob("seed*"), key=lambda part: (len(part.name), part.name)) if folder.is_dir() else []
    return [sound_files(part) for part in parts if part.is_dir()] or [sound_files(folder)]


class Extractor:
    """Features of sound files by the evaluating models of a stack, kept on disk by the files' SHA-256."""

    def __init__(self, stack: Stack):
        self.models = {name: getattr(stack, name) for name in ("tagger", "framewise", "wav2clip")}
        key = " ".join(state_sha256(model.model) for model in self.models.values())
        self.folder = CACHE / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.notes: dict[str, str] = {}  # what is wrong or unusual, by file

    def __call__(self, path: Path) -> dict[str, np.ndarray] | None:
        """Arrays by the names of `Features`, and "seconds" and "peak"; None for a file that cannot be read."""
        kept = self.folder / f"{sha256(path)}.npz"
        if not kept.is_file():
            try:
                found = self._extract(path)
            except ValueError as error:
                self.notes[str(path)] = f"left out: {error}"
                return None
            with whole_file(kept) as temporary, open(temporary, "wb") as file:
                np.savez(file, **found)
        with np.load(kept) as content:
            found = dict(content)
        if found["peak"] < SILENT:
            self.notes[str(path)] = f"{path}: is silent; it is measured as it is"
        elif found["seconds"] < FRAME:
            self.notes[str(path)] = f"{path}: is shorter than {FRAME} s; it is filled with silence to that length"
        return found

    def _extract(self, path: Path) -> dict[str, np.ndarray]:
        found = {}
        for name, model in self.models.items():
            rate = model.sample_rate
            wave = load_audio(path, rate)
            filled = np.pad(wave, (0, max(round(FRAME * rate) - len(wave), 0)))  # less is nothing to networks that pool
            if name == "tagger":
                found["features"] = model.features([filled], rate)[0]
                found["logits"] = model.classify(found["features"][None])[0]
                found |= {"seconds": np.float64(len(wave) / rate), "peak": np.float64(np.abs(wave).max())}
            else:
                output = model.frames if name == "framewise" else model.embed
                found["frames" if name == "framewise" else "clip"] = output([filled], rate)[0]
        return found


def score(stack: Stack, sounds: Path, reference: Path, pictures: Path | None = None, labels: Path | None = None,
          out: Path = Path("results/scores"), draws: int = 200) -> pd.DataFrame:
    """Measures of the sounds against the reference sounds of the same names, as a table with 95% intervals.

    Writes scores.csv, and scores.json with the notes, into `out`. CS needs `pictures`, a store of embeddings by this
    stack's CLIP; accuracy needs `labels`, a CSV with the columns id and label. ValueError says what does not fit.
    """
    true, made = sound_files(reference), seed_folders(sounds)
    names = [name for name in true if all(name in seed for seed in made)]
    if len(names) < 2:
        raise ValueError(f"{sounds} and {reference}: {len(names)} name(s) in common, where two or more are needed")
    extractor, notes = Extractor(stack), []
    for what, others in (("reference", true), *((f"sounds, seed {seed}", made[seed]) for seed in range(len(made)))):
        if unmatched := len(others) - len(names):
            notes.append(f"{unmatched} of {len(others)} files of {what} have no partner and are left out")
    rows = {name: [extractor(path) for path in (true[name], *(seed[name] for seed in made))]
            for name in tqdm(names, "features", unit="clip")}
    rows = {name: found for name, found in rows.items() if all(one is not None for one in found)}
    notes += extractor.notes.values()
    if len(rows) < 2:
        raise ValueError(f"{sounds}: fewer than two sounds could be read: {'; '.join(notes)[:300]}")
    truth = _features([found[0] for found in rows.values()])
    right = _right(labels, list(rows), extractor.models["tagger"].names) if labels else None
    scorer = Scorer(extractor.models, truth, _visual(stack, pictures, list(rows)) if pictures else None, right, draws)
    parts = [_features([found[1 + seed] for found in rows.values()]) for seed in range(len(made))]
    stacked = Features(*(np.stack([getattr(part, name) for part in parts], 1) for name in vars(parts[0])))
    table = pd.DataFrame([
        {"measure": one.measure} | one.interval._asdict() | {"seeds": len(one.by_seed), "backbone": one.backbone,
                                                             "sample_rate": one.sample_rate}
        for one in scorer.scores(stacked)])
    for note in notes:
        tqdm.write(note)
    write_table(table, out / "scores.csv")
    write_json(out / "scores.json", {"sounds": str(sounds), "reference": str(reference), "notes": notes,
                                     "scores": json.loads(table.to_json(orient="records"))})
    return table


def _features(rows: list[dict[str, np.ndarray]]) -> Features:
    frames = [row["frames"] for row in rows]
    if len({len(one) for one in frames}) == 1:
        together = np.stack(frames)
    else:
        together = np.empty(len(frames), object)
        together[:] = frames
    return Features(np.stack([row["logits"] for row in rows]), np.stack([row["features"] for row in rows]), together,
                    np.stack([row["clip"] for row in rows]), np.zeros((len(rows), 0)))


def _visual(stack: Stack, pictures: Path, names: list[str]) -> np.ndarray:
    """CLIP's embeddings of the pictures of these names, out of a store."""
    store = Store(pictures)
    if not store.shards():
        raise ValueError(f"{pictures}: no store of embeddings; make one of the pictures with `python -m v2a_utils embed`")
    if store.settings.get("clip_sha256") != state_sha256(stack.vision.model):
        raise ValueError(f"{pictures}: was embedded by another CLIP than that of the stack {stack.name}")
    places = {str(name): place for place, name in enumerate(store.numpy("id"))}
    if lacking := [name for name in names if name not in places]:
        raise ValueError(f"{pictures}: has no picture of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    return store.numpy("visual")[[places[name] for name in names]]


def _right(labels: Path, names: list[str], classes: list[str]) -> list[frozenset[str]]:
    """Which classes are right for each sound, by a CSV of labels; several of one id are parted by +."""
    try:
        table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{labels}: not a CSV file that can be read ({error})") from error
    if not {"id", "label"} <= set(table.columns):
        raise ValueError(f"{labels}: its columns are {', '.join(table.columns)}; id and label are needed")
    known = dict(zip(table.id, table.label))
    if lacking := [name for name in names if name not in known]:
        raise ValueError(f"{labels}: has no label of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    return [right_classes(known[name].split("+"), classes) for name in names]

"""Any two folders of sounds, by whatever system, through the field's measures (the command `score`).

Features are kept by each file's SHA-256, so a second run is quick and a killed one goes on. Notes say what is left
out or unusual. Channels are averaged, as in av-benchmark and fadtk; audioldm_eval takes the first. Every backbone gets
every sound at its own rate, resampled by soxr from whatever rate the file has; the other programs use the filters of
torchaudio or resampy (tests/benchmarks/parity.py measures how much that matters). Each sound is heard whole, as in
audioldm_eval, or all are cut to one length, as in av-benchmark. A sound shorter than a frame of FAD, 0.96 s, is padded
with silence; PaSST, which needs 10 s, pads or cuts every sound to that.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from v2a_utils.data.audio import read_audio
from v2a_utils.data.files import cache_folder, whole_file, write_json, write_table
from v2a_utils.data.media import PICTURES, VIDEOS, load_frames
from v2a_utils.data.store import Store
from v2a_utils.evaluation.features import Features, stack_clips, stack_seeds
from v2a_utils.evaluation.scorer import LINE_FROM, FieldScorer
from v2a_utils.evaluation.sound_folders import Matched, files_by_name, match_sounds
from v2a_utils.models.backbones import FRAME, AudioBackbone, right_classes
from v2a_utils.models.weights import sha256, state_sha256
from v2a_utils.stacks.stack import BACKBONES, Stack, load_tagger

FORMAT = 2  # of what is kept there
SILENT = 1e-5  # highest sample of a sound that counts as silent
AV_BENCHMARK = {  # its names for our numbers, by measure and backbone
    ("FD", "PANNs CNN14 16k"): "FD-PANN", ("FD", "PaSST"): "FD-PASST", ("FAD", "VGGish"): "FD-VGG",
    ("KL softmax", "PANNs CNN14 16k"): "KL-PANNS-softmax", ("KL softmax", "PaSST"): "KL-PASST-softmax",
    ("IS in 10 parts", "PANNs CNN14 16k"): "ISC-PANNS-mean", ("IS in 10 parts", "PaSST"): "ISC-PASST-mean",
}


class Extractor:
    """Features of sound files by audio backbones (tagger, and framewise, wav2clip), kept on disk by the files' SHA-256.

    `seconds` cuts longer sounds; None hears them whole.
    """

    def __init__(self, models: dict[str, AudioBackbone], seconds: float | None = None):
        self.models, self.seconds = models, seconds
        key = " ".join([f"{FORMAT} {seconds}", *(state_sha256(model.model) for model in models.values())])
        self.folder = cache_folder("features") / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.notes: dict[str, str] = {}  # what is wrong or unusual, by file

    def __call__(self, path: Path) -> dict[str, np.ndarray] | None:
        """Arrays by the names of `Features`, and "seconds", "rate" and "peak"; None for a file that cannot be read."""
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
        wave, rate = read_audio(path, self.seconds)
        heard = [np.pad(wave, (0, max(round(FRAME * rate) - len(wave), 0)))]  # shorter ones vanish in pooling
        features = self.models["tagger"].features(heard, rate)
        found = {"features": features[0], "logits": self.models["tagger"].classify(features)[0],
                 "seconds": np.float64(len(wave) / rate), "rate": np.float64(rate),
                 "peak": np.float64(np.abs(wave).max())}
        if "framewise" in self.models:
            found["frames"] = self.models["framewise"].frames(heard, rate)[0]
        if "wav2clip" in self.models:
            found["clip"] = self.models["wav2clip"].embed(heard, rate)[0]
        return found


def score(stack: Stack, sounds: Path, reference: Path, pictures: Path | None = None, labels: Path | None = None,
          out: Path = Path("results/scores"), draws: int = 200, listeners: Sequence[str] = (),
          seconds: float | None = None) -> pd.DataFrame:
    """Measures of the sounds against the reference sounds of the same names, as a table with 95% intervals.

    listeners: the stack's name for its own (the default), or taggers of `stacks.TAGGERS`. CS needs `pictures`: a
    folder of them, or a store of embeddings by this stack's CLIP. Accuracy needs `labels`, a CSV with the columns id
    and label. Writes into `out`: scores.csv; scores.json, which has the notes; output_metrics.json, what av-benchmark
    reports, by its names. ValueError says what does not fit.
    """
    clips = match_sounds(sounds, reference)
    tables, notes = [], list(clips.notes)
    for name in listeners or [stack.name]:
        models = ({part: getattr(stack, part) for part in BACKBONES} if name == stack.name
                  else {"tagger": load_tagger(name, stack.device)})
        truth, made, said = _listen(clips, Extractor(models, seconds), name)
        names = list(truth)
        right = _right(labels, names, models["tagger"].names) if labels else None
        visual = _visual(stack, pictures, names) if pictures and "wav2clip" in models else None
        scorer = FieldScorer(models, stack_clips(list(truth.values())), visual, right, draws)
        stacked = stack_seeds([stack_clips(list(seed.values())) for seed in made])
        tables.append(_table(scorer, stacked))
        notes += [note for note in said if note not in notes] + _too_few(tables[-1], scorer.few(stacked))
    table = pd.concat(tables)
    for note in notes:
        tqdm.write(note)
    write_table(table, out / "scores.csv")
    rows = json.loads(table.to_json(orient="records"))
    write_json(out / "scores.json", {
        "sounds": str(sounds), "reference": str(reference), "seconds": seconds, "notes": notes,
        "intervals": "95%, over clips, all sounds of a clip together; `interval_by` says how", "scores": rows})
    write_json(out / "output_metrics.json", {
        AV_BENCHMARK[key]: row["value"] for row in rows if (key := (row["measure"], row["backbone"])) in AV_BENCHMARK})
    return table


def _table(scorer: FieldScorer, made: Features) -> pd.DataFrame:
    return pd.DataFrame([
        {"measure": one.measure} | one.interval._asdict()
        | {"seeds": len(one.by_seed), "backbone": one.backbone, "sample_rate": one.sample_rate,
           "interval_by": one.interval_by} for one in scorer.scores(made)])


def _too_few(table: pd.DataFrame, measures: Collection[str]) -> list[str]:
    """Notes on distances that too few clips bias."""
    rows, notes = {row.measure: row for row in table.itertuples()}, []
    for name in measures:
        row, endless = rows[name], rows.get(f"{name} at infinite n")
        line = (f"extrapolated to infinite n it is {endless.value:.4g} [{endless.low:.4g}, {endless.high:.4g}]"
                if endless else f"from {LINE_FROM} clips on it is extrapolated to infinite n")
        notes.append(f"{name} by {row.backbone}: {row.n} clips are few for a Fréchet distance of its features, which "
                     f"raises it; it is {row.value:.4g}, and {line}")
    return notes


def _listen(clips: Matched, extractor: Extractor, title: str) -> tuple[dict, list[dict], list[str]]:
    """Features of the reference and of each seed's sounds, by clip, and notes. ValueError for too few clips."""
    rows = {name: [extractor(path) for path in (path, *clips.made[name])]
            for name, path in tqdm(clips.true.items(), f"features {title}", unit="clip")}
    rows = {name: found for name, found in rows.items() if all(one is not None for one in found)}
    notes = list(extractor.notes.values())
    if len(rows) < 2:
        raise ValueError(f"fewer than two clips could be read: {'; '.join(notes)[:300]}")
    count = len(next(iter(rows.values())))
    truth, *made = ({name: found[place] for name, found in rows.items()} for place in range(count))
    heard = {"reference": list(truth.values()), "sounds": [one for seed in made for one in seed.values()]}
    return truth, made, notes + _unlike(heard)


def _unlike(heard: dict[str, list[dict[str, np.ndarray]]]) -> list[str]:
    """Notes on rates and lengths that differ."""
    rates = {what: Counter(f"{one['rate']:.0f} Hz" for one in found) for what, found in heard.items()}
    lengths = {what: [float(one["seconds"]) for one in found] for what, found in heard.items()}
    notes = []
    if len(set().union(*rates.values())) > 1:
        said = "; ".join(f"{what}: {', '.join(each)}" for what, each in rates.items())
        notes.append(f"sample rates differ ({said}): each backbone gets all sounds at its own rate, but what lies "
                     "above half the rate of a file is not in it")
    if max(map(max, lengths.values())) - min(map(min, lengths.values())) > 0.05:
        said = "; ".join(f"{what}: {min(each):.2f} to {max(each):.2f} s" for what, each in lengths.items())
        notes.append(f"lengths differ ({said}): each sound is heard whole; --seconds cuts all of them")
    return notes


def _visual(stack: Stack, pictures: Path, names: list[str]) -> np.ndarray:
    """CLIP's embeddings of the pictures of these names, from a store or files (of a video, the mean of its frames)."""
    store, clip = Store(pictures), state_sha256(stack.vision.model)
    if store.shards():
        if store.settings.get("clip_sha256") != clip:
            raise ValueError(f"{pictures}: was embedded by another CLIP than that of the stack {stack.name}")
        if store.settings.get("aggregate") == "none":
            raise ValueError(f"{pictures}: keeps all frames of each clip; embed it with another --aggregate")
        rows = dict(zip(map(str, store.numpy("id")), store.numpy("visual")))
    else:
        rows = files_by_name(pictures, PICTURES | VIDEOS, "picture")
    if lacking := [name for name in names if name not in rows]:
        raise ValueError(f"{pictures}: has no picture of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    if store.shards():
        return np.stack([rows[name] for name in names])
    return np.stack([stack.vision.embed_frames(load_frames(rows[name]))
                     for name in tqdm(names, "pictures", unit="picture")])


def _right(labels: Path, names: list[str], classes: list[str]) -> list[frozenset[str]]:
    """Which classes are right for each sound, by a CSV of labels; several labels of one id are joined by +."""
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

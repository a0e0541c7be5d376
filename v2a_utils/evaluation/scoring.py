"""Any two folders of sounds, by whatever system, through the field's measures (the command `score`).

Features are kept by each file's SHA-256, so a second run is quick and a killed one goes on. Notes say what is left
out or unusual. Each sound is taken whole, as in audioldm_eval, or all are cut to one length, as in av-benchmark.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from tqdm.auto import tqdm

from v2a_utils.data.files import whole_file, write_json, write_table
from v2a_utils.data.media import PICTURES, VIDEOS, load_frames
from v2a_utils.data.store import Store
from v2a_utils.evaluation.features import Extractor, Features, stack_clips, stack_seeds
from v2a_utils.evaluation.scorer import LINE_FROM, Rows, Score, Scorer
from v2a_utils.evaluation.sound_folders import Matched, files_by_name, match_sounds
from v2a_utils.models.backbones import right_classes
from v2a_utils.models.weights import state_sha256
from v2a_utils.stacks.stack import BACKBONES, Stack, load_tagger

TOP = 3  # classes that are told of each sound
AV_BENCHMARK = {  # its names for our numbers, by measure and backbone
    ("FD", "PANNs CNN14 16k"): "FD-PANN", ("FD", "PaSST"): "FD-PASST", ("FAD", "VGGish"): "FD-VGG",
    ("KL softmax", "PANNs CNN14 16k"): "KL-PANNS-softmax", ("KL softmax", "PaSST"): "KL-PASST-softmax",
    ("IS in 10 parts", "PANNs CNN14 16k"): "ISC-PANNS-mean", ("IS in 10 parts", "PaSST"): "ISC-PASST-mean",
}


def score(stack: Stack, sounds: Path, reference: Path, pictures: Path | None = None, labels: Path | None = None,
          out: Path = Path("results/scores"), listeners: Sequence[str] = (), seconds: float | None = None,
          ids: Path | None = None, clips: Path | None = None) -> pd.DataFrame:
    """Measures of the sounds against the reference sounds of the same names, as a table with 95% intervals.

    listeners: the stack's name for its own (the default), or taggers of `stacks.TAGGERS`. CS needs `pictures`: a
    folder of them, or a store of embeddings by this stack's CLIP. Accuracy needs `labels`, a CSV with the columns id
    and label. `ids`: a list of ids, one a line; exactly these are measured. `clips`: a .csv or .parquet file for every
    measure of every sound. Writes into `out`: scores.csv; scores.json, which has the notes; output_metrics.json, what
    av-benchmark reports, by its names. ValueError says what does not fit.
    """
    if clips is not None and clips.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{clips}: give a file that ends in .csv or .parquet")
    matched = match_sounds(sounds, reference, ids)
    tables, each, notes = [], [], list(matched.notes)
    for name in listeners or [stack.name]:
        models = ({part: getattr(stack, part) for part in BACKBONES} if name == stack.name
                  else {"tagger": load_tagger(name, stack.device)})
        truth, made, said = _listen(matched, Extractor(models, seconds), name, whole=ids is not None)
        names = list(truth)
        right, unknown = _right(labels, names, models["tagger"].names) if labels else (None, [])
        notes += [note for note in unknown if note not in notes]
        visual = _visual(stack, pictures, names) if pictures and "wav2clip" in models else None
        scorer = Scorer(models, stack_clips(list(truth.values())), visual, right)
        stacked = stack_seeds([stack_clips(list(seed.values())) for seed in made])
        rows = scorer.rows(stacked)
        tables.append(_table([*scorer.scores(rows), *scorer.more_scores(stacked)]))
        notes += [note for note in said if note not in notes] + _too_few(tables[-1], scorer.few(stacked))
        each.append(_each(names, rows, stacked, models["tagger"]))
    table = pd.concat(tables)
    for note in notes:
        tqdm.write(note)
    if clips is not None:
        _write_clips(pd.concat(each), clips)
    write_table(table, out / "scores.csv")
    rows = json.loads(table.to_json(orient="records"))
    write_json(out / "scores.json", {
        "sounds": str(sounds), "reference": str(reference), "seconds": seconds, "notes": notes,
        "intervals": "95%, over clips, all sounds of a clip together; `interval_by` says how", "scores": rows})
    write_json(out / "output_metrics.json", {
        AV_BENCHMARK[key]: row["value"] for row in rows if (key := (row["measure"], row["backbone"])) in AV_BENCHMARK})
    return table


def _table(scores: list[Score]) -> pd.DataFrame:
    return pd.DataFrame([
        {"measure": one.measure} | one.interval._asdict()
        | {"seeds": len(one.by_seed), "backbone": one.backbone, "sample_rate": one.sample_rate,
           "interval_by": one.interval_by} for one in scores])


def _each(names: list[str], rows: Rows, made: Features, tagger) -> pd.DataFrame:
    """Every measure of every sound, to sort by and to listen: a row a clip and seed.

    Of FD, FAD, KAD and IS, which are of all sounds together, the columns hold by how much the value would change for
    each share that the clip's weight among all of them grew: the large ones of FD are the clips that spoil it.
    """
    tables = []
    for seed in range(made.logits.shape[1]):
        order = np.argsort(-made.logits[:, seed], 1)[:, :TOP]
        shares = np.take_along_axis(softmax(made.logits[:, seed], 1), order, 1)
        told = ["; ".join(f"{tagger.names[place]} {share:.0%}" for place, share in zip(*one))
                for one in zip(order, shares)]
        columns = {name: values[:, min(seed, values.shape[1] - 1)] for name, values in rows.items()}
        for name in {"FD", "FAD", "KAD", "IS"} & columns.keys():
            columns[f"{name}, contribution"] = columns.pop(name) - rows[name][:, seed].mean()
        tables.append(pd.DataFrame({"id": names, "seed": seed, "backbone": tagger.backbone} | columns
                                   | {"top classes": told}))
    return pd.concat(tables)


def _write_clips(table: pd.DataFrame, path: Path) -> None:
    if path.suffix.lower() == ".csv":
        write_table(table, path)
        return
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)


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


def _listen(clips: Matched, extractor: Extractor, title: str, whole: bool) -> tuple[dict, list[dict], list[str]]:
    """Features of the reference and of each seed's sounds, by clip, and notes.

    ValueError for too few clips, or, where the `whole` list was asked for, for one that cannot be read.
    """
    rows = {name: [extractor(path) for path in (path, *clips.made[name])]
            for name, path in tqdm(clips.true.items(), f"features {title}", unit="clip")}
    rows = {name: found for name, found in rows.items() if all(one is not None for one in found)}
    notes = _notes(extractor)
    if whole and len(rows) < len(clips.true):
        raise ValueError(f"not all of the ids could be read: {'; '.join(notes)[:300]}")
    if len(rows) < 2:
        raise ValueError(f"fewer than two clips could be read: {'; '.join(notes)[:300]}")
    count = len(next(iter(rows.values())))
    truth, *made = ({name: found[place] for name, found in rows.items()} for place in range(count))
    heard = {"reference": list(truth.values()), "sounds": [one for seed in made for one in seed.values()]}
    return truth, made, notes + _unlike(heard)


def _notes(extractor: Extractor) -> list[str]:
    """What is unusual of single files; of many alike files one is named."""
    kinds: dict[str, list[str]] = {}
    for note in extractor.notes.values():
        kinds.setdefault(note if note.startswith("left out") else note.partition(": ")[2], []).append(note)
    return [notes[0] if len(notes) == 1 else f"{notes[0]} (and {len(notes) - 1} more)" for notes in kinds.values()]


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


def _right(labels: Path, names: list[str], classes: list[str]) -> tuple[list[frozenset[str]], list[str]]:
    """Which classes are right for each sound, by a CSV of labels; and a note on labels that the tagger does not have.

    Several labels of one id are joined by +.
    """
    try:
        table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{labels}: not a CSV file that can be read ({error})") from error
    if not {"id", "label"} <= set(table.columns):
        raise ValueError(f"{labels}: its columns are {', '.join(table.columns)}; id and label are needed")
    known = dict(zip(table.id, table.label))
    if lacking := [name for name in names if name not in known]:
        raise ValueError(f"{labels}: has no label of {lacking[0]} ({len(lacking)} of {len(names)} lacking)")
    right = [right_classes(known[name].split("+"), classes) for name in names]
    strange = sorted({known[name] for name, found in zip(names, right) if not found})
    note = (f"{labels}: the tagger has no class for {', '.join(strange[:3])}{' and others' if strange[3:] else ''}; "
            f"accuracy is over the other {sum(map(bool, right))} of {len(names)} clips")
    return right, [note] if strange else []

"""Pairs of embeddings, read from a store or any Parquet table with one pair per row, ready for training."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import dataset

from v2a_utils.data.files import complaint
from v2a_utils.data.splits import PARTS, SHARES, part_of, place_of
from v2a_utils.data.store import Store

SIDES = ("visual", "audio")
PARQUET, FEATHER = (".parquet", ".pq"), (".feather", ".arrow")
SPLIT_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}  # of others
WITHOUT_TEST = (*SHARES[:2], 0.0)


@dataclass(frozen=True)
class Pairs:
    """Embeddings to learn from and to validate on, (n, visual_dim) and (n, audio_dim) float32 of unit norm each."""

    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray]
    notes: list[str]  # for the reader: how the pairs were split, what became of several frames
    settings: dict[str, str]  # how the embeddings were made, as the store says; empty for another table
    name: str
    ids: tuple[str, ...] = ()  # of all of them

    @property
    def sha256(self) -> str:
        """SHA-256 of all embeddings, which identifies the data."""
        digest = hashlib.sha256()
        for rows in (*self.train, *self.val):
            digest.update(f"{rows.shape} ".encode())
            digest.update(np.ascontiguousarray(rows))
        return digest.hexdigest()


def read_pairs(store: str | Path) -> Pairs:
    """The splits train and val of a store (a folder or URL), or of a table that another program wrote.

    That is a Parquet or Feather file, or a folder of them, also one whose subfolders are named `split=train`. It has
    the columns `visual` and `audio`, lists of one length each, and, if known, `id` and `split`. Rows that
    have no split get one by a hash of their id (`part_of`). By the same hash a missing val is taken from train, and a
    table of one other split is divided. Several frames of a clip are averaged. ValueError says what is wrong with it.
    """
    table, settings = _read(store)
    if not table.num_rows:
        raise ValueError(f"{store}: holds no pairs")
    ids = [str(row if name is None else name) for row, name in enumerate(_column(table, "id"))]
    written = [None if split is None else str(split).strip().lower() for split in _column(table, "split")]
    given = [SPLIT_NAMES.get(split, split) or None for split in written]
    parts, note = choose_parts(ids, given, store)
    note += f"; by a hash of the ids in shares of {settings['splits']}" if "splits" in settings else ""
    notes, loaded = [note], []
    if _has_frames(table.schema.field("visual").type):
        notes.append("the frames of each clip are averaged, as `embed --aggregate mean` does")
    for part in ("train", "val"):
        numbers = np.flatnonzero(parts == part)
        loaded.append(tuple(_unit_rows(table[side].take(numbers), numbers, side, store) for side in SIDES))
    used = tuple(name for name, part in zip(ids, parts) if part in ("train", "val"))
    return Pairs(*loaded, notes, settings, str(store), used)


def _read(store: str | Path) -> tuple[pa.Table, dict[str, str]]:
    try:
        found, files = Store(store), _tables(Path(store))
        if files and (Path(store).is_file() or not found.shards()):
            form = "feather" if files[0].suffix.lower() in FEATHER else "parquet"
            table, settings = dataset.dataset(list(map(str, files)), format=form, partitioning="hive",
                                              partition_base_dir=str(store)).to_table(), {}
        else:
            table, settings = found.table(), found.settings
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{store}: not a table of embeddings ({complaint(error)})") from error
    if missing := set(SIDES) - set(table.column_names):
        why = ": its clips were embedded without sounds" if missing == {"audio"} else ""
        raise ValueError(f"{store}: has no column {' or '.join(sorted(missing))}{why}; a mapper learns from pairs")
    return table, settings


def _tables(place: Path) -> list[Path]:
    """The Parquet or, if there are none, Feather files at a place, without the hidden ones that programs leave."""
    if place.is_file():
        return [place]
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.name[0] not in "._")
    for suffixes in (PARQUET, FEATHER):
        if found := [path for path in files if path.suffix.lower() in suffixes]:
            return found
    return []


def _column(table: pa.Table, name: str) -> list:
    """A column's values, None where there is none."""
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows


def choose_parts(ids: list[str], given: list[str | None], store: str | Path) -> tuple[np.ndarray, str]:
    """The part of every row, (n,): train, val, or one that is not trained on; and a line that says how it was chosen.

    ValueError when the table's splits leave nothing to train on.
    """
    parts = np.array([split or part_of(name) for name, split in zip(ids, given)], dtype=object)
    there, none_given = set(parts), not any(given)
    why = "by a hash of the ids" if none_given else "as the table has them"
    if not {"train", "val"} <= there:
        if "train" in there and not none_given:
            pool, why = parts == "train", "val taken from train by a hash of the ids"
        elif none_given or len(there) == 1:
            pool = np.full(len(parts), True)
            why = "by a hash of the ids" + ("" if none_given else f", since all rows are of the split {parts[0]}")
        else:
            raise ValueError(f"{store}: has no rows of the split train, only of {', '.join(sorted(there))}")
        parts[pool] = _train_and_val([ids[row] for row in np.flatnonzero(pool)], store)
    counts = Counter(parts)
    order = [part for part in PARTS if part in counts] + sorted(set(counts) - set(PARTS))
    return parts, "splits: " + ", ".join(f"{part} {counts[part]}" for part in order) + f" ({why})"


def _train_and_val(ids: list[str], store: str | Path) -> np.ndarray:
    """train or val for each id by its hash; of a handful, one is moved so that neither is empty."""
    parts = np.array([part_of(name, WITHOUT_TEST) for name in ids], dtype=object)
    places = np.array([place_of(name) for name in ids])
    if len(set(places)) < 2:
        raise ValueError(f"{store}: holds {len(ids)} pair(s) of one clip; two clips or more are needed")
    if "val" not in parts:
        parts[places == places.max()] = "val"
    if "train" not in parts:
        parts[places == places.min()] = "train"
    return parts


def _unit_rows(column: pa.ChunkedArray, numbers: np.ndarray, side: str, store: str | Path) -> np.ndarray:
    """A column as (n, d), checked to have rows of unit norm; several vectors in a cell give their mean direction.

    `numbers` (n,) are the rows' places in the table, for the ValueError about one of them.
    """
    cells = column.combine_chunks()
    cells = cells.storage if isinstance(cells, pa.ExtensionArray) else cells
    frames = _has_frames(cells.type)
    rows = [_vector(cell, frames) for cell in cells.to_pandas()]
    shape = Counter(row.shape for row in rows).most_common(1)[0][0]
    for number, row in zip(numbers, rows):
        if row.shape != shape or row.ndim != 1 or not row.size:
            raise ValueError(f"{store}: row {number} does not hold a list of numbers in the column {side}, of one size "
                             "with the others; leave such rows out")
    found = np.stack(rows)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    found = found / norms if frames else found
    wrong = np.flatnonzero(~(np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-2))  # NaN is wrong too
    if len(wrong):
        raise ValueError(f"{store}: {side} in row {numbers[wrong[0]]} is not of unit norm; embed it again")
    return found


def _vector(cell: np.ndarray | None, frames: bool) -> np.ndarray:
    """A cell as float32 (d,), of several `frames` the mean; without a shape where it holds something else."""
    try:
        return np.array(np.stack(cell).mean(0) if frames else cell, np.float32)
    except (TypeError, ValueError):
        return np.array(np.nan, np.float32)


def _has_frames(kind: pa.DataType) -> bool:
    """Whether a column of this type holds several vectors in a cell."""
    return hasattr(getattr(kind, "value_type", None), "value_type")

"""Pairs of embeddings, read from a store or any Parquet table with one pair per row, ready for training."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from v2a_utils.data.files import complaint
from v2a_utils.data.splits import PARTS, SHARES, part_of, place_of
from v2a_utils.data.store import Store

SIDES = ("visual", "audio")
WITHOUT_TEST = (*SHARES[:2], 0.0)


@dataclass(frozen=True)
class Pairs:
    """Embeddings to learn from and to validate on, (n, visual_dim) and (n, audio_dim) float32 of unit norm each."""

    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray]
    notes: list[str]  # for the reader: how the pairs were split, what became of several frames
    settings: dict[str, str]  # how the embeddings were made, as the store says; empty for another table
    name: str

    @property
    def sha256(self) -> str:
        """SHA-256 of all embeddings, which identifies the data."""
        digest = hashlib.sha256()
        for rows in (*self.train, *self.val):
            digest.update(f"{rows.shape} ".encode())
            digest.update(np.ascontiguousarray(rows))
        return digest.hexdigest()


def read_pairs(store: str | Path) -> Pairs:
    """The splits train and val of a store (a folder or URL) or of a Parquet file.

    The table has the columns `visual` and `audio`, lists of one size each, and, if known, `id` and `split`. Rows that
    have no split get one by a hash of their id (`part_of`). By the same hash a missing val is taken from train, and a
    table of one other split is divided. Several frames of a clip are averaged. ValueError says what is wrong with it.
    """
    table, settings = _read(store)
    if not table.num_rows:
        raise ValueError(f"{store}: holds no pairs")
    ids = table["id"].to_pylist() if "id" in table.column_names else [None] * table.num_rows
    ids = [str(row if name is None else name) for row, name in enumerate(ids)]
    given = table["split"].to_pylist() if "split" in table.column_names else [None] * len(ids)
    parts, note = choose_parts(ids, given, store)
    note += f"; by a hash of the ids in shares of {settings['splits']}" if "splits" in settings else ""
    notes = [note]
    if _is_nested(table.schema.field("visual").type):
        notes.append("the frames of each clip are averaged, as `embed --aggregate mean` does")
    sides = [_unit_rows(table[side], side, store) for side in SIDES]
    train, val = (tuple(side[parts == part] for side in sides) for part in ("train", "val"))
    return Pairs(train, val, notes, settings, str(store))


def _read(store: str | Path) -> tuple[pa.Table, dict[str, str]]:
    try:
        if Path(store).is_file():
            table, settings = parquet.read_table(store), {}
        else:
            found = Store(store)
            table, settings = found.table(), found.settings
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{store}: not a table of embeddings ({complaint(error)})") from error
    if missing := set(SIDES) - set(table.column_names):
        why = ": its clips were embedded without sounds" if missing == {"audio"} else ""
        raise ValueError(f"{store}: has no column {' or '.join(sorted(missing))}{why}; a mapper learns from pairs")
    return table, settings


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
        raise ValueError(f"{store}: holds {len(ids)} pair(s) of one clip; training and validation need two clips or "
                         "more")
    if "val" not in parts:
        parts[places == places.max()] = "val"
    if "train" not in parts:
        parts[places == places.min()] = "train"
    return parts


def _is_list(kind: pa.DataType) -> bool:
    """Whether a column's cells are lists, of any of Arrow's three kinds: pandas, polars and Ray each write another."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_nested(kind: pa.DataType) -> bool:
    """Whether a column's cells are lists of lists: all frames of a clip."""
    return _is_list(kind) and _is_list(kind.value_type)


def _unit_rows(column: pa.ChunkedArray, side: str, store: str | Path) -> np.ndarray:
    """A column as (n, d), checked to have rows of unit norm; several vectors in a cell give their mean direction."""
    cells, frames = pa.concat_arrays(column.chunks), None
    if _is_nested(cells.type):
        frames = cells.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(int)
        if not frames.all():
            raise ValueError(f"{store}: row {frames.argmin()} has no frame in the column {side}; leave such rows out")
        cells = cells.flatten()
    sizes = set(cells.value_lengths().to_pylist()) if _is_list(cells.type) else set()
    if len(sizes) != 1 or sizes <= {None, 0} or not pa.types.is_floating(cells.type.value_type):
        raise ValueError(f"{store}: the column {side} does not hold lists of numbers of one size")
    rows = cells.flatten().to_numpy(zero_copy_only=False).reshape(len(cells), -1).astype(np.float32)
    if frames is not None:
        rows = np.add.reduceat(rows, np.cumsum(frames) - frames)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2))  # NaN is wrong too
    if len(wrong):
        raise ValueError(f"{store}: the {side} embedding in row {wrong[0]} is not of unit norm; embed it again")
    return rows

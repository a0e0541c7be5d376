"""Pairs of embeddings as a Parquet table, one row a pair, read for training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

SIDES = ("visual", "audio")


def load_pairs(store: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Visual (n, visual_dim) and audio (n, audio_dim) embeddings of a split, float32 of unit norm, row by row.

    The table has columns `visual` and `audio` (fixed-size lists) and `split`. ValueError names what is wrong with it.
    """
    files = sorted(Path(store).glob("*.parquet")) if Path(store).is_dir() else store  # skipped.csv lies beside them
    try:
        table = parquet.read_table(files or store, columns=list(SIDES), filters=[("split", "=", split)])
    except (FileNotFoundError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{store}: not a table of embeddings with visual, audio and split ({reason})") from error
    if not table.num_rows:
        raise ValueError(f"{store}: has no rows of the split {split!r}")
    return tuple(_unit_rows(table[side], side, store) for side in SIDES)


def _unit_rows(column: pa.ChunkedArray, side: str, store: str | Path) -> np.ndarray:
    values = pa.concat_arrays(column.chunks).flatten().to_numpy(zero_copy_only=False)
    rows = values.reshape(len(column), -1).astype(np.float32)
    wrong = np.flatnonzero(~(np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2))  # NaN is wrong too
    if len(wrong):
        raise ValueError(f"{store}: the {side} embedding in row {wrong[0]} is not of unit norm; embed it again")
    return rows

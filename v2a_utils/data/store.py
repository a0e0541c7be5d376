"""The store: a table of embeddings on disk or in an object store, as Parquet shards that any tool reads.

    STORE/part-000000.parquet   columns id, label, split, caption, visual, audio; one row per clip
    STORE/part-000001.parquet   ...
    STORE/skipped.csv           id, reason of every clip that is not in the table

Shard k holds the k-th run of `SHARD_CLIPS` clips of the listing; it appears whole or not at all. Its schema's metadata
holds the encoders and settings that made it and the clips it skipped, so that a killed run can go on from it.
"""

import csv
import hashlib
import io
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pyarrow as pa
from pyarrow import dataset, fs, parquet

from v2a_utils.data.files import write_file

if TYPE_CHECKING:  # an error is said sooner without them
    import pandas as pd
    import torch

SHARD_CLIPS = 256
SHARD_NAME = re.compile(r"part-(\d{6,})\.parquet")  # other programs write part-00000-... as well
TEXTS = ("id", "label", "split", "caption")
OF_ONE_SHARD = ("clips", "clips_sha256", "skipped")  # metadata of each shard beside the settings
MAY_DIFFER = ("v2a_utils", "source")  # settings that a run which goes on with a store need not share


@dataclass
class Row:
    """One clip of the table. `visual` is (d,), or (frames, d) where all frames are kept; `audio` (d,) or None.

    The table of a data set without sounds has no column `audio`.
    """

    id: str
    label: str | None
    split: str | None
    caption: str | None
    visual: np.ndarray
    audio: np.ndarray | None


class Store:
    """A store at a local path or a URL that pyarrow or fsspec knows (s3://bucket/folder, gs://..., memory://...)."""

    def __init__(self, path: str | Path):
        self.path = str(path)
        if "://" in self.path:
            self.files, self.folder = _remote(self.path)
        else:
            self.files, self.folder = fs.LocalFileSystem(use_mmap=True), str(Path(path).absolute())

    def shards(self) -> list[int]:
        """Numbers of the shards that are there, ascending."""
        listed = self.files.get_file_info(fs.FileSelector(self.folder, allow_not_found=True))
        names = [SHARD_NAME.fullmatch(info.base_name) for info in listed if info.is_file]
        return sorted(int(name[1]) for name in names if name)

    # ----------------------------------------------------------------------------------------------------- reading

    def _dataset(self) -> dataset.Dataset:
        shards = [self._shard(number) for number in self.shards()]
        if not shards:
            raise ValueError(f"{self.path}: no store of embeddings there; make one with `python -m v2a_utils embed`")
        return dataset.dataset(shards, filesystem=self.files)

    def __len__(self) -> int:
        return self._dataset().count_rows()

    @property
    def settings(self) -> dict[str, str]:
        """How the embeddings were made: stack, models and their SHA-256, preprocessing, aggregate, version, source."""
        metadata = _metadata(self._dataset().schema)
        return {key: value for key, value in metadata.items() if key not in OF_ONE_SHARD}

    def made_with(self, settings: dict[str, str]) -> bool:
        """Whether there are rows, and they were made with these settings."""
        return bool(self.shards()) and not _differing(self.settings, settings)

    def table(self, columns: list[str] | None = None, split: str | None = None) -> pa.Table:
        """The rows of one split or all as an Arrow table, in the order of the listing; only these columns are read."""
        chosen = None if split is None else dataset.field("split") == split
        return self._dataset().to_table(columns, filter=chosen)

    def numpy(self, column: str, split: str | None = None) -> np.ndarray:
        """"visual" or "audio" as float32 (clips, d), another column as an array of texts.

        With all frames kept, "visual" is an array (clips,) of arrays (frames, d). ValueError for a column it lacks.
        """
        if column not in (known := self._dataset().schema.names):
            raise ValueError(f"{self.path}: it has no column {column}, only {', '.join(known)}")
        values = self.table([column], split).column(column).combine_chunks()
        if column in TEXTS:
            return np.array(values.to_pylist(), dtype=object)
        if pa.types.is_fixed_size_list(values.type):
            return _rows(values)
        clips = np.empty(len(values), dtype=object)
        clips[:] = np.split(_rows(values.flatten()), np.cumsum(values.value_lengths().to_numpy())[:-1])
        return clips

    def torch(self, column: str, split: str | None = None) -> "torch.Tensor":
        """"visual" or "audio" as a float32 tensor (clips, d)."""
        import torch

        return torch.from_numpy(self.numpy(column, split).copy())  # a memory-mapped array cannot be written to

    def pandas(self, columns: list[str] | None = None, split: str | None = None) -> "pd.DataFrame":
        """The rows as a data frame; an embedding is an array in its cell."""
        return self.table(columns, split).to_pandas()

    # ----------------------------------------------------------------------------------------------------- writing

    def refuse_existing(self, resume: bool) -> None:
        """ValueError if there is a store already, unless a run shall go on with it."""
        if self.shards() and not resume:
            raise ValueError(f"{self.path}: there is a store already; add --resume to go on with it, or give another "
                             "--out")

    def missing(self, shards: list[list[str]], settings: dict[str, str]) -> list[int]:
        """Numbers of the shards, given by their clips' ids, that have still to be made with these settings.

        ValueError when the store was made with other weights or settings, or from another listing. A listing that only
        grew at its end counts as the same; its last shard, if not full, is made anew.
        """
        there = self.shards()
        if there and there[-1] >= len(shards):
            raise ValueError(f"{self.path}: it holds more clips than are listed now; give another --out")
        done = []
        for number in there:
            found = _metadata(parquet.read_schema(self._shard(number), filesystem=self.files))
            if differing := _differing(found, settings):
                key = differing[0]
                raise ValueError(f"{self.path}: it was made with {key} {found.get(key)}, not {settings[key]}; "
                                 "give another --out")
            clips = int(found["clips"])
            if found["clips_sha256"] != _digest(shards[number][:clips]):
                raise ValueError(f"{self.path}: it was made from another list of clips; give another --out")
            if clips == len(shards[number]):
                done.append(number)
        return [number for number in range(len(shards)) if number not in done]

    def write(self, number: int, ids: list[str], rows: list[Row], skipped: list[tuple[str, str]],
              dims: dict[str, int], settings: dict[str, str]) -> None:
        """Write the shard of these clips: their rows, and (id, reason) of those that could not be embedded.

        `dims` are the sizes of the embeddings by column, "visual" and, if there are sounds, "audio".
        """
        clips = {"clips": str(len(ids)), "clips_sha256": _digest(ids), "skipped": json.dumps(skipped)}
        schema = _schema(dims, settings["aggregate"] == "none").with_metadata(settings | clips)
        columns = {key: [getattr(row, key) for row in rows] for key in schema.names}
        if settings["aggregate"] == "none":
            columns["visual"] = [list(frames) for frames in columns["visual"]]
        table = pa.Table.from_pydict(columns, schema=schema)
        buffer = io.BytesIO()
        parquet.write_table(table, buffer)
        self._put(self._shard(number), buffer.getvalue())

    def skipped(self) -> list[tuple[str, str]]:
        """(id, reason) of every clip that could not be embedded, in the order of the listing."""
        schemas = [parquet.read_schema(self._shard(number), filesystem=self.files) for number in self.shards()]
        return [(name, reason) for schema in schemas for name, reason in json.loads(_metadata(schema)["skipped"])]

    def write_skipped(self, skipped: list[tuple[str, str]]) -> None:
        """Write skipped.csv from the (id, reason) of every clip that is not in the table."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("id", "reason"))
        writer.writerows(skipped)
        self._put(f"{self.folder}/skipped.csv", text.getvalue().encode())

    def _shard(self, number: int) -> str:
        return f"{self.folder}/part-{number:06d}.parquet"

    def _put(self, path: str, content: bytes) -> None:
        if isinstance(self.files, fs.LocalFileSystem):
            write_file(path, content)
            return
        folder, _, name = path.rpartition("/")
        self.files.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{secrets.token_hex(4)}-{name}.part"
        with self.files.open_output_stream(temporary) as file:
            file.write(content)
        self.files.move(temporary, path)


def _remote(url: str) -> tuple[fs.FileSystem, str]:
    """File system and path behind a URL: pyarrow's own (s3, gs, hdfs), else what fsspec knows."""
    try:
        return fs.FileSystem.from_uri(url)
    except pa.ArrowInvalid:
        files, folder = fsspec.core.url_to_fs(url)
        return fs.PyFileSystem(fs.FSSpecHandler(files)), folder


def _schema(dims: dict[str, int], all_frames: bool) -> pa.Schema:
    vectors = {column: pa.list_(pa.float32(), size) for column, size in dims.items()}
    if all_frames:
        vectors["visual"] = pa.list_(vectors["visual"])
    return pa.schema([(column, pa.string()) for column in TEXTS] + list(vectors.items()))


def _rows(values: pa.FixedSizeListArray) -> np.ndarray:
    """Fixed-size lists as (n, size)."""
    return values.flatten().to_numpy().reshape(len(values), values.type.list_size)


def _differing(found: dict[str, str], settings: dict[str, str]) -> list[str]:
    """The keys of `settings` whose values in `found` are others and must not be."""
    return sorted(key for key in settings.keys() - set(MAY_DIFFER) if found.get(key) != settings[key])


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def _digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()

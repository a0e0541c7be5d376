"""SoundWorld written as files, in the layouts of `soundworld.layouts`, so that a reproduction can be rehearsed on them.

`data.sources` reads them as it reads those data sets. FileExistsError, before anything is replaced, for what is there
already without `overwrite`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from soundworld import layouts
from tqdm.auto import tqdm

from v2a_utils.data.files import refuse_existing, whole_file


def write_pairs(out: Path, split: str, count: int, seed: int = 0, overwrite: bool = False) -> None:
    """`layouts.pairs` into a folder."""
    files = layouts.pairs(split, count, seed)
    refuse_existing([out / name for name in files], overwrite)
    _write(out, files)


def write_vggsound(out: Path, count: int, seed: int = 0, overwrite: bool = False) -> Path:
    """`layouts.vggsound` into a folder; returns the list's path. Existing films are kept."""
    refuse_existing([out / layouts.VGGSOUND_LIST], overwrite)
    _write(out, {name: content for name, content in layouts.vggsound(count, seed).items()
                 if name == layouts.VGGSOUND_LIST or not (out / name).is_file()})
    return out / layouts.VGGSOUND_LIST


def write_imagehear(out: Path, count: int, seed: int = 0, overwrite: bool = False) -> list[Path]:
    """`layouts.imagehear` into a folder; returns the pictures' paths."""
    files = layouts.imagehear(count, seed)
    refuse_existing([out / name for name in files], overwrite)
    return _write(out, files)


def write_film(path: Path, frames: Sequence[Image.Image], frame_rate: int, waveform: np.ndarray,
               sample_rate: int) -> None:
    """`layouts.mp4` as a file."""
    with whole_file(path) as temporary:
        temporary.write_bytes(layouts.mp4(frames, frame_rate, waveform, sample_rate))


def _write(out: Path, files: layouts.Files) -> list[Path]:
    for name, content in tqdm(files.items(), unit="file"):
        with whole_file(out / name) as temporary:
            temporary.write_bytes(content())
    return [out / name for name in files]

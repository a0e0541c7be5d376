"""A row of the paper's Table 1, recomputed from the sounds that its authors published: no generator and no GPU.

CS on ImageHear needs the 101 pictures, CLIP, Wav2CLIP and one sound for each id of the authors' list. The paper does
not say how long its sounds were heard, nor at which level, so every combination is measured, and the reader sees which
one gives the printed number. With the sounds of VGGSound's test split and the true ones beside them, `scoring.score`
adds FD, FAD and CS.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from v2a_utils.data.audio import SOUNDS, read_audio
from v2a_utils.data.files import write_table
from v2a_utils.data.media import PICTURES, load_frames
from v2a_utils.evaluation.results import PAPER_TABLE
from v2a_utils.evaluation.scoring import score
from v2a_utils.evaluation.settings import Published
from v2a_utils.evaluation.sound_folders import files_by_name, read_ids
from v2a_utils.metrics.sounds import Interval, clip_scores, student_interval
from v2a_utils.stacks.stack import Stack, public_folders

FETCH = "`python -m v2a_utils fetch --for evaluation` gets it"
BY_HAND = ("the authors' sounds can only be downloaded by hand: ImageHear's (about 33 MB) from "
           "https://drive.google.com/drive/folders/1Ee8FLdtjgQV1CHP8Aee1FNwCWZVr25Y2, VGGSound's (about 5 GB) from "
           "https://drive.google.com/drive/folders/1daDYUPOjHmJD3UsUrp9PFjgTmSXv-Znw")
LEVELS = {"as published": lambda wave: wave, "peak 1": lambda wave: wave / max(np.abs(wave).max(), 1e-9)}
PRINTED = {"FD": "FD ↓ (VGG)", "FAD": "FAD ↓ (VGG)", "CS": "CS ↑ (VGG)"}  # columns of the paper's table


def recompute(settings: Published, stack: Stack) -> pd.DataFrame:
    """Every measure that the files allow beside the paper's, a row a protocol; also written as OUT/published.csv.

    Columns: measure, data, seconds (all sounds cut to that length, or whole), level, rate (Hz, at which the backbone
    hears), value with its 95% interval over items, n, paper. ValueError names what is missing and its remedy.
    """
    if settings.system not in PAPER_TABLE.index:
        raise ValueError(f"no system {settings.system!r} in the paper's table: {', '.join(PAPER_TABLE.index)}")
    names = ("measure", "data", "seconds", "level", "rate", *Interval._fields, "paper")
    table = pd.DataFrame([*_imagehear(settings, stack), *_vggsound(settings, stack)], columns=names)
    write_table(table, Path(settings.out) / "published.csv")
    return table


def nearest(table: pd.DataFrame) -> str:
    """In a sentence, which protocol comes nearest to the printed CS on ImageHear, and whether its interval holds it."""
    rows = table[table.data == "ImageHear"]
    row = rows.loc[(rows.value - rows.paper).abs().idxmin()]
    return (f"nearest to the printed {row.paper:.3f}: seconds {row.seconds}, level {row.level}, at {row.rate} Hz, CS "
            f"{row.value:.3f}; its interval {'holds' if row.low <= row.paper <= row.high else 'misses'} that")


def files_of(ids: list[str], folder: Path, suffixes: set[str], what: str, remedy: str) -> list[Path]:
    """The file of each id, at any depth of a folder. ValueError names one that is lacking or there twice."""
    found = list(files_by_name(folder, suffixes, what).values()) if folder.is_dir() else []
    by_id = {path.stem: path for path in found}
    if lacking := [name for name in ids if name not in by_id]:
        raise ValueError(f"{folder}: has no {what} of {lacking[0]} ({len(lacking)} of {len(ids)} lacking); {remedy}")
    if twice := [path for path in found if path.stem in ids and by_id[path.stem] != path]:
        raise ValueError(f"{folder}: {twice[0]} and {by_id[twice[0].stem]} are both the {what} of {twice[0].stem}")
    return [by_id[name] for name in ids]


def _imagehear(settings: Published, stack: Stack) -> Iterator[tuple]:
    """CS on ImageHear, whole and cut, at the published level and at peak 1."""
    fetched = public_folders()
    ids = read_ids(Path(settings.ids or fetched["v2a-mapper"] / "imagehear_id.txt"))
    sounds = [read_audio(path) for path in files_of(ids, Path(settings.sounds), SOUNDS, "sound", BY_HAND)]
    pictures = files_of(ids, Path(settings.pictures or fetched["imagehear"]), PICTURES, "picture", FETCH)
    visual = np.stack([stack.vision.embed_frames(load_frames(path)) for path in tqdm(pictures, "pictures")])
    for seconds, level in product((None, settings.seconds), LEVELS):
        heard = [stack.wav2clip.embed([LEVELS[level](wave[: seconds and round(seconds * rate)])], rate)
                 for wave, rate in tqdm(sounds, f"CS, {seconds or 'whole'}, {level}")]
        interval = student_interval(clip_scores(visual, np.concatenate(heard)))
        yield ("CS", "ImageHear", seconds or "whole", level, stack.wav2clip.sample_rate, *interval,
               PAPER_TABLE["CS ↑ (ImageHear)"][settings.system])


def _vggsound(settings: Published, stack: Stack) -> Iterator[tuple]:
    """FD, FAD and, with pictures or videos, CS on the test split of VGGSound, by `score`; nothing without sounds."""
    if not settings.vggsound:
        return
    found = score(stack, Path(settings.vggsound), Path(settings.reference), settings.videos and Path(settings.videos),
                  out=Path(settings.out) / "vggsound", seconds=settings.seconds)
    for one in found[found.measure.isin(list(PRINTED))].itertuples():
        yield (one.measure, "VGGSound", settings.seconds, "as published", one.sample_rate, one.value, one.low, one.high,
               one.n, PAPER_TABLE[PRINTED[one.measure]][settings.system])

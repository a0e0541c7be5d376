"""SoundWorld rendered once into arrays, in chunks that survive a kill, for all parts of the mini stack."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from soundworld import CLASSES, Scene, draw, make_scene, synthesise
from tqdm.auto import tqdm

from v2a_utils.data.files import write_arrays

CHUNK = 500
SIZES = {"train": 24_000, "val": 1_000, "test": 1_024, "ood": 512}
MAKE = {"pictures": lambda scene: np.asarray(draw(scene)),
        "sounds": lambda scene: np.round(synthesise(scene) * 32_767).astype(np.int16)}


@dataclass
class Rendered:
    """Pictures uint8 (n, 128, 128, 3) and sounds int16 (n, 40960), or none of them, and the scenes behind them."""

    pictures: np.ndarray
    sounds: np.ndarray
    scenes: list[Scene]

    def waveforms(self, rows) -> np.ndarray:
        """Sounds as float32 in [-1, 1], shape (rows, samples)."""
        return self.sounds[rows].astype(np.float32) / 32_767

    def targets(self) -> np.ndarray:
        """Shares of the classes in each scene, (n, classes): 1 for one thing, a half each for two."""
        shares = np.zeros((len(self.scenes), len(CLASSES)), np.float32)
        for row, scene in enumerate(self.scenes):
            for label in scene.labels:
                shares[row, CLASSES.index(label)] = 1 / len(scene.labels)
        return shares


def render(
    split: str, folder: Path, seed: int = 0, shrink: int = 1, workers: int = 2, kinds: tuple[str, ...] = tuple(MAKE)
) -> Rendered:
    """Render a split (or read what an earlier run rendered) into `folder`; `shrink` divides its size, for tests.

    What is not among `kinds`, of MAKE, is left empty.
    """
    number = max(SIZES[split] // shrink, 1)
    chunks = [(kind, start) for kind in kinds for start in range(0, number, CHUNK)]
    missing = [chunk for chunk in chunks if not _chunk_path(folder, split, seed, *chunk).is_file()]
    if missing:
        # one worker is this process itself: a daemon may have no children
        with ThreadPoolExecutor(1) if workers == 1 else ProcessPoolExecutor(workers) as pool:
            jobs = [pool.submit(_render_chunk, folder, split, seed, kind, start, min(CHUNK, number - start))
                    for kind, start in missing]
            for job in tqdm(as_completed(jobs), total=len(jobs), desc=f"render {split}", unit="chunk"):
                job.result()
    rendered = {kind: np.concatenate([np.load(_chunk_path(folder, split, seed, *chunk))[kind]
                                      for chunk in chunks if chunk[0] == kind]) for kind in kinds}
    empty = np.zeros(0, np.uint8)
    return Rendered(rendered.get("pictures", empty), rendered.get("sounds", empty),
                    [make_scene(split, index, seed) for index in range(number)])


def _render_chunk(folder: Path, split: str, seed: int, kind: str, start: int, number: int) -> None:
    made = np.stack([MAKE[kind](make_scene(split, index, seed)) for index in range(start, start + number)])
    write_arrays(_chunk_path(folder, split, seed, kind, start), {kind: made})


def _chunk_path(folder: Path, split: str, seed: int, kind: str, start: int) -> Path:
    return folder / f"{split}-{seed}-{kind}-{start:06d}.npz"

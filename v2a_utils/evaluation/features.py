"""What the measures are computed on: sound files through the models that only evaluate, kept by the files' content.

Channels are averaged, as in av-benchmark and fadtk; audioldm_eval takes the first. Every backbone gets every sound at
its own rate, resampled by soxr (tests/benchmarks/parity.py measures what other filters change). A sound shorter than a
frame of FAD, 0.96 s, is padded with silence; PaSST pads or cuts every sound to 10 s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.signal import find_peaks
from scipy.stats import rankdata
from soundworld import PITCHED, Scene
from soundworld.measures import measure_pitch
from tqdm.auto import tqdm

from v2a_utils.data.audio import loudness, read_audio, resample
from v2a_utils.data.files import cache_folder, key, sha256, write_arrays
from v2a_utils.metrics.sounds import Interval, bootstrap
from v2a_utils.models.backbones import AudioBackbone
from v2a_utils.models.mel import log_mel
from v2a_utils.models.networks import FRAME
from v2a_utils.models.weights import state_sha256

if TYPE_CHECKING:  # `score` needs no generator
    from v2a_utils.stacks.stack import Stack

ATTRIBUTES = ("pitch", "events", "loudness")  # Hz, NaN for classes without one; number of onsets; dB
FORMAT = 4  # of what is kept: another number when the same files and models give other features
SILENT = 1e-5  # highest sample of a sound that counts as silent

@dataclass
class Features:
    """Features of sounds; arrays (n, ...), or (n, seeds, ...) for several sounds of each picture.

    `frames` is an array of arrays (frames, d), since sounds differ in length.
    """

    logits: np.ndarray  # the tagger's class scores, (n, classes)
    features: np.ndarray  # the tagger's penultimate layer, (n, d): what FD and KAD compare
    frames: np.ndarray  # of every 0.96 s, (n, frames, d): what FAD compares
    clip: np.ndarray  # Wav2CLIP's embedding, (n, d)
    attributes: np.ndarray  # (n, 3) in the order of ATTRIBUTES; (n, 0) for sounds that are not SoundWorld's

    @property
    def loudness(self) -> np.ndarray:
        """Level of each sound in dB."""
        return self.attributes[..., ATTRIBUTES.index("loudness")]

    def rows(self, *index) -> "Features":
        """The features at an index of the first axes."""
        return Features(*(values[index] for values in vars(self).values()))


def stack_seeds(parts: list[Features]) -> Features:
    """The features of each seed's sounds, as one with arrays (n, seeds, ...)."""
    if len(parts) == 1:  # needs no copy
        return parts[0].rows(slice(None), None)
    return Features(*(np.stack([getattr(one, field.name) for one in parts], axis=1) for field in fields(Features)))


def stack_clips(rows: list[dict[str, np.ndarray]]) -> Features:
    """The features of n files, each with arrays by the names of `Features`, as one with arrays (n, ...).

    What the rows lack becomes (n, 0). Frames are an array (n,) of arrays: as many as each sound's length gives.
    """
    nothing, frames = np.zeros((len(rows), 0)), np.empty(len(rows), object)
    for place, row in enumerate(rows):
        frames[place] = row.get("frames")
    together = {name: np.stack([row[name] for row in rows]) if name in rows[0] else nothing
                for name in ("logits", "features", "clip", "attributes")}
    return Features(together["logits"], together["features"], frames, together["clip"], together["attributes"])


class Extractor:
    """Features of sound files by audio backbones (tagger, and framewise, wav2clip), kept on disk by the files' SHA-256.

    `seconds` cuts longer sounds; None takes them whole.
    """

    def __init__(self, models: dict[str, AudioBackbone], seconds: float | None = None):
        self.models, self.seconds = models, seconds
        made_by = key(format=FORMAT, seconds=seconds, models={
            part: [model.backbone, model.sample_rate, state_sha256(model.model)] for part, model in models.items()})
        self.folder = cache_folder("features") / made_by[:16]
        self.notes: dict[str, str] = {}  # what is wrong or unusual, by file

    def __call__(self, path: Path, scene: Scene | None = None) -> dict[str, np.ndarray] | None:
        """Arrays by the names of `Features`, and "seconds", "rate", "peak", "level" (dB) and "bandwidth" (Hz).

        None for a file that cannot be read.

        Of a `scene`'s sound also what its picture says of it, as "attributes".
        """
        kept = self.folder / (f"{sha256(path)}.npz" if scene is None else f"{sha256(path)}-{scene.label}.npz")
        if not kept.is_file():
            try:
                found = self._extract(path, scene)
            except ValueError as error:
                self.notes[str(path)] = f"left out: {error}"
                return None
            write_arrays(kept, found)
        with np.load(kept) as content:
            found = dict(content)
        if found["peak"] < SILENT:
            self.notes[str(path)] = f"{path}: is silent; it is measured as it is"
        elif found["seconds"] < FRAME:
            self.notes[str(path)] = f"{path}: is shorter than {FRAME} s; it is filled with silence to that length"
        return found

    def all(self, paths: Sequence[Path], scenes: Sequence[Scene | None], seeds: int = 1) -> Features:
        """Features (clips, seeds, ...) of files, listed seed by seed. ValueError for one that cannot be read."""
        rows = [self(path, scene) for path, scene in zip(
            tqdm(paths, "features", unit="sound", disable=len(paths) < 32), list(scenes) * seeds)]
        if None in rows:
            raise ValueError(next(note for note in self.notes.values() if note.startswith("left out")))
        count = len(rows) // seeds
        return stack_seeds([stack_clips(rows[start : start + count]) for start in range(0, len(rows), count)])

    def said(self) -> list[str]:
        """What is wrong or unusual of single files; of many alike one is named."""
        kinds: dict[str, list[str]] = {}
        for note in self.notes.values():
            kinds.setdefault(note if note.startswith("left out") else note.partition(": ")[2], []).append(note)
        return [notes[0] if len(notes) == 1 else f"{notes[0]} (and {len(notes) - 1} more)" for notes in kinds.values()]

    def _extract(self, path: Path, scene: Scene | None) -> dict[str, np.ndarray]:
        wave, rate = read_audio(path, self.seconds)
        padded = [np.pad(wave, (0, max(round(FRAME * rate) - len(wave), 0)))]  # shorter ones vanish in pooling
        features = self.models["tagger"].features(padded, rate)
        found = {"features": features[0], "logits": self.models["tagger"].classify(features)[0],
                 "seconds": np.float64(len(wave) / rate), "rate": np.float64(rate),
                 "peak": np.float64(np.abs(wave).max()), "level": np.float64(loudness(wave)),
                 "bandwidth": np.float64(bandwidth(wave, rate))}
        if "framewise" in self.models:
            found["frames"] = self.models["framewise"].frames(padded, rate)[0]
        if "wav2clip" in self.models:
            found["clip"] = self.models["wav2clip"].embed(padded, rate)[0]
        if scene is not None:
            found["attributes"] = measure_attributes(wave, rate, scene)
        return found


def extract(stack: "Stack", sounds: Sequence[np.ndarray], scenes: list[Scene]) -> Features:
    """Features of the sounds (n, samples) of SoundWorld's scenes, at the generator's rate; nothing is kept."""
    rate, waves = stack.generator.sample_rate, list(sounds)
    features = stack.tagger.features(waves, rate)
    return Features(stack.tagger.classify(features), features, stack.framewise.frames(waves, rate),
                    stack.wav2clip.embed(waves, rate),
                    np.stack([measure_attributes(wave, rate, scene) for wave, scene in zip(waves, scenes)]))


def bandwidth(wave: np.ndarray, sample_rate: int) -> float:
    """Hz up to which a sound reaches: above, every band of 100 Hz lies more than 70 dB below the strongest."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    bands = np.add.reduceat(power, np.arange(0, len(power), max(round(100 * len(wave) / sample_rate), 1)))
    return min(100.0 * (1 + int(np.flatnonzero(bands >= 1e-7 * bands.max())[-1])), sample_rate / 2)


def measure_attributes(wave: np.ndarray, sample_rate: int, scene: Scene) -> np.ndarray:
    """What a picture of SoundWorld says of its sound, measured in the sound: (3,) in the order of ATTRIBUTES."""
    pitch = measure_pitch(wave, sample_rate, scene.label) if scene.label in PITCHED else np.nan
    return np.array([pitch, count_events(wave, sample_rate), loudness(wave)])


def attribute_fidelity(measured: np.ndarray, truth: np.ndarray, classes: np.ndarray, draws: int = 200,
                       seed: int = 0) -> Interval:
    """Rank correlation within classes of an attribute measured in sounds with the one seen in pictures, (n,) each.

    Ranks are taken within each class of 3 sounds or more, so that knowing the class alone earns nothing. Sounds in
    which nothing could be measured (NaN) count as the middle of their class. For several sounds per picture, `measured`
    (n, seeds), it is the mean of the seeds' correlations. ValueError where no class has 3 sounds.
    """
    groups = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    groups = [rows for rows in groups if len(rows) >= 3]
    if not groups:
        raise ValueError("no class has 3 sounds or more to be ranked")
    columns = np.column_stack([truth, measured])
    ranks = np.concatenate([np.apply_along_axis(_centred_ranks, 0, columns[rows]) for rows in groups])
    found = bootstrap(_mean_correlation, ranks, draws=draws, seed=seed)
    return found.within(-1, 1)


def _mean_correlation(ranks: np.ndarray) -> float:
    """Correlation of the first column of (n, 1 + seeds) with the others, their mean."""
    return float(np.mean([_correlation(ranks[:, 0], column) for column in ranks[:, 1:].T]))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (n,) within -1..1, 0 in the middle and for NaN."""
    ranks = rankdata(values, nan_policy="omit")
    return np.nan_to_num(2 * (ranks - np.nanmean(ranks)) / len(values)) if np.isfinite(values).any() else 0 * ranks


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm else 0.0  # a constant attribute follows nothing


def count_events(waveform: np.ndarray, sample_rate: int) -> int:
    """Number of onsets in a sound, for the classes COUNTED of `soundworld.measures`: peaks of its log-mel's flux.

    As Böck, Krebs and Schedl 2012 find them. The flux is the mean rise of the mels over 40 ms, in nats, of what lies
    less than 6 nats below the loudest point.
    """
    mel = log_mel(torch.from_numpy(np.asarray(resample(waveform, sample_rate, 16_000), np.float32))[None])[0].numpy()
    heard = np.maximum(mel, mel.max() - 6)
    rises = np.maximum(heard[4:] - heard[:-4], 0).mean(1)
    flux = np.pad(np.convolve(rises, [0.25, 0.5, 0.25], "same"), 1)
    least = max(0.2 * flux.max(), 0.05)
    return len(find_peaks(flux, height=least, prominence=least / 2, distance=10)[0])

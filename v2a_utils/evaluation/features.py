"""What the measures are computed on: sound files through the models that only evaluate, kept by the files' content.

Channels are averaged, as in av-benchmark and fadtk; audioldm_eval takes the first. Every backbone gets every sound at
its own rate, resampled by soxr (tests/benchmarks/parity.py measures what other filters change). A sound shorter than a
frame of FAD, 0.96 s, is padded with silence; PaSST pads or cuts every sound to 10 s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import librosa
import numpy as np
import torch
from scipy.signal import find_peaks
from scipy.stats import rankdata
from soundworld import KINDS, PITCHED, Scene, pitch
from tqdm.auto import tqdm

from v2a_utils.data.audio import loudness, read_audio, resample
from v2a_utils.data.files import cache_folder, key, sha256, whole_file
from v2a_utils.metrics.sounds import Interval, bootstrap
from v2a_utils.models.backbones import AudioBackbone
from v2a_utils.models.mel import log_mel
from v2a_utils.models.networks import FRAME
from v2a_utils.models.weights import state_sha256
from v2a_utils.stacks.stack import Stack

ATTRIBUTES = ("pitch", "events", "loudness")  # Hz, NaN for classes without one; number of onsets; dB
FORMAT = 3  # of what is kept: another number when the same files and models give other features
SILENT = 1e-5  # highest sample of a sound that counts as silent

STRUCK = ("bells", "cricket")  # inharmonic or one single partial: the strongest spectral line is the pitch heard
FINE = 8  # lags of an autocorrelation per sample
COUNTED = (  # classes whose number is heard as separate onsets; more of the others make one denser sound
    "bird", "cat", "dog", "duck", "frog", "sheep", "bells", "drums", "flute", "guitar", "piano", "trumpet",
)


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
        """Arrays by the names of `Features`, and "seconds", "rate" and "peak"; None for a file that cannot be read.

        Of a `scene`'s sound also what its picture says of it, as "attributes".
        """
        kept = self.folder / (f"{sha256(path)}.npz" if scene is None else f"{sha256(path)}-{scene.label}.npz")
        if not kept.is_file():
            try:
                found = self._extract(path, scene)
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
                 "peak": np.float64(np.abs(wave).max())}
        if "framewise" in self.models:
            found["frames"] = self.models["framewise"].frames(padded, rate)[0]
        if "wav2clip" in self.models:
            found["clip"] = self.models["wav2clip"].embed(padded, rate)[0]
        if scene is not None:
            found["attributes"] = measure_attributes(wave, rate, scene)
        return found


def extract(stack: Stack, sounds: Sequence[np.ndarray], scenes: list[Scene]) -> Features:
    """Features of the sounds (n, samples) of SoundWorld's scenes, at the generator's rate; nothing is kept."""
    rate, waves = stack.generator.sample_rate, list(sounds)
    features = stack.tagger.features(waves, rate)
    return Features(stack.tagger.classify(features), features, stack.framewise.frames(waves, rate),
                    stack.wav2clip.embed(waves, rate),
                    np.stack([measure_attributes(wave, rate, scene) for wave, scene in zip(waves, scenes)]))


def measure_attributes(wave: np.ndarray, sample_rate: int, scene: Scene) -> np.ndarray:
    """What a picture of SoundWorld says of its sound, measured in the sound: (3,) in the order of ATTRIBUTES."""
    pitch = measure_pitch(wave, sample_rate, scene.label) if scene.label in PITCHED else np.nan
    return np.array([pitch, count_events(wave, sample_rate), loudness(wave)])


# ------------------------------------------ what of a SoundWorld picture can be measured in its sound, and how well


def seen_attributes(scenes: list[Scene]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is seen in pictures and should be heard: by measure, the rows (n,) that have it and its values (n,).

    Pitches in Hz that the sizes imply, numbers of things, and distances times -1, in the order of ATTRIBUTES. Scenes of
    two things have none.
    """
    things = [scene.things[0] for scene in scenes]
    alone = np.array([len(scene.things) == 1 for scene in scenes])
    pitched, counted = (np.array([thing.name in names for thing in things]) for names in (PITCHED, COUNTED))
    return {"size → pitch": (alone & pitched, np.array([pitch(thing) for thing in things])),
            "count → events": (alone & counted, np.array([float(thing.count) for thing in things])),
            "distance → loudness": (alone, np.array([-thing.distance for thing in things]))}


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
    """Number of onsets in a sound, for the classes COUNTED: peaks of its log-mel's flux (Böck, Krebs, Schedl 2012).

    The flux is the mean rise of the mels over 40 ms, in nats, of what lies less than 6 nats below the loudest point.
    """
    mel = log_mel(torch.from_numpy(np.asarray(resample(waveform, sample_rate, 16_000), np.float32))[None])[0].numpy()
    heard = np.maximum(mel, mel.max() - 6)
    rises = np.maximum(heard[4:] - heard[:-4], 0).mean(1)
    flux = np.pad(np.convolve(rises, [0.25, 0.5, 0.25], "same"), 1)
    least = max(0.2 * flux.max(), 0.05)
    return len(find_peaks(flux, height=least, prominence=least / 2, distance=10)[0])


def measure_pitch(waveform: np.ndarray, sample_rate: int, name: str) -> float:
    """Pitch in Hz of a sound of a pitched class, searched around that class's range.

    YIN (de Cheveigné and Kawahara 2002), median over the loud frames; for struck and single-line sounds the strongest
    line of the spectrum. NaN for silence.
    """
    kind = KINDS[name]
    low, high = 0.75 * kind.low, min(1.35 * kind.high, 0.49 * sample_rate)
    if np.abs(waveform).max() < 1e-5:
        return float("nan")
    if name in STRUCK:
        spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 2 * len(waveform)))
        lines = np.fft.rfftfreq(2 * len(waveform), 1 / sample_rate)
        inside = (lines >= low) & (lines <= high)
        return float(lines[inside][spectrum[inside].argmax()])
    frame = 4096 if low < 100 else 2048
    pitches = librosa.yin(waveform, fmin=low, fmax=high, sr=sample_rate, frame_length=frame, hop_length=512)
    levels = librosa.feature.rms(y=waveform, frame_length=frame, hop_length=512)[0]
    return float(np.median(pitches[levels > 0.3 * levels.max()]))


def harmonicity(waveform: np.ndarray, sample_rate: int, pitch: float) -> float:
    """Harmonics-to-noise ratio in dB of a sound of known pitch in Hz (Boersma 1993); NaN for silence or no pitch.

    The normalised autocorrelation r of a frame of six periods, at its peak within a semitone around the pitch, splits
    its energy into a periodic share r and the rest: 10 log10(r / (1 - r)), from -20 to 40 dB. Median of loud frames.
    """
    if not np.isfinite(pitch) or np.abs(waveform).max() < 1e-5:
        return float("nan")
    frame = min(int(6 * sample_rate / pitch), len(waveform))
    windows = librosa.util.frame(waveform, frame_length=frame, hop_length=max(frame // 2, 1)).T
    levels = np.sqrt((windows**2).mean(1))
    window = np.hanning(frame)
    period = FINE * sample_rate / pitch
    lags = slice(int(period / 2 ** (1 / 12)), int(period * 2 ** (1 / 12)) + 2)
    heard = _autocorrelation((windows * window)[levels > 0.3 * levels.max()])[:, lags] / _autocorrelation(window)[lags]
    share = np.clip(np.median(heard.max(1)), 0.01, 0.9999)
    return float(10 * np.log10(share / (1 - share)))


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation of frames (..., samples), FINE lags per sample: high tones peak between samples."""
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[-1])) ** 2
    found = np.fft.irfft(power, 2 * FINE * frames.shape[-1])
    return found / found[..., :1]

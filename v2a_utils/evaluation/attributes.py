"""What of a SoundWorld picture can be measured in its sound: size as pitch, count as onsets, distance as loudness.

In: sounds, and what their scenes say. Out: rank correlations within classes; only a world of known truth has them.
"""

import librosa
import numpy as np
import torch
from scipy.signal import find_peaks
from scipy.stats import rankdata, spearmanr
from soundworld import KINDS, PITCHED, Scene, pitch

from v2a_utils.data.audio import resample
from v2a_utils.metrics.sounds import Interval, bootstrap
from v2a_utils.models.mel import log_mel

STRUCK = ("bells", "cricket")  # inharmonic or one single partial: the strongest spectral line is the pitch heard
FINE = 8  # lags of an autocorrelation per sample
COUNTED = (  # classes whose number is heard as separate onsets; more of the others make one denser sound
    "bird", "cat", "dog", "duck", "frog", "sheep", "bells", "drums", "flute", "guitar", "piano", "trumpet",
)


def seen_attributes(scenes: list[Scene]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is seen in pictures and should be heard: by measure, the rows (n,) that have it and its values (n,).

    Pitches in Hz that the sizes imply, numbers of things, and distances times -1, which loudness follows: in the order
    in which `features.ATTRIBUTES` are measured. Scenes of two things have none.
    """
    things = [scene.things[0] for scene in scenes]
    alone = np.array([len(scene.things) == 1 for scene in scenes])
    pitched, counted = (np.array([thing.name in names for thing in things]) for names in (PITCHED, COUNTED))
    return {"size → pitch": (alone & pitched, np.array([pitch(thing) for thing in things])),
            "count → events": (alone & counted, np.array([float(thing.count) for thing in things])),
            "distance → loudness": (alone, np.array([-thing.distance for thing in things]))}


def attribute_fidelity(
    measured: np.ndarray, truth: np.ndarray, classes: np.ndarray, draws: int = 200, seed: int = 0
) -> Interval:
    """Rank correlation within classes of an attribute measured in sounds with the one seen in pictures, (n,) each.

    Ranks are taken within each class, so that knowing the class alone earns nothing, and correlated over all classes
    of 3 sounds or more. Size moves `measure_pitch`, count `count_events`, distance `audio.loudness`. Sounds in which
    nothing could be measured (NaN) count as the middle of their class. For several sounds per picture,
    `measured` (n, seeds), it is the mean of the seeds' correlations.
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


def pitch_agreement(measured: np.ndarray, implied: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Spearman correlation between measured and implied pitch (n,), for every class and their mean ("mean").

    Within classes, so that knowing the class alone earns nothing. Classes with fewer than 5 sounds are left out.
    """
    found = {}
    for name in np.unique(classes):
        rows = (classes == name) & np.isfinite(measured)
        if rows.sum() >= 5:
            found[str(name)] = float(spearmanr(measured[rows], implied[rows]).statistic)
    return found | {"mean": float(np.mean(list(found.values())))}

"""Measures of generated sounds against SoundWorld's truth, each with n and an interval."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import librosa
import numpy as np
from scipy.stats import binomtest, spearmanr

from v2a_utils.soundworld import KINDS, Scene

STRUCK = ("bells", "cricket")  # inharmonic or one single partial: the strongest spectral line is the pitch heard


class Interval(NamedTuple):
    """An estimate from n rows with its 95% interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        digits = 3 if abs(self.value) < 10 else 0
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Rate:
    """A share of successes with its 95% Wilson interval."""

    successes: int
    n: int

    @property
    def value(self) -> float:
        return self.successes / self.n

    def interval(self) -> tuple[float, float]:
        """Ends of the 95% Wilson interval."""
        low, high = binomtest(self.successes, self.n).proportion_ci(method="wilson")
        return low, high

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.value:.1%} ({low:.1%} to {high:.1%}, n = {self.n})"


def bootstrap(function: Callable[..., float], *arrays: np.ndarray, draws: int = 200, seed: int = 0) -> Interval:
    """`function(*arrays)` with the 95% percentile interval over resampled rows (Efron 1979).

    Arrays of one length are resampled together, row by row. Repeated rows raise a Fréchet distance; that shift of the
    draws' mean is taken out of the interval. Resample ranks and hits, not the clouds they were computed from:
    a row that is there twice would be its own neighbour.
    """
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise ValueError(f"arrays of {[len(array) for array in arrays]} rows cannot be resampled together")
    rng, value = np.random.default_rng(seed), float(function(*arrays))
    values = []
    for _ in range(draws):
        rows = rng.integers(n, size=n)
        values.append(function(*(array[rows] for array in arrays)))
    low, high = np.quantile(values, [0.025, 0.975]) - (np.mean(values) - value)
    return Interval(value, float(min(low, value)), float(max(high, value)), n)


def rate_interval(successes: np.ndarray) -> Interval:
    """Share of successes among (n,) bool with its 95% Wilson interval."""
    rate = Rate(int(np.sum(successes)), len(successes))
    return Interval(rate.value, *rate.interval(), rate.n)


def right_class(scores: np.ndarray, names: list[str], scenes: list[Scene]) -> Rate:
    """Share of rows of `scores` (n, classes) whose highest class is among the scene's one or two."""
    return Rate(int(hits(scores, names, scenes).sum()), len(scenes))


def hits(scores: np.ndarray, names: list[str], scenes: list[Scene]) -> np.ndarray:
    """Whether the highest class of each row of `scores` (n, classes) is among the scene's, (n,) bool."""
    return np.array([names[best] in scene.labels for best, scene in zip(scores.argmax(1), scenes)])


def measure_pitch(waveform: np.ndarray, sample_rate: int, name: str) -> float:
    """Pitch in Hz of a sound of a pitched class, looked for around that class's range.

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


def log_mel_error(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean absolute difference in nats between log-mels (n, frames, mels), per sound (n,)."""
    return np.abs(first - second).mean((1, 2))

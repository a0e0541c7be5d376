"""Known defects of sounds, each in six doses: what the audit of the measures (`benchmarks.audit`) gives them to find.

A defect of the signal changes a wave, one of the scene what is synthesised; a share replaces some of the sounds by
others. Doses rise: the last is the worst.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import av
import librosa
import numpy as np
from scipy.signal import butter, correlate, sosfiltfilt
from soundworld import SAMPLE_RATE, Scene, counterfactual

from v2a_utils.data.audio import resample

Dice = np.random.Generator


class Defect(NamedTuple):
    """What is done to a sound or a scene, with the doses and their unit."""

    doses: tuple[float, ...]
    unit: str
    spoil: Callable


# ------------------------------------------------------------------------------------------------------- of the signal


def quieter(wave: np.ndarray, decibels: float, dice: Dice) -> np.ndarray:
    """The whole sound softer."""
    return wave * 10 ** (-decibels / 20)


def moved(wave: np.ndarray, milliseconds: float, dice: Dice) -> np.ndarray:
    """Later or earlier; what runs over one end comes in at the other."""
    return np.roll(wave, int(dice.choice([-1, 1]) * milliseconds * SAMPLE_RATE / 1000))


def warped(wave: np.ndarray, sigma: float, dice: Dice) -> np.ndarray:
    """Played slower or faster by a random factor, so that sounds of a picture lie farther apart than true ones."""
    rate = SAMPLE_RATE * float(np.exp(dice.normal(0, sigma)))
    return librosa.util.fix_length(resample(wave, round(rate), SAMPLE_RATE), size=len(wave))


def low_passed(wave: np.ndarray, hertz: float, dice: Dice) -> np.ndarray:
    """Without what lies above a frequency."""
    return sosfiltfilt(butter(8, hertz, fs=SAMPLE_RATE, output="sos"), wave)


def noisy(wave: np.ndarray, decibels: float, dice: Dice) -> np.ndarray:
    """White noise, as loud as the sound less so many decibels."""
    return wave + dice.normal(0, np.sqrt((wave**2).mean()) * 10 ** (-decibels / 20), len(wave))


def through_mp3(wave: np.ndarray, kilobits: float, dice: Dice) -> np.ndarray:
    """Encoded by LAME at so many kbit/s, and decoded; the codec's delay taken away."""
    written = io.BytesIO()
    with av.open(written, "w", "mp3") as file:
        stream = file.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=int(1000 * kilobits))
        frame = av.AudioFrame.from_ndarray(np.asarray(wave, np.float32)[None], "fltp", "mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    written.seek(0)
    with av.open(written) as file:
        heard = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    near = heard[: len(wave) + 4000]
    delay = int(np.argmax(correlate(near, wave, "valid"))) if len(near) > len(wave) else 0
    return librosa.util.fix_length(near[delay:], size=len(wave))


def by_griffin_lim(wave: np.ndarray, iterations: float, dice: Dice) -> np.ndarray:
    """Its magnitudes alone, with phases found by so many iterations of Griffin and Lim."""
    size, hop = 1024, 256
    magnitudes = np.abs(librosa.stft(wave, n_fft=size, hop_length=hop))
    return librosa.griffinlim(magnitudes, n_iter=int(iterations), hop_length=hop, n_fft=size, length=len(wave),
                              momentum=0, random_state=int(dice.integers(2**31)))


def clipped(wave: np.ndarray, decibels: float, dice: Dice) -> np.ndarray:
    """Cut at so many decibels below its peak, and brought back to its level."""
    cut = np.clip(wave, *(np.abs(wave).max() * 10 ** (-decibels / 20) * np.array([-1, 1])))
    return cut * np.sqrt((wave**2).mean() / max((cut**2).mean(), 1e-12))


def ended(wave: np.ndarray, percent: float, dice: Dice) -> np.ndarray:
    """Silent in its last part."""
    return np.where(np.arange(len(wave)) < len(wave) * (1 - percent / 100), wave, 0)


SIGNALS = {
    "too soft": Defect((1, 3, 6, 10, 15, 20), "dB", quieter),
    "onsets moved": Defect((20, 50, 100, 200, 400, 800), "ms", moved),
    "spread too large": Defect((0.02, 0.05, 0.1, 0.2, 0.3, 0.5), "σ of log speed", warped),
    "low-passed": Defect((7000, 6000, 5000, 4000, 3000, 2000), "Hz", low_passed),
    "noise": Defect((40, 30, 20, 15, 10, 5), "dB SNR", noisy),
    "mp3": Defect((128, 96, 64, 48, 32, 16), "kbit/s", through_mp3),
    "Griffin-Lim": Defect((32, 16, 8, 4, 2, 1), "iterations", by_griffin_lim),
    "clipped": Defect((3, 6, 12, 18, 24, 36), "dB", clipped),
    "silent end": Defect((5, 10, 20, 40, 60, 80), "% of the sound", ended),
}


# -------------------------------------------------------------------------------------------------------- of the scene


def farther(scene: Scene, step: float, dice: Dice) -> Scene:
    """Everything farther away than it is seen."""
    return counterfactual(scene, distance=min(scene.things[0].distance + step, 1))


def other_size(scene: Scene, step: float, dice: Dice) -> Scene:
    """A pitch that has nothing to do with the size that is seen; among all sounds pitches are spread as before."""
    return counterfactual(scene, size=float(dice.random()))


def other_count(scene: Scene, step: float, dice: Dice) -> Scene:
    """One more than is seen, or one less."""
    count = scene.things[0].count
    return counterfactual(scene, count=2 if count != 2 else int(dice.choice([1, 3])))


SHARES = (1, 5, 10, 25, 50, 100)  # percent of the pictures
SCENES = {"too far": Defect((0.1, 0.2, 0.3, 0.5, 0.7, 1.0), "of near to far", farther)}
SOME_SCENES = {  # a share of the pictures gets what is heard of another scene
    "pitch ignores the size": Defect(SHARES, "% of pictures", other_size),
    "one more or one less": Defect(SHARES, "% of pictures", other_count),
}


# ------------------------------------------------------------------------------- which sound stands beside which picture


def wrong_class(labels: np.ndarray, percent: float, dice: Dice) -> np.ndarray:
    """Rows (n,) of the sounds that pictures get: a share of them one of another class."""
    rows = np.arange(len(labels))
    for row in dice.permutation(len(labels))[: round(percent / 100 * len(labels))]:
        rows[row] = dice.choice(np.flatnonzero(labels != labels[row]))
    return rows


def shuffled(labels: np.ndarray, percent: float, dice: Dice) -> np.ndarray:
    """Rows: a share of the pictures have exchanged their sounds, so that all sounds together are as before."""
    rows, chosen = np.arange(len(labels)), dice.permutation(len(labels))[: round(percent / 100 * len(labels))]
    rows[chosen] = np.roll(chosen, 1)
    return rows


def class_dropped(labels: np.ndarray, classes: float, dice: Dice) -> np.ndarray:
    """Rows: pictures of some classes get sounds of the others, as if the system knew no more."""
    names = dice.permutation(np.unique(labels))
    rows, lost = np.arange(len(labels)), np.isin(labels, names[: int(classes)])
    rows[lost] = dice.choice(np.flatnonzero(~lost), lost.sum())
    return rows


def typical_only(labels: np.ndarray, percent: float, dice: Dice, features: np.ndarray) -> np.ndarray:
    """Rows: a share of the pictures get their class's one most typical sound, the nearest to the class's mean."""
    rows, chosen = np.arange(len(labels)), dice.permutation(len(labels))[: round(percent / 100 * len(labels))]
    for row in chosen:
        own = np.flatnonzero(labels == labels[row])
        rows[row] = own[np.linalg.norm(features[own] - features[own].mean(0), axis=1).argmin()]
    return rows


ROWS = {
    "wrong class": Defect(SHARES, "% of pictures", wrong_class),
    "pairs shuffled": Defect(SHARES, "% of pictures", shuffled),
    "classes dropped": Defect((1, 2, 4, 8, 12, 16), "of 20 classes", class_dropped),
    "spread too small": Defect(SHARES, "% of pictures", typical_only),
}
MEMORISED = Defect((64, 32, 16, 8, 4, 1), "sounds a class", None)  # the pool knows the training sounds
DEFECTS = {name: (found.doses, found.unit) for name, found in {
    **ROWS, **SOME_SCENES, "memorised": MEMORISED, **SCENES, **SIGNALS}.items()}

"""What of a SoundWorld picture is heard in its sound: what the picture says, and how a sound is measured for it."""

import librosa
import numpy as np

from soundworld.scene import KINDS, PITCHED, Scene, pitch

STRUCK = ("bells", "cricket")  # inharmonic or one single partial: the strongest spectral line is the pitch heard
FINE = 8  # lags of an autocorrelation per sample
COUNTED = (  # classes whose number is heard as separate onsets; more of the others make one denser sound
    "bird", "cat", "dog", "duck", "frog", "sheep", "bells", "drums", "flute", "guitar", "piano", "trumpet",
)


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

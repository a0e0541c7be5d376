"""Building blocks of SoundWorld's sounds: oscillators, modes, noise, envelopes, resonances and event timing.

Signals are mono float64 arrays of shape (n,) at SAMPLE_RATE; times are in seconds, frequencies in Hz.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft

from soundworld.scene import NUM_SAMPLES, SAMPLE_RATE, Thing

TABLE = 4096  # samples in one period of a wavetable
HOP = 256  # samples in one block of the modal sum
TOP = 7600.0  # Hz, no oscillator goes above it


def samples(duration: float) -> int:
    """Number of samples in `duration` seconds."""
    return int(duration * SAMPLE_RATE)


def clock(n: int) -> np.ndarray:
    """Time in seconds of each of n samples, shape (n,)."""
    return np.arange(n) / SAMPLE_RATE


def between(low: float, high: float, x: float) -> float:
    """Geometric mix of two positive numbers: `low` at x = 0, `high` at x = 1."""
    return low * (high / low) ** x


def curve(n: int, *points: float) -> np.ndarray:
    """Piecewise linear curve through evenly spaced points over n samples, shape (n,)."""
    return np.interp(np.linspace(0, len(points) - 1, n), np.arange(len(points)), points)


def wander(rng: np.random.Generator, n: int, rate: float, depth: float) -> np.ndarray:
    """Slow random factor around 1, shape (n,): about `rate` turns a second, standard deviation `depth`."""
    return 1 + curve(n, *(depth * rng.standard_normal(max(int(n / SAMPLE_RATE * rate), 1) + 2)))


def edges(n: int, attack: float, release: float) -> np.ndarray:
    """Envelope of n samples, 0..1: raised-cosine attack and release (s) around a plateau at 1."""
    rise, fall = (min(samples(duration), n) for duration in (attack, release))
    envelope = np.ones(n)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / max(rise, 1))
    envelope[n - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / max(fall, 1))
    return envelope


def strike(n: int, attack: float, decay: float) -> np.ndarray:
    """Envelope of n samples: linear attack (s), then exponential decay with time constant `decay` (s)."""
    t = clock(n)
    return np.clip(t / attack, 0, 1) * np.exp(-np.maximum(t - attack, 0) / decay)


def unit(signal: np.ndarray) -> np.ndarray:
    """One event scaled to peak at 1: an event's level is fixed, so only distance changes its loudness."""
    return signal / (np.abs(signal).max() + 1e-9)


def cycles(f0: np.ndarray) -> np.ndarray:
    """Phase in periods, shape (n,), of an oscillator with instantaneous frequency f0 (Hz, shape (n,))."""
    return np.cumsum(f0) / SAMPLE_RATE


def harmonics(f0: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Periodic source, shape (n,): harmonic k has amplitude levels[k-1] (complex to set its phase).

    Harmonics that would pass TOP anywhere are left out, so nothing aliases.
    """
    count = min(len(levels), int(TOP / f0.max()))
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    spectrum[1 : count + 1] = -0.5j * TABLE * np.asarray(levels)[:count]
    table = np.fft.irfft(spectrum)
    return table[(cycles(f0) * TABLE).astype(np.int64) & (TABLE - 1)]


def slope(tilt: float, count: int = 200) -> np.ndarray:
    """Harmonic levels k^-tilt, shape (count,): 1 is a sawtooth, 2 a soft triangle, 0 a pulse train."""
    return np.arange(1.0, count + 1) ** -tilt


def modes(n: int, frequencies: np.ndarray, decays: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Sum of damped sines, shape (n,): the free vibration of a struck or plucked body.

    frequencies (Hz), decays (time constants, s) and levels have shape (modes,); modes above TOP are silent.
    """
    frequencies, decays, levels = np.broadcast_arrays(frequencies, decays, levels)
    kept = frequencies < TOP
    step = (-1 / decays[kept] + 2j * np.pi * frequencies[kept]) / SAMPLE_RATE
    # exp(s(a + b)) = exp(sa) exp(sb): one small matrix product instead of a long exponential per mode
    coarse = np.exp(np.outer(np.arange(-(-n // HOP)) * HOP, step)) * levels[kept]
    fine = np.exp(np.outer(step, np.arange(HOP)))
    return (np.hstack([coarse.real, coarse.imag]) @ np.vstack([fine.imag, fine.real])).ravel()[:n]


def noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """White noise of n samples, standard deviation 1."""
    return rng.standard_normal(n)


def shaped(signal: np.ndarray, low: float, high: float, fall: float = 2.0) -> np.ndarray:
    """Signal kept between low and high (Hz); outside, it falls by 6 * fall dB an octave. Same shape."""
    f = np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE) + 1e-3
    gain = 1 / np.sqrt((1 + (low / f) ** (2 * fall)) * (1 + (f / high) ** (2 * fall)))
    return fft.irfft(fft.rfft(signal) * gain, len(signal))


def _response(size: int, centres, widths, gains, leak: float) -> np.ndarray:
    """Spectrum of parallel damped resonators (Hz, Hz, gain at the peak) for an FFT of `size` samples."""
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    response = np.full(len(f), leak, complex)
    for centre, width, gain in zip(centres, widths, gains):
        x = (f - centre) * (2 / width)
        response += (gain / (1 + x * x)) * (1 - 1j * x)
    return response


def formants(signal: np.ndarray, centres, widths, gains, leak: float = 0.02) -> np.ndarray:
    """Signal through parallel damped resonators (a vocal tract or a body), plus `leak` of the dry sound.

    centres and widths are in Hz, gains are at the peaks; the result has the signal's shape.
    """
    size = fft.next_fast_len(len(signal) + 800, real=True)
    return fft.irfft(fft.rfft(signal, size) * _response(size, centres, widths, gains, leak), size)[: len(signal)]


def vowels(source: np.ndarray, mouths: list, scale: float, width: float = 1.0) -> np.ndarray:
    """Source through a mouth that moves evenly through `mouths`, each a list of formants (Hz, gain); same shape.

    scale multiplies the formants (a small animal has a short tract, so a scale above 1), width their bandwidths.
    """
    n = len(source)
    size = fft.next_fast_len(n + 800, real=True)
    spectrum = fft.rfft(source, size)
    out = np.zeros(n)
    for mouth, weights in zip(mouths, np.eye(len(mouths))):
        centres, gains = np.array(mouth).T
        centres = scale * centres
        response = _response(size, centres, width * (60 + 0.1 * centres), gains, 0.02)
        out += curve(n, *weights) * fft.irfft(spectrum * response, size)[:n]
    return out


def tract(thing: Thing) -> float:
    """Formant scale of an animal: 1.3 for the smallest to 0.75 for the largest, and a tenth either way by timbre."""
    return between(1.3, 0.75, thing.size) * between(0.91, 1.1, thing.timbre)


def onsets(rng: np.random.Generator, number: int, gap: float, jitter: float = 0.08) -> np.ndarray:
    """Start times (s), shape (number,): the first within 0.02..0.15 s, the next about `gap` apart."""
    beats = np.arange(number) + rng.uniform(-jitter, jitter, number)
    return rng.uniform(0.02, 0.15) + gap * np.maximum(beats, 0)


def mix(events) -> np.ndarray:
    """Sum of (start in s, signal) events on a silent clip, shape (NUM_SAMPLES,); what runs past the end is cut."""
    out = np.zeros(NUM_SAMPLES)
    for start, signal in events:
        first = min(samples(start), NUM_SAMPLES)
        kept = signal[: NUM_SAMPLES - first]
        out[first : first + len(kept)] += kept
    return out


class Dry(NamedTuple):
    """A thing's voice before it is set at its distance."""

    sound: np.ndarray  # (NUM_SAMPLES,)
    onsets: Sequence[tuple[float, int]] = ()  # seconds, and which of the `count` individuals; none: it never pauses


def placed(events) -> Dry:
    """The mix of (start s, signal, individual) events, and their onsets: where a signal reaches a tenth of its peak."""
    events = list(events)
    onsets = [(start + np.argmax(np.abs(signal) >= 0.1 * np.abs(signal).max()) / SAMPLE_RATE, individual)
              for start, signal, individual in events]
    return Dry(mix((start, signal) for start, signal, _ in events), onsets)

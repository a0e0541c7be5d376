"""A sound's events moved to other moments, with the frozen generator itself to melt the seams.

Works with every AudioLDM as it is: the sound that it made is cut at its onsets, the pieces are put where they are
wanted, and the result is noised a little and denoised again under the same condition (`generate(start=)`).
"""

import numpy as np
import torch

from v2a_utils.metrics.timing import event_curve, peaks, sound_curve, sound_onsets, unseen
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.mel import log_mel

STRENGTH = 0.5  # share of the denoising that melts the seams
LEAD = 0.01  # s before an onset that belong to its event
CLEAR = 0.6  # share of the clearest onset from which on another one is an event of its own
FADE = 0.03  # s in which a piece gives way to the next
CURVE_RATE = 100  # values a second of a sound's curve


def onsets(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Onsets (s) of a sound (samples,)."""
    return sound_onsets(_curve(waveform, sample_rate), CURVE_RATE)


def _curve(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    mels = log_mel(torch.from_numpy(np.asarray(waveform, np.float32))[None], sample_rate, 64, sample_rate // CURVE_RATE)
    return sound_curve(mels[0].numpy())


def rearranged(waveform: np.ndarray, sample_rate: int, wanted: np.ndarray) -> np.ndarray:
    """A sound (samples,) whose events begin at the moments `wanted` (s) instead of at its own onsets; same shape.

    It is cut at its clear onsets; as many of the pieces as are wanted keep their order, and where there are too few,
    they come again. Each lasts as long as it did, or until the next begins. Without onsets, or without a wanted moment,
    the sound stays as it is.
    """
    found, wanted = onsets(waveform, sample_rate), np.sort(wanted)
    if not len(found) or not len(wanted):
        return waveform
    rises, around = _curve(waveform, sample_rate), int(0.03 * CURVE_RATE)
    clear = np.array([rises[max(int(time * CURVE_RATE) - around, 0):][: 2 * around].max() for time in found])
    kept = np.sort(found[np.argsort(-clear, kind="stable")[: len(wanted)]])
    ends = found[(clear >= CLEAR * clear.max()) | np.isin(found, kept)]  # what wavers within an event is no end of it
    length, fade = len(waveform), int(FADE * sample_rate)
    starts, ends, targets = (np.round((times - LEAD) * sample_rate).astype(int).clip(0, length)
                             for times in (kept, ends, wanted))
    pieces = [waveform[start : min(ends[ends > start], default=length)] for start in starts]
    moved = np.zeros(length, waveform.dtype)
    for number, (target, end) in enumerate(zip(targets, [*targets[1:], length])):
        piece = pieces[number % len(pieces)][: min(end + fade, length) - target].copy()
        ramp = np.linspace(1, 0, min(fade, len(piece)), dtype=waveform.dtype)
        piece[len(piece) - len(ramp):] *= ramp
        moved[target : target + len(piece)] += piece
    return moved


def retimed(generator: Generator, waveforms: np.ndarray, embeddings: np.ndarray, films: list[np.ndarray],
            strength: float = STRENGTH, **settings) -> np.ndarray:
    """Sounds (n, samples) that `generator` made for embeddings (n, d), with their events where their films show some.

    A film is its `motion` (frames,), as long as the sound. Where it shows nothing for a whole shot, the sound keeps its
    own onsets. `strength` is the share of the denoising that is done again, `settings` are those of
    `Generator.generate`. A sound without onsets, or whose film shows no event, stays as it was to the last bit.
    """
    result, rate = np.array(waveforms), generator.sample_rate
    starts = {}
    for number, (waveform, moved) in enumerate(zip(waveforms, films)):
        times = wanted(waveform, rate, moved)
        if len(times) and len(onsets(waveform, rate)):
            starts[number] = rearranged(waveform, rate, times)
    if starts:
        rows = list(starts)
        settings["seconds"] = waveforms.shape[1] / rate
        result[rows] = generator.generate(np.asarray(embeddings)[rows], start=np.stack(list(starts.values())),
                                          strength=strength, **settings)
    return result


def wanted(waveform: np.ndarray, sample_rate: int, moved: np.ndarray) -> np.ndarray:
    """When (s) a sound's (samples,) events should begin by its film's motion (frames,): never if that shows none."""
    frame_rate = len(moved) * sample_rate / len(waveform)
    curve = event_curve(moved, frame_rate)
    if not curve.any():
        return np.zeros(0)
    seen, own, blind = peaks(curve, frame_rate), onsets(waveform, sample_rate), unseen(moved, curve)
    number = (own * frame_rate).astype(int).clip(0, len(moved) - 1)
    return np.sort(np.concatenate([seen, own[blind[number]]]))

"""When something happens: event curves of films and of sounds, the offset between the two, onsets and their matches.

Pure functions on arrays. Times are in seconds from the beginning; a curve has one value for every frame, 0 where
nothing happens. What DeSync does in the field's tables with a trained network (Synchformer, arXiv 2401.16423), which
tells by how much a sound is shifted against its film, `offset` does by correlation.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter, median_filter, minimum_filter, percentile_filter
from scipy.signal import find_peaks

QUIET = 20  # levels of 255 by which a pixel may change without an event: noise of a video, a light that wavers
WHOLE = 0.25  # share of the pixels that change in a cut
FAINT = 0.01  # levels, mean over the pixels: a peak of motion below is none
CALM = 25  # percent of the frames around it that move less than what is taken for a frame's slow motion
ABOVE = 3.0  # times the usual wavering of the motion, and
SHARE = 0.16  # share of the film's clearest events, that an event has at least
ECHO, RELEASE = 0.3, 0.3  # what moved moves back: share of an event, and seconds, below which that is no event
FINE = 100  # values a second at which a film's curve and a sound's are laid over each other
BLUR = 0.03  # s, standard deviation: two curves that miss each other by less still meet
MOST = 1.0  # s, the largest offset that is tried


def motion(frames: np.ndarray) -> np.ndarray:
    """How much of each frame is new, (n,) in levels of 255, of frames (n, height, width, 3) in 0..255.

    A pixel is new if no value between the least and the greatest around it in the frame before comes within QUIET of
    it, or the other way round. So whatever moves slowly, by up to a pixel a frame, is not new, wherever it moves to:
    camera, drift and sway. A cut, where nearly everything is new, is nan. Meant for frames of about 128 pixels.
    """
    found = np.zeros(len(frames))
    before = None
    for number, frame in enumerate(np.asarray(frames, np.float32)):
        now = frame, minimum_filter(frame, (3, 3, 1)), maximum_filter(frame, (3, 3, 1))
        if before is not None:
            new = [np.maximum(np.maximum(one[0] - other[2], other[1] - one[0]) - QUIET, 0).sum(2)
                   for one, other in ((now, before), (before, now))]
            changed = new[0] + new[1]
            found[number] = changed.mean() if (changed > 0).mean() < WHOLE else np.nan
        before = now
    return found


def event_curve(moved: np.ndarray, rate: float) -> np.ndarray:
    """What happens in a film whose `motion` is `moved` (n,), at `rate` frames a second: (n,) in 0..1, mostly 0.

    Only peaks of the motion remain that stand out of its wavering, each in three frames around it. All 0 where nothing
    moves, or moves without a moment: motion alone is no event.
    """
    curve, moved = np.zeros(len(moved)), np.nan_to_num(moved)
    background = percentile_filter(moved, CALM, max(int(0.6 * rate) | 1, 3), mode="nearest")
    risen = np.maximum(moved - background, 0)
    places, _ = find_peaks(np.concatenate([[0], risen, [0]]))
    places -= 1
    if not len(places):
        return curve
    clear = np.sort(risen[places])[-3:].mean()
    least = max(FAINT, ABOVE * np.median(risen), SHARE * clear)
    last, strongest = -np.inf, 0.0
    for place in places[risen[places] > least]:
        if place - last < RELEASE * rate and risen[place] < ECHO * strongest:
            continue
        last, strongest = place, risen[place]
        around = slice(max(place - 1, 0), place + 2)
        curve[around] = np.maximum(curve[around], risen[around] / clear)
    return np.minimum(curve, 1)


def unseen(moved: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Frames (n,), true or false, of the shots between cuts in which nothing happens, by a film's motion and its curve.

    While such a shot lasts the film does not say when it sounds.
    """
    shots = np.cumsum(np.isnan(moved))
    return ~np.isin(shots, shots[curve > 0])


def sound_curve(log_mels: np.ndarray) -> np.ndarray:
    """Where a sound begins anew: how much its log-mel (frames, mels) in nats rises, mean over the mels, (frames,)."""
    mels = np.maximum(log_mels, log_mels.max() - 9)  # what is 80 dB below the loudest is not heard
    rise = np.maximum(mels[2:] - mels[:-2], 0).mean(1)
    return np.concatenate([[0], rise, [0]])


def peaks(curve: np.ndarray, rate: float, least: float = 0.0) -> np.ndarray:
    """Moments (s) of the peaks of a curve (n,) above `least`, each at the centre of gravity of the frames around it."""
    places, _ = find_peaks(np.concatenate([[0], curve, [0]]), height=max(least, 1e-9), distance=2)
    times = []
    for place in places - 1:
        around = np.arange(max(place - 1, 0), min(place + 2, len(curve)))
        times.append((around * curve[around]).sum() / curve[around].sum() / rate)
    return np.array(times)


def sound_onsets(curve: np.ndarray, rate: float) -> np.ndarray:
    """Onsets (s) in a sound's curve (n,): peaks that stand out of the 0.2 s around them."""
    background = median_filter(curve, max(int(0.2 * rate) | 1, 3), mode="nearest")
    risen = np.maximum(curve - background, 0)
    return peaks(gaussian_filter1d(risen, 0.01 * rate), rate, max(0.2 * np.sort(risen)[-3:].mean(), 0.08))


def matches(true: np.ndarray, found: np.ndarray, window: float = 0.1) -> list[tuple[int, int]]:
    """Pairs (number of a true moment, number of a found one) within `window` seconds, as many as there can be.

    Both are sorted, none is in two pairs. As in `mir_eval.onset`, F1 is twice the pairs over the number of both.
    """
    pairs, one, other = [], 0, 0
    while one < len(true) and other < len(found):
        if abs(true[one] - found[other]) <= window:
            pairs.append((one, other))
            one, other = one + 1, other + 1
        elif true[one] < found[other]:
            one += 1
        else:
            other += 1
    return pairs


def offset(seen: np.ndarray, heard: np.ndarray, seen_rate: float, heard_rate: float, most: float = MOST) -> float:
    """Seconds by which a sound comes too late for its film (negative: too early), by their event curves.

    Both curves are laid on one grid of FINE values a second and blurred; the answer is the shift, up to `most`, at
    which their correlation is greatest. nan where one of them is 0 throughout: there is nothing to be late for.
    """
    if not seen.any() or not heard.any():
        return float("nan")
    duration = min(len(seen) / seen_rate, len(heard) / heard_rate)
    grid = np.arange(int(duration * FINE)) / FINE
    film, sound = (np.interp(grid, np.arange(len(curve)) / rate, np.minimum(curve / curve.max(), 0.5))
                   for curve, rate in ((seen, seen_rate), (heard, heard_rate)))
    film, sound = (gaussian_filter1d(curve, BLUR * FINE) for curve in (film, sound))
    film, sound = film - film.mean(), sound - sound.mean()
    reach = int(most * FINE)
    return float((np.argmax(np.correlate(np.pad(sound, reach), film)) - reach) / FINE)

"""When things happen: event curves, onsets and the offset between a film and a sound, held against known truth."""

import numpy as np
import pytest
import torch
from conftest import plain_scene
from soundworld import draw, events, film, synthesise

from v2a_utils.metrics.timing import event_curve, matches, motion, offset, peaks, sound_curve, sound_onsets, unseen
from v2a_utils.models.mel import log_mel

RATE, MELS = 25, 100  # frames of films and of mels a second


def heard(waveform: np.ndarray) -> np.ndarray:
    """Curve of a sound (samples,) at 16 kHz."""
    return sound_curve(log_mel(torch.from_numpy(np.asarray(waveform, np.float32))[None])[0].numpy())


def seen(scene) -> np.ndarray:
    """Curve of a scene's film without cuts or sway: the thing and its gestures."""
    frames = np.stack([np.asarray(draw(scene, number / RATE)) for number in range(64)])
    return event_curve(motion(frames), RATE)


def moments(scene) -> np.ndarray:
    return np.unique([event.seconds for event in events(scene)])


def pulses(times, length: float, rate: float) -> np.ndarray:
    curve = np.zeros(round(length * rate))
    curve[np.round(np.asarray(times) * rate).astype(int)] = 1
    return curve


# ------------------------------------------------------------------------------------------------------------- seeing


def test_slow_motion_is_not_new_and_a_jump_is():
    frames = np.full((12, 60, 80, 3), 200, np.uint8)
    for number in range(12):
        left = 10 + number + (12 if number >= 7 else 0)  # a pixel a frame, and a leap
        frames[number, 20:40, left:left + 15] = 30
    moved = motion(frames)
    assert moved.shape == (12,) and moved[7] > 0 and not np.delete(moved, 7).any()


def test_a_cut_and_a_wavering_light_are_not_events():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    moved = motion(np.stack([one] * 3 + [other] * 3))
    assert np.flatnonzero(np.isnan(moved)).tolist() == [3] and not np.nansum(moved)
    assert not event_curve(moved, RATE).any()
    grey = np.full((64, 64, 3), 100)
    assert not motion(np.stack([grey + level for level in (0, 9, -4, 12, 3)]).astype(np.uint8)).any()


def test_a_peak_lies_at_the_centre_of_gravity_of_its_three_frames():
    assert peaks(np.array([0, 1, 3, 2, 1.5, 0]), 10) == pytest.approx([(1 + 6 + 6) / 6 / 10])


def test_a_sound_that_goes_on_as_it_is_never_begins_anew():
    assert not sound_curve(np.full((20, 64), -3.0)).any()


def test_an_event_may_begin_with_the_film():
    moved = np.zeros(50)
    moved[:3] = 5, 10, 5
    assert event_curve(moved, 25)[:4] == pytest.approx([0.5, 1, 0.5, 0])


def test_a_shot_in_which_nothing_happens_says_nothing():
    moved, curve = np.zeros(12), np.zeros(12)
    moved[4] = moved[8] = np.nan
    curve[2] = curve[9] = 1
    assert unseen(moved, curve).nonzero()[0].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("name", ["dog", "bells", "duck", "guitar", "cow", "frog"])
def test_events_are_seen_at_their_moments(name):
    scene = plain_scene(name, size=0.6, distance=0.2, tempo=0.2)
    true, found = moments(scene), peaks(seen(scene), RATE)
    pairs = matches(true, found, 0.05)
    assert len(pairs) == len(true) >= len(found) - 1
    assert np.median([abs(true[one] - found[other]) for one, other in pairs]) < 0.03


def test_what_only_sways_has_no_events():
    for name in ("car", "waterfall"):
        frames = film(plain_scene(name, size=0.6, distance=0.2))[:32]
        assert not event_curve(motion(np.stack([np.asarray(frame) for frame in frames])), RATE).any()
    assert not event_curve(np.zeros(30), RATE).any() and not event_curve(np.full(30, 3.0), RATE).any()


# ------------------------------------------------------------------------------------------------------------ hearing


@pytest.mark.parametrize("name", ["dog", "bells", "guitar", "piano"])
def test_onsets_are_heard_at_their_moments(name):
    scene = plain_scene(name, count=2)
    true, found = moments(scene), sound_onsets(heard(synthesise(scene)), MELS)
    assert len(matches(true, found, 0.05)) == len(true) >= len(found) - 1


def test_matches_are_mir_evals():
    mir_eval = pytest.importorskip("mir_eval")
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, found = (np.sort(rng.uniform(0, 2.5, rng.integers(1, 9))) for _ in range(2))
        for window in (0.05, 0.1, 0.3):
            pairs = matches(true, found, window)
            f1 = 2 * len(pairs) / (len(true) + len(found))
            assert f1 == pytest.approx(mir_eval.onset.f_measure(true, found, window)[0])
            assert all(abs(true[one] - found[other]) <= window for one, other in pairs)


# -------------------------------------------------------------------------------------------------------- the offset


@pytest.mark.parametrize("late", [-0.6, -0.2, -0.08, 0.0, 0.12, 0.4, 0.84])
def test_a_known_shift_is_found(late):
    film_curve, sound = pulses([0.9, 1.3, 1.36], 2.56, RATE), pulses([0.9 + late, 1.3 + late, 1.36 + late], 2.56, MELS)
    assert offset(film_curve, sound, RATE, MELS) == pytest.approx(late, abs=0.03)


@pytest.mark.parametrize("name", ["dog", "bells", "duck", "guitar"])
@pytest.mark.parametrize("late", [-0.24, 0.0, 0.32])
def test_a_sound_shifted_against_its_film_is_judged_by_its_shift(name, late):
    scene = plain_scene(name, count=2, size=0.6, distance=0.2, tempo=0.2)
    shifted = np.roll(synthesise(scene), round(late * 16_000))
    if late > 0:
        shifted[: round(late * 16_000)] = 0
    assert offset(seen(scene), heard(shifted), RATE, MELS) == pytest.approx(late, abs=0.06)


def test_without_events_there_is_no_offset():
    assert np.isnan(offset(np.zeros(64), pulses([1], 2.56, MELS), RATE, MELS))
    assert np.isnan(offset(pulses([1], 2.56, RATE), np.zeros(256), RATE, MELS))


def test_an_event_is_three_frames_wide_and_a_second_of_more_motion_is_none():
    moved = np.full(150, 0.02)
    moved[28:33] = 0.1, 0.3, 0.6, 0.3, 0.1
    moved[80:105] = 0.3 + 0.02 * np.tile([0, 1], 13)[:25]  # the whole thing moves faster for a second
    curve = event_curve(moved, 25)
    assert list(np.flatnonzero(curve[:60])) == [29, 30, 31]
    assert not curve[88:97].any()

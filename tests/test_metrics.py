"""Measures of sounds, and the intervals around them."""

import numpy as np
import pytest

from v2a_utils.metrics import Rate, bootstrap, hits, log_mel_error, measure_pitch, pitch_agreement, rate_interval
from v2a_utils.soundworld import SAMPLE_RATE, make_scene


def test_bootstrap_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        estimate = bootstrap(np.mean, rng.normal(3, 1, 60), seed=trial)
        held += estimate.low <= 3 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_bootstrap_resamples_rows_of_several_arrays_together():
    rows = np.random.default_rng(0).normal(size=50)
    estimate = bootstrap(lambda a, b: np.abs(a - b).max(), rows, rows)
    assert estimate == (0, 0, 0, 50)
    with pytest.raises(ValueError, match="50, 49"):
        bootstrap(np.mean, rows, rows[1:])


def test_rates_carry_wilson_intervals():
    share = rate_interval(np.repeat([True, False], [45, 5]))
    assert share.value == 0.9 and share.n == 50
    assert (share.low, share.high) == pytest.approx((0.7864, 0.9565), abs=1e-3)
    assert str(Rate(45, 50)).startswith("90.0% (78.6% to 95.7%, n = 50)")


def test_a_hit_is_any_class_of_the_scene():
    scenes = [next(scene for scene in (make_scene("test", i) for i in range(200)) if len(scene.labels) == 2)] * 3
    first, second = scenes[0].labels
    names = [first, second, "neither"]
    assert hits(np.eye(3), names, scenes).tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["trumpet", "bells"])
def test_pitch_of_a_tone_is_its_frequency(name):
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    assert measure_pitch(tone, SAMPLE_RATE, name) == pytest.approx(440, rel=0.01)
    assert np.isnan(measure_pitch(0 * tone, SAMPLE_RATE, name))


def test_pitch_agreement_is_within_classes():
    classes = np.repeat(["a", "b"], 10)
    implied = np.concatenate([np.arange(10.0), 100 + np.arange(10.0)])
    found = pitch_agreement(np.concatenate([np.arange(10.0), 100 - np.arange(10.0)]), implied, classes)
    assert found == pytest.approx({"a": 1, "b": -1, "mean": 0})


def test_log_mel_error_is_the_mean_absolute_difference():
    first = np.zeros((2, 3, 4))
    second = np.stack([np.full((3, 4), 0.5), np.full((3, 4), -1.0)])
    assert log_mel_error(first, second).tolist() == [0.5, 1.0]

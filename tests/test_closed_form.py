"""The maps that need no training, on pairs whose relation is known."""

import numpy as np
import pytest

from v2a_utils.mappers.closed_form import CLOSED_FORM, cca, coral, mean_shift, nearest_neighbour, procrustes, ridge
from v2a_utils.metrics import gap


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def pairs():
    """1,000 pairs: sounds are the pictures in other axes, with another centre and a little noise."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(1000, 8)) * np.linspace(0.3, 1, 8)
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    audio = hidden @ axes + np.eye(8)[0] + 0.02 * rng.normal(size=(1000, 8))
    return unit(hidden + np.eye(8)[3]).astype(np.float32), unit(audio).astype(np.float32)


@pytest.mark.parametrize("fit", CLOSED_FORM.values(), ids=CLOSED_FORM)
def test_maps_give_unit_rows_of_the_sounds_width(pairs, fit):
    visual, audio = pairs
    mapped = fit(visual[:500], audio[:500])(visual[500:])
    assert mapped.shape == audio[500:].shape
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(1, abs=1e-5)


def test_mean_shift_moves_the_centre_and_nothing_else(pairs):
    visual, audio = pairs
    shifted = mean_shift(visual, audio)(visual)
    assert gap.centroid_distance(shifted, audio) < 0.3 * gap.centroid_distance(visual, audio)
    assert gap.recall(gap.retrieval_ranks(shifted, audio)) < 0.1


def test_coral_matches_the_covariance_without_the_pairs(pairs):
    visual, audio = pairs
    assert np.allclose(coral(visual, audio)(visual), coral(visual, audio[::-1])(visual), atol=1e-4)
    mapped = coral(visual, audio)(visual)
    assert gap.frechet_distance(mapped, audio) < 0.1 * gap.frechet_distance(visual, audio)


@pytest.mark.parametrize("fit", [procrustes, ridge, cca])
def test_a_turned_space_is_turned_back(pairs, fit):
    visual, audio = pairs
    mapped = fit(visual[:500], audio[:500])(visual[500:])
    assert gap.recall(gap.retrieval_ranks(mapped, audio[500:])) > 0.5
    assert gap.pair_cosines(mapped, audio[500:]).mean() > 0.9


def test_nearest_neighbour_answers_with_sounds_of_the_training_set(pairs):
    visual, audio = pairs
    assert np.array_equal(nearest_neighbour(visual, audio)(visual[:20]), audio[:20])


def test_narrower_pictures_fit_and_wider_ones_are_refused_with_a_remedy(pairs):
    visual, audio = pairs
    assert coral(visual[:, :6], audio)(visual[:, :6]).shape == audio.shape
    assert procrustes(visual, audio[:, :6])(visual).shape == (1000, 6)
    with pytest.raises(ValueError, match="8 dimensions cannot be widened to 6"):
        mean_shift(visual, audio[:, :6])

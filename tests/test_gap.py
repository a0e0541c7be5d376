"""The gap's numbers on clouds whose answers are known."""

import numpy as np
import pytest
import scipy.linalg

from v2a_utils import gap


@pytest.fixture
def clouds():
    """Two clouds of 400 unit vectors in 16 dimensions around different directions."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 400, 16)) + 4 * np.eye(16)[[0, 3]][:, None]
    return points / np.linalg.norm(points, axis=2, keepdims=True)


def test_centroid_distance_is_the_length_of_the_gap_vector():
    up, right = np.tile([0.0, 1.0], (5, 1)), np.tile([1.0, 0.0], (5, 1))
    assert gap.centroid_distance(up, right) == pytest.approx(np.sqrt(2))
    assert gap.centroid_distance(up, up) == 0


def test_mean_cosine_leaves_out_a_row_with_itself(clouds):
    cosines = clouds[0] @ clouds[0].T
    pairs = cosines[~np.eye(len(cosines), dtype=bool)]
    assert gap.mean_cosine(clouds[0]) == pytest.approx(pairs.mean())


def test_frechet_distance_is_that_of_scipys_matrix_root(clouds):
    first, second = clouds
    cov1, cov2 = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(cov1 + cov2 - 2 * root)
    assert gap.frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert gap.frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_warns_of_fewer_rows_than_dimensions(clouds):
    with pytest.warns(UserWarning, match="10 rows in 16 dimensions"):
        gap.frechet_distance(clouds[0][:10], clouds[1])


def test_a_straight_cut_tells_islands_apart_and_not_two_halves(clouds):
    assert gap.modality_hits(*clouds).mean() > 0.95
    assert gap.modality_hits(clouds[0][:200], clouds[0][200:]).mean() == pytest.approx(0.5, abs=0.12)


def test_retrieval_ranks_count_better_targets_and_half_of_ties():
    targets = np.eye(4)
    queries = np.array([[1, 0, 0, 0], [1, 0.5, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]], float)
    assert gap.retrieval_ranks(queries, targets).tolist() == [1, 2, 3, 2.5]
    assert gap.recall(np.array([1, 5, 10, 11]), 10) == 0.75


def test_spaces_of_different_width_are_refused_with_both_widths(clouds):
    with pytest.raises(ValueError, match="16 and of 8"):
        gap.centroid_distance(clouds[0], clouds[1][:, :8])

"""The gap's numbers on clouds whose answers are known."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats

from v2a_utils.metrics import gap


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


def test_a_straight_cut_tells_islands_apart_and_not_two_halves(clouds):
    assert gap.two_sample_hits(*clouds).mean() > 0.95
    assert gap.two_sample_hits(clouds[0][:200], clouds[0][200:]).mean() == pytest.approx(0.5, abs=0.12)
    assert gap.two_sample_hits(clouds[0][:201], clouds[1][:90]).mean() > 0.95  # each cloud is as large as it is


def test_boosting_sees_a_shape_that_a_straight_cut_cannot():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(600, 6))
    shell = ball[:300] / np.linalg.norm(ball[:300], axis=1, keepdims=True) * 4  # same centre, other shape
    linear, boosted = (gap.two_sample_hits(shell, ball[300:], judge).mean() for judge in ("linear", "boosted"))
    assert linear < 0.65 and boosted > 0.85


def test_centroid_share_is_one_when_all_pairs_are_parted_alike():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    assert gap.centroid_share(rows, rows + 2.0) == pytest.approx(1)


def test_mmd_is_that_of_the_definition_and_falls_to_nothing_for_one_distribution(clouds):
    first, second = clouds[:, :60]
    sample = np.concatenate([first, second])
    scale = np.median(scipy.spatial.distance.pdist(sample, "sqeuclidean"))
    total = 0.0
    for i in range(60):
        for j in range(60):
            if i != j:
                pairs = ((1, first[i], first[j]), (1, second[i], second[j]), (-1, first[i], second[j]),
                         (-1, second[i], first[j]))
                total += sum(sign * np.exp(-np.sum((a - b) ** 2) / scale) for sign, a, b in pairs)
    assert gap.mmd_rows(first, second).mean() == pytest.approx(total / (60 * 59), rel=1e-6)
    assert abs(gap.mmd_rows(clouds[0][:200], clouds[0][200:]).mean()) < 0.01
    assert not gap.mmd_rows(np.full((5, 4), 0.5), np.full((5, 4), 0.5)).any()  # no distance to be the kernel's width


def test_linear_cka_ignores_rotation_scale_and_shift_but_not_a_shuffle(clouds):
    cloud = clouds[0]
    turned = 3 * cloud @ np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0] + 5
    assert gap.linear_cka(cloud, turned) == pytest.approx(1)
    assert gap.linear_cka(cloud, gap.widened(turned, 20)) == pytest.approx(1)
    assert gap.linear_cka(cloud, cloud[::-1]) < 0.3


def test_mutual_neighbours_are_all_in_a_rotated_space_and_few_in_a_shuffled_one(clouds):
    cloud = clouds[0]
    turned = cloud @ np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    assert gap.mutual_neighbours(cloud, turned).mean() == pytest.approx(1)
    assert gap.mutual_neighbours(cloud, cloud[::-1]).mean() == pytest.approx(10 / 399, abs=0.02)


def test_hubness_is_large_when_one_target_is_everybodys_neighbour():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(300, 8)) + 6 * np.eye(8)[0]
    targets = rng.normal(size=(300, 8))
    even = gap.neighbour_counts(queries - queries.mean(0), targets)
    hubs = gap.neighbour_counts(queries, targets)
    assert even.sum() == hubs.sum() == 300 * 10
    assert scipy.stats.skew(hubs) > scipy.stats.skew(even) + 1


def test_a_cloud_is_widened_with_zeros_and_never_narrowed(clouds):
    wide = gap.widened(clouds[0], 20)
    assert np.array_equal(wide[:, :16], clouds[0]) and not wide[:, 16:].any()
    with pytest.raises(ValueError, match="16 dimensions cannot be widened to 8"):
        gap.widened(clouds[0], 8)


def test_retrieval_ranks_count_better_targets_and_half_of_ties():
    targets = np.eye(4)
    queries = np.array([[1, 0, 0, 0], [1, 0.5, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]], float)
    assert gap.retrieval_ranks(queries, targets).tolist() == [1, 2, 3, 2.5]
    assert gap.recall(np.array([1, 5, 10, 11]), 10) == 0.75
    targets[0] = 0  # as a silent sound may have
    assert gap.retrieval_ranks(queries, targets)[0] == 2.5


def test_spaces_of_different_width_are_refused_with_both_widths(clouds):
    with pytest.raises(ValueError, match="16 and of 8"):
        gap.centroid_distance(clouds[0], clouds[1][:, :8])


def test_measure_names_every_number_with_its_interval(clouds):
    cells = gap.measure(clouds[0], clouds[1], draws=20)
    assert {"Fréchet distance", "told apart, boosted", "recall@10", "hubness"} <= set(cells)
    assert all(cell.low <= cell.value <= cell.high for cell in cells.values())
    alone = gap.measure(clouds[0], clouds[1], paired=False, draws=20)
    assert "cosine" not in alone and alone["MMD²"] == cells["MMD²"]


@pytest.mark.parametrize("wrong", [np.full((20, 4), np.nan), np.ones((1, 4))], ids=["NaN", "one point"])
def test_clouds_without_a_meaning_are_refused_with_a_reason(wrong):
    with pytest.raises(ValueError, match="NaN|two rows"):
        gap.measure(wrong, np.ones_like(wrong))

"""Measures of sounds, and the intervals around them."""

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
from conftest import plain_scene, sine, unit_rows
from scipy.stats import binomtest
from soundworld import CLASSES, SAMPLE_RATE, make_scene, synthesise
from soundworld.measures import harmonicity, measure_pitch
from v2a_pretraining.report import log_mel_error, pitch_agreement

from v2a_utils.data.audio import loudness
from v2a_utils.evaluation.features import attribute_fidelity, count_events
from v2a_utils.metrics import gap, sounds
from v2a_utils.metrics.sounds import (
    KernelReference,
    Moments,
    bootstrap,
    class_hits,
    clip_scores,
    diversity,
    few_rows,
    frechet_distance,
    frechet_rows,
    hits,
    in_batches,
    inception_rows,
    inception_score,
    infinite_frechet_distance,
    kl_divergence,
    rate_interval,
    student_interval,
)
from v2a_utils.models.backbones import RIGHT_FOR_IMAGEHEAR, TOO_GENERAL, read_names, right_classes


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


def test_two_rows_have_an_interval_and_one_row_leaves_everything_possible():
    assert np.isfinite(bootstrap(np.mean, np.array([1.0, 2.0]))).all()
    assert bootstrap(np.mean, np.array([1.0])) == (1, -np.inf, np.inf, 1)


def test_rates_carry_wilson_or_exact_intervals():
    share = rate_interval(np.repeat([True, False], [45, 5]))
    assert share.value == 0.9 and share.n == 50
    assert (share.low, share.high) == pytest.approx((0.7864, 0.9565), abs=1e-3)
    assert share.percent() == "90.0% (78.6% to 95.7%, n = 50)"
    assert rate_interval(np.ones(10, bool), "exact").low == pytest.approx(0.025 ** (1 / 10))


def test_students_interval_and_the_bootstrap_are_as_wide_for_a_mean():
    rows = np.random.default_rng(0).normal(size=12)
    one, other = student_interval(rows), bootstrap(np.mean, rows, draws=4000)
    assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.05)
    assert one.high - one.value == pytest.approx(2.201 * rows.std(ddof=1) / 12**0.5, rel=1e-3)


# ------------------------------------------------------------------------------------ how rows move measures of clouds


def jackknife(function, cloud):
    """How each row moves a function of a cloud, by leaving it out."""
    whole = function(cloud)
    return np.array([(len(cloud) - 1) * (whole - function(np.delete(cloud, row, 0))) for row in range(len(cloud))])


@pytest.mark.parametrize("rows, alike", [(12, 0.9), (100, 0.99)], ids=["fewer than dimensions", "many"])
def test_each_rows_influence_is_what_leaving_it_out_changes(clouds, rows, alike):
    first, second = clouds[0][:rows], Moments([clouds[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = jackknife(lambda cloud: frechet_distance(cloud, second), first)
    found = frechet_rows(first, second)
    assert np.corrcoef(found, expected)[0, 1] > alike
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found.mean() == pytest.approx(frechet_distance(first, second))
    assert found.std() == pytest.approx(expected.std(), rel=0.5)
    logits = np.random.default_rng(0).normal(size=(rows, 9))
    pulled = inception_rows(logits)
    assert pulled.mean() == pytest.approx(inception_score(logits, 1)[0])
    expected = jackknife(lambda some: inception_score(some, 1)[0], logits)
    assert pulled - pulled.mean() == pytest.approx(expected - expected.mean())


def test_the_influences_give_the_standard_error_of_many_resamples():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(800, 4)) + 1, Moments([rng.normal(size=(500, 4))])
    by_draws = bootstrap(lambda rows: frechet_distance(rows, second), first, draws=500)
    by_rows = student_interval(frechet_rows(first, second))
    assert by_rows.high - by_rows.low == pytest.approx(by_draws.high - by_draws.low, rel=0.1)
    assert by_rows.value == pytest.approx(by_draws.value)


def kad_of_the_paper(made, reference):
    """arXiv 2502.15602, as the package kadtk computes it: 100 MMD^2, unbiased, the kernel's width the median distance."""
    apart = scipy.spatial.distance.cdist
    width = np.median(scipy.spatial.distance.pdist(reference))
    within = [(np.exp(-(apart(cloud, cloud) ** 2) / (2 * width**2)).sum() - len(cloud)) / (len(cloud) * (len(cloud) - 1))
              for cloud in (made, reference)]
    return 100 * (sum(within) - 2 * np.exp(-(apart(made, reference) ** 2) / (2 * width**2)).mean())


def test_kad_is_that_of_the_paper_and_its_influences_what_leaving_rows_out_changes(clouds):
    made, reference = clouds[0][:90], clouds[1][:114]  # an odd number of distances, whose median is one of them
    value, influence = KernelReference(reference).compare(made)
    assert value == pytest.approx(kad_of_the_paper(made, reference), rel=1e-4)
    expected = jackknife(lambda cloud: KernelReference(reference).compare(cloud)[0], made)
    assert np.corrcoef(influence, expected)[0, 1] > 0.99 and influence.std() == pytest.approx(expected.std(), rel=0.05)
    assert influence.mean() == pytest.approx(0, abs=1e-9)


def test_kad_is_unbiased_at_few_rows_and_fd_is_not(clouds):
    rng = np.random.default_rng(1)
    kads = [KernelReference(rng.normal(size=(20, 6))).compare(rng.normal(size=(20, 6)))[0] for _ in range(150)]
    assert abs(np.mean(kads)) < 3 * np.std(kads) / len(kads) ** 0.5
    assert frechet_distance(rng.normal(size=(20, 6)), rng.normal(size=(20, 6))) > 1
    with pytest.raises(ValueError, match="1 row"):
        KernelReference(np.zeros((1, 3)))


def test_ranks_do_not_depend_on_lengths_nor_on_how_many_are_ranked_at_once(monkeypatch):
    rows, targets = unit_rows(50, 8), unit_rows(50, 8, 1)
    whole = gap.retrieval_ranks(rows, targets)
    monkeypatch.setattr(sounds, "RANKED", 7)
    assert np.array_equal(gap.retrieval_ranks(rows, targets), whole)
    lengths = np.random.default_rng(2).uniform(0.1, 9, (50, 1))
    assert np.array_equal(gap.retrieval_ranks(rows, targets * lengths), whole)


# ---------------------------------------------------------------------------------------- the Fréchet distance


@pytest.fixture
def clouds():
    """Two clouds of 300 points in 24 dimensions with different centres and shapes, far from 0 as ReLU features are."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(300, 24)) @ rng.normal(size=(24, 24)) + 100 + k for k in range(2)]


def by_matrix_root(first, second):
    """The textbook's form, by SciPy's matrix square root."""
    cov1, cov2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    return np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(cov1 + cov2 - 2 * root)


def test_frechet_distance_is_that_of_scipys_matrix_root(clouds):
    assert frechet_distance(*clouds) == pytest.approx(by_matrix_root(*clouds), rel=1e-6)
    assert frechet_distance(clouds[0], clouds[0]) == pytest.approx(0, abs=1e-8 * np.var(clouds[0]))


def test_batches_of_any_size_give_the_mean_and_covariance_of_all_rows(clouds):
    moments = Moments(np.split(clouds[0], [1, 7, 7, 200]))
    assert moments.n == 300
    assert np.allclose(moments.mean, clouds[0].mean(0), rtol=1e-12)
    assert np.allclose(moments.covariance, np.cov(clouds[0], rowvar=False), rtol=1e-9)
    assert moments.variance == pytest.approx(np.trace(moments.covariance))
    assert frechet_distance(moments, clouds[1]) == pytest.approx(frechet_distance(*clouds), rel=1e-9)


def test_single_precision_far_from_zero_loses_nothing(clouds):
    near, far = ([(cloud + shift).astype(np.float32) for cloud in clouds] for shift in (0, 1000))
    assert frechet_distance(*far) == pytest.approx(frechet_distance(*near), rel=1e-3)


def test_fewer_rows_than_dimensions_warn_and_give_the_distance_of_what_they_span(clouds):
    few = clouds[0][:12]
    with pytest.warns(UserWarning, match="12 rows in 24 dimensions"):
        wide = frechet_distance(few, clouds[1][:12])
    axes = np.linalg.qr(np.concatenate([few, clouds[1][:12]]).T)[0]  # all 24 of them, turned
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(wide) and wide == pytest.approx(
            frechet_distance(few @ axes, clouds[1][:12] @ axes), rel=1e-5)


def test_extrapolated_to_infinite_n_a_distance_is_that_of_the_gaussians_the_rows_came_from():
    scales, held, errors = np.linspace(1, 0.1, 32) * np.array([[1], [0.8]]), 0, []
    truth = 32 * 0.1**2 + ((scales[0] - scales[1]) ** 2).sum()
    for trial in range(20):
        rng = np.random.default_rng(trial)
        first, second = rng.normal(size=(2, 150, 32)) * scales[:, None] + np.array([0.1, 0])[:, None, None]
        measured, endless = frechet_distance(first, second), infinite_frechet_distance(first, second)
        held += endless.low <= truth <= endless.high
        errors.append((measured - truth, endless.value - truth))
    measured, endless = np.array(errors).T
    assert abs(endless.mean()) < 0.2 * measured.mean() and held >= 15
    assert endless.std() < 2 * measured.std()
    assert infinite_frechet_distance(first, second) == infinite_frechet_distance(first, second)
    assert infinite_frechet_distance(first, second, seed=1).value != infinite_frechet_distance(first, second).value


def test_frames_are_pooled_and_clips_left_out_whole(clouds):
    frames = [cloud.reshape(60, 5, 24) for cloud in clouds]
    ragged = [np.empty(60, object) for _ in clouds]
    for one, rows in zip(ragged, frames):
        for place in range(60):
            one[place] = rows[place]
    assert infinite_frechet_distance(*ragged) == infinite_frechet_distance(*frames)
    assert infinite_frechet_distance(*frames).n == 60


@pytest.mark.parametrize("rows, width, few", [(10_000, 2048, False), (9_999, 2048, True), (256, 64, True)])
def test_rows_are_few_by_the_measure_of_those_who_made_the_distance(rows, width, few):
    assert few_rows(rows, width) == few


def test_a_line_needs_clips_of_equal_number_and_thirty_of_them(clouds):
    for first, second in ((clouds[0], clouds[1][1:]), (clouds[0][:29], clouds[1][:29])):
        with pytest.raises(ValueError, match="equally many, 30 or more"):
            infinite_frechet_distance(first, second)


@pytest.mark.parametrize("wrong, message", [
    (np.full((20, 24), np.nan), "NaN"), (np.ones((1, 24)), "two rows"), (np.ones((20, 8)), "8 dimensions"),
], ids=["NaN", "one row", "other width"])
def test_clouds_without_a_meaning_are_refused(clouds, wrong, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(clouds[0], wrong)


def test_batches_of_two_models_are_refused(clouds):
    with pytest.raises(ValueError, match="8 features"):
        Moments(clouds).add(np.ones((5, 8)))


def test_a_measure_in_batches_is_the_measure_and_rows_that_are_no_pairs_are_refused():
    real, made = np.random.default_rng(0).normal(size=(2, 4321, 7))
    assert np.array_equal(in_batches(kl_divergence, real, made), kl_divergence(real, made))
    with pytest.raises(ValueError, match="no pairs"):
        in_batches(kl_divergence, real, made[:-1])


# ----------------------------------------------------------------------------------------------- classes heard


def test_kl_is_nothing_for_equal_sounds_and_that_of_the_definition_otherwise():
    shares = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    found = kl_divergence(np.log(shares), np.log(shares[::-1]))
    expected = (shares * np.log(shares / shares[::-1])).sum(1)
    assert found == pytest.approx(expected, abs=1e-4)
    assert kl_divergence(np.log(shares), np.log(shares)) == pytest.approx(0, abs=1e-4)
    odds = np.log(shares / (1 - shares))  # the sigmoid of which are the shares
    assert kl_divergence(odds, odds[::-1], "sigmoid") == pytest.approx(expected, abs=1e-4)


def test_kl_of_very_sure_taggers_stays_finite():
    sure = 1e4 * np.eye(3)
    assert kl_divergence(sure, sure[::-1]) == pytest.approx([-np.log(1e-6), 0, -np.log(1e-6)], abs=1e-4)
    assert np.isfinite(kl_divergence(sure, sure[::-1], "sigmoid")).all()


def test_kl_refuses_what_are_no_pairs_and_outputs_that_it_does_not_know():
    for made in (np.ones((2, 4)), np.ones((1, 4))):
        with pytest.raises(ValueError, match="no pairs"):
            kl_divergence(np.ones((3, 4)), made)
    with pytest.raises(ValueError, match="softmax or sigmoid"):
        kl_divergence(np.ones((3, 4)), np.ones((3, 4)), "tanh")


def test_inception_score_is_the_number_of_classes_at_best_and_one_at_worst():
    sure = 1e3 * np.tile(np.eye(5), (40, 1))
    assert inception_score(sure, splits=1) == pytest.approx([5])
    assert inception_score(np.zeros((40, 5))) == pytest.approx(np.ones(10))
    assert len(inception_score(sure[:101])) == 10  # parts of 10 and 11
    with pytest.raises(ValueError, match="9 sounds"):
        inception_score(sure[:9])


def test_a_hit_is_any_class_of_the_scene():
    scenes = [next(scene for scene in (make_scene("test", i) for i in range(200)) if len(scene.labels) == 2)] * 3
    first, second = scenes[0].labels
    names = [first, second, "neither"]
    assert hits(np.eye(3), names, scenes).tolist() == [True, True, False]


def test_imagehear_accuracy_looks_past_general_classes_and_takes_every_right_one():
    names = ["Animal", "Bow-wow", "Meow", "Music"]
    scores = np.array([[9, 8, 1, 0], [9, 1, 8, 0.0], [0, 1, 2, 9]])
    right = [RIGHT_FOR_IMAGEHEAR["dog"]] * 2 + [RIGHT_FOR_IMAGEHEAR["cat"]]
    assert class_hits(scores, names, right, TOO_GENERAL).tolist() == [True, False, True]
    assert class_hits(scores, names, right).tolist() == [False, False, False]


def test_the_class_map_knows_every_class_of_imagehear_and_calls_none_of_them_too_general():
    assert len(RIGHT_FOR_IMAGEHEAR) == 30
    assert not TOO_GENERAL & {name for names in RIGHT_FOR_IMAGEHEAR.values() for name in names}


def test_audiosets_names_are_read_in_their_order(tmp_path):
    path = tmp_path / "class_labels_indices.csv"
    path.write_text("index,mid,display_name\n" + "".join(f'{i},/m/{i},"Name {i}, or so"\n' for i in range(527)))
    assert read_names(tmp_path)[526] == "Name 526, or so"
    path.write_text("index,mid,display_name\n0,/m/0,Speech\n")
    with pytest.raises(ValueError, match="1 classes"):
        read_names(tmp_path)
    with pytest.raises(ValueError, match="missing"):
        read_names(tmp_path / "missing")


# -------------------------------------------------------------------------------------------------- embeddings


def test_clip_score_is_a_hundred_times_the_cosine():
    pictures, sounds = np.array([[3.0, 0], [1, 1]]), np.array([[0.5, 0], [1, -1]])
    assert clip_scores(pictures, sounds) == pytest.approx([100, 0], abs=1e-9)
    for wrong in (np.ones((2, 3)), np.ones((1, 2))):
        with pytest.raises(ValueError, match="one space"):
            clip_scores(pictures, wrong)


def test_diversity_is_the_mean_distance_of_pairs_of_samples():
    samples = np.array([[[1.0, 0], [2, 0], [0, 1]], [[1, 0], [1, 0], [5, 0]]])
    assert diversity(samples) == pytest.approx([2 / 3, 0])
    with pytest.raises(ValueError, match="two samples"):
        diversity(samples[:, :1])


# -------------------------------------------------------------------------------------------------- attributes


def test_attribute_fidelity_is_a_rank_correlation_within_classes():
    classes = np.repeat(["a", "b", "rare"], [30, 30, 2])
    truth = np.concatenate([np.arange(30.0), 100 + np.arange(30.0), [7, 9]])
    assert attribute_fidelity(truth**3, truth, classes).value == pytest.approx(1)
    assert attribute_fidelity((classes == "b").astype(float), truth, classes).value == 0  # the class alone
    mixed = attribute_fidelity(np.where(classes == "a", truth, -truth), truth, classes)
    assert mixed.value == pytest.approx(0) and mixed.low < 0 < mixed.high and mixed.n == 60
    silent = attribute_fidelity(np.where(np.arange(62) % 2, truth, np.nan), truth, classes)
    assert 0.4 < silent.value < 0.95
    with pytest.raises(ValueError, match="3 sounds"):
        attribute_fidelity(truth[:2], truth[:2], classes[:2])


def test_measured_attributes_follow_those_of_the_scene():
    near, far = (synthesise(plain_scene("cow", distance=distance)) for distance in (0.1, 0.9))
    assert loudness(near) - loudness(far) == pytest.approx(0.8 * 16, abs=4)
    assert loudness(sine(440, amplitude=0.5)) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)
    assert loudness(np.zeros(1600)) == -120
    events = [count_events(synthesise(plain_scene("dog", count=count)), SAMPLE_RATE) for count in (1, 2, 3)]
    assert events == sorted(events) and events[0] < events[2]


@pytest.mark.parametrize("name", ["trumpet", "bells"])
def test_pitch_of_a_tone_is_its_frequency(name):
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    assert measure_pitch(tone, SAMPLE_RATE, name) == pytest.approx(440, rel=0.01)
    assert np.isnan(measure_pitch(0 * tone, SAMPLE_RATE, name))


@pytest.mark.parametrize("pitch", [80, 440, 3000])
def test_harmonicity_is_the_ratio_of_tone_and_noise(pitch):
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * pitch * part * times) / part for part in (1, 2))
    noise = np.random.default_rng(0).normal(size=len(times)) * tone.std()
    for ratio in (10, 0):
        mixed = tone + noise * 10 ** (-ratio / 20)
        assert harmonicity(mixed, SAMPLE_RATE, 1.02 * pitch) == pytest.approx(ratio, abs=1)
    assert harmonicity(tone, SAMPLE_RATE, pitch) > 25
    assert np.isnan(harmonicity(0 * tone, SAMPLE_RATE, pitch))


def test_pitch_agreement_is_within_classes():
    classes = np.repeat(["a", "b"], 10)
    implied = np.concatenate([np.arange(10.0), 100 + np.arange(10.0)])
    found = pitch_agreement(np.concatenate([np.arange(10.0), 100 - np.arange(10.0)]), implied, classes)
    assert found == pytest.approx({"a": 1, "b": -1, "mean": 0})


def test_log_mel_error_is_the_mean_absolute_difference():
    first = np.zeros((2, 3, 4))
    second = np.stack([np.full((3, 4), 0.5), np.full((3, 4), -1.0)])
    assert log_mel_error(first, second).tolist() == [0.5, 1.0]


# ------------------------------------------------------------------------------------------------ intervals of shares


def test_a_share_of_single_sounds_has_wilsons_interval():
    successes = np.arange(40) < 31
    expected = binomtest(31, 40).proportion_ci(method="wilson")
    assert rate_interval(successes)[1:] == pytest.approx((*expected, 40))


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (1, 3)])
def test_no_share_is_certain_and_none_leaves_the_unit_interval(share, shape):
    found = rate_interval(np.full(shape, share, bool))
    assert found.value == share and 0 <= found.low < found.high <= 1


def test_several_sounds_of_a_picture_count_as_the_independent_ones_that_they_are():
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.random((60, 1)) < 0.8, 5, axis=1)
    apart = rng.random((60, 5)) < 0.8
    width = {name: rate_interval(rows).high - rate_interval(rows).low for name, rows in
             {"alike": alike, "apart": apart, "one each": alike[:, :1], "all independent": apart.reshape(-1)}.items()}
    assert width["alike"] == pytest.approx(width["one each"])
    assert width["all independent"] <= width["apart"] < 0.7 * width["alike"]


def test_wilsons_interval_of_clustered_sounds_holds_the_true_share_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        chance = rng.beta(4, 1, size=(40, 1))  # of each picture; 0.8 on average
        found = rate_interval(rng.random((40, 3)) < chance)
        held += found.low <= 0.8 <= found.high
    assert held >= 0.92 * 400


def test_bounds_of_the_gaps_shares_stay_within_what_a_share_can_be():
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((30, 8)).astype(np.float32) for _ in range(2))
    far = (first - 20).astype(np.float32)
    for clouds in ((first, second), (far, second), (first, first)):
        clouds = [cloud / np.linalg.norm(cloud, axis=1, keepdims=True) for cloud in clouds]
        for name, interval in gap.measure(*clouds, draws=20).items():
            if name.startswith(("recall", "told apart", "shared", "CKA")):
                assert 0 <= interval.low <= interval.value <= interval.high <= 1, name
            if name.startswith(("recall", "told apart")):
                assert interval.low < interval.high, name


# -------------------------------------------------------------------------------------- which classes count as right


def test_every_class_of_soundworld_is_known_to_a_tagger_of_audiosets_names():
    names = sorted({name for names in RIGHT_FOR_IMAGEHEAR.values() for name in names} | {"Animal", "Music"})
    assert all(right_classes([label], names) for label in CLASSES)
    assert right_classes(["dog"], names) >= {"Dog", "Bark"} and "Cat" not in right_classes(["dog"], names)
    assert right_classes(["dog", "rain"], names) >= {"Dog", "Rain"}


def test_a_tagger_that_has_the_label_itself_is_held_to_it():
    assert right_classes(["dog"], CLASSES) == {"dog"}
    assert right_classes(["zither"], CLASSES) == frozenset()

"""The rule by which claims are judged, and how far the order of the mappers reaches."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from benchmarks.null import features, wrong
from conftest import ROOT

from v2a_utils.evaluation.results import JUDGES, PAIRS, SHORT, Results, by_judge, by_training, headline
from v2a_utils.evaluation.run import SUMMARY
from v2a_utils.evaluation.scorer import Scorer
from v2a_utils.metrics.sounds import Interval, bootstrap, rate_interval, student_interval
from v2a_utils.metrics.statistics import CLOUDS, RULE, judge, nearer, opposite


@pytest.mark.parametrize("low, high, expected", [
    (0.1, 0.5, "holds"), (-0.5, -0.1, "does not hold"), (-0.1, 0.5, "undecided"), (-0.5, 0.1, "undecided"),
])
def test_a_claim_alone_is_decided_where_the_interval_of_its_difference_leaves_out_0(low, high, expected):
    verdict = judge({"claim": Interval((low + high) / 2, low, high, 100)})["claim"]
    assert verdict.startswith(expected) and (expected == "undecided") == ("at this n (100; " in verdict)


def test_many_questions_ask_for_stronger_evidence_and_the_strong_ones_still_get_a_verdict():
    weak, strong, nothing = Interval(1, 0.05, 1.95, 200), Interval(-1, -1.3, -0.7, 200), Interval(0.1, -1, 1.2, 200)
    assert judge({"weak": weak})["weak"] == "holds"
    found = judge({"weak": weak, "strong": strong} | {f"nothing {k}": nothing for k in range(8)})
    assert found["strong"] == "does not hold" and found["weak"].startswith("undecided at this n (200")
    assert len(found) == 10


def test_a_question_that_was_decided_leaves_more_of_the_5_percent_to_the_others():
    weak = Interval(1, 0.15, 1.85, 200)  # p is 0.02: too much for one question of three, unless the others are decided
    strong, nothing = Interval(1, 0.9, 1.1, 200), Interval(0.1, -1, 1.2, 200)
    assert judge({"one": weak, "two": strong, "three": strong})["one"] == "holds"
    assert judge({"one": weak, "two": nothing, "three": nothing})["one"].startswith("undecided")


def test_what_was_not_measured_is_said_and_does_not_count():
    edge = Interval(1, 0.01, 1.99, 100)
    found = judge({"edge": edge, "absent": None})
    assert found == {"edge": "holds", "absent": "not measured"}


@pytest.mark.parametrize("difference, said", [
    (Interval(0.5, -1, 2, 50), "0.500 [-1.000, 2.000], leaning for it; ± 0.75 with 200)"),
    (Interval(-0.5, -2, 1, 50), "leaning against it; ± 0.75 with 200)"),
    (Interval(1, 0.9, 1.1, 3), "no verdict below 5"), (Interval(1, -np.inf, np.inf, 1), "no verdict below 5"),
    (Interval(1, 1, 1, 5), "all of them equal"), (Interval(0, 0, 0, 50), "all of them equal"),
])
def test_what_is_undecided_says_interval_direction_and_what_four_times_the_n_would_tell(difference, said):
    verdict = judge({"claim": difference})["claim"]
    assert verdict.startswith("undecided at this n (") and said in verdict and "would decide" not in verdict


def test_a_cloud_of_fewer_than_30_clips_has_no_verdict_and_a_mean_has():
    sure = Interval(1, 0.9, 1.1, 29)
    found = judge({"cloud": sure, "mean": sure, "large": sure._replace(n=30)}, clouds=["cloud", "large"])
    assert (found["mean"], found["large"]) == ("holds", "holds") and "29; no verdict below 30" in found["cloud"]


def test_errors_in_a_table_without_any_effect_are_rare_and_5_percent_for_one_question():
    rng = np.random.default_rng(1)
    alone = [judge({"a": student_interval(rng.normal(size=30))})["a"].startswith("undecided") for _ in range(300)]
    assert np.mean(alone) == pytest.approx(0.95, abs=0.035)
    tables = [judge({str(k): student_interval(rng.normal(size=30)) for k in range(10)}) for _ in range(60)]
    assert np.mean([all(one.startswith("undecided") for one in table.values()) for table in tables]) > 0.85


def test_students_interval_is_that_of_the_textbook():
    assert student_interval([1, 2, 3, 4, 5])[1:3] == pytest.approx((3 - 1.9634, 3 + 1.9634), abs=1e-3)
    assert student_interval([1.0]) == (1, -np.inf, np.inf, 1)


@pytest.mark.parametrize("shift, verdict", [(0.0, "holds"), (2.0, "does not hold")])
def test_nearer_to_a_standard_means_a_smaller_distance_on_either_side(shift, verdict):
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.1, 300)
    for sign in (1, -1):
        first, second = sign * (1 + shift + noise), sign * (2 + noise + rng.normal(0, 0.1, 300))
        found = nearer(*(bootstrap(np.mean, rows) for rows in (first, second, first - second)))
        assert judge({"nearer": found})["nearer"] == verdict


def test_nearer_is_careful_where_the_two_lie_on_different_sides_of_the_standard():
    first, second = Interval(-1, -1.4, -0.6, 50), Interval(1.2, 0.8, 1.6, 50)
    found = nearer(first, second, Interval(-2.2, -2.4, -2.0, 50))
    assert found.value == pytest.approx(0.2) and (found.low, found.high) == pytest.approx((-0.6, 1.0))


def test_the_rule_is_told_with_its_three_outcomes():
    assert all(outcome in RULE for outcome in ("**holds**", "**does not hold**", "**undecided at this n**", "5%"))
    assert opposite(Interval(1, 0, 3, 9)) == Interval(-1, -3, 0, 9) and opposite(None) is None


# ---------------------------------------------------------------------------------------------------- the order's reach


def trainings(turned: bool = False) -> pd.DataFrame:
    """Five trainings on each of two worlds: the diffusion always the best by cosine; `turned` in world 1 the worst."""
    rng, levels = np.random.default_rng(0), {"regression": 0.8, "regression, deep": 0.85, "diffusion": 0.9}
    return pd.DataFrame([
        {"world": world, "seed": seed, "mapper": mapper, "n": 100, "cosine": rng.normal(
            1.7 - level if turned and world else level, 0.002), "recall@10": rng.normal(0.5, 0.1),
         "Fréchet distance": rng.normal(0.01, 0.005)}
        for world in range(2) for seed in range(5) for mapper, level in levels.items()])


class Compared:
    """A summary in which the first of two mappers has a lower FD and FAD, and nothing else is decided."""

    def difference(self, first, second, measure):
        return Interval(-1, -1.2, -0.8, 100) if measure in ("FD", "FAD") else Interval(0.01, -1, 1, 100)


def test_the_better_mapper_is_named_by_each_judge_with_lower_fd_counted_as_better():
    found = by_judge(Compared())
    assert found.loc["diffusion against regression", ["FD", "FAD", "CS"]].tolist() == ["diffusion"] * 2 + ["undecided"]
    assert list(found.columns) == list(JUDGES) and len(found) == len(PAIRS)


def test_trainings_decide_by_cosine_and_a_world_that_turns_the_order_is_told():
    found = by_training(trainings())
    assert found["cosine, world 0"].tolist() == ["diffusion", "diffusion", "regression, deep"]
    assert found.shape == (len(PAIRS), 2 * len(SHORT))
    assert (found["recall@10, world 1"] == "undecided").all()


def test_the_headline_counts_what_is_decided_at_equal_size_and_says_the_interval():
    found = headline(Compared(), trainings())
    assert found[1:] == (0, 4, 8) and found.won + found.lost + found.undecided == len(JUDGES) + 2 * len(SHORT)
    assert "beats the diffusion mapper in 0 of the 4 decided" in found.sentence and "higher by -0.05" in found.sentence
    turned = headline(Compared(), trainings(turned=True))
    assert (turned.won, turned.lost) == (1, 3) and "Of 6 comparisons of their sounds 2 are decided" in turned.sentence


def test_the_readme_says_the_headline_as_the_lessons_do():
    """With a new evaluation the sentence is another one: copy it from the message into README.md."""
    said = headline(Results.read(SUMMARY), pd.read_csv(SUMMARY / "order.csv")).sentence
    assert said in " ".join((ROOT / "README.md").read_text().split())


# ------------------------------------------------------------------------------------- where nothing differs at all


@pytest.mark.parametrize("n", [5, 12, 30])
def test_verdicts_on_means_are_wrong_in_5_percent_where_nothing_differs(n):
    found = wrong(n, 120, ("KL softmax", "CS", "diversity"))
    assert all(rate_interval(values).low <= 0.05 for values in found.values())
    assert np.concatenate(list(found.values())).mean() <= 0.075
    assert all(not values.any() for values in wrong(n, 2, CLOUDS).values()) or n >= 30


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_verdicts_on_clouds_are_wrong_in_5_percent_where_nothing_differs(shift):
    found = wrong(30, 100, CLOUDS, shift)
    assert all(rate_interval(values).low <= 0.05 for values in found.values())
    assert np.concatenate(list(found.values())).mean() <= 0.06


def test_a_difference_of_clouds_that_is_there_is_found_with_its_sign():
    rng, names = np.random.default_rng(3), ("FD", "FAD", "KAD", "CS")
    truth, near, far = features(rng, 64), features(rng, 64), features(rng, 64, 0.6)
    scorer = Scorer(dict.fromkeys(("tagger", "framewise", "wav2clip"), SimpleNamespace(names=[], backbone="")),
                    truth.rows(slice(None), 0), far.clip[:, 0])
    apart = dict(scorer.differences(scorer.rows(near), scorer.rows(far)))
    verdict = judge({name: apart[name] for name in names}, CLOUDS)
    assert [verdict[name] for name in names] == ["does not hold"] * 4  # near minus far is below 0
    assert opposite(apart["FD"]).low > 0

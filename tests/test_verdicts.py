"""The rule by which claims are judged, and how far the order of the mappers reaches."""

import numpy as np
import pandas as pd
import pytest

from v2a_utils.evaluation.robustness import JUDGES, PAIRS, SHORT, by_judge, by_training, reach
from v2a_utils.metrics.sounds import Interval, bootstrap
from v2a_utils.metrics.statistics import RULE, judge, nearer, opposite, student_interval


@pytest.mark.parametrize("low, high, expected", [
    (0.1, 0.5, "holds"), (-0.5, -0.1, "does not hold"), (-0.1, 0.5, "undecided"), (-0.5, 0.1, "undecided"),
])
def test_a_claim_alone_is_decided_where_the_interval_of_its_difference_leaves_out_0(low, high, expected):
    verdict = judge({"claim": Interval((low + high) / 2, low, high, 100)})["claim"]
    assert verdict.startswith(expected) and (expected == "undecided") == ("at this n (100; about" in verdict)


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


def test_the_n_that_would_decide_decides_in_four_of_five_repetitions():
    rng = np.random.default_rng(0)
    first = judge({"claim": Interval(0.25, 0.25 - 1.96 / 7, 0.25 + 1.96 / 7, 49)})["claim"]  # of values with sigma 1
    needed = int(first.split("about ")[1].split()[0].replace(",", ""))
    again = [judge({"claim": student_interval(rng.normal(0.25, 1, needed))})["claim"] for _ in range(400)]
    assert np.mean([verdict == "holds" for verdict in again]) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("difference, said", [
    (Interval(0, -1, 1, 50), "out of reach"), (Interval(0.0001, -1, 1, 50), "out of reach"),
    (Interval(1, 0.9, 1.1, 3), "no verdict below 5"), (Interval(1, -np.inf, np.inf, 1), "no verdict below 5"),
])
def test_no_difference_and_too_few_values_have_no_verdict(difference, said):
    assert said in judge({"claim": difference})["claim"]


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

    def __init__(self):
        names = ["diffusion", "regression, deep", "regression", "better mapper"]
        self.values = pd.Series(range(1, 5), names, dtype=float)

    def difference(self, first, second, measure):
        return Interval(-1, -1.2, -0.8, 100) if measure in ("FD", "FAD") else Interval(0.01, -1, 1, 100)

    def find(self, measure, split="test", group=None):
        sign = -1 if measure in ("CS", "accuracy") else 1
        return pd.DataFrame({"value": sign * self.values, "seed_low": 1.0, "seed_high": 2.0, "seeds": 3})


def test_the_better_mapper_is_named_by_each_judge_with_lower_fd_counted_as_better():
    found = by_judge(Compared())
    assert found.loc["diffusion against regression", ["FD", "FAD", "CS"]].tolist() == ["diffusion"] * 2 + ["undecided"]
    assert list(found.columns) == list(JUDGES) and len(found) == len(PAIRS)


def test_trainings_decide_by_cosine_and_a_world_that_turns_the_order_is_told():
    found = by_training(trainings())
    assert found["cosine, world 0"].tolist() == ["diffusion", "diffusion", "regression, deep"]
    assert found.shape == (len(PAIRS), 2 * len(SHORT))
    assert (found["recall@10, world 1"] == "undecided").all()
    answers = reach(Compared(), trainings()).answer
    assert "No decided comparison is reversed." in answers.iloc[-1]
    assert "diffusion against regression: undecided 4, diffusion better 2;" in answers.iloc[1]
    assert "1.00" in answers.iloc[0]
    assert "Reversed between the worlds: diffusion against" in reach(Compared(), trainings(turned=True)).answer.iloc[-1]

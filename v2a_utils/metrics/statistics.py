"""The standard by which all comparisons here are judged: when a claim holds, and how many pictures would decide it.

1. Methods that made something for the same pictures are compared by the mean of their paired differences, picture by
   picture, with a 95% interval (`metrics.bootstrap` resamples pictures, all seeds of one together; measures of a whole
   cloud, such as FD, are taken of both methods on the same resampled pictures). Whether two intervals overlap decides
   nothing.
2. Shares have Wilson's interval, a few answers of listeners the exact one (`metrics.rate_interval`).
3. What is to hold for trainings, not for one trained mapper, has Student's interval over training seeds
   (`student_interval`). From fewer than `LEAST` seeds no verdict is drawn.
4. The rule is fixed before the results, `RULE`: it is two-sided at 5%, and a table that asks several questions answers
   them by Holm's correction (1979), so that the chance of one wrong "holds" or "does not hold" in the whole table is 5%
   at most.
5. A question that is undecided says how many pictures (or seeds) would decide it in four of five repetitions, if the
   difference is as large as it looks now. The number is a guide for planning, as rough as the difference itself.
6. A measure without a better end, such as diversity, is judged by its distance from the value of true sounds
   (`nearer`), or not at all.
"""

import math

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from v2a_utils.metrics.sounds import Interval

LEVEL, POWER, LEAST = 0.05, 0.8, 5
FAR = 10**6  # more pictures than this are out of reach
RULE = (
    "A claim says on which side of 0 a difference lies. It **holds** where the two-sided test of the difference "
    "(paired where both methods had the same pictures) rejects 0 on that side, it **does not hold** where it rejects 0 "
    "on the other; otherwise it is **undecided at this n**. All verdicts of a table together contain a wrong one in at "
    "most 5% of repetitions (Holm's correction)."
)


def student_interval(values: np.ndarray) -> Interval:
    """Mean of independent values (n,), one per training seed, with Student's 95% interval; infinite for one value."""
    values = np.asarray(values, float)
    n = len(values)
    half = student_t.ppf(1 - LEVEL / 2, n - 1) * values.std(ddof=1) / n**0.5 if n > 1 else np.inf
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half), n)


def opposite(difference: Interval | None) -> Interval | None:
    """The difference seen from the other side: the second minus the first."""
    return difference and Interval(-difference.value, -difference.high, -difference.low, difference.n)


def nearer(first: Interval, second: Interval, apart: Interval) -> Interval:
    """By how much the first of two differences from a standard is the smaller one, |second| - |first|.

    `apart` is the paired difference, the first minus the second. Where both lie on one side of the standard, it gives
    the interval; otherwise the two intervals are added up, which is wide enough whatever their correlation.
    """
    for one, two, between in ((first, second, opposite(apart)), (opposite(first), opposite(second), apart)):
        if one.low > 0 and two.low > 0:
            return between
    value = abs(second.value) - abs(first.value)
    half = (first.high - first.low + second.high - second.low) / 2
    return Interval(value, value - half, value + half, first.n)


def judge(differences: dict[str, Interval | None]) -> dict[str, str]:
    """The verdict on each claim of one table, by `RULE`: a claim is that its difference lies above 0.

    The values are "holds", "does not hold", "undecided at this n (...)" with the n that would decide, or "not measured"
    for None, which does not count among the questions.
    """
    asked = {claim: difference for claim, difference in differences.items() if difference is not None}
    order = sorted(asked, key=lambda claim: _p_value(asked[claim]))
    verdicts, level = dict.fromkeys(differences, "not measured"), LEVEL
    rejected = True
    for place, claim in enumerate(order):
        if rejected:  # Holm: each rejection leaves one question fewer to correct for
            level = LEVEL / (len(order) - place)
        rejected = rejected and _p_value(asked[claim]) <= level
        decided = "holds" if asked[claim].value > 0 else "does not hold"
        verdicts[claim] = decided if rejected else _undecided(asked[claim], level)
    return verdicts


def _statistic(difference: Interval) -> float:
    """The difference in standard errors, taken from the side of the interval that faces 0."""
    value, low, high, n = difference
    half = value - low if value > 0 else high - value
    if value == 0 or n < LEAST or not np.isfinite(half):
        return 0.0
    return value / half * student_t.ppf(1 - LEVEL / 2, n - 1) if half else math.copysign(math.inf, value)


def _p_value(difference: Interval) -> float:
    """Two-sided, by Student's t: 5% where the interval just touches 0."""
    return float(2 * student_t.sf(abs(_statistic(difference)), max(difference.n - 1, 1)))


def _undecided(difference: Interval, level: float) -> str:
    """In words, with the n at which a difference of this size would be seen at `level` with probability POWER."""
    if difference.n < LEAST:
        return f"undecided at this n ({difference.n}; no verdict below {LEAST})"
    strength = abs(_statistic(difference))
    needed = difference.n * ((norm.ppf(1 - level / 2) + norm.ppf(POWER)) / strength) ** 2 if strength else math.inf
    if needed > FAR:
        return f"undecided at this n ({difference.n}; out of reach)"
    digits = 1 - int(math.log10(needed))  # two significant ones
    return f"undecided at this n ({difference.n}; about {math.ceil(round(needed, digits)):,} would decide)"

"""The standard by which all comparisons are judged: when a claim holds, and when nothing is decided.

`RULE` was fixed before the results; notebooks/book/statistics.md says why it is so, and which interval belongs to what.
No verdict is drawn from fewer than LEAST values, from a cloud of fewer than LEAST_CLOUD clips, or from values that do
not vary at all: they do not say how far others might lie. `benchmarks.null` counts verdicts where nothing differs.
"""

from collections.abc import Collection

import numpy as np
from scipy.stats import t as student_t

from v2a_utils.metrics.sounds import Interval

LEVEL, LEAST, LEAST_CLOUD = 0.05, 5, 30
CLOUDS = ("FD", "FAD", "KAD", "IS")  # measures of all sounds of a method together
RULE = (
    "A claim says on which side of 0 a difference lies. It **holds** where the two-sided test of the difference "
    "(paired where both methods had the same pictures) rejects 0 on that side, it **does not hold** where it rejects 0 "
    "on the other; otherwise it is **undecided at this n**. All verdicts of a table together contain a wrong one in at "
    "most 5% of repetitions (Holm's correction)."
)


def opposite(difference: Interval | None) -> Interval | None:
    """The difference seen from the other side, the second minus the first; None of None."""
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


def judge(differences: dict[str, Interval | None], clouds: Collection[str] = ()) -> dict[str, str]:
    """The verdict on each claim of one table, by `RULE`: a claim is that its difference lies above 0.

    The values are "holds", "does not hold", "undecided at this n (...)" with what is known, or "not measured" for None,
    which does not count among the questions. `clouds` are the claims about a measure of CLOUDS.
    """
    asked = {claim: difference for claim, difference in differences.items() if difference is not None}
    chances = {claim: _p_value(difference, LEAST_CLOUD if claim in clouds else LEAST)
               for claim, difference in asked.items()}
    verdicts, rejected = dict.fromkeys(differences, "not measured"), True
    for place, claim in enumerate(sorted(asked, key=chances.__getitem__)):
        # Holm: each rejection leaves one question fewer to correct for
        rejected = rejected and chances[claim] <= LEVEL / (len(asked) - place)
        decided = "holds" if asked[claim].value > 0 else "does not hold"
        verdicts[claim] = decided if rejected else _undecided(asked[claim], claim in clouds)
    return verdicts


def _p_value(difference: Interval, least: int) -> float:
    """Two-sided, by Student's t: 5% where the interval just touches 0; 1 where nothing can be said."""
    value, low, high, n = difference
    half = value - low if value > 0 else high - value  # of the side that faces 0
    if n < least or not np.isfinite(half) or half <= 0:
        return 1.0
    statistic = abs(value) / half * student_t.ppf(1 - LEVEL / 2, n - 1)
    return float(2 * student_t.sf(statistic, n - 1))


def _undecided(difference: Interval, is_cloud: bool) -> str:
    """In words: the difference with its interval, which way it leans, and what four times the n would tell."""
    n, least = difference.n, LEAST_CLOUD if is_cloud else LEAST
    if n < least:
        return f"undecided at this n ({n}; no verdict below {least})"
    if difference.high <= difference.low:
        return f"undecided at this n ({n}; all of them equal, which is no measure of how they vary)"
    leans = "for" if difference.value > 0 else "against"
    half = (difference.high - difference.low) / 4  # half as wide at four times the n
    return f"undecided at this n ({n}; {difference}, leaning {leans} it; \u00b1 {half:.2g} with {4 * n:,})"

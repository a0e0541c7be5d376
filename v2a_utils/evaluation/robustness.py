"""How far the order of the mappers reaches: to another audio backbone (listener), training seed, world."""

from itertools import combinations

import pandas as pd
from scipy.stats import spearmanr

from v2a_utils.evaluation.results import LOWER_IS_BETTER, Results
from v2a_utils.metrics.sounds import Interval, student_interval
from v2a_utils.metrics.statistics import CLOUDS, judge, opposite

PAIRS = (("diffusion", "regression"), ("diffusion", "regression, deep"), ("regression, deep", "regression"))
JUDGES = ("FD", "FAD", "KL softmax", "accuracy", "recall@10", "CS")
TRAINED = ("regression", "regression, deep", "diffusion", "better mapper")  # on the same pairs
SHORT = {"cosine": 1, "recall@10": 1, "Fréchet distance": -1}  # measures of the short trainings; -1: lower is better


def by_judge(results: Results) -> pd.DataFrame:
    """For each pair of mappers and each judge: which is the better by the paired difference (one Holm family)."""
    differences = {}
    for first, second in PAIRS:
        for measure in JUDGES:
            found = results.difference(first, second, measure)
            differences[f"{first} against {second}", measure] = opposite(found) if measure in LOWER_IS_BETTER else found
    return _winners(differences)


def by_training(order: pd.DataFrame) -> pd.DataFrame:
    """The same for short trainings (benchmarks.order), by world: Student's intervals over training seeds, as text."""
    differences = {}
    for first, second in PAIRS:
        for world, rows in order.groupby("world"):
            wide = rows.pivot(index="seed", columns="mapper", values=list(SHORT))
            for measure, sign in SHORT.items():
                found = student_interval(sign * (wide[measure, first] - wide[measure, second]))
                differences[f"{first} against {second}", f"{measure}, world {world}"] = found
    return _winners(differences)


def _winners(differences: dict[tuple[str, str], Interval | None]) -> pd.DataFrame:
    """Verdicts on "the first is better", told as who is better, one row a pair."""
    table: dict[str, dict[str, str]] = {}
    for (pair, column), verdict in judge(differences, [asked for asked in differences if asked[1] in CLOUDS]).items():
        first, second = pair.split(" against ")
        told = {"holds": first, "does not hold": second}.get(verdict, verdict.split(" at this n")[0])
        table.setdefault(pair, {})[column] = told
    return pd.DataFrame(table).T


def rank_agreement(results: Results, methods: tuple[str, ...] | None = None) -> tuple[float, float]:
    """Lowest and highest Spearman correlation between two judges' orders of the methods (None: all of the table)."""
    columns = {}
    for measure in JUDGES:
        values = results.find(measure, "test", "table").value
        columns[measure] = -values if measure in LOWER_IS_BETTER else values
    wide = pd.DataFrame(columns)
    wide = wide.loc[[method for method in methods if method in wide.index]] if methods else wide
    found = [float(spearmanr(wide[one], wide[two]).statistic) for one, two in combinations(wide.columns, 2)]
    return min(found), max(found)


def reach(results: Results, order: pd.DataFrame) -> pd.DataFrame:
    """What an outsider would ask about the order of the mappers, and what the numbers answer."""
    judged, trained = by_judge(results), by_training(order)
    among, near = rank_agreement(results), rank_agreement(results, TRAINED)
    seeds = results.find("FD").loc["diffusion"]
    worlds, number = order.world.nunique(), order.seed.nunique()
    rows = [
        ("How much is the choice of the listener and of the measure?",
         f"Two of the {len(JUDGES)} judges ({', '.join(JUDGES)}) order all methods with a rank correlation of "
         f"{among[0]:.2f} to {among[1]:.2f}, the {len(TRAINED)} trained mappers with {near[0]:.2f} to {near[1]:.2f}."),
        ("Does the order of the mappers survive another judge?", _sum_up(judged)),
        ("... another seed of sampling?",
         f"FD of the diffusion lies from {seeds.seed_low:.1f} to {seeds.seed_high:.1f} over {seeds.seeds:.0f} seeds "
         f"and differs from that of the regression by {results.difference('diffusion', 'regression', 'FD')}."),
        (f"... another training seed, another world seed? ({number} short trainings of each mapper on each of {worlds} "
         "worlds, judged by embeddings)", _sum_up(trained) + " " + _worlds(trained)),
    ]
    return pd.DataFrame(rows, columns=["question", "answer"])


def _sum_up(table: pd.DataFrame) -> str:
    """For each pair how often either is the better, and how often it is undecided."""
    parts = []
    for pair, row in table.iterrows():
        counts = row.value_counts()
        parts.append(f"{pair}: " + ", ".join(f"{name} {count}" if name == "undecided" else f"{name} better {count}"
                                             for name, count in counts.items()))
    return f"Of {table.shape[1]} comparisons each: " + "; ".join(parts) + "."


def _worlds(table: pd.DataFrame) -> str:
    """Whether any comparison that is decided in one world is decided the other way in another."""
    turned = [f"{pair} by {measure}" for pair, row in table.iterrows() for measure in SHORT
              if len(set(row[[column for column in row.index if column.startswith(measure)]]) - {"undecided"}) > 1]
    return f"Reversed between the worlds: {'; '.join(turned)}." if turned else "No decided comparison is reversed."

"""The evaluation's summary read back: the table, the claims with their verdicts, and what the measures agree on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from v2a_utils.metrics.sounds import Interval, bootstrap
from v2a_utils.metrics.statistics import CLOUDS, judge, nearer, opposite

PAPER_TABLE = pd.DataFrame(  # V2A-Mapper's Table 1 (docs/table.png of heng-hw/V2A-Mapper); VGG is VGGSound's test split
    [["Reference", 0, 0, 8.925, np.nan, np.nan, np.nan], ["Im2Wav", 51.500, 6.005, 7.827, 9.843, 864.12, 360.40],
     ["CLIPSonic-IQ", 27.124, 3.495, 7.251, 11.392, 53.94, 142.58],
     ["V2A-Mapper", 24.168, 0.841, 9.720, 11.950, 35.45, 48.83]],
    columns=["method", "FD ↓ (VGG)", "FAD ↓ (VGG)", "CS ↑ (VGG)", "CS ↑ (ImageHear)", "inference, s ↓",
             "trained, M ↓"]).set_index("method")
COLUMNS = {  # of our table: measure and split
    "FD ↓": ("FD", "test"), "FAD ↓": ("FAD", "test"), "KL ↓": ("KL softmax", "test"), "CS test ↑": ("CS", "test"),
    "CS ood ↑": ("CS", "ood"), "accuracy ↑": ("accuracy", "test"), "diversity": ("diversity", "test"),
    "s a sound ↓": ("seconds a sound", "test"), "trained, M ↓": ("trained parameters", "test"),
}
LOWER_IS_BETTER = ("FD", "FAD", "KAD", "KL softmax", "KL sigmoid", "seconds a sound", "trained parameters")
TRUTHS = ("size → pitch", "count → events", "distance → loudness")


@dataclass(frozen=True)
class Results:
    """What `python -m v2a_utils evaluate` wrote: rows of measures, of their differences, of sounds, and so on."""

    table: pd.DataFrame
    differences: pd.DataFrame
    sounds: pd.DataFrame
    gap: pd.DataFrame
    efficiency: pd.DataFrame
    run: dict

    @classmethod
    def read(cls, folder: str | Path) -> "Results":
        """From a folder; ValueError when no whole evaluation has been written there."""
        folder, names = Path(folder), ("evaluation", "differences", "sounds", "gap", "efficiency")
        if lacking := [name for name in ("run.json", *(f"{name}.csv" for name in names))
                       if not (folder / name).is_file()]:
            raise ValueError(f"{folder}: no summary of an evaluation ({', '.join(lacking)} missing); run "
                             f"`python -m v2a_utils evaluate --out {folder}`")
        tables = [pd.read_csv(folder / f"{name}.csv", keep_default_na=True) for name in names]
        return cls(*tables, json.loads((folder / "run.json").read_text()))

    def find(self, measure: str, split: str = "test", group: str | None = None) -> pd.DataFrame:
        """The rows of a measure over all classes, indexed by method; with `group`, only of its methods."""
        rows = self.table[(self.table.measure == measure) & (self.table.split == split) & self.table.label.isna()]
        return (rows if group is None else rows[rows.group == group]).set_index("method")

    def interval(self, method: str, measure: str, split: str = "test") -> Interval:
        """One number. ValueError for one that was not measured."""
        rows = self.find(measure, split)
        if method not in rows.index:
            raise ValueError(f"{measure} of {method} on {split} is not in the summary")
        return _interval(rows.loc[[method]])

    def left(self, method: str, measure: str) -> Interval:
        """One number of what a method leaves of the gap between embeddings. ValueError where it was not measured."""
        rows = self.gap[(self.gap.method == method) & (self.gap.measure == measure)]
        if rows.empty:
            raise ValueError(f"{measure} of the gap that {method} leaves is not in the summary")
        return _interval(rows)

    def difference(self, first: str, second: str, measure: str) -> Interval | None:
        """A measure of the first method minus that of the second on the same test pictures; None if not taken."""
        table = self.differences[self.differences.measure == measure]
        if "split" in table:  # a reproduction takes differences on other pictures, too
            table = table[table.split == "test"]
        for one, two, turned in ((first, second, False), (second, first, True)):
            rows = table[(table.method == one) & (table.other == two)]
            if len(rows):
                return opposite(_interval(rows)) if turned else _interval(rows)
        return None


def _interval(rows: pd.DataFrame) -> Interval:
    """The interval in the first row of a table."""
    value, low, high, n = rows[list(Interval._fields)].iloc[0]
    return Interval(value, low, high, int(n))


def our_table(results: Results) -> pd.DataFrame:
    """The methods' table in the paper's form, as text: values, and under each its 95% interval over pictures."""
    columns = as_columns(results, COLUMNS, between="\n")
    return pd.DataFrame(columns).reindex(results.find("FD", "test", "table").index).fillna("–")


def as_columns(results: Results, columns: dict[str, tuple[str, str]], between: str) -> dict[str, dict[str, str]]:
    """Each title's measure on a split, {title: (measure, split)}, as text by method of the table.

    `between` separates a value from its interval.
    """
    few = results.run.get("few", ())
    return {title: {row.Index: _cell(measure, row, between, "*" * (measure in few))
                    for row in results.find(measure, split, "table").itertuples()}
            for title, (measure, split) in columns.items()}


def _cell(measure: str, row, between: str, mark: str) -> str:
    if measure == "trained parameters":
        return f"{row.value / 1e6:.3f}" if row.value else "0"
    if measure == "seconds a sound":
        return f"{row.value:.2f}" if row.value else "–"
    return f"{row.value:.3g}{mark}{between}[{row.low:.3g}, {row.high:.3g}]"


def gap_left(results: Results) -> pd.DataFrame:
    """What every method leaves of the gap between embeddings, as text: values, and under each its 95% interval."""
    rows = results.gap[list(Interval._fields)].itertuples(index=False)
    texts = [str(Interval(*row)).replace(" [", "\n[") for row in rows]
    table = results.gap.assign(text=texts).pivot(index="method", columns="measure", values="text")
    return table.loc[list(dict.fromkeys(results.gap.method)), list(dict.fromkeys(results.gap.measure))]


def backbones(results: Results) -> pd.DataFrame:
    """Who measured what: for each backbone and sample rate in Hz the measures, and pictures times seeds by split."""
    rows = results.table[(results.table.group == "table") & results.table.label.isna() & results.table.backbone.notna()]
    most = rows.groupby(["measure", "split"])[["n", "seeds"]].max()
    counts = most.n.astype(str) + " × " + most.seeds.astype(str)
    wide = rows.drop_duplicates("measure").set_index("measure")[["backbone", "sample_rate"]].join(counts.unstack())
    keys = list(wide.columns)
    wide = wide.fillna("–").reset_index().groupby(keys, sort=False).measure.agg(", ".join).reset_index()
    return wide.set_index("backbone")[["measure", *keys[1:]]]


# ----------------------------------------------------------------------------------------------------------- claims


def claims(results: Results) -> pd.DataFrame:
    """The claims of the paper's abstract in our words, each with a verdict by `verdicts.RULE`, and its evidence.

    One table, so corrected for all its questions together; differences are between methods on the same pictures.
    """
    def better(first: str, second: str, measure: str) -> tuple[Interval | None, str]:
        difference = results.difference(first, second, measure)
        evidence = f"{measure}, {first} minus {second}: {difference or 'not measured'}"
        return opposite(difference) if measure in LOWER_IS_BETTER else difference, evidence

    apart = _measured(results.left, "no mapper", "told apart, linear")
    right = _measured(results.interval, "diffusion", "accuracy")
    rows = [
        ("1. there is a domain gap: a linear classifier tells CLIP's embeddings from CLAP's", _above(apart, 0.5),
         f"accuracy of the classifier: {apart or 'not measured'} (chance 0.5)"),
        ("1. ... and a sound for CLIP's embedding as it is misses the picture",
         *better("reference", "no mapper", "accuracy")),
        ("2. a light mapper narrows it: more sounds of the picture's class than without",
         better("diffusion", "no mapper", "accuracy")[0], _share_of_the_way(results)),
        ("3. the frozen generator makes relevant sound: more often of the picture's class than not", _above(right, 0.5),
         f"accuracy, diffusion: {right or 'not measured'}"),
        ("3. ... as often as real sounds are, or more", *better("diffusion", "reference", "accuracy")),
        ("3. ... and of high fidelity: nearer to real sounds than without a mapper (FD)",
         *better("diffusion", "no mapper", "FD")),
        ("3. ... as near as other real sounds are, or nearer (FD)", *better("diffusion", "reference", "FD")),
        ("4. a generative mapper is better in fidelity (FD)", *better("diffusion", "regression", "FD")),
        ("4. ... also than a regression of its size", *better("diffusion", "regression, deep", "FD")),
        ("4. ... and in variability (diversity nearer to that of real sounds)", *_variability(results, "regression")),
        ("4. ... also than a regression of its size (diversity)", *_variability(results, "regression, deep")),
        ("4. a regression mapper is slightly better in relevance (CS)", *better("regression", "diffusion", "CS")),
        ("4. ... also one of the generative mapper's size (CS)", *better("regression, deep", "diffusion", "CS")),
    ]
    table = pd.DataFrame(rows, columns=["claim", "difference", "evidence"]).set_index("claim")
    clouds = [claim for claim, evidence in table.evidence.items() if evidence.partition(",")[0] in CLOUDS]
    table.insert(0, "verdict", judge(dict(zip(table.index, table.difference)), clouds))
    table.loc["5. 86% fewer trained parameters, 53% better FD, 19% better CS than the state of the art"] = [
        "cannot be tested without the real weights", None, _paper_against_im2wav()]
    return table[["verdict", "evidence"]]


def _measured(find: Callable[[str, str], Interval], method: str, measure: str) -> Interval | None:
    """What a method of `Results` finds; None where it was not measured."""
    try:
        return find(method, measure)
    except ValueError:
        return None


def _above(interval: Interval | None, chance: float) -> Interval | None:
    """By how much a share lies above a value."""
    return interval and Interval(interval.value - chance, interval.low - chance, interval.high - chance, interval.n)


def _variability(results: Results, other: str) -> tuple[Interval | None, str]:
    """By how much the diffusion's diversity lies nearer to that of real sounds than the other mapper's does."""
    ours, theirs = (results.difference(method, "reference", "diversity") for method in ("diffusion", other))
    between = results.difference("diffusion", other, "diversity")
    evidence = (f"diversity, diffusion minus reference: {ours or 'not measured'}; {other} minus reference: "
                f"{theirs or 'not measured'}")
    return (nearer(ours, theirs, between) if ours and theirs and between else None), evidence


def _share_of_the_way(results: Results) -> str:
    """How far the diffusion mapper gets, in accuracy, from no mapper to the true embedding."""
    difference = results.difference("diffusion", "no mapper", "accuracy")
    found = results.find("accuracy").value
    if not {"no mapper", "diffusion", "true CLAP embedding"} <= set(found.index):  # a tagger that knows no such class
        return f"accuracy, diffusion minus no mapper: {difference or 'not measured'}"
    none, mapped, true = (found[method] for method in ("no mapper", "diffusion", "true CLAP embedding"))
    gained = f"{(mapped - none) / (true - none):.0%} of the way" if true > none else "no way to go"
    return (f"accuracy, diffusion minus no mapper: {difference}; {gained} from no mapper ({none:.3f}) to the true CLAP "
            f"embedding ({true:.3f})")


def _paper_against_im2wav() -> str:
    """What the paper's own table says for its fifth claim."""
    ours, other = PAPER_TABLE.loc["V2A-Mapper"], PAPER_TABLE.loc["Im2Wav"]
    change = ours / other - 1
    return (f"the paper's own table against Im2Wav: parameters {change['trained, M ↓']:+.1%}, FD "
            f"{change['FD ↓ (VGG)']:+.1%}; CS {change['CS ↑ (VGG)']:+.1%} of Im2Wav's on VGGSound (the abstract's 19% "
            f"is the difference as a share of V2A-Mapper's own: {1 - other['CS ↑ (VGG)'] / ours['CS ↑ (VGG)']:.1%}), "
            f"{change['CS ↑ (ImageHear)']:+.1%} on ImageHear")


# --------------------------------------------------------------------------------------------- what measures agree on


def agreement(results: Results, draws: int = 200) -> dict[str, Interval]:
    """Rank correlation, over all methods, of every measure with attribute fidelity (the mean of TRUTHS), as intervals.

    Signs are turned so that 1 means: ranks methods as the truth does. All methods with the same pictures and one seed.
    The interval resamples methods, so it is wide.
    """
    wide = results.table[(results.table.split == "sweep") & results.table.label.isna()].pivot_table(
        index="method", columns="measure", values="value")
    truth = wide[[name for name in TRUTHS if name in wide]].mean(axis=1)
    found = {}
    for name in ("FD", "FAD", "KL softmax", "KL sigmoid", "IS", "CS", "accuracy", "recall@10"):
        sign = -1 if name in LOWER_IS_BETTER else 1
        found[name] = bootstrap(_rank_correlation, sign * wide[name].to_numpy(), truth.to_numpy(), draws=draws)
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:  # one method drawn again and again
        return 0.0
    return float(spearmanr(first, second).statistic)

"""The evaluation's summary read back: the table, the claims with their verdicts, and what the measures agree on."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from v2a_utils.measures.metrics import Interval, bootstrap

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
LOWER_IS_BETTER = ("FD", "FAD", "KL softmax", "KL sigmoid", "seconds a sound", "trained parameters")
TRUTHS = ("size → pitch", "count → events", "distance → loudness")


@dataclass(frozen=True)
class Results:
    """What `python -m v2a_utils evaluate` wrote: rows of measures, of sounds, of the gap and of data efficiency."""

    table: pd.DataFrame
    sounds: pd.DataFrame
    gap: pd.DataFrame
    efficiency: pd.DataFrame
    run: dict

    @classmethod
    def read(cls, folder: str | Path) -> "Results":
        """From a folder; ValueError when the evaluation has not been run into it."""
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            raise ValueError(f"{folder}: no summary of an evaluation; run `python -m v2a_utils evaluate`")
        tables = [pd.read_csv(folder / f"{name}.csv", keep_default_na=True)
                  for name in ("evaluation", "sounds", "gap", "efficiency")]
        return cls(*tables, json.loads((folder / "run.json").read_text()))

    def find(self, measure: str, split: str = "test", group: str | None = None) -> pd.DataFrame:
        """The rows of a measure over all classes, indexed by method; with `group`, of these methods only."""
        rows = self.table[(self.table.measure == measure) & (self.table.split == split) & self.table.label.isna()]
        return (rows if group is None else rows[rows.group == group]).set_index("method")

    def interval(self, method: str, measure: str, split: str = "test") -> Interval:
        """One number. ValueError for one that was not measured."""
        rows = self.find(measure, split)
        if method not in rows.index:
            raise ValueError(f"{measure} of {method} on {split} is not in the summary")
        return Interval(*(rows.loc[method, name] for name in ("value", "low", "high")), int(rows.loc[method, "n"]))


def our_table(results: Results) -> pd.DataFrame:
    """The methods' table in the paper's form, values with 95% intervals over pictures, as text."""
    columns = {}
    for title, (measure, split) in COLUMNS.items():
        rows = results.find(measure, split, "table")
        if measure == "trained parameters":
            columns[title] = rows.value.map(lambda value: f"{value / 1e6:.3f}" if value else "0")
        elif measure == "seconds a sound":
            columns[title] = rows.value.map(lambda value: f"{value:.2f}" if value else "–")
        else:
            columns[title] = rows.apply(lambda row: f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}]", axis=1)
    return pd.DataFrame(columns).reindex(results.find("FD", "test", "table").index).fillna("–")


def gap_left(results: Results) -> pd.DataFrame:
    """What every method leaves of the gap between embeddings, values with 95% intervals, as text."""
    texts = results.gap.apply(lambda row: str(Interval(row.value, row.low, row.high, row.n)), axis=1)
    table = results.gap.assign(text=texts).pivot(index="method", columns="measure", values="text")
    return table.loc[list(dict.fromkeys(results.gap.method)), list(dict.fromkeys(results.gap.measure))]


def backbones(results: Results) -> pd.DataFrame:
    """Who measured: backbone, sample rate in Hz, n and seeds of every measure and split of the table."""
    rows = results.table[(results.table.group == "table") & results.table.label.isna() & results.table.backbone.notna()]
    return rows.groupby(["measure", "split"])[["backbone", "sample_rate", "n", "seeds"]].max()


# ----------------------------------------------------------------------------------------------------------- claims


def compare(better: Interval, worse: Interval, lower: bool = False) -> str:
    """Is the first number better? "holds" and "does not hold here" need intervals that do not touch."""
    if lower:
        better, worse = (Interval(-x.value, -x.high, -x.low, x.n) for x in (better, worse))
    if better.low > worse.high:
        return "holds"
    if better.high < worse.low:
        return "does not hold here"
    return "undecided at this n" + (", leans to yes" if better.value > worse.value else ", leans to no")


def claims(results: Results) -> pd.DataFrame:
    """The claims of the paper's abstract, each with a verdict computed from the summary and its evidence."""
    def cell(method: str, measure: str) -> str:
        return f"{method} {results.interval(method, measure)}"

    def against(first: str, second: str, measure: str) -> tuple[str, str]:
        verdict = compare(results.interval(first, measure), results.interval(second, measure),
                          measure in LOWER_IS_BETTER)
        return verdict, f"{measure}: {cell(first, measure)}, {cell(second, measure)}"

    told = results.gap.set_index(["measure", "method"]).loc["told apart, linear"]
    apart = Interval(*told.loc["no mapper", ["value", "low", "high", "n"]])
    paper = PAPER_TABLE.loc["V2A-Mapper"] / PAPER_TABLE.loc["Im2Wav"] - 1
    rows = [
        ("1. there is a domain gap: a straight cut tells CLIP's embeddings from CLAP's",
         compare(apart, Interval(0.5, 0.5, 0.5, apart.n)), f"told apart, linear: {apart} (chance 0.5)"),
        ("1. ... and a sound for CLIP's embedding as it is misses the picture",
         *against("reference", "no mapper", "accuracy")),
        ("2. a light mapper bridges it", *against("diffusion", "no mapper", "accuracy")),
        ("3. the frozen generator makes relevant sound of it (as often right as real sounds)",
         *_as_good(results, "diffusion", "reference", "accuracy")),
        ("3. ... of high fidelity (no further from real sounds than other real sounds)",
         *_as_good(results, "diffusion", "reference", "FD")),
        ("4. a generative mapper is better in fidelity (FD)", *against("diffusion", "regression", "FD")),
        ("4. ... and in variability", *against("diffusion", "regression", "diversity")),
        ("4. a regression mapper is slightly better in relevance (CS)", *against("regression", "diffusion", "CS")),
        ("5. 86% fewer trained parameters, 53% better FD, 19% better CS than the state of the art",
         "cannot be tested without the real weights",
         f"the paper's own table against Im2Wav: parameters {paper['trained, M ↓']:+.1%}, FD "
         f"{paper['FD ↓ (VGG)']:+.1%}, CS {paper['CS ↑ (VGG)']:+.1%} (VGGSound), {paper['CS ↑ (ImageHear)']:+.1%} "
         "(ImageHear)"),
    ]
    return pd.DataFrame(rows, columns=["claim", "verdict", "evidence"]).set_index("claim")


def _as_good(results: Results, method: str, standard: str, measure: str) -> tuple[str, str]:
    """Is a method as good as the standard? It is when the standard is not shown to be better."""
    first, second = results.interval(method, measure), results.interval(standard, measure)
    better = compare(second, first, measure in LOWER_IS_BETTER)
    verdict = {"holds": "does not hold here", "does not hold here": "holds"}.get(better, "holds as far as this n shows")
    return verdict, f"{measure}: {method} {first}, {standard} {second}"


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

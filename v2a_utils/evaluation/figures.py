"""The evaluation's figures, one function each, drawn from the committed summary in seconds.

Titles say what the numbers say, so they are computed too.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from v2a_utils.evaluation.results import NOT_MEASURED, Results, ablation, claims
from v2a_utils.plotting import MAPPED, NEUTRAL

VERDICTS = {"holds": (MAPPED, "s", "holds"), "does not": ("#D55E00", "X", "does not hold here"),
            "undecided": (NEUTRAL, "o", "undecided"), "cannot": (NEUTRAL, "_", "cannot be tested here"),
            "not measured": (NEUTRAL, "_", "not measured")}  # how a verdict begins -> colour, marker, word


def claims_poster(results: Results, found: str) -> Figure:
    """The paper's claims, each with its verdict here, and `found`, the main finding; colour and sign say the same."""
    rows = [(textwrap.wrap(claim, 76), verdict) for claim, verdict in claims(results).verdict.items()]
    heights = [0.75 + 0.75 * len(text) for text, _ in rows]
    figure, ax = plt.subplots(figsize=(9, 0.24 * sum(heights) + 1.2))
    ax.set(xlim=(0, 100), ylim=(sum(heights) + 3.5, 0))
    ax.set_axis_off()
    top = 0.0
    for (text, verdict), height in zip(rows, heights):
        looks = (look for begins, look in VERDICTS.items() if verdict.startswith(begins))
        colour, marker, word = next(looks, (NEUTRAL, "o", verdict))
        middle = top + height / 2
        ax.text(0, middle, "\n".join(text), va="center", fontsize=10)
        ax.plot(76, middle, marker, color=colour, markersize=8, markeredgewidth=2)
        ax.text(78, middle, word, va="center", fontsize=10, weight="bold" if word == "holds" else "normal")
        top += height
        ax.axhline(top, color="#DDDDDD", linewidth=0.6)
    ax.text(0, top + 0.4, "\n".join(textwrap.wrap(found, 112)), va="top", fontsize=9.5, weight="bold")
    stack, count = results.run["stack"], results.run["sizes"]["pictures"]
    ax.set_title(f"What the paper claims, and what came out here (stack {stack}, {count} pictures, 95% intervals)",
                 loc="left", fontsize=11)
    return figure


def ablation_figure(results: Results, groups: list[str]) -> Figure:
    """FD (down is better) and CS (up is better) along each sweep, on one scale; the table's own setting is marked *."""
    figure, axes = plt.subplots(2, len(groups), figsize=(2.4 * len(groups), 4.6), squeeze=False, sharex="col",
                                sharey="row")
    for column, group in zip(axes.T, groups):
        found = ablation(results, group)
        for axis, measure, label in zip(column, ("FD", "CS"), ("← FD (tagger features)", "CS (100 × cosine) →")):
            if measure not in found:
                axis.text(0.5, 0.5, f"{group}\n{NOT_MEASURED}", ha="center", transform=axis.transAxes)
                axis.set_axis_off()
                continue
            axis.plot(range(len(found)), found[measure], "s-", color=MAPPED)
            axis.set(xticks=range(len(found)), ylabel=label if group == groups[0] else "")
            axis.set_title(f"{measure} {found[measure].min():.3g} to {found[measure].max():.3g}", fontsize=9)
            axis.margins(0.15)
        column[-1].set_xlabel(group)
        if len(found):
            column[-1].set_xticks(range(len(found)), found.index, rotation=30, ha="right")
    return figure


def noticed(audit: pd.DataFrame, n: int = 256, power: float = 0.8) -> pd.DataFrame:
    """What each measure sees, defects by measures, from what `make bench-audit` wrote.

    The smallest of a defect's doses from which on it is noticed in subsets of n pictures, counted from 1; 0 where even
    the largest is not, -1 where the measure calls the largest dose better than no defect.
    """
    rows = audit[(audit.n == n) & ~audit.defect.str.startswith("none")]

    def first(doses: pd.DataFrame) -> int:
        if doses.better.iloc[-1] >= power:
            return -1
        seen = (doses.worse >= power).to_numpy()[::-1].cumprod()  # and so are all larger ones
        return int(len(seen) - seen.sum() + 1) if seen[0] else 0

    table = rows.groupby(["defect", "measure"], sort=False)[["worse", "better"]].apply(first)
    return table.unstack("measure")[list(rows.measure.unique())].loc[list(rows.defect.unique())]


def audit_matrix(audit: pd.DataFrame, n: int = 256) -> Figure:
    """Defects by measures: the darker, the smaller the dose that is noticed, which is written on it."""
    table = noticed(audit, n)
    doses = {name: list(rows.dose.unique()) for name, rows in audit.groupby("defect")}
    units = audit.groupby("defect").unit.first()
    figure, axis = plt.subplots(figsize=(9, 0.36 * len(table) + 1.4))
    shade = np.where(table > 0, 7 - table, 0).astype(float)
    axis.imshow(shade, cmap="Blues", vmin=0, vmax=8, aspect="auto")
    for (row, column), place in np.ndenumerate(table.to_numpy()):
        name = table.index[row]
        text = f"{doses[name][place - 1]:g}" if place > 0 else "better" if place < 0 else ""
        axis.text(column, row, text, ha="center", va="center", fontsize=7, rotation=0 if place >= 0 else 30,
                  color="#D55E00" if place < 0 else "white" if shade[row, column] > 4 else "black")
    axis.set_xticks(range(table.shape[1]), table.columns, rotation=55, ha="left", fontsize=8)
    axis.set_yticks(range(len(table)), [f"{name} ({units[name]})" for name in table.index], fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    return figure

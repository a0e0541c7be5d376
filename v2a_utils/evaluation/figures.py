"""The evaluation's figures, one function each, drawn from the committed summary in seconds.

Titles say what the numbers say, so they are computed too.
"""

import textwrap

import matplotlib.pyplot as plt
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
    """FD (down is better) and CS (up is better) along each sweep; the table's own setting is marked *."""
    figure, axes = plt.subplots(2, len(groups), figsize=(2.4 * len(groups), 4.6), squeeze=False, sharex="col")
    for column, group in zip(axes.T, groups):
        found = ablation(results, group)
        for axis, measure, label in zip(column, ("FD", "CS"), ("← FD (tagger features)", "CS (100 × cosine) →")):
            if measure not in found:
                axis.text(0.5, 0.5, NOT_MEASURED, ha="center", transform=axis.transAxes)
                axis.set(xticks=[], yticks=[])
                continue
            axis.plot(range(len(found)), found[measure], "s-", color=MAPPED)
            axis.set(xticks=range(len(found)), ylabel=label if group == groups[0] else "")
            axis.set_title(f"{measure} {found[measure].min():.3g} to {found[measure].max():.3g}", fontsize=9)
            axis.margins(0.15)
        column[-1].set_xlabel(group)
        if len(found):
            column[-1].set_xticks(range(len(found)), found.index, rotation=30, ha="right")
    return figure

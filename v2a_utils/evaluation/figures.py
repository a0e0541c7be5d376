"""The evaluation's figures, one function each, drawn from the committed summary in seconds.

Titles say what the numbers say, so they are computed too.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from v2a_utils.evaluation.results import NOT_MEASURED, TRUTHS, Results, ablation
from v2a_utils.evaluation.settings import METHODS, Method
from v2a_utils.metrics.sounds import Interval
from v2a_utils.metrics.statistics import CLOUDS, judge
from v2a_utils.plotting import AUDIO, MAPPED, NEUTRAL, VISION, show_intervals

COLOURS = {"reference": AUDIO, "true CLAP embedding": AUDIO, "no mapper": VISION, "words": MAPPED,
           "words, drawn": MAPPED, "regression": MAPPED, "regression, deep": MAPPED, "diffusion": MAPPED,
           "better mapper": MAPPED}
MARKS = {"reference": "^", "true CLAP embedding": "P", "text caption": "v", "no mapper": "o", "nearest neighbour": "<",
         "closed form": ">", "words": "X", "words, drawn": "x", "regression": "D", "regression, deep": "d",
         "diffusion": "s", "better mapper": "*"}
CURVES = {"draws": "mean of several draws", "guidance": "guidance of the generator"}
SHOWN = ("reference", "regression", "diffusion")
AGAINST = ("true CLAP embedding", "nearest neighbour", "words", "regression", "regression, deep", "better mapper")


def _colour(method: str) -> str:
    return COLOURS.get(method, NEUTRAL)


def _sides(cells: list) -> list[list[float]]:
    """How far intervals reach below and above their values, as error bars want it."""
    return [[cell.value - cell.low for cell in cells], [cell.high - cell.value for cell in cells]]


def trade_off(results: Results) -> Figure:
    """CS against FD of every method, and beside it the curves along which draws and guidance move the diffusion."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), width_ratios=(1.25, 1))
    across, up = (results.find(measure, "test", "table") for measure in ("CS", "FD"))
    for method in across.index:
        x, y = across.loc[method], up.loc[method]
        axes[0].errorbar(x.value, y.value, xerr=_sides([x]), yerr=_sides([y]), color=_colour(method),
                         fmt=MARKS[method], lw=0.8, ms=8, label=method)
    _enlarge(axes[0], across.value, up.value)
    for (group, title), mark in zip(CURVES.items(), "sD"):
        points = sweep_points(results, group, ("CS", "FD"))
        axes[1].plot(*zip(*points.values()), color=MAPPED, marker=mark, label=title, ls="-" if mark == "s" else ":",
                     mfc="white" if mark == "s" else MAPPED)
        for setting in {min(points), max(points)} if group == "guidance" else {max(points)}:
            axes[1].annotate(f"{group} {setting:g}", points[setting], xytext=(6, 6), textcoords="offset points",
                             fontsize=9)
    for axis in axes:
        axis.set(xlabel="CS (100 × cosine) →", ylabel="← FD (tagger features)")
        axis.margins(x=0.12)
    axes[0].set(yscale="log", title=f"All methods (n = {up.n.max()}, {up.seeds.max()} seeds)")
    _plain_ticks(axes[0].yaxis)
    number = results.find("FD", "sweep").n.max()
    axes[1].set_title(f"The diffusion, one setting changed (n = {number}, 1 seed)")
    axes[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    axes[1].legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def _enlarge(axis: Axes, across: pd.Series, up: pd.Series) -> None:
    """The methods near the diffusion, enlarged in an inset in the empty lower left; none where it stands alone."""
    if "diffusion" not in across.index:
        return
    near = across[(abs(across - across["diffusion"]) < 5) & (abs(np.log(up / up["diffusion"])) < 0.3)].index
    if len(near) < 3:
        return
    inset = axis.inset_axes((0.09, 0.09, 0.5, 0.42))
    for method in near:
        inset.plot(across[method], up[method], MARKS[method], color=_colour(method), ms=8)
    inset.margins(0.15)
    inset.tick_params(labelsize=8)


def _plain_ticks(axis: Axis) -> None:
    """A logarithmic axis with a few plain numbers that do not run into each other."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def paired(results: Results, than: str = "diffusion") -> Figure:
    """Paired differences in FD and CS between methods and one of them, with the intervals of the verdicts."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
    for axis, measure, better in zip(axes, ("FD", "CS"), ("left", "right")):
        found = {method: results.difference(method, than, measure) for method in METHODS if method in AGAINST}
        found = {method: difference for method, difference in found.items() if difference}
        verdicts = judge(found, found if measure in CLOUDS else ()).values()
        apart = sum(verdict in ("holds", "does not hold") for verdict in verdicts)
        show_intervals(axis, found, [_colour(method) for method in found],
                       f"{measure}: {apart} of {len(found)} differ from the {than} (Holm)")
        axis.axvline(0, color="black", lw=0.8)
        axis.set_xlabel(f"{measure}, method minus {than} ({better} of 0 is better)")
    return figure


def sweep_points(results: Results, group: str, measures: tuple[str, ...]) -> dict[float, tuple[float, ...]]:
    """Setting -> values of the measures along a sweep; the diffusion mapper as it is stands among them."""
    usual = {"draws": 1, "steps": Method.steps, "guidance": Method.guidance}[group]
    values = [results.find(measure, "sweep").value for measure in measures]
    rows = results.find(measures[0], "sweep", group)
    settings = {method: float(method.replace(group, "").strip()) for method in rows.index}
    points = {setting: tuple(column[method] for column in values) for method, setting in settings.items()}
    if "diffusion" in values[0]:
        points[usual] = tuple(column["diffusion"] for column in values)
    return dict(sorted(points.items()))


def steps_quality(results: Results) -> Figure:
    """FD and accuracy against the generator's denoising steps, with intervals over pictures."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    steps = list(sweep_points(results, "steps", ("FD",)))
    methods = ["diffusion" if number == Method.steps else f"{number:g} steps" for number in steps]
    for axis, measure, label in zip(axes, ("FD", "accuracy"), ("← FD (tagger features)", "right class (share) →")):
        cells = [results.interval(method, measure, "sweep") for method in methods]
        axis.errorbar(steps, [cell.value for cell in cells], _sides(cells), color=MAPPED, marker="s", capsize=3)
        axis.set(xscale="log", xticks=steps, xticklabels=[f"{number:g}" for number in steps], xlabel="denoising steps",
                 ylabel=label, ylim=(0, 1.08 * max(cell.high for cell in cells)),
                 title=f"{measure}: {cells[0].value:.3g} at {steps[0]:g} steps, {cells[-1].value:.3g} at {steps[-1]:g}")
        axis.minorticks_off()
    return figure


def efficiency(results: Results) -> Figure:
    """Cosine and FD of mapped embeddings against the number of training pairs."""
    table = results.efficiency
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    for axis, measure in zip(axes, ("cosine", "FD of embeddings")):
        for kind, mark in (("regression", "D"), ("diffusion", "s")):
            rows = table[(table.mapper == kind) & (table.measure == measure)]
            axis.plot(rows.pairs, rows.value, marker=mark, color=MAPPED, ls="-" if kind == "diffusion" else ":",
                      label=kind)
        ticks = sorted(table.pairs.unique())
        axis.set(xscale="log", xticks=ticks, xticklabels=ticks, xlabel="training pairs", ylabel=measure)
        axis.minorticks_off()
    most = table[(table.pairs == table.pairs.max()) & (table.measure == "cosine")].set_index("mapper").value
    axes[0].set_title(f"With {table.pairs.max()} pairs: " + ", ".join(f"{k} {v:.2f}" for k, v in most.items()))
    axes[1].set(yscale="log", title=f"n = {table.n.max()} test pictures, one training each")
    _plain_ticks(axes[1].yaxis)
    axes[0].legend(fontsize=8)
    return figure


def per_class(results: Results, methods: tuple[str, ...] = SHOWN) -> Figure:
    """Accuracy by class: a bar for the last method, marks for the others."""
    rows = results.table[(results.table.measure == "accuracy") & (results.table.split == "test")
                         & results.table.label.notna()]
    wide = rows.pivot_table(index="label", columns="method", values="value")[list(methods)].sort_values(methods[-1])
    figure, axis = plt.subplots(figsize=(9, 3))
    axis.bar(wide.index, wide[methods[-1]], color=MAPPED, alpha=0.6, label=methods[-1])
    for method in methods[:-1]:
        axis.plot(wide.index, wide[method], MARKS[method], color="black" if method == "regression" else AUDIO,
                  label=method, ms=5)
    axis.tick_params(axis="x", rotation=60)
    axis.set(ylabel="right class (share)", ylim=(0, 1.05),
             title=f"Hardest for {methods[-1]}: {wide.index[0]} ({wide[methods[-1]].iloc[0]:.0%})")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def attributes(results: Results, methods: tuple[str, ...] = SHOWN) -> Figure:
    """What was measured in sounds against what the picture shows, by method (rows) and attribute (columns)."""
    figure, axes = plt.subplots(len(methods), 3, figsize=(10, 2.3 * len(methods)), sharex="col", sharey="col")
    columns = {"size → pitch": ("pitch", "pitch that the size implies (Hz)", "pitch heard (Hz)"),
               "count → events": ("events", "number of things seen", "onsets heard"),
               "distance → loudness": ("loudness", "minus the distance seen (0..1)", "level heard (dB)")}
    for row, method in zip(np.atleast_2d(axes), methods):
        sounds = results.sounds[results.sounds.method == method]
        for axis, (name, (measured, _, heard)) in zip(row, columns.items()):
            axis.scatter(sounds[f"true {name}"], sounds[measured], s=8, color=_colour(method), lw=0, alpha=0.7)
            found = results.find(name)
            value = results.interval(method, name) if method in found.index else "not measured"
            axis.set_title(f"{method}: {value}", fontsize=9)
            axis.set_ylabel(heard, fontsize=9)
    for axis, (_, seen, _) in zip(np.atleast_2d(axes)[-1], columns.values()):
        axis.set_xlabel(seen, fontsize=9)
    for axis in np.atleast_2d(axes)[:, 0]:
        axis.set(xscale="log", yscale="log")
    return figure


def truths(results: Results) -> Figure:
    """Attribute fidelity of every method of the table, with intervals."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), sharey=True)
    for axis, name in zip(axes, TRUTHS):
        rows = results.find(name, "test", "table")
        cells = {method: results.interval(method, name) for method in rows.index}
        if cells:  # none where the pictures were too few
            show_intervals(axis, cells, [_colour(method) for method in cells], name)
        axis.set(xlabel="rank correlation within classes", title=name)
    return figure


def tracking(found: dict[str, Interval]) -> Figure:
    """Which measure ranks methods as the truth does (of `results.agreement`)."""
    figure, axis = plt.subplots(figsize=(6, 2.8))
    methods = next(iter(found.values())).n
    show_intervals(axis, found, NEUTRAL, f"Do measures rank the {methods} methods as attribute fidelity does?")
    axis.set_xlabel("rank correlation with attribute fidelity over methods")
    axis.axvline(0, color="black", lw=0.6)
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

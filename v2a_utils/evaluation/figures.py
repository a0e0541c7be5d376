"""The evaluation's figures, one function each, drawn from the committed summary in seconds.

Titles say what the numbers say, so they are computed too.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from v2a_utils.evaluation.methods import Method
from v2a_utils.evaluation.results import TRUTHS, Results
from v2a_utils.measures.metrics import Interval
from v2a_utils.plotting import AUDIO, MAPPED, NEUTRAL, VISION, show_intervals

COLOURS = {"reference": AUDIO, "true CLAP embedding": AUDIO, "no mapper": VISION, "words": MAPPED, "words, drawn": MAPPED,
           "regression": MAPPED, "regression, deep": MAPPED, "diffusion": MAPPED, "better mapper": MAPPED}
MARKS = {"reference": "^", "true CLAP embedding": "P", "text caption": "v", "no mapper": "o", "nearest neighbour": "<",
         "closed form": ">", "words": "X", "words, drawn": "x", "regression": "D", "regression, deep": "d",
         "diffusion": "s", "better mapper": "*"}
CURVES = {"draws": "mean of several draws", "guidance": "guidance of the generator"}
SHOWN = ("reference", "regression", "diffusion")
NEAR = ("true CLAP embedding", "nearest neighbour", "regression", "regression, deep", "diffusion", "better mapper")


def _colour(method: str) -> str:
    return COLOURS.get(method, NEUTRAL)


def trade_off(results: Results) -> Figure:
    """CS against FD: every method, and beside it the near ones with the curves along which draws and guidance move."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    across, up = (results.find(measure, "sweep", "table") for measure in ("CS", "FD"))
    near = [method for method in NEAR if method in across.index]
    for axis, methods in zip(axes, (across.index, near)):
        for method in methods:
            x, y = across.loc[method], up.loc[method]
            axis.errorbar(x.value, y.value, xerr=[[x.value - x.low], [x.high - x.value]], color=_colour(method),
                          yerr=[[y.value - y.low], [y.high - y.value]], fmt=MARKS[method], lw=1, ms=8, label=method)
        axis.set(xlabel="CS (100 × cosine) →", ylabel="← FD (tagger features)", yscale="log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    for (group, title), style in zip(CURVES.items(), ("-", ":")):
        points = sweep_points(results, group, ("CS", "FD"))
        axes[1].plot(*zip(*points.values()), style, color=MAPPED, marker=".", label=title)
        for setting, point in points.items():
            axes[1].annotate(f"{setting:g}", point, xytext=(-4, -11), textcoords="offset points", fontsize=7,
                             color=MAPPED)
    made = up.index.drop("reference")
    axes[0].set_title(f"Lowest FD: {up.value[made].idxmin()}; highest CS: {across.value[made].idxmax()}")
    axes[1].set_title(f"Near by: FD from {up.value[near].min():.1f} to {up.value[near].max():.1f}")
    axes[0].legend(fontsize=8, loc="lower left")
    axes[1].legend(fontsize=8)
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
    """FD and accuracy against the generator's denoising steps."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    points = sweep_points(results, "steps", ("FD", "accuracy"))
    for axis, column, label in zip(axes, (0, 1), ("← FD (tagger features)", "right class (share) →")):
        axis.plot(list(points), [point[column] for point in points.values()], color=MAPPED, marker="s")
        axis.set(xscale="log", xticks=list(points), xticklabels=[f"{steps:g}" for steps in points],
                 xlabel="denoising steps", ylabel=label)
        axis.minorticks_off()
    least = min((steps for steps in points if points[steps][0] <= 1.1 * points[max(points)][0]), default=max(points))
    axes[0].set_title(f"From {least:g} steps on within 10% of {max(points):g}")
    axes[1].set_title(f"n = {results.find('FD', 'sweep').n.max()} pictures")
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
    axes[1].set(yscale="log", title=f"n = {table.n.max()} test pictures")
    axes[0].legend(fontsize=8)
    return figure


def per_class(results: Results, methods: tuple[str, ...] = SHOWN) -> Figure:
    """Accuracy by class: a bar for the last method, marks for the others."""
    rows = results.table[(results.table.measure == "accuracy") & (results.table.split == "test")
                         & results.table.label.notna()]
    wide = rows.pivot_table(index="label", columns="method", values="value")[list(methods)]
    wide = wide.sort_values(methods[-1])
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
    figure, axes = plt.subplots(len(methods), 3, figsize=(9, 2.3 * len(methods)), sharex="col", sharey="col")
    columns = {"size → pitch": ("pitch", "pitch that the size implies (Hz)", "pitch heard (Hz)"),
               "count → events": ("events", "number of things seen", "onsets heard"),
               "distance → loudness": ("loudness", "minus the distance seen (0..1)", "level heard (dB)")}
    for row, method in zip(np.atleast_2d(axes), methods):
        sounds = results.sounds[results.sounds.method == method]
        for axis, (name, (measured, seen, heard)) in zip(row, columns.items()):
            axis.scatter(sounds[f"true {name}"], sounds[measured], s=8, color=_colour(method), lw=0, alpha=0.7)
            found = results.find(name)
            value = results.interval(method, name) if method in found.index else "not measured"
            axis.set_title(f"{method}: {value}", fontsize=8)
            axis.set_ylabel(heard, fontsize=8)
    for axis, (_, seen, _) in zip(np.atleast_2d(axes)[-1], columns.values()):
        axis.set_xlabel(seen, fontsize=8)
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
    best = next(iter(found))
    show_intervals(axis, found, NEUTRAL, f"{best} follows attribute fidelity best (n = {found[best].n} methods)")
    axis.set_xlabel("rank correlation with attribute fidelity over methods")
    axis.axvline(0, color="black", lw=0.6)
    return figure

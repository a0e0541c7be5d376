"""A reproduction's summary read back in the paper's form: its Table 1, its ablations, and what fills the gaps."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from v2a_utils.evaluation.results import PAPER_TABLE, Results, as_columns
from v2a_utils.evaluation.settings import SWEEPS, Method
from v2a_utils.plotting import MAPPED

NOT_MEASURED = "not measured here"
COLUMNS = dict(zip(PAPER_TABLE.columns, [  # the paper's columns: measure and split; and the accuracy on ImageHear
    ("FD", "test"), ("FAD", "test"), ("CS", "test"), ("CS", "ood"), ("seconds a sound", "test"),
    ("trained parameters", "test")])) | {"accuracy ↑ (ImageHear)": ("accuracy", "ood")}
OF_SOUNDS = ("reference", "true CLAP embedding")  # methods that need true sounds, which the pictures of "ood" lack


def paper_form(results: Results) -> pd.DataFrame:
    """Every method in the paper's columns, as text: values with 95% intervals; NOT_MEASURED where there is none.

    Columns name the data; rows are those that were asked for, and say which mappers are the stack's own.
    """
    run, measured = results.run, results.table[results.table.group == "table"]
    rows = [*measured.method.unique(), *(name for name in run["configuration"]["methods"] if name in run["left_out"])]
    columns = {_title(title, run): column for title, column in COLUMNS.items()
               if column[1] == "test" or run["sizes"]["ood"]}
    table = pd.DataFrame(as_columns(results, columns, between=" ")).reindex(rows).astype(object)
    table = table.fillna(NOT_MEASURED).rename_axis("method")
    table.loc[[name for name in OF_SOUNDS if name in rows],
              [title for title, (_, split) in columns.items() if split == "ood"]] = "–"
    return table.rename(index={name: f"{name} (of the stack {run['stack']})" for name in run.get("of_the_stack", ())})


def _title(title: str, run: dict) -> str:
    """A column of the paper's table with the name of the data that it is measured on."""
    ours = run["data"] == "films of SoundWorld"  # whose pictures lie in a folder named as ImageHear's
    pictures = "pictures of SoundWorld" if ours else Path(run["configuration"]["pictures"] or "").name
    for printed, name in (("(VGG)", run["data"]), ("(ImageHear)", pictures)):
        if name.lower() not in ("vggsound", "imagehear"):
            title = title.replace(printed, f"({name.removeprefix('folder ').rpartition('/')[2]})")
    return title


def few_note(results: Results) -> list[str]:
    """What a * at a Fréchet distance means, where there is one: a sentence or none."""
    few, n = results.run.get("few", []), results.run["sizes"]["pictures"]
    return [f"* {n} clips are few for a Fréchet distance of the backbone's features, which raises it: compare "
            f"{' and '.join(few)} only with values of as many clips"] if few else []


def beside_paper(results: Results) -> pd.DataFrame:
    """Our rows, and below them the paper's own Table 1 as printed there: "–" in the columns of the other's data."""
    here = paper_form(results)
    paper = PAPER_TABLE.map(lambda value: "–" if np.isnan(value) else f"{value:g}").assign(
        **{title: "–" for title in COLUMNS if title not in PAPER_TABLE})
    both = pd.concat({f"here, {results.run['stack']}": here, "the paper's": paper}, names=["who", "method"])
    return both.fillna("–")


def ablation(results: Results, group: str) -> pd.DataFrame:
    """One sweep's FD, FAD, CS and accuracy, as numbers by setting; the table's own setting, marked *, is among them.

    All on the same test clips with one seed. Empty where the sweep was not measured.
    """
    table = results.table[(results.table.split == "sweep") & results.table.label.isna()]
    rows = table[table.group == group]
    if rows.empty:
        return pd.DataFrame()
    names = {name: name.replace(group, "").strip() for name in rows.method.unique()}
    configuration = results.run["configuration"]
    usual = configuration["sweep_mapper"]
    own = {"size": "as in the table", "pairs": str(results.run["sizes"]["pairs"])}.get(
        group, str(configuration.get(group) or Method.steps))
    wide = table[table.method.isin([*names, usual])].pivot_table(index="method", columns="measure", values="value")
    wide = wide.rename(index=names | {usual: f"{own} *"})
    try:
        order = sorted(wide.index, key=lambda name: float(name.strip(" *")))
    except ValueError:  # settings with names
        order = list(wide.index)
    return wide.loc[order, [name for name in ("FD", "FAD", "CS", "accuracy", "trained parameters") if name in wide]]


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


def to_fill(results: Results) -> pd.DataFrame:
    """What the summary lacks, why, and the command that fills it once the reason is gone."""
    command = "python -m v2a_utils reproduce CONFIG"
    lacking = dict(results.run["left_out"])
    there = set(results.table[results.table.group != "table"].group)
    lacking |= {f"sweep of {group}": "not in the configuration" for group in SWEEPS if group not in there}
    return pd.DataFrame([(name, reason, command) for name, reason in lacking.items()],
                        columns=[NOT_MEASURED, "why", "what fills it"])

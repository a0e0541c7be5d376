"""The evaluation's summary read back: tables, claims with their verdicts, and how far they reach."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from v2a_utils.data.files import DATA
from v2a_utils.evaluation.settings import SWEEPS, Method
from v2a_utils.metrics.sounds import Interval, student_interval
from v2a_utils.metrics.statistics import CLOUDS, judge, nearer, opposite

PAPER_TABLE = pd.read_csv(DATA / "tables/paper_table.csv", comment="#", index_col="method")
LOWER_IS_BETTER = ("FD", "FAD", "KAD", "KL softmax", "KL sigmoid", "seconds a sound", "trained parameters")
NOT_MEASURED = "not measured here"
PAPER_COLUMNS = dict(zip(PAPER_TABLE.columns, [  # the paper's columns: measure and split; and the accuracy on ImageHear
    ("FD", "test"), ("FAD", "test"), ("CS", "test"), ("CS", "ood"), ("seconds a sound", "test"),
    ("trained parameters", "test")])) | {"accuracy ↑ (ImageHear)": ("accuracy", "ood")}
OF_SOUNDS = ("reference", "true CLAP embedding")  # methods that need true sounds, which the pictures of "ood" lack
PAIRS = (("diffusion", "regression"), ("diffusion", "regression, deep"), ("regression, deep", "regression"))
JUDGES = ("FD", "FAD", "KL softmax", "accuracy", "recall@10", "CS")
SHORT = {"cosine": 1, "recall@10": 1, "Fréchet distance": -1}  # measures of the short trainings; -1: lower is better


@dataclass(frozen=True)
class Results:
    """What `python -m v2a_utils evaluate` wrote: rows of measures, of their differences, of sounds, and so on."""

    table: pd.DataFrame
    differences: pd.DataFrame
    sounds: pd.DataFrame
    gap: pd.DataFrame
    run: dict

    @classmethod
    def read(cls, folder: str | Path) -> "Results":
        """From a folder; ValueError when no whole evaluation has been written there."""
        folder, names = Path(folder), ("evaluation", "differences", "sounds", "gap")
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

    def left(self, method: str, measure: str) -> Interval | None:
        """One number of what a method leaves of the gap between embeddings; None where it was not measured."""
        rows = self.gap[(self.gap.method == method) & (self.gap.measure == measure)]
        return None if rows.empty else _interval(rows)

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


def as_columns(results: Results, columns: dict[str, tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Each title's measure on a split, {title: (measure, split)}, as text by method of the table."""
    few = results.run.get("few", ())
    return {title: {row.Index: _cell(measure, row, "*" * (measure in few))
                    for row in results.find(measure, split, "table").itertuples()}
            for title, (measure, split) in columns.items()}


def _cell(measure: str, row, mark: str) -> str:
    if measure == "trained parameters":
        return f"{row.value / 1e6:.3f}" if row.value else "0"
    if measure == "seconds a sound":
        return f"{row.value:.2f}" if row.value else "–"
    return f"{row.value:.3g}{mark} [{row.low:.3g}, {row.high:.3g}]"


def backbones(results: Results) -> pd.DataFrame:
    """Who measured what: for each backbone and sample rate in Hz the measures, and pictures times seeds by split."""
    rows = results.table[(results.table.group == "table") & results.table.label.isna() & results.table.backbone.notna()]
    most = rows.groupby(["measure", "split"])[["n", "seeds"]].max()
    counts = most.n.astype(str) + " × " + most.seeds.astype(str)
    wide = rows.drop_duplicates("measure").set_index("measure")[["backbone", "sample_rate"]].join(counts.unstack())
    keys = list(wide.columns)
    wide = wide.fillna("–").reset_index().groupby(keys, sort=False).measure.agg(", ".join).reset_index()
    return wide.set_index("backbone")[["measure", *keys[1:]]]


# --------------------------------------------------------------------------------- a reproduction, as the paper has it


def paper_form(results: Results) -> pd.DataFrame:
    """Every method in the paper's columns, as text: values with 95% intervals; NOT_MEASURED where there is none.

    Columns name the data; rows are those that were asked for, and say which mappers are the stack's own.
    """
    run, measured = results.run, results.table[results.table.group == "table"]
    rows = [*measured.method.unique(), *(name for name in run["configuration"]["methods"] if name in run["left_out"])]
    columns = {_title(title, run): column for title, column in PAPER_COLUMNS.items()
               if column[1] == "test" or run["sizes"]["ood"]}
    table = pd.DataFrame(as_columns(results, columns)).reindex(rows).astype(object)
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
        **{title: "–" for title in PAPER_COLUMNS if title not in PAPER_TABLE})
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


def to_fill(results: Results) -> pd.DataFrame:
    """What the summary lacks, why, and the command that fills it once the reason is gone."""
    command = "python -m v2a_utils reproduce CONFIG"
    lacking = dict(results.run["left_out"])
    there = set(results.table[results.table.group != "table"].group)
    lacking |= {f"sweep of {group}": "not in the configuration" for group in SWEEPS if group not in there}
    return pd.DataFrame([(name, reason, command) for name, reason in lacking.items()],
                        columns=[NOT_MEASURED, "why", "what fills it"])


# ----------------------------------------------------------------------------------------------------------- claims


def claims(results: Results) -> pd.DataFrame:
    """The claims of the paper's abstract in our words, each with a verdict by `RULE`, and its evidence.

    One table, so corrected for all its questions together; differences are between methods on the same pictures.
    """
    def better(first: str, second: str, measure: str) -> tuple[Interval | None, str]:
        difference = results.difference(first, second, measure)
        evidence = f"{measure}, {first} minus {second}: {difference or 'not measured'}"
        return opposite(difference) if measure in LOWER_IS_BETTER else difference, evidence

    apart, measured = results.left("no mapper", "told apart, linear"), results.find("accuracy").index
    right = results.interval("diffusion", "accuracy") if "diffusion" in measured else None
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


# ----------------------------------------------------------------------------- how far the order of the mappers reaches


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
    return _winners({(f"{first} against {second}", column): found for first, second in PAIRS
                     for column, found in _leads(order, first, second).items()})


def _leads(order: pd.DataFrame, first: str, second: str) -> dict[str, Interval]:
    """By how much the first mapper is better than the second, by measure and world, over training seeds."""
    wide = {world: rows.pivot(index="seed", columns="mapper", values=list(SHORT))
            for world, rows in order.groupby("world")}
    return {f"{measure}, world {world}": student_interval(sign * (table[measure, first] - table[measure, second]))
            for world, table in wide.items() for measure, sign in SHORT.items()}


class Headline(NamedTuple):
    """The main finding in words, and how many comparisons at equal size the regression won, lost, and left open."""

    sentence: str
    won: int
    lost: int
    undecided: int


def headline(results: Results, order: pd.DataFrame) -> Headline:
    """What was found of the paper's fourth claim at equal size: lessons, poster and README say it in these words."""
    pair = "diffusion against regression, deep"
    heard, told = by_judge(results).loc[pair], by_training(order).loc[pair]
    won, lost, undecided = (int((pd.concat([heard, told]) == name).sum())
                            for name in ("regression, deep", "diffusion", "undecided"))
    number = int((heard != "undecided").sum())
    decided = {0: "none is", 1: "1 is"}.get(number, f"{number} are")
    higher = [str(lead) for name, lead in _leads(order, "regression, deep", "diffusion").items() if "cosine" in name]
    return Headline(
        f"At equal size the regression beats the diffusion mapper in {'all' if won and not lost else f'{won} of the'} "
        f"{won + lost} decided comparisons. Over {order.seed.nunique()} trainings on each of {order.world.nunique()} "
        f"worlds its cosine to the true sound is higher by {' and '.join(higher)}. Of {len(heard)} comparisons of "
        f"their sounds {decided} decided.", won, lost, undecided)


def _winners(differences: dict[tuple[str, str], Interval | None]) -> pd.DataFrame:
    """Verdicts on "the first is better", told as who is better, one row a pair."""
    table: dict[str, dict[str, str]] = {}
    for (pair, column), verdict in judge(differences, [asked for asked in differences if asked[1] in CLOUDS]).items():
        first, second = pair.split(" against ")
        told = {"holds": first, "does not hold": second}.get(verdict, verdict.split(" at this n")[0])
        table.setdefault(pair, {})[column] = told
    return pd.DataFrame(table).T

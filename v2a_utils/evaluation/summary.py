"""The tables of a summary, for any data: every method's features through every measure.

`run` writes them for SoundWorld, `reproduction` for any clips; `results.Results` reads both.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from v2a_utils.data.files import write_json, write_table
from v2a_utils.evaluation.features import ATTRIBUTES, Features
from v2a_utils.evaluation.methods import COMPARED, Method
from v2a_utils.evaluation.scorer import Score, Scorer
from v2a_utils.metrics import gap
from v2a_utils.metrics.sounds import Interval, frechet_distance, rate_interval

# features of a method's sounds on a split, (n, seeds, ...), and the seconds a sound took; None where it makes none
Make = Callable[[str, str], tuple[Features, np.ndarray] | None]
COLUMNS = ["method", "group", "split", "measure", "label", "value", "low", "high", "n", "seeds", "seed_low",
           "seed_high", "backbone", "sample_rate"]


def summarise(evaluators: dict[str, Scorer], methods: dict[str, Method], make: Make,
              parameters: Callable[[Method], int], pairs: Iterable[tuple[str, str]] = COMPARED,
              compared: Iterable[str] = ("test",)) -> dict[str, pd.DataFrame]:
    """The tables evaluation, differences (of these pairs of methods on the splits `compared`), sounds and singles.

    evaluators: by split, of "test", "ood" and "sweep", whose pictures are the first of test. Methods of the group
    "table" are measured on test and ood, sweeps on the split sweep; `parameters` counts what a method trains.
    """
    rows, sounds, tested = [], [], {"test": {}, "ood": {}}
    for name, method in tqdm(methods.items(), "methods", unit="method"):
        for split in ("test", "ood") if method.group == "table" else ("sweep",):
            if split not in evaluators or (found := make(name, split)) is None:
                continue
            made, seconds = found
            parts = {split: made}
            if method.group == "table":
                tested[split][name] = made
            if split == "test" and "sweep" in evaluators:  # as many sounds as a sweep has, to compare with it
                parts["sweep"] = made.rows(slice(len(evaluators["sweep"].labels)), slice(1))
            for part, features in parts.items():
                measured = method_rows(evaluators[part], features, seconds, parameters(method))
                rows += [{"method": name, "group": method.group, "split": part} | row for row in measured]
            sounds += [{"method": name, "split": split} | row for row in single_rows(evaluators[split], made)]
    singles = pd.DataFrame(sounds, columns=None if sounds else ["method", "split", "seed"])
    return {"evaluation": pd.DataFrame(rows, columns=COLUMNS),
            "differences": pd.DataFrame([row for split in compared
                                         for row in difference_rows(evaluators[split], tested[split], split, pairs)],
                                        columns=["method", "other", "measure", *Interval._fields, "split"]),
            "sounds": singles[(singles.seed == 0) & (singles.split == "test")], "singles": singles}


def write_summary(out: Path, tables: dict[str, pd.DataFrame], run: dict) -> pd.DataFrame:
    """Write every table as CSV and what is known of the run as run.json; returns the table evaluation."""
    for name, table in tables.items():
        write_table(table, out / f"{name}.csv")
    write_json(out / "run.json", run)
    return tables["evaluation"]


def describe(method: Method, steps: int | None = None) -> str:
    """A method in a line, for run.json."""
    return (f"{method.source} {json.dumps(method.settings)}, {steps or method.steps} steps, guidance "
            f"{method.guidance:g}")


def method_rows(evaluator: Scorer, made: Features, seconds: np.ndarray, parameters: int) -> list[dict]:
    """Rows of evaluation.csv for one method and split."""
    n, tagger = len(made.logits), evaluator.models["tagger"]
    seconds_each = Score("seconds a sound", Interval(seconds.mean(), seconds.min(), seconds.max(), n), seconds, "", 0)
    trained = Interval(parameters, parameters, parameters, n)
    rows = [_row(seconds_each), _row(Score("trained parameters", trained, np.array([parameters]), "", 0))]
    rows += [_row(score) for score in evaluator.scores(made)]
    hits = evaluator.hits(made)
    for label in sorted(set(evaluator.labels[evaluator.known])):
        mine = hits[(evaluator.labels == label) & evaluator.known]
        score = Score("accuracy", rate_interval(mine), mine.mean(0), tagger.backbone, tagger.sample_rate)
        rows.append(_row(score, label))
    return rows


def _row(score: Score, label: str = "") -> dict:
    value, low, high, n = score.interval
    return {"measure": score.measure, "label": label, "value": value, "low": low, "high": high, "n": n,
            "seeds": len(score.by_seed), "seed_low": score.by_seed.min(), "seed_high": score.by_seed.max(),
            "backbone": score.backbone, "sample_rate": score.sample_rate}


def single_rows(evaluator: Scorer, made: Features) -> Iterator[dict]:
    """Rows of singles.csv: one sound each."""
    hits, scores = evaluator.hits(made), evaluator.each(made)["CS"]
    truths = {name: np.where(rows, truth, np.nan) for name, rows, _, truth in evaluator.attributes(made)}
    for index, seed in np.ndindex(hits.shape):
        right = hits[index, seed] if evaluator.known[index] else np.nan
        measured = dict(zip(ATTRIBUTES, made.attributes[index, seed]))
        yield {"seed": seed, "index": index, "label": evaluator.labels[index], "right": right,
               "CS": scores[index, seed]} | measured | {f"true {name}": true[index] for name, true in truths.items()}


def difference_rows(evaluator: Scorer, made: dict[str, Features], split: str,
                    pairs: Iterable[tuple[str, str]]) -> Iterator[dict]:
    """Rows of differences.csv: every measure of one method minus that of another on the same pictures.

    The intervals resample both together, so that what makes a picture hard for both cancels. Pairs of which
    a method was not made are left out.
    """
    for first, second in tqdm([pair for pair in pairs if set(pair) <= made.keys()], "differences", unit="pair"):
        for measure, interval in evaluator.differences(made[first], made[second]):
            yield {"method": first, "other": second, "measure": measure} | interval._asdict() | {"split": split}


def gap_table(clouds: Iterable[tuple[str, np.ndarray]], audio: np.ndarray, draws: int) -> pd.DataFrame:
    """What methods leave of the gap, by `gap.measure`: their conditions (n, d) against the true sounds'."""
    rows = [{"method": name, "measure": measure} | interval._asdict()
            for name, cloud in tqdm(clouds, "gap", unit="method")
            for measure, interval in gap.measure(cloud, audio, draws=draws).items()]
    return pd.DataFrame(rows, columns=["method", "measure", *Interval._fields])


def efficiency_rows(kind: str, pairs: int, mapped: np.ndarray, audio: np.ndarray) -> Iterator[dict]:
    """Rows of efficiency.csv: embeddings that a mapper trained on `pairs` pairs gives held-out pictures, (n, d)."""
    for measure, value in (("cosine", gap.pair_cosines(mapped, audio).mean()),
                           ("recall@10", gap.recall(gap.retrieval_ranks(mapped, audio))),
                           ("FD of embeddings", frechet_distance(mapped, audio))):
        yield {"mapper": kind, "pairs": pairs, "measure": measure, "value": value, "n": len(mapped)}

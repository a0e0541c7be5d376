"""The summary read back: the table, the verdicts, the figures."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from v2a_utils.evaluation import figures as result_figures
from v2a_utils.evaluation.methods import METHODS
from v2a_utils.evaluation.results import TRUTHS, Results, agreement, backbones, claims, compare, gap_left, our_table
from v2a_utils.measures.metrics import Interval

MEASURES = ("FD", "FAD", "KL softmax", "KL sigmoid", "IS", "CS", "accuracy", "recall@10", "diversity", "coverage",
            "seconds a sound", "trained parameters", *TRUTHS)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A made-up summary in which a method's place in METHODS is its quality; low numbers are good for FD alone."""
    folder, rows = tmp_path_factory.mktemp("summary"), []
    for place, (name, method) in enumerate(METHODS.items()):
        for split in ("sweep",) if method.group != "table" else ("test", "ood", "sweep"):
            for measure in MEASURES:
                value = 1 + place if measure in ("FD", "FAD") else 20 - place
                rows.append([name, method.group, split, measure, None, value, value - 0.2, value + 0.2, 50, 3, value,
                             value, "mini tagger", 16_000])
        rows.append([name, method.group, "test", "accuracy", "dog", 0.5, 0.2, 0.9, 4, 3, 0.5, 0.5, "mini tagger",
                     16_000])
    columns = ["method", "group", "split", "measure", "label", "value", "low", "high", "n", "seeds", "seed_low",
               "seed_high", "backbone", "sample_rate"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "evaluation.csv", index=False)
    numbers = np.arange(1.0, 11)
    pd.concat([pd.DataFrame({"method": name, "pitch": 100 * numbers, "events": numbers, "loudness": -numbers} | {
        f"true {truth}": numbers for truth in TRUTHS}) for name in METHODS]).to_csv(folder / "sounds.csv", index=False)
    pd.DataFrame([(kind, pairs, measure, 0.5, 50) for kind in ("regression", "diffusion") for pairs in (10, 100)
                  for measure in ("cosine", "FD of embeddings", "recall@10")],
                 columns=["mapper", "pairs", "measure", "value", "n"]).to_csv(folder / "efficiency.csv", index=False)
    pd.DataFrame([(name, measure, 0.9, 0.8, 1.0, 50) for name, method in METHODS.items() if method.group == "table"
                  for measure in ("Fréchet distance", "told apart, linear")],
                 columns=["method", "measure", "value", "low", "high", "n"]).to_csv(folder / "gap.csv", index=False)
    (folder / "run.json").write_text(json.dumps({"stack": "mini"}))
    return Results.read(folder)


def test_a_folder_without_a_summary_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(ValueError, match="v2a_utils evaluate"):
        Results.read(tmp_path)


def test_the_table_has_the_methods_in_their_order_and_no_sweeps(results):
    table = our_table(results)
    assert list(table.index) == [name for name, method in METHODS.items() if method.group == "table"]
    assert table.loc["diffusion", "FD ↓"] == "7 [6.8, 7.2]"
    assert table.loc["reference", "trained, M ↓"] == "0.000"


def test_every_measure_names_its_backbone_rate_and_n(results):
    found = backbones(results)
    assert found.loc[("FD", "test")].tolist() == ["mini tagger", 16_000, 50, 3]


@pytest.mark.parametrize("first, second, lower, verdict", [
    ((3, 2, 4), (1, 0, 1.5), False, "holds"), ((1, 0, 1.5), (3, 2, 4), False, "does not hold here"),
    ((1, 0, 1.5), (3, 2, 4), True, "holds"), ((3, 1, 4), (2, 1, 3), False, "undecided at this n, leans to yes"),
    ((3, 1, 4), (2, 1, 3), True, "undecided at this n, leans to no"),
])
def test_a_verdict_needs_intervals_that_do_not_touch(first, second, lower, verdict):
    assert compare(Interval(*first, 10), Interval(*second, 10), lower) == verdict


def test_every_claim_has_a_verdict_and_its_evidence(results):
    found = claims(results)
    verdicts = {claim[:30]: row.verdict for claim, row in found.iterrows()}
    assert len(found) == 9 and found.evidence.str.len().min() > 10
    assert verdicts["1. there is a domain gap: a st"] == "holds"
    assert verdicts["1. ... and a sound for CLIP's "] == "holds"  # the reference comes before no mapper
    assert verdicts["2. a light mapper bridges it"] == "does not hold here"
    assert verdicts["4. a generative mapper is bett"] == "does not hold here"
    assert verdicts["4. a regression mapper is slig"] == "holds"
    assert "-86.5%" in found.evidence.iloc[-1] and "cannot be tested" in found.verdict.iloc[-1]


def test_measures_that_rank_as_the_truth_does_agree_with_it(results):
    found = agreement(results, draws=20)
    assert found["CS"].value == pytest.approx(1) and found["FD"].value == pytest.approx(1)
    assert found["FD"].n == len(METHODS)


@pytest.mark.parametrize("draw", [
    result_figures.trade_off, result_figures.steps_quality, result_figures.efficiency, result_figures.per_class,
    result_figures.attributes, result_figures.truths,
], ids=lambda draw: draw.__name__)
def test_figures_are_drawn_from_the_summary_with_labels_and_a_title(results, draw):
    figure = draw(results)
    assert all(axis.get_title() for axis in figure.axes)
    assert any(axis.get_ylabel() or axis.get_xlabel() for axis in figure.axes)
    plt.close(figure)


def test_the_curves_pass_through_the_usual_setting(results):
    points = result_figures.sweep_points(results, "steps", ("FD",))
    assert list(points) == [2, 5, 10, 20, 40]
    assert points[20] == (7,)


def test_what_is_left_of_the_gap_keeps_the_order_of_methods_and_measures(results):
    table = gap_left(results)
    assert list(table.index) == [name for name, method in METHODS.items() if method.group == "table"]
    assert list(table.columns) == ["Fréchet distance", "told apart, linear"]
    assert table.loc["diffusion", "told apart, linear"] == "0.900 [0.800, 1.000]"
    verdicts = claims(results)
    assert verdicts.verdict[verdicts.index.str.contains("straight cut")].item() == "holds"

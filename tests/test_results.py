"""The summary read back: the table, the verdicts, the figures."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from v2a_utils.evaluation import figures as result_figures
from v2a_utils.evaluation.results import (
    TRUTHS,
    Results,
    agreement,
    backbones,
    claims,
    gap_left,
    our_table,
)
from v2a_utils.evaluation.settings import COMPARED, METHODS
from v2a_utils.metrics.sounds import Interval

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
    places = list(METHODS)
    pd.DataFrame([(first, second, measure, sign * (places.index(first) - places.index(second)) + shift, 50)
                  for first, second in COMPARED if "flow" not in (first, second) for measure in MEASURES
                  for sign, shift in [(1 if measure in ("FD", "FAD") else -1, 0)]],
                 columns=["method", "other", "measure", "value", "n"]).assign(
        low=lambda table: table.value - 0.3, high=lambda table: table.value + 0.3).to_csv(
        folder / "differences.csv", index=False)
    (folder / "run.json").write_text(json.dumps({"stack": "mini"}))
    return Results.read(folder)


def test_a_folder_without_a_summary_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(ValueError, match="v2a_utils evaluate"):
        Results.read(tmp_path)


def test_a_summary_that_lacks_a_table_is_refused_with_its_name(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="differences.csv"):
        Results.read(tmp_path)


def test_the_table_has_the_methods_in_their_order_and_no_sweeps(results):
    table = our_table(results)
    assert list(table.index) == [name for name, method in METHODS.items() if method.group == "table"]
    assert table.loc["diffusion", "FD ↓"] == f"{1 + PLACE}\n[{0.8 + PLACE:.1f}, {1.2 + PLACE:.1f}]"
    assert table.loc["reference", "trained, M ↓"] == "0.000"


def test_every_measure_names_its_backbone_rate_and_n(results):
    found = backbones(results)
    assert found.index.tolist() == ["mini tagger"] and found.sample_rate.item() == 16_000
    assert set(found.measure.item().split(", ")) == {*MEASURES} and found.test.item() == "50 × 3"


def test_a_difference_is_read_from_either_side(results):
    assert results.difference("diffusion", "regression", "FD") == Interval(2, 1.7, 2.3, 50)
    assert results.difference("regression", "diffusion", "FD") == Interval(-2, -2.3, -1.7, 50)
    assert results.difference("diffusion", "2 draws", "FD") is None


def test_a_difference_is_that_of_the_test_pictures(results):
    for split, expected in (("test", 2), ("ood", None)):
        elsewhere = replace(results, differences=results.differences.assign(split=split))
        found = elsewhere.difference("diffusion", "regression", "FD")
        assert (found and found.value) == expected


def test_every_claim_has_a_verdict_and_its_evidence(results):
    found = claims(results)
    verdicts = {claim[:30]: row.verdict for claim, row in found.iterrows()}
    assert len(found) == len(verdicts) + 1 == 14 and found.evidence.str.len().min() > 10  # two of "also than a ..."
    assert verdicts["1. there is a domain gap: a li"] == "holds"
    assert verdicts["1. ... and a sound for CLIP's "] == "holds"  # the reference comes before no mapper
    assert verdicts["2. a light mapper narrows it: "] == "does not hold"
    assert verdicts["4. a generative mapper is bett"] == "does not hold"
    assert verdicts["4. ... and in variability (div"] == "does not hold"  # farther than the regression
    assert verdicts["4. a regression mapper is slig"] == "holds"
    assert "-86.5%" in found.evidence.iloc[-1] and "cannot be tested" in found.verdict.iloc[-1]


def test_measures_that_rank_as_the_truth_does_agree_with_it(results):
    found = agreement(results, draws=20)
    assert found["CS"].value == pytest.approx(1) and found["FD"].value == pytest.approx(1)
    assert found["FD"].n == len(METHODS)


def drawn(figure) -> np.ndarray:
    """Every coordinate of the points, lines and bars of a figure."""
    parts = [line.get_xydata() for axis in figure.axes for line in axis.lines]
    parts += [points.get_offsets() for axis in figure.axes for points in axis.collections]
    bars = [[bar.get_height(), bar.get_height()] for axis in figure.axes for bar in axis.patches]
    return np.concatenate([np.asarray(part, float).reshape(-1, 2) for part in [*parts, bars]]).ravel()


PLACE = list(METHODS).index("diffusion")


@pytest.mark.parametrize("draw, numbers", [
    (result_figures.trade_off, (1 + PLACE, 20 - PLACE)),  # FD and CS of the diffusion mapper
    (result_figures.paired, (1, 3, -1)),  # how many places before or behind the diffusion a method stands
    (result_figures.steps_quality, [1 + list(METHODS).index(f"{steps} steps") for steps in (2, 10, 20, 40)]),
    (result_figures.efficiency, (10, 100, 0.5)), (result_figures.per_class, (0.5,)),
    (result_figures.attributes, (100, 1000, 10, -10)), (result_figures.truths, (20 - PLACE,)),
], ids=lambda value: getattr(value, "__name__", ""))
def test_figures_draw_the_numbers_of_the_summary_with_labels_and_a_title(results, draw, numbers):
    figure = draw(results)
    assert all(axis.get_title() for axis in figure.axes)
    assert any(axis.get_ylabel() or axis.get_xlabel() for axis in figure.axes)
    found = drawn(figure)
    assert all(np.isclose(found, number).any() for number in numbers), found
    plt.close(figure)


def test_the_curves_pass_through_the_usual_setting(results):
    points = result_figures.sweep_points(results, "steps", ("FD",))
    assert list(points) == [2, 5, 10, 20, 40]
    assert points[5] == (1 + PLACE,)


def test_what_is_left_of_the_gap_keeps_the_order_of_methods_and_measures(results):
    table = gap_left(results)
    assert list(table.index) == [name for name, method in METHODS.items() if method.group == "table"]
    assert list(table.columns) == ["Fréchet distance", "told apart, linear"]
    assert table.loc["diffusion", "told apart, linear"] == "0.900\n[0.800, 1.000]"
    verdicts = claims(results)
    assert verdicts.verdict[verdicts.index.str.contains("linear classifier")].item() == "holds"

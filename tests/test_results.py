"""The summary read back: the table, the verdicts, the figures."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")


from v2a_utils.evaluation.results import Results, backbones, claims
from v2a_utils.evaluation.settings import COMPARED, METHODS
from v2a_utils.metrics.sounds import Interval

TRUTHS = ("size → pitch", "count → events", "distance → loudness")
MEASURES = ("FD", "FAD", "KL softmax", "KL sigmoid", "IS", "CS", "accuracy", "recall@10", "diversity",
            "seconds a sound", "trained parameters", *TRUTHS)
PLACE = list(METHODS).index("diffusion")


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


def test_the_gap_is_claimed_by_what_the_linear_classifier_tells_apart(results):
    verdicts = claims(results)
    assert verdicts.verdict[verdicts.index.str.contains("linear classifier")].item() == "holds"

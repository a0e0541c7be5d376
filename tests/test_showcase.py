"""The figures of README and book: they say what the evaluation's summary says, and what the models make."""

import matplotlib

matplotlib.use("Agg")

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import showcase
from conftest import ROOT

from v2a_utils.evaluation.figures import VERDICTS, claims_poster
from v2a_utils.evaluation.results import Results, claims
from v2a_utils.stacks.stack import load_stack


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def texts(figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for ax in figure.axes for text in (*ax.texts, ax.title))


def test_every_claim_stands_in_the_figure_with_its_verdict():
    results = Results.read(ROOT / "data" / "results")
    shown, table = texts(claims_poster(results, "This was found.")), claims(results)
    assert "This was found." in shown
    for claim, verdict in table.verdict.items():
        assert " ".join(claim.split()) in shown
        assert next(word for begins, (*_, word) in VERDICTS.items() if verdict.startswith(begins)) in shown


def test_the_figure_follows_the_summary():
    """Another outcome of the evaluation is another figure: nothing of it is written down in the code."""
    results = Results.read(ROOT / "data" / "results")
    turned = results.differences.assign(value=-results.differences.value, low=-results.differences.high,
                                        high=-results.differences.low)
    one, other = (texts(claims_poster(found, "")) for found in (results, replace(results, differences=turned)))
    assert one != other


def test_the_drawing_says_what_is_frozen_and_what_is_trained():
    shown = texts(showcase.idea())
    assert "mapper (trained)" in shown and shown.count("(trained)") == 1
    assert all(f"{part} (frozen)" in shown for part in ("CLIP", "CLAP", "AudioLDM"))


def test_pictures_stand_over_the_sounds_that_were_made_for_them():
    stack = load_stack("mini")
    figure, sounds = showcase.pictures_with_sounds(stack, seed=0)
    assert [ax.get_title() for ax in figure.axes[: len(sounds)]] == list(sounds)
    for name, wave in sounds.items():
        assert np.abs(wave).max() > 0.01
        assert name in [heard for heard, _ in stack.tagger.top(wave, stack.generator.sample_rate)]

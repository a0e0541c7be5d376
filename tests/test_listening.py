"""The blind listening test: sides, what is kept, and the exact interval."""

import ipywidgets
import numpy as np
import pytest
from conftest import sine
from PIL import Image

from v2a_utils.evaluation import listening_test as listening
from v2a_utils.evaluation.listening_test import BlindTest


@pytest.fixture
def make(tmp_path):
    """A test of 12 pairs in which the second method's sounds are the louder ones."""
    pictures = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(12)]
    sounds = {"old": np.stack([sine(440, amplitude=0.1)[:1600]] * 12),
              "new": np.stack([sine(440, amplitude=0.5)[:1600]] * 12)}

    def build(seed=0):
        return BlindTest(pictures, sounds, 16_000, tmp_path / "answers.csv", seed)

    return build


def louder(test: BlindTest) -> str:
    """What a listener answers who always prefers the louder sound."""
    pair = test.pair()
    return "A" if np.abs(pair.a).max() > np.abs(pair.b).max() else "B"


def test_a_listener_who_prefers_one_method_is_found_out_whatever_the_sides(make):
    test = make()
    for _ in range(12):
        test.answer(louder(test))
    assert test.finished and set(test.answers) == {"A", "B"}
    assert test.result().value == 1 and test.result().low == pytest.approx(0.025 ** (1 / 12))
    assert "new preferred to old in 100.0%" in test.verdict() and test.verdict().endswith("Better: new.")


def test_a_listener_who_always_answers_a_favours_neither(make):
    test = make()
    for _ in range(12):
        test.answer("A")
    assert test.result().value == 0.5 and "neither" in test.verdict()


def test_every_picture_comes_once_and_another_seed_gives_another_order(make):
    test, seen = make(), []
    for _ in range(12):
        seen.append(test.pair().picture.getpixel((0, 0))[0])
        test.answer("no difference")
    assert sorted(seen) == list(range(12))
    assert test.result() is None and "12 without" in test.verdict()
    assert list(make(1).order) != list(test.order)


def test_answers_are_kept_and_a_test_goes_on_where_it_was(make):
    test = make()
    test.answer("B")
    test.answer("A")
    again = make()
    assert again.answers == ["B", "A"] and make(seed=5).answers == []
    louder = {name: 1.1 * made for name, made in again.sounds.items()}
    assert BlindTest(again.pictures, louder, 16_000, again.path, 0).answers == []  # other sounds: another test
    assert BlindTest(again.pictures[::-1], again.sounds, 16_000, again.path, 0).answers == []
    assert np.array_equal(again.pair().a, test.pair().a)


@pytest.mark.parametrize("choice", ["C", ""])
def test_other_answers_are_refused(make, choice):
    with pytest.raises(ValueError, match="no answer"):
        make().answer(choice)


def test_unequal_methods_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two methods"):
        BlindTest([Image.new("RGB", (4, 4))], {"only": np.zeros((1, 9))}, 16_000, tmp_path / "a.csv")


def test_the_panel_takes_clicks_and_shows_no_names_before_the_end(make, monkeypatch):
    shown = []
    monkeypatch.setattr(listening, "display", lambda *things: shown.extend(things))
    monkeypatch.setattr(listening, "LEAST", 0)
    test = make()
    test.panel()
    place, row = shown[0].children
    assert isinstance(place, ipywidgets.HTML)  # one that is executed with content in an Output hangs now and then
    for number in range(12):
        assert f"Pair {number + 1} of 12" in place.value and place.value.count("<audio") == 2
        assert "old" not in place.value and "new" not in place.value
        row.children[0].click()
    assert test.finished and "preferred" in place.value
    assert all(button.disabled for button in row.children)
    row.children[0].click()
    assert len(test.answers) == 12


def test_a_double_click_answers_one_pair(make, monkeypatch):
    shown, now = [], [100.0]
    monkeypatch.setattr(listening, "display", lambda *things: shown.extend(things))
    monkeypatch.setattr(listening.time, "monotonic", lambda: now[0])
    test = make()
    test.panel()
    button = shown[0].children[1].children[0]
    now[0] += listening.LEAST
    button.click()
    button.click()
    assert len(test.answers) == 1
    now[0] += listening.LEAST
    button.click()
    assert len(test.answers) == 2

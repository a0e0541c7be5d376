"""The panel over the projection (notebook 02) and the blind test (05) in JupyterLab."""

import csv

import pytest

from browser.lab import cut_off, faint, play

PROJECTION = ["c01", "c02", "c03", "c23", "c28"]
BLIND = ["c01", "c02", "c03", "c04", "c29"]  # what the panel needs, and the panel
LOOKS = [(700, "Light"), (1400, "Dark")]


def output_with(lab, **control):
    """The output that holds a control."""
    return lab.page.locator(".jp-OutputArea-child", has=lab.page.get_by_role(**control))


def looks_well(lab, place, name: str) -> None:
    """Narrow and light, wide and dark: nothing is cut off and every word can be read."""
    for width, theme in LOOKS:
        lab.theme(theme)
        lab.widen(width)
        lab.look(f"{name}-{width}-{theme.lower()}", place)
        assert cut_off(place) == [] and faint(place) == []


@pytest.fixture(scope="module")
def projection(lab):
    lab.open("02", PROJECTION, "PAIRS, TESTS, DRAWN = 120, 120, 40")
    lab.run_all()
    return lab.page.locator(".jp-OutputArea-child", has=lab.page.get_by_label("colour by"))


def test_the_projection_answers_for_every_scene_and_colour(lab, projection):
    titles, pictures = projection.locator("b"), projection.locator("img")
    seen = set()
    for scene in (1, 7, 999):  # the last one is past the end: the field takes the last scene there is
        projection.get_by_label("scene").fill(str(scene))
        projection.get_by_label("scene").press("Tab")
        lab.page.wait_for_timeout(1000)
        lab.idle()
        titles.nth(3).wait_for()
        assert titles.count() == 4 and "nearest" in titles.nth(1).inner_text()
        seen.add(pictures.nth(1).get_attribute("src"))
    assert len(seen) == 3 and projection.get_by_label("scene").input_value() == "39"
    figures = set()
    for colour in ("class", "size", "tempo", "modality"):
        projection.get_by_label("colour by").select_option(colour)
        lab.page.wait_for_timeout(1000)
        lab.idle()
        titles.nth(3).wait_for()
        figures.add(pictures.first.get_attribute("src"))
    assert len(figures) == 4
    play(projection.locator("audio").first)
    looks_well(lab, projection, "projection")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return tmp_path_factory.mktemp("listening") / "listening.csv"


def blind_test(lab, answers):
    """Notebook 05 up to its blind test of two pairs, whose answers go to a file of this test."""
    lab.open("05", BLIND, "BLIND = 2",
             {'SUMMARY.parents[1] / "results" / "listening.csv"': f'SUMMARY.__class__({str(answers)!r})'})
    lab.run_all()
    return output_with(lab, role="button", name="no difference")


def test_the_blind_test_asks_every_pair_once_keeps_answers_and_says_who_won(lab, answers):
    place = blind_test(lab, answers)
    assert place.get_by_text("Pair 1 of 2").is_visible() and place.locator("audio").count() == 2
    names = place.inner_text()
    assert "regression" not in names and "diffusion" not in names  # blind
    play(place.locator("audio").first)
    play(place.locator("audio").last)
    looks_well(lab, place, "blind")
    place.get_by_role("button", name="A", exact=True).dblclick()
    place.get_by_text("Pair 2 of 2").wait_for()
    play(place.locator("audio").first)
    place.get_by_role("button", name="no difference").click()
    place.get_by_text("preferred to").wait_for()
    with open(answers, newline="") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == ["A", "no difference"]
    lab.look("blind-verdict", place)
    assert lab.errors() == []

"""The panels: what they show at once, and what their controls change."""

import ipywidgets
import numpy as np
import pytest

from v2a_utils import widgets
from v2a_utils.soundworld import make_scene


@pytest.fixture
def shown(monkeypatch):
    """Everything that is displayed, in order."""
    things = []
    monkeypatch.setattr(widgets, "display", things.append)
    return things


def test_the_panel_over_a_projection_answers_at_once_and_again_for_another_scene(shown, monkeypatch):
    scenes = [make_scene("test", index) for index in range(5)]
    sounds = np.eye(5, dtype=np.float32)
    mapped = np.roll(sounds, 1, axis=0)  # scene k lands on the sound of scene k - 1
    planes = {name: np.random.default_rng(0).normal(size=(5, 2)) for name in ("pictures", "sounds", "mapped")}
    asked = []
    real = widgets.cards
    monkeypatch.setattr(widgets, "cards", lambda pictures, waves, rate, titles: asked.append(titles) or
                        real(pictures, waves, rate, titles))
    widgets.explore_panel(scenes, sounds, mapped, planes)
    assert asked[0][1] == f"nearest: {' and '.join(scenes[4].labels)}"
    number, colouring = shown[0].children[0].children
    number.value = 3
    assert asked[1][1] == f"nearest: {' and '.join(scenes[2].labels)}"
    for choice in colouring.options:
        colouring.value = choice
    assert len(asked) >= 2 + len(colouring.options) - 1
    assert isinstance(shown[0].children[1], ipywidgets.Output)

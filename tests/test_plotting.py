"""What the figures share: saving them."""

import matplotlib

matplotlib.use("Agg")

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from v2a_utils.plotting import AUDIO, MAPPED, MARKERS, NEUTRAL, VISION, save_figure

SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                        [0.0193339, 0.1191920, 0.9503041]])
WHITE = SRGB_TO_XYZ.sum(1)
EYES = {  # linear sRGB as it is seen without one kind of cone: Machado, Oliveira and Fernandes 2009, severity 1
    "all cones": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}


def seen(colour: str, eye: np.ndarray) -> np.ndarray:
    """CIE Lab (3,) of a colour as an eye sees it; a distance of 2 is just noticed side by side."""
    value = np.array(to_rgb(colour))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(SRGB_TO_XYZ @ np.clip(eye @ linear, 1e-3, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
def test_colour_blind_readers_tell_vision_audio_and_mapped_apart(eye):
    for one, other in combinations((VISION, AUDIO, MAPPED), 2):
        assert np.linalg.norm(seen(one, EYES[eye]) - seen(other, EYES[eye])) > 15


def test_every_colour_has_a_sign_of_its_own_for_readers_without_colours():
    assert len({MARKERS[colour] for colour in (VISION, AUDIO, MAPPED, NEUTRAL)}) == 4


def test_a_figure_is_saved_as_vectors_where_a_folder_is_named_and_nowhere_else(tmp_path, monkeypatch):
    figure = plt.figure()
    figure.text(0.5, 0.5, "cosine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("V2A_FIGURES", raising=False)
    save_figure(figure, "one")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("V2A_FIGURES", str(tmp_path / "new"))
    save_figure(figure, "one")
    plt.close(figure)
    assert ">cosine</text>" in (tmp_path / "new" / "one.svg").read_text()

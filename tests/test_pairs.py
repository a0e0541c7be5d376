"""The curve of what a pair is worth: what is trained on what, nothing twice, and where the curves cross."""

from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
from benchmarks import pairs
from benchmarks.pairs import crossing, curve, measures, ridge, training
from conftest import unit_rows
from soundworld import CLASSES, make_scene

VISUAL, AUDIO = unit_rows(200, 6), unit_rows(200, 5, 1)
TURN = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0][:, :5].astype(np.float32)


def true_map(rows: np.ndarray) -> np.ndarray:
    found = rows @ TURN
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def off(rows: np.ndarray) -> np.ndarray:
    """A bridge that is near the truth and always wrong in the same way."""
    found = true_map(rows) + np.array([0.5, 0, 0, 0, 0], np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_beginning_from_the_bridge_helps_with_few_pairs_and_its_error_is_learned_from_many():
    def nearness(number: int, **start) -> float:
        seen = VISUAL[:number]
        found = ridge(seen, true_map(seen), off, training("ridge", number, 0), **start)(VISUAL[100:])
        return float((found * true_map(VISUAL[100:])).sum(1).mean())

    alone = float((off(VISUAL[100:]) * true_map(VISUAL[100:])).sum(1).mean())
    assert nearness(8, start=True) > nearness(8) + 0.1
    assert nearness(100, start=True) > alone + 0.05


def test_the_crossing_lies_between_two_sizes_on_the_logarithmic_scale():
    rows = [("bridge", 0, 0, 0.8)] + [("a", number, seed, value + 0.01 * seed) for number, value in
                                      ((10, 0.69), (1000, 0.89)) for seed in (0, 1, 2)]
    rows += [("b", 10, 0, 0.9), ("c", 10, 0, 0.1)]
    table = pd.DataFrame(rows, columns=["way", "pairs", "seed", "value"]).assign(measure="cosine")
    assert crossing(table, "a", "cosine") == pytest.approx(100)  # half the way from 0.7 to 0.9, by means over seeds
    assert crossing(table, "b", "cosine") == 10 and crossing(table, "c", "cosine") == float("inf")


def test_nothing_is_trained_twice_and_every_seed_has_pairs_of_its_own(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(pairs, "KEPT", tmp_path)
    monkeypatch.setattr(pairs, "WAYS", {"way": lambda visual, audio, bridge, config: seen.append((visual, audio)) or off})
    options = Namespace(seeds=2, pairs=(5, 20), ways=["way"], held_out=9)
    table = curve(VISUAL, AUDIO, true_map, lambda mapper: {"cosine": float(mapper(VISUAL[:3]).sum())}, options)
    assert [len(visual) for visual, _ in seen] == [5, 20, 5, 20] and len(table) == 1 + 4
    places = [[int(np.flatnonzero((row == VISUAL).all(1))[0]) for row in visual] for visual, _ in seen]
    assert all(np.array_equal(AUDIO[own], audio) for own, (_, audio) in zip(places, seen))
    assert set(places[0]) != set(places[2]) and len(set(places[1])) == 20
    again = curve(VISUAL, AUDIO, true_map, lambda mapper: {"cosine": float(mapper(VISUAL[:3]).sum())}, options)
    assert again.equals(table) and len(seen) == 4


def test_a_map_to_the_truth_is_perfect_and_named_by_claps_words():
    scenes, names = [make_scene("test", index) for index in range(12)], unit_rows(len(CLASSES), 8, 3)
    audio = np.stack([names[CLASSES.index(scene.label)] for scene in scenes]) + 0.01 * unit_rows(12, 8, 4)
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    found = measures(unit_rows(12, 6), audio, scenes, names, lambda visual: audio)
    assert found["cosine"] == pytest.approx(1, abs=1e-5) and found["recall@10"] == found["class by CLAP"] == 1
    assert found["Fréchet distance"] == pytest.approx(0, abs=1e-6)

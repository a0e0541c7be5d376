"""The ablations: what a run changes, what it measures, and that nothing is trained twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks import ablations
from benchmarks.ablations import RUNS, Data, Run, ablate, measure
from conftest import unit_rows

from v2a_utils.mappers.recipes import RECIPES, Recipe, build
from v2a_utils.mappers.training import TrainConfig

QUICK = TrainConfig(30, 32, 3e-3, warmup=5)
DATA = Data(unit_rows(64, 10), unit_rows(64, 8), unit_rows(20, 10), unit_rows(20, 8),
            unit_rows(20, 8).reshape(4, 5, 8))


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_run_names_sizes_attributes_and_settings_that_its_mapper_has():
    for run in RUNS:
        mapper = build(Recipe(run.kind, RECIPES["mini"][run.kind].sizes | run.sizes, QUICK), 10, 8)
        assert all(hasattr(mapper, name) for name in run.attributes)
        for settings in run.settings.values():
            assert mapper.map(DATA.held_visual[:2], **settings).shape == (2, 8)
    assert len({(run.group, run.name) for run in RUNS}) == len(RUNS)


def test_a_run_changes_what_it_names(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(ablations, "train_mapper", lambda mapper, visual, audio, config: seen.append(
        (mapper, len(visual), len(audio), config)))
    measure(Run("", "", sizes={"depth": 1, "width": 32}, train={"steps": 7}, pairs=40, attributes={"dropout": 0.5}),
            DATA, QUICK, tmp_path)
    (mapper, visual, audio, config), = seen
    assert (mapper.config["depth"], mapper.dropout, visual, audio, config.steps) == (1, 0.5, 40, 40, 7)
    assert config.batch_size == QUICK.batch_size


def test_what_was_measured_is_not_trained_again_unless_something_changed(monkeypatch, tmp_path):
    run, trained = Run("", "", "regression"), []
    real = ablations.train_mapper
    monkeypatch.setattr(ablations, "train_mapper", lambda *given: (trained.append(given), real(*given)))
    assert measure(run, DATA, QUICK, tmp_path) == measure(run, DATA, QUICK, tmp_path) and len(trained) == 1
    measure(run, DATA, TrainConfig(30, 32, 3e-3, warmup=5, seed=1), tmp_path)
    measure(Run("", "", "regression", pairs=50), DATA, QUICK, tmp_path)
    assert len(trained) == 3


def test_a_mapper_that_says_the_true_sound_is_perfect_and_a_single_answer_has_no_spread(monkeypatch, tmp_path):
    class Oracle:
        def map(self, visual, seed=0):
            return DATA.held_audio if seed == 0 else np.repeat(DATA.held_audio[:4], 5, 0)

    monkeypatch.setattr(ablations, "build", lambda *given: Oracle())
    monkeypatch.setattr(ablations, "train_mapper", lambda *given: None)
    (row,) = measure(Run("", "", "regression"), DATA, QUICK, tmp_path)
    assert row["cosine"] == pytest.approx(1) and row["recall@10"] == 1
    assert row["Fréchet distance"] == pytest.approx(0, abs=1e-6) and row["spread"] == pytest.approx(0, abs=1e-6)


def test_the_table_has_a_row_for_every_setting_with_its_interval_over_seeds(tmp_path, one_thread):
    runs = (Run("mapper", "regression", "regression"), Run("mapper", "diffusion", sizes={"width": 32, "depth": 1},
            settings={"one": {"steps": 2}, "four": {"steps": 2, "draws": 4}}))
    table = ablate(runs, DATA, range(3), QUICK, tmp_path / "kept")
    assert list(table.name) == ["regression", "diffusion, one", "diffusion, four"] and set(table.seeds) == {3}
    assert len(list((tmp_path / "kept").iterdir())) == 6
    each = [measure(runs[0], DATA, replace(QUICK, seed=seed), tmp_path / "anew")[0]["cosine"] for seed in range(3)]
    assert table.cosine[0] == pytest.approx(np.mean(each))
    assert table["cosine ±"][0] == pytest.approx(4.3027 * np.std(each, ddof=1) / 3**0.5, rel=1e-3)
    assert table.spread[0] == pytest.approx(0, abs=1e-6) and table.spread[2] < table.spread[1]

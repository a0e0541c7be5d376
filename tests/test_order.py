"""The benchmark of the order of mappers: a row a training, on the world that it was trained on."""

import numpy as np
import pytest
from benchmarks import order
from benchmarks.ablations import Data
from conftest import unit_rows


@pytest.fixture
def data():
    return Data(unit_rows(64, 10), unit_rows(64, 8), unit_rows(20, 10), unit_rows(20, 8), unit_rows(20, 8).reshape(4, 5, 8))


def test_every_mapper_is_trained_with_every_seed_and_judged_on_its_world(data, tmp_path):
    rows = order.order(data, 3, range(2), 2, tmp_path)
    assert {(row["mapper"], row["seed"]) for row in rows} == {(run.name, seed) for run in order.RUNS for seed in range(2)}
    assert all(row["world"] == 3 and row["n"] == 20 and row["pairs"] == 64 for row in rows)
    first, second = (row["cosine"] for row in rows if row["mapper"] == "diffusion")
    assert first != second and np.isfinite([first, second]).all()

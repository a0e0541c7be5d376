"""Training a mapper from a table of pairs: the reader, the recipes, the command, a kill in between, two processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import ROOT, assert_one_sentence, unit_rows
from pyarrow import parquet

from v2a_utils.__main__ import main
from v2a_utils.data.pairs import read_pairs
from v2a_utils.mappers import training
from v2a_utils.mappers.model import MAPPERS, Prior
from v2a_utils.mappers.own import train_on_pairs
from v2a_utils.mappers.recipes import RECIPES, build, read_recipe, recipe_for
from v2a_utils.mappers.registry import load_mapper
from v2a_utils.mappers.training import TrainConfig

SIZES = {"width": 32, "depth": 1, "heads": 2, "head_dim": 16}
TRAIN = {"steps": 40, "batch_size": 32, "learning_rate": 4e-3, "warmup": 5, "ema": 0.9}


def write_store(path, visual, audio, splits):
    columns = {name: pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
               for name, rows in (("visual", visual), ("audio", audio))}
    parquet.write_table(pa.table(columns | {"id": [f"{row:04d}" for row in range(len(splits))], "split": splits}),
                        path, row_group_size=50)
    return path


@pytest.fixture
def store(tmp_path):
    """300 pairs, every third of the split val; the sound is the picture turned and cut."""
    visual = unit_rows(300, 10, 0)
    audio = visual @ np.linalg.qr(np.random.default_rng(5).standard_normal((10, 10)))[0][:, :8].astype(np.float32)
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    return write_store(tmp_path / "pairs.parquet", visual, audio, ["train", "train", "val"] * 100)


def quick(kind: str, **changes):
    """A recipe that takes a second."""
    sizes = {} if kind == "regression" else SIZES
    return replace(recipe_for("mini", kind), sizes=sizes, train=TrainConfig(**(TRAIN | changes)))


# ------------------------------------------------------------------------------------------------------------ reading


def test_pairs_come_back_by_split_and_in_order(store):
    pairs = read_pairs(store)
    visual, audio = pairs.val
    assert pairs.train[0].shape == (200, 10) and pairs.notes == ["splits: train 200, val 100 (as the table has them)"]
    assert visual.shape == (100, 10) and audio.shape == (100, 8) and visual.dtype == audio.dtype == np.float32
    assert np.array_equal(visual, unit_rows(300, 10, 0)[2::3])


def test_a_table_that_cannot_be_used_is_named(tmp_path, store):
    (tmp_path / "text.parquet").write_text("no table")
    parquet.write_table(pa.table({"split": ["train"], "visual": [1.0]}), tmp_path / "columns.parquet")
    for name in ("missing", "text", "columns"):
        with pytest.raises(ValueError) as caught:
            read_pairs(tmp_path / f"{name}.parquet")
        assert_one_sentence(str(caught.value), tmp_path / f"{name}.parquet")


@pytest.mark.parametrize("splits, counts", [
    (["train"] * 60, {"train", "val"}), (["test"] * 60, {"train", "val"}), ([None] * 60, {"train", "val", "test"}),
    (["train"] * 40 + ["test"] * 20, {"train", "val", "test"}), (["train"] * 2, {"train", "val"}),
])
def test_where_there_is_no_val_it_is_taken_by_the_ids(tmp_path, splits, counts):
    path = write_store(tmp_path / "t.parquet", unit_rows(len(splits), 10), unit_rows(len(splits), 8), splits)
    pairs = read_pairs(path)
    assert len(pairs.train[0]) and len(pairs.val[0]) and "hash" in pairs.notes[0]
    assert {part for part in ("train", "val", "test") if f"{part} " in pairs.notes[0].split("(")[0]} == counts
    longer = splits + splits[-1:] * 30
    path = write_store(tmp_path / "l.parquet", unit_rows(len(longer), 10), unit_rows(len(longer), 8), longer)
    kept = {row.tobytes() for row in read_pairs(path).train[0]}
    if len(splits) > 2:  # whatever else comes in, an id stays where it was
        before = unit_rows(len(longer), 10)[: len(splits)]
        own = write_store(tmp_path / "o.parquet", before, unit_rows(len(splits), 8), splits)
        assert {row.tobytes() for row in read_pairs(own).train[0]} <= kept


@pytest.mark.parametrize("splits, said", [(["val", "test"] * 5, "no rows of the split train"),
                                          (["train"], "two clips")])
def test_a_table_that_leaves_nothing_to_learn_from_is_named(tmp_path, splits, said):
    path = write_store(tmp_path / "t.parquet", unit_rows(len(splits), 10), unit_rows(len(splits), 8), splits)
    with pytest.raises(ValueError, match=said) as caught:
        read_pairs(path)
    assert_one_sentence(str(caught.value), path)


@pytest.mark.parametrize("bad", [3.0, np.nan, 0.0])
def test_embeddings_that_are_not_of_unit_norm_are_refused_by_row(tmp_path, bad):
    audio = unit_rows(4, 8, 1)
    audio[2] *= bad
    path = write_store(tmp_path / "bad.parquet", unit_rows(4, 10, 0), audio, ["train"] * 3 + ["val"])
    with pytest.raises(ValueError, match="audio in row 2"):
        read_pairs(path)


# ------------------------------------------------------------------------------------------------------------ recipes


def test_every_stack_has_a_recipe_for_every_mapper():
    for recipes in RECIPES.values():
        assert {kind: recipes[kind].mapper for kind in MAPPERS} == {kind: kind for kind in MAPPERS}
        assert all(recipe.mapper in MAPPERS for recipe in recipes.values())  # some are of another size
    with torch.device("meta"):
        size = {name: sum(p.numel() for p in Prior(512, 512, **RECIPES[name]["diffusion"].sizes).parameters())
                for name in RECIPES}
    assert size["paper"] == 48_832_896 - 78 * 512  # lean: without the null tokens
    assert 0.8e6 < sum(p.numel() for p in build(recipe_for("mini", "flow"), 64, 64).parameters()) < 0.9e6


def test_a_config_file_changes_what_it_names(tmp_path):
    (tmp_path / "c.json").write_text('{"sizes": {"depth": 2}, "train": {"steps": 7, "betas": [0.8, 0.9]}}')
    base = recipe_for("mini", "flow")
    read = read_recipe(tmp_path / "c.json", base)
    assert read.sizes == base.sizes | {"depth": 2}
    assert read.train == replace(base.train, steps=7, betas=(0.8, 0.9))


@pytest.mark.parametrize("text, said", [
    ("{", "not a JSON file"), ("[]", "not a JSON file"), ('{"train": 3}', "not a JSON file"),
    ('{"mapper": "flow"}', "for the flow mapper"),
    ('{"train": {"lr": 1}}', "unknown lr"), ('{"epochs": 3}', "unknown epochs"),
])
def test_a_config_file_that_says_nothing_useful_is_named(tmp_path, text, said):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_recipe(tmp_path / "c.json", recipe_for("mini", "regression"))
    assert_one_sentence(str(caught.value), tmp_path / "c.json")


def test_unknown_names_and_sizes_are_named():
    with pytest.raises(ValueError, match="stack large"):
        recipe_for("large", "flow")
    with pytest.raises(ValueError, match="layers"):
        build(replace(quick("flow"), sizes={"layers": 3}), 4, 4)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("kind", MAPPERS)
def test_the_command_trains_judges_and_saves(tmp_path, store, kind, capsys):
    sizes = {} if kind == "regression" else SIZES
    (tmp_path / "c.json").write_text(json.dumps({"sizes": sizes, "train": TRAIN}))
    arguments = ["train", str(store), "--mapper", kind, "--config", str(tmp_path / "c.json"), "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    mapper = load_mapper(tmp_path / "out")
    assert mapper.kind == kind and mapper.map(unit_rows(3, 10, 4)).shape == (3, 8)
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["mapper"] == kind and recipe["train"]["learning_rate"] == TRAIN["learning_rate"]
    again = read_recipe(tmp_path / "out" / "recipe.json", recipe_for("mini", kind))
    assert again.train == replace(TrainConfig(**TRAIN), patience=recipe["train"]["patience"])
    history = json.loads((tmp_path / "out" / "validation.json").read_text())["history"]
    assert len(history) == training.CALLBACKS and history[-1]["step"] == TRAIN["steps"]
    assert history[-1]["cosine"] > 0.1 + history[0]["cosine"]


class Killed(KeyboardInterrupt):
    """The process ends here."""


@pytest.mark.parametrize("kind", MAPPERS)
def test_a_killed_training_goes_on_along_the_same_curve(tmp_path, store, kind, monkeypatch):
    whole, resumed, recipe = [], [], quick(kind, steps=20)
    pairs = read_pairs(store)
    train_on_pairs(pairs, recipe, tmp_path / "whole", callback=lambda mapper, losses: whole.append(list(losses)))

    def kill(mapper, losses):
        if len(losses) == 13:
            raise Killed

    monkeypatch.setattr(training.time, "monotonic", iter(range(0, 10**9, 100)).__next__)  # saved after every step
    with pytest.raises(Killed):
        train_on_pairs(read_pairs(store), recipe, tmp_path / "killed", callback=kill)
    train_on_pairs(pairs, recipe, tmp_path / "killed", callback=lambda mapper, losses: resumed.append(list(losses)))
    assert resumed[0][:12] == whole[-1][:12] and len(resumed) < 10
    assert resumed[-1] == whole[-1]
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_numbers_that_explode_stop_the_command_in_one_sentence(tmp_path, store, capsys, monkeypatch):
    monkeypatch.setattr(MAPPERS["flow"], "loss", lambda mapper, visual, audio, generator: visual.sum() * torch.nan)
    assert main(["train", str(store), "--mapper", "flow", "--out", str(tmp_path / "out")]) == 2
    assert "the loss is nan at step 0" in capsys.readouterr().err


def test_a_missing_table_is_said_in_one_sentence(tmp_path, capsys):
    assert main(["train", str(tmp_path / "none.parquet"), "--mapper", "flow"]) == 2
    assert_one_sentence(capsys.readouterr().err, tmp_path / "none.parquet")


@pytest.mark.slow
def test_two_processes_train_one_mapper(tmp_path, store):
    """Each takes half of every batch, and one of them writes."""
    (tmp_path / "c.json").write_text(json.dumps({"sizes": SIZES, "train": TRAIN}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "v2a_utils", "train", str(store), "--mapper", "flow", "--config",
               str(tmp_path / "c.json"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert len(state["losses"]) == TRAIN["steps"]
    train_on_pairs(read_pairs(store), quick("flow"), tmp_path / "alone")
    losses = torch.load(tmp_path / "alone" / "checkpoint.pt", weights_only=True)["losses"]
    assert state["losses"] != losses and np.isclose(np.mean(state["losses"][-10:]), np.mean(losses[-10:]), rtol=0.15)
    assert load_mapper(tmp_path / "out").kind == "flow"

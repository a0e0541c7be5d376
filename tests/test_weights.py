"""Weights on disk: their sums, their format, their size, and what is said when they are damaged."""

import hashlib
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, assert_one_sentence, offline_environment
from torch import nn

from v2a_utils.data import files
from v2a_utils.data.files import check_sums, whole_file, write_json, write_sums
from v2a_utils.models.weights import load_weights, save_weights
from v2a_utils.stacks.places import StackConfig
from v2a_utils.stacks.stack import Stack

MINI = ROOT / "data" / "mini"


@pytest.fixture
def folder(tmp_path):
    """A folder of weights and a config with its sums."""
    save_weights(nn.Linear(3, 2), tmp_path / "part" / "model.safetensors")
    write_json(tmp_path / "part" / "config.json", {"size": 3})
    write_sums(tmp_path)
    return tmp_path


def test_sums_of_untouched_files_pass_and_are_those_of_sha256sum(folder):
    check_sums(folder)
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", ["part/model.safetensors", "part/config.json"])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_one_flipped_bit_is_found_and_the_file_named(folder, name, place):
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        check_sums(folder)
    assert_one_sentence(str(caught.value), folder / name)


def test_a_missing_file_is_found_and_named(folder):
    (folder / "part" / "model.safetensors").unlink()
    with pytest.raises(ValueError) as caught:
        check_sums(folder)
    assert_one_sentence(str(caught.value), folder / "part" / "model.safetensors")


def test_missing_sums_are_named(folder):
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(ValueError) as caught:
        check_sums(folder)
    assert_one_sentence(str(caught.value), folder / "SHA256SUMS")


def test_a_stack_with_damaged_weights_is_not_built(folder):
    (folder / "part" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="config.json"):
        Stack(StackConfig("mini", "x", folder, folder, folder, folder, True), "cpu")


def test_weights_come_back_in_single_precision(tmp_path):
    torch.manual_seed(0)
    first, second = nn.Linear(5, 4), nn.Linear(5, 4)
    save_weights(first, tmp_path / "new" / "w.safetensors")
    load_weights(second, tmp_path / "new" / "w.safetensors")
    assert second.weight.dtype == torch.float32 and torch.equal(second.weight, first.weight.half().float())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("name", ["missing.safetensors", "misfit.safetensors", "text.safetensors", "zero.safetensors",
                                  "cut.safetensors"])
def test_weights_that_cannot_be_loaded_are_named(tmp_path, name):
    save_weights(nn.Linear(9, 9), tmp_path / "misfit.safetensors")
    (tmp_path / "text.safetensors").write_text("these are no weights")
    (tmp_path / "zero.safetensors").touch()
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "misfit.safetensors").read_bytes()[:-20])
    with pytest.raises(ValueError, match=name):
        load_weights(nn.Linear(3, 2), tmp_path / name)


# --------------------------------------------------------------------------------------------- the embedded weights


def test_embedded_weights_have_their_sums():
    check_sums(MINI)
    check_sums(ROOT / "data" / "pretraining" / "next")


def test_every_embedded_weight_is_listed():
    listed = {line.split("  ", 1)[1] for line in (MINI / "SHA256SUMS").read_text().splitlines()}
    present = {path.relative_to(MINI).as_posix() for path in MINI.rglob("*")
               if path.suffix in (".safetensors", ".json", ".gz", ".parquet", ".csv")}
    assert listed == present


def test_no_pickled_weights_are_in_data():
    pickles = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib"}
    assert not [path for path in (ROOT / "data").rglob("*") if path.suffix in pickles]


def test_embedded_weights_fit_into_40_megabytes():
    assert sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file()) <= 40_000_000


def test_a_file_is_whole_or_as_it_was_before(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with whole_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.suffix == path.suffix  # writers choose their format by it
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_collide(tmp_path):
    path = tmp_path / "table.csv"
    with whole_file(path) as first:
        first.write_text("first")
        with whole_file(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and [one.name for one in tmp_path.iterdir()] == ["table.csv"]


def test_content_is_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: synced.append((tmp_path / "a.json").exists()))
    write_json(tmp_path / "a.json", {})
    assert synced == [False]


def test_what_a_killed_process_left_half_written_is_removed_and_a_living_ones_is_not(tmp_path):
    kill = "import os; os.kill(os.getpid(), 9)"
    code = f"from v2a_utils.data.files import whole_file\nwith whole_file('a.wav') as part: part.touch(); {kill}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=offline_environment())
    left, = tmp_path.iterdir()
    with whole_file(tmp_path / "folder" / "b.wav") as mine:
        mine.touch()
        left = left.rename(mine.parent / left.name)
        files._remove_leftovers.cache_clear()
        write_json(tmp_path / "folder" / "c.json", {})
        assert mine.exists() and not left.exists()


def test_a_name_of_any_length_is_written(tmp_path):
    write_json(tmp_path / ("ü" * 125 + ".json"), {})
    assert len(list(tmp_path.iterdir())) == 1

"""One's own clips, one's own mapper: splits, embed, train and sound by commands alone, and a folder that is whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import PartialState
from conftest import assert_one_sentence, halves, sine, unit_rows
from PIL import Image

from v2a_utils.__main__ import main
from v2a_utils.data.pairs import read_pairs
from v2a_utils.data.sources import FileSource, Listing, with_splits
from v2a_utils.data.splits import part_of
from v2a_utils.data.store import Store
from v2a_utils.mappers.model import RegressionMapper
from v2a_utils.mappers.own import how_sure, measure, train_on_pairs
from v2a_utils.mappers.recipes import FEW_PAIRS, PAIRS, RECIPES, recipe_for
from v2a_utils.mappers.registry import has_mapper, load_mapper, mapper_familiarity, save_mapper, trained_mapper
from v2a_utils.mappers.training import TrainConfig, Validation, fit
from v2a_utils.models.clip import Familiarity
from v2a_utils.models.weights import load_weights
from v2a_utils.stacks import extraction
from v2a_utils.stacks.stack import load_stack

CLIPS = 24
WHOLE = {"config.json", "model.safetensors", "recipe.json", "validation.json", "familiarity.safetensors", "README.md",
         "checkpoint.pt", "learned.txt"}


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(extraction, "DECODERS", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of pairs: the bluer the picture, the higher the tone."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        halves((255 - 10 * number, 0, 0), (0, 0, 10 * number)).save(folder / f"clip {number}.png")
        soundfile.write(folder / f"clip {number}.wav", sine(200 + 100 * number), 16_000)
    return folder


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory) -> Path:
    """What `embed` makes of the folder."""
    path = tmp_path_factory.mktemp("embedded") / "store"
    assert main(["embed", str(folder), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> list[str]:
    """Options of a training that takes a second."""
    path = tmp_path_factory.mktemp("config") / "quick.json"
    path.write_text(json.dumps({"train": {"steps": 40, "batch_size": 16}}))
    return ["--mapper", "regression", "--config", str(path)]


def picture_of(folder: Path, stack) -> np.ndarray:
    return stack.vision.embed_images([Image.open(folder / "clip 3.png").convert("RGB")])


# ------------------------------------------------------------------------------------------------------------ splits


def test_a_split_depends_on_the_id_alone_and_keeps_its_shares():
    ids = [f"clip {number}" for number in range(3000)]
    parts = np.array([part_of(name) for name in ids])
    assert [round(float((parts == part).mean()), 1) for part in ("train", "val", "test")] == [0.8, 0.1, 0.1]
    assert [part_of(name) for name in reversed(ids)] == list(parts[::-1])
    assert {part_of(name, (1, 0, 0)) for name in ids} == {"train"}
    assert {part_of(name, (9, 1, 0)) for name in ids} == {"train", "val"}


def test_clips_of_one_video_are_in_one_part():
    videos = [f"{number:011d}" for number in range(40)]
    starts = (0, 500, 9000)
    assert all(len({part_of(f"{place}/{video}_{start}_{start + 10}") for start in starts for place in "ab"}) == 1
               for video in videos)
    assert len({part_of(f"{video}_0_1") for video in videos}) > 1


def listed(**splits) -> Listing:
    names = [(f"{split}{number}", split) for split, count in splits.items() for number in range(count)]
    return Listing("set", [FileSource(name, None, None if split == "none" else split, "", "") for name, split in names],
                   [])


def test_data_without_splits_get_them_and_others_keep_theirs():
    whole = with_splits(listed(none=400))
    assert {source.split for source in whole.sources} == {"train", "val", "test"}
    assert all(source.split == part_of(source.id) for source in whole.sources)
    assert "split by a hash of the ids in shares of train 80, val 10, test 10" in whole.summary()
    even = with_splits(listed(none=400), (1, 1, 0))
    assert {source.split for source in even.sources} == {"train", "val"} and "train 1, val 1" in even.summary()
    vggsound = with_splits(listed(train=400, test=50))
    assert {source.split for source in vggsound.sources[:400]} == {"train", "val"}
    assert {source.split for source in vggsound.sources[400:]} == {"test"}
    world = listed(test=5)
    assert with_splits(world) == world
    with pytest.raises(ValueError, match="splits of its own"):
        with_splits(world, (80, 10, 10))


@pytest.mark.parametrize("shares", [["0", "1", "1"], ["1", "-1", "0"], ["nan", "1", "1"]])
def test_shares_that_leave_nothing_to_train_on_are_refused(folder, tmp_path, capsys, shares):
    assert main(["embed", str(folder), "--out", str(tmp_path / "store"), "--splits", *shares]) == 2
    error = capsys.readouterr().err
    assert "such as 80 10 10" in error and error.count("\n") == 1 and not (tmp_path / "store").exists()


def test_a_store_split_otherwise_is_not_gone_on_with(folder, store, capsys):
    arguments = ["embed", str(folder), "--out", str(store), "--resume"]
    assert main([*arguments, "--splits", "50", "50", "0"]) == 2
    assert "made with splits train 80, val 10, test 10" in capsys.readouterr().err
    assert main(arguments) == 0


# -------------------------------------------------------------------------------------- embed, train, sound by commands


def test_own_clips_become_a_mapper_and_a_sound_in_three_commands(folder, store, quick, tmp_path, capsys, stack):
    assert set(Store(store).numpy("split")) == {"train", "val", "test"}
    assert main(["train", str(store), *quick, "--out", str(tmp_path / "mine")]) == 0
    said = capsys.readouterr().out
    assert "by a hash of the ids" in said or "as the table has them" in said
    assert "knows drawings of 20 things only" in said and "--stack paper" in said and "bridge over words" not in said
    assert "95% intervals" in said and "one constant answer" in said
    assert {path.name for path in (tmp_path / "mine").iterdir()} == WHOLE
    assert main(["sound", str(folder / "clip 3.png"), "--mapper", str(tmp_path / "mine"), "--steps", "2",
                 "--candidates", "1", "--out", str(tmp_path / "sounds")]) == 0
    assert soundfile.info(tmp_path / "sounds" / "clip 3.wav").frames == 40_960


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_store_of_one_split_of_soundworld_can_be_trained_on(tmp_path, quick, capsys, split):
    assert main(["embed", f"soundworld:{split}", "--limit", "12", "--out", str(tmp_path / "store")]) == 0
    assert main(["train", str(tmp_path / "store"), *quick, "--out", str(tmp_path / "mine")]) == 0
    assert "by a hash of the ids" in capsys.readouterr().out
    assert json.loads((tmp_path / "mine" / "validation.json").read_text())["pairs"] >= 1


def test_a_store_of_all_frames_is_trained_on_by_their_mean(folder, store, tmp_path, quick, capsys):
    assert main(["embed", str(folder), "--out", str(tmp_path / "frames"), "--aggregate", "none"]) == 0
    assert main(["train", str(tmp_path / "frames"), *quick, "--out", str(tmp_path / "mine")]) == 0
    assert "frames of each clip are averaged" in capsys.readouterr().out
    for mine, other in zip(read_pairs(tmp_path / "frames").train, read_pairs(store).train):
        assert np.allclose(mine, other, atol=1e-5)


def test_pictures_without_sounds_are_no_pairs(tmp_path, quick, capsys):
    halves((0, 0, 0), (255, 0, 0)).save(tmp_path / "dog1.jpg")
    assert main(["embed", str(tmp_path), "--out", str(tmp_path / "store")]) == 0
    assert main(["train", str(tmp_path / "store"), *quick]) == 2
    assert "embedded without sounds" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ never destroy


def test_a_second_training_on_other_data_is_refused_and_leaves_the_first_alone(folder, store, quick, tmp_path, capsys):
    out = tmp_path / "mine"
    assert main(["train", str(store), *quick, "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["embed", str(folder), "--out", str(tmp_path / "other"), "--limit", str(CLIPS - 4)]) == 0
    assert main(["train", str(tmp_path / "other"), *quick, "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "made with other data" in error and str(out) in error
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert main(["train", str(store), *quick, "--out", str(out)]) == 0  # the same again: nothing to do, nothing lost
    assert (out / "validation.json").read_bytes() == before["validation.json"]
    assert (out / "model.safetensors").read_bytes() == before["model.safetensors"]


def test_a_mapper_that_another_made_is_not_written_over(store, quick, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert main(["train", str(store), *quick, "--out", str(tmp_path)]) == 2
    assert_one_sentence(capsys.readouterr().err.splitlines()[-1], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_other_sizes_on_resume_are_refused_in_one_sentence(store, tmp_path):
    pairs, recipe = read_pairs(store), replace(recipe_for("mini", "regression"), train=TrainConfig(10, 8))
    train_on_pairs(pairs, recipe, tmp_path)
    with pytest.raises(ValueError, match="made with other sizes") as caught:
        train_on_pairs(pairs, replace(recipe, sizes={"depth": 2}), tmp_path)
    assert_one_sentence(str(caught.value), tmp_path)


def test_a_damaged_checkpoint_is_named_in_one_sentence(store, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="not a checkpoint") as caught:
        train_on_pairs(read_pairs(store), recipe_for("mini", "regression", 20), tmp_path)
    assert_one_sentence(str(caught.value), tmp_path / "checkpoint.pt")


# ---------------------------------------------------------------------------------------------- recipes and validation


@pytest.mark.parametrize("stack_name", RECIPES)
@pytest.mark.parametrize("pairs", [2, 30, 100, 3000, FEW_PAIRS, 100_000])
def test_recipes_fit_the_number_of_pairs(stack_name, pairs):
    for kind, whole in RECIPES[stack_name].items():
        recipe = recipe_for(stack_name, kind, pairs)
        train = recipe.train
        assert recipe.mapper == whole.mapper and train.batch_size <= max(pairs // 2, 16) and train.patience > 0
        assert 400 <= train.steps <= whole.train.steps and train.warmup <= train.steps // 10
        assert 1 / (1 - train.ema) <= train.steps  # the average has forgotten the start by the end
    assert recipe_for(stack_name, "flow", PAIRS[stack_name]) == RECIPES[stack_name]["flow"]


def test_the_best_weights_by_validation_are_kept_and_training_stops(tmp_path):
    torch.manual_seed(0)
    model, scores, seen = torch.nn.Linear(3, 3), iter([3.0, 1.0, 2.0, 1.5, 1.4, 9.0, 0.0]), []

    def judged(averaged):
        seen.append({name: value.clone() for name, value in averaged.state_dict().items()})
        return {"score": next(scores)}

    def loss(network, rows, generator):
        return ((network(torch.randn(4, 3, generator=generator)) - 1) ** 2).mean()

    validation = Validation(judged, "score", patience=3)
    config = TrainConfig(200, 4, 0.05, warmup=1, ema=0.5)
    losses = fit(model, loss, 10, config, tmp_path / "c.pt", callback=validation)
    assert len(losses) == 50 and validation.best_step == 20  # the second look of every ten steps; three more in vain
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())
    again, resumed = torch.nn.Linear(3, 3), Validation(judged, "score", patience=3)
    assert fit(again, loss, 10, config, tmp_path / "c.pt", callback=resumed) == losses
    assert resumed.history == validation.history and torch.equal(again.weight, model.weight)


def test_few_validation_pairs_are_said_to_tell_little():
    class Alike:
        def map(self, visual):
            return np.repeat(unit_rows(1, 6), len(visual), 0)

    class Right(Alike):
        def map(self, visual):
            return visual

    rows = unit_rows(10, 6, 1)
    assert "cannot tell whether it gives a picture its own sound" in how_sure(measure(Alike(), rows, rows, rows.mean(0)))
    sure = how_sure(measure(Right(), rows, rows, rows.mean(0)))
    assert "cosine 1.000" in sure and "on 10 pairs" in sure and "cannot tell" not in sure


@pytest.mark.parametrize("low, high, said", [(-0.3, -0.1, "worse than"), (-0.3, 0.1, "no better than"), (0.1, 0.3, "")])
def test_a_mapper_no_better_than_a_constant_says_so_whoever_uses_it(low, high, said, stack, tmp_path, capsys):
    save_mapper(RegressionMapper(stack.vision.embed_dim, stack.generator.embed_dim), tmp_path)
    margin = {"value": (low + high) / 2, "low": low, "high": high, "n": 10}
    (tmp_path / "validation.json").write_text(json.dumps({"numbers": {"above constant": margin}}))
    trained_mapper(stack, str(tmp_path))
    told = capsys.readouterr().out
    assert (f"{tmp_path}: {said} one answer for all pictures on its 10 validation pairs" in told) if said else not told


def test_a_process_trains_on_another_device_than_it_began_with(monkeypatch):
    PartialState(cpu=True)
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("meta"))  # as if it had begun elsewhere
    model = torch.nn.Linear(2, 2)
    fit(model, lambda network, rows, generator: network(torch.ones(1, 2)).sum() ** 2, 3, TrainConfig(2, 2))
    assert model.weight.device.type == "cpu" and torch.isfinite(model.weight).all()


# -------------------------------------------------------------------------------------------------- a mapper's folder


@pytest.fixture(scope="module")
def mine(store, quick, tmp_path_factory) -> Path:
    """The folder of a mapper trained on the store."""
    out = tmp_path_factory.mktemp("mapper") / "mine"
    assert main(["train", str(store), *quick, "--out", str(out)]) == 0
    return out


def test_a_mappers_folder_says_what_it_is(mine, store, folder, stack):
    settings, config = Store(store).settings, json.loads((mine / "config.json").read_text())
    assert (config["clip_sha256"], config["clap_sha256"]) == (settings["clip_sha256"], settings["clap_sha256"])
    report = json.loads((mine / "validation.json").read_text())
    assert report["history"] and report["step"] in [look["step"] for look in report["history"]]
    low, value, high = (report["numbers"]["cosine"][name] for name in ("low", "value", "high"))
    assert low <= value <= high and report["numbers"]["cosine"]["n"] == report["pairs"]
    card = (mine / "README.md").read_text()
    assert all(word in card for word in ("pairs trained on", "95% intervals", "Licence", settings["clip"]))
    known = Familiarity.load(mine / "familiarity.safetensors")
    assert not known.is_out_of_distribution(picture_of(folder, stack)[0]) and known.is_out_of_distribution(-picture_of(folder, stack)[0])
    assert load_mapper(mine).map(picture_of(folder, stack)).shape == (1, stack.audio.embed_dim)


def test_a_mapper_is_found_by_kind_or_folder_and_loaded_once(mine):
    other = load_stack("mini", "cpu")
    assert has_mapper(other, "diffusion") and has_mapper(other, str(mine)) and not has_mapper(other, "flow")
    assert trained_mapper(other, str(mine)) is trained_mapper(other, str(mine))
    assert trained_mapper(other, "regression") is trained_mapper(other, "regression")
    assert "audio" not in vars(other)  # CLAP is not loaded to be compared
    assert mapper_familiarity(other, str(mine)).limit != mapper_familiarity(other, "diffusion").limit
    with pytest.raises(ValueError, match="no trained mapper there") as caught:
        trained_mapper(other, str(mine / "nothing"))
    assert_one_sentence(str(caught.value), mine / "nothing")


@pytest.mark.parametrize("part, name", [("vision", "CLIP"), ("audio", "CLAP")])
def test_a_mapper_of_other_encoders_is_refused_in_one_sentence(mine, part, name):
    other = load_stack("mini", "cpu")
    with torch.no_grad():
        next(getattr(other, part).model.parameters()).add_(0.01)
    with pytest.raises(ValueError, match=f"another {name}") as caught:
        trained_mapper(other, str(mine))
    assert_one_sentence(str(caught.value), mine)


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "magic"}', '{"kind": "regression", "width": 3}'])
def test_a_folder_that_holds_no_mapper_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError) as caught:
        load_mapper(tmp_path)
    assert_one_sentence(str(caught.value), tmp_path / "config.json")


def test_a_checkpoint_alone_is_enough_to_write_the_folder_again(store, quick, tmp_path):
    assert main(["train", str(store), *quick, "--out", str(tmp_path / "mine")]) == 0
    whole = load_mapper(tmp_path / "mine")
    for path in (tmp_path / "mine").iterdir():
        if path.name != "checkpoint.pt":
            path.unlink()
    assert main(["train", str(store), *quick, "--out", str(tmp_path / "mine")]) == 0
    load_weights(whole, tmp_path / "mine" / "model.safetensors")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == WHOLE


def test_a_mapper_of_another_size_is_named_in_a_sentence(stack, tmp_path):
    save_mapper(RegressionMapper(256, 256), tmp_path / "wide")
    with pytest.raises(ValueError, match="takes embeddings of 256 numbers.* gives 64"):
        trained_mapper(stack, str(tmp_path / "wide"))

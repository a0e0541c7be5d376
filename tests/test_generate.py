"""`generate`: a sound file for every row of a store, the same files whatever stopped it on the way."""

import json

import numpy as np
import pytest
import soundfile
from conftest import killed_after, unit_rows
from soundworld import SAMPLE_RATE, make_scene, synthesise

from v2a_utils import sound_files
from v2a_utils.__main__ import main
from v2a_utils.data.sources import Listing, soundworld
from v2a_utils.data.store import Row, Store
from v2a_utils.pipeline import SoundOptions
from v2a_utils.sound_files import copy_references, file_names, generate, make_files
from v2a_utils.stacks import stack as stacks
from v2a_utils.stacks.extraction import embed

ONE_STEP = SoundOptions(steps=1, candidates=1)


@pytest.fixture(scope="module")
def store(stack, tmp_path_factory):
    """Five scenes, embedded."""
    return embed(soundworld("test", 5), stack, tmp_path_factory.mktemp("store") / "store")


pytestmark = pytest.mark.usefixtures("hasty_vocoder")


@pytest.fixture(scope="module")
def made(stack, store, hasty_vocoder, tmp_path_factory):
    """Their sounds through the regression, in batches of two, with two seeds."""
    folder = tmp_path_factory.mktemp("made") / "sounds"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_files, "BATCH", 2)
        return folder, generate(stack, store, "regression", folder, ONE_STEP, seeds=2)


def contents(paths) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_every_row_and_seed_has_a_file_named_by_its_id(made, store, stack):
    folder, paths = made
    ids = store.numpy("id")
    assert [path.relative_to(folder).as_posix() for path in paths] == [
        f"seed{seed}/{name}.flac" for seed in range(2) for name in ids]
    waves = [soundfile.read(path) for path in paths]
    assert {(len(wave), rate) for wave, rate in waves} == {(40_960, stack.generator.sample_rate)}
    assert len(set(contents(paths))) == 10
    record = json.loads((folder / "generation.json").read_text())
    assert record["mapper"] == "regression" and record["options"]["steps"] == 1


def test_a_killed_run_ends_with_the_same_files(made, store, stack, tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "BATCH", 2)
    original = sound_files.write_sound
    monkeypatch.setattr(sound_files, "write_sound", killed_after(original, 3, []))  # in the middle of the second batch
    with pytest.raises(KeyboardInterrupt):
        generate(stack, store, "regression", tmp_path / "sounds", ONE_STEP, seeds=2)
    monkeypatch.setattr(sound_files, "write_sound", original)
    paths = generate(stack, store, "regression", tmp_path / "sounds", ONE_STEP, seeds=2)
    assert contents(paths) == contents(made[1])
    monkeypatch.setattr(sound_files, "best_candidates", None)  # nothing is left to do
    assert generate(stack, store, "regression", tmp_path / "sounds", ONE_STEP, seeds=2) == paths


def test_true_embeddings_and_no_mapper_are_conditions_too(stack, store, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sound_files, "best_candidates", lambda stack, rows, options, rank: (
        asked.append(rows) or np.zeros((len(rows), 100), np.float32), None))
    for mapper, column in (("true", "audio"), ("none", "visual")):
        generate(stack, store, mapper, tmp_path / mapper, ONE_STEP, suffix="wav")
        assert np.array_equal(asked.pop(), store.numpy(column))


def test_other_conditions_of_the_same_pictures_are_never_served_from_old_files(stack, store, tmp_path, monkeypatch):
    """The mapper true depends on the sounds' embeddings, a trained one on its settings and not on its weights alone."""
    monkeypatch.setattr(sound_files, "best_candidates", lambda stack, rows, options, rank: (
        np.zeros((len(rows), 100), np.float32), None))
    make_files(stack, ["a", "b"], unit_rows(2, 64)[None], tmp_path, ONE_STEP, "true")
    make_files(stack, ["a", "b"], unit_rows(2, 64)[None], tmp_path, ONE_STEP, "true")  # the same go on
    with pytest.raises(ValueError, match=r"made otherwise \(conditions\)"):
        make_files(stack, ["a", "b"], unit_rows(2, 64, 1)[None], tmp_path, ONE_STEP, "true")
    with pytest.raises(ValueError, match=r"made otherwise \(conditions\)"):
        make_files(stack, ["b", "a"], unit_rows(2, 64)[None], tmp_path, ONE_STEP, "true")
    monkeypatch.setattr(sound_files, "generator_key", lambda stack: "another")
    with pytest.raises(ValueError, match=r"made otherwise \(generator\)"):
        make_files(stack, ["a", "b"], unit_rows(2, 64)[None], tmp_path, ONE_STEP, "true")


def test_a_limit_takes_a_sample_of_a_store(stack, store, tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "best_candidates", lambda stack, rows, options, rank: (
        np.zeros((len(rows), 100), np.float32), None))
    assert len(generate(stack, store, "none", tmp_path, ONE_STEP, limit=2)) == 2
    assert main(["generate", store.path, "--mapper", "none", "--limit", "-1", "--out", str(tmp_path / "b")]) == 2


def test_references_are_the_true_sounds(tmp_path):
    paths = copy_references(soundworld("test", 2), tmp_path / "true", SAMPLE_RATE, 2.56)
    wave, rate = soundfile.read(paths[1])
    true = synthesise(make_scene("test", 1))
    assert rate == SAMPLE_RATE and np.allclose(wave, true[: len(wave)], atol=2 / 32_768) and len(wave) == 40_960
    assert copy_references(soundworld("test", 2), tmp_path / "true", SAMPLE_RATE, 2.56) == paths


def test_the_command_generates_from_a_store_and_copies_references(store, stack, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    assert main(["generate", store.path, "--mapper", "none", "--steps", "1", "--out", str(tmp_path / "made")]) == 0
    assert main(["generate", "soundworld:test", "--mapper", "reference", "--limit", "2", "--format", "wav",
                 "--out", str(tmp_path / "true")]) == 0
    said = capsys.readouterr()
    assert "5 sounds" in said.out and "VGGSound" not in said.out + said.err
    assert len(list((tmp_path / "made").glob("*.flac"))) == 5 and len(list((tmp_path / "true").glob("*.wav"))) == 2


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("ids, message", [
    (["a", "a"], "'a' belongs to several"), (["../a"], "cannot be the name"), (["/a"], "cannot be the name"),
    ([""], "cannot be the name"), (["a/../../b"], "cannot be the name"),
])
def test_ids_that_are_no_file_names_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        file_names(ids)


def test_sounds_of_other_settings_or_of_somebody_are_not_mixed_in(made, store, stack, tmp_path):
    with pytest.raises(ValueError, match=r"made otherwise \(options\)"):
        generate(stack, store, "regression", made[0], SoundOptions(steps=2, candidates=1), seeds=2)
    (tmp_path / "mine.wav").write_bytes(b"mine")
    with pytest.raises(ValueError, match="did not make"):
        generate(stack, store, "none", tmp_path, ONE_STEP)
    with pytest.raises(ValueError, match="is a file"):
        generate(stack, store, "none", tmp_path / "mine.wav", ONE_STEP)
    assert (tmp_path / "mine.wav").read_bytes() == b"mine"


def test_samples_that_are_no_numbers_are_never_written(tmp_path):
    with pytest.raises(FloatingPointError, match="a.wav"):
        sound_files.write_sound(tmp_path / "a.wav", np.array([0, np.nan]), 16_000)
    assert not list(tmp_path.iterdir())


def other_store(path, settings, rows=2) -> Store:
    store = Store(path)
    names = [f"clip {number}" for number in range(rows)]
    visual = unit_rows(rows, 64)
    store.write(0, names, [Row(name, None, None, None, row, None) for name, row in zip(names, visual)], [],
                {"visual": 64}, {"aggregate": "mean"} | settings)
    return store


@pytest.mark.parametrize("settings, mapper, message", [
    ({"clip_sha256": "other"}, "none", "another CLIP"), (None, "true", "no column audio"),
    (None, "magic", "magic"),
])
def test_a_store_or_mapper_that_does_not_fit_is_refused_in_a_sentence(settings, mapper, message, stack, store, tmp_path):
    other = other_store(tmp_path / "store", settings or {"clip_sha256": store.settings["clip_sha256"]})
    with pytest.raises(ValueError, match=message):
        generate(stack, other, mapper, tmp_path / "out", ONE_STEP)


def test_there_is_no_sound_without_a_store(stack, tmp_path):
    with pytest.raises(ValueError, match="no store of embeddings"):
        generate(stack, Store(tmp_path), "none", tmp_path / "out", ONE_STEP)


def test_clips_without_a_sound_are_left_out_with_a_sentence(tmp_path, capsys):
    broken = list(soundworld("test", 2).sources)
    object.__setattr__(broken[0], "split", "nowhere")
    assert len(copy_references(Listing("two", broken, []), tmp_path / "true", SAMPLE_RATE, 2.56)) == 1
    assert "left out" in capsys.readouterr().out

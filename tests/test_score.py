"""`score`: two folders of sound files through every measure, whatever is in them."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from v2a_utils.__main__ import main
from v2a_utils.evaluation import scoring
from v2a_utils.evaluation.scoring import Extractor, score, sound_files
from v2a_utils.measures.metrics import frechet_distance, kl_divergence
from v2a_utils.models import stacks

warnings.filterwarnings("ignore", message="a Fréchet distance of")
NAMES = ("a", "b c", "ü/é", "狗")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "CACHE", tmp_path / "cache")


@pytest.fixture
def folders(tmp_path):
    """True and made sounds of four names."""
    rng = np.random.default_rng(0)
    for folder in ("true", "made"):
        for name in NAMES:
            write(tmp_path / folder / f"{name}.wav", 0.1 * rng.standard_normal(16_000))
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{name},dog\n" for name in NAMES))
    return tmp_path


def write(path, samples, rate=16_000, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **settings)


def run(folder, stack, **settings):
    return score(stack, folder / "made", folder / "true", out=folder / "out", draws=10, **settings)


def test_numbers_are_those_of_the_measures_on_the_files_matched_by_name(folders, stack):
    table = run(folders, stack, labels=folders / "labels.csv").set_index("measure")
    features = [[Extractor(stack)(folders / kind / f"{name}.wav") for name in sorted(NAMES)]
                for kind in ("made", "true")]
    made, true = (np.stack([row["features"] for row in rows]) for rows in features)
    logits = [np.stack([row["logits"] for row in rows]) for rows in features]
    assert table.value["FD"] == pytest.approx(frechet_distance(made, true), rel=1e-6)
    assert table.value["KL softmax"] == pytest.approx(kl_divergence(logits[1], logits[0]).mean(), rel=1e-6)
    assert set(table.n) == {4} and table.backbone["FAD"] == "mini wav2clip" and "accuracy" in table.index
    saved = json.loads((folders / "out" / "scores.json").read_text())
    assert saved["notes"] == [] and len(saved["scores"]) == len(pd.read_csv(folders / "out" / "scores.csv"))


def test_features_are_extracted_once_for_each_content(folders, stack, monkeypatch):
    first = run(folders, stack)
    monkeypatch.setattr(Extractor, "_extract", None)
    assert run(folders, stack).equals(first)


def test_several_seeds_of_a_name_give_diversity(folders, stack):
    for name in NAMES:
        for seed in range(2):
            write(folders / "seeds" / f"seed{seed}" / f"{name}.wav",
                  0.1 * np.random.default_rng(seed + 5).standard_normal(16_000))
    table = score(stack, folders / "seeds", folders / "true", out=folders / "out", draws=10).set_index("measure")
    assert table.value["diversity"] > 0 and table.seeds["FD"] == 2


@pytest.mark.parametrize("samples, rate, settings, note", [
    (np.zeros(16_000), 16_000, {}, "is silent"), (0.1 * np.ones(100), 16_000, {}, "shorter than"),
    (np.zeros(0), 16_000, {}, "holds no sound"), (np.full(16_000, np.nan), 16_000, {"subtype": "FLOAT"}, "no numbers"),
    (0.1 * np.ones((16_000, 8)), 16_000, {}, None), (np.sin(np.arange(192_000)), 192_000, {}, None),
    (np.sin(np.arange(8_000)), 4_000, {}, None),
], ids=["silent", "short", "empty", "nan", "eight channels", "192 kHz", "4 kHz"])
def test_unusual_sounds_are_measured_or_left_out_with_a_sentence(folders, stack, samples, rate, settings, note):
    write(folders / "made" / "a.wav", samples, rate, **settings)
    table = run(folders, stack)
    notes = json.loads((folders / "out" / "scores.json").read_text())["notes"]
    assert np.isfinite(table.value).all()
    assert (not notes) if note is None else (len(notes) == 1 and note in notes[0] and "a.wav" in notes[0])


@pytest.mark.parametrize("change, note", [
    (lambda folder: (folder / "made" / "a.wav").write_text("text"), "left out"),
    (lambda folder: (folder / "made" / "a.wav").write_bytes(b""), "left out"),
    (lambda folder: (folder / "made" / "a.wav").unlink(), "no partner"),
    (lambda folder: (folder / "true" / "a.wav").unlink(), "no partner"),
    (lambda folder: write(folder / "made" / "other.wav", np.ones(16_000)), "no partner"),
    (lambda folder: (folder / "made" / ".hidden.wav").write_text("x"), None),
    (lambda folder: (folder / "made" / "notes.txt").write_text("x"), None),
], ids=["text", "no bytes", "missing", "no reference", "surplus", "hidden", "no sound"])
def test_files_that_do_not_fit_are_said(folders, stack, change, note):
    change(folders)
    run(folders, stack)
    notes = json.loads((folders / "out" / "scores.json").read_text())["notes"]
    assert any(note in one for one in notes) if note else not notes


@pytest.mark.parametrize("change, message", [
    (lambda folder: None, "no such folder"),
    (lambda folder: (folder / "nowhere").mkdir(), "no sound file"),
    (lambda folder: write(folder / "nowhere" / "z.wav", np.ones(16_000)), r"0 name\(s\) in common"),
    (lambda folder: write(folder / "nowhere" / "a.wav", np.ones(16_000)), r"1 name\(s\) in common"),
    (lambda folder: [write(folder / "nowhere" / f"a.{kind}", np.ones(16_000)) for kind in ("wav", "flac")], "both the"),
    (lambda folder: (folder / "nowhere").write_text("a file"), "no such folder"),
], ids=["absent", "empty", "another set", "one file", "two of one name", "a file"])
def test_folders_that_cannot_be_compared_are_refused_in_a_sentence(folders, stack, change, message):
    change(folders)
    for pair in (("nowhere", "true"), ("made", "nowhere")):
        with pytest.raises(ValueError, match=message):
            score(stack, *(folders / name for name in pair), out=folders / "out")


@pytest.mark.parametrize("content, message", [
    (None, "not a CSV file"), ("name,class\na,dog\n", "its columns are name, class"), ("id,label\na,dog\n", "no label of"),
    ("", "not a CSV file"), (b"\xff\xfe\x00\x80", "not a CSV file"),
], ids=["absent", "other columns", "too few", "empty", "bytes"])
def test_labels_that_do_not_fit_are_refused_in_a_sentence(folders, stack, content, message):
    path = folders / "labels.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        run(folders, stack, labels=path)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_no_store_are_refused(folders, stack):
    with pytest.raises(ValueError, match="no store of embeddings"):
        run(folders, stack, pictures=folders / "true")


def test_the_command_prints_the_table_and_ends_bad_input_with_2(folders, stack, monkeypatch, capsys):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    arguments = ["score", str(folders / "made"), "--reference", str(folders / "true"), "--out", str(folders / "out")]
    assert main([*arguments, "--draws", "10"]) == 0 and "KL softmax" in capsys.readouterr().out
    assert main([*arguments, "--draws", "0"]) == 2 and "0 draws" in capsys.readouterr().err
    assert sound_files(folders / "made").keys() == set(NAMES)

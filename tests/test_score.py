"""`score`: two folders of sound files through every measure, whatever is in them."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.signal import butter, sosfiltfilt
from soundworld import draw, make_scene

from v2a_utils.__main__ import main
from v2a_utils.data.sources import soundworld
from v2a_utils.evaluation import scoring
from v2a_utils.evaluation.scoring import Extractor, files_by_name, score
from v2a_utils.metrics.sounds import clip_scores, frechet_distance, kl_divergence
from v2a_utils.stacks import stack as stacks
from v2a_utils.stacks.extraction import embed
from v2a_utils.stacks.places import BACKBONES

FEW = "clips are few for a Fréchet distance"
NAMES = ("a", "b c", "ü/é", "狗")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))


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
    return score(stack, folder / "made", folder / "true", out=folder / "out", overwrite=True, **settings)


def notes_of(folder) -> list[str]:
    """What `score` noted, but for the words that four clips are few."""
    return [note for note in json.loads((folder / "out" / "scores.json").read_text())["notes"] if FEW not in note]


def own(stack) -> Extractor:
    return Extractor({name: getattr(stack, name) for name in BACKBONES})


def test_numbers_are_those_of_the_measures_on_the_files_matched_by_name(folders, stack):
    table = run(folders, stack, labels=folders / "labels.csv").set_index("measure")
    features = [[own(stack)(folders / kind / f"{name}.wav") for name in sorted(NAMES)] for kind in ("made", "true")]
    made, true = (np.stack([row["features"] for row in rows]) for rows in features)
    logits = [np.stack([row["logits"] for row in rows]) for rows in features]
    with pytest.warns(match="far too large"):
        assert table.value["FD"] == pytest.approx(frechet_distance(made, true), rel=1e-6)
    assert table.value["KL softmax"] == pytest.approx(kl_divergence(logits[1], logits[0]).mean(), rel=1e-6)
    assert set(table.n) == {4} and table.backbone["FAD"] == "mini wav2clip" and "accuracy" in table.index
    saved = json.loads((folders / "out" / "scores.json").read_text())
    assert notes_of(folders) == [] and len(saved["notes"]) == 2  # FD's and FAD's
    assert len(saved["scores"]) == len(pd.read_csv(folders / "out" / "scores.csv"))
    assert "Student" in table.interval_by["FD"] and "Wilson" in table.interval_by["accuracy"]


def test_features_are_extracted_once_for_each_content(folders, stack, monkeypatch):
    first = run(folders, stack)
    monkeypatch.setattr(Extractor, "_extract", None)
    assert run(folders, stack).equals(first)


def test_several_sounds_of_a_name_give_diversity_whether_in_folders_or_numbered(folders, stack):
    for name in NAMES:
        for seed in range(2):
            sound = 0.1 * np.random.default_rng(seed + 5).standard_normal(16_000)
            write(folders / "seeds" / f"seed{seed}" / f"{name}.wav", sound)
            write(folders / "numbered" / f"{name}-{seed}.flac", sound)
    tables = [score(stack, folders / kind, folders / "true", out=folders / "out", overwrite=True).set_index("measure")
              for kind in ("seeds", "numbered")]
    assert tables[0].value["diversity"] > 0 and tables[0].seeds["FD"] == 2
    assert np.allclose(tables[0].value, tables[1].value, atol=1e-3) and set(tables[1].seeds["FD":"FD"]) == {2}


def test_few_clips_are_extrapolated_to_infinite_n_and_the_field_has_its_inception_score(tmp_path, stack):
    rng = np.random.default_rng(0)
    for place in range(30):
        for folder in ("true", "made"):
            write(tmp_path / folder / f"{place}.wav", 0.1 * rng.standard_normal(16_000))
    table = run(tmp_path, stack).set_index("measure")
    notes = json.loads((tmp_path / "out" / "scores.json").read_text())["notes"]
    for name in ("FD", "FAD"):
        endless = table.loc[f"{name} at infinite n"]
        assert endless.value < table.value[name] and endless.low < endless.value < endless.high
        assert any(note.startswith(f"{name} by") and f"{endless.value:.4g}" in note for note in notes)
    assert 1 <= table.value["IS in 10 parts"] <= table.value["IS"] + 1e-9  # parts of three sounds


def test_taggers_of_no_stack_are_heard_beside_its_own_and_av_benchmark_can_read_them(folders, stack, monkeypatch):
    monkeypatch.setattr(scoring, "load_tagger", lambda name, device: stack.wav2clip)
    monkeypatch.setattr(stack.wav2clip, "backbone", "PaSST")
    table = run(folders, stack, listeners=["mini", "passt"])
    assert set(table[table.measure == "FD"].backbone) == {"mini tagger", "PaSST"}
    assert sorted(table.measure.value_counts().loc[["FD", "FAD", "KL softmax"]]) == [1, 2, 2]
    keys = json.loads((folders / "out" / "output_metrics.json").read_text())
    assert keys["FD-PASST"] == pytest.approx(table[table.backbone == "PaSST"].value.iloc[0]) and "FD-PANN" not in keys


def test_pictures_may_be_files_or_a_store(tmp_path, stack):
    for place in range(3):
        scene = make_scene("test", place)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        draw(scene).save(tmp_path / "pictures" / f"{scene.id}.png")
        for folder in ("true", "made"):
            write(tmp_path / folder / f"{scene.id}.wav", np.random.default_rng(place).standard_normal(16_000) / 9)
    store = embed(soundworld("test", 3), stack, tmp_path / "store")
    values = [run(tmp_path, stack, pictures=tmp_path / kind).set_index("measure").value["CS"]
              for kind in ("store", "pictures")]
    sounds = [own(stack)(tmp_path / "made" / f"{name}.wav")["clip"] for name in store.numpy("id")]
    assert values == pytest.approx([clip_scores(store.numpy("visual"), np.stack(sounds)).mean()] * 2, abs=1e-3)
    (tmp_path / "pictures" / f"{make_scene('test', 1).id}.png").write_text("text")
    with pytest.raises(ValueError, match="not a picture"):
        run(tmp_path, stack, pictures=tmp_path / "pictures")


def test_differing_rates_and_lengths_are_said_and_seconds_cuts(folders, stack):
    tone = np.sin(np.arange(88_200) * 0.1)
    write(folders / "made" / "a.wav", tone, 44_100)
    run(folders, stack)
    rates, lengths = notes_of(folders)
    assert "reference: 16000 Hz; sounds: 44100 Hz, 16000 Hz" in rates and "1.00 to 2.00 s" in lengths
    whole = own(stack)(folders / "made" / "a.wav")
    run(folders, stack, seconds=1.0)
    assert len(notes_of(folders)) == 1
    cut = Extractor({name: getattr(stack, name) for name in BACKBONES}, 1.0)(folders / "made" / "a.wav")
    assert (whole["seconds"], cut["seconds"]) == (2, 1) and len(whole["frames"]) == 2 * len(cut["frames"])


@pytest.mark.parametrize("samples, rate, settings, note", [
    (np.zeros(16_000), 16_000, {}, "is silent"), (0.1 * np.ones(100), 16_000, {}, "shorter than"),
    (np.zeros(0), 16_000, {}, "holds no sound"), (np.full(16_000, np.nan), 16_000, {"subtype": "FLOAT"}, "no numbers"),
    (np.full(16_000, np.inf), 16_000, {"subtype": "FLOAT"}, "no numbers"),
    (0.1 * np.ones((16_000, 8)), 16_000, {}, None), (np.sin(np.arange(192_000)), 192_000, {}, "192000 Hz"),
    (np.sin(np.arange(4_000)), 4_000, {}, "4000 Hz"),
], ids=["silent", "short", "empty", "nan", "infinite", "eight channels", "192 kHz", "4 kHz"])
def test_unusual_sounds_are_measured_or_left_out_with_a_sentence(folders, stack, samples, rate, settings, note):
    write(folders / "made" / "a.wav", samples, rate, **settings)
    table, notes = run(folders, stack), notes_of(folders)
    assert np.isfinite(table.value).all()
    assert (not notes) if note is None else (note in notes[0] and ("a.wav" in notes[0] or "Hz" in note))
    assert len(notes) == (note is not None) + (note == "shorter than")  # whose length differs


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
    notes = notes_of(folders)
    assert any(note in one for one in notes) if note else not notes


@pytest.mark.parametrize("change, message", [
    (lambda folder: None, "no sound file"),
    (lambda folder: (folder / "nowhere").mkdir(), "no sound file"),
    (lambda folder: [write(folder / "nowhere" / f"{name}.wav", np.zeros(0)) for name in NAMES], "fewer than two clips"),
    (lambda folder: write(folder / "nowhere" / "z.wav", np.ones(16_000)), r"0 name\(s\) in common"),
    (lambda folder: write(folder / "nowhere" / "a.wav", np.ones(16_000)), r"1 name\(s\) in common"),
    (lambda folder: [write(folder / "nowhere" / f"a.{kind}", np.ones(16_000)) for kind in ("wav", "flac")], "both the"),
    (lambda folder: (folder / "nowhere").write_text("a file"), "no sound file"),
], ids=["absent", "empty", "all empty", "another set", "one file", "two of one name", "a file"])
def test_folders_that_cannot_be_compared_are_refused_in_a_sentence(folders, stack, change, message):
    change(folders)
    for pair in (("nowhere", "true"), ("made", "nowhere")):
        with pytest.raises(ValueError, match=message):
            score(stack, *(folders / name for name in pair), out=folders / "out")


@pytest.mark.parametrize("content, message", [
    (None, "not a CSV file"), ("name,class\na,dog\n", "its columns are name, class"), ("id,label\na,dog\n", "no label of"),
    ("", "its columns are none"), (b"\x80\xff\x00", "not a CSV file"),
], ids=["absent", "other columns", "too few", "empty", "bytes"])
def test_labels_that_do_not_fit_are_refused_in_a_sentence(folders, stack, content, message):
    path = folders / "labels.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        run(folders, stack, labels=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place, message", [
    ("true", "no picture file in it"), ("nowhere", "no picture file"), ("few", "no picture of b c"),
])
def test_pictures_that_do_not_fit_are_refused_in_a_sentence(folders, stack, place, message):
    (folders / "few").mkdir()
    draw(make_scene("test", 0)).save(folders / "few" / "a.png")
    with pytest.raises(ValueError, match=message):
        run(folders, stack, pictures=folders / place)


def test_listeners_that_do_not_fit_are_refused_in_a_sentence(folders, stack, monkeypatch, capsys):
    with pytest.raises(ValueError, match="unknown audio backbone 'paper'"):
        run(folders, stack, listeners=["paper"])
    arguments = ["score", str(folders / "made"), "--reference", str(folders / "true")]
    assert main([*arguments, "--listeners", "mini", "paper"]) == 2 and "one stack" in capsys.readouterr().err
    assert main([*arguments, "--seconds", "0"]) == 2 and "seconds is 0" in capsys.readouterr().err


def test_the_command_prints_the_table_and_ends_bad_input_with_2(folders, stack, monkeypatch, capsys):
    monkeypatch.setattr(stacks, "load_stack", lambda name=None, device=None: stack)
    arguments = ["score", str(folders / "made"), "--reference", str(folders / "true"), "--out", str(folders / "out")]
    assert main(arguments) == 0 and "KL softmax" in capsys.readouterr().out
    assert main(arguments) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--clips", "each.txt"]) == 2 and ".csv or .parquet" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- clip by clip


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_sound_has_a_row_to_sort_by_and_the_rows_mean_is_the_number(folders, stack, suffix):
    path = folders / f"each.{suffix}"
    table = run(folders, stack, labels=folders / "labels.csv", clips=path).set_index("measure").value
    each = (pd.read_csv if suffix == "csv" else pd.read_parquet)(path).set_index("id")
    assert list(each.index) == sorted(NAMES)
    for name in ("KL softmax", "KL sigmoid", "recall@10", "accuracy"):
        assert each[name].mean() == pytest.approx(table[name], rel=1e-4, abs=1e-6)
    for name in ("FD", "FAD", "KAD", "IS"):
        assert each[f"{name}, contribution"].sum() == pytest.approx(0, abs=1e-3 * abs(table[name]) + 1e-6)
        assert each[f"{name}, contribution"].abs().max() > 0
    true, made = (own(stack)(folders / kind / "b c.wav")["logits"][None] for kind in ("true", "made"))
    assert each["KL softmax"]["b c"] == pytest.approx(kl_divergence(true, made)[0], rel=1e-4)
    assert each["top classes"]["b c"].startswith(stack.tagger.names[made[0].argmax()])


def test_exactly_the_clips_of_a_list_are_measured_whatever_way_they_are_named(tmp_path, stack):
    rng = np.random.default_rng(0)
    for number in range(4):
        write(tmp_path / "made" / f"abcdefghijk_{number:06d}.wav", 0.1 * rng.standard_normal(16_000))
        name = f"abcdefghijk_{number * 1000}_{number * 1000 + 10_000}"
        write(tmp_path / "true" / "video" / f"{name}.wav", 0.1 * rng.standard_normal(16_000))
    (tmp_path / "ids.txt").write_text("abcdefghijk_000002\nabcdefghijk_000000\nabcdefghijk_000003")  # no end of a line
    table = run(tmp_path, stack, ids=tmp_path / "ids.txt", clips=tmp_path / "each.csv")
    assert set(table.n) == {3}
    each = pd.read_csv(tmp_path / "each.csv")
    assert list(each.id) == ["abcdefghijk_000002", "abcdefghijk_000000", "abcdefghijk_000003"]
    truth = own(stack)(tmp_path / "true" / "video" / "abcdefghijk_2000_12000.wav")["logits"][None]
    made = own(stack)(tmp_path / "made" / "abcdefghijk_000002.wav")["logits"][None]
    assert each["KL softmax"][0] == pytest.approx(kl_divergence(truth, made)[0], rel=1e-4)
    (tmp_path / "ids.txt").write_text("abcdefghijk_000002\nabcdefghijk_000009")
    with pytest.raises(ValueError, match=r"has no sound of abcdefghijk_000009 \(1 of 2 lacking\)"):
        run(tmp_path, stack, ids=tmp_path / "ids.txt")


def test_a_name_may_begin_with_a_dash_as_youtubes_do_and_a_dot_hides_it(tmp_path):
    for name in ("-x1.wav", ".x2.wav"):
        write(tmp_path / name, np.ones(9))
    assert list(files_by_name(tmp_path, {".wav"}, "sound")) == ["-x1"]


def test_many_short_sounds_are_one_note(folders, stack):
    for name in NAMES:
        write(folders / "made" / f"{name}.wav", 0.1 * np.ones(100))
    run(folders, stack)
    assert sum("is shorter than" in note for note in notes_of(folders)) == 1
    assert any("(and 3 more)" in note for note in notes_of(folders))
    for name in NAMES[1:]:
        write(folders / "made" / f"{name}.wav", 0.1 * np.ones(16_000))
    run(folders, stack)
    assert next(note for note in notes_of(folders) if "is shorter than" in note).endswith("to that length")


@pytest.mark.parametrize("spoil, note", [
    (lambda wave, name: 4 * wave, "12 dB louder than the reference"),
    (lambda wave, name: sosfiltfilt(butter(8, 3000, fs=16_000, output="sos"), wave), "the reference up to 8.0 kHz"),
    (lambda wave, name: np.random.default_rng(9).standard_normal(16_000) / 10, "only 1 of 4 sounds differ"),
])
def test_sounds_that_are_louder_duller_or_all_the_same_are_told_of(folders, stack, spoil, note):
    for name in NAMES:
        samples, rate = soundfile.read(folders / "true" / f"{name}.wav")
        write(folders / "made" / f"{name}.wav", spoil(samples, name), rate)
    run(folders, stack)
    assert any(note in told for told in notes_of(folders)) and len(notes_of(folders)) <= 2  # what is duller is softer


def test_sounds_that_reach_higher_than_the_reference_are_told_of(folders, stack):
    for name in NAMES:
        path = folders / "true" / f"{name}.wav"
        samples, rate = soundfile.read(path)
        write(path, sosfiltfilt(butter(8, 3000, fs=16_000, output="sos"), samples), rate)
    run(folders, stack)
    assert any("the sounds reach up to 8.0 kHz, the reference up to" in told for told in notes_of(folders))


def test_a_codec_on_one_side_is_told_of_and_on_both_sides_not(folders, stack):
    for side in ("made", "true"):
        for name in NAMES:
            path = folders / side / f"{name}.wav"
            write(path.with_suffix(".mp3"), soundfile.read(path)[0])
            path.unlink()
        run(folders, stack)
        assert any("only the sounds went through a lossy codec" in note for note in notes_of(folders)) == (side == "made")


def test_labels_that_the_tagger_has_no_class_for_are_named_with_how_many_clips_count(folders, stack, capsys):
    half = len(NAMES) // 2
    (folders / "labels.csv").write_text("id,label\n" + "".join(
        f"{name},{'dog' if place < half else 'barking'}\n" for place, name in enumerate(NAMES)))
    table = run(folders, stack, labels=folders / "labels.csv").set_index("measure")
    said = capsys.readouterr()
    assert f"no class for barking; accuracy is over the other {half} of {len(NAMES)} clips" in said.out + said.err
    assert table.n["accuracy"] == half

"""The bridge over words: what it computes, its sentences and sounds, its files, and that no pair is anywhere in it."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_one_sentence, sine, unit_rows
from PIL import Image
from scipy.special import softmax
from soundworld import CLASSES, class_prompt
from soundworld.captions import vocabulary

from v2a_utils.__main__ import main
from v2a_utils.data.store import Row, Store
from v2a_utils.mappers import bridge as building
from v2a_utils.mappers.bridge import VOCABULARIES, build_bridge, read_sentences, unpaired_sounds
from v2a_utils.mappers.registry import load_mapper, save_mapper, trained_mapper, words_bridge
from v2a_utils.mappers.words import WordsBridge
from v2a_utils.metrics import gap
from v2a_utils.models.backbones import RIGHT_FOR_IMAGEHEAR, TOO_GENERAL
from v2a_utils.models.weights import state_sha256
from v2a_utils.stacks.extraction import embed_world

SEEN, HEARD, SOUNDS, PICTURES = unit_rows(5, 12, 1), unit_rows(5, 8, 2), unit_rows(9, 8, 3), unit_rows(4, 12, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "words"


def make(sounds: np.ndarray = SOUNDS, seen: np.ndarray = SEEN, heard: np.ndarray = HEARD, **changes) -> WordsBridge:
    settings = {"visual_scale": 6.0, "audio_scale": 4.0} | changes
    sentences = [[f"seen {number}", f"heard {number}"] for number in range(len(seen))]
    bridge = WordsBridge(seen.shape[1], heard.shape[1], sentences, len(sounds), **settings)
    bridge.load_state_dict({name: torch.from_numpy(value) for name, value in
                            (("seen", seen), ("heard", heard), ("sounds", sounds))})
    return bridge.eval()


def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """p(s|v), (pictures, sentences), and p(a|s), (sentences, sounds), by Bayes' rule with every sound alike often."""
    of_sounds = softmax(4 * SOUNDS @ HEARD.T, axis=1)
    return softmax(6 * PICTURES @ SEEN.T, axis=1), (of_sounds / of_sounds.sum(0)).T


# ------------------------------------------------------------------------------------------------------- the estimate


@pytest.mark.quality
def test_few_sentences_speak_for_a_picture_as_well_as_all_and_better_where_clip_is_unsure(stack):
    store, sure = Store(stack.config.extras / "embeddings" / "test"), trained_mapper(stack, "words")
    visual, audio = (np.array(store.numpy(side)[:200]) for side in ("visual", "audio"))

    def cosine(kept: int | None, scale: float) -> float:
        bridge = WordsBridge(**sure.config | {"kept": kept, "visual_scale": scale * sure.config["visual_scale"]})
        bridge.load_state_dict(sure.state_dict())
        return float((bridge.map(visual) * audio).sum(1).mean())

    assert cosine(5, 1) > cosine(None, 1) - 0.01 and cosine(5, 0.25) > cosine(None, 0.25) + 0.02


def test_the_sentences_that_speak_are_the_likeliest_and_share_all():
    alone, shares = make(kept=1), by_hand()[0]
    best = np.eye(len(SEEN), dtype=np.float32)[shares.argmax(1)]
    assert np.allclose(alone.map(PICTURES), alone.hear(torch.from_numpy(best)), atol=1e-6)
    assert np.allclose(alone.attention(PICTURES), shares, atol=1e-6)  # what CLIP saw stays what it is
    assert np.allclose(make(kept=5).map(PICTURES), make().map(PICTURES))


def test_the_mean_is_that_of_the_sounds_under_bayes_rule(monkeypatch):
    shares, sounds_of = by_hand()
    expected = shares @ sounds_of @ SOUNDS
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(make().attention(PICTURES), shares, atol=1e-6)
    assert np.allclose(make().map(PICTURES), expected, atol=1e-5)
    monkeypatch.setattr("v2a_utils.mappers.words.BLOCK", 2)  # in parts it is the same
    assert np.allclose(make().map(PICTURES), expected, atol=1e-5)


def test_draws_are_sounds_that_exist_as_often_as_the_posterior_says():
    shares, sounds_of = by_hand()
    drawn = make(form="draw").map(np.repeat(PICTURES[:1], 1000, 0), seed=3)
    which = (drawn @ SOUNDS.T).argmax(1)
    assert np.allclose(drawn, SOUNDS[which], atol=1e-6)
    assert np.abs(np.bincount(which, minlength=9) / 1000 - (shares @ sounds_of)[0]).max() < 0.05


def test_a_rows_draws_are_its_own_and_many_come_near_the_mean():
    bridge = make()
    alone, together = bridge.map(PICTURES[:2], 5, "draw"), bridge.map(PICTURES, 5, "draw")
    assert np.array_equal(alone, together[:2]) and not np.array_equal(bridge.map(PICTURES, 6, "draw"), together)
    assert (bridge.map(PICTURES, 0, "draw", draws=1000) * bridge.map(PICTURES)).sum(1).min() > 0.99


def test_without_sounds_the_answer_lies_among_the_words():
    none = np.zeros((0, 8), np.float32)
    mixed = by_hand()[0] @ HEARD
    assert np.allclose(make(none).map(PICTURES), mixed / np.linalg.norm(mixed, axis=1, keepdims=True), atol=1e-5)
    assert (make(none).map(PICTURES, 0, "draw") @ HEARD.T).max(1) == pytest.approx(1, abs=1e-5)


def test_unknown_forms_and_no_draws_are_refused_and_no_rows_are_mapped_to_none():
    for wrong in ({"form": "mode"}, {"form": "draw", "draws": 0}):
        with pytest.raises(ValueError, match="mean or draw"):
            make().map(PICTURES, **wrong)
    assert make().map(PICTURES[:0]).shape == (0, 8)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    save_mapper(make(form="draw"), tmp_path)
    loaded = load_mapper(tmp_path)
    assert loaded.kind == "words" and loaded.sentences == [f"seen {number}" for number in range(5)]
    assert np.allclose(loaded.attention(PICTURES), make().attention(PICTURES), atol=5e-3)  # half precision in files
    assert np.allclose(loaded.map(PICTURES), make(form="draw").map(PICTURES), atol=5e-3)


# ----------------------------------------------------------------------------------------------- sentences and sounds


def test_a_file_of_sentences_is_read_line_by_line(tmp_path):
    (tmp_path / "words.txt").write_text("\ufeffa dog barks\n\n# a remark\na photo of rain \t rain falls\na dog barks\n",
                                        encoding="utf-8")
    assert read_sentences(tmp_path / "words.txt") == [("a dog barks", "a dog barks"), ("a photo of rain", "rain falls")]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\xfa", b"a\tb\tc\n", b"a\t\n", None])
def test_what_is_no_file_of_sentences_is_named(tmp_path, content):
    path = tmp_path / "words.txt"
    path.write_bytes(content) if content is not None else None
    with pytest.raises(ValueError) as caught:
        read_sentences(path)
    assert_one_sentence(str(caught.value), path)


def listed(name: str) -> tuple[list[str], list[str]]:
    """Names of a shipped vocabulary that are in, and those that are left out."""
    lines = (VOCABULARIES / f"{name}.txt").read_text().splitlines()
    kept = [re.fullmatch(r"a photo of (.+)\tthe sound of (.+)", line) for line in lines if line[0] != "#"]
    assert all(match and match[1] == match[2] for match in kept)
    return [match[1] for match in kept], [line[3:] for line in lines if line.startswith("#- ")]


def test_the_vocabularies_are_whole_and_say_where_they_come_from():
    kept, left_out = listed("audioset")
    assert len(set(kept)) + len(set(left_out)) == 527 and set(left_out) > TOO_GENERAL
    lowered = {name.lower() for name in kept + left_out}
    assert {name.lower() for names in RIGHT_FOR_IMAGEHEAR.values() for name in names} <= lowered
    kept, left_out = listed("vggsound")
    assert len(set(kept)) == 309 and not left_out and "playing saxophone" in kept
    for path in VOCABULARIES.glob("*.txt"):
        head = path.read_text().split("\na ")[0]
        assert "Source: " in head and "Licence" in head, path


def test_soundworlds_sentences_are_one_for_both_and_use_words_that_the_encoders_know():
    sentences = read_sentences(VOCABULARIES / "soundworld.txt")
    assert all(seen == heard for seen, heard in sentences) and len(sentences) == 20 * 3 * 5 + 190
    assert {word for seen, _ in sentences for word in seen.split()} <= set(vocabulary())


def test_sentences_are_embedded_once_for_each_encoder(stack, cache, monkeypatch):
    words = [("a dog", "a dog"), ("a cat", "a cat meowing")]
    first = building.embed_sentences(stack, words)
    assert np.allclose(first[0], stack.vision.embed_texts(["a dog", "a cat"]), atol=1e-6)
    assert np.allclose(first[1], stack.audio.embed_texts(["a dog", "a cat meowing"]), atol=1e-6)
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(building, "_batched", lambda *given: pytest.fail("embedded again"))
    assert all(np.array_equal(one, two) for one, two in zip(first, building.embed_sentences(stack, words)))
    monkeypatch.undo()
    monkeypatch.setenv("V2A_CACHE", str(cache.parent))
    monkeypatch.setattr(building, "weights_sha256", lambda place: "another encoder's")
    building.embed_sentences(stack, words)
    assert len(list(cache.iterdir())) == 4


def test_a_folder_of_sounds_is_embedded_and_what_cannot_be_read_is_said(stack, tmp_path, capsys):
    folder = tmp_path / "sounds" / "deeper"
    folder.mkdir(parents=True)
    soundfile.write(folder / "tone.wav", sine(440), 16_000)
    soundfile.write(folder.parent / "high.flac", sine(1200), 16_000)
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "note.txt").write_text("no sound either")
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    rows = unpaired_sounds(stack, folder.parent)
    assert rows.shape == (2, 64) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    told = capsys.readouterr().out
    assert str(folder / "broken.wav") in told and f"{folder / 'silence.wav'}: silent or constant" in told
    for place in (tmp_path / "nothing", folder / "note.txt"):
        with pytest.raises(ValueError) as caught:
            unpaired_sounds(stack, place)
        assert_one_sentence(str(caught.value), place)


def write_store(path, clap_sha256: str) -> np.ndarray:
    rows = unit_rows(3, 64, 9)
    Store(path).write(0, list("abc"), [Row(name, None, None, None, row, row) for name, row in zip("abc", rows)], [],
                      {"visual": 64, "audio": 64}, {"aggregate": "mean", "clap_sha256": clap_sha256})
    return rows


def test_a_store_gives_its_sounds_and_one_of_another_clap_is_refused(stack, tmp_path):
    rows = write_store(tmp_path / "mine", state_sha256(stack.audio.model))
    assert np.allclose(unpaired_sounds(stack, tmp_path / "mine"), rows)
    write_store(tmp_path / "other", "0" * 64)
    with pytest.raises(ValueError, match="another CLAP"):
        unpaired_sounds(stack, tmp_path / "other")


def test_a_cloud_of_another_width_is_refused(stack):
    with pytest.raises(ValueError, match="8 dimensions"):
        build_bridge(stack, [("a dog", "a dog")], SOUNDS)


# ------------------------------------------------------------------------------------------------------ on SoundWorld


def test_the_shipped_bridge_is_that_of_the_shipped_sentences(stack):
    shipped = trained_mapper(stack, "words")
    again = words_bridge(stack, VOCABULARIES / "soundworld.txt")
    visual = embed_world(stack, "test", 16).visual
    assert shipped.sentences == again.sentences and len(shipped.sounds) == len(again.sounds) == 2000
    assert (shipped.map(visual) * again.map(visual)).sum(1).min() > 0.999
    config = json.loads((stack.config.extras / "mappers" / "words" / "config.json").read_text())
    assert config["visual_scale"] == pytest.approx(float(stack.vision.model.logit_scale.exp()), rel=1e-4)
    assert config["audio_scale"] == pytest.approx(float(stack.audio.model.logit_scale_a.exp()), rel=1e-4)


@pytest.mark.quality
def test_sounds_bring_words_home_and_sentences_tell_more_than_names(stack):
    table = embed_world(stack, "test", 64)
    names = [(class_prompt(name, "sound"),) * 2 for name in CLASSES]
    cosines = {
        "words alone": build_bridge(stack, names, None), "names": words_bridge(stack, names),
        "sentences": words_bridge(stack),
    }
    cosines = {name: gap.pair_cosines(one.map(table.visual), table.audio).mean() for name, one in cosines.items()}
    assert cosines["words alone"] < 0.5 < 0.65 < cosines["names"] < 0.8 < 0.87 < cosines["sentences"]


@pytest.mark.quality
def test_no_other_temperatures_are_much_better_than_those_that_the_encoders_learned(stack):
    table, bridge = embed_world(stack, "test", 64), words_bridge(stack)
    found = {}
    for seen, heard in [(1, 1), (0.25, 1), (4, 1), (1, 0.25), (1, 4)]:
        scales = {"visual_scale": seen * bridge.config["visual_scale"],
                  "audio_scale": heard * bridge.config["audio_scale"]}
        other = make(bridge.sounds.numpy(), bridge.seen.numpy(), bridge.heard.numpy(), **scales)
        found[seen, heard] = gap.pair_cosines(other.map(table.visual), table.audio).mean()
    assert max(found.values()) - found[1, 1] < 0.01


def test_commands_make_a_bridge_and_use_it(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("the sound of a dog barking\nthe sound of a cat meowing\n")
    Image.new("RGB", (40, 40), "green").save(tmp_path / "green.png")
    soundfile.write(tmp_path / "tone.wav", sine(440), 16_000)
    given = ["--words", str(tmp_path / "words.txt"), "--sounds", str(tmp_path)]
    assert main(["bridge", *given, "--out", str(tmp_path / "bridge"), "--draw"]) == 0
    assert "2 sentences and 1 sounds" in capsys.readouterr().out
    assert load_mapper(tmp_path / "bridge").config["form"] == "draw"
    quick = ["--steps", "1", "--candidates", "1", "--out", str(tmp_path / "out")]
    assert main(["sound", str(tmp_path / "green.png"), "--mapper", "words", *given, *quick]) == 0
    assert (tmp_path / "out" / "green.wav").is_file()
    assert main(["sound", str(tmp_path / "green.png"), "--mapper", "regression", *given, *quick]) == 2
    assert "--mapper" in capsys.readouterr().err

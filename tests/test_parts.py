"""Every part of a stack missing in turn: always a sound or one sentence with the remedy, never a traceback."""

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_one_sentence, write_video
from PIL import Image

from v2a_utils.__main__ import main
from v2a_utils.models.clip import Familiarity
from v2a_utils.pipeline import SoundOptions, map_embeddings, mapper_choices, picture_to_sound, settle
from v2a_utils.stacks.places import PARTS
from v2a_utils.stacks.stack import Stack, load_stack

QUICK = ["--steps", "1", "--seconds", "0.5", "--stack", "paper"]
FILES = {  # what is taken away for a part to be missing, below the folder of `make_paper`
    "clip": "clip", "audioldm": "audioldm", "clap": "clap", "words": "audioldm/text_encoder",
    "tagger": "extras/tagger", "familiarity": "extras/familiarity.safetensors", "mappers": "extras/mappers",
    "extras": "extras", "wav2clip": "extras/wav2clip",
}
NECESSARY = {"clip", "audioldm", "words"}  # the text tower makes the null embedding


@pytest.fixture
def without(paper_weights_of_the_run, tmp_path, monkeypatch):
    """Lays the stack out without some parts; returns the folder."""
    def lay_out(*parts: str) -> Path:
        folder = tmp_path / "paper"
        shutil.copytree(paper_weights_of_the_run, folder, copy_function=lambda source, target: Path(target).hardlink_to(source))
        for part in parts:
            path = folder / FILES[part]
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for part in ("clip", "clap", "audioldm", "extras"):
            monkeypatch.setenv(f"V2A_{part.upper()}", str(folder / FILES[part]))
        monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
        return folder

    return lay_out


@pytest.fixture
def green(tmp_path) -> Path:
    Image.new("RGB", (60, 40), "green").save(tmp_path / "green.png")
    return tmp_path / "green.png"


CASES = [(part,) for part in FILES] + [("mappers", "clap", "tagger", "familiarity"), ("mappers", "clap", "words")]


@pytest.mark.parametrize("missing", CASES, ids="+".join)
def test_sound_is_made_or_refused_in_one_sentence(without, green, tmp_path, capsys, missing):
    folder = without(*missing)
    status = main(["sound", str(green), *QUICK, "--candidates", "2", "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    if NECESSARY & set(missing):
        assert status == 2 and not (tmp_path / "out" / "green.wav").exists()
        line, = [line for line in said.err.splitlines() if line.startswith("error")]
        assert_one_sentence(line, folder)
        assert "fetch --for" in line
    else:
        assert status == 0 and (tmp_path / "out" / "green.wav").is_file()
        told = {"clap": "one sound is made", "tagger": "no tagger", "familiarity": "how familiar", "mappers": "takes its place"}
        for part, words in told.items():
            gone = {part, "extras"} & set(missing) if part != "clap" else part in missing
            assert said.out.count(words) == bool(gone), part
    assert "Traceback" not in said.err


@pytest.mark.parametrize("missing", ["clip", "clap", "audioldm", "tagger"])
def test_embed_needs_the_encoders_alone_and_says_which_is_missing(without, tmp_path, capsys, missing):
    folder = without(missing)
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "film.mp4", [100] * 5, sound=True)
    status = main(["embed", str(tmp_path / "clips"), "--out", str(tmp_path / "store"), "--stack", "paper"])
    said = capsys.readouterr()
    # a published CLAP would need AudioLDM's tokenizer too
    assert status == (2 if missing in ("clip", "clap") else 0) and "Traceback" not in said.err
    if status:
        line, = [line for line in said.err.splitlines() if line.startswith("error")]
        assert_one_sentence(line, folder)


def test_a_first_sound_needs_no_clap_checkpoint_and_no_training(without, green, capsys):
    without("mappers", "clap", "extras")
    stack = load_stack("paper", "cpu")
    sound = picture_to_sound(stack, [Image.open(green)], SoundOptions(steps=1, seconds=0.5))
    assert sound.heard == [] and sound.out_of_distribution is None and sound.similarity is None
    assert np.abs(sound.waveform).max() > 0 and "audio" not in stack.__dict__
    assert np.allclose(sound.mapped, map_embeddings(stack, sound.visual[None], "words")[0])
    assert mapper_choices(stack) == ["words", "none"]


def test_a_missing_text_tower_belongs_to_the_audioldm_folder(without):
    without("clap", "words")
    with pytest.raises(ValueError, match="CLAP's text tower is not there; .* V2A_AUDIOLDM can name a copy"):
        load_stack("paper", "cpu").place("words")


def test_clap_is_not_loaded_for_a_single_candidate(without, green):
    without()
    stack = load_stack("paper", "cpu")
    sound = picture_to_sound(stack, [Image.open(green)], SoundOptions(steps=1, seconds=0.5, candidates=1))
    assert sound.similarity is None and sound.heard and sound.out_of_distribution is not None
    assert "audio" not in stack.__dict__


def test_what_is_absent_is_said_once_a_run(without, green, capsys):
    without("tagger")
    stack = load_stack("paper", "cpu")
    for _ in range(3):
        settle(stack, SoundOptions())
    assert capsys.readouterr().out.count("tagger") == 1


def test_words_are_embedded_alike_with_and_without_claps_checkpoint(without):
    without()
    stack = load_stack("paper", "cpu")
    words = ["a dog barking", "", "rain"]
    assert np.allclose(stack.embed_words(words), stack.audio.embed_texts(words), atol=1e-4)
    stack.release_texts()
    assert stack.embed_words(words).shape == (3, stack.audio.embed_dim)
    with pytest.raises(ValueError, match="let go"):
        stack.audio.embed_texts(words)


def test_a_mappers_own_familiarity_is_preferred(without, green):
    folder = without()
    visual = load_stack("paper", "cpu").vision.embed_frames([Image.open(green)])
    for limit, strange in ((-1.0, True), (1e9, False)):
        own = folder / "extras" / "mappers" / "regression"
        (own / "familiarity.safetensors").unlink(missing_ok=True)
        Familiarity(visual, np.eye(len(visual), dtype=np.float32), limit).save(own / "familiarity.safetensors")
        options = SoundOptions(mapper=str(own), steps=1, seconds=0.5, candidates=1)
        assert picture_to_sound(load_stack("paper", "cpu"), [Image.open(green)], options).out_of_distribution == strange


def test_every_part_can_be_asked_for(stack: Stack):
    assert all(stack.has(part) for part in PARTS)
    assert all(stack.place(part).exists() for part in PARTS)
    for one, other in combinations(("clip", "clap", "audioldm", "tagger"), 2):
        assert stack.place(one) != stack.place(other)

"""The `paper` stack on checkpoints of the real formats with random weights: files, checks, downloads, one notebook.

`pytest --slow` adds the test at the real sizes (about 5 GB of disk, several minutes).
"""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import diffusers
import nbformat
import numpy as np
import pytest
import soundfile
import torch
from conftest import NO_UMAP, ROOT, assert_one_sentence, offline_environment, run_notebook, sine, unit_rows
from paper_weights import (
    SMALL,
    audioldm_checkpoint,
    clap_config,
    clap_state,
    htsat_config,
    laion_checkpoint,
    make_framewise,
    make_paper,
    make_tokenizer,
    peers_clap,
    roberta_config,
    text_tower,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from v2a_utils.__main__ import main
from v2a_utils.mappers.photographs import seen_by_clip
from v2a_utils.mappers.registry import put_mapper, words_bridge
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.clap import CONFIGS, PATCHES, PROMPTS, audioldm_texts, load_clap, read_null
from v2a_utils.models.clip import VisionEncoder
from v2a_utils.stacks.places import stack_config
from v2a_utils.stacks.stack import Stack, best_device, load_stack, usable

PLACES = ("V2A_CLIP", "V2A_CLAP", "V2A_AUDIOLDM", "V2A_EXTRAS", "V2A_CACHE")


@pytest.fixture(scope="module")
def folder(paper_folder) -> Path:
    """A paper stack of small widths, its parts as files."""
    return paper_folder


@pytest.fixture(autouse=True)
def small_published_clap(monkeypatch):
    """As if AudioLDM's CLAP were of the small widths."""
    monkeypatch.setitem(CONFIGS, SMALL.htsat[0], clap_config(SMALL))


@pytest.fixture
def places(folder, monkeypatch) -> dict[str, str]:
    """The environment names the parts in `folder`."""
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    named = {"V2A_CLIP": folder / "clip", "V2A_CLAP": folder / "clap", "V2A_AUDIOLDM": folder / "audioldm",
             "V2A_EXTRAS": folder / "extras"}
    for name, path in named.items():
        monkeypatch.setenv(name, str(path))
    return named


@pytest.fixture
def paper(places) -> Stack:
    return load_stack("paper", "cpu")


def small_clap(seed: int = 0) -> torch.nn.Module:
    """The CLAP of `folder` for seed 0, another of the same shapes for others."""
    torch.manual_seed(seed)
    return peers_clap(SMALL)


# -------------------------------------------------------------------------------------------------------------- CLAP


@pytest.mark.parametrize("kind", [audioldm_checkpoint, laion_checkpoint, clap_state], ids=lambda kind: kind.__name__)
def test_clap_is_read_out_of_every_published_kind_of_checkpoint(folder, tmp_path, kind):
    clap = small_clap()
    torch.save(kind(clap), tmp_path / "clap.pt")
    encoder = load_clap(tmp_path / "clap.pt", folder / "audioldm")
    wave = torch.from_numpy(sine(440, 48_000, 480_000))[None]
    with torch.inference_mode():
        theirs = clap.audio_projection(clap.audio_branch({"waveform": wave}, device="cpu")["embedding"])
        theirs = torch.nn.functional.normalize(theirs, dim=-1)
        assert torch.allclose(encoder.model.embed_audio(wave), theirs, atol=1e-4)
    assert encoder.model.config["audio_cfg"]["htsat"] == htsat_config(SMALL)
    assert encoder.model.config["text_cfg"] == roberta_config(SMALL)


@pytest.mark.parametrize("width, depths, name", [(96, [2, 2, 6, 2], "tiny"), (128, [2, 2, 12, 2], "base")])
def test_the_published_towers_are_told_by_their_width(width, depths, name):
    sizes = replace(SMALL, htsat=(width, depths, [4, 8, 16, 32]))
    found = CONFIGS[len(peers_clap(sizes).state_dict()[PATCHES])]["audio_cfg"]
    assert found["htsat"] == htsat_config(sizes) and found["model_name"] == name


def test_a_clap_with_another_audio_tower_is_named(folder, tmp_path):
    torch.save(laion_checkpoint(peers_clap(SMALL, "PANN")), tmp_path / "pann.pt")
    with pytest.raises(ValueError, match="holds no CLAP that AudioLDM was trained with") as caught:
        load_clap(tmp_path / "pann.pt", folder / "audioldm")
    assert_one_sentence(str(caught.value), tmp_path / "pann.pt")


def test_another_clap_than_audioldms_is_refused_with_the_reason(folder, tmp_path):
    torch.save(laion_checkpoint(small_clap(1)), tmp_path / "630k.pt")
    with pytest.raises(ValueError, match="cosine of only .* noise .*Zenodo") as caught:
        load_clap(tmp_path / "630k.pt", folder / "audioldm")
    assert_one_sentence(str(caught.value), tmp_path / "630k.pt")


def test_text_towers_that_differ_a_little_in_precision_agree(folder, tmp_path):
    torch.save(clap_state(small_clap().half()), tmp_path / "half.pt")
    load_clap(tmp_path / "half.pt", folder / "audioldm")


class Trap:
    """Pickled code: unpickling it would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(folder, tmp_path):
    torch.save({"state_dict": clap_state(small_clap()), "callbacks": Trap(tmp_path / "sprung")}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError) as caught:
        load_clap(tmp_path / "trap.ckpt", folder / "audioldm")
    assert_one_sentence(str(caught.value), tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()


def damaged_state(kind: str) -> dict | bytes:
    state = clap_state(small_clap())
    if kind == "without a layer":
        return {name: value for name, value in state.items() if "audio_projection.0" not in name}
    return {"text": b"no weights", "pickle": pickle.dumps({"a": 1}), "no CLAP": {"unet.weight": torch.zeros(1)}}[kind]


@pytest.mark.parametrize("kind", ["without a layer", "text", "pickle", "no CLAP"])
def test_what_holds_no_whole_clap_is_named(folder, tmp_path, kind):
    path, content = tmp_path / "clap.pt", damaged_state(kind)
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError) as caught:
        load_clap(path, folder / "audioldm")
    assert str(path) in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("without", [None, "tokenizer.json", "special_tokens_map.json"])
def test_a_published_tokenizer_is_read_from_whichever_of_its_files_are_there(tmp_path, without):
    make_tokenizer(tmp_path / "tokenizer", 300)
    vocabulary = json.loads((tmp_path / "tokenizer" / "vocab.json").read_text())
    if without:
        (tmp_path / "tokenizer" / without).unlink()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    expected = [0, *(vocabulary[token] for token in ("a", "Ġd", "o", "g")), 2]
    assert len(tokenizer) == 300 and tokenizer("a dog").input_ids == expected


def test_an_audioldm_folder_with_an_empty_tokenizer_is_refused(tmp_path):
    make_tokenizer(tmp_path / "audioldm" / "tokenizer", 4)
    torch.save(clap_state(small_clap()), tmp_path / "clap.pt")
    (tmp_path / "audioldm" / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "audioldm" / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "audioldm" / "tokenizer" / "vocab.json").write_text('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}')
    with pytest.raises(ValueError, match="tokenizer knows"):
        load_clap(tmp_path / "clap.pt", tmp_path / "audioldm")


# ---------------------------------------------------------------------------------------------------- null embedding


def test_null_embedding_is_made_once_and_then_needs_no_text_tower(folder, tmp_path):
    audioldm, extras = tmp_path / "audioldm", tmp_path / "extras"
    subprocess.run(["cp", "-r", folder / "audioldm", audioldm], check=True)
    made = read_null(audioldm, extras)
    assert np.allclose(made, load_clap(folder / "audioldm.ckpt", audioldm).embed_texts([""])[0], atol=1e-3)  # LayerNorm's epsilon differs
    (audioldm / "text_encoder").rename(tmp_path / "away")
    assert np.array_equal(read_null(audioldm, extras), made)
    with pytest.raises(ValueError, match="text_encoder"):
        read_null(audioldm, tmp_path / "nothing")
    text_tower(small_clap(1)).save_pretrained(audioldm / "text_encoder")  # another AudioLDM in the same place
    assert read_null(audioldm, extras) @ made < 0.99


# --------------------------------------------------------------------------------------------------------- the stack


def test_sound_command_works_on_the_paper_stack(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_STACK", "paper")
    Image.new("RGB", (60, 40), "green").save(tmp_path / "green.png")
    options = ["--steps", "1", "--candidates", "1", "--exclude", "speech", "--out", str(tmp_path)]
    assert main(["sound", str(tmp_path / "green.png"), *options]) == 0
    info = soundfile.info(tmp_path / "green.wav")
    assert (info.samplerate, info.duration) == (16_000, 10.0)  # as AudioLDM's own and the paper's sounds


def test_of_the_bridge_over_words_the_five_likeliest_sentences_are_told(paper, monkeypatch):
    sentences = [(f"a photo of {name}", name) for name in ("a dog", "a cat", "a car", "rain", "a bell", "a train")]
    monkeypatch.setitem(paper.cache, "put mappers", {})
    put_mapper(paper, "words", words_bridge(paper, sentences))
    seen = seen_by_clip(paper, unit_rows(1, paper.vision.embed_dim)[0], "words")
    names, shares = zip(*seen)
    assert len(seen) == 5 and set(names) < {name for name, _ in sentences}
    assert list(shares) == sorted(shares, reverse=True) and 5 / 6 < sum(shares) < 1
    assert not seen_by_clip(paper, unit_rows(1, paper.vision.embed_dim)[0], "regression")


def test_text_in_sound_out_is_that_of_diffusers_own_pipeline(paper, folder):
    pipeline_class = getattr(diffusers, "AudioLDMPipeline", None)
    if pipeline_class is None:
        pytest.skip("this diffusers has no AudioLDMPipeline any more")
    pipeline = pipeline_class.from_pretrained(folder / "audioldm")
    pipeline.set_progress_bar_config(disable=True)
    prompts, started = list(PROMPTS[1:3]), []
    hook = paper.generator.unet.register_forward_pre_hook(lambda module, inputs: started.append(inputs[0].clone()))
    ours = paper.generator.generate(paper.audio.embed_texts(prompts), 2, 2.5, 2.56, 3, scheduler="ddim")
    hook.remove()
    theirs = pipeline(prompts, 2.56, 2, 2.5, latents=started[0][:2]).audios
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same_latents(paper, places, dtype):
    half = Generator.load(places["V2A_AUDIOLDM"], paper.generator.null_embedding, dtype=dtype)
    assert half.unet.dtype == half.vae.dtype == dtype
    torch.manual_seed(0)
    noise, conditions = torch.randn(1, 8, 16, 16), torch.from_numpy(paper.audio.embed_texts(["rain"]))
    exact, rough = (one.denoise(noise, conditions, 3, 2.0) for one in (paper.generator, half))
    assert rough.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(rough.flatten(), exact.flatten(), dim=0)
    mels = [generator.decode(exact).flatten() for generator in (half, paper.generator)]
    assert min(cosine, torch.nn.functional.cosine_similarity(*mels, dim=0)) >= 0.999


def test_clip_file_that_does_not_fit_is_named(places, tmp_path, monkeypatch):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "clip.pt")
    monkeypatch.setenv("V2A_CLIP", str(tmp_path / "clip.pt"))
    with pytest.raises(ValueError) as caught:
        load_stack("paper", "cpu").vision
    assert_one_sentence(str(caught.value), tmp_path / "clip.pt")


def test_a_clip_folder_with_a_damaged_configuration_is_named(places, tmp_path, monkeypatch):
    (tmp_path / "open_clip_config.json").write_text("{")
    monkeypatch.setenv("V2A_CLIP", str(tmp_path))
    with pytest.raises(ValueError, match=f"{tmp_path}: no CLIP weights that fit"):
        load_stack("paper", "cpu").vision


def test_a_folder_that_is_no_audioldm_is_named(places, tmp_path, monkeypatch):
    (tmp_path / "null").mkdir()
    monkeypatch.setenv("V2A_AUDIOLDM", str(tmp_path / "null"))
    with pytest.raises(ValueError, match=str(tmp_path / "null")):
        load_stack("paper", "cpu").generator


def test_what_no_variable_names_lies_in_the_cache(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    for name in ("V2A_CLIP", "V2A_EXTRAS"):
        monkeypatch.delenv(name)
    config = stack_config("paper")
    assert config.clip == tmp_path / "cache" / "clip" and config.extras == tmp_path / "cache" / "extras"
    assert config.clap == places["V2A_CLAP"]


# ---------------------------------------------------------------------------------------------------------- notebook


def on_paper(name: str, monkeypatch, numbers: dict[str, int], before: str = "") -> list[nbformat.NotebookNode]:
    """The cells of a lesson executed on the paper stack, with fewer clips than it has: `numbers` of its first cell."""
    monkeypatch.setenv("V2A_STACK", "paper")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return run_notebook(ROOT / "notebooks" / name, numbers, before)


@pytest.mark.slow
def test_a_notebook_runs_on_the_paper_stack_by_its_name_alone(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    # the towers hear ten seconds of each clip; seed 13 has every class that the notebook looks for among so few scenes
    few = {"SEED": 13, "SCENES": 64, "MOVED": 4, "FILMS": 2, "STEPS": 1}
    done = on_paper("01_embedding_extraction.ipynb", monkeypatch, few)
    outputs = [output for cell in done for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") + str(output.get("data", "")) for output in outputs)
    assert f"224 x 224 kept, {SMALL.joint} dimensions out" in said
    assert "Not found on the stack paper: By sentences alone" in said  # random weights name nothing


def test_the_bridge_over_words_works_on_the_paper_stack(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    bridge = words_bridge(paper)
    assert len(bridge.sentences) == 349 + 309 and not len(bridge.sounds)
    assert bridge.map(paper.vision.embed_images([Image.new("RGB", (60, 40), "green")])).shape == (1, SMALL.joint)
    soundfile.write(tmp_path / "tone.wav", sine(440), 16_000)
    (tmp_path / "words.txt").write_text("a dog\na cat\n")
    mine = words_bridge(paper, tmp_path / "words.txt", tmp_path)
    assert len(mine.sounds) == 1 and mine.config["audio_scale"] > 0


@pytest.mark.slow
def test_the_notebook_on_the_gap_runs_on_the_paper_stack(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    few = {"PAIRS": 100, "TESTS": 100, "HEARD": 3, "STEPS": 1, "DRAWN": 30}
    on_paper("02_domain_gap.ipynb", monkeypatch, few, NO_UMAP)


@pytest.mark.slow
def test_the_first_notebook_runs_on_the_paper_stack(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    on_paper("00_picture_to_sound.ipynb", monkeypatch, {"N_SCENES": 4, "N_SOUNDS": 2, "STEPS": 2})


@pytest.mark.slow
def test_the_notebook_without_pairs_runs_on_the_paper_stack(places, tmp_path, monkeypatch):
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    few = {"PAIRS": 24, "SOUNDS": 2, "STEPS": 1, "SPREAD": 3, "DRAWS": 10}
    on_paper("06_no_pairs.ipynb", monkeypatch, few, NO_UMAP)


LESSONS = {  # how the others are made small; each takes too long for every run of the tests: --slow runs them
    "03_mapper_training": {"TRAIN_PAIRS": 24, "TEST_PAIRS": 24, "TRAINING_STEPS": 2, "STEPS": 1, "DRAWS": 4,
                           "TRUE_SOUNDS": 2, "SPREAD_SCENES": 2},
    "04_audioldm_generation": {"JUDGED": 4, "DICE": 4, "STEPS": 1, "ENOUGH": 2},
    "05_evaluation": {"SCENES": 8, "MANY": 400, "STEPS": 1, "PLAYED": 1, "BLIND": 1},
    "07_the_paper": {"STEPS": 1, "PICTURES": 4},
    "08_time": {"FILMS": 8, "GUIDED": 1, "STEPS": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_other_lesson_runs_on_the_paper_stack(lesson, places, paper_folder, tmp_path, monkeypatch):
    make_framewise(paper_folder)  # lesson 05 measures FAD
    monkeypatch.setenv("V2A_CACHE", str(tmp_path / "cache"))
    on_paper(f"{lesson}.ipynb", monkeypatch, LESSONS[lesson])


# --------------------------------------------------------------------------------------------------------- real size


INFERENCE = """
import resource
from PIL import Image
from v2a_utils.stacks.stack import load_stack
from v2a_utils.pipeline import SoundOptions, picture_to_sound
stack = load_stack()
sound = picture_to_sound(stack, [Image.new("RGB", (640, 360), "green")], SoundOptions(steps=2, candidates=3))
assert sound.waveform.shape == (160_000,)
unet = sum(p.numel() for p in stack.generator.unet.parameters())
print(unet, stack.audio.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_the_real_sizes_fit_into_six_gigabytes(tmp_path):
    names = make_paper(tmp_path, full=True)
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", INFERENCE], env=offline_environment() | names,
                         capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    unet, name, peak = run.stdout.split()[-3:]
    print(f"peak memory {peak} GiB")
    assert round(int(unet) / 1e6, 1) == 185.0 and name == "HTSAT-tiny"
    assert float(peak) < 6


@pytest.mark.parametrize("part", ["unet", "vae", "vocoder", "text_encoder"])
def test_weights_that_lack_something_are_refused_and_not_filled_with_random_numbers(paper_folder, tmp_path, part):
    """The libraries would only log it, and every sound would be noise."""
    folder = shutil.copytree(paper_folder / "audioldm", tmp_path / "audioldm")
    path = next((folder / part).glob("*.safetensors"))
    state = load_file(path)
    state.pop(sorted(name for name in state if name.endswith("weight"))[0])
    save_file(state, path, {"format": "pt"})
    with pytest.raises(ValueError, match="1 of its weights are missing"):
        if part == "text_encoder":
            audioldm_texts(folder, ["a dog"])
        else:
            Generator.load(folder, np.zeros(8, np.float32))


def test_a_torchscript_archive_is_refused_in_a_sentence(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(ValueError, match="TorchScript") as caught:
        VisionEncoder.load_published("ViT-B-32-quickgelu", tmp_path / "ViT-B-32.pt")
    assert_one_sentence(str(caught.value), tmp_path / "ViT-B-32.pt")


def test_a_gpu_that_pytorch_was_not_built_for_is_left_alone(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for capability, device in (((7, 0), "cpu"), ((7, 5), "cuda"), ((9, 0), "cuda")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert best_device() == device
    assert "Tesla V100 has compute capability 7.0" in capsys.readouterr().out
    with pytest.raises(ValueError, match="device is cuda:99"):
        usable("cuda:99")

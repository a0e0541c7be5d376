"""The training loop survives a kill to the bit, complains about bad losses, and pretrains a whole stack."""

import json
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file
from soundworld import draw, make_scene
from soundworld.captions import vocabulary
from torch import nn
from v2a_pretraining import clock, encoders, generator, run
from v2a_pretraining import data as pretraining_data
from v2a_pretraining.__main__ import main
from v2a_pretraining.augment import MixStyle
from v2a_pretraining.encoders import shrunk, write_bpe
from v2a_pretraining.generator import train_adapter, train_decoder, train_unet, train_vocoder
from v2a_pretraining.run import PARTS, TEMPERATURE, Pretraining

from v2a_utils.data.files import check_sums
from v2a_utils.event_adapter import EventAdapter
from v2a_utils.mappers import training
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.mappers.training import TrainConfig, fit, half_precision
from v2a_utils.models.mel import log_mel
from v2a_utils.models.vocoder import LearnedVocoder
from v2a_utils.stacks.places import MINI, StackConfig
from v2a_utils.stacks.stack import Stack

VAE_FILE = "diffusion_pytorch_model.safetensors"
SHRINK = 3000  # of data and steps, for a trial
CONFIG = TrainConfig(steps=30, batch_size=8, learning_rate=0.01, warmup=3, ema=0.9)


class Killed(KeyboardInterrupt):
    """The process ends here."""


@pytest.fixture
def save_every_step(monkeypatch):
    """A clock by which more than a minute passes between any two looks at it."""
    ticks = iter(range(0, 10**9, 100))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 2))


def loss_of(network, rows, generator):
    """A loss with noise of its own, and dropout in the network: everything that must be repeated after a kill."""
    inputs = torch.from_numpy(np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32))[rows]
    noise = 0.1 * torch.randn(inputs.shape, generator=generator)
    return ((network(inputs + noise) - inputs[:, :2]) ** 2).mean()


def killed_at(step: int):
    calls = iter(range(10**6))

    def loss(network, rows, generator):
        if next(calls) == step:
            raise Killed
        return loss_of(network, rows, generator)

    return loss


@pytest.mark.parametrize("step, muon", [(1, False), (2, False), (13, False), (29, False), (13, True)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, save_every_step, step, muon):
    whole, resumed, checkpoint, config = model(), model(), tmp_path / "run.pt", replace(CONFIG, muon=muon)
    wanted = fit(whole, loss_of, 50, config)
    with pytest.raises(Killed):
        fit(model(), killed_at(step), 50, config, checkpoint)
    assert checkpoint.is_file()
    torch.manual_seed(77)  # a new process starts with another global generator
    assert fit(resumed, loss_of, 50, config, checkpoint) == wanted
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path):
    with pytest.raises(Killed):
        fit(model(), killed_at(5), 50, CONFIG, tmp_path / "run.pt")  # by the real clock: nothing is saved yet
    assert not (tmp_path / "run.pt").exists()
    assert fit(model(), loss_of, 50, CONFIG, tmp_path / "run.pt") == fit(model(), loss_of, 50, CONFIG)


def test_a_kill_while_saving_leaves_the_last_checkpoint_whole(tmp_path, save_every_step, monkeypatch):
    saved, save = iter(range(10**6)), torch.save

    def half_saved(state, file):
        if next(saved) == 9:
            file.write(b"half a checkpoint")
            raise Killed
        save(state, file)

    monkeypatch.setattr(torch, "save", half_saved)
    with pytest.raises(Killed):
        fit(model(), loss_of, 50, CONFIG, tmp_path / "run.pt")
    assert fit(model(), loss_of, 50, CONFIG, tmp_path / "run.pt") == fit(model(), loss_of, 50, CONFIG)


def test_a_finished_run_is_not_trained_again(tmp_path):
    losses = fit(model(), loss_of, 50, CONFIG, tmp_path / "run.pt")
    assert fit(model(), killed_at(0), 50, CONFIG, tmp_path / "run.pt") == losses


@pytest.mark.parametrize("muon", [False, True])
def test_training_reduces_the_loss_and_ends_in_evaluation_mode(muon):
    network, config = model(), TrainConfig(300, batch_size=16, learning_rate=0.02, ema=0.9, warmup=10, muon=muon)
    losses = fit(network, loss_of, 50, config)
    assert len(losses) == 300 and np.mean(losses[-20:]) < 0.6 * np.mean(losses[:20])
    assert not network.training


def test_another_seed_gives_another_run():
    assert fit(model(), loss_of, 50, CONFIG) != fit(model(), loss_of, 50, TrainConfig(30, 8, 0.01, warmup=3, seed=1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_says_where(bad):
    calls = iter(range(100))

    def exploding(network, rows, generator):
        return loss_of(network, rows, generator) * (bad if next(calls) == 4 else 1)

    with pytest.raises(FloatingPointError, match="step 4"):
        fit(model(), exploding, 50, CONFIG)


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    fit(model(), loss_of, 50, CONFIG, tmp_path / "run.pt")
    other = TrainConfig(steps=31, batch_size=8, learning_rate=0.01, warmup=3, ema=0.9)
    with pytest.raises(ValueError, match="run.pt"):
        fit(model(), loss_of, 50, other, tmp_path / "run.pt")


# ------------------------------------------------------------------------------------------------------- pretraining


def test_rendered_data_belong_to_their_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining_data, "CHUNK", 8)
    rendered = pretraining_data.render("val", tmp_path, shrink=50, workers=1)
    assert len(rendered.scenes) == len(rendered.pictures) == len(rendered.sounds) == 20
    for row in (0, 8, 19):
        assert np.array_equal(rendered.pictures[row], np.asarray(draw(rendered.scenes[row])))
    assert np.allclose(rendered.targets().sum(1), 1)


def test_a_run_says_how_long_each_part_took(pretrained):
    out, _ = pretrained
    times = json.loads((out / "TIMES.json").read_text())
    assert set(times) == {"rendering", *PARTS, "finishing"}
    assert all(part["wall"] > 0 and part["core"] >= 0 for part in times.values())  # of a processor in hundredths


def test_the_clock_goes_on_where_it_was_stopped_and_forgets_no_part(tmp_path, monkeypatch):
    now = {"wall": 100.0, "core": 10.0}
    monkeypatch.setattr(clock, "_now", lambda: dict(now))
    for minutes in (1, 2):
        with clock.Clock(tmp_path / "times.json").running("clip"):
            now["wall"] += 60 * minutes
            now["core"] += 30 * minutes
    with clock.Clock(tmp_path / "times.json").running("vae"):
        now["wall"] += 5
    assert clock.Clock(tmp_path / "times.json").read() == {
        "clip": {"wall": 180.0, "core": 90.0}, "vae": {"wall": 5.0, "core": 0.0}}


def test_a_killed_part_has_counted_until_its_last_tick(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "TICK", 0.01)
    entry = clock.Clock(tmp_path / "times.json").running("clip")
    entry.__enter__()
    deadline = time.monotonic() + 20
    while not (tmp_path / "times.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "clip" in clock.Clock(tmp_path / "times.json").read()
    entry.ended.set()


def test_a_run_does_not_take_another_runs_work_for_its_own(pretrained, capsys):
    out, work = pretrained
    assert main(["run", "--out", str(out), "--work", str(work), "--shrink", "600"]) == 2
    assert str(work) in capsys.readouterr().err


def test_rendered_chunks_stay_in_step_with_their_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining_data, "CHUNK", 20)
    rendered = pretraining_data.render("val", tmp_path, shrink=25, workers=1)
    assert len(rendered.scenes) == len(rendered.pictures) == 40
    assert np.array_equal(rendered.pictures[39], np.asarray(draw(rendered.scenes[39])))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A stack trained on eight scenes for a handful of steps: (its folder, the working folder)."""
    folder = tmp_path_factory.mktemp("pretrain")
    arguments = ["run", "--out", str(folder / "mini"), "--work", str(folder / "work"), "--shrink", str(SHRINK)]
    assert main([*arguments, "--only", "tagger", "clip", "clap"]) == 0
    assert not (folder / "mini" / "SHA256SUMS").exists()  # not finished
    assert main(arguments) == 0
    return folder / "mini", folder / "work"


def test_pretraining_writes_what_a_stack_loads(pretrained):
    out, _ = pretrained
    check_sums(out)
    config = StackConfig("mini", "v2a-mini-clip", out / "clip", out / "clap", out / "audioldm", out, True)
    trained = Stack(config, "cpu")
    assert trained_mapper(trained, "diffusion").config["temperature"] == TEMPERATURE
    assert isinstance(trained.generator.vocoder, LearnedVocoder) and trained.generator.vocoder.dtype == torch.float32
    from conftest import plain_scene

    from v2a_utils.pipeline import SoundOptions, picture_to_sound

    for mapper in ("diffusion", "regression"):
        sound = picture_to_sound(trained, [draw(plain_scene())], SoundOptions(mapper=mapper, steps=2, candidates=1))
        assert np.isfinite(sound.waveform).all() and len(sound.waveform) == 40_960
    assert trained.wav2clip.embed([sound.waveform], 16_000).shape == (1, trained.vision.embed_dim)


def test_pretraining_writes_weights_in_the_libraries_formats_and_no_checkpoints(pretrained):
    out, _ = pretrained
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"audioldm/model_index.json", "audioldm/unet/diffusion_pytorch_model.safetensors",
            "audioldm/vae/diffusion_pytorch_model.safetensors", "audioldm/event_adapter.safetensors", "clip/v2a-mini-clip.json",
            "clip/open_clip_model.safetensors", "embeddings/val/part-000000.parquet", "clap/model.safetensors",
            "clap/tokenizer.json", "SHA256SUMS", "TIMES.json"} <= files
    assert {name.rsplit(".", 1)[-1] for name in files} <= {
        "safetensors", "json", "gz", "parquet", "csv", "SHA256SUMS"}
    listed = {line.split("  ", 1)[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert listed == files - {"SHA256SUMS"}
    for name in files:
        if name.endswith(".safetensors"):
            load_file(out / name)


def test_the_byte_pair_vocabulary_is_the_same_every_time_and_has_a_token_for_every_word(tmp_path):
    first, second = (write_bpe(tmp_path / f"{number}.gz").read_bytes() for number in range(2))
    assert first == second
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "0.gz"))
    assert {len(tokenizer.encode(word)) for word in vocabulary()} == {1}


@pytest.mark.parametrize("computes", [True, False])
def test_half_precision_is_for_processors_that_compute_in_it(monkeypatch, computes):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: computes)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with half_precision("cpu"):
        assert torch.is_autocast_enabled("cpu") == computes


@pytest.mark.parametrize("go_on", [True, False])
def test_the_unet_goes_on_with_the_weights_that_are_there(pretrained, tmp_path, go_on):
    out, _ = pretrained
    before = load_file(out / "audioldm" / "unet" / VAE_FILE)
    folder = shutil.copytree(out / "audioldm", tmp_path / "audioldm")
    still = TrainConfig(steps=2, batch_size=2, learning_rate=0.0, seed=1)
    train_unet(np.zeros((4, 16, 32, 8), np.float32), np.eye(4, 64, dtype=np.float32), np.zeros(64, np.float32), folder,
               tmp_path / "unet.pt", still, "cpu", go_on)
    after = load_file(folder / "unet" / VAE_FILE)
    assert all(torch.equal(after[name], value) for name, value in before.items()) == go_on


def test_the_adapter_learns_and_the_unet_stays(pretrained, tmp_path):
    folder = shutil.copytree(pretrained[0] / "audioldm", tmp_path / "audioldm")
    unet = (folder / "unet" / VAE_FILE).read_bytes()
    train_adapter(np.ones((4, 16, 32, 8), np.float32), np.eye(4, 64, dtype=np.float32),
                  np.array([[0.5, 1.0], [0.2, np.nan]] * 2), folder, tmp_path / "adapter.pt",
                  TrainConfig(steps=2, batch_size=2, warmup=0), "cpu")
    adapter = EventAdapter.load(folder)
    assert all(layer.weight.any() for layer in adapter.leave) and (folder / "unet" / VAE_FILE).read_bytes() == unet


def test_events_are_learned_as_a_film_would_show_them():
    onsets, shown = np.array([0.5, 1.5, np.nan]), np.random.default_rng(0)
    lines = np.stack([generator._as_shown(onsets, 256, shown) for _ in range(400)])
    near = [(line[0, place - 5 : place + 6] > 0.9).any() for line in lines for place in (50, 150)]
    assert 0.7 < np.mean(near) < 0.9  # some are missed, some hidden
    blind = lines[:, 1] > 0
    assert 0.2 < blind.any(1).mean() < 0.4 and not (lines[:, 0] > 0.99)[blind].any()
    assert (lines[:, 0, 80:120] > 0.9).any()  # and some are seen that are none


class Blank(nn.Module):
    """Stands for a UNet, and notes the times that it is asked about."""

    def __init__(self):
        super().__init__()
        self.weight, self.times = nn.Parameter(torch.ones(())), []

    def forward(self, noisy, times, encoder_hidden_states, class_labels):
        self.times += times.tolist()
        return SimpleNamespace(sample=noisy * self.weight)

    def set_attn_processor(self, processor):
        """There is no attention."""

    def save_pretrained(self, folder):
        """Nothing is kept."""


def test_low_noise_is_drawn_more_often_than_high_noise(tmp_path, monkeypatch):
    blank = Blank()
    monkeypatch.setattr(generator, "_new_unet", lambda dim: blank)
    train_unet(np.zeros((8, 1, 1, 1), np.float32), np.eye(8, dtype=np.float32), np.zeros(8, np.float32), tmp_path,
               tmp_path / "unet.pt", TrainConfig(steps=4, batch_size=512), "cpu")
    times = np.array(blank.times)
    assert times.min() >= 0 and 950 < times.max() < 1000  # pure noise is among them, for there every sound begins
    assert np.mean(times < 354) == pytest.approx(0.5, abs=0.05)  # 1000 * 0.5 ** 1.5


def test_training_the_decoder_on_leaves_the_encoder_and_so_the_latents_alone(pretrained, tmp_path):
    out, work = pretrained
    folder, before = tmp_path / "vae", load_file(out / "audioldm" / "vae" / VAE_FILE)
    shutil.copytree(out / "audioldm" / "vae", folder)
    data = pretraining_data.render("train", work / "data", shrink=SHRINK)
    latents = Pretraining(out, work, shrink=SHRINK).latents(data)
    train_decoder(latents, data, folder, tmp_path / "decoder.pt", TrainConfig(steps=3, batch_size=2), "cpu")
    after = load_file(folder / VAE_FILE)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)
    assert (folder / "config.json").read_text() == (out / "audioldm" / "vae" / "config.json").read_text()


def test_embeddings_of_pictures_are_kept_for_the_weights_that_made_them(pretrained, tmp_path):
    out, _ = pretrained
    pretraining = Pretraining(tmp_path / "out", tmp_path)
    shutil.copytree(out / "clip", tmp_path / "out" / "clip")
    assert pretraining._by_clip("pictures", lambda encoder: np.zeros(1)) == pretraining._by_clip("pictures", None) == 0
    shutil.copy(MINI / "clip" / "open_clip_model.safetensors", tmp_path / "out" / "clip")
    assert pretraining._by_clip("pictures", lambda encoder: np.ones(1)) == 1


def test_the_last_of_clips_legs_sees_new_pictures_and_mixes_styles(pretrained, tmp_path, monkeypatch):
    out, work = pretrained
    shutil.copytree(out / "clip", tmp_path / "clip")
    trained, drawn = [], []

    class Watched(MixStyle):
        def draw(self, free, generator):
            super().draw(free, generator)
            drawn.append((len(free), self.amounts.shape))

    monkeypatch.setattr(encoders, "MixStyle", Watched)
    monkeypatch.setattr(encoders, "shrunk", lambda pictures, size: trained.append(pictures) or shrunk(pictures, size))
    data = pretraining_data.render("train", work / "data", shrink=SHRINK)
    config = TrainConfig(steps=2, batch_size=4, warmup=1)
    Pretraining(tmp_path, tmp_path / "work", shrink=SHRINK)._train_clip_fresh(data, config)
    assert drawn == [(4, (4, 1, 1, 1))] * 2
    for pictures, seed in zip(trained, (0, *run.FRESH_SEEDS), strict=True):
        assert np.array_equal(pictures[0], np.asarray(draw(make_scene("train", 0, seed))))


def test_a_folder_of_another_recipe_is_refused(pretrained, tmp_path, monkeypatch, capsys):
    out, work = pretrained
    monkeypatch.setitem(run.CONFIGS, "clip", TrainConfig(steps=7))
    assert main(["run", "--out", str(out), "--work", str(work), "--shrink", str(SHRINK)]) == 2
    assert "recipe" in capsys.readouterr().err


def test_mappers_learn_from_every_picture_as_it_is_and_in_another_style(pretrained, tmp_path, monkeypatch):
    out, work = pretrained
    seen = {}
    monkeypatch.setattr(run, "train_mapper", lambda mapper, visual, audio, *rest: seen.update(visual=visual, audio=audio))
    monkeypatch.setattr(run, "save_mapper", lambda *mapper, overwrite: None)
    shutil.copytree(work, tmp_path / "work")
    kept_plain, kept_styled = (next(work.glob(f"{name}-*.npy")) for name in ("pictures", "styled_pictures"))
    (tmp_path / "work" / kept_styled.name).unlink()
    data = pretraining_data.render("train", work / "data", shrink=SHRINK)
    Pretraining(out, tmp_path / "work", shrink=SHRINK)._train_regression(data, TrainConfig(steps=1))
    plain, styled = np.split(seen["visual"], 2)
    assert len(plain) == len(data.pictures) and np.array_equal(*np.split(seen["audio"], 2))
    assert np.array_equal(plain, np.load(kept_plain))
    assert np.array_equal(styled, np.load(kept_styled))  # the same seed, the same styles
    assert np.abs(styled - plain).max(1).min() > 1e-3


def test_the_vocoder_learns_from_mels_of_the_sound_and_of_the_vae_in_turn(pretrained, tmp_path, monkeypatch):
    out, work = pretrained
    asked, original = [], LearnedVocoder.magnitudes

    def watched(self, log_mels):
        asked.append(log_mels)
        return original(self, log_mels)

    monkeypatch.setattr(LearnedVocoder, "magnitudes", watched)
    data = pretraining_data.render("train", work / "data", shrink=SHRINK)
    latents = Pretraining(out, work, shrink=SHRINK).latents(data)
    config = TrainConfig(steps=2, batch_size=4)
    train_vocoder(latents, data, out / "audioldm" / "vae", tmp_path / "vocoder", tmp_path / "vocoder.pt", config, "cpu")
    rows = np.random.default_rng([config.seed, 0]).integers(len(latents), size=4)
    away = (asked[0] - log_mel(torch.from_numpy(data.waveforms(rows)))).abs().mean((1, 2))
    assert (away[1::2] < 1e-3).all() and (away[::2] > 0.1).all()


def test_finished_parts_are_not_trained_again(pretrained):
    out, work = pretrained
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["run", "--out", str(out), "--work", str(work), "--shrink", str(SHRINK)]) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_unknown_part_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--out", str(tmp_path), "--work", str(tmp_path), "--only", "vea"])
    assert "vea" in capsys.readouterr().err

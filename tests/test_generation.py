"""AudioLDM on diffusers' components: shapes, seeds, conditioning, files, and diffusers' own pipeline as the judge."""

import json
import re
import threading
from functools import partial

import numpy as np
import pytest
import torch
from benchmarks import generation as generation_benchmark
from conftest import ROOT
from paper_weights import places
from random_audioldm import random_audioldm
from safetensors.torch import load_file
from soundworld import make_scene, synthesise
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from v2a_utils.data.batches import row_generators
from v2a_utils.models.audioldm import SCHEDULERS, Generator
from v2a_utils.models.mel import log_mel
from v2a_utils.models.vocoder import GriffinLimVocoder

FOLDER = ROOT / "data" / "mini" / "audioldm"
RATE = 16_000


@pytest.fixture(scope="module")
def generator(stack) -> Generator:
    return stack.generator


@pytest.fixture(scope="module")
def embeddings(stack) -> np.ndarray:
    """CLAP embeddings of three texts, (3, d)."""
    return stack.audio.embed_texts(["the sound of a dog barking", "the sound of rain falling", "a bell ringing"])


class MelVocoder(GriffinLimVocoder):
    """Hands out the log-mel itself as the "wave", so that two generators can be compared before the phases."""

    def forward(self, log_mels):
        return log_mels.flatten(1)


@pytest.fixture(scope="module")
def mel_generator(generator) -> Generator:
    """The same generator, giving log-mels (n, frames * 64)."""
    return Generator(generator.unet, generator.vae, MelVocoder(), generator.scheduler, generator.null_embedding)


# ------------------------------------------------------------------------------------------------------------ sounds


@pytest.mark.parametrize("seconds, samples", [(1.0, 16_000), (1.3, 20_800), (4, 64_000), (2.56, 40_960),
                                              (None, 40_960)])
def test_sounds_have_the_length_asked_for(generator, embeddings, seconds, samples):
    sounds = generator.generate(embeddings[:2], steps=1, seconds=seconds)
    assert sounds.shape == (2, samples) and sounds.dtype == np.float32 and np.isfinite(sounds).all()


def test_the_stack_knows_its_rate_and_clip_length(stack):
    assert (stack.generator.sample_rate, stack.generator.hop, stack.generator.clip_seconds) == (RATE, 160, 2.56)
    assert stack.generator.embed_dim == stack.audio.embed_dim


def test_same_seed_gives_the_same_sound_and_another_another(generator, embeddings):
    first = generator.generate(embeddings[:1], steps=2, seed=5)
    torch.manual_seed(99)
    assert np.array_equal(generator.generate(embeddings[:1], steps=2, seed=5), first)
    assert not np.allclose(generator.generate(embeddings[:1], steps=2, seed=6), first, atol=1e-3)


@pytest.mark.parametrize("scheduler", ["dpm++", "ddpm"])  # noise at the start only, and on the way as well
def test_a_sound_does_not_depend_on_what_else_is_in_the_batch(mel_generator, embeddings, scheduler):
    options = {"steps": 3, "seed": 2, "scheduler": scheduler}
    together = mel_generator.generate(embeddings, **options)
    alone = mel_generator.generate(embeddings[:1], **options)
    swapped = mel_generator.generate(embeddings[[2, 1, 0]], **options)
    assert np.allclose(alone[0], together[0], atol=1e-3)
    assert np.allclose(swapped[1], together[1], atol=1e-3)


def test_rows_of_one_embedding_start_from_different_noise(mel_generator, embeddings):
    twice = mel_generator.generate(embeddings[[0, 0]], steps=2)
    assert np.abs(twice[0] - twice[1]).mean() > 0.01


def test_the_condition_changes_the_sound(mel_generator, embeddings):
    first, again, second = (mel_generator.generate(row[None], steps=3, seed=1) for row in embeddings[[0, 0, 1]])
    assert np.abs(first - again).mean() < 1e-3 and np.abs(first - second).mean() > 0.1  # nats


def test_guidance_of_one_is_conditional_and_of_zero_unconditional(mel_generator, embeddings):
    def mel(guidance, rows=embeddings[:1]):
        return mel_generator.generate(rows, steps=3, guidance=guidance)

    null = mel_generator.null_embedding[None]
    assert np.allclose(mel(1.0), mel(1.0 + 1e-6), atol=1e-3)  # the short cut agrees with the full computation
    assert np.allclose(mel(0.0), mel(1.0, null), atol=1e-3)


def test_what_is_excluded_takes_the_place_of_the_null_embedding(mel_generator, embeddings):
    def mel(**settings):
        return mel_generator.generate(embeddings[:1], steps=3, **settings)

    assert np.array_equal(mel(exclude=mel_generator.null_embedding), mel())
    assert np.allclose(mel(exclude=embeddings[0]), mel(guidance=1.0), atol=1e-3)  # led away from what it is led to
    assert np.abs(mel(exclude=embeddings[1]) - mel()).mean() > 0.05  # nats


def test_guidance_goes_on_from_the_unconditional_through_the_conditional_prediction(generator, embeddings):
    """Ho and Salimans 2022: null + g (conditional - null). One step of DDIM is linear in the prediction."""
    torch.manual_seed(0)
    noise = torch.randn(1, *generator.latent_shape(1.0))
    walked = {guidance: generator.denoise(noise, torch.from_numpy(embeddings[:1]), 1, guidance, scheduler="ddim")
              for guidance in (0.0, 1.0, 4.0)}
    step = walked[1.0] - walked[0.0]
    assert step.abs().mean() > 1e-3
    assert torch.allclose(walked[4.0], walked[0.0] + 4 * step, atol=1e-3 * float(step.abs().max()) + 1e-5)


def test_progress_is_told_after_every_step(generator, embeddings):
    told = []
    generator.generate(embeddings[:1], steps=4, seconds=1.0, progress=lambda done, steps: told.append((done, steps)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_guidance_is_one_batch_and_plain_sampling_half_of_it(generator, embeddings):
    sizes = []
    hook = generator.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    for guidance in (2.0, 1.0):
        generator.generate(embeddings[:1], steps=2, guidance=guidance, seconds=1.0)
    hook.remove()
    assert sizes == [2, 2, 1, 1]


def test_a_batch_is_shared_out_to_lanes_and_progress_is_told_where_it_was_asked(mel_generator, embeddings):
    options, told, sizes, threads = {"steps": 3, "seed": 2, "scheduler": "ddpm"}, [], [], torch.get_num_threads()
    hook = mel_generator.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    try:
        torch.set_num_threads(1)
        in_one = mel_generator.generate(embeddings, **options)
        torch.set_num_threads(2)
        in_two = mel_generator.generate(embeddings, **options, progress=lambda *_: told.append(threading.get_ident()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
        hook.remove()
    assert np.allclose(in_two, in_one, atol=1e-3)
    assert sizes[:3] == [6, 6, 6] and sorted(sizes[3:]) == [2, 2, 2, 4, 4, 4]  # both branches of the guidance
    assert told == 3 * [threading.get_ident()]


@torch.inference_mode()
def test_phases_are_found_in_single_precision_whatever_the_caller_computes_in(generator):
    mels = log_mel(torch.from_numpy(synthesise(make_scene("test", 0)))[None])
    waves = generator.vocoder(mels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(generator.vocoder(mels), waves) and torch.is_autocast_enabled("cpu")


def test_an_unknown_scheduler_is_refused_with_what_there_is(generator, embeddings):
    with pytest.raises(ValueError, match="'magic'.*dpm.*euler"):
        generator.generate(embeddings, scheduler="magic")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_begins_in_the_pure_noise_that_training_ended_in(generator, scheduler):
    """Zero terminal signal-to-noise ratio: some schedulers keep a trace of signal, so as not to divide by zero."""
    walk = generator._scheduler(scheduler)
    walk.set_timesteps(5)
    assert walk.alphas_cumprod[int(walk.timesteps[0])] <= 2**-24


def test_the_benchmark_times_a_model_of_the_papers_make(monkeypatch, capsys):
    """What is printed is what was timed: sounds of 10 s with so many steps, and with twice as many."""
    small = partial(generation_benchmark.random_audioldm, 8, (8, 8, 8, 8), (8, 8, 8), 32, 1, 8)
    monkeypatch.setattr(generation_benchmark, "random_audioldm", small)
    sounds = {}

    def timed(calls, rounds):
        sounds.update({count: call() for count, call in calls.items()})
        return {1: 3.0, 2: 5.25}

    monkeypatch.setattr(generation_benchmark, "medians", timed)
    walked, denoise = [], Generator.denoise
    monkeypatch.setattr(Generator, "denoise", lambda self, noise, conditions, steps, *more:
                        walked.append(steps) or denoise(self, noise, conditions, steps, *more))
    generation_benchmark.time_paper_size("cpu", 1, steps=1)
    assert walked == [1, 2] and {wave.shape for wave in sounds.values()} == {(1, 160_000)}
    assert "3.00 s for a sound of 10 s with 1 steps, 2.25 s for each further step" in capsys.readouterr().out


def test_the_benchmark_measures_memory_and_load_time_of_the_command(paper_folder, tmp_path):
    said = generation_benchmark.memory_of_a_sound(places(paper_folder), tmp_path, "diffusion", 1)
    seconds, peak = map(float, re.search(r"([\d.]+) s until .* peak memory ([\d.]+) GiB", said).groups())
    assert seconds > 0 and 0.1 < peak < 4


@pytest.mark.parametrize("mels, rate, upsampling, unet, joint", [
    (64, 16_000, [5, 4, 2, 2, 2], (8, 16, 24, 40), 32), (80, 24_000, [6, 5, 4, 2], (16, 16, 32, 32), 48),
    (128, 32_000, [8, 5, 4, 2], (8, 8, 8, 8), 16),
])
def test_any_folder_of_audioldms_kind_works_by_its_configuration(tmp_path, mels, rate, upsampling, unet, joint):
    """s, m and l differ in width; others in mel bins, rate and hop as well."""
    parts = random_audioldm(joint, unet, (8, 16, 32), 32, 1, 8)
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(
        model_in_dim=mels, sampling_rate=rate, upsample_initial_channel=32, upsample_rates=upsampling,
        upsample_kernel_sizes=[2 * factor + factor % 2 for factor in upsampling], normalize_before=False,
    ))
    for name, part in zip(("unet", "vae", "vocoder", "scheduler"), (*parts[:2], vocoder, parts[3])):
        part.save_pretrained(tmp_path / name)
    index = {"_class_name": "AudioLDMPipeline", "vocoder": ["transformers", "SpeechT5HifiGan"],
             "scheduler": ["diffusers", "DDIMScheduler"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    made = Generator.load(tmp_path, np.eye(joint, dtype=np.float32)[0])
    assert (made.sample_rate, made.hop, made.embed_dim) == (rate, int(np.prod(upsampling)), joint)
    rows = np.eye(joint, dtype=np.float32)[1:3]
    sounds = made.generate(rows, steps=1, seconds=0.7)
    assert sounds.shape == (2, round(0.7 * rate)) and np.isfinite(sounds).all()
    assert made.encode(sounds).shape[-1] == mels // 4 and made.decode(made.encode(sounds)).shape[-1] == mels
    assert made.generate(rows, steps=2, seconds=0.7, start=sounds).shape == sounds.shape
    assert made.clip_seconds == 128 * 4 * made.hop / rate


def test_a_pipeline_of_another_kind_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioLDM2Pipeline"}')
    with pytest.raises(ValueError, match="AudioLDM2Pipeline, which is not conditioned on one CLAP embedding"):
        Generator.load(tmp_path, np.zeros(4, np.float32))


@pytest.mark.quality
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_walks_to_the_sound_of_the_embedding(stack, scheduler):
    targets = stack.audio.embed_audio([synthesise(make_scene("test", index)) for index in range(4)], RATE)
    waves = stack.generator.generate(targets, steps=20, guidance=1.0, scheduler=scheduler)
    cosines = stack.audio.embed_audio(list(waves), RATE) @ targets.T
    assert np.diag(cosines).mean() > 0.5 and (cosines.argmax(1) == np.arange(4)).mean() >= 0.75


# -------------------------------------------------------------------------------------------------------- variations


@pytest.fixture(scope="module")
def barks() -> np.ndarray:
    """A true sound, (1, 40_960)."""
    return synthesise(make_scene("test", 0))[None]


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_an_impossible_strength_is_refused(mel_generator, embeddings, barks, strength):
    with pytest.raises(ValueError, match="give 0 to 1"):
        mel_generator.generate(embeddings[:1], steps=4, start=barks, strength=strength)


def test_a_variation_of_no_strength_is_the_sound_itself_after_the_vae(mel_generator, embeddings, barks):
    kept = mel_generator.generate(embeddings[:2], steps=4, start=barks, strength=0.0)
    through = mel_generator.decode(mel_generator.encode(barks)).numpy().reshape(1, -1)
    assert np.allclose(kept, np.repeat(through, 2, 0), atol=1e-4)
    assert np.abs(through - log_mel(torch.from_numpy(barks)).numpy().reshape(1, -1)).mean() < 0.6  # nats


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_variation_is_the_farther_the_stronger_and_takes_its_share_of_the_steps(
    mel_generator, embeddings, barks, scheduler
):
    distances, told = [], []
    kept = mel_generator.generate(embeddings[:1], start=barks, strength=0.0)
    for strength in (0.3, 1.0):
        made = mel_generator.generate(embeddings[:1], 10, 1.0, start=barks, strength=strength, scheduler=scheduler,
                                      progress=lambda done, steps: told.append((done, steps)))
        distances.append(np.abs(made - kept).mean())
    assert 0.01 < distances[0] < 0.7 * distances[1]
    assert told == [(done, 3) for done in (1, 2, 3)] + [(done, 10) for done in range(1, 11)]


def test_a_variation_has_the_length_asked_for_whatever_the_sounds(mel_generator, generator, embeddings, barks):
    for length in (8_000, 60_000):
        start = np.resize(barks, (1, length))
        assert generator.generate(embeddings[:1], 2, seconds=1.5, start=start).shape == (1, 24_000)


# ------------------------------------------------------------------------------------------------------------- files


def test_folder_is_laid_out_as_diffusers_saves_a_pipeline():
    index = json.loads((FOLDER / "model_index.json").read_text())
    assert index["_class_name"] == "AudioLDMPipeline"
    for part, weights in (("unet", True), ("vae", True), ("vocoder", True), ("scheduler", False)):
        assert part in index
        names = {path.name for path in (FOLDER / part).iterdir()}
        assert ("scheduler_config.json" if part == "scheduler" else "config.json") in names
        assert ("diffusion_pytorch_model.safetensors" in names) == weights
    assert json.loads((FOLDER / "unet" / "config.json").read_text())["_class_name"] == "UNet2DConditionModel"
    assert json.loads((FOLDER / "vae" / "config.json").read_text())["_class_name"] == "AutoencoderKL"


def test_unet_is_conditioned_as_in_audioldm(generator, embeddings):
    config = generator.unet.config
    assert config.class_embed_type == "simple_projection" and config.class_embeddings_concat is True
    latents, labels = torch.randn(1, config.in_channels, 32, 8), torch.from_numpy(embeddings[:2])
    with torch.inference_mode():
        answers = [generator.unet(latents, 500, None, class_labels=label[None]).sample for label in labels]
    assert answers[0].shape == latents.shape
    assert (answers[0] - answers[1]).abs().max() > 1e-5


def test_scheduler_keeps_v_prediction_and_the_schedule(generator):
    saved = json.loads((FOLDER / "scheduler" / "scheduler_config.json").read_text())
    assert saved["prediction_type"] == "v_prediction"
    kept = ("prediction_type", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "timestep_spacing")
    for name in kept:
        assert generator.scheduler.config[name] == saved[name], name


def test_null_embedding_is_claps_of_the_empty_text(stack):
    stored = load_file(FOLDER / "null_embedding.safetensors")["null_embedding"].float().numpy()
    assert np.array_equal(stored, stack.generator.null_embedding)
    # the UNet keeps the embedding it was trained with; the text tower has learned a little since
    assert stored @ stack.audio.embed_texts([""])[0] > 0.9


# ------------------------------------------------------------------------------------------------------------ parity


@pytest.mark.parametrize("scheduler, guidance", [("dpm++", 1.0), *((name, 2.5) for name in SCHEDULERS)])
def test_diffusers_own_pipeline_gives_the_same_log_mel(stack, mel_generator, embeddings, scheduler, guidance):
    diffusers = pytest.importorskip("diffusers")
    pipeline_class = getattr(diffusers, "AudioLDMPipeline", None)
    if pipeline_class is None:
        pytest.skip("this diffusers has no AudioLDMPipeline any more")
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    config = ClapTextConfig(vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                            num_attention_heads=2, projection_dim=stack.audio.embed_dim)
    walk = getattr(diffusers, SCHEDULERS[scheduler]).from_config(mel_generator.scheduler.config)
    pipeline = pipeline_class(mel_generator.vae, ClapTextModelWithProjection(config), stack.audio.tokenizer,
                              mel_generator.unet, walk, mel_generator.vocoder)
    pipeline.set_progress_bar_config(disable=True)
    ours = mel_generator.generate(embeddings, steps=5, guidance=guidance, seed=3, scheduler=scheduler)
    rows = row_generators(range(len(embeddings)), 3)
    noise = torch.stack([torch.randn(16, 32, 8, generator=row) for row in rows])
    prompts = torch.from_numpy(embeddings)
    null = torch.from_numpy(mel_generator.null_embedding).expand_as(prompts)
    theirs = pipeline(
        prompt_embeds=prompts, negative_prompt_embeds=null, latents=noise, generator=rows,
        num_inference_steps=5, guidance_scale=guidance, audio_length_in_s=2.56,
    ).audios
    assert ours.shape == theirs.shape == (3, 256 * 64)
    assert np.abs(ours - theirs).max() < 1e-4

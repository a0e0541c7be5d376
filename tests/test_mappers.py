"""The mappers and their diffusion: shapes, seeds, what each learns, and the formulas against our own."""

import math

import numpy as np
import pytest
import torch
from conftest import unit_rows
from soundworld import SAMPLE_RATE, draw, make_scene, other_take, synthesise
from v2a_pretraining.run import TEMPERATURE

from v2a_utils.mappers import model as mappers
from v2a_utils.mappers.model import OBJECTIVES, DiffusionMapper, FlowMapper, RegressionMapper
from v2a_utils.mappers.registry import load_mapper, save_mapper, trained_mapper
from v2a_utils.mappers.training import TrainConfig, train_mapper
from v2a_utils.metrics.sounds import diversity

VISUAL, AUDIO = 10, 8
SIZES = {"width": 32, "depth": 2, "heads": 2, "head_dim": 16}
GENERATIVE = [DiffusionMapper, FlowMapper]
KINDS = [RegressionMapper, *GENERATIVE]


def small(kind: type, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return kind(VISUAL, AUDIO, **((SIZES if kind in GENERATIVE else {}) | changes)).eval()


def linear_pairs() -> tuple[np.ndarray, np.ndarray]:
    """512 pairs in which the second embedding is the first one turned and cut."""
    visual = unit_rows(512, VISUAL)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((VISUAL, VISUAL)))[0][:, :AUDIO]
    audio = (visual @ turn).astype(np.float32)
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    return visual, audio


def alphas_of_cosine_schedule(steps: int = 1000) -> np.ndarray:
    """Nichol and Dhariwal 2021, equation 17, with their clip of beta at 0.999: the products of (1 - beta)."""
    def remaining(t):
        return math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - remaining(t + 1) / remaining(t), 0.999) for t in range(steps)]
    return np.cumprod(1 - np.array(betas))


# ----------------------------------------------------------------------------------------------------------- mapping


@pytest.mark.parametrize("kind", KINDS)
def test_mapped_embeddings_have_the_audio_size_and_unit_norm(kind):
    mapped = small(kind).map(unit_rows(5, VISUAL), seed=3)
    assert mapped.shape == (5, AUDIO) and mapped.dtype == np.float32
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_embedding(kind):
    mapper, visual = small(kind), unit_rows(5, VISUAL)
    first = mapper.map(visual, seed=3)
    torch.manual_seed(99)  # the global generator must not matter
    assert np.array_equal(mapper.map(visual, seed=3), first)


def test_other_seeds_change_samples_and_not_a_regression():
    visual = unit_rows(5, VISUAL)
    for kind in GENERATIVE:  # untrained, they hardly look at their noise: small differences
        assert not np.allclose(small(kind).map(visual, 1), small(kind).map(visual, 2), atol=1e-3)
    assert np.array_equal(small(RegressionMapper).map(visual, 1), small(RegressionMapper).map(visual, 2))


@pytest.mark.parametrize("kind", ["diffusion", "regression"])
def test_trained_mappers_of_the_stack_map_between_its_towers(stack, kind):
    visual = unit_rows(2, stack.vision.embed_dim)
    assert trained_mapper(stack, kind).map(visual).shape == (2, stack.audio.embed_dim) == (2, stack.generator.embed_dim)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_mapper_comes_back(tmp_path, kind):
    mapper, visual = small(kind), unit_rows(4, VISUAL)
    for parameter in mapper.parameters():
        parameter.data = parameter.data.half().float()  # files hold half precision
    save_mapper(mapper, tmp_path / "kept")
    again = load_mapper(tmp_path / "kept")
    assert type(again) is kind and again.config == mapper.config and not again.training
    assert np.array_equal(again.map(visual, 5), mapper.map(visual, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_unequal_number_are_refused(kind):
    with pytest.raises(ValueError, match="6 visual but 5 audio"):
        train_mapper(small(kind), unit_rows(6, VISUAL), unit_rows(5, AUDIO), TrainConfig(steps=1))


def test_embeddings_in_double_precision_train_the_same_mapper():
    visual, audio = (side[:64] for side in linear_pairs())
    single, double = (train_mapper(small(RegressionMapper), visual.astype(kind), audio.astype(kind), TrainConfig(3, 8))
                      for kind in (np.float32, np.float64))
    assert single == double


# ---------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("kind, enough", [(RegressionMapper, 0.98), (DiffusionMapper, 0.9), (FlowMapper, 0.9)])
def test_a_linear_relation_is_learnt(kind, enough):
    visual, audio = linear_pairs()
    mapper = small(kind)
    config = TrainConfig(steps=300, batch_size=64, learning_rate=4e-3, warmup=20, ema=0.97)
    losses = train_mapper(mapper, visual[:400], audio[:400], config)
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:10])
    cosines = (mapper.map(visual[400:]) * audio[400:]).sum(1)
    assert cosines.mean() > enough


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("depth", [1, 3])
def test_every_objective_and_depth_of_the_regression_finds_a_linear_relation(objective, depth):
    visual, audio = linear_pairs()
    mapper = small(RegressionMapper, depth=depth, objective=objective)
    train_mapper(mapper, visual[:400], audio[:400], TrainConfig(300, 64, 4e-3, warmup=20, ema=0.97))
    assert (mapper.map(visual[400:]) * audio[400:]).sum(1).mean() > 0.95


def test_a_regression_without_hidden_layers_is_a_linear_map():
    assert small(RegressionMapper, depth=0).map(unit_rows(3, VISUAL)).shape == (3, AUDIO)


def test_an_unknown_objective_is_named():
    with pytest.raises(ValueError, match="'mae'.*mse, cosine, contrastive"):
        small(RegressionMapper, objective="mae")


def test_the_lean_form_learns_as_well_as_the_faithful_one():
    visual, audio = linear_pairs()
    config, found = TrainConfig(400, 64, 4e-3, warmup=20, ema=0.97), {}
    for tokens in (0, 8):
        mapper = small(DiffusionMapper, null_tokens=tokens)
        losses = train_mapper(mapper, visual[:400], audio[:400], config)
        found[tokens] = np.mean(losses[-50:]), (mapper.map(visual[400:], steps=16) * audio[400:]).sum(1).mean()
    (lean_loss, lean), (faithful_loss, faithful) = found[0], found[8]
    assert lean_loss < 1.05 * faithful_loss and lean > faithful - 0.02 and lean > 0.9


@pytest.fixture(scope="module")
def coin():
    """Targets that are +a or -a by the toss of a coin, whatever the condition: (visual, audio, a)."""
    visual, mode = unit_rows(512, VISUAL), unit_rows(1, AUDIO, 9)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (512, 1)).astype(np.float32)
    return visual, signs * mode, mode[0]


@pytest.mark.parametrize("kind", GENERATIVE)
def test_samples_find_both_modes(coin, kind):
    visual, audio, mode = coin
    mapper = small(kind)
    train_mapper(mapper, visual, audio, TrainConfig(250, 64, 4e-3, warmup=20, ema=0.97))
    cosines = mapper.map(unit_rows(200, VISUAL, 2)) @ mode
    assert (np.abs(cosines) > 0.9).mean() > 0.9
    assert 0.25 < (cosines > 0).mean() < 0.75


def test_regression_lands_between_the_modes(coin):
    visual, audio, mode = coin
    mapper = small(RegressionMapper)
    train_mapper(mapper, visual, audio, TrainConfig(100, 256, 3e-3, warmup=20, ema=0.98))
    with torch.inference_mode():
        raw = mapper(torch.from_numpy(unit_rows(200, VISUAL, 2))).numpy() / AUDIO**0.5
    assert np.abs(raw @ mode).mean() < 0.5  # the modes lie at -1 and 1
    assert np.linalg.norm(raw, axis=1).mean() < 0.5


# ---------------------------------------------------------------------------------------------------------- formulas


def test_noise_is_added_on_the_cosine_schedule():
    clean, noise = torch.randn(6, AUDIO), torch.randn(6, AUDIO)
    times = torch.tensor([0, 1, 250, 500, 900, 999])
    left = torch.from_numpy(alphas_of_cosine_schedule()[times])[:, None].float()
    wanted = left.sqrt() * clean + (1 - left).sqrt() * noise
    assert torch.allclose(mappers.add_noise(clean, noise, times), wanted, atol=1e-4)


class Analytic:
    """A network whose answer is known: a share of the noisy input, the time and the condition."""

    audio_dim = AUDIO

    def __call__(self, noisy, times, condition):
        seen = 0.0 if condition is None else condition
        return 0.6 * noisy + 0.1 * torch.cos(times / 300)[:, None] + seen


def sampled(network=None, seed: int = 4, **settings) -> torch.Tensor:
    condition = torch.from_numpy(unit_rows(7, AUDIO))
    settings = {"steps": 20, "guidance": 1.0} | settings
    return mappers.sample(network or Analytic(), condition, generator=torch.Generator().manual_seed(seed), **settings)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_follows_its_formula(eta):
    generator, steps = torch.Generator().manual_seed(4), 20
    condition, left = torch.from_numpy(unit_rows(7, AUDIO)), alphas_of_cosine_schedule()
    noisy = torch.randn(7, AUDIO, generator=generator)
    for time in range(999, -1, -1000 // steps):  # from the last time on
        now, then = left[time], left[time - 1000 // steps] if time >= 1000 // steps else 1.0
        clean = Analytic()(noisy, torch.full((7,), time), condition)
        noise = (noisy - now**0.5 * clean) / (1 - now) ** 0.5
        fresh = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5  # Song et al. 2021, equation 16
        noisy = then**0.5 * clean + (1 - then - fresh**2) ** 0.5 * noise
        if eta:
            noisy = noisy + fresh * torch.randn(7, AUDIO, generator=generator)
    assert torch.allclose(sampled(eta=eta), noisy.float(), atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++", "flow"])
def test_every_sampler_is_a_function_of_its_seed(sampler):
    first = sampled(sampler=sampler)
    assert torch.isfinite(first).all() and torch.equal(sampled(sampler=sampler), first)
    assert not torch.allclose(sampled(sampler=sampler, seed=5), first)


def test_guidance_of_one_never_asks_without_the_condition():
    class Conditional(Analytic):
        def __call__(self, noisy, times, condition):
            assert condition is not None
            return super().__call__(noisy, times, condition)

    assert torch.equal(sampled(Conditional()), sampled())


@pytest.mark.parametrize("guidance", [0.0, 2.5])
def test_guidance_goes_from_null_through_conditional(guidance):
    class Guided(Analytic):
        def __call__(self, noisy, times, condition):
            null = super().__call__(noisy, times, None)
            return null + guidance * (super().__call__(noisy, times, condition) - null)

    assert torch.allclose(sampled(guidance=guidance), sampled(Guided()), atol=1e-4)


def test_a_flow_is_noised_along_a_straight_line():
    clean, noise = torch.randn(3, AUDIO), torch.randn(3, AUDIO)
    share = torch.tensor([[0.001], [0.5], [1.0]])
    noisy = mappers.add_noise_straight(clean, noise, torch.tensor([0, 499, 999]))
    assert torch.allclose(noisy, (1 - share) * clean + share * noise, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_flow_walks_in_equal_steps_from_noise_to_the_clean_end(steps):
    class Watched(Analytic):
        def __call__(self, noisy, times, condition):
            seen.append((int(times[0]), noisy))
            return super().__call__(noisy, times, condition)

    seen = []
    end = sampled(Watched(), sampler="flow", steps=steps)
    assert [time for time, _ in seen] == [round(1000 * (steps - k) / steps) - 1 for k in range(steps)]
    noisy = torch.randn(7, AUDIO, generator=torch.Generator().manual_seed(4))
    for left, (time, given) in zip(range(steps, 0, -1), seen):
        assert torch.allclose(given, noisy, atol=1e-5)
        clean = Analytic()(noisy, torch.full((7,), time), torch.from_numpy(unit_rows(7, AUDIO)))
        noisy = noisy + (clean - noisy) / left  # the share of the way that is left
    assert torch.allclose(end, noisy, atol=1e-5)


class PointMass(Analytic):
    """The exact network for one possible embedding per condition: the condition itself."""

    def __call__(self, noisy, times, condition):
        return condition


@pytest.mark.parametrize("sampler, eta", [("ddpm", 1), ("ddim", 0), ("ddim", 0.5), ("ddim", 1), ("dpm++", 1),
                                          ("flow", 1)])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_every_sampler_ends_at_the_only_possible_embedding(sampler, eta, steps):
    end = sampled(PointMass(), sampler=sampler, eta=eta, steps=steps)
    assert torch.allclose(end, torch.from_numpy(unit_rows(7, AUDIO)), atol=2e-2)


def test_temperature_scales_the_noise_at_the_start():
    mapper, visual = small(FlowMapper), unit_rows(5, VISUAL)
    assert np.array_equal(mapper.map(visual, 1, temperature=0.0), mapper.map(visual, 2, temperature=0.0))
    assert not np.allclose(mapper.map(visual, 1), mapper.map(visual, 1, temperature=0.0), atol=1e-3)


@pytest.mark.parametrize("kind", GENERATIVE)
def test_a_mapper_starts_from_noise_of_its_own_temperature(kind, tmp_path):
    mapper, visual = small(kind), unit_rows(5, VISUAL)
    mapper.config["temperature"] = 0.5
    save_mapper(mapper, tmp_path)
    again = load_mapper(tmp_path)
    assert np.array_equal(again.map(visual, 1), again.map(visual, 1, temperature=0.5))
    assert not np.allclose(again.map(visual, 1), again.map(visual, 1, temperature=1.0), atol=1e-3)


@pytest.mark.quality
def test_samples_of_the_shipped_diffusion_scatter_about_as_widely_as_true_sounds(stack):
    scenes = [scene for scene in (make_scene("val", index) for index in range(60)) if len(scene.things) == 1][:30]
    takes = 6
    sounds = [synthesise(other_take(scene, take)) for scene in scenes for take in range(takes)]
    seen = np.repeat(stack.vision.embed_images([draw(scene) for scene in scenes]), takes, 0)
    mapper, heard = trained_mapper(stack, "diffusion"), stack.audio.embed_audio(sounds, SAMPLE_RATE)
    truth, own, plain = (diversity(rows.reshape(len(scenes), takes, -1))
                         for rows in (heard, mapper.map(seen), mapper.map(seen, temperature=1.0)))
    assert mapper.config["temperature"] == TEMPERATURE and 0.6 < np.median(own / truth) < 1.4
    assert np.median(plain / truth) < 0.6  # what the temperature is there for


@pytest.mark.parametrize("kind", GENERATIVE)
def test_many_draws_come_to_the_same_mean(kind):
    mapper, visual = small(kind), unit_rows(3, VISUAL)
    means = [mapper.map(visual, seed, steps=4, draws=200) for seed in (1, 2)]
    assert (means[0] * means[1]).sum(1).min() > 0.99
    with pytest.raises(ValueError, match="0 draws"):
        mapper.map(visual, draws=0)


@pytest.mark.parametrize("settings, said", [({"sampler": "euler"}, "'euler'.*ddpm, ddim, dpm"),
                                            ({"steps": 0}, "0 sampling steps"), ({"steps": 1001}, "1001")])
def test_settings_that_no_sampler_has_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        sampled(**settings)


def test_many_rows_are_sampled_in_parts(monkeypatch):
    monkeypatch.setattr(mappers, "SAMPLE_BATCH", 4)
    mapped = small(FlowMapper).map(np.repeat(unit_rows(1, VISUAL), 10, 0))
    assert mapped.shape == (10, AUDIO) and len(np.unique(mapped[:, 0])) == 10  # no part repeats another's noise


@pytest.mark.parametrize("kind, settings", [(DiffusionMapper, {"sampler": "ddpm"}), (DiffusionMapper, {"eta": 1.0}),
                                            (FlowMapper, {})])
def test_a_sample_does_not_depend_on_what_else_is_in_the_batch(kind, settings):
    mapper, visual = small(kind), unit_rows(5, VISUAL)
    together = mapper.map(visual, seed=3, steps=4, draws=2, **settings)
    alone = mapper.map(visual[:2], seed=3, steps=4, draws=2, **settings)
    assert np.allclose(together[:2], alone, atol=1e-5) and mapper.map(visual[:0]).shape == (0, AUDIO)

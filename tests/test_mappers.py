"""The mappers and their diffusion: shapes, seeds, what each learns, and the formulas against our own."""

import math

import numpy as np
import pytest
import torch

from v2a_utils import diffusion
from v2a_utils.mappers import DiffusionMapper, RegressionMapper, load_mapper, save_mapper, train_mapper
from v2a_utils.training import TrainConfig

VISUAL, AUDIO = 10, 8


def small(kind: type, seed: int = 0):
    torch.manual_seed(seed)
    sizes = {"width": 32, "depth": 2, "heads": 2} if kind is DiffusionMapper else {}
    return kind(VISUAL, AUDIO, **sizes).eval()


def unit_rows(number: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((number, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def alphas_of_cosine_schedule(steps: int = 1000) -> np.ndarray:
    """Nichol and Dhariwal 2021, equation 17, with their clip of beta at 0.999: the products of (1 - beta)."""
    def remaining(t):
        return math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - remaining(t + 1) / remaining(t), 0.999) for t in range(steps)]
    return np.cumprod(1 - np.array(betas))


# ----------------------------------------------------------------------------------------------------------- mapping


@pytest.mark.parametrize("kind", [RegressionMapper, DiffusionMapper])
def test_mapped_embeddings_have_the_audio_size_and_unit_norm(kind):
    mapped = small(kind).map(unit_rows(5, VISUAL), seed=3)
    assert mapped.shape == (5, AUDIO) and mapped.dtype == np.float32
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", [RegressionMapper, DiffusionMapper])
def test_same_seed_gives_the_same_embedding(kind):
    mapper, visual = small(kind), unit_rows(5, VISUAL)
    first = mapper.map(visual, seed=3)
    torch.manual_seed(99)  # the global generator must not matter
    assert np.array_equal(mapper.map(visual, seed=3), first)


def test_other_seeds_change_a_diffusion_and_not_a_regression():
    visual = unit_rows(5, VISUAL)
    # untrained, it hardly looks at its noise: small differences
    assert not np.allclose(small(DiffusionMapper).map(visual, 1), small(DiffusionMapper).map(visual, 2), atol=1e-3)
    assert np.array_equal(small(RegressionMapper).map(visual, 1), small(RegressionMapper).map(visual, 2))


@pytest.mark.parametrize("kind", ["diffusion", "regression"])
def test_trained_mappers_of_the_stack_map_between_its_towers(stack, kind):
    visual = unit_rows(2, stack.vision.embed_dim)
    assert stack.mapper(kind).map(visual).shape == (2, stack.audio.embed_dim) == (2, stack.generator.embed_dim)


@pytest.mark.parametrize("kind", [RegressionMapper, DiffusionMapper])
def test_saved_mapper_comes_back(tmp_path, kind):
    mapper, visual = small(kind).half().float(), unit_rows(4, VISUAL)  # files hold half precision
    save_mapper(mapper, tmp_path / "kept")
    again = load_mapper(tmp_path / "kept")
    assert type(again) is kind and again.config == mapper.config and not again.training
    assert np.array_equal(again.map(visual, 5), mapper.map(visual, 5))


@pytest.mark.parametrize("kind", [RegressionMapper, DiffusionMapper])
def test_pairs_of_unequal_number_are_refused(kind):
    with pytest.raises(ValueError, match="6 visual but 5 audio"):
        train_mapper(small(kind), unit_rows(6, VISUAL), unit_rows(5, AUDIO), TrainConfig(steps=1))


# ---------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("kind, enough", [(RegressionMapper, 0.98), (DiffusionMapper, 0.9)])
def test_a_linear_relation_is_learnt(kind, enough):
    visual = unit_rows(512, VISUAL)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((VISUAL, VISUAL)))[0][:, :AUDIO]
    audio = (visual @ turn).astype(np.float32)
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    mapper = small(kind)
    config = TrainConfig(steps=300, batch_size=64, learning_rate=4e-3, warmup=20, ema=0.97)
    losses = train_mapper(mapper, visual[:400], audio[:400], config)
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:10])
    cosines = (mapper.map(visual[400:]) * audio[400:]).sum(1)
    assert cosines.mean() > enough


@pytest.fixture(scope="module")
def coin():
    """Targets that are +a or -a by the toss of a coin, whatever the condition: (visual, audio, a)."""
    visual, mode = unit_rows(512, VISUAL), unit_rows(1, AUDIO, 9)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (512, 1)).astype(np.float32)
    return visual, signs * mode, mode[0]


def test_diffusion_finds_both_modes(coin):
    visual, audio, mode = coin
    mapper = small(DiffusionMapper)
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
    assert torch.allclose(diffusion.add_noise(clean, noise, times), wanted, atol=1e-4)


class Analytic:
    """A network whose answer is known: a share of the noisy input, the time and the condition."""

    dim = AUDIO

    def __call__(self, noisy, times, condition):
        seen = 0.0 if condition is None else condition
        return 0.6 * noisy + 0.1 * torch.cos(times / 300)[:, None] + seen


def sampled(network=None, seed: int = 4, **settings) -> torch.Tensor:
    condition = torch.from_numpy(unit_rows(7, AUDIO))
    settings = {"steps": 20, "guidance": 1.0} | settings
    return diffusion.sample(network or Analytic(), condition, generator=torch.Generator().manual_seed(seed), **settings)


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


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
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

"""The mapper's own diffusion: noising and sampling with diffusers' schedulers on embeddings instead of pictures."""

from functools import cache

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

TRAIN_STEPS = 1000
_COMMON = {
    "num_train_timesteps": TRAIN_STEPS, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample",
    "timestep_spacing": "trailing",  # start at the last time, where pure noise belongs, however few the steps
}
SAMPLERS = {
    "ddpm": lambda: DDPMScheduler(**_COMMON, clip_sample=False),
    "ddim": lambda: DDIMScheduler(**_COMMON, clip_sample=False, set_alpha_to_one=True),
    "dpm++": lambda: DPMSolverMultistepScheduler(**_COMMON, solver_order=2),
}


def add_noise(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise on the cosine schedule (Ho et al. 2020, eq. 4; Nichol 2021)."""
    return _noising().add_noise(clean, noise, times)


@cache
def _noising() -> DDPMScheduler:
    return SAMPLERS["ddpm"]()


@torch.inference_mode()
def sample(
    network, condition: torch.Tensor, steps: int, guidance: float, generator: torch.Generator, sampler: str = "ddim",
    eta: float = 1.0,
) -> torch.Tensor:
    """Draw one clean embedding for every row of `condition` (batch, d); returns (batch, d), in the network's scale.

    `network(noisy, times, condition)` predicts the clean embedding; condition None is the dropped condition.
    `guidance` g gives null + g (conditional - null) (Ho and Salimans 2022); 1 is plain conditional sampling.
    `eta` is DDIM's noise share: 1 as in the DALL-E 2 prior, 0 deterministic.
    """
    scheduler = SAMPLERS[sampler]()
    scheduler.set_timesteps(steps)
    extra = {"ddpm": {"generator": generator}, "ddim": {"eta": eta, "generator": generator}}.get(sampler, {})
    noisy = torch.randn(len(condition), network.dim, generator=generator).to(condition.device)
    for time in scheduler.timesteps:
        times = time.expand(len(condition)).to(condition.device)
        clean = network(noisy, times, condition)
        if guidance != 1:
            null = network(noisy, times, None)
            clean = null + guidance * (clean - null)
        noisy = scheduler.step(clean, time, noisy, **extra).prev_sample
    return noisy

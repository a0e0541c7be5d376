"""The mappers' noise: noising and sampling with diffusers' schedulers on embeddings instead of pictures."""

from functools import cache

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from diffusers.utils.torch_utils import randn_tensor

from v2a_utils.mappers.prior import TIMES as TRAIN_STEPS

_COMMON = {
    "num_train_timesteps": TRAIN_STEPS, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample",
    "timestep_spacing": "trailing",  # start at the last time, where pure noise belongs, however few the steps
}
SAMPLERS = {
    "ddpm": lambda: DDPMScheduler(**_COMMON, clip_sample=False),
    "ddim": lambda: DDIMScheduler(**_COMMON, clip_sample=False, set_alpha_to_one=True),
    "dpm++": lambda: DPMSolverMultistepScheduler(**_COMMON, solver_order=2),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(TRAIN_STEPS),
}


def add_noise(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise on the cosine schedule (Ho et al. 2020, eq. 4; Nichol 2021)."""
    return _noising().add_noise(clean, noise, times)


def add_noise_straight(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """x_t = (1 - s) x_0 + s noise with s = (t + 1) / 1000: rectified flow's straight line (arXiv 2209.03003)."""
    share = (times[:, None] + 1) / TRAIN_STEPS
    return (1 - share) * clean + share * noise


@cache
def _noising() -> DDPMScheduler:
    return SAMPLERS["ddpm"]()


@torch.inference_mode()
def sample(
    network, condition: torch.Tensor, steps: int, guidance: float, generator: torch.Generator | list[torch.Generator],
    sampler: str = "ddim", eta: float = 1.0, temperature: float = 1.0,
) -> torch.Tensor:
    """Draw one clean embedding for every row of `condition` (batch, d); returns (batch, d), in the network's scale.

    `network(noisy, times, condition)` predicts the clean embedding; condition None is the dropped condition.
    `guidance` g gives null + g (conditional - null) (Ho and Salimans 2022); 1 is plain conditional sampling. All noise
    comes from `generator`; a list has one per row. `eta` is DDIM's noise share: 1 as in the DALL-E 2 prior, 0
    deterministic. `temperature` multiplies the noise at the start. The sampler "flow" belongs to `add_noise_straight`,
    the others to `add_noise`. ValueError for an unknown sampler or an impossible number of steps.
    """
    scheduler = _scheduler(sampler, steps)
    extra = {"ddpm": {"generator": generator}, "ddim": {"eta": eta, "generator": generator}}.get(sampler, {})
    noisy = temperature * randn_tensor((len(condition), network.audio_dim), generator, condition.device)
    for time in scheduler.timesteps:
        row = int(time.round()) - (sampler == "flow")  # diffusers counts a flow's times from 1 to 1000
        times = torch.full((len(condition),), row, device=condition.device)
        guess = network(noisy, times, condition)
        if guidance != 1:
            null = network(noisy, times, None)
            guess = null + guidance * (guess - null)
        if sampler == "flow":  # diffusers walks along the velocity, noise minus clean
            guess = (noisy - guess) * TRAIN_STEPS / time
        noisy = scheduler.step(guess.float(), time, noisy, **extra).prev_sample
    return noisy


def _scheduler(sampler: str, steps: int) -> SchedulerMixin:
    """A scheduler ready to take `steps` steps from pure noise."""
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}: use {', '.join(SAMPLERS)}")
    if not 1 <= steps <= TRAIN_STEPS:
        raise ValueError(f"{steps} sampling steps: give 1 to {TRAIN_STEPS}")
    scheduler = SAMPLERS[sampler]()
    if sampler == "flow":  # its own spacing would spend the last step on the last thousandth
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    else:
        scheduler.set_timesteps(steps)
    return scheduler

"""Augmentation of pictures and log-mels for the encoders: everything that must not change the meaning."""

import torch
from torch.nn import functional as F


def augment_pictures(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(batch, 3, height, width) in 0..1: mirrored, shifted a little, recoloured, at times grey or inverted."""
    batch = len(pictures)

    def draw(low, high, channels=1):
        return low + (high - low) * torch.rand(batch, channels, 1, 1, generator=generator)

    flip = draw(0, 1) < 0.5
    pictures = torch.where(flip, pictures.flip(3), pictures)
    shift = torch.randint(-5, 6, (2,), generator=generator).tolist()
    pictures = torch.roll(F.pad(pictures, (5, 5, 5, 5), mode="replicate"), shift, (2, 3))[:, :, 5:-5, 5:-5]
    grey = pictures.mean(1, keepdim=True)
    pictures = torch.where(draw(0, 1) < 0.5, grey + (pictures - grey) * draw(0, 1.3), pictures)
    pictures = torch.where(draw(0, 1) < 0.1, 1 - pictures, pictures)
    pictures = pictures * draw(0.75, 1.25, 3) + draw(-0.1, 0.1, 3)
    noise = torch.randn(pictures.shape, generator=generator) * draw(0, 0.08)
    return (pictures + noise).clamp(0, 1)


def augment_log_mels(log_mels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(batch, frames, mels) in dB: level, tilt, a noise floor, at times a blur, so that small artefacts do not matter.

    Level moves by 2 dB at most: loudness is a cause of its own (distance).
    """
    batch, _, mels = log_mels.shape

    def draw(low, high):
        return low + (high - low) * torch.rand(batch, 1, 1, generator=generator)

    blurred = F.avg_pool2d(log_mels[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    log_mels = torch.where(draw(0, 1) < 0.3, blurred, log_mels)
    tilt = torch.linspace(-0.5, 0.5, mels) * draw(-6, 6)
    floor = draw(-90, -40) + 3 * torch.randn(log_mels.shape, generator=generator)
    return torch.logaddexp(log_mels * 0.2302585, floor * 0.2302585) / 0.2302585 + draw(-2, 2) + tilt

"""Augmentation of pictures and log-mels for the encoders: everything that must not change the meaning of a caption."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# CLIP's three stages: the sizes of random convolutions, and how much of them a picture may take
STAGES = {"plain": ((), 0.0), "styles": ((3,), 0.7), "fresh": ((1, 3, 5, 7), 1.0)}


def augment_pictures(pictures: torch.Tensor, coloured: torch.Tensor, stage: str,
                     generator: torch.Generator) -> torch.Tensor:
    """(batch, 3, height, width) in 0..1: mirrored, shifted, a little brighter or noisier, and drawn otherwise.

    Where `coloured` (batch,) says that its caption names a colour, colours stay. Every `stage` of STAGES but the first
    changes styles. None of them imitates a style of the split ood, which is there to be unseen: no contours, no board,
    no tiles.
    """
    batch = len(pictures)

    def draw(low, high, channels=1):
        return low + (high - low) * torch.rand(batch, channels, 1, 1, generator=generator)

    pictures = torch.where(draw(0, 1) < 0.5, pictures.flip(3), pictures)
    shift = torch.randint(-5, 6, (2,), generator=generator).tolist()
    pictures = torch.roll(F.pad(pictures, (5, 5, 5, 5), mode="replicate"), shift, (2, 3))[:, :, 5:-5, 5:-5]
    free = ~coloured[:, None, None, None]
    pictures = torch.where(free, _recoloured(pictures, draw), pictures)
    sizes, most = STAGES[stage]
    if sizes:
        pictures = _posterised_or_blurred(pictures, draw)
        filtered = _filtered(pictures, sizes, draw(0, most), generator)
        pictures = torch.where(free & (draw(0, 1) < 0.5), filtered, pictures)
        pictures = torch.where(free & (draw(0, 1) < 0.4), _in_anothers_spectrum(pictures, draw, generator), pictures)
        patches = F.interpolate(torch.randn(batch, 1, 24, 24, generator=generator), pictures.shape[2:], mode="bilinear")
        pictures = torch.where(draw(0, 1) < 0.3, pictures + 0.15 * draw(0, 1) * patches, pictures)
    pictures = pictures * draw(0.85, 1.15) + draw(-0.06, 0.06)
    noise = torch.randn(pictures.shape, generator=generator) * draw(0, 0.08)
    return (pictures + noise).clamp(0, 1)


def _recoloured(pictures: torch.Tensor, draw) -> torch.Tensor:
    """Paler, more colourful or grey, at times inverted, each channel with a gain of its own."""
    grey = pictures.mean(1, keepdim=True)
    pictures = torch.where(draw(0, 1) < 0.5, grey + (pictures - grey) * draw(0, 1.3), pictures)
    pictures = torch.where(draw(0, 1) < 0.1, 1 - pictures, pictures)
    return pictures * draw(0.75, 1.25, 3) + draw(-0.1, 0.1, 3)


def _posterised_or_blurred(pictures: torch.Tensor, draw) -> torch.Tensor:
    """A seventh in few steps of brightness, an eighth blurred over five pixels."""
    levels = draw(2, 6).floor()
    pictures = torch.where(draw(0, 1) < 0.15, (pictures * levels).round() / levels, pictures)
    blurred = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return torch.where(draw(0, 1) < 0.12, blurred, pictures)


def _filtered(pictures: torch.Tensor, sizes: tuple[int, ...], share: torch.Tensor,
              generator: torch.Generator) -> torch.Tensor:
    """Mixed with itself through one random convolution (RandConv, arXiv 2007.13003): same shapes, new texture."""
    size = sizes[int(torch.randint(len(sizes), (1,), generator=generator))]
    kernel = torch.randn(3, 3, size, size, generator=generator) * 1.3 / math.sqrt(3 * size**2)
    passed = F.conv2d(F.pad(pictures - 0.5, (size // 2,) * 4, mode="replicate"), kernel) + 0.5
    return pictures + share * (passed.clamp(0, 1) - pictures)


def _in_anothers_spectrum(pictures: torch.Tensor, draw, generator: torch.Generator) -> torch.Tensor:
    """With a part of another picture's amplitudes and its own phases (arXiv 2105.11120): phases hold the shapes."""
    spectrum = torch.fft.rfft2(pictures)
    other = spectrum.abs()[torch.randperm(len(pictures), generator=generator)]
    amplitude = spectrum.abs() + draw(0, 0.8) * (other - spectrum.abs())
    return torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=pictures.shape[2:])


class MixStyle:
    """Gives features channel means and spreads between the picture's own and another's (MixStyle, arXiv 2104.02008).

    What a picture shows is in where its features are high, much of its style in how high they are on the whole.
    """

    SHARE, CONCENTRATION = 0.6, 0.2  # how many pictures are mixed; parameter of the beta distribution of how much

    def __init__(self, layers: list[nn.Module]):
        for layer in layers:
            layer.register_forward_hook(self._mixed)
        self.amounts, self.others = torch.zeros(0), torch.zeros(0)  # of the other picture, and which it is

    def draw(self, free: torch.Tensor, generator: torch.Generator) -> None:
        """Choose anew, for a batch of which the pictures `free` (batch,) may change, who takes how much from whom."""
        batch, seed = len(free), int(torch.randint(2**31, (1,), generator=generator))
        amounts = torch.from_numpy(np.random.default_rng(seed).beta(self.CONCENTRATION, self.CONCENTRATION, batch))
        mixed = free & (torch.rand(batch, generator=generator) < self.SHARE)
        self.amounts = torch.where(mixed, amounts, 0).float().view(-1, 1, 1, 1)
        self.others = torch.randperm(batch, generator=generator)

    def _mixed(self, layer: nn.Module, _inputs: tuple, features: torch.Tensor) -> torch.Tensor:
        if not layer.training:
            return features
        mean = features.mean((2, 3), keepdim=True).detach()
        spread = (features.var((2, 3), keepdim=True) + 1e-5).sqrt().detach()
        amounts = self.amounts.to(features)
        scale = 1 + amounts * (spread[self.others] / spread - 1)
        return features * scale + mean + amounts * (mean[self.others] - mean) - mean * scale


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

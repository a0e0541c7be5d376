"""Mappers from CLIP's space into CLAP's: the only part of the system that is trained.

All take unit-norm visual embeddings (n, visual_dim) and give unit-norm audio embeddings (n, audio_dim).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from v2a_utils.mappers import diffusion
from v2a_utils.mappers.prior import Prior
from v2a_utils.mappers.training import TrainConfig, fit
from v2a_utils.models.noise import MAPPER, row_generators


class RegressionMapper(nn.Module):
    """`depth` blocks of Linear, SiLU and LayerNorm with expansion 4, then Linear: one answer per picture.

    objective "mse" learns the mean of all that a picture could sound like, "cosine" the mean direction; "contrastive"
    (InfoNCE, arXiv 1807.03748) learns to pick the right sound of a batch, as CLIP and CLAP themselves did.
    """

    kind = "regression"

    def __init__(self, visual_dim: int, audio_dim: int, expansion: int = 4, depth: int = 1, objective: str = "mse"):
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}: use {', '.join(OBJECTIVES)}")
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "expansion": expansion, "depth": depth,
                       "objective": objective}
        widths = [visual_dim] + depth * [expansion * visual_dim]
        blocks = [(nn.Linear(before, after), nn.SiLU(), nn.LayerNorm(after))
                  for before, after in zip(widths, widths[1:])]
        self.net = nn.Sequential(*(layer for block in blocks for layer in block), nn.Linear(widths[-1], audio_dim))
        self.scale_in = visual_dim**0.5  # unit-norm vectors have entries of 1/sqrt(d): brought to entries of 1

    def forward(self, visual: torch.Tensor) -> torch.Tensor:
        return self.net(visual * self.scale_in)

    def loss(self, visual: torch.Tensor, audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The objective on a batch of pairs of unit norm."""
        return OBJECTIVES[self.config["objective"]](self(visual).float(), audio)

    @torch.inference_mode()
    def map(self, visual: np.ndarray, seed: int = 0) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm. The seed has no effect on a regression."""
        return _unit(self(torch.from_numpy(visual).to(_device(self))))


def _squared_error(mapped: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Mean squared error on embeddings scaled to entries of about 1."""
    return F.mse_loss(mapped, audio * audio.shape[1] ** 0.5)


def _one_minus_cosine(mapped: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    return 1 - F.cosine_similarity(mapped, audio).mean()


def info_nce(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor | float = 1 / 0.07) -> torch.Tensor:
    """CLIP's loss (arXiv 2103.00020, figure 3): symmetric cross-entropy over the cosines of a batch times `scale`.

    Row i of `first` (n, d) belongs to row i of `second`. The default scale is CLIP's before training.
    """
    logits = scale * F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


OBJECTIVES = {"mse": _squared_error, "cosine": _one_minus_cosine, "contrastive": info_nce}


class GenerativeMapper(nn.Module):
    """What the diffusion and the flow mapper share: the DALL-E 2 prior's network, its training and its sampling.

    Embeddings are scaled by sqrt(d) so that their entries have variance 1, as noise has. `sizes` are those of `Prior`.
    `temperature`, which multiplies the noise that sampling starts from, is the mapper's own unless `map` is given
    another: a small network's samples scatter less than true sounds do, and more noise makes up for it.
    """

    dropout = 0.1  # share of training examples that lose their condition, for classifier-free guidance

    def __init__(self, visual_dim: int, audio_dim: int, temperature: float = 1.0, **sizes):
        super().__init__()
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "temperature": temperature} | sizes
        self.network = Prior(visual_dim, audio_dim, **sizes)
        self.scale_in, self.scale_out = visual_dim**0.5, audio_dim**0.5

    def loss(self, visual: torch.Tensor, audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error between the clean embedding and its prediction at a random time; pairs of unit norm."""
        clean, number, device = audio * self.scale_out, len(audio), audio.device
        times = torch.randint(diffusion.TRAIN_STEPS, (number,), generator=generator).to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        keep = (torch.rand(number, 2, generator=generator) >= self.dropout).to(device)
        noisy = self.add_noise(clean, noise, times)
        return F.mse_loss(self.network(noisy, times, visual * self.scale_in, keep).float(), clean)

    def _sample(self, visual: np.ndarray, seed: int, draws: int, steps: int, guidance: float, temperature: float | None,
                **settings) -> np.ndarray:
        if draws < 1:
            raise ValueError(f"{draws} draws of each embedding: give 1 or more")
        settings["temperature"] = self.config["temperature"] if temperature is None else temperature
        condition = torch.from_numpy(visual).to(_device(self)) * self.scale_in
        mapped = [np.zeros((0, self.config["audio_dim"]), np.float32)]
        for start in range(0, len(visual), SAMPLE_BATCH):
            rows = slice(start, start + SAMPLE_BATCH)
            numbers = range(len(visual))[rows]
            generators = row_generators(numbers, seed, MAPPER)  # a row's sample is its own, whatever the batch
            mapped.append(_unit(sum(
                diffusion.sample(self.network, condition[rows], steps, guidance, generators, **settings)
                for _ in range(draws)
            )))
        return np.concatenate(mapped)


class DiffusionMapper(GenerativeMapper):
    """The DALL-E 2 prior between CLIP and CLAP (arXiv 2204.06125, section 2.2; V2A-Mapper's generative mapper)."""

    kind = "diffusion"
    add_noise = staticmethod(diffusion.add_noise)

    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 16, guidance: float = 1.0, sampler: str = "dpm++",
            eta: float = 1.0, temperature: float | None = None, draws: int = 1) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm: for every row the mean direction of `draws` samples.

        sampler: "ddpm", "ddim" (noise share eta; DALLE2-pytorch takes 64 steps with eta 1), or "dpm++", which needs the
        fewest steps. `temperature` multiplies the starting noise, None is the mapper's own. One draw is a sample; the
        more draws, the nearer to the conditional mean, which is what a regression learns.
        """
        return self._sample(visual, seed, draws, steps, guidance, temperature, sampler=sampler, eta=eta)


class FlowMapper(GenerativeMapper):
    """Rectified flow (arXiv 2209.03003) with the same network: straight lines from noise to sounds, in few steps."""

    kind = "flow"
    add_noise = staticmethod(diffusion.add_noise_straight)

    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 8, guidance: float = 1.0,
            temperature: float | None = None, draws: int = 1) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm: for every row the mean direction of `draws` samples.

        One step gives the guess from pure noise, which for a perfectly trained network is the conditional mean, as from
        a regression; more steps give samples. `temperature` multiplies the starting noise: 0 is one answer, 1 a sample.
        """
        return self._sample(visual, seed, draws, steps, guidance, temperature, sampler="flow")


MAPPERS = {mapper.kind: mapper for mapper in (RegressionMapper, DiffusionMapper, FlowMapper)}
SAMPLE_BATCH = 4096  # rows sampled at once


def train_mapper(
    mapper: nn.Module, visual: np.ndarray, audio: np.ndarray, config: TrainConfig, checkpoint: Path | None = None,
    device: str = "cpu", callback: Callable[[nn.Module, list[float]], bool | None] | None = None,
    origin: dict[str, str] | None = None,
) -> list[float]:
    """Train with `fit` on pairs of unit-norm embeddings, row by row; returns the loss of every step."""
    if len(visual) != len(audio):
        raise ValueError(f"{len(visual)} visual but {len(audio)} audio embeddings: rows must belong together")
    inputs, targets = torch.from_numpy(visual), torch.from_numpy(audio)

    def loss_of(model, rows, generator):
        place = _device(model)
        return model.loss(inputs[rows].to(place), targets[rows].to(place), generator)

    return fit(mapper, loss_of, len(visual), config, checkpoint, f"{mapper.kind} mapper", device, callback, origin)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return F.normalize(embeddings.float(), dim=-1).cpu().numpy()

"""Mappers from CLIP's space into CLAP's: the only part of the system that is trained.

Both take unit-norm visual embeddings (n, visual_dim) and give unit-norm audio embeddings (n, audio_dim).
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn
from torch.nn import functional as F

from v2a_utils import diffusion
from v2a_utils.training import TrainConfig, fit
from v2a_utils.weights import load_weights, save_weights, write_json


class RegressionMapper(nn.Module):
    """Linear, SiLU, LayerNorm, Linear with expansion 4: one answer a picture, the mean of what it could sound like."""

    kind = "regression"

    def __init__(self, visual_dim: int, audio_dim: int, expansion: int = 4):
        super().__init__()
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "expansion": expansion}
        hidden = expansion * visual_dim
        self.net = nn.Sequential(
            nn.Linear(visual_dim, hidden), nn.SiLU(), nn.LayerNorm(hidden), nn.Linear(hidden, audio_dim)
        )
        self.scale_in = visual_dim**0.5  # unit-norm vectors have entries of 1/sqrt(d): brought to entries of 1

    def forward(self, visual: torch.Tensor) -> torch.Tensor:
        return self.net(visual * self.scale_in)

    def loss(self, visual: torch.Tensor, audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error on embeddings scaled to entries of about 1."""
        return F.mse_loss(self(visual).float(), audio * audio.shape[1] ** 0.5)

    @torch.inference_mode()
    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 0, guidance: float = 1.0) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm. Seed, steps and guidance have no meaning for a regression."""
        return _unit(self(torch.from_numpy(visual).to(_device(self))))


class DiffusionMapper(nn.Module):
    """The DALL-E 2 prior between CLIP and CLAP (arXiv 2204.06125, section 2.2; V2A-Mapper's generative mapper).

    A transformer reads four tokens (condition, time, noised embedding, learned query) and predicts the clean audio
    embedding at the query. Embeddings are scaled by sqrt(d) so that their entries have variance 1.
    """

    kind = "diffusion"
    dropout = 0.1  # share of training examples that lose their condition, for classifier-free guidance

    def __init__(self, visual_dim: int, audio_dim: int, width: int = 128, depth: int = 4, heads: int = 4):
        super().__init__()
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "width": width, "depth": depth,
                       "heads": heads}
        self.dim = audio_dim
        self.scale_in, self.scale_out = visual_dim**0.5, audio_dim**0.5
        self.condition_in, self.noised_in = nn.Linear(visual_dim, width), nn.Linear(audio_dim, width)
        self.times = nn.Sequential(Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0),
                                   TimestepEmbedding(width, width))
        self.null = nn.Parameter(torch.randn(width) * 0.02)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.places = nn.Parameter(torch.randn(4, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, audio_dim)

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, condition: torch.Tensor | None, keep=None):
        """Clean embedding (batch, audio_dim) predicted from the noisy one; `keep` (batch, 1) marks kept conditions."""
        null = self.null.expand(len(noisy), -1)
        seen = null if condition is None else self.condition_in(condition)
        if keep is not None:
            seen = torch.where(keep, seen, null)
        query = self.query.expand(len(noisy), -1)
        tokens = torch.stack([seen, self.times(times), self.noised_in(noisy), query], dim=1) + self.places
        return self.out(self.transformer(tokens)[:, -1])

    def loss(self, visual: torch.Tensor, audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean squared error between the clean embedding and its prediction at a random time."""
        clean, number, device = audio * self.scale_out, len(audio), audio.device
        times = torch.randint(diffusion.TRAIN_STEPS, (number,), generator=generator).to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        keep = (torch.rand(number, 1, generator=generator) >= self.dropout).to(device)
        noisy = diffusion.add_noise(clean, noise, times)
        return F.mse_loss(self(noisy, times, visual * self.scale_in, keep).float(), clean)

    @torch.inference_mode()
    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 64, guidance: float = 1.0) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm: one sample for every row, by DDIM with eta 1."""
        device = _device(self)
        generator = torch.Generator().manual_seed(seed)
        condition = torch.from_numpy(visual).to(device) * self.scale_in
        return _unit(diffusion.sample(self, condition, steps, guidance, generator))


MAPPERS = {mapper.kind: mapper for mapper in (RegressionMapper, DiffusionMapper)}


def train_mapper(
    mapper: nn.Module, visual: np.ndarray, audio: np.ndarray, config: TrainConfig, checkpoint: Path | None = None,
    device: str = "cpu",
) -> list[float]:
    """Train on pairs of unit-norm embeddings, rows belonging together; returns the loss of every step."""
    if len(visual) != len(audio):
        raise ValueError(f"{len(visual)} visual but {len(audio)} audio embeddings: rows must belong together")
    inputs, targets = torch.from_numpy(visual).to(device), torch.from_numpy(audio).to(device)

    def loss_of(model, rows, generator):
        return model.loss(inputs[rows], targets[rows], generator)

    return fit(mapper, loss_of, len(visual), config, checkpoint, f"{mapper.kind} mapper", device)


def save_mapper(mapper: nn.Module, folder: Path) -> None:
    """Write config.json and model.safetensors, as `load_mapper` reads them."""
    save_weights(mapper, folder / "model.safetensors")
    write_json(folder / "config.json", {"kind": mapper.kind} | mapper.config)


def load_mapper(folder: Path, device: str = "cpu") -> nn.Module:
    """A trained mapper from a folder with config.json and model.safetensors."""
    config = json.loads((Path(folder) / "config.json").read_text())
    mapper = MAPPERS[config.pop("kind")](**config)
    load_weights(mapper, Path(folder) / "model.safetensors")
    return mapper.to(device).eval()


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return F.normalize(embeddings.float(), dim=-1).cpu().numpy()

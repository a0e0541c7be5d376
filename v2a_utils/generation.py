"""AudioLDM on diffusers' components: CLAP embeddings in, sounds out."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import SpeechT5HifiGan

from v2a_utils.vocoder import GriffinLimVocoder

VOCODERS = {"SpeechT5HifiGan": SpeechT5HifiGan, "GriffinLimVocoder": GriffinLimVocoder}
NULL_FILE = "null_embedding.safetensors"


class Generator:
    """A frozen AudioLDM: UNet, VAE and vocoder of a folder as diffusers saves it, and the null embedding.

    The CLAP embedding enters as `class_labels`; the unconditional branch uses CLAP's embedding of the empty text
    (haoheliu/AudioLDM), kept in the folder so that no text tower is needed to generate.
    """

    def __init__(self, unet, vae, vocoder, scheduler, null_embedding: np.ndarray, device: str = "cpu"):
        self.unet, self.vae, self.vocoder = (part.to(device).eval() for part in (unet, vae, vocoder))
        self.scheduler, self.null_embedding, self.device = scheduler, null_embedding, device

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Generator":
        """From an AudioLDM folder in diffusers' layout, with the null embedding beside it."""
        folder = Path(folder)
        index = json.loads((folder / "model_index.json").read_text())
        vocoder = VOCODERS[index["vocoder"][1]]
        return cls(
            UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32),
            AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32),
            vocoder.from_pretrained(folder / "vocoder"),
            DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler"),
            load_file(folder / NULL_FILE)["null_embedding"].float().numpy(),
            device,
        )

    @property
    def sample_rate(self) -> int:
        return self.vocoder.config.sampling_rate

    @property
    def hop(self) -> int:
        return int(np.prod(self.vocoder.config.upsample_rates))

    @property
    def embed_dim(self) -> int:
        return self.unet.config.projection_class_embeddings_input_dim

    @property
    def clip_seconds(self) -> float:
        """The length that the UNet was trained on."""
        return self.unet.config.sample_size * self._factor * self.hop / self.sample_rate

    @property
    def _factor(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.inference_mode()
    def generate(
        self, embeddings: np.ndarray, steps: int = 25, guidance: float = 2.0, seconds: float | None = None,
        seed: int = 0, progress=None,
    ) -> np.ndarray:
        """One sound for every unit-norm CLAP embedding (n, embed_dim): float32 (n, samples), not yet at one loudness.

        Row i draws its starting noise from (seed, i), so a sound does not depend on what else is in the batch.
        `progress(done, steps)` is called after every denoising step.
        """
        seconds = seconds or self.clip_seconds
        latents = self._start(len(embeddings), seconds, seed)
        conditions = torch.from_numpy(np.asarray(embeddings, np.float32))
        latents = self.denoise(latents, conditions, steps, guidance, progress)
        mels = self.decode(latents)
        return self.vocoder(mels).float().cpu().numpy()[:, : round(seconds * self.sample_rate)]

    @torch.inference_mode()
    def denoise(
        self, latents: torch.Tensor, conditions: torch.Tensor, steps: int, guidance: float, progress=None
    ) -> torch.Tensor:
        """Noise (batch, channels, h, w) -> clean scaled latents for conditions (batch, embed_dim), by DPM-Solver++."""
        scheduler = DPMSolverMultistepScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        null = torch.from_numpy(self.null_embedding).expand_as(conditions)
        labels = torch.cat([null, conditions]).to(self.device)
        for done, time in enumerate(scheduler.timesteps, start=1):
            if guidance == 1:
                predicted = self._predict(latents, time, labels[len(latents) :])
            else:
                unconditional, conditional = self._predict(torch.cat([latents] * 2), time, labels).chunk(2)
                predicted = unconditional + guidance * (conditional - unconditional)
            latents = scheduler.step(predicted, time, latents).prev_sample
            if progress is not None:
                progress(done, steps)
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> log-mels (batch, frames, mels) in nats."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample[:, 0]

    def _start(self, number: int, seconds: float, seed: int) -> torch.Tensor:
        frames = int(np.ceil(seconds * self.sample_rate / self.hop / self._factor))
        shape = (self.unet.config.in_channels, frames + frames % 2, self.vocoder.config.model_in_dim // self._factor)
        rows = [torch.randn(shape, generator=torch.Generator().manual_seed(_mix(seed, i))) for i in range(number)]
        return torch.stack(rows).to(self.device)

    def _predict(self, latents, time, labels) -> torch.Tensor:
        return self.unet(latents, time, encoder_hidden_states=None, class_labels=labels).sample


def _mix(seed: int, row: int) -> int:
    """A seed of its own for every (seed, row)."""
    return int(np.random.SeedSequence([seed, row]).generate_state(1)[0])

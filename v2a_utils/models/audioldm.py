"""AudioLDM on diffusers' components: CLAP embeddings in, sounds out."""

import inspect
import json
from functools import partial
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from v2a_utils.data.batches import Lanes, lane_count, row_generators
from v2a_utils.data.files import complaint
from v2a_utils.models.mel import log_mel
from v2a_utils.models.vocoder import GriffinLimVocoder, LearnedVocoder
from v2a_utils.models.weights import without_gaps

VOCODERS = {kind.__name__: kind for kind in (SpeechT5HifiGan, GriffinLimVocoder, LearnedVocoder)}
PIPELINE = "AudioLDMPipeline"  # the class that model_index.json names
SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler", "ddim": "DDIMScheduler", "ddpm": "DDPMScheduler",
    "euler": "EulerDiscreteScheduler", "unipc": "UniPCMultistepScheduler",
}


def _vocoder(kind: type, folder: Path):
    """A vocoder of VOCODERS, single precision; without the type that AudioLDM's names and transformers warns about."""
    more = {}
    if kind is SpeechT5HifiGan:
        written = json.loads((folder / "config.json").read_text())
        written.pop("model_type", None)
        more["config"] = SpeechT5HifiGanConfig(**written)
    return without_gaps(kind.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True, **more))


class Generator:
    """A frozen AudioLDM: UNet, VAE and vocoder of a folder as diffusers saves it, and the null embedding.

    The CLAP embedding enters as `class_labels`; the unconditional branch uses CLAP's embedding of the empty text
    (haoheliu/AudioLDM). Whatever the precision of UNet and VAE, latents and vocoder stay in single precision. Sizes,
    rate and mel bins come from the folder's configurations, so AudioLDM's s, m and l all fit.
    """

    def __init__(self, unet, vae, vocoder, scheduler, null_embedding: np.ndarray, device: str = "cpu",
                 clip_seconds: float | None = None):
        self.unet, self.vae, self.vocoder = (part.to(device).eval() for part in (unet, vae, vocoder))
        self.scheduler, self.null_embedding, self.device = scheduler, null_embedding, device
        self.sample_rate = self.vocoder.config.sampling_rate
        self.hop = int(np.prod(self.vocoder.config.upsample_rates))
        self.embed_dim = self.unet.config.projection_class_embeddings_input_dim
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)  # mel frames, and mels, in one latent
        # the length that the UNet was trained on, in seconds
        self.clip_seconds = clip_seconds or self.unet.config.sample_size * self.factor * self.hop / self.sample_rate

    @classmethod
    def load(cls, folder: str | Path, null_embedding: np.ndarray, device: str = "cpu",
             clip_seconds: float | None = None, dtype: torch.dtype | None = None) -> "Generator":
        """From an AudioLDM folder in diffusers' layout. ValueError names one that is not.

        `dtype` is that of UNet and VAE: by default half precision on a GPU and single precision on a CPU.
        """
        folder, dtype = Path(folder), dtype or (torch.float32 if device == "cpu" else torch.float16)
        try:
            index = json.loads((folder / "model_index.json").read_text())
            if index["_class_name"] != PIPELINE:
                raise ValueError(f"it holds an {index['_class_name']}, which is not conditioned on one CLAP embedding; "
                                 f"give the folder of an {PIPELINE}")
            vocoder = _vocoder(VOCODERS[index["vocoder"][1]], folder / "vocoder")
            unet, vae = (without_gaps(part.from_pretrained(folder / name, torch_dtype=dtype, output_loading_info=True))
                         for name, part in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)))
            scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(folder / "scheduler")
        except (OSError, KeyError, AttributeError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder}: not an AudioLDM folder as diffusers saves it ({complaint(error)})") from error
        return cls(unet, vae, vocoder, scheduler, null_embedding, device, clip_seconds)

    @torch.inference_mode()
    def generate(self, embeddings: np.ndarray, steps: int = 25, guidance: float = 2.0, seconds: float | None = None,
                 seed: int = 0, progress=None, scheduler: str = "dpm++", start: np.ndarray | None = None,
                 strength: float = 0.5, exclude: np.ndarray | None = None, control=None) -> np.ndarray:
        """One sound for every unit-norm CLAP embedding (n, embed_dim): float32 (n, samples), loudness not evened.

        Row i draws its noise from (seed, i), so a sound does not depend on what else is in the batch.
        `progress(done, steps)` is called after every denoising step (of the first lane, where a CPU shares out the
        batch). `scheduler` is a name of SCHEDULERS.

        A variation starts from the sounds `start` (n or 1, samples) at the generator's rate instead of noise.
        `strength` is the share of the steps that are noised and denoised again (0 to 1; SDEdit, arXiv 2108.01073).

        With `exclude`, the embedding (embed_dim,) of what shall not be heard, the guidance leads away from that instead
        of from the null embedding (a "negative prompt"). `control` (`event_adapter.Control`) says when it sounds.

        If half precision overflows, the generator switches to single precision for good and starts over.
        FloatingPointError when the sounds are not finite even so.
        """
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is {strength}: give 0 to 1")
        make = partial(self._generate, embeddings, steps=steps, guidance=guidance, seconds=seconds or self.clip_seconds,
                       seed=seed, progress=progress, scheduler=scheduler, start=start, strength=strength,
                       exclude=exclude, control=control)
        sounds = make()
        if not np.isfinite(sounds).all() and self.unet.dtype != torch.float32:
            tqdm.write("The generator's half precision overflowed: it goes on in single precision, which takes longer.")
            self.unet.float()
            self.vae.float()
            sounds = make()
        if not np.isfinite(sounds).all():
            raise FloatingPointError("the generated sound is not finite (NaN or infinite), so it is not kept; lower "
                                     "the guidance, or fetch AudioLDM's weights anew, which may be damaged")
        return sounds

    def _generate(self, embeddings, steps, guidance, seconds, seed, progress, scheduler, start, strength,
                  exclude, control) -> np.ndarray:
        """`generate` without its check that the sounds are finite."""
        rows = row_generators(range(len(embeddings)), seed)
        shape = self.latent_shape(seconds)
        noise = torch.stack([torch.randn(shape, generator=row) for row in rows]).to(self.device)
        clean = None if start is None else self.encode(self._fit(start, shape[1])).expand_as(noise)
        conditions = torch.from_numpy(np.asarray(embeddings, np.float32))

        @torch.inference_mode()  # which a thread does not inherit
        def sounds(part: slice, progress=None) -> torch.Tensor:
            latents = self.denoise(noise[part], conditions[part], steps, guidance, progress, scheduler, rows[part],
                                   None if clean is None else clean[part], strength, exclude,
                                   control and control.rows(part))
            return self.vocoder(self.decode(latents)).float().cpu()

        own, *others = _parts(len(rows), lane_count(self.device))
        with Lanes(1 + len(others)) as pool:  # `progress` is called in the thread that called `generate`
            waiting = [pool.submit(sounds, part, pool.check) for part in others]
            waves = torch.cat([sounds(own, progress), *(one.result() for one in waiting)])
        return waves.numpy()[:, : round(seconds * self.sample_rate)]

    @torch.inference_mode()
    def denoise(self, noise: torch.Tensor, conditions: torch.Tensor, steps: int, guidance: float, progress=None,
                scheduler: str = "dpm++", rows: list[torch.Generator] | None = None, clean: torch.Tensor | None = None,
                strength: float = 0.5, exclude: np.ndarray | None = None, control=None) -> torch.Tensor:
        """Noise (batch, channels, h, w) -> scaled latents for conditions (batch, embed_dim).

        Both branches of the guidance are one batch. A scheduler that adds noise draws each row's from its generator in
        `rows`. With `clean`, scaled latents, it starts from them, noised by `strength`. The rest is as for `generate`.
        """
        walk = self._scheduler(scheduler)
        walk.set_timesteps(steps, device=self.device)
        times = walk.timesteps
        if clean is None:
            latents = noise * walk.init_noise_sigma
        else:
            times = times[len(times) - round(strength * len(times)) :]
            latents = self._noised(walk, clean, noise, times)
        drawn = {"generator": rows} if "generator" in inspect.signature(walk.step).parameters else {}
        null = torch.from_numpy(self.null_embedding if exclude is None else exclude).expand_as(conditions)
        labels = (conditions if guidance == 1 else torch.cat([null, conditions])).to(self.device)
        for done, time in enumerate(times, start=1):
            scaled = walk.scale_model_input(latents, time)
            added = control and control(time, labels[-len(scaled):])
            if guidance == 1:
                predicted = self.predict(scaled, time, labels, added)
            else:
                added = added and [torch.cat([torch.zeros_like(one), one]) for one in added]
                unconditional, conditional = self.predict(torch.cat([scaled] * 2), time, labels, added).chunk(2)
                predicted = unconditional + guidance * (conditional - unconditional)
            latents = walk.step(predicted, time, latents, **drawn).prev_sample
            if progress is not None:
                progress(done, len(times))
        return latents

    def predict(self, latents: torch.Tensor, time: torch.Tensor | int, labels: torch.Tensor,
                added: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The UNet's answer, float32, to noisy latents at a time under conditions (batch, embed_dim).

        `added` comes to its skip connections and, the last, to its middle.
        """
        latents, labels, *added = (each.to(self.device, self.unet.dtype) for each in (latents, labels, *(added or [])))
        return self.unet(latents, time, encoder_hidden_states=None, class_labels=labels,
                         down_block_additional_residuals=added[:-1] or None,
                         mid_block_additional_residual=added[-1] if added else None).sample.float()

    @torch.inference_mode()
    def encode(self, waveforms: np.ndarray) -> torch.Tensor:
        """Sounds (n, samples) at the generator's rate -> scaled latents (n, channels, h, w), posteriors' modes."""
        sounds = torch.from_numpy(np.asarray(waveforms, np.float32)).to(self.device)
        mels = log_mel(sounds, self.sample_rate, self.vocoder.config.model_in_dim, self.hop)
        modes = self.vae.encode(mels[:, None].to(self.vae.dtype)).latent_dist.mode()
        return modes.float() * self.vae.config.scaling_factor

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents -> log-mels (n, frames, mels) in nats."""
        return self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample[:, 0].float()

    def _scheduler(self, name: str) -> SchedulerMixin:
        if name not in SCHEDULERS:
            raise ValueError(f"unknown scheduler {name!r}: use {', '.join(SCHEDULERS)}")
        return getattr(diffusers, SCHEDULERS[name]).from_config(self.scheduler.config)

    def latent_shape(self, seconds: float) -> tuple[int, int, int]:
        """(channels, time, mel) of a sound's latents, the time rounded up to what the UNet can halve at every level."""
        frames = int(np.ceil(seconds * self.sample_rate / self.hop / self.factor))
        least = 2 ** (len(self.unet.config.block_out_channels) - 1)
        mels = self.vocoder.config.model_in_dim
        return self.unet.config.in_channels, -(-frames // least) * least, mels // self.factor

    def _fit(self, waveforms: np.ndarray, frames: int) -> np.ndarray:
        """Waveforms (n, samples), cut or padded with silence to the length of so many latent frames."""
        length = frames * self.factor * self.hop
        waveforms = np.asarray(waveforms, np.float32)[:, :length]
        return np.pad(waveforms, ((0, 0), (0, length - waveforms.shape[1])))

    @staticmethod
    def _noised(walk: SchedulerMixin, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Latents noised to the first of `times`; the scheduler is told that it starts there."""
        if not len(times):
            return clean
        if hasattr(walk, "set_begin_index"):
            walk.set_begin_index(len(walk.timesteps) - len(times))
        return walk.add_noise(clean, noise, times[:1].expand(len(clean)))


def _parts(rows: int, number: int) -> list[slice]:
    """The rows of a batch in at most `number` parts, the first as large as any."""
    size = -(-rows // number)
    return [slice(start, start + size) for start in range(0, rows, size)]

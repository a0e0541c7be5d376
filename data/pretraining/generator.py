"""Training the mini AudioLDM: a VAE on log-mels, a vocoder, and a latent diffusion UNet given CLAP embeddings."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from soundworld import SAMPLE_RATE
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from v2a_pretraining.data import Rendered

from v2a_utils.event_adapter import EventAdapter, timeline
from v2a_utils.mappers.training import TrainConfig, fit, half_precision
from v2a_utils.models.mel import log_mel, log_mel_of, magnitudes
from v2a_utils.models.vocoder import LearnedVocoder
from v2a_utils.models.weights import load_weights
from v2a_utils.retiming import CURVE_RATE

VAE_CONFIG = {
    "in_channels": 1, "out_channels": 1, "block_out_channels": (16, 32, 32, 64), "layers_per_block": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 16, "norm_num_groups": 8, "mid_block_add_attention": False, "sample_size": 256,
}
UNET_CONFIG = {
    "sample_size": 32, "in_channels": 16, "out_channels": 16, "layers_per_block": 1, "block_out_channels": (64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": (64, 128),  # AudioLDM's way to say self-attention: no encoder states are ever given
    "attention_head_dim": 8, "norm_num_groups": 16, "class_embed_type": "simple_projection",
    "class_embeddings_concat": True,
}
SCHEDULER_CONFIG = {
    "num_train_timesteps": 1000, "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction", "clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,  # sounds are made from pure noise, so the last step of training must be just that
}
CONDITION_DROPOUT = 0.1
NOISE_SKEW = 1.5  # above 1, less of the training goes to noise in which nothing can be heard yet
LATENT_NOISE, TEXTURE_WEIGHT = 0.1, 0.5
# how a film shows the events of its sound: seconds by which it errs (a standard deviation), share that it misses, how
# many it shows too many, share of films with a stretch that hides them all
JITTER, MISSED, TOO_MANY, HIDDEN = 0.015, 0.1, 0.2, 0.3
FAINT = 3e-4  # about twice the STFT magnitude of rounding to sixteen bits


def train_vae(data: Rendered, out: Path, checkpoint: Path, config: TrainConfig, device: str) -> list[float]:
    """Train the autoencoder on log-mels: mean absolute error in nats, and a light KL term."""
    torch.manual_seed(config.seed)
    model = AutoencoderKL(**VAE_CONFIG)
    mels = all_log_mels(data)
    with torch.no_grad():  # start at the scale of log-mels (mean -6, deviation 3 nats) instead of 0 and 1
        model.encoder.conv_in.weight.mul_(1 / 3)
        model.decoder.conv_out.weight.mul_(3)
        model.decoder.conv_out.bias.fill_(mels[:512].float().mean())

    def loss_of(model, rows, generator):
        batch = mels[rows].float()[:, None].to(device)
        posterior = model.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
        decoded = model.decode(posterior.mean + posterior.std * noise).sample
        error = (decoded.float() - batch).abs()
        return error.mean() + 1e-4 * posterior.kl().float().mean() / posterior.mean[0].numel() * 16

    losses = fit(model, loss_of, len(mels), config, checkpoint, "VAE", device)
    model.register_to_config(scaling_factor=1.0)
    latents = encode_all(model, mels[:512], device)
    model.register_to_config(scaling_factor=float(1 / latents.std()))
    model.half().save_pretrained(out)
    return losses


def train_decoder(
    latents: np.ndarray, data: Rendered, out: Path, checkpoint: Path, config: TrainConfig, device: str
) -> list[float]:
    """Train the decoder of the VAE in `out` further on scaled latents (n, channels, h, w); the encoder stays.

    The absolute error alone makes rain out of a grey mist: where the latents do not say which grain is loud, the
    median of all grains is best. So the local contrast of the log-mel counts as well. A little noise on the latents
    stands for the imperfect ones that the UNet will make.
    """
    vae = _saved(AutoencoderKL, out)
    torch.manual_seed(config.seed)
    mels, latents = all_log_mels(data), torch.from_numpy(latents)
    decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)

    def loss_of(model, rows, generator):
        batch = mels[rows].float()[:, None].to(device)
        decoded = model(_imperfect(latents[rows], generator).to(device) / vae.config.scaling_factor).float()
        texture = (_local_contrast(decoded) - _local_contrast(batch)).abs().mean()
        return (decoded - batch).abs().mean() + TEXTURE_WEIGHT * texture

    losses = fit(decoder, loss_of, len(mels), config, checkpoint, "decoder", device)
    vae.half().save_pretrained(out)
    return losses


def train_vocoder(
    latents: np.ndarray, data: Rendered, vae_folder: Path, out: Path, checkpoint: Path, config: TrainConfig, device: str
) -> list[float]:
    """Train the vocoder's network: mean absolute error of log STFT magnitudes in nats.

    Every second log-mel of a batch is not the sound's own but what the VAE in `vae_folder` decodes from scaled latents
    (n, channels, h, w) with a little noise, since the UNet's are imperfect too.
    """
    vae = _saved(AutoencoderKL, vae_folder).to(device).eval().requires_grad_(False)
    torch.manual_seed(config.seed)
    latents, model = torch.from_numpy(latents), LearnedVocoder()
    hop = model.config.upsample_rates[0]

    def loss_of(model, rows, generator):
        sounds, coded = torch.from_numpy(data.waveforms(rows)).to(device), _imperfect(latents[rows[::2]], generator)
        decoded = vae.decode(coded.to(device) / vae.config.scaling_factor).sample[:, 0].float()
        with torch.autocast(sounds.device.type, enabled=False):
            spectra = magnitudes(sounds, model.config.n_fft, hop)[..., :-1]
            mels, true = log_mel_of(spectra, SAMPLE_RATE, len(model.filters)), spectra.transpose(1, 2)
        mels[::2] = decoded
        return ((model.magnitudes(mels) + FAINT).log() - (true + FAINT).log()).abs().mean()

    losses = fit(model, loss_of, len(latents), config, checkpoint, "vocoder", device)
    model.half().save_pretrained(out)
    return losses


def _imperfect(latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scaled latents in single precision with a little noise."""
    return latents.float() + LATENT_NOISE * torch.randn(latents.shape, generator=generator)


def _local_contrast(log_mels: torch.Tensor) -> torch.Tensor:
    """Standard deviation in nats around every point of (batch, 1, frames, mels), over 5 frames by 5 mels."""
    mean = F.avg_pool2d(log_mels, 5, 1, 2, count_include_pad=False)
    square = F.avg_pool2d(log_mels**2, 5, 1, 2, count_include_pad=False)
    return (square - mean**2).clamp(min=1e-4).sqrt()


def train_unet(
    latents: np.ndarray, audio_embeddings: np.ndarray, null_embedding: np.ndarray, out: Path, checkpoint: Path,
    config: TrainConfig, device: str, go_on: bool = False,
) -> list[float]:
    """Train the UNet to predict v from noisy scaled latents (n, channels, h, w), given CLAP audio embeddings (n, d).

    The condition is replaced by `null_embedding` (d,), CLAP's embedding of the empty text, one time in ten. It begins
    with random weights or, to `go_on`, with those that lie in `out`.
    """
    latents = torch.from_numpy(latents)
    scheduler = DDIMScheduler(**SCHEDULER_CONFIG)
    torch.manual_seed(config.seed)
    model = _saved(UNet2DConditionModel, out / "unet") if go_on else _new_unet(audio_embeddings.shape[1])
    model.set_attn_processor(AttnProcessor())  # PyTorch's fused attention is slow backwards with heads this small
    conditions = torch.from_numpy(audio_embeddings)
    null = torch.from_numpy(null_embedding)

    def loss_of(model, rows, generator):
        clean = latents[rows].float().to(device)
        number = len(clean)
        times = (1000 * torch.rand(number, generator=generator) ** NOISE_SKEW).long().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        dropped = (torch.rand(number, 1, generator=generator) < CONDITION_DROPOUT).to(device)
        condition = torch.where(dropped, null.to(device), conditions[rows].to(device))
        noisy = scheduler.add_noise(clean, noise, times)
        predicted = model(noisy, times, encoder_hidden_states=None, class_labels=condition).sample
        return F.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, times))

    losses = fit(model, loss_of, len(latents), config, checkpoint, "UNet", device)
    model.half().save_pretrained(out / "unet")
    scheduler.save_pretrained(out / "scheduler")
    return losses


def adapter_for(unet, factor: int) -> EventAdapter:
    """A new adapter for the skip connections of a UNet2DConditionModel."""
    config = unet.config
    widths, sites = config.block_out_channels, [[config.block_out_channels[0], 0]]
    for level, width in enumerate(widths):
        sites += [[width, level]] * config.layers_per_block
        if level + 1 < len(widths):
            sites.append([width, level + 1])
    return EventAdapter([*sites, [widths[-1], len(widths) - 1]], factor, config.projection_class_embeddings_input_dim)


def train_adapter(
    latents: np.ndarray, audio_embeddings: np.ndarray, onsets: np.ndarray, folder: Path, checkpoint: Path,
    config: TrainConfig, device: str
) -> list[float]:
    """Train what tells the UNet in `folder`, which stays as it is, when things begin to sound.

    Sounds are scaled latents (n, channels, frames, mels), CLAP embeddings (n, d) and onsets (n, most) in s, the rest of
    a row NaN. The adapter gets them as a film would show them: a little early or late, some missed, some too many.
    """
    vae = AutoencoderKL.load_config(folder / "vae")
    unet, scheduler = _saved(UNet2DConditionModel, folder / "unet").to(device).eval(), DDIMScheduler(**SCHEDULER_CONFIG)
    unet.requires_grad_(False).set_attn_processor(AttnProcessor())
    torch.manual_seed(config.seed)
    adapter = adapter_for(unet, 2 ** (len(vae["block_out_channels"]) - 1))
    latents, conditions = torch.from_numpy(latents), torch.from_numpy(audio_embeddings)
    frames = latents.shape[2] * adapter.factor

    def loss_of(model, rows, generator):
        clean, condition = latents[rows].float().to(device), conditions[rows].to(device)
        dice = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        shown = torch.from_numpy(np.stack([_as_shown(each, frames, dice) for each in onsets[rows]])).to(device)
        times = (1000 * torch.rand(len(clean), generator=generator)).long().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        *skips, middle = model(shown, times, condition)
        noisy = scheduler.add_noise(clean, noise, times)
        predicted = unet(noisy, times, encoder_hidden_states=None, class_labels=condition,
                         down_block_additional_residuals=skips, mid_block_additional_residual=middle).sample
        return F.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, times))

    losses = fit(adapter, loss_of, len(latents), config, checkpoint, "event adapter", device)
    adapter.save(folder)
    return losses


def _as_shown(onsets: np.ndarray, frames: int, dice: np.random.Generator) -> np.ndarray:
    """A timeline (2, frames) of a sound's onsets (most,) as its film may show them."""
    seconds, times = frames / CURVE_RATE, onsets[~np.isnan(onsets)]
    times = (times + dice.normal(0, JITTER, len(times)))[dice.random(len(times)) >= MISSED]
    times = np.concatenate([times, dice.uniform(0, seconds, dice.poisson(TOO_MANY))])
    first, last = sorted(dice.uniform(0, seconds, 2)) if dice.random() < HIDDEN else (0, 0)
    blind = (np.arange(frames) >= first * CURVE_RATE) & (np.arange(frames) < last * CURVE_RATE)
    return timeline(times[(times < first) | (times >= last)], frames, CURVE_RATE, blind)


def _new_unet(dim: int) -> UNet2DConditionModel:
    model = UNet2DConditionModel(**UNET_CONFIG, projection_class_embeddings_input_dim=dim)
    with torch.no_grad():  # unit-norm embeddings have entries of 1/sqrt(d): scale to entries of 1
        model.class_embedding.weight.mul_(dim**0.5)
    return model


def _saved(kind: type[ModelMixin], folder: Path) -> ModelMixin:
    """A model as it lies in `folder`, whose path `from_pretrained` would write into the next configuration saved."""
    model = kind.from_config(kind.load_config(folder))
    load_weights(model, folder / SAFETENSORS_WEIGHTS_NAME)
    return model


def all_log_mels(data: Rendered) -> torch.Tensor:
    """AudioLDM's log-mels of all sounds, float16 (n, 256, 64)."""
    return torch.cat([
        log_mel(torch.from_numpy(data.waveforms(slice(start, start + 256)))).half()
        for start in tqdm(range(0, len(data.sounds), 256), "log-mels")
    ])


@torch.inference_mode()
def encode_all(vae: nn.Module, mels: torch.Tensor, device: str) -> torch.Tensor:
    """Scaled latents, float16 (n, channels, frames / 8, mels / 8), the means of the posteriors."""
    vae = vae.to(device).float().eval()
    rows = []
    for part in tqdm(mels.split(16), "latents"):  # few enough to stay in a processor's cache
        with half_precision(device):
            batch = vae.encode(part.float()[:, None].to(device)).latent_dist.mean
        rows.append((batch.float() * vae.config.scaling_factor).half().cpu())
    return torch.cat(rows)

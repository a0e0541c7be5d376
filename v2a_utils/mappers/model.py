"""The mapper, the only part that is trained, from top to bottom: CLIP's space in, CLAP's space out.

    picture ──CLIP──▶ visual embedding ──mapper──▶ audio embedding ──AudioLDM──▶ sound

First the regression mapper and its objectives; then the diffusion mapper, which is V2A-Mapper's own: its network, its
noise and its sampling; last the flow mapper, which shares that network. Every mapper has `loss`, which
`training.train_mapper` minimises, and `map`, which answers with unit-norm rows.

Shapes: b rows of a batch, v and a the sizes of the visual and the audio embedding; n tokens of width w, h heads of d.
"""

import math
from functools import cache

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import nn
from torch.nn import functional as F

from v2a_utils.data.batches import MAPPER, row_generators

# --------------------------------------------------------------------------------------------------------- regression


def squared_error(mapped: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Mean squared error of mapped (b, a) against unit-norm audio (b, a), scaled to entries of about 1."""
    return F.mse_loss(mapped, audio * audio.shape[1] ** 0.5)


def one_minus_cosine(mapped: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """1 minus the mean cosine of (b, a) and (b, a), row by row."""
    return 1 - F.cosine_similarity(mapped, audio).mean()


def info_nce(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor | float = 1 / 0.07) -> torch.Tensor:
    """CLIP's loss (arXiv 2103.00020, figure 3): symmetric cross-entropy over the cosines of a batch times `scale`.

    Row i of `first` (b, d) belongs to row i of `second`. The default scale is CLIP's before training.
    """
    logits = scale * F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T  # (b, b), pairs on the diagonal
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


OBJECTIVES = {"mse": squared_error, "cosine": one_minus_cosine, "contrastive": info_nce}


class RegressionMapper(nn.Module):
    """An MLP that gives one answer for each picture: `depth` times Linear, SiLU and LayerNorm, then Linear.

    The objective "mse" learns the mean of all that a picture could sound like, "cosine" the mean direction;
    "contrastive" (InfoNCE, arXiv 1807.03748) learns to pick the right sound of a batch, as CLIP and CLAP did.
    """

    kind = "regression"

    def __init__(self, visual_dim: int, audio_dim: int, expansion: int = 4, depth: int = 1, objective: str = "mse"):
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {objective!r}: use {', '.join(OBJECTIVES)}")
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "expansion": expansion, "depth": depth,
                       "objective": objective}
        layers, width = [], visual_dim
        for _ in range(depth):
            layers += [nn.Linear(width, expansion * visual_dim), nn.SiLU(), nn.LayerNorm(expansion * visual_dim)]
            width = expansion * visual_dim
        self.net = nn.Sequential(*layers, nn.Linear(width, audio_dim))
        self.scale_in = visual_dim**0.5  # unit-norm vectors have entries of 1/sqrt(v): brought to entries of 1

    def forward(self, visual: torch.Tensor) -> torch.Tensor:
        """(b, v) of unit norm -> (b, a) of any norm."""
        return self.net(visual * self.scale_in)

    def loss(self, visual: torch.Tensor, audio: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The objective on a batch of unit-norm pairs, (b, v) and (b, a). Nothing is drawn from `generator`."""
        return OBJECTIVES[self.config["objective"]](self(visual).float(), audio)

    @torch.inference_mode()
    def map(self, visual: np.ndarray, seed: int = 0) -> np.ndarray:
        """(n, v) -> (n, a), unit norm. The seed has no effect on a regression."""
        return _unit(self(torch.from_numpy(visual).to(_device(self))))


# ------------------------------------------------------------------------------- the network of the generative mappers

TRAIN_STEPS = 1000  # times of the noise, rows in the network's table of times
SHARPNESS = 16.0  # of attention: cosines of queries and keys are multiplied by it
ROTARY = 32  # numbers of each head that are rotated by position
BUCKETS, FARTHEST = 32, 128  # T5's relative positions: exact up to half of the buckets, then logarithmic


class Prior(nn.Module):
    """The transformer of the DALL-E 2 prior (arXiv 2204.06125, section 2.2): it predicts the clean embedding.

    Its tokens are the condition, the time, the noised embedding and a learned query; attention is causal, and the last
    token's output is the answer. The details (one key and value for all heads and a learned null pair, attention by
    cosine, rotary and T5 positions, gated feed-forward, normformer) are those of lucidrains' DALLE2-pytorch, whose
    weights fit: with width 512, depth 12, 12 heads of 64 and 77 null tokens it has the paper's 48.83 M parameters.

    null_tokens: 0 is the lean form. DALLE2-pytorch pads absent text encodings to `max_text_len` with learned tokens;
    77 of them in front make its faithful form, which can drop the noised embedding as well as the condition.
    """

    def __init__(self, visual_dim: int, audio_dim: int, width: int = 128, depth: int = 4, heads: int = 4,
                 head_dim: int = 32, dropout: float = 0.0, null_tokens: int = 0):
        super().__init__()
        self.visual_dim, self.audio_dim = visual_dim, audio_dim
        # DALLE2-pytorch has one size for all, and so no linear maps here
        self.condition_in = nn.Identity() if visual_dim == width else nn.Linear(visual_dim, width)
        self.noised_in = nn.Identity() if audio_dim == width else nn.Linear(audio_dim, width)
        self.times = nn.Embedding(TRAIN_STEPS, width)
        self.null_condition, self.query = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.null_noised = nn.Parameter(torch.randn(width)) if null_tokens else None
        self.null_text = nn.Parameter(torch.randn(null_tokens, width))
        self.positions = Positions(null_tokens + 4, heads, min(ROTARY, head_dim))
        self.blocks = nn.ModuleList(Block(width, heads, head_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.out = nn.Linear(width, audio_dim, bias=False)

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, condition: torch.Tensor | None,
                keep: torch.Tensor | None = None) -> torch.Tensor:
        """noisy (b, a), times (b,) below TRAIN_STEPS, condition (b, v) -> the clean embedding (b, a).

        Embeddings have entries of about 1. A condition of None is the dropped condition of classifier-free guidance;
        keep (b, 2), bool, says which rows keep their condition and (faithful form) their noised embedding.
        """
        b = len(noisy)
        if condition is None:
            condition = noisy.new_zeros(b, self.visual_dim)
            keep = torch.zeros(b, 2, dtype=torch.bool, device=noisy.device)
        seen = self.condition_in(condition)  # (b, w)
        noised = self.noised_in(noisy)  # (b, w)
        if keep is not None:
            seen = torch.where(keep[:, :1], seen, self.null_condition.to(seen.dtype))
            if self.null_noised is not None:
                noised = torch.where(keep[:, 1:], noised, self.null_noised.to(noised.dtype))
        tokens = torch.stack([seen, self.times(times), noised, self.query.expand(b, -1)], dim=1)  # (b, 4, w)
        tokens = torch.cat([self.null_text.expand(b, -1, -1), tokens], dim=1)  # (b, n, w)
        cosines, sines, bias = self.positions()
        for block in self.blocks[:-1]:
            tokens = block(tokens, cosines, sines, bias)  # (b, n, w)
        answer = self.blocks[-1](tokens, cosines, sines, bias, only_last=True)[:, 0]  # (b, w)
        # DALLE2-pytorch's guard for half precision; it also sets how much the norm's epsilon weighs
        return self.out(self.norm(answer / answer.amax(-1, keepdim=True).detach()))  # (b, a)


class Positions(nn.Module):
    """What attention knows of positions: the angles that rotate queries and keys, and a learned bias for each head."""

    def __init__(self, tokens: int, heads: int, rotary: int):
        super().__init__()
        frequencies = 10_000.0 ** -(torch.arange(0, rotary, 2) / rotary)
        angles = torch.arange(tokens)[:, None] * frequencies  # (n, rotary / 2)
        # the null key stands first, so a token's own key is one place behind it: query i sees keys 0 to i + 1
        behind = torch.arange(tokens)[:, None] - torch.arange(tokens + 1)  # (n, n + 1)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self.register_buffer("buckets", _bucket(behind.clamp(min=0)), persistent=False)
        self.register_buffer("future", behind < -1, persistent=False)
        self.bias = nn.Embedding(BUCKETS, heads)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cosines and sines (n, rotary / 2), and the bias (h, n, n + 1), -inf for the future."""
        bias = self.bias(self.buckets).permute(2, 0, 1)
        return self.cosines, self.sines, bias.masked_fill(self.future, -torch.inf)


class Block(nn.Module):
    """Attention and feed-forward, each added to the stream of tokens (b, n, w)."""

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, head_dim, dropout)
        self.feed = FeedForward(width, dropout)

    def forward(self, tokens, cosines, sines, bias, only_last: bool = False):
        """(b, n, w) -> (b, n, w), or (b, 1, w) for the last token alone, which still sees all."""
        kept = tokens[:, -1:] if only_last else tokens
        tokens = kept + self.attention(tokens, cosines, sines, bias, only_last)
        return tokens + self.feed(tokens)


class Attention(nn.Module):
    """Causal attention by cosine similarity (Henry et al. 2020) of many queries to one key and value per token.

    A learned null key and value stand in front, so that a head can attend to nothing.
    """

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width, bias=False)
        self.null = nn.Parameter(torch.randn(2, head_dim))  # a key, a value
        self.queries = nn.Linear(width, heads * head_dim, bias=False)
        self.keys_values = nn.Linear(width, 2 * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width, bias=False)
        self.out_norm = nn.LayerNorm(width, bias=False)

    def forward(self, tokens, cosines, sines, bias, only_last: bool = False):
        """(b, n, w) -> (b, m, w): m is n, or 1 for the last token alone."""
        b, asking = len(tokens), slice(-1, None) if only_last else slice(None)
        tokens = self.norm(tokens)
        queries = self.queries(tokens[:, asking]).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, h, m, d)
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)  # (b, n, d) each
        queries = _rotate(queries, cosines[asking], sines[asking])
        keys = _rotate(keys, cosines, sines)
        keys = torch.cat([self.null[0].expand(b, 1, -1).to(keys.dtype), keys], dim=1)  # (b, n + 1, d)
        values = torch.cat([self.null[1].expand(b, 1, -1).to(keys.dtype), values], dim=1)  # (b, n + 1, d)
        queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
        keys, values = (part[:, None].expand(-1, self.heads, -1, -1) for part in (keys, values))  # (b, h, n + 1, d)
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias[:, asking].to(queries.dtype), scale=SHARPNESS,
            dropout_p=self.dropout * self.training,
        )  # (b, h, m, d)
        return self.out_norm(self.out(attended.transpose(1, 2).flatten(2)))  # (b, m, w)


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202) with expansion 4 and a norm in the middle (normformer, arXiv 2110.09456)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm, self.mid_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(4 * width, bias=False)
        self.up, self.down = nn.Linear(width, 8 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(b, n, w) -> (b, n, w)."""
        content, gate = self.up(self.norm(tokens)).chunk(2, dim=-1)  # (b, n, 4 w) each
        return self.down(self.dropout(self.mid_norm(content * F.silu(gate))))


def _rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotary positions (arXiv 2104.09864): pairs of the first numbers (..., n, d) are points, rotated by an angle."""
    turned, still = heads.split([2 * cosines.shape[-1], heads.shape[-1] - 2 * cosines.shape[-1]], dim=-1)
    x, y = turned.unflatten(-1, (-1, 2)).unbind(-1)  # (..., n, rotary / 2) each
    turned = torch.stack([x * cosines - y * sines, y * cosines + x * sines], dim=-1).flatten(-2)
    return torch.cat([turned.to(still.dtype), still], dim=-1)


def _bucket(distance: torch.Tensor) -> torch.Tensor:
    """T5's buckets (arXiv 1910.10683, section 2.1) of distances of 0 and more: shape kept, 0..BUCKETS - 1."""
    exact = BUCKETS // 2
    share = torch.log(distance.clamp(min=1) / exact) / math.log(FARTHEST / exact)
    return torch.where(distance < exact, distance, (exact + (share * exact).long()).clamp(max=BUCKETS - 1))


# -------------------------------------------------------------------------------------------- the noise, and sampling

_COMMON = {
    "num_train_timesteps": TRAIN_STEPS, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample",
    "timestep_spacing": "trailing",  # start at the last time, where pure noise belongs, however few the steps
}
SAMPLERS = {  # diffusers' schedulers, on embeddings instead of pictures
    "ddpm": lambda: DDPMScheduler(**_COMMON, clip_sample=False),
    "ddim": lambda: DDIMScheduler(**_COMMON, clip_sample=False, set_alpha_to_one=True),
    "dpm++": lambda: DPMSolverMultistepScheduler(**_COMMON, solver_order=2),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(TRAIN_STEPS),
}
SAMPLE_BATCH = 4096  # rows sampled at once


def add_noise(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise on the cosine schedule (Ho et al. 2020, eq. 4; Nichol 2021)."""
    return _cosine_schedule().add_noise(clean, noise, times)


@cache
def _cosine_schedule() -> DDPMScheduler:
    return SAMPLERS["ddpm"]()


def add_noise_straight(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """x_t = (1 - s) x_0 + s noise with s = (t + 1) / 1000: rectified flow's straight line (arXiv 2209.03003)."""
    share = (times[:, None] + 1) / TRAIN_STEPS
    return (1 - share) * clean + share * noise


@torch.inference_mode()
def sample(network, condition: torch.Tensor, steps: int, guidance: float,
           generator: torch.Generator | list[torch.Generator], sampler: str = "ddim", eta: float = 1.0,
           temperature: float = 1.0) -> torch.Tensor:
    """Draw one clean embedding for every row of `condition` (b, v); returns (b, a), in the network's scale.

    `network(noisy, times, condition)` predicts the clean embedding; condition None is the dropped condition. The
    guidance scale g gives null + g (conditional - null) (Ho and Salimans 2022); 1 is plain conditional sampling. All
    noise comes from `generator`; a list has one per row. `eta` is DDIM's noise share: 1 as in the DALL-E 2 prior, 0
    deterministic. `temperature` multiplies the noise at the start. The sampler "flow" belongs to `add_noise_straight`,
    the others to `add_noise`. ValueError for an unknown sampler or an impossible number of steps.
    """
    scheduler = _scheduler(sampler, steps)
    settings = {}
    if sampler in ("ddpm", "ddim"):  # the two that add noise at every step
        settings["generator"] = generator
    if sampler == "ddim":
        settings["eta"] = eta
    noisy = temperature * randn_tensor((len(condition), network.audio_dim), generator, condition.device)  # (b, a)
    for time in scheduler.timesteps:
        row = int(time.round()) - (sampler == "flow")  # diffusers counts a flow's times from 1 to 1000
        times = torch.full((len(condition),), row, device=condition.device)
        guess = network(noisy, times, condition)  # (b, a)
        if guidance != 1:
            null = network(noisy, times, None)
            guess = null + guidance * (guess - null)
        if sampler == "flow":  # diffusers walks along the velocity, noise minus clean
            guess = (noisy - guess) * TRAIN_STEPS / time
        noisy = scheduler.step(guess.float(), time, noisy, **settings).prev_sample
    return noisy


def _scheduler(sampler: str, steps: int):
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


# ------------------------------------------------------------------------------------------------- generative mappers


class GenerativeMapper(nn.Module):
    """What the diffusion and the flow mapper share: network, training, and sampling.

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
        """Mean squared error between the clean embedding and its prediction at a random time; unit-norm pairs."""
        b, clean = len(audio), audio * self.scale_out  # (b, a)
        times = torch.randint(TRAIN_STEPS, (b,), generator=generator).to(audio.device)
        noise = torch.randn(clean.shape, generator=generator).to(audio.device)
        keep = (torch.rand(b, 2, generator=generator) >= self.dropout).to(audio.device)
        predicted = self.network(self.add_noise(clean, noise, times), times, visual * self.scale_in, keep)
        return F.mse_loss(predicted.float(), clean)

    def _sample(self, visual: np.ndarray, seed: int, draws: int, steps: int, guidance: float, temperature: float | None,
                sampler: str, eta: float = 1.0) -> np.ndarray:
        """(n, v) -> (n, a), unit norm: for every row the mean direction of `draws` samples."""
        if draws < 1:
            raise ValueError(f"{draws} draws of each embedding: give 1 or more")
        temperature = self.config["temperature"] if temperature is None else temperature
        condition = torch.from_numpy(visual).to(_device(self)) * self.scale_in
        mapped = [np.zeros((0, self.config["audio_dim"]), np.float32)]
        for start in range(0, len(visual), SAMPLE_BATCH):
            rows = range(len(visual))[start : start + SAMPLE_BATCH]
            generators = row_generators(rows, seed, MAPPER)  # a row's sample is its own, whatever the batch
            given = condition[start : start + SAMPLE_BATCH]
            drawn = [sample(self.network, given, steps, guidance, generators, sampler, eta, temperature)
                     for _ in range(draws)]
            mapped.append(_unit(sum(drawn)))
        return np.concatenate(mapped)


class DiffusionMapper(GenerativeMapper):
    """The DALL-E 2 prior between CLIP and CLAP (arXiv 2204.06125, section 2.2; V2A-Mapper's generative mapper)."""

    kind = "diffusion"
    add_noise = staticmethod(add_noise)

    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 16, guidance: float = 1.0, sampler: str = "dpm++",
            eta: float = 1.0, temperature: float | None = None, draws: int = 1) -> np.ndarray:
        """(n, v) -> (n, a), unit norm: for every row the mean direction of `draws` samples.

        sampler: "ddpm", "ddim" (noise share eta; DALLE2-pytorch takes 64 steps with eta 1), or "dpm++", which needs the
        fewest steps. `temperature` multiplies the starting noise, None is the mapper's own. One draw is a sample; the
        more draws, the nearer to the conditional mean, which is what a regression learns.
        """
        return self._sample(visual, seed, draws, steps, guidance, temperature, sampler, eta)


class FlowMapper(GenerativeMapper):
    """Rectified flow (arXiv 2209.03003) with the same network: straight lines from noise to sounds, in few steps."""

    kind = "flow"
    add_noise = staticmethod(add_noise_straight)

    def map(self, visual: np.ndarray, seed: int = 0, steps: int = 8, guidance: float = 1.0,
            temperature: float | None = None, draws: int = 1) -> np.ndarray:
        """(n, v) -> (n, a), unit norm: for every row the mean direction of `draws` samples.

        One step gives the guess from pure noise, which for a perfectly trained network is the conditional mean, as from
        a regression; more steps give samples. `temperature` multiplies the starting noise: 0 is one answer, 1 a sample.
        """
        return self._sample(visual, seed, draws, steps, guidance, temperature, "flow")


MAPPERS = {mapper.kind: mapper for mapper in (RegressionMapper, DiffusionMapper, FlowMapper)}


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return F.normalize(embeddings.float(), dim=-1).cpu().numpy()

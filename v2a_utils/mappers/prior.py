"""The network of the generative mappers: the transformer of the DALL-E 2 prior (arXiv 2204.06125, section 2.2).

Its tokens are the condition, the time, the noised embedding and a learned query; attention is causal, and the last
token's output is the answer. The details (one key and value for all heads and a learned null pair, attention by
cosine, rotary and T5 positions, gated feed-forward, normformer) are those of lucidrains' DALLE2-pytorch, whose weights
fit: with width 512, depth 12, 12 heads of 64 and 77 null tokens it has the paper's 48.83 M parameters.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

TIMES = 1000  # rows in the table of times
SHARPNESS = 16.0  # of attention: cosines of queries and keys are multiplied by it
ROTARY = 32  # numbers of each head that are rotated by position
BUCKETS, FARTHEST = 32, 128  # T5's relative positions: exact up to half of the buckets, then logarithmic


class Prior(nn.Module):
    """(noised embedding, time, condition) -> prediction, embeddings scaled to entries of about 1.

    null_tokens: 0 is the lean form. DALLE2-pytorch pads absent text encodings to `max_text_len` with learned tokens;
    77 of them in front make its faithful form, which can drop the noised embedding as well as the condition.
    """

    def __init__(self, visual_dim: int, audio_dim: int, width: int = 128, depth: int = 4, heads: int = 4,
                 head_dim: int = 32, dropout: float = 0.0, null_tokens: int = 0):
        super().__init__()
        self.visual_dim, self.audio_dim = visual_dim, audio_dim
        self.condition_in, self.noised_in = _fitting(visual_dim, width), _fitting(audio_dim, width)
        self.times = nn.Embedding(TIMES, width)
        self.null_condition, self.query = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.null_noised = nn.Parameter(torch.randn(width)) if null_tokens else None
        self.null_text = nn.Parameter(torch.randn(null_tokens, width))
        self.positions = Positions(null_tokens + 4, heads, min(ROTARY, head_dim))
        self.blocks = nn.ModuleList(Block(width, heads, head_dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.out = nn.Linear(width, audio_dim, bias=False)

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, condition: torch.Tensor | None,
                keep: torch.Tensor | None = None) -> torch.Tensor:
        """The prediction (batch, audio_dim).

        noisy (batch, audio_dim); times (batch,), whole numbers below TIMES; condition (batch, visual_dim), or None for
        the dropped condition. keep (batch, 2), bool: rows that keep their condition, and (faithful form) their noised
        embedding.
        """
        if condition is None:
            condition = noisy.new_zeros(len(noisy), self.visual_dim)
            keep = torch.zeros(len(noisy), 2, dtype=torch.bool, device=noisy.device)
        seen, noised = self.condition_in(condition), self.noised_in(noisy)
        if keep is not None:
            seen = torch.where(keep[:, :1], seen, self.null_condition.to(seen.dtype))
            if self.null_noised is not None:
                noised = torch.where(keep[:, 1:], noised, self.null_noised.to(noised.dtype))
        tokens = torch.stack([seen, self.times(times), noised, self.query.expand(len(noisy), -1)], dim=1)
        tokens = torch.cat([self.null_text.expand(len(noisy), -1, -1), tokens], dim=1)
        cosines, sines, bias = self.positions()
        *blocks, last = self.blocks
        for block in blocks:
            tokens = block(tokens, cosines, sines, bias)
        answer = last(tokens, cosines, sines, bias, only_last=True)[:, 0]
        # DALLE2-pytorch's guard for half precision; it also sets how much the norm's epsilon weighs
        return self.out(self.norm(answer / answer.amax(-1, keepdim=True).detach()))


class Positions(nn.Module):
    """What attention knows of positions: the angles that rotate queries and keys, and a learned bias for each head."""

    def __init__(self, tokens: int, heads: int, rotary: int):
        super().__init__()
        frequencies = 10_000.0 ** -(torch.arange(0, rotary, 2) / rotary)
        angles = torch.arange(tokens)[:, None] * frequencies
        # the null key stands first, so a token's own key is one place behind it: query i sees keys 0 to i + 1
        behind = torch.arange(tokens)[:, None] - torch.arange(tokens + 1)
        for name, table in (("cosines", angles.cos()), ("sines", angles.sin()),
                            ("buckets", _bucket(behind.clamp(min=0))), ("future", behind < -1)):
            self.register_buffer(name, table, persistent=False)
        self.bias = nn.Embedding(BUCKETS, heads)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cosines and sines (tokens, rotary / 2), and the bias (heads, tokens, tokens + 1), -inf for the future."""
        bias = self.bias(self.buckets).permute(2, 0, 1)
        return self.cosines, self.sines, bias.masked_fill(self.future, -torch.inf)


class Block(nn.Module):
    """Attention and feed-forward, each added to the stream of tokens (batch, n, width)."""

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, head_dim, dropout)
        self.feed = FeedForward(width, dropout)

    def forward(self, tokens, cosines, sines, bias, only_last: bool = False):
        """The tokens after this block; `only_last` computes the last one alone, which still sees all."""
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
        """tokens (batch, n, width) -> (batch, n, width), or (batch, 1, width) for the last token alone."""
        tokens, asking = self.norm(tokens), slice(-1, None) if only_last else slice(None)
        queries = self.queries(tokens[:, asking]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)
        queries, keys = _apply_rotary(queries, cosines[asking], sines[asking]), _apply_rotary(keys, cosines, sines)
        null_key, null_value = (part.expand(len(tokens), 1, -1).to(keys.dtype) for part in self.null)
        keys, values = torch.cat([null_key, keys], dim=1), torch.cat([null_value, values], dim=1)
        queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
        heard = F.scaled_dot_product_attention(
            queries, *(part[:, None].expand(-1, self.heads, -1, -1) for part in (keys, values)),
            attn_mask=bias[:, asking].to(queries.dtype), scale=SHARPNESS, dropout_p=self.dropout * self.training,
        )
        return self.out_norm(self.out(heard.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202) with expansion 4 and a norm in the middle (normformer, arXiv 2110.09456)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm, self.mid_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(4 * width, bias=False)
        self.up, self.down = nn.Linear(width, 8 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens (batch, n, width) -> the same shape."""
        content, gate = self.up(self.norm(tokens)).chunk(2, dim=-1)
        return self.down(self.dropout(self.mid_norm(content * F.silu(gate))))


def _fitting(dim: int, width: int) -> nn.Module:
    """A linear map where sizes differ; DALLE2-pytorch has one size for all and so none."""
    return nn.Identity() if dim == width else nn.Linear(dim, width)


def _apply_rotary(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotary positions (arXiv 2104.09864): pairs of the first numbers (..., n, d) are points, rotated by an angle."""
    turned, still = heads.split([2 * cosines.shape[-1], heads.shape[-1] - 2 * cosines.shape[-1]], dim=-1)
    x, y = turned.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([x * cosines - y * sines, y * cosines + x * sines], dim=-1).flatten(-2)
    return torch.cat([turned.to(still.dtype), still], dim=-1)


def _bucket(distance: torch.Tensor) -> torch.Tensor:
    """T5's buckets (arXiv 1910.10683, section 2.1) of distances of 0 and more: shape kept, 0..BUCKETS - 1."""
    exact = BUCKETS // 2
    share = torch.log(distance.clamp(min=1) / exact) / math.log(FARTHEST / exact)
    return torch.where(distance < exact, distance, (exact + (share * exact).long()).clamp(max=BUCKETS - 1))

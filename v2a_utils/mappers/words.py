"""A text bridge from CLIP's space to CLAP's: no pair of picture and sound is needed, since both encoders embed text.

    picture ──CLIP──▶ its words: a posterior over sentences ──CLAP──▶ unpaired sounds

The cosines of a contrastive encoder, times its learned scale, are log-ratios of densities (van den Oord et al. 2018,
arXiv 1807.03748, section 2.3). So its softmax is a posterior, and the temperatures need no tuning. C-MCR (arXiv
2305.14381) joins CLIP and CLAP through texts for retrieval; here the path ends among real sounds.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from v2a_utils.data.batches import MAPPER, row_generators

FORMS = ("mean", "draw")
BLOCK = 4096  # sentences whose cosines to all sounds are held at once


class WordsBridge(nn.Module):
    """Pictures to sounds over sentences that CLIP and CLAP both embed.

    A picture v gives shares p(s|v), the softmax of CLIP's cosines to the sentences. A sound a gives shares p(s|a) in
    the same way by CLAP; by Bayes' rule p(a|s) is p(s|a) / sum of p(s|a') over all sounds a', the unpaired `sounds`.
    The form "mean" answers with the mean of the sounds under p(a|v) = sum over s of p(s|v) p(a|s), a Nadaraya-Watson
    estimate with two kernels; "draw" draws a sentence and then one of the sounds.

    Without sounds, CLAP's embeddings of the sentences take their place, though they lie in the cloud of *texts*.

    With `kept`, only so many sentences, the likeliest, speak for a picture: the mean of many drifts to the middle of
    all sounds. It changes nothing for the mini CLIP; were that four times less sure, as CLIP is of a vague photograph,
    the cosine to the true sound would rise from 0.8 to 0.9 with 5 (tests/test_bridge.py).
    """

    kind = "words"

    def __init__(self, visual_dim: int, audio_dim: int, sentences: Sequence[Sequence[str]], sounds: int,
                 visual_scale: float, audio_scale: float, form: str = "mean", kept: int | None = None):
        super().__init__()
        self.config = {"visual_dim": visual_dim, "audio_dim": audio_dim, "sentences": [list(s) for s in sentences],
                       "sounds": sounds, "visual_scale": visual_scale, "audio_scale": audio_scale, "form": form,
                       "kept": kept}
        self.sentences = [seen for seen, _ in sentences]
        self.register_buffer("seen", torch.zeros(len(sentences), visual_dim))
        self.register_buffer("heard", torch.zeros(len(sentences), audio_dim))
        self.register_buffer("sounds", torch.zeros(sounds, audio_dim))

    @torch.inference_mode()
    def attention(self, visual: np.ndarray) -> np.ndarray:
        """(n, visual_dim) -> (n, sentences): the share of every sentence in what CLIP sees, each row's sum 1."""
        return self._shares(visual).cpu().numpy()

    @torch.inference_mode()
    def map(self, visual: np.ndarray, seed: int = 0, form: str | None = None, draws: int = 1) -> np.ndarray:
        """(n, visual_dim) -> (n, audio_dim), unit norm. `form` and, for "draw", the number of draws to average.

        A row's draws are its own, whatever the batch. ValueError for an unknown form or no draw.
        """
        shares, kept = self._shares(visual), self.config["kept"]
        if kept and kept < len(self.sentences):
            shares = shares * (shares >= shares.topk(kept).values[:, -1:])
            shares /= shares.sum(1, keepdim=True)
        return self.hear(shares, seed, form, draws)

    @torch.inference_mode()
    def hear(self, shares: torch.Tensor, seed: int = 0, form: str | None = None, draws: int = 1) -> np.ndarray:
        """Shares of the sentences (n, sentences), from whichever model -> (n, audio_dim), unit norm; else as `map`."""
        form = form or self.config["form"]
        if form not in FORMS or draws < 1:
            raise ValueError(f"form {form!r} with {draws} draws: use {' or '.join(FORMS)}, and 1 draw or more")
        if not len(shares):
            return np.zeros((0, self.config["audio_dim"]), np.float32)
        mapped = shares @ self.answers if form == "mean" else self._drawn(shares, seed, draws)
        return F.normalize(mapped, dim=-1).cpu().numpy()

    @torch.inference_mode()
    def best_sounds(self, sentence: int, number: int) -> np.ndarray:
        """The sounds that are likeliest under p(a|s) of one sentence, by its place, (at most number, audio_dim).

        Without sounds, the sentence's own embedding, (1, audio_dim).
        """
        if not len(self.sounds):
            return self.heard[sentence : sentence + 1].cpu().numpy()
        likeliest = self._sounds_of(slice(sentence, sentence + 1))[0].topk(min(number, len(self.sounds))).indices
        return self.sounds[likeliest].cpu().numpy()

    @cached_property
    def answers(self) -> torch.Tensor:
        """What each sentence stands for, (sentences, audio_dim): the mean of the sounds under p(a|s)."""
        if not len(self.sounds):
            return self.heard
        blocks = range(0, len(self.heard), BLOCK)
        return torch.cat([self._sounds_of(slice(start, start + BLOCK)) @ self.sounds for start in blocks])

    @cached_property
    def _log_evidence(self) -> torch.Tensor:
        """Log of the sum over sentences of exp(scale * cosine) for each sound, (sounds,)."""
        blocks = [self._logits(slice(start, start + BLOCK)).logsumexp(0) for start in range(0, len(self.heard), BLOCK)]
        return torch.stack(blocks).logsumexp(0)

    def _logits(self, rows: slice | torch.Tensor) -> torch.Tensor:
        return self.config["audio_scale"] * self.heard[rows] @ self.sounds.T

    def _sounds_of(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """p(a|s) of some sentences, (rows, sounds)."""
        return (self._logits(rows) - self._log_evidence).softmax(1)

    def _shares(self, visual: np.ndarray) -> torch.Tensor:
        rows = torch.from_numpy(np.ascontiguousarray(visual, np.float32)).to(self.seen.device)
        return (self.config["visual_scale"] * rows @ self.seen.T).softmax(1)

    def _drawn(self, shares: torch.Tensor, seed: int, draws: int) -> torch.Tensor:
        """The sum (n, audio_dim) of `draws` sounds drawn for every row of shares (n, sentences)."""
        generators = row_generators(range(len(shares)), seed, MAPPER)
        chosen = torch.stack([torch.multinomial(row, draws, replacement=True, generator=generator)
                              for row, generator in zip(shares.cpu(), generators)])
        if not len(self.sounds):
            return self.heard[chosen].sum(1)
        used, places = chosen.unique(return_inverse=True)  # many rows draw the same sentences
        weights = torch.cat([self._sounds_of(rows) for rows in used.to(self.heard.device).split(BLOCK)]).cpu()
        found = [torch.multinomial(weights[own], 1, generator=generator)[:, 0]
                 for own, generator in zip(places, generators)]
        return self.sounds[torch.stack(found)].sum(1)

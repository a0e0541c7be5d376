"""CLIP on open_clip: pictures, video frames and texts -> unit-norm embeddings."""

from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import Compose


class VisionEncoder:
    """A frozen CLIP with its own preprocessing and tokenizer."""

    def __init__(self, model, preprocess: Compose, tokenizer: SimpleTokenizer, device: str = "cpu"):
        self.model, self.preprocess, self.tokenizer = model.to(device).eval(), preprocess, tokenizer
        self.device = device

    @classmethod
    def load(cls, name: str, weights: str, config: Path | None = None, bpe: Path | None = None, device: str = "cpu"):
        """An open_clip model by name; `weights` is a file or open_clip's tag of pretrained weights.

        `config` adds a model that open_clip does not know; `bpe` is the tokenizer's merges if not CLIP's own.
        """
        if config is not None:
            open_clip.add_model_config(config)
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=weights)
        tokenizer = SimpleTokenizer(**({"bpe_path": str(bpe)} if bpe else {}), context_length=model.context_length)
        return cls(model, preprocess, tokenizer, device)

    @property
    def embed_dim(self) -> int:
        return self.model.visual.output_dim

    @torch.inference_mode()
    def embed_images(self, images: list[Image.Image], batch_size: int = 64) -> np.ndarray:
        """RGB pictures -> float32 (n, embed_dim), unit norm."""
        rows = []
        for start in range(0, len(images), batch_size):
            batch = torch.stack([self.preprocess(image) for image in images[start : start + batch_size]])
            rows.append(F.normalize(self.model.encode_image(batch.to(self.device)).float(), dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.embed_dim), np.float32)

    def embed_frames(self, frames: list[Image.Image]) -> np.ndarray:
        """Frames of one video -> (embed_dim,): the mean of their embeddings, brought back to unit norm."""
        mean = self.embed_images(frames).mean(0)
        return mean / np.linalg.norm(mean)

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> float32 (n, embed_dim), unit norm."""
        tokens = self.tokenizer(texts).to(self.device)
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1).cpu().numpy()

"""CLIP on open_clip: pictures, video frames and texts -> unit-norm embeddings, and which pictures are unfamiliar."""

import json
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import open_clip
import torch
from open_clip.model import set_model_preprocess_cfg
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision.transforms import Compose, Normalize, PILToTensor

from v2a_utils.models.weights import refuse_script, write_tensors
from v2a_utils.options import AGGREGATES


def choose_frames(aggregate: str, number: int, seed: int | list[int] = 0) -> list[int]:
    """Indices of the frames, of a clip's `number`, that an aggregate uses: all for "mean" and "none", else one.

    ValueError for an unknown aggregate. Only "random" uses `seed`.
    """
    if aggregate in ("mean", "none"):
        return list(range(number))
    if aggregate not in AGGREGATES:
        raise ValueError(f"unknown aggregate {aggregate!r}: use one of {', '.join(AGGREGATES)}")
    random = int(np.random.default_rng(seed).integers(number))
    return [{"first": 0, "middle": number // 2, "random": random}[aggregate]]


def aggregate_frames(embeddings: np.ndarray, aggregate: str = "mean", seed: int | list[int] = 0) -> np.ndarray:
    """Embeddings (frames, d) of one clip -> its embedding (d,) of unit norm; "none" keeps them all, (frames, d)."""
    chosen = embeddings[choose_frames(aggregate, len(embeddings), seed)]
    if aggregate == "none":
        return chosen
    mean = chosen.mean(0)
    return mean / np.linalg.norm(mean)


class VisionEncoder:
    """A frozen CLIP with its own preprocessing and tokenizer.

    `preprocess` is open_clip's, RGB picture -> normalised floats (3, size, size). It is split in two, with the same
    result, so that pictures stay bytes until they reach the encoder's device: `fit` for each, `normalise` for a batch.
    """

    def __init__(self, model, preprocess: Compose, tokenizer: SimpleTokenizer, device: str = "cpu"):
        self.model = model.to(device, memory_format=torch.channels_last).eval()  # faster convolutions: `make bench`
        self.preprocess, self.tokenizer, self.device, self.embed_dim = (
            preprocess, tokenizer, device, model.visual.output_dim)
        *steps, _, normalise = preprocess.transforms
        self.fit = Compose([*steps, PILToTensor()])  # RGB picture -> uint8 (3, size, size)
        self._normalise = Normalize(normalise.mean, normalise.std, inplace=True)

    @classmethod
    def load(cls, name: str, weights: str, config: Path | None = None, bpe: Path | None = None, device: str = "cpu"):
        """An open_clip model by name; `weights` is a file or open_clip's tag of pretrained weights.

        `config` adds a model that open_clip does not know; `bpe` holds merges other than CLIP's own for the tokenizer.
        """
        if config is not None:
            open_clip.add_model_config(config)
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=weights)
        tokenizer = SimpleTokenizer(**({"bpe_path": str(bpe)} if bpe else {}), context_length=model.context_length)
        return cls(model, preprocess, tokenizer, device)

    @classmethod
    def load_published(cls, name: str, place: Path, device: str = "cpu"):
        """A published CLIP with CLIP's own vocabulary: a weights file of the open_clip model `name`, or a folder as the
        hub has it, with open_clip_config.json. ValueError names weights that do not fit."""
        try:
            if place.is_file():
                refuse_script(place)
                return cls.load(name, str(place), device=device)
            config = json.loads((place / "open_clip_config.json").read_text())
            model = open_clip.CLIP(**config["model_cfg"])
            open_clip.load_checkpoint(model, str(place / "open_clip_model.safetensors"))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, UnpicklingError) as error:
            raise ValueError(f"{place}: no CLIP weights that fit ({str(error).splitlines()[0]})") from error
        preparing = {"size": model.visual.image_size} | config.get("preprocess_cfg", {})
        set_model_preprocess_cfg(model, asdict(PreprocessCfg(**preparing)))
        preprocess = image_transform_v2(PreprocessCfg(**preparing), is_train=False)
        return cls(model, preprocess, SimpleTokenizer(context_length=model.context_length), device)

    def embed_images(self, images: list[Image.Image], batch_size: int = 64) -> np.ndarray:
        """RGB pictures -> float32 (n, embed_dim), unit norm."""
        rows = [np.zeros((0, self.embed_dim), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = [self.fit(image) for image in images[start : start + batch_size]]
            rows.append(self.embed_prepared(torch.stack(batch)))
        return np.concatenate(rows)

    @torch.inference_mode()
    def embed_prepared(self, images: torch.Tensor) -> np.ndarray:
        """Pictures as `fit` makes them, uint8 (n, 3, size, size) -> float32 (n, embed_dim), unit norm, as one batch."""
        return F.normalize(self.model.encode_image(self.normalise(images)).float(), dim=-1).cpu().numpy()

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures as `fit` makes them, uint8 (n, 3, size, size) -> the floats that the model wants, on its device."""
        return self._normalise(images.to(self.device).float().div_(255))

    def embed_frames(self, frames: list[Image.Image], aggregate: str = "mean", seed: int = 0) -> np.ndarray:
        """Frames of one video -> (embed_dim,), unit norm; "none" gives every frame's, (frames, embed_dim)."""
        chosen = [frames[index] for index in choose_frames(aggregate, len(frames), seed)]
        return aggregate_frames(self.embed_images(chosen), "none" if aggregate == "none" else "mean")

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Texts -> float32 (n, embed_dim), unit norm."""
        tokens = self.tokenizer(texts).to(self.device)
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1).cpu().numpy()


# ------------------------------------------------------------------------------------------------ out of distribution


class Familiarity:
    """An out-of-distribution detector: the Mahalanobis distance of a picture's CLIP embedding from those of the
    pictures that a mapper was trained on (Lee et al. 2018, arXiv 1807.03888, without classes)."""

    def __init__(self, mean: np.ndarray, precision: np.ndarray, limit: float):
        self.mean, self.precision, self.limit = mean, precision, limit

    @classmethod
    def fit(cls, train: np.ndarray, val: np.ndarray, share: float = 0.99) -> "Familiarity":
        """From embeddings (n, d); `limit` is set so that `share` of the validation pictures are familiar."""
        centred = train - train.mean(0)
        precision = np.linalg.inv(centred.T @ centred / len(train) + 1e-4 * np.eye(train.shape[1]))
        model = cls(train.mean(0), precision, 0.0)
        model.limit = float(np.quantile(model.distance(val), share))
        return model

    def save(self, path: Path) -> None:
        values = {"mean": self.mean, "precision": self.precision, "limit": np.array([self.limit])}
        write_tensors(path, {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()})

    @classmethod
    def load(cls, path: Path) -> "Familiarity":
        """ValueError names a file that is damaged or holds something else."""
        try:
            stored = load_file(path)
            return cls(stored["mean"].numpy(), stored["precision"].numpy(), float(stored["limit"]))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path}: not the familiarity of a mapper's training pictures ({error})") from error

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,), 0 at the centre of the training pictures."""
        away = embeddings - self.mean
        return np.sqrt(np.einsum("nd,de,ne->n", away, self.precision, away))

    def is_out_of_distribution(self, embedding: np.ndarray) -> bool:
        return bool(self.distance(embedding[None])[0] > self.limit)

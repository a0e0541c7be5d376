"""Which pictures are like those that a mapper was trained on, and which are out of distribution."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

FAMILIARITY = "familiarity.safetensors"  # the file's name in a stack's or a mapper's folder


class Familiarity:
    """How familiar a picture is: its CLIP embedding's Mahalanobis distance from those of the training pictures."""

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
        save_file({name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}, path)

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

"""Training the two models that only measure: the tagger (for PANNs) and the Wav2CLIP-like encoder (for CS)."""

from pathlib import Path

import numpy as np
import torch
from soundworld import CLASSES, SAMPLE_RATE
from torch.nn import functional as F
from tqdm.auto import tqdm
from v2a_pretraining.augment import augment_log_mels
from v2a_pretraining.data import Rendered

from v2a_utils.data.files import write_json
from v2a_utils.mappers.model import info_nce
from v2a_utils.mappers.training import TrainConfig, fit
from v2a_utils.models.networks import AudioCnn
from v2a_utils.models.weights import save_weights

TRUNK = {"sample_rate": SAMPLE_RATE, "n_fft": 1024, "hop": 320, "mels": 64, "widths": [16, 32, 64, 128],
         "features": 128}


def trunk_log_mels(data: Rendered) -> np.ndarray:
    """The trunk's log-mels of all sounds, float16 (n, frames, mels)."""
    model = AudioCnn(TRUNK | {"outputs": 1})
    return np.concatenate([
        model.log_mel(torch.from_numpy(data.waveforms(slice(start, start + 256))))[:, 0].half().numpy()
        for start in tqdm(range(0, len(data.sounds), 256), "log-mels of the trunk")
    ])


def train_tagger(
    log_mels: np.ndarray, data: Rendered, out: Path, checkpoint: Path, config: TrainConfig, device: str
) -> list[float]:
    """Train the tagger on sounds and classes: softmax cross-entropy against the shares of the classes."""
    targets = torch.from_numpy(data.targets())

    def score(outputs, rows):
        return F.cross_entropy(outputs, targets[rows].to(outputs.device))

    return _train(log_mels, out, checkpoint, config, device, list(CLASSES), score, "tagger")


def train_wav2clip(
    log_mels: np.ndarray, picture_embeddings: np.ndarray, out: Path, checkpoint: Path, config: TrainConfig, device: str
) -> list[float]:
    """Train the sound encoder towards the frozen mini CLIP's picture embeddings, by contrast, as Wav2CLIP does.

    picture_embeddings: (n, d), unit norm, of the pictures that belong to the sounds (arXiv 2110.11499).
    """

    pictures = torch.from_numpy(picture_embeddings)

    def score(outputs, rows):
        return info_nce(outputs, pictures[rows].to(outputs.device))

    names = [f"clip_{i}" for i in range(pictures.shape[1])]
    return _train(log_mels, out, checkpoint, config, device, names, score, "Wav2CLIP")


def _train(log_mels, out, checkpoint, config, device, names, score, title) -> list[float]:
    model_config = TRUNK | {"outputs": len(names), "names": names}
    torch.manual_seed(config.seed)
    model, log_mels = AudioCnn(model_config), torch.from_numpy(log_mels)

    def loss_of(model, rows, generator):
        batch = augment_log_mels(log_mels[rows].float(), generator)
        return score(model(batch[:, None].to(device)).float(), rows)

    losses = fit(model, loss_of, len(log_mels), config, checkpoint, title, device)
    save_weights(model, out / "model.safetensors")
    write_json(out / "config.json", model_config)
    return losses

"""Listening models that only measure: an audio tagger and a Wav2CLIP-like encoder, on one PANNs-like trunk."""

import json
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, softmax
from torch import nn
from torch.nn import functional as F

from v2a_utils.data.audio import resample
from v2a_utils.models.mel import magnitudes, mel_filters
from v2a_utils.models.weights import load_weights

FRAME = 0.96  # s, VGGish's frame


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, then average pooling by `pool` (PANNs, arXiv 1912.10211, table 1)."""

    def __init__(self, inputs: int, outputs: int, pool: int):
        super().__init__()
        self.pool = pool
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.avg_pool2d(x, self.pool)


class AudioCnn(nn.Module):
    """PANNs' CNN of any width: log-mel -> conv blocks -> mean + max over time -> fc1 (features) -> fc_out.

    `config`: sample_rate, n_fft, hop, mels, widths, features, outputs, and last_pool (1 in CNN14, else 2), fmax (Hz;
    else half the rate).
    """

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        widths = [1, *config["widths"]]
        self.bn0 = nn.BatchNorm2d(config["mels"])
        pools = [2] * (len(widths) - 2) + [config.get("last_pool", 2)]
        self.blocks = nn.ModuleList(ConvBlock(a, b, pool) for a, b, pool in zip(widths, widths[1:], pools))
        self.fc1 = nn.Linear(widths[-1], config["features"])
        self.fc_out = nn.Linear(config["features"], config["outputs"])
        filters = mel_filters(config["sample_rate"], config["n_fft"], config["mels"], 50,
                              config.get("fmax", config["sample_rate"] // 2))
        self.register_buffer("filters", filters, persistent=False)

    def log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 1, frames, mels), dB."""
        power = magnitudes(waveforms, self.config["n_fft"], self.config["hop"]) ** 2
        return 10 * (self.filters @ power).clamp(min=1e-10).log10().transpose(1, 2)[:, None]

    def features(self, log_mels: torch.Tensor) -> torch.Tensor:
        """(batch, 1, frames, mels) -> (batch, features): what FD is computed on (after ReLU, as PANNs' fc1)."""
        x = self.bn0(log_mels.transpose(1, 3)).transpose(1, 3)
        for block in self.blocks:
            x = block(x)
        x = x.mean(3)
        return F.relu(self.fc1(x.mean(2) + x.amax(2)))

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (frames, features) of pieces of 0.96 s; the end is dropped, a shorter sound is one frame."""
        piece = round(FRAME * self.config["sample_rate"])
        waveforms = F.pad(waveforms, (0, max(piece - waveforms.shape[1], 0)))
        return self.features(self.log_mel(waveforms[0].unfold(0, piece, piece)))

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.features(log_mels))


class Listener:
    """A trained model that listens: waveforms in, NumPy out.

    A tagger's outputs are class scores, Wav2CLIP's an embedding. `backbone` and `sample_rate` belong beside every
    number that is made from it. A `multi_label` tagger was trained on classes that may sound together.
    """

    def __init__(self, model: nn.Module, names: list[str], device: str = "cpu", backbone: str = "mini",
                 multi_label: bool = False):
        self.model, self.names, self.device, self.backbone = model.to(device).eval(), names, device, backbone
        self.multi_label = multi_label

    @property
    def sample_rate(self) -> int:
        """Hz, to which sounds are brought before it listens."""
        return self.model.config["sample_rate"]

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "Listener":
        """From a folder with config.json and model.safetensors."""
        config = json.loads((Path(folder) / "config.json").read_text())
        model = AudioCnn(config)
        load_weights(model, Path(folder) / "model.safetensors")
        return cls(model, config["names"], device, f"mini {Path(folder).name}")

    @torch.inference_mode()
    def _run(self, waveforms: list[np.ndarray], sample_rate: int, output) -> list[np.ndarray]:
        rows = []
        for waveform in waveforms:
            heard = np.ascontiguousarray(resample(waveform, sample_rate, self.sample_rate), np.float32)
            rows.append(output(torch.from_numpy(heard)[None].to(self.device)).cpu().numpy())
        return rows

    def logits(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Class scores before softmax, (n, classes)."""
        return np.concatenate(self._run(waveforms, sample_rate, lambda wave: self.model(self.model.log_mel(wave))))

    def features(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Penultimate features, (n, features)."""
        return np.concatenate(self._run(waveforms, sample_rate,
                                        lambda wave: self.model.features(self.model.log_mel(wave))))

    @torch.inference_mode()
    def classify(self, features: np.ndarray) -> np.ndarray:
        """Class scores (n, classes) of a tagger's `features`, (n, features)."""
        return self.model.fc_out(torch.from_numpy(features).to(self.device)).cpu().numpy()

    def frames(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Features of every 0.96 s, (n, frames, features) for sounds of one length: what FAD is computed on."""
        return np.stack(self._run(waveforms, sample_rate, self.model.frames))

    def embed(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Unit-norm outputs, (n, outputs): Wav2CLIP's embedding in CLIP's space."""
        outputs = self.logits(waveforms, sample_rate)
        return outputs / np.linalg.norm(outputs, axis=1, keepdims=True)

    def top(self, waveform: np.ndarray, sample_rate: int, k: int = 3) -> list[tuple[str, float]]:
        """The k highest classes with their scores, 0..1.

        Scores of a multi-label tagger are its sigmoid outputs, each class by itself; of another one its softmax
        probabilities, which add up to 1.
        """
        logits = self.logits([waveform], sample_rate)[0]
        scores = expit(logits) if self.multi_label else softmax(logits)
        return [(self.names[i], float(scores[i])) for i in np.argsort(-scores)[:k]]

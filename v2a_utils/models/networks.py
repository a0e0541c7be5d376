"""The networks of the audio backbones, and how published weights are put into them."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from torch import nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from v2a_utils.data.files import SUMS, complaint, sha256
from v2a_utils.models.mel import LogMelPower
from v2a_utils.models.weights import read_checkpoint

FRAME = 0.96  # s, VGGish's frame


@torch.inference_mode()
def run(function: Callable, rows: np.ndarray, device: str) -> np.ndarray:
    """What a function of tensors makes of an array."""
    return function(torch.from_numpy(rows).to(device)).cpu().numpy()


def read(path: Path) -> dict[str, torch.Tensor]:
    """A public checkpoint, checked against the SHA-256 in its name (as torch.hub's files have it) or in SHA256SUMS."""
    listing, expected = path.parent / SUMS, []
    if listing.is_file():
        expected = [line.split("  ")[0] for line in listing.read_text().splitlines() if line.endswith(f"  {path.name}")]
    expected += re.findall(r"-([0-9a-f]{8,64})\.", path.name)
    if expected and not all(sha256(path).startswith(digits) for digits in expected):
        raise ValueError(f"{path}: damaged (its SHA-256 is not {expected[0]}...); fetch it again")
    return read_checkpoint(path)


def filled(model: nn.Module, state: dict, path: Path, assign: bool = False) -> nn.Module:
    """A network with published weights. ValueError names the file that they are from if they do not fit."""
    name = type(model).__name__.removesuffix("Net")
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit {name} ({complaint(error)})") from error
    return model


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
        self.log_mel = LogMelPower(config["sample_rate"], config["n_fft"], config["hop"], config["mels"], 50,
                                   config.get("fmax", config["sample_rate"] // 2))

    def features(self, log_mels: torch.Tensor) -> torch.Tensor:
        """(batch, 1, frames, mels) -> (batch, features): what FD is computed on (after ReLU, as PANNs' fc1)."""
        x = self.bn0(log_mels.transpose(1, 3)).transpose(1, 3)
        for block in self.blocks:
            x = block(x)
        x = x.mean(3)
        return F.relu(self.fc1(x.mean(2) + x.amax(2)))

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (frames, features), one per 0.96 s; a remainder is dropped, a shorter sound is padded."""
        piece = round(FRAME * self.config["sample_rate"])
        waveforms = F.pad(waveforms, (0, max(piece - waveforms.shape[1], 0)))
        return self.features(self.log_mel(waveforms[0].unfold(0, piece, piece)))

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.features(log_mels))


class VggishNet(nn.Module):
    """VGGish (Hershey et al. 2017, arXiv 1609.09430) up to its 128 dimensions for each 0.96 s, before the last ReLU.

    Parameters are named as in torchvggish's file vggish-10086976.pth.
    """

    def __init__(self):
        super().__init__()
        layers, before = [], 1
        for widths in ([64], [128], [256, 256], [512, 512]):
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                                        nn.Linear(4096, 128))
        filters = mel_filter_bank(257, 64, 125, 7500, 16_000, norm=None, mel_scale="kaldi",
                                  triangularize_in_mel_space=True)  # 1127 ln(1 + f / 700), as TensorFlow's
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)

    def log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (frames, 1, 96, 64), one frame per 0.96 s; a remainder is dropped."""
        missing = 400 + 95 * 160 - waveforms.shape[1]
        waveforms = F.pad(waveforms, (0, max(missing, 0)))  # to one frame at least
        window = torch.hann_window(400, device=waveforms.device)
        spectrum = torch.fft.rfft(waveforms[0].unfold(0, 400, 160) * window, 512).abs()
        mels = (spectrum @ self.filters + 0.01).log()
        return mels[: len(mels) // 96 * 96].view(-1, 1, 96, 64)

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (frames, 128)."""
        return self.embeddings(self.features(self.log_mel(waveforms)).permute(0, 2, 3, 1).flatten(1))


class Wav2ClipNet(nn.Module):
    """Wav2CLIP's audio side (Wu et al. 2022, arXiv 2110.11499): ResNet-18 on a log spectrogram, then two layers to 512.

    Parameters are named as in lyrebird-wav2clip's file Wav2CLIP.pt, without their prefix "audio_".
    """

    def __init__(self):
        super().__init__()
        from torchvision.models import resnet18  # here, because all of torchvision comes with it

        self.encoder = resnet18()
        self.encoder.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.encoder.fc = nn.Identity()
        self.transform = nn.Module()
        self.transform.sequential = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 512))

    def log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (1, 1, 257, frames): log power, normalised to mean 0 and deviation 1. No mels here."""
        window = torch.hann_window(512, device=waveforms.device)
        power = torch.stft(waveforms, 512, 353, window=window, return_complex=True).abs() ** 2
        spectrum = (power + 1e-7).log()[:, None]
        return (spectrum - spectrum.mean()) / (spectrum.std() + 1e-9)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        return self.transform.sequential(self.encoder(spectra))


class PasstNet(nn.Module):
    """PaSST (Koutini et al. 2022, arXiv 2110.05069) by the package hear21passt, as av-benchmark uses it.

    The first 10 s of a sound, shorter ones filled with silence; features (768) are the mean of its two class tokens.
    """

    def __init__(self, depth: int):
        super().__init__()
        try:
            from hear21passt.models import passt, preprocess
        except ImportError as error:
            raise ValueError("PaSST needs the package hear21passt: pip install 'v2a-utils[passt]'") from error
        passt.first_RUN = False  # it would print the shape of every layer
        with contextlib.redirect_stdout(io.StringIO()):  # hear21passt/base.py has these numbers
            self.mel = preprocess.AugmentMelSTFT(fmin_aug_range=10, fmax_aug_range=2000)
        with init_empty_weights():  # they come from the file
            self.net = passt.PaSST(stride=(10, 10), depth=depth, distilled=True)
        self.fc_out = self.net.head

    def log_mel(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 1, 128, 1000)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about how the package calls it
            return self.mel(F.pad(waveforms, (0, 320_000 - waveforms.shape[1])))[:, None]

    def features(self, log_mels: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 128, 1000) -> (batch, 768)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 1000 frames are not the 998 of its training
            return self.net(log_mels)[1]

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.features(log_mels))

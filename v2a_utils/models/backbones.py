"""Audio backbones that only measure: FD, FAD, KL, IS, CS and accuracy are computed on their outputs.

Ours are an audio tagger and a Wav2CLIP-like encoder, on one PANNs-like trunk; the field's, with their public weights,
are PANNs' CNN14 and PaSST for FD and KL, VGGish for FAD, Wav2CLIP for CS. `load_backbone` opens whichever is in a
folder, behind one interface. The public files are pickles, so they are read with weights_only, and checked against
their SHA-256 where one is known.
"""

import contextlib
import io
import json
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from scipy.special import expit, softmax
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18
from transformers.audio_utils import mel_filter_bank

from v2a_utils.data.audio import resample
from v2a_utils.data.files import complaint
from v2a_utils.models.audioset import NUM_CLASSES, read_names
from v2a_utils.models.mel import LogMelPower
from v2a_utils.models.weights import SUMS, load_weights, read_checkpoint, sha256

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


class AudioBackbone:
    """A trained model with one interface for all: waveforms in, NumPy out.

    A tagger's outputs are class scores, Wav2CLIP's an embedding. `backbone` and `sample_rate` belong beside every
    number computed with it. A `multi_label` tagger was trained on classes that may sound together.
    """

    def __init__(self, model: nn.Module, names: list[str], device: str = "cpu", backbone: str = "mini",
                 multi_label: bool = False):
        self.model, self.names, self.device, self.backbone = model.to(device).eval(), names, device, backbone
        self.multi_label = multi_label

    @property
    def sample_rate(self) -> int:
        """Hz; sounds are resampled to it."""
        return self.model.config["sample_rate"]

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> "AudioBackbone":
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
        """Features per 0.96 s, (n, frames, features), of sounds of one length: what FAD is computed on."""
        return np.stack(self._run(waveforms, sample_rate, self.model.frames))

    def embed(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Unit-norm outputs, (n, outputs): Wav2CLIP's embedding in CLIP's space."""
        outputs = self.logits(waveforms, sample_rate)
        return outputs / np.linalg.norm(outputs, axis=1, keepdims=True)

    def top(self, waveform: np.ndarray, sample_rate: int, k: int = 3) -> list[tuple[str, float]]:
        """The k highest classes with their scores, 0..1.

        The scores of a multi-label tagger are sigmoids, each class by itself; those of any other are softmax
        probabilities, which add up to 1.
        """
        logits = self.logits([waveform], sample_rate)[0]
        scores = expit(logits) if self.multi_label else softmax(logits)
        return [(self.names[i], float(scores[i])) for i in np.argsort(-scores)[:k]]


CNN14_16K = {  # Kong et al. 2020, arXiv 1912.10211, table 1, in its 16 kHz version
    "sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [64, 128, 256, 512, 1024, 2048],
    "last_pool": 1, "features": 2048, "outputs": NUM_CLASSES,
}
CNN14_32K = CNN14_16K | {"sample_rate": 32_000, "n_fft": 1024, "hop": 320, "fmax": 14_000}


class Vggish(nn.Module):
    """VGGish (Hershey et al. 2017, arXiv 1609.09430) up to its 128 dimensions for each 0.96 s, before the last ReLU.

    Parameters are named as in torchvggish's file vggish-10086976.pth.
    """

    config = {"sample_rate": 16_000}

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


class Wav2Clip(nn.Module):
    """Wav2CLIP's audio side (Wu et al. 2022, arXiv 2110.11499): ResNet-18 on a log spectrogram, then two layers to 512.

    Parameters are named as in lyrebird-wav2clip's file Wav2CLIP.pt, without their prefix "audio_".
    """

    config = {"sample_rate": 16_000}

    def __init__(self):
        super().__init__()
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


class Passt(nn.Module):
    """PaSST (Koutini et al. 2022, arXiv 2110.05069) by the package hear21passt, as av-benchmark uses it.

    The first 10 s of a sound, shorter ones filled with silence; features (768) are the mean of its two class tokens.
    """

    config = {"sample_rate": 32_000}

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


def load_panns(path: Path, device: str = "cpu") -> AudioBackbone:
    """CNN14 from Cnn14_16k_mAP=0.438.pth or, for 32 kHz, Cnn14_mAP=0.431.pth.

    AudioSet's class_labels_indices.csv must be beside it.
    """
    config = CNN14_16K if "16k" in path.name else CNN14_32K
    names, model = read_names(path.parent / "class_labels_indices.csv"), AudioCnn(config)
    own = {}
    for name, value in _read(path).items():
        if not name.startswith(("spectrogram_extractor", "logmel_extractor")):
            name = re.sub(r"^conv_block(\d)", lambda found: f"blocks.{int(found[1]) - 1}", name)
            own[name.replace("fc_audioset", "fc_out")] = value
    backbone = f"PANNs CNN14 {config['sample_rate'] // 1000}k"
    return AudioBackbone(_filled(model, own, path), names, device, backbone, multi_label=True)


def load_passt(path: Path, device: str = "cpu") -> AudioBackbone:
    """PaSST from passt-s-f128-p16-s10-ap.476-swa.pt, with AudioSet's class_labels_indices.csv beside it."""
    names, own = read_names(path.parent / "class_labels_indices.csv"), _read(path)
    model = Passt(depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}))
    _filled(model.net, own, path, assign=True)
    return AudioBackbone(model, names, device, "PaSST", multi_label=True)


def load_vggish(path: Path, device: str = "cpu") -> AudioBackbone:
    """VGGish from vggish-10086976.pth, without PCA."""
    own = {name: value for name, value in _read(path).items() if name.startswith(("features.", "embeddings."))}
    return AudioBackbone(_filled(Vggish(), own, path), [], device, "VGGish")


def load_wav2clip(path: Path, device: str = "cpu") -> AudioBackbone:
    """Wav2CLIP from Wav2CLIP.pt; the rest of the file, which includes CLIP, is ignored."""
    own = {name.removeprefix("audio_"): value for name, value in _read(path).items()
           if name.startswith(("audio_encoder.", "audio_transform.")) and "spectrogram" not in name}
    return AudioBackbone(_filled(Wav2Clip(), own, path), [], device, "Wav2CLIP")


PUBLIC = {"Cnn14_16k*.pth": load_panns, "Cnn14_mAP*.pth": load_panns, "passt-s*.pt": load_passt,
          "vggish*.pth": load_vggish, "Wav2CLIP*.pt": load_wav2clip}


def load_backbone(folder: str | Path, device: str = "cpu") -> AudioBackbone:
    """The backbone in a folder: one of ours (config.json, model.safetensors) or a file of PUBLIC.

    ValueError says which names are known when none of them is there, and names a file that is damaged.
    """
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return AudioBackbone.load(folder, device)
    for pattern, load in PUBLIC.items():
        if found := sorted(folder.glob(pattern)):
            return load(found[0], device)
    raise ValueError(f"{folder}: no audio backbone there; put config.json with model.safetensors or one of "
                     f"{', '.join(PUBLIC)} into it")


def _read(path: Path) -> dict[str, torch.Tensor]:
    """A public checkpoint, checked against the SHA-256 in its name (as torch.hub's files have it) or in SHA256SUMS."""
    listing, expected = path.parent / SUMS, []
    if listing.is_file():
        expected = [line.split("  ")[0] for line in listing.read_text().splitlines() if line.endswith(f"  {path.name}")]
    expected += re.findall(r"-([0-9a-f]{8,64})\.", path.name)
    if expected and not all(sha256(path).startswith(digits) for digits in expected):
        raise ValueError(f"{path}: damaged (its SHA-256 is not {expected[0]}...); fetch it again")
    return read_checkpoint(path)


def _filled(model: nn.Module, state: dict, path: Path, assign: bool = False) -> nn.Module:
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit {type(model).__name__} ({complaint(error)})") from error
    return model

"""Audio backbones that only measure: FD, FAD, KL, IS, CS and accuracy are computed on their outputs.

A backbone is one class below `AudioBackbone` that says its name, its place, its rate, its dimensions, where its weights
are published, and how they are loaded; listed in BACKBONES, it is known to `fetch`, `score` and the paper stack. Ours,
an audio tagger and a Wav2CLIP-like encoder on one PANNs-like trunk, need no class of their own. The public files are
pickles, so they are read with weights_only, and checked against their SHA-256 where one is known.
"""

import contextlib
import csv
import io
import json
import re
import warnings
from collections.abc import Collection, Iterable
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
from v2a_utils.data.sources import IMAGEHEAR
from v2a_utils.models.mel import LogMelPower
from v2a_utils.models.weights import SUMS, load_weights, read_checkpoint, sha256

FRAME = 0.96  # s, VGGish's frame
_CLASSES = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv"
_ZENODO = "https://zenodo.org/records/3987831/files"


# ---------------------------------------------------------------------------------------------------------- backbones


class AudioBackbone:
    """A trained model with one interface for all: waveforms in, NumPy out. This class itself loads ours.

    A tagger's outputs are class scores, Wav2CLIP's an embedding. `backbone` and `sample_rate` belong beside every
    number computed with it. A `multi_label` tagger was trained on classes that may sound together.
    """

    name = "mini"  # beside numbers
    key = ""  # to `fetch` and `score --listeners`
    part: str | None = None  # of the paper stack: tagger, framewise or wav2clip; None for one that belongs to no stack
    weights = "config.json"  # pattern of the file that tells the backbone
    rate = 16_000  # Hz; sounds are resampled to it
    dimensions = 128  # of what FD or FAD is computed on; CS: of the embedding
    multi_label = False
    # where the weights are published: see `fetching.Public`
    what, purposes, licence, gigabytes = "", ("evaluation", "benchmark"), "", None
    urls: tuple[str, ...] = ()
    zenodo: int | None = None
    sums: dict[str, str] = {}

    def __init__(self, model: nn.Module, names: Collection[str] = (), device: str = "cpu", name: str | None = None,
                 rate: int | None = None):
        self.model, self.names, self.device = model.to(device).eval(), list(names), device
        self.backbone, self.sample_rate = name or self.name, rate or self.rate

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "AudioBackbone":
        """From a file that `weights` fits, with what lies beside it. ValueError names one that is damaged."""
        config = json.loads(path.read_text())
        model = AudioCnn(config)
        load_weights(model, path.parent / "model.safetensors")
        return AudioBackbone(model, config["names"], device, f"mini {path.parent.name}", config["sample_rate"])

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


class Cnn14(AudioBackbone):
    """PANNs' CNN14 at 16 kHz (Kong et al. 2020, arXiv 1912.10211, table 1), AudioSet's class list beside its file."""

    name, key, part = "PANNs CNN14 16k", "panns", "tagger"
    weights, rate, dimensions, multi_label = "Cnn14_16k*.pth", 16_000, 2048, True
    front_end = {"sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64}
    what, licence, gigabytes, zenodo = "PANNs CNN14, a tagger: FD, KL, IS", "CC BY 4.0", 0.33, 3987831
    urls = (f"{_ZENODO}/Cnn14_16k_mAP=0.438.pth", _CLASSES)
    sums = {"Cnn14_16k_mAP=0.438.pth": "sha256:e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6"}

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> AudioBackbone:
        model = AudioCnn(cls.front_end | {"widths": [64, 128, 256, 512, 1024, 2048], "last_pool": 1,
                                          "features": cls.dimensions, "outputs": NUM_CLASSES})
        own = {}
        for name, value in _read(path).items():
            if not name.startswith(("spectrogram_extractor", "logmel_extractor")):
                name = re.sub(r"^conv_block(\d)", lambda found: f"blocks.{int(found[1]) - 1}", name)
                own[name.replace("fc_audioset", "fc_out")] = value
        return cls(_filled(model, own, path), read_names(path.parent), device)


class Cnn14At32k(Cnn14):
    """PANNs' CNN14 at 32 kHz."""

    name, key, part = "PANNs CNN14 32k", "cnn14-32k", None
    weights, rate, purposes = "Cnn14_mAP*.pth", 32_000, ("benchmark",)
    front_end = {"sample_rate": 32_000, "n_fft": 1024, "hop": 320, "mels": 64, "fmax": 14_000}
    what = "PANNs CNN14 at 32 kHz: FD, KL, IS"
    urls = (f"{_ZENODO}/Cnn14_mAP=0.431.pth", _CLASSES)
    sums = {"Cnn14_mAP=0.431.pth": "sha256:0dc499e40e9761ef5ea061ffc77697697f277f6a960894903df3ada000e34b31"}


class Passt(AudioBackbone):
    """PaSST (Koutini et al. 2022, arXiv 2110.05069), av-benchmark's tagger, AudioSet's class list beside its file."""

    name, key = "PaSST", "passt"
    weights, rate, dimensions, multi_label = "passt-s*.pt", 32_000, 768, True
    what, purposes = "PaSST, av-benchmark's tagger: FD, KL, IS", ("benchmark",)
    licence, gigabytes = "Apache-2.0", 0.34
    urls = ("https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt",
            _CLASSES)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> AudioBackbone:
        own = _read(path)
        model = PasstNet(depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}))
        _filled(model.net, own, path, assign=True)
        return cls(model, read_names(path.parent), device)


class Vggish(AudioBackbone):
    """VGGish (Hershey et al. 2017, arXiv 1609.09430), without PCA: FAD's 128 dimensions for each 0.96 s."""

    name, key, part = "VGGish", "vggish", "framewise"
    weights, rate, dimensions = "vggish*.pth", 16_000, 128
    what, licence, gigabytes = "VGGish: FAD", "Apache-2.0", 0.29
    urls = ("https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",)
    sums = {"vggish-10086976.pth": "sha256:10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b"}

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> AudioBackbone:
        own = {name: value for name, value in _read(path).items() if name.startswith(("features.", "embeddings."))}
        return cls(_filled(VggishNet(), own, path), device=device)


class Wav2Clip(AudioBackbone):
    """Wav2CLIP's audio side (Wu et al. 2022, arXiv 2110.11499); the rest of the file, CLIP among it, is ignored."""

    name, key, part = "Wav2CLIP", "wav2clip", "wav2clip"
    weights, rate, dimensions = "Wav2CLIP*.pt", 16_000, 512
    what, purposes, licence = "Wav2CLIP: CS", ("evaluation",), "MIT"
    urls = ("https://github.com/descriptinc/lyrebird-wav2clip/releases/download/v0.1.0-alpha/Wav2CLIP.pt",)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> AudioBackbone:
        own = {name.removeprefix("audio_"): value for name, value in _read(path).items()
               if name.startswith(("audio_encoder.", "audio_transform.")) and "spectrogram" not in name}
        return cls(_filled(Wav2ClipNet(), own, path), device=device)


BACKBONES = (Cnn14, Cnn14At32k, Passt, Vggish, Wav2Clip)


def find_weights(folder: Path) -> tuple[type[AudioBackbone], Path] | None:
    """The class of the backbone that lies in a folder, ours first, and its file; None without one."""
    for backbone in (AudioBackbone, *BACKBONES):
        if found := sorted(folder.glob(backbone.weights)):
            return backbone, found[0]
    return None


def load_backbone(folder: str | Path, device: str = "cpu") -> AudioBackbone:
    """The backbone in a folder. ValueError for a folder without one, or with a damaged one."""
    found = find_weights(Path(folder))
    if found is None:
        raise ValueError(f"{folder}: no audio backbone there; put config.json with model.safetensors or one of "
                         f"{', '.join(backbone.weights for backbone in BACKBONES)} into it")
    backbone, path = found
    return backbone.load(path, device)


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
    name = type(model).__name__.removesuffix("Net")
    try:
        model.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit {name} ({complaint(error)})") from error
    return model


# ----------------------------------------------------------------------------------------------------------- networks


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


# -------------------------------------------------------------------------------------------- AudioSet's 527 classes

NUM_CLASSES = 527

# the definition of Im2Wav's accuracy; SoundWorld's classes have ImageHear's names
RIGHT_FOR_IMAGEHEAR: dict[str, list[str]] = IMAGEHEAR["right"]
TOO_GENERAL = frozenset(IMAGEHEAR["too_general"])  # ignored in the search for the highest class


def right_classes(labels: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Which of a tagger's classes `names` count as right for a picture of these labels; empty if it knows none.

    For each label the class of that name, else AudioSet's classes for it, as Im2Wav defines them.
    """
    known = set(names)
    return frozenset(name for label in labels
                     for name in ((label,) if label in known else RIGHT_FOR_IMAGEHEAR.get(label.lower(), ()))
                     if name in known)


def read_names(folder: Path) -> list[str]:
    """AudioSet's display names in the order of its outputs, from class_labels_indices.csv in a folder.

    ValueError for a file that is missing or lists something else.
    """
    path = folder / "class_labels_indices.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            names = [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not AudioSet's class_labels_indices.csv ({error!r})") from error
    if len(names) != NUM_CLASSES:
        raise ValueError(f"{path}: {len(names)} classes, where AudioSet has {NUM_CLASSES}")
    return names

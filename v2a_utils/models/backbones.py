"""Audio backbones that only measure: FD, FAD, KL, IS, CS and accuracy are computed on their outputs.

A backbone is one class below `AudioBackbone` that says its name, its place, its rate, its dimensions, where its weights
are published, and how they are loaded; listed in BACKBONES, it is known to `fetch`, `score` and the paper stack. Ours,
an audio tagger and a Wav2CLIP-like encoder on one PANNs-like trunk, need no class of their own. The public files are
pickles, so they are read with weights_only, and checked against their SHA-256 where one is known.
"""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np
from scipy.special import expit, softmax

from v2a_utils.data.audio import resample
from v2a_utils.data.sources import IMAGEHEAR

if TYPE_CHECKING:
    from torch import nn

# PyTorch comes with them, so they are loaded when a backbone is: `fetch` only asks what is published
networks = lazy_loader.load("v2a_utils.models.networks", suppress_warning=True)

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

    def __init__(self, model: "nn.Module", names: Collection[str] = (), device: str = "cpu", name: str | None = None,
                 rate: int | None = None):
        self.model = model.to(device, memory_format=networks.torch.channels_last).eval()  # faster convolutions
        self.names, self.device = list(names), device
        self.backbone, self.sample_rate = name or self.name, rate or self.rate

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "AudioBackbone":
        """From a file that `weights` fits, with what lies beside it. ValueError names one that is damaged."""
        from v2a_utils.models.weights import load_weights

        config = json.loads(path.read_text())
        model = networks.AudioCnn(config)
        load_weights(model, path.parent / "model.safetensors")
        return AudioBackbone(model, config["names"], device, f"mini {path.parent.name}", config["sample_rate"])

    def _run(self, waveforms: list[np.ndarray], sample_rate: int, output: Callable) -> list[np.ndarray]:
        heard = (resample(waveform, sample_rate, self.sample_rate) for waveform in waveforms)
        return [networks.run(output, np.ascontiguousarray(wave, np.float32)[None], self.device) for wave in heard]

    def logits(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Class scores before softmax, (n, classes)."""
        return np.concatenate(self._run(waveforms, sample_rate, lambda wave: self.model(self.model.log_mel(wave))))

    def features(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Penultimate features, (n, features)."""
        return np.concatenate(self._run(waveforms, sample_rate,
                                        lambda wave: self.model.features(self.model.log_mel(wave))))

    def classify(self, features: np.ndarray) -> np.ndarray:
        """Class scores (n, classes) of a tagger's `features`, (n, features)."""
        return networks.run(self.model.fc_out, features, self.device)

    def frames(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Features per 0.96 s, (n, frames, features), of sounds of one length: what FAD is computed on."""
        return np.stack(self._run(waveforms, sample_rate, self.model.frames))

    def embed(self, waveforms: list[np.ndarray], sample_rate: int) -> np.ndarray:
        """Unit-norm outputs, (n, outputs): Wav2CLIP's embedding in CLIP's space."""
        outputs = self.logits(waveforms, sample_rate)
        return outputs / np.linalg.norm(outputs, axis=1, keepdims=True)

    def top(self, waveform: np.ndarray, sample_rate: int, k: int = 3) -> list[tuple[str, float]]:
        """The k highest classes with their scores, 0..1.

        A multi-label tagger's scores are sigmoids, each class by itself; any other's are probabilities (softmax).
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
        model = networks.AudioCnn(cls.front_end | {"widths": [64, 128, 256, 512, 1024, 2048], "last_pool": 1,
                                          "features": cls.dimensions, "outputs": NUM_CLASSES})
        own = {}
        for name, value in networks.read(path).items():
            if not name.startswith(("spectrogram_extractor", "logmel_extractor")):
                name = re.sub(r"^conv_block(\d)", lambda found: f"blocks.{int(found[1]) - 1}", name)
                own[name.replace("fc_audioset", "fc_out")] = value
        return cls(networks.filled(model, own, path), read_names(path.parent), device)


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
        own = networks.read(path)
        model = networks.PasstNet(depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}))
        networks.filled(model.net, own, path, assign=True)
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
        own = {name: value for name, value in networks.read(path).items()
               if name.startswith(("features.", "embeddings."))}
        return cls(networks.filled(networks.VggishNet(), own, path), device=device)


class Wav2Clip(AudioBackbone):
    """Wav2CLIP's audio side (Wu et al. 2022, arXiv 2110.11499); the rest of the file, CLIP among it, is ignored."""

    name, key, part = "Wav2CLIP", "wav2clip", "wav2clip"
    weights, rate, dimensions = "Wav2CLIP*.pt", 16_000, 512
    what, purposes, licence = "Wav2CLIP: CS", ("evaluation",), "MIT"
    urls = ("https://github.com/descriptinc/lyrebird-wav2clip/releases/download/v0.1.0-alpha/Wav2CLIP.pt",)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> AudioBackbone:
        own = {name.removeprefix("audio_"): value for name, value in networks.read(path).items()
               if name.startswith(("audio_encoder.", "audio_transform.")) and "spectrogram" not in name}
        return cls(networks.filled(networks.Wav2ClipNet(), own, path), device=device)


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

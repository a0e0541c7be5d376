"""The listeners of the field, on their public weights: PANNs' CNN14 and PaSST for FD and KL, VGGish for FAD, Wav2CLIP
for CS.

`load_listener` opens whichever lies in a folder, ours or theirs, behind one interface (`tagger.Listener`). The public
files are pickles, so they are read with weights_only, and held against their SHA-256 where one is known.
"""

import contextlib
import io
import re
import warnings
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn
from torchvision.models import resnet18
from transformers.audio_utils import mel_filter_bank

from v2a_utils.models.audioset import NUM_CLASSES, read_names
from v2a_utils.models.tagger import AudioCnn, Listener
from v2a_utils.models.weights import SUMS, read_checkpoint, sha256

CNN14_16K = {  # Kong et al. 2020, arXiv 1912.10211, table 1, in its 16 kHz version
    "sample_rate": 16_000, "n_fft": 512, "hop": 160, "mels": 64, "widths": [64, 128, 256, 512, 1024, 2048],
    "last_pool": 1, "features": 2048, "outputs": NUM_CLASSES,
}
CNN14_32K = CNN14_16K | {"sample_rate": 32_000, "n_fft": 1024, "hop": 320, "fmax": 14_000}


class Vggish(nn.Module):
    """VGGish (Hershey et al. 2017, arXiv 1609.09430) up to its 128 numbers for each 0.96 s, before the last ReLU.

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
        """(1, samples) -> (frames, 1, 96, 64): pieces of 0.96 s; what is left over at the end is dropped."""
        missing = 400 + 95 * 160 - waveforms.shape[1]
        waveforms = nn.functional.pad(waveforms, (0, max(missing, 0)))  # a shorter sound is one frame
        window = torch.hann_window(400, device=waveforms.device)
        spectrum = torch.fft.rfft(waveforms[0].unfold(0, 400, 160) * window, 512).abs()
        mels = (spectrum @ self.filters + 0.01).log()
        return mels[: len(mels) // 96 * 96].view(-1, 1, 96, 64)

    def frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(1, samples) -> (frames, 128)."""
        return self.embeddings(self.features(self.log_mel(waveforms)).permute(0, 2, 3, 1).flatten(1))


class Wav2Clip(nn.Module):
    """Wav2CLIP's audio side (Wu et al. 2022, arXiv 2110.11499): ResNet-18 on a log spectrogram, then two layers to 512.

    Parameters are named as in lyrebird-wav2clip's file Wav2CLIP.pt, its prefixes "audio_" aside.
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
        """(1, samples) -> (1, 1, 257, frames): log power, brought to mean 0 and deviation 1. No mels here."""
        window = torch.hann_window(512, device=waveforms.device)
        power = torch.stft(waveforms, 512, 353, window=window, return_complex=True).abs() ** 2
        spectrum = (power + 1e-7).log()[:, None]
        return (spectrum - spectrum.mean()) / (spectrum.std() + 1e-9)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        return self.transform.sequential(self.encoder(spectra))


class Passt(nn.Module):
    """PaSST (Koutini et al. 2022, arXiv 2110.05069) by the package hear21passt, as av-benchmark listens with it.

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
            return self.mel(nn.functional.pad(waveforms, (0, 320_000 - waveforms.shape[1])))[:, None]

    def features(self, log_mels: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 128, 1000) -> (batch, 768)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 1000 frames are not the 998 of its training
            return self.net(log_mels)[1]

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return self.fc_out(self.features(log_mels))


def load_panns(path: Path, device: str = "cpu") -> Listener:
    """CNN14 from Cnn14_16k_mAP=0.438.pth or, for 32 kHz, Cnn14_mAP=0.431.pth.

    AudioSet's class_labels_indices.csv lies beside it.
    """
    config = CNN14_16K if "16k" in path.name else CNN14_32K
    names, model = read_names(path.parent / "class_labels_indices.csv"), AudioCnn(config)
    own = {re.sub(r"^conv_block(\d)", lambda found: f"blocks.{int(found[1]) - 1}", name).replace(
        "fc_audioset", "fc_out"): value for name, value in _read(path).items()
        if not name.startswith(("spectrogram_extractor", "logmel_extractor"))}
    backbone = f"PANNs CNN14 {config['sample_rate'] // 1000}k"
    return Listener(_filled(model, own, path), names, device, backbone, multi_label=True)


def load_passt(path: Path, device: str = "cpu") -> Listener:
    """PaSST from passt-s-f128-p16-s10-ap.476-swa.pt, with AudioSet's class_labels_indices.csv beside it."""
    names, own = read_names(path.parent / "class_labels_indices.csv"), _read(path)
    model = Passt(depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}))
    _filled(model.net, own, path, assign=True)
    return Listener(model, names, device, "PaSST", multi_label=True)


def load_vggish(path: Path, device: str = "cpu") -> Listener:
    """VGGish from vggish-10086976.pth, without PCA."""
    own = {name: value for name, value in _read(path).items() if name.startswith(("features.", "embeddings."))}
    return Listener(_filled(Vggish(), own, path), [], device, "VGGish")


def load_wav2clip(path: Path, device: str = "cpu") -> Listener:
    """Wav2CLIP from Wav2CLIP.pt; the rest of the file, CLIP among it, is left aside."""
    own = {name.removeprefix("audio_"): value for name, value in _read(path).items()
           if name.startswith(("audio_encoder.", "audio_transform.")) and "spectrogram" not in name}
    return Listener(_filled(Wav2Clip(), own, path), [], device, "Wav2CLIP")


PUBLIC = {"Cnn14_16k*.pth": load_panns, "Cnn14_mAP*.pth": load_panns, "passt-s*.pt": load_passt,
          "vggish*.pth": load_vggish, "Wav2CLIP*.pt": load_wav2clip}


def load_listener(folder: str | Path, device: str = "cpu") -> Listener:
    """The listener in a folder: one of ours (config.json, model.safetensors) or a file of PUBLIC.

    ValueError says which names are known when none of them is there, and names a file that is damaged.
    """
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return Listener.load(folder, device)
    for pattern, load in PUBLIC.items():
        for path in sorted(folder.glob(pattern)):
            return load(path, device)
    raise ValueError(f"{folder}: no listener there; put config.json with model.safetensors or one of "
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
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: the weights do not fit {type(model).__name__} ({reason})") from error
    return model

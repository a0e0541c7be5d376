"""Training the mini stack, part by part; what is finished is not trained again.

Order: what each part needs comes before it. CLIP and CLAP never see each other; only the mappers and the
Wav2CLIP-like encoder (which only measures) see embeddings of pictures and sounds that belong together.
"""

import shutil
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file

from v2a_utils.audio import AudioEncoder
from v2a_utils.generation import NULL_FILE
from v2a_utils.mappers import DiffusionMapper, RegressionMapper, save_mapper, train_mapper
from v2a_utils.pretraining import encoders, generator, listeners
from v2a_utils.pretraining.data import Rendered, render
from v2a_utils.soundworld import SAMPLE_RATE
from v2a_utils.stacks import Familiarity
from v2a_utils.training import TrainConfig
from v2a_utils.vision import VisionEncoder
from v2a_utils.vocoder import GriffinLimVocoder
from v2a_utils.weights import write_json, write_sums

CONFIGS = {
    "tagger": TrainConfig(steps=1200, batch_size=64, learning_rate=2e-3, warmup=50),
    "clip": TrainConfig(steps=2500, batch_size=128, learning_rate=1e-3, weight_decay=0.1),
    "clap": TrainConfig(steps=2000, batch_size=128, learning_rate=1e-3, weight_decay=0.05),
    "vae": TrainConfig(steps=2000, batch_size=16, learning_rate=2e-3, warmup=50),
    "unet": TrainConfig(steps=3500, batch_size=48, learning_rate=6e-4, ema=0.998),
    "wav2clip": TrainConfig(steps=1200, batch_size=128, learning_rate=2e-3, warmup=50),
    "regression": TrainConfig(steps=3000, batch_size=256, learning_rate=1e-3),
    "diffusion": TrainConfig(steps=6000, batch_size=256, learning_rate=1e-3),
}
PARTS = tuple(CONFIGS)


class Pretraining:
    """One pretraining run: rendered data and checkpoints in `work`, finished parts in `out`."""

    def __init__(self, out: Path, work: Path, seed: int = 0, device: str = "cpu", shrink: int = 1):
        self.out, self.work, self.seed, self.device, self.shrink = out, work, seed, device, shrink

    def run(self, parts: tuple[str, ...] = PARTS) -> None:
        """Train the parts that are not finished, in order, then list the sums."""
        data = render("train", self.work / "data", self.seed, 2)
        for part in parts:
            done = self.work / f"{part}.done"
            if done.is_file():
                continue
            start = time.monotonic()
            getattr(self, f"train_{part}")(data, self._config(part))
            done.write_text(f"{time.monotonic() - start:.0f} s since the last start, {torch.get_num_threads()} threads\n")
        if all((self.work / f"{part}.done").is_file() for part in PARTS):
            self.finish(data)

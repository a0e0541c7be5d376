"""What one item of each stage costs at the paper's sizes: `make bench-cost`; with UPDATE=1 it renews data/results/rates.csv.

Weights are random, for speed does not depend on them. Seconds are those of the processor in this process, on one thread,
so that other work on the machine does not count: the median of a few rounds. What 200 denoising steps or all of VGGSound
cost, notebook 07 computes from these. "decode" and "film" are those of one real clip, which lies beside the checkout.

`--sync` prints instead what it costs to bring a sound into time, beside an ordinary step of the denoising in the same run.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from random_audioldm import random_audioldm
from v2a_pretraining.generator import adapter_for

from benchmarks.extraction import random_stack
from benchmarks.mapper import training_step
from v2a_utils.data.files import write_table
from v2a_utils.data.media import load_frames
from v2a_utils.event_adapter import Control
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.models.audioldm import Generator
from v2a_utils.models.backbones import NUM_CLASSES, AudioBackbone, Cnn14
from v2a_utils.models.networks import AudioCnn, VggishNet, Wav2ClipNet

FRAMES, RATE, SECONDS = 10, 16_000, 10.0  # of a clip of VGGSound: one frame a second
CLIP = Path(__file__).parents[3] / "shared" / "real" / "vggsound" / "video"  # one clip of VGGSound, where it lies there


def stages() -> dict[str, tuple[str, Callable[[], object]]]:
    """A name for each stage -> what one item is, and a call that does it once."""
    wave = np.random.default_rng(0).standard_normal(round(RATE * SECONDS)).astype(np.float32)
    towers = random_stack()
    frames = load_frames(next(CLIP.glob("*.mp4")))[:FRAMES]
    recipe = RECIPES["paper"]["diffusion"]
    mapper = build(recipe, 512, 512)
    unet, vae, vocoder, scheduler = random_audioldm()
    null = np.eye(512, dtype=np.float32)[0]
    generator = Generator(unet, vae, vocoder, scheduler, null, "cpu", clip_seconds=SECONDS)
    cnn14 = AudioCnn(Cnn14.front_end | {"widths": [64, 128, 256, 512, 1024, 2048], "last_pool": 1,
                                        "features": Cnn14.dimensions, "outputs": NUM_CLASSES})
    tagger, vggish, wav2clip = map(AudioBackbone, (cnn14, VggishNet(), Wav2ClipNet()))
    batch = recipe.train.batch_size
    return {
        "decode": ("clip", lambda: load_frames(next(CLIP.glob("*.mp4")))),
        "CLIP": ("clip", lambda: towers.vision.embed_images(frames)),
        "CLAP": ("clip", lambda: towers.audio.embed_audio([wave], RATE)),
        "training": ("step", training_step(mapper, lambda visual, audio: mapper.loss(visual, audio, torch.Generator()),
                                           batch=batch)),
        "mapping": ("clip", partial(mapper.map, null[None])),
        "1 denoising step": ("clip", lambda: generator.generate(null[None], 1, 2.5)),
        "3 denoising steps": ("clip", lambda: generator.generate(null[None], 3, 2.5)),
        "scoring": ("clip", lambda: (tagger.features([wave], RATE), vggish.frames([wave], RATE),
                                     wav2clip.embed([wave], RATE))),
    }


def sync_stages() -> dict[str, Callable[[], object]]:
    """Steps of the ways to bring a sound into time, beside an ordinary one; all with guidance, two rows of the UNet."""
    unet, vae, vocoder, scheduler = random_audioldm()
    null = np.eye(512, dtype=np.float32)[0]
    generator = Generator(unet, vae, vocoder, scheduler, null, "cpu", clip_seconds=SECONDS)
    latents = torch.randn(1, *generator.latent_shape(SECONDS))
    labels, adapter = torch.from_numpy(null)[None], adapter_for(unet, generator.factor)
    print(f"an adapter of {sum(each.numel() for each in adapter.parameters()):,} numbers")
    shown = Control(adapter, torch.zeros(1, 2, latents.shape[2] * adapter.factor))
    wave = np.random.default_rng(0).standard_normal((1, round(RATE * SECONDS))).astype(np.float32)

    def pushed() -> None:  # what guidance through the decoder adds to a step
        clean = latents.clone().requires_grad_()
        vae.decode(clean).sample.exp().sum().backward()

    return {"a step": lambda: generator.denoise(latents, labels, 1, 2.5),
            "a step told by an adapter": lambda: generator.denoise(latents, labels, 1, 2.5, control=shown),
            "the gradient that guidance adds to a step": pushed,
            "what moving adds to its steps: the sound encoded": lambda: generator.encode(wave)}


def seconds_of(call: Callable[[], object], rounds: int) -> float:
    """Median processor seconds of a call; a first one is not counted."""
    call()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return float(np.median(found))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("out/results/rates.csv"),
                        help="the table (default: %(default)s)")
    parser.add_argument("--sync", action="store_true", help="print what it costs to bring a sound into time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sync:
        for stage, call in sync_stages().items():
            print(f"{seconds_of(call, options.rounds):6.2f} s  {stage}", flush=True)
        return
    rows = []
    for stage, (item, call) in stages().items():
        rows.append({"stage": stage, "item": item, "seconds": seconds_of(call, options.rounds), "bytes": None})
        print(rows[-1], flush=True)
    rows.append({"stage": "film", "item": "clip", "seconds": None, "bytes": next(CLIP.glob("*.mp4")).stat().st_size})
    write_table(pd.DataFrame(rows), options.out)


if __name__ == "__main__":
    main()

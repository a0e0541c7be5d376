"""How fast is the extraction? `make bench` prints it from one run, on made files and on this machine's CPU.

Three ratios: the whole extraction (read, decode, preprocess, embed) against the bare encoder on ready tensors, for
each tower of the mini stack and of one of the paper's size with random weights; and our CLAP path against laion_clap's
own `get_audio_embedding_from_filelist`, on the same files with the same weights.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import soundfile
import torch

from v2a_utils.audio import AudioEncoder, Clap
from v2a_utils.clap_checkpoint import HEARING
from v2a_utils.datasets import Listing, pairs
from v2a_utils.embeddings import batch_jobs, decoders, embed, preparation, prepare_ahead
from v2a_utils.soundworld import IMAGE_SIZE, SAMPLE_RATE, draw, make_scene
from v2a_utils.stacks import Stack, load_stack
from v2a_utils.vision import VisionEncoder

HTSAT_TINY = HEARING | {  # laion_clap, clap_module/model_configs/HTSAT-tiny.json and htsat.py
    "mel_bins": 64, "class_num": 527, "model_name": "tiny",
    "htsat": {"spec_size": 256, "patch_size": 4, "patch_stride": [4, 4], "embed_dim": 96, "depths": [2, 2, 6, 2],
              "num_heads": [4, 8, 16, 32], "window_size": 8},
}
ROBERTA = {"vocab_size": 50_265, "hidden_size": 768, "num_hidden_layers": 1, "max_position_embeddings": 514}  # unused


def main() -> int:
    """Print the numbers."""
    parser = argparse.ArgumentParser(prog="python -m v2a_utils.benchmark", description="How fast is the extraction?")
    parser.add_argument("--clips", type=int, default=256, help="for the mini stack (default: 256)")
    parser.add_argument("--large-clips", type=int, default=48, help="for the paper's size (default: 48)")
    options = parser.parse_args()
    workers = decoders("cpu")
    print(f"{torch.get_num_threads()} threads for the encoders, {workers} processes that decode")
    with tempfile.TemporaryDirectory() as folder:
        small = make_clips(Path(folder) / "small", options.clips, IMAGE_SIZE, IMAGE_SIZE, SAMPLE_RATE, 2.56)
        large = make_clips(Path(folder) / "large", options.large_clips, 640, 360, 44_100, 10)  # as VGGSound's
        mini, paper_size = load_stack("mini", "cpu"), random_stack()
        for name, stack, listing in (("mini", mini, small), ("paper size", paper_size, large)):
            for tower, (whole, bare) in overlap(stack, listing, workers).items():
                print(f"{name} {tower}: {whole:.2f} clips/s whole, {bare:.2f} bare, ratio {whole / bare:.2f}",
                      flush=True)
        spent = _seconds(lambda: embed(small, mini, Path(folder) / "store"))
        print(f"mini, both towers into a store: {options.clips / spent:.1f} rows/s", flush=True)
        ours, theirs, cosine = against_laion_clap(paper_size, large)
        print(f"CLAP from files: ours {ours:.2f} clips/s, laion_clap's {theirs:.2f}, ratio {ours / theirs:.2f} "
              f"(same random weights, least cosine of the two {cosine:.4f})")
    return 0


def make_clips(folder: Path, count: int, width: int, height: int, rate: int, seconds: float) -> Listing:
    """Pairs of a PNG picture of a SoundWorld scene and a mono wav of a few tones."""
    folder.mkdir()
    rng, times = np.random.default_rng(0), np.arange(int(seconds * rate)) / rate
    for number in range(count):
        draw(make_scene("test", number)).resize((width, height)).save(folder / f"{number:04}.png")
        pitches = rng.uniform(100, 4000, 4)  # below 8 kHz, so that laion_clap hears what AudioLDM hears
        sound = sum(0.2 * np.sin(2 * np.pi * pitch * times) for pitch in pitches)
        soundfile.write(folder / f"{number:04}.wav", sound, rate)
    return pairs(folder)


def random_stack() -> SimpleNamespace:
    """CLIP ViT-B/32 and CLAP's HTSAT-tiny with random weights: the towers of the paper, without a download."""
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    clap = Clap({"audio_cfg": HTSAT_TINY, "text_cfg": ROBERTA, "joint_embed_shape": 512})
    audio = AudioEncoder(clap, range(ROBERTA["vocab_size"]))
    return SimpleNamespace(vision=VisionEncoder(model, preprocess, None), audio=audio, device="cpu")


def overlap(stack: Stack, listing: Listing, workers: int) -> dict[str, tuple[float, float]]:
    """Clips a second by tower: from files with decoding in `workers` processes, and on ready tensors."""
    pictures = replace(listing, sources=[replace(source, sound=None) for source in listing.sources])
    return {
        "CLIP": _whole_and_bare(stack, pictures, lambda ready: stack.vision.embed_prepared(ready.frames), workers),
        "CLAP": _whole_and_bare(stack, listing, lambda ready: stack.audio.embed_prepared(ready.waves), workers),
    }


def _whole_and_bare(stack: Stack, listing: Listing, tower: Callable, workers: int) -> tuple[float, float]:
    jobs, prepare = batch_jobs(0, listing.sources), preparation(stack)
    ready = [prepare(job) for job in jobs]
    tower(ready[0])  # the first pass is slower
    bare = _seconds(lambda: [tower(prepared) for prepared in ready])
    whole = _seconds(lambda: [tower(prepared) for prepared in prepare_ahead(jobs, prepare, workers)])
    return len(listing.sources) / whole, len(listing.sources) / bare


def against_laion_clap(stack: Stack, listing: Listing) -> tuple[float, float, float]:
    """Clips a second of our CLAP and of laion_clap's from the same files, and the least cosine between the two.

    laion_clap's module is built offline: its text tower gets random weights where it would ask a hub, its audio path
    is untouched, and our tower takes over its audio weights.
    """
    theirs, files = _laion_clap(), [source.sound for source in listing.sources]
    weights = {name: value for name, value in theirs.model.state_dict().items() if name.startswith("audio_")}
    stack.audio.model.load_state_dict(weights, strict=False)
    jobs, prepare, ours, their_rows = batch_jobs(0, listing.sources), preparation(stack), [], []
    our_time = _seconds(lambda: ours.extend(
        stack.audio.embed_prepared(prepared.waves) for prepared in prepare_ahead(jobs, prepare, decoders("cpu"))))
    with torch.inference_mode():
        their_time = _seconds(lambda: their_rows.extend(theirs.get_audio_embedding_from_filelist(files)))
    cosines = (np.concatenate(ours) * their_rows).sum(1)
    return len(files) / our_time, len(files) / their_time, float(cosines.min())


def _laion_clap():
    from transformers import RobertaConfig, RobertaModel

    RobertaModel.from_pretrained = classmethod(lambda cls, name: cls(RobertaConfig(**ROBERTA)))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # laion_clap parses them when it is imported
    import laion_clap

    sys.argv = arguments
    torch.manual_seed(0)
    return laion_clap.CLAP_Module(enable_fusion=False, device="cpu", amodel="HTSAT-tiny")


def _seconds(work: Callable) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())

"""How fast is the extraction? `make bench` prints it from one run, on made files and on this machine's CPU.

For each tower of the mini stack and of one of the paper's size with random weights, and for both towers together: clips
a second of the extraction (read, decode, preprocess, embed) and of the bare models on tensors that are ready, given one
after another with all threads, as anybody would. The bare CLIP is as open_clip makes it; ours lies in memory so that
convolutions are faster, and how fast it is on ready tensors is printed beside it. And our CLAP path against
laion_clap's own `get_audio_embedding_from_filelist`, on the same files with the same weights. What is compared is
measured in turn, several times over, and the best of each counts: what a busy machine takes away, it takes from all.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import soundfile
import torch
from soundworld import IMAGE_SIZE, SAMPLE_RATE, draw, make_scene

from v2a_utils.data.sources import Listing, pairs
from v2a_utils.models.clap import CONFIGS, AudioEncoder, Clap
from v2a_utils.models.clip import VisionEncoder
from v2a_utils.stacks.extraction import batch_jobs, embed, from_sources, preparation
from v2a_utils.stacks.stack import Stack, load_stack


def main() -> int:
    """Print the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description="How fast is the extraction?")
    parser.add_argument("--clips", type=int, default=512, help="for the mini stack (default: 512)")
    parser.add_argument("--large-clips", type=int, default=48, help="for the paper's size (default: 48)")
    parser.add_argument("--rounds", type=int, default=3, help="of every measurement (default: 3)")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        small = make_clips(Path(folder) / "small", options.clips, IMAGE_SIZE, IMAGE_SIZE, SAMPLE_RATE, 2.56)
        large = make_clips(Path(folder) / "large", options.large_clips, 640, 360, 44_100, 10)  # as VGGSound's
        mini, paper_size = load_stack("mini", "cpu"), random_stack()
        for name, stack, listing in (("mini", mini, small), ("paper size", paper_size, large)):
            for towers, (whole, bare, ours) in overlap(stack, listing, options.rounds).items():
                print(f"{name}, {towers}: {whole:.2f} clips/s whole, {bare:.2f} bare, ratio {whole / bare:.2f} "
                      f"({ours:.2f} of our encoders on ready tensors, ratio {whole / ours:.2f})", flush=True)
        spent = _seconds(lambda: embed(small, mini, Path(folder) / "store"))
        print(f"mini, both towers into a store: {options.clips / spent:.1f} rows/s", flush=True)
        ours, theirs, cosine = against_laion_clap(paper_size, large, options.rounds)
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
    """The towers of the paper's size with random weights, which cost what trained ones cost."""
    return SimpleNamespace(vision=random_clip(), audio=random_clap(), device="cpu")


def random_clip() -> VisionEncoder:
    """CLIP ViT-B/32 with a stub for texts."""
    torch.manual_seed(0)
    config = dict(open_clip.get_model_config("ViT-B-32-quickgelu"))
    config["text_cfg"] = config["text_cfg"] | {"layers": 1, "vocab_size": 100}
    return VisionEncoder(open_clip.CLIP(**config), open_clip.image_transform(224, is_train=False), None)


def random_clap() -> AudioEncoder:
    """AudioLDM's CLAP with a stub for texts."""
    torch.manual_seed(0)
    text = {"vocab_size": 100, "hidden_size": 768, "num_hidden_layers": 1, "max_position_embeddings": 514}
    return AudioEncoder(Clap(CONFIGS[96] | {"text_cfg": text}), range(100))


def overlap(stack: Stack, listing: Listing, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Clips a second from files, of the bare models and of our encoders on ready tensors; by tower and with both.

    Only CLIP's clips go without a sound.
    """
    pictures = replace(listing, sources=[replace(source, sound=None) for source in listing.sources])
    clip, clap = deepcopy(stack.vision.model).to(memory_format=torch.contiguous_format), stack.audio.model

    def see(ready, ours):
        return stack.vision.embed_prepared(ready.frames) if ours else clip.encode_image(ready.frames)

    def hear(ready, ours):
        return stack.audio.embed_prepared(ready.waves) if ours else clap.embed_audio(ready.waves)

    works = {"CLIP": (pictures, [see]), "CLAP": (listing, [hear]), "both": (listing, [see, hear])}
    return {name: _three_rates(stack, clips, towers, rounds) for name, (clips, towers) in works.items()}


def _three_rates(stack: Stack, listing: Listing, towers: list[Callable], rounds: int) -> tuple[float, ...]:
    jobs, prepare = batch_jobs(0, listing.sources), preparation(stack)
    ready = [prepare(job) for job in jobs]
    normalised = [replace(one, frames=stack.vision.normalise(one.frames)) for one in ready]

    @torch.inference_mode()
    def embed_ready(one, ours=True):
        return [tower(one, ours) for tower in towers]

    def from_files():
        return list(from_sources(jobs, prepare, embed_ready, stack.device))

    return _rates(len(listing.sources), rounds, from_files, lambda: [embed_ready(one, False) for one in normalised],
                  lambda: [embed_ready(one) for one in ready])


def _rates(clips: int, rounds: int, *works: Callable) -> tuple[float, ...]:
    """Clips a second of each work: the best of `rounds` in which they take turns, after one to warm up."""
    for work in works:
        work()
    times = [[_seconds(work) for work in works] for _ in range(rounds)]
    return tuple(clips / min(spent) for spent in zip(*times))


def against_laion_clap(stack: Stack, listing: Listing, rounds: int) -> tuple[float, float, float]:
    """Clips a second of our CLAP and of laion_clap's from the same files, and the least cosine between the two.

    laion_clap's module is built offline: its text tower gets random weights where it would ask a hub, its audio path
    is untouched, and our tower takes over its audio weights. Ours decodes the pictures as well.
    """
    theirs, files = _laion_clap(), [source.sound for source in listing.sources]
    weights = {name: value for name, value in theirs.model.state_dict().items() if name.startswith("audio_")}
    stack.audio.model.load_state_dict(weights, strict=False)
    jobs, rows = batch_jobs(0, listing.sources), {}

    def hear(ready):
        return stack.audio.embed_prepared(ready.waves)

    def ours() -> None:
        rows["ours"] = np.concatenate(list(from_sources(jobs, preparation(stack), hear, stack.device)))

    def laion_clap() -> None:
        with torch.inference_mode():
            rows["theirs"] = theirs.get_audio_embedding_from_filelist(files)

    rates = _rates(len(files), rounds, ours, laion_clap)
    return *rates, float((rows["ours"] * rows["theirs"]).sum(1).min())


def _laion_clap():
    from transformers import RobertaConfig, RobertaModel

    text = random_clap().model.config["text_cfg"]
    RobertaModel.from_pretrained = classmethod(lambda cls, name: cls(RobertaConfig(**text)))
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

"""The generator's speed, what speed costs, and the memory of a sound at the real sizes (`make bench-generation`).

Times are medians over rounds in which everything takes its turn. The model of the paper's size has random weights: its
speed does not depend on them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from random_audioldm import random_audioldm
from soundworld import SAMPLE_RATE, make_scene, synthesise

from benchmarks.mapper import medians
from v2a_utils.metrics import gap
from v2a_utils.models.audioldm import Generator
from v2a_utils.stacks.stack import best_device, load_stack

PAPER_SECONDS = 35.45  # V2A-Mapper's table 1, inference time


def main() -> None:
    """Print the numbers."""
    summary = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=summary)
    parser.add_argument("--rounds", type=int, default=3, help="of each timing (default: 3)")
    parser.add_argument("--batch", type=int, default=8, help="sounds made at once (default: 8)")
    parser.add_argument("--sounds", type=int, default=256, help="validation sounds for the quality; 0 leaves it out")
    parser.add_argument("--only-memory", action="store_true", help="leave out all but the memory at the real sizes")
    options = parser.parse_args()
    device = best_device()
    print(f"device {device}, {torch.get_num_threads()} threads")
    if not options.only_memory:
        compare_batches(options.batch, options.rounds)
        if options.sounds:
            compare_steps(options.sounds)
        time_paper_size(device, options.rounds, steps=2 if device == "cpu" else 25)
    measure_memory()


def compare_batches(batch: int, rounds: int) -> None:
    """Sounds a second of the mini stack: a batch against one by one, whole path, 20 steps with guidance."""
    generator = load_stack("mini").generator
    rows = np.eye(generator.embed_dim, dtype=np.float32)[:batch]
    calls = {
        "batch": lambda: generator.generate(rows, 20),
        "one by one": lambda: [generator.generate(row[None], 20) for row in rows],
    }
    seconds = medians(calls, rounds)
    rates = {name: batch / spent for name, spent in seconds.items()}
    print(f"mini, 20 steps: {rates['batch']:.2f} sounds a second in batches of {batch}, {rates['one by one']:.2f} one "
          f"by one, ratio {rates['batch'] / rates['one by one']:.2f} (goal 1.5)")


def compare_steps(number: int) -> None:
    """Fréchet distance of tagger features to the validation split's, 20 steps of DPM-Solver++ against 200 of DDIM.

    Conditions are the true sounds' CLAP embeddings, so that nothing but the generator is measured; both walks start
    from the same noise.
    """
    stack = load_stack("mini")
    truths = [synthesise(make_scene("val", index)) for index in range(number)]
    wanted = stack.tagger.features(truths, SAMPLE_RATE)
    targets = stack.audio.embed_audio(truths, SAMPLE_RATE)
    distances = []
    for scheduler, steps in (("dpm++", 20), ("ddim", 200)):
        waves = [wave for rows in np.split(targets, range(16, number, 16))
                 for wave in stack.generator.generate(rows, steps, scheduler=scheduler)]
        distances.append(gap.frechet_distance(stack.tagger.features(waves, stack.generator.sample_rate), wanted))
        print(f"  FD (tagger, {SAMPLE_RATE} Hz, validation split, n = {number}): {distances[-1]:.3f} with {steps} "
              f"steps of {scheduler}", flush=True)
    print(f"20 steps of dpm++ against 200 of ddim: FD {distances[0] / distances[1] - 1:+.1%} (goal: at most +3%)")


def time_paper_size(device: str, rounds: int, steps: int) -> None:
    """Seconds for one sound of ten seconds by AudioLDM-s with random weights, and for one more denoising step."""
    unet, vae, vocoder, scheduler = random_audioldm()
    dtype = torch.float32 if device == "cpu" else torch.float16
    null = np.eye(unet.config.projection_class_embeddings_input_dim, dtype=np.float32)[0]
    generator = Generator(unet.to(dtype), vae.to(dtype), vocoder, scheduler, null, device, clip_seconds=10.0)
    seconds = medians({count: partial(generator.generate, null[None], count) for count in (steps, 2 * steps)}, rounds)
    more = (seconds[2 * steps] - seconds[steps]) / steps
    print(f"paper size on {device}: {seconds[steps]:.2f} s for a sound of 10 s with {steps} steps, {more:.2f} s for "
          f"each further step (the paper's table, its whole system: {PAPER_SECONDS} s)")


ONE_SOUND = """
import resource, sys, time
began = time.perf_counter()
import torch
from v2a_utils.__main__ import main
from v2a_utils.models.audioldm import Generator
generate, loaded = Generator.generate, []
def timed(*arguments, **options):
    loaded.append(time.perf_counter() - began)
    return generate(*arguments, **options)
Generator.generate = timed
assert main(["sound", "--stack", "paper", "--steps", "2", *sys.argv[1:]]) == 0
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
card = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU" if torch.cuda.is_available() else ""
print(f"{loaded[0]:.1f} s until the generator began, peak memory {peak:.2f} GiB{card}")
"""


def measure_memory() -> None:
    """Print load time and peak memory of `sound`, 10 s at the real sizes, for what a first sound needs and for all.

    Weights are random, written into a temporary folder (5 GB).
    """
    from paper_weights import make_paper

    with tempfile.TemporaryDirectory() as folder:
        names = make_paper(Path(folder), full=True)
        for mapper, candidates in (("words", 1), ("diffusion", 3)):
            print(f"sound at the real sizes, {mapper}, candidates {candidates}: "
                  f"{memory_of_a_sound(names, Path(folder), mapper, candidates)}", flush=True)


def memory_of_a_sound(names: dict[str, str], out: Path, mapper: str, candidates: int) -> str:
    """Load time and peak memory of a process that makes one sound on the paper stack that lies where `names` say."""
    picture = out / "picture.png"
    Image.new("RGB", (640, 360), "green").save(picture)
    options = ["--mapper", mapper, "--candidates", str(candidates), "--out", str(out), "--overwrite"]
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", ONE_SOUND, str(picture), *options],
                         env=os.environ | names, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr)
    return run.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()

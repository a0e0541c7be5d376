"""The generative mapper's speed against DALLE2-pytorch's prior (`make bench-mapper`): ratios from one run.

What is not installed is left out. Times are medians over rounds in which everything takes its turn, so that a machine
that is busy with something else is unfair to all alike. Both sides compute in single precision.
"""

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from v2a_utils.mappers.model import TRAIN_STEPS, DiffusionMapper
from v2a_utils.mappers.recipes import RECIPES, build
from v2a_utils.mappers.registry import trained_mapper
from v2a_utils.metrics import gap

DIM, BATCH = 512, 64
TEXT_TOKENS = (1, 77, 256)  # max_text_len: least, its example configuration's, default of the class
GOALS = {1: 1.3, 77: 15, 256: 50}
PARTS = {256: 4}  # of a batch, one after the other: the whole one's activations would take 25 GB
FEW_STEPS = (3, 4, 5, 6, 8, 10)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mapper", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--tokens", type=int, nargs="*", default=TEXT_TOKENS, help="max_text_len (default: 1 77 256)")
    options = parser.parse_args()
    ours = build(RECIPES["paper"]["diffusion"], DIM, DIM)
    theirs = {}
    if importlib.util.find_spec("dalle2_pytorch"):
        theirs = {tokens: dalle2_prior(tokens) for tokens in options.tokens}
    else:
        print("dalle2_pytorch is not installed: its times are left out")
    compare_training(ours, theirs, options.rounds)
    mini_throughput(options.rounds)
    compare_sampling(ours, theirs.get(1), options.rounds)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def dalle2_prior(text_tokens: int) -> nn.Module:
    """DALLE2-pytorch's prior at the paper's size, text encodings absent and padded to `text_tokens`."""
    import dalle2_pytorch

    network = dalle2_pytorch.DiffusionPriorNetwork(
        DIM, num_timesteps=TRAIN_STEPS, max_text_len=text_tokens, depth=12, heads=12, dim_head=64, ff_mult=4,
        normformer=True, attn_dropout=0.05, ff_dropout=0.05,
    )
    return dalle2_pytorch.DiffusionPrior(network, image_embed_dim=DIM, timesteps=TRAIN_STEPS, cond_drop_prob=0.1,
                                         condition_on_text_encodings=False)


def compare_training(ours: DiffusionMapper, theirs: dict[int, nn.Module], rounds: int) -> None:
    """One training step at batch 64: loss, gradients, clipping, AdamW."""
    steps = {"ours": training_step(ours, lambda visual, audio: ours.loss(visual, audio, torch.Generator()))}
    for tokens, prior in theirs.items():
        # it multiplies the caller's tensor in place
        steps[tokens] = training_step(prior, lambda visual, audio, prior=prior: prior(
            text_embed=visual, image_embed=audio.clone()), parts=PARTS.get(tokens, 1))
    seconds = medians(steps, rounds)
    print(f"training step, 48.8 M parameters, batch {BATCH}: ours {seconds['ours']:.2f} s", flush=True)
    for tokens in theirs:
        ratio = seconds[tokens] / seconds["ours"]
        print(f"  dalle2_pytorch, max_text_len {tokens}: {seconds[tokens]:.2f} s, {ratio:.1f} times "
              f"(goal {GOALS[tokens]})", flush=True)


def compare_sampling(ours: DiffusionMapper, theirs: nn.Module | None, rounds: int) -> None:
    """64 embeddings: our fewest steps of equal quality against 1000 steps of DDPM, from the time of one step."""
    steps = steps_of_equal_quality()
    visual = unit_rows(0)
    calls = {"ours": lambda: ours.eval().map(visual.numpy(), steps=steps, sampler="dpm++")}
    if theirs is not None:
        condition, times = {"text_embed": visual}, torch.zeros(BATCH, dtype=torch.long)
        calls["theirs"] = lambda: theirs.eval().p_sample(visual, times, text_cond=condition)
    seconds = medians(calls, rounds)
    print(f"sampling {BATCH} embeddings: ours {seconds['ours']:.2f} s with {steps} steps of dpm++")
    if theirs is not None:
        whole = TRAIN_STEPS * seconds["theirs"]
        print(f"  dalle2_pytorch, max_text_len 1: {seconds['theirs']:.3f} s a step, {whole:.0f} s for {TRAIN_STEPS} of "
              f"DDPM, {whole / seconds['ours']:.0f} times (goal 100)")


def steps_of_equal_quality(pairs: int = 600, seeds: int = 3, slack: float = 1.02) -> int:
    """Fewest steps of dpm++ whose Fréchet distance on the validation split is within 2% of 1000-step DDPM's.

    Measured with the shipped mini mapper, means over seeds.
    """
    from v2a_utils.stacks.extraction import embed_world
    from v2a_utils.stacks.stack import load_stack

    stack = load_stack("mini")
    val, mapper = embed_world(stack, "val", pairs), trained_mapper(stack, "diffusion")

    def distance(**settings) -> float:
        return float(np.mean([gap.frechet_distance(mapper.map(val.visual, seed, **settings), val.audio)
                              for seed in range(seeds)]))

    wanted = distance(steps=TRAIN_STEPS, sampler="ddpm")
    for steps in FEW_STEPS:
        found = distance(steps=steps, sampler="dpm++")
        print(f"  Fréchet distance, {pairs} pairs, {seeds} seeds: {found:.5f} with {steps} steps of dpm++, "
              f"{wanted:.5f} with {TRAIN_STEPS} of DDPM")
        if found <= slack * wanted:
            break
    return steps


def mini_throughput(rounds: int, batch: int = 256) -> None:
    """Training pairs a second at mini size."""
    mapper = build(RECIPES["mini"]["diffusion"], 64, 64)
    step = training_step(mapper, lambda visual, audio: mapper.loss(visual, audio, torch.Generator()), 64, batch)
    seconds = medians({"mini": step}, 10 * rounds)["mini"]
    print(f"training at mini size: {batch / seconds:.0f} pairs a second (batch {batch})")


def training_step(
    model: nn.Module, loss_of: Callable, dim: int = DIM, batch: int = BATCH, parts: int = 1
) -> Callable[[], None]:
    """A function that makes one step of training with the optimiser of `training.fit`; `parts` share its batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    visual, audio = unit_rows(0, dim, batch), unit_rows(1, dim, batch)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for rows in zip(visual.chunk(parts), audio.chunk(parts)):
            (loss_of(*rows) / parts).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    return step


def medians(calls: dict, rounds: int) -> dict:
    """Median seconds of each call over rounds in which each is called once; a first call of each is not counted."""
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in seconds.items()}


def unit_rows(seed: int, dim: int = DIM, batch: int = BATCH) -> torch.Tensor:
    """Random embeddings (batch, dim) of unit norm."""
    return nn.functional.normalize(torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


if __name__ == "__main__":
    main()

"""Noise that a row owns: the same for the same (seed, row), whatever else is in the batch."""

import numpy as np
import torch


def row_generators(number: int, seed: int) -> list[torch.Generator]:
    """A generator for every row of a batch, on the CPU, so that every device gets the same noise."""
    seeds = (int(np.random.SeedSequence([seed, row]).generate_state(1)[0]) for row in range(number))
    return [torch.Generator().manual_seed(each) for each in seeds]

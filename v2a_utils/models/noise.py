"""Noise that a row owns: the same for the same (seed, row), whatever else is in the batch."""

from collections.abc import Iterable

import numpy as np
import torch

MAPPER = 1  # salt of a mapper's noise: that of a generator with the same seed must be another


def row_generators(rows: Iterable[int], seed: int, *salt: int) -> list[torch.Generator]:
    """A generator for each row by its number, on the CPU, so that every device gets the same noise."""
    seeds = (int(np.random.SeedSequence([seed, row, *salt]).generate_state(1)[0]) for row in rows)
    return [torch.Generator().manual_seed(each) for each in seeds]

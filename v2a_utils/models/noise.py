"""Noise that a row owns: the same for the same (seed, row), whatever else is in the batch."""

import zlib
from collections.abc import Iterable

import numpy as np
import torch


def row_generators(rows: Iterable[int], seed: int, user: str) -> list[torch.Generator]:
    """A generator for each row by its number, on the CPU, so that every device gets the same noise.

    `user` names who draws: a mapper and a generator of sounds with one seed must not share their noise.
    """
    salt = zlib.crc32(user.encode())
    seeds = (int(np.random.SeedSequence([salt, seed, row]).generate_state(1)[0]) for row in rows)
    return [torch.Generator().manual_seed(each) for each in seeds]

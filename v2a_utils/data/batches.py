"""What a batch is made of: noise that each of its rows owns, and a core for each of its parts.

Threads that share a small batch wait for each other at every layer; a core for each part is faster.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event

import numpy as np
import torch

MAPPER = 1  # salt of a mapper's noise: that of a generator with the same seed must be another


def row_generators(rows: Iterable[int], seed: int, *salt: int) -> list[torch.Generator]:
    """A generator for each row by its number, on the CPU, so that every device gets the same noise."""
    seeds = (int(np.random.SeedSequence([seed, row, *salt]).generate_state(1)[0]) for row in rows)
    return [torch.Generator().manual_seed(each) for each in seeds]


class Lanes(ThreadPoolExecutor):
    """A pool of `number` threads. While it is open, each of them, and the calling thread, has its share of PyTorch's.

    When the calling thread fails or is interrupted, what is queued is dropped, and what runs ends at its next `check`.
    """

    def __init__(self, number: int):
        self.threads = torch.get_num_threads()
        self.share = max(self.threads // number, 1)
        self.stopped = Event()
        super().__init__(number, initializer=_take, initargs=(self.share,))

    def __enter__(self) -> "Lanes":
        torch.set_num_threads(self.share)
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self.stopped.set()
        self.shutdown(wait=True, cancel_futures=kind is not None)
        torch.set_num_threads(self.threads)

    def check(self, *_) -> None:
        """CancelledError once the pool has been given up; a `progress` for long work in a lane."""
        if self.stopped.is_set():
            raise CancelledError("the pool of this lane was given up")


def _take(share: int) -> None:
    torch.get_num_threads()  # asked first: a thread's first question sets its number to the whole process's
    torch.set_num_threads(share)


def lane_count(device: str) -> int:
    """How many lanes a device has: as many as PyTorch has threads on a CPU, one on a GPU, which is busy with one."""
    return torch.get_num_threads() if torch.device(device).type == "cpu" else 1


def parallel_map(function: Callable, items: Iterable, number: int) -> Iterator:
    """`function` of every item, in order, in `number` lanes.

    As many items again are queued, so that a long one does not hold up the others.
    """
    waiting = deque()
    with Lanes(number) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * number:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

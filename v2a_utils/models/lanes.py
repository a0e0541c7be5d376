"""A core for each batch, not all cores for one: threads that share a batch wait for each other at every layer."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def lanes(number: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `number` threads; each, and who asks for it, computes on its share of PyTorch's threads meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads // number, 1))
    try:
        with ThreadPoolExecutor(number) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def lane_count(device: str) -> int:
    """How many lanes a device has: as many as PyTorch has threads on a CPU, one on a GPU, which is busy with one."""
    return torch.get_num_threads() if torch.device(device).type == "cpu" else 1


def parallel_map(function: Callable, items: Iterable, number: int) -> Iterator:
    """`function` of every item, in order, in so many lanes.

    As many items again are queued, so that a long one does not hold up the others.
    """
    waiting = deque()
    with lanes(number) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * number:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

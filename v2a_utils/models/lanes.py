"""A core for each batch, not all cores for one: threads that share a batch wait for each other at every layer."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Event

import torch


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

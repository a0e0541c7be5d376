"""How long each part of a pretraining takes, added up over all its interruptions."""

import json
import os
import threading
import time
from pathlib import Path

from v2a_utils.data.files import write_json

TICK = 30.0  # seconds between two entries: what a kill can lose


class Clock:
    """A file of seconds by part: "wall" on the clock, "core" of processor time with all threads and child processes.

    `with clock.running("clip"): ...` adds what passes to the part's entry, every TICK seconds and at the end.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[str, dict[str, float]]:
        """Seconds by part and kind; empty before anything ran."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def running(self, part: str) -> "_Entry":
        """A context whose duration is added to `part`."""
        return _Entry(self, part)


class _Entry:
    def __init__(self, clock: Clock, part: str):
        self.clock, self.part, self.ended = clock, part, threading.Event()

    def __enter__(self) -> None:
        self.before = self.clock.read().get(self.part, {"wall": 0.0, "core": 0.0})
        self.start = _now()
        self.thread = threading.Thread(target=self._tick, daemon=True)
        self.thread.start()

    def __exit__(self, *error) -> None:
        self.ended.set()
        self.thread.join()
        self._write()

    def _tick(self) -> None:
        while not self.ended.wait(TICK):
            self._write()

    def _write(self) -> None:
        passed = {kind: round(self.before[kind] + now - self.start[kind], 3) for kind, now in _now().items()}
        write_json(self.clock.path, self.clock.read() | {self.part: passed})


def _now() -> dict[str, float]:
    spent = os.times()
    core = spent.user + spent.system + spent.children_user + spent.children_system
    return {"wall": time.monotonic(), "core": core}
